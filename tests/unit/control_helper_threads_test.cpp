// Work shared with helper threads: every piece is done once, and the result is that of doing it alone.
#include <atomic>
#include <functional>
#include <sched.h>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/helper_threads.h"
#include "control/service_compiler.h"
#include "tests/unit/config_documents.h"

namespace sluice::control {
namespace {

using testing::Each;
using testing::ElementsAreArray;

// Three helpers, whatever the machine has.
std::vector<int> cpus() { return std::vector<int>(4, sched_getcpu()); }

TEST(HelperThreads, EveryPieceOnce) {
  for (const auto& where : {cpus(), std::vector<int>{}, std::vector<int>{0}}) {
    HelperThreads helpers(where);
    for (const size_t count : {0U, 1U, 2U, 3U, 1000U}) {
      std::vector<std::atomic<int>> done(count);
      helpers(count, [&](size_t piece) { ++done[piece]; });
      EXPECT_THAT(std::vector<int>(done.begin(), done.end()), Each(1)) << count;
    }
  }
}

TEST(HelperThreads, SeveralAskAtOnce) {
  HelperThreads helpers(cpus());
  std::atomic<size_t> sum{0};
  std::vector<std::thread> askers;
  for (int asker = 0; asker < 4; ++asker) {
    askers.emplace_back([&] {
      for (int turn = 0; turn < 200; ++turn) helpers(10, [&](size_t piece) { sum += piece; });
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(sum, 4U * 200 * 45);
}

TEST(HelperThreads, WhoMadeThemStaysWhereItWas) {
  cpu_set_t before;
  cpu_set_t after;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  HelperThreads helpers(cpus());
  ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

std::vector<std::string> cluster(int services, int endpoints) {
  std::vector<std::string> objects;
  for (int number = 0; number < services; ++number) {
    objects.push_back(
        config::service(fmt::format("s{}", number), fmt::format("10.96.{}.{}", number / 200, number % 200)));
    std::string list;
    for (int each = 0; each < endpoints; ++each) {
      list += fmt::format(R"({}{{"addresses":["10.244.{}.{}"]}})", each == 0 ? "" : ",", number % 250, each + 1);
    }
    objects.push_back(
        fmt::format(R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"s{0}",)"
                    R"("labels":{{"kubernetes.io/service-name":"s{0}"}}}},"addressType":"IPv4",)"
                    R"("ports":[{{"port":8080}}],"endpoints":[{1}]}})",
                    number, list));
  }
  return objects;
}

TEST(HelperThreads, ADocumentIsReadAsByOne) {
  HelperThreads helpers(cpus());
  config::Options shared;
  shared.spread = std::ref(helpers);
  const auto outcome = [](const std::string& text, const config::Options& options) {
    config::ObjectSet objects;
    auto prepared = objects.prepare(text, options);
    if (!prepared) return std::vector<std::string>{prepared.error().syntax->text()};
    const auto change = objects.apply(std::move(*prepared), config::validate);
    if (!change) return config::lines(change.error().faults);
    return std::vector<std::string>{objects.to_text({})};
  };
  std::vector<std::string> objects = cluster(900, 2);
  const auto expect_same = [&] {
    const std::string text = config::list_with_gateway(objects);
    EXPECT_THAT(outcome(text, shared), ElementsAreArray(outcome(text, {})));
  };
  expect_same();
  // Faults in the order of the document, and of two objects with one name the second is at fault.
  objects[1700].replace(objects[1700].find("\"ports\""), 7, "\"parts\"");
  objects[20] = objects[10];
  objects[1600] = objects[10];
  objects[900].replace(objects[900].find("Service"), 7, "Servant");
  expect_same();
  // The first syntax error ends it, whoever meets one first.
  objects[1500] = "{]";
  objects[600] = "{\"a\":}";
  expect_same();
}

TEST(HelperThreads, SVC21_TablesAreThoseThatOneBuilds) {
  HelperThreads helpers(cpus());
  ServiceCompiler alone;
  ServiceCompiler helped(std::ref(helpers));
  const config::ObjectSet objects = config::valid_set(config::list_with_gateway(cluster(500, 7)));
  const std::vector<net::IpAddr> own{*net::parse_ip("192.168.0.2")};
  const auto expected = alone.compile(objects.config(), own);
  const auto found = helped.compile(objects.config(), own);
  size_t compared = 0;
  expected.v4->each([&](const nat::Frontend<net::V4>& frontend) {
    const auto* other = found.v4->find(frontend.addr, frontend.port, frontend.protocol);
    ASSERT_NE(other, nullptr);
    const nat::BackendSet<net::V4>& a = frontend.service->cluster;
    const nat::BackendSet<net::V4>& b = other->service->cluster;
    ASSERT_EQ(a.backends, b.backends);
    ASSERT_EQ(a.backends.size(), 7U);
    ASSERT_EQ(a.maglev.size(), b.maglev.size());
    for (uint32_t slot = 0; slot < a.maglev.size(); ++slot) ASSERT_EQ(a.maglev.owner(slot), b.maglev.owner(slot));
    ++compared;
  });
  EXPECT_EQ(compared, 500U);
}

}  // namespace
}  // namespace sluice::control
