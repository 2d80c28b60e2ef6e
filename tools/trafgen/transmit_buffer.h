// Packets that leave a port besides its streams: answers, reflections, neighbour messages. Bounded; what does not
// fit is given back and counted.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "tools/trafgen/counter.h"

namespace sluice::trafgen {

class TransmitBuffer {
 public:
  explicit TransmitBuffer(uint16_t port) : port_(port) {}
  ~TransmitBuffer() { rte_pktmbuf_free_bulk(held_.data() + first_, count_); }
  TransmitBuffer(const TransmitBuffer&) = delete;
  TransmitBuffer& operator=(const TransmitBuffer&) = delete;

  // Takes the packet over. False: there was no room, the packet is gone.
  bool push(rte_mbuf* mbuf) {
    if (first_ + count_ == held_.size()) flush();
    if (first_ + count_ == held_.size()) {
      rte_pktmbuf_free(mbuf);
      dropped_.add();
      return false;
    }
    held_[first_ + count_++] = mbuf;
    return true;
  }
  // False: the port took none.
  bool flush() {
    if (count_ == 0) return true;
    const uint16_t taken = rte_eth_tx_burst(port_, 0, held_.data() + first_, static_cast<uint16_t>(count_));
    first_ += taken;
    count_ -= taken;
    if (count_ == 0) {
      first_ = 0;
    } else if (first_ >= held_.size() / 2) {
      std::memmove(held_.data(), held_.data() + first_, count_ * sizeof held_[0]);
      first_ = 0;
    }
    return taken != 0;
  }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] const Counter& dropped() const { return dropped_; }

 private:
  uint16_t port_;
  std::array<rte_mbuf*, 1024> held_{};
  unsigned first_ = 0;
  unsigned count_ = 0;
  Counter dropped_;
};

}  // namespace sluice::trafgen
