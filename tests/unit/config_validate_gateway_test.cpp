// The consistency of GatewayConfiguration: specification → the exact faults, each at its place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using Lines = std::vector<std::string>;

struct Case {
  std::string spec;
  Lines faults;
};

// Two interfaces for the rules that are about something else.
constexpr std::string_view two_interfaces = R"("nodeName": "gw-1", "interfaces": [
  {"name": "up", "device": "net_null0", "addresses": ["192.168.0.2/24", "fd00:1::2/64"],
    "gateway": {"v4": "192.168.0.1"}},
  {"name": "lan", "device": "net_null1", "addresses": ["10.1.0.1/24"]}])";

void expect_faults(const std::vector<Case>& cases) {
  for (const auto& [spec, faults] : cases) {
    EXPECT_EQ(lines(faults_of(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
                                  "metadata": {"name": "g"}, "spec": {)" +
                              spec + "}}")),
              faults)
        << spec;
  }
}
void expect_faults_beside_interfaces(std::vector<Case> cases) {
  // Inserted: g++ 12 sees overflows in sums of strings.
  for (Case& one : cases) one.spec.insert(0, ", ").insert(0, two_interfaces);
  expect_faults(cases);
}

TEST(ConfigValidateInterface, Names) {
  expect_faults({
      {"", {"/spec/interfaces: at least one interface is required"}},
      {R"("interfaces": [{"name": "a", "device": "net_null0"}, {"name": "a", "device": "net_null1"},
                         {"name": "b c", "device": "net_null2"}])",
       {"/spec/interfaces/1/name: a second interface \"a\"",
        "/spec/interfaces/2/name: expected at most 63 letters, digits, \".\", \"_\" and \"-\""}},
  });
}

TEST(ConfigValidateInterface, HOST1_NamesInTheHost) {
  constexpr std::string_view name =
      "expected a name for a network interface: at most 15 letters, digits, \".\", \"_\" and \"-\"";
  const auto pointer = [](int i) { return "/spec/interfaces/" + std::to_string(i) + "/hostInterface: "; };
  expect_faults({
      {R"("interfaces": [{"name": "a", "device": "net_null0", "hostInterface": "up0"},
                         {"name": "b", "device": "net_null1", "hostInterface": "up0"},
                         {"name": "c", "device": "net_null2", "hostInterface": "sixteen-letters0"},
                         {"name": "d", "device": "net_null3", "hostInterface": "a/b"},
                         {"name": "e", "device": "net_null4", "hostInterface": "all"},
                         {"name": "f", "device": "net_null5", "role": "workload", "hostInterface": "pod0"}])",
       {pointer(1) + "interface \"a\" has this one already", pointer(2) + std::string(name),
        pointer(3) + std::string(name), pointer(4) + std::string(name), pointer(5) + "only for role \"uplink\""}},
      {R"("interfaces": [{"name": "a", "device": "packet,iface=eth1", "hostInterface": "up0"},
                         {"name": "b", "device": "packet,iface=eth2", "hostInterface": "eth1"},
                         {"name": "c", "device": "packet,iface=eth3", "hostInterface": "eth3"},
                         {"name": "d", "device": "packet,iface=pod1", "role": "workload"}])",
       {pointer(1) + "\"eth1\" is what the device of interface \"a\" is called; choose another name",
        pointer(2) + "\"eth3\" is what the device of interface \"c\" is called; choose another name"}},
  });
  expect_faults_beside_interfaces({
      {R"("host": {"routes": {}})", {"/spec/host/routes: no interface has a hostInterface that routes could lead by"}},
  });
}

TEST(ConfigValidateInterface, DevicesAndVlans) {
  expect_faults({
      {R"("interfaces": [{"name": "a", "device": "net_tap0,iface=x"}, {"name": "b", "device": "net_tap0,iface=x",
        "vlan": 7},
                         {"name": "c", "device": "net_tap0,iface=x", "vlan": 8}])",
       {}},
      {R"("interfaces": [{"name": "a", "device": "net_tap0,iface=x"}, {"name": "b", "device": "net_tap0,iface=x"},
                         {"name": "c", "device": "net_tap0,iface=y", "vlan": 8}])",
       {"/spec/interfaces/1/device: interface \"a\" has the same device and VLAN",
        "/spec/interfaces/2/device: interface \"a\" gives this device other arguments"}},
      {R"("interfaces": [{"name": "a", "device": "net_tap0", "vlan": 7}, {"name": "b", "device": "net_tap0", "vlan": 7},
                         {"name": "c", "device": "net tap1"}])",
       {"/spec/interfaces/1/vlan: interface \"a\" has the same device and VLAN",
        "/spec/interfaces/2/device: a device has no white space"}},
      {R"("interfaces": [{"name": "a", "device": "memif,socket=a"}])",
       {"/spec/interfaces/0/device: memif,socket=NAME is for pods, in the annotation sluice.dev/device of a "
        "WorkloadEndpoint; the driver of DPDK is called net_memif0"}},
  });
}

TEST(ConfigValidateInterface, Mtu1) {
  const auto with_mtu = [](const std::string& mtu, const std::string& address) {
    return R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": [")" + address + R"("], "mtu": )" + mtu +
           "}]";
  };
  expect_faults({
      {with_mtu("575", "10.0.0.1/24"), {"/spec/interfaces/0/mtu: expected 576 to 9600, found 575"}},
      {with_mtu("576", "10.0.0.1/24"), {}},
      {with_mtu("9600", "10.0.0.1/24"), {}},
      {with_mtu("9601", "10.0.0.1/24"), {"/spec/interfaces/0/mtu: expected 576 to 9600, found 9601"}},
      {with_mtu("1279", "fd00::1/64"), {"/spec/interfaces/0/mtu: IPv6 needs at least 1280, found 1279"}},
      {with_mtu("1280", "fd00::1/64"), {}},
  });
}

TEST(ConfigValidateInterface, Addresses) {
  expect_faults({
      {R"("interfaces": [{"name": "a", "device": "net_null0",
          "addresses": ["127.0.0.1/8", "192.168.0.0/24", "192.168.1.255/24", "224.0.0.1/24", "::1/128", "10.0.0.0/31",
                        "10.0.1.0/32", "fd00::/64", "169.254.1.1/16", "fe80::1/64"]}])",
       {"/spec/interfaces/0/addresses/0: 127.0.0.1 is a loopback address",
        "/spec/interfaces/0/addresses/1: 192.168.0.0 is the network address of its subnet",
        "/spec/interfaces/0/addresses/2: 192.168.1.255 is the broadcast address of its subnet",
        "/spec/interfaces/0/addresses/3: 224.0.0.1 is a multicast address",
        "/spec/interfaces/0/addresses/4: ::1 is a loopback address"}},
      {R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["10.0.0.1/24", "10.0.0.9/24",
        "fe80::1/64"]},
                         {"name": "b", "device": "net_null1", "addresses": ["10.0.0.1/25", "10.0.0.2/24",
                           "fe80::1/64"]}])",
       {"/spec/interfaces/1/addresses/0: 10.0.0.1 is also an address of interface \"a\"",
        "/spec/interfaces/1/addresses/1: interface \"a\" is in the same subnet 10.0.0.0/24"}},
      {R"("interfaces": [{"name": "a", "device": "net_null0", "mac": "01:00:00:00:00:01"},
                         {"name": "b", "device": "net_null1", "mac": "00:00:00:00:00:00"}])",
       {"/spec/interfaces/0/mac: 01:00:00:00:00:01 is not the address of a station",
        "/spec/interfaces/1/mac: 00:00:00:00:00:00 is not the address of a station"}},
  });
}

TEST(ConfigValidateInterface, Gateways) {
  expect_faults({
      {R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["10.0.0.1/24", "fd00::1/64"],
                          "gateway": {"v4": "10.0.1.1", "v6": "fe80::9"}}])",
       {"/spec/interfaces/0/gateway/v4: 10.0.1.1 is in no subnet of this interface"}},
      {R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["10.0.0.1/24"],
                          "gateway": {"v4": "10.0.0.1", "v6": "fd00::1"}}])",
       {"/spec/interfaces/0/gateway/v4: 10.0.0.1 is the interface's own address",
        "/spec/interfaces/0/gateway/v6: fd00::1 is in no subnet of this interface"}},
      {R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["10.0.0.1/24"],
        "gateway": {"v4": "10.0.0.9"}},
                         {"name": "b", "device": "net_null1", "addresses": ["10.0.1.1/24"],
                           "gateway": {"v4": "10.0.1.9"}},
                         {"name": "c", "device": "net_null2", "addresses": ["10.0.2.1/24"],
                           "gateway": {"v4": "0.0.0.0"},
                          "role": "workload"}])",
       {"/spec/interfaces/1/gateway/v4: interface \"a\" has the IPv4 default gateway; for several next hops write a "
        "route",
        "/spec/interfaces/2/gateway: only an uplink has a gateway",
        "/spec/interfaces/2/gateway/v4: interface \"a\" has the IPv4 default gateway; for several next hops write a "
        "route",
        "/spec/interfaces/2/gateway/v4: 0.0.0.0 is the unspecified address"}},
  });
}

TEST(ConfigValidateInterface, Pods) {
  expect_faults({
      {R"("interfaces": [{"name": "a", "device": "net_null0", "podAddresses": ["10.0.0.1"],
        "podMAC": "02:00:00:00:00:01"},
                         {"name": "b", "device": "net_null1", "role": "workload", "podMAC": "02:00:00:00:00:01"},
                         {"name": "c", "device": "net_null2", "role": "workload", "podMAC": "03:00:00:00:00:01",
                          "podAddresses": ["10.0.0.1", "10.0.0.1", "127.0.0.1", "fd00::1"], "mtu": 1000}])",
       {"/spec/interfaces/0/podAddresses: only for role \"workload\"",
        "/spec/interfaces/0/podMAC: only for role \"workload\"",
        "/spec/interfaces/1/podMAC: without podAddresses it belongs to no address",
        "/spec/interfaces/2/mtu: IPv6 needs at least 1280, found 1000",
        "/spec/interfaces/2/podMAC: 03:00:00:00:00:01 is not the address of a station",
        "/spec/interfaces/2/podAddresses/0: 10.0.0.1 is also an address of interface \"a\"",
        "/spec/interfaces/2/podAddresses/1: 10.0.0.1 is also an address of interface \"a\"",
        "/spec/interfaces/2/podAddresses/2: 127.0.0.1 is a loopback address"}},
  });
}

TEST(ConfigValidateRoute, Destinations) {
  expect_faults_beside_interfaces({
      {R"("routes": [{"destination": "10.9.0.0/16", "via": "10.1.0.9"}, {"destination": "10.9.0.0/16",
        "type": "blackhole"},
                     {"destination": "0.0.0.0/0", "via": "10.1.0.9"}, {"destination": "10.1.0.0/24",
                       "type": "blackhole"},
                     {"destination": "127.0.0.0/8", "type": "blackhole"}, {"destination": "::/0", "interface": "up"}])",
       {"/spec/routes/1/destination: a second route to 10.9.0.0/16; the first is routes[0]",
        "/spec/routes/2/destination: interface \"up\" has a gateway, which is a route to 0.0.0.0/0",
        "/spec/routes/3/destination: 10.1.0.0/24 is connected to interface \"lan\"",
        "/spec/routes/4/destination: 127.0.0.0/8 is never forwarded"}},
  });
}

TEST(ConfigValidateRoute, NextHops) {
  expect_faults_beside_interfaces({
      {R"("routes": [{"destination": "10.9.0.0/16"}, {"destination": "10.8.0.0/16", "type": "prohibit",
        "interface": "up"}])",
       {"/spec/routes/0/nextHops: a unicast route needs at least one next hop",
        "/spec/routes/1/nextHops: only a unicast route has next hops"}},
      {R"("routes": [{"destination": "10.9.0.0/16", "nextHops": [{"via": "10.2.0.1"}, {"via": "10.2.0.1",
        "interface": "lan"},
                      {"interface": "nowhere"}, {"tunnel": "none", "via": "10.1.0.9"}, {}, {"via": "fd00:1::9"},
                      {"via": "10.1.0.1"}, {"via": "224.0.0.1"}, {"via": "10.1.0.9"}, {"via": "10.1.0.9"}]}])",
       {"/spec/routes/0/nextHops/0/via: 10.2.0.1 is in no connected subnet; to reach it all the same, say at which "
        "interface",
        "/spec/routes/0/nextHops/2/interface: there is no interface \"nowhere\"",
        "/spec/routes/0/nextHops/3/tunnel: there is no tunnel \"none\"",
        "/spec/routes/0/nextHops/3/via: a tunnel is the whole next hop",
        "/spec/routes/0/nextHops/4: expected via, interface or tunnel",
        "/spec/routes/0/nextHops/5/via: fd00:1::9 and 10.9.0.0/16 are of different families",
        "/spec/routes/0/nextHops/6/via: 10.1.0.1 is an address of this router",
        "/spec/routes/0/nextHops/7/via: 224.0.0.1 is a multicast address",
        "/spec/routes/0/nextHops/9: the same next hop twice"}},
      {R"("routes": [{"destination": "fd09::/64", "via": "fe80::9"}, {"destination": "fd08::/64", "via": "fe80::9",
                      "interface": "up"}, {"destination": "10.9.0.0/16", "tunnel": "t"}])",
       {"/spec/routes/0/via: fe80::9 is link-local: say at which interface",
        "/spec/routes/2/tunnel: there is no tunnel \"t\""}},
  });
}

TEST(ConfigValidateNeighbor, Rules) {
  expect_faults_beside_interfaces({
      {R"("neighbors": [{"interface": "lan", "address": "10.1.0.9", "mac": "02:00:00:00:00:01"},
                        {"interface": "lan", "address": "10.1.0.9", "mac": "02:00:00:00:00:02"},
                        {"interface": "up", "address": "10.1.0.9", "mac": "ff:ff:ff:ff:ff:ff"},
                        {"interface": "wan", "address": "10.1.0.1", "mac": "02:00:00:00:00:02"},
                        {"interface": "up", "address": "ff02::1", "mac": "02:00:00:00:00:02"}])",
       {"/spec/neighbors/1/address: a second neighbor 10.1.0.9 at this interface",
        "/spec/neighbors/2/mac: ff:ff:ff:ff:ff:ff is not the address of a station",
        "/spec/neighbors/3/interface: there is no interface \"wan\"",
        "/spec/neighbors/3/address: 10.1.0.1 is an address of this router",
        "/spec/neighbors/4/address: ff02::1 is a multicast address"}},
  });
}

TEST(ConfigValidateTunnel, Rules) {
  expect_faults_beside_interfaces({
      {R"("tunnels": [{"name": "a", "type": "vxlan", "remote": "192.168.0.11", "remoteMAC": "02:00:00:00:00:01"},
                      {"name": "b", "type": "vxlan", "remote": "192.168.0.11", "remoteMAC": "02:00:00:00:00:01",
                        "vni": 5},
                      {"name": "c", "type": "ipip", "remote": "192.168.0.11", "local": "192.168.0.2"}])",
       {}},
      {R"("tunnels": [{"name": "a", "type": "vxlan", "remote": "192.168.0.11", "mtu": 500},
                      {"name": "a", "type": "ipip", "remote": "192.168.0.2", "vni": 1,
                        "remoteMAC": "02:00:00:00:00:01"},
                      {"name": "b", "type": "ipip", "remote": "127.0.0.1", "local": "192.168.0.3"},
                      {"name": "c", "type": "vxlan", "remote": "169.254.0.1", "remoteMAC": "01:00:00:00:00:01"},
                      {"name": "d", "type": "ipip", "remote": "192.168.0.12"},
                      {"name": "e", "type": "ipip", "remote": "192.168.0.12"}])",
       {"/spec/tunnels/0/mtu: expected 576 to 9600, found 500",
        "/spec/tunnels/0/remoteMAC: required for a VXLAN tunnel", "/spec/tunnels/1/name: a second tunnel \"a\"",
        "/spec/tunnels/1/remote: 192.168.0.2 is an address of this router",
        "/spec/tunnels/1/vni: only for a VXLAN tunnel", "/spec/tunnels/1/remoteMAC: only for a VXLAN tunnel",
        "/spec/tunnels/2/remote: 127.0.0.1 is a loopback address",
        "/spec/tunnels/2/local: 192.168.0.3 is no address of this router",
        "/spec/tunnels/3/remote: 169.254.0.1 is a link-local address",
        "/spec/tunnels/3/remoteMAC: 01:00:00:00:00:01 is not the address of a station",
        "/spec/tunnels/5: the same tunnel as \"d\""}},
  });
  expect_faults({{R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["fd00::1/64"]}],
                     "tunnels": [{"name": "t", "type": "ipip", "remote": "192.168.0.11"}])",
                  {"/spec/tunnels/0/local: required, because no uplink has an IPv4 address"}}});
}

TEST(ConfigValidateTunnel, VXL9_OverIPv6) {
  const std::string one = R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["10.0.0.1/24"]}],)";
  const std::string both =
      R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["10.0.0.1/24", "fd00::1/64"]}],)";
  const std::string six = R"({"name": "t", "type": "ipip", "remote": "fd00::9")";
  expect_faults({
      {one + R"("tunnels": [)" + six + "}]",
       {"/spec/tunnels/0/local: required, because no uplink has an IPv6 address"}},
      {both + R"("tunnels": [)" + six + R"(, "local": "10.0.0.1"}])",
       {"/spec/tunnels/0/local: 10.0.0.1 and fd00::9 are of different families"}},
      {both + R"("tunnels": [)" + six + R"(, "local": "fd00::1"}, {"name": "l", "type": "ipip", "remote": "fe80::1"}])",
       {"/spec/tunnels/1/remote: fe80::1 is a link-local address"}},
      {both + R"("tunnels": [)" + six + "}]", {}},
  });
}

TEST(ConfigValidateTunnel, Ipip2NoTunnelThroughATunnel) {
  expect_faults_beside_interfaces({
      {R"("tunnels": [{"name": "a", "type": "ipip", "remote": "172.16.0.1"}, {"name": "b", "type": "ipip",
        "remote": "192.168.0.9"}],
          "routes": [{"destination": "172.16.0.0/12", "tunnel": "b"}])",
       {"/spec/tunnels/0/remote: the route to 172.16.0.1 (routes[0]) goes through a tunnel itself"}},
      {R"("tunnels": [{"name": "a", "type": "ipip", "remote": "172.16.0.1"}, {"name": "b", "type": "ipip",
        "remote": "192.168.0.9"}],
          "routes": [{"destination": "172.16.0.0/12", "tunnel": "b"}, {"destination": "172.16.0.1/32",
            "via": "10.1.0.9"},
                     {"destination": "192.168.0.0/16", "tunnel": "a"}])",
       {}},
      {R"("tunnels": [{"name": "b", "type": "ipip", "remote": "192.168.0.9"}],
          "routes": [{"destination": "192.168.0.9/32", "tunnel": "b"}])",
       {"/spec/tunnels/0/remote: the route to 192.168.0.9 (routes[0]) goes through a tunnel itself"}},
  });
}

TEST(ConfigValidateSettings, NamesAndSizes) {
  expect_faults_beside_interfaces({
      {R"("localNodeNames": ["gw-1", "GW 2"])",
       {"/spec/localNodeNames/1: expected a node's name: a-z, 0-9, \"-\" and \".\""}},
      {R"("proxy": {"maglevTableSize": 16381})", {}},
      {R"("proxy": {"maglevTableSize": 16384})",
       {"/spec/proxy/maglevTableSize: 16384 is not one of 0, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, "
        "131071"}},
      {R"("conntrack": {"max": 1023, "timeouts": {"udp": "0s", "tcpEstablished": "721h"}})",
       {"/spec/conntrack/max: expected at least 1024, found 1023",
        "/spec/conntrack/timeouts/tcpEstablished: expected 1s to 720h, found 2595600s",
        "/spec/conntrack/timeouts/udp: expected 1s to 720h, found 0s"}},
      {R"("conntrack": {"profile": "RFC", "timeouts": {"tcpSynSent": "0s", "tcpUnreplied": "721h", "gre": "0s"}})",
       {"/spec/conntrack/profile: \"RFC\" is not one of linux, rfc"}},
      {R"("conntrack": {"profile": "rfc", "timeouts": {"tcpSynSent": "0s", "tcpUnreplied": "721h", "gre": "0s",
                        "greStream": "0s"}})",
       {"/spec/conntrack/timeouts/tcpSynSent: expected 1s to 720h, found 0s",
        "/spec/conntrack/timeouts/tcpSynSent2: expected 1s to 720h, found 0s",
        "/spec/conntrack/timeouts/tcpUnreplied: expected 1s to 720h, found 2595600s",
        "/spec/conntrack/timeouts/gre: expected 1s to 720h, found 0s",
        "/spec/conntrack/timeouts/greStream: expected 1s to 720h, found 0s"}},
      {R"("conntrack": {"timeouts": {"sctpShutdownSent": "99ms", "sctpShutdownRecd": "100ms", "sctpClosed": "0s",
                        "sctpEstablished": "720h1ms"}})",
       {"/spec/conntrack/timeouts/sctpEstablished: expected 100ms to 720h, found 2592000001ms",
        "/spec/conntrack/timeouts/sctpShutdownSent: expected 100ms to 720h, found 99ms",
        "/spec/conntrack/timeouts/sctpClosed: expected 100ms to 720h, found 0ms"}},
      {R"("fragments": {"mode": "Full", "maxPerDatagram": 46, "maxMemoryMiB": 0})",
       {"/spec/fragments/mode: \"Full\" is not one of Shallow",
        "/spec/fragments/maxPerDatagram: expected 2 to 45, found 46",
        "/spec/fragments/maxMemoryMiB: expected 1 to 65536, found 0"}},
      {R"("fragments": {"timeout": "61s"})", {"/spec/fragments/timeout: expected 1s to 60s, found 61s"}},
      {R"("fragments": {"timeout": "0s"})", {"/spec/fragments/timeout: expected 1s to 60s, found 0s"}},
      {R"("cluster": {"unknownPods": "Ignore"})", {"/spec/cluster/unknownPods: \"Ignore\" is not one of Drop, Reject"}},
  });
}

TEST(ConfigValidateSettings, MASQ1_ModesOfDetectLocalNeedTheirNames) {
  expect_faults({
      {R"("interfaces": [{"name": "a", "device": "net_null0"}], "cluster": {"detectLocalMode": "NodeCIDR"})",
       {"/spec/nodeName: required with detectLocalMode NodeCIDR: local pods are in the podCIDRs of this Node"}},
  });
  expect_faults_beside_interfaces({
      {R"("cluster": {"detectLocalMode": "NodeCIDR"})", {}},
      {R"("cluster": {"detectLocalMode": "BridgeInterface", "detectLocal": {"interfaceNamePrefix": "cali"}})",
       {"/spec/cluster/detectLocal/bridgeInterface: required with detectLocalMode BridgeInterface"}},
      {R"("cluster": {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni 0"}})",
       {"/spec/cluster/detectLocal/bridgeInterface: \"cni 0\" cannot be the name of an interface"}},
      {R"("cluster": {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni0"}})", {}},
      {R"("cluster": {"detectLocalMode": "InterfaceNamePrefix"})",
       {"/spec/cluster/detectLocal/interfaceNamePrefix: required with detectLocalMode InterfaceNamePrefix"}},
      {R"("cluster": {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "cali/"}})",
       {"/spec/cluster/detectLocal/interfaceNamePrefix: \"cali/\" cannot be the name of an interface"}},
  });
}

TEST(ConfigValidateSettings, Svc56RangesThatMustNotMeet) {
  expect_faults_beside_interfaces({
      {R"("cluster": {"clusterCIDRs": ["10.244.0.0/16", "10.96.7.0/24"], "serviceCIDRs": ["10.96.0.0/16"]})",
       {"/spec/cluster/clusterCIDRs/1: 10.96.7.0/24 overlaps the service range 10.96.0.0/16"}},
      // SVC-56
      {R"("snat": {"portRange": "1024-65535"})",
       {"/spec/snat/portRange: 1024-65535 overlaps the node ports 30000-32767",
        "/spec/snat/portRange: 1024-65535 contains the VXLAN port 4789"}},
      {R"("snat": {"portRange": "32767-65535"})",
       {"/spec/snat/portRange: 32767-65535 overlaps the node ports 30000-32767"}},
      {R"("overlay": {"vxlanPort": 31000})",
       {"/spec/cluster/nodePortRange: 30000-32767 contains the VXLAN port 31000"}},
      {R"("cluster": {"nodePortRange": "20000-20999"}, "snat": {"portRange": "21000-40000"})", {}},
  });
}

// MASQ-8: answers must come back to this router.
TEST(ConfigValidateSettings, Masq8OwnAddressAndPortsOfNatOutgoing) {
  expect_faults_beside_interfaces({
      {R"("snat": {"natPortRange": "1024-65535", "natOutgoingAddress": {"v4": "203.0.113.99", "v6": "fe80::1"}})",
       {"/spec/snat/natPortRange: 1024-65535 overlaps the node ports 30000-32767",
        "/spec/snat/natPortRange: 1024-65535 contains the VXLAN port 4789",
        "/spec/snat/natOutgoingAddress/v4: 203.0.113.99 is no address of an interface of this router",
        "/spec/snat/natOutgoingAddress/v6: fe80::1 is no address of an interface of this router"}},
      {R"("snat": {"natPortRange": "32768-32768"})", {}},
  });
}

TEST(ConfigValidateSettings, Svc80Svc82WhereHealthIsTold) {
  expect_faults_beside_interfaces({
      {R"("proxy": {"healthzPort": 10256, "healthAddresses": ["0.0.0.0", "::1", "192.168.7.1"]})", {}},
      {R"("proxy": {"healthzPort": 30000})", {"/spec/proxy/healthzPort: 30000 is one of the node ports 30000-32767"}},
      {R"("proxy": {"healthAddresses": ["127.0.0.1", "224.0.0.1", "fe80::1", "127.0.0.1"]})",
       {"/spec/proxy/healthAddresses/1: 224.0.0.1 is a multicast address",
        "/spec/proxy/healthAddresses/2: fe80::1 is a link-local address",
        "/spec/proxy/healthAddresses/3: 127.0.0.1 twice"}},
  });
}

TEST(ConfigValidateSettings, Overlay) {
  expect_faults_beside_interfaces({
      {R"("overlay": {"mtu": 575, "vtepMac": "01:00:00:00:00:01"})",
       {"/spec/overlay/mtu: expected 576 to 9600, found 575",
        "/spec/overlay/vtepMac: 01:00:00:00:00:01 is not the address of a station"}},
      {R"("overlay": {"mtu": 1279}, "cluster": {"clusterCIDRs": ["fd00:244::/56"]})",
       {"/spec/overlay/mtu: IPv6 needs at least 1280, found 1279"}},
      {R"("overlay": {"mtu": 1279}, "cluster": {"clusterCIDRs": ["10.244.0.0/16"]})", {}},
  });
  const std::string tunnel = R"("interfaces": [{"name": "a", "device": "net_null0", "addresses": ["10.0.0.1/24"]}],
      "tunnels": [{"name": "t", "type": "vxlan", "remote": "10.0.0.9", "remoteMAC": "02:00:00:00:00:01"}])";
  expect_faults({
      {tunnel,
       {"/spec/nodeName: required for VXLAN, because the tunnel's MAC address is made of it; or set overlay.vtepMac"}},
      {tunnel + R"(, "overlay": {"vtepMac": "02:00:00:00:00:02"})", {}},
      {tunnel + R"(, "nodeName": "Gw")", {"/spec/nodeName: expected a node's name: a-z, 0-9, \"-\" and \".\""}},
  });
}

}  // namespace
}  // namespace sluice::config
