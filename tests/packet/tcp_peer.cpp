#include "tests/packet/tcp_peer.h"

#include <algorithm>

#include <rte_ip.h>

namespace sluice::packet_test {

using net::tcp_flag::ack;
using net::tcp_flag::fin;
using net::tcp_flag::psh;
using net::tcp_flag::rst;
using net::tcp_flag::syn;

namespace {

bool before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

}  // namespace

Bytes TcpSegment::bytes() const {
  Bytes options;
  if (mss) options.insert(options.end(), {2, 4, static_cast<uint8_t>(*mss >> 8), static_cast<uint8_t>(*mss)});
  if (sack_permitted) options.insert(options.end(), {1, 1, 4, 2});
  if (timestamp) {
    Bytes stamp{1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0};
    net::store_be32(&stamp[4], timestamp->first);
    net::store_be32(&stamp[8], timestamp->second);
    options.insert(options.end(), stamp.begin(), stamp.end());
  }
  if (scale) options.insert(options.end(), {1, 3, 3, *scale});
  Ip ip;
  ip.src = src;
  ip.dst = dst;
  ip.protocol = net::protocol::tcp;
  ip.flags = flags;
  ip.seq = seq;
  ip.ack = ack;
  ip.payload = options;
  ip.payload.insert(ip.payload.end(), data.begin(), data.end());
  Bytes out = ip.bytes();
  const bool v4 = out[0] >> 4 == 4;
  uint8_t* const tcp = &out[v4 ? 20 : 40];
  tcp[12] = static_cast<uint8_t>((20 + options.size()) / 4 << 4);
  net::store_be16(tcp + 14, window);
  net::store(tcp + 16, uint16_t{0});
  const uint16_t sum = v4 ? rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(out.data()), tcp)
                          : rte_ipv6_udptcp_cksum(reinterpret_cast<const rte_ipv6_hdr*>(out.data()), tcp);
  net::store(tcp + 16, sum);
  return out;
}

TcpSegment segment_of(const View& view) {
  TcpSegment out;
  out.src = view.ip.src;
  out.dst = view.ip.dst;
  const size_t l4 = view.l3[0] >> 4 == 4 ? 20 : 40;
  const uint8_t* const tcp = &view.l3[l4];
  const size_t header = (tcp[12] >> 4) * 4U;
  out.flags = tcp[13];
  out.seq = net::load_be32(tcp + 4);
  out.ack = net::load_be32(tcp + 8);
  out.window = net::load_be16(tcp + 14);
  for (size_t at = 20; at < header && tcp[at] != 0;) {
    if (tcp[at] == 1) {
      ++at;
      continue;
    }
    if (tcp[at] == 2) out.mss = net::load_be16(tcp + at + 2);
    if (tcp[at] == 3) out.scale = tcp[at + 2];
    if (tcp[at] == 4) out.sack_permitted = true;
    if (tcp[at] == 8) out.timestamp = {net::load_be32(tcp + at + 2), net::load_be32(tcp + at + 6)};
    at += tcp[at + 1];
  }
  out.data.assign(view.l3.begin() + static_cast<std::ptrdiff_t>(l4 + header), view.l3.end());
  return out;
}

TcpSegment TcpPeer::make(uint8_t flags, uint32_t seq, uint32_t now) const {
  TcpSegment out;
  out.src = own_;
  out.dst = other_;
  out.flags = flags;
  out.seq = seq;
  if ((flags & ack) != 0) out.ack = expected_;
  const bool opening = (flags & syn) != 0;
  const uint32_t window = options_.buffer;
  out.window =
      static_cast<uint16_t>(std::min<uint32_t>(opening || !scales_ ? window : window >> *options_.scale, 0xffff));
  // Each peer has a clock of its own.
  if (opening ? options_.timestamps && (client_ || stamps_) : stamps_) out.timestamp = {now + isn_, echo_};
  if (opening) {
    out.mss = options_.mss;
    if (client_ || scales_) out.scale = options_.scale;
    out.sack_permitted = options_.sack;
  }
  return out;
}

void TcpPeer::connect() {
  client_ = true;
  next_ = isn_ + 1;
}

void TcpPeer::receive(const TcpSegment& segment) {
  if (segment.has(rst)) {
    if (segment.seq == expected_ || !established_) reset_ = true;
    return;
  }
  if (segment.has(syn)) {
    if (syn_) {
      owes_ack_ = true;
      return;
    }
    if (client_ && segment.ack != isn_ + 1) {
      fault_ = "the SYN+ACK acknowledges another number";
      resets_ = segment.ack;
      return;
    }
    syn_ = segment;
    expected_ = segment.seq + 1;
    scales_ = segment.scale && options_.scale;
    other_scale_ = segment.scale.value_or(0);
    stamps_ = segment.timestamp && options_.timestamps;
    if (stamps_) echo_ = segment.timestamp->first;
    segment_ = std::min<uint16_t>(segment.mss.value_or(536), options_.mss) - (stamps_ ? 12 : 0);
    allowed_ = isn_ + 1 + segment.window;
    if (client_) {
      acked_ = segment.ack;
      established_ = true;
    } else {
      next_ = isn_ + 1;
    }
    owes_ack_ = true;
    return;
  }
  if (!syn_) {  // RFC 9293 section 3.10.7.3: of another connection
    resets_ = segment.ack;
    return;
  }
  if (stamps_ && !segment.timestamp) fault_ = "a segment without a timestamp";
  if (stamps_ && segment.timestamp) {
    // RFC 7323 sections 4.3 and 5.3.
    if (before(segment.timestamp->first, echo_) && segment.seq == expected_ && !segment.data.empty())
      fault_ = "a new segment with an old timestamp";
    if (before(echo_, segment.timestamp->first) && !before(expected_, segment.seq)) echo_ = segment.timestamp->first;
  }
  if (before(next_, segment.ack)) {
    fault_ = "what was not sent is acknowledged";
    owes_ack_ = true;
    return;
  }
  if (!client_ && segment.ack == isn_ + 1) established_ = true;
  if (before(acked_, segment.ack)) acked_ = segment.ack;
  if (!client_ && before(isn_, acked_)) established_ = true;
  const uint32_t window = uint32_t{segment.window} << (scales_ ? other_scale_ : 0);
  if (before(allowed_, segment.ack + window)) allowed_ = segment.ack + window;
  const auto length = static_cast<uint32_t>(segment.data.size());
  if (length == 0 && !segment.has(fin)) return;
  owes_ack_ = true;
  const uint32_t skip = expected_ - segment.seq;
  if (skip > length || (skip == length && !segment.has(fin))) return;
  if (ended_) return;
  heard_ += segment.data.substr(skip);
  expected_ += length - skip;
  if (segment.has(fin)) {
    ended_ = true;
    ++expected_;
  }
}

std::vector<TcpSegment> TcpPeer::send(bool again, uint32_t now) {
  std::vector<TcpSegment> out;
  if (resets_) {
    out.push_back(make(rst, *resets_, now));
    resets_.reset();
  }
  if (reset_ || (!client_ && !syn_)) return out;
  if (client_ && !syn_) {
    if (again) out.push_back(make(syn, isn_, now));
    return out;
  }
  if (!established_) {
    if (again || owes_ack_) out.push_back(make(syn | ack, isn_, now));
    owes_ack_ = false;
    return out;
  }
  const auto end = static_cast<uint32_t>(isn_ + 1 + text_.size());
  uint32_t at = again ? acked_ : next_;
  while (before(at, end) && before(at, allowed_)) {
    const uint32_t size = std::min({uint32_t{segment_}, end - at, allowed_ - at});
    TcpSegment data = make(ack | psh, at, now);
    data.data = text_.substr(at - isn_ - 1, size);
    at += size;
    out.push_back(std::move(data));
  }
  if (at == end && finishing_ && (!fin_sent_ || again) && acked_ != end + 1) {
    out.push_back(make(fin | ack, at++, now));
    fin_sent_ = true;
  }
  if (before(next_, at)) next_ = at;
  if (out.empty() && (owes_ack_ || again)) out.push_back(make(ack, next_, now));
  owes_ack_ = false;
  return out;
}

}  // namespace sluice::packet_test
