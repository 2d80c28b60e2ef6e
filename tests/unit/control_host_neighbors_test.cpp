// Static neighbours of the host's kernel as they come and go, and which of them the router takes.
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/host_neighbors.h"

namespace sluice::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Type = netlink::Neighbor::Type;

net::IpAddr ip(std::string_view text) { return *net::parse_ip(text); }
net::MacAddr mac(uint8_t last) { return {{2, 0, 0, 0, 0, last}}; }

class HostNeighborsOf : public testing::Test {
 protected:
  HostNeighborsOf() {
    table.set_links({{7, "up"}, {8, "un"}});
    network();
  }
  void network(const std::vector<config::StaticNeighbor>& configured = {},
               std::vector<std::string> addresses = {"192.0.2.1/24", "2001:db8::1/64"}) {
    PlannedInterface up;
    up.name = "up";
    for (const std::string& address : addresses) up.addresses.push_back(*net::parse_prefix(address));
    PlannedInterface un;
    un.name = "un";
    un.addresses = {*net::parse_prefix("192.168.0.1/24"), *net::parse_prefix("fe80::1/64")};
    table.set_network({up, un}, configured);
  }
  void set(std::string_view address, uint8_t last, Type type = Type::Permanent, int link = 7) {
    table.learn({.link = link, .address = ip(address), .mac = mac(last), .type = type});
  }
  void remove(std::string_view address, int link = 7) {
    table.learn({.link = link, .address = ip(address), .gone = true});
  }
  // "192.0.2.9 dev up 02:00:00:00:00:09, …"
  std::string usable() {
    std::string out;
    for (const auto& [place, neighbor] : table.usable()) {
      out += fmt::format("{}{} dev {} {}{}", out.empty() ? "" : ", ", net::to_string(place.second), place.first,
                         net::to_string(neighbor.mac), neighbor.learned ? " learned" : "");
    }
    return out;
  }

  HostNeighborTable table;
};

TEST_F(HostNeighborsOf, HOST5_ComeChangeAndGo) {
  EXPECT_FALSE(table.changed());
  set("192.0.2.9", 9);
  set("fe80::9", 9, Type::NoArp, 8);
  set("192.0.2.10", 10, Type::Learned);
  EXPECT_TRUE(table.changed());
  EXPECT_EQ(usable(),
            "fe80::9 dev un 02:00:00:00:00:09, 192.0.2.9 dev up 02:00:00:00:00:09, "
            "192.0.2.10 dev up 02:00:00:00:00:0a learned");
  EXPECT_FALSE(table.changed());
  set("192.0.2.9", 9);
  EXPECT_FALSE(table.changed()) << "the same again";
  set("192.0.2.9", 0x19);
  remove("fe80::9", 8);
  remove("192.0.2.10");
  EXPECT_TRUE(table.changed());
  EXPECT_EQ(usable(), "192.0.2.9 dev up 02:00:00:00:00:19");
  set("192.0.2.9", 0x19, Type::Resolved);
  EXPECT_EQ(usable(), "") << "the kernel asks for it from now on";
  remove("192.0.2.9");
  EXPECT_FALSE(table.changed());
}

TEST_F(HostNeighborsOf, HOST5_OnlyThoseOfTwins) {
  set("192.0.2.9", 9, Type::Permanent, 3);
  EXPECT_FALSE(table.changed());
  set("192.0.2.9", 9);
  set("192.168.0.9", 9, Type::Permanent, 8);
  table.set_links({{8, "un"}});
  EXPECT_TRUE(table.changed());
  EXPECT_EQ(usable(), "192.168.0.9 dev un 02:00:00:00:00:09");
  table.set_links({});
  EXPECT_EQ(usable(), "");
}

TEST_F(HostNeighborsOf, HOST5_TheConfigurationComesFirst) {
  set("192.0.2.9", 9);
  set("192.0.2.10", 10);
  network({{"up", ip("192.0.2.9"), mac(0x99)}, {"un", ip("192.0.2.10"), mac(0x99)}});
  EXPECT_TRUE(table.changed());
  EXPECT_EQ(usable(), "192.0.2.10 dev up 02:00:00:00:00:0a") << "the other is at another interface";
  EXPECT_THAT(table.warnings(), IsEmpty());
  network();
  EXPECT_EQ(usable(), "192.0.2.9 dev up 02:00:00:00:00:09, 192.0.2.10 dev up 02:00:00:00:00:0a") << "and back";
}

TEST_F(HostNeighborsOf, HOST5_BadOnesAreLeftOutWithAWarning) {
  table.learn({.link = 7, .address = ip("192.0.2.2"), .mac = {{1, 0, 0x5e, 0, 0, 1}}, .type = Type::Permanent});
  table.learn({.link = 7, .address = ip("192.0.2.3"), .type = Type::Learned});
  set("192.0.2.1", 9);
  set("192.168.0.1", 9);
  set("192.168.0.9", 9);
  set("224.0.0.9", 9);
  EXPECT_EQ(usable(), "");
  EXPECT_THAT(
      table.warnings(),
      ElementsAre(HasSubstr("192.0.2.1 at the twin of up is left out: it is an address of this router, at up"),
                  HasSubstr("192.0.2.2 at the twin of up is left out: 01:00:5e:00:00:01 is not the address"),
                  HasSubstr("192.0.2.3 at the twin of up is left out: 00:00:00:00:00:00 is not the address"),
                  HasSubstr("192.168.0.1 at the twin of up is left out: it is an address of this router, at un"),
                  HasSubstr("192.168.0.9 at the twin of up is left out: its subnet is that of un"),
                  HasSubstr("224.0.0.9 at the twin of up is left out: it is a multicast address")));
  network({}, {"192.0.2.77/24", "192.168.0.7/30"});
  EXPECT_EQ(usable(), "192.0.2.1 dev up 02:00:00:00:00:09") << "not the router's any more";
  remove("192.0.2.2");
  EXPECT_EQ(usable(), "192.0.2.1 dev up 02:00:00:00:00:09");
  EXPECT_EQ(table.warnings().size(), 4u);
}

// As FRR sets for unnumbered sessions: a next hop in no subnet.
TEST_F(HostNeighborsOf, HOST5_InNoSubnetTheyAreNextHops) {
  set("169.254.0.1", 9);
  set("fe80::9", 9);
  EXPECT_EQ(usable(), "169.254.0.1 dev up 02:00:00:00:00:09, fe80::9 dev up 02:00:00:00:00:09");
  EXPECT_THAT(table.warnings(), IsEmpty());
}

// The kernel makes them for what it sends to groups and broadcast addresses.
TEST_F(HostNeighborsOf, HOST5_ThoseOfTheKernelItselfSayNothing) {
  table.learn({.link = 7, .address = ip("ff02::2"), .mac = {{0x33, 0x33, 0, 0, 0, 2}}, .type = Type::NoArp});
  table.learn({.link = 7, .address = ip("192.0.2.255"), .mac = net::MacAddr::broadcast(), .type = Type::NoArp});
  table.learn({.link = 7, .address = ip("192.0.2.9"), .mac = mac(9), .type = Type::Resolved});
  EXPECT_FALSE(table.changed());
}

TEST_F(HostNeighborsOf, HOST5_ManyWarningsAreCounted) {
  for (int i = 1; i <= 20; ++i) set(fmt::format("192.168.0.{}", 100 + i), 9);
  EXPECT_EQ(usable(), "");
  ASSERT_EQ(table.warnings().size(), 9u);
  EXPECT_EQ(table.warnings().back(), "12 more neighbours of the host are left out");
}

// After lost messages everything is asked for again.
TEST_F(HostNeighborsOf, HOST5_WhatIsNotToldAgainIsGone) {
  set("192.0.2.9", 9);
  set("192.0.2.10", 10);
  (void)usable();
  table.begin_all();
  set("192.0.2.10", 10);
  EXPECT_FALSE(table.changed()) << "the answer is not complete yet";
  table.end_all();
  EXPECT_TRUE(table.changed());
  EXPECT_EQ(usable(), "192.0.2.10 dev up 02:00:00:00:00:0a");
}

// The kernel looks at a neighbour for its answer, takes a change and tells of it, and sends the answer.
TEST_F(HostNeighborsOf, HOST5_ADumpIsOlderThanTheChangesWhileItLasts) {
  const auto dumped = [&](std::string_view address, uint8_t last) {
    table.learn({.link = 7, .address = ip(address), .mac = mac(last), .type = Type::Permanent, .dumped = true});
  };
  for (const char* address : {"192.0.2.8", "192.0.2.9", "192.0.2.10"}) set(address, 9);
  table.begin_all();
  remove("192.0.2.8");
  set("192.0.2.9", 0x19);
  remove("192.0.2.11");
  set("192.0.2.11", 11);
  for (const char* address : {"192.0.2.8", "192.0.2.9", "192.0.2.10"}) dumped(address, 9);
  table.end_all();
  EXPECT_EQ(usable(),
            "192.0.2.9 dev up 02:00:00:00:00:19, 192.0.2.10 dev up 02:00:00:00:00:09, "
            "192.0.2.11 dev up 02:00:00:00:00:0b");
  table.begin_all();
  for (const char* address : {"192.0.2.8", "192.0.2.9"}) dumped(address, 9);
  table.end_all();
  EXPECT_EQ(usable(), "192.0.2.8 dev up 02:00:00:00:00:09, 192.0.2.9 dev up 02:00:00:00:00:09") << "the next counts";
}

TEST_F(HostNeighborsOf, HOST5_BeyondTheMaximumTheyAreLeftOutAndAskedForAgainWhenThereIsRoom) {
  const auto address = [](size_t i) { return fmt::format("2001:db8::{:x}", 0x100 + i); };
  for (size_t i = 0; i < HostNeighborTable::most; ++i) set(address(i), 9);
  EXPECT_EQ(table.usable().size(), HostNeighborTable::most);
  EXPECT_THAT(table.warnings(), IsEmpty());
  set(address(HostNeighborTable::most), 9);
  EXPECT_TRUE(table.changed());
  EXPECT_EQ(table.usable().size(), HostNeighborTable::most);
  EXPECT_THAT(table.warnings(), ElementsAre(HasSubstr("more than 4096 static neighbours")));
  EXPECT_FALSE(table.has_gaps()) << "there is no room";
  remove(address(3));
  EXPECT_TRUE(table.has_gaps());
  table.begin_all();
  for (size_t i = 0; i <= HostNeighborTable::most; ++i) {
    if (i != 3) set(address(i), 9);
  }
  table.end_all();
  EXPECT_FALSE(table.has_gaps());
  EXPECT_EQ(table.usable().size(), HostNeighborTable::most);
  EXPECT_TRUE(table.usable().contains({"up", ip(address(HostNeighborTable::most))}));
  EXPECT_THAT(table.warnings(), IsEmpty());
}

}  // namespace
}  // namespace sluice::control
