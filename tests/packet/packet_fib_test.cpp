// The forwarding tables against a list of routes that is searched from the longest prefix to the shortest, and what
// they have room for. DPDK is started by the rig.
#include <map>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "dataplane/fib.h"
#include "dataplane/net/burst.h"

namespace sluice::dataplane {
namespace {

using net::Prefix;

std::unique_ptr<Fib> make(const FibSizing& sizing = {}) {
  auto fib = Fib::create(sizing);
  EXPECT_TRUE(fib) << fib.error().message;
  return std::move(*fib);
}

Prefix prefix(const std::string& text) { return net::parse_prefix(text).value(); }

NextHopId found(const Fib& fib, const net::IpAddr& addr) {
  return addr.is_v4() ? fib.lookup(addr.v4()) : fib.lookup(addr.v6());
}

// Routes as a list of them would be searched.
class Reference {
 public:
  void add(const Prefix& route, NextHopId hop) { routes_[route.length][net::to_string(route)] = {route, hop}; }
  void remove(const Prefix& route) { routes_[route.length].erase(net::to_string(route)); }
  [[nodiscard]] NextHopId find(const net::IpAddr& addr) const {
    for (auto length = routes_.rbegin(); length != routes_.rend(); ++length) {
      for (const auto& [text, route] : length->second) {
        if (route.first.contains(addr)) return route.second;
      }
    }
    return hop::no_route;
  }
  [[nodiscard]] std::vector<Prefix> all() const {
    std::vector<Prefix> routes;
    for (const auto& [length, of_length] : routes_) {
      for (const auto& [text, route] : of_length) routes.push_back(route.first);
    }
    return routes;
  }

 private:
  std::map<uint8_t, std::map<std::string, std::pair<Prefix, NextHopId>>> routes_;
};

// Few different bits, so that prefixes lie in each other.
std::string random_address(std::mt19937& random, bool v4) {
  const auto bits = [&] { return random() & random() & random(); };
  if (v4) return fmt::format("10.{}.{}.{}", bits() & 3, bits() & 0x81, bits() & 0xff);
  return fmt::format("fd00:{:x}:{:x}:{:x}::{:x}", bits() & 0x8003, bits() & 0x101, bits() & 1, bits() & 0xffff);
}

Prefix random_prefix(std::mt19937& random, bool v4) {
  const std::vector<unsigned> lengths =
      v4 ? std::vector<unsigned>{0, 8, 13, 16, 23, 24, 25, 28, 32}
         : std::vector<unsigned>{0, 1, 16, 24, 25, 32, 40, 47, 48, 56, 64, 96, 113, 127, 128};
  const std::string text = fmt::format("{}/{}", random_address(random, v4), lengths[random() % lengths.size()]);
  return net::parse_prefix(text).value().masked();
}

class EachFamily : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Fib, EachFamily, testing::Values(true, false),
                         [](const auto& tested) { return tested.param ? "V4" : "V6"; });

TEST_P(EachFamily, AgreesWithASearchedList) {
  const bool v4 = GetParam();
  std::mt19937 random(v4 ? 4 : 6);
  const auto fib = make({.max_routes_v4 = 4096, .max_routes_v6 = 4096, .groups_v4 = 1024, .groups_v6 = 2048});
  Reference reference;
  for (unsigned step = 0; step < 600; ++step) {
    if (step % 3 == 2) {
      const std::vector<Prefix> routes = reference.all();
      const Prefix& victim = routes[random() % routes.size()];
      fib->remove(victim);
      reference.remove(victim);
    } else {
      const Prefix route = random_prefix(random, v4);
      const auto hop = static_cast<NextHopId>(hop::first_dynamic + random() % 1000);
      const auto status = fib->add(route, hop);
      ASSERT_TRUE(status) << status.error().message;
      reference.add(route, hop);
    }
    for (unsigned look = 0; look < 10; ++look) {
      const net::IpAddr addr = net::parse_ip(random_address(random, v4)).value();
      ASSERT_EQ(found(*fib, addr), reference.find(addr)) << net::to_string(addr) << " after step " << step;
    }
  }
  for (const Prefix& route : reference.all()) fib->remove(route);
  for (unsigned look = 0; look < 1000; ++look) {
    const net::IpAddr addr = net::parse_ip(random_address(random, v4)).value();
    ASSERT_EQ(found(*fib, addr), hop::no_route) << net::to_string(addr);
  }
}

TEST(Fib, ABurstIsEachOfIts) {
  const auto fib = make({.max_routes_v4 = 64, .max_routes_v6 = 64, .groups_v4 = 64, .groups_v6 = 64});
  ASSERT_TRUE(fib->add(prefix("::/0"), 20));
  ASSERT_TRUE(fib->add(prefix("fd00::/64"), 21));
  ASSERT_TRUE(fib->add(prefix("10.0.0.0/24"), 22));
  net::Ipv6Addr v6[net::burst_size];
  net::Ipv4Addr v4[net::burst_size];
  NextHopId hops[net::burst_size];
  for (unsigned count : {1U, 7U, unsigned{net::burst_size}}) {
    for (unsigned i = 0; i < count; ++i) {
      v6[i] = net::parse_ip(i % 2 == 0 ? "fd00::1" : "fd01::1").value().v6();
      v4[i] = net::parse_ip(i % 2 == 0 ? "10.0.0.1" : "10.0.1.1").value().v4();
    }
    fib->lookup(v6, hops, count);
    for (unsigned i = 0; i < count; ++i) EXPECT_EQ(hops[i], i % 2 == 0 ? 21 : 20);
    fib->lookup(v4, hops, count);
    for (unsigned i = 0; i < count; ++i) EXPECT_EQ(hops[i], i % 2 == 0 ? 22 : hop::no_route);
  }
}

// A cluster's: networks one after the other, a /128 for each address of a service.
TEST(Fib, HasRoomForAHundredThousandOfEach) {
  const auto fib = make();
  for (unsigned i = 0; i < 100'000; ++i) {
    const unsigned high = i >> 8;
    const unsigned low = i & 0xff;
    const auto v4 = fib->add(prefix(fmt::format("{}.{}.{}.0/24", 20 + (high >> 8), high & 0xff, low)), 17);
    ASSERT_TRUE(v4) << v4.error().message;
    const auto v6 = i % 2 == 0 ? fib->add(prefix(fmt::format("fd20:{:x}:{:x}::/48", i >> 16, i & 0xffff)), 18)
                               : fib->add(prefix(fmt::format("fd00:96::{:x}:{:x}/128", i >> 16, i & 0xffff)), 19);
    ASSERT_TRUE(v6) << v6.error().message;
  }
  EXPECT_EQ(found(*fib, net::parse_ip("20.1.2.3").value()), 17);
  EXPECT_EQ(found(*fib, net::parse_ip("fd20:1:8000:7::1").value()), 18);
  EXPECT_EQ(found(*fib, net::parse_ip("fd20:1:8001:7::1").value()), hop::no_route);
  EXPECT_EQ(found(*fib, net::parse_ip("fd00:96::1:8001").value()), 19);
  EXPECT_EQ(found(*fib, net::parse_ip("fd00:96::1:8002").value()), hop::no_route);
}

TEST(Fib, SaysWhichRouteHasNoRoom) {
  const auto fib = make({.max_routes_v4 = 4, .max_routes_v6 = 4, .groups_v4 = 16, .groups_v6 = 16});
  for (const bool v4 : {true, false}) {
    std::string last;
    for (unsigned i = 0; i < 8 && last.empty(); ++i) {
      const auto status = fib->add(prefix(v4 ? fmt::format("10.0.{}.0/24", i) : fmt::format("fd0{}::/16", i)), 17);
      if (!status) last = status.error().message;
    }
    EXPECT_NE(last.find(v4 ? "10.0.4.0/24" : "fd04::/16"), std::string::npos) << last;
  }
}

}  // namespace
}  // namespace sluice::dataplane
