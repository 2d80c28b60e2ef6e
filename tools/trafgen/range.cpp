#include "tools/trafgen/range.h"

#include <charconv>

#include "dataplane/net/headers.h"

namespace sluice::trafgen {
namespace {

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

uint64_t largest(net::Family family) { return family == net::Family::V4 ? 0xffffffff : ~uint64_t{0}; }

}  // namespace

WideAddr WideAddr::of(const net::IpAddr& addr) {
  if (addr.is_v4()) return {0, addr.v4().host()};
  const uint8_t* bytes = addr.bytes().data();
  return {uint64_t{net::load_be32(bytes)} << 32 | net::load_be32(bytes + 4),
          uint64_t{net::load_be32(bytes + 8)} << 32 | net::load_be32(bytes + 12)};
}

net::IpAddr WideAddr::to_ip(net::Family family) const {
  if (family == net::Family::V4) return net::Ipv4Addr::from_host(static_cast<uint32_t>(low));
  net::Ipv6Addr out;
  net::store_be32(out.bytes.data(), static_cast<uint32_t>(high >> 32));
  net::store_be32(out.bytes.data() + 4, static_cast<uint32_t>(high));
  net::store_be32(out.bytes.data() + 8, static_cast<uint32_t>(low >> 32));
  net::store_be32(out.bytes.data() + 12, static_cast<uint32_t>(low));
  return out;
}

net::IpAddr AddrRange::address(uint64_t index) const { return WideAddr{first.high, low_at(index)}.to_ip(family); }

std::optional<AddrRange> make_addr_range(const net::IpAddr& first, uint64_t count, uint64_t step) {
  AddrRange range{WideAddr::of(first), first.family(), count, step};
  if (count == 0 || step == 0) return std::nullopt;
  if (count - 1 > (largest(range.family) - range.first.low) / step) return std::nullopt;
  return range;
}

std::optional<AddrRange> parse_addr_range(std::string_view text) {
  if (const size_t plus = text.find('+'); plus != std::string_view::npos) {
    const auto first = net::parse_ip(text.substr(0, plus));
    std::string_view rest = text.substr(plus + 1);
    std::optional<uint64_t> step = 1;
    if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
      step = number<uint64_t>(rest.substr(slash + 1));
      rest = rest.substr(0, slash);
    }
    const auto count = number<uint64_t>(rest);
    if (!first || !count || !step) return std::nullopt;
    return make_addr_range(*first, *count, *step);
  }
  if (const size_t dash = text.find('-'); dash != std::string_view::npos) {
    const auto first = net::parse_ip(text.substr(0, dash));
    const auto last = net::parse_ip(text.substr(dash + 1));
    if (!first || !last || first->family() != last->family()) return std::nullopt;
    const WideAddr from = WideAddr::of(*first);
    const WideAddr to = WideAddr::of(*last);
    if (from.high != to.high || to.low < from.low || to.low - from.low == ~uint64_t{0}) return std::nullopt;
    return make_addr_range(*first, to.low - from.low + 1, 1);
  }
  if (text.find('/') != std::string_view::npos) {
    const auto prefix = net::parse_prefix(text);
    if (!prefix) return std::nullopt;
    const unsigned host_bits = prefix->addr.bit_length() - prefix->length;
    if (host_bits > 64) return std::nullopt;
    const uint64_t count = host_bits == 64 ? ~uint64_t{0} : uint64_t{1} << host_bits;
    return make_addr_range(prefix->masked().addr, count, 1);
  }
  const auto addr = net::parse_ip(text);
  if (!addr) return std::nullopt;
  return make_addr_range(*addr, 1, 1);
}

std::optional<PortRange> parse_port_range(std::string_view text) {
  const size_t dash = text.find('-');
  const auto first = number<uint16_t>(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : number<uint16_t>(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return PortRange{*first, static_cast<uint32_t>(*last - *first) + 1};
}

std::optional<double> parse_rate(std::string_view text) {
  double scale = 1;
  if (!text.empty()) {
    const char unit = text.back();
    scale = unit == 'k' || unit == 'K' ? 1e3 : unit == 'M' ? 1e6 : unit == 'G' ? 1e9 : 1;
    if (scale != 1) text.remove_suffix(1);
  }
  const auto value = number<double>(text);
  if (!value || !(*value > 0) || *value * scale > 1e12) return std::nullopt;
  return *value * scale;
}

}  // namespace sluice::trafgen
