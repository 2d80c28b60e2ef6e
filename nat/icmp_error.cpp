#include "nat/icmp_error.h"

#include <algorithm>

#include "dataplane/net/parse.h"
#include "nat/rewrite.h"

namespace sluice::nat {
namespace {

namespace protocol = net::protocol;
using net::ChecksumDelta;
using net::DropReason;
using net::load;
using net::store;

// Where the checksum fields end that a short quote may lack; UDP's and ICMP's lie in the first 8 bytes.
constexpr uint32_t tcp_checksum_end = 18;
constexpr uint32_t sctp_checksum_end = 12;

template <class F>
bool is_error(uint8_t type) {
  return F::is_v4 ? net::icmpv4::is_error(type) : net::icmpv6::is_error(type);
}

// Sum of the pseudo header of an ICMPv6 message (RFC 4443 section 2.3); ICMPv4 has none.
template <class F>
uint64_t pseudo_header_sum(const uint8_t* l3, uint16_t icmp_length) {
  if constexpr (F::is_v4) return 0;
  const uint64_t sum = net::checksum_sum(l3 + 8, 32);
  return sum + net::be32::from_host(icmp_length).wire() + net::be32::from_host(protocol::icmpv6).wire();
}

// Bytes of the original datagram inside the message: up to the extension objects, where the message has a length
// attribute (RFC 4884 section 4: in words of 4 bytes for IPv4, of 8 for IPv6).
template <class F>
uint16_t quoted_length(const uint8_t* icmp, uint16_t icmp_length) {
  const uint32_t length = uint32_t{icmp_length} - net::icmp_header_length;
  uint32_t attribute = 0;
  if constexpr (F::is_v4) {
    namespace type = net::icmpv4;
    const bool has_length =
        icmp[0] == type::unreachable || icmp[0] == type::time_exceeded || icmp[0] == type::parameter_problem;
    if (has_length) attribute = icmp[5] * 4u;
  } else {
    namespace type = net::icmpv6;
    if (icmp[0] == type::unreachable || icmp[0] == type::time_exceeded) attribute = icmp[4] * 8u;
  }
  return static_cast<uint16_t>(attribute != 0 ? std::min(length, attribute) : length);
}

// Like apply(), but of the L4 header perhaps only the first 8 bytes are there: what is not there is not adjusted.
template <class F>
void apply_quoted(const Rewrite<F>& rewrite, uint8_t* quoted, uint16_t l4_offset, uint16_t length, uint8_t proto) {
  uint8_t* const l4 = quoted + l4_offset;
  const uint32_t present = uint32_t{length} - l4_offset;
  const uint32_t wanted = proto == protocol::tcp ? tcp_checksum_end : proto == protocol::sctp ? sctp_checksum_end : 0;
  if (present >= wanted) {
    apply(rewrite, quoted, l4, proto);
    return;
  }
  apply(rewrite, quoted, nullptr, proto);
  store(l4, rewrite.src_port.wire());
  store(l4 + 2, rewrite.dst_port.wire());
}

}  // namespace

template <class F>
DropReason translate_error(uint8_t* l3, uint16_t l3_length, uint16_t l4_offset, const FlowKey<F>& reverse,
                           const Rewrite<F>& back, bool source_as_vip) {
  if (l3_length < l4_offset + net::icmp_header_length) return DropReason::IcmpMalformed;
  uint8_t* const icmp = l3 + l4_offset;
  const auto icmp_length = static_cast<uint16_t>(l3_length - l4_offset);
  if (!is_error<F>(icmp[0])) return DropReason::IcmpMalformed;

  // RFC 5508 REQ-3: first, so that no later adjustment hides damage.
  const uint64_t sum = net::checksum_sum(icmp, icmp_length, pseudo_header_sum<F>(l3, icmp_length));
  if (net::checksum_fold(sum) != 0xffff) return DropReason::IcmpBadChecksum;

  uint8_t* const quoted = icmp + net::icmp_header_length;
  const uint16_t length = quoted_length<F>(icmp, icmp_length);
  FlowKey<F> key;
  uint16_t quoted_l4 = 0;
  if (!net::parse_quoted<F>(quoted, length, key, quoted_l4)) return DropReason::IcmpMalformed;
  // RFC 5508 REQ-3 a.
  if (F::is_v4 && net::checksum_fold(net::checksum_sum(quoted, quoted_l4)) != 0xffff) {
    return DropReason::IcmpBadChecksum;
  }
  if (!(key.reversed() == reverse)) return DropReason::IcmpMalformed;
  // An error goes to the sender of what it quotes; another destination is an attempt to reach somebody through us.
  if (net::IpHeader<F>::destination(l3) != key.src) return DropReason::IcmpMalformed;

  const Rewrite<F> restore = make_rewrite(key, back.dst, back.src, back.dst_port, back.src_port);
  // What the message's checksum sees of it: the sums of the changed range before and after. The range starts at
  // an even offset of the message and ends at an even one or with the message.
  const size_t changed = std::min<size_t>(icmp_length - net::icmp_header_length, quoted_l4 + size_t{20});
  ChecksumDelta message;
  const uint16_t before = net::checksum_fold(net::checksum_sum(quoted, changed));
  apply_quoted(restore, quoted, quoted_l4, length, key.protocol);
  message.replace16(before, net::checksum_fold(net::checksum_sum(quoted, changed)));

  // ICMP-2. The endpoint's own errors are translated like its other packets.
  const auto old_src = net::IpHeader<F>::source(l3);
  const bool hide = source_as_vip && back.src != reverse.src;
  const auto new_src = hide || old_src == reverse.src ? back.src : old_src;
  FlowKey<F> outer{old_src, key.src, {}, {}, F::is_v4 ? protocol::icmp : protocol::icmpv6, {}};
  // Addresses, the IPv4 header checksum and for ICMPv6 the pseudo header's part.
  apply(make_rewrite(outer, new_src, back.dst, {}, {}), l3, icmp, outer.protocol);
  store(icmp + 2, message.apply(load<uint16_t>(icmp + 2)));
  return DropReason::None;
}

template DropReason translate_error(uint8_t*, uint16_t, uint16_t, const FlowKey<net::V4>&, const Rewrite<net::V4>&,
                                    bool);
template DropReason translate_error(uint8_t*, uint16_t, uint16_t, const FlowKey<net::V6>&, const Rewrite<net::V6>&,
                                    bool);

}  // namespace sluice::nat
