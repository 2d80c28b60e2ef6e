// Who may send us tunnel packets (VXL-6, IPIP-3): the addresses of the known nodes, and networks whose hosts count
// as one node together (externalNodesCIDRs). Const once built, rebuilt off-path when nodes come or go.
//
// Nodes stand in an open-addressed table, at most half full, with linear probing: one cache line per look-up
// whether there are three nodes or ten thousand. The networks are few; only an address that is no node scans them.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/packet.h"

namespace sluice::encap {

class KnownSources {
 public:
  struct Node {
    net::Ipv4Addr address;
    uint16_t index = net::no_tunnel_source;  // what find() answers
  };

  // Knows nobody.
  KnownSources() : KnownSources({}, {}, net::no_tunnel_source) {}
  // A node wins over a network around it, the first of two nodes with one address over the second. IPv6 networks
  // are left out: the outer header is IPv4.
  KnownSources(const std::vector<Node>& nodes, const std::vector<net::Prefix>& external, uint16_t external_index);

  // The index of the node that sends from this address, net::no_tunnel_source if nobody known does.
  [[nodiscard]] uint16_t find(net::Ipv4Addr source) const {
    for (size_t i = home(source); slots_[i].address != net::Ipv4Addr{}; i = (i + 1) & mask_) {
      if (slots_[i].address == source) return slots_[i].index;
    }
    return external_.empty() ? net::no_tunnel_source : find_external(source);
  }

 private:
  struct Network {
    uint32_t bits;  // host byte order
    uint32_t mask;
  };

  // Fibonacci hashing: addresses that differ by a constant, as nodes' do, spread evenly.
  [[nodiscard]] size_t home(net::Ipv4Addr address) const {
    return static_cast<size_t>(uint64_t{address.host()} * 0x9e3779b97f4a7c15 >> shift_);
  }
  [[nodiscard]] uint16_t find_external(net::Ipv4Addr source) const;

  std::vector<Node> slots_;  // a power of two of them; 0.0.0.0, which is no source, marks a free one
  std::vector<Network> external_;
  size_t mask_ = 0;
  uint32_t shift_ = 0;
  uint16_t external_index_ = net::no_tunnel_source;
};

}  // namespace sluice::encap
