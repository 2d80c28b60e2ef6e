// A stream as the generator's tests use it: frames built, changed as a router would, checked.
#pragma once

#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "tools/trafgen/checker.h"
#include "tools/trafgen/frame_template.h"
#include "tools/trafgen/frame_view.h"
#include "tools/trafgen/turn_around.h"

namespace sluice::trafgen {

inline constexpr uint32_t test_key = 0xfeedbeef;

inline net::MacAddr mac(uint8_t last) { return {{2, 0, 0, 0, 0, last}}; }

inline FlowSpec flow_spec(const char* src, const char* dst, const char* src_port, const char* dst_port,
                          uint32_t count) {
  return {.count = count,
          .random = false,
          .src = *parse_addr_range(src),
          .dst = *parse_addr_range(dst),
          .src_port = *parse_port_range(src_port),
          .dst_port = *parse_port_range(dst_port),
          .file = ""};
}

class Frames {
 public:
  explicit Frames(FlowSpec spec, FrameSpec frame = {})
      : flows(FlowSpace::make(spec).value()), frame_(complete(frame)) {}

  // The bytes of a packet; the buffer has room behind them.
  std::vector<uint8_t> build(uint32_t flow, uint32_t sequence, uint32_t stamp = 0, bool syn = false) const {
    std::vector<uint8_t> out(2048);
    frame_.fill(out.data(), flows.at(flow), Signature::make(3, flow, false, sequence, stamp, test_key), syn);
    return out;
  }
  FrameView view(std::vector<uint8_t>& bytes) const { return read_frame(bytes.data(), frame_.length()); }
  [[nodiscard]] const FrameTemplate& frame() const { return frame_; }

  Checker checker(const ExpectProfile& expect = {}, bool latency = false) const {
    return Checker({flows.count(), Expectation(expect, &flows, false), {frame_.payload_length()}, latency});
  }
  // Lets the checker see the packet after `change`.
  bool pass(Checker& checker, uint32_t flow, uint32_t sequence,
            const std::function<void(const FrameView&)>& change = nullptr, bool right_port = true) const {
    std::vector<uint8_t> bytes = build(flow, sequence);
    const FrameView before = view(bytes);
    if (change) change(before);
    const FrameView after = view(bytes);
    const Signature signature = Signature::read(after.data + after.payload);
    return checker.check(after, signature, right_port, 0);
  }

  FlowSpace flows;

 private:
  FrameSpec complete(FrameSpec frame) const {
    frame.family = flows.family();
    frame.src_mac = mac(1);
    frame.dst_mac = mac(2);
    return frame;
  }
  FrameTemplate frame_;
};

// What a translating router does: another destination, checksums corrected.
inline void rewrite_destination(const FrameView& view, const char* address, uint16_t port) {
  net::ChecksumDelta l4;
  net::ChecksumDelta ip;
  uint8_t* at = view.data + view.l3 + 16;
  const auto from = net::load<net::Ipv4Addr>(at);
  const net::Ipv4Addr to = *net::parse_ipv4(address);
  net::store(at, to);
  ip.replace(from, to);
  l4.replace(from, to);
  uint8_t* port_at = view.data + view.l4 + 2;
  const auto old_port = net::load<net::be16>(port_at);
  net::store(port_at, net::be16::from_host(port));
  l4.replace(old_port, net::be16::from_host(port));
  uint8_t* ip_checksum = view.data + view.l3 + 10;
  net::store(ip_checksum, ip.apply(net::load<uint16_t>(ip_checksum)));
  uint8_t* checksum = view.data + view.checksum_offset();
  net::store(checksum, net::apply_udp(l4, net::load<uint16_t>(checksum)));
}

}  // namespace sluice::trafgen
