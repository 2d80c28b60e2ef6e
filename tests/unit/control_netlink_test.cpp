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

// Whatever the lengths say, nothing outside of the message is read (the sanitizers watch), and no prefix is longer than
// its address.
TEST(Netlink, HOST3_RequestsThatTheKernelRefuses) {
  // RTM_NEWADDR, EINVAL; an acknowledgement is none.
  EXPECT_EQ(parsed("24000000020000006a2f026b00000000eaffffff28000000140005066a2f026b00000000"), Message(Refusal{22}));
  EXPECT_EQ(parsed("24000000020000006a2f026b000000000000000028000000140005066a2f026b00000000"), Message());
}

TEST(Netlink, HOST3_DamagedMessages) {
  for (const std::string_view text : {new_link, new_address, bird_route, multipath_route, multipath_route6}) {
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
