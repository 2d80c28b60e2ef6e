// Longest-prefix match for the control path: a hash table, probed once for every prefix length in use. Enough
// for some ten thousand prefixes and some ten thousand questions.
#pragma once

#include <array>
#include <bitset>
#include <unordered_map>
#include <utility>

#include "dataplane/net/addr.h"

namespace sluice::config {

template <class Value>
class PrefixTable {
 public:
  using Entry = std::pair<const net::Prefix, Value>;

  // `network` is masked. False: it is there already and keeps its value.
  bool insert(const net::Prefix& network, Value value) {
    lengths_[network.family() == net::Family::V6].set(network.length);
    return entries_.try_emplace(network, std::move(value)).second;
  }

  [[nodiscard]] bool empty() const { return entries_.empty(); }

  // The longest prefix that contains `inner`; nullptr if none does.
  [[nodiscard]] const Entry* find(const net::Prefix& inner) const {
    const auto& lengths = lengths_[inner.family() == net::Family::V6];
    for (int length = inner.length; length >= 0; --length) {
      if (!lengths.test(static_cast<size_t>(length))) continue;
      const net::Prefix outer = net::Prefix{inner.addr, static_cast<uint8_t>(length)}.masked();
      if (const Entry* entry = find_exact(outer)) return entry;
    }
    return nullptr;
  }
  [[nodiscard]] const Entry* find(const net::IpAddr& address) const { return find(net::Prefix::host(address)); }
  [[nodiscard]] const Entry* find_exact(const net::Prefix& network) const {
    const auto found = entries_.find(network);
    return found == entries_.end() ? nullptr : &*found;
  }

 private:
  std::unordered_map<net::Prefix, Value> entries_;
  std::array<std::bitset<129>, 2> lengths_;  // in use, IPv4 and IPv6
};

}  // namespace sluice::config
