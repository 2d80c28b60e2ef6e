// Calico's objects about BGP, as its API server (projectcalico.org/v3) or its custom resources
// (crd.projectcalico.org/v1) show them. Unknown fields are warned of: a session or a filter that is not quite what was
// asked for is worse than one that says so.
#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "config/convert.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

constexpr uint64_t highest_as_number = 0xffffffff;
constexpr std::string_view an_as_number = "an AS number such as 64512 or 1.10";
constexpr std::string_view a_selector = "a selector such as all() or rack == 'a'";

constexpr std::array next_hop_modes{Choice<NextHopMode>{"Auto", NextHopMode::Auto},
                                    Choice<NextHopMode>{"Self", NextHopMode::Self},
                                    Choice<NextHopMode>{"Keep", NextHopMode::Keep}};
constexpr std::array source_addresses{Choice<bool>{"UseNodeIP", true}, Choice<bool>{"None", false}};
constexpr std::array aggregations{Choice<bool>{"Enabled", true}, Choice<bool>{"Disabled", false}};
constexpr std::array bind_modes{Choice<bool>{"None", false}, Choice<bool>{"NodeIP", true}};
constexpr std::array actions{Choice<bool>{"Accept", true}, Choice<bool>{"Reject", false}};
constexpr std::array sources{Choice<bool>{"RemotePeers", true}};
constexpr std::array operators{Choice<BgpFilterRule::Operator>{"Equal", BgpFilterRule::Operator::Equal},
                               Choice<BgpFilterRule::Operator>{"NotEqual", BgpFilterRule::Operator::NotEqual},
                               Choice<BgpFilterRule::Operator>{"In", BgpFilterRule::Operator::In},
                               Choice<BgpFilterRule::Operator>{"NotIn", BgpFilterRule::Operator::NotIn}};

template <class Number>
bool read_number(std::string_view text, Number& out) {
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, out);
  return read.ec == std::errc{} && read.ptr == end;
}

struct PeerAddress {
  IpAddr address;
  uint16_t port = bgp_port;
};

// "192.0.2.1", "192.0.2.1:1179", "2001:db8::1", "[2001:db8::1]:1179"
std::optional<PeerAddress> parse_peer_address(std::string_view text) {
  if (const auto address = net::parse_ip(text)) return PeerAddress{*address};
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = net::parse_ip(host);
  PeerAddress out;
  if (!address || address->is_v6() != bracketed) return std::nullopt;
  if (!read_number(text.substr(colon + 1), out.port) || out.port == 0) return std::nullopt;
  out.address = *address;
  return out;
}

// An AS number is an integer, or a text.
template <class Out>
void read_as_number(Reader& spec, std::string_view key, Out& out) {
  const json::value* value = spec.find(key);
  if (value == nullptr) return;
  if (value->is_string()) {
    spec.parsed(key, out, parse_as_number, an_as_number);
  } else {
    spec.number(key, out, 1, highest_as_number);
  }
}

// Calico's metav1.Duration.
void read_seconds(Reader& spec, std::string_view key, std::optional<Seconds>& out, Seconds most,
                  Seconds least = Seconds(0)) {
  if (!spec.has(key)) return;
  Seconds length = least;
  spec.duration(key, length);
  if (length > most) {
    spec.fault(key, fmt::format("at most {}s, found {}s", most.count(), length.count()));
  } else if (length < least) {
    spec.fault(key, fmt::format("at least {}s, found {}s", least.count(), length.count()));
  } else {
    out = length;
  }
}

// {"secretKeyRef": {"name": …, "key": …}}
void read_password(Reader& spec, std::string_view key, std::optional<SecretKeyRef>& out) {
  Reader password = spec.object(key);
  if (!password) return;
  password.require("secretKeyRef");
  Reader ref = password.object("secretKeyRef");
  SecretKeyRef read;
  (void)ref.has("optional");
  const bool named = ref.need_text("name", read.name);
  const bool keyed = ref.need_text("key", read.key);
  if (named && keyed) out = std::move(read);
}

std::vector<Prefix> read_blocks(Reader& spec, std::string_view key) {
  std::vector<Prefix> out;
  spec.each(key, [&](Reader& item, size_t) {
    item.require("cidr");
    if (item.has("cidr")) item.network("cidr", out.emplace_back(), HostBits::Refuse);
  });
  return out;
}

void read_communities(Reader& spec, BgpConfiguration& configuration) {
  spec.each("communities", [&](Reader& item, size_t) {
    std::string name;
    std::optional<BgpCommunity> value;
    item.need_text("name", name);
    item.require("value");
    item.parsed("value", value, parse_bgp_community, "a community such as 65000:100 or 65000:1:2");
    if (value) configuration.communities.insert_or_assign(name, *value);
  });
  spec.each("prefixAdvertisements", [&](Reader& item, size_t) {
    PrefixAdvertisement advertisement;
    item.require("cidr");
    item.network("cidr", advertisement.cidr, HostBits::Refuse);
    item.texts("communities", advertisement.communities);
    configuration.prefix_advertisements.push_back(std::move(advertisement));
  });
}

BgpFilterRule read_rule(Reader& item, bool is_export) {
  BgpFilterRule rule;
  const json::value* value = item.find("cidr");
  if (value != nullptr) item.network("cidr", rule.cidr.emplace(), HostBits::Refuse);
  item.choice("matchOperator", rule.match, operators);
  if (rule.cidr && !item.has("matchOperator")) item.fault("matchOperator", "required beside cidr");
  if (!rule.cidr && item.has("matchOperator")) item.fault("cidr", "required beside matchOperator");
  {
    Reader length = item.object("prefixLength");
    length.number("min", rule.min_length, 0, 128);
    length.number("max", rule.max_length, 0, 128);
    if (length && !rule.cidr) item.fault("cidr", "required beside prefixLength");
  }
  item.choice("source", rule.from_remote_peers, sources);
  item.text("interface", rule.interface);
  const bool printable = std::all_of(rule.interface.begin(), rule.interface.end(),
                                     [](unsigned char c) { return c > ' ' && c < 0x7f && c != '"' && c != '\\'; });
  if (!printable) item.fault("interface", "expected the name of an interface, in which \"*\" may stand for anything");
  if (!is_export && rule.from_remote_peers) item.warn("source", "says nothing here: all that is imported is a peer's");
  item.require("action");
  item.choice("action", rule.accept, actions);
  return rule;
}

std::vector<BgpFilterRule> read_rules(Reader& spec, std::string_view key, bool is_export) {
  std::vector<BgpFilterRule> out;
  spec.each(key, [&](Reader& item, size_t) { out.push_back(read_rule(item, is_export)); });
  return out;
}

}  // namespace

std::optional<AsNumber> parse_as_number(std::string_view text) {
  AsNumber number = 0;
  if (const size_t dot = text.find('.'); dot != std::string_view::npos) {
    uint16_t high = 0;
    uint16_t low = 0;
    if (!read_number(text.substr(0, dot), high) || !read_number(text.substr(dot + 1), low)) return std::nullopt;
    number = AsNumber{high} << 16 | low;
  } else if (!read_number(text, number)) {
    return std::nullopt;
  }
  return number == 0 ? std::nullopt : std::optional(number);
}

std::optional<BgpCommunity> parse_bgp_community(std::string_view text) {
  BgpCommunity out;
  while (true) {
    const size_t colon = text.find(':');
    uint32_t part = 0;
    if (!read_number(text.substr(0, colon), part)) return std::nullopt;
    out.parts.push_back(part);
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  const bool standard = out.parts.size() == 2 && out.parts[0] <= 0xffff && out.parts[1] <= 0xffff;
  return standard || out.parts.size() == 3 ? std::optional(std::move(out)) : std::nullopt;
}

std::string to_string(const BgpCommunity& community) { return fmt::format("{}", fmt::join(community.parts, ":")); }

BgpConfiguration read_bgp_configuration(const ObjectKey& key, Reader& object) {
  BgpConfiguration out;
  const bool of_node = key.name.starts_with("node.");
  if (key.name != "default" && !of_node) {
    object.report().warn(Path::of("metadata", "name"), "not used: only \"default\" and \"node.NAME\" mean something");
  }
  Reader spec = object.object("spec");
  (void)object.has("status");
  read_as_number(spec, "asNumber", out.as_number);
  spec.number("listenPort", out.listen_port, 1, 65535);
  if (spec.has("nodeToNodeMeshEnabled")) spec.flag("nodeToNodeMeshEnabled", out.mesh.emplace(true));
  read_seconds(spec, "nodeMeshMaxRestartTime", out.mesh_restart_time, Seconds(4095));
  read_password(spec, "nodeMeshPassword", out.mesh_password);
  out.service_cluster_ips = read_blocks(spec, "serviceClusterIPs");
  out.service_external_ips = read_blocks(spec, "serviceExternalIPs");
  out.service_load_balancer_ips = read_blocks(spec, "serviceLoadBalancerIPs");
  spec.choice("serviceLoadBalancerAggregation", out.aggregate_load_balancer_ips, aggregations);
  read_communities(spec, out);
  spec.choice("bindMode", out.bind_to_node_ip, bind_modes);
  spec.texts("ignoredInterfaces", out.ignored_interfaces);
  for (const std::string_view other : {"logSeverityScreen"}) (void)spec.has(other);
  for (const std::string_view other : {"localWorkloadPeeringIPV4", "localWorkloadPeeringIPV6"}) spec.unused(other);
  return out;
}

BgpPeer read_bgp_peer(const ObjectKey& key, Reader& object) {
  BgpPeer peer;
  peer.name = key.name;
  object.require("spec");
  Reader spec = object.object("spec");
  (void)object.has("status");
  spec.text("node", peer.node);
  spec.parsed("nodeSelector", peer.node_selector, Selector::parse, a_selector);
  if (const json::value* text = spec.find("peerIP");
      text != nullptr && !(text->is_string() && text->get_string().empty())) {
    std::optional<PeerAddress> address;
    spec.parsed("peerIP", address, parse_peer_address,
                "an address such as 192.0.2.1, 192.0.2.1:1179 or [2001:db8::1]:1179");
    if (address) {
      peer.peer_ip = address->address;
      peer.peer_port = address->port;
    }
  }
  if (const json::value* text = spec.find("peerSelector");
      text != nullptr && !(text->is_string() && text->get_string().empty())) {
    spec.parsed("peerSelector", peer.peer_selector, Selector::parse, a_selector);
  }
  if (const json::value* zero = spec.find("asNumber"); zero == nullptr || !zero->is_int64() || zero->get_int64() != 0)
    read_as_number(spec, "asNumber", peer.as_number);
  read_as_number(spec, "localASNumber", peer.local_as_number);
  bool keep = false;
  spec.flag("keepOriginalNextHop", keep);  // what nextHopMode was before
  if (keep) peer.next_hop = NextHopMode::Keep;
  spec.choice("nextHopMode", peer.next_hop, next_hop_modes);
  read_password(spec, "password", peer.password);
  spec.choice("sourceAddress", peer.use_node_ip, source_addresses);
  read_seconds(spec, "maxRestartTime", peer.max_restart_time, Seconds(4095));  // RFC 4724: 12 bits
  read_seconds(spec, "keepaliveTime", peer.keepalive_time, Seconds(21845), Seconds(1));
  spec.number("numAllowedLocalASNumbers", peer.allowed_local_as, 0, 100);
  spec.number("ttlSecurity", peer.ttl_security, 0, 254);
  if (peer.ttl_security == 0) peer.ttl_security.reset();
  if (const json::value* text = spec.find("reachableBy");
      text != nullptr && !(text->is_string() && text->get_string().empty()))
    spec.parsed("reachableBy", peer.reachable_by, net::parse_ip, "an IPv4 or IPv6 address");
  spec.texts("filters", peer.filters);
  for (const std::string_view other :
       {"localWorkloadSelector", "failureDetectionMode", "restartMode", "birdGatewayMode"})
    spec.unused(other);
  return peer;
}

BgpFilter read_bgp_filter(const ObjectKey&, Reader& object) {
  BgpFilter filter;
  object.require("spec");
  Reader spec = object.object("spec");
  (void)object.has("status");
  filter.export_v4 = read_rules(spec, "exportV4", true);
  filter.import_v4 = read_rules(spec, "importV4", false);
  filter.export_v6 = read_rules(spec, "exportV6", true);
  filter.import_v6 = read_rules(spec, "importV6", false);
  return filter;
}

}  // namespace sluice::config
