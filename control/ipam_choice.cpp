#include "control/ipam_choice.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sluice::control::ipam {
namespace {

using config::IpPool;
using Kind = Refusal::Kind;

// ---- addresses as numbers ----------------------------------------------------------------------------

__extension__ using Number = unsigned __int128;

Number number_of(const net::IpAddr& address) {
  Number out = 0;
  for (size_t i = 0; i < address.bit_length() / 8U; ++i) out = out << 8 | address.bytes()[i];
  return out;
}

net::IpAddr address_of(Number number, net::Family family) {
  if (family == net::Family::V4) return net::Ipv4Addr::from_host(static_cast<uint32_t>(number));
  net::Ipv6Addr out;
  for (size_t i = 16; i-- > 0; number >>= 8) out.bytes[i] = static_cast<uint8_t>(number & 0xff);
  return out;
}

struct Range {
  Number first = 0;
  Number last = 0;
};

Range range_of(const net::Prefix& prefix) {
  const unsigned host_bits = prefix.addr.bit_length() - prefix.length;
  const Number first = number_of(prefix.addr);
  const Number size_less_one = host_bits == 128 ? ~Number{0} : (Number{1} << host_bits) - 1;
  return {first, first + size_less_one};
}

// The first block of `size` addresses in [from, last] that touches none of `taken`, which are sorted by their begin.
std::optional<Number> first_gap(const std::vector<Range>& taken, Number from, Number last, Number size) {
  Number at = from;
  for (const Range& range : taken) {
    if (range.last < at) continue;
    if (range.first > at && range.first - at >= size) break;
    if (range.last >= last) return std::nullopt;
    at = (range.last + size) / size * size;
  }
  if (at > last || last - at < size - 1) return std::nullopt;
  return at;
}

bool names(const std::string& word, const IpPool& pool) {
  return word == pool.name || word == net::to_string(pool.cidr);
}

std::string remedy(const std::string& node) {
  return fmt::format(
      "give node {} a range of its own, by a BlockAffinity or spec.podCIDRs of its Node; Nodes that have no router of "
      "their own belong into localNodeNames of the GatewayConfiguration",
      node);
}

}  // namespace

const IpPool* pool_of(const config::Config& config, const net::Prefix& block) {
  for (const auto& [name, pool] : config.pools) {
    if (pool.cidr.contains(block)) return &pool;
  }
  return nullptr;
}

bool cools_down(const config::Config& config, Seconds released, Seconds now) {
  return released != 0 && released <= now && now - released < config.ipam.cooldown_seconds;
}

const std::string* other_owner(const config::Config& config, const net::Prefix& block, const std::string& node) {
  for (const auto& [name, affinity] : config.blocks) {
    if (affinity.node != node && affinity.cidr.overlaps(block)) return &affinity.node;
  }
  for (const auto& [name, other] : config.nodes) {
    const auto overlaps = [&](const net::Prefix& range) { return range.overlaps(block); };
    if (name != node && std::any_of(other.pod_cidrs.begin(), other.pod_cidrs.end(), overlaps)) return &name;
  }
  return nullptr;
}

bool shares_pools(const config::Config& config) {
  return std::any_of(config.nodes.begin(), config.nodes.end(), [&](const auto& entry) {
    return entry.first != config.gateway.node_name && !config.gateway.is_local(entry.first);
  });
}

std::string doubt_about(const config::Config& config, const net::Prefix& block) {
  const std::string& own = config.gateway.node_name;
  if (!shares_pools(config)) return {};
  for (const auto& [name, affinity] : config.blocks) {
    if (affinity.node == own && affinity.cidr.contains(block)) return {};
  }
  if (const auto node = config.nodes.find(own); node != config.nodes.end()) {
    const auto contains = [&](const net::Prefix& range) { return range.contains(block); };
    if (std::any_of(node->second.pod_cidrs.begin(), node->second.pod_cidrs.end(), contains)) return {};
  }
  return fmt::format("{}, and routers of other Nodes may have claimed it as well: {}", beginning_of_doubt(block),
                     remedy(own));
}

std::string beginning_of_doubt(const net::Prefix& block) {
  return fmt::format("block {} is this router's by its own claim", net::to_string(block));
}

bool knows_node(const config::Config& config, const std::string& node) {
  return node == config.gateway.node_name || config.nodes.contains(node);
}

bool Choice::is_answered_by(const Handle& handle) const {
  const auto has = [&](const net::IpAddr& address) {
    return std::find(handle.addresses.begin(), handle.addresses.end(), address) != handle.addresses.end();
  };
  const auto of_family = [&](net::Family family) {
    return std::count_if(handle.addresses.begin(), handle.addresses.end(),
                         [&](const net::IpAddr& address) { return address.family() == family; });
  };
  size_t wanted = 0;
  for (const net::Family family : {net::Family::V4, net::Family::V6}) {
    const bool by_family =
        std::find(request_.families.begin(), request_.families.end(), family) != request_.families.end();
    const bool by_address = std::any_of(request_.addresses.begin(), request_.addresses.end(),
                                        [&](const net::IpAddr& address) { return address.family() == family; });
    if (!by_family && !by_address) continue;
    if (of_family(family) != 1) return false;
    ++wanted;
  }
  return handle.node == request_.node && handle.use == request_.use && wanted == handle.addresses.size() &&
         std::all_of(request_.addresses.begin(), request_.addresses.end(), has);
}

net::Result<std::vector<Chosen>, Refusal> Choice::choose() const {
  if (!knows_node(config_, request_.node)) {
    return Refusal{Kind::Invalid, fmt::format("there is no Node {}", request_.node)};
  }
  std::vector<Chosen> out;
  const auto covered = [&](net::Family family) {
    return std::any_of(out.begin(), out.end(), [&](const Chosen& one) { return one.address.family() == family; });
  };
  for (const net::IpAddr& address : request_.addresses) {
    if (covered(address.family())) {
      return Refusal{Kind::Invalid, "more than one address of a family is asked for"};
    }
    auto found = requested(address);
    if (!found) return found.error();
    out.push_back(std::move(*found));
  }
  for (const net::Family family : request_.families) {
    if (covered(family)) continue;
    auto found = automatic(family);
    if (!found) return found.error();
    out.push_back(std::move(*found));
  }
  if (out.empty()) return Refusal{Kind::Invalid, "neither a family nor an address is asked for"};
  return out;
}

// Pools that are named are for their family only. A name that nothing has counts, so that it is complained of.
bool Choice::names_pools(net::Family family) const {
  return std::any_of(request_.pools.begin(), request_.pools.end(), [&](const std::string& word) {
    const auto found = std::find_if(config_.pools.begin(), config_.pools.end(),
                                    [&](const auto& entry) { return names(word, entry.second); });
    return found == config_.pools.end() || found->second.cidr.family() == family;
  });
}

std::vector<std::string> Choice::names_for(net::Family family) const {
  if (names_pools(family)) return request_.pools;
  const auto found = config_.namespaces.find(request_.ns());
  if (request_.use != Use::Workload || found == config_.namespaces.end()) return {};
  return family == net::Family::V4 ? found->second.ipv4_pools : found->second.ipv6_pools;
}

// By the labels of the node, and of the pod's Namespace; one that is not known has those that every Namespace has.
bool Choice::selects(const IpPool& pool) const {
  static const config::Labels none;
  const auto node = config_.nodes.find(request_.node);
  if (!pool.node_selector.matches(node == config_.nodes.end() ? none : node->second.labels)) return false;
  if (request_.use != Use::Workload) return true;
  config::Labels labels;
  const std::string ns = request_.ns();
  if (const auto found = config_.namespaces.find(ns); found != config_.namespaces.end()) labels = found->second.labels;
  if (!ns.empty()) {
    labels.emplace("kubernetes.io/metadata.name", ns);
    labels.emplace("projectcalico.org/name", ns);
  }
  return pool.namespace_selector.matches(labels);
}

bool Choice::allows(const IpPool& pool) const {
  return !pool.disabled && (request_.use == Use::Tunnel ? pool.for_tunnels : pool.for_workloads);
}

net::Result<Choice::Pools, Refusal> Choice::pools_for(net::Family family) const {
  Pools out;
  if (const std::vector<std::string> words = names_for(family); !words.empty()) {
    for (const std::string& word : words) {
      const auto found = std::find_if(config_.pools.begin(), config_.pools.end(),
                                      [&](const auto& entry) { return names(word, entry.second); });
      if (found == config_.pools.end()) return Refusal{Kind::Invalid, fmt::format("there is no IPPool {}", word)};
      const IpPool& pool = found->second;
      if (!allows(pool)) {
        return Refusal{Kind::Invalid,
                       fmt::format("IPPool {} is disabled, or not for {} addresses", pool.name, to_text(request_.use))};
      }
      if (pool.cidr.family() == family) out.push_back(&pool);
    }
  } else {
    for (const auto& [name, pool] : config_.pools) {
      const bool fits = pool.cidr.family() == family && allows(pool) && !pool.manual;
      if (fits && selects(pool)) out.push_back(&pool);
    }
  }
  if (out.empty()) {
    const std::string ns = request_.use == Use::Workload ? request_.ns() : "";
    return Refusal{Kind::Invalid,
                   fmt::format("no IPPool has IPv{} {} addresses for node {}{}", family == net::Family::V4 ? 4 : 6,
                               to_text(request_.use), request_.node, ns.empty() ? "" : " and namespace " + ns)};
  }
  return out;
}

Choice::Found Choice::requested(const net::IpAddr& address) const {
  const std::string text = net::to_string(address);
  const IpPool* pool = pool_of(config_, net::Prefix::host(address));
  const bool named = !names_pools(address.family()) ||
                     (pool != nullptr && std::any_of(request_.pools.begin(), request_.pools.end(),
                                                     [&](const auto& word) { return names(word, *pool); }));
  if (pool == nullptr || !allows(*pool) || !named) {
    return Refusal{Kind::Invalid,
                   fmt::format("{} is in no IPPool with {} addresses for this", text, to_text(request_.use))};
  }
  if (const Block* block = state_.block_of(address)) {
    const auto used = block->used.find(block->ordinal(address));
    if (used != block->used.end()) {
      return Refusal{Kind::Conflict, fmt::format("{} is assigned to handle {}", text, used->second)};
    }
    if (block->affinity == Affinity::PendingDeletion) {
      return Refusal{Kind::Conflict, fmt::format("the block of {} is being given up; try again", text)};
    }
    if (const std::string* owner = other_owner(config_, block->cidr, block->node)) {
      return Refusal{Kind::Conflict, fmt::format("the block of {} is node {}'s by the configuration", text, *owner)};
    }
    if (block->node != request_.node && config_.ipam.strict_affinity) {
      return Refusal{Kind::Conflict,
                     fmt::format("{} is in a block of node {}, and strictAffinity is set", text, block->node)};
    }
    return Chosen{address, std::nullopt};
  }
  const net::Prefix cidr = net::Prefix{address, pool->block_size}.masked();
  if (!can_be_claimed(cidr)) {
    return Refusal{Kind::Conflict, fmt::format("the block {} of {} is not node {}'s{}", net::to_string(cidr), text,
                                               request_.node, advice())};
  }
  if (!may_claim(address.family())) {
    return Refusal{Kind::Exhausted, fmt::format("node {} has {} blocks, which is maxBlocksPerHost", request_.node,
                                                config_.ipam.max_blocks_per_host)};
  }
  return Chosen{address, Claim{cidr, request_.node, pool->name}};
}

Choice::Found Choice::automatic(net::Family family) const {
  const auto pools = pools_for(family);
  if (!pools) return pools.error();
  if (const auto address = from_blocks(*pools, true)) return Chosen{*address, std::nullopt};
  if (may_claim(family)) {
    for (const IpPool* pool : *pools) {
      const auto cidr = new_block(*pool);
      if (cidr) return Chosen{cidr->addr, Claim{*cidr, request_.node, pool->name}};
    }
  }
  if (!config_.ipam.strict_affinity) {
    if (const auto address = from_blocks(*pools, false)) return Chosen{*address, std::nullopt};
  }
  std::vector<std::string> looked_at;
  for (const IpPool* pool : *pools) looked_at.push_back(pool->name);
  return Refusal{Kind::Exhausted,
                 fmt::format("no IPv{} address is free for node {} in IPPool {}{}", family == net::Family::V4 ? 4 : 6,
                             request_.node, fmt::join(looked_at, ", "),
                             may_claim(family) ? advice() : "; it has as many blocks as maxBlocksPerHost allows")};
}

std::optional<net::IpAddr> Choice::from_blocks(const Pools& pools, bool own) const {
  const Block* best = nullptr;
  std::pair<Seconds, size_t> best_rank;
  for (const auto& [cidr, block] : state_.blocks()) {
    if ((block.node == request_.node) != own || block.free.empty()) continue;
    if (own ? block.affinity == Affinity::PendingDeletion : block.affinity != Affinity::Confirmed) continue;
    const auto pool = std::find_if(pools.begin(), pools.end(),
                                   [&, &cidr = cidr](const IpPool* one) { return one->cidr.contains(cidr); });
    const Seconds released = block.free.front().released;
    if (pool == pools.end() || cools_down(config_, released, now_)) continue;
    const std::pair rank(released, static_cast<size_t>(pool - pools.begin()));
    if ((best != nullptr && best_rank <= rank) || other_owner(config_, cidr, block.node) != nullptr) continue;
    best = &block;
    best_rank = rank;
  }
  if (best == nullptr) return std::nullopt;
  return best->address(best->free.front().ordinal);
}

template <class Visit>
void Choice::each_range(Visit visit) const {
  for (const auto& [name, block] : config_.blocks) visit(block.cidr, block.node);
  for (const auto& [name, node] : config_.nodes) {
    for (const net::Prefix& cidr : node.pod_cidrs) visit(cidr, name);
  }
}

bool Choice::can_be_claimed(const net::Prefix& block) const {
  const auto overlaps = [&](const auto& entry) { return entry.first.overlaps(block); };
  if (std::any_of(state_.blocks().begin(), state_.blocks().end(), overlaps)) return false;
  bool given = may_claim_anywhere();
  each_range([&](const net::Prefix& range, const std::string& node) {
    given = given || (may_claim_given() && node == request_.node && range.contains(block));
  });
  return given && other_owner(config_, block, request_.node) == nullptr;
}

bool Choice::may_claim_anywhere() const { return config_.ipam.auto_allocate_blocks && !shares_pools(config_); }

// Another node's range is for its own router to cut.
bool Choice::may_claim_given() const {
  const config::Gateway& gateway = config_.gateway;
  return request_.node == gateway.node_name || gateway.is_local(request_.node) || !shares_pools(config_);
}

std::string Choice::advice() const {
  if (!may_claim_given()) {
    return fmt::format(
        "; blocks of node {} are cut by its own router: ask there, or name it in localNodeNames of the "
        "GatewayConfiguration if it has none",
        request_.node);
  }
  if (!config_.ipam.auto_allocate_blocks || !shares_pools(config_)) return {};
  return "; nothing more is claimed, as routers of other Nodes may claim the same: " + remedy(request_.node);
}

bool Choice::may_claim(net::Family family) const {
  if (config_.ipam.max_blocks_per_host == 0) return true;
  const auto count = std::count_if(state_.blocks().begin(), state_.blocks().end(), [&](const auto& entry) {
    return entry.first.family() == family && entry.second.node == request_.node;
  });
  return static_cast<uint64_t>(count) < config_.ipam.max_blocks_per_host;
}

// In what the configuration gives to the node, else anywhere in the pool, behind the block that was claimed last.
std::optional<net::Prefix> Choice::new_block(const IpPool& pool) const {
  std::vector<Range> taken;
  std::vector<net::Prefix> given;
  for (const auto& [cidr, block] : state_.blocks()) {
    if (pool.cidr.overlaps(cidr)) taken.push_back(range_of(cidr));
  }
  each_range([&](const net::Prefix& range, const std::string& node) {
    if (!pool.cidr.overlaps(range)) return;
    if (node != request_.node) {
      taken.push_back(range_of(range));
    } else if (may_claim_given() && range.length <= pool.block_size) {
      given.push_back(pool.cidr.length > range.length ? pool.cidr : range);
    }
  });
  std::sort(taken.begin(), taken.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  std::sort(given.begin(), given.end());
  if (may_claim_anywhere()) given.push_back(pool.cidr);
  const Number size = Number{1} << (pool.cidr.addr.bit_length() - pool.block_size);
  for (const net::Prefix& area : given) {
    const Range range = range_of(area);
    const auto last = state_.cursor(pool.name);
    std::optional<Number> at;
    if (last && area.contains(last->addr)) {
      const Range before = range_of(*last);
      if (before.last < range.last) at = first_gap(taken, (before.last + size) / size * size, range.last, size);
    }
    if (!at) at = first_gap(taken, range.first, range.last, size);
    if (at) return net::Prefix{address_of(*at, area.family()), pool.block_size};
  }
  return std::nullopt;
}

}  // namespace sluice::control::ipam
