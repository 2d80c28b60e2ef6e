// The router as a listener of multicast groups: the solicited-node groups (RFC 4291 section 2.7.1) of its addresses and
// of those that it announces, so that switches that snoop MLD let neighbour solicitations for them through. It tells of
// a group when it joins, and answers queries: by MLDv2 (RFC 3810), or by MLDv1 (RFC 2710) where a router speaks that.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/net/addr.h"

namespace sluice::dataplane {

class Output;

// RFC 3810 section 5.1.3: the maximum response delay of MLDv2, in milliseconds.
[[nodiscard]] constexpr uint32_t mld_response_delay(uint16_t code) {
  if (code < 0x8000) return code;
  return ((code & 0x0fffU) | 0x1000U) << ((code >> 12 & 7U) + 3);
}

inline constexpr uint8_t multicast_listener_query = 130;

// Of worker 0. Does nothing at a pod's interface.
class MembershipListener {
 public:
  MembershipListener(Context& context, Output& output);

  // Tells that the group of an address is listened to.
  void join(uint16_t interface, const net::Ipv6Addr& address);
  // A packet with hop-by-hop options at `l3`, of a group of the link. Takes ownership.
  void on_query(rte_mbuf* mbuf, uint16_t l3, uint16_t interface);
  // Sends what is due.
  void tick();

 private:
  // Of an interface.
  struct State {
    std::optional<nat::Millis> due;     // the answer to queries
    net::Ipv6Addr group;                // that they ask for; unspecified: all
    uint32_t next = 0;                  // of the groups, where the answer goes on
    std::optional<nat::Millis> v1_end;  // until then a router here speaks MLDv1
  };

  struct Query {
    net::Ipv6Addr group;
    uint32_t delay = 0;  // milliseconds
    bool v1 = false;
  };

  // Empty: it is none, or it breaks a rule of RFC 3810 section 6.2.
  [[nodiscard]] std::optional<Query> read(const rte_mbuf* mbuf, uint16_t l3) const;
  [[nodiscard]] bool speaks_v1(State& state) const;
  // False: it goes on in a later tick.
  [[nodiscard]] bool answer(uint16_t interface, State& state);
  void send_v1(uint16_t interface, const net::Ipv6Addr& group);
  void send_v2(uint16_t interface, uint8_t type, const net::Ipv6Addr* groups, uint16_t count);
  [[nodiscard]] uint8_t* start_packet(uint16_t interface, const net::Ipv6Addr& destination, uint16_t length,
                                      rte_mbuf*& mbuf) const;
  void finish_packet(rte_mbuf* mbuf, uint16_t interface, const net::Ipv6Addr& destination, uint16_t length);

  Context& context_;
  Output& output_;
  std::vector<State> states_;  // by interface
};

}  // namespace sluice::dataplane
