// Which endpoints a service port may use, which frontends it has, and what two compilations share.
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "control/service_compiler.h"

namespace sluice::control {
namespace {

using config::TrafficPolicy;
using net::IpAddr;
using net::V4;
using net::V6;

IpAddr ip(const char* text) { return *net::parse_ip(text); }

constexpr uint8_t tcp = 6;
constexpr uint8_t udp = 17;

config::Endpoint endpoint(const char* address, const char* node = "other", bool ready = true, bool serving = true,
                          bool terminating = false) {
  return {.address = ip(address), .ready = ready, .serving = serving, .terminating = terminating, .node_name = node};
}

class Compiler : public testing::Test {
 protected:
  Compiler() {
    config_.gateway.local_node_names = {"here"};
    web_.name = {"default", "web"};
    web_.cluster_ips = {ip("10.96.0.1")};
    web_.ports = {{.name = "http", .protocol = config::Protocol::Tcp, .port = 80}};
  }
  config::EndpointSlice& slice(const char* name, std::vector<config::Endpoint> endpoints,
                               const char* port_name = "http", uint16_t port = 8080) {
    config::EndpointSlice made;
    made.name = {"default", name};
    made.service = "web";
    made.family = endpoints.empty() ? net::Family::V4 : endpoints[0].address.family();
    made.ports = {{.name = port_name, .protocol = config::Protocol::Tcp, .port = port}};
    made.endpoints = std::move(endpoints);
    return config_.slices[made.name] = made;
  }
  ServiceCompiler::Tables compile() {
    config_.services[web_.name] = web_;
    return compiler_.compile(config_, own_);
  }
  const nat::Frontend<V4>* find(const char* address, uint16_t port, uint8_t protocol = tcp) {
    tables_ = compile();
    return tables_.v4->find(ip(address).v4(), net::be16::from_host(port), protocol);
  }
  const nat::Frontend<V6>* find_v6(const char* address, uint16_t port) {
    tables_ = compile();
    return tables_.v6->find(ip(address).v6(), net::be16::from_host(port), tcp);
  }
  // "10.0.0.1:80 10.0.0.2:80", "[fd00::1]:80".
  template <class F>
  static std::string text(const std::vector<nat::Backend<F>>& backends) {
    std::vector<std::string> all;
    for (const auto& backend : backends) {
      const std::string address = net::to_string(backend.addr);
      all.push_back((F::is_v4 ? address : "[" + address + "]") + ":" + std::to_string(backend.port.host()));
    }
    std::sort(all.begin(), all.end());
    std::string out;
    for (const std::string& one : all) out += (out.empty() ? "" : " ") + one;
    return out;
  }
  // The lists of web's port: cluster and local.
  std::string cluster() { return text(find("10.96.0.1", 80)->service->cluster.backends); }
  std::string local() { return text(find("10.96.0.1", 80)->service->local.backends); }

  config::Config config_;
  config::Service web_;
  std::vector<IpAddr> own_{ip("192.0.2.1"), ip("192.168.0.1"), ip("2001:db8::1")};
  ServiceCompiler compiler_;
  ServiceCompiler::Tables tables_;
};

TEST_F(Compiler, SVC5_SlicesAreMergedAndDuplicatesDropped) {
  slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2")});
  slice("web-b", {endpoint("10.0.0.2"), endpoint("10.0.0.3")});
  EXPECT_EQ(cluster(), "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080");
}

TEST_F(Compiler, SVC5_OnlyTheServicesOwnSlicesOfItsFamily) {
  slice("web-a", {endpoint("10.0.0.1")});
  slice("web-v6", {endpoint("fd00::1")});
  slice("web-fqdn", {endpoint("10.0.0.7")}).fqdn = true;
  slice("foreign", {endpoint("10.0.0.8")}).service = "api";
  slice("nobody", {endpoint("10.0.0.9")}).service = "";
  config::EndpointSlice elsewhere = slice("web-x", {endpoint("10.0.0.6")});
  config_.slices.erase(elsewhere.name);
  elsewhere.name.ns = "kube-system";
  config_.slices[elsewhere.name] = elsewhere;
  EXPECT_EQ(cluster(), "10.0.0.1:8080");
}

TEST_F(Compiler, SVC5_TheOtherFamilyComesAndGoes) {
  const auto found = [this](const char* address, uint16_t port) {
    tables_ = compile();
    return tables_.v6->find(ip(address).v6(), net::be16::from_host(port), tcp);
  };
  const auto is_endpoint = [this] {
    tables_ = compile();
    return tables_.endpoints_v6->contains(ip("fd00::1").v6(), net::be16::from_host(8080), tcp);
  };
  slice("web-a", {endpoint("10.0.0.1")});
  EXPECT_EQ(compile().v6->size(), 0u);
  EXPECT_FALSE(is_endpoint());
  const config::ObjectName v6 = slice("web-v6", {endpoint("fd00::1")}).name;
  EXPECT_TRUE(is_endpoint()) << "though the service has no address of it";
  config_.slices.erase(v6);
  EXPECT_FALSE(is_endpoint());
  web_.cluster_ips.push_back(ip("fd00:10::1"));
  ASSERT_NE(found("fd00:10::1", 80), nullptr) << "without endpoints, to be refused";
  EXPECT_TRUE(
      tables_.v6->find(ip("fd00:10::1").v6(), net::be16::from_host(80), tcp)->service->cluster.backends.empty());
  slice("web-v6", {endpoint("fd00::1")});
  EXPECT_EQ(found("fd00:10::1", 80)->service->cluster.backends.size(), 1u);
  web_.cluster_ips.pop_back();
  config_.slices.erase(v6);
  EXPECT_EQ(compile().v6->size(), 0u);
  EXPECT_FALSE(is_endpoint());
  web_.external_ips = {ip("2001:db8:1::1")};
  EXPECT_NE(found("2001:db8:1::1", 80), nullptr);
  web_.external_ips.clear();
  EXPECT_EQ(found("2001:db8:1::1", 80), nullptr);
}

TEST_F(Compiler, SVC6_PortsMeetByNameAndMayDifferBetweenEndpoints) {
  web_.ports.push_back({.name = "admin", .protocol = config::Protocol::Tcp, .port = 81});
  slice("web-a", {endpoint("10.0.0.1")}, "http", 8080);
  slice("web-b", {endpoint("10.0.0.2")}, "http", 9090);
  slice("web-c", {endpoint("10.0.0.3")}, "admin", 7070);
  EXPECT_EQ(cluster(), "10.0.0.1:8080 10.0.0.2:9090");
  EXPECT_EQ(text(find("10.96.0.1", 81)->service->cluster.backends), "10.0.0.3:7070");
}

TEST_F(Compiler, SVC6_PortsOfIPv6MeetByNameToo) {
  web_.cluster_ips.push_back(ip("fd00:10::1"));
  web_.ports.push_back({.name = "admin", .protocol = config::Protocol::Tcp, .port = 81});
  slice("web-4", {endpoint("10.0.0.1")}, "http", 8081);
  slice("web-a", {endpoint("fd00::1")}, "http", 8080);
  slice("web-b", {endpoint("fd00::2")}, "http", 9090);
  slice("web-c", {endpoint("fd00::3")}, "admin", 7070);
  slice("web-d", {endpoint("fd00::4")}, "other", 6060);
  EXPECT_EQ(text(find_v6("fd00:10::1", 80)->service->cluster.backends), "[fd00::1]:8080 [fd00::2]:9090");
  EXPECT_EQ(text(find_v6("fd00:10::1", 81)->service->cluster.backends), "[fd00::3]:7070");
  EXPECT_EQ(cluster(), "10.0.0.1:8081") << "a family has its own";
}

TEST_F(Compiler, SVC1_ProtocolsAreSeparate) {
  web_.ports.push_back({.name = "http", .protocol = config::Protocol::Udp, .port = 80});
  slice("web-a", {endpoint("10.0.0.1")});
  EXPECT_EQ(cluster(), "10.0.0.1:8080");
  ASSERT_NE(find("10.96.0.1", 80, udp), nullptr);
}

TEST_F(Compiler, SVC10_TerminatingOnlyIfNobodyIsReady) {
  slice("web-a",
        {endpoint("10.0.0.1"), endpoint("10.0.0.2", "other", false, true, true),
         endpoint("10.0.0.3", "other", false, false, false), endpoint("10.0.0.4", "other", false, false, true)});
  EXPECT_EQ(cluster(), "10.0.0.1:8080");
  config_.slices.clear();
  slice("web-a",
        {endpoint("10.0.0.2", "other", false, true, true), endpoint("10.0.0.3", "other", false, false, false),
         endpoint("10.0.0.4", "other", false, false, true), endpoint("10.0.0.5", "other", false, true, false)});
  EXPECT_EQ(cluster(), "10.0.0.2:8080") << "never one that is neither ready nor terminating";
}

TEST_F(Compiler, SVC11_EachListFallsBackOnItsOwn) {
  web_.external_policy = TrafficPolicy::Local;
  web_.ports[0].node_port = 30080;
  slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2", "here", false, true, true)});
  EXPECT_EQ(cluster(), "10.0.0.1:8080");
  EXPECT_EQ(local(), "10.0.0.2:8080");
}

struct ListCase {
  TrafficPolicy internal, external;
  bool node_port;
  bool cluster, local;
};

TEST_F(Compiler, SVC12_WhichListsAreMade) {
  using enum TrafficPolicy;
  slice("web-a", {endpoint("10.0.0.1", "here")});
  for (const ListCase& one :
       {ListCase{Cluster, Cluster, false, true, false}, ListCase{Cluster, Cluster, true, true, false},
        ListCase{Local, Cluster, false, false, true}, ListCase{Local, Cluster, true, true, true},
        ListCase{Cluster, Local, false, true, false}, ListCase{Cluster, Local, true, true, true}}) {
    web_.internal_policy = one.internal;
    web_.external_policy = one.external;
    web_.ports[0].node_port = one.node_port ? 30080 : 0;
    EXPECT_EQ(!cluster().empty(), one.cluster);
    EXPECT_EQ(!local().empty(), one.local);
  }
}

TEST_F(Compiler, SVC14_HasAnyEndpoint) {
  EXPECT_FALSE(find("10.96.0.1", 80)->service->has_endpoint);
  web_.internal_policy = TrafficPolicy::Local;
  slice("web-a", {endpoint("10.0.0.1", "other")});
  EXPECT_TRUE(find("10.96.0.1", 80)->service->has_endpoint) << "anywhere in the cluster";
  EXPECT_EQ(local(), "");
  slice("web-a", {endpoint("10.0.0.1", "other", false, true, true)});
  EXPECT_TRUE(find("10.96.0.1", 80)->service->has_endpoint);
  slice("web-a", {endpoint("10.0.0.1", "other", false, true, false)});
  EXPECT_FALSE(find("10.96.0.1", 80)->service->has_endpoint);
}

// ---- SVC-15, SVC-16: hints ----------------------------------------------------------------------------

struct HintedEndpoint {
  const char* zones;  // comma between them; "": no hints
  const char* nodes;
  const char* state = "ready";
};
struct HintCase {
  const char* what;
  const char* zone;  // of this node; "": no label
  std::vector<HintedEndpoint> endpoints;
  const char* expected;  // last numbers of the addresses; endpoints are 10.0.0.1, 10.0.0.2, …
};

std::vector<std::string> names(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string name; std::getline(in, name, ',');) out.push_back(name);
  return out;
}

TEST_F(Compiler, SVC15_SVC16_Hints) {
  const HintCase cases[] = {
      {"no hints", "a", {{"", ""}, {"", ""}}, "12"},
      {"this zone's", "a", {{"a", ""}, {"b", ""}}, "1"},
      {"an endpoint for several zones", "a", {{"a,b", ""}, {"b", ""}, {"a", ""}}, "13"},
      {"one ready endpoint without a hint: all", "a", {{"a", ""}, {"b", ""}, {"", ""}}, "123"},
      {"no hint names this zone: all", "c", {{"a", ""}, {"b", ""}}, "12"},
      {"SVC-16: a node without zone", "", {{"a", ""}, {"b", ""}}, "12"},
      {"this node's", "a", {{"", "here"}, {"", "other"}}, "1"},
      {"node hints need no zone", "", {{"", "here"}, {"", "other"}}, "1"},
      {"nodes before zones", "a", {{"a", "here"}, {"a", "other"}, {"b", "other"}}, "1"},
      {"no hint names this node: the zone's", "a", {{"a", "other"}, {"a", "third"}, {"b", "other"}}, "12"},
      {"not every one has node hints: the zone's", "a", {{"a", "here"}, {"a", ""}, {"b", ""}}, "12"},
      {"hints of those that are not ready do not count", "a", {{"a", ""}, {"b", ""}, {"", "", "unready"}}, "1"},
      {"nor do they name this zone", "a", {{"b", ""}, {"a", "", "terminating"}}, "1"},
      {"the fallback ignores hints", "a", {{"a", "here", "terminating"}, {"b", "other", "terminating"}}, "12"},
  };
  config_.gateway.node_name = "here";
  for (const HintCase& one : cases) {
    config_.nodes["here"].labels.clear();
    if (*one.zone != '\0') config_.nodes["here"].labels["topology.kubernetes.io/zone"] = one.zone;
    std::vector<config::Endpoint> endpoints;
    for (const HintedEndpoint& hinted : one.endpoints) {
      const std::string address = "10.0.0." + std::to_string(endpoints.size() + 1);
      const bool ready = std::string(hinted.state) == "ready";
      const bool terminating = std::string(hinted.state) == "terminating";
      endpoints.push_back(endpoint(address.c_str(), "other", ready, ready || terminating, terminating));
      endpoints.back().zone_hints = names(hinted.zones);
      endpoints.back().node_hints = names(hinted.nodes);
    }
    slice("web-a", endpoints);
    std::string expected;
    for (const char* at = one.expected; *at != '\0'; ++at) {
      expected += std::string(expected.empty() ? "" : " ") + "10.0.0." + *at + ":8080";
    }
    EXPECT_EQ(cluster(), expected) << one.what;
  }
}

TEST_F(Compiler, SVC15_HintsFilterTheClusterListOnly) {
  config_.gateway.node_name = "here";
  config_.nodes["here"].labels["topology.kubernetes.io/zone"] = "a";
  web_.ports[0].node_port = 30080;
  web_.external_policy = TrafficPolicy::Local;
  std::vector<config::Endpoint> endpoints{endpoint("10.0.0.1"), endpoint("10.0.0.2", "here")};
  endpoints[0].zone_hints = {"a"};
  endpoints[1].zone_hints = {"b"};
  slice("web-a", endpoints);
  EXPECT_EQ(cluster(), "10.0.0.1:8080");
  EXPECT_EQ(local(), "10.0.0.2:8080");
  EXPECT_EQ(text(find("10.96.0.1", 80)->service->serving), "10.0.0.1:8080 10.0.0.2:8080") << "SVC-94";
}

// A gateway that stands for several nodes: node hints may name any of them.
TEST_F(Compiler, SVC15_NodeHintsNameALocalNode) {
  config_.gateway.node_name = "gw";
  config_.gateway.local_node_names = {"node1", "node2"};
  std::vector<config::Endpoint> endpoints{endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3")};
  endpoints[0].node_hints = {"node1"};
  endpoints[1].node_hints = {"node2"};
  endpoints[2].node_hints = {"node3"};
  slice("web-a", endpoints);
  EXPECT_EQ(cluster(), "10.0.0.1:8080 10.0.0.2:8080");
}

TEST_F(Compiler, SVC94_ServingIgnoresPolicyAndReadiness) {
  web_.internal_policy = TrafficPolicy::Local;
  slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2", "other", false, true, true),
                  endpoint("10.0.0.3", "other", false, false, true)});
  EXPECT_EQ(text(find("10.96.0.1", 80)->service->serving), "10.0.0.1:8080 10.0.0.2:8080");
}

// What a list holds, with the weights.
std::string weights_of(const std::vector<nat::Backend<V4>>& backends) {
  std::string out;
  for (const auto& backend : backends) {
    out += (out.empty() ? "" : " ") + net::to_string(backend.addr) + "=" + std::to_string(backend.weight);
  }
  return out;
}

TEST_F(Compiler, SVC22_WeightsByAddressPodAndLabel) {
  config::EndpointSlice& stable = slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3")});
  stable.endpoints[1].pod = "web-1";
  stable.endpoints[2].pod = "web-2";
  slice("web-b", {endpoint("10.0.1.1"), endpoint("10.0.1.2")}).labels = {{"track", "canary"}, {"zone", "a"}};
  config::EndpointWeights& weights = web_.weights;
  weights.pods = {{"web-1", 30}, {"web-2", 40}, {"nobody", 1}};
  weights.labels = {{{"track", "canary"}, 10}, {{"zone", "a"}, 20}, {{"track", "stable"}, 1}};
  weights.addresses = {{ip("10.0.0.3"), 7}, {ip("10.0.1.2"), 60}};
  EXPECT_EQ(weights_of(find("10.96.0.1", 80)->service->cluster.backends),
            "10.0.0.1=100 10.0.0.2=30 10.0.0.3=7 10.0.1.1=10 10.0.1.2=60");
}

TEST_F(Compiler, SVC22_SVC91_NothingNewForWeightZero) {
  slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3", "here", false, true, true)});
  web_.weights.addresses = {{ip("10.0.0.1"), 0}};
  EXPECT_EQ(cluster(), "10.0.0.2:8080");
  EXPECT_EQ(text(find("10.96.0.1", 80)->service->serving), "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080")
      << "what it has goes on";
  web_.weights.addresses[ip("10.0.0.2")] = 0;
  EXPECT_EQ(cluster(), "10.0.0.3:8080") << "SVC-10: terminating ones with a weight come first";
  web_.weights.addresses[ip("10.0.0.3")] = 0;
  EXPECT_EQ(cluster(), "");
  EXPECT_FALSE(find("10.96.0.1", 80)->service->has_endpoint);
}

TEST_F(Compiler, SVC15_SVC22_HintsOfEndpointsWithoutWeightDoNotCount) {
  config::EndpointSlice& both = slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2")});
  both.endpoints[0].node_hints = {"here"};
  EXPECT_EQ(cluster(), "10.0.0.1:8080 10.0.0.2:8080") << "one has no hint";
  web_.weights.addresses = {{ip("10.0.0.1"), 0}};
  EXPECT_EQ(cluster(), "10.0.0.2:8080");
}

TEST_F(Compiler, SVC22_AChangeOfWeightBuildsAgain) {
  slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2")});
  const auto before = compile().v4->find(ip("10.96.0.1").v4(), net::be16::from_host(80), tcp)->service;
  web_.weights.addresses = {{ip("10.0.0.1"), 50}};
  const auto after = compile().v4->find(ip("10.96.0.1").v4(), net::be16::from_host(80), tcp)->service;
  EXPECT_NE(before, after);
  uint32_t first = 0;
  for (uint32_t slot = 0; slot < after->cluster.maglev.size(); ++slot) first += after->cluster.maglev.owner(slot) == 0;
  EXPECT_NEAR(first, after->cluster.maglev.size() / 3.0, 1);
}

TEST_F(Compiler, SVC91_DrainedByPodAddressAndPort) {
  config::EndpointSlice& made = slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3")});
  made.endpoints[0].pod = "web-0";
  const auto usable = [&](const char* drained, bool hard = false) {
    DrainList drains;
    (void)drains.add(*DrainTarget::parse(drained), hard);
    config_.services[web_.name] = web_;
    tables_ = compiler_.compile(config_, own_, drains);
    return tables_.v4->find(ip("10.96.0.1").v4(), net::be16::from_host(80), tcp)->service;
  };
  const std::string all = "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080";
  EXPECT_EQ(text(usable("default/web-0")->cluster.backends), "10.0.0.2:8080 10.0.0.3:8080");
  EXPECT_EQ(text(usable("default/web-0")->serving), all) << "what it has goes on";
  EXPECT_EQ(text(usable("other/web-0")->cluster.backends), all);
  EXPECT_EQ(text(usable("10.0.0.2")->cluster.backends), "10.0.0.1:8080 10.0.0.3:8080");
  EXPECT_EQ(text(usable("10.0.0.2:8080")->cluster.backends), "10.0.0.1:8080 10.0.0.3:8080");
  EXPECT_EQ(text(usable("10.0.0.2:8081")->cluster.backends), all);
  const auto hard = usable("10.0.0.2", true);
  EXPECT_EQ(text(hard->cluster.backends), "10.0.0.1:8080 10.0.0.3:8080");
  EXPECT_EQ(text(hard->serving), "10.0.0.1:8080 10.0.0.3:8080");
  EXPECT_EQ(text(hard->cut_off), "10.0.0.2:8080");
  EXPECT_TRUE(tables_.v4->cuts_off());
  EXPECT_TRUE(tables_.endpoints_v4->contains(ip("10.0.0.2").v4(), net::be16::from_host(8080), tcp)) << "MASQ-7";
  EXPECT_FALSE(compile().v4->cuts_off());
}

TEST_F(Compiler, SVC51_NodePortAddresses) {
  web_.ports[0].node_port = 30080;
  EXPECT_NE(find("192.0.2.1", 30080), nullptr) << "primary";
  EXPECT_EQ(find("192.168.0.1", 30080), nullptr);
  EXPECT_EQ(find("10.96.0.1", 30080), nullptr) << "SVC-52";
  config_.gateway.proxy.node_ports_on_primary = false;
  config_.gateway.proxy.node_port_addresses = {*net::parse_prefix("192.168.0.0/16")};
  EXPECT_EQ(find("192.0.2.1", 30080), nullptr);
  EXPECT_NE(find("192.168.0.1", 30080), nullptr);
  config_.gateway.proxy.node_port_addresses = {*net::parse_prefix("0.0.0.0/0")};
  EXPECT_NE(find("192.0.2.1", 30080), nullptr);
  EXPECT_NE(find("192.168.0.1", 30080), nullptr);
  web_.cluster_ips.push_back(ip("fd00::1"));
  config_.gateway.proxy.node_ports_on_primary = true;
  const auto tables = compile();
  EXPECT_NE(tables.v6->find(ip("2001:db8::1").v6(), net::be16::from_host(30080), tcp), nullptr);
}

TEST_F(Compiler, FrontendsOfAllKinds) {
  web_.external_ips = {ip("203.0.113.5")};
  web_.load_balancer_ips = {ip("198.51.100.80")};
  EXPECT_EQ(find("10.96.0.1", 80)->kind, nat::FrontendKind::ClusterIp);
  EXPECT_EQ(find("203.0.113.5", 80)->kind, nat::FrontendKind::ExternalIp);
  EXPECT_EQ(find("198.51.100.80", 80)->kind, nat::FrontendKind::LoadBalancer);
  const auto by_cluster_ip = find("10.96.0.1", 80)->service;
  EXPECT_EQ(by_cluster_ip, tables_.v4->find(ip("203.0.113.5").v4(), net::be16::from_host(80), tcp)->service);
}

// In all their addresses, of both families.
TEST_F(Compiler, SVC4_ServicesOfOthersAreSkipped) {
  web_.type = config::ServiceType::LoadBalancer;
  web_.cluster_ips.push_back(ip("fd00:10::1"));
  web_.external_ips = {ip("203.0.113.5"), ip("2001:db8:5::5")};
  web_.load_balancer_ips = {ip("198.51.100.80"), ip("2001:db8:80::80")};
  web_.ports[0].node_port = 30080;
  slice("web-a", {endpoint("10.0.0.1")});
  slice("web-v6", {endpoint("fd00::1")});
  ASSERT_NE(find("10.96.0.1", 80), nullptr);
  ASSERT_NE(find_v6("fd00:10::1", 80), nullptr);
  EXPECT_GT(tables_.v4->size(), 3U) << "with the node port";
  EXPECT_GT(tables_.v6->size(), 3U);
  web_.proxied = false;
  EXPECT_EQ(find("10.96.0.1", 80), nullptr);
  EXPECT_EQ(find_v6("fd00:10::1", 80), nullptr);
  EXPECT_EQ(tables_.v4->size(), 0U);
  EXPECT_EQ(tables_.v6->size(), 0U);
}

// Clients know the endpoints from DNS.
TEST_F(Compiler, SVC111_HeadlessServicesHaveNoAddressToForwardTo) {
  web_.proxied = false;
  web_.cluster_ips.clear();
  slice("web-a", {endpoint("10.0.0.1")});
  slice("web-v6", {endpoint("fd00::1")});
  const auto tables = compile();
  EXPECT_EQ(tables.v4->size(), 0U);
  EXPECT_EQ(tables.v6->size(), 0U);
}

TEST_F(Compiler, SVC66_SourceRangesArePerFamily) {
  web_.source_ranges = {*net::parse_prefix("2001:db8:1::/48")};
  EXPECT_FALSE(find("10.96.0.1", 80)->service->restricted);
  web_.source_ranges.push_back(*net::parse_prefix("192.0.2.0/24"));
  EXPECT_TRUE(find("10.96.0.1", 80)->service->restricted);
  EXPECT_TRUE(find("10.96.0.1", 80)->service->ranges_admit_node) << "SVC-67";
}

// SCALE-5: what did not change is not built again; pointers tell.
TEST_F(Compiler, UnchangedServicePortsAreShared) {
  config::Service api = web_;
  api.name.name = "api";
  api.cluster_ips = {ip("10.96.0.2")};
  config_.services[api.name] = api;
  slice("web-a", {endpoint("10.0.0.1")});
  config::EndpointSlice other = slice("api-a", {endpoint("10.0.0.5")});
  other.service = "api";
  config_.slices[other.name] = other;
  const auto port_of = [](const ServiceCompiler::Tables& tables, const char* address) {
    return tables.v4->find(ip(address).v4(), net::be16::from_host(80), tcp)->service;
  };
  const auto before = compile();
  const auto same = compile();
  EXPECT_EQ(port_of(before, "10.96.0.1"), port_of(same, "10.96.0.1"));
  slice("web-a", {endpoint("10.0.0.1"), endpoint("10.0.0.2")});
  const auto after = compile();
  EXPECT_NE(port_of(before, "10.96.0.1"), port_of(after, "10.96.0.1"));
  EXPECT_EQ(port_of(before, "10.96.0.2"), port_of(after, "10.96.0.2")) << "the other service is not touched";
  EXPECT_EQ(port_of(before, "10.96.0.1")->id, port_of(after, "10.96.0.1")->id) << "the id stays";
  EXPECT_EQ(port_of(before, "10.96.0.1")->cluster.backends.size(), 1u) << "the old snapshot is as it was";
}

// SVC-45: entries of the affinity table go on counting while affinity stays on, and only then.
TEST_F(Compiler, SVC45_AffinityKey) {
  const auto key = [&] { return find("10.96.0.1", 80)->service->affinity_key; };
  EXPECT_EQ(key(), 0u);
  web_.affinity = config::Seconds(60);
  const uint32_t first = key();
  EXPECT_NE(first, 0u);
  web_.affinity = config::Seconds(90);
  slice("web-a", {endpoint("10.0.0.1")});
  EXPECT_EQ(key(), first);
  web_.affinity.reset();
  EXPECT_EQ(key(), 0u);
  web_.affinity = config::Seconds(60);
  const uint32_t second = key();
  EXPECT_NE(second, 0u);
  EXPECT_NE(second, first);
  web_.name.name = "other";
  config_.services.clear();
  EXPECT_NE(key(), second) << "another service at the same address";
}

// Everything that decides about a packet must be part of "unchanged".
TEST_F(Compiler, EveryChangeThatMattersBuildsAgain) {
  slice("web-a", {endpoint("10.0.0.1", "here"), endpoint("10.0.0.2")});
  web_.load_balancer_ips = {ip("198.51.100.80")};
  const auto port = [&] { return find("10.96.0.1", 80)->service; };
  auto before = port();
  const auto changed = [&](const char* what) {
    const auto after = port();
    EXPECT_NE(before, after) << what;
    before = after;
  };
  web_.external_policy = TrafficPolicy::Local;
  changed("externalTrafficPolicy");
  web_.internal_policy = TrafficPolicy::Local;
  changed("internalTrafficPolicy");
  web_.affinity = config::Seconds(10800);
  changed("sessionAffinity");
  web_.source_ranges = {*net::parse_prefix("192.0.2.0/24")};
  changed("loadBalancerSourceRanges");
  config_.gateway.local_node_names = {"other"};
  changed("localNodeNames");
  slice("web-a", {endpoint("10.0.0.1", "here"), endpoint("10.0.0.2", "other", false, true, true)});
  changed("conditions");
  config_.gateway.proxy.maglev_table_size = 16381;
  changed("maglevTableSize");
}

TEST_F(Compiler, SVC_3_1_HostPortsAreServicesOfOnePod) {
  config::Pod& pod = config_.pods[{"default", "agent"}];
  pod = {.name = {"default", "agent"}, .node_name = "here", .addresses = {ip("10.0.0.9"), ip("fd00::9")}};
  pod.host_ports = {{.host_port = 9000, .container_port = 8080}};
  const auto* frontend = find("192.168.0.1", 9000);
  ASSERT_NE(frontend, nullptr);
  EXPECT_EQ(text(frontend->service->cluster.backends), "10.0.0.9:8080");
  EXPECT_EQ(frontend->service->name, "pod/default/agent:9000-tcp");
  EXPECT_NE(tables_.v6->find(ip("2001:db8::1").v6(), net::be16::from_host(9000), tcp), nullptr);
  const auto before = frontend->service;
  EXPECT_EQ(find("192.168.0.1", 9000)->service, before) << "SCALE-5";
  EXPECT_TRUE(compiler_.ids_of("default/agent").empty());
  pod.addresses = {ip("fd00::9")};
  EXPECT_EQ(find("192.168.0.1", 9000), nullptr) << "no address of this family";
  pod.node_name = "other";
  EXPECT_EQ(compile().v6->size(), 0u);
}

TEST_F(Compiler, NamesAndIds) {
  web_.ports.push_back({.name = "admin", .protocol = config::Protocol::Tcp, .port = 81});
  const uint32_t id = find("10.96.0.1", 80)->service->id;
  EXPECT_EQ(compiler_.name_of(id), "default/web:http");
  EXPECT_EQ(compiler_.ids_of("default/web").size(), 2u);
  EXPECT_EQ(compiler_.ids_of("default/web:http"), std::vector<uint32_t>{id});
  EXPECT_TRUE(compiler_.ids_of("default/we").empty());
}

}  // namespace
}  // namespace sluice::control
