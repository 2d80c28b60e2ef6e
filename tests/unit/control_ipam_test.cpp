// The allocator of addresses, by the ids of its requirements; what it writes down leads to the same state again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/ipam_choice.h"
#include "tests/unit/ipam_memory.h"

namespace sluice::control::ipam {
namespace {

using net::Family;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Ipam4 : public testing::Test {
 protected:
  Ipam4() { EXPECT_TRUE(ipam.load()); }

  // The addresses in one text, or the refusal's.
  std::string ask(const Request& request) {
    const auto got = ipam.assign(config, request, now);
    if (!got) return "refused: " + got.error().message;
    EXPECT_TRUE(ipam.sync()());
    EXPECT_TRUE(ipam.synced(ipam.written()));
    std::string out;
    for (const net::IpAddr& address : *got) out += (out.empty() ? "" : " ") + net::to_string(address);
    return out;
  }
  std::string ask(const std::string& handle, const std::string& node = "n1") {
    return ask({.handle = handle, .node = node, .families = {Family::V4}});
  }
  std::string ask_for(const std::string& handle, const std::string& node, std::string_view address) {
    return ask({.handle = handle, .node = node, .addresses = {net::parse_ip(address).value()}});
  }
  size_t release(const std::string& handle) {
    auto released = ipam.release(handle, now);
    EXPECT_TRUE(released);
    EXPECT_TRUE(ipam.tidy(config, now));
    return released ? *released : 0;
  }
  std::vector<std::string> blocks() const {
    std::vector<std::string> out;
    for (const auto& [cidr, block] : ipam.state().blocks()) {
      out.push_back(net::to_string(cidr) + " " + block.node + " " + std::string(to_text(block.affinity)));
    }
    return out;
  }
  // What a router that starts now knows.
  State after_restart() {
    Ipam again(storage);
    EXPECT_TRUE(again.load());
    return again.state();
  }

  config::Config config = pools_of({pool("a", "10.0.0.0/28", 30)});
  MemoryStorage storage;
  Ipam ipam{storage};
  Seconds now = 1000;
};

TEST_F(Ipam4, IPAM2_FirstTheNodesBlocksThenANewOneThenAnother) {
  EXPECT_EQ(ask("h1"), "10.0.0.0");
  EXPECT_EQ(ask("h2"), "10.0.0.1");
  EXPECT_EQ(ask("other", "n2"), "10.0.0.4") << "a block of its own";
  EXPECT_EQ(ask("h3"), "10.0.0.2");
  EXPECT_EQ(ask("h4"), "10.0.0.3");
  EXPECT_EQ(ask("h5"), "10.0.0.8") << "the first block is full";
  EXPECT_THAT(blocks(),
              ElementsAre("10.0.0.0/30 n1 confirmed", "10.0.0.4/30 n2 confirmed", "10.0.0.8/30 n1 confirmed"));
}

TEST_F(Ipam4, IPAM2_BorrowsOnlyWhenThereIsNoBlockToClaim) {
  for (int i = 0; i < 12; ++i) EXPECT_EQ(ask("n1-" + std::to_string(i)).find("refused"), std::string::npos);
  EXPECT_EQ(ask("n2-0", "n2"), "10.0.0.12") << "the last block of the pool";
  EXPECT_EQ(ask("n3-0", "n3"), "10.0.0.13") << "borrowed";
  EXPECT_EQ(ipam.state().blocks().size(), 4U);
  config.ipam.strict_affinity = true;
  EXPECT_THAT(ask("n3-1", "n3"), HasSubstr("no IPv4 address is free for node n3 in IPPool a"));
}

TEST_F(Ipam4, IPAM2_NoMoreBlocksThanMaxBlocksPerHost) {
  config.ipam.max_blocks_per_host = 1;
  config.ipam.strict_affinity = true;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask("h" + std::to_string(i)), "10.0.0." + std::to_string(i));
  EXPECT_THAT(ask("h4"), HasSubstr("as many blocks as maxBlocksPerHost allows"));
  EXPECT_EQ(ask("other", "n2"), "10.0.0.4") << "another node has its own";
  config.ipam.strict_affinity = false;
  EXPECT_EQ(ask("h4"), "10.0.0.5") << "borrowed";
  config.ipam.max_blocks_per_host = 0;
  EXPECT_EQ(ask("h5"), "10.0.0.8") << "0: any number";
}

TEST_F(Ipam4, IPAM2_WhatWasGivenBackComesLast) {
  for (int i = 0; i < 3; ++i) (void)ask("h" + std::to_string(i));
  release("h1");
  now += 1;
  release("h0");
  EXPECT_EQ(ask("h3"), "10.0.0.3") << "never used";
  EXPECT_EQ(ask("h4"), "10.0.0.1") << "free for longer";
  EXPECT_EQ(ask("h5"), "10.0.0.0");
}

TEST_F(Ipam4, IPAM2_AnotherBlockOfTheNodeWhoseAddressIsFreeForLonger) {
  for (int i = 0; i < 8; ++i) (void)ask("h" + std::to_string(i));
  release("h6");
  now += 5;
  release("h1");
  EXPECT_EQ(ask("next"), "10.0.0.6");
}

TEST_F(Ipam4, IPAM2_CoolsDown) {
  config.pools = {{"a", pool("a", "10.0.0.0/30", 30)}};
  config.ipam.cooldown_seconds = 60;
  for (int i = 0; i < 4; ++i) (void)ask("h" + std::to_string(i));
  release("h2");
  now += 59;
  EXPECT_THAT(ask("next"), HasSubstr("no IPv4 address is free"));
  now += 1;
  EXPECT_EQ(ask("next"), "10.0.0.2");
}

TEST_F(Ipam4, IPAM2_ABlockThatCoolsDownIsNotGivenUp) {
  config.ipam.cooldown_seconds = 60;
  for (int i = 0; i < 8; ++i) (void)ask("h" + std::to_string(i));
  for (int i = 0; i < 8; ++i) release("h" + std::to_string(i));
  EXPECT_THAT(ipam.given_up(), IsEmpty());
  now += 60;
  EXPECT_TRUE(ipam.tidy(config, now));
  EXPECT_EQ(ipam.given_up().size(), 1U);
}

TEST_F(Ipam4, IPAM2_AClockThatIsSetBackLocksNothingUp) {
  for (const uint32_t cooldown : {0U, 60U}) {
    config.ipam.cooldown_seconds = cooldown;
    for (int i = 0; i < 16; ++i) (void)ask("h" + std::to_string(i));
    for (int i = 0; i < 16; ++i) release("h" + std::to_string(i));
    now -= 500;
    EXPECT_TRUE(ipam.tidy(config, now));
    EXPECT_EQ(ipam.given_up().size(), 3U);
    EXPECT_TRUE(ipam.drop(ipam.given_up()));
    EXPECT_EQ(ask("again").find("refused"), std::string::npos);
    release("again");
    now += 1000;
  }
}

TEST_F(Ipam4, IPAM3_ARequestedAddress) {
  EXPECT_EQ(ask_for("h1", "n1", "10.0.0.9"), "10.0.0.9") << "its block is claimed";
  EXPECT_THAT(blocks(), ElementsAre("10.0.0.8/30 n1 confirmed"));
  EXPECT_THAT(ask_for("h2", "n1", "10.0.0.9"), HasSubstr("10.0.0.9 is assigned to handle h1"));
  EXPECT_EQ(ask_for("h2", "n2", "10.0.0.10"), "10.0.0.10") << "in a block of another node";
  config.ipam.strict_affinity = true;
  EXPECT_THAT(ask_for("h3", "n2", "10.0.0.11"), HasSubstr("in a block of node n1, and strictAffinity is set"));
  EXPECT_THAT(ask_for("h3", "n1", "10.9.0.1"), HasSubstr("in no IPPool"));
  EXPECT_EQ(ask("h4"), "10.0.0.8");
  EXPECT_EQ(ask("h5"), "10.0.0.11") << "in order, without those that were asked for";
}

TEST_F(Ipam4, IPAM3_TwoOfAFamilyAreRefused) {
  EXPECT_THAT(ask({.handle = "h", .node = "n1", .addresses = {*net::parse_ip("10.0.0.1"), *net::parse_ip("10.0.0.2")}}),
              HasSubstr("more than one address of a family"));
  EXPECT_THAT(ipam.state().blocks(), IsEmpty());
}

TEST_F(Ipam4, IPAM4_AClaimIsPendingUntilTheDiskHasIt) {
  ASSERT_TRUE(ipam.assign(config, {.handle = "h", .node = "n1", .families = {Family::V4}}, now));
  EXPECT_THAT(blocks(), ElementsAre("10.0.0.0/30 n1 pending"));
  EXPECT_THAT(ipam.routed(), IsEmpty());
  EXPECT_TRUE(ipam.synced(ipam.written() - 1));
  EXPECT_THAT(ipam.routed(), IsEmpty()) << "what the disk has is older";
  EXPECT_TRUE(ipam.synced(ipam.written()));
  EXPECT_THAT(blocks(), ElementsAre("10.0.0.0/30 n1 confirmed"));
  ASSERT_EQ(ipam.routed().size(), 1U);
  EXPECT_EQ(ipam.routed().front().node, "n1");
}

TEST_F(Ipam4, IPAM4_ABlockThatIsGivenUpIsNobodysUntilItIsDropped) {
  for (int i = 0; i < 8; ++i) (void)ask("h" + std::to_string(i));
  for (int i = 0; i < 8; ++i) release("h" + std::to_string(i));
  EXPECT_THAT(blocks(), ElementsAre("10.0.0.0/30 n1 confirmed", "10.0.0.4/30 n1 pendingDeletion"));
  EXPECT_EQ(ipam.routed().size(), 1U);
  EXPECT_THAT(ask_for("h", "n2", "10.0.0.5"), HasSubstr("being given up"));
  EXPECT_EQ(ask("other", "n2"), "10.0.0.8") << "not the block that is still routed";
  EXPECT_TRUE(ipam.drop(ipam.given_up()));
  EXPECT_EQ(ask_for("h", "n2", "10.0.0.5"), "10.0.0.5");
}

TEST_F(Ipam4, IPAM4_NoBlockWhereTheConfigurationGivesItToAnotherNode) {
  config.blocks["n2-block"] = {.name = "n2-block", .node = "n2", .cidr = *net::parse_prefix("10.0.0.0/30")};
  config.nodes["n3"].pod_cidrs = {*net::parse_prefix("10.0.0.8/29")};
  EXPECT_EQ(ask("h1"), "10.0.0.4");
  EXPECT_THAT(ask_for("h2", "n1", "10.0.0.1"), HasSubstr("is not node n1's"));
  EXPECT_EQ(ask("h3", "n2"), "10.0.0.0");
  EXPECT_EQ(ask("h4", "n3"), "10.0.0.8");
}

TEST_F(Ipam4, IPAM4_ABlockThatTheConfigurationGivesToAnotherNodeLaterIsGivenUp) {
  const auto to_n2 = [&](bool by_affinity) {
    if (by_affinity) {
      config.blocks["n2-block"] = {.name = "n2-block", .node = "n2", .cidr = *net::parse_prefix("10.0.0.0/30")};
    } else {
      config.nodes["n2"].pod_cidrs = {*net::parse_prefix("10.0.0.0/29")};
    }
  };
  for (const bool by_affinity : {true, false}) {
    config = pools_of({pool("a", "10.0.0.0/28", 30)});
    EXPECT_EQ(ask_for("before", "n1", "10.0.0.1"), "10.0.0.1");
    to_n2(by_affinity);
    EXPECT_EQ(ask("own"), by_affinity ? "10.0.0.4" : "10.0.0.8") << "a new block";
    EXPECT_THAT(ask_for("wish", "n1", "10.0.0.2"), HasSubstr("the block of 10.0.0.2 is node n2's"));
    EXPECT_THAT(ask_for("wish", "n3", "10.0.0.2"), HasSubstr("the block of 10.0.0.2 is node n2's"));
    EXPECT_THAT(ipam.given_up(), IsEmpty()) << "an address of it is in use";
    release("before");
    EXPECT_THAT(ipam.given_up(), ElementsAre(*net::parse_prefix("10.0.0.0/30")));
    EXPECT_TRUE(ipam.drop(ipam.given_up()));
    release("own");
    config.pools.clear();
    EXPECT_TRUE(ipam.tidy(config, now));
    EXPECT_TRUE(ipam.drop(ipam.given_up()));
  }
}

TEST_F(Ipam4, IPAM4_WithoutAutoAllocateOnlyWhereTheConfigurationGivesIt) {
  config.ipam.auto_allocate_blocks = false;
  config.blocks["mine"] = {.name = "mine", .node = "n1", .cidr = *net::parse_prefix("10.0.0.12/30")};
  EXPECT_EQ(ask("h1"), "10.0.0.12");
  config.ipam.strict_affinity = true;
  EXPECT_THAT(ask("h2", "n2"), HasSubstr("no IPv4 address is free for node n2"));
  EXPECT_THAT(ask_for("h2", "n1", "10.0.0.1"), HasSubstr("is not node n1's"));
}

// Every Node may have a router with a store of its own.
TEST_F(Ipam4, IPAM4_BesideOtherRoutersOnlyWhereTheConfigurationGivesIt) {
  config.gateway.local_node_names = {"n1", "n3"};
  const std::string remedy = "give node n1 a range of its own, by a BlockAffinity or spec.podCIDRs of its Node";
  EXPECT_THAT(ask("h1"), HasSubstr(remedy));
  EXPECT_THAT(ask_for("h1", "n1", "10.0.0.1"), HasSubstr(remedy));
  EXPECT_THAT(blocks(), IsEmpty());

  config.nodes["n1"].pod_cidrs = {*net::parse_prefix("10.0.0.8/30")};
  config.nodes["n2"].pod_cidrs = {*net::parse_prefix("10.0.0.12/30")};
  config.nodes["n3"].pod_cidrs = {*net::parse_prefix("10.0.0.4/30")};
  EXPECT_EQ(ask("h1"), "10.0.0.8");
  EXPECT_EQ(doubt_about(config, *net::parse_prefix("10.0.0.8/30")), "");
  for (const char* handle : {"h2", "h3", "h4"}) EXPECT_THAT(ask(handle), testing::StartsWith("10.0.0."));
  EXPECT_THAT(ask("h5"), HasSubstr(remedy)) << "its range is full";
  EXPECT_THAT(ask_for("h6", "n2", "10.0.0.12"), HasSubstr("blocks of node n2 are cut by its own router"));
  EXPECT_EQ(ask_for("h7", "n3", "10.0.0.5"), "10.0.0.5") << "one of localNodeNames";
  EXPECT_THAT(blocks(), ElementsAre("10.0.0.4/30 n3 confirmed", "10.0.0.8/30 n1 confirmed"));
}

TEST_F(Ipam4, IPAM4_ARouterAloneIsAsEver) {
  for (const char* other : {"n2", "n3"}) config.nodes.erase(other);
  config.gateway.local_node_names = {"n1"};
  EXPECT_EQ(ask("h1"), "10.0.0.0");
  EXPECT_EQ(doubt_about(config, *net::parse_prefix("10.0.0.0/30")), "");
  config.nodes["n9"] = {.name = "n9"};
  EXPECT_THAT(doubt_about(config, *net::parse_prefix("10.0.0.0/30")),
              HasSubstr("block 10.0.0.0/30 is this router's by its own claim"));
  EXPECT_EQ(ask("h2"), "10.0.0.1") << "what it has already it uses";
}

TEST_F(Ipam4, IPAM6_EveryAddressOfABlock) {
  config.pools = {{"a", pool("a", "10.0.0.0/30", 30)}};
  std::vector<std::string> all;
  for (int i = 0; i < 4; ++i) all.push_back(ask("h" + std::to_string(i)));
  EXPECT_THAT(all, ElementsAre("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"));
}

TEST_F(Ipam4, IPAM7_TunnelAddressesFromPoolsThatAllowThem) {
  config.pools["a"].for_tunnels = false;
  const Request request{.handle = "vxlan-tunnel-addr-n1", .node = "n1", .use = Use::Tunnel, .families = {Family::V4}};
  EXPECT_THAT(ask(request), HasSubstr("no IPPool has IPv4 Tunnel addresses for node n1"));
  config.pools["b"] = pool("b", "10.1.0.0/28", 30);
  config.pools["b"].for_workloads = false;
  EXPECT_EQ(ask(request), "10.1.0.0");
  EXPECT_EQ(ask("pod"), "10.0.0.0");
  EXPECT_EQ(after_restart().handle("vxlan-tunnel-addr-n1")->use, Use::Tunnel);
}

TEST_F(Ipam4, IPAM8_ReleaseIsIdempotent) {
  (void)ask("h1");
  EXPECT_EQ(release("h1"), 1U);
  EXPECT_EQ(release("h1"), 0U);
  EXPECT_EQ(release("never"), 0U);
  EXPECT_THAT(ipam.state().handles(), IsEmpty());
}

TEST_F(Ipam4, IPAM8_TheFirstEmptyBlockStays) {
  for (int i = 0; i < 12; ++i) (void)ask("h" + std::to_string(i));
  for (int i = 0; i < 12; ++i) release("h" + std::to_string(i));
  EXPECT_THAT(blocks(), ElementsAre("10.0.0.0/30 n1 confirmed", "10.0.0.4/30 n1 pendingDeletion",
                                    "10.0.0.8/30 n1 pendingDeletion"));
}

TEST_F(Ipam4, IPAM8_NoneStaysOfAPoolOrANodeThatIsGone) {
  (void)ask("h1");
  (void)ask("h2", "n2");
  release("h1");
  release("h2");
  EXPECT_THAT(ipam.given_up(), IsEmpty());
  config.nodes.erase("n2");
  EXPECT_TRUE(ipam.tidy(config, now));
  EXPECT_THAT(ipam.given_up(), ElementsAre(*net::parse_prefix("10.0.0.4/30")));
  config.pools["a"].disabled = true;
  EXPECT_TRUE(ipam.tidy(config, now));
  EXPECT_EQ(ipam.given_up().size(), 2U);
}

TEST_F(Ipam4, IPAM8_AHandleMayAskAgainForTheSame) {
  EXPECT_EQ(ask("h1"), "10.0.0.0");
  EXPECT_EQ(ask("h1"), "10.0.0.0") << "the answer may have been lost";
  EXPECT_THAT(ask("h1", "n2"), HasSubstr("handle h1 has other addresses"));
  EXPECT_THAT(ask_for("h1", "n1", "10.0.0.1"), HasSubstr("handle h1 has other addresses"));
  EXPECT_EQ(ask_for("h1", "n1", "10.0.0.0"), "10.0.0.0");
}

TEST_F(Ipam4, IPAM8_AHandleThatAsksAgainHasTheAttributesOfTheLastRequest) {
  const auto started = [](const std::string& netns) {
    return Request{.handle = "h1", .node = "n1", .attributes = {{"netns", netns}}, .families = {Family::V4}};
  };
  EXPECT_EQ(ask(started("/run/netns/first")), "10.0.0.0");
  now += 7;
  EXPECT_EQ(ask(started("/run/netns/second")), "10.0.0.0");
  const std::map<std::string, std::string> second{{"netns", "/run/netns/second"}};
  EXPECT_EQ(ipam.state().handle("h1")->attributes, second);
  EXPECT_EQ(ipam.state().handle("h1")->since, 1000) << "the addresses are no younger";
  EXPECT_EQ(after_restart(), ipam.state());
  const uint64_t written = ipam.written();
  EXPECT_EQ(ask(started("/run/netns/second")), "10.0.0.0");
  EXPECT_EQ(ipam.written(), written) << "nothing has changed";
  storage.full = true;
  EXPECT_THAT(ask(started("/run/netns/third")), HasSubstr("could not be written down"));
  EXPECT_EQ(ipam.state().handle("h1")->attributes, second);
}

TEST_F(Ipam4, IPAM9_SelectorsAndNamesChooseThePool) {
  config.pools["b"] = pool("b", "10.1.0.0/28", 30);
  config.pools["c"] = pool("c", "10.2.0.0/28", 30);
  config.pools["c"].manual = true;
  config.pools["d"] = pool("d", "10.3.0.0/28", 30);
  config.pools["d"].disabled = true;
  config.pools["a"].node_selector = config::Selector::parse("rack == 'left'").value();
  EXPECT_EQ(ask("h1"), "10.1.0.0") << "n1 is not in the rack of a; the next by name";
  config.nodes["n2"].labels = {{"rack", "left"}};
  EXPECT_EQ(ask("h2", "n2"), "10.0.0.0");
  EXPECT_EQ(ask({.handle = "h3", .node = "n1", .families = {Family::V4}, .pools = {"c"}}), "10.2.0.0");
  EXPECT_EQ(ask({.handle = "h4", .node = "n1", .families = {Family::V4}, .pools = {"10.0.0.0/28"}}), "10.0.0.4");
  EXPECT_THAT(ask({.handle = "h5", .node = "n1", .families = {Family::V4}, .pools = {"d"}}),
              HasSubstr("IPPool d is disabled"));
  EXPECT_THAT(ask({.handle = "h5", .node = "n1", .families = {Family::V4}, .pools = {"x"}}), HasSubstr("no IPPool x"));
}

TEST_F(Ipam4, IPAM9_NamespacesChooseThePool) {
  config.pools["a"].namespace_selector = config::Selector::parse("team == 'x'").value();
  config.pools["b"] = pool("b", "10.1.0.0/28", 30);
  config.pools["b"].namespace_selector = config::Selector::parse("kubernetes.io/metadata.name == 'shop'").value();
  config.namespaces["lab"] = {.name = "lab", .labels = {{"team", "x"}}};
  const auto pod_of = [](const std::string& handle, const std::string& ns) {
    return Request{.handle = handle, .node = "n1", .attributes = {{"namespace", ns}}, .families = {Family::V4}};
  };
  EXPECT_EQ(ask(pod_of("h1", "lab")), "10.0.0.0");
  EXPECT_EQ(ask(pod_of("h2", "shop")), "10.1.0.0") << "every Namespace has that label, known or not";
  EXPECT_THAT(ask(pod_of("h3", "other")), HasSubstr("no IPPool has IPv4 Workload addresses for node n1 and namespace "
                                                    "other"));
  EXPECT_THAT(ask("h4"), HasSubstr("no IPPool has IPv4 Workload addresses for node n1"));
  // Named by the pod: whatever the selectors say.
  Request named = pod_of("h5", "other");
  named.pools = {"b"};
  EXPECT_EQ(ask(named), "10.1.0.1");
  const Request tunnel{.handle = "t", .node = "n1", .use = Use::Tunnel, .families = {Family::V4}};
  EXPECT_EQ(ask(tunnel), "10.0.0.1") << "tunnels have no namespace";
}

TEST_F(Ipam4, IPAM9_PoolsInTheNamespacesAnnotation) {
  config.pools["b"] = pool("b", "10.1.0.0/28", 30);
  config.pools["b"].manual = true;
  config.pools["c"] = pool("c", "10.2.0.0/28", 30);
  config.namespaces["lab"] = {.name = "lab", .ipv4_pools = {"b"}, .ipv6_pools = {}};
  const auto pod_of = [](const std::string& handle) {
    return Request{.handle = handle, .node = "n1", .attributes = {{"namespace", "lab"}}, .families = {Family::V4}};
  };
  EXPECT_EQ(ask(pod_of("h1")), "10.1.0.0");
  Request named = pod_of("h2");
  named.pools = {"c"};
  EXPECT_EQ(ask(named), "10.2.0.0") << "the pod's own comes first";
  EXPECT_EQ(ask("h3"), "10.2.0.1") << "of no namespace: from the node's blocks, but none of b";
  config.namespaces["lab"].ipv4_pools = {"gone"};
  EXPECT_THAT(ask(pod_of("h4")), HasSubstr("there is no IPPool gone"));
}

TEST_F(Ipam4, IPAM9_APoolIsNamedForItsFamily) {
  config.pools["b"] = pool("b", "10.1.0.0/28", 30);
  config.pools["six"] = pool("six", "fd00::/124", 126);
  EXPECT_EQ(ask({.handle = "h", .node = "n1", .families = {Family::V4, Family::V6}, .pools = {"b"}}),
            "10.1.0.0 fd00::");
  EXPECT_EQ(ask({.handle = "g", .node = "n1", .families = {Family::V4}, .pools = {"six"}}), "10.1.0.1");
}

TEST_F(Ipam4, IPAM10_BothFamiliesOrNone) {
  config.pools["six"] = pool("six", "fd00::/124", 126);
  const auto both = [](const std::string& handle) {
    return Request{.handle = handle, .node = "n1", .families = {Family::V4, Family::V6}};
  };
  EXPECT_EQ(ask(both("h0")), "10.0.0.0 fd00::");
  for (int i = 1; i < 16; ++i) {
    EXPECT_EQ(ask({.handle = "six" + std::to_string(i), .node = "n1", .families = {Family::V6}}).find("refused"),
              std::string::npos);
  }
  const State before = ipam.state();
  EXPECT_THAT(ask(both("h1")), HasSubstr("no IPv6 address is free"));
  EXPECT_EQ(ipam.state(), before) << "the IPv4 address that was free is not taken";
  EXPECT_EQ(release("h0"), 2U);
}

TEST_F(Ipam4, IPAM2_BlocksOfALargeIpv6PoolAreNext) {
  config.pools = {{"six", pool("six", "fd00::/48", 128)}};
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(ask({.handle = "h" + std::to_string(i), .node = "n1", .families = {Family::V6}}),
              net::to_string(net::Ipv6Addr{{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(i)}}));
  }
  EXPECT_THAT(ask({.handle = "more", .node = "n1", .families = {Family::V6}}), HasSubstr("maxBlocksPerHost"));
}

TEST_F(Ipam4, IPAM2_AClaimGoesOnBehindTheLast) {
  for (int i = 0; i < 8; ++i) (void)ask("h" + std::to_string(i));
  for (int i = 0; i < 8; ++i) release("h" + std::to_string(i));
  EXPECT_TRUE(ipam.drop(ipam.given_up()));
  for (int i = 0; i < 4; ++i) (void)ask("again" + std::to_string(i));
  EXPECT_EQ(ask("next"), "10.0.0.8") << "10.0.0.4/30 was given up a moment ago";
}

TEST_F(Ipam4, KeepsItsStateOverARestart) {
  config.pools["six"] = pool("six", "fd00::/120", 124);
  for (int i = 0; i < 6; ++i) {
    (void)ask({.handle = "h" + std::to_string(i),
               .node = i % 2 == 0 ? "n1" : "n2",
               .attributes = {{"pod", "web-" + std::to_string(i)}},
               .families = {Family::V4, Family::V6}});
  }
  release("h2");
  now += 1;
  release("h0");
  EXPECT_EQ(after_restart(), ipam.state());
  EXPECT_TRUE(storage.log.empty()) << "a snapshot by now";
  EXPECT_EQ(after_restart(), ipam.state());
}

TEST_F(Ipam4, ADiskThatIsFullChangesNothing) {
  (void)ask("h1");
  const State before = ipam.state();
  storage.full = true;
  EXPECT_THAT(ask("h2"), HasSubstr("could not be written down: the disk is full"));
  EXPECT_FALSE(ipam.release("h1", now));
  EXPECT_EQ(ipam.state(), before);
  storage.full = false;
  EXPECT_EQ(ask("h2"), "10.0.0.1");
  EXPECT_EQ(after_restart(), ipam.state());
}

TEST_F(Ipam4, ASnapshotThatCannotBeReadIsNotWrittenOver) {
  storage.snapshot = "{\"record\":1,\"effects\":[{\"assign\":\"10.0.0.1\",\"handle\":\"h\"}]}";
  Ipam again(storage);
  EXPECT_FALSE(again.load());
  const auto got = again.assign(config, {.handle = "h", .node = "n1", .families = {Family::V4}}, now);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, Refusal::Kind::NotKept);
  EXPECT_THAT(*storage.snapshot, HasSubstr("10.0.0.1"));
}

TEST_F(Ipam4, ANodeThatNobodyKnowsHasNoAddresses) { EXPECT_THAT(ask("h", "n9"), HasSubstr("there is no Node n9")); }

}  // namespace
}  // namespace sluice::control::ipam
