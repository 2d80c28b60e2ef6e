// Where pods of other nodes live: networks within networks become networks apart from each other.
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/pod_networks.h"

namespace sluice::control {
namespace {

using net::IpAddr;
using net::Prefix;
using testing::ElementsAre;
using Texts = std::vector<std::string>;

IpAddr ip(const char* text) { return *net::parse_ip(text); }
Prefix prefix(const char* text) { return *net::parse_prefix(text); }

PodNetworks networks(std::initializer_list<const char*> elsewhere, std::initializer_list<const char*> here) {
  PodNetworks made;
  for (const char* text : here) made.add(prefix(text), false);
  for (const char* text : elsewhere) made.add(prefix(text), true);
  return made;
}

Texts texts(const PodNetworks& networks) {
  Texts out;
  for (const Prefix& network : networks.elsewhere()) out.push_back(net::to_string(network));
  return out;
}

TEST(PodNetworks, SVC63_NetworksApartStayAsTheyAre) {
  EXPECT_THAT(texts(networks({"10.244.2.0/26", "10.244.1.0/26", "fd00:1::/122"}, {"10.244.0.0/26", "fd00::/122"})),
              ElementsAre("10.244.1.0/26", "10.244.2.0/26", "fd00:1::/122"));
  EXPECT_THAT(texts(networks({}, {"10.244.0.0/26"})), ElementsAre());
}

TEST(PodNetworks, SVC63_OneOfAnotherNodeInsideIsElsewhereAllTheSame) {
  EXPECT_THAT(texts(networks({"10.244.1.0/26", "10.244.1.7/32", "fd00:1::/122", "fd00:1::7/128"}, {})),
              ElementsAre("10.244.1.0/26", "fd00:1::/122"));
}

TEST(PodNetworks, SVC63_AnOwnAddressInsideIsCutOut) {
  EXPECT_THAT(texts(networks({"10.244.1.0/29"}, {"10.244.1.2/32"})),
              ElementsAre("10.244.1.0/31", "10.244.1.3/32", "10.244.1.4/30"));
  EXPECT_THAT(texts(networks({"fd00:1::/125"}, {"fd00:1::7/128"})),
              ElementsAre("fd00:1::/126", "fd00:1::4/127", "fd00:1::6/128"));
  EXPECT_THAT(texts(networks({"10.244.1.0/26"}, {"10.244.1.0/26"})), ElementsAre()) << "the first one counts";
}

TEST(PodNetworks, SVC63_AnAddressOfAnotherNodeInAnOwnBlock) {
  EXPECT_THAT(texts(networks({"10.244.1.7/32", "fd00:1::7/128"}, {"10.244.1.0/26", "fd00:1::/122"})),
              ElementsAre("10.244.1.7/32", "fd00:1::7/128"));
  EXPECT_THAT(texts(networks({"10.244.0.0/16", "10.244.1.7/32"}, {"10.244.1.0/29", "10.244.0.0/24"})).back(),
              "10.244.128.0/17");
}

// Random networks in a small space, against the longest match among all of them, for every address.
TEST(PodNetworks, SVC63_TheLongestNetworkDecides) {
  std::mt19937 random(63);
  for (int round = 0; round < 300; ++round) {
    const bool v6 = round % 2 != 0;
    const uint8_t least = v6 ? 120 : 24;
    const auto address = [&](unsigned last) -> IpAddr {
      if (!v6) return net::Ipv4Addr::from_host(0x0af40100 + last);
      net::Ipv6Addr out = ip("fd00:1::").v6();
      out.bytes[15] = static_cast<uint8_t>(last);
      return out;
    };
    std::map<Prefix, bool> all;
    PodNetworks made;
    for (unsigned i = random() % 8; i-- != 0;) {
      const Prefix network{address(random() % 256), static_cast<uint8_t>(least + random() % 9)};
      const bool elsewhere = random() % 2 != 0;
      made.add(network, elsewhere);
      all.try_emplace(network.masked(), elsewhere);
    }
    const std::vector<Prefix> out = made.elsewhere();
    for (size_t i = 1; i < out.size(); ++i) {
      ASSERT_LT(out[i - 1].addr, out[i].addr);
      ASSERT_FALSE(out[i - 1].overlaps(out[i]));
    }
    for (unsigned last = 0; last < 256; ++last) {
      bool expected = false;
      for (uint8_t length = least; length <= least + 8; ++length) {
        const auto found = all.find(Prefix{address(last), length}.masked());
        if (found != all.end()) expected = found->second;
      }
      const bool is =
          std::any_of(out.begin(), out.end(), [&](const Prefix& one) { return one.contains(address(last)); });
      ASSERT_EQ(is, expected) << "round " << round << " address " << last;
    }
  }
}

}  // namespace
}  // namespace sluice::control
