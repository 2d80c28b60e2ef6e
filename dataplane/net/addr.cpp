#include "dataplane/net/addr.h"

#include <arpa/inet.h>
#include <charconv>

namespace sluice::net {
namespace {

// inet_pton wants a terminated string; nothing longer than an IPv6 address can be right.
template <size_t N>
bool terminated(std::string_view text, std::array<char, N>& buffer) {
  if (text.empty() || text.size() >= N || text.find('\0') != std::string_view::npos) return false;
  std::memcpy(buffer.data(), text.data(), text.size());
  buffer[text.size()] = '\0';
  return true;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Prefix Prefix::masked() const {
  Ipv6Addr bytes{addr.bytes()};
  for (unsigned bit = 0; bit < 16; ++bit) {
    const unsigned first = bit * 8;
    if (first >= length) {
      bytes.bytes[bit] = 0;
    } else if (first + 8 > length) {
      bytes.bytes[bit] = static_cast<uint8_t>(bytes.bytes[bit] & (0xff << (first + 8 - length)));
    }
  }
  if (addr.is_v6()) return {bytes, length};
  uint32_t wire = 0;
  std::memcpy(&wire, bytes.bytes.data(), sizeof wire);
  return {Ipv4Addr::from_wire(wire), length};
}

bool Prefix::contains(const IpAddr& other) const {
  return other.family() == family() && Prefix{other, length}.masked().addr == masked().addr;
}

std::optional<Ipv4Addr> parse_ipv4(std::string_view text) {
  std::array<char, INET_ADDRSTRLEN> buffer{};
  in_addr out{};
  if (!terminated(text, buffer) || inet_pton(AF_INET, buffer.data(), &out) != 1) return std::nullopt;
  return Ipv4Addr::from_wire(out.s_addr);
}

std::optional<Ipv6Addr> parse_ipv6(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  Ipv6Addr out;
  if (!terminated(text, buffer) || inet_pton(AF_INET6, buffer.data(), out.bytes.data()) != 1) return std::nullopt;
  return out;
}

std::optional<IpAddr> parse_ip(std::string_view text) {
  if (auto v4 = parse_ipv4(text)) return *v4;
  if (auto v6 = parse_ipv6(text)) return *v6;
  return std::nullopt;
}

std::optional<MacAddr> parse_mac(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  MacAddr out;
  for (size_t i = 0; i < 6; ++i) {
    const int high = hex_digit(text[i * 3]);
    const int low = hex_digit(text[i * 3 + 1]);
    if (high < 0 || low < 0 || (i < 5 && text[i * 3 + 2] != ':')) return std::nullopt;
    out.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return out;
}

std::optional<Prefix> parse_prefix(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto addr = parse_ip(text.substr(0, slash));
  const std::string_view digits = text.substr(slash + 1);
  if (!addr || digits.empty() || digits.size() > 3 || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  unsigned length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (error != std::errc{} || end != digits.data() + digits.size() || length > addr->bit_length()) return std::nullopt;
  return Prefix{*addr, static_cast<uint8_t>(length)};
}

std::string to_string(Ipv4Addr addr) {
  std::array<char, INET_ADDRSTRLEN> buffer{};
  const uint32_t wire = addr.wire();
  return inet_ntop(AF_INET, &wire, buffer.data(), buffer.size());
}

std::string to_string(const Ipv6Addr& addr) {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  return inet_ntop(AF_INET6, addr.bytes.data(), buffer.data(), buffer.size());
}

std::string to_string(const IpAddr& addr) { return addr.is_v4() ? to_string(addr.v4()) : to_string(addr.v6()); }

std::string to_string(const MacAddr& addr) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : addr.bytes) {
    if (!out.empty()) out += ':';
    out += digits[byte >> 4];
    out += digits[byte & 0xf];
  }
  return out;
}

std::string to_string(const Prefix& prefix) { return to_string(prefix.addr) + '/' + std::to_string(prefix.length); }

}  // namespace sluice::net
