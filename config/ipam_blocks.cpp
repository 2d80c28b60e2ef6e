#include "config/ipam_blocks.h"

#include <iterator>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "config/owners.h"

namespace sluice::config {
namespace {

constexpr std::string_view host_affinity = "host:";

// An address by its place in the block.
net::IpAddr address_at(const Prefix& block, size_t ordinal) {
  if (block.addr.is_v4()) return net::Ipv4Addr::from_host(block.addr.v4().host() + static_cast<uint32_t>(ordinal));
  net::Ipv6Addr address = block.addr.v6();
  size_t carry = ordinal;
  for (size_t i = address.bytes.size(); i-- > 0 && carry != 0; carry >>= 8) {
    carry += address.bytes[i];
    address.bytes[i] = static_cast<uint8_t>(carry);
  }
  return address;
}

size_t size_of(const Prefix& block) {
  const unsigned bits = (block.addr.is_v4() ? 32u : 128u) - block.length;
  return bits >= 16 ? size_t{1} << 16 : size_t{1} << bits;
}

// The nodes of spec.attributes; empty where there is none.
std::vector<std::string> read_nodes(Reader& spec) {
  std::vector<std::string> nodes;
  spec.each("attributes", [&](Reader& attribute, size_t index) {
    nodes.resize(index + 1);
    Reader secondary = attribute.object("secondary");
    secondary.text("node", nodes[index]);
  });
  return nodes;
}

IpamBlocks::Blocks entries_of(const IpamBlock& block) {
  IpamBlocks::Blocks entries;
  const auto add = [&](const Prefix& network, const std::string& node) {
    std::string name = fmt::format("{}/{}", block.name, net::to_string(network));
    BlockAffinity entry{.name = name, .node = node, .cidr = network, .confirmed = true};
    entries.insert_or_assign(std::move(name), std::move(entry));
  };
  if (!block.node.empty()) add(block.cidr, block.node);
  for (const auto& [address, node] : block.borrowed) add(Prefix::host(address), node);
  return entries;
}

void put(IpamBlocks::Blocks& blocks, const std::string& name, BlockAffinity&& entry, Owners* owners) {
  const size_t before = blocks.size();
  const auto at = blocks.try_emplace(blocks.end(), name);
  if (owners != nullptr && blocks.size() == before) owners->remove(at->second);
  at->second = std::move(entry);
  if (owners != nullptr) owners->add(at->second);
}

void drop(IpamBlocks::Blocks& blocks, const std::string& name, Owners* owners) {
  const auto found = blocks.find(name);
  if (found == blocks.end()) return;
  if (owners != nullptr) owners->remove(found->second);
  blocks.erase(found);
}

}  // namespace

IpamBlock read_ipam_block(const ObjectKey& key, Reader& object) {
  IpamBlock block;
  block.name = key.name;
  Reader spec = object.object("spec");
  object.require("spec");
  spec.require("cidr");
  spec.network("cidr", block.cidr, HostBits::Refuse);
  bool deleted = false;
  spec.flag("deleted", deleted);
  // Of nobody, or of load balancer addresses ("virtual:"), are the others.
  std::string affinity;
  spec.text("affinity", affinity);
  if (affinity.starts_with(host_affinity)) block.node = affinity.substr(host_affinity.size());
  const std::vector<std::string> nodes = read_nodes(spec);
  const size_t size = size_of(block.cidr);
  spec.each_value("allocations", [&](const boost::json::value& value, const Place& place) {
    if (value.is_null()) return;
    const auto attribute = spec.to_number(value, place, 0, UINT16_MAX);
    if (!attribute) return;
    if (place.index >= size) {
      return spec.report().fault(place.path(),
                                 fmt::format("{} has {} addresses, not more", net::to_string(block.cidr), size));
    }
    if (*attribute >= nodes.size()) {
      return spec.report().fault(place.path(), fmt::format("there is no item {} of spec.attributes", *attribute));
    }
    const std::string& node = nodes[*attribute];
    if (!node.empty() && node != block.node) block.borrowed.emplace(address_at(block.cidr, place.index), node);
  });
  if (deleted) {
    block.node.clear();
    block.borrowed.clear();
  }
  return block;
}

void IpamBlocks::replace(const Blocks& before, const Blocks& now, Blocks& blocks, Owners* owners) {
  for (const auto& [name, entry] : before) {
    if (now.contains(name)) continue;
    drop(blocks, name, owners);
    changed_.insert(name);
    if (--said_[entry.cidr] == 0) said_.erase(entry.cidr);
    unsettled_.insert(entry.cidr);
  }
  for (const auto& [name, entry] : now) {
    const auto old = before.find(name);
    if (old != before.end() && old->second == entry) continue;
    put(blocks, name, BlockAffinity(entry), owners);
    changed_.insert(name);
    if (old != before.end()) continue;
    ++said_[entry.cidr];
    unsettled_.insert(entry.cidr);
  }
}

void IpamBlocks::set(IpamBlock block, Blocks& blocks, Owners* owners) {
  const auto old = all_.find(block.name);
  replace(old == all_.end() ? Blocks() : entries_of(old->second), entries_of(block), blocks, owners);
  std::string name = block.name;
  all_.insert_or_assign(std::move(name), std::move(block));
}

void IpamBlocks::erase_block(const std::string& name, Blocks& blocks, Owners* owners) {
  const auto old = all_.find(name);
  if (old == all_.end()) return;
  replace(entries_of(old->second), {}, blocks, owners);
  all_.erase(old);
}

void IpamBlocks::set(BlockAffinity block, Blocks& blocks, Owners* owners) {
  const std::string name = block.name;
  if (said_.contains(block.cidr)) {
    if (blocks.contains(name)) changed_.insert(name);
    drop(blocks, name, owners);
    waiting_.insert_or_assign(name, std::move(block));
  } else {
    if (waiting_.erase(name) != 0) changed_.insert(name);
    put(blocks, name, std::move(block), owners);
  }
}

void IpamBlocks::erase_affinity(const std::string& name, Blocks& blocks, Owners* owners) {
  drop(blocks, name, owners);
  waiting_.erase(name);
}

const BlockAffinity& IpamBlocks::affinity(const std::string& name, const Blocks& blocks) const {
  const auto found = waiting_.find(name);
  return found == waiting_.end() ? blocks.at(name) : found->second;
}

std::set<std::string> IpamBlocks::settle(Blocks& blocks, Owners* owners) {
  const auto move = [&](Blocks& from, Blocks& to, auto&& wanted) {
    for (auto at = from.begin(); at != from.end();) {
      const auto next = std::next(at);
      const Prefix& network = at->second.cidr;
      if (unsettled_.contains(network) && ipam_block_of(at->second).empty() && wanted(said_.contains(network))) {
        changed_.insert(at->first);
        if (owners != nullptr && &from == &blocks) owners->remove(at->second);
        const auto moved = to.insert(from.extract(at)).position;
        if (owners != nullptr && &to == &blocks) owners->add(moved->second);
      }
      at = next;
    }
  };
  if (!unsettled_.empty()) {
    move(blocks, waiting_, [](bool said) { return said; });
    move(waiting_, blocks, [](bool said) { return !said; });
    unsettled_.clear();
  }
  return std::exchange(changed_, {});
}

std::string_view ipam_block_of(const BlockAffinity& entry) {
  const size_t slash = entry.name.find('/');
  return slash == std::string::npos ? std::string_view() : std::string_view(entry.name).substr(0, slash);
}

}  // namespace sluice::config
