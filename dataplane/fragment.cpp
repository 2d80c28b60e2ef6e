#include "dataplane/fragment.h"

namespace sluice::dataplane {

template <class F>
void FragmentTable<F>::remember(const DatagramKey<F>& key, uint64_t hash, net::be16 src_port, net::be16 dst_port,
                                nat::Millis now) {
  Set& set = entries_[hash % sets];
  Entry* oldest = &set[0];
  for (Entry& entry : set) {
    if (!entry.used || entry.key == key) {
      oldest = &entry;
      break;
    }
    if (nat::millis_between(entry.seen, oldest->seen) > 0) oldest = &entry;
  }
  *oldest = {key, src_port, dst_port, now, true};
}

template <class F>
bool FragmentTable<F>::find(const DatagramKey<F>& key, uint64_t hash, net::be16& src_port, net::be16& dst_port,
                            nat::Millis now) const {
  for (const Entry& entry : entries_[hash % sets]) {
    if (!entry.used || !(entry.key == key)) continue;
    if (nat::millis_between(entry.seen, now) > static_cast<int32_t>(lifetime)) return false;
    src_port = entry.src_port;
    dst_port = entry.dst_port;
    return true;
  }
  return false;
}

template class FragmentTable<net::V4>;
template class FragmentTable<net::V6>;

}  // namespace sluice::dataplane
