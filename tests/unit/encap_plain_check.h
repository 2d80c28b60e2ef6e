// find_plain_inner may only say yes to what decapsulate accepts without a change, and then both find the same.
#pragma once

#include "dataplane/net/parse.h"
#include "dataplane/net/plain.h"
#include "encap/decap.h"
#include "tests/unit/fake_mbuf.h"

namespace sluice::test {

// What is wrong with find_plain_inner's answer for the IPv4 packet `before` bytes into `frame`; nullptr: nothing.
inline const char* wrong_about_plain_inner(const std::vector<uint8_t>& frame, uint16_t before, bool checksum_known_good,
                                           const encap::Terminator& terminator, bool* said_yes = nullptr) {
  if (said_yes != nullptr) *said_yes = false;
  if (frame.size() < size_t{before} + net::ipv4_header_length) return nullptr;
  const uint8_t* const l3 = frame.data() + before;
  const uint32_t total = net::plain_length<net::V4>(l3, checksum_known_good);
  if (total == 0 || total > frame.size() - before) return nullptr;
  const encap::PlainInner inner = encap::find_plain_inner(l3, total, terminator);
  if (inner.offset == 0) return nullptr;
  if (said_yes != nullptr) *said_yes = true;
  FakeMbuf mbuf(frame);
  net::FlowPacket<net::V4> packet;
  packet.mbuf = mbuf.get();
  packet.l3 = before;
  if (net::parse_ip(packet, checksum_known_good) != net::DropReason::None) return "accepted what is dropped";
  const encap::DecapResult result = encap::decapsulate(packet, terminator);
  if (result.what != encap::Decap::Stripped) return "accepted what decapsulate refuses";
  if (result.odd_ecn) return "accepted what is to be counted";
  if (result.inner != inner.family) return "another family";
  if (packet.tunnel_source != inner.source) return "another source";
  return mbuf.bytes() == std::vector<uint8_t>(l3 + inner.offset, l3 + total) ? nullptr : "another inner packet";
}

}  // namespace sluice::test
