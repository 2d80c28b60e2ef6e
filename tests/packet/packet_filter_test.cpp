// Filters of traces as the workers run them.
#include "control/packet_filter.h"

#include <cstring>

#include <gtest/gtest.h>
#include <rte_bpf.h>

#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

bool matches(Rig& rig, const std::string& text, const Bytes& frame) {
  const auto filter = control::PacketFilter::compile(text);
  if (!filter) {
    ADD_FAILURE() << filter.error().message;
    return false;
  }
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(rig.plane().pool());
  std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
  const bool found = rte_bpf_exec(filter->program(), mbuf) != 0;
  rte_pktmbuf_free(mbuf);
  return found;
}

TEST(PacketFilters, EXP5_AreThoseOfTcpdump) {
  Rig rig;
  const Bytes frame = ethernet(mac(0x0a), mac(0xee), tcp("192.0.2.10:1000", "10.96.0.10:80", "S").bytes());
  for (const char* yes :
       {"", "tcp", "host 192.0.2.10", "src net 192.0.2.0/24 and dst port 80", "not udp", "tcp[tcpflags] & tcp-syn != 0",
        "ip host 10.96.0.10 and portrange 79-81", "tcp port http", "len <= 54",
        "(udp or tcp) and not (port 81 or port 82)", "ip[8] = 64", "ether proto 0x0800"}) {
    EXPECT_TRUE(matches(rig, yes, frame)) << yes;
  }
  for (const char* no : {"udp", "host 192.0.2.11", "dst port 81", "ip6", "arp", "tcp[tcpflags] & tcp-ack != 0", "vlan",
                         "icmp", "greater 1000", "ether host 02:00:00:00:00:0b", "host fd00::1"}) {
    EXPECT_FALSE(matches(rig, no, frame)) << no;
  }
}

}  // namespace
}  // namespace sluice::packet_test
