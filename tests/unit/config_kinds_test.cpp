// What the objects of Kubernetes and Calico become, and what is refused in them.
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/external_name.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Lines = std::vector<std::string>;

IpAddr ip(std::string_view text) { return *net::parse_ip(text); }
Prefix prefix(std::string_view text) { return *net::parse_prefix(text); }
MacAddr mac(std::string_view text) { return *net::parse_mac(text); }

// The Config of a valid document with these objects beside the gateway.
Config config_with(std::vector<std::string> objects) {
  return valid_set(list_with_gateway(std::move(objects))).config();
}

Service service_of(const std::string& spec_and_more, const std::string& metadata = "") {
  const Config config = config_with({R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web")" +
                                     metadata + "}, " + spec_and_more + "}"});
  const auto found = config.services.find({"default", "web"});
  if (found == config.services.end()) {
    ADD_FAILURE() << "no service";
    return {};
  }
  return found->second;
}
EndpointSlice slice_of(const std::string& fields) {
  const Config config =
      config_with({R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web-1",
                      "labels": {"kubernetes.io/service-name": "web"}}, )" +
                   fields + "}"});
  const auto found = config.slices.find({"default", "web-1"});
  if (found == config.slices.end()) {
    ADD_FAILURE() << "no slice";
    return {};
  }
  return found->second;
}

TEST(ConfigNode, AddressesAndAnnotations) {
  const Config config = config_with({R"({
    "apiVersion": "v1", "kind": "Node",
    "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "a"}, "annotations": {
      "projectcalico.org/IPv4Address": "192.168.7.11/24", "projectcalico.org/IPv6Address": "fd00:7::11/64",
      "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.34.0", "projectcalico.org/IPv4IPIPTunnelAddr": "10.244.34.1",
      "projectcalico.org/VXLANTunnelMACAddr": "66:f9:37:c3:7e:94"}},
    "spec": {"podCIDR": "10.244.34.0/24", "podCIDRs": ["10.244.34.0/24", "fd00:244::/64"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.11"},
                             {"type": "InternalIP", "address": "fd00:1::11"},
                             {"type": "ExternalIP", "address": "203.0.113.11"},
                             {"type": "Hostname", "address": "node1"}]}})"});
  const Node& node = config.nodes.at("node1");
  EXPECT_EQ(node.labels.at("topology.kubernetes.io/zone"), "a");
  EXPECT_THAT(node.internal_ips, ElementsAre(ip("192.168.0.11"), ip("fd00:1::11")));
  EXPECT_THAT(node.external_ips, ElementsAre(ip("203.0.113.11")));
  EXPECT_EQ(node.bgp_ipv4, prefix("192.168.7.11/24"));
  EXPECT_EQ(node.vxlan_tunnel_ipv4, ip("10.244.34.0").v4());
  EXPECT_EQ(node.ipip_tunnel_ipv4, ip("10.244.34.1").v4());
  EXPECT_EQ(node.vxlan_mac, mac("66:f9:37:c3:7e:94"));
  EXPECT_THAT(node.pod_cidrs, ElementsAre(prefix("10.244.34.0/24"), prefix("fd00:244::/64")));
  EXPECT_EQ(node.underlay(net::Family::V4), ip("192.168.7.11"));
  EXPECT_EQ(node.underlay(net::Family::V6), ip("fd00:7::11"));
}

TEST(ConfigNode, UnderlayFallsBackToInternalIpAndEmptyAnnotationsAreNone) {
  const Config config = config_with({R"({
    "apiVersion": "v1", "kind": "Node",
    "metadata": {"name": "node1", "annotations": {"projectcalico.org/IPv4Address": "",
                                                  "projectcalico.org/IPv4VXLANTunnelAddr": ""}},
    "spec": {"podCIDR": "10.244.34.0/24"},
    "status": {"addresses": [{"type": "ExternalIP", "address": "203.0.113.11"},
                             {"type": "InternalIP", "address": "192.168.0.11"}]}})"});
  const Node& node = config.nodes.at("node1");
  EXPECT_EQ(node.underlay(net::Family::V4), ip("192.168.0.11"));
  EXPECT_EQ(node.underlay(net::Family::V6), std::nullopt);
  EXPECT_EQ(node.vxlan_tunnel_ipv4, std::nullopt);
  EXPECT_THAT(node.pod_cidrs, ElementsAre(prefix("10.244.34.0/24")));
}

TEST(ConfigNode, Svc82TaintOfANodeThatIsBeingDeleted) {
  const auto being_deleted = [](const std::string& taints) {
    return config_with({R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}, "spec": {"taints": [)" +
                        taints + "]}}"})
        .nodes.at("node1")
        .being_deleted;
  };
  EXPECT_FALSE(being_deleted(""));
  EXPECT_FALSE(being_deleted(R"({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})"));
  EXPECT_TRUE(being_deleted(R"({"key": "a"}, {"key": "ToBeDeletedByClusterAutoscaler", "value": "1700000000",
                                              "effect": "NoSchedule"}, {"key": "b"})"));
}

TEST(ConfigService, AllFields) {
  const Service web = service_of(R"("spec": {
      "type": "LoadBalancer", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7", "fd00:96::7"],
      "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080},
                {"name": "dns", "protocol": "UDP", "port": 53}, {"name": "sig", "protocol": "SCTP", "port": 53}],
      "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
      "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "healthCheckNodePort": 31111,
      "loadBalancerSourceRanges": [" 203.0.113.0/25 "], "externalIPs": ["198.51.100.7"]},
    "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.240", "ipMode": "VIP"}, {"ip": "192.168.0.241"},
                                            {"ip": "192.168.0.242", "ipMode": "Proxy"},
                                              {"hostname": "lb.example"}]}})");
  EXPECT_EQ(web.type, ServiceType::LoadBalancer);
  EXPECT_TRUE(web.proxied);
  EXPECT_THAT(web.cluster_ips, ElementsAre(ip("10.96.7.7"), ip("fd00:96::7")));
  EXPECT_THAT(web.external_ips, ElementsAre(ip("198.51.100.7")));
  // KEP-1860: ipMode Proxy is not programmed.
  EXPECT_THAT(web.load_balancer_ips, ElementsAre(ip("192.168.0.240"), ip("192.168.0.241")));
  EXPECT_THAT(web.ports,
              ElementsAre(ServicePort{"http", Protocol::Tcp, 80, 30080}, ServicePort{"dns", Protocol::Udp, 53, 0},
                          ServicePort{"sig", Protocol::Sctp, 53, 0}));
  EXPECT_EQ(web.affinity, Seconds(60));
  EXPECT_EQ(web.external_policy, TrafficPolicy::Local);
  EXPECT_EQ(web.internal_policy, TrafficPolicy::Local);
  EXPECT_EQ(web.health_check_node_port, 31111);
  EXPECT_THAT(web.source_ranges, ElementsAre(prefix("203.0.113.0/25")));
}

TEST(ConfigService, Defaults) {
  const Service web = service_of(R"("spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]})");
  EXPECT_EQ(web.type, ServiceType::ClusterIp);
  EXPECT_THAT(web.cluster_ips, ElementsAre(ip("10.96.7.7")));
  EXPECT_EQ(web.affinity, std::nullopt);
  EXPECT_EQ(web.external_policy, TrafficPolicy::Cluster);
  EXPECT_EQ(web.internal_policy, TrafficPolicy::Cluster);
}

TEST(ConfigService, Svc40AffinityTimeoutDefaults) {
  const Service web =
      service_of(R"("spec": {"clusterIP": "10.96.7.7", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]})");
  EXPECT_EQ(web.affinity, Seconds(10800));
}

TEST(ConfigService, Svc4NotProxied) {
  EXPECT_FALSE(service_of(R"("spec": {"clusterIP": "None"})").proxied);
  EXPECT_FALSE(service_of(R"("spec": {"clusterIP": "None", "clusterIPs": ["None"]})").proxied);
  EXPECT_FALSE(service_of(R"("spec": {"type": "ExternalName", "externalName": "db.example"})").proxied);
  EXPECT_FALSE(service_of(R"("spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]})",
                          R"(, "labels": {"service.kubernetes.io/service-proxy-name": "x"})")
                   .proxied);
  EXPECT_FALSE(service_of(R"("spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]})",
                          R"(, "labels": {"service.kubernetes.io/headless": ""})")
                   .proxied);
}

TEST(ConfigService, SVC4_SVC111_NotProxiedOverIPv6) {
  const std::string v6 = R"("spec": {"clusterIP": "fd00:96::7", "ports": [{"port": 80}]})";
  EXPECT_TRUE(service_of(v6).proxied);
  EXPECT_FALSE(service_of(v6, R"(, "labels": {"service.kubernetes.io/service-proxy-name": "x"})").proxied);
  EXPECT_FALSE(service_of(v6, R"(, "labels": {"service.kubernetes.io/headless": ""})").proxied);
  for (const char* const families : {R"(["IPv6"])", R"(["IPv4", "IPv6"])"}) {
    const Service headless = service_of(R"("spec": {"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": )" +
                                        std::string(families) + "}");
    EXPECT_FALSE(headless.proxied) << families;
    EXPECT_THAT(headless.cluster_ips, IsEmpty()) << families;
  }
}

// What DNS can be asked for; an address is not.
TEST(ConfigService, ING9_ExternalNames) {
  using Name = ExternalName;
  EXPECT_EQ(parse_external_name("db.example.com"), (Name{"db.example.com", ""}));
  EXPECT_EQ(parse_external_name("DB.Example.com."), (Name{"db.example.com", ""}));
  for (const char* const address : {"10.0.0.1", "10.0.0.1.", "2001:db8::1"}) {
    const Name name = parse_external_name(address);
    EXPECT_EQ(name.name, "") << address;
    EXPECT_NE(name.problem.find("EndpointSlice"), std::string::npos) << name.problem;
  }
  for (const char* const odd : {"", ".", "a..b", "a_b.example", "-a.example", "a b", "db.example.com..", "http://x"}) {
    EXPECT_EQ(parse_external_name(odd).name, "") << odd;
    EXPECT_NE(parse_external_name(odd).problem, "") << odd;
  }
  EXPECT_EQ(external_name_of(R"({"spec":{"type":"ExternalName","externalName":"a.b"}})").name, "a.b");
  for (const char* const none : {"{}", "[]", "", R"({"spec":7})", R"({"spec":{"externalName":7}})"}) {
    EXPECT_NE(external_name_of(none).problem, "") << none;
  }
}

TEST(ConfigService, ING9_AddressesAsExternalNamesAreWarnedOf) {
  const auto warnings =
      [](const std::string& spec) {
        return lines(valid_set(list_with_gateway({R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
      "spec": {"type": "ExternalName")" + spec + "}}"}))
                         .warnings());
      };
  EXPECT_THAT(warnings(R"(, "externalName": "db.example.com")"), IsEmpty());
  EXPECT_THAT(warnings(""), ElementsAre(HasSubstr("/items/1/spec/externalName: it names nothing")));
  EXPECT_THAT(warnings(R"(, "externalName": "10.0.0.1")"),
              ElementsAre(HasSubstr("/items/1/spec/externalName: \"10.0.0.1\" is an address")));
}

TEST(ConfigService, StatusCountsForLoadBalancersOnly) {
  EXPECT_THAT(service_of(R"("spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
                            "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.240"}]}})")
                  .load_balancer_ips,
              IsEmpty());
}

TEST(ConfigService, Svc66FamilyWithoutSourceRangesIsWarnedOf) {
  const ObjectSet objects = valid_set(list_with_gateway({R"({
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
    "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "loadBalancerSourceRanges": ["203.0.113.9/25"]},
    "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.240"}, {"ip": "fd00:1::240"}]}}})"}));
  EXPECT_EQ(
      lines(objects.warnings()),
      (Lines{"/items/1/spec/loadBalancerSourceRanges/0: 203.0.113.9/25 has host bits set; taken as "
             "203.0.113.0/25",
             "/items/1/spec/loadBalancerSourceRanges: no range is IPv6: the IPv6 load balancer address is open to "
             "every client"}));
  EXPECT_THAT(objects.config().services.at({"default", "web"}).source_ranges, ElementsAre(prefix("203.0.113.0/25")));
}

// The annotation, with its quotation marks escaped.
std::string weights_annotation(std::string text) {
  for (size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return R"(, "annotations": {"sluice.dev/weights": ")" + text + R"("})";
}

constexpr const char* one_port = R"("spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]})";

TEST(ConfigService, Svc22Weights) {
  const Service web = service_of(one_port, weights_annotation(R"({"10.244.34.5": 0, "fd00::0:5": 100, "web-0.a": 50, )"
                                                              R"("track=canary": 10, "sluice.dev/empty=": 1})"));
  EXPECT_EQ(web.weights.addresses, (std::map<IpAddr, uint8_t>{{ip("10.244.34.5"), 0}, {ip("fd00::5"), 100}}));
  EXPECT_EQ(web.weights.pods, (std::map<std::string, uint8_t>{{"web-0.a", 50}}));
  EXPECT_EQ(web.weights.labels, (std::map<std::pair<std::string, std::string>, uint8_t>{
                                    {{"track", "canary"}, 10}, {{"sluice.dev/empty", ""}, 1}}));
  EXPECT_TRUE(service_of(one_port).weights.empty());
  EXPECT_TRUE(service_of(one_port, weights_annotation("")).weights.empty()) << "taken back, as Calico does";
  EXPECT_TRUE(service_of(one_port, weights_annotation("{}")).weights.empty());
}

TEST(ConfigService, Forwarding) {
  const auto annotated = [](const std::string& value) {
    return R"(, "annotations": {"sluice.dev/forwarding": )" + value + "}";
  };
  constexpr const char* balancer = R"("spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1",
    "ports": [{"port": 80}]}, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.80"}]}})";
  EXPECT_EQ(service_of(balancer).forwarding, Forwarding::Snat);
  EXPECT_EQ(service_of(balancer, annotated(R"("snat")")).forwarding, Forwarding::Snat);
  EXPECT_EQ(service_of(balancer, annotated(R"("")")).forwarding, Forwarding::Snat) << "taken back";
  EXPECT_TRUE(service_of(balancer, annotated(R"("dsr")")).returns_directly());
  EXPECT_FALSE(service_of(balancer).returns_directly());

  const auto document = [&](const std::string& value, const std::string& spec) {
    return list_with_gateway({R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web")" +
                              annotated(value) + "}, " + spec + "}"});
  };
  const std::string place = "/items/1/metadata/annotations/sluice.dev~1forwarding: ";
  for (const char* wrong : {R"("DSR")", R"("ipip")", "1"}) {
    const Lines found = lines(faults_of(document(wrong, balancer)));
    ASSERT_EQ(found.size(), 1u) << wrong;
    EXPECT_EQ(found[0].substr(0, place.size()), place);
  }
  // Of no use without an address of its own; a load balancer's may come later.
  const auto warnings = [&](const std::string& spec) {
    return lines(valid_set(document(R"("dsr")", spec)).warnings());
  };
  EXPECT_EQ(warnings(one_port), (Lines{place + "dsr is of no use here: only load balancer addresses and external IPs "
                                               "are answered directly"}));
  EXPECT_EQ(warnings(R"("spec": {"clusterIP": "None", "ports": [{"port": 80}]})").size(), 1u);
  EXPECT_EQ(warnings(balancer), Lines{});
  EXPECT_EQ(warnings(R"("spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{"port": 80}]})"),
            Lines{});
  EXPECT_EQ(warnings(R"("spec": {"clusterIP": "10.96.0.1", "externalIPs": ["203.0.113.5"], "ports": [{"port": 80}]})"),
            Lines{});
}

TEST(ConfigService, Svc22WrongWeights) {
  const auto faults = [](const std::string& text) {
    return lines(faults_of(list_with_gateway({R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web")" +
                                              weights_annotation(text) + "}, " + one_port + "}"})));
  };
  const std::string place = "/items/1/metadata/annotations/sluice.dev~1weights: ";
  const std::string form =
      place + R"(expected a JSON object of weights, like {"10.244.34.5": 0, "web-0": 50, "track=canary": 10})";
  EXPECT_EQ(faults("web-0=10"), Lines{form});
  EXPECT_EQ(faults("[10]"), Lines{form});
  EXPECT_EQ(faults(R"({"a": 1} b)"), Lines{form});
  EXPECT_EQ(faults(R"({"web-0": 101})"), Lines{place + R"("web-0": expected a weight from 0 to 100)"});
  EXPECT_EQ(faults(R"({"web-0": -1, "web-1": 0.5, "web-2": "7"})"),
            (Lines{place + R"("web-0": expected a weight from 0 to 100)",
                   place + R"("web-1": expected a weight from 0 to 100)",
                   place + R"("web-2": expected a weight from 0 to 100)"}));
  EXPECT_EQ(faults(R"({"Web 0": 1, "=x": 1})"),
            (Lines{place + R"("Web 0" is neither an address nor the name of a pod nor a label (key=value))",
                   place + R"("=x" is neither an address nor the name of a pod nor a label (key=value))"}));
  EXPECT_EQ(faults(R"({"fd00::5": 1, "fd00:0::5": 2})"), Lines{place + R"("fd00:0::5" is named twice)"});
}

TEST(ConfigSlice, Svc22LabelsAndPods) {
  const EndpointSlice slice = slice_of(R"("addressType": "IPv4", "endpoints": [
      {"addresses": ["10.244.34.5"], "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-0"}},
      {"addresses": ["10.244.34.6"], "targetRef": {"kind": "Node", "name": "node1"}},
      {"addresses": ["10.244.34.7"]}])");
  EXPECT_EQ(slice.labels, (Labels{{"kubernetes.io/service-name", "web"}}));
  EXPECT_EQ(slice.service, "web");
  EXPECT_EQ(slice.endpoints[0].pod, "web-0");
  EXPECT_EQ(slice.endpoints[1].pod, "");
  EXPECT_EQ(slice.endpoints[2].pod, "");
}

TEST(ConfigSlice, Svc7Svc10ConditionsWithNull) {
  const EndpointSlice slice = slice_of(R"("addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [
      {"addresses": ["10.244.34.1", "10.244.34.99"]},
      {"addresses": ["10.244.34.2"], "conditions": {"ready": null, "serving": null, "terminating": null}},
      {"addresses": ["10.244.34.3"], "conditions": {"ready": false}},
      {"addresses": ["10.244.34.4"], "conditions": {"ready": false, "serving": true, "terminating": true},
       "nodeName": "node1", "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "node1"}]}}])");
  ASSERT_THAT(slice.endpoints, SizeIs(4));
  const auto conditions = [&](size_t i) {
    const Endpoint& endpoint = slice.endpoints[i];
    return std::array<bool, 3>{endpoint.ready, endpoint.serving, endpoint.terminating};
  };
  EXPECT_EQ(conditions(0), (std::array{true, true, false}));
  EXPECT_EQ(conditions(1), (std::array{true, true, false}));
  EXPECT_EQ(conditions(2), (std::array{false, false, false}));
  EXPECT_EQ(conditions(3), (std::array{false, true, true}));
  EXPECT_EQ(slice.endpoints[0].address, ip("10.244.34.1"));  // SVC-7
  EXPECT_EQ(slice.endpoints[3].node_name, "node1");
  EXPECT_THAT(slice.endpoints[3].zone_hints, ElementsAre("a", "b"));
  EXPECT_THAT(slice.endpoints[3].node_hints, ElementsAre("node1"));
  EXPECT_EQ(slice.service, "web");
}

TEST(ConfigSlice, SVC7_OfSeveralAddressesOfIPv6TheFirst) {
  const EndpointSlice slice = slice_of(R"("addressType": "IPv6", "ports": [{"port": 8080}], "endpoints": [
      {"addresses": ["fd00::9", "fd00::1"]}, {"addresses": ["fd00::2"]}])");
  ASSERT_THAT(slice.endpoints, SizeIs(2));
  EXPECT_EQ(slice.endpoints[0].address, ip("fd00::9"));
  EXPECT_EQ(slice.endpoints[1].address, ip("fd00::2"));
}

TEST(ConfigSlice, Svc6PortsWithoutNumberAreLeftOut) {
  const EndpointSlice slice = slice_of(R"("addressType": "IPv6", "endpoints": [], "ports": [
      {"name": "a", "port": null}, {"name": "b", "protocol": "UDP", "port": 53}, {"name": null, "port": 80}])");
  EXPECT_EQ(slice.family, net::Family::V6);
  EXPECT_THAT(slice.ports, ElementsAre(EndpointPort{"b", Protocol::Udp, 53}, EndpointPort{"", Protocol::Tcp, 80}));
}

TEST(ConfigSlice, Svc5NamesAreIgnored) {
  const EndpointSlice slice =
      slice_of(R"("addressType": "FQDN", "ports": [{"port": 80}], "endpoints": [{"addresses": ["db.example"]}])");
  EXPECT_TRUE(slice.fqdn);
  EXPECT_THAT(slice.endpoints, IsEmpty());
}

TEST(ConfigPod, Svc94HostPorts) {
  const auto pods = [](const std::string& spec, const std::string& status) {
    return config_with({R"({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"}, "spec": {)" + spec +
                        R"(}, "status": {)" + status + "}}"})
        .pods;
  };
  const std::string ports = R"("nodeName": "node1", "containers": [{"name": "a"}, {"name": "b", "ports": [
      {"containerPort": 8080, "hostPort": 9000}, {"containerPort": 8081},
      {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1"},
      {"containerPort": 54, "hostPort": 5454, "hostIP": "0.0.0.0"},
      {"containerPort": 55, "hostPort": 5555, "hostIP": ""}]}])";
  const std::string running =
      R"("phase": "Running", "podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}, {"ip": "fd00::9"}])";
  const Pod pod = pods(ports, running).at({"default", "agent"});
  EXPECT_EQ(pod.node_name, "node1");
  EXPECT_THAT(pod.addresses, ElementsAre(ip("10.1.0.9"), ip("fd00::9")));
  EXPECT_THAT(pod.host_ports,
              ElementsAre(HostPort{{}, 9000, 8080, Protocol::Tcp}, HostPort{ip("192.0.2.1"), 5353, 53, Protocol::Udp},
                          HostPort{{}, 5454, 54, Protocol::Tcp}, HostPort{{}, 5555, 55, Protocol::Tcp}));
  EXPECT_THAT(pods(ports, R"("podIP": "10.1.0.9")").at({"default", "agent"}).addresses, ElementsAre(ip("10.1.0.9")));
  EXPECT_THAT(pods(ports + R"(, "hostNetwork": true)", running), IsEmpty());
  EXPECT_THAT(pods(ports, R"("phase": "Succeeded", "podIP": "10.1.0.9")"), IsEmpty());
  EXPECT_THAT(pods(R"("containers": [{"ports": [{"containerPort": 1}]}])", running), IsEmpty());
}

TEST(ConfigServiceCidr, IsAddedToTheClustersRanges) {
  const Config config = config_with({R"({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
      "metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16", "10.96.0.0/16"]}})",
                                     service("a", "10.97.0.1")});
  EXPECT_THAT(config.gateway.cluster.service_cidrs,
              ElementsAre(prefix("10.96.0.0/16"), prefix("fd00:96::/108"), prefix("10.97.0.0/16")));
}

TEST(ConfigPool, FieldsAndDefaults) {
  const Config config =
      config_with({R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "a"},
           "spec": {"cidr": "10.1.0.0/16", "vxlanMode": "CrossSubnet", "natOutgoing": true}})",
                   R"({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": {"name": "b"},
           "spec": {"cidr": "fd01::/64", "ipipMode": "", "disabled": true, "allowedUses": ["LoadBalancer"]}})",
                   R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "c"},
           "spec": {"cidr": "10.2.0.0/16", "ipipMode": "Always", "blockSize": 24}})"});
  EXPECT_EQ(config.pools.at("a"),
            (IpPool{"a", prefix("10.1.0.0/16"), TunnelMode::CrossSubnet, TunnelMode::Never, 26, true, false, false}));
  EXPECT_EQ(config.pools.at("b"), (IpPool{"b", prefix("fd01::/64"), TunnelMode::Never, TunnelMode::Never, 122, false,
                                          true, false, true, false, false}));
  EXPECT_EQ(config.pools.at("c"),
            (IpPool{"c", prefix("10.2.0.0/16"), TunnelMode::Never, TunnelMode::Always, 24, false, false, false}));
}

TEST(ConfigPool, IPAM1_IPAM9_WhoHasAddressesOfIt) {
  const Config config =
      config_with({R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "a"},
           "spec": {"cidr": "10.1.0.0/16", "allowedUses": ["Tunnel"], "assignmentMode": "Manual",
                    "nodeSelector": "rack == 'left'"}})",
                   R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "b"},
           "spec": {"cidr": "10.2.0.0/16", "nodeSelector": "rack != 'left'", "namespaceSelector": "team == 'x'"}})"});
  const IpPool& a = config.pools.at("a");
  EXPECT_TRUE(a.for_tunnels && !a.for_workloads && a.manual && !a.load_balancer_only);
  EXPECT_TRUE(a.node_selector.matches({{"rack", "left"}}) && !a.node_selector.matches({}));
  const IpPool& b = config.pools.at("b");
  EXPECT_TRUE(b.for_tunnels && b.for_workloads && b.node_selector.matches({}));
  EXPECT_FALSE(b.manual);
  EXPECT_TRUE(b.namespace_selector.matches({{"team", "x"}}) && !b.namespace_selector.matches({}));
}

TEST(ConfigPool, IPAM2_IpamConfiguration) {
  EXPECT_EQ(config_with({}).ipam, (Ipam{false, true, 20, 0, 900}));
  EXPECT_EQ(config_with({R"({"apiVersion": "projectcalico.org/v3", "kind": "IPAMConfiguration",
           "metadata": {"name": "default"}, "spec": {"strictAffinity": true, "autoAllocateBlocks": false,
           "maxBlocksPerHost": 4, "ipCooldownSeconds": 60, "leakGraceSeconds": 5}})"})
                .ipam,
            (Ipam{true, false, 4, 60, 5}));
}

TEST(ConfigBlock, Ipam4OnlyConfirmedOnesCount) {
  struct Case {
    std::string spec;
    bool confirmed;
  };
  for (const auto& [spec, confirmed] :
       {Case{R"("state": "confirmed")", true}, Case{R"("state": "confirmed", "deleted": false)", true},
        Case{R"("state": "confirmed", "deleted": "false")", true}, Case{R"("state": "pending")", false},
        Case{R"("state": "pendingDeletion")", false}, Case{R"("state": "confirmed", "deleted": true)", false},
        Case{R"("state": "confirmed", "deleted": "true")", false},
        Case{R"("state": "confirmed", "type": "virtual")", false}}) {
    const Config config =
        config_with({R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"},
                         "spec": {"cidr": "10.1.0.0/16"}})",
                     R"({"apiVersion": "crd.projectcalico.org/v1", "kind": "BlockAffinity", "metadata": {"name": "b"},
                         "spec": {"node": "node1", "cidr": "10.1.34.0/26", )" +
                         spec + "}}"});
    EXPECT_EQ(config.blocks.at("b"), (BlockAffinity{"b", "node1", prefix("10.1.34.0/26"), confirmed})) << spec;
  }
}

TEST(ConfigKubernetes, WrongValues) {
  struct Case {
    std::string object;
    Lines faults;
  };
  const std::vector<Case> cases{
      {R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"a": 1}, "annotations":
           {"projectcalico.org/IPv4Address": "fd00::1/64", "projectcalico.org/IPv4VXLANTunnelAddr": "x"}},
           "status": {"addresses": [{"type": "InternalIP", "address": "1.2.3.04"}, {"type": "InternalIP"}]}})",
       {"/items/1/metadata/labels/a: expected a string, found an integer",
        "/items/1/metadata/annotations/projectcalico.org~1IPv4Address: \"fd00::1/64\" is not an IPv4 address",
        "/items/1/metadata/annotations/projectcalico.org~1IPv4VXLANTunnelAddr: \"x\" is not an IPv4 address",
        "/items/1/status/addresses/0/address: \"1.2.3.04\" is not an IPv4 or IPv6 address",
        "/items/1/status/addresses/1/address: required"}},
      {R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.1",
           "clusterIPs": ["10.96.0.2", "10.96.000.3"], "externalIPs": ["198.51.100.07"], "ports": [{"port": 0,
           "protocol": "tcp"}], "sessionAffinity": "clientIP", "loadBalancerSourceRanges": ["x"]}})",
       {"/items/1/spec/clusterIPs/1: \"10.96.000.3\" is not an IPv4 or IPv6 address or \"None\"",
        "/items/1/spec/clusterIP: must be the same as clusterIPs[0], 10.96.0.2",
        "/items/1/spec/ports/0/protocol: \"tcp\" is not one of TCP, UDP, SCTP",
        "/items/1/spec/ports/0/port: expected 1 to 65535, found 0",
        "/items/1/spec/sessionAffinity: \"clientIP\" is not one of None, ClientIP",
        "/items/1/spec/externalIPs/0: \"198.51.100.07\" is not an IPv4 or IPv6 address",
        "/items/1/spec/loadBalancerSourceRanges/0: \"x\" is not a network such as 10.244.0.0/16"}},
      {R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}})", {"/items/1/spec: required"}},
      {R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "a.b"}, "spec": {}})",
       {"/items/1/metadata/namespace: expected at most 63 of a-z, 0-9 and \"-\", beginning and ending without \"-\""}},
      {R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"},
           "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": "true"}}, {"addresses": []}, {}],
           "ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]})",
       {"/items/1/addressType: required", "/items/1/ports/1/name: a second port of the name a",
        "/items/1/endpoints/0/conditions/ready: expected a boolean, found a string",
        "/items/1/endpoints/1/addresses: at least one is required",
        "/items/1/endpoints/2/addresses: at least one is required"}},
      {R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"},
           "addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]}]})",
       {"/items/1/endpoints/0/addresses/0: \"10.0.0.1\" is not an IPv6 address"}},
      {R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"},
           "spec": {"vxlanMode": "always", "cidr": "10.1.2.3/16"}})",
       {"/items/1/spec/cidr: 10.1.2.3/16 has host bits set; the network is 10.1.0.0/16",
        "/items/1/spec/vxlanMode: \"always\" is not one of Never, Always, CrossSubnet"}},
      {R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"},
           "spec": {"cidr": "10.1.0.0/16", "assignmentMode": "manual", "nodeSelector": "rack ="}})",
       {"/items/1/spec/assignmentMode: \"manual\" is not one of Automatic, Manual",
        "/items/1/spec/nodeSelector: \"rack =\" is not a selector such as all() or zone == 'a'"}},
      {R"({"apiVersion": "projectcalico.org/v3", "kind": "IPAMConfiguration", "metadata": {"name": "other"},
           "spec": {"strictAffinity": "yes"}})",
       {"/items/1/metadata/name: there is one IPAMConfiguration, and its name is default",
        "/items/1/spec/strictAffinity: expected a boolean, found a string"}},
      {R"({"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity", "metadata": {"name": "p"}, "spec": {}})",
       {"/items/1/spec/node: required", "/items/1/spec/cidr: required"}},
      {R"({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "x"}})", {"/items/1/metadata/name: required"}},
      {R"({"apiVersion": "v1", "kind": "Pod"})", {"/items/1/metadata: required"}},
  };
  for (const auto& [object, faults] : cases) {
    EXPECT_EQ(lines(faults_of(list_with_gateway({object}))), faults) << object;
  }
}

}  // namespace
}  // namespace sluice::config
