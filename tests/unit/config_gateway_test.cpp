// GatewayConfiguration: every field, every default, every refusal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using Lines = std::vector<std::string>;

IpAddr ip(std::string_view text) { return *net::parse_ip(text); }
Prefix prefix(std::string_view text) { return *net::parse_prefix(text); }
MacAddr mac(std::string_view text) { return *net::parse_mac(text); }
Gateway gateway_of(const std::string& spec) {
  return valid_set(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g"},
                      "spec": )" +
                   spec + "}")
      .config()
      .gateway;
}

TEST(ConfigGateway, DefaultsAreThoseOfTheModel) {
  Gateway expected;
  expected.name = "g";
  Interface interface;
  interface.name = "wan";
  interface.device = "net_null0";
  expected.interfaces = {interface};
  EXPECT_EQ(gateway_of(R"({"interfaces": [{"name": "wan", "device": "net_null0"}]})"), expected);
  EXPECT_EQ(gateway_of(R"({"interfaces": [{"name": "wan", "device": "net_null0", "vlan": null, "gateway": null}],
      "cluster": {}, "proxy": {"nodePortAddresses": []}, "snat": {}, "overlay": {"mtu": "auto", "vtepMac": null},
      "conntrack": {"timeouts": {}}, "icmp": {}, "routes": [], "tunnels": null})"),
            expected);
}

TEST(ConfigGateway, HOST1_TheHostBehindInterfaces) {
  const Gateway gateway = gateway_of(R"({
    "interfaces": [{"name": "up", "device": "net_null0", "hostInterface": "up0"}],
    "host": {"rateLimits": {"neighbor": 1, "icmp": 2, "routing": 3, "management": 4, "multicast": 5, "other": 6},
             "routes": {"tables": [1000, 254], "protocols": ["bird", "static", "zebra", "77"]}}})");
  EXPECT_EQ(gateway.interfaces.at(0).host_interface, "up0");
  EXPECT_EQ(gateway.host.rate_limits, (HostRateLimits{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(gateway.host.routes, (HostRoutes{{1000, 254}, {12, 4, 11, 77}}));
  const std::string with_twin = R"("interfaces": [{"name": "up", "device": "net_null0", "hostInterface": "up0"}])";
  EXPECT_EQ(gateway_of("{" + with_twin + R"(, "host": {"routes": {}}})").host.routes, (HostRoutes{{254}, {}}));
  EXPECT_EQ(gateway_of("{" + with_twin + R"(, "host": {"routes": null}})").host, Host{});
}

TEST(ConfigGateway, EveryField) {
  const Gateway gateway = gateway_of(R"({
    "nodeName": "gw-1", "localNodeNames": ["gw-1", "gw-2"],
    "interfaces": [
      {"name": "up", "device": "0000:3b:00.0", "vlan": 7, "role": "uplink", "addresses": ["192.168.0.2/24",
        "fd00:1::2/64"],
       "mac": "02:00:00:00:00:01", "mtu": 9000, "gateway": {"v4": "192.168.0.1", "v6": "fe80::1"}, "rpf": "strict",
       "promiscuous": true, "tcpMssClamp": true},
      {"name": "pod", "device": "net_memif0", "role": "workload", "podAddresses": ["10.244.0.5/32", "fd00:244::5"],
       "podMAC": "02:00:00:00:00:05"}],
    "routes": [
      {"destination": "10.9.0.0/16", "nextHops": [{"via": "192.168.0.9", "interface": "up"}, {"tunnel": "t1"}]},
      {"destination": "10.8.0.0/16", "via": "192.168.0.8"}, {"destination": "10.7.0.0/16", "type": "prohibit"},
      {"destination": "10.6.0.0/16", "type": "unicast", "interface": "up"}],
    "neighbors": [{"interface": "up", "address": "192.168.0.9", "mac": "02:00:00:00:00:09"}],
    "tunnels": [
      {"name": "t1", "type": "vxlan", "remote": "192.168.0.11", "vni": 5, "remoteMAC": "02:00:00:00:00:0b",
        "mtu": 1400},
      {"name": "t2", "type": "ipip", "remote": "192.168.0.12", "local": "192.168.0.2"},
      {"name": "t3", "type": "ipip", "remote": "fd00:1::12", "local": "fd00:1::2"}],
    "cluster": {"clusterCIDRs": ["10.244.0.0/16"], "serviceCIDRs": ["10.96.0.0/16"], "nodePortRange": "20000-20999",
                "unknownPods": "Reject",
                "detectLocalMode": "InterfaceNamePrefix",
                "detectLocal": {"interfaceNamePrefix": "cali"}},
    "proxy": {"nodePortAddresses": ["192.168.0.0/24"], "masqueradeAll": true, "allowExternalClusterIP": true,
              "allowedExternalCIDRs": ["198.51.100.0/24"], "serviceLoopPrevention": "Reject",
              "loadBalancerAlgorithm": "maglev", "maglevTableSize": 16381, "sourceRangesForInCluster": false,
              "noEndpoints": "Drop", "vipEchoReply": true, "externalPolicyLocalScope": "Cluster",
              "onBackendRemoved": "Reset", "healthzPort": 10256, "healthAddresses": ["127.0.0.1", "::1"]},
    "snat": {"portRange": "40000-50000", "natOutgoingExclusions": "IPPoolsAndHostIPs",
             "natOutgoingAddress": {"v4": "192.168.0.2", "v6": "fd00:1::2"}, "natPortRange": "51000-52000",
             "mapping": "EndpointIndependent", "filtering": "AddressDependent"},
    "overlay": {"vxlanVNI": 9, "vxlanPort": 8472, "vxlanSrcPortRange": "50000-60000", "strictVxlanFlags": true,
                "mtu": 1400, "outerDF": "Clear", "dscp": 46, "ecn": "Compatibility",
                "externalNodesCIDRs": ["192.168.9.0/24"], "vtepMac": "02:00:00:00:00:0c", "tcpMssClamp": true,
                "vxlanZeroChecksumV6": true, "reassembleOuter": false},
    "conntrack": {"max": 4096, "tcpBeLiberal": true, "tcpLoose": false, "timeouts": {
      "tcpSynSent": "1s", "tcpSynRecv": "2s", "tcpEstablished": "3s", "tcpFinWait": "4s", "tcpCloseWait": "5s",
      "tcpLastAck": "6s", "tcpTimeWait": "7s", "tcpClose": "8s", "tcpUnacknowledged": "13s", "udp": "9s", "udpStream": "10s", "icmp": "11s",
      "generic": "12s", "tcpSynSent2": "14s", "tcpUnreplied": "15s", "gre": "16s", "greStream": "17s",
      "sctpCookieWait": "18s", "sctpCookieEchoed": "19s", "sctpEstablished": "20s", "sctpShutdownSent": "210ms",
      "sctpShutdownRecd": "220ms", "sctpShutdownAckSent": "23s", "sctpClosed": "24s", "sctpUnreplied": "1s500ms"}},
    "fragments": {"mode": "Shallow", "timeout": "30s", "maxPerDatagram": 16, "maxMemoryMiB": 4},
    "icmp": {"errorRatePerSecond": 5, "errorSource": "original"}})");
  Gateway expected;
  expected.name = "g";
  expected.node_name = "gw-1";
  expected.local_node_names = {"gw-1", "gw-2"};
  expected.interfaces = {{"up",
                          "0000:3b:00.0",
                          7,
                          InterfaceRole::Uplink,
                          {prefix("192.168.0.2/24"), prefix("fd00:1::2/64")},
                          mac("02:00:00:00:00:01"),
                          9000,
                          ip("192.168.0.1").v4(),
                          ip("fe80::1").v6(),
                          ReversePathFilter::Strict,
                          true,
                          {},
                          {},
                          true},
                         {"pod",
                          "net_memif0",
                          0,
                          InterfaceRole::Workload,
                          {},
                          {},
                          1500,
                          {},
                          {},
                          ReversePathFilter::Off,
                          false,
                          {prefix("10.244.0.5/32"), prefix("fd00:244::5/128")},
                          mac("02:00:00:00:00:05")}};
  expected.routes = {{prefix("10.9.0.0/16"), RouteType::Unicast, {{ip("192.168.0.9"), "up", ""}, {{}, "", "t1"}}},
                     {prefix("10.8.0.0/16"), RouteType::Unicast, {{ip("192.168.0.8"), "", ""}}},
                     {prefix("10.7.0.0/16"), RouteType::Prohibit, {}},
                     {prefix("10.6.0.0/16"), RouteType::Unicast, {{{}, "up", ""}}}};
  expected.neighbors = {{"up", ip("192.168.0.9"), mac("02:00:00:00:00:09")}};
  expected.tunnels = {{"t1", TunnelType::Vxlan, ip("192.168.0.11").v4(), {}, 5, mac("02:00:00:00:00:0b"), 1400},
                      {"t2", TunnelType::Ipip, ip("192.168.0.12").v4(), ip("192.168.0.2").v4(), {}, {}, {}},
                      {"t3", TunnelType::Ipip, ip("fd00:1::12"), ip("fd00:1::2"), {}, {}, {}}};
  expected.cluster = {{prefix("10.244.0.0/16")},
                      {prefix("10.96.0.0/16")},
                      {20000, 20999},
                      UnknownPods::Reject,
                      DetectLocal::InterfaceNamePrefix,
                      "",
                      "cali"};
  expected.proxy = {false,
                    {prefix("192.168.0.0/24")},
                    true,
                    true,
                    {prefix("198.51.100.0/24")},
                    ServiceLoopPrevention::Reject,
                    16381,
                    false,
                    NoEndpoints::Drop,
                    true,
                    LocalScope::Cluster,
                    BackendRemoval::Reset,
                    10256,
                    {ip("127.0.0.1"), ip("::1")}};
  expected.snat = {{40000, 50000},
                   net::parse_ipv4("192.168.0.2"),
                   net::parse_ipv6("fd00:1::2"),
                   PortRange{51000, 52000},
                   NatExclusions::IpPoolsAndHostIps,
                   Mapping::EndpointIndependent,
                   Filtering::AddressDependent};
  expected.overlay = {9,
                      8472,
                      {50000, 60000},
                      true,
                      1400,
                      OuterDf::Clear,
                      DscpMode::Fixed,
                      46,
                      EcnMode::Compatibility,
                      {prefix("192.168.9.0/24")},
                      mac("02:00:00:00:00:0c"),
                      true,
                      true,
                      false};
  expected.conntrack = {4096, true, false, {1s,  2s,  3s,  4s,  5s,  6s,  7s,  8s,    13s,   9s,  10s, 11s,   12s,
                                            14s, 15s, 16s, 17s, 18s, 19s, 20s, 210ms, 220ms, 23s, 24s, 1500ms}};
  expected.fragments = {30s, 16, 4};
  expected.icmp = {5, IcmpErrorSource::Original};
  EXPECT_EQ(gateway, expected);
}

TEST(ConfigGateway, UnknownFieldsAreWarnedOfWithTheLikelyName) {
  const ObjectSet objects = valid_set(list_of({R"({
    "apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g", "uid": "x"},
    "spec": {"interfaces": [{"name": "wan", "device": "net_null0", "adresses": []}],
             "overlay": {"vxlanVni": 5, "colour": "red"},
             "dns": {"enabled": true}},
    "status": {}})"}));
  EXPECT_EQ(lines(objects.warnings()),
            (Lines{
                "/items/0/spec/interfaces/0/adresses: unknown field, ignored; did you mean \"addresses\"?",
                "/items/0/spec/overlay/vxlanVni: unknown field, ignored; did you mean \"vxlanVNI\"?",
                "/items/0/spec/overlay/colour: unknown field, ignored",
                "/items/0/spec/dns: not used by this version",
                "/items/0/status: unknown field, ignored",
            }));
}

TEST(ConfigGateway, Svc52NodePortsAreNeverOnLoopback) {
  for (const char* network : {"127.0.0.0/8", "127.0.0.1/32", "::1/128"}) {
    const Lines faults = lines(faults_of(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
        "metadata": {"name": "g"}, "spec": {"interfaces": [{"name": "wan", "device": "net_null0"}],
        "proxy": {"nodePortAddresses": ["primary", ")" +
                                         std::string(network) + R"("]}}})"));
    EXPECT_EQ(faults, (Lines{"/spec/proxy/nodePortAddresses/1: node ports are never served on loopback addresses"}));
  }
}

// kube-proxy's names, and the name that the mode had here before.
TEST(ConfigGateway, MASQ1_DetectLocalModes) {
  const auto mode_of = [](const std::string& cluster) {
    return gateway_of(R"({"interfaces": [{"name": "wan", "device": "net_null0"}], "nodeName": "gw", "cluster": )" +
                      cluster + "}")
        .cluster.detect_local;
  };
  EXPECT_EQ(mode_of("{}"), DetectLocal::ClusterCidr);
  EXPECT_EQ(mode_of(R"({"detectLocalMode": "", "detectLocal": {"bridgeInterface": ""}})"), DetectLocal::ClusterCidr);
  EXPECT_EQ(mode_of(R"({"detectLocalMode": "ClusterCIDR"})"), DetectLocal::ClusterCidr);
  EXPECT_EQ(mode_of(R"({"detectLocalMode": "NodeCIDR"})"), DetectLocal::NodeCidr);
  EXPECT_EQ(mode_of(R"({"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni0"}})"),
            DetectLocal::BridgeInterface);
  EXPECT_EQ(mode_of(R"({"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "cali"}})"),
            DetectLocal::InterfaceNamePrefix);
  EXPECT_EQ(mode_of(R"({"detectLocal": {"mode": "NodeCIDR"}})"), DetectLocal::NodeCidr);
}

TEST(ConfigGateway, MASQ1_NamesThatTheModeDoesNotLookAt) {
  const ObjectSet objects = valid_set(list_of({R"({
    "apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g"},
    "spec": {"interfaces": [{"name": "wan", "device": "net_null0"}],
             "cluster": {"detectLocal": {"bridgeInterface": "cni0", "interfaceNamePrefix": "cali"}}}})"}));
  EXPECT_EQ(lines(objects.warnings()),
            (Lines{
                "/items/0/spec/cluster/detectLocal/bridgeInterface: only detectLocalMode BridgeInterface looks at it",
                "/items/0/spec/cluster/detectLocal/interfaceNamePrefix: only detectLocalMode InterfaceNamePrefix looks "
                "at it",
            }));
}

TEST(ConfigGateway, CT1_TheProfileIsWhatIsNotSaid) {
  const auto timeouts_of = [](const std::string& conntrack) {
    return gateway_of(R"({"interfaces": [{"name": "wan", "device": "net_null0"}], "conntrack": )" + conntrack + "}")
        .conntrack.timeouts;
  };
  EXPECT_EQ(timeouts_of(R"({"profile": "linux"})"), ConntrackTimeouts{});
  // RFC 4787 REQ-5, RFC 5508 REQ-2; RFC 5382 REQ-5: 2 h 4 min for what is open, 4 min for what begins or ends.
  ConntrackTimeouts rfc{240s, 240s, 86400s, 240s, 3600s, 240s, 240s, 240s, 300s,
                        300s, 300s, 60s,    600s, 240s,  300s, 30s,  180s};
  EXPECT_EQ(timeouts_of(R"({"profile": "rfc"})"), rfc);
  rfc.udp = 5s;
  rfc.tcp_established = 7200s;
  EXPECT_EQ(timeouts_of(R"({"timeouts": {"udp": "5s", "tcpEstablished": "2h"}, "profile": "rfc"})"), rfc);
}

TEST(ConfigGateway, CT2_SynsOfBothSidesAreAsOneIfNothingElseIsSaid) {
  const auto timeouts_of = [](const std::string& timeouts) {
    return gateway_of(R"({"interfaces": [{"name": "wan", "device": "net_null0"}],
                          "conntrack": {"profile": "rfc", "timeouts": )" +
                      timeouts + "}}")
        .conntrack.timeouts;
  };
  EXPECT_EQ(timeouts_of(R"({"tcpSynSent": "7s"})").tcp_syn_sent2, 7s);
  EXPECT_EQ(timeouts_of(R"({"tcpSynSent": "7s", "tcpSynSent2": "8s"})").tcp_syn_sent2, 8s);
  EXPECT_EQ(timeouts_of(R"({"tcpSynSent2": "8s"})").tcp_syn_sent, 240s);
}

TEST(ConfigGateway, WrongValues) {
  struct Case {
    std::string spec;
    Lines faults;
  };
  const std::vector<Case> cases{
      {R"({"interfaces": [{"name": 5, "device": ""}]})",
       {"/spec/interfaces/0/name: expected a string, found an integer",
        "/spec/interfaces/0/device: must not be empty"}},
      {R"({"interfaces": ["wan", {}]})",
       {"/spec/interfaces/0: expected an object, found a string", "/spec/interfaces/1/name: required",
        "/spec/interfaces/1/device: required"}},
      {R"({"interfaces": [{"name": "a", "device": "b", "role": "Uplink", "rpf": "on", "vlan": 4095, "mtu": 1e3,
           "mac": "02:00", "promiscuous": "yes", "addresses": ["192.168.0.2", "192.168.00.2/24", "192.168.0.2/33"],
           "gateway": {"v4": "fd00::1", "v6": "1.1.1.1"}, "podAddresses": ["10.0.0.0/24"]}]})",
       {"/spec/interfaces/0/vlan: expected 0 to 4094, found 4095",
        "/spec/interfaces/0/role: \"Uplink\" is not one of uplink, workload",
        "/spec/interfaces/0/addresses/0: \"192.168.0.2\" is not an address with its subnet's length",
        "/spec/interfaces/0/addresses/1: \"192.168.00.2/24\" is not an address with its subnet's length",
        "/spec/interfaces/0/addresses/2: \"192.168.0.2/33\" is not an address with its subnet's length",
        "/spec/interfaces/0/mac: \"02:00\" is not a MAC address such as 02:00:00:00:00:01",
        "/spec/interfaces/0/mtu: expected an integer, found a number with a fraction",
        "/spec/interfaces/0/gateway/v4: \"fd00::1\" is not an IPv4 address",
        "/spec/interfaces/0/gateway/v6: \"1.1.1.1\" is not an IPv6 address",
        "/spec/interfaces/0/rpf: \"on\" is not one of off, loose, strict",
        "/spec/interfaces/0/promiscuous: expected a boolean, found a string",
        "/spec/interfaces/0/podAddresses/0: \"10.0.0.0/24\" is not the address of a single host"}},
      {R"({"routes": [{"destination": "10.1.2.3/16", "type": "nat"}, {},
                      {"destination": "10.0.0.0/8", "tunnel": "t", "nextHops": [{"tunnel": "u"}]}]})",
       {"/spec/routes/0/destination: 10.1.2.3/16 has host bits set; the network is 10.1.0.0/16",
        "/spec/routes/0/type: \"nat\" is not one of unicast, blackhole, unreachable, prohibit",
        "/spec/routes/1/destination: required",
        "/spec/routes/2/nextHops: stands beside a next hop written in the route itself; write it here as well"}},
      {R"({"tunnels": [{"name": "t", "type": "gre", "remote": "node1", "vni": 16777216}], "neighbors": [{}]})",
       {"/spec/neighbors/0/interface: required", "/spec/neighbors/0/address: required",
        "/spec/neighbors/0/mac: required", "/spec/tunnels/0/type: \"gre\" is not one of vxlan, ipip",
        "/spec/tunnels/0/remote: \"node1\" is not an IPv4 or IPv6 address",
        "/spec/tunnels/0/vni: expected 0 to 16777215, found 16777216"}},
      {R"({"cluster": {"clusterCIDRs": ["10.244.0.1/16"], "nodePortRange": "32767-30000",
                       "detectLocalMode": "clusterCIDR", "detectLocal": {"mode": "", "bridgeInterface": 1}}})",
       {"/spec/cluster/clusterCIDRs/0: 10.244.0.1/16 has host bits set; the network is 10.244.0.0/16",
        "/spec/cluster/nodePortRange: \"32767-30000\" is not a range of ports such as 30000-32767",
        "/spec/cluster/detectLocalMode: \"clusterCIDR\" is not one of ClusterCIDR, NodeCIDR, BridgeInterface, "
        "InterfaceNamePrefix",
        "/spec/cluster/detectLocal/bridgeInterface: expected a string, found an integer"}},
      {R"({"proxy": {"nodePortAddresses": ["127.0.0.0/8", "all", 7], "noEndpoints": "reject"}})",
       {"/spec/proxy/nodePortAddresses/0: node ports are never served on loopback addresses",
        "/spec/proxy/nodePortAddresses/1: \"all\" is not a network such as 10.244.0.0/16",
        "/spec/proxy/nodePortAddresses/2: expected a string, found an integer",
        "/spec/proxy/noEndpoints: \"reject\" is not one of Reject, Drop"}},
      {R"({"proxy": {"healthzPort": 65536, "healthAddresses": ["localhost"], "onBackendRemoved": "reset"}})",
       {"/spec/proxy/onBackendRemoved: \"reset\" is not one of Keep, Reset",
        "/spec/proxy/healthzPort: expected 0 to 65535, found 65536",
        "/spec/proxy/healthAddresses/0: \"localhost\" is not an IPv4 or IPv6 address"}},
      {R"({"snat": {"portRange": "0-65535", "mapping": "eim", "filtering": "eif"}, "overlay": {"mtu": "max", "dscp": "CS1", "vxlanPort": 0}})",
       {"/spec/snat/portRange: \"0-65535\" is not a range of ports such as 30000-32767",
        "/spec/snat/mapping: \"eim\" is not one of Symmetric, EndpointIndependent",
        "/spec/snat/filtering: \"eif\" is not one of EndpointIndependent, AddressDependent, AddressAndPortDependent",
        "/spec/overlay/vxlanPort: expected 1 to 65535, found 0",
        "/spec/overlay/mtu: expected \"auto\" or a number of bytes",
        "/spec/overlay/dscp: expected \"Copy\" or a number from 0 to 63"}},
      {R"({"overlay": {"dscp": 64, "vxlanVNI": -1}, "conntrack": {"timeouts": {"udp": 30, "icmp": "1500ms",
           "generic": "1 day", "sctpClosed": "1500us"}, "max": 4294967296}})",
       {"/spec/overlay/vxlanVNI: expected 0 to 16777215, found -1", "/spec/overlay/dscp: expected 0 to 63, found 64",
        "/spec/conntrack/max: expected 0 to 4294967295, found 4294967296",
        "/spec/conntrack/timeouts/udp: expected a string, found an integer",
        "/spec/conntrack/timeouts/icmp: expected whole seconds",
        "/spec/conntrack/timeouts/generic: \"1 day\" is not a length of time such as \"1h30m\" or \"30s\"",
        "/spec/conntrack/timeouts/sctpClosed: expected whole milliseconds"}},
      {R"([])", {"/spec: expected an object, found a list"}},
      {R"(null)", {"/spec: required"}},
  };
  for (const auto& [spec, faults] : cases) {
    EXPECT_EQ(lines(faults_of(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
                                  "metadata": {"name": "g"}, "spec": )" +
                              spec + "}")),
              faults)
        << spec;
  }
}

}  // namespace
}  // namespace sluice::config
