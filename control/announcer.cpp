#include "control/announcer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <openssl/evp.h>

namespace sluice::control {
namespace {

using config::Change;
using config::Config;
using config::L2Advertisement;
using config::Node;
using config::ObjectName;
using net::IpAddr;

constexpr auto defence_interval = std::chrono::seconds(5);  // so long is it told (L2-4)
constexpr const char* exclude_label = "node.kubernetes.io/exclude-from-external-load-balancers";

bool touches_everything(const Change* change) {
  if (change == nullptr) return true;
  return change->touches("L2Advertisement") || change->touches("IPAddressPool") ||
         change->touches(std::string_view("GatewayConfiguration"));
}

// Whether the Node may have addresses at all, if it lives.
bool is_eligible(const Node& node) { return node.network_available && !node.labels.contains(exclude_label); }

std::vector<const L2Advertisement*> advertisements_of(const Config& config, const config::AddressPool& pool,
                                                      const std::set<ObjectName>& services) {
  std::vector<const L2Advertisement*> out;
  for (const auto& entry : config.l2_advertisements) {
    const L2Advertisement& advertisement = entry.second;
    if (!advertisement.announces(pool)) continue;
    const bool selected = std::any_of(services.begin(), services.end(), [&](const ObjectName& service) {
      const auto found = config.services.find(service);
      return found != config.services.end() && any_matches(advertisement.service_selectors, found->second.labels);
    });
    if (selected) out.push_back(&advertisement);
  }
  return out;
}

// Before the hash: the more weight, the smaller (L2-2). Weights of all advertisements add up.
std::string weight_rank(const std::vector<const L2Advertisement*>& advertisements, const config::Labels& labels) {
  uint32_t weight = 0;
  for (const L2Advertisement* advertisement : advertisements) {
    for (const config::PreferredNodes& preferred : advertisement->preferred) {
      if (preferred.nodes.matches(labels)) weight += preferred.weight;
    }
  }
  const uint32_t number = ~weight;
  return {static_cast<char>(number >> 24), static_cast<char>(number >> 16), static_cast<char>(number >> 8),
          static_cast<char>(number)};
}

bool prefers_nodes(const Config& config) {
  return std::any_of(config.l2_advertisements.begin(), config.l2_advertisements.end(),
                     [](const auto& entry) { return !entry.second.preferred.empty(); });
}

std::vector<std::string> interfaces_of(const Config& config, const std::vector<const L2Advertisement*>& advertisements,
                                       const config::Labels& labels) {
  std::vector<std::string> out;
  for (const config::Interface& interface : config.gateway.interfaces) {
    if (interface.role != config::InterfaceRole::Uplink) continue;
    const bool wanted = std::any_of(advertisements.begin(), advertisements.end(), [&](const L2Advertisement* one) {
      return any_matches(one->node_selectors, labels) &&
             (one->interfaces.empty() ||
              std::find(one->interfaces.begin(), one->interfaces.end(), interface.name) != one->interfaces.end());
    });
    if (wanted) out.push_back(interface.name);
  }
  return out;
}

// SVC-65: a gateway beside the cluster leads to endpoints anywhere in it.
bool anywhere_is_here(const Config& config) {
  return config.gateway.proxy.external_policy_local_scope == config::LocalScope::Cluster;
}

}  // namespace

std::string election_rank(const std::string& node, const IpAddr& address) {
  const std::string text = node + "#" + net::to_string(address);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) return text;
  return {reinterpret_cast<const char*>(digest.data()), length};
}

Announcer::Serving Announcer::serving(const Config& config, const ObjectName& service, const Sources& sources) {
  Serving out;
  const std::set<ObjectName>* slices = sources.slices_of(service);
  const auto found = config.services.find(service);
  if (slices == nullptr || found == config.services.end()) return out;
  const bool nodes_count = found->second.external_policy == config::TrafficPolicy::Local && !anywhere_is_here(config);
  for (const ObjectName& name : *slices) {
    const auto slice = config.slices.find(name);
    if (slice == config.slices.end() || slice->second.fqdn) continue;
    for (const config::Endpoint& endpoint : slice->second.endpoints) {
      if (!endpoint.ready && !endpoint.serving) continue;
      out.any = true;
      if (!nodes_count) return out;
      if (!endpoint.node_name.empty()) out.nodes.insert(endpoint.node_name);
    }
  }
  return out;
}

void Announcer::look_at_endpoints(const Config& config, const ObjectName& service, const Sources& sources,
                                  std::set<IpAddr>& dirty) {
  const auto known = of_service_.find(service);
  if (known == of_service_.end()) return;
  Serving now = serving(config, service, sources);
  if (now == known->second.serving) return;
  known->second.serving = std::move(now);
  dirty.insert(known->second.addresses.begin(), known->second.addresses.end());
}

Announcer::Election Announcer::elect(const Config& config, const IpAddr& address, const Vip& vip,
                                     const Sources& sources) const {
  Election out;
  const config::AddressPool* pool = sources.pool_of(address);
  if (pool == nullptr) return out;
  const auto advertisements = advertisements_of(config, *pool, vip.services);
  if (advertisements.empty()) return out;
  bool ready = false;
  bool anywhere = false;
  std::set<std::string> with_endpoint;
  for (const ObjectName& name : vip.services) {
    const auto service = config.services.find(name);
    if (service == config.services.end()) continue;
    Serving endpoints = serving(config, name, sources);
    ready = ready || endpoints.any;
    const bool nodes_count =
        service->second.external_policy == config::TrafficPolicy::Local && !anywhere_is_here(config);
    anywhere = anywhere || (endpoints.any && !nodes_count);
    with_endpoint.merge(endpoints.nodes);
  }
  const config::Gateway& gateway = config.gateway;
  const std::string& us = gateway.local_node_names.empty() ? gateway.node_name : gateway.local_node_names.front();
  if (!ready) {
    out.note = "no endpoint is ready";
    return out;
  }
  std::string best;
  std::string best_dead;
  const auto consider = [&](const std::string& name, const Node* node) {
    static const config::Labels none;
    const config::Labels& labels = node == nullptr ? none : node->labels;
    const bool selected = std::any_of(advertisements.begin(), advertisements.end(), [&](const L2Advertisement* one) {
      return any_matches(one->node_selectors, labels);
    });
    if (!selected || (node != nullptr && !is_eligible(*node))) return;
    if (!anywhere && !with_endpoint.contains(name)) return;
    std::string rank = weight_rank(advertisements, labels) + election_rank(name, address);
    const bool alive = node == nullptr || node->alive;
    if (!alive) {
      if (best_dead.empty() || rank < best_dead) best_dead = std::move(rank);
    } else if (best.empty() || rank < best) {
      best = std::move(rank);
      out.owner = name;
    }
  };
  for (const auto& [name, node] : config.nodes) consider(name, &node);
  // Without any Node there is nobody to agree with.
  if (config.nodes.empty()) consider(us, nullptr);
  if (out.owner.empty()) {
    out.note = anywhere ? "no node that may announce it is alive" : "no node that may announce it has an endpoint";
    return out;
  }
  out.rank = best;
  if (out.owner != us) return out;
  out.behind_dead = !best_dead.empty() && best_dead < best;
  const auto node = config.nodes.find(us);
  out.interfaces =
      interfaces_of(config, advertisements, node == config.nodes.end() ? config::Labels{} : node->second.labels);
  if (out.interfaces.empty()) out.note = "this router has none of the interfaces that the L2Advertisement names";
  return out;
}

void Announcer::announce(const IpAddr& address, const Vip& vip) {
  for (const std::string& interface : vip.interfaces) fresh_.push_back({address, interface, true});
}

void Announcer::take_over(const IpAddr& address, Vip& vip, Now now) {
  changed_ = true;
  vip.ours = true;
  vip.gave_way = false;
  given_way_.erase(address);
  vip.owned_since = now.steady;
  ++owned_;
  announce(address, vip);
  news_.push_back({News::Kind::TookOver, address, "this router answers for it"});
}

void Announcer::give_up(const IpAddr& address, Vip& vip, const std::string& why, Now now) {
  changed_ = true;
  vip.ours = false;
  vip.since = now.wall;
  --owned_;
  news_.push_back({News::Kind::GaveUp, address, why});
}

void Announcer::decide(const Config& config, const IpAddr& address, Vip& vip, const Sources& sources, Now now) {
  Election election = elect(config, address, vip, sources);
  const config::Gateway& gateway = config.gateway;
  const std::string& us = gateway.local_node_names.empty() ? gateway.node_name : gateway.local_node_names.front();
  const bool elected = election.owner == us && !election.interfaces.empty();
  vip.behind_dead = election.behind_dead;
  if (vip.gave_way && (!elected || !election.behind_dead)) {
    changed_ = true;
    vip.gave_way = false;
    given_way_.erase(address);
  }
  const bool ours = elected && !vip.gave_way;
  if (vip.gave_way) election.note = "another router claims it";
  if (vip.owner != election.owner || vip.note != election.note) vip.since = now.wall;
  const bool elsewhere = vip.interfaces != election.interfaces;
  changed_ = changed_ || elsewhere;
  vip.rank = std::move(election.rank);
  vip.owner = election.owner;
  vip.note = election.note;
  vip.interfaces = std::move(election.interfaces);
  if (ours && !vip.ours) {
    take_over(address, vip, now);
  } else if (!ours && vip.ours) {
    give_up(address, vip,
            vip.owner.empty() ? (vip.note.empty() ? "nothing announces it" : vip.note)
                              : fmt::format("node {} owns it", vip.owner),
            now);
  } else if (ours && elsewhere) {
    announce(address, vip);
  }
}

void Announcer::index_service(const Config& config, const ObjectName& name, const Sources& sources,
                              std::set<IpAddr>& dirty) {
  const auto service = config.services.find(name);
  std::vector<IpAddr> now;
  if (service != config.services.end() && service->second.proxied) now = service->second.load_balancer_ips;
  const auto before = of_service_.find(name);
  if (before != of_service_.end()) {
    for (const IpAddr& address : before->second.addresses) {
      vips_.at(address).services.erase(name);
      dirty.insert(address);
    }
    of_service_.erase(before);
  }
  for (const IpAddr& address : now) {
    vips_[address].services.insert(name);
    dirty.insert(address);
  }
  if (!now.empty()) of_service_.emplace(name, OfService{std::move(now), serving(config, name, sources)});
}

void Announcer::mark_nodes(const Config& config, const Change& change, std::set<IpAddr>& dirty) {
  const bool first_or_last = any_node_ == config.nodes.empty() || prefers_nodes(config);
  const std::string no_weight = weight_rank({}, {});
  for (const Change::Touched& touched : change.touched) {
    if (!touched.effective || touched.key.kind != "Node") continue;
    for (const auto& [address, vip] : vips_) {
      if (first_or_last || vip.owner.empty() || vip.owner == touched.key.name ||
          no_weight + election_rank(touched.key.name, address) < vip.rank) {
        dirty.insert(address);
      }
    }
  }
}

void Announcer::update(const Config& config, const Change* change, const Sources& sources, Now now) {
  std::set<IpAddr> dirty;
  if (change == nullptr) {
    std::vector<ObjectName> known;
    for (const auto& [name, addresses] : of_service_) known.push_back(name);
    for (const ObjectName& name : known) index_service(config, name, sources, dirty);
    for (const auto& [name, service] : config.services) index_service(config, name, sources, dirty);
  } else {
    for (const Change::Touched& touched : change->touched) {
      if (!touched.effective) continue;
      if (touched.key.kind == "Service") index_service(config, {touched.key.ns, touched.key.name}, sources, dirty);
      if (touched.key.kind != "EndpointSlice") continue;
      look_at_endpoints(config, {touched.key.ns, touched.service}, sources, dirty);
      const auto slice = config.slices.find({touched.key.ns, touched.key.name});
      if (slice == config.slices.end() || slice->second.service == touched.service) continue;
      look_at_endpoints(config, {touched.key.ns, slice->second.service}, sources, dirty);
    }
  }
  if (touches_everything(change)) {
    // Which nodes count may be another question now.
    for (auto& [name, known] : of_service_) known.serving = serving(config, name, sources);
    for (const auto& [address, vip] : vips_) dirty.insert(address);
    changed_ = true;  // interfaces of the same name may be others
  } else {
    mark_nodes(config, *change, dirty);
  }
  any_node_ = !config.nodes.empty();
  for (const IpAddr& address : dirty) {
    const auto found = vips_.find(address);
    decide(config, address, found->second, sources, now);
    if (!found->second.services.empty()) continue;
    given_way_.erase(address);
    vips_.erase(found);
  }
}

void Announcer::on_claim(const IpAddr& address, const net::MacAddr& mac, Now now) {
  const auto found = vips_.find(address);
  if (found == vips_.end()) return;
  Vip& vip = found->second;
  vip.last_claim = now.steady;
  vip.unanswered = 0;
  vip.claimed_by = mac;
  if (!vip.ours) return;
  ++vip.conflicts;
  ++conflicts_;
  if (vip.warned == Clock::time_point{} || now.steady - vip.warned > warning_interval) {
    vip.warned = now.steady;
    news_.push_back({News::Kind::Conflict, address,
                     fmt::format("{} claims it, too: {}", net::to_string(mac),
                                 vip.behind_dead ? "a node that counts as dead here comes before this one"
                                                 : "this router is the first of those that may, and stays")});
  }
  if (vip.behind_dead && now.steady - vip.owned_since > conflict_patience) {
    vip.gave_way = true;
    given_way_.insert(address);
    vip.last_probe = now.steady;
    vip.note = "another router claims it";
    give_up(address, vip, fmt::format("{} claims it and comes before this router", net::to_string(mac)), now);
    return;
  }
  if (now.steady - vip.defended < defence_interval) return;
  vip.defended = now.steady;
  announce(address, vip);
}

std::vector<Announcer::Announced> Announcer::tick(const Config& config, const Sources& sources, Now now) {
  std::vector<Announced> questions;
  const std::set<IpAddr> given_way = given_way_;
  for (const IpAddr& address : given_way) {
    Vip& vip = vips_.at(address);
    if (now.steady - vip.last_probe < probe_interval) continue;
    vip.last_probe = now.steady;
    if (vip.unanswered++ < silent_probes) {
      for (const std::string& interface : vip.interfaces) questions.push_back({address, interface, false});
      continue;
    }
    vip.unanswered = 0;
    changed_ = true;
    vip.gave_way = false;
    given_way_.erase(address);
    decide(config, address, vip, sources, now);
  }
  return questions;
}

std::vector<Announcer::Announced> Announcer::announced() const {
  std::vector<Announced> out;
  for (const auto& [address, vip] : vips_) {
    if (!vip.ours && !vip.gave_way) continue;
    for (const std::string& interface : vip.interfaces) out.push_back({address, interface, vip.ours});
  }
  return out;
}

std::vector<L2Entry> Announcer::entries() const {
  std::vector<L2Entry> out;
  for (const auto& [address, vip] : vips_) {
    if (vip.owner.empty() && vip.note.empty()) continue;  // nothing announces it
    L2Entry entry{.address = address, .owner = vip.owner, .ours = vip.ours, .note = vip.note};
    for (const ObjectName& name : vip.services) entry.services.push_back(name.text());
    if (vip.ours) entry.interfaces = vip.interfaces;
    entry.since_seconds = std::chrono::duration<double>(vip.since.time_since_epoch()).count();
    entry.conflicts = vip.conflicts;
    entry.claimed_by = vip.claimed_by;
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace sluice::control
