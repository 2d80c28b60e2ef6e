#include "dataplane/fragment.h"

#include <algorithm>

namespace sluice::dataplane {

template <class F>
FragmentVerdict FragmentTable<F>::settle(net::FlowPacket<F>& packet, const DatagramKey<F>& key, uint64_t hash,
                                         nat::Millis now, const FragmentLimits& limits) {
  Entry& entry = entry_of(key, hash, now, limits.lifetime);
  entry.seen = now;
  if (const FragmentVerdict verdict = add_piece(entry, packet, limits.pieces); verdict != FragmentVerdict::Forward)
    return verdict;
  const bool complete = entry.total != 0 && entry.present == entry.total;
  if (packet.fragment == net::FragmentKind::First) {
    entry.first_seen = true;
    entry.src_port = packet.key.src_port;
    entry.dst_port = packet.key.dst_port;
    entry.protocol = packet.protocol;
  } else if (entry.first_seen) {
    packet.key.src_port = entry.src_port;
    packet.key.dst_port = entry.dst_port;
    packet.protocol = packet.key.protocol = entry.protocol;
  } else {
    return FragmentVerdict::Hold;
  }
  if (complete) entry.used = false;
  return FragmentVerdict::Forward;
}

template <class F>
typename FragmentTable<F>::Entry& FragmentTable<F>::entry_of(const DatagramKey<F>& key, uint64_t hash, nat::Millis now,
                                                             uint32_t lifetime) {
  Set& set = entries_[hash % sets];
  Entry* oldest = &set[0];
  for (Entry& entry : set) {
    if (entry.used && entry.key == key) {
      if (nat::millis_between(entry.seen, now) <= static_cast<int32_t>(lifetime)) return entry;
      oldest = &entry;  // another datagram with the same identification
      break;
    }
    if (!oldest->used) continue;
    if (!entry.used || nat::millis_between(entry.seen, oldest->seen) > 0) oldest = &entry;
  }
  oldest->key = key;
  oldest->used = true;
  oldest->first_seen = oldest->overlapped = false;
  oldest->count = 0;
  oldest->total = oldest->present = 0;
  return *oldest;
}

template <class F>
FragmentVerdict FragmentTable<F>::add_piece(Entry& entry, const net::FlowPacket<F>& packet, uint32_t most) {
  if (entry.overlapped) return FragmentVerdict::Overlap;
  const uint16_t begin = packet.fragment_offset;
  const auto length = static_cast<uint16_t>(packet.l3 + packet.l3_length - packet.l4);
  for (size_t i = 0; i < entry.count; ++i) {
    const Piece& piece = entry.pieces[i];
    if (piece.begin == begin && piece.length == length) return FragmentVerdict::Duplicate;
    if (begin < piece.begin + piece.length && piece.begin < begin + length) {
      entry.overlapped = true;
      return FragmentVerdict::Overlap;
    }
  }
  if (entry.count >= std::min<size_t>(most, most_pieces)) return FragmentVerdict::TooMany;
  entry.pieces[entry.count++] = {begin, length};
  entry.present += length;
  if (!packet.more_fragments) entry.total = uint32_t{begin} + length;
  return FragmentVerdict::Forward;
}

template class FragmentTable<net::V4>;
template class FragmentTable<net::V6>;

}  // namespace sluice::dataplane
