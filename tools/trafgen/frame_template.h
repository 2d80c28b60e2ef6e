// A frame of one stream and one size, ready but for what differs from packet to packet: addresses, ports, signature
// and the checksums over them, which are added to sums computed once.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/net/addr.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "tools/trafgen/flows.h"
#include "tools/trafgen/profile.h"
#include "tools/trafgen/signature.h"

namespace sluice::trafgen {

struct FrameSpec {
  uint16_t size = 64;  // bytes without FCS and without the tunnel's headers; raised if headers and payload need more
  net::Family family = net::Family::V4;
  Protocol protocol = Protocol::Udp;
  uint8_t ttl = 64;
  net::MacAddr src_mac, dst_mac;
  TunnelProfile tunnel;
  bool bare_tcp = false;  // a TCP segment without payload, for `fill_segment`
};

class FrameTemplate {
 public:
  static constexpr uint16_t capacity = 1984;

  explicit FrameTemplate(const FrameSpec& spec);

  // Bytes of the whole frame, tunnel included. `fill` writes them rounded up to 64.
  [[nodiscard]] uint16_t length() const { return length_; }
  [[nodiscard]] uint16_t l3_offset() const { return l3_; }
  [[nodiscard]] uint16_t l4_offset() const { return l4_; }
  [[nodiscard]] uint16_t payload_length() const { return payload_length_; }

  // The whole frame of a flow. `syn`: TCP with SYN instead of ACK.
  void fill(uint8_t* out, const Tuple& tuple, const Signature& signature, bool syn) const {
    uint64_t l4_sum = write_headers(out, tuple, signature.flow());
    signature.write(out + payload_);
    l4_sum += signature.sum();
    if (syn && protocol_ == Protocol::Tcp) {
      net::store<uint16_t>(out + l4_ + 12, tcp_syn_word);
      l4_sum += static_cast<uint16_t>(~tcp_ack_word);
      l4_sum += tcp_syn_word;
    }
    write_l4_checksum(out, l4_sum);
  }
  // A TCP segment without payload. `seq` and `ack` in host byte order.
  void fill_segment(uint8_t* out, const Tuple& tuple, uint32_t flow, uint8_t flags, uint32_t seq, uint32_t ack) const {
    uint64_t l4_sum = write_headers(out, tuple, flow);
    net::store_be32(out + l4_ + 4, seq);
    net::store_be32(out + l4_ + 8, ack);
    net::store_be16(out + l4_ + 12, static_cast<uint16_t>(0x5000 | flags));
    // The template has 1 and 1 and ACK there.
    l4_sum = net::checksum_sum(out + l4_ + 4, 10, l4_sum) + static_cast<uint16_t>(~bare_fields_sum_);
    write_l4_checksum(out, l4_sum);
  }

 private:
  static constexpr uint16_t tcp_ack_word = 0x1050;  // as they lie in the frame
  static constexpr uint16_t tcp_syn_word = 0x0250;

  static uint64_t halves(uint64_t value) { return (value & 0xffffffff) + (value >> 32); }

  uint64_t write_headers(uint8_t* out, const Tuple& tuple, uint32_t flow) const {
    for (uint16_t at = 0; at < length_; at = static_cast<uint16_t>(at + 64))
      std::memcpy(out + at, bytes_.data() + at, 64);
    if (tunnel_ != TunnelKind::None) write_outer(out, flow);
    uint64_t sum = 0;
    if (v4_) {
      const uint32_t src = __builtin_bswap32(static_cast<uint32_t>(tuple.src.low));
      const uint32_t dst = __builtin_bswap32(static_cast<uint32_t>(tuple.dst.low));
      net::store(out + l3_ + 12, src);
      net::store(out + l3_ + 16, dst);
      sum = uint64_t{src} + dst;
      net::store(out + l3_ + 10, static_cast<uint16_t>(~net::checksum_fold(ip_sum_ + sum)));
      if (protocol_ == Protocol::Icmp) sum = 0;
    } else {
      const uint64_t words[4] = {__builtin_bswap64(tuple.src.high), __builtin_bswap64(tuple.src.low),
                                 __builtin_bswap64(tuple.dst.high), __builtin_bswap64(tuple.dst.low)};
      std::memcpy(out + l3_ + 8, words, sizeof words);
      for (const uint64_t word : words) sum += halves(word);
    }
    const uint16_t src_port = __builtin_bswap16(tuple.src_port);
    if (protocol_ == Protocol::Icmp) {
      net::store(out + l4_ + 4, src_port);
      return sum + l4_sum_ + src_port;
    }
    const uint16_t dst_port = __builtin_bswap16(tuple.dst_port);
    net::store(out + l4_, static_cast<uint32_t>(src_port) | static_cast<uint32_t>(dst_port) << 16);
    return sum + l4_sum_ + src_port + dst_port;
  }
  void write_l4_checksum(uint8_t* out, uint64_t sum) const {
    auto checksum = static_cast<uint16_t>(~net::checksum_fold(sum));
    if (checksum == 0 && protocol_ == Protocol::Udp) checksum = 0xffff;
    net::store(out + checksum_, checksum);
  }
  void write_outer(uint8_t* out, uint32_t flow) const;

  void build_outer(const FrameSpec& spec, uint16_t inner_length);
  void build_l3(const FrameSpec& spec, uint16_t l4_length);
  void build_l4(const FrameSpec& spec);

  alignas(64) std::array<uint8_t, capacity> bytes_{};
  uint16_t length_ = 0, l3_ = 0, l4_ = 0, payload_ = 0, payload_length_ = 0, checksum_ = 0;
  uint16_t bare_fields_sum_ = 0;
  bool v4_ = true;
  Protocol protocol_ = Protocol::Udp;
  TunnelKind tunnel_ = TunnelKind::None;
  uint64_t ip_sum_ = 0;  // of the IPv4 header without addresses and checksum
  uint64_t l4_sum_ = 0;  // pseudo header, L4 header and pattern without addresses, ports, signature and checksum
  uint64_t outer_sum_ = 0;
  AddrRange outer_src_, outer_dst_;
  Divider outer_src_count_, outer_dst_count_;
};

}  // namespace sluice::trafgen
