// Who peers with whom, what is announced, and the configuration of BIRD that comes of it. Every text is given to the
// real BIRD, which has to take it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/bgp_plan.h"
#include "control/bird_config.h"
#include "tests/unit/bird_check.h"
#include "tests/unit/config_documents.h"

namespace sluice::control {
namespace {

using config::ObjectSet;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string gateway(const std::string& bgp = "") {
  return R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
    "spec": {"nodeName": "gw-1", "bgp": {"engine": "bird")" +
         bgp + R"(},
      "interfaces": [{"name": "up0", "device": "net_null0", "addresses": ["192.168.0.2/24", "fd00:1::2/64"]}]}})";
}

std::string node(const std::string& name, const std::string& address, const std::string& annotations = "",
                 const std::string& labels = "") {
  return R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": ")" + name + R"(", "labels": {)" + labels +
         R"(}, "annotations": {"projectcalico.org/IPv4Address": ")" + address + "\"" +
         (annotations.empty() ? "" : ", ") + annotations + "}}}";
}

std::string calico(const std::string& kind, const std::string& name, const std::string& spec) {
  return R"({"apiVersion": "projectcalico.org/v3", "kind": ")" + kind + R"(", "metadata": {"name": ")" + name +
         R"("}, "spec": )" + spec + "}";
}

std::string block(const std::string& name, const std::string& owner, const std::string& cidr,
                  const std::string& state = "confirmed") {
  return calico("BlockAffinity", name,
                R"({"node": ")" + owner + R"(", "cidr": ")" + cidr + R"(", "state": ")" + state + "\"}");
}

const char* const pool = R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"},
                             "spec": {"cidr": "10.244.0.0/16"}})";

BgpPlan plan_of(const ObjectSet& objects) {
  BgpServices services;
  services.rebuild(objects.config());
  return make_bgp_plan(objects.config(), {}, services);
}

BgpPlan plan_of(std::vector<std::string> objects, const std::string& bgp = "") {
  objects.insert(objects.begin(), gateway(bgp));
  return plan_of(config::valid_set(config::list_of(objects)));
}

std::vector<std::string> sessions(const BgpPlan& plan) {
  std::vector<std::string> out;
  for (const BgpSession& one : plan.sessions) {
    out.push_back(one.name + " " + net::to_string(one.peer) + " AS" + std::to_string(one.peer_as));
  }
  return out;
}

std::vector<std::string> origins(const BgpPlan& plan) {
  std::vector<std::string> out;
  for (const auto& [prefix, origin] : plan.origins) out.push_back(net::to_string(prefix));
  return out;
}

std::string text_of(const BgpPlan& plan) {
  std::string text = bird_config(plan);
  EXPECT_EQ(complaint_of_bird(text), "");
  return text;
}

TEST(BgpPlan, BGP1_FullMeshWithCalicosDefaults) {
  const BgpPlan plan = plan_of({node("gw-1", "192.168.0.2/24"), node("node1", "192.168.0.11/24"),
                                node("node2", "192.168.9.12/24", R"("projectcalico.org/ASNumber": "64999")")});
  EXPECT_EQ(plan.as_number, 64512U);
  EXPECT_EQ(net::to_string(plan.router_id), "192.168.0.2");
  EXPECT_THAT(sessions(plan), ElementsAre("mesh.node1 192.168.0.11 AS64512", "mesh.node2 192.168.9.12 AS64999"));
  const std::string text = text_of(plan);
  EXPECT_THAT(text, HasSubstr("  local 192.168.0.2 port 179 as 64512;\n  neighbor 192.168.0.11 port 179 as 64512;\n"
                              "  multihop;\n  graceful restart on;\n  graceful restart time 120;\n"
                              "  connect delay time 2;\n  connect retry time 5;\n  error wait time 5, 30;\n"));
  EXPECT_THAT(text, HasSubstr("    add paths on;\n"));
  EXPECT_THAT(text, HasSubstr("  merge paths on;\n"));
  EXPECT_THAT(text, Not(HasSubstr("ttl security")));
}

TEST(BgpPlan, BGP1_TheMeshCanBeOffAndHaveAPassword) {
  const std::vector<std::string> nodes{node("gw-1", "192.168.0.2/24"), node("node1", "192.168.0.11/24")};
  std::vector<std::string> off = nodes;
  off.push_back(calico("BGPConfiguration", "default", R"({"nodeToNodeMeshEnabled": false})"));
  EXPECT_THAT(sessions(plan_of(off)), IsEmpty());

  std::vector<std::string> secret = nodes;
  secret.push_back(
      calico("BGPConfiguration", "default", R"({"asNumber": 65000, "listenPort": 1179, "bindMode": "NodeIP",
      "nodeMeshMaxRestartTime": "300s", "nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}})"));
  EXPECT_THAT(plan_of(secret).sessions, IsEmpty()) << "never without the password";
  EXPECT_THAT(plan_of(secret).warnings, ElementsAre(HasSubstr("no Secret bgp with the key mesh")));
  secret.push_back(R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp", "namespace": "calico-system"},
                       "data": {"mesh": "aHVzaA=="}})");
  const std::string text = text_of(plan_of(secret));
  EXPECT_THAT(text, HasSubstr("  local 192.168.0.2 port 1179 as 65000;\n"));
  EXPECT_THAT(text, HasSubstr("  strict bind on;\n  password \"hush\";\n  graceful restart on;\n"
                              "  graceful restart time 300;\n"));
}

TEST(BgpPlan, BGP6_PasswordsThatBirdCannotBeToldMakeNoSession) {
  for (const char* encoded : {"YSJi" /* a"b */, "YQpi" /* a, line end, b */, ""}) {
    const BgpPlan plan = plan_of(
        {calico("BGPPeer", "tor", R"({"peerIP": "192.168.0.1", "asNumber": 64999,
                                      "password": {"secretKeyRef": {"name": "bgp", "key": "tor"}}})"),
         std::string(
             R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp", "namespace": "kube-system"}, "data": {"tor": ")") +
             encoded + "\"}}"});
    EXPECT_THAT(plan.sessions, IsEmpty());
    EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("BIRD cannot be told the password in Secret bgp")));
  }
}

TEST(BgpPlan, BGP6_EveryFieldOfAPeer) {
  const BgpPlan plan = plan_of(
      {node("gw-1", "192.168.0.2/24", "", R"("rack": "a")"),
       calico("BGPPeer", "tor", R"({"nodeSelector": "rack == 'a'", "peerIP": "172.16.0.1:1179", "asNumber": "1.10",
          "localASNumber": 64600, "nextHopMode": "Keep", "sourceAddress": "None", "maxRestartTime": "60s",
          "keepaliveTime": "20s", "numAllowedLocalASNumbers": 2, "ttlSecurity": 2, "reachableBy": "192.168.0.1",
          "filters": ["strict"]})"),
       calico("BGPPeer", "other-rack", R"({"nodeSelector": "rack == 'b'", "peerIP": "172.16.0.9", "asNumber": 1})"),
       calico("BGPFilter", "strict", R"({
          "exportV4": [{"cidr": "10.244.0.0/16", "matchOperator": "In", "prefixLength": {"min": 24, "max": 26},
                        "source": "RemotePeers", "action": "Accept"},
                       {"interface": "eth*", "action": "Reject"}, {"action": "Reject"}],
          "importV4": [{"cidr": "10.0.0.0/8", "matchOperator": "Equal", "action": "Accept"},
                       {"cidr": "10.0.0.0/8", "matchOperator": "NotIn", "action": "Reject"},
                       {"cidr": "10.9.0.0/16", "matchOperator": "NotEqual", "action": "Accept"}],
          "exportV6": [{"cidr": "fd00::/8", "matchOperator": "NotIn", "action": "Reject"}]})")});
  ASSERT_THAT(sessions(plan), ElementsAre("peer.tor 172.16.0.1 AS65546"));
  const std::string text = text_of(plan);
  EXPECT_THAT(text, HasSubstr("  local port 179 as 64600;\n  neighbor 172.16.0.1 port 1179 as 65546;\n  multihop 2;\n"
                              "  ttl security on;\n"));
  EXPECT_THAT(text, HasSubstr("  graceful restart time 60;\n"));
  EXPECT_THAT(text, HasSubstr("  hold time 240;\n  keepalive time 20;\n  allow local as 2;\n"));
  EXPECT_THAT(text, HasSubstr("    next hop keep;\n"));
  EXPECT_THAT(text, HasSubstr("  route 172.16.0.1/32 via 192.168.0.1;\n"));
  EXPECT_THAT(text, HasSubstr("function 'filter.strict:export4'() {\n"
                              "  if (net ~ [ 10.244.0.0/16{24,26} ]) && (source = RTS_BGP) then accept;\n"
                              "  if (ifname ~ \"eth*\") then reject;\n  if true then reject;\n}\n"));
  EXPECT_THAT(text,
              HasSubstr("  if (net = 10.0.0.0/8) then accept;\n  if (! (net ~ [ 10.0.0.0/8{8,32} ])) then reject;\n"
                        "  if (net != 10.9.0.0/16) then accept;\n"));
  EXPECT_THAT(text,
              HasSubstr("      if never_imported4() then reject;\n      'filter.strict:import4'();\n      accept;\n"));
}

TEST(BgpPlan, BGP6_AFilterThatIsNotThereMakesNoSession) {
  const BgpPlan plan = plan_of({calico("BGPPeer", "tor", R"({"peerIP": "192.168.0.1", "asNumber": 64999,
                                                             "filters": ["gone"]})")});
  EXPECT_THAT(plan.sessions, IsEmpty());
  EXPECT_THAT(plan.warnings, ElementsAre("BGPPeer tor has no session with 192.168.0.1: there is no BGPFilter gone"));
}

TEST(BgpPlan, BGP6_TheMoreSpecificPeerHasTheAddress) {
  const BgpPlan plan =
      plan_of({node("gw-1", "192.168.0.2/24"), node("node1", "192.168.0.11/24"),
               calico("BGPPeer", "all", R"({"peerIP": "192.168.0.11", "asNumber": 1})"),
               calico("BGPPeer", "one", R"({"node": "gw-1", "peerIP": "192.168.0.11", "asNumber": 2})"),
               calico("BGPPeer", "not", R"({"node": "node1", "peerIP": "192.168.0.1", "asNumber": 3})")});
  EXPECT_THAT(sessions(plan), ElementsAre("peer.one 192.168.0.11 AS2"));
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("BGPPeer all has no session")));
  text_of(plan);
}

TEST(BgpPlan, BGP7_RouteReflectors) {
  const std::string peers =
      calico("BGPPeer", "reflectors", R"x({"nodeSelector": "all()", "peerSelector": "has(reflector)"})x");
  const std::string id = R"("projectcalico.org/RouteReflectorClusterID": "244.0.0.1")";
  const std::string label = R"("reflector": "")";
  const BgpPlan client = plan_of({node("gw-1", "192.168.0.2/24"), node("node1", "192.168.0.11/24"),
                                  node("rr", "192.168.0.5/24", id, label), peers});
  EXPECT_THAT(sessions(client),
              ElementsAre("mesh.node1 192.168.0.11 AS64512", "peer.reflectors:rr 192.168.0.5 AS64512"));
  EXPECT_THAT(text_of(client), Not(HasSubstr("rr client")));
  const BgpPlan reflector = plan_of({node("gw-1", "192.168.0.2/24", id, label), node("node1", "192.168.0.11/24"),
                                     node("rr", "192.168.0.5/24", id, label), peers});
  EXPECT_THAT(sessions(reflector),
              ElementsAre("peer.reflectors:node1 192.168.0.11 AS64512", "peer.reflectors:rr 192.168.0.5 AS64512"));
  const std::string text = text_of(reflector);
  const size_t client_at = text.find("protocol bgp 'peer.reflectors:node1'");
  const size_t other_at = text.find("protocol bgp 'peer.reflectors:rr'");
  ASSERT_LT(client_at, other_at);
  const size_t rr_client = text.find("  rr client;\n  rr cluster id 244.0.0.1;\n");
  EXPECT_TRUE(client_at < rr_client && rr_client < other_at);
  EXPECT_EQ(text.find("rr client", rr_client + 10), std::string::npos) << "not between two of one cluster";
}

TEST(BgpPlan, BGP2_OwnConfirmedBlocksAndBorrowedAddresses) {
  const BgpPlan plan = plan_of(
      {pool, node("gw-1", "192.168.0.2/24"), block("a", "gw-1", "10.244.1.0/26"), block("b", "node1", "10.244.2.0/26"),
       block("c", "gw-1", "10.244.3.0/26", "pending"), block("d", "gw-1", "10.244.2.9/32"),
       R"({"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint", "metadata": {"name": "w", "namespace": "default"},
           "spec": {"node": "gw-1", "interfaceName": "cali1", "ipNetworks": ["10.244.1.7/32"]}})",
       R"({"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint", "metadata": {"name": "v", "namespace": "default"},
           "spec": {"node": "gw-1", "interfaceName": "cali2", "ipNetworks": ["10.244.2.7/32"]}})"});
  EXPECT_THAT(origins(plan), ElementsAre("10.244.1.0/26", "10.244.2.7/32", "10.244.2.9/32"));
  const std::string text = text_of(plan);
  EXPECT_THAT(text, HasSubstr("  route 10.244.1.0/26 blackhole;\n"));
  EXPECT_THAT(text, HasSubstr("      if source = RTS_BGP then accept;\n      if proto = \"reachable4\" then accept;\n"
                              "      reject;\n"))
      << "the kernel has no blackholes of ours";
}

TEST(BgpPlan, BGP3_PoolsThatAreNotExported) {
  const BgpPlan plan = plan_of({calico("IPPool", "pods", R"({"cidr": "10.244.0.0/16", "disableBGPExport": true})"),
                                node("gw-1", "192.168.0.2/24"), block("a", "gw-1", "10.244.1.0/26")});
  EXPECT_THAT(origins(plan), IsEmpty());
  EXPECT_THAT(text_of(plan), HasSubstr("  return source = RTS_BGP && net ~ [ 10.244.0.0/16+ ];\n"));
}

TEST(BgpPlan, BGP8_OwnBlocksAreNotLearned) {
  const BgpPlan plan = plan_of({pool, node("gw-1", "192.168.0.2/24"), block("a", "gw-1", "10.244.1.0/26")});
  EXPECT_THAT(text_of(plan), HasSubstr("function never_imported4() {\n  if net = 0.0.0.0/0 then return true;\n"
                                       "  return net ~ [ 10.244.1.0/26{26,31} ];\n}\n"));
}

TEST(BgpPlan, BGP5_AnnouncedNetworksLeadNowhereWhereThereIsNoService) {
  const std::string services =
      calico("BGPConfiguration", "default", R"({"serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}]})");
  const ObjectSet objects = config::valid_set(config::list_of({gateway(), services}));
  const Plan plan = make_plan(objects.config());
  const auto route = plan.routes.find(*net::parse_prefix("198.51.100.0/24"));
  ASSERT_NE(route, plan.routes.end());
  EXPECT_EQ(route->second.hops.front().kind, dataplane::HopKind::Drop);
  // SVC-70: whoever announces it.
  const ObjectSet off = config::valid_set(config::list_of({std::string(config::gateway_object), services}));
  EXPECT_EQ(make_plan(off.config()).routes.at(*net::parse_prefix("198.51.100.0/24")).hops, route->second.hops);
}

TEST(BgpPlan, BGP12_PrefixLimitAndDefaultRoute) {
  const std::vector<std::string> objects{node("gw-1", "192.168.0.2/24"), node("node1", "192.168.0.11/24")};
  const std::string text = text_of(plan_of(objects, R"(, "maxPrefixes": 77)"));
  EXPECT_THAT(text, HasSubstr("    import limit 77 action block;\n"));
  EXPECT_THAT(text, HasSubstr("function never_exported4() {\n  if net = 0.0.0.0/0 then return true;\n"));
  EXPECT_THAT(text, HasSubstr("function never_imported6() {\n  if net = ::/0 then return true;\n"));
  const std::string open = text_of(plan_of(objects, R"(, "maxPrefixes": 0, "allowDefaultRoute": true)"));
  EXPECT_THAT(open, Not(HasSubstr("import limit")));
  EXPECT_THAT(open, Not(HasSubstr("/0 then return true")));
}

TEST(BgpPlan, BGP10_Bfd) {
  const std::vector<std::string> objects{node("gw-1", "192.168.0.2/24"), node("node1", "192.168.0.11/24")};
  const std::string text = text_of(plan_of(objects, R"(, "bfd": {"receiveInterval": 100, "detectMultiplier": 5})"));
  EXPECT_THAT(text, HasSubstr("interface \"*\" { min rx interval 100 ms; min tx interval 300 ms; multiplier 5; };"));
  EXPECT_THAT(text, HasSubstr("  bfd on;\n"));
  EXPECT_THAT(text_of(plan_of(objects)), Not(HasSubstr("bfd")));
}

TEST(BgpPlan, BGP6_CommunitiesAreOfWhatIsOriginated) {
  const BgpPlan plan =
      plan_of({pool, node("gw-1", "192.168.0.2/24"), block("a", "gw-1", "10.244.1.0/26"),
               calico("BGPConfiguration", "default", R"({"communities": [{"name": "pods", "value": "64512:100"}],
          "prefixAdvertisements": [{"cidr": "10.244.0.0/16", "communities": ["pods", "64512:1:2"]},
                                   {"cidr": "10.9.0.0/16", "communities": ["64512:9"]}]})")});
  EXPECT_THAT(text_of(plan), HasSubstr("  route 10.244.1.0/26 blackhole { bgp_large_community.add((64512,1,2));"
                                       " bgp_community.add((64512,100)); };\n"));
}

TEST(BgpPlan, BGP1_Ipv6SessionsCarryIpv6) {
  const BgpPlan plan =
      plan_of({calico("IPPool", "pods6", R"({"cidr": "fd00:10::/48", "blockSize": 122})"),
               block("a", "gw-1", "fd00:10::40/122"),
               node("gw-1", "192.168.0.2/24", R"("projectcalico.org/IPv6Address": "fd00:1::2/64")"),
               node("node1", "192.168.0.11/24", R"("projectcalico.org/IPv6Address": "fd00:1::11/64")")});
  EXPECT_THAT(sessions(plan), ElementsAre("mesh.node1 192.168.0.11 AS64512", "mesh.node1:v6 fd00:1::11 AS64512"));
  EXPECT_THAT(text_of(plan), HasSubstr("  route fd00:10::40/122 blackhole;\n"));
}

// Everything that a name may be, for BIRD's grammar.
TEST(BgpPlan, BGP6_LongAndOddNames) {
  const std::string longest = std::string(60, 'a') + "." + std::string(60, 'b') + ".0-9.example";
  const BgpPlan plan = plan_of(
      {node("gw-1", "192.168.0.2/24"), node(longest, "192.168.0.11/24"), node(longest + "x", "192.168.0.12/24"),
       calico("BGPPeer", longest, R"({"peerIP": "192.168.0.1", "asNumber": 64999, "filters": [")" + longest + R"("]})"),
       calico("BGPFilter", longest, R"({"importV4": [{"action": "Accept"}]})")});
  EXPECT_EQ(plan.sessions.size(), 3U);
  const std::string text = text_of(plan);
  EXPECT_THAT(text, HasSubstr("  direct;\n  check link off;\n")) << "the peer is in the interface's subnet";
  EXPECT_THAT(text, HasSubstr("    next hop self;\n")) << "to another AS";
}

// One name may be the beginning of another.
TEST(BgpPlan, BGP6_NamesOfProtocolsAndFunctionsAreUnique) {
  const std::string everybody = R"x({"nodeSelector": "all()", "peerSelector": "all()"})x";
  const BgpPlan plan = plan_of(
      {node("gw-1", "192.168.0.2/24"),
       node("n1", "192.168.0.11/24", R"("projectcalico.org/IPv6Address": "fd00:1::11/64")"),
       node("n1.v6", "192.168.0.12/24"), node("rack.n1", "192.168.0.13/24"),
       calico("BGPPeer", "rack", R"x({"peerSelector": "!has(other)"})x"),
       calico("BGPPeer", "rack.n1", R"({"peerIP": "192.168.0.1", "asNumber": 1, "filters": ["a", "a.import4"]})"),
       calico("BGPFilter", "a", R"({"importV4": [{"action": "Accept"}]})"),
       calico("BGPFilter", "a.import4", R"({"importV4": [{"action": "Accept"}]})")});
  EXPECT_THAT(sessions(plan), Contains("peer.rack:n1 192.168.0.11 AS64512"));
  EXPECT_THAT(sessions(plan), Contains("peer.rack:n1:v6 fd00:1::11 AS64512"));
  EXPECT_THAT(sessions(plan), Contains("peer.rack:n1.v6 192.168.0.12 AS64512"));
  EXPECT_THAT(sessions(plan), Contains("peer.rack.n1 192.168.0.1 AS1"));
  text_of(plan);
}

TEST(BgpPlan, BGP10_NoBfdWhereBirdWouldHaveToFindOurAddress) {
  const BgpPlan plan =
      plan_of({node("gw-1", "192.168.0.2/24"),
               calico("BGPPeer", "far", R"({"peerIP": "172.16.0.1", "asNumber": 1, "sourceAddress": "None"})"),
               calico("BGPPeer", "near", R"({"peerIP": "192.168.0.1", "asNumber": 1, "sourceAddress": "None"})")},
              R"(, "bfd": {})");
  const std::string text = text_of(plan);
  const size_t near = text.find("protocol bgp 'peer.near'");
  EXPECT_EQ(text.find("bfd on;"), text.rfind("bfd on;"));
  EXPECT_GT(text.find("bfd on;"), near);
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("BGPPeer far has a session with 172.16.0.1 without BFD")));
}

TEST(BgpPlan, BGP9_SilentSendsNothingWhateverFiltersSay) {
  BgpPlan plan =
      plan_of({node("gw-1", "192.168.0.2/24", R"("projectcalico.org/RouteReflectorClusterID": "244.0.0.1")"),
               calico("BGPPeer", "tor", R"({"peerIP": "192.168.0.1", "asNumber": 64512, "filters": ["all"]})"),
               calico("BGPFilter", "all", R"({"exportV4": [{"action": "Accept"}]})")});
  const std::string before = text_of(plan);
  EXPECT_THAT(before, HasSubstr("      'filter.all:export4'();\n"));
  plan.silent = true;
  const std::string text = text_of(plan);
  EXPECT_THAT(text, HasSubstr("    export none;\n"));
  EXPECT_THAT(text, Not(HasSubstr("      'filter.all:export4'();\n")));
  EXPECT_THAT(text, Not(HasSubstr("      if source = RTS_BGP then accept;\n      reject;\n    };\n    import limit")));
}

TEST(BgpPlan, BGP1_TheFarEndListensWhereItsConfigurationSays) {
  const BgpPlan plan =
      plan_of({node("gw-1", "192.168.0.2/24"), node("node1", "192.168.0.11/24"), node("node2", "192.168.0.12/24"),
               node("node3", "192.168.0.13/24", "", R"("special": "")"),
               calico("BGPConfiguration", "default", R"({"listenPort": 1179})"),
               calico("BGPConfiguration", "node.gw-1", R"({"listenPort": 1180})"),
               calico("BGPConfiguration", "node.node2", R"({"listenPort": 1181})"),
               calico("BGPConfiguration", "node.node3", R"({"listenPort": 1182})"),
               calico("BGPPeer", "special", R"x({"peerSelector": "has(special)"})x")});
  const std::string text = text_of(plan);
  EXPECT_THAT(text,
              HasSubstr("  local 192.168.0.2 port 1180 as 64512;\n  neighbor 192.168.0.11 port 1179 as 64512;\n"));
  EXPECT_THAT(text, HasSubstr("  neighbor 192.168.0.12 port 1181 as 64512;\n"));
  EXPECT_THAT(text, HasSubstr("  neighbor 192.168.0.13 port 1182 as 64512;\n"));
  EXPECT_EQ(plan.sessions.size(), 3U) << "none twice";
}

TEST(BgpPlan, BGP6_OnlyNamespacesOfTheClusterHavePasswords) {
  const auto secret = [](const char* space, const char* encoded) {
    return std::string(R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp", "namespace": ")") + space +
           R"("}, "data": {"tor": ")" + encoded + "\"}}";
  };
  const std::string peer = calico("BGPPeer", "tor", R"({"peerIP": "192.168.0.1", "asNumber": 64999,
                                                        "password": {"secretKeyRef": {"name": "bgp", "key": "tor"}}})");
  const BgpPlan plan = plan_of({peer, secret("a-tenant", "bG91ZA=="), secret("kube-system", "aHVzaA==")});
  ASSERT_EQ(plan.sessions.size(), 1U);
  EXPECT_EQ(plan.sessions.front().password, "hush");
  const BgpPlan none = plan_of({peer, secret("a-tenant", "bG91ZA==")});
  EXPECT_THAT(none.sessions, IsEmpty());
  EXPECT_THAT(none.warnings, ElementsAre(HasSubstr("in the namespace calico-system or kube-system")));
}

// Whatever kind is not asked for leaves the plan as it is.
TEST(BgpPlan, SCALE5_KindsThatAPlanIsNotMadeOf) {
  ObjectSet objects =
      config::valid_set(config::list_of({gateway(), pool, node("gw-1", "192.168.0.2/24"),
                                         block("b", "gw-1", "10.244.1.0/26"), node("node1", "192.168.0.11/24")}));
  const auto put = [&](const std::string& object) {
    const BgpPlan before = plan_of(objects);
    auto document = config::parse_document(object);
    EXPECT_TRUE(document) << object;
    const auto change = objects.apply(config::to_delta(std::move(*document)), config::validate);
    if (!change) {
      ADD_FAILURE() << object << change.error().faults.front().text();
      return false;
    }
    EXPECT_TRUE(change->effective()) << object;
    const bool concerned = concerns_bgp_plan(*change, objects.config());
    if (!concerned) {
      EXPECT_EQ(plan_of(objects), before) << object;
    }
    return concerned;
  };
  const auto remove = [&](const config::ObjectKey& key) {
    const auto change = objects.apply(config::deletion_of(key), config::validate);
    return concerns_bgp_plan(*change, objects.config());
  };
  const auto plain = [](const char* version, const char* kind, const char* spec) {
    return fmt::format(
        R"({{"apiVersion": "{}", "kind": "{}", "metadata": {{"namespace": "default", "name": "one"}}, {}}})", version,
        kind, spec);
  };
  EXPECT_FALSE(put(plain("v1", "Namespace", R"("spec": {})")));
  EXPECT_FALSE(put(plain("networking.k8s.io/v1", "ServiceCIDR", R"("spec": {"cidrs": ["10.97.0.0/16"]})")));
  EXPECT_FALSE(put(plain("networking.k8s.io/v1", "IngressClass", R"("spec": {"controller": "sluice.dev/ingress"})")));
  EXPECT_FALSE(put(plain("networking.k8s.io/v1", "Ingress", R"("spec": {"ingressClassName": "one",
      "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}})")));
  EXPECT_FALSE(put(plain("metallb.io/v1beta1", "L2Advertisement", R"("spec": {})")));
  EXPECT_FALSE(put(plain("sluice.dev/v1", "ContentPolicy", R"("spec": {"direction": "Ingress",
      "patterns": [{"name": "shell", "literal": "cmd.exe"}]})")));
  EXPECT_FALSE(put(calico("IPAMConfiguration", "default", R"({"strictAffinity": true})")));
  EXPECT_FALSE(put(config::service("web", "10.97.0.1"))) << "BgpServices looks at these";
  const auto workload = [&](const char* name, const char* at, const char* address) {
    return fmt::format(R"({{"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
        "metadata": {{"namespace": "ns", "name": "{0}"}},
        "spec": {{"node": "{1}", "pod": "{0}", "interfaceName": "cali{0}", "ipNetworks": ["{2}/32"]}}}})",
                       name, at, address);
  };
  EXPECT_FALSE(put(workload("far", "node1", "10.244.9.1")));
  EXPECT_TRUE(put(workload("near", "gw-1", "10.244.9.2"))) << "BGP-2";
  EXPECT_TRUE(put(workload("near", "node1", "10.244.9.2"))) << "it was here";
  EXPECT_TRUE(put(workload("near", "gw-1", "10.244.9.2")));
  EXPECT_TRUE(remove({"WorkloadEndpoint", "ns", "near"}));
  EXPECT_FALSE(remove({"WorkloadEndpoint", "ns", "far"}));
  EXPECT_TRUE(put(node("node2", "192.168.0.12/24")));
  EXPECT_TRUE(put(block("c", "gw-1", "10.244.2.0/26")));
  EXPECT_TRUE(put(calico("BGPConfiguration", "default", R"({"asNumber": 65000})")));
  EXPECT_TRUE(put(calico("BGPPeer", "tor", R"({"peerIP": "192.168.0.99", "asNumber": 65001})")));
  EXPECT_TRUE(put(calico("BGPFilter", "none", R"({"exportV4": []})")));
  EXPECT_TRUE(put(calico("IPPool", "more", R"({"cidr": "10.245.0.0/16"})")));
  EXPECT_TRUE(put(plain("v1", "Secret", R"("data": {"key": "aHVzaA=="})")));
  EXPECT_TRUE(
      put(plain("metallb.io/v1beta1", "Community", R"("spec": {"communities": [{"name": "x", "value": "1:2"}]})")));
  EXPECT_TRUE(put(plain("metallb.io/v1beta1", "BFDProfile", R"("spec": {"detectMultiplier": 5})")));
  EXPECT_TRUE(put(plain("metallb.io/v1beta1", "BGPAdvertisement", R"("spec": {})")));
  EXPECT_TRUE(put(plain("metallb.io/v1beta1", "IPAddressPool", R"("spec": {"addresses": ["198.51.100.0/28"]})")));
}

}  // namespace
}  // namespace sluice::control
