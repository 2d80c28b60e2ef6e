#include "config/device.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace sluice::config {
namespace {

constexpr size_t longest_socket = 63;
constexpr size_t longest_secret = 23;  // bytes; the protocol has 24, of which the driver of DPDK leaves the last one 0
constexpr uint16_t min_mtu = 576;
constexpr uint16_t max_mtu = 9600;

bool is_file_name(std::string_view name) {
  return !name.empty() && name.size() <= longest_socket && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                  c == '-';
         });
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::optional<MemifDevice> parse_memif(std::string_view device, std::string& problem) {
  MemifDevice out;
  if (!device.starts_with(memif_device)) {
    problem = "expected memif,socket=NAME[,id=N][,mtu=N][,secret=TEXT]";
    return std::nullopt;
  }
  const std::string_view name = device_name(device);
  out.socket = name.substr(memif_device.size());
  if (!is_file_name(out.socket)) {
    problem = fmt::format(
        "socket={}: expected the name of a folder, 1 to {} letters, digits, '.', '_' or '-' and no '.' at its begin; "
        "the router makes it where --pod-sockets says",
        out.socket, longest_socket);
    return std::nullopt;
  }
  std::string_view rest = device.substr(name.size());
  bool seen_id = false;
  bool seen_mtu = false;
  bool seen_secret = false;
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the comma
    const std::string_view argument = rest.substr(0, rest.find(','));
    rest.remove_prefix(argument.size());
    const size_t equals = std::min(argument.find('='), argument.size());
    const std::string_view key = argument.substr(0, equals);
    const std::string_view value = argument.substr(std::min(equals + 1, argument.size()));
    if (key == "id" && !seen_id) {
      seen_id = true;
      if (read_number(value, out.id)) continue;
      problem = fmt::format("id={}: expected a number from 0 to 4294967295", value);
    } else if (key == "mtu" && !seen_mtu) {
      seen_mtu = true;
      if (read_number(value, out.mtu) && out.mtu >= min_mtu && out.mtu <= max_mtu) continue;
      problem = fmt::format("mtu={}: expected a number from {} to {}", value, min_mtu, max_mtu);
    } else if (key == "secret" && !seen_secret) {
      seen_secret = true;
      out.secret = value;
      if (!value.empty() && value.size() <= longest_secret) continue;
      problem = fmt::format("secret=…: expected 1 to {} bytes, found {}", longest_secret, value.size());
    } else {
      problem = fmt::format("\"{}\" is no argument, or a second one; expected id=N, mtu=N or secret=TEXT", key);
    }
    return std::nullopt;
  }
  return out;
}

}  // namespace sluice::config
