#include "dataplane/memif.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <rte_mbuf.h>

#include "dataplane/buffers.h"
#include "dataplane/context.h"

namespace sluice::dataplane {
namespace {

using memif::Descriptor;
using memif::RingHeader;
using net::DropReason;

constexpr uint32_t shortest_frame = 14;

net::Error failure(const char* what) { return net::Error{std::string(what) + ": " + std::strerror(errno)}; }

// One look at what the pod may change meanwhile.
Descriptor copy_of(const Descriptor& shared) {
  Descriptor out;
  out.flags = __atomic_load_n(&shared.flags, __ATOMIC_RELAXED);
  out.region = __atomic_load_n(&shared.region, __ATOMIC_RELAXED);
  out.length = __atomic_load_n(&shared.length, __ATOMIC_RELAXED);
  out.offset = __atomic_load_n(&shared.offset, __ATOMIC_RELAXED);
  out.metadata = 0;
  return out;
}

}  // namespace

MemifLink::~MemifLink() {
  for (const Region& region : regions_) munmap(region.address, region.size);
}

net::Status<> MemifLink::add_region(int descriptor, uint64_t size) {
  if (regions_.size() == memif::max_regions) return net::Error{"too many regions"};
  if (size == 0 || size > memif::max_memory - mapped_) {
    return net::Error{"regions have at most " + std::to_string(memif::max_memory >> 20) + " MiB in all"};
  }
  const int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return net::Error{"a region has to be a memfd sealed against shrinking (F_SEAL_SHRINK)"};
  }
  // Hugepages can be taken out again (FALLOC_FL_PUNCH_HOLE), and there may be none left for us then.
  struct statfs file_system {};
  if (fstatfs(descriptor, &file_system) != 0) return failure("a region cannot be looked at");
  if (file_system.f_type != TMPFS_MAGIC) return net::Error{"a region has to be of ordinary pages, not hugepages"};
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return failure("a region cannot be looked at");
  if (static_cast<uint64_t>(status.st_size) < size) return net::Error{"a region is larger than its memory"};
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) return failure("a region cannot be mapped");
  regions_.push_back({static_cast<uint8_t*>(memory), size});
  mapped_ += size;
  return net::Done{};
}

net::Status<> MemifLink::place(const memif::RingPlace& where, Ring& ring) const {
  if (where.region >= regions_.size()) return net::Error{"a ring in a region that is not there"};
  if (where.log2_ring_size > memif::max_log2_ring_size) return net::Error{"a ring is too large"};
  if (where.offset % alignof(RingHeader) != 0) return net::Error{"a ring is not aligned"};
  const Region& region = regions_[where.region];
  ring.size = static_cast<uint16_t>(1U << where.log2_ring_size);
  if (sizeof(RingHeader) + ring.size * sizeof(Descriptor) + uint64_t{where.offset} > region.size) {
    return net::Error{"a ring reaches beyond its region"};
  }
  ring.header = reinterpret_cast<RingHeader*>(region.address + where.offset);
  ring.descriptors = reinterpret_cast<Descriptor*>(region.address + where.offset + sizeof(RingHeader));
  if (ring.header->cookie != memif::cookie) return net::Error{"a ring without its cookie"};
  __atomic_store_n(&ring.header->tail, uint16_t{0}, __ATOMIC_RELEASE);
  return net::Done{};
}

net::Status<> MemifLink::open(const std::vector<memif::RingPlace>& receive,
                              const std::vector<memif::RingPlace>& transmit) {
  if (receive.empty() || transmit.empty()) return net::Error{"a ring for each direction is needed"};
  for (const memif::RingPlace& where : receive) {
    if (auto placed = place(where, receive_.emplace_back()); !placed) return placed;
    __atomic_store_n(&receive_.back().header->flags, memif::ring_polled, __ATOMIC_RELAXED);
  }
  for (const memif::RingPlace& where : transmit) {
    if (auto placed = place(where, transmit_.emplace_back()); !placed) return placed;
  }
  return net::Done{};
}

uint8_t* MemifLink::buffer(const Descriptor& descriptor) const {
  if (descriptor.region >= regions_.size()) return nullptr;
  const Region& region = regions_[descriptor.region];
  const uint64_t end = uint64_t{descriptor.offset} + descriptor.length;
  return end <= region.size ? region.address + descriptor.offset : nullptr;
}

uint16_t MemifLink::waiting(Context& context, Ring& ring) {
  const uint16_t head = __atomic_load_n(&ring.header->head, __ATOMIC_ACQUIRE);
  const auto count = static_cast<uint16_t>(head - ring.tail);
  if (count <= ring.size) [[likely]]
    return count;
  context.counters.drop(DropReason::OffloadMalformed);
  ring.tail = head;
  __atomic_store_n(&ring.header->tail, head, __ATOMIC_RELEASE);
  return 0;
}

// ---- receive -------------------------------------------------------------------------------------------

// The next frame, of `left` descriptors. nullptr: it was dropped.
rte_mbuf* MemifLink::read_frame(Context& context, Ring& ring, uint16_t& left) const {
  rte_mbuf* frame = rte_pktmbuf_alloc(context.tables.pool);
  DropReason reason = frame == nullptr ? DropReason::NoBuffer : DropReason::None;
  bool more = true;
  while (more && left != 0) {
    const Descriptor piece = copy_of(ring.descriptors[ring.tail & (ring.size - 1)]);
    ++ring.tail;
    --left;
    more = (piece.flags & memif::descriptor_next) != 0;
    if (reason != DropReason::None) continue;
    const uint8_t* const from = buffer(piece);
    if (from == nullptr || piece.length > memif::longest_frame - frame->pkt_len) {
      reason = DropReason::OffloadMalformed;
    } else if (!append(frame, from, piece.length, context.tables.pool)) {
      reason = DropReason::NoBuffer;
    }
  }
  if (reason == DropReason::None && (more || frame->pkt_len < shortest_frame)) reason = DropReason::OffloadMalformed;
  if (reason == DropReason::None) [[likely]]
    return frame;
  context.counters.drop(reason);
  if (frame != nullptr) context.discard(frame);
  return nullptr;
}

uint16_t MemifLink::receive(Context& context, uint16_t ring, rte_mbuf** packets) {
  Ring& from = receive_[ring];
  uint16_t left = waiting(context, from);
  if (left == 0) return 0;
  uint16_t count = 0;
  for (unsigned looked = 0; left != 0 && looked < net::burst_size; ++looked) {
    rte_mbuf* const frame = read_frame(context, from, left);
    if (frame != nullptr) packets[count++] = frame;
  }
  __atomic_store_n(&from.header->tail, from.tail, __ATOMIC_RELEASE);
  return count;
}

// ---- send ----------------------------------------------------------------------------------------------

// False: there is no room, and nothing has happened. The pod reads a descriptor when the tail has passed it.
bool MemifLink::write_frame(const rte_mbuf* frame, Ring& ring, uint16_t& free) const {
  uint16_t tail = ring.tail;
  uint16_t left = free;
  const rte_mbuf* segment = frame;
  uint32_t done = 0;  // of the segment
  while (segment != nullptr) {
    if (left == 0) return false;
    Descriptor& shared = ring.descriptors[tail & (ring.size - 1)];
    const Descriptor room = copy_of(shared);
    uint8_t* const to = buffer(room);
    if (to == nullptr || room.length == 0) return false;
    uint32_t filled = 0;
    while (segment != nullptr && filled < room.length) {
      const uint32_t piece = std::min<uint32_t>(room.length - filled, segment->data_len - done);
      std::memcpy(to + filled, rte_pktmbuf_mtod_offset(segment, const uint8_t*, done), piece);
      filled += piece;
      done += piece;
      if (done < segment->data_len) continue;
      segment = segment->next;
      done = 0;
    }
    __atomic_store_n(&shared.length, filled, __ATOMIC_RELAXED);
    __atomic_store_n(&shared.flags, segment != nullptr ? memif::descriptor_next : uint16_t{0}, __ATOMIC_RELAXED);
    ++tail;
    --left;
  }
  ring.tail = tail;
  free = left;
  return true;
}

void MemifLink::send(Context& context, uint16_t ring, rte_mbuf** frames, uint16_t count) {
  Ring& to = transmit_[ring];
  uint16_t free = waiting(context, to);
  for (uint16_t i = 0; i < count; ++i) {
    if (!write_frame(frames[i], to, free)) context.counters.drop(DropReason::TransmitFull);
    context.discard(frames[i]);
  }
  __atomic_store_n(&to.header->tail, to.tail, __ATOMIC_RELEASE);
}

}  // namespace sluice::dataplane
