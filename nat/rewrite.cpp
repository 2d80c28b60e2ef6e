#include "nat/rewrite.h"

#include <array>

namespace sluice::nat {
namespace {

namespace protocol = net::protocol;
using net::ChecksumDelta;
using net::load;
using net::store;

// A field that stays must leave the delta at exactly zero: ~m + m is 0xffff, the other zero of ones' complement.
template <class T>
void replace(ChecksumDelta& delta, const T& from, const T& to) {
  if (from != to) delta.replace(from, to);
}

// CRC32c, reflected: bit 31 is the coefficient of x^0.
constexpr uint32_t crc32c_polynomial = 0x82f63b78;

// a * b modulo the polynomial.
constexpr uint32_t crc32c_multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (; a != 0; a <<= 1) {
    if ((a & 0x80000000) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? crc32c_polynomial : 0);
  }
  return product;
}

// x^(8 * 2^i): what 2^i more bytes do to a remainder.
constexpr auto crc32c_powers = [] {
  std::array<uint32_t, 16> powers{0x00800000};
  for (size_t i = 1; i < powers.size(); ++i) powers[i] = crc32c_multiply(powers[i - 1], powers[i - 1]);
  return powers;
}();

// What changing the first four of `length` bytes does to their CRC32c, as a difference to exclude-or. The CRC is
// linear: crc(new) ^ crc(old) = (new ^ old) * x^(8 * length). So neither the payload nor its segments are read, and
// a packet with a wrong CRC keeps a wrong one.
uint32_t crc32c_difference(uint32_t old_word, uint32_t new_word, uint32_t length) {
  uint32_t difference = old_word ^ new_word;
  for (size_t i = 0; i < crc32c_powers.size(); ++i) {
    if ((length >> i & 1) != 0) difference = crc32c_multiply(difference, crc32c_powers[i]);
  }
  return difference;
}

template <class F>
uint32_t l4_length(const uint8_t* l3, const uint8_t* l4) {
  const uint32_t total = F::is_v4 ? net::load_be16(l3 + 2) : uint32_t{net::ipv6_header_length} + net::load_be16(l3 + 4);
  return total - static_cast<uint32_t>(l4 - l3);
}

}  // namespace

template <class F>
Rewrite<F> make_rewrite(const FlowKey<F>& from, const typename F::Addr& src, const typename F::Addr& dst, be16 src_port,
                        be16 dst_port) {
  Rewrite<F> rewrite{{src, dst, src_port, dst_port}, {}, {}};
  ChecksumDelta addresses;
  replace(addresses, from.src, src);
  replace(addresses, from.dst, dst);
  if constexpr (F::is_v4) rewrite.l3 = addresses;
  switch (from.protocol) {
    case protocol::tcp:
    case protocol::udp:
    case protocol::icmpv6:
      rewrite.l4 = addresses;
      [[fallthrough]];
    case protocol::icmp:
      // Of an echo the identifier, and 0 to 0; of other ICMP type and code to themselves.
      replace(rewrite.l4, from.src_port, src_port);
      replace(rewrite.l4, from.dst_port, dst_port);
      break;
    default:
      break;
  }
  return rewrite;
}

template <class F>
void apply_other(const Rewrite<F>& rewrite, const uint8_t* l3, uint8_t* l4, uint8_t protocol) {
  switch (protocol) {
    case protocol::icmp:
    case protocol::icmpv6: {
      const bool v4 = protocol == protocol::icmp;
      // The identifier stands where the client's port would (flow_key.h).
      if (l4[0] == (v4 ? net::icmpv4::echo_request : net::icmpv6::echo_request)) {
        store(l4 + 4, rewrite.src_port.wire());
      } else if (l4[0] == (v4 ? net::icmpv4::echo_reply : net::icmpv6::echo_reply)) {
        store(l4 + 4, rewrite.dst_port.wire());
      }
      store(l4 + 2, rewrite.l4.apply(load<uint16_t>(l4 + 2)));
      break;
    }
    case protocol::sctp: {
      const auto old_ports = load<uint32_t>(l4);
      store(l4, rewrite.src_port.wire());
      store(l4 + 2, rewrite.dst_port.wire());
      const auto new_ports = load<uint32_t>(l4);
      if (new_ports == old_ports) break;
      // The checksum lies in the frame with its low byte first (RFC 9260 appendix A), as does everything here.
      const uint32_t difference = crc32c_difference(old_ports, new_ports, l4_length<F>(l3, l4));
      store(l4 + 8, load<uint32_t>(l4 + 8) ^ difference);
      break;
    }
    default:
      break;
  }
}

template Rewrite<net::V4> make_rewrite(const FlowKey<net::V4>&, const net::Ipv4Addr&, const net::Ipv4Addr&, be16, be16);
template Rewrite<net::V6> make_rewrite(const FlowKey<net::V6>&, const net::Ipv6Addr&, const net::Ipv6Addr&, be16, be16);
template void apply_other(const Rewrite<net::V4>&, const uint8_t*, uint8_t*, uint8_t);
template void apply_other(const Rewrite<net::V6>&, const uint8_t*, uint8_t*, uint8_t);

}  // namespace sluice::nat
