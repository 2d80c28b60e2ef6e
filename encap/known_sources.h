// Who may send us tunnel packets (VXL-6, IPIP-3): the addresses of the known nodes, and networks whose hosts count
// as one node together (externalNodesCIDRs). Const once built; copies share what they know, and when nodes come or go a
// new one is made off-path (with()).
//
// Nodes stand in an open-addressed table of their family, at most half full, with linear probing: one cache line per
// look-up whether there are three nodes or ten thousand. The networks are few; only an address that is no node scans
// them.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/packet.h"

namespace sluice::encap {

class KnownSources {
 public:
  struct Node {
    net::IpAddr address;
    uint16_t index = net::no_tunnel_source;  // what find() answers
  };

  // Knows nobody.
  KnownSources() : KnownSources({}, {}, net::no_tunnel_source) {}
  // A node wins over a network around it, the first of two nodes with one address over the second.
  KnownSources(const std::vector<Node>& nodes, const std::vector<net::Prefix>& external, uint16_t external_index);

  // Whether with() can give so many more an index.
  [[nodiscard]] bool has_room(size_t more) const { return more <= size_t{net::turned_source} - next_index_; }
  // One that knows `more`, each under an index that nobody had before, and the nodes in `less` no longer. Empty: there
  // are no more indices.
  [[nodiscard]] std::optional<KnownSources> with(const std::vector<net::IpAddr>& more,
                                                 const std::vector<net::IpAddr>& less) const;

  // The index of the node that sends from this address, net::no_tunnel_source if nobody known does.
  [[nodiscard]] uint16_t find(net::Ipv4Addr source) const {
    const uint16_t index = v4_.find(source);
    return index != net::no_tunnel_source || external_.empty() ? index : find_external(source);
  }
  [[nodiscard]] uint16_t find(const net::Ipv6Addr& source) const {
    const uint16_t index = v6_.find(source);
    return index != net::no_tunnel_source || external_v6_.empty() ? index : find_external(source);
  }

 private:
  // Fibonacci hashing: addresses that differ by a constant, as nodes' do, spread evenly.
  static uint64_t hash(net::Ipv4Addr address) { return uint64_t{address.host()} * 0x9e3779b97f4a7c15; }
  static uint64_t hash(const net::Ipv6Addr& address) {
    const auto half = std::bit_cast<std::array<uint64_t, 2>>(address.bytes);
    return (half[0] ^ std::rotl(half[1] * 0xd6e8feb86659fd93, 32)) * 0x9e3779b97f4a7c15;
  }

  template <class Address>
  class Table {
   public:
    explicit Table(size_t nodes);
    // Before it is shared.
    void add(const Address& address, uint16_t index);
    // A copy without those that `gone` has, with room for so many more.
    [[nodiscard]] Table copy(const std::vector<Address>& gone, size_t more) const;
    [[nodiscard]] uint16_t find(const Address& address) const {
      for (size_t i = home(address); slots_[i].address != Address{}; i = (i + 1) & mask_) {
        if (slots_[i].address == address) return slots_[i].index;
      }
      return net::no_tunnel_source;
    }

   private:
    struct Slot {
      Address address;  // unspecified, which is no source, marks a free one
      uint16_t index = net::no_tunnel_source;
    };
    [[nodiscard]] size_t home(const Address& address) const { return static_cast<size_t>(hash(address) >> shift_); }

    std::shared_ptr<Slot[]> slots_;  // a power of two of them
    size_t nodes_ = 0;
    size_t mask_ = 0;
    uint32_t shift_ = 0;
  };

  struct Network {
    uint32_t bits;  // host byte order
    uint32_t mask;
  };

  [[nodiscard]] uint16_t find_external(net::Ipv4Addr source) const;
  [[nodiscard]] uint16_t find_external(const net::Ipv6Addr& source) const;

  Table<net::Ipv4Addr> v4_;
  Table<net::Ipv6Addr> v6_;
  std::vector<Network> external_;
  std::vector<net::Prefix> external_v6_;
  uint16_t external_index_ = net::no_tunnel_source;
  uint16_t next_index_ = 0;  // neither it nor a higher one was ever given
};

}  // namespace sluice::encap
