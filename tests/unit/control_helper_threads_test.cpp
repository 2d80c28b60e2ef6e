// Work shared with helper threads: every piece is done once, and the result is that of doing it alone.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <sched.h>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/json_memory.h"
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

TEST(HelperThreads, TheyGiveWayToOthers) {
  std::atomic<bool> may = false;
  HelperThreads helpers(cpus(), [&] { return may.load(); });
  const auto self = std::this_thread::get_id();
  std::vector<std::thread::id> done(200);
  helpers(done.size(), [&](size_t piece) { done[piece] = std::this_thread::get_id(); });
  EXPECT_THAT(done, Each(self));
  may = true;
  std::atomic<int> nice = -1;
  for (int round = 0; round < 1000 && nice < 0; ++round) {
    helpers(20, [&](size_t) {
      if (std::this_thread::get_id() == self) return std::this_thread::sleep_for(std::chrono::milliseconds(1));
      nice = getpriority(PRIO_PROCESS, 0);  // of this thread
    });
  }
  EXPECT_GE(nice, 10);
}

TEST(HelperThreads, TheyStopInTheMiddle) {
  std::atomic<size_t> asked = 0;
  HelperThreads helpers(cpus(), [&] { return ++asked % 3 == 0; });
  for (int round = 0; round < 50; ++round) {
    std::vector<std::atomic<int>> done(100);
    helpers(done.size(), [&](size_t piece) { ++done[piece]; });
    ASSERT_THAT(std::vector<int>(done.begin(), done.end()), Each(1));
  }
}

TEST(HelperThreads, AnErrandIsDoneOnceOrNotAtAll) {
  for (const auto& where : {cpus(), std::vector<int>{}}) {
    HelperThreads helpers(where);
    for (int round = 0; round < 400; ++round) {
      std::atomic<int> begun = 0;
      std::atomic<int> done = 0;
      {
        const auto errand = helpers.begin([&] {
          ++begun;
          if (round % 3 == 0) std::this_thread::yield();
          ++done;
        });
        if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
        if (round % 2 == 0) errand->finish();
        if (round % 2 == 0) ASSERT_EQ(done, 1);
      }
      ASSERT_EQ(begun, done);
      ASSERT_LE(done, 1);
    }
  }
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

// All that becomes of a document that takes the place of `before`.
struct Outcome {
  bool good = false;
  std::vector<std::string> told;  // faults, or warnings and what is different
  std::string text;
  config::Config config;
};

std::string line(const config::Finding& finding) {
  return fmt::format("{} {} {} {}: {}", finding.kind, finding.name, finding.pointer, finding.path, finding.message);
}

Outcome outcome_of(const std::string& text, const config::Options& options, const std::string& before) {
  Outcome out;
  config::ObjectSet objects;
  if (!before.empty()) {
    auto first = objects.prepare(before);
    (void)objects.apply(std::move(*first), config::validate);
  }
  auto prepared = objects.prepare(text, options);
  if (!prepared) {
    out.told = {prepared.error().syntax->text()};
    return out;
  }
  const auto change = objects.apply(std::move(*prepared), config::validate);
  out.good = change.ok();
  if (change) {
    for (const config::Warning& warning : objects.warnings()) out.told.push_back(line(warning));
    for (const auto& touched : change->touched) {
      out.told.push_back(fmt::format("{} {} {} {}", static_cast<int>(touched.action), touched.key.kind, touched.key.ns,
                                     touched.key.name));
    }
  } else {
    for (const config::Fault& fault : change.error().faults) out.told.push_back(line(fault));
  }
  out.text = objects.to_text({}, 7);
  out.config = objects.config();
  return out;
}

// Puts something else in the place of the first `what`, if there is one.
void change_text(std::string& object, std::string_view what, std::string_view other) {
  if (const size_t at = object.find(what); at != std::string::npos) object.replace(at, what.size(), other);
}

void change_some(std::vector<std::string>& objects, std::minstd_rand& random) {
  const auto any = [&]() -> std::string& { return objects[random() % objects.size()]; };
  for (auto left = random() % 9; left != 0; --left) {
    switch (random() % 12) {
      case 0:
        any() = std::string(any());
        break;
      case 1:
        change_text(any(), R"("Service")", R"("Servant")");
        break;
      case 2:
        change_text(any(), R"("ports")", R"("parts")");
        break;
      case 3:
        change_text(any(), "{", R"({"odd": 1, )");
        break;
      case 4:
        change_text(any(), "80", "80000");
        break;
      case 5:
        change_text(any(), R"("name")", R"("namespace": "team-of-many-words", "name")");
        break;
      case 6:
        change_text(any(), R"("name": ")", R"("name": "-)");
        break;
      case 7:
        change_text(any(), "10.244.", "10.96.");
        break;
      case 8:
        any() = R"({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "a"}})";
        break;
      case 9:
        any() = "5";
        break;
      case 10:
        std::swap(any(), any());
        break;
      default:
        if (random() % 8 == 0) any() = "{]";
    }
  }
}

TEST(HelperThreads, AnyDocumentBecomesWhatItBecomesOfOne) {
  HelperThreads helpers(cpus());
  std::minstd_rand random(5);
  const std::vector<std::string> usual = cluster(200, 2);
  size_t good = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> objects = usual;
    change_some(objects, random);
    config::Options alone;
    alone.ignore_unknown_kinds = random() % 2 == 0;
    std::string text = config::list_with_gateway(objects);
    if (random() % 3 == 0) {
      alone.format = config::Format::NdJson;
      objects.emplace_back(config::gateway_object);
      text.clear();
      for (std::string& object : objects) {
        std::replace(object.begin(), object.end(), '\n', ' ');
        text += object + "\n";
      }
    }
    config::Options shared = alone;
    shared.spread = std::ref(helpers);
    const std::string before = random() % 2 == 0 ? config::list_with_gateway(usual) : "";
    const Outcome expected = outcome_of(text, alone, before);
    const Outcome found = outcome_of(text, shared, before);
    ASSERT_THAT(found.told, ElementsAreArray(expected.told)) << "round " << round;
    ASSERT_EQ(found.text, expected.text) << "round " << round;
    ASSERT_TRUE(found.config == expected.config) << "round " << round;
    good += found.good ? 1 : 0;
  }
  EXPECT_GT(good, 5U);
  EXPECT_LT(good, 40U);
}

TEST(HelperThreads, AllOfThemTakeNoMoreMemoryThanOneMay) {
  HelperThreads helpers(cpus());
  config::Options options;
  options.spread = std::ref(helpers);
  std::vector<std::string> objects = cluster(300, 2);
  // Each of these takes some megabytes.
  for (size_t at : {20U, 220U, 420U, 580U}) {
    std::string zeros;
    for (int i = 0; i < 100'000; ++i) zeros += ",0";
    change_text(objects[at], R"("spec": {)", R"("spec": {"odd": [0)" + zeros + "], ");
  }
  const std::string text = config::list_with_gateway(objects);
  const auto read_within = [&](size_t bytes, const config::Options& how) {
    const config::MemoryScope scope(std::make_shared<config::MemoryBudget>(bytes));
    const config::ObjectSet none;
    return none.prepare(text, how).ok();
  };
  EXPECT_TRUE(read_within(size_t{64} << 20, options));
  EXPECT_FALSE(read_within(size_t{1} << 20, options));
  EXPECT_FALSE(read_within(size_t{1} << 20, {}));
}

void expect_same(const ServiceCompiler::Tables& expected, const ServiceCompiler::Tables& found) {
  size_t compared = 0;
  expected.v4->each([&](const nat::Frontend<net::V4>& frontend) {
    const auto* other = found.v4->find(frontend.addr, frontend.port, frontend.protocol);
    ASSERT_NE(other, nullptr);
    ASSERT_EQ(frontend.service->id, other->service->id);
    ASSERT_EQ(frontend.service->name, other->service->name);
    ASSERT_EQ(frontend.service->affinity_key, other->service->affinity_key);
    const nat::BackendSet<net::V4>& a = frontend.service->cluster;
    const nat::BackendSet<net::V4>& b = other->service->cluster;
    ASSERT_EQ(a.backends, b.backends);
    ASSERT_EQ(a.maglev.size(), b.maglev.size());
    for (uint32_t slot = 0; slot < a.maglev.size(); ++slot) ASSERT_EQ(a.maglev.owner(slot), b.maglev.owner(slot));
    for (const nat::Backend<net::V4>& endpoint : a.backends) {
      ASSERT_TRUE(found.endpoints_v4->contains(endpoint.addr, endpoint.port, frontend.protocol));
    }
    ++compared;
  });
  EXPECT_EQ(compared, found.v4->size());
  EXPECT_EQ(expected.endpoints_v4->size(), found.endpoints_v4->size());
}

TEST(HelperThreads, SVC21_TablesAreThoseThatOneBuilds) {
  HelperThreads helpers(cpus());
  ServiceCompiler alone;
  ServiceCompiler helped(std::ref(helpers));
  std::vector<std::string> objects = cluster(700, 7);
  for (size_t i = 0; i < 200; i += 2) {
    change_text(objects[i], R"("spec": {)", R"("spec": {"sessionAffinity": "ClientIP", )");
  }
  config::ObjectSet set = config::valid_set(config::list_with_gateway(objects));
  const std::vector<net::IpAddr> own{*net::parse_ip("192.168.0.2")};
  const auto expected = alone.compile(set.config(), own);
  const auto found = helped.compile(set.config(), own);
  EXPECT_EQ(found.v4->size(), 700U);
  expect_same(expected, found);
  // Some go, some come with affinity, some lose an endpoint.
  std::vector<std::string> next;
  for (size_t i = 0; i < objects.size(); ++i) {
    if (i % 10 < 2) continue;
    if (i % 10 == 4 && i >= 200) change_text(objects[i], R"("spec": {)", R"("spec": {"sessionAffinity": "ClientIP", )");
    if (i % 10 == 7)
      change_text(objects[i], R"({"addresses":["10.244.)", R"({"conditions":{"ready":false},"addresses":["10.244.)");
    next.push_back(objects[i]);
  }
  auto prepared = set.prepare(config::list_with_gateway(next));
  ASSERT_TRUE(prepared);
  const auto change = set.apply(std::move(*prepared), config::validate);
  ASSERT_TRUE(change) << config::lines(change.error().faults).front();
  const auto expected_next = alone.update(set.config(), *change, own);
  const auto found_next = helped.update(set.config(), *change, own);
  EXPECT_EQ(found_next.v4->size(), 560U);
  expect_same(expected_next, found_next);
  const auto port_of = [](const ServiceCompiler::Tables& tables, uint32_t address) {
    const auto* frontend = tables.v4->find(net::Ipv4Addr::from_host(address), net::be16::from_host(80), 6);
    return frontend == nullptr ? nullptr : frontend->service;
  };
  const auto before = port_of(found, 0x0a600066);
  const auto after = port_of(found_next, 0x0a600066);
  ASSERT_TRUE(before != nullptr && after != nullptr);
  EXPECT_EQ(before->affinity_key, 0U);
  EXPECT_NE(after->affinity_key, 0U);
  EXPECT_EQ(before->id, after->id);
  // What did not change is what it was, table included.
  EXPECT_NE(port_of(found, 0x0a600068), nullptr);
  EXPECT_EQ(port_of(found, 0x0a600068), port_of(found_next, 0x0a600068));
}

}  // namespace
}  // namespace sluice::control
