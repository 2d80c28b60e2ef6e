// Choice of the translated source port: masquerade (MASQ-6), the clash rule (MASQ-7), ICMP identifiers (MASQ-12).
//
// A port may serve many flows as long as their reply keys differ, so "free" means: this protocol, translated
// address, destination and port occur in no live reply key. The connection table knows that already; a second
// table of ports would repeat it at a cache miss per flow. So the allocator asks: it draws a random port and
// lets the caller look whether the reply key is unused, and, with several workers, whether the reply would be
// owned by this worker. Ownership is a hash of the reply key, so each worker has its own share of the range
// towards every destination and workers never ask each other.
//
// With a fraction f of the range in use towards one destination the expected number of draws is 1/(1-f), times
// the number of workers: about one, until a destination runs short. The draws of one request are a walk with a
// random start and a random stride coprime to the size of the range, so no port is asked for twice. A request
// that used up its draws leaves the state of its walk in a small table of shortages. The next request for that
// destination goes on from there: a packet's cost stays bounded, no port is looked at twice, and after the last
// one "exhausted" is a fact and costs one comparison. Ports given back meanwhile are handed out first. Since a
// port whose release was not reported would be lost to the walk, a shortage is forgotten after a second.
//
// Ports stay in their class, 0-1023 or 1024-65535 (RFC 4787 REQ-3a), if the range has any of the class.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "dataplane/net/flow_key.h"
#include "nat/flow.h"

namespace sluice::nat {

// Inclusive, host byte order.
struct PortRange {
  uint16_t first = 1024;
  uint16_t last = 65535;

  [[nodiscard]] constexpr uint32_t size() const { return last < first ? 0 : uint32_t{last} - first + 1; }
  [[nodiscard]] constexpr bool contains(uint16_t port) const { return port >= first && port <= last; }
  friend constexpr bool operator==(const PortRange&, const PortRange&) = default;
};
// For the clash rule and for identifiers, which no configuration restricts.
inline constexpr PortRange every_port{1, 65535};

// The part of `range` in the class of `port`; all of it if that part is empty.
[[nodiscard]] PortRange in_class_of(be16 port, PortRange range);

// What a request is about: the reply key without the port that is looked for (its dst_port).
template <class F>
[[nodiscard]] uint64_t snat_destination(const FlowKey<F>& reply, const net::FlowHasher& hasher) {
  FlowKey<F> key = reply;
  key.dst_port = {};
  return hasher(key);
}

struct SnatCounters {
  uint64_t allocated = 0;
  uint64_t draws = 0;      // ports asked for
  uint64_t exhausted = 0;  // refused: every port of the range was looked at and is in use
  uint64_t gave_up = 0;    // refused: none free among the draws a request may take
};

// One per worker.
class PortAllocator {
 public:
  // `seed` random; `workers` multiplies the draws, since only every workers-th port has its reply here.
  PortAllocator(uint64_t seed, uint16_t workers);

  // A port of `range` with usable(be16) true, or nothing if there is none or the draws are used up.
  // `destination`: snat_destination of the reply key. `usable` typically:
  //   reply.dst_port = port; hash = hasher(reply);
  //   return net::owner_of(hash, workers) == self && table.find(reply, hash) == no_flow;
  template <class Usable>
  [[nodiscard]] std::optional<be16> allocate(PortRange range, uint64_t destination, Millis now, Usable&& usable) {
    const std::optional<be16> port = search(range, destination, now, usable);
    if (!port) refuse();
    return port;
  }
  // The same for who may have another way: nothing counts as refused before refuse(), or as allocated before take().
  template <class Usable>
  [[nodiscard]] std::optional<be16> search(PortRange range, uint64_t destination, Millis now, Usable&& usable);
  void refuse() { ++(looked_at_all_ ? counters_.exhausted : counters_.gave_up); }
  void take() { ++counters_.allocated; }

  // The connection with this port is closed. Only matters to a destination that is short of ports.
  void release(uint64_t destination, be16 port);

  [[nodiscard]] const SnatCounters& counters() const { return counters_; }

 private:
  static constexpr uint32_t draws_per_worker = 128;
  static constexpr uint32_t most_draws = 2048;
  static constexpr uint32_t shortage_memory = 1'000;  // ms

  // Positions of a range, each once: position, position + stride, ... modulo size.
  struct Walk {
    uint16_t position = 0;
    uint16_t stride = 0;  // 0: not chosen yet
    uint32_t left = 0;    // positions not visited
  };
  struct Shortage {
    uint64_t destination = 0;
    PortRange range{1, 0};  // empty: no shortage
    Walk walk;
    Millis since = 0;
    uint8_t released_count = 0;
    std::array<uint16_t, 8> released{};  // given back since the walk passed them
  };

  [[nodiscard]] uint64_t random();
  [[nodiscard]] Walk start(uint32_t size);
  void advance(Walk& walk, uint32_t size);
  [[nodiscard]] Shortage& shortage_of(uint64_t destination) { return shortages_[destination % shortages_.size()]; }
  // A walk to go on with, or nullptr where there is no shortage.
  [[nodiscard]] Shortage* find_shortage(PortRange range, uint64_t destination, Millis now);
  void remember(PortRange range, uint64_t destination, const Walk& walk, Millis now);

  uint64_t state_;
  uint32_t draws_;
  bool looked_at_all_ = false;  // of the last request that found nothing
  SnatCounters counters_;
  std::array<Shortage, 64> shortages_{};
};

template <class Usable>
std::optional<be16> PortAllocator::search(PortRange range, uint64_t destination, Millis now, Usable&& usable) {
  const uint32_t size = range.size();
  uint32_t draws = draws_;
  const auto draw = [&](uint16_t port) {
    --draws;
    ++counters_.draws;
    if (!usable(be16::from_host(port))) return false;
    take();
    return true;
  };

  Shortage* shortage = find_shortage(range, destination, now);
  while (shortage != nullptr && shortage->released_count != 0) {
    const uint16_t port = shortage->released[--shortage->released_count];
    if (draw(port)) return be16::from_host(port);
  }
  Walk fresh;
  if (shortage == nullptr) fresh = start(size);
  Walk& walk = shortage == nullptr ? fresh : shortage->walk;
  while (walk.left != 0 && draws != 0) {
    const auto port = static_cast<uint16_t>(range.first + walk.position);
    advance(walk, size);
    if (draw(port)) return be16::from_host(port);
  }
  looked_at_all_ = walk.left == 0;
  if (shortage == nullptr) remember(range, destination, walk, now);
  return std::nullopt;
}

}  // namespace sluice::nat
