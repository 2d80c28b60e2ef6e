// What tests of delayed binding need: a listener whose rules are simple, services behind it, and a client and servers
// that speak TCP with the router between them, over a network that loses packets, repeats them and changes their order.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/l7/decision.h"
#include "tests/packet/rig.h"
#include "tests/packet/tcp_peer.h"

namespace sluice::packet_test {

// A head is a line: "1 7" goes to target 1 and has a body of 7 bytes; "1p 0" with a PROXY header; "1w 7" is watched; of
// "1wh 7" the answers are HTTP, "1wd 7" of HEAD, "1wu 7" asks for an upgrade, "1whc 0" has a chunked body; "1k 0" keeps
// the client's address, and "1x 0" goes to target 1 as to one outside of the cluster; "answer", "reset". A client that
// says "?" first waits for "go on", and its "ok" is not for the endpoint.
class LineListener : public l7::Listener {
 public:
  static inline l7::TcpLimits limits;  // of all of them

  [[nodiscard]] l7::Decision decide(l7::Bytes start) const override;
  [[nodiscard]] l7::Bytes greeting(l7::Bytes start) const override;
  [[nodiscard]] l7::Decision decide_greeted(l7::Bytes start) const override;
  [[nodiscard]] l7::Bytes timed_out(l7::Bytes start) const override;
  [[nodiscard]] l7::Bytes too_long(l7::Bytes start) const override;
  [[nodiscard]] l7::Bytes failed(l7::Bytes start, l7::Failure failure) const override;
  [[nodiscard]] l7::Bytes bad_body() const override;
  [[nodiscard]] l7::TcpLimits tcp() const override { return limits; }
  [[nodiscard]] uint32_t most_bytes() const override { return 4000; }
};

// Puts a LineListener where `fronts` are, and the services at the addresses `targets` behind their hidden ones; all at
// TCP port 80.
template <class F>
void put_listener(dataplane::FamilyTables<F>& tables, const std::vector<std::string>& fronts,
                  const std::vector<std::string>& targets);

// Services "front", which has the listener, and the targets "one", "two", "none", which has no endpoint, and "both";
// `more`: other objects. `both`: endpoints of "both", if they are not those of "one" and "two". `mtu`: of all
// interfaces.
void load_splices(Rig& rig, const std::string& more = "", const std::vector<std::string>& both = {},
                  uint16_t mtu = 1500);

[[nodiscard]] std::string pattern(size_t size, unsigned seed);

// What lies between the peers: the router, and a network that is only sometimes good.
class Network {
 public:
  struct Side {
    std::string client = "10.246.1.5:1000";
    std::string front = "10.96.0.10:80";
    std::string port = "b";
    std::string server = "10.246.1.20:8080";
    std::string second = "10.246.1.21:8080";
  };
  static Side v4() { return {}; }
  static Side v6() {
    return {"[fd00:10:246::5]:1000", "[fd00:10:96::10]:80", "b", "[fd00:10:246::20]:8080", "[fd00:10:246::21]:8080"};
  }
  static Side outside() { return {"192.0.2.10:1000", "198.51.100.80:80", "a", "10.246.1.20:8080", "10.246.1.21:8080"}; }
  static std::vector<Side> all() { return {v4(), v6(), outside()}; }

  // `bad`: percent of packets to which something happens.
  Network(Rig& rig, Side side, unsigned seed = 0, unsigned bad = 0);
  [[nodiscard]] uint16_t mss() const { return side_.client[0] == '[' ? 1440 : 1460; }

  // One turn: who has something to say says it. `again`: and what was not acknowledged.
  void turn(bool again);
  // Until nothing moves, or `turns` are over.
  void run(unsigned turns = 40) {
    for (unsigned i = 0; i < turns; ++i) turn(i % 4 == 3);
  }
  template <class Done>
  bool run_until(const Done& done, unsigned turns = 600) {
    for (unsigned i = 0; i < turns; ++i) {
      turn(i % 4 == 3);
      if (done()) return true;
    }
    return false;
  }
  // The client says `request` and no more; the server answers the whole of it. Until the client has heard the end or a
  // reset; `meanwhile`: in each turn. False: `turns` are over before.
  bool converse(const std::string& request, const std::string& answer, unsigned turns,
                const std::function<void()>& meanwhile = {});
  [[nodiscard]] TcpPeer& server(const std::string& name) { return servers.at(name); }
  [[nodiscard]] TcpPeer& server() { return servers.at(side_.server); }
  [[nodiscard]] bool has_server(const std::string& name) const { return servers.count(name) != 0; }
  [[nodiscard]] const Side& side() const { return side_; }
  void set_bad(unsigned percent) { bad_ = percent; }
  // What came out of the router goes where it is for. turn() does that itself.
  void take();

 private:
  [[nodiscard]] bool hit() { return bad_ != 0 && random_() % 100 < bad_; }

  Rig& rig_;
  Side side_;
  std::mt19937 random_;
  unsigned bad_;
  uint32_t now_ = 100000;
  std::vector<TcpSegment> refused_;

 public:
  TcpPeer client;
  PeerOptions server_options;
  std::map<std::string, TcpPeer> servers;
  std::map<std::string, std::string> says;
  std::string arrives;                                     // by the client's numbers, if that is not what it said
  std::map<std::string, bool> refuses;                     // by endpoint; true: with a reset
  bool deaf = false;                                       // what the router sends to servers is lost
  bool compares = true;                                    // what comes to servers with what the client said
  std::function<void(const std::string& name)> on_server;  // one is connected, perhaps anew
};

}  // namespace sluice::packet_test
