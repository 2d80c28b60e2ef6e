// The addresses that the streams of a run use, before and after the system under test has rewritten them: what makes a
// packet without a readable signature one of this test's, and not somebody else's.
#pragma once

#include <vector>

#include "tools/trafgen/frame_view.h"
#include "tools/trafgen/profile.h"

namespace sluice::trafgen {

class TestAddresses {
 public:
  void add(const StreamProfile& stream);

  // A packet of a stream's protocol with an address of a stream at one of its ends, either direction. Refusals (TCP
  // RST) and ICMP errors are told by routers, and are not.
  [[nodiscard]] bool known(const FrameView& view) const;

 private:
  [[nodiscard]] bool holds(net::Family family, const WideAddr& addr) const;

  std::vector<AddrRange> ranges_;
  bool any_ = false;  // tuples from a file or a capture: every address may be one of them
  bool udp_ = false, tcp_ = false, icmp_ = false;
};

}  // namespace sluice::trafgen
