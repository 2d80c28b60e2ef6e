#include "control/host_neighbors.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "config/rules.h"

namespace sluice::control {
namespace {

constexpr size_t most_warnings = 8;  // each of one neighbour

}  // namespace

void HostNeighborTable::set_links(Links links) {
  if (links == links_) return;
  links_ = std::move(links);
  changed_ = changed_ || !known_.empty();
  std::erase_if(known_, [this](const auto& entry) { return !links_.contains(entry.first.first); });
}

void HostNeighborTable::set_network(const std::vector<PlannedInterface>& interfaces,
                                    const std::vector<config::StaticNeighbor>& configured) {
  std::map<net::IpAddr, std::string> own;
  std::vector<std::pair<net::Prefix, std::string>> subnets;
  std::set<std::pair<std::string, net::IpAddr>> by_configuration;
  for (const PlannedInterface& interface : interfaces) {
    for (const net::Prefix& address : interface.addresses) {
      const bool own_link = address.addr.is_v6() && address.addr.is_link_local();
      if (!own_link) own.emplace(address.addr, interface.name);
      if (!own_link && !address.is_host()) subnets.emplace_back(address.masked(), interface.name);
    }
  }
  for (const config::StaticNeighbor& neighbor : configured) {
    by_configuration.emplace(neighbor.interface, neighbor.address);
  }
  if (own == own_ && subnets == subnets_ && by_configuration == configured_) return;
  own_ = std::move(own);
  subnets_ = std::move(subnets);
  configured_ = std::move(by_configuration);
  changed_ = changed_ || !known_.empty();
}

void HostNeighborTable::learn(const netlink::Neighbor& neighbor) {
  using Type = netlink::Neighbor::Type;
  if (!links_.contains(neighbor.link)) return;
  const Key key{neighbor.link, neighbor.address};
  if (neighbor.dumped && heard_.contains(key)) return;
  if (!neighbor.dumped && in_round_) heard_.insert(key);
  // What the kernel itself has of broadcasts and groups.
  const bool of_kernel = neighbor.type == Type::NoArp && (neighbor.mac.is_multicast() || neighbor.mac.is_zero());
  if (neighbor.gone || neighbor.type == Type::Resolved || of_kernel) {
    if (known_.erase(key) != 0) changed_ = true;
    return;
  }
  if (known_.size() == most && !known_.contains(key)) {
    changed_ = changed_ || !left_out_;
    left_out_ = true;
    return;
  }
  const auto [at, fresh] = known_.try_emplace(key);
  Known& known = at->second;
  changed_ = changed_ || fresh || !(known.mac == neighbor.mac) || known.type != neighbor.type;
  known = {neighbor.mac, neighbor.type, round_};
}

void HostNeighborTable::begin_all() {
  ++round_;
  in_round_ = true;
  heard_.clear();
  changed_ = changed_ || left_out_;
  left_out_ = false;
}

void HostNeighborTable::end_all() {
  in_round_ = false;
  heard_.clear();
  if (std::erase_if(known_, [this](const auto& entry) { return entry.second.round != round_; }) != 0) changed_ = true;
}

std::string HostNeighborTable::complaint_about(const std::string& interface, const net::IpAddr& address,
                                               const net::MacAddr& mac) const {
  if (mac.is_multicast() || mac.is_zero()) {
    return fmt::format("{} is not the address of a station", net::to_string(mac));
  }
  if (const std::string_view why = config::never_a_host(address); !why.empty()) return fmt::format("it is {}", why);
  if (const auto own = own_.find(address); own != own_.end()) {
    return fmt::format("it is an address of this router, at {}", own->second);
  }
  const std::string* elsewhere = nullptr;
  for (const auto& [subnet, at] : subnets_) {
    if (!subnet.contains(address)) continue;
    if (at == interface) return {};
    elsewhere = &at;
  }
  return elsewhere == nullptr ? std::string() : fmt::format("its subnet is that of {}", *elsewhere);
}

const HostNeighbors& HostNeighborTable::usable() {
  if (!changed_) return usable_;
  changed_ = false;
  usable_.clear();
  warnings_.clear();
  size_t bad = 0;
  for (const auto& [key, known] : known_) {
    const std::string& interface = links_.at(key.first);
    const net::IpAddr& address = key.second;
    if (configured_.contains({interface, address})) continue;
    const std::string why = complaint_about(interface, address, known.mac);
    if (why.empty()) {
      usable_[{interface, address}] = {known.mac, known.type == netlink::Neighbor::Type::Learned};
    } else if (++bad <= most_warnings) {
      warnings_.push_back(fmt::format("the host's neighbour {} at the twin of {} is left out: {}",
                                      net::to_string(address), interface, why));
    }
  }
  if (bad > most_warnings) {
    warnings_.push_back(fmt::format("{} more neighbours of the host are left out", bad - most_warnings));
  }
  if (left_out_) {
    warnings_.push_back(
        fmt::format("the host's kernel has more than {} static neighbours at the twins; the others are left out and "
                    "asked for by ARP and neighbour discovery",
                    most));
  }
  return usable_;
}

}  // namespace sluice::control
