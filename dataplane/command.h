// Questions of the control thread about what only a worker may touch. A command travels on a ring to the worker,
// which works on it a little per loop and sets `done`; its memory stays the control thread's.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "dataplane/announcements.h"
#include "dataplane/flow_record.h"
#include "dataplane/net/addr.h"
#include "dataplane/static_neighbors.h"
#include "nat/flow.h"

namespace sluice::dataplane {

struct Command {
  enum class Kind : uint8_t { ListFlows, DeleteFlows, FindAffinity, FindMapping, Announce, SetNeighbors };
  Kind kind = Kind::ListFlows;
  FlowQuery query;
  uint64_t limit = std::numeric_limits<uint64_t>::max();  // so many are enough
  // ListFlows: the worker fills up to the capacity reserved here.
  std::vector<FlowRecord> records;
  uint64_t matched = 0;
  std::atomic<bool> done{false};

  // FindAffinity: of a client and a service port with session affinity (ServicePort), the endpoint that it has.
  struct Affinity {
    net::IpAddr client;
    uint32_t key = 0;
    uint32_t seconds = 0;
    std::optional<net::IpAddr> endpoint;  // the worker's answer
    uint16_t port = 0;                    // of it, host byte order
  };
  Affinity affinity;

  // FindMapping, of the worker that keeps it: an endpoint-independent mapping (nat/mapping.h), by one of its ends.
  // Ports in host byte order.
  struct Mapping {
    uint8_t protocol = 0;
    bool by_inside = false;  // whose `inside` at the address `outside` this is; otherwise whose port outside
    net::IpAddr inside, outside;
    uint16_t inside_port = 0, outside_port = 0;
    net::IpAddr peer;
    bool found = false;      // the worker's answer, with both ends
    bool permitted = false;  // whether the endpoint inside has a connection to `peer`
  };
  Mapping mapping;

  // Announce, of worker 0: gratuitous ARP and unsolicited advertisements (L2-4), as far as they are announced when it
  // comes to that; or, of those that do not answer, a question who has the address.
  std::vector<Announcement> announcements;

  // SetNeighbors, of worker 0: all that are static from now on beside those of the configuration (never nullptr), and
  // which addresses are different from before: new ones, those with another MAC address, those that are static no more.
  // The worker puts its former table here, so that it frees nothing.
  std::shared_ptr<const StaticNeighbors> neighbors;
  std::vector<std::pair<uint16_t, net::IpAddr>> other_neighbors;  // by interface

  // Where the worker stands.
  bool second_family = false;
  nat::ConnectionId cursor = 0;
};

}  // namespace sluice::dataplane
