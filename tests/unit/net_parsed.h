// A frame that has gone through parse_ip, and the frames that only parser tests need.
#pragma once

#include <ostream>

#include "dataplane/net/parse.h"
#include "tests/unit/fake_mbuf.h"
#include "tests/unit/net_frames.h"

namespace sluice::net {

inline std::ostream& operator<<(std::ostream& out, DropReason reason) { return out << name(reason); }

}  // namespace sluice::net

namespace sluice::test {

// Parses `frame`, in front of which stand `before` bytes of layer 2.
template <class F>
struct Parsed {
  explicit Parsed(const Bytes& frame, bool checksum_known_good = false, uint16_t before = 0)
      : mbuf(Bytes(before, 0xee) + frame) {
    packet.mbuf = mbuf.get();
    packet.l3 = before;
    reason = net::parse_ip(packet, checksum_known_good);
  }
  FakeMbuf mbuf;
  net::FlowPacket<F> packet;
  net::DropReason reason;
};
using Parsed4 = Parsed<net::V4>;
using Parsed6 = Parsed<net::V6>;

inline net::DropReason reason4(const Bytes& frame) { return Parsed4(frame).reason; }
inline net::DropReason reason6(const Bytes& frame) { return Parsed6(frame).reason; }

inline Bytes with(Bytes bytes, size_t at, uint8_t value) {
  bytes[at] = value;
  return bytes;
}

// An options header of 8 * (units + 1) bytes, padded.
inline Bytes extension(uint8_t next, uint8_t units = 0, uint8_t third = 1) {
  Bytes out(static_cast<size_t>(units + 1) * 8);
  out[0] = next;
  out[1] = units;
  out[2] = third;
  return out;
}
inline Bytes fragment_header(uint8_t next, uint16_t offset_bytes, bool more) {
  Bytes out(8);
  out[0] = next;
  net::store_be16(out.data() + 2, static_cast<uint16_t>(offset_bytes | (more ? 1 : 0)));
  return out;
}

}  // namespace sluice::test
