#include "encap/known_sources.h"

#include <algorithm>

namespace sluice::encap {

template <class Address>
KnownSources::Table<Address>::Table(size_t nodes)
    : slots_(std::bit_ceil(2 * nodes + 2)),
      mask_(slots_.size() - 1),
      shift_(static_cast<uint32_t>(64 - std::countr_zero(slots_.size()))) {}

template <class Address>
void KnownSources::Table<Address>::add(const Address& address, uint16_t index) {
  size_t i = home(address);
  while (slots_[i].address != Address{} && slots_[i].address != address) i = (i + 1) & mask_;
  if (slots_[i].address == Address{}) slots_[i] = {address, index};
}

KnownSources::KnownSources(const std::vector<Node>& nodes, const std::vector<net::Prefix>& external,
                           uint16_t external_index)
    : v4_(nodes.size()), v6_(nodes.size()), external_index_(external_index) {
  for (const Node& node : nodes) {
    if (node.address.is_v4()) {
      v4_.add(node.address.v4(), node.index);
    } else {
      v6_.add(node.address.v6(), node.index);
    }
  }
  for (const net::Prefix& network : external) {
    if (network.addr.is_v6()) {
      external_v6_.push_back(network);
      continue;
    }
    const uint32_t mask = network.length == 0 ? 0 : ~uint32_t{0} << (32 - network.length);
    external_.push_back({network.addr.v4().host() & mask, mask});
  }
}

uint16_t KnownSources::find_external(net::Ipv4Addr source) const {
  const bool known = std::any_of(external_.begin(), external_.end(), [source](const Network& network) {
    return (source.host() & network.mask) == network.bits;
  });
  return known ? external_index_ : net::no_tunnel_source;
}

uint16_t KnownSources::find_external(const net::Ipv6Addr& source) const {
  const bool known = std::any_of(external_v6_.begin(), external_v6_.end(),
                                 [&](const net::Prefix& network) { return network.contains(source); });
  return known ? external_index_ : net::no_tunnel_source;
}

}  // namespace sluice::encap
