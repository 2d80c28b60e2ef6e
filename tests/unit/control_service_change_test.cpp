// Random changes of a small cluster: tables and verdicts of a change alone are those of the whole configuration.
#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/service_compiler.h"
#include "control/service_totals.h"
#include "tests/unit/config_documents.h"

namespace sluice::control {
namespace {

using config::Change;
using config::ObjectSet;

constexpr const char* gateway = R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
  "metadata": {"name": "default"}, "spec": {"nodeName": "node-0", "localNodeNames": ["node-0"],
  "interfaces": [{"name": "uplink0", "device": "net_null0", "addresses": ["192.168.0.2/24", "fd00:1::2/64"]}],
  "cluster": {"clusterCIDRs": ["10.244.0.0/16"], "serviceCIDRs": ["10.96.0.0/16"]}}})";

// Few names, addresses and ports, so that they meet.
class Churn {
 public:
  explicit Churn(uint32_t seed) : random_(seed) {}

  std::string delta() {
    std::set<std::string> named;
    std::string upsert;
    std::string remove;
    for (uint32_t i = 1 + pick(4); i > 0; --i) {
      const uint32_t what = pick(20);
      const std::string name = fmt::format("o{}", pick(6));
      const std::string kind = what < 12 ? "EndpointSlice" : what < 17 ? "Service" : what < 19 ? "Pod" : "Node";
      if (!named.insert(kind + name).second) continue;
      if (pick(4) == 0) {
        remove += fmt::format(R"({}{{"kind": "{}", "name": "{}"}})", remove.empty() ? "" : ",", kind, name);
      } else {
        upsert += (upsert.empty() ? "" : ",") + (kind == "EndpointSlice" ? slice(name)
                                                 : kind == "Service"     ? service(name)
                                                 : kind == "Pod"         ? pod(name)
                                                                         : node(name));
      }
    }
    return fmt::format(R"({{"kind": "Delta", "upsert": [{}], "delete": [{}]}})", upsert, remove);
  }

 private:
  uint32_t pick(uint32_t below) { return random_() % below; }

  std::string slice(const std::string& name) {
    std::string endpoints;
    for (uint32_t i = pick(5); i > 0; --i) {
      endpoints +=
          fmt::format(R"({}{{"addresses": ["10.244.0.{}"], "nodeName": "node-{}",
          "conditions": {{"ready": {}, "serving": {}, "terminating": {}}}}})",
                      endpoints.empty() ? "" : ",", 1 + pick(9), pick(2), pick(3) != 0, pick(2) != 0, pick(4) == 0);
    }
    return fmt::format(R"({{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {{"name": "{}",
        "labels": {{"kubernetes.io/service-name": "o{}"}}}}, "addressType": "IPv4",
        "ports": [{{"name": "a", "port": {}}}], "endpoints": [{}]}})",
                       name, pick(6), 8080 + pick(2), endpoints);
  }
  std::string service(const std::string& name) {
    const uint32_t type = pick(3);
    return fmt::format(R"({{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{}"}}, "spec": {{
        "type": "{}", "clusterIP": "10.96.0.{}", "externalIPs": [{}], "externalTrafficPolicy": "{}",
        "ports": [{{"name": "a", "port": 80{}}}, {{"name": "b", "port": 81}}]}}}})",
                       name, type == 0 ? "ClusterIP" : "NodePort", 1 + pick(12),
                       pick(3) == 0 ? fmt::format("\"203.0.113.{}\"", 1 + pick(6)) : "",
                       type != 0 && pick(2) == 0 ? "Local" : "Cluster",
                       type == 0 ? "" : fmt::format(R"(, "nodePort": {})", 30000 + pick(8)));
  }
  std::string pod(const std::string& name) {
    return fmt::format(R"({{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{}"}}, "spec": {{
        "nodeName": "node-{}", "containers": [{{"ports": [{{"containerPort": 8080, "hostPort": {}}}]}}]}},
        "status": {{"podIPs": [{{"ip": "10.244.0.{}"}}]}}}})",
                       name, pick(2), 30000 + pick(8), 1 + pick(9));
  }
  std::string node(const std::string& name) {
    return fmt::format(R"({{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "{}"}},
        "status": {{"addresses": [{{"type": "InternalIP", "address": "203.0.113.{}"}}]}}}})",
                       name, 1 + pick(6));
  }

  std::mt19937 random_;
};

template <class F>
void describe(const nat::ServiceTable<F>& table, const nat::EndpointSet<F>& endpoints, std::vector<std::string>& out) {
  table.each([&](const nat::Frontend<F>& frontend) {
    const auto* found = table.find(frontend.addr, frontend.port, frontend.protocol);
    std::string line = fmt::format("{}:{}/{} {} {} cluster-ip {} found {}:", net::to_string(net::IpAddr(frontend.addr)),
                                   frontend.port.host(), frontend.protocol, static_cast<int>(frontend.kind),
                                   frontend.service->name, table.is_cluster_ip(frontend.addr), found->service->name);
    const auto add = [&](const char* what, const std::vector<nat::Backend<F>>& backends) {
      line += fmt::format(" {}", what);
      for (const nat::Backend<F>& backend : backends) {
        line += fmt::format(" {}:{}{}", net::to_string(net::IpAddr(backend.addr)), backend.port.host(),
                            endpoints.contains(backend.addr, backend.port, frontend.protocol) ? "" : " unknown");
      }
    };
    add("cluster", frontend.service->cluster.backends);
    add("local", frontend.service->local.backends);
    add("serving", frontend.service->serving);
    out.push_back(std::move(line));
  });
  out.push_back(fmt::format("{} endpoints", endpoints.size()));
}

std::vector<std::string> describe(const ServiceCompiler::Tables& tables) {
  std::vector<std::string> out;
  describe(*tables.v4, *tables.endpoints_v4, out);
  describe(*tables.v6, *tables.endpoints_v6, out);
  std::sort(out.begin(), out.end());
  return out;
}

// Reckoned from the whole.
std::vector<size_t> counts_of(const config::Config& config) {
  std::vector<size_t> out(6);
  for (const auto& [name, service] : config.services) {
    if (service.proxied && service.type != config::ServiceType::ExternalName) ++out[static_cast<size_t>(service.type)];
  }
  for (const auto& [name, slice] : config.slices) {
    const auto service = config.services.find({name.ns, slice.service});
    if (slice.fqdn || service == config.services.end() || !service->second.proxied) continue;
    for (const config::Endpoint& endpoint : slice.endpoints) {
      ++out[endpoint.ready ? 3 : endpoint.serving && endpoint.terminating ? 4 : 5];
    }
  }
  return out;
}

std::vector<size_t> counts_of(const Totals& totals) {
  return {totals.cluster_ip_services, totals.node_port_services,    totals.load_balancer_services,
          totals.ready_endpoints,     totals.terminating_endpoints, totals.unready_endpoints};
}

TEST(ServiceChange, SCALE5_TablesOfAChangeAreThoseOfTheWhole) {
  const std::vector<net::IpAddr> own{*net::parse_ip("192.168.0.2")};
  size_t applied = 0;
  size_t refused = 0;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    ObjectSet objects = config::valid_set(config::list_of({gateway}));
    ServiceCompiler compiler;
    (void)compiler.compile(objects.config(), own);
    ServiceTotals totals;
    Churn churn(seed);
    for (int round = 0; round < 60; ++round) {
      const std::string text = churn.delta();
      auto delta = config::parse_delta(text);
      ASSERT_TRUE(delta) << text;
      const std::string before = objects.to_text({});
      const auto change = objects.apply(std::move(*delta), config::validate);
      if (!change) {
        ++refused;
        EXPECT_EQ(objects.to_text({}), before);
        // The whole is refused as well.
        auto again = config::parse_delta(text);
        ObjectSet unchecked = config::valid_set(before);
        ASSERT_TRUE(unchecked.apply(std::move(*again)));
        EXPECT_FALSE(config::validate(unchecked.config()).empty()) << text;
        continue;
      }
      ++applied;
      EXPECT_TRUE(config::validate(objects.config()).empty()) << text;
      totals.update(objects.config(), *change);
      ASSERT_EQ(counts_of(totals.totals()), counts_of(objects.config())) << "seed " << seed << " round " << round;
      ServiceCompiler fresh;
      ASSERT_EQ(describe(compiler.update(objects.config(), *change, own)),
                describe(fresh.compile(objects.config(), own)))
          << "seed " << seed << " round " << round << ": " << text;
    }
  }
  EXPECT_GT(applied, 300u);
  EXPECT_GT(refused, 50u);
}

TEST(ServiceChange, SCALE5_OneSliceBuildsOneService) {
  Churn churn(1);
  const std::vector<net::IpAddr> own{*net::parse_ip("192.168.0.2")};
  const auto slice_of = [](const char* service, const char* address) {
    return fmt::format(R"({{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {{"name": "{0}",
        "labels": {{"kubernetes.io/service-name": "{0}"}}}}, "addressType": "IPv4",
        "ports": [{{"name": "", "port": 8080}}], "endpoints": [{{"addresses": ["{1}"]}}]}})",
                       service, address);
  };
  ObjectSet objects = config::valid_set(
      config::list_of({gateway, config::service("one", "10.96.0.1"), config::service("two", "10.96.0.2"),
                       slice_of("one", "10.244.0.1"), slice_of("two", "10.244.0.2")}));
  ServiceCompiler compiler;
  const auto before = compiler.compile(objects.config(), own);
  auto delta = config::parse_delta(R"({"kind": "Delta", "upsert": [)" + slice_of("two", "10.244.0.3") + "]}");
  const auto change = objects.apply(std::move(*delta), config::validate);
  ASSERT_TRUE(change);
  const auto after = compiler.update(objects.config(), *change, own);
  const auto service = [](const ServiceCompiler::Tables& tables, const char* address) {
    return tables.v4->find(net::parse_ip(address)->v4(), net::be16::from_host(80), 6)->service;
  };
  EXPECT_EQ(service(before, "10.96.0.1"), service(after, "10.96.0.1"));
  EXPECT_NE(service(before, "10.96.0.2"), service(after, "10.96.0.2"));
  EXPECT_EQ(before.v6, after.v6);
}

TEST(ServiceChange, SCALE5_SVC91_TablesAfterADrainAreThoseOfTheWhole) {
  const std::vector<net::IpAddr> own{*net::parse_ip("192.168.0.2")};
  ObjectSet objects = config::valid_set(config::list_of({gateway}));
  ServiceCompiler compiler;
  (void)compiler.compile(objects.config(), own);
  Churn churn(3);
  std::mt19937 random(3);
  DrainList drains;
  size_t seen = 0;
  for (int round = 0; round < 400; ++round) {
    auto delta = config::parse_delta(churn.delta());
    const auto change = objects.apply(std::move(*delta), config::validate);
    if (!change) continue;
    const auto before = compiler.update(objects.config(), *change, own, drains);
    const std::string what = random() % 3 == 0
                                 ? fmt::format("default/o{}", random() % 6)
                                 : fmt::format("10.244.0.{}{}", 1 + random() % 9, random() % 2 == 0 ? "" : ":8080");
    const DrainTarget target = *DrainTarget::parse(what);
    if (random() % 2 == 0 || !drains.remove(target)) (void)drains.add(target, random() % 2 == 0);
    const auto after = compiler.update(objects.config(), {}, own, drains);
    ServiceCompiler fresh;
    ASSERT_EQ(describe(after), describe(fresh.compile(objects.config(), own, drains)))
        << "round " << round << ": " << what;
    if (describe(before) != describe(after)) ++seen;
  }
  EXPECT_GT(seen, 20U);
}

// The best of several, so that what else the machine does is not measured.
template <class Run>
double least_milliseconds(const Run& run) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run(i);
    best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

TEST(ServiceChange, SCALE5_SVC91_ADrainCompilesNoOtherServices) {
  constexpr int services = 2000;
  std::vector<std::string> all{gateway};
  for (int i = 0; i < services; ++i) {
    all.push_back(config::service(fmt::format("s{}", i), fmt::format("10.96.{}.{}", i / 200, 1 + i % 200)));
    all.push_back(
        fmt::format(R"({{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {{"name": "s{0}",
        "labels": {{"kubernetes.io/service-name": "s{0}"}}}}, "addressType": "IPv4",
        "ports": [{{"name": "", "port": 8080}}], "endpoints": [{{"addresses": ["10.244.{1}.{2}"]}}]}})",
                    i, i / 200, 1 + i % 200));
  }
  const ObjectSet objects = config::valid_set(config::list_of(all));
  const std::vector<net::IpAddr> own{*net::parse_ip("192.168.0.2")};
  ServiceCompiler compiler;
  (void)compiler.compile(objects.config(), own);
  const double whole = least_milliseconds([&](int) { (void)compiler.compile(objects.config(), own); });
  const double drained = least_milliseconds([&](int i) {
    DrainList drains;
    (void)drains.add(*DrainTarget::parse(fmt::format("10.244.0.{}", 1 + i)), false);
    (void)compiler.update(objects.config(), {}, own, drains);
  });
  EXPECT_LT(drained * 4, whole);
}

}  // namespace
}  // namespace sluice::control
