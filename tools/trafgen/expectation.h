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
    const Tuple sent = flows_->at(flow);
    const bool no_ports = view.icmp();
    const Tuple want =
        swapped_ ? Tuple{sent.dst, sent.src, no_ports ? sent.src_port : sent.dst_port, sent.src_port} : sent;
    if (simple_) {
      if (view.src() != want.src || view.src_port() != want.src_port) return Misroute::Source;
      if (view.dst() != want.dst || (!no_ports && view.dst_port() != want.dst_port)) return Misroute::Destination;
      return view.tunnel == TunnelKind::None ? Misroute::None : Misroute::Tunnel;
    }
    return check_all(view, flow, want);
  }
  // Whether a flow can arrive in more than one right way, so that it must be remembered which it was.
  [[nodiscard]] bool needs_affinity() const { return profile_.affinity && !profile_.unchanged(); }

 private:
  [[nodiscard]] Misroute check_all(const FrameView& view, uint32_t flow, const Tuple& want) const;
  [[nodiscard]] bool right_destination(const WideAddr& addr, uint32_t flow, const WideAddr& sent) const;
  [[nodiscard]] bool right_tunnel(const FrameView& view) const;

  const FlowSpace* flows_ = nullptr;
  ExpectProfile profile_;
  bool swapped_ = false;
  bool simple_ = true;  // nothing is rewritten
};

}  // namespace sluice::trafgen
