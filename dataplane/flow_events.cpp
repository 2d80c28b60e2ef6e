#include "dataplane/flow_events.h"

namespace sluice::dataplane {

bool FlowEventRing::allocate() {
  events_ = static_cast<FlowEvent*>(nat::Memory::anonymous().allocate(slots * sizeof(FlowEvent), alignof(FlowEvent)));
  return events_ != nullptr;
}

FlowEventRing::~FlowEventRing() {
  if (events_ != nullptr) nat::Memory::anonymous().release(events_, slots * sizeof(FlowEvent));
}

}  // namespace sluice::dataplane
