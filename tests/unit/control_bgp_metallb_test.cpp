// MetalLB's objects about BGP: sessions, what each gets and with what, and the text for the real BIRD, which has to
// take it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/bgp_plan.h"
#include "control/bird_config.h"
#include "tests/unit/bird_check.h"
#include "tests/unit/config_documents.h"

namespace sluice::control {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

const char* const gateway = R"({
  "apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
  "spec": {"nodeName": "gw-1", "bgp": {"engine": "bird"},
    "interfaces": [{"name": "up0", "device": "net_null0", "addresses": ["192.168.0.2/24", "fd00:1::2/64"]}]}})";

std::string node(const std::string& labels = "{}") {
  return R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gw-1", "labels": )" + labels +
         R"(}, "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.2"}]}})";
}

std::string metallb(std::string_view kind, std::string_view name, std::string_view spec) {
  return fmt::format(R"({{"apiVersion": "metallb.io/{}", "kind": "{}",
    "metadata": {{"name": "{}", "namespace": "metallb-system"}}, "spec": {}}})",
                     kind == "BGPPeer" ? "v1beta2" : "v1beta1", kind, name, spec);
}

std::string peer(std::string_view name, std::string_view address, std::string_view more = "", int as = 64999) {
  return metallb("BGPPeer", name,
                 fmt::format(R"({{"myASN": 64512, "peerASN": {}, "peerAddress": "{}"{}}})", as, address, more));
}

const std::string pool = metallb("IPAddressPool", "public", R"({"addresses": ["198.51.100.0/24", "2001:db8::/112"]})");

std::string load_balancer(const std::string& name, const std::string& cluster_ip, const std::string& address,
                          const std::string& policy = "Cluster", const std::string& labels = "{}") {
  return R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": ")" + name + R"(", "labels": )" + labels +
         R"(}, "spec": {"type": "LoadBalancer", "clusterIP": ")" + cluster_ip + R"(", "externalTrafficPolicy": ")" +
         policy + R"(", "ports": [{"port": 80}]}, "status": {"loadBalancer": {"ingress": [{"ip": ")" + address +
         R"("}]}}})";
}

std::string slice(const std::string& service, const std::string& node_name, const char* conditions = "") {
  return R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": {"name": ")" +
         service + R"(-1", "labels": {"kubernetes.io/service-name": ")" + service +
         R"("}}, "ports": [{"port": 8080}], "endpoints": [{"addresses": ["10.244.1.5"], "nodeName": ")" + node_name +
         R"(", "targetRef": {"kind": "Pod", "name": "web-0"}, "conditions": {)" + conditions + "}}]}";
}

class MetallbBgp : public testing::Test {
 protected:
  void start(std::vector<std::string> objects) {
    objects.insert(objects.begin(), {gateway, pool});
    objects_ = config::valid_set(config::list_of(objects));
    services_.rebuild(objects_.config());
    make();
  }
  // Whether something is announced otherwise.
  bool put(const std::string& object) {
    auto document = config::parse_document(object);
    auto change = objects_.apply(config::to_delta(std::move(*document)));
    EXPECT_TRUE(change);
    const bool changed = services_.update(objects_.config(), *change);
    make();
    return changed;
  }
  bool drain(const std::string& target) {
    DrainList drains;
    drains.add(*DrainTarget::parse(target), false);
    services_.set_drains(drains);
    return services_.rebuild(objects_.config());
  }
  // "198.51.100.7/32 metallb-system/all"
  [[nodiscard]] std::vector<std::string> advertised() const {
    std::vector<std::string> out;
    for (const auto& [prefix, advertisements] : services_.advertised()) {
      for (const auto& [name, because] : advertisements) out.push_back(net::to_string(prefix) + " " + name.name);
    }
    return out;
  }
  // What a session gets: "198.51.100.7/32 64512:7 localpref 150".
  [[nodiscard]] std::vector<std::string> sent(const std::string& session) const {
    std::vector<std::string> out;
    for (const auto& [prefix, one] : plan_.advertised) {
      const auto& audience = plan_.audiences.at(one.audience);
      const auto found = audience.find(session);
      if (found == audience.end()) continue;
      std::string text = net::to_string(prefix);
      for (const auto& community : found->second.communities) text += " " + config::to_string(community);
      if (found->second.local_pref) text += fmt::format(" localpref {}", *found->second.local_pref);
      out.push_back(std::move(text));
    }
    return out;
  }

  config::ObjectSet objects_;
  BgpServices services_;
  BgpPlan plan_;
  std::string text_;

 private:
  void make() {
    plan_ = make_bgp_plan(objects_.config(), {}, services_);
    text_ = bird_config(plan_);
    EXPECT_EQ(complaint_of_bird(text_), "");
  }
};

TEST_F(MetallbBgp, LB10_ASessionAsThePeerSays) {
  start({node(), metallb("BFDProfile", "fast", R"({"receiveInterval": 100, "passiveMode": true})"),
         R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tor", "namespace": "metallb-system"},
             "type": "kubernetes.io/basic-auth", "stringData": {"password": "hush"}})",
         peer("tor", "192.168.0.1", R"(, "holdTime": "30s", "keepaliveTime": "7s", "connectTime": "9s",
              "routerID": "1.2.3.4", "bfdProfile": "fast", "passwordSecret": {"name": "tor"})")});
  ASSERT_EQ(plan_.sessions.size(), 1U);
  EXPECT_EQ(plan_.sessions[0].object, "BGPPeer metallb-system/tor");
  EXPECT_THAT(text_, HasSubstr("protocol bgp 'metallb.metallb-system:tor' {\n"
                               "  local port 179 as 64512;\n"
                               "  neighbor 192.168.0.1 port 179 as 64999;\n"
                               "  router id 1.2.3.4;\n"
                               "  direct;\n  check link off;\n"
                               "  password \"hush\";\n"
                               "  graceful restart aware;\n"
                               "  connect delay time 2;\n  connect retry time 9;\n  error wait time 5, 30;\n"
                               "  hold time 30;\n  keepalive time 7;\n"
                               "  bfd { min rx interval 100 ms; min tx interval 300 ms; multiplier 3; passive yes; };\n"
                               "  ipv4 {\n    import none;\n"));
  EXPECT_THAT(text_, HasSubstr("protocol bfd bfd1")) << "BIRD needs it for every session with BFD";
}

TEST_F(MetallbBgp, LB10_AsNumbersThatArePeersChoice) {
  start({node(),
         metallb("BGPPeer", "in", R"({"myASN": 64512, "dynamicASN": "internal", "peerAddress": "192.168.0.1"})"),
         metallb("BGPPeer", "out", R"({"myASN": 64512, "dynamicASN": "external", "peerAddress": "10.9.9.9"})"),
         peer("six", "fd00:1::1", R"(, "enableGracefulRestart": true, "sourceAddress": "fd00:1::2")")});
  EXPECT_THAT(text_, HasSubstr("neighbor 192.168.0.1 port 179 as 64512;"));
  EXPECT_THAT(text_, HasSubstr("neighbor 10.9.9.9 port 179 external;\n  multihop;"));
  EXPECT_THAT(
      text_,
      HasSubstr(
          "local fd00:1::2 port 179 as 64512;\n  neighbor fd00:1::1 port 179 as 64999;\n  direct;\n  check link off;\n"
          "  graceful restart on;\n"));
}

TEST_F(MetallbBgp, LB10_WhoHasThePeer) {
  start({node(R"({"rack": "a"})"),
         peer("near", "192.168.0.1", R"(, "nodeSelectors": [{"matchLabels": {"rack": "a"}}])"),
         peer("far", "192.168.0.9", R"(, "nodeSelectors": [{"matchLabels": {"rack": "b"}}])")});
  ASSERT_EQ(plan_.sessions.size(), 1U);
  EXPECT_EQ(plan_.sessions[0].object, "BGPPeer metallb-system/near");
  EXPECT_EQ(plan_.sessions[0].kind, BgpSession::Kind::NodePeer);
}

TEST_F(MetallbBgp, LB10_WithoutWhatItNamesThereIsNoSession) {
  start({node(), peer("a", "192.168.0.1", R"(, "bfdProfile": "none")"),
         peer("b", "192.168.0.3", R"(, "passwordSecret": {"name": "none"})"),
         R"({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "calico"},
             "spec": {"peerIP": "192.168.0.4", "asNumber": 64999}})",
         peer("c", "192.168.0.4"), peer("d", "192.168.0.5", R"(, "password": "say \"hush\"")")});
  ASSERT_EQ(plan_.sessions.size(), 1U);
  EXPECT_EQ(plan_.sessions[0].name, "peer.calico");
  EXPECT_THAT(
      plan_.warnings,
      ElementsAre("BGPPeer metallb-system/a has no session with 192.168.0.1: there is no BFDProfile none in "
                  "namespace metallb-system",
                  StartsWith("BGPPeer metallb-system/b has no session with 192.168.0.3: there is no Secret none"),
                  "BGPPeer metallb-system/c has no session with 192.168.0.4: BGPPeer calico has it",
                  StartsWith("BGPPeer metallb-system/d has no session with 192.168.0.5: BIRD cannot be told")));
}

TEST_F(MetallbBgp, LB10_PolicyClusterWithAnyEndpointPolicyLocalWithOneHere) {
  start({node(), metallb("BGPAdvertisement", "all", "{}"), load_balancer("any", "10.96.0.1", "198.51.100.1"),
         slice("any", "other"), load_balancer("here", "10.96.0.2", "198.51.100.2", "Local"), slice("here", "gw-1"),
         load_balancer("there", "10.96.0.3", "198.51.100.3", "Local"), slice("there", "other"),
         load_balancer("none", "10.96.0.4", "198.51.100.4"), load_balancer("alien", "10.96.0.5", "203.0.113.5"),
         slice("alien", "gw-1")});
  EXPECT_THAT(advertised(), ElementsAre("198.51.100.1/32 all", "198.51.100.2/32 all"));
  EXPECT_TRUE(put(slice("here", "gw-1", R"("ready": false, "serving": true, "terminating": true)")) == false)
      << "one that serves is enough";
  EXPECT_TRUE(put(slice("here", "gw-1", R"("ready": false, "serving": false)")));
  EXPECT_THAT(advertised(), ElementsAre("198.51.100.1/32 all"));
  EXPECT_TRUE(put(slice("there", "gw-1")));
  EXPECT_THAT(advertised(), ElementsAre("198.51.100.1/32 all", "198.51.100.3/32 all"));
}

TEST_F(MetallbBgp, LB10_OnlySelectedNodesAnnounce) {
  start({node(), metallb("BGPAdvertisement", "edge", R"({"nodeSelectors": [{"matchLabels": {"edge": "yes"}}]})"),
         load_balancer("web", "10.96.0.1", "198.51.100.1"), slice("web", "other")});
  EXPECT_THAT(advertised(), IsEmpty());
  EXPECT_TRUE(put(node(R"({"edge": "yes"})")));
  EXPECT_THAT(advertised(), ElementsAre("198.51.100.1/32 edge"));
  EXPECT_TRUE(put(node(R"({"edge": "yes", "node.kubernetes.io/exclude-from-external-load-balancers": ""})")));
  EXPECT_THAT(advertised(), IsEmpty());
}

TEST_F(MetallbBgp, LB10_SelectedServices) {
  start({node(), metallb("BGPAdvertisement", "web", R"({"serviceSelectors": [{"matchLabels": {"tier": "web"}}]})"),
         load_balancer("web", "10.96.0.1", "198.51.100.1", "Cluster", R"({"tier": "web"})"), slice("web", "other"),
         load_balancer("db", "10.96.0.2", "198.51.100.2"), slice("db", "other")});
  EXPECT_THAT(advertised(), ElementsAre("198.51.100.1/32 web"));
}

TEST_F(MetallbBgp, LB10_AggregatedUntilTheLastServiceGoes) {
  start({node(), metallb("BGPAdvertisement", "all", R"({"aggregationLength": 28})"), peer("tor", "192.168.0.1"),
         load_balancer("a", "10.96.0.1", "198.51.100.1"), slice("a", "other"),
         load_balancer("b", "10.96.0.2", "198.51.100.2"), slice("b", "other")});
  EXPECT_THAT(advertised(), ElementsAre("198.51.100.0/28 all"));
  EXPECT_THAT(text_, HasSubstr("  route 198.51.100.0/28 blackhole { sluice_audience = 0; };\n"));
  EXPECT_FALSE(put(slice("a", "other", R"("ready": false, "serving": false)")));
  EXPECT_TRUE(put(slice("b", "other", R"("ready": false, "serving": false)")));
  EXPECT_THAT(advertised(), IsEmpty());
  // BGP-5: what is no service's there must not follow the default route.
  const auto networks = announced_service_networks(objects_.config());
  EXPECT_THAT(networks, ElementsAre(*net::parse_prefix("198.51.100.0/24")));
}

TEST_F(MetallbBgp, LB10_EachPeerGetsWhatItsAdvertisementsSay) {
  start({node(), peer("tor", "192.168.0.1"), peer("spine", "192.168.0.3", "", 64512),
         metallb("Community", "names", R"({"communities": [{"name": "vip", "value": "64512:7"}]})"),
         metallb("BGPAdvertisement", "all", R"({"communities": ["vip"]})"),
         metallb("BGPAdvertisement", "spine",
                 R"({"communities": ["large:1:2:3"], "localPref": 150, "peers": ["spine"], "aggregationLength": 32})"),
         metallb("BGPAdvertisement", "wide", R"({"aggregationLength": 24, "peers": ["tor"]})"),
         load_balancer("web", "10.96.0.1", "198.51.100.1"), slice("web", "other")});
  EXPECT_THAT(plan_.warnings, IsEmpty());
  EXPECT_THAT(sent("metallb.metallb-system:tor"), ElementsAre("198.51.100.0/24", "198.51.100.1/32 64512:7"));
  EXPECT_THAT(sent("metallb.metallb-system:spine"), ElementsAre("198.51.100.1/32 1:2:3 64512:7 localpref 150"));
  EXPECT_THAT(text_,
              HasSubstr("function 'to.metallb.metallb-system:spine'() {\n"
                        "  if ! defined(sluice_audience) then reject;\n"
                        "  bgp_community.empty;\n  bgp_large_community.empty;\n"
                        "  if sluice_audience = 0 then { bgp_local_pref = 150; bgp_large_community.add((1,2,3)); "
                        "bgp_community.add((64512,7)); accept; }\n}\n"));
}

TEST_F(MetallbBgp, LB10_CalicosPeersAndMetallbsGetTheirOwn) {
  start({node(), peer("tor", "192.168.0.1"), metallb("BGPAdvertisement", "all", "{}"),
         R"({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "calico"},
             "spec": {"peerIP": "192.168.0.4", "asNumber": 64999}})",
         R"({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {"name": "default"},
             "spec": {"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]}})",
         load_balancer("web", "10.96.0.1", "198.51.100.1"), slice("web", "other")});
  EXPECT_THAT(text_, HasSubstr("protocol static originated4 {\n  ipv4;\n  route 198.51.100.0/24 blackhole;\n}\n"));
  EXPECT_THAT(text_, HasSubstr("protocol static advertised4 {\n  ipv4;\n"
                               "  route 198.51.100.1/32 blackhole { sluice_audience = 0; };\n}\n"));
  EXPECT_THAT(text_, HasSubstr("      'to.metallb.metallb-system:tor'();\n      reject;\n"));
}

TEST_F(MetallbBgp, LB10_NamesThatNothingHasAreTold) {
  start({node(), metallb("BGPAdvertisement", "x",
                         R"({"ipAddressPools": ["nope"], "peers": ["none"], "communities": ["vip"]})")});
  EXPECT_THAT(plan_.warnings,
              ElementsAre("BGPAdvertisement metallb-system/x: spec.ipAddressPools[0]: there is no IPAddressPool nope",
                          "BGPAdvertisement metallb-system/x: spec.peers[0]: there is no BGPPeer none of metallb.io",
                          StartsWith("BGPAdvertisement metallb-system/x: spec.communities[0]: vip is neither")));
}

TEST_F(MetallbBgp, LB10_TheFamiliesOfSessions) {
  start({node(), peer("four", "192.168.0.1"), peer("six", "fd00:1::1"), metallb("BGPAdvertisement", "all", "{}"),
         load_balancer("web", "10.96.0.1", "198.51.100.1"), slice("web", "other")});
  EXPECT_THAT(sent("metallb.metallb-system:four"), ElementsAre("198.51.100.1/32"));
  EXPECT_THAT(sent("metallb.metallb-system:six"), IsEmpty());
}

TEST_F(MetallbBgp, BGP4_DrainedEndpointsCountAsNotReady) {
  start({node(), metallb("BGPAdvertisement", "all", "{}"),
         R"({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {"name": "default"},
             "spec": {"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]}})",
         load_balancer("web", "10.96.0.1", "198.51.100.1", "Local"), slice("web", "gw-1")});
  const auto host = *net::parse_prefix("198.51.100.1/32");
  EXPECT_TRUE(services_.prefixes().contains(host));
  EXPECT_FALSE(drain("10.244.1.5:9999")) << "another port";
  EXPECT_TRUE(drain("10.244.1.5:8080"));
  EXPECT_THAT(services_.prefixes(), IsEmpty());
  EXPECT_THAT(services_.advertised(), IsEmpty());
  services_.set_drains({});
  EXPECT_TRUE(services_.rebuild(objects_.config()));
  EXPECT_TRUE(services_.prefixes().contains(host));
  EXPECT_TRUE(drain("default/web-0"));
  EXPECT_THAT(services_.prefixes(), IsEmpty());
}

TEST_F(MetallbBgp, LB10_WithdrawnAtTheEnd) {
  start({node(), peer("tor", "192.168.0.1"), metallb("BGPAdvertisement", "all", "{}"),
         load_balancer("web", "10.96.0.1", "198.51.100.1"), slice("web", "other")});
  BgpPlan end = plan_;
  end.silent = true;
  end.origins.clear();
  end.advertised.clear();
  const std::string text = bird_config(end);
  EXPECT_EQ(complaint_of_bird(text), "");
  EXPECT_THAT(text, Not(HasSubstr("198.51.100.1")));
  EXPECT_THAT(text, HasSubstr("    import none;\n    export none;\n"));
}

}  // namespace
}  // namespace sluice::control
