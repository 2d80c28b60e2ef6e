#include "dataplane/punt.h"

#include <algorithm>

#include "nat/conntrack.h"

namespace sluice::dataplane {

using net::DropReason;

bool FrameRing::allocate() {
  bytes_ = static_cast<uint8_t*>(nat::Memory::anonymous().allocate(size, 64));
  return bytes_ != nullptr;
}

FrameRing::~FrameRing() {
  if (bytes_ != nullptr) nat::Memory::anonymous().release(bytes_, size);
}

uint8_t* FrameRing::reserve(uint16_t interface, uint32_t length) {
  if (length > longest) return nullptr;
  const uint32_t need = static_cast<uint32_t>(sizeof(Header)) + padded(length);
  uint32_t at = written_.load(std::memory_order_relaxed);
  const uint32_t free = size - (at - read_.load(std::memory_order_acquire));
  const uint32_t to_end = size - at % size;
  const uint32_t skipped = need > to_end ? to_end : 0;
  if (skipped + need > free) return nullptr;
  if (skipped != 0) {
    net::store(bytes_ + at % size, Header{skip, 0, 0});
    at += skipped;
  }
  uint8_t* const place = bytes_ + at % size;
  net::store(place, Header{length, interface, 0});
  reserved_ = at + need;
  return place + sizeof(Header);
}

bool FrameRing::has_room() const {
  constexpr uint32_t need = 2 * (static_cast<uint32_t>(sizeof(Header)) + longest);
  return size - (written_.load(std::memory_order_relaxed) - read_.load(std::memory_order_acquire)) >= need;
}

net::Result<std::unique_ptr<PuntRings>> PuntRings::create(uint16_t workers, Doorbell& doorbell) {
  std::unique_ptr<PuntRings> rings(new PuntRings(doorbell));
  auto of_host = Doorbell::create();
  if (!of_host) return of_host.error();
  rings->host_doorbell_ = std::move(*of_host);
  bool allocated = rings->from_host_.allocate();
  for (uint16_t worker = 0; worker < workers; ++worker) {
    rings->to_host_.push_back(std::make_unique<FrameRing>());
    allocated = allocated && rings->to_host_.back()->allocate();
  }
  if (!allocated) return net::Error{"the rings between workers and host could not be allocated; free memory"};
  return rings;
}

template <class F>
uint16_t Punt::twin_for(uint16_t ingress, const typename F::Addr& address) const {
  const Snapshot& now = *context_.snapshot;
  const bool here = ingress < now.interfaces.size() && now.interfaces[ingress].twin;
  if (here && now.interfaces[ingress].owns(address)) return ingress;
  // fe80::/10 means nothing beyond its link.
  if (!F::is_v4 && address.is_link_local()) return net::no_interface;
  for (const uint16_t twin : now.twins) {
    if (now.interfaces[twin].owns(address)) return here ? ingress : twin;
  }
  return net::no_interface;
}

template uint16_t Punt::twin_for<net::V4>(uint16_t, const net::Ipv4Addr&) const;
template uint16_t Punt::twin_for<net::V6>(uint16_t, const net::Ipv6Addr&) const;

bool Punt::allowed(PuntClass kind) {
  const auto index = static_cast<size_t>(kind);
  // A fifth of a second's worth may come at once, as bursts of TCP do.
  const uint64_t rate = std::max<uint64_t>(context_.snapshot->punt_limits[index] / context_.tables.workers, 1);
  const uint64_t burst = std::max<uint64_t>(rate / 5, 8) * 1000;
  Bucket& bucket = buckets_[index];
  const uint64_t elapsed = static_cast<uint32_t>(context_.now - bucket.refilled);
  bucket.tokens = std::min(bucket.tokens + elapsed * rate, burst);
  bucket.refilled = context_.now;
  if (bucket.tokens < 1000) {
    context_.counters.drop(static_cast<DropReason>(static_cast<size_t>(DropReason::HostNeighborLimit) + index));
    return false;
  }
  bucket.tokens -= 1000;
  return true;
}

void Punt::copy(const rte_mbuf* mbuf, uint16_t l3, uint16_t ether_type, uint16_t interface, PuntClass kind) {
  if (!allowed(kind)) return;
  const uint32_t payload = mbuf->pkt_len - l3;
  if (context_.tables.punts != nullptr) {
    FrameRing& ring = context_.tables.punts->to_host(context_.worker);
    uint8_t* const frame = ring.reserve(interface, payload + net::ethernet_header_length);
    if (frame == nullptr) return context_.counters.drop(DropReason::HostQueueFull);
    const net::MacAddr& own = context_.interface(interface).mac;
    // What came through a tunnel has no Ethernet header any more.
    if (l3 >= net::ethernet_header_length) {
      std::memcpy(frame, rte_pktmbuf_mtod(mbuf, const uint8_t*), 12);
    } else {
      std::memset(frame, 0, 12);
    }
    if ((frame[0] & 1) == 0) net::store(frame, own);
    net::store_be16(frame + 12, ether_type);
    uint8_t* const to = frame + net::ethernet_header_length;
    const void* const from = rte_pktmbuf_read(mbuf, l3, payload, to);
    if (from != to) std::memcpy(to, from, payload);
    ring.commit();
    context_.tables.punts->host_doorbell().ring();
  }
  context_.counters.add(static_cast<Event>(static_cast<size_t>(Event::HostNeighbor) + static_cast<size_t>(kind)));
}

void Punt::give(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, PuntClass kind) {
  const bool v4 = net::ip_version(rte_pktmbuf_mtod_offset(mbuf, const uint8_t*, l3)) == 4;
  copy(mbuf, l3, v4 ? net::ether_type_ipv4 : net::ether_type_ipv6, interface, kind);
  context_.discard(mbuf);
}

template <class F>
bool Punt::take(const net::FlowPacket<F>& packet) {
  if (context_.snapshot->twins.empty()) [[likely]]
    return false;
  // What the host sent to itself it would get for ever.
  if (packet.from_host()) return false;
  const uint16_t twin = twin_for<F>(packet.ingress, net::IpHeader<F>::destination(packet.l3_header()));
  if (twin == net::no_interface) return false;
  give(packet.mbuf, packet.l3, twin, punt_class(packet.protocol, packet.key.src_port, packet.key.dst_port));
  return true;
}

template bool Punt::take<net::V4>(const net::FlowPacket<net::V4>&);
template bool Punt::take<net::V6>(const net::FlowPacket<net::V6>&);

}  // namespace sluice::dataplane
