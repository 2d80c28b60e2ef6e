#include "encap/known_sources.h"

#include <algorithm>

namespace sluice::encap {

namespace {

void note_index(uint16_t index, uint16_t& next) {
  if (index < net::turned_source) next = std::max<uint16_t>(next, index + 1U);
}

}  // namespace

template <class Address>
KnownSources::Table<Address>::Table(size_t nodes) {
  const size_t slots = std::bit_ceil(2 * nodes + 2);
  slots_ = std::make_shared<Slot[]>(slots);
  mask_ = slots - 1;
  shift_ = static_cast<uint32_t>(64 - std::countr_zero(slots));
}

template <class Address>
void KnownSources::Table<Address>::add(const Address& address, uint16_t index) {
  size_t i = home(address);
  while (slots_[i].address != Address{} && slots_[i].address != address) i = (i + 1) & mask_;
  if (slots_[i].address != Address{} || address == Address{}) return;
  slots_[i] = {address, index};
  ++nodes_;
}

template <class Address>
KnownSources::Table<Address> KnownSources::Table<Address>::copy(const std::vector<Address>& gone, size_t more) const {
  Table out(nodes_ + more);
  for (size_t i = 0; i <= mask_; ++i) {
    const Slot& slot = slots_[i];
    if (slot.address == Address{} || std::find(gone.begin(), gone.end(), slot.address) != gone.end()) continue;
    out.add(slot.address, slot.index);
  }
  return out;
}

KnownSources::KnownSources(const std::vector<Node>& nodes, const std::vector<net::Prefix>& external,
                           uint16_t external_index)
    : v4_(nodes.size()), v6_(nodes.size()), external_index_(external_index) {
  note_index(external_index, next_index_);
  for (const Node& node : nodes) {
    note_index(node.index, next_index_);
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

std::optional<KnownSources> KnownSources::with(const std::vector<net::IpAddr>& more,
                                               const std::vector<net::IpAddr>& less) const {
  if (!has_room(more.size())) return std::nullopt;
  std::vector<net::Ipv4Addr> gone_v4;
  std::vector<net::Ipv6Addr> gone_v6;
  for (const net::IpAddr& address : less) {
    address.is_v4() ? gone_v4.push_back(address.v4()) : gone_v6.push_back(address.v6());
  }
  const auto more_v4 =
      static_cast<size_t>(std::count_if(more.begin(), more.end(), [](const auto& address) { return address.is_v4(); }));
  const size_t more_v6 = more.size() - more_v4;
  KnownSources out = *this;
  if (more_v4 != 0 || !gone_v4.empty()) out.v4_ = v4_.copy(gone_v4, more_v4);
  if (more_v6 != 0 || !gone_v6.empty()) out.v6_ = v6_.copy(gone_v6, more_v6);
  for (const net::IpAddr& address : more) {
    const uint16_t index = out.next_index_++;
    if (address.is_v4()) {
      out.v4_.add(address.v4(), index);
    } else {
      out.v6_.add(address.v6(), index);
    }
  }
  return out;
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
