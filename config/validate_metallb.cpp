// Rules about pools of load balancer addresses and what announces them (LB-1).
#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "config/rules.h"
#include "config/validate.h"

namespace sluice::config {
namespace {

std::string text_of(const AddressRange& range) {
  return fmt::format("{}-{}", net::to_string(range.first), net::to_string(range.last));
}

struct Claimed {
  const AddressRange* range;
  const AddressPool* pool;
  size_t index;
};

void check_ranges(const AddressPool& pool, Report& report) {
  for (size_t i = 0; i < pool.ranges.size(); ++i) {
    for (const IpAddr& address : {pool.ranges[i].first, pool.ranges[i].last}) {
      const std::string_view why = never_remote(address);
      if (why.empty()) continue;
      report.fault(Path::of("spec", "addresses", i), fmt::format("{} is {}", net::to_string(address), why));
      break;
    }
  }
}

// Sorted by first address, a range that overlaps an earlier one begins before the furthest end so far.
void check_overlaps(const Config& config, Findings& findings) {
  std::vector<Claimed> ranges;
  for (const auto& [name, pool] : config.address_pools) {
    for (size_t i = 0; i < pool.ranges.size(); ++i) ranges.push_back({&pool.ranges[i], &pool, i});
  }
  std::stable_sort(ranges.begin(), ranges.end(),
                   [](const Claimed& a, const Claimed& b) { return a.range->first < b.range->first; });
  const Claimed* furthest = nullptr;
  for (const Claimed& claimed : ranges) {
    if (furthest != nullptr && furthest->range->contains(claimed.range->first)) {
      Report(findings, {"IPAddressPool", claimed.pool->ns, claimed.pool->name})
          .fault(Path::of("spec", "addresses", claimed.index),
                 fmt::format("{} overlaps {} of IPAddressPool {}: an address can be given out of one pool only",
                             text_of(*claimed.range), text_of(*furthest->range), furthest->pool->name));
    }
    if (furthest == nullptr || !furthest->range->contains(claimed.range->last)) furthest = &claimed;
  }
}

}  // namespace

void check_address_pools(const Config& config, Findings& findings) {
  std::map<std::string_view, const AddressPool*> names;
  for (const auto& [name, pool] : config.address_pools) {
    Report report(findings, {"IPAddressPool", pool.ns, pool.name});
    check_ranges(pool, report);
    // Services and L2Advertisements name pools without a namespace.
    const auto [first, fresh] = names.try_emplace(pool.name, &pool);
    if (!fresh) {
      report.fault(Path::of("metadata", "name"),
                   fmt::format("there is an IPAddressPool of this name in namespace {}", first->second->ns));
    }
  }
  check_overlaps(config, findings);
}

std::vector<std::string> load_balancer_warnings(const Config& config) {
  std::vector<std::string> out;
  std::set<std::string_view> pools;
  for (const auto& [name, pool] : config.address_pools) pools.insert(pool.name);
  std::set<std::string_view> interfaces;
  for (const Interface& interface : config.gateway.interfaces) interfaces.insert(interface.name);
  for (const auto& [name, advertisement] : config.l2_advertisements) {
    for (size_t i = 0; i < advertisement.pools.size(); ++i) {
      if (pools.contains(advertisement.pools[i])) continue;
      out.push_back(fmt::format("L2Advertisement {}: spec.ipAddressPools[{}]: there is no IPAddressPool {}",
                                name.text(), i, quoted(advertisement.pools[i])));
    }
    for (size_t i = 0; i < advertisement.interfaces.size(); ++i) {
      if (interfaces.contains(advertisement.interfaces[i])) continue;
      out.push_back(fmt::format("L2Advertisement {}: spec.interfaces[{}]: this gateway has no interface {}",
                                name.text(), i, quoted(advertisement.interfaces[i])));
    }
  }
  return out;
}

}  // namespace sluice::config
