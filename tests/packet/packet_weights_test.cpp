// The annotation sluice.dev/weights through the whole router: how new connections are shared out, and how weight 0
// drains.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

class Weights : public RigTest {
 protected:
  void load(std::vector<std::string> endpoints, const std::string& weights, const std::string& more = "") {
    ServiceSpec spec{.name = "web",
                     .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                     .ports = {"TCP 80 8080 30080", "UDP 53 5353"},
                     .load_balancer_ip = "198.51.100.80"};
    spec.endpoints = std::move(endpoints);
    spec.weights = weights;
    spec.more = more;
    rig().load(list({gateway(R"("proxy":{"maglevTableSize":65521})"), cluster(), service(spec)}));
  }
  // What `count` new connections of as many client ports get.
  std::map<std::string, int> connect(int count, const std::string& client = "10.246.1.5",
                                     const std::string& frontend = "10.96.0.10:80") {
    std::map<std::string, int> out;
    for (int i = 0; i < count; ++i) {
      const std::string from = client + ":" + std::to_string(next_port_++);
      const std::string sent = rig().send("b", tcp(from, frontend, "S").with_seq(100, 0));
      ++out[sent.empty() || rig().only().ip.protocol != net::protocol::tcp ? "refused" : rig().only().ip.dst.text()];
    }
    return out;
  }

 private:
  int next_port_ = 1000;
};

const std::vector<std::string> two{"10.246.1.20 node3", "10.246.1.21 node3"};
using Shares = std::map<std::string, int>;

TEST_P(Weights, SVC22_ACanaryGetsItsShare) {
  load({"10.246.1.20 node3", "10.246.1.21 node3", "10.246.1.22 node3"}, R"({"web-10-246-1-22": 20})");
  Shares shares = connect(2200);
  EXPECT_NEAR(shares["10.246.1.20:8080"], 1000, 110);
  EXPECT_NEAR(shares["10.246.1.21:8080"], 1000, 110);
  EXPECT_NEAR(shares["10.246.1.22:8080"], 200, 60);
  EXPECT_EQ(shares.size(), 3u);
}

TEST_P(Weights, SVC22_ByTheLabelOfTheSlice) {
  load(two, R"({"kubernetes.io/service-name=web": 10, "10.246.1.21": 90})");
  Shares shares = connect(1000);
  EXPECT_NEAR(shares["10.246.1.20:8080"], 100, 45);
  EXPECT_NEAR(shares["10.246.1.21:8080"], 900, 45);
}

TEST_P(Weights, SVC90_SVC22_EstablishedConnectionsStayWhenWeightsChange) {
  load(two, "");
  std::map<std::string, std::string> connections;
  for (int port = 20000; port < 20032; ++port) {
    const std::string client = "10.246.1.5:" + std::to_string(port);
    (void)rig().send("b", tcp(client, "10.96.0.10:80", "S").with_seq(100, 0));
    const std::string backend = connections[client] = rig().only().ip.dst.text();
    (void)rig().send("b", tcp(backend, client, "SA").with_seq(500, 101));
    (void)rig().send("b", tcp(client, "10.96.0.10:80", "A").with_seq(101, 501));
  }
  for (const char* weights : {R"({"10.246.1.20": 1})", R"({"10.246.1.20": 0})", R"({"10.246.1.21": 0})",
                              R"({"10.246.1.20": 0, "10.246.1.21": 0})"}) {
    load(two, weights);
    for (const auto& [client, backend] : connections) {
      EXPECT_EQ(rig().send("b", tcp(client, "10.96.0.10:80", "PA").with_seq(101, 501)),
                "b/13 tcp PA " + client + ">" + backend + " ttl 63")
          << weights;
    }
  }
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(Weights, SVC91_SVC22_WeightZeroGetsNothingNew) {
  load(two, R"({"10.246.1.20": 0})");
  EXPECT_EQ(connect(40), (Shares{{"10.246.1.21:8080", 40}}));
  (void)rig().send("b", udp("10.246.1.5:999", "10.96.0.10:53"));
  EXPECT_EQ(rig().only().ip.dst.text(), "10.246.1.21:5353");
  load(two, R"({"10.246.1.20": 1})");
  EXPECT_EQ(connect(1000).size(), 2u) << "SVC-93: it is used again";
}

// A UDP flow to an endpoint that serves goes on, whatever its weight (SVC-94).
TEST_P(Weights, SVC94_SVC22_UdpFlowsGoOn) {
  load({two[0]}, "");
  ASSERT_EQ(rig().send("b", udp("10.246.1.5:999", "10.96.0.10:53")), "b/13 udp 10.246.1.5:999>10.246.1.20:5353 ttl 63");
  load(two, R"({"10.246.1.20": 0})");
  EXPECT_EQ(rig().send("b", udp("10.246.1.5:999", "10.96.0.10:53")), "b/13 udp 10.246.1.5:999>10.246.1.20:5353 ttl 63");
}

TEST_P(Weights, SVC44_SVC22_AffinityDoesNotKeepAnEndpointOfWeightZero) {
  const std::string client_ip = R"("sessionAffinity":"ClientIP")";
  load({two[0]}, "", client_ip);
  for (int i = 40; i < 52; ++i) {
    EXPECT_EQ(connect(1, "10.246.1." + std::to_string(i)), (Shares{{"10.246.1.20:8080", 1}}));
  }
  load(two, R"({"10.246.1.20": 0})", client_ip);
  for (int i = 40; i < 52; ++i) {
    EXPECT_EQ(connect(1, "10.246.1." + std::to_string(i)), (Shares{{"10.246.1.21:8080", 1}}));
  }
  load(two, R"({"10.246.1.20": 100, "10.246.1.21": 1})", client_ip);
  for (int i = 40; i < 52; ++i) {
    EXPECT_EQ(connect(1, "10.246.1." + std::to_string(i)), (Shares{{"10.246.1.21:8080", 1}}))
        << "a weight is about who has none yet";
  }
}

TEST_P(Weights, SVC30_SVC22_AllOfWeightZeroIsRefused) {
  load(two, R"({"10.246.1.20": 0, "10.246.1.21": 0})");
  EXPECT_EQ(rig().send("b", tcp("10.246.1.5:1000", "10.96.0.10:80", "S")),
            "b/13 icmp 3/3 10.96.0.10>10.246.1.5 ttl 64 [ tcp S 10.246.1.5:1000>10.96.0.10:80 ttl 64 ]");
  EXPECT_EQ(rig().drops(), "no_endpoint_rejected 1");
  load({two[0], "10.246.1.21 node3 terminating"}, R"({"10.246.1.20": 0})");
  EXPECT_EQ(connect(10), (Shares{{"10.246.1.21:8080", 10}})) << "SVC-10";
}

TEST_P(Weights, SVC22_IPv6) {
  load({"fd00:10:246::20 node3", "fd00:10:246::21 node3"}, R"({"fd00:10:246::20": 0})");
  EXPECT_EQ(connect(20, "[fd00:10:246::5]", "[fd00:10:96::10]:80"), (Shares{{"[fd00:10:246::21]:8080", 20}}));
}

SLUICE_WITH_WORKERS(Weights);

}  // namespace
}  // namespace sluice::packet_test
