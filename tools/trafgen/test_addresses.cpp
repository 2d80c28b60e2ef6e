#include "tools/trafgen/test_addresses.h"

#include <algorithm>

namespace sluice::trafgen {

void TestAddresses::add(const StreamProfile& stream) {
  if (stream.mode == Mode::Replay) udp_ = tcp_ = icmp_ = true;
  udp_ |= stream.protocol == Protocol::Udp;
  tcp_ |= stream.protocol == Protocol::Tcp;
  icmp_ |= stream.protocol == Protocol::Icmp;
  any_ |= stream.mode == Mode::Replay || !stream.flows.file.empty();
  const auto expected = [this](const ExpectProfile& expect) {
    ranges_.insert(ranges_.end(), expect.src.begin(), expect.src.end());
    ranges_.insert(ranges_.end(), expect.dst.begin(), expect.dst.end());
  };
  ranges_.push_back(stream.flows.src);
  ranges_.push_back(stream.flows.dst);
  expected(stream.expect);
  if (stream.answer) expected(stream.answer->expect);
}

bool TestAddresses::holds(net::Family family, const WideAddr& addr) const {
  return any_ || std::any_of(ranges_.begin(), ranges_.end(),
                             [&](const AddrRange& range) { return range.family == family && range.contains(addr); });
}

bool TestAddresses::known(const FrameView& view) const {
  if (view.kind != FrameKind::Packet) return false;
  if (view.protocol == net::protocol::udp) {
    if (!udp_) return false;
  } else if (view.protocol == net::protocol::tcp) {
    if (!tcp_ || (view.tcp_flags() & net::tcp_flag::rst) != 0) return false;
  } else if (!icmp_ || !view.echo()) {
    return false;
  }
  const net::Family family = view.v4 ? net::Family::V4 : net::Family::V6;
  return holds(family, view.src()) || holds(family, view.dst());
}

}  // namespace sluice::trafgen
