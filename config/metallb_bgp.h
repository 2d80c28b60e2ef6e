// MetalLB's objects about BGP (metallb.io): BGPPeer, BGPAdvertisement, Community and BFDProfile. Values only; what
// becomes of them is control/bgp_plan.h. Calico's objects of the same subject are in config/bgp.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/bgp.h"
#include "config/label_selector.h"
#include "config/metallb.h"
#include "dataplane/net/addr.h"

namespace sluice::config {

struct BgpAdvertisement {
  std::string ns;
  std::string name;
  // Of which pools: those named or selected; all if nothing is said.
  std::vector<std::string> pools;
  std::vector<LabelSelector> pool_selectors;
  std::vector<LabelSelector> node_selectors;
  std::vector<LabelSelector> service_selectors;
  std::vector<std::string> peers;  // names of MetallbPeers; none: every one
  uint8_t aggregation_v4 = 32;     // aggregationLength: of the prefix that an address is announced in
  uint8_t aggregation_v6 = 128;
  std::optional<uint32_t> local_pref;    // RFC 4271 section 5.1.5; absent: BIRD's, 100
  std::vector<std::string> communities;  // values, or names of CommunityLists' entries

  [[nodiscard]] bool announces(const AddressPool& pool) const;
  // Of the prefix for an address of a family.
  [[nodiscard]] uint8_t length(net::Family family) const {
    return family == net::Family::V4 ? aggregation_v4 : aggregation_v6;
  }
  friend bool operator==(const BgpAdvertisement&, const BgpAdvertisement&) = default;
};

enum class DynamicAs : uint8_t { None, Internal, External };

// metallb.io BGPPeer
struct MetallbPeer {
  std::string ns;
  std::string name;
  AsNumber my_as = 0;
  AsNumber peer_as = 0;  // 0: dynamic_as
  DynamicAs dynamic_as = DynamicAs::None;
  std::optional<net::IpAddr> address;
  uint16_t port = bgp_port;
  std::optional<net::IpAddr> source;
  std::chrono::seconds hold_time{90};
  std::optional<std::chrono::seconds> keepalive_time;  // absent: a third of the hold time
  std::optional<std::chrono::seconds> connect_time;
  std::optional<net::Ipv4Addr> router_id;
  std::vector<LabelSelector> node_selectors;
  std::string password;  // in the object itself
  std::optional<SecretKeyRef> password_secret;
  std::string password_namespace;
  std::string bfd_profile;
  bool graceful_restart = false;
  std::string unusable;  // why there is no session with it; empty: nothing against it
  friend bool operator==(const MetallbPeer&, const MetallbPeer&) = default;
};

// metallb.io Community
struct CommunityList {
  std::map<std::string, BgpCommunity> communities;  // by alias
  friend bool operator==(const CommunityList&, const CommunityList&) = default;
};

// metallb.io BFDProfile
struct BfdProfile {
  Bfd times;
  bool passive = false;
  friend bool operator==(const BfdProfile&, const BfdProfile&) = default;
};

// "65000:100", or with three parts RFC 8092 "large:65000:1:2".
[[nodiscard]] std::optional<BgpCommunity> parse_metallb_community(std::string_view text);

}  // namespace sluice::config
