// Rules about address pools and the blocks cut from them (IPAM-1, IPAM-4, ENC-1).
#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "config/change_rules.h"
#include "config/ipam_blocks.h"

namespace sluice::config {
namespace {

void check_pool(const IpPool& pool, Findings& findings) {
  Report report(findings, {"IPPool", "", pool.name});
  const bool v6 = pool.cidr.addr.is_v6();
  const auto [min, max] = v6 ? std::pair(116, 128) : std::pair(20, 32);
  if (pool.block_size < min || pool.block_size > max) {
    report.fault(Path::of("spec", "blockSize"),
                 fmt::format("expected {} to {} for IPv{}, found {}", min, max, v6 ? 6 : 4, pool.block_size));
  } else if (pool.block_size < pool.cidr.length) {
    report.fault(Path::of("spec", "blockSize"),
                 fmt::format("a block of /{} is larger than the pool {}", pool.block_size, net::to_string(pool.cidr)));
  }
  if (pool.vxlan_mode != TunnelMode::Never && pool.ipip_mode != TunnelMode::Never) {
    report.fault(Path::of("spec", "ipipMode"), "ipipMode and vxlanMode exclude each other");
  } else if (v6 && pool.ipip_mode != TunnelMode::Never) {
    report.fault(Path::of("spec", "ipipMode"), "there is no IPIP for IPv6 pools");
  }
  static const Prefix link_local_v4{Ipv4Addr::from_host(0xa9fe0000), 16};
  static const Prefix link_local_v6 = *net::parse_prefix("fe80::/10");
  if (pool.cidr.overlaps(link_local_v4) || pool.cidr.overlaps(link_local_v6)) {
    report.fault(Path::of("spec", "cidr"), fmt::format("{} has link-local addresses", net::to_string(pool.cidr)));
  }
}

// Sorted by address and then length, a prefix that overlaps an earlier one lies inside the last one that was
// outside all before it.
std::vector<const IpPool*> sorted_by_cidr(const Config& config) {
  std::vector<const IpPool*> pools;
  for (const auto& [name, pool] : config.pools) pools.push_back(&pool);
  std::stable_sort(pools.begin(), pools.end(), [](const IpPool* a, const IpPool* b) { return a->cidr < b->cidr; });
  return pools;
}

void check_overlaps(const std::vector<const IpPool*>& sorted, Findings& findings) {
  const IpPool* outer = nullptr;
  for (const IpPool* pool : sorted) {
    if (outer == nullptr || !outer->cidr.contains(pool->cidr)) {
      outer = pool;
      continue;
    }
    Report(findings, {"IPPool", "", pool->name})
        .fault(Path::of("spec", "cidr"), fmt::format("{} overlaps pool {} ({})", net::to_string(pool->cidr),
                                                     outer->name, net::to_string(outer->cidr)));
  }
}

bool in_a_pool(const Prefix& block, const std::vector<const IpPool*>& sorted) {
  // The last pool that does not begin after the block; pools that overlap are a fault of their own.
  auto after = std::upper_bound(sorted.begin(), sorted.end(), block,
                                [](const Prefix& wanted, const IpPool* pool) { return wanted < pool->cidr; });
  return after != sorted.begin() && (*--after)->cidr.contains(block);
}

// The object that says what an entry of Config::blocks has.
Subject subject_of(const BlockAffinity& entry) {
  const std::string_view ipam_block = ipam_block_of(entry);
  if (ipam_block.empty()) return {"BlockAffinity", "", entry.name};
  return {"IPAMBlock", "", ipam_block};
}

std::string text_of(const Subject& subject) { return fmt::format("{} {}", subject.kind, subject.name); }

void check_blocks(const Config& config, const std::vector<const IpPool*>& sorted, Findings& findings) {
  std::unordered_map<Prefix, const BlockAffinity*> owners;
  for (const auto& [name, block] : config.blocks) {
    if (!block.confirmed) continue;
    Report report(findings, subject_of(block));
    if (!in_a_pool(block.cidr, sorted)) {
      report.fault(Path::of("spec", "cidr"), fmt::format("{} is in no IPPool", net::to_string(block.cidr)));
    }
    const auto [first, fresh] = owners.try_emplace(block.cidr, &block);
    if (!fresh) {
      report.fault(Path::of("spec", "cidr"),
                   fmt::format("{} is confirmed for node {} by {}", net::to_string(block.cidr), first->second->node,
                               text_of(subject_of(*first->second))));
    }
  }
}

// Whether there are no such faults.
bool are_sound(const Config& config, const Scope& scope, const std::vector<ObjectName>& touched,
               const std::vector<const IpPool*>& sorted) {
  for (const ObjectName& name : touched) {
    const auto found = config.blocks.find(name.name);
    if (found == config.blocks.end() || !found->second.confirmed) continue;
    if (!in_a_pool(found->second.cidr, sorted)) return false;
    size_t owners = 0;
    scope.owners->blocks().each(found->second.cidr, [&](const BlockAffinity&) { ++owners; });
    if (owners != 1) return false;
  }
  return true;
}

}  // namespace

void check_touched_blocks(const Config& config, const Scope& scope, Findings& findings) {
  const std::vector<const IpPool*> sorted = sorted_by_cidr(config);
  std::vector<ObjectName> touched = names_of(*scope.change, "BlockAffinity");
  for (const std::string& name : scope.change->blocks) touched.push_back({"", name});
  if (!are_sound(config, scope, touched, sorted)) check_blocks(config, sorted, findings);
}

void check_pools(const Config& config, Findings& findings) {
  for (const auto& [name, pool] : config.pools) check_pool(pool, findings);
  const std::vector<const IpPool*> sorted = sorted_by_cidr(config);
  check_overlaps(sorted, findings);
  check_blocks(config, sorted, findings);
}

}  // namespace sluice::config
