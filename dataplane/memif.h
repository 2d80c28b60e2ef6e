// The memory that one pod shares with the router (memif, version 2.0): rings of descriptors and the buffers they name.
// The router is the server, so all of it is the pod's, and the pod may write anything at any time: a descriptor is
// copied, looked at, then believed, and what it names is copied before anybody looks into it. Memory that can shrink is
// refused, as an access behind its end would be the end of the router.
//
// DPDK's driver (net_memif) believes descriptors, unmaps the rings under workers that poll them, and takes one of the
// 32 ports. So it is not used for pods.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/net/result.h"

struct rte_mbuf;

namespace sluice::dataplane {

struct Context;

namespace memif {

inline constexpr uint32_t cookie = 0x3E31F20;
inline constexpr uint8_t max_log2_ring_size = 14;
inline constexpr size_t max_regions = 16;
inline constexpr size_t max_memory = size_t{256} << 20;  // of all regions of a pod, bytes
inline constexpr uint32_t longest_frame = 9216 + 18;     // bytes
inline constexpr uint16_t descriptor_next = 1;           // the frame goes on in the next buffer
inline constexpr uint16_t ring_polled = 1;               // whoever reads this ring wants no interrupts

// As they lie in memory, in host byte order.
struct Descriptor {
  uint16_t flags;
  uint16_t region;
  uint32_t length;
  uint32_t offset;
  uint32_t metadata;
};
static_assert(sizeof(Descriptor) == 16);

struct RingHeader {
  uint32_t cookie;
  uint16_t flags;
  uint16_t head;  // the pod's, of both kinds of ring
  uint8_t padding[56];
  uint16_t tail;  // the router's
  uint8_t padding_too[62];
};
static_assert(sizeof(RingHeader) == 128 && offsetof(RingHeader, tail) == 64);

// Where a ring is.
struct RingPlace {
  uint16_t region = 0;
  uint32_t offset = 0;         // bytes
  uint8_t log2_ring_size = 0;  // of the number of descriptors
};

}  // namespace memif

class MemifLink {
 public:
  // Regions are added first, then open() checks the rings. Control thread.
  MemifLink() = default;
  ~MemifLink();
  MemifLink(const MemifLink&) = delete;
  MemifLink& operator=(const MemifLink&) = delete;

  // Maps the memory behind `descriptor`, which stays the caller's. The error is for the pod's log.
  [[nodiscard]] net::Status<> add_region(int descriptor, uint64_t size);
  // `receive`: what the pod sends; `transmit`: what it gets.
  [[nodiscard]] net::Status<> open(const std::vector<memif::RingPlace>& receive,
                                   const std::vector<memif::RingPlace>& transmit);

  [[nodiscard]] uint16_t receive_rings() const { return static_cast<uint16_t>(receive_.size()); }
  [[nodiscard]] uint16_t transmit_rings() const { return static_cast<uint16_t>(transmit_.size()); }

  // A ring is one worker's. Up to net::burst_size frames; what cannot be read is counted and dropped.
  [[nodiscard]] uint16_t receive(Context& context, uint16_t ring, rte_mbuf** packets);
  // Takes the frames. Those without room are dropped.
  void send(Context& context, uint16_t ring, rte_mbuf** frames, uint16_t count);

 private:
  struct Region {
    uint8_t* address = nullptr;
    size_t size = 0;
  };
  struct Ring {
    memif::RingHeader* header = nullptr;
    memif::Descriptor* descriptors = nullptr;
    uint16_t size = 0;
    uint16_t tail = 0;  // what ours is in memory, but for what the pod made of it
  };

  [[nodiscard]] net::Status<> place(const memif::RingPlace& where, Ring& ring) const;
  // nullptr: not within a region.
  [[nodiscard]] uint8_t* buffer(const memif::Descriptor& descriptor) const;
  // How many descriptors the pod has put into the ring. Empty of a ring that says what cannot be.
  [[nodiscard]] static uint16_t waiting(Context& context, Ring& ring);
  [[nodiscard]] rte_mbuf* read_frame(Context& context, Ring& ring, uint16_t& left) const;
  [[nodiscard]] bool write_frame(const rte_mbuf* frame, Ring& ring, uint16_t& free) const;

  std::vector<Region> regions_;
  size_t mapped_ = 0;
  std::vector<Ring> receive_;
  std::vector<Ring> transmit_;
};

// What one worker polls and sends to, const. `interface` is a number that no interface of the kernel has.
struct MemifPods {
  struct Poll {
    uint32_t interface = 0;
    uint16_t ring = 0;
    std::shared_ptr<MemifLink> link;
  };
  std::vector<Poll> receive;
  std::vector<Poll> transmit;  // sorted by interface; `ring` is this worker's
};

inline constexpr uint32_t first_memif_interface = 0x80000000;
[[nodiscard]] constexpr bool is_memif(uint32_t interface) { return interface >= first_memif_interface; }

}  // namespace sluice::dataplane
