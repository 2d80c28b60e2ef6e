#include "dataplane/offload.h"

#include <algorithm>
#include <cstring>

#include <rte_hash_crc.h>

#include "dataplane/buffers.h"
#include "dataplane/crc32c.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace sluice::dataplane {
namespace {

using net::DropReason;
using net::tcp_header_length;

constexpr uint16_t l3 = net::ethernet_header_length;
constexpr uint16_t tcp_sum = tcp_checksum_offset;
constexpr uint16_t udp_sum = 6;   // RFC 768
constexpr uint16_t sctp_sum = 8;  // RFC 9260 section 3.1: a CRC32c

bool is_v4(const uint8_t* frame) { return net::load_be16(frame + 12) == net::ether_type_ipv4; }
bool is_v6(const uint8_t* frame) { return net::load_be16(frame + 12) == net::ether_type_ipv6; }

// The protocol whose header begins at `l4`, which is in the frame; 0 if the IP header does not end there, as inside a
// tunnel.
uint8_t protocol_at(const uint8_t* frame, uint32_t l4) {
  if (is_v4(frame)) {
    const uint32_t end = l3 + (frame[l3] & 0xfU) * 4;
    return l4 >= l3 + net::ipv4_header_length && end == l4 ? frame[l3 + 9] : uint8_t{0};
  }
  if (!is_v6(frame) || l4 < l3 + net::ipv6_header_length) return 0;
  uint8_t protocol = frame[l3 + 6];
  uint32_t at = l3 + net::ipv6_header_length;
  while (at + 8 <= l4 && (protocol == net::protocol::hop_by_hop || protocol == net::protocol::routing ||
                          protocol == net::protocol::destination_options)) {
    protocol = frame[at];
    at += (frame[at + 1] + 1U) * 8;
  }
  return at == l4 ? protocol : uint8_t{0};
}

// RFC 9293 section 3.1, RFC 8200 section 8.1. `length`: of the TCP or UDP header and what follows.
uint64_t pseudo_sum(const uint8_t* frame, bool v4, uint8_t protocol, uint32_t length) {
  const uint64_t addresses = v4 ? net::checksum_sum(frame + l3 + 12, 8) : net::checksum_sum(frame + l3 + 8, 32);
  return addresses + net::be16::from_host(protocol).wire() + net::be16::from_host(static_cast<uint16_t>(length)).wire();
}

}  // namespace

void begin_tcp_checksum(uint8_t* frame, uint16_t l4, uint32_t l4_length) {
  const uint64_t sum = pseudo_sum(frame, is_v4(frame), net::protocol::tcp, l4_length);
  net::store(frame + l4 + tcp_sum, net::checksum_fold(sum));
}

// ---- from a pod ----------------------------------------------------------------------------------------

DropReason Segmenter::begin(const uint8_t* frame, uint32_t length, const VnetHeader& about) {
  *this = {};
  if (length < net::ethernet_header_length) return DropReason::EthernetTruncated;
  const bool unfinished = (about.flags & VnetHeader::needs_checksum) != 0;
  const uint8_t gso = about.gso_type & static_cast<uint8_t>(~VnetHeader::gso_ecn);
  frame_ = frame;
  uint8_t protocol = 0;
  if (unfinished) {
    l4_ = about.checksum_start;
    sum_ = about.checksum_offset;
    if (l4_ < l3 || uint32_t{l4_} + sum_ + (sum_ == sctp_sum ? 4 : 2) > length) return DropReason::OffloadMalformed;
    protocol = protocol_at(frame, l4_);
    known_ = (protocol == net::protocol::tcp && sum_ == tcp_sum) ||
             (protocol == net::protocol::udp && sum_ == udp_sum) ||
             (protocol == net::protocol::sctp && sum_ == sctp_sum);
  }
  if (gso == VnetHeader::no_gso) {
    payload_ = step_ = length;
    return DropReason::None;
  }
  tcp_ = gso == VnetHeader::gso_tcp_v4 || gso == VnetHeader::gso_tcp_v6;
  const bool v4 = is_v4(frame);
  const bool family_fits = gso == VnetHeader::gso_tcp_v4   ? v4
                           : gso == VnetHeader::gso_tcp_v6 ? is_v6(frame)
                                                           : v4 || is_v6(frame);
  if (!unfinished || !family_fits || (!tcp_ && gso != VnetHeader::gso_udp) || about.gso_size == 0 || !known_ ||
      protocol != (tcp_ ? net::protocol::tcp : net::protocol::udp) ||
      uint32_t{l4_} + (tcp_ ? tcp_header_length : net::udp_header_length) > length) {
    return DropReason::OffloadMalformed;
  }
  headers_ = static_cast<uint16_t>(l4_ + (tcp_ ? (frame[l4_ + 12] >> 4) * 4 : net::udp_header_length));
  if (headers_ > most_headers || headers_ >= length || (tcp_ && headers_ < l4_ + tcp_header_length)) {
    return DropReason::OffloadMalformed;
  }
  payload_ = length - headers_;
  step_ = about.gso_size;
  if (payload_ > step_ * most_segments) return DropReason::OffloadMalformed;
  segments_ = true;
  return DropReason::None;
}

rte_mbuf* Segmenter::next(rte_mempool* pool) {
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(pool);
  const uint32_t at = offset_;
  const uint32_t size = std::min(step_, payload_ - at);
  offset_ += size;
  const uint8_t* const payload = frame_ + headers_ + at;
  if (mbuf != nullptr && segments_) {
    auto* const headers = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, headers_));
    std::memcpy(headers, frame_, headers_);
    const uint32_t number = at / step_;
    if (is_v4(frame_)) {
      net::store_be16(headers + l3 + 4, static_cast<uint16_t>(net::load_be16(frame_ + l3 + 4) + number));
    }
    if (tcp_) {
      net::store_be32(headers + l4_ + 4, net::load_be32(frame_ + l4_ + 4) + at);
      // RFC 3168 section 6.1.2: the first answer alone says that the window was reduced.
      if (at != 0) headers[l4_ + 13] &= static_cast<uint8_t>(~net::tcp_flag::cwr);
    }
    finish_headers(headers, payload, size, done());
  }
  if (mbuf == nullptr || !append(mbuf, payload, size, pool)) {
    rte_pktmbuf_free(mbuf);
    offset_ = payload_;
    return nullptr;
  }
  if (l4_ != 0 && (segments_ || finish_checksum(mbuf)) && known_) mbuf->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  return mbuf;
}

// Of a frame that is one packet. False if the field is not in its first buffer: such headers are nobody's.
bool Segmenter::finish_checksum(rte_mbuf* mbuf) const {
  const uint32_t field = uint32_t{l4_} + sum_;
  const uint32_t size = sum_ == sctp_sum ? 4 : 2;
  if (field + size > mbuf->data_len) return false;
  auto* const to = rte_pktmbuf_mtod_offset(mbuf, uint8_t*, field);
  if (sum_ == sctp_sum) {
    // RFC 9260 appendix A: over the packet with 0 in the field, least significant byte first. Nothing but SCTP has its
    // checksum there, in tunnels of pods as well.
    const uint32_t before = crc32c(frame_ + l4_, sctp_sum, 0xffffffff);
    const uint32_t zeroed = rte_hash_crc_4byte(0, before);
    const uint32_t crc = ~crc32c(frame_ + field + size, payload_ - field - size, zeroed);
    const uint8_t bytes[] = {static_cast<uint8_t>(crc), static_cast<uint8_t>(crc >> 8), static_cast<uint8_t>(crc >> 16),
                             static_cast<uint8_t>(crc >> 24)};
    std::memcpy(to, bytes, sizeof bytes);
    return true;
  }
  // The field holds the sum of the pseudo header. Some write 0 for no checksum (RFC 768), so 0 is sent as 0xffff.
  const uint16_t sum = net::checksum(frame_ + l4_, payload_ - l4_);
  net::store(to, sum == 0 && sum_ == udp_sum ? uint16_t{0xffff} : sum);
  return true;
}

void Segmenter::finish_headers(uint8_t* headers, const uint8_t* payload, uint32_t size, bool last) const {
  const bool v4 = is_v4(headers);
  const uint32_t l4_length = headers_ - l4_ + size;
  if (v4) {
    net::store_be16(headers + l3 + 2, static_cast<uint16_t>(headers_ - l3 + size));
    net::store(headers + l3 + 10, uint16_t{0});
    net::store(headers + l3 + 10, net::checksum(headers + l3, static_cast<size_t>(headers[l3] & 0xf) * 4));
  } else {
    net::store_be16(headers + l3 + 4, static_cast<uint16_t>(headers_ - l3 - net::ipv6_header_length + size));
  }
  if (tcp_) {
    if (!last) headers[l4_ + 13] &= static_cast<uint8_t>(~(net::tcp_flag::fin | net::tcp_flag::psh));
  } else {
    net::store_be16(headers + l4_ + 4, static_cast<uint16_t>(l4_length));
  }
  net::store(headers + l4_ + sum_, uint16_t{0});
  const uint8_t protocol = tcp_ ? net::protocol::tcp : net::protocol::udp;
  uint64_t sum = pseudo_sum(headers, v4, protocol, l4_length);
  sum = net::checksum_sum(headers + l4_, static_cast<size_t>(headers_ - l4_), sum);
  const uint16_t value = net::checksum(payload, size, sum);
  net::store(headers + l4_ + sum_, !tcp_ && value == 0 ? uint16_t{0xffff} : value);
}

// ---- to a pod ------------------------------------------------------------------------------------------

void Merger::clear() {
  messages_ = 0;
  used_ = 0;
  open_ = false;
}

bool Merger::read(const rte_mbuf* mbuf, Segment& segment) {
  if (mbuf->nb_segs != 1 || mbuf->data_len < l3 + net::ipv4_header_length + tcp_header_length) return false;
  const auto* const frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const uint8_t* const ip = frame + l3;
  segment.frame = frame;
  segment.v4 = is_v4(frame);
  if (segment.v4) {
    // No options, no fragment, nothing behind the packet.
    if (ip[0] != 0x45 || ip[9] != net::protocol::tcp || (net::load_be16(ip + 6) & 0x3fff) != 0 ||
        net::load_be16(ip + 2) != mbuf->data_len - l3) {
      return false;
    }
    segment.l4 = l3 + net::ipv4_header_length;
  } else {
    if (!is_v6(frame) || mbuf->data_len < l3 + net::ipv6_header_length + tcp_header_length ||
        ip[6] != net::protocol::tcp || net::load_be16(ip + 4) != mbuf->data_len - l3 - net::ipv6_header_length) {
      return false;
    }
    segment.l4 = l3 + net::ipv6_header_length;
  }
  const uint8_t* const tcp = frame + segment.l4;
  segment.headers = static_cast<uint16_t>(segment.l4 + (tcp[12] >> 4) * 4);
  const uint8_t flags = tcp[13];
  if (segment.headers < segment.l4 + tcp_header_length || segment.headers >= mbuf->data_len ||
      (flags & ~net::tcp_flag::psh) != net::tcp_flag::ack) {
    return false;
  }
  segment.payload = static_cast<uint16_t>(mbuf->data_len - segment.headers);
  segment.sequence = net::load_be32(tcp + 4);
  segment.pushes = (flags & net::tcp_flag::psh) != 0;
  return true;
}

bool Merger::verified(const rte_mbuf* mbuf, const Segment& segment) {
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD) return true;
  const uint32_t length = static_cast<uint32_t>(mbuf->data_len) - segment.l4;
  const uint64_t pseudo = pseudo_sum(segment.frame, segment.v4, net::protocol::tcp, length);
  return net::checksum_fold(net::checksum_sum(segment.frame + segment.l4, length, pseudo)) == 0xffff;
}

// Whether it continues the open message in all that a receiver could tell apart.
bool Merger::joins(const rte_mbuf* mbuf, const Segment& next) {
  if (next.v4 != first_.v4 || next.headers != first_.headers || next.sequence != next_sequence_ ||
      next.payload > first_.payload || complete_ || first_.headers - l3 + payload_ + next.payload > largest) {
    return false;
  }
  const uint8_t* const a = first_.frame;
  const uint8_t* const b = next.frame;
  if (std::memcmp(a, b, l3) != 0) return false;
  if (first_.v4) {
    // Type of service, the bits beside the fragment offset, TTL, addresses.
    if (a[l3 + 1] != b[l3 + 1] || a[l3 + 6] != b[l3 + 6] || a[l3 + 8] != b[l3 + 8] ||
        std::memcmp(a + l3 + 12, b + l3 + 12, 8) != 0) {
      return false;
    }
  } else if (std::memcmp(a + l3, b + l3, 4) != 0 || std::memcmp(a + l3 + 7, b + l3 + 7, 33) != 0) {
    return false;
  }
  const uint8_t* const x = a + first_.l4;
  const uint8_t* const y = b + next.l4;
  const auto options = static_cast<size_t>(first_.headers - first_.l4 - tcp_header_length);
  // Ports; acknowledgment and data offset; window; urgent pointer and options.
  if (std::memcmp(x, y, 4) != 0 || std::memcmp(x + 8, y + 8, 5) != 0 || std::memcmp(x + 14, y + 14, 2) != 0 ||
      std::memcmp(x + 18, y + 18, 2 + options) != 0) {
    return false;
  }
  if (!first_verified_) {
    first_verified_ = verified(first_mbuf_, first_);
    if (!first_verified_) return false;
  }
  return verified(mbuf, next);
}

bool Merger::add(rte_mbuf* mbuf) {
  if (mbuf->nb_segs > most_parts) return false;
  Segment segment;
  const bool mergeable = read(mbuf, segment);
  auto* const frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
  if (open_ && mergeable && joins(mbuf, segment)) {
    Message& message = list_[messages_ - 1U];
    vectors_[used_++] = {frame + segment.headers, segment.payload};
    ++message.count;
    ++message.frames;
    payload_ += segment.payload;
    next_sequence_ += segment.payload;
    pushes_ = segment.pushes;
    complete_ = segment.pushes || segment.payload < first_.payload;
    return true;
  }
  close();
  Message& message = list_[messages_];
  message = {};
  message.first = used_;
  message.frames = 1;
  vectors_[used_++] = {&message.about, sizeof message.about};
  if (mergeable) {
    vectors_[used_++] = {frame, segment.headers};
    vectors_[used_++] = {frame + segment.headers, segment.payload};
    open_ = true;
    first_ = segment;
    first_mbuf_ = mbuf;
    first_verified_ = false;
    payload_ = segment.payload;
    next_sequence_ = segment.sequence + segment.payload;
    pushes_ = complete_ = segment.pushes;
  } else {
    for (rte_mbuf* part = mbuf; part != nullptr; part = part->next) {
      vectors_[used_++] = {rte_pktmbuf_mtod(part, uint8_t*), part->data_len};
    }
  }
  message.count = static_cast<uint16_t>(used_ - message.first);
  ++messages_;
  return true;
}

// Writes the headers of the last message, if it is one of several packets.
void Merger::close() {
  if (!open_) return;
  open_ = false;
  Message& message = list_[messages_ - 1U];
  if (message.frames == 1) return;
  uint8_t* const headers = headers_[messages_ - 1U].data();
  std::memcpy(headers, first_.frame, first_.headers);
  const uint32_t l4_length = first_.headers - first_.l4 + payload_;
  if (first_.v4) {
    net::store_be16(headers + l3 + 2, static_cast<uint16_t>(first_.headers - l3 + payload_));
    net::store(headers + l3 + 10, uint16_t{0});
    net::store(headers + l3 + 10, net::checksum(headers + l3, net::ipv4_header_length));
  } else {
    net::store_be16(headers + l3 + 4, static_cast<uint16_t>(l4_length));
  }
  uint8_t* const tcp = headers + first_.l4;
  if (pushes_) tcp[13] |= net::tcp_flag::psh;
  begin_tcp_checksum(headers, first_.l4, l4_length);
  vectors_[message.first + 1U] = {headers, first_.headers};
  message.about = {};
  message.about.flags = VnetHeader::needs_checksum;
  message.about.gso_type = first_.v4 ? VnetHeader::gso_tcp_v4 : VnetHeader::gso_tcp_v6;
  message.about.header_length = first_.headers;
  message.about.gso_size = first_.payload;
  message.about.checksum_start = first_.l4;
  message.about.checksum_offset = tcp_sum;
}

void Merger::finish() { close(); }

}  // namespace sluice::dataplane
