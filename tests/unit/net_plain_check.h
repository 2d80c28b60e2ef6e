// parse_plain may only say yes to what parse_ip accepts, and then both find the same.
#pragma once

#include "dataplane/net/parse.h"
#include "dataplane/net/plain.h"
#include "tests/unit/fake_mbuf.h"

namespace sluice::test {

// What is wrong with parse_plain's answer for the IP packet `before` bytes into `frame`; nullptr: nothing.
template <class F>
const char* wrong_about_plain(const std::vector<uint8_t>& frame, uint16_t before, bool checksum_known_good,
                              bool* said_yes = nullptr) {
  FakeMbuf plain_mbuf(frame);
  FakeMbuf full_mbuf(frame);
  net::FlowPacket<F> plain;
  net::FlowPacket<F> full;
  plain.mbuf = plain_mbuf.get();
  full.mbuf = full_mbuf.get();
  plain.l3 = full.l3 = before;
  const bool yes = net::parse_plain(net::Packet(plain), checksum_known_good, plain);
  if (said_yes != nullptr) *said_yes = yes;
  if (!yes) {
    if (plain_mbuf->data_len != frame.size() || plain_mbuf->pkt_len != frame.size()) return "cut a frame it refused";
    return plain_mbuf.bytes() == frame ? nullptr : "changed a frame it refused";
  }
  if (net::parse_ip(full, checksum_known_good) != net::DropReason::None) return "accepted what is dropped";
  if (!(plain.key == full.key)) return "another key";
  if (plain.l4 != full.l4 || plain.l3_length != full.l3_length) return "other lengths";
  if (plain.protocol != full.protocol || plain.fragment != full.fragment) return "another protocol or a fragment";
  if (plain.has_ports != full.has_ports || plain.icmp_error != full.icmp_error) return "other flags";
  if (!plain.plain || full.plain) return "the wrong mark";
  return plain_mbuf.bytes() == full_mbuf.bytes() && plain_mbuf->pkt_len == full_mbuf->pkt_len ? nullptr
                                                                                              : "another frame";
}

}  // namespace sluice::test
