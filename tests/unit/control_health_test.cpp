// What load balancers are told, as values; over sockets in control_health_server_test.cpp.
#include <array>
#include <chrono>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/health.h"

namespace sluice::control {
namespace {

using config::TrafficPolicy;
using std::chrono::system_clock;
using testing::HasSubstr;

net::IpAddr ip(const char* text) { return *net::parse_ip(text); }

const RouterHealth healthy{true, system_clock::time_point(std::chrono::seconds(1767225600))};
const system_clock::time_point later = healthy.updated + std::chrono::seconds(90);

constexpr std::array both{net::Family::V4, net::Family::V6};

class Health : public testing::Test {
 protected:
  Health() {
    config_.gateway.node_name = "here";
    config_.gateway.local_node_names = {"here"};
    config_.gateway.proxy.healthz_port = 10256;
    config::Service& web = config_.services[{"default", "web"}];
    web.name = {"default", "web"};
    web.type = config::ServiceType::LoadBalancer;
    web.external_policy = TrafficPolicy::Local;
    web.health_check_node_port = 31111;
    web.ports = {{.name = "http", .port = 80}, {.name = "https", .port = 443}};
  }
  config::Service& web() { return config_.services[{"default", "web"}]; }
  // "here ready", "other terminating" …; one address each, 10.0.0.1 or fd00::1 and so on.
  void endpoints(const std::vector<const char*>& states, net::Family family = net::Family::V4) {
    const bool v4 = family == net::Family::V4;
    const config::ObjectName name{"default", v4 ? "web-a" : "web-v6"};
    config::EndpointSlice& slice = config_.slices[name];
    slice = {.name = name, .service = "web"};
    slice.family = family;
    for (const char* text : states) {
      const std::string state = text;
      const bool ready = state.ends_with(" ready");
      const bool terminating = state.ends_with(" terminating");
      const std::string address = (v4 ? "10.0.0." : "fd00::") + std::to_string(slice.endpoints.size() + 1);
      slice.endpoints.push_back({.address = ip(address.c_str()),
                                 .ready = ready,
                                 .serving = ready || terminating,
                                 .terminating = terminating,
                                 .node_name = state.substr(0, state.find(' '))});
    }
  }
  Response ask(uint16_t port, const char* target = "/", const RouterHealth& router = healthy,
               const char* method = "GET") {
    return health_answer(make_health_plan(config_), port, method, target, router, later);
  }
  static std::string header(const Response& response, std::string_view name) {
    for (const auto& [key, value] : response.headers) {
      if (key == name) return value;
    }
    return "";
  }

  config::Config config_;
};

TEST_F(Health, SVC80_LocalReadyEndpointsAreCounted) {
  endpoints({"here ready", "here ready", "other ready"});
  for (const char* path : {"/", "/healthz", "/any/path?at=all"}) {
    const Response response = ask(31111, path);
    EXPECT_EQ(response.status, 200U) << path;
    EXPECT_EQ(response.content_type, "application/json");
    EXPECT_EQ(response.body,
              R"({"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true})"
              "\n");
    EXPECT_EQ(header(response, "X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(header(response, "X-Load-Balancing-Endpoint-Weight"), "2");
  }
  endpoints({"other ready"});
  const Response response = ask(31111);
  EXPECT_EQ(response.status, 503U);
  EXPECT_THAT(response.body, HasSubstr(R"("localEndpoints":0,"serviceProxyHealthy":true)"));
  EXPECT_EQ(header(response, "X-Load-Balancing-Endpoint-Weight"), "0");
  config_.slices.clear();
  EXPECT_EQ(ask(31111).status, 503U);
}

TEST_F(Health, SVC80_AnEndpointCountsOnceInAllSlicesAndPorts) {
  endpoints({"here ready", "here ready"});
  config_.slices[{"default", "web-b"}] = config_.slices[{"default", "web-a"}];
  config::EndpointSlice& v6 = config_.slices[{"default", "web-c"}] = config_.slices[{"default", "web-a"}];
  v6.family = net::Family::V6;
  v6.endpoints[0].address = ip("fd00::1");
  v6.endpoints[1].address = ip("fd00::2");
  config_.slices[{"kube-system", "web-d"}] = config_.slices[{"default", "web-a"}];
  config_.slices[{"kube-system", "web-d"}].endpoints[0].address = ip("10.0.0.9");
  EXPECT_EQ(make_health_plan(config_).services.at(31111).local_endpoints, 2U);
}

TEST_F(Health, SVC81_TerminatingEndpointsDoNotCount) {
  for (const net::Family family : both) {
    config_.slices.clear();
    endpoints({"here terminating", "here unready", "other ready"}, family);
    EXPECT_EQ(ask(31111).status, 503U);
    endpoints({"here terminating", "here ready", "other ready"}, family);
    EXPECT_EQ(make_health_plan(config_).services.at(31111).local_endpoints, 1U);
  }
}

TEST_F(Health, SVC22_SVC81_EndpointsThatGetNothingNewDoNotCount) {
  for (const net::Family family : both) {
    config_.slices.clear();
    endpoints({"here ready", "here ready"}, family);
    const bool v4 = family == net::Family::V4;
    const net::IpAddr first = ip(v4 ? "10.0.0.1" : "fd00::1"), second = ip(v4 ? "10.0.0.2" : "fd00::2");
    web().weights.addresses = {{first, 0}, {second, 1}};
    EXPECT_EQ(make_health_plan(config_).services.at(31111).local_endpoints, 1U);
    web().weights.addresses[second] = 0;
    EXPECT_EQ(ask(31111).status, 503U);
  }
}

TEST_F(Health, SVC82_AnUnhealthyRouterIsNoPlaceToSendTo) {
  endpoints({"here ready"});
  const RouterHealth broken{false, healthy.updated};
  const Response response = ask(31111, "/", broken);
  EXPECT_EQ(response.status, 503U);
  EXPECT_THAT(response.body, HasSubstr(R"("localEndpoints":1,"serviceProxyHealthy":false)"));
  EXPECT_EQ(ask(10256, "/healthz", broken).status, 503U);
  EXPECT_EQ(ask(10256, "/livez", broken).status, 503U);
}

TEST_F(Health, SVC82_HealthzAndLivez) {
  EXPECT_EQ(ask(10256, "/healthz").status, 200U);
  EXPECT_EQ(ask(10256, "/healthz?verbose").body,
            R"({"lastUpdated":"2026-01-01T00:00:00Z","currentTime":"2026-01-01T00:01:30Z","nodeEligible":true})"
            "\n");
  EXPECT_EQ(ask(10256, "/livez").body, R"({"lastUpdated":"2026-01-01T00:00:00Z","currentTime":"2026-01-01T00:01:30Z"})"
                                       "\n");
  EXPECT_EQ(ask(10256, "/").status, 404U);
  EXPECT_EQ(ask(10257, "/healthz").status, 404U);
}

TEST_F(Health, SVC82_ANodeThatIsBeingDeleted) {
  endpoints({"here ready"});
  config_.nodes["other"].being_deleted = true;
  EXPECT_EQ(ask(10256, "/healthz").status, 200U);
  config_.nodes["here"].being_deleted = true;
  const Response response = ask(10256, "/healthz");
  EXPECT_EQ(response.status, 503U);
  EXPECT_THAT(response.body, HasSubstr(R"("nodeEligible":false)"));
  EXPECT_EQ(ask(10256, "/livez").status, 200U) << "the router itself is well";
  EXPECT_EQ(ask(31111).status, 200U);
}

TEST_F(Health, SVC65_WhereEveryEndpointIsAsGoodAsALocalOne) {
  endpoints({"other ready", "third ready", "other terminating"});
  EXPECT_EQ(ask(31111).status, 503U);
  config_.gateway.proxy.external_policy_local_scope = config::LocalScope::Cluster;
  EXPECT_EQ(make_health_plan(config_).services.at(31111).local_endpoints, 2U);
  config_.gateway.proxy.external_policy_local_scope = config::LocalScope::Node;
  config_.gateway.local_node_names = {"third"};
  EXPECT_EQ(make_health_plan(config_).services.at(31111).local_endpoints, 1U);
}

TEST_F(Health, SVC4_SVC83_ServicesWithoutCheck) {
  endpoints({"here ready"});
  endpoints({"here ready"}, net::Family::V6);
  web().proxied = false;
  EXPECT_TRUE(make_health_plan(config_).services.empty());
  web().proxied = true;
  web().external_policy = TrafficPolicy::Cluster;
  web().health_check_node_port = 0;
  EXPECT_TRUE(make_health_plan(config_).services.empty());
  EXPECT_EQ(ask(31111).status, 404U);
}

TEST_F(Health, SVC83_AServiceMattersThatHasOrHadACheck) {
  const HealthPlan served = make_health_plan(config_);
  ASSERT_FALSE(served.services.empty());
  config::Change change;
  change.touched = {{.key = {"Service", "default", "web"}}};
  EXPECT_TRUE(affects_health(config_, change, {})) << "it has one";
  web().health_check_node_port = 0;
  EXPECT_TRUE(affects_health(config_, change, served)) << "it had one";
  EXPECT_FALSE(affects_health(config_, change, {}));
  config_.services.clear();
  EXPECT_TRUE(affects_health(config_, change, served)) << "it is gone";
  change.touched[0].key.kind = "Ingress";
  EXPECT_FALSE(affects_health(config_, change, served));
}

TEST_F(Health, SVC80_AWarningWhereNoUplinkLeadsToTheHost) {
  config_.gateway.interfaces = {{.name = "up0"}, {.name = "up1"}};
  const auto warnings = [&] { return make_health_plan(config_).warnings; };
  ASSERT_EQ(warnings().size(), 1U);
  EXPECT_EQ(warnings()[0].kind, "Service");
  EXPECT_EQ(warnings()[0].name, "default/web");
  EXPECT_EQ(warnings()[0].path, "spec.healthCheckNodePort");
  EXPECT_THAT(warnings()[0].message, HasSubstr("31111 is not answered at the router's interfaces"));
  config::Service other = web();
  other.name = {"default", "other"};
  other.health_check_node_port = 31112;
  config_.services[other.name] = other;
  ASSERT_EQ(warnings().size(), 1U) << "one for all";
  EXPECT_THAT(warnings()[0].message, HasSubstr("the same holds for 1 more"));
  config_.gateway.interfaces[1].host_interface = "dn0";
  EXPECT_TRUE(warnings().empty());
  config_.gateway.interfaces[1].host_interface.clear();
  config_.gateway.proxy.health_addresses = {ip("127.0.0.1")};
  EXPECT_TRUE(warnings().empty()) << "somebody has said where";
  config_.gateway.proxy.health_addresses.clear();
  config_.services.clear();
  EXPECT_TRUE(warnings().empty());
}

TEST_F(Health, Methods) {
  endpoints({"here ready"});
  EXPECT_EQ(ask(31111, "/", healthy, "HEAD").status, 200U);
  const Response response = ask(31111, "/", healthy, "POST");
  EXPECT_EQ(response.status, 405U);
  EXPECT_EQ(header(response, "Allow"), "GET, HEAD");
}

}  // namespace
}  // namespace sluice::control
