#include "tools/trafgen/checker.h"

#include <cstring>
#include <new>
#include <sys/mman.h>

#include "tools/trafgen/pattern.h"

namespace sluice::trafgen {
namespace {

// Zeroed. Large arrays lie in transparent hugepages where the kernel has them to give: flows are touched in any order.
template <class T>
T* zeroed(size_t count) {
  constexpr size_t huge = size_t{1} << 21;
  const size_t bytes = (count * sizeof(T) + huge - 1) / huge * huge;
  if (bytes == huge) {
    if (auto* memory = static_cast<T*>(std::calloc(count, sizeof(T)))) return memory;
    throw std::bad_alloc();
  }
  void* memory = std::aligned_alloc(huge, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 0, bytes);
  return static_cast<T*>(memory);
}

uint32_t fingerprint(const FrameView& view) {
  const WideAddr src = view.src();
  const WideAddr dst = view.dst();
  uint64_t hash = _mm_crc32_u64(0x5bd1e995, src.low);
  hash = _mm_crc32_u64(hash, dst.low);
  hash = _mm_crc32_u64(hash, src.high ^ dst.high << 1);
  hash = _mm_crc32_u64(hash, uint64_t{view.src_port()} << 16 | view.dst_port());
  return static_cast<uint32_t>(hash) | 1;
}

}  // namespace

std::string_view name_of(Corruption what) {
  static constexpr std::string_view names[] = {"ipChecksum", "length", "l4Checksum", "payload", ""};
  return names[static_cast<size_t>(what)];
}

void CheckCounters::clear() {
  for (Counter* counter : {&received, &bytes, &distinct, &duplicated, &reordered, &corrupted, &misrouted}) {
    counter->clear();
  }
  for (Counter& counter : corrupted_by) counter.clear();
  for (Counter& counter : misrouted_by) counter.clear();
}

Checker::Checker(const CheckSpec& spec)
    : spec_(spec), windows_(zeroed<SequenceWindow>(spec.flows)), latency_(std::make_unique<Histogram>()) {
  for (const uint16_t length : spec.payload_lengths) right_length_.set(length);
  if (spec.expectation.needs_affinity()) endpoints_.reset(zeroed<uint32_t>(spec.flows));
}

void Checker::clear() {
  counters_.clear();
  latency_->clear();
}

Corruption Checker::damage(const FrameView& view, const Signature& signature) const {
  if (!view.ip_checksum_ok) return Corruption::IpChecksum;
  const uint16_t length = view.payload_length;
  if (!right_length_[length]) return Corruption::Length;
  const Pattern& pattern = Pattern::get();
  const uint8_t* tail = view.data + view.payload + signature_length;
  if (std::memcmp(tail, pattern.tail(), static_cast<size_t>(length - signature_length)) != 0) {
    return view.l4_checksum_ok() ? Corruption::Payload : Corruption::L4Checksum;
  }
  const uint8_t* l4 = view.data + view.l4;
  const uint64_t sum = net::checksum_sum(l4, static_cast<size_t>(view.payload - view.l4),
                                         view.pseudo_sum() + signature.sum() + pattern.tail_sum(length));
  if (net::checksum_fold(sum) != 0xffff) return Corruption::L4Checksum;
  // Over IPv4 a router may not turn the checksum off.
  if (view.protocol == net::protocol::udp && net::load<uint16_t>(l4 + 6) == 0) return Corruption::L4Checksum;
  return Corruption::None;
}

Misroute Checker::way(const FrameView& view, uint32_t flow, bool right_port) {
  if (!right_port) return Misroute::Port;
  if (const Misroute wrong = spec_.expectation.check(view, flow); wrong != Misroute::None) return wrong;
  if (endpoints_ == nullptr) return Misroute::None;
  const uint32_t now = fingerprint(view);
  uint32_t& first = endpoints_[flow];
  if (first == 0) first = now;
  return first == now ? Misroute::None : Misroute::Affinity;
}

bool Checker::report(Corruption damaged, Misroute way) {
  if (damaged != Corruption::None) {
    counters_.corrupted.add();
    counters_.corrupted_by[static_cast<size_t>(damaged)].add();
    return false;
  }
  if (way != Misroute::None) {
    counters_.misrouted.add();
    counters_.misrouted_by[static_cast<size_t>(way)].add();
    return false;
  }
  return true;
}

bool Checker::check(const FrameView& view, const Signature& signature, bool right_port, uint32_t now) {
  counters_.received.add();
  counters_.bytes.add(view.length);
  const uint32_t flow = signature.flow();
  const Corruption damaged = damage(view, signature);
  const bool good = report(damaged, damaged == Corruption::None ? way(view, flow, right_port) : Misroute::None);
  const Arrival arrival = windows_[flow].receive(signature.sequence);
  if (arrival == Arrival::Duplicate) {
    counters_.duplicated.add();
    return false;
  }
  counters_.distinct.add();
  if (arrival == Arrival::Reordered) counters_.reordered.add();
  if (spec_.latency) latency_->record(now - signature.stamp);
  return good;
}

bool Checker::check_segment(const FrameView& view, uint32_t flow, bool right_port) {
  counters_.received.add();
  counters_.bytes.add(view.length);
  Corruption damaged = Corruption::None;
  if (!view.ip_checksum_ok) {
    damaged = Corruption::IpChecksum;
  } else if (!view.l4_checksum_ok()) {
    damaged = Corruption::L4Checksum;
  }
  return report(damaged, damaged == Corruption::None ? way(view, flow, right_port) : Misroute::None);
}

}  // namespace sluice::trafgen
