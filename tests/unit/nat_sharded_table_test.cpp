// Tables that change by the difference: whatever was added and removed, they say what a table made of the result says,
// and the ones before them say what they said.
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "nat/service.h"

namespace sluice::nat {
namespace {

using net::V4;
using Endpoint = EndpointSet<V4>::Endpoint;

Endpoint endpoint(uint32_t number) {
  return {net::Ipv4Addr::from_host(0x0a000000 + number / 7), be16::from_host(static_cast<uint16_t>(8000 + number % 7)),
          net::protocol::tcp};
}

TEST(EndpointSet, MASQ7_SCALE5_ChangesLeadToTheSetOfWhatIsLeft) {
  std::mt19937 random(7);
  EndpointSet<V4> set;
  std::multiset<uint32_t> expected;
  for (int round = 0; round < 300; ++round) {
    std::vector<Endpoint> added;
    std::vector<Endpoint> removed;
    for (uint32_t i = random() % 40; i > 0; --i) {
      const uint32_t number = random() % 500;
      added.push_back(endpoint(number));
      expected.insert(number);
    }
    for (uint32_t i = random() % 30; i > 0 && !expected.empty(); --i) {
      const auto victim = expected.lower_bound(random() % 500);
      if (victim == expected.end()) continue;
      removed.push_back(endpoint(*victim));
      expected.erase(victim);
    }
    set = set.changed(added, removed);
  }
  EXPECT_EQ(set.size(), (std::set<uint32_t>(expected.begin(), expected.end()).size()));
  for (uint32_t number = 0; number < 500; ++number) {
    const Endpoint wanted = endpoint(number);
    EXPECT_EQ(set.contains(wanted.addr, wanted.port, wanted.protocol), expected.contains(number)) << number;
  }
}

TEST(EndpointSet, MASQ7_StaysUntilTheLastServiceGivesItBack) {
  const Endpoint shared = endpoint(1);
  const EndpointSet<V4> two = EndpointSet<V4>().changed({shared, shared}, {});
  const EndpointSet<V4> one = two.changed({}, {shared});
  const EndpointSet<V4> none = one.changed({}, {shared});
  EXPECT_EQ(two.size(), 1u);
  EXPECT_TRUE(one.contains(shared.addr, shared.port, shared.protocol));
  EXPECT_FALSE(none.contains(shared.addr, shared.port, shared.protocol));
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(two.contains(shared.addr, shared.port, shared.protocol));
}

Frontend<V4> frontend(uint32_t number, uint32_t id, bool yields = false) {
  auto service = std::make_shared<ServicePort<V4>>();
  service->id = id;
  service->name = std::to_string(id);
  return {net::Ipv4Addr::from_host(0x0a600000 + number / 3),
          be16::from_host(static_cast<uint16_t>(80 + number % 3)),
          net::protocol::tcp,
          number % 2 == 0 ? FrontendKind::ClusterIp : FrontendKind::ExternalIp,
          std::move(service),
          yields};
}

TEST(ServiceTable, SVC9_SCALE5_ChangesLeadToTheTableOfWhatIsLeft) {
  std::mt19937 random(11);
  ServiceTable<V4> table;
  std::map<uint32_t, Frontend<V4>> expected;  // by number
  uint32_t ids = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<Frontend<V4>> added;
    std::vector<Frontend<V4>> removed;
    std::set<uint32_t> numbers;
    for (uint32_t i = random() % 20; i > 0; --i) numbers.insert(random() % 600);
    for (const uint32_t number : numbers) {
      if (const auto known = expected.find(number); known != expected.end()) removed.push_back(known->second);
      expected.erase(number);
      if (random() % 3 == 0) continue;
      added.push_back(expected.emplace(number, frontend(number, ++ids)).first->second);
    }
    const ServiceTable<V4> before = table;
    table = table.changed(added, removed);
    // What workers still look into is as it was.
    for (const Frontend<V4>& gone : removed) {
      const auto* found = before.find(gone.addr, gone.port, gone.protocol);
      ASSERT_NE(found, nullptr);
      EXPECT_EQ(found->service, gone.service);
    }
  }
  EXPECT_EQ(table.size(), expected.size());
  for (uint32_t number = 0; number < 600; ++number) {
    const Frontend<V4> wanted = frontend(number, 0);
    const auto* found = table.find(wanted.addr, wanted.port, wanted.protocol);
    const auto known = expected.find(number);
    ASSERT_EQ(found != nullptr, known != expected.end()) << number;
    if (found != nullptr) {
      EXPECT_EQ(found->service, known->second.service);
    }
    bool cluster_ip = false;
    for (uint32_t other = number - number % 3; other < number - number % 3 + 3; ++other) {
      cluster_ip = cluster_ip || (other % 2 == 0 && expected.contains(other));
    }
    EXPECT_EQ(table.is_cluster_ip(wanted.addr), cluster_ip) << number;  // SVC-2
  }
}

TEST(ServiceTable, SVC_3_1_WhoYieldsIsFoundWhenTheOtherIsGone) {
  const Frontend<V4> host_port = frontend(1, 1, true);
  const Frontend<V4> node_port = frontend(1, 2);
  const ServiceTable<V4> alone({host_port});
  const ServiceTable<V4> both = alone.changed({node_port}, {});
  const ServiceTable<V4> again = both.changed({}, {node_port});
  const auto id = [&](const ServiceTable<V4>& table) {
    return table.find(host_port.addr, host_port.port, host_port.protocol)->service->id;
  };
  EXPECT_EQ(id(alone), 1u);
  EXPECT_EQ(id(both), 2u);
  EXPECT_EQ(id(again), 1u);
}

TEST(ServiceTable, SVC91_CutsOffAsLongAsAnyServiceDoes) {
  auto cutting = std::make_shared<ServicePort<V4>>();
  cutting->cut_off.push_back({net::Ipv4Addr::from_host(1), be16::from_host(1)});
  Frontend<V4> one = frontend(1, 1);
  one.service = cutting;
  const ServiceTable<V4> with({one, frontend(2, 2)});
  EXPECT_TRUE(with.cuts_off());
  EXPECT_FALSE(with.changed({}, {one}).cuts_off());
}

// What did not change is not even copied: the same entries stand where they stood.
TEST(ServiceTable, SCALE5_OtherShardsAreShared) {
  std::vector<Frontend<V4>> many;
  for (uint32_t number = 0; number < 30'000; ++number) many.push_back(frontend(number, number));
  const ServiceTable<V4> before(many);
  const ServiceTable<V4> after = before.changed({frontend(30'001, 30'001)}, {});
  size_t shared = 0;
  for (const Frontend<V4>& each : many) {
    shared += before.find(each.addr, each.port, each.protocol) == after.find(each.addr, each.port, each.protocol);
  }
  EXPECT_GT(shared, many.size() * 98 / 100);
  EXPECT_LT(shared, many.size());
}

}  // namespace
}  // namespace sluice::nat
