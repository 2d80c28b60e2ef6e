// An rte_mbuf without a pool, so that unit tests of the packet path need no EAL.
//
// The buffer is exactly headroom + frame bytes long: AddressSanitizer sees every byte read or written too many.
// A segment that was chained has a reference of its own, so that code under test may free it: that only gives the
// reference back, and `released()` tells.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <rte_mbuf.h>

namespace sluice::test {

class FakeMbuf {
 public:
  explicit FakeMbuf(const std::vector<uint8_t>& frame, uint16_t headroom = RTE_PKTMBUF_HEADROOM)
      : buffer_(headroom + frame.size()) {
    if (!frame.empty()) std::memcpy(buffer_.data() + headroom, frame.data(), frame.size());
    mbuf_->buf_addr = buffer_.data();
    mbuf_->buf_len = static_cast<uint16_t>(buffer_.size());
    mbuf_->data_off = headroom;
    mbuf_->data_len = static_cast<uint16_t>(frame.size());
    mbuf_->pkt_len = static_cast<uint32_t>(frame.size());
    mbuf_->nb_segs = 1;
    mbuf_->refcnt = 1;
  }
  FakeMbuf(const FakeMbuf&) = delete;
  FakeMbuf& operator=(const FakeMbuf&) = delete;

  // Puts the one segment of `tail`, which must live longer, behind the last one of this packet.
  void chain(FakeMbuf& tail) {
    rte_mbuf* last = mbuf_.get();
    while (last->next != nullptr) last = last->next;
    last->next = tail.mbuf_.get();
    tail.mbuf_->refcnt = 2;
    mbuf_->pkt_len += tail.mbuf_->pkt_len;
    ++mbuf_->nb_segs;
  }

  [[nodiscard]] rte_mbuf* get() { return mbuf_.get(); }
  rte_mbuf* operator->() { return mbuf_.get(); }
  [[nodiscard]] bool released() const { return mbuf_->refcnt == 1; }

  // The data of all segments.
  [[nodiscard]] std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> out;
    for (const rte_mbuf* segment = mbuf_.get(); segment != nullptr; segment = segment->next) {
      const auto* begin = rte_pktmbuf_mtod(segment, const uint8_t*);
      out.insert(out.end(), begin, begin + segment->data_len);
    }
    return out;
  }

 private:
  std::vector<uint8_t> buffer_;
  std::unique_ptr<rte_mbuf> mbuf_ = std::make_unique<rte_mbuf>();
};

}  // namespace sluice::test
