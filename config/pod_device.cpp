#include "config/pod_device.h"

#include <charconv>

#include <fmt/format.h>

namespace sluice::config {
namespace {

constexpr uint32_t largest_mtu = 9000;

std::optional<uint32_t> number(std::string_view text, int base, uint32_t least, uint32_t most) {
  uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [behind, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || behind != end || value < least || value > most) return std::nullopt;
  return value;
}

// Empty: it was taken.
std::string take(PodDevice& device, std::string_view key, std::string_view value) {
  std::optional<uint32_t> found;
  if (key == "uid" || key == "gid") {
    found = number(value, 10, 0, UINT32_MAX - 1);
    (key == "uid" ? device.uid : device.gid) = found;
    return found ? "" : fmt::format("{} is a number, found '{}'", key, value);
  }
  if (key == "mode") {
    found = number(value, 8, 0, 0777);
    device.mode = found.value_or(device.mode);
    return found ? "" : fmt::format("mode is octal, like 0660, found '{}'", value);
  }
  if (key == "mtu") {
    found = number(value, 10, 576, largest_mtu);
    device.mtu = static_cast<uint16_t>(found.value_or(device.mtu));
    return found ? "" : fmt::format("mtu is a number from 576 to {}, found '{}'", largest_mtu, value);
  }
  return fmt::format("there is no '{}'; a pod's socket has uid, gid, mode and mtu", key);
}

}  // namespace

net::Result<PodDevice> parse_pod_device(std::string_view text) {
  PodDevice device;
  if (text.empty()) return device;
  const std::string_view name = text.substr(0, text.find(','));
  device.kind = name == "memif"        ? PodDevice::Kind::Memif
                : name == "vhost-user" ? PodDevice::Kind::VhostUser
                                       : PodDevice::Kind::Dpdk;
  if (!device.has_socket()) return device;
  text.remove_prefix(name.size());
  while (!text.empty()) {
    text.remove_prefix(1);
    const std::string_view argument = text.substr(0, text.find(','));
    text.remove_prefix(argument.size());
    const size_t equals = argument.find('=');
    if (equals == std::string_view::npos) {
      return net::Error{fmt::format("expected KEY=VALUE behind {}, found '{}'", name, argument)};
    }
    if (std::string complaint = take(device, argument.substr(0, equals), argument.substr(equals + 1));
        !complaint.empty()) {
      return net::Error{std::move(complaint)};
    }
  }
  return device;
}

}  // namespace sluice::config
