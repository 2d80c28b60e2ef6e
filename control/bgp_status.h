// What there is to see of BGP: GET /v1/bgp, metrics, events.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/bgp.h"
#include "dataplane/net/addr.h"

namespace sluice::control {

struct BgpSessionStatus {
  std::string name;    // of the protocol in BIRD
  std::string object;  // "Node node1", "BGPPeer tor"
  std::string type;    // as calicoctl has it: "node-to-node mesh", "node specific", "global"
  net::IpAddr peer;
  uint16_t peer_port = config::bgp_port;
  config::AsNumber peer_as = 0, local_as = 0;
  bool up = false;                      // established
  std::string state;                    // of BIRD's protocol: "up", "start", "down"; "unknown": BIRD does not say
  std::string bgp_state;                // "Established", "Active" …; empty: not known
  std::string info;                     // BIRD's words, such as the last error
  std::optional<double> since_seconds;  // of the state, since 1970, by the clock of BIRD's machine
  uint64_t imported = 0, exported = 0;  // routes
  bool limit_reached = false;           // spec.bgp.maxPrefixes: the peer sends more than are taken
  std::string bfd;                      // "Up", "Down" …; empty: none
};

struct BgpAnnouncement {
  net::Prefix prefix;
  std::vector<std::string> communities;
  std::vector<std::string> reasons;
};

struct BgpStatus {
  bool enabled = false;
  bool connected = false;  // to BIRD's control socket
  std::string version;     // "BIRD 2.0.12"
  std::string problem;     // why what is wanted is not what BIRD does; empty: it is
  net::Ipv4Addr router_id;
  config::AsNumber as_number = 0;
  std::vector<BgpSessionStatus> sessions;
  std::vector<BgpAnnouncement> announced;
  std::vector<std::string> warnings;  // of the plan
};

}  // namespace sluice::control
