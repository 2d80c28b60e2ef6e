// Text forms and arithmetic of addresses and prefixes.
#include <string>
#include <unordered_set>

#include <gtest/gtest.h>

#include "dataplane/net/addr.h"
#include "tests/unit/net_frames.h"

namespace sluice::net {
namespace {

using test::v4;
using test::v6;

Prefix prefix(std::string_view text) { return parse_prefix(text).value(); }

TEST(ParseIpv4, AcceptsAndPrintsBack) {
  for (const char* text : {"0.0.0.0", "1.2.3.4", "10.96.0.10", "127.0.0.1", "255.255.255.255"}) {
    const auto addr = parse_ipv4(text);
    ASSERT_TRUE(addr.has_value()) << text;
    EXPECT_EQ(to_string(*addr), text);
  }
  EXPECT_EQ(parse_ipv4("192.168.100.101")->host(), 0xc0a86465);
}

// SVC-8: leading zeros are octal to some readers and decimal to others, so they are refused.
TEST(ParseIpv4, SVC8_RefusesEverythingElse) {
  for (const char* text :
       {"",          "1",          "1.2.3",     "1.2.3.",       "1.2.3.4.",        ".1.2.3.4",  "1.2.3.4.5",
        "1.2.3.256", "1.2.3.1000", "01.2.3.4",  "1.2.3.04",     "010.0.0.1",       "00.0.0.0",  "1.2.3.4 ",
        " 1.2.3.4",  "1.2.3.4\n",  "0x1.2.3.4", "1.2.3.-4",     "1.2.3.+4",        "1..2.3",    "1,2,3,4",
        "a.b.c.d",   "1.2.3.4/32", "::1",       "1.2.3.4%eth0", "111.222.333.444", "1111.1.1.1"}) {
    EXPECT_FALSE(parse_ipv4(text).has_value()) << text;
  }
  EXPECT_FALSE(parse_ipv4(std::string_view("1.2.3.4\0", 8)).has_value());
  EXPECT_FALSE(parse_ipv4(std::string_view("1.2.3.4\0.5", 10)).has_value());
}

struct Text {
  const char* in;
  const char* out;
};

// RFC 5952 sections 4 and 5.
TEST(ParseIpv6, PrintsCanonically) {
  for (const Text& text : {
           Text{"::", "::"},
           {"::1", "::1"},
           {"2001:db8::1", "2001:db8::1"},
           {"2001:0db8::0001", "2001:db8::1"},                // 4.1
           {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},         // 4.2.1
           {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},  // 4.2.2
           {"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},   // 4.2.2
           {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},           // 4.2.3, the longest
           {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},     // 4.2.3, the first of equals
           {"2001:DB8:AAAA:BBBB:CCCC:DDDD:EEEE:AAAA", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaaa"},  // 4.3
           {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},                                              // 5
           {"::ffff:c000:201", "::ffff:192.0.2.1"},
           {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
           {"fe80::ecee:eeff:feee:eeee", "fe80::ecee:eeff:feee:eeee"},
       }) {
    const auto addr = parse_ipv6(text.in);
    ASSERT_TRUE(addr.has_value()) << text.in;
    EXPECT_EQ(to_string(*addr), text.out);
    EXPECT_EQ(parse_ipv6(text.out), addr) << text.out;
  }
}

// SVC-8: an IPv4 address at the end is read like one alone. Groups of IPv6 may begin with zeros, which mean nothing.
TEST(ParseIpv6, SVC8_RefusesEverythingElse) {
  for (const char* text : {"",
                           ":",
                           ":::",
                           "1",
                           "1:2:3:4:5:6:7",
                           "1:2:3:4:5:6:7:8:9",
                           "1::2::3",
                           "12345::",
                           "g::",
                           "::1%lo",
                           "[::1]",
                           "::1/128",
                           " ::1",
                           "::1 ",
                           "::ffff:1.2.3",
                           "::ffff:1.2.3.256",
                           "1.2.3.4",
                           "::ffff:01.2.3.4",
                           "64:ff9b::192.0.02.1",
                           "64:ff9b::010.0.0.1",
                           "2001:00db8::1",
                           "1:2:3:4:5:6:7:8:",
                           ":1:2:3:4:5:6:7:8"}) {
    EXPECT_FALSE(parse_ipv6(text).has_value()) << text;
  }
}

TEST(ParseIp, TellsTheFamily) {
  EXPECT_TRUE(parse_ip("10.0.0.1")->is_v4());
  EXPECT_TRUE(parse_ip("::ffff:10.0.0.1")->is_v6());
  EXPECT_EQ(to_string(*parse_ip("10.0.0.1")), "10.0.0.1");
  EXPECT_FALSE(parse_ip("localhost").has_value());
}

TEST(ParseMac, Table) {
  EXPECT_EQ(to_string(*parse_mac("66:f9:37:c3:7e:94")), "66:f9:37:c3:7e:94");
  EXPECT_EQ(to_string(*parse_mac("AA:bb:CC:dd:EE:ff")), "aa:bb:cc:dd:ee:ff");
  for (const char* text : {"", "66:f9:37:c3:7e", "66:f9:37:c3:7e:94:", "66-f9-37-c3-7e-94", "66:f9:37:c3:7e:9g",
                           "66:f9:37:c3:7e:094", "6:6f9:37:c3:7e:94", "66f9.37c3.7e94", "66:f9:37:c3:7e:9 "}) {
    EXPECT_FALSE(parse_mac(text).has_value()) << text;
  }
}

TEST(ParsePrefix, Table) {
  for (const char* text :
       {"0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/8", "10.0.0.1/32", "::/0", "2001:db8::/32", "::1/128"}) {
    ASSERT_TRUE(parse_prefix(text).has_value()) << text;
    EXPECT_EQ(to_string(*parse_prefix(text)), text);
  }
  for (const char* text : {"", "/", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/00", "10.0.0.0/-1",
                           "10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0.0/8 ", "10.0.0.0/8/8", "10.0.0/8", "::/129", "::/1280",
                           "10.0.0.0/255.0.0.0", "/8", "010.0.0.0/8"}) {
    EXPECT_FALSE(parse_prefix(text).has_value()) << text;
  }
}

TEST(Prefix, MaskedClearsHostBits) {
  for (const Text& text : {
           Text{"10.1.2.3/8", "10.0.0.0/8"},
           {"10.1.2.3/0", "0.0.0.0/0"},
           {"10.1.2.255/25", "10.1.2.128/25"},
           {"10.1.2.255/31", "10.1.2.254/31"},
           {"10.1.2.3/32", "10.1.2.3/32"},
           {"255.255.255.255/1", "128.0.0.0/1"},
           {"2001:db8:ffff::1/33", "2001:db8:8000::/33"},
           {"ffff::ffff/0", "::/0"},
           {"ffff::ffff/127", "ffff::fffe/127"},
           {"ffff::ffff/128", "ffff::ffff/128"},
       }) {
    EXPECT_EQ(to_string(prefix(text.in).masked()), text.out);
  }
}

struct Containment {
  const char* outer;
  const char* inner;
  bool contains;
};

TEST(Prefix, Contains) {
  for (const Containment& c : {
           Containment{"10.0.0.0/8", "10.255.255.255/32", true},
           {"10.0.0.0/8", "11.0.0.0/32", false},
           {"10.0.0.0/8", "10.0.0.0/8", true},
           {"10.0.0.0/8", "10.0.0.0/7", false},
           {"10.0.0.0/8", "0.0.0.0/0", false},
           {"10.9.9.9/8", "10.1.0.0/16", true},
           {"0.0.0.0/0", "255.255.255.255/32", true},
           {"0.0.0.0/0", "::/0", false},
           {"::/0", "10.0.0.0/8", false},
           {"192.168.1.128/25", "192.168.1.127/32", false},
           {"192.168.1.128/25", "192.168.1.128/32", true},
           {"2001:db8::/33", "2001:db8:8000::/33", false},
           {"2001:db8::/32", "2001:db8:8000::/33", true},
           {"::1/128", "::1/128", true},
           {"::1/128", "::/128", false},
       }) {
    EXPECT_EQ(prefix(c.outer).contains(prefix(c.inner)), c.contains) << c.outer << " " << c.inner;
    if (prefix(c.inner).is_host()) {
      EXPECT_EQ(prefix(c.outer).contains(prefix(c.inner).addr), c.contains) << c.outer << " " << c.inner;
    }
    EXPECT_EQ(prefix(c.outer).overlaps(prefix(c.inner)), prefix(c.inner).overlaps(prefix(c.outer)));
  }
  EXPECT_TRUE(prefix("10.1.0.0/16").overlaps(prefix("10.0.0.0/8")));
  EXPECT_FALSE(prefix("10.1.0.0/16").overlaps(prefix("10.2.0.0/16")));
}

TEST(IpAddr, OrderAndHash) {
  EXPECT_LT(IpAddr(v4("9.255.255.255")), IpAddr(v4("10.0.0.0")));
  EXPECT_LT(IpAddr(v4("255.255.255.255")), IpAddr(v6("::")));
  EXPECT_LT(v4("9.0.0.1"), v4("10.0.0.0"));
  EXPECT_NE(IpAddr(v4("0.0.0.0")), IpAddr(v6("::")));
  std::unordered_set<IpAddr> set{v4("0.0.0.0"), v6("::"), v4("10.0.0.1"), v4("10.0.0.1")};
  EXPECT_EQ(set.size(), 3u);
  EXPECT_EQ(IpAddr(v4("1.2.3.4")).v4(), v4("1.2.3.4"));
}

TEST(Addr, Classes) {
  EXPECT_TRUE(v4("169.254.1.1").is_link_local());
  EXPECT_FALSE(v4("169.253.255.255").is_link_local());
  EXPECT_TRUE(v4("127.255.255.255").is_loopback());
  EXPECT_TRUE(v4("224.0.0.1").is_multicast());
  EXPECT_TRUE(v4("239.255.255.255").is_multicast());
  EXPECT_FALSE(v4("240.0.0.0").is_multicast());
  EXPECT_TRUE(v4("255.255.255.255").is_broadcast());
  EXPECT_TRUE(v4("0.1.2.3").is_this_network());
  EXPECT_TRUE(v6("fe80::1").is_link_local());
  EXPECT_TRUE(v6("febf::1").is_link_local());
  EXPECT_FALSE(v6("fec0::1").is_link_local());
  EXPECT_TRUE(v6("ff02::1").is_multicast());
  EXPECT_TRUE(v6("::1").is_loopback());
  EXPECT_TRUE(v6("::").is_unspecified());
  EXPECT_TRUE(v6("::ffff:1.2.3.4").is_v4_mapped());
  EXPECT_FALSE(v6("::1.2.3.4").is_v4_mapped());
}

TEST(Addr, DerivedFromEachOther) {
  const MacAddr proxy = *parse_mac("ee:ee:ee:ee:ee:ee");
  EXPECT_EQ(to_string(proxy.link_local()), "fe80::ecee:eeff:feee:eeee");
  EXPECT_EQ(to_string(v6("2001:db8::1234:5678").solicited_node()), "ff02::1:ff34:5678");
  EXPECT_EQ(to_string(MacAddr::for_multicast(v6("ff02::1:ff34:5678"))), "33:33:ff:34:56:78");
  EXPECT_TRUE(MacAddr::broadcast().is_multicast());
  EXPECT_FALSE(proxy.is_multicast());
  EXPECT_TRUE(MacAddr{}.is_zero());
}

}  // namespace
}  // namespace sluice::net
