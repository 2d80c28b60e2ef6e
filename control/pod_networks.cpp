#include "control/pod_networks.h"

#include <algorithm>
#include <utility>

namespace sluice::control {
namespace {

using net::Prefix;

struct Piece {
  Prefix prefix;
  bool elsewhere = false;
};
using Pieces = std::vector<Piece>;

net::IpAddr with_bit(const net::IpAddr& address, uint8_t bit) {
  if (address.is_v4()) return net::Ipv4Addr::from_host(address.v4().host() | uint32_t{1} << (31 - bit));
  net::Ipv6Addr changed = address.v6();
  changed.bytes[bit / 8] = static_cast<uint8_t>(changed.bytes[bit / 8] | 0x80 >> bit % 8);
  return changed;
}

// Those that say something else than the network around them; the world around all is not elsewhere.
Pieces that_differ(const std::map<Prefix, PodNetworks::Network>& all) {
  Pieces kept;
  std::vector<Piece> around;
  for (const auto& [prefix, network] : all) {
    const bool elsewhere = network.elsewhere;
    while (!around.empty() && !around.back().prefix.contains(prefix)) around.pop_back();
    if (elsewhere == (!around.empty() && around.back().elsewhere)) continue;
    around.push_back({prefix, elsewhere});
    kept.push_back({prefix, elsewhere});
  }
  return kept;
}

// What is elsewhere of `network`, which lies in one that is or is not; [first, last) are those within it, sorted.
void cut(Piece network, Pieces::const_iterator first, Pieces::const_iterator last, std::vector<Prefix>& out) {
  if (first != last && first->prefix == network.prefix) {
    network.elsewhere = first->elsewhere;
    ++first;
  }
  if (first == last) {
    if (network.elsewhere) out.push_back(network.prefix);
    return;
  }
  const auto length = static_cast<uint8_t>(network.prefix.length + 1);
  const Prefix lower{network.prefix.addr, length};
  const Prefix upper{with_bit(network.prefix.addr, network.prefix.length), length};
  const auto middle =
      std::partition_point(first, last, [&](const Piece& inner) { return inner.prefix.addr < upper.addr; });
  cut({lower, network.elsewhere}, first, middle, out);
  cut({upper, network.elsewhere}, middle, last, out);
}

}  // namespace

std::vector<Prefix> PodNetworks::elsewhere() const {
  const Pieces networks = that_differ(networks_);
  std::vector<Prefix> out;
  for (auto first = networks.begin(); first != networks.end();) {
    const Prefix& outermost = first->prefix;
    const auto last =
        std::find_if(first, networks.end(), [&](const Piece& other) { return !outermost.contains(other.prefix); });
    cut(*first, first, last, out);
    first = last;
  }
  return out;
}

std::optional<bool> PodNetworks::shows(const Prefix& network, bool elsewhere) const {
  const Prefix wanted = network.masked();
  const auto inner = networks_.upper_bound(wanted);
  const bool has_inner = inner != networks_.end() && wanted.contains(inner->first);
  const Network* around = nullptr;
  for (uint8_t length = wanted.length; length-- > 0 && around == nullptr;) {
    const auto found = networks_.find(Prefix{wanted.addr, length}.masked());
    if (found != networks_.end()) around = &found->second;
  }
  if (elsewhere == (around != nullptr && around->elsewhere)) return false;
  if (around != nullptr || has_inner) return std::nullopt;
  return true;
}

}  // namespace sluice::control
