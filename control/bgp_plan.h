// Config → BgpPlan: with whom the router speaks BGP, what it announces and why, what it takes. Pure: no file, no clock.
// What it says becomes a configuration of BIRD in bird_config.h.
//
// Who peers with whom is Calico's: the full mesh of nodes without a route reflector cluster id (BGP-1, BGP-7), and
// BGPPeers; one with peerSelector makes the session on both sides. Of several that name one address, a BGPPeer comes
// before the mesh, and of BGPPeers one for this node before one for selected nodes before one for all. MetalLB's
// BGPPeers, of another kind, come behind Calico's (bgp_metallb.h).
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/model.h"
#include "control/bgp_services.h"
#include "control/plan.h"

namespace sluice::control {

struct BgpSession {
  enum class Kind : uint8_t { Mesh, NodePeer, GlobalPeer };

  std::string name;  // of BIRD's protocol: "mesh.node1", "peer.tor", "peer.racks:node1"; unique, at most 60 characters
  Kind kind = Kind::Mesh;
  std::string object;  // "Node node1", "BGPPeer tor"
  net::IpAddr peer;
  uint16_t peer_port = config::bgp_port;
  config::AsNumber peer_as = 0;
  config::AsNumber local_as = 0;
  std::optional<net::IpAddr> source;  // our end; absent: as the host's kernel chooses
  bool on_link = false;               // in a subnet of an interface, and no hops are said
  uint8_t hops = 0;                   // ttlSecurity; 0: off
  config::NextHopMode next_hop = config::NextHopMode::Auto;
  bool route_reflector_client = false;
  std::string password;  // empty: none
  std::chrono::seconds restart_time{120};
  std::optional<std::chrono::seconds> keepalive;
  uint8_t allowed_local_as = 0;
  std::optional<net::IpAddr> reachable_by;
  bool bfd = false;
  std::vector<std::string> filters;  // names in BgpPlan::filters
  std::string metallb_peer;          // name of MetalLB's BGPPeer; empty: it is another's
  bool any_external_as = false;      // dynamicASN external; peer_as is 0 then
  std::optional<std::chrono::seconds> hold, connect_retry;
  std::optional<net::Ipv4Addr> router_id;         // absent: the plan's
  bool graceful_restart = true;                   // false: only the peer's is respected
  std::optional<config::BfdProfile> bfd_profile;  // absent: the plan's times

  [[nodiscard]] bool external() const { return peer_as != local_as; }
  // Nothing is taken, and sent only what BGPAdvertisements say.
  [[nodiscard]] bool advertisements_only() const { return !metallb_peer.empty(); }
  friend bool operator==(const BgpSession&, const BgpSession&) = default;
};

struct BgpOrigin {
  std::set<config::BgpCommunity> communities;
  std::set<std::string> reasons;  // "block of this node", "Service default/web", "BGPConfiguration default"
  friend bool operator==(const BgpOrigin&, const BgpOrigin&) = default;
};

// What a route is sent with (LB-10).
struct BgpAttributes {
  std::optional<uint32_t> local_pref;
  std::set<config::BgpCommunity> communities;
  friend bool operator==(const BgpAttributes&, const BgpAttributes&) = default;
  friend auto operator<=>(const BgpAttributes&, const BgpAttributes&) = default;
};

// A prefix of BGPAdvertisements.
struct BgpAdvertised {
  std::set<std::string> reasons;  // "Service default/web"
  size_t audience = 0;            // index in BgpPlan::audiences
  friend bool operator==(const BgpAdvertised&, const BgpAdvertised&) = default;
};

struct BgpPlan {
  net::Ipv4Addr router_id;
  config::AsNumber as_number = config::default_as_number;
  uint16_t listen_port = config::bgp_port;
  bool bind_to_source = false;
  std::vector<std::string> ignored_interfaces;
  std::optional<net::Ipv4Addr> cluster_id;  // the router is a route reflector
  std::vector<BgpSession> sessions;         // in the order of names
  std::map<net::Prefix, BgpOrigin> origins;
  std::map<net::Prefix, BgpAdvertised> advertised;
  // Who gets a prefix, with what: by names of sessions, in the order of their values.
  std::vector<std::map<std::string, BgpAttributes>> audiences;
  std::set<net::Prefix> own_blocks;                  // that nobody tells us of
  std::set<net::Prefix> pools;                       // learned routes in them are passed on
  std::set<net::Prefix> silent_pools;                // disableBGPExport
  std::map<std::string, config::BgpFilter> filters;  // those that sessions name
  uint32_t max_prefixes = 0;                         // 0: any number
  bool allow_default_route = false;
  std::optional<config::Bfd> bfd;
  // For all sessions, or for one.
  [[nodiscard]] bool has_bfd() const {
    return bfd || std::any_of(sessions.begin(), sessions.end(), [](const BgpSession& one) { return one.bfd; });
  }
  bool silent = false;  // sends nothing at all, whatever filters say
  std::vector<std::string> warnings;

  friend bool operator==(const BgpPlan&, const BgpPlan&) = default;
};

// Whether a change may make another plan, apart from what BgpServices has.
[[nodiscard]] bool concerns_bgp_plan(const config::Change& change, const config::Config& config);

[[nodiscard]] BgpPlan make_bgp_plan(const config::Config& config, const Allocated& allocated,
                                    const BgpServices& services);

// Networks that are announced as a whole: what is in them and no service's address must not follow the default route
// (BGP-5). None if BGP is off.
[[nodiscard]] std::vector<net::Prefix> announced_service_networks(const config::Config& config);

}  // namespace sluice::control
