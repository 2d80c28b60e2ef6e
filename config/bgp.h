// What the objects about BGP say: projectcalico.org/v3 BGPConfiguration, BGPPeer and BGPFilter, and spec.bgp of
// GatewayConfiguration. Values only; who peers with whom and what is announced is control/bgp_plan.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/selector.h"
#include "dataplane/net/addr.h"

namespace sluice::config {

// RFC 6793: four bytes, host byte order.
using AsNumber = uint32_t;
inline constexpr AsNumber default_as_number = 64512;
inline constexpr uint16_t bgp_port = 179;

// RFC 1997 "65000:100", or with three parts RFC 8092 "65000:1:2".
struct BgpCommunity {
  std::vector<uint32_t> parts;  // two of 16 bits, or three of 32
  [[nodiscard]] bool is_large() const { return parts.size() == 3; }
  friend bool operator==(const BgpCommunity&, const BgpCommunity&) = default;
  friend auto operator<=>(const BgpCommunity&, const BgpCommunity&) = default;
};
[[nodiscard]] std::optional<BgpCommunity> parse_bgp_community(std::string_view text);
[[nodiscard]] std::string to_string(const BgpCommunity& community);

// "64512", or in two halves "1.10" (RFC 5396). Not 0.
[[nodiscard]] std::optional<AsNumber> parse_as_number(std::string_view text);

// A value of a Secret in a namespace of those who run the cluster (control/bgp_plan.cpp).
struct SecretKeyRef {
  std::string name;
  std::string key;
  friend bool operator==(const SecretKeyRef&, const SecretKeyRef&) = default;
};

// v1 Secret: values that can be passwords of BGP sessions.
struct Secret {
  static constexpr size_t longest_value = 80;  // bytes: TCP_MD5SIG_MAXKEYLEN of Linux
  std::map<std::string, std::string> data;     // decoded
  friend bool operator==(const Secret&, const Secret&) = default;
};

struct PrefixAdvertisement {
  net::Prefix cidr;                      // masked
  std::vector<std::string> communities;  // values, or names of BgpConfiguration::communities
  friend bool operator==(const PrefixAdvertisement&, const PrefixAdvertisement&) = default;
};

// projectcalico.org/v3 BGPConfiguration: "default" for all nodes, "node.NAME" for one.
struct BgpConfiguration {
  std::optional<AsNumber> as_number;
  std::optional<uint16_t> listen_port;
  std::optional<bool> mesh;  // nodeToNodeMeshEnabled
  std::optional<std::chrono::seconds> mesh_restart_time;
  std::optional<SecretKeyRef> mesh_password;
  std::vector<net::Prefix> service_cluster_ips;
  std::vector<net::Prefix> service_external_ips;
  std::vector<net::Prefix> service_load_balancer_ips;
  bool aggregate_load_balancer_ips = true;
  std::map<std::string, BgpCommunity> communities;
  std::vector<PrefixAdvertisement> prefix_advertisements;
  bool bind_to_node_ip = false;  // bindMode NodeIP
  std::vector<std::string> ignored_interfaces;
  friend bool operator==(const BgpConfiguration&, const BgpConfiguration&) = default;
};

enum class NextHopMode : uint8_t { Auto, Self, Keep };

// projectcalico.org/v3 BGPPeer
struct BgpPeer {
  std::string name;
  std::string node;                       // who has the peer: this node,
  std::optional<Selector> node_selector;  // those nodes, or if neither is said every node
  std::optional<net::IpAddr> peer_ip;     // the peer: this address,
  uint16_t peer_port = bgp_port;
  std::optional<Selector> peer_selector;  // or those nodes
  AsNumber as_number = 0;                 // of the peer; with peer_selector the nodes' own
  std::optional<AsNumber> local_as_number;
  NextHopMode next_hop = NextHopMode::Auto;
  std::optional<SecretKeyRef> password;
  bool use_node_ip = true;  // sourceAddress UseNodeIP
  std::optional<std::chrono::seconds> max_restart_time;
  std::optional<std::chrono::seconds> keepalive_time;
  uint8_t allowed_local_as = 0;             // numAllowedLocalASNumbers
  std::optional<uint8_t> ttl_security;      // hops; absent: off
  std::optional<net::IpAddr> reachable_by;  // gateway
  std::vector<std::string> filters;         // names of BGPFilters, in order
  friend bool operator==(const BgpPeer&, const BgpPeer&) = default;
};

// projectcalico.org/v3 BGPFilter
struct BgpFilterRule {
  enum class Operator : uint8_t { Equal, NotEqual, In, NotIn };

  std::optional<net::Prefix> cidr;  // masked; absent: every prefix
  Operator match = Operator::Equal;
  std::optional<uint8_t> min_length, max_length;  // prefixLength
  bool from_remote_peers = false;                 // source RemotePeers
  std::string interface;                          // a pattern with "*"; empty: any
  bool accept = true;
  friend bool operator==(const BgpFilterRule&, const BgpFilterRule&) = default;
};

struct BgpFilter {
  std::vector<BgpFilterRule> export_v4, import_v4, export_v6, import_v6;
  friend bool operator==(const BgpFilter&, const BgpFilter&) = default;
};

// GatewayConfiguration spec.bgp.bfd: RFC 5880.
struct Bfd {
  std::chrono::milliseconds receive{300};
  std::chrono::milliseconds transmit{300};
  uint8_t multiplier = 3;
  friend bool operator==(const Bfd&, const Bfd&) = default;
};

enum class BgpEngine : uint8_t { None, Bird };

// GatewayConfiguration spec.bgp
struct Bgp {
  BgpEngine engine = BgpEngine::None;
  uint32_t max_prefixes = 10000;  // that one session may send, of a family; 0: any number
  bool allow_default_route = false;
  std::optional<net::Ipv4Addr> router_id;
  std::optional<Bfd> bfd;  // absent: off
  friend bool operator==(const Bgp&, const Bgp&) = default;
};

}  // namespace sluice::config
