// Backend sets and the lookup of frontends.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "nat/service.h"

namespace sluice::nat {
namespace {

using net::V4;
using net::V6;

template <class F>
typename F::Addr addr(const char* text) {
  return F::addr_of(*net::parse_ip(text));
}
be16 port(uint16_t host) { return be16::from_host(host); }

template <class F>
Backend<F> backend(const char* text, uint16_t number, bool local = false) {
  return {addr<F>(text), port(number), local};
}

template <class F>
Frontend<F> frontend(typename F::Addr vip, uint16_t number, uint8_t protocol, uint32_t id,
                     FrontendKind kind = FrontendKind::ClusterIp) {
  auto service = std::make_shared<ServicePort<F>>();
  service->id = id;
  return {vip, port(number), protocol, kind, std::move(service)};
}

TEST(BackendSet, SVC5_SameEndpointInTwoSlicesCountsOnce) {
  const auto set = make_backend_set<V4>({backend<V4>("10.0.0.2", 80), backend<V4>("10.0.0.1", 80),
                                         backend<V4>("10.0.0.2", 80), backend<V4>("10.0.0.1", 81)});
  const std::vector<Backend<V4>> expected{backend<V4>("10.0.0.1", 80), backend<V4>("10.0.0.1", 81),
                                          backend<V4>("10.0.0.2", 80)};
  EXPECT_EQ(set.backends, expected);
  EXPECT_EQ(set.maglev.size(), Maglev::table_size_for(3));
}

TEST(BackendSet, SVC5_LocalInOneSliceIsLocal) {
  for (const bool first : {false, true}) {
    const auto set = make_backend_set<V6>({backend<V6>("fd00::1", 80, first), backend<V6>("fd00::1", 80, !first)});
    ASSERT_EQ(set.backends.size(), 1u);
    EXPECT_TRUE(set.backends[0].local);
  }
}

TEST(BackendSet, SVC6_EndpointsOfOneServiceMayHaveDifferentPorts) {
  const auto set = make_backend_set<V4>({backend<V4>("10.0.0.1", 8080), backend<V4>("10.0.0.1", 8081)});
  EXPECT_EQ(set.backends.size(), 2u);
  const auto set_v6 = make_backend_set<V6>({backend<V6>("fd00::1", 8080), backend<V6>("fd00::1", 8081)});
  EXPECT_EQ(set_v6.backends.size(), 2u);
}

TEST(BackendSet, SVC20_EmptySetChoosesNothing) {
  EXPECT_EQ(BackendSet<V4>().pick(0), nullptr);
  EXPECT_EQ(make_backend_set<V6>({}).pick(12345), nullptr);
}

TEST(BackendSet, SVC21_OrderOfSlicesAndNodeNamesDoNotMatter) {
  std::vector<Backend<V4>> backends;
  for (uint32_t i = 0; i < 30; ++i) backends.push_back({net::Ipv4Addr::from_host(0x0a000001 + i * 7), port(80)});
  const auto first = make_backend_set<V4>(backends);
  std::mt19937_64 random(1);
  std::shuffle(backends.begin(), backends.end(), random);
  // Another gateway calls other endpoints local.
  for (auto& each : backends) each.local = random() % 2 != 0;
  const auto second = make_backend_set<V4>(backends);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t hash = random();
    EXPECT_EQ(first.pick(hash)->addr, second.pick(hash)->addr);
  }
}

TEST(BackendSet, SVC21_IdentityIsTheSameInEveryBuild) {
  // FNV-1a of the bytes address, port, then MurmurHash3's 64-bit finalizer; computed independently.
  EXPECT_EQ(identity(backend<V4>("10.244.34.5", 8080)), uint64_t{0xbc70d9a783a4af3c});
  EXPECT_EQ(identity(backend<V6>("fd00:10:244::5", 8080)), uint64_t{0x5e150cb4c7431acb});
  EXPECT_EQ(identity(backend<V4>("10.0.0.1", 80, true)), identity(backend<V4>("10.0.0.1", 80, false)));
}

TEST(BackendSet, SVC21_ConfiguredTableSize) {
  EXPECT_EQ(make_backend_set<V4>({backend<V4>("10.0.0.1", 80)}, 16381).maglev.size(), 16381u);
}

TEST(ServiceTable, SVC1_ProtocolsAreSeparateServices) {
  const auto vip = addr<V4>("10.96.0.10");
  const ServiceTable<V4> table({frontend<V4>(vip, 53, net::protocol::tcp, 1),
                                frontend<V4>(vip, 53, net::protocol::udp, 2),
                                frontend<V4>(vip, 53, net::protocol::sctp, 3)});
  EXPECT_EQ(table.find(vip, port(53), net::protocol::tcp)->service->id, 1u);
  EXPECT_EQ(table.find(vip, port(53), net::protocol::udp)->service->id, 2u);
  EXPECT_EQ(table.find(vip, port(53), net::protocol::sctp)->service->id, 3u);
  EXPECT_EQ(table.find(vip, port(53), net::protocol::icmp), nullptr);
}

TEST(ServiceTable, SVC2_KnownClusterIpWithUnknownPort) {
  const auto cluster_ip = addr<V4>("10.96.7.7");
  const auto balancer = addr<V4>("192.168.0.240");
  const ServiceTable<V4> table({frontend<V4>(cluster_ip, 80, net::protocol::tcp, 1),
                                frontend<V4>(cluster_ip, 443, net::protocol::tcp, 2),
                                frontend<V4>(balancer, 80, net::protocol::tcp, 1, FrontendKind::LoadBalancer)});
  EXPECT_EQ(table.find(cluster_ip, port(81), net::protocol::tcp), nullptr);
  EXPECT_EQ(table.find(cluster_ip, port(80), net::protocol::udp), nullptr);
  EXPECT_EQ(table.find(cluster_ip, port(0), 0), nullptr);
  EXPECT_TRUE(table.is_cluster_ip(cluster_ip));
  EXPECT_FALSE(table.is_cluster_ip(balancer));
  EXPECT_FALSE(table.is_cluster_ip(addr<V4>("10.96.7.8")));
}

TEST(ServiceTable, SVC9_EmptyTableFindsNothing) {
  const auto vip = addr<V6>("fd00:96::1");
  EXPECT_EQ(ServiceTable<V6>().find(vip, port(80), net::protocol::tcp), nullptr);
  EXPECT_FALSE(ServiceTable<V6>().is_cluster_ip(vip));
  EXPECT_EQ(ServiceTable<V6>(std::vector<Frontend<V6>>{}).find(vip, port(80), net::protocol::tcp), nullptr);
}

TEST(ServiceTable, SVC9_FirstOfTwoDuplicatesCounts) {
  const auto vip = addr<V4>("10.96.0.1");
  const ServiceTable<V4> table(
      {frontend<V4>(vip, 80, net::protocol::tcp, 1), frontend<V4>(vip, 80, net::protocol::tcp, 2)});
  EXPECT_EQ(table.find(vip, port(80), net::protocol::tcp)->service->id, 1u);
}

template <class F>
class ServiceTableOf : public ::testing::Test {};
struct FamilyNames {
  template <class F>
  static std::string GetName(int) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    return F::is_v4 ? "V4" : "V6";
  }
};
using Families = ::testing::Types<V4, V6>;
TYPED_TEST_SUITE(ServiceTableOf, Families, FamilyNames);

template <class F>
typename F::Addr nth_vip(uint32_t n) {
  if constexpr (F::is_v4) {
    return net::Ipv4Addr::from_host(0x0a600000 + n);
  } else {
    net::Ipv6Addr vip = addr<V6>("fd00:96::");
    net::store_be32(vip.bytes.data() + 12, n);
    return vip;
  }
}

TYPED_TEST(ServiceTableOf, BASE10_TenThousandServicesAreAllFound) {
  using F = TypeParam;
  constexpr uint32_t services = 10'000;
  std::vector<Frontend<F>> frontends;
  for (uint32_t i = 0; i < services; ++i) {
    frontends.push_back(frontend<F>(nth_vip<F>(i), 80, net::protocol::tcp, i));
    frontends.push_back(frontend<F>(nth_vip<F>(services), static_cast<uint16_t>(20'000 + i), net::protocol::udp, i,
                                    FrontendKind::NodePort));
  }
  const ServiceTable<F> table(std::move(frontends));
  for (uint32_t i = 0; i < services; ++i) {
    const auto* cluster = table.find(nth_vip<F>(i), port(80), net::protocol::tcp);
    ASSERT_NE(cluster, nullptr);
    EXPECT_EQ(cluster->service->id, i);
    EXPECT_TRUE(table.is_cluster_ip(nth_vip<F>(i)));
    const auto* node = table.find(nth_vip<F>(services), port(static_cast<uint16_t>(20'000 + i)), net::protocol::udp);
    ASSERT_NE(node, nullptr);
    EXPECT_EQ(node->service->id, i);
    EXPECT_EQ(table.find(nth_vip<F>(i), port(81), net::protocol::tcp), nullptr);
    EXPECT_EQ(table.find(nth_vip<F>(i + services + 1), port(80), net::protocol::tcp), nullptr);
  }
  EXPECT_FALSE(table.is_cluster_ip(nth_vip<F>(services)));
}

TEST(Cidr, SVC66_ContainsIPv4) {
  const Cidr<V4> range{addr<V4>("203.0.113.0"), 25};
  EXPECT_TRUE(range.contains(addr<V4>("203.0.113.2")));
  EXPECT_TRUE(range.contains(addr<V4>("203.0.113.127")));
  EXPECT_FALSE(range.contains(addr<V4>("203.0.113.130")));
  EXPECT_FALSE(range.contains(addr<V4>("203.0.112.2")));
  const Cidr<V4> everything{addr<V4>("203.0.113.0"), 0};
  EXPECT_TRUE(everything.contains(addr<V4>("10.0.0.1")));
  const Cidr<V4> one{addr<V4>("203.0.113.7"), 32};
  EXPECT_TRUE(one.contains(addr<V4>("203.0.113.7")));
  EXPECT_FALSE(one.contains(addr<V4>("203.0.113.6")));
}

TEST(Cidr, SVC66_ContainsIPv6) {
  for (const uint8_t length : {0, 1, 31, 64, 65, 127, 128}) {
    const Cidr<V6> range{addr<V6>("2001:db8:1:2:3:4:5:6"), length};
    EXPECT_TRUE(range.contains(range.network));
    for (int bit = 0; bit < 128; ++bit) {
      net::Ipv6Addr other = range.network;
      other.bytes[static_cast<size_t>(bit / 8)] ^= static_cast<uint8_t>(0x80 >> bit % 8);
      EXPECT_EQ(range.contains(other), bit >= length) << bit << " of " << int{length};
    }
  }
}

}  // namespace
}  // namespace sluice::nat
