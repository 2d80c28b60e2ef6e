#include "dataplane/adjacency.h"

namespace sluice::dataplane {

bool AdjacencyCache::make(Adjacency& slot, NeighborRef neighbor, uint16_t tunnel, const Neighbor& entry,
                          const Snapshot& snapshot, uint16_t worker) {
  slot = {};
  const uint64_t word = entry.link.load(std::memory_order_relaxed);
  const NeighborLink link = NeighborLink::unpack(word);
  if (!link.usable() || link.epoch != neighbor_epoch(neighbor)) return false;
  if (entry.interface >= snapshot.interfaces.size()) return false;
  const Interface& interface = snapshot.interfaces[entry.interface];
  if (!interface.present || interface.port >= snapshot.ports.size()) return false;
  const PortView& port = snapshot.ports[interface.port];
  if (!port.present || worker >= port.tx_queues) return false;
  if (tunnel != no_tunnel && (tunnel >= snapshot.tunnels.size() || !snapshot.tunnels[tunnel].present)) return false;
  slot.generation = snapshot.generation;
  slot.neighbor = neighbor;
  slot.tunnel = tunnel;
  slot.interface = entry.interface;
  slot.port = interface.port;
  slot.mtu = tunnel == no_tunnel ? interface.mtu : snapshot.tunnels[tunnel].spec.mtu;
  std::memcpy(slot.header.data(), link.mac.bytes.data(), 6);
  std::memcpy(slot.header.data() + 6, interface.mac.bytes.data(), 6);
  slot.header_length = net::ethernet_header_length;
  if (interface.vlan != 0) {
    slot.header_length += net::vlan_tag_length;
    net::store_be16(slot.header.data() + 12, net::ether_type_vlan);
    net::store_be16(slot.header.data() + 14, interface.vlan);
  }
  slot.link = word;
  return true;
}

}  // namespace sluice::dataplane
