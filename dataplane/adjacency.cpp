#include "dataplane/adjacency.h"

#include <cstring>

namespace sluice::dataplane {
namespace {

constexpr uint64_t mac_bits = 0xffffffffffff;

}  // namespace

const Adjacency* AdjacencyCache::renew(Adjacency& slot, uint64_t key) {
  bool right = slot.key == key && slot.generation == context_.snapshot->generation;
  if (right) {
    // A next hop's index may have got a new meaning without a new snapshot.
    if ((key & by_neighbor) == 0) {
      const NextHop& hop = (*context_.tables.next_hops)[static_cast<NextHopId>(key)];
      right = hop.kind == (slot.tunnel == no_tunnel ? HopKind::Gateway : HopKind::Tunnel) &&
              hop.neighbor == slot.neighbor && hop.tunnel == slot.tunnel;
    }
    if (right && slot.tunnel != no_tunnel) right = context_.tunnel_path(slot.tunnel) == TunnelPath{slot.mtu, false};
    const uint64_t link = (*context_.tables.neighbors)[slot.neighbor].link.load(std::memory_order_relaxed);
    right =
        right && link == ((net::load<uint64_t>(slot.header.data()) & mac_bits) | uint64_t{slot.neighbor_state} << 48);
  }
  if (!right && !make(slot, key)) return nullptr;
  slot.checked = context_.tsc;
  (*context_.tables.neighbors)[slot.neighbor].mark_used();
  return &slot;
}

bool AdjacencyCache::make(Adjacency& slot, uint64_t key) const {
  const Snapshot& snapshot = *context_.snapshot;
  auto neighbor = static_cast<NeighborRef>(key >> 32);
  auto tunnel = static_cast<uint16_t>(key);
  if ((key & by_neighbor) == 0) {
    const NextHop& hop = (*context_.tables.next_hops)[static_cast<NextHopId>(key)];
    if (hop.kind != HopKind::Gateway && hop.kind != HopKind::Tunnel) return false;
    neighbor = context_.tables.neighbors->ref(hop.neighbor);
    tunnel = hop.tunnel;
  }
  if (neighbor == no_neighbor) return false;  // of a flow that ends at the host
  const Neighbor& entry = (*context_.tables.neighbors)[neighbor_index(neighbor)];
  const uint64_t word = entry.link.load(std::memory_order_relaxed);
  const NeighborLink link = NeighborLink::unpack(word);
  if (!link.usable() || link.epoch != neighbor_epoch(neighbor)) return false;
  if (entry.interface >= snapshot.interfaces.size()) return false;
  const Interface& interface = snapshot.interfaces[entry.interface];
  if (!interface.present || interface.port >= snapshot.ports.size()) return false;
  const PortView& port = snapshot.ports[interface.port];
  if (!port.present || context_.worker >= port.tx_queues) return false;
  if (tunnel != no_tunnel && (tunnel >= snapshot.tunnels.size() || !snapshot.tunnels[tunnel].present)) return false;
  // Senders are told that the other end of the tunnel is lost: not here.
  const TunnelPath path = tunnel == no_tunnel ? TunnelPath{interface.mtu, false} : context_.tunnel_path(tunnel);
  if (path.unreachable) return false;
  slot = {};
  slot.key = key;
  slot.buffer = &buffers_[interface.port];
  slot.generation = snapshot.generation;
  slot.neighbor = neighbor_index(neighbor);
  slot.neighbor_state = static_cast<uint16_t>(word >> 48);
  slot.interface = entry.interface;
  slot.tunnel = tunnel;
  slot.mtu = path.mtu;
  slot.room = encap::HeaderTemplate::link_headroom;
  if (tunnel != no_tunnel) {
    const encap::TunnelSpec& spec = snapshot.tunnels[tunnel].spec;
    slot.room = static_cast<uint8_t>(slot.room + encap::overhead(spec));
    slot.over_v6 = snapshot.tunnels[tunnel].over_v6;
    slot.by_hash = spec.kind == encap::Kind::Vxlan || slot.over_v6;
  }
  std::memcpy(slot.header.data(), link.mac.bytes.data(), 6);
  std::memcpy(slot.header.data() + 6, interface.mac.bytes.data(), 6);
  slot.header_length = net::ethernet_header_length;
  if (interface.vlan != 0) {
    slot.header_length += net::vlan_tag_length;
    net::store_be16(slot.header.data() + 12, net::ether_type_vlan);
    net::store_be16(slot.header.data() + 14, interface.vlan);
  } else if (tunnel == no_tunnel) {
    slot.in_place = net::ethernet_header_length;
  }
  return true;
}

}  // namespace sluice::dataplane
