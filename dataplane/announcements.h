// Load balancer addresses that this router answers ARP and neighbour discovery for, or watches: part of a snapshot,
// const; and the news of others that claim one, from worker 0 to the control thread.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <compare>
#include <cstdint>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::dataplane {

struct Announcement {
  net::IpAddr address;
  uint16_t interface = 0;  // of Snapshot::interfaces
  bool answers = true;     // false: it is another's, only claims are of interest

  friend bool operator==(const Announcement&, const Announcement&) = default;
  friend auto operator<=>(const Announcement& a, const Announcement& b) {
    if (auto by_address = a.address <=> b.address; by_address != 0) return by_address;
    return a.interface <=> b.interface;
  }
};

class Announcements {
 public:
  Announcements() = default;
  explicit Announcements(std::vector<Announcement> all) : all_(std::move(all)) { std::sort(all_.begin(), all_.end()); }

  // nullptr: it is none of them at this interface.
  [[nodiscard]] const Announcement* find(uint16_t interface, const net::IpAddr& address) const {
    const Announcement wanted{address, interface, false};
    const auto at = std::lower_bound(all_.begin(), all_.end(), wanted);
    return at != all_.end() && at->address == address && at->interface == interface ? &*at : nullptr;
  }
  [[nodiscard]] const std::vector<Announcement>& all() const { return all_; }
  friend bool operator==(const Announcements&, const Announcements&) = default;

 private:
  std::vector<Announcement> all_;
};

// Somebody says that an announced address is at this MAC address (L2-5).
struct AddressClaim {
  net::IpAddr address;
  net::MacAddr mac;
  uint16_t interface = 0;
};

// Single producer, single consumer. What does not fit is lost: those who claim an address do it again.
class ClaimRing {
 public:
  static constexpr uint32_t slots = 256;  // a power of two

  void put(const AddressClaim& claim) {
    const uint32_t at = written_.load(std::memory_order_relaxed);
    if (at - read_.load(std::memory_order_acquire) == slots) return;
    claims_[at % slots] = claim;
    written_.store(at + 1, std::memory_order_release);
  }
  // Control thread.
  template <class Fn>
  void take(Fn&& fn) {
    uint32_t at = read_.load(std::memory_order_relaxed);
    const uint32_t end = written_.load(std::memory_order_acquire);
    for (; at != end; ++at) fn(claims_[at % slots]);
    read_.store(at, std::memory_order_release);
  }

 private:
  std::array<AddressClaim, slots> claims_{};
  alignas(64) std::atomic<uint32_t> written_{0};
  alignas(64) std::atomic<uint32_t> read_{0};
};

}  // namespace sluice::dataplane
