// Messages of the kernel, as Linux 6.18 sent them (ip-address(8), ip-route(8) in a namespace), and damaged ones.
#include <array>
#include <cstring>
#include <linux/netlink.h>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "control/netlink.h"

namespace sluice::control::netlink {
namespace {

net::Prefix prefix(std::string_view text) { return *net::parse_prefix(text); }
net::IpAddr ip(std::string_view text) { return *net::parse_ip(text); }

// Aligned, as the kernel's are.
std::vector<uint32_t> words(std::string_view hex) {
  std::vector<uint32_t> out(hex.size() / 8 + 1);
  auto* const bytes = reinterpret_cast<uint8_t*>(out.data());
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes[i / 2] = static_cast<uint8_t>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return out;
}
Message parsed(std::string_view hex) {
  const auto message = words(hex);
  return parse(*reinterpret_cast<const nlmsghdr*>(message.data()));
}

constexpr std::string_view new_link =
    "28000000100000000000000000000000000001000200000043100100010000000800030075703000";
constexpr std::string_view new_address =
    "4c00000014000000682f026bfb4d0000021880000200000008000100c0a8000108000200c0a80001080003007570300008000800"
    "8000000014000600ffffffffffffffffe85b7500e85b7500";
constexpr std::string_view kernel_address6 =
    "500000001400000000000000000000000a4080fd0200000014000100fe800000000000003c0224fffe1ad66614000600ffffffff"
    "ffffffffc95b7500c95b7500080008008000000005000b0003000000";
constexpr std::string_view gone_address =
    "4c000000150000006a2f026b094e0000021880000200000008000100c0a8000108000200c0a80001080003007570300008000800"
    "8000000014000600ffffffffffffffffe85b7500e85b7500";
constexpr std::string_view bird_route =
    "4400000018000006682f026b024e000002180000fe0c00010000000008000f00fe00000008000100c63364000800060020000000"
    "08000500c0a800fe0800040002000000";
constexpr std::string_view multipath_route =
    "5000000018000006692f026b034e000002180000fc0400010000000008000f00e803000008000100cb0071002400090010000001"
    "0200000008000500c0a80002100000000200000008000500c0a80003";
constexpr std::string_view blackhole_route =
    "2c00000018000006692f026b044e000002100000fe0c00060000000008000f00fe000000080001000a090000";
constexpr std::string_view multipath_route6 =
    "a800000018000004692f026b054e00000a300000fe0c00010000000008000f00fe0000001400010020010db80009000000000000"
    "0000000008000600000400003c0009001c0000000200000014000500fd0000010000000000000000000000021c00000002000000"
    "14000500fd00000100000000000000000000000324000c0000000000000000000000000000000000000000000000000000000000"
    "000000000500140000000000";
constexpr std::string_view gone_route =
    "44000000190000006a2f026b064e000002180000fe0c00010000000008000f00fe00000008000100c63364000800060020000000"
    "08000500c0a800fe0800040002000000";
constexpr std::string_view local_route =
    "3c00000018000006000000000000000002200000ff02fe020000000008000f00ff00000008000100c0a8000108000700c0a80001"
    "0800040002000000";

constexpr std::string_view multipath_via_v6 =
    "60000000180000060dd6036bb556000002180000fe0c00010000000008000f00fe00000008000100cb00710034000900200000000300"
    "0000160012000a00fe8000000000000000000000000000090000100000000300000008000500c0a80003";
constexpr std::string_view gone_via_v6 =
    "4c000000190000000ed6036bb756000002180000fe0c00010000000008000f00fe00000008000100c0000200160012000a00fe80000000"
    "000000000000000000000900000800040003000000";
constexpr std::string_view permanent_neighbor =
    "4c0000001c000000000000009a56000002000000030000008000000108000100c0a800090a0002000200000000090000080004000000"
    "00001400030000000000000000000000000001000000";
constexpr std::string_view no_arp_neighbor6 =
    "580000001c000000000000009e5600000a000000030000004000000114000100fe8000000000000000000000000000090a0002000200"
    "00000009000008000400000000001400030000000000000000000000000001000000";
constexpr std::string_view learned_neighbor =
    "4c0000001c00000000000000a256000002000000030000000200100108000100c0a8000a0a00020002000000000a0000080004000000"
    "00001400030000000000000000000000000002000000";
constexpr std::string_view reachable_neighbor =
    "4c0000001c00000000000000a656000002000000030000000200000108000100c0a800090a0002000200000000190000080004000000"
    "00001400030000000000000000000000000002000000";
constexpr std::string_view failed_neighbor6 =
    "4c0000001c00000000000000a85600000a000000030000002000000114000100fe800000000000000000000000000009080004000000"
    "0000140003005c0000005c0000005c00000001000000";
constexpr std::string_view gone_neighbor6 =
    "4c0000001d00000000000000000000000a000000030000002000000114000100fe800000000000000000000000000009080004000000"
    "0000140003005c0000005c0000005c00000000000000";
// Of a dump.
constexpr std::string_view incomplete_neighbor =
    "400000001c000200070000005ab178a102000000030000000100000108000100c0a8003708000400060000001400"
    "03004e180000de000000de00000001000000";
constexpr std::string_view group_neighbor6 =
    "580000001c000200070000005ab178a10a000000020000004000000514000100ff0200000000000000000000000000020a0002003333"
    "00000002000008000400000000001400030028190000b8010000b801000000000000";

TEST(Netlink, HOST3_ALink) { EXPECT_EQ(parsed(new_link), Message(Link{.index = 2, .name = "up0", .up = true})); }

TEST(Netlink, HOST3_AddressesAndWhoSetThem) {
  EXPECT_EQ(parsed(new_address), Message(Address{.link = 2, .address = prefix("192.168.0.1/24")}));
  EXPECT_EQ(parsed(kernel_address6),
            Message(Address{.link = 2, .address = prefix("fe80::3c02:24ff:fe1a:d666/64"), .protocol = 3}));
  EXPECT_EQ(parsed(gone_address), Message(Address{.link = 2, .address = prefix("192.168.0.1/24"), .gone = true}));
}

TEST(Netlink, HOST3_AddressesThatMayBeAnothers) {
  auto message = words(kernel_address6);
  auto* const flags = reinterpret_cast<uint8_t*>(message.data()) + 16 + 8 + 20 + 20 + 4;  // IFA_FLAGS
  ASSERT_EQ(flags[0], 0x80) << "permanent";
  const auto address = [&] { return std::get<Address>(parse(*reinterpret_cast<const nlmsghdr*>(message.data()))); };
  EXPECT_FALSE(address().gone);
  flags[0] = 0x80 | 0x40;  // IFA_F_TENTATIVE
  EXPECT_TRUE(address().gone);
  flags[0] = 0x80 | 0x08;  // IFA_F_DADFAILED
  EXPECT_TRUE(address().gone);
}

TEST(Netlink, HOST3_Routes) {
  Route route{.destination = prefix("198.51.100.0/24"), .table = 254, .protocol = 12, .metric = 32};
  route.hops = {{2, ip("192.168.0.254")}};
  EXPECT_EQ(parsed(bird_route), Message(route));
  route.gone = true;
  EXPECT_EQ(parsed(gone_route), Message(route));
  route = {.destination = prefix("203.0.113.0/24"), .table = 1000, .protocol = 4};
  route.hops = {{2, ip("192.168.0.2")}, {2, ip("192.168.0.3")}};
  EXPECT_EQ(parsed(multipath_route), Message(route));
  route = {.destination = prefix("2001:db8:9::/48"), .table = 254, .protocol = 12, .metric = 1024};
  route.hops = {{2, ip("fd00:1::2")}, {2, ip("fd00:1::3")}};
  EXPECT_EQ(parsed(multipath_route6), Message(route));
  EXPECT_EQ(
      parsed(blackhole_route),
      Message(Route{.destination = prefix("10.9.0.0/16"), .type = RouteType::Blackhole, .table = 254, .protocol = 12}));
  EXPECT_EQ(parsed(local_route), Message()) << "the kernel's own affair";
}

TEST(Netlink, HOST4_WhatTakesAnothersPlace) {
  auto message = words(bird_route);
  auto& header = *reinterpret_cast<nlmsghdr*>(message.data());
  const auto route = [&] { return std::get<Route>(parse(header)); };
  EXPECT_FALSE(route().replaces);
  header.nlmsg_flags |= NLM_F_REPLACE;
  EXPECT_TRUE(route().replaces);
  EXPECT_FALSE(route().gone);
  reinterpret_cast<uint8_t*>(message.data())[16 + 7] = 9;  // rtm_type: throw
  EXPECT_TRUE(route().gone) << "what was there before";
  EXPECT_EQ(route().destination, prefix("198.51.100.0/24"));
  EXPECT_EQ(route().metric, 32u);
  header.nlmsg_flags &= static_cast<uint16_t>(~NLM_F_REPLACE);
  EXPECT_EQ(parse(header), Message());
}

TEST(Netlink, HOST3_DeadNextHopsAreLeftOut) {
  auto message = words(multipath_route);
  auto* const bytes = reinterpret_cast<uint8_t*>(message.data());
  constexpr size_t first_hop_flags = 16 + 12 + 8 + 8 + 4 + 2;
  ASSERT_EQ(bytes[first_hop_flags + 1], 1) << "the weight is behind the flags";
  bytes[first_hop_flags] = 1;  // RTNH_F_DEAD
  const Message out = parse(*reinterpret_cast<const nlmsghdr*>(message.data()));
  ASSERT_TRUE(std::holds_alternative<Route>(out));
  EXPECT_EQ(std::get<Route>(out).hops, (std::vector<Route::Hop>{{2, ip("192.168.0.3")}}));
}

// RFC 8950, as BIRD and FRR install them.
TEST(Netlink, HOST4_RoutesOfIpv4WithANextHopOfIpv6) {
  Route route{.destination = prefix("192.0.2.0/24"), .table = 254, .protocol = 12};
  route.hops = {{3, ip("fe80::9")}};
  auto added = words(gone_via_v6);
  reinterpret_cast<nlmsghdr*>(added.data())->nlmsg_type = 24;  // RTM_NEWROUTE
  EXPECT_EQ(parse(*reinterpret_cast<const nlmsghdr*>(added.data())), Message(route));
  route.gone = true;
  EXPECT_EQ(parsed(gone_via_v6), Message(route));
  route = {.destination = prefix("203.0.113.0/24"), .table = 254, .protocol = 12};
  route.hops = {{3, ip("fe80::9")}, {3, ip("192.168.0.3")}};
  EXPECT_EQ(parsed(multipath_via_v6), Message(route)) << "one of each family";
}

TEST(Netlink, HOST4_NextHopsThatCannotBeReadAreLeftOut) {
  auto message = words(multipath_via_v6);
  auto* const bytes = reinterpret_cast<uint8_t*>(message.data());
  constexpr size_t family = 16 + 12 + 8 + 8 + 4 + 8 + 4;  // of RTA_VIA in the first hop
  ASSERT_EQ(bytes[family], 10);
  bytes[family] = 28;  // MPLS
  const Message out = parse(*reinterpret_cast<const nlmsghdr*>(message.data()));
  ASSERT_TRUE(std::holds_alternative<Route>(out));
  EXPECT_EQ(std::get<Route>(out).hops, (std::vector<Route::Hop>{{3, ip("192.168.0.3")}}));
  auto single = words(gone_via_v6);
  reinterpret_cast<nlmsghdr*>(single.data())->nlmsg_type = 24;
  constexpr size_t single_family = 16 + 12 + 8 + 8 + 4;
  ASSERT_EQ(reinterpret_cast<uint8_t*>(single.data())[single_family], 10);
  reinterpret_cast<uint8_t*>(single.data())[single_family] = 28;
  const Message none = parse(*reinterpret_cast<const nlmsghdr*>(single.data()));
  ASSERT_TRUE(std::holds_alternative<Route>(none));
  EXPECT_TRUE(std::get<Route>(none).hops.empty()) << "not: all of it is on the link";
}

TEST(Netlink, HOST5_Neighbors) {
  using Type = Neighbor::Type;
  const net::MacAddr mac{{2, 0, 0, 0, 0, 9}};
  EXPECT_EQ(parsed(permanent_neighbor),
            Message(Neighbor{.link = 3, .address = ip("192.168.0.9"), .mac = mac, .type = Type::Permanent}));
  EXPECT_EQ(parsed(no_arp_neighbor6),
            Message(Neighbor{.link = 3, .address = ip("fe80::9"), .mac = mac, .type = Type::NoArp}));
  const net::MacAddr other{{2, 0, 0, 0, 0, 0x0a}};
  EXPECT_EQ(parsed(learned_neighbor),
            Message(Neighbor{.link = 3, .address = ip("192.168.0.10"), .mac = other, .type = Type::Learned}));
  const net::MacAddr third{{2, 0, 0, 0, 0, 0x19}};
  EXPECT_EQ(parsed(reachable_neighbor), Message(Neighbor{.link = 3, .address = ip("192.168.0.9"), .mac = third}))
      << "it was permanent before";
  const net::MacAddr group{{0x33, 0x33, 0, 0, 0, 2}};
  EXPECT_EQ(parsed(group_neighbor6),
            Message(Neighbor{.link = 2, .address = ip("ff02::2"), .mac = group, .type = Type::NoArp, .dumped = true}));
}

TEST(Netlink, HOST5_NeighborsWithoutAMacAddressOrThatAreGone) {
  EXPECT_EQ(parsed(incomplete_neighbor), Message(Neighbor{.link = 3, .address = ip("192.168.0.55"), .dumped = true}));
  EXPECT_EQ(parsed(failed_neighbor6), Message(Neighbor{.link = 3, .address = ip("fe80::9")}));
  EXPECT_EQ(parsed(gone_neighbor6), Message(Neighbor{.link = 3, .address = ip("fe80::9"), .gone = true}));
}

TEST(Netlink, HOST5_WhatIsNoNeighbor) {
  auto message = words(permanent_neighbor);
  auto* const bytes = reinterpret_cast<uint8_t*>(message.data());
  const auto now = [&] { return parse(*reinterpret_cast<const nlmsghdr*>(message.data())); };
  bytes[16 + 10] = 0x08;  // NTF_PROXY: an address that is answered for
  EXPECT_EQ(now(), Message());
  bytes[16 + 10] = 0;
  bytes[16] = 7;  // AF_BRIDGE: the forwarding table of a bridge
  EXPECT_EQ(now(), Message());
  bytes[16] = 10;  // an IPv6 address of four bytes
  EXPECT_EQ(now(), Message());
}

TEST(Netlink, HOST5_ADumpThatDoesNotComeToItsEnd) {
  // NLMSG_DONE with -ENOMEM, and with 0.
  EXPECT_EQ(parsed("14000000030002006a2f026b00000000f4ffffff"), Message(Refusal{12}));
  EXPECT_EQ(parsed("14000000030002006a2f026b0000000000000000"), Message());
}

TEST(Netlink, HOST3_RequestsThatTheKernelRefuses) {
  // RTM_NEWADDR, EINVAL; an acknowledgement is none.
  EXPECT_EQ(parsed("24000000020000006a2f026b00000000eaffffff28000000140005066a2f026b00000000"), Message(Refusal{22}));
  EXPECT_EQ(parsed("24000000020000006a2f026b000000000000000028000000140005066a2f026b00000000"), Message());
}

// Whatever the lengths say, nothing outside of the message is read (the sanitizers watch), and no prefix is longer than
// its address.
TEST(Netlink, HOST3_DamagedMessages) {
  for (const std::string_view text : {new_link, new_address, bird_route, multipath_route, multipath_route6,
                                      multipath_via_v6, gone_via_v6, permanent_neighbor, no_arp_neighbor6}) {
    const auto whole = words(text);
    const auto length = reinterpret_cast<const nlmsghdr*>(whole.data())->nlmsg_len;
    for (size_t cut = sizeof(nlmsghdr); cut <= length; cut += 4) {
      std::vector<uint32_t> part(whole.begin(), whole.begin() + static_cast<long>(cut / 4));
      reinterpret_cast<nlmsghdr*>(part.data())->nlmsg_len = static_cast<uint32_t>(cut);
      for (size_t at = sizeof(nlmsghdr); at < cut; ++at) {
        std::vector<uint32_t> damaged = part;
        reinterpret_cast<uint8_t*>(damaged.data())[at] ^= 0xff;
        const Message out = parse(*reinterpret_cast<const nlmsghdr*>(damaged.data()));
        if (const auto* route = std::get_if<Route>(&out); route != nullptr) {
          EXPECT_LE(route->destination.length, route->destination.addr.bit_length());
        }
        if (const auto* address = std::get_if<Address>(&out); address != nullptr) {
          EXPECT_LE(address->address.length, address->address.addr.bit_length());
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::control::netlink
