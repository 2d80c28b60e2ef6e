#include "dataplane/memif_link.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <utility>

#include <rte_mbuf.h>

#include "dataplane/buffers.h"
#include "dataplane/context.h"

namespace sluice::dataplane {
namespace {

using net::DropReason;

constexpr uint32_t cookie = 0x3e31f20;
constexpr uint16_t has_next = 1;       // flag of a descriptor: the frame goes on in the next slot
constexpr uint16_t no_interrupts = 1;  // flag of a ring: its reader polls
constexpr unsigned slots_per_turn = 4 * net::burst_size;

// Memory that somebody else writes at the same time: exactly one load or store each.
template <class T>
T read(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}
template <class T>
void write(T& field, T value) {
  __atomic_store_n(&field, value, __ATOMIC_RELAXED);
}

}  // namespace

struct MemifLink::Header {
  uint32_t cookie;
  uint16_t flags;
  uint16_t head;  // the pod's position: it fills what comes, and gives room for what goes
  uint8_t unused[56];
  uint16_t tail;  // the router's
  uint8_t unused_too[62];
};

struct MemifLink::Descriptor {
  uint16_t flags;
  uint16_t region;
  uint32_t length;  // of the bytes in it; of one to be filled, what it holds
  uint32_t offset;
  uint32_t metadata;
};

MemifRegion::~MemifRegion() {
  if (begin_ != nullptr) munmap(begin_, size_);
}

MemifLink::Descriptor& MemifLink::Ring::slot(uint16_t index) const {
  return slots[index & static_cast<uint16_t>(size - 1)];
}

uint8_t* MemifLink::find(uint16_t region, uint32_t offset, uint32_t length) const {
  return region < regions_.size() ? regions_[region].at(offset, length) : nullptr;
}

net::Status<> MemifLink::place(const MemifPlace& place, Ring& ring) const {
  static_assert(sizeof(Header) == 128 && sizeof(Descriptor) == 16);
  if (place.log2_size > most_log2_size) {
    return net::Error{"a ring of 2^" + std::to_string(place.log2_size) + " slots, where 2^" +
                      std::to_string(most_log2_size) + " are the most"};
  }
  ring.size = static_cast<uint16_t>(1U << place.log2_size);
  uint8_t* const begin =
      find(place.region, place.offset, static_cast<uint32_t>(sizeof(Header) + ring.size * sizeof(Descriptor)));
  if (begin == nullptr) return net::Error{"a ring lies outside of its region"};
  if (reinterpret_cast<uintptr_t>(begin) % alignof(uint64_t) != 0) return net::Error{"a ring is not aligned"};
  ring.header = reinterpret_cast<Header*>(begin);
  ring.slots = reinterpret_cast<Descriptor*>(begin + sizeof(Header));
  if (read(ring.header->cookie) != cookie) return net::Error{"a ring without its cookie"};
  write(ring.header->tail, uint16_t{0});
  return net::Done{};
}

net::Result<std::unique_ptr<MemifLink>> MemifLink::open(std::vector<MemifRegion> regions, const MemifPlace& to_router,
                                                        const MemifPlace& from_router) {
  std::unique_ptr<MemifLink> link(new MemifLink(std::move(regions)));
  if (auto placed = link->place(to_router, link->to_router_); !placed) return placed.error();
  if (auto placed = link->place(from_router, link->from_router_); !placed) return placed.error();
  write(link->to_router_.header->flags, no_interrupts);
  return link;
}

uint16_t MemifLink::ready(const Ring& ring) {
  if (is_broken()) [[unlikely]]
    return 0;
  const auto slots = static_cast<uint16_t>(__atomic_load_n(&ring.header->head, __ATOMIC_ACQUIRE) - ring.tail);
  if (slots <= ring.size) [[likely]]
    return slots;
  break_off();
  return 0;
}

uint16_t MemifLink::receive(Context& context, rte_mbuf** packets) {
  Ring& ring = to_router_;
  uint16_t left = ready(ring);
  if (left == 0) return 0;
  uint16_t count = 0;
  for (unsigned seen = 0; count < net::burst_size && seen < slots_per_turn && left != 0;) {
    Pieces pieces;
    uint16_t slots = 0;
    uint64_t length = 0;
    bool whole = false;
    while (!whole && slots < std::min(left, most_slots)) {
      const Descriptor& slot = ring.slot(static_cast<uint16_t>(ring.tail + slots));
      Piece& piece = pieces[slots++];
      whole = (read(slot.flags) & has_next) == 0;
      piece.length = read(slot.length);
      piece.begin = find(read(slot.region), read(slot.offset), piece.length);
      if (piece.begin == nullptr) {
        break_off();
        return count;
      }
      length += piece.length;
    }
    if (!whole && slots < most_slots) break;  // the rest of it is still to come
    seen += slots;
    left = static_cast<uint16_t>(left - slots);
    ring.tail = static_cast<uint16_t>(ring.tail + slots);
    if (!whole || length > most_frame) {
      context.counters.drop(DropReason::OffloadMalformed);
      continue;
    }
    rte_mbuf* const packet = rte_pktmbuf_alloc(context.tables.pool);
    if (packet == nullptr) {
      context.counters.drop(DropReason::NoBuffer);
      continue;
    }
    bool copied = true;
    for (uint16_t i = 0; copied && i < slots; ++i) {
      copied = append(packet, pieces[i].begin, pieces[i].length, context.tables.pool);
    }
    if (copied) {
      packets[count++] = packet;
    } else {
      context.drop(packet, DropReason::NoBuffer);
    }
  }
  __atomic_store_n(&ring.header->tail, ring.tail, __ATOMIC_RELEASE);
  return count;
}

void MemifLink::send(Context& context, rte_mbuf** frames, uint16_t count) {
  uint16_t room = ready(from_router_);
  for (uint16_t i = 0; i < count; ++i) {
    if (!put(*frames[i], room)) context.counters.drop(DropReason::TransmitFull);
    context.discard(frames[i]);
  }
  __atomic_store_n(&from_router_.header->tail, from_router_.tail, __ATOMIC_RELEASE);
}

bool MemifLink::put(const rte_mbuf& frame, uint16_t& room) {
  Ring& ring = from_router_;
  Pieces pieces;
  uint16_t slots = 0;
  for (uint64_t held = 0; held < frame.pkt_len; ++slots) {
    if (slots == std::min(room, most_slots)) return false;
    const Descriptor& slot = ring.slot(static_cast<uint16_t>(ring.tail + slots));
    Piece& piece = pieces[slots];
    piece.length = std::min(read(slot.length), most_frame);
    piece.begin = find(read(slot.region), read(slot.offset), piece.length);
    if (piece.begin == nullptr) {
      break_off();
      room = 0;
      return false;
    }
    held += piece.length;
  }
  const rte_mbuf* segment = &frame;
  uint32_t taken = 0;  // of the segment
  for (uint16_t i = 0; i < slots; ++i) {
    uint32_t filled = 0;
    while (filled < pieces[i].length && segment != nullptr) {
      const uint32_t part = std::min(pieces[i].length - filled, segment->data_len - taken);
      std::memcpy(pieces[i].begin + filled, rte_pktmbuf_mtod_offset(segment, const uint8_t*, taken), part);
      filled += part;
      taken += part;
      if (taken == segment->data_len) {
        segment = segment->next;
        taken = 0;
      }
    }
    Descriptor& slot = ring.slot(static_cast<uint16_t>(ring.tail + i));
    write(slot.length, filled);
    write(slot.flags, i + 1U == slots ? uint16_t{0} : has_next);
  }
  ring.tail = static_cast<uint16_t>(ring.tail + slots);
  room = static_cast<uint16_t>(room - slots);
  return true;
}

}  // namespace sluice::dataplane
