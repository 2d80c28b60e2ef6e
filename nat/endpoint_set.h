// The endpoints of all services: who talks to one of them directly is tracked, because the same client may talk to
// it through a service with the same ports at the same time, and the two must not be confused (MASQ-7).
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "dataplane/net/flow_key.h"

namespace sluice::nat {

// Const once built; one probe sequence in an open-addressed table at most half full.
template <class F>
class EndpointSet {
 public:
  struct Endpoint {
    typename F::Addr addr;
    net::be16 port;
    uint8_t protocol = 0;  // 0: a free slot
  };

  EndpointSet() = default;
  explicit EndpointSet(const std::vector<Endpoint>& endpoints) {
    if (endpoints.empty()) return;
    slots_.resize(std::bit_ceil(2 * endpoints.size()));
    mask_ = slots_.size() - 1;
    for (const Endpoint& endpoint : endpoints) {
      uint64_t at = hash(endpoint.addr, endpoint.port, endpoint.protocol) & mask_;
      while (slots_[at].protocol != 0 && !same(slots_[at], endpoint.addr, endpoint.port, endpoint.protocol)) {
        at = (at + 1) & mask_;
      }
      slots_[at] = endpoint;
    }
  }

  [[nodiscard]] bool empty() const { return slots_.empty(); }
  [[nodiscard]] bool contains(const typename F::Addr& addr, net::be16 port, uint8_t protocol) const {
    if (slots_.empty()) return false;
    for (uint64_t at = hash(addr, port, protocol) & mask_; slots_[at].protocol != 0; at = (at + 1) & mask_) {
      if (same(slots_[at], addr, port, protocol)) return true;
    }
    return false;
  }

 private:
  [[nodiscard]] static bool same(const Endpoint& slot, const typename F::Addr& addr, net::be16 port, uint8_t protocol) {
    return slot.addr == addr && slot.port == port && slot.protocol == protocol;
  }
  [[nodiscard]] static uint64_t hash(const typename F::Addr& addr, net::be16 port, uint8_t protocol) {
    net::FlowKey<F> key{addr, {}, port, {}, protocol, {}};
    return net::balancing_hash(key);
  }

  std::vector<Endpoint> slots_;
  uint64_t mask_ = 0;
};

}  // namespace sluice::nat
