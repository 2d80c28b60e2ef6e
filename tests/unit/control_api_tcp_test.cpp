// The API on TCP: roles, credentials that change while it runs, and bounds that no flood gets past. What is said
// within TLS is the same; control_api_tls_test.cpp has the rest.
#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/unit/api_tcp.h"

namespace sluice::control {
namespace {

TEST_F(ApiTcp, RolesDecide) {
  start();
  Client unknown(port);
  EXPECT_EQ(unknown.ask("GET", "/healthz"), 200U);
  EXPECT_EQ(unknown.ask("GET", "/v1/config"), 401U);
  EXPECT_NE(unknown.head.find("WWW-Authenticate: Bearer"), std::string::npos);
  EXPECT_TRUE(unknown.closed());  // who is unknown keeps no place
  EXPECT_EQ(Client(port).ask("GET", "/metrics"), 401U);
  EXPECT_EQ(Client(port).ask("GET", "/v1/config", "0123456789abcdefg"), 401U);
  Client client(port);
  EXPECT_EQ(client.ask("GET", "/v1/config", reader), 200U);
  EXPECT_EQ(client.ask("GET", "/metrics", reader), 200U);
  EXPECT_EQ(client.ask("DELETE", "/v1/conntrack?all=true", reader), 403U);
  EXPECT_EQ(client.ask("GET", "/v1/trace", reader), 403U);
  EXPECT_EQ(client.ask("GET", "/v1/trace", writer), 503U);  // it has none
  EXPECT_EQ(client.ask("DELETE", "/v1/conntrack?all=true", writer), 200U);
  EXPECT_EQ(Client(options.socket_path).ask("DELETE", "/v1/conntrack?all=true"), 200U);  // the socket's mode is enough
}

TEST_F(ApiTcp, WhoMayNotIsToldSoBeforeTheBody) {
  start();
  for (const std::string_view token : {"", "wrong-token-00001", "reader-token-0001"}) {
    Client client(port);
    client.send(
        fmt::format("PUT /v1/config HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {}\r\n"
                    "Content-Length: 1000000\r\n\r\n",
                    token));
    EXPECT_EQ(client.receive(), token == reader ? 403U : 401U);
    EXPECT_NE(client.head.find("Connection: close"), std::string::npos);
  }
  EXPECT_EQ(router.serving, 0U);
}

TEST_F(ApiTcp, CredentialsAreReadAgainWhenTheyChange) {
  start();
  Client client(port);
  EXPECT_EQ(client.ask("GET", "/v1/config", reader), 200U);
  grant("read-only token another-token-0001\n");
  wait_until([&] { return said.find("read the API's credentials again") != std::string::npos; });
  EXPECT_EQ(client.ask("GET", "/v1/config", reader), 401U);  // on the connection that there was
  Client next(port);
  EXPECT_EQ(next.ask("GET", "/v1/config", "another-token-0001"), 200U);
  grant("nonsense\n");
  wait_until([&] { return said.find("goes on with the credentials from before") != std::string::npos; });
  EXPECT_EQ(next.ask("GET", "/v1/config", "another-token-0001"), 200U);
  // Said once, however often it is tried.
  std::this_thread::sleep_for(milliseconds(100));
  wait_until([&] { return said.find("goes on") == said.rfind("goes on"); });
  grant(fmt::format("read-only token {}\n", reader));
  wait_until([&] { return said.ends_with("read the API's credentials again\n"); });
  EXPECT_EQ(next.ask("GET", "/v1/config", reader), 200U);
}

TEST_F(ApiTcp, AStreamEndsWithTheRoleOfItsToken) {
  start();
  Client stream(port);
  stream.send(fmt::format("GET /v1/conntrack/events HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {}\r\n\r\n", reader));
  EXPECT_EQ(stream.receive(), 200U);
  grant(fmt::format("read-only token another-token-0001\nread-write token {}\n", reader));  // another role is a role
  wait_until([&] { return said.find("read the API's credentials again") != std::string::npos; });
  stream.set_patience(milliseconds(600));
  EXPECT_FALSE(stream.ends());
  grant("read-only token another-token-0001\n");
  stream.set_patience(milliseconds(5'000));
  EXPECT_TRUE(stream.ends());
}

TEST_F(ApiTcp, ReloadReadsThemAtOnce) {
  options.reload_interval = std::chrono::hours(1);
  start();
  grant(fmt::format("read-write token {}\n", reader));
  Client client(port);
  EXPECT_EQ(client.ask("DELETE", "/v1/conntrack?all=true", reader), 403U);
  wait_until([&] {
    server->reload();
    return true;
  });
  EXPECT_EQ(client.ask("DELETE", "/v1/conntrack?all=true", reader), 200U);
}

TEST_F(ApiTcp, OnePeerCannotTakeThePlacesOfAnother) {
  options.tcp_limits.connections = 8;
  options.tcp_limits.per_peer = 3;
  start();
  Client calm(port, 0x7f000002);  // 127.0.0.2
  EXPECT_EQ(calm.ask("GET", "/healthz"), 200U);
  std::vector<std::unique_ptr<Client>> flood;
  for (int i = 0; i < 20; ++i) {
    flood.push_back(std::make_unique<Client>(port));
    flood.back()->send("GET /heal");
  }
  wait_until([&] { return server->connections() == 4; });
  EXPECT_TRUE(flood.front()->closed());
  flood.back()->set_patience(milliseconds(50));
  EXPECT_FALSE(flood.back()->closed());
  EXPECT_EQ(calm.ask("GET", "/healthz"), 200U);
  Client other(port, 0x7f000003);
  EXPECT_EQ(other.ask("GET", "/healthz"), 200U);
}

TEST_F(ApiTcp, AFloodOnTcpLeavesTheSocketItsPlaces) {
  options.tcp_limits.connections = options.tcp_limits.per_peer = 4;
  options.max_connections = 1;
  options.body_limit = 1'000'000;
  start();
  std::vector<std::unique_ptr<Client>> busy;
  for (int i = 0; i < 4; ++i) {
    busy.push_back(std::make_unique<Client>(port));
    busy.back()->send(
        fmt::format("PUT /v1/config HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {}\r\n"
                    "Expect: 100-continue\r\nContent-Length: 900000\r\n\r\n",
                    writer));
    EXPECT_EQ(busy.back()->receive(), 100U);
  }
  EXPECT_EQ(Client(port).receive(), 503U);
  // Their bodies fill their own memory, not that of the socket.
  const std::string piece(890'000, ' ');
  EXPECT_TRUE(busy[0]->send(piece));
  EXPECT_TRUE(busy[1]->send(piece));
  const std::string_view config = R"({"apiVersion": "v1", "kind": "List", "items": [
      {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g"},
       "spec": {"nodeName": "gw-1", "interfaces": [{"name": "a", "device": "d", "addresses": ["192.168.0.2/24"]}]}}]})";
  EXPECT_EQ(Client(options.socket_path).ask("PUT", "/v1/config", "", config), 200U);
  // One of them is told; which one depends on whose bytes came first.
  for (const auto& client : {busy[0].get(), busy[1].get()}) client->set_patience(milliseconds(500));
  EXPECT_EQ(std::max(busy[0]->receive(), busy[1]->receive()), 503U);
}

TEST_F(ApiTcp, AnswersWithoutEndHaveALimit) {
  options.tcp_limits.streams = 2;
  start();
  const std::string request =
      fmt::format("GET /v1/conntrack/events HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {}\r\n\r\n", reader);
  auto first = std::make_unique<Client>(port);
  Client second(port);
  for (Client* client : {first.get(), &second}) {
    client->send(request);
    EXPECT_EQ(client->receive(), 200U);
  }
  Client third(port);
  third.send(request);
  EXPECT_EQ(third.receive(), 503U);
  EXPECT_EQ(third.ask("GET", "/healthz"), 200U);  // it may ask for something else
  Client local(options.socket_path);
  EXPECT_EQ(local.ask("GET", "/v1/conntrack/events"), 200U);
}

TEST_F(ApiTcp, SaysWhyItCannotListen) {
  const auto fails = [&](std::string_view words) {
    const std::string why = why_not_started();
    EXPECT_NE(why.find(words), std::string::npos) << why;
  };
  const CredentialFiles good = options.credentials;
  options.credentials.access.clear();
  fails("--api-access FILE");
  options.credentials = good;
  options.credentials.tls.certificate = "/x";
  fails("--tls-cert and --tls-key");
  options.credentials = good;
  options.credentials.tls.client_ca = "/x";
  fails("client certificates need TLS");
  options.credentials = good;
  options.tcp = {{*net::parse_ip("192.0.2.1"), 0}};
  fails("without TLS the API is served on loopback addresses only, not on 192.0.2.1");
  options.tcp = {{*net::parse_ip("0.0.0.0"), 0}};
  fails("addresses that are named");
  options.tcp = {{*net::parse_ip("::"), 0}};
  fails("addresses that are named");
  options.tcp = {{*net::parse_ip("127.0.0.1"), 0}};
  options.credentials.tls = {options.credentials.access, options.credentials.access, ""};
  fails("cannot use " + options.credentials.access);
  options.credentials = good;
  grant("read-only cn prometheus\n");
  fails("--tls-client-ca");
  grant(fmt::format("read-only token {}\n", reader));
  EXPECT_EQ(why_not_started(), "");
}

TEST_F(ApiTcp, ListensOnSeveralAddresses) {
  options.tcp.push_back({*net::parse_ip("127.0.0.2"), 0});
  start();
  EXPECT_NE(server->tcp_port(0), 0U);
  EXPECT_NE(server->tcp_port(1), 0U);
  EXPECT_EQ(server->tcp_port(2), 0U);
}

}  // namespace
}  // namespace sluice::control
