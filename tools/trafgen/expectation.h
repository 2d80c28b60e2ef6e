// What the headers of a received packet must be, given the flow it says it belongs to.
#pragma once

#include <cstdint>
#include <string_view>

#include "tools/trafgen/flows.h"
#include "tools/trafgen/frame_view.h"
#include "tools/trafgen/profile.h"

namespace sluice::trafgen {

enum class Misroute : uint8_t { Port, Source, Destination, Tunnel, Affinity, Ttl, Mac, None };
inline constexpr size_t misroutes = static_cast<size_t>(Misroute::None);
[[nodiscard]] std::string_view name_of(Misroute what);

class Expectation {
 public:
  Expectation() = default;
  // `answers`: packets of the other direction, which go from where the flow was sent to.
  Expectation(const ExpectProfile& profile, const FlowSpace* flows, bool answers);

  // None if all is right. Affinity and port are not its business.
  [[nodiscard]] Misroute check(const FrameView& view, uint32_t flow) const {
    if (!simple_) return check_all(view, flow);
    const Tuple sent = flows_->at(flow);
    const bool no_ports = view.icmp();
    const WideAddr src = view.src();
    const WideAddr dst = view.dst();
    const uint16_t src_port = view.src_port();
    const uint16_t dst_port = no_ports ? 0 : view.dst_port();
    const uint16_t sent_dst_port = no_ports ? 0 : sent.dst_port;
    if (!swapped_) {
      if (src != sent.src || src_port != sent.src_port) return Misroute::Source;
      if (dst != sent.dst || dst_port != sent_dst_port) return Misroute::Destination;
    } else {
      if (src != sent.dst || src_port != (no_ports ? sent.src_port : sent_dst_port)) return Misroute::Source;
      if (dst != sent.src || (!no_ports && dst_port != sent.src_port)) return Misroute::Destination;
    }
    return view.tunnel == TunnelKind::None ? Misroute::None : Misroute::Tunnel;
  }
  // Whether a flow can arrive in more than one right way, so that it must be remembered which it was.
  [[nodiscard]] bool needs_affinity() const { return profile_.affinity && !profile_.unchanged(); }

 private:
  [[nodiscard]] Misroute check_all(const FrameView& view, uint32_t flow) const;
  [[nodiscard]] bool right_destination(const WideAddr& addr, uint32_t flow, const WideAddr& sent) const;
  [[nodiscard]] bool right_tunnel(const FrameView& view) const;

  const FlowSpace* flows_ = nullptr;
  ExpectProfile profile_;
  bool swapped_ = false;
  bool simple_ = true;  // nothing is rewritten
};

}  // namespace sluice::trafgen
