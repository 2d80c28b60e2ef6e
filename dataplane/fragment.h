// Fragments are forwarded one by one, not put together (shallow reassembly): the first fragment of a datagram leaves
// its ports here (FRAG-1), later ones take them and then find the flow like any packet. What comes before its first is
// held until that comes (FRAG-2). Which bytes were seen is remembered, so that a datagram with overlaps ends here
// (FRAG-3, RFC 5722, RFC 1858): its receiver never gets it whole.
//
// Bounded in every way: 2 048 datagrams in sets of four, the one seen longest ago goes; 45 fragments of a datagram;
// 256 held packets together, the oldest goes; FragmentLimits makes both of these less. Fragments of one datagram come
// close together, so a datagram is forgotten after five seconds if nothing else is said, or when all of it was seen: a
// fast sender uses an identification again soon (RFC 4963).
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/fragment_limits.h"
#include "dataplane/net/burst.h"
#include "dataplane/net/packet.h"
#include "nat/flow.h"

namespace sluice::dataplane {

// RFC 791: with the protocol; RFC 8200 section 4.5: without, which a later fragment may not show.
template <class F>
struct DatagramKey {
  typename F::Addr src;
  typename F::Addr dst;
  uint32_t id = 0;  // as in the header
  uint16_t tunnel_source = net::no_tunnel_source;
  uint8_t protocol = 0;  // IPv4

  friend bool operator==(const DatagramKey&, const DatagramKey&) = default;
};

enum class FragmentVerdict : uint8_t {
  Forward,    // protocol and ports are the datagram's
  Hold,       // its first fragment was not seen: give it to hold()
  Duplicate,  // these very bytes were seen before
  Overlap,    // the datagram is not to be trusted: nothing more of it is forwarded
  TooMany,
};

template <class F>
class FragmentTable {
 public:
  static constexpr size_t sets = 512;
  static constexpr size_t ways = 4;
  static constexpr size_t most_pieces = 45;  // a datagram of 64 KiB in frames of 1500
  static constexpr size_t most_held = 256;
  // What one burst can release: all that is held, and what it brings and releases itself.
  static constexpr size_t most_released = most_held + net::burst_size;

  FragmentTable() : entries_(std::make_unique<Set[]>(sets)), held_(std::make_unique<Held[]>(most_held)) {}

  // What becomes of a fragment; `hash` is one of `key`. Reads protocol and ports of a first fragment,
  // writes those of others.
  [[nodiscard]] FragmentVerdict settle(net::FlowPacket<F>& packet, const DatagramKey<F>& key, uint64_t hash,
                                       nat::Millis now, const FragmentLimits& limits);

  // Keeps a packet that waits for the first fragment of `key`. `give_up(FlowPacket&)` gets those that have to go.
  template <class Fn>
  void hold(const net::FlowPacket<F>& packet, const DatagramKey<F>& key, nat::Millis now, const FragmentLimits& limits,
            Fn&& give_up) {
    const uint32_t buffers = packet.mbuf->nb_segs;
    if (tail_ - head_ == most_held) drop_oldest(give_up);
    while (holds_any() && uint64_t{buffers_} + buffers > limits.held_buffers) drop_oldest(give_up);
    held_[tail_++ % most_held] = {packet, key, now, true};
    buffers_ += buffers;
  }
  // Calls take(FlowPacket&) for everything that waited for `key`, in the order it came.
  template <class Fn>
  void release(const DatagramKey<F>& key, Fn&& take) {
    for (uint32_t at = head_; at != tail_; ++at) {
      Held& held = held_[at % most_held];
      if (!held.waits || !(held.key == key)) continue;
      held.waits = false;
      buffers_ -= held.packet.mbuf->nb_segs;
      take(held.packet);
    }
  }
  // Gives up what has waited too long.
  template <class Fn>
  void expire(nat::Millis now, const FragmentLimits& limits, Fn&& give_up) {
    while (head_ != tail_) {
      const Held& oldest = held_[head_ % most_held];
      if (oldest.waits && nat::millis_between(oldest.since, now) < static_cast<int32_t>(limits.lifetime)) return;
      drop_oldest(give_up);
    }
  }
  [[nodiscard]] bool holds_any() const { return head_ != tail_; }

 private:
  struct Piece {
    uint16_t begin;
    uint16_t length;
  };
  struct Entry {
    DatagramKey<F> key;
    net::be16 src_port;
    net::be16 dst_port;
    uint8_t protocol = 0;
    nat::Millis seen = 0;
    bool used = false;
    bool first_seen = false;
    bool overlapped = false;
    uint8_t count = 0;
    uint32_t total = 0;    // bytes, known from the last fragment; 0: not yet
    uint32_t present = 0;  // bytes
    std::array<Piece, most_pieces> pieces;
  };
  using Set = std::array<Entry, ways>;
  struct Held {
    net::FlowPacket<F> packet;
    DatagramKey<F> key;
    nat::Millis since = 0;
    bool waits = false;
  };

  [[nodiscard]] Entry& entry_of(const DatagramKey<F>& key, uint64_t hash, nat::Millis now, uint32_t lifetime);
  // Forward if the bytes are new.
  [[nodiscard]] static FragmentVerdict add_piece(Entry& entry, const net::FlowPacket<F>& packet, uint32_t most);
  template <class Fn>
  void drop_oldest(Fn&& give_up) {
    Held& oldest = held_[head_++ % most_held];
    if (!oldest.waits) return;
    oldest.waits = false;
    buffers_ -= oldest.packet.mbuf->nb_segs;
    give_up(oldest.packet);
  }

  std::unique_ptr<Set[]> entries_;
  std::unique_ptr<Held[]> held_;  // a ring in the order of coming; `waits` is false where one was taken
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
  uint32_t buffers_ = 0;  // of all that waits
};

extern template class FragmentTable<net::V4>;
extern template class FragmentTable<net::V6>;

}  // namespace sluice::dataplane
