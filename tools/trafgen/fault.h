// What a peer can do wrong, on purpose, so that tests can see the checks find it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tools/trafgen/frame_view.h"

namespace sluice::trafgen {

enum class Fault : uint8_t {
  None,
  WrongChecksum,
  Corrupt,
  DropOne,
  Duplicate,
  Reorder,
  SwapEndpoint,
  Signature,
  Length
};
[[nodiscard]] std::optional<Fault> parse_fault(std::string_view text);

// Every n-th packet is spoilt.
class FaultPlan {
 public:
  FaultPlan() = default;
  FaultPlan(Fault fault, uint64_t every) : fault_(fault), every_(every) {}
  // The fault of this packet.
  Fault next() { return fault_ == Fault::None || ++count_ % every_ != 0 ? Fault::None : fault_; }

 private:
  Fault fault_ = Fault::None;
  uint64_t every_ = 1;
  uint64_t count_ = 0;
};

// Those faults that are done to the packet itself: wrong checksum, corrupt, swap endpoint, signature, length.
void spoil(const FrameView& view, Fault fault);

}  // namespace sluice::trafgen
