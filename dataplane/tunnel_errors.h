// ICMP errors of the underlay about our own outer packets, taken by worker 0 for all workers.
//
// "Too big" lowers the MTU of that tunnel for ten minutes (MTU-3, RFC 1191 section 6.3); "unreachable" and "TTL
// exceeded" make it count as unreachable for five seconds (IPIP-4). Neither error can be passed on as it is: it seldom
// quotes enough of the inner packet (RFC 2003 section 5.1). Instead the next inner packets are answered by what is
// known here: with "too big", or with "host unreachable" while they still go into the tunnel, so that it is known soon
// when the way is good again.
//
// An error counts only if its checksum is right and it quotes a packet from our end of a tunnel to the other, of the
// tunnel's protocol, port and VNI; a size only if it is smaller than what is used now and no less than every link must
// carry. Whoever sends it: any router of the way may.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/net/packet.h"

namespace sluice::dataplane {

class TunnelErrors {
 public:
  static constexpr nat::Millis mtu_lifetime = 600000;
  static constexpr nat::Millis unreachable_lifetime = 5000;

  explicit TunnelErrors(Context& context);

  // An ICMP error to one of our addresses that belongs to no flow. Takes ownership.
  template <class F>
  void on_error(net::FlowPacket<F>& packet);
  // Forgets what is old or about tunnels that are gone: one entry per call, all of them after a change.
  void tick();

 private:
  static constexpr uint16_t nowhere = 0xffff;

  // A tunnel about which something is known.
  struct Known {
    uint16_t tunnel = 0;
    net::IpAddr remote;
    TunnelPath path;
    nat::Millis mtu_learned = 0;
    nat::Millis unreachable_seen = 0;
  };

  [[nodiscard]] Known& known(uint16_t tunnel);
  void lower(uint16_t tunnel, uint32_t outer_mtu);
  void mark_unreachable(uint16_t tunnel);
  // False: nothing is known any more, and another entry may stand at `at`.
  bool age(size_t at);

  Context& context_;
  std::vector<Known> known_;              // reserved for all, never grows
  std::unique_ptr<uint16_t[]> position_;  // in known_, by tunnel
  size_t cursor_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace sluice::dataplane
