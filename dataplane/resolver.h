// Address resolution: ARP (RFC 826) and neighbour discovery (RFC 4861), run by worker 0 for all workers.
//
// A neighbour is asked for when a packet needs it (held meanwhile, at most `queue_length` per neighbour) or, if
// the configuration names it, at once. Three requests a second apart, then the held packets are answered with
// host unreachable and the neighbour counts as failed for `failed_for` (negative cache). A known neighbour that is
// used, or pinned, is asked again by unicast after `reachable_for`; a dynamic one nobody uses is forgotten.
// Static neighbours, of the configuration or of the host's kernel (static_neighbors.h), are never asked nor overwritten
// (ARP-6). An address has one entry: what becomes pinned, or is
// pinned no more, keeps what is known of it.
//
// Work per loop is bounded: `tick` looks at a few entries of a dense list each time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/static_neighbors.h"

struct rte_hash;

namespace sluice::dataplane {

class IcmpResponder;
class MembershipListener;
class Output;

class Resolver {
 public:
  static constexpr size_t queue_length = 16;
  static constexpr nat::Millis retry_after = 1000;
  static constexpr uint8_t tries = 3;
  static constexpr nat::Millis failed_for = 5000;
  static constexpr nat::Millis reachable_for = 30000;
  static constexpr nat::Millis forget_after = 60000;

  Resolver(Context& context, Output& output, IcmpResponder& icmp);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // An IP packet at `l3` that is ready to leave by `interface`; `neighbor` may be no_neighbor: then its
  // destination is the neighbour. `original`: the packet as it was sent, what an error quotes; may be nullptr.
  // Sends, holds or drops it. Takes ownership of both.
  void hold(rte_mbuf* mbuf, uint16_t l3, uint16_t interface, NeighborRef ref, rte_mbuf* original);
  // An ARP frame, or an ICMPv6 neighbour discovery message or a query for listeners at `l3`, that came in by
  // `interface`. Takes ownership.
  void on_arp(rte_mbuf* mbuf, uint16_t l3, uint16_t interface);
  void on_nd(rte_mbuf* mbuf, uint16_t l3, uint16_t l4, uint16_t interface);
  // Worker 0's part of Command::Kind::Announce, for one of them.
  void announce(const Announcement& announcement);
  // Worker 0's part of Command::Kind::SetNeighbors: first all of them, which are swapped with those before, then each
  // address that is different.
  void swap_static(std::shared_ptr<const StaticNeighbors>& neighbors) { static_.swap(neighbors); }
  void settle_static(uint16_t interface, const net::IpAddr& address);
  [[nodiscard]] ClaimRing& claims() { return claims_; }
  // Timers, new pinned entries, announcements after a change of configuration.
  void tick();

 private:
  struct Pending {
    rte_mbuf* held[queue_length];
    rte_mbuf* originals[queue_length];
    uint16_t held_l3[queue_length];
    uint8_t count = 0;
    uint8_t asked = 0;
    bool active = false;
    uint8_t epoch = 0;  // of the entry when it was activated: a later one has another meaning
    nat::Millis due = 0;
    nat::Millis last_used = 0;
    uint32_t position = 0;  // in active_
    net::IpAddr address;    // of a pinned entry when it was activated
    uint16_t interface = 0;
    net::MacAddr mac;  // the last that was known
  };

  [[nodiscard]] uint32_t find_pinned(uint16_t interface, const net::IpAddr& address) const;
  // A host of a connected subnet. no_neighbor when the table is full.
  [[nodiscard]] uint32_t add(uint16_t interface, const net::IpAddr& address);
  // A host of a connected subnet that is pinned from now on: what is known of it, and what waits for it.
  void take_over_dynamic(uint32_t index);
  [[nodiscard]] uint32_t find(uint16_t interface, const net::IpAddr& address) const;
  void activate(uint32_t index);
  void deactivate(uint32_t index);
  void ask(uint32_t index, bool broadcast);
  void learn(uint32_t index, const net::MacAddr& mac, bool override_known);
  void set_state(uint32_t index, NeighborState state, const net::MacAddr& mac);
  void fail(uint32_t index);
  void forget(rte_mbuf* original) {
    if (original != nullptr) context_.discard(original);
  }
  // Tells the sender, if its packet is known, and drops it.
  void refuse(rte_mbuf* mbuf, rte_mbuf* original);
  // Makes it static, or static no more, if the host's kernel says otherwise than the entry.
  void settle(uint32_t index);
  void release_held(uint32_t index, const net::MacAddr& mac);
  void look_at(uint32_t index);
  void scan_pinned();
  void announce();
  // Of Snapshot::announcements; nullptr: not one of them.
  [[nodiscard]] const Announcement* announced(uint16_t interface, const net::IpAddr& address) const {
    return context_.snapshot->announcements->find(interface, address);
  }
  [[nodiscard]] bool answers_for(uint16_t interface, const net::IpAddr& address) const {
    const Announcement* found = announced(interface, address);
    return found != nullptr && found->answers;
  }
  void note_claim(uint16_t interface, const net::IpAddr& address, const net::MacAddr& mac);
  void send_arp(uint16_t interface, uint16_t operation, const net::MacAddr& to, net::Ipv4Addr sender,
                const net::MacAddr& target_mac, net::Ipv4Addr target);
  void send_solicit(uint16_t interface, const net::Ipv6Addr& target, const net::MacAddr* unicast_to);
  void send_advert(uint16_t interface, const net::Ipv6Addr& target, const net::Ipv6Addr& to, const net::MacAddr& to_mac,
                   bool solicited);
  [[nodiscard]] rte_mbuf* make_nd(uint16_t interface, uint8_t type, const net::Ipv6Addr& src, const net::Ipv6Addr& dst,
                                  const net::Ipv6Addr& target, uint32_t flags, uint8_t option);

  Context& context_;
  Output& output_;
  IcmpResponder& icmp_;
  std::unique_ptr<MembershipListener> membership_;
  std::unique_ptr<Pending[]> pending_;
  std::vector<uint32_t> active_;  // indices with a timer; reserved for all, never grows
  rte_hash* pinned_ = nullptr;    // (interface, address) → index, for what the wire answers
  uint32_t cursor_ = 0;
  uint32_t scan_ = 0;  // next pinned entry to look for; capacity: done
  uint32_t scanned_generation_ = 0;
  nat::Millis next_tick_ = 0;
  std::shared_ptr<const StaticNeighbors> static_ = std::make_shared<const StaticNeighbors>();
  ClaimRing claims_;
  std::vector<uint64_t> announced_;  // by interface: fingerprint of what was announced
};

}  // namespace sluice::dataplane
