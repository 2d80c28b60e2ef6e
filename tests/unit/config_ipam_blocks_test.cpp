// IPAMBlocks: what they say becomes blocks, in whatever order objects come, change and go.
#include <algorithm>
#include <random>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/object_set.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Lines = std::vector<std::string>;

std::string pool(const std::string& cidr) {
  return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{{"name":"p{}"}},)"
                     R"("spec":{{"cidr":"{}"}}}})",
                     cidr.find(':') == std::string::npos ? 4 : 6, cidr);
}
std::string affinity(const std::string& name, const std::string& node, const std::string& cidr,
                     const std::string& state = "confirmed") {
  return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"BlockAffinity","metadata":{{"name":"{}"}},)"
                     R"("spec":{{"node":"{}","cidr":"{}","state":"{}"}}}})",
                     name, node, cidr, state);
}
std::string ipam_block(const std::string& name, const std::string& spec) {
  return fmt::format(R"({{"apiVersion":"crd.projectcalico.org/v1","kind":"IPAMBlock","metadata":{{"name":"{}"}},)"
                     R"("spec":{{{}}}}})",
                     name, spec);
}

// "network node", with a question mark if not confirmed.
Lines blocks_of(const ObjectSet& objects) {
  Lines out;
  for (const auto& [name, block] : objects.config().blocks) {
    EXPECT_EQ(name, block.name);
    out.push_back(net::to_string(block.cidr) + " " + block.node + (block.confirmed ? "" : "?"));
  }
  std::sort(out.begin(), out.end());
  return out;
}
Lines blocks_with(std::vector<std::string> objects) {
  objects.push_back(pool("10.1.0.0/16"));
  objects.push_back(pool("fd00:10::/48"));
  const ObjectSet set = valid_set(list_with_gateway(std::move(objects)));
  EXPECT_THAT(lines(set.warnings()), IsEmpty());
  return blocks_of(set);
}

constexpr const char* attributes = R"("attributes":[
    {"handle_id":"k8s-pod-network.1","secondary":{"namespace":"default","node":"node1","pod":"a","timestamp":"-"}},
    {"handle_id":"k8s-pod-network.2","secondary":{"node":"node2"}},
    {"handle_id":"windows-reserved-ipam-handle"}, {"secondary":null}, {"secondary":{"node":"node1"}}])";

TEST(ConfigIpamBlock, ENC5_IPAM4_AddressesOfOtherNodesAreBlocksOfTheirOwn) {
  const std::string allocations = R"(,"allocations":[2,1,null,0,3,4,null,1],"unallocated":[2,6],)";
  EXPECT_THAT(
      blocks_with({ipam_block("b", R"("cidr":"10.1.34.0/29","affinity":"host:node1")" + allocations + attributes)}),
      ElementsAre("10.1.34.0/29 node1", "10.1.34.1/32 node2", "10.1.34.7/32 node2"));
  EXPECT_THAT(
      blocks_with({ipam_block("b", R"("cidr":"10.1.34.0/29","affinity":"host:node2")" + allocations + attributes)}),
      ElementsAre("10.1.34.0/29 node2", "10.1.34.3/32 node1", "10.1.34.5/32 node1"));
  EXPECT_THAT(
      blocks_with({ipam_block("b", R"("cidr":"fd00:10::ff8/125","affinity":"host:node1")" + allocations + attributes)}),
      ElementsAre("fd00:10::ff8/125 node1", "fd00:10::ff9/128 node2", "fd00:10::fff/128 node2"));
  for (const char* nobody :
       {R"("affinity":null)", R"("affinity":"virtual:load-balancer")", R"("strictAffinity":false)"}) {
    EXPECT_THAT(
        blocks_with({ipam_block("b", R"("cidr":"10.1.34.0/29",)" + std::string(nobody) + allocations + attributes)}),
        ElementsAre("10.1.34.1/32 node2", "10.1.34.3/32 node1", "10.1.34.5/32 node1", "10.1.34.7/32 node2"))
        << nobody;
  }
  EXPECT_THAT(blocks_with({ipam_block(
                  "b", R"("deleted":true,"cidr":"10.1.34.0/29","affinity":"host:node1")" + allocations + attributes)}),
              IsEmpty());
}

TEST(ConfigIpamBlock, IPAM4_BeatsTheBlockAffinityOfTheSameNetwork) {
  const std::string block = ipam_block("b", R"("cidr":"10.1.34.0/29","affinity":"host:node1")");
  for (const char* state : {"confirmed", "pending", "pendingDeletion"}) {
    EXPECT_THAT(blocks_with({affinity("a", "node2", "10.1.34.0/29", state), block}), ElementsAre("10.1.34.0/29 node1"))
        << state;
  }
  EXPECT_THAT(blocks_with({affinity("a", "node2", "10.1.34.8/29", "pending"), block}),
              ElementsAre("10.1.34.0/29 node1", "10.1.34.8/29 node2?"));
  EXPECT_THAT(blocks_with({affinity("a", "node2", "10.1.34.0/29"), ipam_block("b", R"("cidr":"10.1.34.0/29")")}),
              ElementsAre("10.1.34.0/29 node2"))
      << "which has none itself";
}

TEST(ConfigIpamBlock, Faults) {
  const auto faults = [](const std::vector<std::string>& objects) {
    return lines(faults_of(list_with_gateway(objects)));
  };
  EXPECT_THAT(faults({ipam_block("b", "")}), ElementsAre("/items/1/spec/cidr: required"));
  EXPECT_THAT(faults({ipam_block(
                  "b", R"("cidr":"10.1.34.0/31","allocations":[1,"a",0],"attributes":[{"secondary":{"node":"x"}}])")}),
              ElementsAre("/items/1/spec/allocations/0: there is no item 1 of spec.attributes",
                          "/items/1/spec/allocations/1: expected an integer, found a string",
                          "/items/1/spec/allocations/2: 10.1.34.0/31 has 2 addresses, not more"));
  EXPECT_THAT(faults({pool("10.1.0.0/16"), ipam_block("b", R"("cidr":"10.2.34.0/29","affinity":"host:n")"),
                      ipam_block("c", R"("cidr":"10.1.34.0/29","affinity":"host:n")"),
                      ipam_block("d", R"("cidr":"10.1.34.0/29","affinity":"host:m")")}),
              ElementsAre("/items/2/spec/cidr: 10.2.34.0/29 is in no IPPool",
                          "/items/4/spec/cidr: 10.1.34.0/29 is confirmed for node n by IPAMBlock c"));
}

TEST(ConfigIpamBlock, AnUnknownFieldWarns) {
  const ObjectSet set = valid_set(list_with_gateway({ipam_block("b", R"("cidr":"10.1.34.0/29","afinity":"host:n")")}));
  EXPECT_EQ(set.warnings().size(), 1U);
}

// One delta takes the IPAMBlock away and has the BlockAffinity as it was: it no longer waits. And the other way round.
TEST(ConfigIpamBlock, SCALE5_ABlockAffinityThatIsSentAgainIsNamed) {
  const std::string block = ipam_block("i", R"("cidr":"10.1.34.0/29","affinity":"host:m")");
  const std::string waits = affinity("a", "n", "10.1.34.0/29");
  ObjectSet objects = valid_set(list_with_gateway({pool("10.1.0.0/16"), block, waits}));
  ASSERT_FALSE(objects.config().blocks.contains("a"));
  auto read = parse_delta(R"({"kind":"Delta","upsert":[)" + waits + "]}");
  ASSERT_TRUE(read);
  read->remove.push_back({{"IPAMBlock", "", "i"}, ""});
  auto change = objects.apply(std::move(*read));
  ASSERT_TRUE(change);
  ASSERT_TRUE(objects.config().blocks.contains("a"));
  EXPECT_TRUE(change->blocks.contains("a"));
  read = parse_delta(R"({"kind":"Delta","upsert":[)" + block + "," + waits + "]}");
  ASSERT_TRUE(read);
  change = objects.apply(std::move(*read));
  ASSERT_TRUE(change);
  ASSERT_FALSE(objects.config().blocks.contains("a"));
  EXPECT_TRUE(change->blocks.contains("a"));
}

// Deltas, refused ones too, lead to what a whole document says; and a change names every entry that is another one.
TEST(ConfigIpamBlock, IPAM4_SCALE5_ChangesLeadToWhatTheWholeSays) {
  std::mt19937 random(7);
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  ObjectSet objects = valid_set(list_with_gateway({pool("10.1.0.0/16")}));
  unsigned with_waiting = 0;
  for (unsigned step = 0; step < 600; ++step) {
    Delta delta;
    std::string upsert;
    std::set<std::string> named;
    for (unsigned i = 0, count = 1 + below(3); i < count; ++i) {
      const bool is_block = below(2) == 0;
      const std::string name = (is_block ? "i" : "a") + std::to_string(below(4));
      if (!named.insert(name).second) continue;
      const std::string cidr = fmt::format("10.1.{}.0/29", below(3));
      if (below(4) == 0) {
        delta.remove.push_back({{is_block ? "IPAMBlock" : "BlockAffinity", "", name}, ""});
        continue;
      }
      const std::string spec =
          fmt::format(R"("cidr":"{}",{}"allocations":[{},{}],)", cidr,
                      below(3) == 0 ? "" : fmt::format(R"("affinity":"host:node{}",)", below(3)), below(5), below(5)) +
          attributes;
      upsert += (upsert.empty() ? "" : ",") +
                (is_block ? ipam_block(name, spec)
                          : affinity(name, fmt::format("node{}", below(3)),
                                     below(3) == 0 ? cidr.substr(0, cidr.size() - 4) + "1/32" : cidr));
    }
    auto read = parse_delta(R"({"kind":"Delta","upsert":[)" + upsert + "]}");
    ASSERT_TRUE(read);
    read->remove = delta.remove;
    const auto before = objects.config().blocks;
    auto change = objects.apply(std::move(*read));
    ASSERT_TRUE(change);
    for (const auto& [name, block] : objects.config().blocks) {
      const auto old = before.find(name);
      if (old != before.end() && old->second == block) continue;
      EXPECT_TRUE(change->blocks.contains(name) || change->touches({"BlockAffinity", "", name})) << name;
    }
    for (const auto& [name, block] : before) {
      if (objects.config().blocks.contains(name)) continue;
      EXPECT_TRUE(change->blocks.contains(name) || change->touches({"BlockAffinity", "", name})) << name;
    }
    if (below(4) == 0) {
      objects.revert(std::move(*change));
      ASSERT_EQ(objects.config().blocks, before) << "step " << step;
    }
    const auto whole = load(objects.to_text({}));
    ASSERT_TRUE(whole);
    ASSERT_EQ(objects.config().blocks, whole->config().blocks) << "step " << step;
    for (unsigned i = 0; i < 4; ++i) {
      const std::string name = "a" + std::to_string(i);
      with_waiting += objects.contains({"BlockAffinity", "", name}) && !objects.config().blocks.contains(name) ? 1 : 0;
    }
  }
  EXPECT_GT(with_waiting, 100U);
}

}  // namespace
}  // namespace sluice::config
