#include "encap/known_sources.h"

#include <algorithm>
#include <bit>

namespace sluice::encap {

KnownSources::KnownSources(const std::vector<Node>& nodes, const std::vector<net::Prefix>& external,
                           uint16_t external_index)
    : external_index_(external_index) {
  const size_t size = std::bit_ceil(2 * nodes.size() + 2);
  slots_.resize(size);
  mask_ = size - 1;
  shift_ = static_cast<uint32_t>(64 - std::countr_zero(size));
  for (const Node& node : nodes) {
    size_t i = home(node.address);
    while (!slots_[i].address.is_unspecified() && slots_[i].address != node.address) i = (i + 1) & mask_;
    if (slots_[i].address.is_unspecified()) slots_[i] = node;
  }
  for (const net::Prefix& prefix : external) {
    if (prefix.family() != net::Family::V4) continue;
    const uint32_t mask = prefix.length == 0 ? 0 : ~uint32_t{0} << (32 - prefix.length);
    external_.push_back({prefix.addr.v4().host() & mask, mask});
  }
}

uint16_t KnownSources::find_external(net::Ipv4Addr source) const {
  const bool known = std::any_of(external_.begin(), external_.end(), [source](const Network& network) {
    return (source.host() & network.mask) == network.bits;
  });
  return known ? external_index_ : net::no_tunnel_source;
}

}  // namespace sluice::encap
