// FelixConfigurations: what of them holds, for whom, and where GatewayConfiguration comes first.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string felix(const std::string& name, const std::string& spec) {
  return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"FelixConfiguration","metadata":{{"name":"{}"}},)"
                     R"("spec":{{{}}}}})",
                     name, spec);
}
std::string gateway(const std::string& more) {
  return R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
      "spec": {"nodeName": "gw-1", )" +
         more + R"("interfaces": [{"name": "uplink0", "device": "net_null0", "addresses": ["192.168.0.2/24"]}]}})";
}
Gateway gateway_with(const std::vector<std::string>& objects) { return valid_set(list_of(objects)).config().gateway; }

constexpr const char* everything =
    R"("vxlanVNI":7,"vxlanPort":8472,"vxlanMTU":1400,"natPortRange":"40000:50000",
       "natOutgoingExclusions":"IPPoolsAndHostIPs","externalNodesList":["203.0.113.0/24","2001:db8::/32"])";

TEST(ConfigFelix, WhatIsAboutForwardingHolds) {
  const Gateway found = gateway_with({gateway(""), felix("default", everything)});
  EXPECT_EQ(found.overlay.vxlan_vni, 7U);
  EXPECT_EQ(found.overlay.vxlan_port, 8472);
  EXPECT_EQ(found.overlay.mtu, 1400);
  EXPECT_EQ(found.overlay.external_nodes,
            (std::vector{*net::parse_prefix("203.0.113.0/24"), *net::parse_prefix("2001:db8::/32")}));
  EXPECT_EQ(found.snat.nat_port_range, (PortRange{40000, 50000}));
  EXPECT_EQ(found.snat.nat_outgoing_exclusions, NatExclusions::IpPoolsAndHostIps);
}

TEST(ConfigFelix, TheGatewaysOwnFieldsComeFirst) {
  const std::string own = gateway(R"("overlay": {"vxlanVNI": 4096, "mtu": "auto", "externalNodesCIDRs": []},
      "snat": {"natPortRange": "33000-34000", "natOutgoingExclusions": "IPPoolsOnly"}, )");
  const Gateway found = gateway_with({own, felix("default", everything)});
  EXPECT_EQ(found.overlay.vxlan_vni, 4096U) << "said, though it is the default";
  EXPECT_EQ(found.overlay.vxlan_port, 8472) << "not said";
  EXPECT_EQ(found.overlay.mtu, std::nullopt);
  EXPECT_THAT(found.overlay.external_nodes, IsEmpty());
  EXPECT_EQ(found.snat.nat_port_range, (PortRange{33000, 34000}));
  EXPECT_EQ(found.snat.nat_outgoing_exclusions, NatExclusions::IpPoolsOnly);
}

TEST(ConfigFelix, ThatOfTheNodeComesBeforeTheDefault) {
  const Gateway found = gateway_with({gateway(""), felix("default", R"("vxlanVNI":7,"vxlanPort":8472)"),
                                      felix("node.gw-1", R"("vxlanVNI":8)"), felix("node.gw-2", R"("vxlanPort":9)")});
  EXPECT_EQ(found.overlay.vxlan_vni, 8U);
  EXPECT_EQ(found.overlay.vxlan_port, 8472);
}

TEST(ConfigFelix, TheSmallerMtuOfBothTunnels) {
  const auto mtu = [](const std::string& spec) {
    return gateway_with({gateway(""), felix("default", spec)}).overlay.mtu;
  };
  EXPECT_EQ(mtu(R"("vxlanMTU":1410,"ipipMTU":1440)"), 1410);
  EXPECT_EQ(mtu(R"("vxlanMTU":0,"ipipMTU":1440)"), 1440) << "0: by the uplinks";
  EXPECT_EQ(mtu(R"("vxlanMTU":0)"), std::nullopt);
}

TEST(ConfigFelix, PortsAsCalicoWritesThem) {
  const auto ports = [](const std::string& spec) {
    return gateway_with({gateway(""), felix("default", R"("natPortRange":)" + spec)}).snat.nat_port_range;
  };
  EXPECT_EQ(ports("40000"), (PortRange{40000, 40000}));
  EXPECT_EQ(ports(R"("40000")"), (PortRange{40000, 40000}));
  EXPECT_EQ(
      lines(faults_of(list_of({gateway(""), felix("default", R"("natPortRange":"9:8","vxlanPort":0)")}))),
      (std::vector<std::string>{"/items/1/spec/vxlanPort: expected 1 to 65535, found 0",
                                "/items/1/spec/natPortRange: \"9:8\" is not a range of ports such as 32768:65535"}));
}

// A rule between values names the object that has the value.
TEST(ConfigFelix, FaultsAreAtTheirPlace) {
  EXPECT_EQ(lines(faults_of(list_of({gateway(""), felix("default", R"("natPortRange":"30000:40000")"),
                                     felix("node.gw-1", R"("vxlanMTU":100)")}))),
            (std::vector<std::string>{"/items/1/spec/natPortRange: 30000-40000 overlaps the node ports 30000-32767",
                                      "/items/2/spec/vxlanMTU: expected 576 to 9600, found 100"}));
}

TEST(ConfigFelix, ChangesTakeEffectAndAreUndone) {
  ObjectSet objects = valid_set(list_of({gateway("")}));
  const auto apply = [&](const std::string& fields) {
    auto delta = parse_delta(R"({"kind":"Delta",)" + fields + "}");
    return objects.apply(std::move(*delta));
  };
  auto change = apply(R"("upsert":[)" + felix("default", R"("vxlanVNI":7)") + "]");
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->touches("FelixConfiguration"));
  EXPECT_THAT(validate(objects, *change), IsEmpty());
  EXPECT_EQ(objects.config().gateway.overlay.vxlan_vni, 7U);
  change = apply(R"("upsert":[)" + felix("default", R"("vxlanVNI":8,"vxlanMTU":99)") + "]");
  ASSERT_TRUE(change);
  EXPECT_THAT(lines(validate(objects, *change)),
              ElementsAre("/upsert/0/spec/vxlanMTU: expected 576 to 9600, found 99"));
  objects.revert(std::move(*change));
  EXPECT_EQ(objects.config().gateway.overlay.vxlan_vni, 7U);
  EXPECT_EQ(objects.config().gateway.overlay.mtu, std::nullopt);
  change = apply(R"("delete":[{"kind":"FelixConfiguration","name":"default"}])");
  ASSERT_TRUE(change);
  EXPECT_EQ(objects.config().gateway.overlay.vxlan_vni, 4096U);
  change = apply(R"("upsert":[)" + felix("default", R"("logSeverityScreen":"Info")") + "]");
  ASSERT_TRUE(change);
  change = apply(R"("upsert":[)" + felix("default", R"("logSeverityScreen":"Debug")") + "]");
  ASSERT_TRUE(change);
  EXPECT_FALSE(change->effective()) << "nothing of it is used";
}

// A gateway may have the name of a FelixConfiguration, and go.
TEST(ConfigFelix, StaysWhenAnotherGatewayTakesThePlaceOfTheOld) {
  ObjectSet objects = valid_set(list_of({gateway(""), felix("default", R"("vxlanVNI":7)")}));
  std::string other = gateway("");
  other.replace(other.find("default"), 7, "another");
  auto delta = parse_delta(R"({"kind":"Delta","upsert":[)" + other +
                           R"(],"delete":[{"kind":"GatewayConfiguration","name":"default"}]})");
  ASSERT_TRUE(objects.apply(std::move(*delta)));
  EXPECT_EQ(objects.config().gateway.name, "another");
  EXPECT_EQ(objects.config().gateway.overlay.vxlan_vni, 7U);
  delta = parse_delta(R"({"kind":"Delta","upsert":[)" + felix("default", R"("vxlanVNI":8)") + "]}");
  ASSERT_TRUE(objects.apply(std::move(*delta)));
  EXPECT_EQ(objects.config().gateway.overlay.vxlan_vni, 8U);
}

}  // namespace
}  // namespace sluice::config
