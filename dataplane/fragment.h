// Ports of fragmented datagrams (FRAG-1): a first fragment leaves the ports of its datagram here, later ones
// look them up and then find the flow like any packet. Bounded, set-associative, least recent out; a later
// fragment that comes before its first is dropped by the caller.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/net/flow_key.h"
#include "nat/flow.h"

namespace sluice::dataplane {

template <class F>
struct DatagramKey {
  typename F::Addr src;
  typename F::Addr dst;
  uint32_t id = 0;  // as in the header
  uint8_t protocol = 0;

  friend bool operator==(const DatagramKey&, const DatagramKey&) = default;
};

template <class F>
class FragmentTable {
 public:
  static constexpr size_t sets = 1024;
  static constexpr size_t ways = 4;
  static constexpr nat::Millis lifetime = 30000;

  FragmentTable() : entries_(std::make_unique<Set[]>(sets)) {}

  void remember(const DatagramKey<F>& key, uint64_t hash, net::be16 src_port, net::be16 dst_port, nat::Millis now);
  // False if the first fragment was not seen.
  [[nodiscard]] bool find(const DatagramKey<F>& key, uint64_t hash, net::be16& src_port, net::be16& dst_port,
                          nat::Millis now) const;

 private:
  struct Entry {
    DatagramKey<F> key;
    net::be16 src_port;
    net::be16 dst_port;
    nat::Millis seen = 0;
    bool used = false;
  };
  using Set = std::array<Entry, ways>;

  std::unique_ptr<Set[]> entries_;
};

extern template class FragmentTable<net::V4>;
extern template class FragmentTable<net::V6>;

}  // namespace sluice::dataplane
