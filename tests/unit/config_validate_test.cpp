// The rules within and between objects: document → the exact faults, each at its place. Ids are those of the
// behaviour specification.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/validate.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::IsEmpty;
using Lines = std::vector<std::string>;

// One or more objects after the gateway of config_documents.h, and what is wrong with them.
struct Case {
  std::string what;
  std::vector<std::string> objects;
  Lines faults;
};

void expect_faults(const std::vector<Case>& cases) {
  for (const auto& [what, objects, faults] : cases) {
    EXPECT_EQ(lines(faults_of(list_with_gateway(objects))), faults) << what;
  }
}

std::string service_with(const std::string& name, const std::string& spec, const std::string& status = "{}") {
  return R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": ")" + name + R"("}, "spec": {)" + spec +
         R"(}, "status": )" + status + "}";
}
std::string load_balancer(const std::string& name, const std::string& ports, const std::string& address) {
  return service_with(name, R"("type": "LoadBalancer", "ports": )" + ports,
                      R"({"loadBalancer": {"ingress": [{"ip": ")" + address + R"("}]}})");
}
std::string slice(const std::string& name, const std::string& type, const std::string& endpoints) {
  return R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": ")" + name +
         R"("}, "addressType": ")" + type + R"(", "ports": [{"port": 80}], "endpoints": )" + endpoints + "}";
}
std::string pool(const std::string& name, const std::string& spec) {
  return R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": ")" + name +
         R"("}, "spec": {)" + spec + "}}";
}
std::string block(const std::string& name, const std::string& node, const std::string& cidr,
                  const std::string& state = "confirmed") {
  return R"({"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity", "metadata": {"name": ")" + name +
         R"("}, "spec": {"node": ")" + node + R"(", "cidr": ")" + cidr + R"(", "state": ")" + state + R"("}})";
}

// ---- services ----------------------------------------------------------------------------------------

TEST(ConfigValidateService, Ports) {
  expect_faults({
      {"none", {service_with("s", "")}, {"/items/1/spec/ports: at least one port is required"}},
      {"names are required where there are several",
       {service_with("s", R"("ports": [{"port": 1}, {"name": "b", "port": 2}])")},
       {"/items/1/spec/ports/0/name: required where there is more than one port"}},
      {"names are unique",
       {service_with("s", R"("ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}])")},
       {"/items/1/spec/ports/1/name: a second port of the name a"}},
      {"names are labels",
       {service_with("s", R"("ports": [{"name": "A.b", "port": 1}])")},
       {"/items/1/spec/ports/0/name: expected at most 63 of a-z, 0-9 and \"-\""}},
      {"numbers are unique per protocol (SVC-1)",
       {service_with("s", R"("ports": [{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"},
                                       {"name": "c", "port": 53}])")},
       {"/items/1/spec/ports/2/port: a second TCP port 53"}},
  });
}

TEST(ConfigValidateService, SVC111_HeadlessServicesNeedNoPorts) {
  const std::string dual = R"("clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv4", "IPv6"])";
  expect_faults({
      {"none", {service_with("s", R"("clusterIP": "None")")}, {}},
      {"of IPv6", {service_with("s", R"("clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv6"])")}, {}},
      {"of both",
       {service_with("s", dual), slice("s-4", "IPv4", R"([{"addresses": ["10.244.1.1"]}])"),
        slice("s-6", "IPv6", R"([{"addresses": ["fd00::1"]}])")},
       {}},
  });
}

TEST(ConfigValidateService, Svc50Svc54Svc55Svc80NodePorts) {
  const auto node_port = [](const std::string& port, const std::string& more = "") {
    return R"("type": "NodePort", "ports": [{"port": 80, "nodePort": )" + port + more + "}]";
  };
  expect_faults({
      {"SVC-50: in the range",
       {service_with("s", node_port("29999")), service_with("t", node_port("32768")),
        service_with("u", node_port("30000")), service_with("v", node_port("32767"))},
       {"/items/1/spec/ports/0/nodePort: 29999 is outside the node port range 30000-32767",
        "/items/2/spec/ports/0/nodePort: 32768 is outside the node port range 30000-32767"}},
      {"unique over all services",
       {service_with("s", node_port("30001")), service_with("t", node_port("30001"))},
       {"/items/2/spec/ports/0/nodePort: TCP node port 30001 belongs to service default/s"}},
      {"SVC-55: but per protocol",
       {service_with("s", node_port("30001")), service_with("t", node_port("30001", R"(, "protocol": "UDP")"))},
       {}},
      {"twice in one service",
       {service_with("s", R"("type": "NodePort", "ports": [{"name": "a", "port": 1, "nodePort": 30001},
                                                          {"name": "b", "port": 2, "nodePort": 30001}])")},
       {"/items/1/spec/ports/1/nodePort: TCP node port 30001 twice"}},
      {"not for ClusterIP",
       {service_with("s", R"("ports": [{"port": 1, "nodePort": 30001}])")},
       {"/items/1/spec/ports/0/nodePort: only for services of type NodePort and LoadBalancer"}},
      {"SVC-54: a load balancer without node port", {load_balancer("s", R"([{"port": 80}])", "192.168.0.240")}, {}},
      {"SVC-80: health check node port",
       {service_with("a", R"("type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
                             "ports": [{"port": 80, "nodePort": 30002}])"),
        service_with("b", R"("type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30002,
                             "ports": [{"port": 80}])"),
        service_with("c", R"("type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 80,
                             "ports": [{"port": 80}])"),
        service_with("d", R"("type": "NodePort", "healthCheckNodePort": 30003, "ports": [{"port": 80}])")},
       {"/items/2/spec/healthCheckNodePort: TCP node port 30002 belongs to service default/a",
        "/items/3/spec/healthCheckNodePort: 80 is outside the node port range 30000-32767",
        "/items/4/spec/healthCheckNodePort: only for type LoadBalancer with externalTrafficPolicy Local"}},
  });
}

TEST(ConfigValidateService, ClusterIps) {
  const std::string port = R"(, "ports": [{"port": 80}])";
  expect_faults({
      {"in a service CIDR, of each family at most one (SVC-100)",
       {service_with("s", R"("clusterIPs": ["10.97.0.1", "10.96.0.2"])" + port),
        service_with("t", R"("clusterIPs": ["10.96.0.3", "fd00:96::3", "fd00:96::4"])" + port),
        service_with("u", R"("clusterIPs": ["10.96.0.4", "fd00:97::4"])" + port)},
       {"/items/1/spec/clusterIPs/1: both addresses are of the same family",
        "/items/1/spec/clusterIPs/0: 10.97.0.1 is in no service CIDR",
        "/items/2/spec/clusterIPs: at most one of each family, found 3",
        "/items/3/spec/clusterIPs/1: fd00:97::4 is in no service CIDR"}},
      {"unique",
       {service_with("s", R"("clusterIP": "10.96.0.1")" + port),
        service_with("t", R"("clusterIP": "10.96.0.1")" + port),
        service_with("u", R"("clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"])" + port)},
       {"/items/2/spec/clusterIP: 10.96.0.1 belongs to service default/s",
        "/items/3/spec/clusterIPs/0: 10.96.0.1 belongs to service default/s"}},
      {"a unicast address",
       {service_with("s", R"("clusterIP": "127.0.0.1")" + port)},
       {"/items/1/spec/clusterIP: 127.0.0.1 is a loopback address",
        "/items/1/spec/clusterIP: 127.0.0.1 is in no service CIDR"}},
  });
}

TEST(ConfigValidateService, AnyClusterIpWhereNoRangeIsConfigured) {
  const std::string gateway = R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
      "metadata": {"name": "g"}, "spec": {"interfaces": [{"name": "a", "device": "net_null0"}]}})";
  EXPECT_THAT(lines(faults_of(list_of({gateway, service("a", "10.96.0.1"), service("b", "172.30.0.1")}))), IsEmpty());
}

TEST(ConfigValidateService, Svc40Affinity) {
  const auto affinity = [](const std::string& seconds) {
    return service_with("s", R"("sessionAffinity": "ClientIP", "ports": [{"port": 80}],
                                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": )" +
                                 seconds + "}}");
  };
  const std::string place = "/items/1/spec/sessionAffinityConfig/clientIP/timeoutSeconds: ";
  expect_faults({
      {"0", {affinity("0")}, {place + "expected 1 to 86400, found 0"}},
      {"1", {affinity("1")}, {}},
      {"86400", {affinity("86400")}, {}},
      {"86401", {affinity("86401")}, {place + "expected 1 to 86400, found 86401"}},
  });
}

TEST(ConfigValidateService, Svc8AddressesThatAreNoHosts) {
  expect_faults({
      {"externalIPs",
       {service_with("s", R"("ports": [{"port": 80}], "externalIPs": ["0.0.0.0", "127.0.0.9", "169.254.1.1",
            "224.0.0.1", "255.255.255.255", "0.1.2.3", "::", "::1", "fe80::1", "ff02::1", "::ffff:1.2.3.4",
              "1.2.3.4"])")},
       {"/items/1/spec/externalIPs/0: 0.0.0.0 is the unspecified address",
        "/items/1/spec/externalIPs/1: 127.0.0.9 is a loopback address",
        "/items/1/spec/externalIPs/2: 169.254.1.1 is a link-local address",
        "/items/1/spec/externalIPs/3: 224.0.0.1 is a multicast address",
        "/items/1/spec/externalIPs/4: 255.255.255.255 is the broadcast address",
        "/items/1/spec/externalIPs/5: 0.1.2.3 is an address of 0.0.0.0/8",
        "/items/1/spec/externalIPs/6: :: is the unspecified address",
        "/items/1/spec/externalIPs/7: ::1 is a loopback address",
        "/items/1/spec/externalIPs/8: fe80::1 is a link-local address",
        "/items/1/spec/externalIPs/9: ff02::1 is a multicast address",
        "/items/1/spec/externalIPs/10: ::ffff:1.2.3.4 is an IPv4 address written as IPv6"}},
      {"load balancer addresses",
       {load_balancer("s", R"([{"port": 80}])", "169.254.0.9")},
       {"/items/1/status/loadBalancer/ingress: 169.254.0.9 is a link-local address"}},
      {"load balancer addresses of IPv6",
       {load_balancer("s", R"([{"port": 80}])", "fe80::9"), load_balancer("t", R"([{"port": 80}])", "ff05::9"),
        load_balancer("u", R"([{"port": 80}])", "2001:db8::9")},
       {"/items/1/status/loadBalancer/ingress: fe80::9 is a link-local address",
        "/items/2/status/loadBalancer/ingress: ff05::9 is a multicast address"}},
      {"endpoints",
       {slice("s", "IPv4", R"([{"addresses": ["127.0.0.1"]}, {"addresses": ["10.244.1.1"]},
                               {"addresses": ["169.254.1.1"]}])"),
        slice("t", "IPv6", R"([{"addresses": ["fe80::1"]}, {"addresses": ["fd00::1"]}])"),
        slice("u", "IPv4", R"([{"addresses": ["0.0.0.0"]}, {"addresses": ["224.0.0.1"]}])"),
        slice("v", "IPv6", R"([{"addresses": ["::"]}, {"addresses": ["::1"]}, {"addresses": ["ff02::1"]},
                               {"addresses": ["::ffff:10.0.0.1"]}, {"addresses": ["2001:db8::1"]}])")},
       {"/items/1/endpoints/0/addresses/0: 127.0.0.1 is a loopback address",
        "/items/1/endpoints/2/addresses/0: 169.254.1.1 is a link-local address",
        "/items/2/endpoints/0/addresses/0: fe80::1 is a link-local address",
        "/items/3/endpoints/0/addresses/0: 0.0.0.0 is the unspecified address",
        "/items/3/endpoints/1/addresses/0: 224.0.0.1 is a multicast address",
        "/items/4/endpoints/0/addresses/0: :: is the unspecified address",
        "/items/4/endpoints/1/addresses/0: ::1 is a loopback address",
        "/items/4/endpoints/2/addresses/0: ff02::1 is a multicast address",
        "/items/4/endpoints/3/addresses/0: ::ffff:10.0.0.1 is an IPv4 address written as IPv6"}},
  });
}

TEST(ConfigValidateService, Svc120ExternalIpsOfOthers) {
  expect_faults({{"all sorts",
                  {service_with("s", R"("ports": [{"port": 80}], "externalIPs": ["192.168.0.2", "192.168.0.11",
                                        "10.244.1.1", "10.245.0.9", "10.246.0.9", "10.247.0.9", "10.96.0.1",
                                        "198.51.100.1"])"),
                   R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
                       "spec": {"podCIDRs": ["10.245.0.0/24"]},
                       "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.11"}]}})",
                   pool("pods", R"("cidr": "10.246.0.0/16")"),
                   pool("lb", R"("cidr": "10.247.0.0/16", "allowedUses": ["LoadBalancer"])")},
                  {"/items/1/spec/externalIPs/0: 192.168.0.2 belongs to interface \"uplink0\"",
                   "/items/1/spec/externalIPs/1: 192.168.0.11 belongs to node node1",
                   "/items/1/spec/externalIPs/2: 10.244.1.1 belongs to the pod network 10.244.0.0/16",
                   "/items/1/spec/externalIPs/3: 10.245.0.9 belongs to the pod network 10.245.0.0/24",
                   "/items/1/spec/externalIPs/4: 10.246.0.9 belongs to the pod network 10.246.0.0/16",
                   "/items/1/spec/externalIPs/6: 10.96.0.1 belongs to the service network 10.96.0.0/16"}},
                 {"of IPv6",
                  {service_with("s", R"("ports": [{"port": 80}], "externalIPs": ["fd00:1::2", "fd00:1::11",
                                        "fd00:245::9", "fd00:246::9", "fd00:247::9", "fd00:96::1", "2001:db8::1"])"),
                   R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
                       "spec": {"podCIDRs": ["fd00:245::/64"]},
                       "status": {"addresses": [{"type": "InternalIP", "address": "fd00:1::11"}]}})",
                   pool("pods", R"("cidr": "fd00:246::/48")"),
                   pool("lb", R"("cidr": "fd00:247::/48", "allowedUses": ["LoadBalancer"])")},
                  {"/items/1/spec/externalIPs/0: fd00:1::2 belongs to interface \"uplink0\"",
                   "/items/1/spec/externalIPs/1: fd00:1::11 belongs to node node1",
                   "/items/1/spec/externalIPs/2: fd00:245::9 belongs to the pod network fd00:245::/64",
                   "/items/1/spec/externalIPs/3: fd00:246::9 belongs to the pod network fd00:246::/48",
                   "/items/1/spec/externalIPs/5: fd00:96::1 belongs to the service network fd00:96::/108"}}});
}

TEST(ConfigValidateService, Svc120AllowedExternalCidrs) {
  const std::string gateway = R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
      "metadata": {"name": "g"}, "spec": {"interfaces": [{"name": "a", "device": "net_null0"}],
      "proxy": {"allowedExternalCIDRs": ["198.51.100.0/24", "2001:db8:1::/48"]}}})";
  EXPECT_EQ(lines(faults_of(list_of({gateway, service_with("s", R"("ports": [{"port": 80}],
                                     "externalIPs": ["198.51.100.1", "198.51.101.1", "2001:db8:1::1",
                                                     "2001:db8:2::1"])")}))),
            (Lines{"/items/1/spec/externalIPs/1: 198.51.101.1 is not in allowedExternalCIDRs",
                   "/items/1/spec/externalIPs/3: 2001:db8:2::1 is not in allowedExternalCIDRs"}));
}

TEST(ConfigValidateService, Lb3SharedAddresses) {
  expect_faults({
      {"other ports may share",
       {load_balancer("a", R"([{"port": 80}])", "192.168.0.240"),
        load_balancer("b", R"([{"port": 80, "protocol": "UDP"}])", "192.168.0.240"),
        load_balancer("c", R"([{"port": 443}])", "192.168.0.240")},
       {}},
      {"the same may not",
       {load_balancer("a", R"([{"port": 80}])", "192.168.0.240"),
        load_balancer("b", R"([{"name": "x", "port": 79}, {"name": "y", "port": 80}])", "192.168.0.240"),
        service_with("c", R"("ports": [{"port": 80}], "externalIPs": ["192.168.0.240"])")},
       {"/items/2/spec/ports/1/port: TCP port 80 of 192.168.0.240 belongs to service default/a",
        "/items/3/spec/ports/0/port: TCP port 80 of 192.168.0.240 belongs to service default/a"}},
      {"not a cluster IP",
       {load_balancer("a", R"([{"port": 80}])", "10.96.0.7"), service("z", "10.96.0.7")},
       {"/items/1/status/loadBalancer/ingress: 10.96.0.7 is a cluster IP of service default/z"}},
      {"one service may list an address in both places",
       {service_with("a", R"("type": "LoadBalancer", "ports": [{"port": 80}], "externalIPs": ["198.51.100.1"])",
                     R"({"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}})")},
       {}},
  });
}

TEST(ConfigValidateSlice, Limits) {
  std::string endpoints = "[";
  for (int i = 0; i < 1001; ++i) {
    endpoints += (i == 0 ? "" : ",") + std::string(R"({"addresses": ["10.244.0.1"]})");
  }
  std::string addresses;
  for (int i = 0; i < 101; ++i) addresses += (i == 0 ? "" : ",") + std::string("\"10.244.0.1\"");
  expect_faults({
      {"endpoints", {slice("s", "IPv4", endpoints + "]")}, {"/items/1/endpoints: at most 1000, found 1001"}},
      {"addresses",
       {slice("s", "IPv4", R"([{"addresses": [)" + addresses + "]}]")},
       {"/items/1/endpoints/0/addresses: at most 100, found 101"}},
  });
}

// ---- pools and blocks --------------------------------------------------------------------------------

TEST(ConfigValidatePool, Ipam1) {
  expect_faults({
      {"block sizes",
       {pool("a", R"("cidr": "10.1.0.0/16", "blockSize": 19)"), pool("b", R"("cidr": "10.2.0.0/16", "blockSize": 20)"),
        pool("c", R"("cidr": "10.3.0.0/28")"), pool("d", R"("cidr": "fd01::/64", "blockSize": 115)"),
        pool("e", R"("cidr": "fd02::/64", "blockSize": 128)")},
       {"/items/1/spec/blockSize: expected 20 to 32 for IPv4, found 19",
        "/items/3/spec/blockSize: a block of /26 is larger than the pool 10.3.0.0/28",
        "/items/4/spec/blockSize: expected 116 to 128 for IPv6, found 115"}},
      {"overlap, also with one between",
       {pool("a", R"("cidr": "10.0.0.0/8")"), pool("b", R"("cidr": "10.1.0.0/16")"),
        pool("c", R"("cidr": "10.2.0.0/16")"), pool("d", R"("cidr": "11.0.0.0/8")"),
        pool("e", R"("cidr": "11.0.0.0/8")")},
       {"/items/2/spec/cidr: 10.1.0.0/16 overlaps pool a (10.0.0.0/8)",
        "/items/3/spec/cidr: 10.2.0.0/16 overlaps pool a (10.0.0.0/8)",
        "/items/5/spec/cidr: 11.0.0.0/8 overlaps pool d (11.0.0.0/8)"}},
      {"link-local",
       {pool("a", R"("cidr": "169.254.8.0/24")"), pool("b", R"("cidr": "fe80::/64")")},
       {"/items/1/spec/cidr: 169.254.8.0/24 has link-local addresses",
        "/items/2/spec/cidr: fe80::/64 has link-local addresses"}},
      {"ENC-1, IPIP-5",
       {pool("a", R"("cidr": "10.1.0.0/16", "vxlanMode": "Always", "ipipMode": "CrossSubnet")"),
        pool("b", R"("cidr": "fd01::/64", "ipipMode": "Always")")},
       {"/items/1/spec/ipipMode: ipipMode and vxlanMode exclude each other",
        "/items/2/spec/ipipMode: there is no IPIP for IPv6 pools"}},
  });
}

TEST(ConfigValidateBlock, Ipam4) {
  const std::string pods = pool("pods", R"("cidr": "10.1.0.0/16")");
  expect_faults({
      {"inside a pool, unless unconfirmed",
       {pods, block("a", "node1", "10.1.34.0/26"), block("b", "node1", "10.2.34.0/26"),
        block("c", "node1", "10.0.0.0/8"), block("d", "node1", "10.3.0.0/26", "pending")},
       {"/items/3/spec/cidr: 10.2.34.0/26 is in no IPPool", "/items/4/spec/cidr: 10.0.0.0/8 is in no IPPool"}},
      {"one confirmed owner; a borrowed address inside is fine (ENC-5)",
       {pods, block("a", "node1", "10.1.34.0/26"), block("b", "node2", "10.1.34.0/26"),
        block("c", "node3", "10.1.34.0/26", "pendingDeletion"), block("d", "node2", "10.1.34.7/32")},
       {"/items/3/spec/cidr: 10.1.34.0/26 is confirmed for node node1 by BlockAffinity a"}},
  });
}

// ---- changes -----------------------------------------------------------------------------------------

class ConfigValidateChange : public testing::Test {
 protected:
  // The faults after these objects were set, as pointers into the delta.
  Lines after_setting(const std::vector<std::string>& objects) {
    std::string items;
    for (const std::string& object : objects) items += (items.empty() ? "" : ",") + object;
    auto delta = parse_delta("{\"kind\": \"Delta\", \"upsert\": [" + items + "]}");
    auto change = objects_.apply(std::move(*delta));
    if (!change) return lines(change.error().faults);
    const Lines faults = lines(validate(objects_, *change));
    // A partial check finds as much as a whole one, which may blame the other of two objects.
    EXPECT_EQ(faults.size(), validate(objects_).size());
    objects_.revert(std::move(*change));
    EXPECT_THAT(lines(validate(objects_)), IsEmpty());
    return faults;
  }

  ObjectSet objects_ = valid_set(list_with_gateway(
      {service_with("m", R"("type": "NodePort", "clusterIP": "10.96.0.1", "externalIPs": ["198.51.100.1"],
                            "ports": [{"port": 80, "nodePort": 30001}])"),
       slice("m-1", "IPv4", R"([{"addresses": ["10.244.0.1"]}])"), pool("pods", R"("cidr": "10.1.0.0/16")"),
       block("b", "node1", "10.1.34.0/26")}));
};

TEST_F(ConfigValidateChange, TheNewcomerIsAtFault) {
  EXPECT_EQ(after_setting({service_with("a", R"("type": "NodePort", "clusterIP": "10.96.0.1",
                                                "ports": [{"port": 80, "nodePort": 30001}])")}),
            (Lines{"/upsert/0/spec/clusterIP: 10.96.0.1 belongs to service default/m",
                   "/upsert/0/spec/ports/0/nodePort: TCP node port 30001 belongs to service default/m"}));
}

TEST_F(ConfigValidateChange, ObjectsOutsideTheDeltaHaveNoPointer) {
  // A node takes an address that a service announces.
  EXPECT_EQ(after_setting({R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
                               "status": {"addresses": [{"type": "InternalIP", "address": "198.51.100.1"}]}})"}),
            (Lines{": 198.51.100.1 belongs to node node1"}));
}

TEST_F(ConfigValidateChange, Endpoints) {
  EXPECT_THAT(after_setting({slice("m-2", "IPv4", R"([{"addresses": ["10.244.0.2"]}])")}), IsEmpty());
  EXPECT_EQ(after_setting({slice("m-1", "IPv4", R"([{"addresses": ["10.244.0.1"]}, {"addresses": ["127.0.0.1"]}])")}),
            (Lines{"/upsert/0/endpoints/1/addresses/0: 127.0.0.1 is a loopback address"}));
}

TEST_F(ConfigValidateChange, PoolsAndBlocks) {
  EXPECT_EQ(after_setting({pool("pods", R"("cidr": "10.2.0.0/16")")}), (Lines{": 10.1.34.0/26 is in no IPPool"}));
  EXPECT_EQ(after_setting({block("c", "node2", "10.9.34.0/26")}),
            (Lines{"/upsert/0/spec/cidr: 10.9.34.0/26 is in no IPPool"}));
}

TEST_F(ConfigValidateChange, TheGatewaysRangesConcernEveryService) {
  std::string gateway(gateway_object);
  gateway.replace(gateway.find("10.96.0.0/16"), 12, "10.97.0.0/16");
  EXPECT_EQ(after_setting({gateway}), (Lines{": 10.96.0.1 is in no service CIDR"}));
  const auto faults = [&] {
    auto change = objects_.apply(to_delta(parse_document(gateway).value()));
    return validate(objects_, *change);
  }();
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_EQ(faults[0].text(), "Service default/m: spec.clusterIP: 10.96.0.1 is in no service CIDR");
}

}  // namespace
}  // namespace sluice::config
