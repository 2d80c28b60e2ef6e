#include "control/bgp_plan.h"

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <string_view>
#include <tuple>

#include <fmt/format.h>

#include "control/bgp_metallb.h"
#include "control/ipam_choice.h"

namespace sluice::control {
namespace {

using config::AsNumber;
using config::BgpConfiguration;
using config::BgpPeer;
using config::Config;
using config::Node;
using net::Family;
using net::IpAddr;
using net::Prefix;

constexpr size_t longest_name = 60;  // BIRD's symbols have at most 64 characters

// Where Calico's own daemon has its passwords, in this order. Who may make Secrets elsewhere has no say in BGP.
constexpr std::array<std::string_view, 2> secret_namespaces{"calico-system", "kube-system"};
using SecretNamespaces = std::span<const std::string_view>;

// Unique as what it is made of; long ones keep their beginning and get a number made of the whole. Names of objects
// have no ":" and no "_", which BIRD's symbols may have.
std::string protocol_name(const std::string& name) {
  if (name.size() <= longest_name) return name;
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{}_{:016x}", name.substr(0, longest_name - 17), hash);
}

// How specific a BGPPeer is about who has it.
int rank(const BgpPeer& peer) { return !peer.node.empty() ? 0 : peer.node_selector ? 1 : 2; }

bool applies(const BgpPeer& peer, const Node& node) {
  if (!peer.node.empty()) return peer.node == node.name;
  return !peer.node_selector || peer.node_selector->matches(node.labels);
}

class BgpPlanner {
 public:
  BgpPlanner(const Config& config, const Allocated& allocated, const BgpServices& services)
      : config_(config), gateway_(config.gateway), allocated_(allocated), services_(services) {
    const auto own = config.nodes.find(gateway_.node_name);
    own_ = own == config.nodes.end() ? Node{.name = gateway_.node_name} : own->second;
    if (const auto found = config.bgp_configurations.find("default"); found != config.bgp_configurations.end())
      default_ = found->second;
    if (const auto found = config.bgp_configurations.find("node." + gateway_.node_name);
        found != config.bgp_configurations.end())
      of_node_ = found->second;
  }

  BgpPlan make() {
    set_speaker();
    add_peers();
    add_metallb_peers();
    add_mesh();
    std::sort(plan_.sessions.begin(), plan_.sessions.end(),
              [](const BgpSession& a, const BgpSession& b) { return a.name < b.name; });
    add_blocks();
    add_pools();
    add_services();
    add_communities();
    add_advertised(config_, services_, plan_);
    return std::move(plan_);
  }

 private:
  void set_speaker();
  void add_peers();
  void add_peer(const BgpPeer& peer);
  void add_node_session(const BgpPeer& peer, const Node& node);
  void add_metallb_peers();
  void add_mesh();
  void add(BgpSession session, const std::optional<config::SecretKeyRef>& password,
           SecretNamespaces namespaces = secret_namespaces);
  [[nodiscard]] BgpSession session_with(const IpAddr& peer, AsNumber as_number) const;
  [[nodiscard]] BgpSession session_of(const BgpPeer& peer, const IpAddr& address, AsNumber as_number) const;
  void add_blocks();
  void add_block(const Prefix& block, const char* reason);
  void add_borrowed();
  void add_pools();
  void add_services();
  void add_communities();

  [[nodiscard]] std::optional<IpAddr> own_address(Family family) const;
  [[nodiscard]] bool is_own_address(const IpAddr& address) const;
  [[nodiscard]] bool is_connected(const IpAddr& address) const;
  [[nodiscard]] AsNumber as_of(const Node& node) const {
    return node.as_number.value_or(default_.as_number.value_or(config::default_as_number));
  }
  // Where a node listens.
  [[nodiscard]] uint16_t port_of(const Node& node) const;
  [[nodiscard]] const config::IpPool* pool_of(const Prefix& prefix) const;
  [[nodiscard]] const Node* node_at(const IpAddr& address) const;
  [[nodiscard]] const std::string* secret(const config::SecretKeyRef& ref, SecretNamespaces namespaces) const;

  const Config& config_;
  const config::Gateway& gateway_;
  const Allocated& allocated_;
  const BgpServices& services_;
  Node own_;
  BgpConfiguration default_, of_node_;
  std::map<std::pair<IpAddr, uint16_t>, std::string> taken_;  // peers, and the objects that named them
  BgpPlan plan_;
};

std::optional<IpAddr> BgpPlanner::own_address(Family family) const {
  if (const auto underlay = own_.underlay(family)) return underlay;
  for (const config::Interface& interface : gateway_.interfaces) {
    if (interface.role != config::InterfaceRole::Uplink) continue;
    for (const Prefix& address : interface.addresses) {
      if (address.family() == family && !address.addr.is_link_local()) return address.addr;
    }
  }
  return std::nullopt;
}

bool BgpPlanner::is_own_address(const IpAddr& address) const {
  for (const config::Interface& interface : gateway_.interfaces) {
    for (const Prefix& own : interface.addresses) {
      if (own.addr == address) return true;
    }
  }
  return own_.underlay(address.family()) == address;
}

bool BgpPlanner::is_connected(const IpAddr& address) const {
  return std::any_of(gateway_.interfaces.begin(), gateway_.interfaces.end(), [&](const config::Interface& interface) {
    return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                       [&](const Prefix& own) { return !own.is_host() && own.contains(address); });
  });
}

uint16_t BgpPlanner::port_of(const Node& node) const {
  const auto of_node = config_.bgp_configurations.find("node." + node.name);
  const bool said = of_node != config_.bgp_configurations.end() && of_node->second.listen_port;
  return said ? *of_node->second.listen_port : default_.listen_port.value_or(config::bgp_port);
}

const config::IpPool* BgpPlanner::pool_of(const Prefix& prefix) const {
  const auto found = std::find_if(config_.pools.begin(), config_.pools.end(),
                                  [&](const auto& entry) { return entry.second.cidr.contains(prefix); });
  return found == config_.pools.end() ? nullptr : &found->second;
}

const Node* BgpPlanner::node_at(const IpAddr& address) const {
  const auto found = std::find_if(config_.nodes.begin(), config_.nodes.end(), [&](const auto& entry) {
    return entry.second.underlay(address.family()) == address;
  });
  return found == config_.nodes.end() ? nullptr : &found->second;
}

const std::string* BgpPlanner::secret(const config::SecretKeyRef& ref, SecretNamespaces namespaces) const {
  for (const std::string_view space : namespaces) {
    const auto found = config_.secrets.find({std::string(space), ref.name});
    if (found == config_.secrets.end()) continue;
    const auto value = found->second.data.find(ref.key);
    if (value != found->second.data.end()) return &value->second;
  }
  return nullptr;
}

void BgpPlanner::set_speaker() {
  plan_.as_number = as_of(own_);
  plan_.listen_port = port_of(own_);
  plan_.bind_to_source = default_.bind_to_node_ip;
  plan_.ignored_interfaces = default_.ignored_interfaces;
  plan_.cluster_id = own_.cluster_id;
  plan_.max_prefixes = gateway_.bgp.max_prefixes;
  plan_.allow_default_route = gateway_.bgp.allow_default_route;
  plan_.bfd = gateway_.bgp.bfd;
  if (gateway_.bgp.router_id) {
    plan_.router_id = *gateway_.bgp.router_id;
  } else if (const auto address = own_address(Family::V4)) {
    plan_.router_id = address->v4();
  } else {
    plan_.warnings.emplace_back("BGP has no router id: set spec.bgp.routerID, as this router has no IPv4 address");
  }
}

BgpSession BgpPlanner::session_with(const IpAddr& peer, AsNumber as_number) const {
  BgpSession session;
  session.peer = peer;
  session.peer_as = as_number;
  session.local_as = plan_.as_number;
  session.source = own_address(peer.family());
  return session;
}

void BgpPlanner::add(BgpSession session, const std::optional<config::SecretKeyRef>& password,
                     SecretNamespaces namespaces) {
  if (is_own_address(session.peer)) return;
  const auto named = taken_.lower_bound({session.peer, 0});  // at any port
  if (session.kind == BgpSession::Kind::Mesh && named != taken_.end() && named->first.first == session.peer) return;
  const auto [first, fresh] = taken_.try_emplace({session.peer, session.peer_port}, session.object);
  if (!fresh) {
    const bool both_peers = session.kind != BgpSession::Kind::Mesh && first->second != session.object;
    if (both_peers) {
      plan_.warnings.push_back(fmt::format("{} has no session with {}: {} has it", session.object,
                                           net::to_string(session.peer), first->second));
    }
    return;
  }
  const auto leave_out = [&](const std::string& why) {
    plan_.warnings.push_back(
        fmt::format("{} has no session with {}: {}", session.object, net::to_string(session.peer), why));
  };
  if (password) {
    const std::string* text = secret(*password, namespaces);
    if (text == nullptr) {
      return leave_out(fmt::format("there is no Secret {} with the key {} and at most {} bytes in the namespace {}",
                                   password->name, password->key, config::Secret::longest_value,
                                   fmt::join(namespaces, " or ")));
    }
    if (text->empty())
      return leave_out(fmt::format("BIRD cannot be told the password in Secret {}, which is empty", password->name));
    session.password = *text;
  }
  const bool writable = std::none_of(session.password.begin(), session.password.end(),
                                     [](unsigned char c) { return c < ' ' || c == '"' || c == 0x7f; });
  if (!writable) {
    return leave_out(
        fmt::format("BIRD cannot be told the password{}, which has a \" or a control character (such as a line end) in "
                    "it",
                    password ? " in Secret " + password->name : ""));
  }
  for (const std::string& name : session.filters) {
    const auto filter = config_.bgp_filters.find(name);
    if (filter == config_.bgp_filters.end()) return leave_out(fmt::format("there is no BGPFilter {}", name));
    plan_.filters.insert(*filter);
  }
  session.name = protocol_name(session.name);
  // BIRD refuses BFD between more than neighbours where it would have to find its own address.
  const bool wants_bfd = plan_.bfd || session.bfd_profile;
  session.bfd = wants_bfd && (session.on_link || session.source);
  if (wants_bfd && !session.bfd) {
    plan_.warnings.push_back(
        fmt::format("{} has a session with {} without BFD: BIRD wants to be told our address for it (sourceAddress "
                    "UseNodeIP, and a Node with an address of that family)",
                    session.object, net::to_string(session.peer)));
  }
  plan_.sessions.push_back(std::move(session));
}

BgpSession BgpPlanner::session_of(const BgpPeer& peer, const IpAddr& address, AsNumber as_number) const {
  BgpSession session = session_with(address, as_number);
  session.kind = rank(peer) == 2 ? BgpSession::Kind::GlobalPeer : BgpSession::Kind::NodePeer;
  session.name = "peer." + peer.name;
  session.object = "BGPPeer " + peer.name;
  if (peer.local_as_number) session.local_as = *peer.local_as_number;
  if (!peer.use_node_ip) session.source.reset();
  session.hops = peer.ttl_security.value_or(0);
  session.on_link = is_connected(address) && session.hops <= 1;
  session.next_hop = peer.next_hop;
  session.restart_time = peer.max_restart_time.value_or(session.restart_time);
  session.keepalive = peer.keepalive_time;
  session.allowed_local_as = peer.allowed_local_as;
  session.reachable_by = peer.reachable_by;
  session.filters = peer.filters;
  const Node* node = node_at(address);
  const bool same_cluster = node != nullptr && node->cluster_id && node->cluster_id == own_.cluster_id;
  session.route_reflector_client = own_.cluster_id.has_value() && !session.external() && !same_cluster;
  return session;
}

void BgpPlanner::add_node_session(const BgpPeer& peer, const Node& node) {
  for (const Family family : {Family::V4, Family::V6}) {
    const auto address = node.underlay(family);
    if (!address || !own_address(family)) continue;
    BgpSession session = session_of(peer, *address, as_of(node));
    session.peer_port = port_of(node);
    session.name += ":" + node.name + (family == Family::V6 ? ":v6" : "");
    add(std::move(session), peer.password);
  }
}

void BgpPlanner::add_peer(const BgpPeer& peer) {
  const bool ours = applies(peer, own_);
  if (peer.peer_ip) {
    if (!ours) return;
    BgpSession session = session_of(peer, *peer.peer_ip, peer.as_number);
    session.peer_port = peer.peer_port;
    return add(std::move(session), peer.password);
  }
  if (!peer.peer_selector) return;
  const bool selected = peer.peer_selector->matches(own_.labels);
  for (const auto& [name, node] : config_.nodes) {
    if (name == own_.name) continue;
    const bool there = ours && peer.peer_selector->matches(node.labels);
    const bool back = selected && applies(peer, node);
    if (there || back) add_node_session(peer, node);
  }
}

void BgpPlanner::add_peers() {
  std::vector<const BgpPeer*> peers;
  for (const auto& [name, peer] : config_.bgp_peers) peers.push_back(&peer);
  std::stable_sort(peers.begin(), peers.end(), [](const BgpPeer* a, const BgpPeer* b) { return rank(*a) < rank(*b); });
  for (const BgpPeer* peer : peers) add_peer(*peer);
}

void BgpPlanner::add_metallb_peers() {
  for (const auto& [name, peer] : config_.metallb_peers) {
    if (!peer.address || !peer.unusable.empty() || !any_matches(peer.node_selectors, own_.labels)) continue;
    BgpSession session = metallb_session(peer, session_with(*peer.address, peer.peer_as));
    session.on_link = is_connected(*peer.address);
    if (session.on_link && !peer.source) session.source.reset();  // the kernel has the right one
    if (!peer.bfd_profile.empty()) {
      const auto profile = config_.bfd_profiles.find({name.ns, peer.bfd_profile});
      if (profile == config_.bfd_profiles.end()) {
        plan_.warnings.push_back(fmt::format("{} has no session with {}: there is no BFDProfile {} in namespace {}",
                                             session.object, net::to_string(*peer.address), peer.bfd_profile, name.ns));
        continue;
      }
      session.bfd_profile = profile->second;
    }
    const std::array<std::string_view, 1> namespaces{peer.password_namespace};
    add(std::move(session), peer.password_secret, namespaces);
  }
}

void BgpPlanner::add_mesh() {
  if (!default_.mesh.value_or(true) || own_.cluster_id) return;
  for (const auto& [name, node] : config_.nodes) {
    if (name == own_.name || node.cluster_id) continue;
    for (const Family family : {Family::V4, Family::V6}) {
      const auto address = node.underlay(family);
      if (!address || !own_address(family)) continue;
      BgpSession session = session_with(*address, as_of(node));
      session.peer_port = port_of(node);
      session.name = "mesh." + name + (family == Family::V6 ? ":v6" : "");
      session.object = "Node " + name;
      session.restart_time = default_.mesh_restart_time.value_or(session.restart_time);
      add(std::move(session), default_.mesh_password);
    }
  }
}

void BgpPlanner::add_block(const Prefix& block, const char* reason) {
  if (!block.is_host()) plan_.own_blocks.insert(block);
  const config::IpPool* pool = pool_of(block);
  if (block.length == 0 || (pool != nullptr && pool->disable_bgp_export)) return;
  plan_.origins[block].reasons.emplace(reason);
}

void BgpPlanner::add_blocks() {
  static constexpr const char* reason = "block of this node";
  bool any = false;
  for (const auto& [name, block] : config_.blocks) {
    if (!block.confirmed || block.node != own_.name) continue;
    any = true;
    add_block(block.cidr, reason);
  }
  for (const config::BlockAffinity& block : allocated_.blocks) {
    if (block.node != own_.name || ipam::other_owner(config_, block.cidr, block.node) != nullptr) continue;
    any = true;
    add_block(block.cidr, reason);
  }
  if (!any) {
    for (const Prefix& cidr : own_.pod_cidrs) add_block(cidr, "podCIDRs of this node");
  }
  add_borrowed();
}

// BGP-2: a pod of ours with an address out of another node's block.
void BgpPlanner::add_borrowed() {
  for (const auto& [name, workload] : config_.workloads) {
    if (workload.node != own_.name) continue;
    for (const IpAddr& address : workload.addresses) {
      const bool inside = std::any_of(plan_.own_blocks.begin(), plan_.own_blocks.end(),
                                      [&](const Prefix& block) { return block.contains(address); });
      if (!inside && pool_of(Prefix::host(address)) != nullptr) add_block(Prefix::host(address), "borrowed address");
    }
  }
}

void BgpPlanner::add_pools() {
  for (const auto& [name, pool] : config_.pools) {
    (pool.disable_bgp_export ? plan_.silent_pools : plan_.pools).insert(pool.cidr);
  }
}

void BgpPlanner::add_services() {
  if (!excluded_from_load_balancers(config_)) {
    for (const ServiceRange& range : service_ranges(config_)) {
      if (range.aggregated) plan_.origins[range.cidr].reasons.emplace("BGPConfiguration default");
    }
  }
  for (const auto& [prefix, names] : services_.prefixes()) {
    BgpOrigin& origin = plan_.origins[prefix];
    for (const config::ObjectName& name : names) origin.reasons.insert("Service " + name.text());
  }
}

void BgpPlanner::add_communities() {
  const BgpConfiguration& from = of_node_.prefix_advertisements.empty() ? default_ : of_node_;
  for (const config::PrefixAdvertisement& advertisement : from.prefix_advertisements) {
    std::set<config::BgpCommunity> communities;
    for (const std::string& text : advertisement.communities) {
      const auto named = from.communities.find(text);
      if (named != from.communities.end()) {
        communities.insert(named->second);
      } else if (const auto value = config::parse_bgp_community(text)) {
        communities.insert(*value);
      }
    }
    for (auto at = plan_.origins.begin(); at != plan_.origins.end(); ++at) {
      if (advertisement.cidr.contains(at->first)) at->second.communities.insert(communities.begin(), communities.end());
    }
  }
}

}  // namespace

bool concerns_bgp_plan(const config::Change& change, const Config& config) {
  // What BgpPlanner and Advertiser read.
  static constexpr std::array<std::string_view, 12> kinds{
      "BFDProfile", "BGPAdvertisement",     "BGPConfiguration", "BGPFilter", "BGPPeer", "BlockAffinity", "Community",
      "Node",       "GatewayConfiguration", "IPAddressPool",    "IPPool",    "Secret"};
  if (!change.blocks.empty()) return true;  // IPAMBlocks'
  const std::string& own = config.gateway.node_name;
  return std::any_of(change.touched.begin(), change.touched.end(), [&](const config::Change::Touched& touched) {
    if (!touched.effective) return false;
    if (touched.key.kind != "WorkloadEndpoint") {
      return std::find(kinds.begin(), kinds.end(), touched.key.kind) != kinds.end();
    }
    const auto now = config.workloads.find({touched.key.ns, touched.key.name});
    return touched.node == own || (now != config.workloads.end() && now->second.node == own);
  });
}

BgpPlan make_bgp_plan(const Config& config, const Allocated& allocated, const BgpServices& services) {
  return BgpPlanner(config, allocated, services).make();
}

std::vector<Prefix> announced_service_networks(const Config& config) {
  std::vector<Prefix> out;
  if (config.gateway.bgp.engine == config::BgpEngine::None || excluded_from_load_balancers(config)) return out;
  for (const ServiceRange& range : service_ranges(config)) {
    if (range.aggregated) out.push_back(range.cidr);
  }
  for (const Prefix& network : aggregated_networks(config)) out.push_back(network);
  return out;
}

}  // namespace sluice::control
