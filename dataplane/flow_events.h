// News of connections for whoever watches them: a worker notes each that it opens and each that ends. One ring per
// worker, filled by it and emptied by the control thread; nothing is noted while nobody watches, so a flow costs one
// predictable branch when it opens and one when it ends, and its packets none.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "dataplane/flow_record.h"

namespace sluice::dataplane {

struct FlowEvent {
  enum class Kind : uint8_t { Opened, Closed };
  Kind kind = Kind::Opened;
  FlowRecord record;
};
static_assert(std::is_trivially_destructible_v<FlowEvent>);

// Single producer, single consumer: each side writes its own position and reads the other's.
class FlowEventRing {
 public:
  static constexpr uint32_t slots = 16384;  // a power of two

  // False if there is no memory. What was never used touches none.
  [[nodiscard]] bool allocate();
  FlowEventRing() = default;
  ~FlowEventRing();
  FlowEventRing(const FlowEventRing&) = delete;
  FlowEventRing& operator=(const FlowEventRing&) = delete;

  // Worker. With a full ring the event is lost, and counted.
  void put(const FlowEvent& event) {
    const uint32_t at = written_.load(std::memory_order_relaxed);
    if (at - read_.load(std::memory_order_acquire) == slots) {
      lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return;
    }
    events_[at % slots] = event;
    written_.store(at + 1, std::memory_order_release);
  }

  // Control thread. Calls fn(const FlowEvent&) for what is there, in order.
  template <class Fn>
  void take(Fn&& fn) {
    uint32_t at = read_.load(std::memory_order_relaxed);
    const uint32_t end = written_.load(std::memory_order_acquire);
    for (; at != end; ++at) {
      fn(events_[at % slots]);
      read_.store(at + 1, std::memory_order_release);
    }
  }
  // Since the start.
  [[nodiscard]] uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  FlowEvent* events_ = nullptr;
  alignas(64) std::atomic<uint32_t> written_{0};
  std::atomic<uint64_t> lost_{0};
  alignas(64) std::atomic<uint32_t> read_{0};
};

}  // namespace sluice::dataplane
