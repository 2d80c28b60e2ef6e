// What load balancer addresses are made of: MetalLB's IPAddressPool and L2Advertisement (metallb.io/v1beta1), and what
// a Service says about the address that it wants.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/label_selector.h"
#include "dataplane/net/addr.h"

namespace sluice::config {

// Both ends belong to it; of one family, first <= last.
struct AddressRange {
  net::IpAddr first, last;

  [[nodiscard]] net::Family family() const { return first.family(); }
  [[nodiscard]] bool contains(const net::IpAddr& address) const { return first <= address && address <= last; }
  friend bool operator==(const AddressRange&, const AddressRange&) = default;
};

// "192.0.2.0/28", "192.0.2.1-192.0.2.9". Empty: it is neither, or first is behind last.
[[nodiscard]] std::optional<AddressRange> parse_address_range(std::string_view text);

// For whom a pool is (LB-1).
struct ServiceAllocation {
  uint32_t priority = 0;  // the smallest is tried first; 0: last
  std::vector<std::string> namespaces;
  std::vector<LabelSelector> namespace_selectors;
  std::vector<LabelSelector> service_selectors;
  friend bool operator==(const ServiceAllocation&, const ServiceAllocation&) = default;
};

struct AddressPool {
  std::string ns;
  std::string name;
  std::map<std::string, std::string> labels;
  std::vector<AddressRange> ranges;
  bool auto_assign = true;
  bool avoid_buggy = false;  // no IPv4 address that ends in .0 or .255
  std::optional<ServiceAllocation> allocation;

  // Whether an address may be given out of it.
  [[nodiscard]] bool has(const net::IpAddr& address) const;
  friend bool operator==(const AddressPool&, const AddressPool&) = default;
};

// Nodes that come before others, in the range 1 to 100.
struct PreferredNodes {
  uint8_t weight = 0;
  LabelSelector nodes;
  friend bool operator==(const PreferredNodes&, const PreferredNodes&) = default;
};

struct L2Advertisement {
  std::string ns;
  std::string name;
  // Of which pools: those named or selected; all if nothing is said.
  std::vector<std::string> pools;
  std::vector<LabelSelector> pool_selectors;
  std::vector<LabelSelector> node_selectors;
  std::vector<LabelSelector> service_selectors;
  std::vector<std::string> interfaces;    // none: every one
  std::vector<PreferredNodes> preferred;  // weights of a node add up (L2-2)

  [[nodiscard]] bool announces(const AddressPool& pool) const;
  friend bool operator==(const L2Advertisement&, const L2Advertisement&) = default;
};

enum class FamilyPolicy : uint8_t { SingleStack, PreferDualStack, RequireDualStack };

// Of a Service of type LoadBalancer; everything is empty for others.
struct LoadBalancerRequest {
  bool ours = false;  // no loadBalancerClass, or this router's
  std::map<std::string, std::string> selector;
  std::vector<net::IpAddr> wanted;    // at most one of each family
  std::string pool;                   // by name; empty: any
  std::string share_key;              // empty: with nobody
  std::vector<net::Family> families;  // at least one, the first is the first of two
  FamilyPolicy policy = FamilyPolicy::SingleStack;
  std::vector<net::IpAddr> status_ips;  // status.loadBalancer.ingress[].ip with ipMode VIP
  friend bool operator==(const LoadBalancerRequest&, const LoadBalancerRequest&) = default;
};

// spec.loadBalancerClass of services that this router gives an address.
inline constexpr std::string_view load_balancer_class = "sluice.dev/gateway";

}  // namespace sluice::config
