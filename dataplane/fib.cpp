#include "dataplane/fib.h"

#include <cstring>

#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_memory.h>

#include "dataplane/net/burst.h"

namespace sluice::dataplane {
namespace {

constexpr unsigned max_retries = 1000;

// `ask(first, found, wanted)` looks `wanted` addresses up from the first-th on.
template <class Ask>
inline void look_up(NextHopId* next_hops, unsigned count, Ask&& ask) {
  uint64_t found[net::burst_size];
  ask(0, found, count);
  unsigned again = 0;
  for (unsigned i = 0; i < count; ++i) {
    next_hops[i] = static_cast<NextHopId>(found[i]);
    again |= next_hops[i] == hop::retry ? 1U : 0U;
  }
  if (again == 0) [[likely]]
    return;
  for (unsigned i = 0; i < count; ++i) {
    for (unsigned tries = 0; found[i] == hop::retry && tries < max_retries; ++tries) ask(i, &found[i], 1);
    next_hops[i] = found[i] == hop::retry ? hop::no_route : static_cast<NextHopId>(found[i]);
  }
}

}  // namespace

net::Result<std::unique_ptr<Fib>> Fib::create(const FibSizing& sizing) {
  std::unique_ptr<Fib> fib(new Fib);
  rte_fib_conf v4{};
  v4.type = RTE_FIB_DIR24_8;
  v4.default_nh = hop::no_route;
  v4.max_routes = static_cast<int>(sizing.max_routes_v4);
  v4.dir24_8.nh_sz = RTE_FIB_DIR24_8_2B;
  v4.dir24_8.num_tbl8 = sizing.groups_v4;
  fib->v4_ = rte_fib_create("sluice_fib4", SOCKET_ID_ANY, &v4);
  if (fib->v4_ == nullptr) {
    return net::Error{std::string("the IPv4 forwarding table (about 40 MiB) could not be allocated: ") +
                      rte_strerror(rte_errno) + "; give the router more memory with --memory"};
  }
  rte_fib6_conf v6{};
  v6.type = RTE_FIB6_TRIE;
  v6.default_nh = hop::no_route;
  v6.max_routes = static_cast<int>(sizing.max_routes_v6);
  v6.trie.nh_sz = RTE_FIB6_TRIE_2B;
  v6.trie.num_tbl8 = sizing.groups_v6;
  fib->v6_ = rte_fib6_create("sluice_fib6", SOCKET_ID_ANY, &v6);
  if (fib->v6_ == nullptr) {
    return net::Error{std::string("the IPv6 forwarding table (about 40 MiB) could not be allocated: ") +
                      rte_strerror(rte_errno) + "; give the router more memory with --memory"};
  }
  return fib;
}

Fib::~Fib() {
  if (v4_ != nullptr) rte_fib_free(v4_);
  if (v6_ != nullptr) rte_fib6_free(v6_);
}

void Fib::lookup(const net::Ipv4Addr* addrs, NextHopId* next_hops, unsigned count) const {
  uint32_t hosts[net::burst_size];
  for (unsigned i = 0; i < count; ++i) hosts[i] = addrs[i].host();
  look_up(next_hops, count, [&](unsigned first, uint64_t* found, unsigned wanted) {
    rte_fib_lookup_bulk(v4_, &hosts[first], found, static_cast<int>(wanted));
  });
}

void Fib::lookup(const net::Ipv6Addr* addrs, NextHopId* next_hops, unsigned count) const {
  uint8_t bytes[net::burst_size][RTE_FIB6_IPV6_ADDR_SIZE];
  for (unsigned i = 0; i < count; ++i) std::memcpy(bytes[i], addrs[i].bytes.data(), sizeof bytes[i]);
  look_up(next_hops, count, [&](unsigned first, uint64_t* found, unsigned wanted) {
    rte_fib6_lookup_bulk(v6_, &bytes[first], found, static_cast<int>(wanted));
  });
}

net::Status<> Fib::add(const net::Prefix& prefix, NextHopId next_hop) {
  const int error = prefix.addr.is_v4() ? rte_fib_add(v4_, prefix.addr.v4().host(), prefix.length, next_hop)
                                        : rte_fib6_add(v6_, prefix.addr.v6().bytes.data(), prefix.length, next_hop);
  if (error == 0) return net::Done{};
  return net::Error{"route " + net::to_string(prefix) + " could not be added: " + rte_strerror(-error) +
                    (error == -ENOSPC ? " (too many prefixes longer than /24 or too many routes)" : "")};
}

void Fib::remove(const net::Prefix& prefix) {
  if (prefix.addr.is_v4()) {
    rte_fib_delete(v4_, prefix.addr.v4().host(), prefix.length);
  } else {
    rte_fib6_delete(v6_, prefix.addr.v6().bytes.data(), prefix.length);
  }
}

}  // namespace sluice::dataplane
