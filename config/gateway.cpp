// GatewayConfiguration: what Kubernetes has no name for. docs/config.md is its reference; a field read here and
// not described there fails the documentation's test. Every object is watched for unknown fields.
#include <algorithm>
#include <array>
#include <charconv>

#include "config/convert.h"
#include "config/port_range.h"
#include "config/timeouts.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

constexpr std::array loop_preventions{Choice<ServiceLoopPrevention>{"Drop", ServiceLoopPrevention::Drop},
                                      Choice<ServiceLoopPrevention>{"Reject", ServiceLoopPrevention::Reject},
                                      Choice<ServiceLoopPrevention>{"Disabled", ServiceLoopPrevention::Disabled}};
constexpr std::array no_endpoints{Choice<NoEndpoints>{"Reject", NoEndpoints::Reject},
                                  Choice<NoEndpoints>{"Drop", NoEndpoints::Drop}};
constexpr std::array local_scopes{Choice<LocalScope>{"Node", LocalScope::Node},
                                  Choice<LocalScope>{"Cluster", LocalScope::Cluster}};
constexpr std::array backend_removals{Choice<BackendRemoval>{"Keep", BackendRemoval::Keep},
                                      Choice<BackendRemoval>{"Reset", BackendRemoval::Reset}};
constexpr std::array mappings{Choice<Mapping>{"Symmetric", Mapping::Symmetric},
                              Choice<Mapping>{"EndpointIndependent", Mapping::EndpointIndependent}};
constexpr std::array filterings{Choice<Filtering>{"EndpointIndependent", Filtering::EndpointIndependent},
                                Choice<Filtering>{"AddressDependent", Filtering::AddressDependent},
                                Choice<Filtering>{"AddressAndPortDependent", Filtering::AddressAndPortDependent}};
constexpr std::array outer_dfs{Choice<OuterDf>{"Inherit", OuterDf::Inherit}, Choice<OuterDf>{"Set", OuterDf::Set},
                               Choice<OuterDf>{"Clear", OuterDf::Clear}};
constexpr std::array ecn_modes{Choice<EcnMode>{"Normal", EcnMode::Normal},
                               Choice<EcnMode>{"Compatibility", EcnMode::Compatibility}};
constexpr std::array error_sources{Choice<IcmpErrorSource>{"vip", IcmpErrorSource::Vip},
                                   Choice<IcmpErrorSource>{"original", IcmpErrorSource::Original}};

constexpr std::array unknown_pods{Choice<UnknownPods>{"Drop", UnknownPods::Drop},
                                  Choice<UnknownPods>{"Reject", UnknownPods::Reject}};
constexpr std::array timeout_profiles{Choice<bool>{"linux", false}, Choice<bool>{"rfc", true}};  // CT-1

// kube-proxy's names; it takes no name for the first one.
constexpr std::array detect_local_modes{Choice<DetectLocal>{"ClusterCIDR", DetectLocal::ClusterCidr},
                                        Choice<DetectLocal>{"NodeCIDR", DetectLocal::NodeCidr},
                                        Choice<DetectLocal>{"BridgeInterface", DetectLocal::BridgeInterface},
                                        Choice<DetectLocal>{"InterfaceNamePrefix", DetectLocal::InterfaceNamePrefix},
                                        Choice<DetectLocal>{"", DetectLocal::ClusterCidr}};

// Choices of which this version has one; the name is all that is checked.
constexpr std::array algorithms{Choice<bool>{"maglev", true}};
constexpr std::array fragment_modes{Choice<bool>{"Shallow", true}};

void read_port_range(Reader& object, std::string_view key, PortRange& out) {
  const auto parse = [](std::string_view text) { return parse_port_range(text, '-'); };
  object.parsed(key, out, parse, "a range of ports such as 30000-32767");
}

// Something that only its default does in this version.
template <size_t N>
void read_single_choice(Reader& object, std::string_view key, const std::array<Choice<bool>, N>& choices) {
  bool served = true;
  object.choice(key, served, choices);
  if (!served) object.unused(key);
}

void read_cluster(Reader& spec, Cluster& cluster) {
  Reader object = spec.object("cluster");
  object.networks("clusterCIDRs", cluster.cluster_cidrs, HostBits::Refuse);
  object.networks("serviceCIDRs", cluster.service_cidrs, HostBits::Refuse);
  read_port_range(object, "nodePortRange", cluster.node_port_range);
  object.choice("unknownPods", cluster.unknown_pods, unknown_pods);
  Reader detect_local = object.object("detectLocal");
  detect_local.choice("mode", cluster.detect_local, detect_local_modes);  // an earlier name
  object.choice("detectLocalMode", cluster.detect_local, detect_local_modes);
  detect_local.text("bridgeInterface", cluster.bridge_interface);
  detect_local.text("interfaceNamePrefix", cluster.interface_name_prefix);
  if (!cluster.bridge_interface.empty() && cluster.detect_local != DetectLocal::BridgeInterface) {
    detect_local.warn("bridgeInterface", "only detectLocalMode BridgeInterface looks at it");
  }
  if (!cluster.interface_name_prefix.empty() && cluster.detect_local != DetectLocal::InterfaceNamePrefix) {
    detect_local.warn("interfaceNamePrefix", "only detectLocalMode InterfaceNamePrefix looks at it");
  }
}

// "primary" and networks; an empty list is as none at all.
void read_node_port_addresses(Reader& object, Proxy& proxy) {
  bool any = false;
  bool primary = false;
  object.each_value("nodePortAddresses", [&](const json::value& value, const Place& place) {
    any = true;
    const auto text = object.to_text(value, place);
    if (!text) return;
    if (*text == "primary") {
      primary = true;
    } else if (const auto network = object.to_network(*text, place, HostBits::Refuse)) {
      // SVC-52
      if (network->length > 0 && network->addr.is_loopback()) {
        object.report().fault(place.path(), "node ports are never served on loopback addresses");
      }
      proxy.node_port_addresses.push_back(*network);
    }
  });
  if (any) proxy.node_ports_on_primary = primary;
}

void read_proxy(Reader& spec, Proxy& proxy) {
  Reader object = spec.object("proxy");
  read_node_port_addresses(object, proxy);
  object.flag("masqueradeAll", proxy.masquerade_all);
  object.flag("allowExternalClusterIP", proxy.allow_external_cluster_ip);
  object.networks("allowedExternalCIDRs", proxy.allowed_external_cidrs, HostBits::Refuse);
  object.choice("serviceLoopPrevention", proxy.service_loop_prevention, loop_preventions);
  read_single_choice(object, "loadBalancerAlgorithm", algorithms);
  object.number("maglevTableSize", proxy.maglev_table_size, 0, 131071);
  object.flag("sourceRangesForInCluster", proxy.source_ranges_for_in_cluster);
  object.choice("noEndpoints", proxy.no_endpoints, no_endpoints);
  object.flag("vipEchoReply", proxy.vip_echo_reply);
  object.choice("onBackendRemoved", proxy.on_backend_removed, backend_removals);
  object.choice("externalPolicyLocalScope", proxy.external_policy_local_scope, local_scopes);
  object.number("healthzPort", proxy.healthz_port, 0, 65535);
  object.addresses("healthAddresses", proxy.health_addresses);
}

void read_snat(Reader& spec, Snat& snat) {
  Reader object = spec.object("snat");
  read_port_range(object, "portRange", snat.port_range);
  Reader address = object.object("natOutgoingAddress");
  address.parsed("v4", snat.nat_outgoing_v4, net::parse_ipv4, "an IPv4 address");
  address.parsed("v6", snat.nat_outgoing_v6, net::parse_ipv6, "an IPv6 address");
  if (object.find("natPortRange") != nullptr) read_port_range(object, "natPortRange", snat.nat_port_range.emplace());
  object.choice("mapping", snat.mapping, mappings);
  object.choice("filtering", snat.filtering, filterings);
  object.choice("natOutgoingExclusions", snat.nat_outgoing_exclusions, nat_exclusions);
}

// "Copy", or the value to send: 0 to 63.
void read_dscp(Reader& object, Overlay& overlay) {
  const json::value* value = object.find("dscp");
  if (value == nullptr || (value->is_string() && value->get_string() == "Copy")) return;
  if (value->is_string()) {
    object.fault("dscp", "expected \"Copy\" or a number from 0 to 63");
    return;
  }
  overlay.dscp = DscpMode::Fixed;
  object.number("dscp", overlay.dscp_value, 0, 63);
}

void read_overlay(Reader& spec, Overlay& overlay) {
  Reader object = spec.object("overlay");
  object.number("vxlanVNI", overlay.vxlan_vni, 0, 0xffffff);
  object.number("vxlanPort", overlay.vxlan_port, 1, 65535);
  read_port_range(object, "vxlanSrcPortRange", overlay.vxlan_source_ports);
  object.flag("strictVxlanFlags", overlay.strict_vxlan_flags);
  const json::value* mtu = object.find("mtu");
  if (mtu != nullptr && mtu->is_string()) {
    if (mtu->get_string() != "auto") object.fault("mtu", "expected \"auto\" or a number of bytes");
  } else {
    object.number("mtu", overlay.mtu, 0, 65535);
  }
  object.choice("outerDF", overlay.outer_df, outer_dfs);
  read_dscp(object, overlay);
  object.choice("ecn", overlay.ecn, ecn_modes);
  object.networks("externalNodesCIDRs", overlay.external_nodes, HostBits::Refuse);
  object.mac("vtepMac", overlay.vtep_mac);
  object.flag("tcpMssClamp", overlay.tcp_mss_clamp);
  object.flag("vxlanZeroChecksumV6", overlay.zero_checksum_v6);
  object.flag("reassembleOuter", overlay.reassemble_outer);
}

void read_conntrack(Reader& spec, Conntrack& conntrack) {
  Reader object = spec.object("conntrack");
  object.number("max", conntrack.max, 0, std::numeric_limits<uint32_t>::max());
  object.flag("tcpBeLiberal", conntrack.tcp_be_liberal);
  object.flag("tcpLoose", conntrack.tcp_loose);
  bool rfc = false;
  object.choice("profile", rfc, timeout_profiles);
  ConntrackTimeouts& out = conntrack.timeouts;
  if (rfc) out = ConntrackTimeouts::rfc();
  Reader timeouts = object.object("timeouts");
  for (const NamedTimeout& timeout : named_timeouts) timeouts.duration(timeout.name, out.*timeout.field);
  for (const NamedSctpTimeout& timeout : named_sctp_timeouts) timeouts.duration(timeout.name, out.*timeout.field);
  if (timeouts.has("tcpSynSent") && !timeouts.has("tcpSynSent2")) out.tcp_syn_sent2 = out.tcp_syn_sent;
}

void read_fragments(Reader& spec, Fragments& fragments) {
  Reader object = spec.object("fragments");
  read_single_choice(object, "mode", fragment_modes);
  object.duration("timeout", fragments.timeout);
  object.number("maxPerDatagram", fragments.max_per_datagram, 2, 45);
  object.number("maxMemoryMiB", fragments.max_memory_mib, 1, 65536);
}

void read_icmp(Reader& spec, Icmp& icmp) {
  Reader object = spec.object("icmp");
  object.number("errorRatePerSecond", icmp.error_rate_per_second, 0, std::numeric_limits<uint32_t>::max());
  object.choice("errorSource", icmp.error_source, error_sources);
}

// As iproute2 has them (/etc/iproute2/rt_protos).
std::optional<uint8_t> parse_route_protocol(std::string_view text) {
  struct Name {
    std::string_view name;
    uint8_t number;
  };
  static constexpr std::array names{Name{"kernel", 2}, Name{"boot", 3},   Name{"static", 4}, Name{"ra", 9},
                                    Name{"zebra", 11}, Name{"bird", 12},  Name{"dhcp", 16},  Name{"babel", 42},
                                    Name{"bgp", 186},  Name{"isis", 187}, Name{"ospf", 188}, Name{"rip", 189},
                                    Name{"eigrp", 192}};
  for (const Name& one : names) {
    if (one.name == text) return one.number;
  }
  uint8_t number = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  return read.ec == std::errc{} && read.ptr == end ? std::optional(number) : std::nullopt;
}

void read_content(Reader& spec, Content& content) {
  Reader object = spec.object("content");
  object.parsed("collector", content.collector, net::parse_ip, "an IPv4 or IPv6 address");
}

void read_host(Reader& spec, Host& host) {
  Reader object = spec.object("host");
  {
    Reader limits = object.object("rateLimits");
    HostRateLimits& out = host.rate_limits;
    constexpr uint32_t most = 10'000'000;
    limits.number("neighbor", out.neighbor, 1, most);
    limits.number("icmp", out.icmp, 1, most);
    limits.number("routing", out.routing, 1, most);
    limits.number("management", out.management, 1, most);
    limits.number("multicast", out.multicast, 1, most);
    limits.number("other", out.other, 1, most);
  }
  Reader routes = object.object("routes");
  if (!routes) return;
  HostRoutes& out = host.routes.emplace();
  std::vector<uint32_t> tables;
  routes.each_value("tables", [&](const json::value& value, const Place& place) {
    if (const auto number = routes.to_number(value, place, 1, std::numeric_limits<uint32_t>::max())) {
      tables.push_back(static_cast<uint32_t>(*number));
    }
  });
  if (!tables.empty()) out.tables = std::move(tables);
  routes.parsed_list("protocols", out.protocols, parse_route_protocol,
                     "a routing protocol's name, such as bird or static, or its number");
}

}  // namespace

Gateway read_gateway(const ObjectKey& key, Reader& object) {
  Gateway gateway;
  gateway.name = key.name;
  Reader spec = object.object("spec");
  object.require("spec");
  spec.text("nodeName", gateway.node_name);
  spec.texts("localNodeNames", gateway.local_node_names);
  if (gateway.local_node_names.empty() && !gateway.node_name.empty()) gateway.local_node_names = {gateway.node_name};
  read_network(spec, gateway);
  read_cluster(spec, gateway.cluster);
  read_proxy(spec, gateway.proxy);
  read_snat(spec, gateway.snat);
  read_overlay(spec, gateway.overlay);
  read_conntrack(spec, gateway.conntrack);
  read_fragments(spec, gateway.fragments);
  read_icmp(spec, gateway.icmp);
  read_host(spec, gateway.host);
  read_content(spec, gateway.content);
  read_bgp(spec, gateway.bgp);
  read_ingress_settings(spec, gateway.ingress);
  for (const std::string_view section : {"dns", "policy"}) spec.unused(section);
  return gateway;
}

}  // namespace sluice::config
