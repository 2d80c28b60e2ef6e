// Rules about MetalLB's objects for BGP (LB-10): what MetalLB refuses. A reference to an object that is not there is no
// fault; the router says so in its warnings (control/bgp_plan.h).
#include <array>
#include <optional>

#include <fmt/format.h>

#include "config/rules.h"

namespace sluice::config {
namespace {

// The smallest address after `address` that begins a prefix of a length; or `address` itself. Empty: there is none.
std::optional<IpAddr> aligned(const IpAddr& address, uint8_t length) {
  const IpAddr begin = Prefix{address, length}.masked().addr;
  if (begin == address) return begin;
  std::array<uint8_t, 16> bytes = begin.bytes();
  for (size_t bit = length; bit-- > 0;) {
    const auto mask = static_cast<uint8_t>(0x80U >> bit % 8);
    bytes[bit / 8] ^= mask;
    if ((bytes[bit / 8] & mask) == 0) continue;  // carried on
    if (address.is_v6()) return net::Ipv6Addr{bytes};
    return Ipv4Addr::from_host(static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
                               static_cast<uint32_t>(bytes[2]) << 8 | bytes[3]);
  }
  return std::nullopt;
}

// Whether a whole prefix of a length is in a range. Otherwise all that is announced reaches beyond it.
bool holds_a_prefix(const AddressRange& range, uint8_t length) {
  const auto first = aligned(range.first, length);
  if (!first || range.last < *first) return false;
  const auto whole = parse_address_range(net::to_string(Prefix{*first, length}));
  return whole && whole->last <= range.last;
}

void check_lengths(const BgpAdvertisement& advertisement, const AddressPool& pool, Report& report) {
  for (const AddressRange& range : pool.ranges) {
    const uint8_t length = advertisement.length(range.family());
    if (holds_a_prefix(range, length)) continue;
    report.fault(
        Path::of("spec", range.family() == net::Family::V4 ? "aggregationLength" : "aggregationLengthV6"),
        fmt::format("{}-{} of IPAddressPool {} has no whole /{} in it: addresses that are not the pool's would be "
                    "announced",
                    net::to_string(range.first), net::to_string(range.last), pool.name, length));
    return;
  }
}

void check_peer(const MetallbPeer& peer, Findings& findings) {
  Report report(findings, {"BGPPeer", peer.ns, peer.name});
  const auto path = [](std::string_view field) { return Path::of("spec", field); };
  if (peer.peer_as == 0 && peer.dynamic_as == DynamicAs::None) report.fault(path("peerASN"), "required, or dynamicASN");
  if (peer.peer_as != 0 && peer.dynamic_as != DynamicAs::None)
    report.fault(path("dynamicASN"), "peerASN and dynamicASN exclude each other");
  if (!peer.address && peer.unusable.empty()) report.fault(path("peerAddress"), "required");
  if (peer.address) {
    const std::string_view why = never_remote(*peer.address);
    if (!why.empty()) report.fault(path("peerAddress"), fmt::format("{} is {}", net::to_string(*peer.address), why));
  }
  if (peer.address && peer.source && peer.address->family() != peer.source->family())
    report.fault(path("sourceAddress"), "is of another address family than peerAddress");
}

}  // namespace

void check_bgp_advertisements(const Config& config, Findings& findings) {
  for (const auto& [name, advertisement] : config.bgp_advertisements) {
    Report report(findings, {"BGPAdvertisement", name.ns, name.name});
    const bool whole = advertisement.aggregation_v4 == 32 && advertisement.aggregation_v6 == 128;
    if (!advertisement.service_selectors.empty() && !whole) {
      report.fault(Path::of("spec", "serviceSelectors"),
                   "an aggregated prefix is announced for all services in it: leave aggregationLength and "
                   "aggregationLengthV6 out");
    }
    for (const auto& [pool_name, pool] : config.address_pools) {
      if (advertisement.announces(pool)) check_lengths(advertisement, pool, report);
    }
  }
}

void check_metallb_peers(const Config& config, Findings& findings) {
  for (const auto& [name, peer] : config.metallb_peers) check_peer(peer, findings);
}

}  // namespace sluice::config
