#include "control/bgp_metallb.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace sluice::control {
namespace {

using config::BgpAdvertisement;
using config::Config;
using config::ObjectName;
using net::IpAddr;
using net::Prefix;

using Audience = std::map<std::string, BgpAttributes>;

// Of the advertisement's namespace; empty: it is no community, and there is no alias of that name.
std::optional<config::BgpCommunity> community_of(const Config& config, const std::string& ns, const std::string& text) {
  for (const auto& [name, list] : config.community_lists) {
    if (name.ns != ns) continue;
    if (const auto found = list.communities.find(text); found != list.communities.end()) return found->second;
  }
  return config::parse_metallb_community(text);
}

class Advertiser {
 public:
  Advertiser(const Config& config, BgpPlan& plan) : config_(config), plan_(plan) {
    for (const auto& [name, advertisement] : bgp_advertisements_of(config)) read(name, advertisement);
  }

  void add(const BgpServices& services) {
    std::map<Prefix, Audience> audiences;
    for (const auto& [prefix, advertisements] : services.advertised()) {
      Audience audience;
      for (const auto& [name, because] : advertisements) {
        const auto found = known_.find(name);
        if (found == known_.end()) continue;
        add_to(prefix, found->second, audience);
        for (const ObjectName& service : because) plan_.advertised[prefix].reasons.insert("Service " + service.text());
      }
      audiences.emplace(prefix, std::move(audience));
    }
    number(audiences);
  }

 private:
  struct Known {
    BgpAttributes attributes;
    std::vector<const BgpSession*> sessions;
  };

  void read(const ObjectName& name, const BgpAdvertisement& advertisement);
  void warn(const ObjectName& name, std::string_view field, size_t index, const std::string& what) {
    plan_.warnings.push_back(fmt::format("BGPAdvertisement {}: spec.{}[{}]: {}", name.text(), field, index, what));
  }
  void check_names(const ObjectName& name, const BgpAdvertisement& advertisement);
  static void add_to(const Prefix& prefix, const Known& advertisement, Audience& audience) {
    for (const BgpSession* session : advertisement.sessions) {
      if (session->peer.family() != prefix.family()) continue;
      BgpAttributes& attributes = audience[session->name];
      attributes.local_pref = std::max(attributes.local_pref, advertisement.attributes.local_pref);
      attributes.communities.insert(advertisement.attributes.communities.begin(),
                                    advertisement.attributes.communities.end());
    }
  }
  // Numbers are small and stay the same as long as no other combination comes: BIRD's filters have them.
  void number(const std::map<Prefix, Audience>& audiences) {
    std::set<Audience> distinct;
    for (const auto& [prefix, audience] : audiences) distinct.insert(audience);
    plan_.audiences.assign(distinct.begin(), distinct.end());
    for (const auto& [prefix, audience] : audiences) {
      plan_.advertised[prefix].audience = static_cast<size_t>(std::distance(distinct.begin(), distinct.find(audience)));
    }
  }

  const Config& config_;
  BgpPlan& plan_;
  std::map<ObjectName, Known> known_;
};

void Advertiser::check_names(const ObjectName& name, const BgpAdvertisement& advertisement) {
  for (size_t i = 0; i < advertisement.pools.size(); ++i) {
    const std::string& wanted = advertisement.pools[i];
    const bool there = std::any_of(config_.address_pools.begin(), config_.address_pools.end(),
                                   [&](const auto& entry) { return entry.first.name == wanted; });
    if (!there) warn(name, "ipAddressPools", i, fmt::format("there is no IPAddressPool {}", wanted));
  }
  for (size_t i = 0; i < advertisement.peers.size(); ++i) {
    const std::string& wanted = advertisement.peers[i];
    const bool there = std::any_of(config_.metallb_peers.begin(), config_.metallb_peers.end(),
                                   [&](const auto& entry) { return entry.first.name == wanted; });
    if (!there) warn(name, "peers", i, fmt::format("there is no BGPPeer {} of metallb.io", wanted));
  }
}

void Advertiser::read(const ObjectName& name, const BgpAdvertisement& advertisement) {
  check_names(name, advertisement);
  Known known;
  known.attributes.local_pref = advertisement.local_pref;
  for (size_t i = 0; i < advertisement.communities.size(); ++i) {
    const std::string& text = advertisement.communities[i];
    if (auto community = community_of(config_, name.ns, text)) {
      known.attributes.communities.insert(std::move(*community));
    } else {
      warn(name, "communities", i,
           fmt::format("{} is neither a community such as 65000:100 nor the name of one in a Community of namespace "
                       "{}; addresses are announced without it",
                       text, name.ns));
    }
  }
  for (const BgpSession& session : plan_.sessions) {
    if (!session.advertisements_only()) continue;
    const bool wanted = advertisement.peers.empty() || std::find(advertisement.peers.begin(), advertisement.peers.end(),
                                                                 session.metallb_peer) != advertisement.peers.end();
    if (wanted) known.sessions.push_back(&session);
  }
  known_.emplace(name, std::move(known));
}

}  // namespace

void add_networks(const IpAddr& first, const IpAddr& last, std::set<Prefix>& out) {
  for (uint8_t length = 1; length <= first.bit_length(); ++length) {
    const auto range = config::parse_address_range(net::to_string(Prefix{first, length}.masked()));
    if (!range || range->first != first || last < range->last) continue;
    out.insert(Prefix{first, length});
    if (range->last == last) return;
    // What is behind it is another network's beginning: the next address.
    std::array<uint8_t, 16> bytes = range->last.bytes();
    for (size_t i = first.bit_length() / 8U; i-- > 0;) {
      if (++bytes[i] != 0) break;
    }
    const IpAddr next = first.is_v6()
                            ? IpAddr(net::Ipv6Addr{bytes})
                            : IpAddr(net::Ipv4Addr::from_host(static_cast<uint32_t>(bytes[0]) << 24 |
                                                              static_cast<uint32_t>(bytes[1]) << 16 |
                                                              static_cast<uint32_t>(bytes[2]) << 8 | bytes[3]));
    return add_networks(next, last, out);
  }
}

BgpSession metallb_session(const config::MetallbPeer& peer, BgpSession session) {
  session.kind = peer.node_selectors.empty() ? BgpSession::Kind::GlobalPeer : BgpSession::Kind::NodePeer;
  session.name = fmt::format("metallb.{}:{}", peer.ns, peer.name);
  session.object = fmt::format("BGPPeer {}/{}", peer.ns, peer.name);
  session.metallb_peer = peer.name;
  session.peer_port = peer.port;
  session.local_as = peer.my_as;
  session.any_external_as = peer.dynamic_as == config::DynamicAs::External;
  session.peer_as = peer.dynamic_as == config::DynamicAs::Internal ? peer.my_as : peer.peer_as;
  if (peer.source) session.source = peer.source;
  session.hold = peer.hold_time;
  session.keepalive = peer.keepalive_time;
  session.connect_retry = peer.connect_time;
  session.router_id = peer.router_id;
  session.graceful_restart = peer.graceful_restart;
  session.password = peer.password;
  session.next_hop = config::NextHopMode::Self;
  return session;
}

void add_advertised(const Config& config, const BgpServices& services, BgpPlan& plan) {
  Advertiser(config, plan).add(services);
}

std::vector<Prefix> aggregated_networks(const Config& config) {
  std::set<Prefix> out;
  for (const auto& [name, advertisement] : bgp_advertisements_of(config)) {
    for (const auto& [pool_name, pool] : config.address_pools) {
      if (!advertisement.announces(pool)) continue;
      for (const config::AddressRange& range : pool.ranges) {
        const uint8_t length = advertisement.length(range.family());
        if (length == range.first.bit_length()) continue;
        const auto end = config::parse_address_range(net::to_string(Prefix{range.last, length}.masked()));
        if (end) add_networks(Prefix{range.first, length}.masked().addr, end->last, out);
      }
    }
  }
  return {out.begin(), out.end()};
}

}  // namespace sluice::control
