// What is said of ContentPolicies: which look into a connection that nobody opens, what they would find in what its
// client says first, and in which bytes of a packet that came something was found.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/explain.h"

namespace sluice::packet_test {
namespace {

constexpr const char* client = "10.246.1.5:1000";
constexpr const char* vip = "10.96.0.10:80";

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                      .ports = {"TCP 80 8080", "UDP 53 5353"},
                      .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};

// Patterns as "name action regex".
std::string policy(const std::string& name, const std::vector<std::string>& patterns, const std::string& more = "") {
  std::string list;
  for (const std::string& pattern : patterns) {
    const size_t first = pattern.find(' ');
    const size_t second = pattern.find(' ', first + 1);
    list += fmt::format(R"({}{{"name":"{}","action":"{}","regex":"{}"}})", list.empty() ? "" : ",",
                        pattern.substr(0, first), pattern.substr(first + 1, second - first - 1),
                        pattern.substr(second + 1));
  }
  return fmt::format(R"({{"apiVersion":"sluice.dev/v1","kind":"ContentPolicy","metadata":{{"namespace":"default",
    "name":"{}"}},"spec":{{"serviceSelector":{{}},{}"patterns":[{}]}}}})",
                     name, more, list);
}

class ExplainContent : public RigTest {
 protected:
  void load(const std::vector<std::string>& more) {
    std::vector<std::string> objects{gateway(R"("ingress":{"enabled":true,"addresses":["198.51.100.7"]})"), cluster(),
                                     service(web)};
    objects.insert(objects.end(), more.begin(), more.end());
    rig().load(list(objects));
  }
  std::string says(const std::string& data, const std::string& to = vip) {
    control::Probe probe = syn(client, to);
    probe.data = data;
    return explain(rig(), probe);
  }
  std::string sends(const std::string& data) {
    control::Probe probe = syn("10.246.1.5:5000", "10.96.0.10:53");
    probe.protocol = net::protocol::udp;
    probe.data = data;
    return explain(rig(), probe);
  }
};

TEST_P(ExplainContent, CNT9_WhichPoliciesLook) {
  load({policy("a", {"bad Drop jndi:"}), policy("b", {"key Reset KEY"}, R"("direction":"Egress","depth":100,)")});
  const std::string text = says("");
  EXPECT_NE(text.find("content: default/a looks into the first 16384 bytes of each direction\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("content: default/b looks into the first 100 bytes that the client is told\n"), std::string::npos)
      << text;
  EXPECT_TRUE(text.ends_with("=> forwarded")) << text;
  const std::string harmless = says("GET / HTTP/1.1\r\n");
  EXPECT_EQ(step(harmless, "content"),
            "default/a looks into the first 16384 bytes of each direction: none of its patterns is in these 16 bytes");
  EXPECT_TRUE(harmless.ends_with("=> forwarded")) << harmless;
  load({});
  EXPECT_EQ(step(says("jndi:"), "content"), "");
}

TEST_P(ExplainContent, CNT9_WhichBytesAPatternMatches) {
  load({policy("a", {"bad Drop jn+di:[a-z]+", "cookie Count Cookie", "late Drop ^GET$"})});
  const std::string text = says("GET /${jnndi:ldap} Cookie");
  EXPECT_NE(
      text.find("content: pattern default/a: bad matches bytes 7 to 13 (\"jnndi:l\") of what the client says: the "
                "connection ends in silence\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("content: pattern default/a: cookie matches bytes 19 to 24 (\"Cookie\") of what the client says: "
                      "it is counted\n"),
            std::string::npos)
      << text;
  EXPECT_TRUE(like(step(text, "out"), "tcp SYN 10.246.1.5:1000 > 10.246.1.20:8080, *")) << text;
  EXPECT_TRUE(text.ends_with("=> dropped (content_matched)")) << text;
  const std::string v6 = explain(rig(), [] {
    control::Probe probe = syn("fd00:10:246::5", "[fd00:10:96::10]:80");
    probe.data = "Cookie";
    return probe;
  }());
  EXPECT_EQ(step(v6, "content"),
            "pattern default/a: cookie matches bytes 0 to 5 (\"Cookie\") of what the client says: it is counted");
  EXPECT_TRUE(v6.ends_with("=> forwarded")) << v6;
  EXPECT_EQ(step(says("GET"), "content").find("default/a looks into"), 0U) << "a stream has no end that $ could be";
}

TEST_P(ExplainContent, CNT9_NothingIsCounted) {
  load({policy("a", {"bad Drop jndi:"})});
  (void)says("jndi:");
  (void)sends("jndi:");
  EXPECT_EQ(rig().flows(), 0U);
  EXPECT_EQ(rig().count(dataplane::Event::ContentMatches), 0U);
  EXPECT_EQ(rig().count(dataplane::Event::ContentFlows), 0U);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(ExplainContent, CNT9_ADatagram) {
  load({policy("a", {"bad Reset ^ab\\\\x01$"})});
  const std::string text = sends(std::string("ab\x01"));
  EXPECT_EQ(step(text, "content"),
            "pattern default/a: bad matches bytes 0 to 2 (\"ab\\x01\") of what the client says: it is dropped and its "
            "sender told");
  EXPECT_TRUE(like(step(text, "parsed"), "udp *, 31 bytes*")) << text;
  EXPECT_EQ(step(text, "out"), "") << "it does not leave";
  EXPECT_TRUE(text.ends_with("=> dropped (content_matched)")) << text;
  EXPECT_TRUE(sends("ab").ends_with("=> forwarded"));
}

TEST_P(ExplainContent, CNT9_SeveralExpressions) {
  load({R"x({"apiVersion":"sluice.dev/v1","kind":"ContentPolicy","metadata":{"namespace":"default","name":"s"},"spec":{
    "serviceSelector":{},"suricataRules":["drop tcp any any -> any any (msg:\"two\"; content:\"one\"; content:\"two\"; sid:7;)"]}})x"});
  const std::string text = says("x two one two");
  EXPECT_EQ(
      step(text, "content"),
      "pattern default/s: sid 7: two matches bytes 6 to 8 (\"one\") and 2 to 4 (\"two\") of what the client says: "
      "the connection ends in silence");
  EXPECT_EQ(step(says("x one"), "content").find("default/s looks into"), 0U);
}

TEST_P(ExplainContent, CNT9_ING3_WhatIsAskedOfAnIngress) {
  load({policy("a", {"bad Reset cart"}),
        R"({"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"namespace":"default","name":"site",
    "annotations":{"kubernetes.io/ingress.class":"sluice"}},"spec":{"rules":[{"host":"www.example.com","http":{"paths":[
    {"path":"/","pathType":"Prefix","backend":{"service":{"name":"web","port":{"number":80}}}}]}}]}})"});
  control::Probe probe = syn(client, "198.51.100.7:80");
  probe.host = "www.example.com";
  probe.path = "/cart";
  const std::string text = explain(rig(), probe);
  EXPECT_TRUE(like(step(text, "ingress"), "its bytes 0 to * match rule default/site www.example.com/")) << text;
  EXPECT_EQ(step(text, "content"),
            "pattern default/a: bad matches bytes 5 to 8 (\"cart\") of what the client says: both ends get a RST");
  EXPECT_TRUE(text.ends_with("=> dropped (content_matched)")) << text;
  const std::string data = says("GET /other HTTP/1.1\r\nHost: www.example.com\r\nX: cart\r\n\r\n", "198.51.100.7:80");
  EXPECT_TRUE(like(step(data, "ingress"), "its bytes 0 to * match rule default/site www.example.com/")) << data;
  EXPECT_TRUE(like(step(data, "content"), "pattern default/a: bad matches bytes 47 to 50 (\"cart\")*")) << data;
}

TEST_P(ExplainContent, CNT9_TracesSayWhichBytesTheyWere) {
  load({policy("a", {"bad Count jndi:[a-z]+", "first Count ^GET"})});
  RigTrace trace(rig(), "tcp port 80");
  const auto send = [&](uint32_t at, std::string_view text) {
    Ip packet = tcp(client, vip, "PA").with_seq(101 + at, 501);
    packet.payload = {text.begin(), text.end()};
    (void)rig().send("b", packet);
    std::string out;
    // The first data also says who looks from now on.
    for (const std::string& one : trace.texts()) {
      const size_t last = one.rfind("content: ");
      if (last != std::string::npos) out += step(one.substr(last), "content");
    }
    return out;
  };
  (void)rig().send("b", tcp(client, vip, "S").with_seq(100, 0));
  (void)trace.texts();
  (void)rig().send("b", tcp("10.246.1.20:8080", client, "SA").with_seq(500, 101));
  (void)trace.texts();
  EXPECT_EQ(send(0, "GET /"), "pattern default/a: first matches bytes 0 to 2 (\"GET\") of this direction");
  EXPECT_EQ(send(5, "a jndi:ldap"), "pattern default/a: bad matches bytes 7 to 12 (\"jndi:l\") of this direction");
  load({policy("a", {"bad Drop jndi:[a-z]+"})});
  (void)rig().send("b", tcp(client, vip, "R").with_seq(116, 0));
  (void)rig().advance(20000);
  (void)rig().send("b", tcp(client, vip, "S").with_seq(100, 0));
  (void)rig().send("b", tcp("10.246.1.20:8080", client, "SA").with_seq(500, 101));
  (void)trace.texts();
  EXPECT_EQ(send(0, "xjnd"), "default/a looks into the first 16384 bytes of each direction");
  EXPECT_EQ(send(4, "i:ldap"), "pattern default/a: bad matches bytes up to 6 of this direction")
      << "where it began is not at hand";
}

SLUICE_WITH_WORKERS(ExplainContent);

}  // namespace
}  // namespace sluice::packet_test
