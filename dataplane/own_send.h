// The way of a packet that the router makes itself in the name of one end of a connection, to the other end.
#pragma once

#include <cstdint>

#include "dataplane/context.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/output.h"
#include "dataplane/punt.h"

namespace sluice::dataplane {

// `make` returns the IP packet in a buffer of its own, from key.src to key.dst, or nullptr; it is called only if there
// is a way. `hash`: of the flow. False: nothing was sent.
template <class F, class Make>
[[nodiscard]] bool send_own(Context& context, Output& output, const net::FlowKey<F>& key, uint64_t hash,
                            const Make& make) {
  const Egress egress = output.route<F>(key.dst, hash);
  // The host behind the router is the other end.
  const bool to_host = egress.kind == HopKind::Local && !context.snapshot->twins.empty();
  const uint16_t twin = to_host ? context.punt->template twin_for<F>(net::no_interface, key.dst) : net::no_interface;
  if (!egress.forwards() && twin == net::no_interface) return false;
  net::Packet packet;
  packet.mbuf = make();
  if (packet.mbuf == nullptr) return false;
  if (twin != net::no_interface) {
    context.punt->give(packet.mbuf, 0, twin, punt_class(key.protocol, key.src_port, key.dst_port));
    return true;
  }
  packet.l3_length = static_cast<uint16_t>(packet.mbuf->pkt_len);
  output.send<F>(packet, egress, hash);
  return true;
}

}  // namespace sluice::dataplane
