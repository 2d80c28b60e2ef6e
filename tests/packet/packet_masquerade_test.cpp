// Masquerade rules that no other file has the scene for: traffic policy Local, what a mapping is for, and connections
// whose service is gone (section 4 of the rules; the port side is in packet_exhaustion_test.cpp).
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/families.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

class Masquerade : public RigTest {
 protected:
  void load(const std::string& more, std::vector<std::string> endpoints, const Family& family = ipv4) {
    ServiceSpec spec{.name = "web",
                     .cluster_ips = {family.service},
                     .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                     .load_balancer_ip = family.balancer};
    spec.endpoints = std::move(endpoints);
    spec.more = more;
    rig().load(
        list({gateway(R"("proxy":{"allowExternalClusterIP":true})"), cluster(R"("natOutgoing":true)"), service(spec)}));
  }
  // Source and destination of the first packet of a connection as they leave: "10.246.1.5 > 10.246.1.20".
  std::string ends(const std::string& port, const std::string& client, const std::string& frontend) {
    if (rig().send(port, tcp(with_port(client, next_port_++), frontend, "S")).empty()) return "nothing";
    const Ip& sent = rig().only().ip;
    return net::to_string(sent.src.address) + " > " + net::to_string(sent.dst.address);
  }

 private:
  int next_port_ = 1000;
};

// Known connections are looked up before services: an answer to a masqueraded port stays one when a later configuration
// makes a node port of that number.
TEST_P(Masquerade, SVC56_AnAnswerIsNotTakenForANodePorts) {
  struct Ends {
    const char* pod;
    const char* outside;
    const char* router;
  };
  const Ends both[] = {{"10.246.1.5:1000", "198.51.100.9:7", "192.0.2.1:"},
                       {"[fd00:10:246::5]:1000", "[2001:db8:99::9]:7", "[2001:db8:2::1]:"}};
  for (const Ends& ends : both) {
    for (const bool is_tcp : {true, false}) {
      start({});
      rig().load(list({gateway(R"("snat":{"portRange":"33000-33999"})"), cluster(R"("natOutgoing":true)")}));
      const auto packet = [&](const Endpoint& src, const Endpoint& dst, const char* flags) {
        return is_tcp ? tcp(src, dst, flags) : udp(src, dst);
      };
      const std::string kind = is_tcp ? "tcp SA " : "udp ";
      ASSERT_TRUE(like(rig().send("b", packet(ends.pod, ends.outside, "S")), "a/fe *"));
      const std::string taken = rig().only().ip.src.text();
      const std::string port = std::to_string(rig().only().ip.src.port);
      ASSERT_TRUE(taken.starts_with(ends.router));
      const ServiceSpec spec{.name = "web",
                             .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                             .ports = {std::string(is_tcp ? "TCP" : "UDP") + " 80 8080 " + port},
                             .endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"}};
      Gateway later;
      later.more = R"("snat":{"portRange":"40000-65535"})";
      std::string text = later.text();
      const std::string key = R"("cluster":{)";
      text.insert(text.find(key) + key.size(), R"("nodePortRange":"30000-33999",)");
      rig().load(list({text, cluster(R"("natOutgoing":true)"), service(spec)}));
      ASSERT_TRUE(like(rig().send("a", packet(std::string(ends.outside) + "7", taken, "S")), "b/13 * ttl 63"))
          << "it is a node port now";
      EXPECT_EQ(rig().only().ip.dst.port, 8080);
      EXPECT_EQ(rig().send("a", packet(ends.outside, taken, "SA")),
                "b/13 " + kind + ends.outside + ">" + ends.pod + " ttl 63");
    }
  }
}

// One row of the table of section 3.16 for each client, over all three frontends.
TEST_P(Masquerade, MASQ4_SVC62_ExternalPolicyLocal) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string outside = family.client(2), pod = family.pod(5), endpoint = family.pod(20),
                      router = family.router_b;
    const std::string node_port = family.node_port(30080), balancer = with_port(family.balancer, 80);
    load(R"("externalTrafficPolicy":"Local")", {endpoint + " gw"}, family);
    for (const std::string& frontend : {node_port, balancer}) {
      for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(ends("a", outside, frontend), outside + " > " + endpoint) << "its own address, as SVC-61 wants";
        EXPECT_EQ(ends("b", pod, frontend), pod + " > " + endpoint) << "SVC-62";
        EXPECT_EQ(ends("b", endpoint, frontend), router + " > " + endpoint) << "MASQ-3, all the same";
      }
    }
    EXPECT_EQ(ends("a", outside, family.service_at(80)), router + " > " + endpoint) << "MASQ-1";
    EXPECT_EQ(ends("b", pod, family.service_at(80)), pod + " > " + endpoint);
    load(R"("externalTrafficPolicy":"Local")", {family.endpoint(20)}, family);
    EXPECT_EQ(ends("a", outside, node_port), "nothing") << "no endpoint here";
    EXPECT_EQ(ends("a", outside, balancer), "nothing");
    EXPECT_EQ(ends("b", pod, balancer), pod + " > " + endpoint) << "SVC-62: from the cluster's list";
    EXPECT_EQ(ends("b", router, balancer), router + " > " + endpoint) << "the node itself";
  }
}

TEST_P(Masquerade, MASQ4_SVC64_InternalPolicyLocal) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string pod = family.pod(5), router = family.router_b;
    std::set<std::string> by_node_port;
    load(R"("internalTrafficPolicy":"Local")", {family.pod(20) + " gw", family.endpoint(21)}, family);
    for (int i = 0; i < 16; ++i) {
      EXPECT_EQ(ends("b", pod, family.service_at(80)), pod + " > " + family.pod(20));
      EXPECT_EQ(ends("a", family.client(2), family.service_at(80)), router + " > " + family.pod(20));
      by_node_port.insert(ends("b", pod, family.node_port(30080)));
    }
    EXPECT_EQ(by_node_port, (std::set{router + " > " + family.pod(20), router + " > " + family.pod(21)}));
  }
}

// A mapping is for one destination: others cannot use it, and the next one has its own.
TEST_P(Masquerade, MASQ13_MappingsAreSymmetric) {
  load("", {"10.246.1.20 node3"});
  std::map<uint16_t, int> ports;
  for (int host = 1; host <= 16; ++host) {
    const std::string peer = "198.51.100." + std::to_string(host);
    ASSERT_TRUE(like(rig().send("b", udp("10.246.1.5:5000", peer + ":53")), "a/fe udp 192.0.2.1:*"));
    const Endpoint mapped = rig().only().ip.src;
    ++ports[mapped.port];
    EXPECT_EQ(rig().send("a", udp(peer + ":53", mapped.text())), "b/13 udp " + peer + ":53>10.246.1.5:5000 ttl 63");
    for (const std::string& other : {peer + ":54", std::string("198.51.100.99:53")}) {
      EXPECT_TRUE(like(rig().send("a", udp(other, mapped.text())), "a/fe icmp 3/3 192.0.2.1>*")) << other;
    }
    (void)rig().advance(100);  // the rate limit of errors
  }
  EXPECT_GT(ports.size(), 8u) << "ports are drawn for each destination";
}

TEST_P(Masquerade, MASQ14_RepliesAreTranslatedBackWithoutTheirService) {
  for (const Family& family : families) {
    SCOPED_TRACE(family.name);
    const std::string node_port = family.node_port(30080), endpoint = family.pod(20, 8080);
    const std::string pod = family.pod(5, 5000), peer = family.client(9, 53);
    load("", {family.endpoint(20)}, family);
    std::map<std::string, std::string> clients;  // by translated source
    for (int port = 1000; port < 1016; ++port) {
      const std::string client = family.client(2, port);
      ASSERT_TRUE(like(rig().send("a", tcp(client, node_port, "S").with_seq(100, 0)), "b/13 tcp S * ttl 63"));
      ASSERT_EQ(net::to_string(rig().only().ip.src.address), family.router_b);
      clients[rig().only().ip.src.text()] = client;
    }
    ASSERT_TRUE(like(rig().send("b", udp(pod, peer)), "a/fe udp *"));
    const std::string outgoing = rig().only().ip.src.text();
    ASSERT_NE(outgoing, pod);
    rig().load(list({gateway(), cluster()}));
    for (const auto& [translated, client] : clients) {
      EXPECT_EQ(rig().send("b", tcp(endpoint, translated, "SA").with_seq(500, 101)),
                "a/fe tcp SA " + node_port + ">" + client + " ttl 63");
      EXPECT_EQ(rig().send("a", tcp(client, node_port, "A").with_seq(101, 501)),
                "b/13 tcp A " + translated + ">" + endpoint + " ttl 63");
    }
    EXPECT_EQ(rig().send("a", udp(peer, outgoing)), "b/13 udp " + peer + ">" + pod + " ttl 63")
        << "the pool is no longer natOutgoing";
  }
  EXPECT_EQ(rig().drops(), "");
}

SLUICE_WITH_WORKERS(Masquerade);

}  // namespace
}  // namespace sluice::packet_test
