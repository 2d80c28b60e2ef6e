// The pod's end of a memif link (dataplane/memif_link.h), written from the description of the protocol: memory with one
// ring each way, which the test fills and reads as a pod would, or as no pod should.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/memif_link.h"

namespace sluice::packet_test {

class MemifPeer {
 public:
  using Frame = std::vector<uint8_t>;
  static constexpr uint32_t cookie = 0x3e31f20;
  static constexpr uint16_t next_flag = 1;
  static constexpr uint32_t header_size = 128;

  struct Slot {
    uint16_t flags;
    uint16_t region;
    uint32_t length;
    uint32_t offset;
    uint32_t metadata;
  };

  // `buffer`: bytes of each slot.
  explicit MemifPeer(uint8_t log2_slots = 6, uint32_t buffer = 2048) : log2_slots_(log2_slots), buffer_(buffer) {
    file_ = memfd_create("pod", MFD_CLOEXEC);
    EXPECT_GE(file_, 0);
    EXPECT_EQ(ftruncate(file_, static_cast<off_t>(size())), 0);
    memory_ = static_cast<uint8_t*>(mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0));
    EXPECT_NE(static_cast<void*>(memory_), MAP_FAILED);
    for (const bool to_router : {true, false}) {
      std::memcpy(ring(to_router), &cookie, sizeof cookie);
      for (uint16_t i = 0; i < slots(); ++i) {
        const uint32_t number = (to_router ? 0U : slots()) + i;
        slot(to_router, i) = {0, 0, buffer_, 2 * ring_size() + number * buffer_, 0};
      }
    }
    set_head(false, slots());
  }
  ~MemifPeer() {
    munmap(memory_, size());
    close(file_);
  }
  MemifPeer(const MemifPeer&) = delete;
  MemifPeer& operator=(const MemifPeer&) = delete;

  [[nodiscard]] int file() const { return file_; }
  [[nodiscard]] uint64_t size() const { return 2ULL * ring_size() + 2ULL * slots() * buffer_; }
  [[nodiscard]] uint16_t slots() const { return static_cast<uint16_t>(1U << log2_slots_); }
  [[nodiscard]] dataplane::MemifPlace place(bool to_router) const {
    return {0, to_router ? 0 : ring_size(), log2_slots_};
  }
  [[nodiscard]] std::vector<dataplane::MemifRegion> map() const {
    void* const mapped = mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    EXPECT_NE(mapped, MAP_FAILED);
    std::vector<dataplane::MemifRegion> regions;
    regions.emplace_back(mapped, size());
    return regions;
  }
  [[nodiscard]] std::unique_ptr<dataplane::MemifLink> link() const {
    auto opened = dataplane::MemifLink::open(map(), place(true), place(false));
    EXPECT_TRUE(opened);
    return opened ? std::move(*opened) : nullptr;
  }

  [[nodiscard]] uint8_t* ring(bool to_router) { return memory_ + (to_router ? 0 : ring_size()); }
  [[nodiscard]] Slot& slot(bool to_router, uint16_t index) {
    return reinterpret_cast<Slot*>(ring(to_router) + header_size)[index % slots()];
  }
  [[nodiscard]] uint8_t* memory() { return memory_; }
  [[nodiscard]] uint16_t head(bool to_router) { return *position(to_router, 6); }
  [[nodiscard]] uint16_t tail(bool to_router) { return *position(to_router, 64); }
  void set_head(bool to_router, uint16_t value) { *position(to_router, 6) = value; }

  // Hands a frame over, in as many slots as it takes. False: they are not free.
  bool put(const Frame& frame) {
    const auto needed = static_cast<uint16_t>((frame.size() + buffer_ - 1) / buffer_);
    if (static_cast<uint16_t>(head(true) - tail(true)) + needed > slots()) return false;
    for (uint16_t i = 0; i < needed; ++i) {
      Slot& one = slot(true, static_cast<uint16_t>(head(true) + i));
      one.length = std::min<uint32_t>(buffer_, static_cast<uint32_t>(frame.size()) - i * buffer_);
      one.flags = i + 1 == needed ? 0 : next_flag;
      std::memcpy(memory_ + one.offset, frame.data() + size_t{i} * buffer_, one.length);
    }
    set_head(true, static_cast<uint16_t>(head(true) + needed));
    return true;
  }
  // What has come; its slots are free again.
  std::vector<Frame> take() {
    std::vector<Frame> out;
    for (bool more = false; seen_ != tail(false); ++seen_) {
      Slot& one = slot(false, seen_);
      if (!more) out.emplace_back();
      out.back().insert(out.back().end(), memory_ + one.offset, memory_ + one.offset + one.length);
      more = (one.flags & next_flag) != 0;
      one.length = buffer_;
      one.flags = 0;
    }
    set_head(false, static_cast<uint16_t>(seen_ + slots()));
    return out;
  }

 private:
  [[nodiscard]] uint32_t ring_size() const { return header_size + slots() * static_cast<uint32_t>(sizeof(Slot)); }
  [[nodiscard]] uint16_t* position(bool to_router, size_t at) {
    return reinterpret_cast<uint16_t*>(ring(to_router) + at);
  }

  uint8_t log2_slots_;
  uint32_t buffer_;
  int file_ = -1;
  uint8_t* memory_ = nullptr;
  uint16_t seen_ = 0;
};

}  // namespace sluice::packet_test
