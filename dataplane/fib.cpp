#include "dataplane/fib.h"

#include <cstring>

#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_lpm6.h>
#include <rte_memory.h>

#include "dataplane/net/burst.h"

namespace sluice::dataplane {
namespace {

constexpr unsigned max_retries = 1000;

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
  const rte_lpm6_config v6{.max_rules = sizing.max_routes_v6, .number_tbl8s = sizing.groups_v6, .flags = 0};
  fib->v6_ = rte_lpm6_create("sluice_lpm6", SOCKET_ID_ANY, &v6);
  if (fib->v6_ == nullptr) {
    return net::Error{std::string("the IPv6 forwarding table (about 100 MiB) could not be allocated: ") +
                      rte_strerror(rte_errno) + "; give the router more memory with --memory"};
  }
  return fib;
}

Fib::~Fib() {
  if (v4_ != nullptr) rte_fib_free(v4_);
  if (v6_ != nullptr) rte_lpm6_free(v6_);
}

void Fib::lookup(const net::Ipv4Addr* addrs, NextHopId* next_hops, unsigned count) const {
  uint32_t hosts[net::burst_size];
  uint64_t found[net::burst_size];
  for (unsigned i = 0; i < count; ++i) hosts[i] = addrs[i].host();
  rte_fib_lookup_bulk(v4_, hosts, found, static_cast<int>(count));
  unsigned again = 0;
  for (unsigned i = 0; i < count; ++i) {
    next_hops[i] = static_cast<NextHopId>(found[i]);
    again |= next_hops[i] == hop::retry ? 1U : 0U;
  }
  if (again == 0) [[likely]]
    return;
  for (unsigned i = 0; i < count; ++i) {
    for (unsigned tries = 0; found[i] == hop::retry && tries < max_retries; ++tries) {
      rte_fib_lookup_bulk(v4_, &hosts[i], &found[i], 1);
    }
    next_hops[i] = found[i] == hop::retry ? hop::no_route : static_cast<NextHopId>(found[i]);
  }
}

void Fib::lookup(const net::Ipv6Addr* addrs, NextHopId* next_hops, unsigned count) const {
  uint8_t bytes[net::burst_size][RTE_LPM6_IPV6_ADDR_SIZE];
  int32_t found[net::burst_size];
  for (unsigned i = 0; i < count; ++i) std::memcpy(bytes[i], addrs[i].bytes.data(), sizeof bytes[i]);
  rte_lpm6_lookup_bulk_func(v6_, bytes, found, count);
  const NextHopId otherwise = default_v6_.load(std::memory_order_relaxed);
  for (unsigned i = 0; i < count; ++i) next_hops[i] = found[i] < 0 ? otherwise : static_cast<NextHopId>(found[i]);
}

net::Status<> Fib::add(const net::Prefix& prefix, NextHopId next_hop) {
  int error = 0;
  if (prefix.addr.is_v4()) {
    error = rte_fib_add(v4_, prefix.addr.v4().host(), prefix.length, next_hop);
  } else if (prefix.length == 0) {
    default_v6_.store(next_hop, std::memory_order_relaxed);
  } else {
    error = rte_lpm6_add(v6_, prefix.addr.v6().bytes.data(), prefix.length, next_hop);
  }
  if (error == 0) return net::Done{};
  return net::Error{"route " + net::to_string(prefix) + " could not be added: " + rte_strerror(-error) +
                    (error == -ENOSPC ? " (too many prefixes longer than /24 or too many routes)" : "")};
}

void Fib::remove(const net::Prefix& prefix) {
  if (prefix.addr.is_v4()) {
    rte_fib_delete(v4_, prefix.addr.v4().host(), prefix.length);
  } else if (prefix.length == 0) {
    default_v6_.store(hop::no_route, std::memory_order_relaxed);
  } else {
    rte_lpm6_delete(v6_, prefix.addr.v6().bytes.data(), prefix.length);
  }
}

}  // namespace sluice::dataplane
