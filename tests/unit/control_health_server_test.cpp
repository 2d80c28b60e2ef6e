// What load balancers are told, over real sockets on loopback.
#include <arpa/inet.h>
#include <chrono>
#include <memory>
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

using std::chrono::system_clock;
using testing::HasSubstr;

net::IpAddr ip(const char* text) { return *net::parse_ip(text); }

const RouterHealth healthy{true, system_clock::time_point(std::chrono::seconds(1767225600))};

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr_in6 loopback_v6(uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_addr = in6addr_loopback;
  return address;
}

bool connects(int fd, net::Family family, uint16_t port) {
  if (family == net::Family::V4) {
    const sockaddr_in address = loopback(port);
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  const sockaddr_in6 address = loopback_v6(port);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// Whether this machine's kernel has ::1.
bool has_v6() {
  const int fd = ::socket(AF_INET6, SOCK_STREAM, 0);
  const sockaddr_in6 address = loopback_v6(0);
  const bool bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return bound;
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
  static HealthPlan plan(uint16_t port, uint32_t endpoints, const char* name = "web",
                         net::Family family = net::Family::V4) {
    HealthPlan out;
    out.services[port] = {{"default", name}, endpoints};
    out.addresses = {ip(family == net::Family::V4 ? "127.0.0.1" : "::1")};
    return out;
  }
  // All that is answered to the request; "refused" if nobody listens.
  std::string ask(uint16_t port, const std::string& request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                  net::Family family = net::Family::V4) {
    const int fd = ::socket(family == net::Family::V4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    std::string out;
    if (!connects(fd, family, port)) {
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

TEST_F(HealthSockets, SVC80_SVC81_SVC83_OverIPv6) {
  if (!has_v6()) GTEST_SKIP() << "no IPv6 here";
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  const auto asked = [&](uint16_t port) { return ask(port, request, net::Family::V6); };
  const uint16_t first = free_port();
  EXPECT_EQ(asked(first), "refused");
  server.update(plan(first, 1, "web", net::Family::V6));
  ASSERT_TRUE(server.problems().empty()) << server.problems()[0].message;
  EXPECT_TRUE(asked(first).starts_with("HTTP/1.1 200 "));
  EXPECT_EQ(ask(first), "refused") << "nobody has named 127.0.0.1";
  server.update(plan(first, 0, "web", net::Family::V6));
  EXPECT_TRUE(asked(first).starts_with("HTTP/1.1 503 "));
  const uint16_t second = free_port();
  server.update(plan(second, 1, "web", net::Family::V6));
  EXPECT_EQ(asked(first), "refused");
  EXPECT_TRUE(asked(second).starts_with("HTTP/1.1 200 "));
  server.update({});
  EXPECT_EQ(asked(second), "refused");
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
  const std::string request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
  EXPECT_TRUE(ask(everywhere.healthz_port, request).starts_with("HTTP/1.1 200 "));
  if (has_v6()) {
    EXPECT_TRUE(ask(everywhere.healthz_port, request, net::Family::V6).starts_with("HTTP/1.1 200 "));
  }
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
