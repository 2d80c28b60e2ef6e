// Rules that a change is held against without everything being looked at: they refuse what those about the whole
// configuration refuse.
#include <map>
#include <random>
#include <string>

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

}  // namespace
}  // namespace sluice::config
