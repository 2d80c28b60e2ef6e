// Nodes and blocks that come, change and go beside those that stay: the plan is not made anew, and packets go where
// they would if it were.
#include <map>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/deploy.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* tunnelled = R"("vxlanMode":"Always")";
constexpr const char* cross_subnet = R"("vxlanMode":"CrossSubnet")";
constexpr const char* direct = R"("vxlanMode":"Never")";

class NodeChange : public RigTest {
 protected:
  // A cluster of these nodes ("node1" → "192.168.0.11") and blocks ("10.244.34.0/26" → "node1").
  struct Network {
    std::map<std::string, std::string> nodes;
    std::map<std::string, std::string> blocks;

    [[nodiscard]] std::string text(const char* mode) const {
      std::vector<std::string> objects{gateway(R"("routes":[{"destination":"172.30.0.0/16","via":"192.168.0.12"}])"),
                                       node("gw", "192.168.0.1", R"("projectcalico.org/IPv4Address":"192.168.0.1/24")"),
                                       pool("pods", "10.244.0.0/16", mode)};
      for (const auto& [name, address] : nodes) objects.push_back(node(name, address));
      for (const auto& [cidr, name] : blocks) objects.push_back(block(name, cidr));
      return list(objects);
    }
  };
  std::string to_pod(const std::string& pod) { return rig().send("a", udp("192.0.2.10:5", pod + ":6")); }
  std::string from_node(const std::string& address) {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac("gw");
    const Bytes inner = udp("10.244.34.5:80", "192.0.2.10:5000").bytes();
    return rig().send("b", vxlan(address, "192.168.0.1", inner, options));
  }
};

TEST_P(NodeChange, SCALE5_ABlockComesMovesAndGoes) {
  Network network{{{"node1", "192.168.0.11"}, {"node2", "192.168.0.12"}}, {{"10.244.34.0/26", "node1"}}};
  rig().load(network.text(tunnelled));
  network.blocks["10.244.35.0/26"] = "node2";
  ASSERT_EQ(rig().try_change(network.text(tunnelled)), "");
  EXPECT_EQ(to_pod("10.244.34.5"),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63");
  EXPECT_EQ(to_pod("10.244.35.5"),
            "b/12 vxlan 192.168.0.1>192.168.0.12 vni 4096 | udp 192.0.2.10:5>10.244.35.5:6 ttl 63");
  network.blocks["10.244.35.0/26"] = "node1";
  ASSERT_EQ(rig().try_change(network.text(tunnelled)), "");
  EXPECT_EQ(to_pod("10.244.35.5"),
            "b/11 vxlan 192.168.0.1>192.168.0.11 vni 4096 | udp 192.0.2.10:5>10.244.35.5:6 ttl 63");
  network.blocks.erase("10.244.35.0/26");
  ASSERT_EQ(rig().try_change(network.text(tunnelled)), "");
  EXPECT_EQ(to_pod("10.244.35.5"), "");
  EXPECT_EQ(rig().drops(), "blackhole 1") << "ENC-4";
}

// Nodes come and go for as long as the router runs.
TEST_P(NodeChange, SCALE5_PlacesOfTunnelsThatAreGoneAreUsedAgain) {
  Network network{{{"node1", "192.168.0.11"}}, {{"10.244.34.0/26", "node1"}}};
  rig().load(network.text(tunnelled));
  for (int i = 2; i < 40; ++i) {
    // By a delta, and every third one by a plan that is made anew.
    const std::string name = fmt::format("node{}", i);
    network.nodes = {{name, fmt::format("192.168.0.{}", 11 + i % 2)}};
    network.blocks = {{"10.244.34.0/26", name}};
    if (i % 3 == 0) {
      rig().load(network.text(tunnelled));
    } else {
      ASSERT_EQ(rig().try_change(network.text(tunnelled)), "");
    }
    EXPECT_EQ(to_pod("10.244.34.5"),
              fmt::format("b/{0} vxlan 192.168.0.1>192.168.0.{0} vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63",
                          11 + i % 2));
  }
  EXPECT_LE(rig().snapshot().tunnels.size(), 4U);
}

TEST_P(NodeChange, SCALE5_VXL6_ANodeGetsAnotherAddress) {
  Network network{{{"node1", "192.168.0.11"}, {"node2", "192.168.0.12"}}, {{"10.244.34.0/26", "node1"}}};
  rig().load(network.text(tunnelled));
  ASSERT_EQ(from_node("192.168.0.11"), "a/10 udp 10.244.34.5:80>192.0.2.10:5000 ttl 63");
  network.nodes["node1"] = "172.30.0.5";
  ASSERT_EQ(rig().try_change(network.text(tunnelled)), "");
  EXPECT_EQ(to_pod("10.244.34.5"),
            "b/12 vxlan 192.168.0.1>172.30.0.5 vni 4096 | udp 192.0.2.10:5>10.244.34.5:6 ttl 63");
  EXPECT_EQ(from_node("172.30.0.5"), "a/10 udp 10.244.34.5:80>192.0.2.10:5000 ttl 63");
  EXPECT_EQ(rig().drops(), "");
  EXPECT_EQ(from_node("192.168.0.11"), "") << "nobody has it now";
  EXPECT_NE(rig().drops(), "");
  EXPECT_EQ(from_node("192.168.0.12"), "a/10 udp 10.244.34.5:80>192.0.2.10:5000 ttl 63");
}

TEST_P(NodeChange, SCALE5_ANodeGoesAndComesAgain) {
  Network network{{{"node1", "192.168.0.11"}}, {{"10.244.34.0/26", "node1"}}};
  rig().load(network.text(direct));
  EXPECT_EQ(to_pod("10.244.34.5"), "b/11 udp 192.0.2.10:5>10.244.34.5:6 ttl 63");
  network.nodes.erase("node1");
  ASSERT_EQ(rig().try_change(network.text(direct)), "");
  EXPECT_EQ(to_pod("10.244.34.5"), "");
  EXPECT_EQ(rig().plan().warnings,
            std::vector<std::string>{"block 10.244.34.0/26 has no route: there is no Node node1"});
  network.nodes["node1"] = "192.168.0.13";
  ASSERT_EQ(rig().try_change(network.text(direct)), "");
  EXPECT_EQ(to_pod("10.244.34.5"), "b/13 udp 192.0.2.10:5>10.244.34.5:6 ttl 63");
  EXPECT_TRUE(rig().plan().warnings.empty());
}

// Next hops and packets, after many changes, are those of the plan that is made anew.
TEST_P(NodeChange, SCALE5_ManyChangesLeaveWhatOneWouldHaveMade) {
  std::mt19937 random(3);
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  for (const char* mode : {direct, cross_subnet, tunnelled}) {
    Network network{{{"node1", "192.168.0.11"}}, {}};
    rig().load(network.text(mode));
    unsigned changed = 0;
    for (unsigned round = 0; round < 12; ++round) {
      for (unsigned step = 0; step < 12; ++step) {
        const std::string name = fmt::format("node{}", 1 + below(4));
        const std::string cidr = fmt::format("10.244.{}.0/26", below(6));
        switch (below(5)) {
          case 0:
            network.nodes.erase(name);
            break;
          case 1:
            network.nodes[name] = fmt::format("172.30.0.{}", 1 + below(4));
            break;
          case 2:
            network.nodes[name] = fmt::format("192.168.0.1{}", 1 + below(3));
            break;
          case 3:
            network.blocks.erase(cidr);
            break;
          default:
            network.blocks[cidr] = name;
        }
        const std::string wrong = rig().try_change(network.text(mode));
        if (wrong == no_delta) {
          rig().load(network.text(mode));
        } else {
          ASSERT_EQ(wrong, "");
          ++changed;
        }
      }
      const auto look = [&] {
        std::string out = fmt::format("{} next hops\n", rig().plane().next_hops().used());
        for (unsigned i = 0; i < 6; ++i) out += to_pod(fmt::format("10.244.{}.5", i)) + "\n";
        for (const char* node : {"192.168.0.11", "192.168.0.12", "172.30.0.1", "172.30.0.2"})
          out += from_node(node) + "\n";
        return out + rig().drops();
      };
      (void)rig().drops();
      const std::string by_deltas = look();
      rig().load(network.text(mode));
      (void)rig().drops();
      ASSERT_EQ(by_deltas, look()) << mode << " round " << round;
    }
    EXPECT_GT(changed, 60u) << mode;
  }
}

SLUICE_WITH_WORKERS(NodeChange);

}  // namespace
}  // namespace sluice::packet_test
