// Which addresses of services are announced from here (BGP-4), and that a change costs what it holds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/bgp_plan.h"
#include "control/bgp_services.h"
#include "tests/unit/config_documents.h"

namespace sluice::control {
namespace {

using config::ObjectSet;
using testing::ElementsAre;
using testing::IsEmpty;

const char* const gateway = R"({
  "apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
  "spec": {"nodeName": "gw-1", "bgp": {"engine": "bird"},
    "interfaces": [{"name": "up0", "device": "net_null0", "addresses": ["192.168.0.2/24"]}],
    "cluster": {"serviceCIDRs": ["10.96.0.0/16"]}}})";

std::string bgp_configuration(const std::string& spec) {
  return R"({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": )" +
         spec + "}";
}

std::string node(const std::string& labels = "{}") {
  return R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gw-1", "labels": )" + labels +
         R"(}, "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.2"}]}})";
}

std::string load_balancer(const std::string& name, const std::string& cluster_ip, const std::string& address,
                          const std::string& policy, int port = 80) {
  return R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": ")" + name +
         R"("}, "spec": {"type": "LoadBalancer", "clusterIP": ")" + cluster_ip + R"(", "externalTrafficPolicy": ")" +
         policy + R"(", "ports": [{"port": )" + std::to_string(port) +
         R"(}]}, "status": {"loadBalancer": {"ingress": [{"ip": ")" + address + R"("}]}}})";
}

std::string slice(const std::string& service, const std::string& node, bool ready = true) {
  return R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": {"name": ")" +
         service + R"(-1", "labels": {"kubernetes.io/service-name": ")" + service +
         R"("}}, "ports": [{"port": 8080}], "endpoints": [{"addresses": ["10.244.1.5"], "nodeName": ")" + node +
         R"(", "conditions": {"ready": )" + (ready ? "true" : "false") + "}}]}";
}

// A cluster that changes, and what is announced in it.
class Announced : public testing::Test {
 protected:
  void start(std::vector<std::string> objects) {
    objects.insert(objects.begin(), gateway);
    objects_ = config::valid_set(config::list_of(objects));
    services_.rebuild(objects_.config());
  }
  // Whether something is announced otherwise.
  bool put(const std::string& object) {
    auto document = config::parse_document(object);
    auto change = objects_.apply(config::to_delta(std::move(*document)));
    EXPECT_TRUE(change);
    return services_.update(objects_.config(), *change);
  }
  bool remove(const std::string& kind, const std::string& name) {
    auto change = objects_.apply(config::deletion_of({kind, kind == "Node" ? "" : "default", name}));
    EXPECT_TRUE(change);
    return services_.update(objects_.config(), *change);
  }
  [[nodiscard]] std::vector<std::string> prefixes() const {
    std::vector<std::string> out;
    for (const auto& [prefix, names] : services_.prefixes()) out.push_back(net::to_string(prefix));
    return out;
  }
  [[nodiscard]] std::vector<std::string> networks() const {
    std::vector<std::string> out;
    for (const net::Prefix& network : announced_service_networks(objects_.config()))
      out.push_back(net::to_string(network));
    return out;
  }

  ObjectSet objects_;
  BgpServices services_;
};

TEST_F(Announced, BGP4_ANetworkIsAnnouncedAsAWholeAndPolicyLocalByAddress) {
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]})"), node(),
         load_balancer("shared", "10.96.0.1", "198.51.100.1", "Cluster"), slice("shared", "other"),
         load_balancer("here", "10.96.0.2", "198.51.100.2", "Local"), slice("here", "gw-1"),
         load_balancer("there", "10.96.0.3", "198.51.100.3", "Local"), slice("there", "other")});
  EXPECT_THAT(networks(), ElementsAre("198.51.100.0/24"));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.2/32"));
}

TEST_F(Announced, BGP4_WithoutAggregationAnAddressNeedsAReadyEndpoint) {
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}],
                               "serviceLoadBalancerAggregation": "Disabled"})"),
         node(), load_balancer("web", "10.96.0.1", "198.51.100.1", "Cluster"), slice("web", "other"),
         load_balancer("empty", "10.96.0.2", "198.51.100.2", "Cluster"), slice("empty", "other", false)});
  EXPECT_THAT(networks(), IsEmpty());
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
  EXPECT_TRUE(put(slice("empty", "other")));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32", "198.51.100.2/32"));
  EXPECT_TRUE(put(slice("web", "other", false)));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.2/32"));
}

TEST_F(Announced, BGP4_AnEntryOfOneAddressIsAnnouncedWhileThereIsAReadyEndpoint) {
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.1/32"}]})"), node(),
         load_balancer("web", "10.96.0.1", "198.51.100.1", "Cluster")});
  EXPECT_THAT(networks(), IsEmpty());
  EXPECT_THAT(prefixes(), IsEmpty());
  EXPECT_TRUE(put(slice("web", "other")));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
  EXPECT_TRUE(remove("EndpointSlice", "web-1"));
  EXPECT_THAT(prefixes(), IsEmpty());
}

TEST_F(Announced, BGP4_PolicyLocalFollowsTheLastLocalEndpoint) {
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]})"), node(),
         load_balancer("web", "10.96.0.1", "198.51.100.1", "Local"), slice("web", "gw-1")});
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
  EXPECT_FALSE(put(slice("unrelated", "gw-1")));
  EXPECT_TRUE(put(slice("web", "other")));
  EXPECT_THAT(prefixes(), IsEmpty());
  EXPECT_TRUE(put(slice("web", "gw-1")));
  EXPECT_TRUE(remove("Service", "web"));
  EXPECT_THAT(prefixes(), IsEmpty());
  EXPECT_TRUE(put(load_balancer("web", "10.96.0.1", "198.51.100.7", "Local")));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.7/32"));
}

TEST_F(Announced, BGP4_ASharedAddressStaysUntilTheLastServiceGoes) {
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]})"), node(),
         load_balancer("a", "10.96.0.1", "198.51.100.1", "Local", 80), slice("a", "gw-1"),
         load_balancer("b", "10.96.0.2", "198.51.100.1", "Local", 81), slice("b", "gw-1")});
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
  EXPECT_FALSE(remove("Service", "a"));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
  EXPECT_TRUE(remove("Service", "b"));
  EXPECT_THAT(prefixes(), IsEmpty());
}

TEST_F(Announced, BGP4_AnExcludedNodeAnnouncesNone) {
  const std::string excluded = R"({"node.kubernetes.io/exclude-from-external-load-balancers": ""})";
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]})"), node(),
         load_balancer("web", "10.96.0.1", "198.51.100.1", "Local"), slice("web", "gw-1")});
  EXPECT_TRUE(put(node(excluded)));
  EXPECT_THAT(prefixes(), IsEmpty());
  EXPECT_THAT(networks(), IsEmpty());
  EXPECT_TRUE(put(node()));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
}

TEST_F(Announced, BGP4_HeadlessAndExternalNameAndAddressesElsewhereNever) {
  start({bgp_configuration(R"({"serviceClusterIPs": [{"cidr": "10.96.0.0/16"}],
                               "serviceExternalIPs": [{"cidr": "203.0.113.0/24"}]})"),
         node(),
         R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "headless"}, "spec": {"clusterIP": "None",
             "externalIPs": ["203.0.113.1"], "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}})",
         slice("headless", "gw-1"), load_balancer("web", "10.96.0.1", "198.51.100.1", "Local"), slice("web", "gw-1")});
  EXPECT_THAT(prefixes(), ElementsAre("10.96.0.1/32"));
  EXPECT_THAT(networks(), ElementsAre("10.96.0.0/16", "203.0.113.0/24"));
}

// Only what a change names is looked at: what was put out of step beside it stays so.
TEST_F(Announced, BGP4_AChangeOfEndpointsLooksAtItsServiceAlone) {
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]})"), node(),
         load_balancer("a", "10.96.0.1", "198.51.100.1", "Local"),
         load_balancer("b", "10.96.0.2", "198.51.100.2", "Local")});
  auto document = config::parse_document(slice("a", "gw-1"));
  ASSERT_TRUE(objects_.apply(config::to_delta(std::move(*document))));  // and nobody is told
  EXPECT_TRUE(put(slice("b", "gw-1")));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.2/32"));
}

TEST_F(Announced, SCALE5_BGP4_ADrainIsSeenByTheServicesItIsAbout) {
  start({bgp_configuration(R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}],
                               "serviceLoadBalancerAggregation": "Disabled"})"),
         node(), load_balancer("web", "10.96.0.1", "198.51.100.1", "Cluster"), slice("web", "other")});
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
  DrainList drains;
  (void)drains.add(*DrainTarget::parse("10.244.1.6"), false);
  EXPECT_FALSE(services_.update(objects_.config(), drains));
  (void)drains.add(*DrainTarget::parse("10.244.1.5"), false);
  EXPECT_TRUE(services_.update(objects_.config(), drains));
  EXPECT_THAT(prefixes(), IsEmpty());
  EXPECT_TRUE(services_.update(objects_.config(), DrainList()));
  EXPECT_THAT(prefixes(), ElementsAre("198.51.100.1/32"));
}

}  // namespace
}  // namespace sluice::control
