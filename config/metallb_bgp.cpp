// MetalLB's objects about BGP (metallb.io/v1beta1, BGPPeer also v1beta2).
#include "config/metallb_bgp.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "config/convert.h"
#include "config/metallb_advertisement.h"

namespace sluice::config {
namespace {

constexpr std::array dynamic_modes{Choice<DynamicAs>{"internal", DynamicAs::Internal},
                                   Choice<DynamicAs>{"external", DynamicAs::External}};
constexpr std::string_view a_community = "a community such as 65000:100 or large:65000:1:2";
constexpr uint64_t longest_interval = 60000;  // milliseconds

bool says_something(Reader& spec, std::string_view key) {
  const boost::json::value* value = spec.find(key);
  return value != nullptr && !(value->is_string() && value->get_string().empty());
}

void read_seconds(Reader& spec, std::string_view key, std::optional<Seconds>& out, Seconds least, Seconds most) {
  if (!spec.has(key)) return;
  Seconds length = least;
  spec.duration(key, length);
  if (length < least || length > most) {
    spec.fault(key, fmt::format("expected {}s to {}s, found {}s", least.count(), most.count(), length.count()));
  } else {
    out = length;
  }
}

void read_times(Reader& spec, MetallbPeer& peer) {
  std::optional<Seconds> hold;
  read_seconds(spec, "holdTime", hold, Seconds(0), Seconds(65535));
  if (hold && *hold > Seconds(0) && *hold < Seconds(3)) {
    spec.fault("holdTime", "0s or at least 3s (RFC 4271 section 4.2)");
  } else if (hold) {
    peer.hold_time = *hold;
  }
  read_seconds(spec, "keepaliveTime", peer.keepalive_time, Seconds(1), Seconds(21845));
  if (peer.keepalive_time && *peer.keepalive_time > peer.hold_time) {
    spec.fault("keepaliveTime", fmt::format("is more than holdTime, {}s", peer.hold_time.count()));
  }
  read_seconds(spec, "connectTime", peer.connect_time, Seconds(1), Seconds(65535));
}

void read_password(Reader& spec, MetallbPeer& peer) {
  spec.text("password", peer.password);
  Reader secret = spec.object("passwordSecret");
  std::string name;
  secret.text("name", name);
  secret.text("namespace", peer.password_namespace);
  if (peer.password_namespace.empty()) peer.password_namespace = peer.ns;
  if (name.empty()) return;
  if (!peer.password.empty()) spec.fault("passwordSecret", "password and passwordSecret exclude each other");
  peer.password_secret = SecretKeyRef{name, "password"};
}

void read_far_end(Reader& spec, MetallbPeer& peer) {
  if (says_something(spec, "peerAddress"))
    spec.parsed("peerAddress", peer.address, net::parse_ip, "an IPv4 or IPv6 address");
  if (says_something(spec, "sourceAddress"))
    spec.parsed("sourceAddress", peer.source, net::parse_ip, "an IPv4 or IPv6 address");
  spec.number("peerPort", peer.port, 0, 65535);
  if (peer.port == 0) peer.port = bgp_port;
  spec.require("myASN");
  spec.number("myASN", peer.my_as, 1, UINT32_MAX);
  spec.number("peerASN", peer.peer_as, 0, UINT32_MAX);
  if (says_something(spec, "dynamicASN")) spec.choice("dynamicASN", peer.dynamic_as, dynamic_modes);
  const auto refuse = [&](std::string_view key, std::string_view what) {
    if (!says_something(spec, key)) return;
    peer.unusable = what;
    spec.warn(key, fmt::format("not supported, no session is made: {}", what));
  };
  refuse("interface", "sessions need peerAddress, there are none over link-local addresses");
  refuse("vrf", "the router has one routing table");
}

}  // namespace

std::optional<BgpCommunity> parse_metallb_community(std::string_view text) {
  static constexpr std::string_view large = "large:";
  const bool is_large = text.starts_with(large);
  if (is_large) text.remove_prefix(large.size());
  auto out = parse_bgp_community(text);
  if (out && is_large && !out->is_large()) return std::nullopt;
  return out;
}

bool BgpAdvertisement::announces(const AddressPool& pool) const { return selects(*this, pool); }

BgpAdvertisement read_bgp_advertisement(const ObjectKey& key, Reader& object) {
  BgpAdvertisement out;
  (void)object.object("spec");
  Reader spec = metallb_spec(object);
  read_selection(key, spec, out);
  spec.texts("peers", out.peers);
  spec.number("aggregationLength", out.aggregation_v4, 1, 32);
  spec.number("aggregationLengthV6", out.aggregation_v6, 1, 128);
  spec.number("localPref", out.local_pref, 0, UINT32_MAX);
  if (out.local_pref == 0U) out.local_pref.reset();  // MetalLB's way to say nothing
  spec.texts("communities", out.communities);
  return out;
}

MetallbPeer read_metallb_peer(const ObjectKey& key, Reader& object) {
  MetallbPeer peer;
  peer.ns = key.ns;
  peer.name = key.name;
  (void)object.object("spec");
  object.require("spec");
  Reader spec = metallb_spec(object);
  read_far_end(spec, peer);
  read_times(spec, peer);
  read_password(spec, peer);
  if (says_something(spec, "routerID")) spec.parsed("routerID", peer.router_id, net::parse_ipv4, "an IPv4 address");
  read_label_selectors(spec, "nodeSelectors", peer.node_selectors);
  spec.text("bfdProfile", peer.bfd_profile);
  spec.flag("enableGracefulRestart", peer.graceful_restart);
  // A session carries the routes of its own family, and goes as far as the way to the peer is.
  for (const std::string_view other : {"disableMP", "ebgpMultiHop"}) {
    bool ignored = false;
    spec.flag(other, ignored);
  }
  bool both = false;
  spec.flag("dualStackAddressFamily", both);
  if (both) spec.warn("dualStackAddressFamily", "not supported: the session carries addresses of its own family only");
  return peer;
}

CommunityList read_community_list(const ObjectKey&, Reader& object) {
  CommunityList out;
  (void)object.object("spec");
  Reader spec = metallb_spec(object);
  spec.each("communities", [&](Reader& item, size_t) {
    std::string name;
    std::optional<BgpCommunity> value;
    item.need_text("name", name);
    item.require("value");
    item.parsed("value", value, parse_metallb_community, a_community);
    if (!value || name.empty()) return;
    if (!out.communities.emplace(name, std::move(*value)).second) item.fault("name", "this name is there already");
  });
  return out;
}

BfdProfile read_bfd_profile(const ObjectKey&, Reader& object) {
  BfdProfile out;
  (void)object.object("spec");
  Reader spec = metallb_spec(object);
  const auto interval = [&](std::string_view key, std::chrono::milliseconds& value) {
    auto number = static_cast<uint32_t>(value.count());
    spec.number(key, number, 10, longest_interval);
    value = std::chrono::milliseconds(number);
  };
  interval("receiveInterval", out.times.receive);
  interval("transmitInterval", out.times.transmit);
  spec.number("detectMultiplier", out.times.multiplier, 2, 255);
  spec.flag("passiveMode", out.passive);
  bool echo = false;
  spec.flag("echoMode", echo);
  if (echo) spec.warn("echoMode", "not supported: BIRD sends no echo packets");
  (void)spec.has("echoInterval");
  if (spec.has("minimumTtl")) spec.unused("minimumTtl");
  return out;
}

}  // namespace sluice::config
