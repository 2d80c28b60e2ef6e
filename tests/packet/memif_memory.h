// The memory of a pod that speaks memif, as its end of the interface writes and reads it: one ring for each direction
// in one region, every descriptor with a buffer of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "dataplane/memif.h"

namespace sluice::packet_test {

class MemifMemory {
 public:
  using Descriptor = dataplane::memif::Descriptor;
  using RingHeader = dataplane::memif::RingHeader;
  static constexpr uint8_t log2_ring_size = 4;
  static constexpr uint16_t ring_size = 1 << log2_ring_size;
  static constexpr uint32_t ring_bytes = sizeof(RingHeader) + ring_size * sizeof(Descriptor);

  // `buffer`: bytes.
  explicit MemifMemory(uint32_t buffer = 2048, bool sealed = true) : buffer_(buffer) {
    descriptor_ = memfd_create("pod", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    if (descriptor_ < 0 || ftruncate(descriptor_, static_cast<off_t>(size())) != 0) std::abort();
    if (sealed && fcntl(descriptor_, F_ADD_SEALS, F_SEAL_SHRINK) != 0) std::abort();
    void* const memory = mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
    if (memory == MAP_FAILED) std::abort();
    memory_ = static_cast<uint8_t*>(memory);
    for (const int ring : {0, 1}) {
      header(ring).cookie = dataplane::memif::cookie;
      for (uint16_t slot = 0; slot < ring_size; ++slot) {
        Descriptor& entry = at(ring, slot);
        entry.offset = 2 * ring_bytes + static_cast<uint32_t>(ring * ring_size + slot) * buffer_;
        entry.length = buffer_;
      }
    }
    header(1).head = ring_size;
  }
  ~MemifMemory() {
    munmap(memory_, size());
    close(descriptor_);
  }
  MemifMemory(const MemifMemory&) = delete;
  MemifMemory& operator=(const MemifMemory&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] size_t size() const { return 2 * ring_bytes + size_t{2} * ring_size * buffer_; }
  // 0: what the pod sends; 1: what it gets.
  [[nodiscard]] static dataplane::memif::RingPlace place(int ring) {
    return {0, static_cast<uint32_t>(ring) * ring_bytes, log2_ring_size};
  }
  [[nodiscard]] RingHeader& header(int ring) {
    return *reinterpret_cast<RingHeader*>(memory_ + static_cast<size_t>(ring) * ring_bytes);
  }
  [[nodiscard]] Descriptor& at(int ring, uint16_t slot) {
    return reinterpret_cast<Descriptor*>(&header(ring) + 1)[slot % ring_size];
  }

  // The pod sends a frame, in as many buffers as it takes.
  void put(const std::vector<uint8_t>& frame) {
    uint16_t head = header(0).head;
    for (size_t done = 0; done < frame.size(); ++head) {
      Descriptor& entry = at(0, head);
      entry.length = static_cast<uint32_t>(std::min<size_t>(frame.size() - done, buffer_));
      std::memcpy(memory_ + entry.offset, frame.data() + done, entry.length);
      done += entry.length;
      entry.flags = done < frame.size() ? dataplane::memif::descriptor_next : uint16_t{0};
    }
    __atomic_store_n(&header(0).head, head, __ATOMIC_RELEASE);
  }
  // The next frame that it gets; empty: there is none. Its buffers are free again.
  [[nodiscard]] std::vector<uint8_t> take() {
    std::vector<uint8_t> frame;
    bool more = __atomic_load_n(&header(1).tail, __ATOMIC_ACQUIRE) != taken_;
    while (more) {
      Descriptor& entry = at(1, taken_++);
      frame.insert(frame.end(), memory_ + entry.offset, memory_ + entry.offset + entry.length);
      more = (entry.flags & dataplane::memif::descriptor_next) != 0;
      entry.length = buffer_;
      ++header(1).head;
    }
    return frame;
  }

 private:
  uint32_t buffer_;
  int descriptor_ = -1;
  uint8_t* memory_ = nullptr;
  uint16_t taken_ = 0;
};

}  // namespace sluice::packet_test
