// Outer packets that the underlay cut, and fragments that can never be part of a whole.
#include <gtest/gtest.h>

#include "encap/vxlan.h"
#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {
namespace {

constexpr const char* self6 = "2001:db8:a::1";

class OuterFragments : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    load();
  }
  void load(const std::string& overlay = "") {
    Gateway description;
    description.more = R"("tunnels":[{"name":"six","type":"ipip","remote":"2001:db8:a::12"},
      {"name":"vxlan-six","type":"vxlan","remote":"2001:db8:a::11","remoteMAC":"02:00:00:00:0a:01"}])" +
                       std::string(overlay.empty() ? "" : R"(,"overlay":)") + overlay;
    rig().load(list({description.text(), cluster()}));
  }
  static Bytes vxlan_outer(const Bytes& inner, bool v6 = false) {
    VxlanOptions options;
    options.inner_destination = encap::vtep_mac(v6 ? "gw-v6" : "gw");
    return vxlan(v6 ? "2001:db8:a::11" : "192.168.0.11", v6 ? self6 : "192.168.0.1", inner, options);
  }
  // The text of what came out when all pieces were in, and nothing before.
  std::string send_all(const std::vector<Bytes>& pieces) {
    std::string out;
    for (const Bytes& piece : pieces) {
      EXPECT_EQ(out, "") << "too early";
      out = rig().send("b", piece);
    }
    return out;
  }
};

const Ip inner = udp("10.244.34.5:80", "192.0.2.10:5000").with_payload(1472);
constexpr const char* whole = "a/10 udp 10.244.34.5:80>192.0.2.10:5000 ttl 63";

TEST_P(OuterFragments, FRAG6_VXL8_VxlanIsPutTogether) {
  for (const bool v6 : {false, true}) {
    const std::vector<Bytes> pieces = fragments(vxlan_outer(inner.bytes(), v6), 1440);
    EXPECT_EQ(send_all(pieces), whole);
    EXPECT_EQ(rig().only().l3, inner.with_ttl(63).bytes());
    EXPECT_EQ(send_all({pieces[1], pieces[0]}), whole) << "in whichever order";
  }
  EXPECT_EQ(rig().count(dataplane::Event::Reassembled), 4u);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(OuterFragments, FRAG6_IpipOfBothFamiliesInside) {
  EXPECT_EQ(send_all(fragments(ipip("192.168.0.12", "192.168.0.1", inner.bytes()), {800, 1200})), whole);
  const Bytes inner6 = udp("[fd00:10:246::5]:80", "[2001:db8:2::10]:5").with_payload(1400).bytes();
  EXPECT_EQ(send_all(fragments(ipip("192.168.0.12", "192.168.0.1", inner6), 800)),
            "a/10 udp [fd00:10:246::5]:80>[2001:db8:2::10]:5 ttl 63");
}

TEST_P(OuterFragments, FRAG6_OverIPv6) {
  EXPECT_EQ(send_all(fragments(ipip("2001:db8:a::12", self6, inner.bytes()), 1448)), whole);
  const std::vector<Bytes> three = fragments(ipip("2001:db8:a::12", self6, inner.bytes()), {504, 1448});
  EXPECT_EQ(send_all({three[2], three[0], three[1]}), whole);
  EXPECT_EQ(rig().drops(), "");
}

// What is put together is looked at like any packet that came whole.
TEST_P(OuterFragments, FRAG6_WhatIsInsideIsNotBelieved) {
  Bytes damaged = inner.bytes();
  damaged[10] ^= 1;
  EXPECT_EQ(send_all(fragments(vxlan_outer(damaged), 1480)), "");
  EXPECT_EQ(rig().drops(), "ip_bad_checksum 1");
}

TEST_P(OuterFragments, FRAG6_OnlyOfKnownEnds) {
  for (const Bytes& piece : fragments(ipip("192.168.0.77", "192.168.0.1", inner.bytes()), 800)) {
    EXPECT_EQ(rig().send("b", piece), "");
  }
  EXPECT_EQ(rig().drops(), "tunnel_unknown_source 2");
}

// Whoever receives them, the fragments of a datagram meet at one worker.
TEST_P(OuterFragments, FRAG4_FRAG6_FragmentsMeetAtOneWorker) {
  for (uint16_t id = 1; id <= 16; ++id) {
    std::vector<Bytes> pieces = fragments(vxlan_outer(inner.bytes()), 1480);
    for (Bytes& piece : pieces) {
      net::store_be16(&piece[4], id);
      finish_ipv4(piece);
    }
    EXPECT_EQ(send_all(pieces), whole);
  }
  EXPECT_EQ(rig().count(dataplane::Event::HandedOver) > 0, GetParam() > 1);
  EXPECT_EQ(rig().drops(), "");
}

TEST_P(OuterFragments, FRAG6_DroppedByOption) {
  load(R"({"reassembleOuter":false})");
  for (const Bytes& piece : fragments(ipip("192.168.0.12", "192.168.0.1", inner.bytes()), 800)) {
    EXPECT_EQ(rig().send("b", piece), "");
  }
  EXPECT_EQ(rig().drops(), "tunnel_fragment 2");
  EXPECT_EQ(rig().count(dataplane::Event::Reassembled), 0u);
}

TEST_P(OuterFragments, FRAG6_FRAG3_AnOverlapEndsTheDatagram) {
  const Bytes outer = ipip("192.168.0.12", "192.168.0.1", inner.bytes());
  const std::vector<Bytes> one = fragments(outer, {800, 1200});
  const std::vector<Bytes> other = fragments(outer, {792, 1200});
  EXPECT_EQ(rig().send("b", one[0]), "");
  EXPECT_EQ(rig().send("b", other[1]), "");
  EXPECT_EQ(rig().send("b", one[2]), "");
  EXPECT_EQ(rig().drops(), "tunnel_fragment 3");
}

TEST_P(OuterFragments, FRAG6_FRAG7_WhatNeverBecomesWholeIsGivenUp) {
  for (uint16_t id = 1; id <= 400; ++id) {
    Bytes piece = fragments(ipip("192.168.0.12", "192.168.0.1", inner.bytes()), 800)[1];
    net::store_be16(&piece[4], id);
    finish_ipv4(piece);
    EXPECT_EQ(rig().send("b", piece), "");
  }
  EXPECT_LE(rig().plane().mbufs_in_use(), 2u * 128);
  (void)rig().advance(6000);
  EXPECT_EQ(rig().plane().mbufs_in_use(), 0u);
  EXPECT_EQ(rig().drops(), "tunnel_fragment 400");
  EXPECT_EQ(send_all(fragments(vxlan_outer(inner.bytes()), 1480)), whole) << "room again";
}

// The same tunnel end asks a service here: no tunnel packet, but put together all the same.
TEST_P(OuterFragments, FRAG6_FragmentsThatAreNoTunnels) {
  const std::vector<Bytes> pieces = fragments(udp("192.168.0.11:500", "192.168.0.1:9").with_payload(1480).bytes(), 800);
  EXPECT_EQ(rig().send("b", pieces[0]), "");
  EXPECT_TRUE(like(rig().send("b", pieces[1]), "b/11 icmp 3/3 192.168.0.1>192.168.0.11 ttl 64 [ udp *"));
}

// ---- FRAG-3: told to the sender ---------------------------------------------------------------------------

class BadFragments : public RigTest {
 protected:
  void SetUp() override {
    RigTest::SetUp();
    rig().load(list({gateway(), cluster()}));
  }
};

const Ip datagram = udp("[2001:db8:2::10]:5", "[fd00:10:246::5]:6").with_payload(600);
constexpr const char* told = " 2001:db8:2::1>2001:db8:2::10 ttl 64 [ *";

TEST_P(BadFragments, FRAG3_NotAMultipleOfEight) {
  for (const bool later : {false, true}) {
    Bytes piece = fragments(datagram.bytes(), {200, 400})[later ? 1 : 0];
    piece.resize(piece.size() - 3);
    net::store_be16(&piece[4], static_cast<uint16_t>(piece.size() - 40));
    EXPECT_TRUE(like(rig().send("a", piece), "a/10 icmp 4/0" + std::string(told)));
    EXPECT_EQ(rig().only().ip.rest, 4u) << "the payload length";
    EXPECT_EQ(Bytes(rig().only().l3.begin() + 48, rig().only().l3.end()), piece);
  }
  EXPECT_EQ(rig().drops(), "fragment_malformed 2");
}

TEST_P(BadFragments, FRAG3_BeyondTheLargestDatagram) {
  Bytes piece = fragments(datagram.bytes(), 200)[1];
  net::store_be16(&piece[42], 0xfff8);
  EXPECT_TRUE(like(rig().send("a", piece), "a/10 icmp 4/0" + std::string(told)));
  EXPECT_EQ(rig().only().ip.rest, 42u) << "the offset";
}

TEST_P(BadFragments, FRAG3_AFirstFragmentWithoutAllHeaders) {
  Bytes piece = fragments(datagram.bytes(), 8)[0];
  piece[40] = net::protocol::tcp;
  EXPECT_TRUE(like(rig().send("a", piece), "a/10 icmp 4/3" + std::string(told))) << "8 bytes are no TCP header";
  EXPECT_EQ(rig().only().ip.rest, 0u);
  piece[40] = net::protocol::destination_options;
  piece[48] = net::protocol::udp;
  piece[49] = 3;
  EXPECT_TRUE(like(rig().send("a", piece), "a/10 icmp 4/3" + std::string(told))) << "the options go on in the next one";
  EXPECT_EQ(rig().drops(), "fragment_header_missing 2");
}

// The same three with other extension headers in front of the fragment's: 8 bytes of hop-by-hop options and 16 of
// destination options.
TEST_P(BadFragments, FRAG3_BehindOtherExtensionHeaders) {
  const auto behind_others = [](Bytes piece) {
    Bytes others(24, 0);
    others[0] = net::protocol::destination_options;
    others[2] = others[10] = 1;  // PadN
    others[3] = 4;
    others[8] = piece[6];
    others[9] = 1;
    others[11] = 12;
    piece[6] = net::protocol::hop_by_hop;
    piece.insert(piece.begin() + 40, others.begin(), others.end());
    net::store_be16(&piece[4], static_cast<uint16_t>(piece.size() - 40));
    return piece;
  };
  Bytes piece = fragments(datagram.bytes(), {200, 400})[0];
  piece.resize(piece.size() - 3);
  piece = behind_others(piece);
  EXPECT_TRUE(like(rig().send("a", piece), "a/10 icmp 4/0" + std::string(told)));
  EXPECT_EQ(rig().only().ip.rest, 4u);
  EXPECT_EQ(Bytes(rig().only().l3.begin() + 48, rig().only().l3.end()), piece);
  Bytes error = piece;
  error[64] = net::protocol::icmpv6;
  error[72] = 1;
  EXPECT_EQ(rig().send("a", error), "") << "ICMP-7";
  piece = behind_others(fragments(datagram.bytes(), 200)[1]);
  net::store_be16(&piece[66], 0xfff8);
  EXPECT_TRUE(like(rig().send("a", piece), "a/10 icmp 4/0" + std::string(told)));
  EXPECT_EQ(rig().only().ip.rest, 66u) << "the offset";
  piece = behind_others(fragments(datagram.bytes(), 8)[0]);
  piece[64] = net::protocol::tcp;
  EXPECT_TRUE(like(rig().send("a", piece), "a/10 icmp 4/3" + std::string(told)));
  EXPECT_EQ(rig().drops(), "fragment_malformed 3, fragment_header_missing 1");
}

TEST_P(BadFragments, FRAG3_ICMP7_NeverAboutAnErrorOrToAGroup) {
  Bytes piece = fragments(datagram.bytes(), {200, 400})[0];
  piece.resize(piece.size() - 3);
  net::store_be16(&piece[4], static_cast<uint16_t>(piece.size() - 40));
  Bytes error = piece;
  error[40] = net::protocol::icmpv6;
  error[48] = 1;
  EXPECT_EQ(rig().send("a", error), "");
  Bytes group = piece;
  group[24] = 0xff;
  group[25] = 0x0e;
  EXPECT_EQ(rig().send("a", group), "");
  Bytes nobody = piece;
  for (int i = 8; i < 24; ++i) nobody[static_cast<size_t>(i)] = 0;
  EXPECT_EQ(rig().send("a", nobody), "");
  EXPECT_EQ(rig().drops(), "ip_martian_source 1, fragment_malformed 2");
}

TEST_P(BadFragments, FRAG3_IPv4IsDroppedSilently) {
  Bytes piece = fragments(udp("192.0.2.10:5", "10.246.1.5:6").with_payload(600).bytes(), {200, 400})[0];
  piece.resize(piece.size() - 3);
  net::store_be16(&piece[2], static_cast<uint16_t>(piece.size()));
  finish_ipv4(piece);
  EXPECT_EQ(rig().send("a", piece), "");
  EXPECT_EQ(rig().drops(), "fragment_malformed 1");
}

SLUICE_WITH_WORKERS(OuterFragments);
SLUICE_WITH_WORKERS(BadFragments);

}  // namespace
}  // namespace sluice::packet_test
