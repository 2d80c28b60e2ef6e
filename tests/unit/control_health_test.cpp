// What load balancers are told: as values, and over real sockets on loopback.
#include <arpa/inet.h>
#include <chrono>
#include <functional>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/health.h"
#include "control/health_server.h"

namespace sluice::control {
namespace {

using config::TrafficPolicy;
using std::chrono::system_clock;
using testing::HasSubstr;

net::IpAddr ip(const char* text) { return *net::parse_ip(text); }

const RouterHealth healthy{true, system_clock::time_point(std::chrono::seconds(1767225600))};
const system_clock::time_point later = healthy.updated + std::chrono::seconds(90);

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
  // "here ready", "other terminating" …; one address each.
  void endpoints(const std::vector<const char*>& states) {
    config::EndpointSlice& slice = config_.slices[{"default", "web-a"}];
    slice = {.name = {"default", "web-a"}, .service = "web"};
    for (const char* text : states) {
      const std::string state = text;
      const bool ready = state.ends_with(" ready");
      const bool terminating = state.ends_with(" terminating");
      const std::string address = "10.0.0." + std::to_string(slice.endpoints.size() + 1);
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
  endpoints({"here terminating", "here unready", "other ready"});
  EXPECT_EQ(ask(31111).status, 503U);
}

TEST_F(Health, SVC22_SVC81_EndpointsThatGetNothingNewDoNotCount) {
  endpoints({"here ready", "here ready"});
  web().weights.addresses = {{ip("10.0.0.1"), 0}, {ip("10.0.0.2"), 1}};
  EXPECT_EQ(make_health_plan(config_).services.at(31111).local_endpoints, 1U);
  web().weights.addresses[ip("10.0.0.2")] = 0;
  EXPECT_EQ(ask(31111).status, 503U);
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

// ---- sockets -------------------------------------------------------------------------------------------

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Somebody else's listener; port 0: a free one.
class Occupied {
 public:
  explicit Occupied(uint16_t port = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = loopback(port);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 1), 0);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Occupied() { ::close(fd_); }
  Occupied(const Occupied&) = delete;
  Occupied& operator=(const Occupied&) = delete;
  [[nodiscard]] uint16_t port() const { return port_; }

 private:
  int fd_;
  uint16_t port_ = 0;
};

uint16_t free_port() { return Occupied().port(); }

class HealthSockets : public testing::Test {
 protected:
  static HealthPlan plan(uint16_t port, uint32_t endpoints, const char* name = "web") {
    HealthPlan out;
    out.services[port] = {{"default", name}, endpoints};
    out.addresses = {ip("127.0.0.1")};
    return out;
  }
  // All that is answered to the request; "refused" if nobody listens.
  std::string ask(uint16_t port, const std::string& request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n") {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = loopback(port);
    std::string out;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      out = "refused";
    } else {
      EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
      char buffer[4096];
      for (int i = 0; i < 20000; ++i) {
        io.poll();
        const ssize_t got = ::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (got > 0) out.append(buffer, static_cast<size_t>(got));
        if (got == 0) break;
        if (got < 0) ::usleep(100);
      }
    }
    ::close(fd);
    return out;
  }

  boost::asio::io_context io;
  RouterHealth router = healthy;
  HealthServer server{io, [this] { return router; }};
};

TEST_F(HealthSockets, SVC80_AnswersAndFollowsChanges) {
  const uint16_t port = free_port();
  EXPECT_EQ(ask(port), "refused");
  server.update(plan(port, 3));
  ASSERT_TRUE(server.problems().empty()) << server.problems()[0].message;
  std::string answer = ask(port);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_THAT(answer, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(answer, HasSubstr("X-Load-Balancing-Endpoint-Weight: 3\r\n"));
  EXPECT_THAT(answer,
              HasSubstr("\r\n\r\n{\"service\":{\"namespace\":\"default\",\"name\":\"web\"},\"localEndpoints\":3"));
  answer = ask(port, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n")) << answer;
  server.update(plan(port, 0));
  EXPECT_TRUE(ask(port).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  server.update(plan(port, 3));
  router.healthy = false;
  EXPECT_TRUE(ask(port).starts_with("HTTP/1.1 503 ")) << "SVC-82";
}

TEST_F(HealthSockets, SVC80_SVC83_AChangeOfThePortClosesTheOldListener) {
  const uint16_t first = free_port();
  server.update(plan(first, 1));
  EXPECT_TRUE(ask(first).starts_with("HTTP/1.1 200 "));
  const uint16_t second = free_port();
  server.update(plan(second, 1));
  EXPECT_EQ(ask(first), "refused");
  EXPECT_TRUE(ask(second).starts_with("HTTP/1.1 200 "));
  // Another service takes the port over.
  server.update(plan(second, 1, "api"));
  EXPECT_THAT(ask(second), HasSubstr("\"name\":\"api\""));
  server.update({});
  EXPECT_EQ(ask(second), "refused");
}

TEST_F(HealthSockets, SVC80_APortInUseIsToldOfAndTriedAgain) {
  auto other = std::make_unique<Occupied>();
  const uint16_t port = other->port();
  server.update(plan(port, 1));
  ASSERT_EQ(server.problems().size(), 1U);
  EXPECT_EQ(server.problems()[0].text(),
            "Service default/web: spec.healthCheckNodePort: cannot listen on 127.0.0.1 port " + std::to_string(port) +
                ": Address already in use; another program listens there");
  other.reset();
  server.update(plan(port, 1));
  EXPECT_TRUE(server.problems().empty());
  EXPECT_TRUE(ask(port).starts_with("HTTP/1.1 200 "));
}

TEST_F(HealthSockets, SVC82_OnAllAddressesUnlessSomeAreNamed) {
  HealthPlan everywhere;
  everywhere.healthz_port = free_port();
  server.update(everywhere);
  ASSERT_TRUE(server.problems().empty()) << server.problems()[0].message;
  EXPECT_TRUE(ask(everywhere.healthz_port, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
  HealthPlan elsewhere = everywhere;
  elsewhere.addresses = {ip("192.0.2.77")};
  server.update(elsewhere);
  EXPECT_EQ(ask(everywhere.healthz_port), "refused");
  ASSERT_EQ(server.problems().size(), 1U);
  EXPECT_EQ(server.problems()[0].path, "spec.proxy.healthzPort");
  EXPECT_THAT(server.problems()[0].message, HasSubstr("192.0.2.77"));
}

TEST_F(HealthSockets, WhatIsNoRequestIsNotAnswered) {
  const uint16_t port = free_port();
  server.update(plan(port, 1));
  EXPECT_EQ(ask(port, "\x16\x03\x01\r\n\r\n"), "");
  EXPECT_EQ(ask(port, "GET / HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n"), "");
  EXPECT_TRUE(ask(port).starts_with("HTTP/1.1 200 "));
}

}  // namespace
}  // namespace sluice::control
