// Rules that a change is held against without everything being looked at: they refuse what those about the whole
// configuration refuse.
#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "config/object_set.h"
#include "config/validate.h"

namespace sluice::config {
namespace {

std::string node(unsigned name, const std::string& address, const std::string& pods) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"n{}"}},"spec":{{"podCIDRs":["{}"]}},)"
                     R"("status":{{"addresses":[{{"type":"InternalIP","address":"{}"}}]}}}})",
                     name, pods, address);
}

std::string block(unsigned name, const std::string& cidr, bool confirmed) {
  return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"BlockAffinity","metadata":{{"name":"b{}"}},)"
                     R"("spec":{{"node":"n{}","cidr":"{}","state":"{}","deleted":false}}}})",
                     name, name % 3, cidr, confirmed ? "confirmed" : "pending");
}

std::string endpoint(unsigned name, const std::string& interface, const std::string& address) {
  return fmt::format(
      R"({{"apiVersion":"projectcalico.org/v3","kind":"WorkloadEndpoint","metadata":{{"namespace":"ns","name":"w{}"}},)"
      R"("spec":{{"node":"gw","pod":"w{}","interfaceName":"{}","ipNetworks":["{}/32"]}}}})",
      name, name, interface, address);
}

std::string external(const std::string& address) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"ns","name":"s"}},"spec":{{)"
                     R"("clusterIP":"10.96.0.10","externalIPs":["{}"],"ports":[{{"port":80}}]}}}})",
                     address);
}

constexpr const char* gateway =
    R"({"apiVersion":"sluice.dev/v1","kind":"GatewayConfiguration","metadata":{"name":"default"},"spec":{)"
    R"("nodeName":"gw","interfaces":[{"name":"up","device":"net_null0","addresses":["192.168.0.2/24"]}]}})";
constexpr const char* pool =
    R"({"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"pods"},"spec":{"cidr":"10.244.0.0/16"}})";

TEST(ChangeRules, SCALE5_WhatAChangeMayDoIsWhatTheWholeMayBe) {
  std::mt19937 random(11);
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  // Few addresses, so that many are had twice.
  const auto pick = [&] {
    switch (below(16)) {
      case 0: {
        const unsigned name = below(3);
        return std::pair(fmt::format("n{}", name),
                         node(name, fmt::format("192.168.0.{}", 2 + below(4)), "10.9.0.0/24"));
      }
      case 1: {
        const unsigned name = below(3);
        return std::pair(fmt::format("n{}", name),
                         node(name, "198.51.100.7", fmt::format("10.{}.0.0/24", 8 + below(3))));
      }
      case 2:
        return std::pair(std::string("s"), external(fmt::format("192.168.0.{}", 2 + below(6))));
      case 3:
        return std::pair(std::string("s"), external(fmt::format("10.{}.0.5", 8 + below(3))));
      case 4: {
        const unsigned name = below(6);
        return std::pair(fmt::format("w{}", name), endpoint(name, "up", fmt::format("10.244.7.{}", name)));
      }
      case 5:
      case 6:
      case 7:
      case 8: {
        const unsigned name = below(6);
        return std::pair(fmt::format("w{}", name),
                         endpoint(name, fmt::format("cali{}", below(8)), fmt::format("10.244.7.{}", below(8))));
      }
      case 9: {
        const unsigned name = below(8);
        return std::pair(fmt::format("b{}", name), block(name, "10.245.0.0/26", below(2) == 0));
      }
      default: {
        const unsigned name = below(8);
        return std::pair(fmt::format("b{}", name),
                         block(name, fmt::format("10.244.{}.0/26", below(10)), below(6) != 0));
      }
    }
  };
  const auto whole_of = [](const std::map<std::string, std::string>& objects) {
    std::string out = fmt::format(R"({{"apiVersion":"v1","kind":"List","items":[{},{})", gateway, pool);
    for (const auto& [name, text] : objects) out += "," + text;
    return out + "]}";
  };
  std::map<std::string, std::string> objects;
  auto document = parse_document(whole_of(objects));
  ASSERT_TRUE(document);
  auto set = ObjectSet::from_document(std::move(*document), validate);
  ASSERT_TRUE(set);
  unsigned refused = 0;
  constexpr unsigned steps = 1500;
  for (unsigned step = 0; step < steps; ++step) {
    std::map<std::string, std::string> change;
    for (uint32_t i = 0, count = 1 + below(3); i < count; ++i) change.insert(pick());
    std::map<std::string, std::string> wanted = objects;
    std::string upsert;
    for (const auto& [name, text] : change) {
      wanted[name] = text;
      upsert += (upsert.empty() ? "" : ",") + text;
    }
    document = parse_document(whole_of(wanted));
    ASSERT_TRUE(document);
    const bool sound = static_cast<bool>(ObjectSet::from_document(std::move(*document), validate));
    auto delta = parse_delta(fmt::format(R"({{"kind":"Delta","upsert":[{}]}})", upsert));
    ASSERT_TRUE(delta) << upsert;
    const auto applied = set->apply(std::move(*delta), validate);
    ASSERT_EQ(static_cast<bool>(applied), sound)
        << "step " << step << ": " << upsert << (applied ? "" : applied.error().faults.front().text());
    if (sound) objects = std::move(wanted);
    if (!sound) ++refused;
  }
  EXPECT_GT(refused, steps / 5);
  EXPECT_LT(refused, steps * 4 / 5);
}

// Objects that have little to choose from, so that many want what another one has.
class Crowd {
 public:
  explicit Crowd(uint32_t seed) : random_(seed) {}

  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

  std::string upsert() {
    switch (below(8)) {
      case 0:
        return node(below(4), fmt::format("192.168.0.{}", 10 + below(8)), fmt::format("10.{}.0.0/24", 8 + below(4)));
      case 1:
        return block(below(6), fmt::format("10.244.{}.0/26", below(12)), below(6) != 0);
      case 2:
      case 3:
        return workload();
      default:
        return service();
    }
  }
  // Of one that may be there.
  std::string reference() {
    const uint32_t number = below(6);
    switch (below(8)) {
      case 0:
        return fmt::format(R"({{"apiVersion":"v1","kind":"Node","name":"n{}"}})", number);
      case 1:
        return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"BlockAffinity","name":"b{}"}})", number);
      case 2:
        return fmt::format(
            R"({{"apiVersion":"projectcalico.org/v3","kind":"WorkloadEndpoint","namespace":"ns","name":"w{}"}})",
            number);
      default:
        return fmt::format(R"({{"apiVersion":"v1","kind":"Service","namespace":"ns","name":"s{}"}})", number);
    }
  }

  static constexpr const char* gateway =
      R"({"apiVersion":"sluice.dev/v1","kind":"GatewayConfiguration","metadata":{"name":"default"},"spec":{)"
      R"("nodeName":"gw","localNodeNames":["gw","gw-b"],"cluster":{"serviceCIDRs":["10.96.0.0/16"]},)"
      R"("ingress":{"enabled":true,"addresses":["192.168.0.2","203.0.113.4"],"http":[80,30006],"https":[443]},)"
      R"("interfaces":[{"name":"up","device":"net_null0","addresses":["192.168.0.2/24"]}]}})";

 private:
  std::string address_outside() {
    switch (below(8)) {
      case 0:
        return fmt::format("192.168.0.{}", 8 + below(12));  // a node's
      case 1:
        return fmt::format("10.{}.0.5", 8 + below(6));  // a pod's
      case 2:
        return fmt::format("10.96.0.{}", 1 + below(12));  // a service's inside
      default:
        return fmt::format("203.0.113.{}", 1 + below(4));
    }
  }

  // Not one twice, because that would be told twice of one service and once of the other.
  std::pair<std::string, std::string> addresses() {
    std::string external = below(2) == 0 ? address_outside() : "";
    std::string given = below(2) == 0 ? address_outside() : "";
    if (given == external) given.clear();
    if (!external.empty()) external = fmt::format("\"{}\"", external);
    if (!given.empty()) given = fmt::format("{{\"ip\":\"{}\"}}", given);
    return {external, given};
  }

  std::string service() {
    static constexpr uint16_t ports[] = {80, 443, 8080};
    const bool outside = below(2) == 0;
    const auto [external, given] = addresses();
    std::string list;
    const uint32_t first = below(3);
    for (uint32_t i = 0, count = 1 + below(2); i < count; ++i) {
      list += fmt::format(R"({}{{"name":"p{}","protocol":"{}","port":{}{}}})", i == 0 ? "" : ",", i,
                          below(4) == 0 ? "UDP" : "TCP", ports[(first + i) % 3],
                          outside && below(3) != 0 ? fmt::format(R"(,"nodePort":{})", 30000 + below(8)) : "");
    }
    const bool health = outside && below(3) == 0;
    return fmt::format(
        R"({{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"ns","name":"s{}"}},"spec":{{"type":"{}",)"
        R"("clusterIP":"10.96.0.{}","externalIPs":[{}],"ports":[{}]{}}},"status":{{"loadBalancer":{{"ingress":[{}]}}}}}})",
        below(6), outside ? "LoadBalancer" : "ClusterIP", 1 + below(12), external, list,
        health ? fmt::format(R"(,"externalTrafficPolicy":"Local","healthCheckNodePort":{})", 30000 + below(8)) : "",
        outside ? given : "");
  }

  std::string workload() {
    static constexpr const char* nodes[] = {"gw", "gw-b", "far"};
    return fmt::format(
        R"({{"apiVersion":"projectcalico.org/v3","kind":"WorkloadEndpoint","metadata":{{"namespace":"ns","name":"w{}",)"
        R"("annotations":{{"sluice.dev/device":"net_memif{},id={}"}}}},)"
        R"("spec":{{"node":"{}","pod":"p","interfaceName":"{}{}","ipNetworks":["10.244.7.{}/32"]}}}})",
        below(6), below(10), below(2), nodes[below(3)], below(20) == 0 ? "up" : "cali", below(10), below(10));
  }

  std::mt19937 random_;
};

// What a change is refused for is counted on both ways; who of two is told of it differs.
TEST(ChangeRules, SCALE5_AChangeHasTheFaultsThatTheWholeHas) {
  Crowd crowd(23);
  auto document =
      parse_document(fmt::format(R"({{"apiVersion":"v1","kind":"List","items":[{},{}]}})", Crowd::gateway, pool));
  ASSERT_TRUE(document);
  auto set = ObjectSet::from_document(std::move(*document), validate);
  ASSERT_TRUE(set);
  unsigned refused = 0;
  unsigned taken = 0;
  constexpr unsigned steps = 6000;
  for (unsigned step = 0; step < steps; ++step) {
    std::string upsert;
    for (uint32_t i = 0, count = 1 + crowd.below(3); i < count; ++i) {
      upsert += (upsert.empty() ? "" : ",") + crowd.upsert();
    }
    const std::string remove = crowd.below(3) == 0 ? crowd.reference() : "";
    auto delta = parse_delta(fmt::format(R"({{"kind":"Delta","upsert":[{}],"delete":[{}]}})", upsert, remove));
    if (!delta) continue;
    auto change = set->apply(std::move(*delta));
    if (!change) continue;  // one object twice
    const std::vector<Fault> of_whole = validate(*set);
    const std::vector<Fault> of_change = validate(*set, *change);
    const auto said = [](const std::vector<Fault>& faults) {
      std::string out;
      for (const Fault& fault : faults) out += "\n  " + fault.text();
      return out;
    };
    ASSERT_EQ(of_change.size(), of_whole.size()) << "step " << step << ": " << upsert << " delete " << remove
                                                 << "\nwhole:" << said(of_whole) << "\nchange:" << said(of_change);
    if (of_whole.empty()) {
      ++taken;
    } else {
      ++refused;
      set->revert(std::move(*change));
      ASSERT_TRUE(validate(*set).empty()) << "step " << step;
    }
  }
  EXPECT_GT(refused, steps / 5);
  EXPECT_GT(taken, steps / 10);
}

// The best of several, so that what else the machine does is not measured.
double microseconds_of_validation(size_t services) {
  std::string items = gateway;
  for (size_t i = 0; i < services; ++i) {
    items += fmt::format(R"(,{{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"ns","name":"x{}"}},)"
                         R"("spec":{{"clusterIP":"10.{}.{}.{}","ports":[{{"port":80}}]}}}})",
                         i, 97 + i / 40000, i / 200 % 200, 1 + i % 200);
    items += "," + node(1000 + static_cast<unsigned>(i),
                        fmt::format("172.{}.{}.{}", 16 + i / 40000, i / 200 % 200, 1 + i % 200), "10.9.0.0/24");
  }
  auto document = parse_document(fmt::format(R"({{"apiVersion":"v1","kind":"List","items":[{}]}})", items));
  EXPECT_TRUE(document);
  auto set = ObjectSet::from_document(std::move(*document));
  EXPECT_TRUE(set);
  double best = 1e9;
  for (unsigned i = 0; i < 20; ++i) {
    auto delta =
        parse_delta(fmt::format(R"({{"kind":"Delta","upsert":[{},{}]}})", external(fmt::format("203.0.113.{}", 1 + i)),
                                node(1, fmt::format("192.168.0.{}", 10 + i), "10.8.0.0/24")));
    EXPECT_TRUE(delta);
    const auto change = set->apply(std::move(*delta));
    EXPECT_TRUE(change);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(validate(*set, *change).empty());
    const auto end = std::chrono::steady_clock::now();
    best = std::min(best, std::chrono::duration<double, std::micro>(end - begin).count());
  }
  return best;
}

TEST(ChangeRules, SCALE5_WhatAChangeCostsDoesNotGrowWithTheCluster) {
  const double few = microseconds_of_validation(50);
  const double many = microseconds_of_validation(10000);
  EXPECT_LT(many, few * 10) << "few: " << few << " us, many: " << many << " us";
}

}  // namespace
}  // namespace sluice::config
