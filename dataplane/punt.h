// The way to the host and back. An interface may have a twin in the host, a TAP device with its MAC and addresses;
// what is addressed to the host goes there, what the host sends leaves by the interface or enters the pipeline.
//
// Workers make no system calls. Each copies frames for the host into a ring of bytes of its own, within a budget per
// class (punt_class.h), and frees its buffer; a thread outside (control/host_link.h) empties the rings into the TAP
// devices. What the host sends takes one ring to worker 0. The thread touches no packet buffer, so no worker ever
// waits for it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/doorbell.h"
#include "dataplane/net/packet.h"
#include "dataplane/net/result.h"
#include "dataplane/punt_class.h"

namespace sluice::dataplane {

// Single producer, single consumer: frames one behind the other, each with its interface.
class FrameRing {
 public:
  static constexpr uint32_t size = 1U << 20;  // bytes, a power of two
  static constexpr uint32_t longest = 16384;  // bytes of a frame

  // False if there is no memory. What was never used touches none.
  [[nodiscard]] bool allocate();
  FrameRing() = default;
  ~FrameRing();
  FrameRing(const FrameRing&) = delete;
  FrameRing& operator=(const FrameRing&) = delete;

  // Producer: where a frame of `length` bytes is written, before commit(). nullptr: no room.
  [[nodiscard]] uint8_t* reserve(uint16_t interface, uint32_t length);
  void commit() { written_.store(reserved_, std::memory_order_release); }
  // Room for a frame of any length.
  [[nodiscard]] bool has_room() const;

  // Consumer. Calls fn(uint16_t interface, const uint8_t* frame, uint32_t length) for at most `most` frames, in order.
  // How many there were.
  template <class Fn>
  unsigned take(unsigned most, Fn&& fn) {
    uint32_t at = read_.load(std::memory_order_relaxed);
    const uint32_t end = written_.load(std::memory_order_acquire);
    unsigned count = 0;
    while (at != end && count < most) {
      const uint8_t* const place = bytes_ + at % size;
      const auto header = net::load<Header>(place);
      if (header.length == skip) {
        at += size - at % size;
      } else {
        fn(header.interface, place + sizeof(Header), header.length);
        at += static_cast<uint32_t>(sizeof(Header)) + padded(header.length);
        ++count;
      }
      read_.store(at, std::memory_order_release);
    }
    return count;
  }

 private:
  struct Header {
    uint32_t length;
    uint16_t interface;
    uint16_t unused;
  };
  static constexpr uint32_t skip = 0xffffffff;  // the rest up to the end of the ring is empty
  static constexpr uint32_t padded(uint32_t length) { return (length + 7U) & ~7U; }

  uint8_t* bytes_ = nullptr;
  uint32_t reserved_ = 0;  // producer's
  alignas(64) std::atomic<uint32_t> written_{0};
  alignas(64) std::atomic<uint32_t> read_{0};
};

// All of them, for the life of the router.
class PuntRings {
 public:
  // `doorbell`: of worker 0, which outlives them.
  static net::Result<std::unique_ptr<PuntRings>> create(uint16_t workers, Doorbell& doorbell);

  [[nodiscard]] FrameRing& to_host(uint16_t worker) { return *to_host_[worker]; }
  // Rung after frames were put there.
  [[nodiscard]] Doorbell& host_doorbell() { return *host_doorbell_; }
  [[nodiscard]] FrameRing& from_host() { return from_host_; }
  // After frames were put there.
  void announce_from_host() { doorbell_.ring(); }
  [[nodiscard]] uint16_t workers() const { return static_cast<uint16_t>(to_host_.size()); }

 private:
  explicit PuntRings(Doorbell& doorbell) : doorbell_(doorbell) {}

  Doorbell& doorbell_;
  std::unique_ptr<Doorbell> host_doorbell_;
  std::vector<std::unique_ptr<FrameRing>> to_host_;
  FrameRing from_host_;
};

// One worker's end of it.
class Punt {
 public:
  explicit Punt(Context& context) : context_(context) {}
  Punt(const Punt&) = delete;
  Punt& operator=(const Punt&) = delete;

  // The interface whose twin gets a packet to `address` that came in by `ingress`: that one if it has a twin, otherwise
  // the address's. net::no_interface if `address` belongs to no interface with a twin.
  template <class F>
  [[nodiscard]] uint16_t twin_for(uint16_t ingress, const typename F::Addr& address) const;
  // The packet as it stands in its mbuf goes to the twin of `interface`. Takes ownership.
  void give(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, PuntClass kind);
  // If the host has the address. Takes ownership only then, and answers true.
  template <class F>
  [[nodiscard]] bool take(const net::FlowPacket<F>& packet);
  // A copy; the frame stays the caller's. `l3`: of what follows its EtherType.
  void copy(const rte_mbuf* mbuf, uint16_t l3, uint16_t ether_type, uint16_t interface, PuntClass kind);

 private:
  struct Bucket {
    uint64_t tokens = 0;  // thousandths of a packet
    nat::Millis refilled = 0;
  };
  [[nodiscard]] bool allowed(PuntClass kind);

  Context& context_;
  std::array<Bucket, punt_class_count> buckets_{};
};

}  // namespace sluice::dataplane
