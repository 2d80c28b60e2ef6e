// Outer packets of tunnels that the underlay cut are put together before they are taken off (FRAG-6): only the first
// fragment shows what it is, and an inner packet has to be looked at as a whole. All other fragments are forwarded one
// by one (fragment.h).
//
// DPDK's rte_ip_frag does it. Bounded: 128 datagrams of at most eight fragments per worker, five seconds each; only
// known tunnel ends get this far. Overlaps, duplicates and gaps end a datagram.
#pragma once

#include <cstdint>
#include <memory>

#include <rte_ip_frag.h>

#include "dataplane/net/packet.h"
#include "dataplane/net/result.h"
#include "nat/flow.h"

namespace sluice::dataplane {

class Reassembly {
 public:
  static constexpr uint32_t most_datagrams = 128;
  static constexpr nat::Millis lifetime = 5000;

  static net::Result<std::unique_ptr<Reassembly>> create();
  ~Reassembly() { rte_ip_frag_table_destroy(table_); }
  Reassembly(const Reassembly&) = delete;
  Reassembly& operator=(const Reassembly&) = delete;

  // Takes a fragment, as parse_ip left it. The whole packet, in one buffer if one is large enough, with its IP header
  // where that of the fragment was and a right header checksum; nullptr if it is not complete yet or came to nothing.
  template <class F>
  [[nodiscard]] rte_mbuf* add(const net::FlowPacket<F>& packet, nat::Millis now);
  // Gives up what has waited too long.
  void expire(nat::Millis now);
  // Hands out what came to nothing since the last call: drop(rte_mbuf*).
  template <class Fn>
  void take_dead(Fn&& drop) {
    for (uint32_t i = 0; i < dead_.cnt; ++i) drop(dead_.row[i]);
    dead_.cnt = 0;
  }

 private:
  explicit Reassembly(rte_ip_frag_tbl* table) : table_(table) {}
  // Milliseconds that do not wrap.
  [[nodiscard]] uint64_t clock(nat::Millis now);

  rte_ip_frag_tbl* table_;
  uint64_t clock_ = 0;
  nat::Millis read_ = 0;
  nat::Millis next_expiry_ = 0;
  bool used_ = false;  // there have been fragments
  rte_ip_frag_death_row dead_{};
};

}  // namespace sluice::dataplane
