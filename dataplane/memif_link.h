// A pod's link by shared memory (memif 2.0, one ring each way), as its server's worker sees it.
//
// The pod made the memory and may write anything into it at any time, also while it is read here: nothing in it is
// believed. A field is loaded once and checked before it is used, what a frame says is looked at in our copy of it, and
// the worker's own positions are kept here. A pod that breaks the rules has broken its own link (is_broken()), which
// costs no turn of the loop more than a link does. That the memory does not shrink or get holes under us is the work of
// whoever maps it (control/memif_session.h).
//
// Layout: Link protocol of VPP's src/plugins/memif/memif.h, which DPDK's drivers/net/memif/memif.h repeats.
// All fields are in host byte order.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/net/result.h"

struct rte_mbuf;

namespace sluice::dataplane {

struct Context;

// Where a ring lies.
struct MemifPlace {
  uint16_t region = 0;
  uint32_t offset = 0;    // bytes
  uint8_t log2_size = 0;  // of the number of slots

  friend bool operator==(const MemifPlace&, const MemifPlace&) = default;
};

// Memory that was mapped shared, and is unmapped at the end.
class MemifRegion {
 public:
  MemifRegion(void* begin, uint64_t size) : begin_(static_cast<uint8_t*>(begin)), size_(size) {}
  MemifRegion(MemifRegion&& other) noexcept : begin_(std::exchange(other.begin_, nullptr)), size_(other.size_) {}
  MemifRegion& operator=(MemifRegion&&) = delete;
  ~MemifRegion();

  // nullptr: not all of it lies within.
  [[nodiscard]] uint8_t* at(uint64_t offset, uint64_t length) const {
    return offset <= size_ && length <= size_ - offset ? begin_ + offset : nullptr;
  }

 private:
  uint8_t* begin_;
  uint64_t size_;
};

class MemifLink {
 public:
  static constexpr size_t most_regions = 4;
  static constexpr uint8_t most_log2_size = 14;
  static constexpr uint32_t most_frame = 9728;  // bytes, with the Ethernet header
  static constexpr uint16_t most_slots = 16;    // of one frame

  // The error says what is wrong with the rings.
  static net::Result<std::unique_ptr<MemifLink>> open(std::vector<MemifRegion> regions, const MemifPlace& to_router,
                                                      const MemifPlace& from_router);
  MemifLink(const MemifLink&) = delete;
  MemifLink& operator=(const MemifLink&) = delete;

  // One worker: up to net::burst_size packets. Frames that are too large or in too many slots are counted and dropped.
  [[nodiscard]] uint16_t receive(Context& context, rte_mbuf** packets);
  // One worker, which may be another: sends at most net::burst_size frames, which it takes. What finds no room is
  // dropped.
  void send(Context& context, rte_mbuf** frames, uint16_t count);
  // Any thread: the pod broke the rules, nothing comes or goes any more.
  [[nodiscard]] bool is_broken() const { return broken_.load(std::memory_order_relaxed); }

 private:
  struct Header;
  struct Descriptor;
  struct Ring {
    Header* header = nullptr;
    Descriptor* slots = nullptr;
    uint16_t size = 0;  // a power of two
    uint16_t tail = 0;  // the router's position on both rings

    [[nodiscard]] Descriptor& slot(uint16_t index) const;
  };
  struct Piece {
    uint8_t* begin = nullptr;
    uint32_t length = 0;
  };
  // A frame's slots.
  using Pieces = std::array<Piece, most_slots>;

  explicit MemifLink(std::vector<MemifRegion> regions) : regions_(std::move(regions)) {}
  [[nodiscard]] net::Status<> place(const MemifPlace& place, Ring& ring) const;
  [[nodiscard]] uint8_t* find(uint16_t region, uint32_t offset, uint32_t length) const;
  // Slots that the pod has handed over. 0 if it says nonsense.
  [[nodiscard]] uint16_t ready(const Ring& ring);
  void break_off() { broken_.store(true, std::memory_order_relaxed); }
  // Whether it went.
  [[nodiscard]] bool put(const rte_mbuf& frame, uint16_t& room);

  std::vector<MemifRegion> regions_;
  std::atomic<bool> broken_{false};
  alignas(64) Ring to_router_;
  alignas(64) Ring from_router_;
};

}  // namespace sluice::dataplane
