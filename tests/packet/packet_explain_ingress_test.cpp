// What is said of connections that go where their first bytes lead: of packets that nobody sends, with what the client
// would say, and of those that come.
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/explain.h"

namespace sluice::packet_test {
namespace {

std::string ingress(const std::string& name, const std::string& annotations, const std::string& host,
                    const std::string& paths) {
  return R"({"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"namespace":"default","name":")" + name +
         R"(","annotations":{"kubernetes.io/ingress.class":"sluice")" + annotations +
         R"(}},"spec":{"rules":[{"host":")" + host + R"(","http":{"paths":[)" + paths + "]}}]}}";
}
std::string path(const std::string& path, const std::string& service) {
  return R"({"path":")" + path + R"(","pathType":"Prefix","backend":{"service":{"name":")" + service +
         R"(","port":{"number":80}}}})";
}

class ExplainIngress : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    ServiceSpec web{.name = "web", .cluster_ips = {"10.96.0.11", "fd00:10:96::11"}, .ports = {"TCP 80 8080"}};
    web.endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"};
    ServiceSpec api{.name = "api", .cluster_ips = {"10.96.0.12", "fd00:10:96::12"}, .ports = {"TCP 80 8080"}};
    api.endpoints = {"10.246.1.21 node3", "fd00:10:246::21 node3"};
    rig().load(list({gateway(R"("ingress":{"enabled":true,"addresses":["198.51.100.7","2001:db8:7::7"]})"), cluster(),
                     service(web), service(api),
                     ingress("site", "", "www.example.com", path("/", "web") + "," + path("/api", "api")),
                     ingress("safe", R"(,"sluice.dev/tls-passthrough":"true")", "tls.example.com", path("/", "api"))}));
  }
  std::string ask(const Endpoint& to, const std::string& host, const std::string& path = "/") {
    control::Probe probe = syn(to.address.is_v4() ? "10.246.1.5" : "fd00:10:246::5", to);
    probe.host = host;
    probe.path = path;
    return explain(rig(), probe);
  }
};

TEST_P(ExplainIngress, EXP1_ING3_TheRuleAndItsBytes) {
  const std::string text = ask("198.51.100.7:80", "www.example.com", "/api/v1?x");
  EXPECT_EQ(step(text, "ingress"), "its bytes 0 to 48 match rule default/site www.example.com/api");
  EXPECT_EQ(step(text, "flow"), "none yet: this packet opens one");
  EXPECT_EQ(step(text, "backend"), "10.246.1.21:8080, the only endpoint");
  EXPECT_TRUE(like(step(text, "service"), "default/api:*198.51.100.7:80*")) << text;
  EXPECT_TRUE(like(step(text, "out"), "tcp SYN *> 10.246.1.21:8080, *")) << text;
  EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
  const std::string v6 = ask("[2001:db8:7::7]:80", "www.example.com");
  EXPECT_EQ(step(v6, "ingress"), "its bytes 0 to 40 match rule default/site www.example.com/");
  EXPECT_EQ(step(v6, "backend"), "[fd00:10:246::20]:8080, the only endpoint");
}

TEST_P(ExplainIngress, EXP1_ING14_TheServerName) {
  const std::string text = ask("198.51.100.7:443", "tls.example.com");
  EXPECT_TRUE(like(step(text, "ingress"), "its bytes 0 to * match rule default/safe tls.example.com*")) << text;
  EXPECT_EQ(step(text, "backend"), "10.246.1.21:8080, the only endpoint");
  EXPECT_EQ(step(ask("198.51.100.7:443", "www.example.com"), "ingress").find("the router answers itself: "), 0U);
}

TEST_P(ExplainIngress, EXP1_ING14_NamesOfTheClientHello) {
  control::Probe probe = syn("10.246.1.5", "198.51.100.7:443");
  probe.host = "tls.example.com";
  EXPECT_EQ(step(explain(rig(), probe), "tls"), "ClientHello with server name \"tls.example.com\" and no ALPN");
  probe.alpn = "h2,http/1.1";
  EXPECT_EQ(step(explain(rig(), probe), "tls"),
            "ClientHello with server name \"tls.example.com\" and ALPN \"h2,http/1.1\"");
  EXPECT_EQ(step(ask("198.51.100.7:80", "www.example.com"), "tls"), "");
  // To an address where nobody decides by it, on its way.
  const std::string hello = control::said_by(probe, {443});
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.11:80", "S").with_seq(100, 0)),
            "b/13 tcp S 10.246.1.5:1000>10.246.1.20:8080 ttl 63");
  (void)rig().send("b", tcp("10.246.1.20:8080", "10.246.1.5:1000", "SA").with_seq(500, 101));
  RigTrace trace(rig(), "tcp port 80");
  Ip packet = tcp("10.246.1.5:1000", "10.96.0.11:80", "PA").with_seq(101, 501);
  packet.payload = {hello.begin(), hello.end()};
  (void)rig().send("b", packet);
  std::string seen;
  for (const std::string& text : trace.texts()) seen += step(text, "tls") + "\n";
  EXPECT_NE(seen.find("ClientHello with server name \"tls.example.com\" and ALPN \"h2,http/1.1\"\n"), std::string::npos)
      << seen;
}

TEST_P(ExplainIngress, EXP4_WhatTheRouterAnswers) {
  const std::string text = ask("198.51.100.7:80", "nobody.example.com");
  EXPECT_EQ(step(text, "ingress"), "the router answers itself: no_host_rule");
  EXPECT_TRUE(like(step(text, "answer"), "tcp *198.51.100.7:80 > 10.246.1.5:40000, *")) << text;
  EXPECT_TRUE(text.ends_with("=> answered")) << text;
  EXPECT_EQ(ask("10.96.0.11:80", "www.example.com"),
            "host: nobody reads there what clients say first: 10.96.0.11:80 is no address and port of an Ingress, or "
            "the connection exists");
}

TEST_P(ExplainIngress, EXP1_ASynAlone) {
  const std::string text = ask("198.51.100.7:80", "");
  EXPECT_TRUE(like(step(text, "ingress"), "what the client says first decides*")) << text;
  EXPECT_TRUE(like(step(text, "answer"), "tcp SYN,ACK 198.51.100.7:80 > 10.246.1.5:40000, *")) << text;
  EXPECT_TRUE(text.ends_with("=> answered")) << text;
  EXPECT_EQ(rig().flows(), 0U);
}

SLUICE_WITH_WORKERS(ExplainIngress);

}  // namespace
}  // namespace sluice::packet_test
