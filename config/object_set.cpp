#include "config/object_set.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_set>
#include <utility>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "config/json_memory.h"
#include "config/json_reader.h"
#include "config/rules.h"
#include "config/secret.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

// The object without the notes of API servers and clients, a Secret also without its secrets.
std::string canonical_text(RawObject&& raw) {
  json::object& object = *raw.value.if_object();
  bool whole = true;
  const auto leave_out = [&whole](json::object& from, std::string_view field) {
    whole = from.erase(field) == 0 && whole;
  };
  if (json::value* metadata = object.if_contains("metadata"); metadata != nullptr && metadata->is_object()) {
    json::object& fields = metadata->get_object();
    leave_out(fields, "managedFields");
    if (json::value* annotations = fields.if_contains("annotations");
        annotations != nullptr && annotations->is_object())
      leave_out(annotations->get_object(), "kubectl.kubernetes.io/last-applied-configuration");
  }
  if (raw.key.kind == "Secret") whole = !strip_secret(object) && whole;
  return whole && !raw.text.empty() ? std::string(raw.text) : json::serialize(raw.value);
}

bool exists(const json::value& object, const std::string& pointer) {
  json::error_code error;
  return object.find_pointer(pointer, error) != nullptr;
}

// Rules speak of the full form of a field; an object may use the short one.
void use_short_form(const std::string& text, Fault& fault) {
  static constexpr std::string_view first_cluster_ip = "/spec/clusterIPs/0";
  static constexpr std::string_view first_hop = "/nextHops/0";
  static constexpr std::string_view first_hop_dotted = ".nextHops[0]";
  if (fault.kind == "Service" && fault.pointer == first_cluster_ip) {
    if (exists(read_canonical(text), "/spec/clusterIPs")) return;
    fault.pointer = "/spec/clusterIP";
    fault.path = "spec.clusterIP";
  } else if (const size_t hop = fault.pointer.find(first_hop);
             fault.kind == "GatewayConfiguration" && hop != std::string::npos) {
    if (exists(read_canonical(text), fault.pointer.substr(0, hop) + "/nextHops")) return;
    fault.pointer.erase(hop, first_hop.size());
    const size_t dotted = fault.path.find(first_hop_dotted);
    if (dotted != std::string::npos) fault.path.erase(dotted, first_hop_dotted.size());
  }
}

std::string name_in_faults(const ObjectKey& key) { return key.ns.empty() ? key.name : key.ns + "/" + key.name; }

// What Change::Touched::moved says of the old and the new value of an object.
bool moved(const Typed& before, const Typed& after) {
  const auto addresses = [](const Service& service) {
    return std::tie(service.proxied, service.cluster_ips, service.external_ips, service.load_balancer_ips);
  };
  if (const auto* service = std::get_if<Service>(&before)) {
    const auto& now = std::get<Service>(after);
    // Ways to its endpoints are routing, too.
    return addresses(*service) != addresses(now) || service->forwarding == Forwarding::Dsr ||
           now.forwarding == Forwarding::Dsr;
  }
  if (const auto* slice = std::get_if<EndpointSlice>(&before)) {
    return slice->service != std::get<EndpointSlice>(after).service;
  }
  const auto network = [](const Node& node) {
    return std::tie(node.internal_ips, node.external_ips, node.bgp_ipv4, node.bgp_ipv6, node.vxlan_tunnel_ipv4,
                    node.ipip_tunnel_ipv4, node.vxlan_mac, node.pod_cidrs, node.vxlan_tunnel_ipv6, node.vxlan_mac_v6);
  };
  if (const auto* node = std::get_if<Node>(&before)) return network(*node) != network(std::get<Node>(after));
  return true;
}

// The first eight characters, such that their order is that of texts in which they differ.
uint64_t beginning_of(std::string_view text) {
  uint64_t out = 0;
  for (size_t i = 0; i < sizeof out; ++i) out = out << 8 | (i < text.size() ? static_cast<uint8_t>(text[i]) : 0);
  return out;
}

// Objects in the order of their keys. What mostly decides stands side by side, so that tens of thousands of them need
// not be looked at each time that two are compared.
template <class Objects>
void sort_by_key(Objects& objects) {
  struct Place {
    size_t kind = 0;  // in the order of names
    uint64_t ns = 0;
    uint64_t name = 0;
    bool whole_ns = false;
    typename Objects::value_type object;
  };
  static const std::vector<std::string_view> kinds = [] {
    std::vector<std::string_view> names;
    for (const Kind& kind : all_kinds()) names.push_back(kind.name);
    std::sort(names.begin(), names.end());
    return names;
  }();
  if (objects.size() < 2) return;
  std::vector<Place> places;
  places.reserve(objects.size());
  for (auto& object : objects) {
    const ObjectKey& key = object->key;
    const auto kind = std::lower_bound(kinds.begin(), kinds.end(), std::string_view(key.kind)) - kinds.begin();
    places.push_back({static_cast<size_t>(kind), beginning_of(key.ns), beginning_of(key.name),
                      key.ns.size() <= sizeof(uint64_t), std::move(object)});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    if (a.kind != b.kind) return a.kind < b.kind;
    if (a.ns != b.ns) return a.ns < b.ns;
    if (a.whole_ns && b.whole_ns && a.name != b.name) return a.name < b.name;
    return a.object->key < b.object->key;
  });
  for (size_t i = 0; i < places.size(); ++i) objects[i] = std::move(places[i].object);
}

bool by_key(const Change::Touched& a, const Change::Touched& b) { return a.key < b.key; }

// Costs one comparison where the key is the last one.
template <class Map, class Value>
void put(Map& map, const typename Map::key_type& key, Value&& value) {
  map.insert_or_assign(map.end(), key, std::forward<Value>(value));
}

}  // namespace

bool Change::effective() const {
  return std::any_of(touched.begin(), touched.end(), [](const Touched& one) { return one.effective; });
}

bool Change::touches(std::string_view kind) const {
  return std::any_of(touched.begin(), touched.end(),
                     [&](const Touched& one) { return one.effective && one.key.kind == kind; });
}

bool Change::touches(const ObjectKey& key) const {
  const auto found = std::lower_bound(touched.begin(), touched.end(), key,
                                      [](const Touched& one, const ObjectKey& wanted) { return one.key < wanted; });
  return found != touched.end() && found->key == key && found->effective;
}

void append(Change& change, const Change& further) {
  change.blocks.insert(further.blocks.begin(), further.blocks.end());
  change.touched.reserve(change.touched.size() + further.touched.size());
  for (const Change::Touched& touched : further.touched) {
    change.touched.push_back(
        {touched.key, touched.action, touched.effective, {}, touched.moved, touched.service, touched.node});
  }
  if (!std::is_sorted(change.touched.begin(), change.touched.end(), by_key)) {
    std::stable_sort(change.touched.begin(), change.touched.end(), by_key);
  }
}

void mark_services(Change& change, const std::vector<ObjectName>& names) {
  if (names.empty()) return;
  std::vector<Change::Touched> more;
  for (const ObjectName& name : names) {
    const ObjectKey key{"Service", name.ns, name.name};
    const auto found = std::lower_bound(change.touched.begin(), change.touched.end(), key,
                                        [](const auto& one, const ObjectKey& wanted) { return one.key < wanted; });
    if (found == change.touched.end() || found->key != key) {
      more.push_back({key, Change::Action::Replaced, true, {}});
    } else {
      found->effective = found->moved = true;
    }
  }
  change.touched.insert(change.touched.end(), more.begin(), more.end());
  std::sort(change.touched.begin(), change.touched.end(), by_key);
}

ObjectSet::Converted ObjectSet::convert_one(RawObject&& raw, const std::string* stored, Findings& findings) {
  Findings own;
  own.max_faults = findings.max_faults;
  restore_hidden(raw, stored, own);
  Typed typed = convert(raw, own);
  Converted out{raw.key, {}, std::move(typed)};
  out.stored.kind = raw.kind;
  out.stored.location = raw.location;
  out.faulty = own.any_fault();
  out.stored.warnings = std::move(own.warnings);
  own.warnings.clear();
  findings.append(std::move(own));
  out.stored.text = canonical_text(std::move(raw));
  return out;
}

ObjectSet::Upsert ObjectSet::convert_all(std::vector<RawObject>&& objects, Findings& findings) const {
  Upsert out;
  out.reserve(objects.size());
  for (RawObject& raw : objects) {
    const std::string* stored = text_of(raw.key);
    out.push_back(std::make_unique<Converted>(convert_one(std::move(raw), stored, findings)));
  }
  objects.clear();
  return out;
}

// Exactly one GatewayConfiguration remains.
void ObjectSet::check_gateways(Upsert& upsert, const std::vector<Deletion>& remove, Findings& findings) const {
  static const std::string kind = "GatewayConfiguration";
  std::set<ObjectKey> gateways;
  for (auto at = objects_.lower_bound({kind, "", ""}); at != objects_.end() && at->first.kind == kind; ++at) {
    gateways.insert(at->first);
  }
  for (const Deletion& deletion : remove) gateways.erase(deletion.key);
  for (const auto& each : upsert) {
    Converted& converted = *each;
    if (converted.key.kind != kind || !gateways.insert(converted.key).second || gateways.size() == 1) continue;
    Report(findings, {kind, "", converted.key.name, converted.stored.location})
        .fault(Path::of("metadata", "name"), "there is another GatewayConfiguration; exactly one is allowed");
    converted.surplus = true;
  }
  const auto about_gateway = [&](const Fault& fault) { return fault.kind == kind; };
  if (gateways.empty() && std::none_of(findings.faults.begin(), findings.faults.end(), about_gateway)) {
    Report(findings, {kind}).fault({}, "exactly one GatewayConfiguration is required, found none");
  }
}

Result<ObjectSet, ParseFailure> ObjectSet::from_document(Document&& document, Rules rules) {
  ObjectSet set;
  Delta whole;
  whole.upsert = std::move(document.objects);
  whole.findings = std::move(document.findings);
  auto change = set.apply(std::move(whole), rules);
  if (!change) return change.error();
  set.document_warnings_ = std::move(change->warnings);
  return set;
}

Result<Change, ParseFailure> ObjectSet::apply(Delta&& delta, Rules rules) {
  Findings findings = std::move(delta.findings);
  Upsert upsert;
  try {
    upsert = convert_all(std::move(delta.upsert), findings);
  } catch (const TooLarge& problem) {
    return ParseFailure{SyntaxError{0, 1, 1, problem.what()}, {}};
  }
  // The rules do not end halfway.
  const MemoryScope without_limit(std::make_shared<MemoryBudget>(SIZE_MAX));
  return apply(std::move(upsert), std::move(delta.remove), std::move(findings), rules);
}

Result<ObjectSet::Replacement, ParseFailure> ObjectSet::prepare(std::string_view text, const Options& options) const {
  Replacement out;
  std::unordered_set<const ObjectKey*> named;
  Upsert read;
  std::vector<size_t> taken;
  const auto known = [&](Digest digest) {
    const auto found = by_digest_.find(digest);
    return found == by_digest_.end() ? nullptr : found->second;
  };
  const auto begin = [&](size_t count) { read.resize(count); };
  const auto convert = [&](size_t index, RawObject&& raw, Digest digest, Findings& findings) -> const ObjectKey* {
    const std::string* stored = text_of(raw.key);
    read[index] = std::make_unique<Converted>(convert_one(std::move(raw), stored, findings));
    read[index]->stored.digest = digest;
    return &read[index]->key;
  };
  const auto keep = [&](const ObjectKey& key, std::string location) {
    named.insert(&key);
    out.known_.push_back({&key, std::move(location)});
  };
  const auto take = [&](size_t index) { taken.push_back(index); };
  out.findings_.max_faults = options.max_faults;
  if (auto failure = read_document(text, options, {begin, known, convert, keep, take}, out.findings_)) {
    return *std::move(failure);
  }
  out.upsert_.reserve(taken.size());
  for (const size_t index : taken) {
    if (const auto found = objects_.find(read[index]->key); found != objects_.end()) named.insert(&found->first);
    out.upsert_.push_back(std::move(read[index]));
  }
  for (const auto& [key, stored] : objects_) {
    if (!named.contains(&key)) out.remove_.push_back({key, ""});
  }
  return out;
}

Result<Change, ParseFailure> ObjectSet::apply(Replacement&& replacement, Rules rules) {
  for (Replacement::Known& known : replacement.known_) {
    Stored& stored = objects_.find(*known.key)->second;
    stored.location = std::move(known.location);
    stored.document = document_ + 1;
  }
  const bool fresh = objects_.empty();
  by_digest_.reserve(replacement.known_.size() + replacement.upsert_.size());
  auto change =
      apply(std::move(replacement.upsert_), std::move(replacement.remove_), std::move(replacement.findings_), rules);
  if (change) {
    document_warnings_ = std::move(change->warnings);
    change->warnings.clear();
  } else if (fresh) {
    *this = ObjectSet();
  }
  return change;
}

Result<Change, ParseFailure> ObjectSet::apply(Upsert&& upsert, std::vector<Deletion>&& remove, Findings&& findings,
                                              Rules rules) {
  ++document_;
  check_gateways(upsert, remove, findings);
  const bool sound = !findings.any_fault();
  if (!sound && rules == nullptr) return ParseFailure{std::nullopt, findings.take_faults()};
  std::set<std::pair<std::string, std::string>> faulty;
  if (!sound) {
    for (const auto& object : upsert) {
      if (object->faulty) faulty.emplace(object->key.kind, name_in_faults(object->key));
    }
    // Without its gateway nothing else makes sense, so that one stays as far as it could be read.
    std::erase_if(upsert, [](const auto& object) {
      return object->surplus || (object->faulty && object->stored.kind->use != KindUse::Gateway);
    });
  }

  Findings between;
  between.max_faults = findings.max_faults;
  Change change = commit(std::move(upsert), remove, findings);
  if (rules != nullptr) between.faults = rules(*this, change);
  if (sound && !between.any_fault()) return change;
  revert(std::move(change));
  // What is said of an object that could not be read may only follow from that.
  std::erase_if(between.faults, [&](const Fault& fault) { return faulty.contains({fault.kind, fault.name}); });
  findings.append(std::move(between));
  return ParseFailure{std::nullopt, findings.take_faults()};
}

Change ObjectSet::commit(Upsert&& upsert, const std::vector<Deletion>& remove, Findings& findings) {
  Change change;
  for (const Deletion& deletion : remove) {
    const auto found = objects_.find(deletion.key);
    if (found == objects_.end()) {
      Report(findings, {deletion.key.kind, deletion.key.ns, deletion.key.name, deletion.location})
          .warn({}, "nothing to delete");
      continue;
    }
    const bool used = found->second.kind->use != KindUse::Kept;
    change.touched.push_back({deletion.key, Change::Action::Removed, used, std::move(found->second.text)});
    note_owner(change.touched.back(), found->second.kind->use);
    erase(deletion.key);
  }
  // In the order of keys, so that what is new in sorted maps finds its place at their ends.
  sort_by_key(upsert);
  change.touched.reserve(change.touched.size() + upsert.size());
  const bool first = objects_.empty();
  for (auto& each : upsert) {
    Converted& object = *each;
    const auto found = first ? objects_.end() : objects_.find(object.key);
    const KindUse use = object.stored.kind->use;
    if (auto* service = std::get_if<Service>(&object.typed)) apply_given(*service);
    if (found == objects_.end()) {
      change.touched.push_back({object.key, Change::Action::Added, use != KindUse::Kept, {}});
    } else if (found->second.text != object.stored.text) {
      const Typed before = typed_of(object.key, use);
      change.touched.push_back({object.key, Change::Action::Replaced, before != object.typed,
                                std::move(found->second.text), moved(before, object.typed)});
      note_owner(change.touched.back(), use);
    }
    object.stored.document = document_;
    install(std::move(object));
    each.reset();
  }
  if (!std::is_sorted(change.touched.begin(), change.touched.end(), by_key)) {
    std::sort(change.touched.begin(), change.touched.end(), by_key);
  }
  if (change.touches("GatewayConfiguration") || change.touches("ServiceCIDR") || change.touches("FelixConfiguration")) {
    refresh_gateway();
  }
  change.blocks = ipam_blocks_.settle(config_.blocks, &owners_);
  change.warnings = std::move(findings.warnings);
  return change;
}

void ObjectSet::revert(Change&& change) {
  Findings ignored;
  for (Change::Touched& touched : change.touched) {
    if (touched.action == Change::Action::Added) {
      erase(touched.key);
      continue;
    }
    json::value value = read_canonical(touched.before);
    const json::value* version = value.is_object() ? value.get_object().if_contains("apiVersion") : nullptr;
    const json::string* text = version == nullptr ? nullptr : version->if_string();
    const Kind* kind = text == nullptr ? nullptr : find_kind(touched.key.kind, std::string_view(*text));
    if (kind != nullptr) install(convert_one({touched.key, kind, std::move(value), ""}, nullptr, ignored));
  }
  refresh_gateway();
  (void)ipam_blocks_.settle(config_.blocks, &owners_);
  change = {};
}

// A copy of what the object says; std::monostate for kinds without use.
Typed ObjectSet::typed_of(const ObjectKey& key, KindUse use) const {
  switch (use) {
    case KindUse::Gateway:
      return gateway_;
    case KindUse::Node:
      return config_.nodes.at(key.name);
    case KindUse::Service:
      return config_.services.at({key.ns, key.name});
    case KindUse::EndpointSlice:
      return config_.slices.at({key.ns, key.name});
    case KindUse::Pod:
      if (const auto found = config_.pods.find({key.ns, key.name}); found != config_.pods.end()) return found->second;
      return Pod{.name = {key.ns, key.name}};
    case KindUse::IpPool:
      return config_.pools.at(key.name);
    case KindUse::Ipam:
      return config_.ipam;
    case KindUse::BlockAffinity:
      return ipam_blocks_.affinity(key.name, config_.blocks);
    case KindUse::IpamBlock:
      return ipam_blocks_.block(key.name);
    case KindUse::ServiceCidr:
      return ServiceCidr{key.name, service_cidrs_.at(key.name)};
    case KindUse::WorkloadEndpoint:
      return config_.workloads.at({key.ns, key.name});
    case KindUse::Namespace:
      return config_.namespaces.at(key.name);
    case KindUse::AddressPool:
      return config_.address_pools.at({key.ns, key.name});
    case KindUse::L2Advertisement:
      return config_.l2_advertisements.at({key.ns, key.name});
    case KindUse::BgpAdvertisement:
      return config_.bgp_advertisements.at({key.ns, key.name});
    case KindUse::MetallbPeer:
      return config_.metallb_peers.at({key.ns, key.name});
    case KindUse::CommunityList:
      return config_.community_lists.at({key.ns, key.name});
    case KindUse::BfdProfile:
      return config_.bfd_profiles.at({key.ns, key.name});
    case KindUse::BgpConfiguration:
      return config_.bgp_configurations.at(key.name);
    case KindUse::BgpPeer:
      return config_.bgp_peers.at(key.name);
    case KindUse::BgpFilter:
      return config_.bgp_filters.at(key.name);
    case KindUse::Secret:
      return config_.secrets.at(ObjectName{key.ns, key.name});
    case KindUse::ContentPolicy:
      return config_.content_policies.at(ObjectName{key.ns, key.name});
    case KindUse::Ingress:
      return config_.ingresses.at(ObjectName{key.ns, key.name});
    case KindUse::IngressClass:
      return config_.ingress_classes.at(key.name);
    case KindUse::Felix:
      return felix_.at(key.name);
    case KindUse::Kept:
      break;
  }
  return std::monostate{};
}

template <class Map, class Value>
void ObjectSet::put_owned(Map& map, const typename Map::key_type& key, Value&& value) {
  const size_t before = map.size();
  const auto at = map.try_emplace(map.end(), key);
  if (map.size() == before) owners_.remove(at->second);
  at->second = std::forward<Value>(value);
  owners_.add(at->second);
}

template <class Map>
void ObjectSet::erase_owned(Map& map, const typename Map::key_type& key) {
  const auto found = map.find(key);
  if (found == map.end()) return;
  owners_.remove(found->second);
  map.erase(found);
}

void ObjectSet::install(Converted&& converted) {
  const ObjectKey& key = converted.key;
  const ObjectName name{key.ns, key.name};
  std::visit(
      Overloaded{
          [](std::monostate) {},
          [&](Gateway& gateway) { gateway_ = std::move(gateway); },
          [&](Felix& felix) { felix_[key.name] = std::move(felix); },
          [&](Node& node) { put_owned(config_.nodes, key.name, std::move(node)); },
          [&](Service& service) {
            apply_given(service);
            put_owned(config_.services, name, std::move(service));
          },
          [&](EndpointSlice& slice) { put(config_.slices, name, std::move(slice)); },
          [&](Pod& pod) {
            if (pod.host_ports.empty()) {
              config_.pods.erase(name);
            } else {
              put(config_.pods, name, std::move(pod));
            }
          },
          [&](IpPool& pool) { put(config_.pools, key.name, std::move(pool)); },
          [&](Ipam& ipam) { config_.ipam = ipam; },
          [&](BlockAffinity& block) { ipam_blocks_.set(std::move(block), config_.blocks, &owners_); },
          [&](IpamBlock& block) { ipam_blocks_.set(std::move(block), config_.blocks, &owners_); },
          [&](ServiceCidr& cidr) { put(service_cidrs_, key.name, std::move(cidr.cidrs)); },
          [&](WorkloadEndpoint& workload) { put_owned(config_.workloads, name, std::move(workload)); },
          [&](Namespace& space) { put(config_.namespaces, key.name, std::move(space)); },
          [&](AddressPool& pool) { put(config_.address_pools, name, std::move(pool)); },
          [&](L2Advertisement& advertisement) { put(config_.l2_advertisements, name, std::move(advertisement)); },
          [&](BgpAdvertisement& one) { put(config_.bgp_advertisements, name, std::move(one)); },
          [&](MetallbPeer& one) { put(config_.metallb_peers, name, std::move(one)); },
          [&](CommunityList& one) { put(config_.community_lists, name, std::move(one)); },
          [&](BfdProfile& one) { put(config_.bfd_profiles, name, std::move(one)); },
          [&](BgpConfiguration& one) { put(config_.bgp_configurations, key.name, std::move(one)); },
          [&](BgpPeer& one) { put(config_.bgp_peers, key.name, std::move(one)); },
          [&](BgpFilter& one) { put(config_.bgp_filters, key.name, std::move(one)); },
          [&](Secret& one) { put(config_.secrets, name, std::move(one)); },
          [&](ContentPolicy& one) { put(config_.content_policies, name, std::move(one)); },
          [&](Ingress& one) { put(config_.ingresses, name, std::move(one)); },
          [&](IngressClass& one) { put(config_.ingress_classes, key.name, std::move(one)); },
      },
      converted.typed);
  const size_t before = objects_.size();
  const auto at = objects_.try_emplace(objects_.end(), std::move(converted.key));
  if (objects_.size() == before) by_digest_.erase(at->second.digest);
  at->second = std::move(converted.stored);
  if (!at->second.digest.empty()) by_digest_[at->second.digest] = &at->first;
}

void ObjectSet::erase(const ObjectKey& key) {
  const auto found = objects_.find(key);
  if (found == objects_.end()) return;
  switch (found->second.kind->use) {
    case KindUse::Node:
      erase_owned(config_.nodes, key.name);
      break;
    case KindUse::Service:
      erase_owned(config_.services, {key.ns, key.name});
      break;
    case KindUse::EndpointSlice:
      config_.slices.erase({key.ns, key.name});
      break;
    case KindUse::Pod:
      config_.pods.erase({key.ns, key.name});
      break;
    case KindUse::IpPool:
      config_.pools.erase(key.name);
      break;
    case KindUse::Ipam:
      config_.ipam = {};
      break;
    case KindUse::BlockAffinity:
      ipam_blocks_.erase_affinity(key.name, config_.blocks, &owners_);
      break;
    case KindUse::IpamBlock:
      ipam_blocks_.erase_block(key.name, config_.blocks, &owners_);
      break;
    case KindUse::ServiceCidr:
      service_cidrs_.erase(key.name);
      break;
    case KindUse::WorkloadEndpoint:
      erase_owned(config_.workloads, {key.ns, key.name});
      break;
    case KindUse::Namespace:
      config_.namespaces.erase(key.name);
      break;
    case KindUse::AddressPool:
      config_.address_pools.erase({key.ns, key.name});
      break;
    case KindUse::L2Advertisement:
      config_.l2_advertisements.erase({key.ns, key.name});
      break;
    case KindUse::BgpAdvertisement:
      config_.bgp_advertisements.erase({key.ns, key.name});
      break;
    case KindUse::MetallbPeer:
      config_.metallb_peers.erase({key.ns, key.name});
      break;
    case KindUse::CommunityList:
      config_.community_lists.erase({key.ns, key.name});
      break;
    case KindUse::BfdProfile:
      config_.bfd_profiles.erase({key.ns, key.name});
      break;
    case KindUse::BgpConfiguration:
      config_.bgp_configurations.erase(key.name);
      break;
    case KindUse::BgpPeer:
      config_.bgp_peers.erase(key.name);
      break;
    case KindUse::BgpFilter:
      config_.bgp_filters.erase(key.name);
      break;
    case KindUse::Secret:
      config_.secrets.erase(ObjectName{key.ns, key.name});
      break;
    case KindUse::ContentPolicy:
      config_.content_policies.erase(ObjectName{key.ns, key.name});
      break;
    case KindUse::Ingress:
      config_.ingresses.erase(ObjectName{key.ns, key.name});
      break;
    case KindUse::IngressClass:
      config_.ingress_classes.erase(key.name);
      break;
    case KindUse::Felix:
      felix_.erase(key.name);
      break;
    case KindUse::Gateway:  // another takes its place in the same change
    case KindUse::Kept:
      break;
  }
  by_digest_.erase(found->second.digest);
  objects_.erase(found);
}

void ObjectSet::note_owner(Change::Touched& touched, KindUse use) const {
  const ObjectName name{touched.key.ns, touched.key.name};
  if (use == KindUse::EndpointSlice) touched.service = config_.slices.at(name).service;
  if (use == KindUse::WorkloadEndpoint) touched.node = config_.workloads.at(name).node;
}

void ObjectSet::apply_given(Service& service) const {
  const auto given = given_.find(service.name);
  if (given != given_.end()) service.load_balancer_ips = given->second;
}

void ObjectSet::give(const ObjectName& name, std::optional<std::vector<IpAddr>> addresses) {
  const auto service = config_.services.find(name);
  if (service != config_.services.end()) owners_.remove(service->second);
  if (addresses) {
    given_.insert_or_assign(name, std::move(*addresses));
  } else {
    given_.erase(name);
    if (service != config_.services.end()) service->second.load_balancer_ips = service->second.load_balancer.status_ips;
  }
  if (service == config_.services.end()) return;
  apply_given(service->second);
  owners_.add(service->second);
}

// Those that concern this node, the nearest last.
std::array<std::string, 2> ObjectSet::felix_names() const { return {"default", "node." + gateway_.node_name}; }

Felix ObjectSet::felix() const {
  Felix out;
  for (const std::string& name : felix_names()) {
    if (const auto found = felix_.find(name); found != felix_.end()) out.override_with(found->second);
  }
  return out;
}

void ObjectSet::refresh_gateway() {
  config_.gateway = gateway_;
  const std::string* const object = felix_.empty() ? nullptr : text_of({std::string(gateway_kind), "", gateway_.name});
  if (object != nullptr) add_felix(felix(), read_canonical(*object), config_.gateway);
  std::vector<Prefix>& all = config_.gateway.cluster.service_cidrs;
  for (const auto& [name, cidrs] : service_cidrs_) {
    for (const Prefix& cidr : cidrs) {
      if (std::find(all.begin(), all.end(), cidr) == all.end()) all.push_back(cidr);
    }
  }
}

std::vector<Warning> ObjectSet::warnings() const {
  std::vector<Warning> out = document_warnings_;
  std::map<std::string_view, size_t> kept;
  for (const auto& [key, stored] : objects_) {
    out.insert(out.end(), stored.warnings.begin(), stored.warnings.end());
    if (stored.kind->use == KindUse::Kept) ++kept[key.kind];
  }
  for (const auto& [kind, count] : kept) {
    out.push_back({std::string(kind), "", "", "",
                   fmt::format("accepted but not used by this version ({} object{})", count, count == 1 ? "" : "s")});
  }
  return out;
}

std::string ObjectSet::to_text(const Filter& filter, std::optional<uint64_t> generation) const {
  std::string out = R"({"apiVersion":"v1","kind":"List",)";
  if (generation) out += fmt::format(R"("metadata":{{"generation":{}}},)", *generation);
  out += R"("items":[)";
  bool first = true;
  const bool of_one_kind = !filter.kind.empty();
  const Kind* kind = find_kind_by_name(filter.kind, true);
  const bool of_one_namespace =
      of_one_kind && (!filter.ns.empty() || (kind != nullptr && !kind->namespaced && !filter.name.empty()));
  const ObjectKey begin{std::string(filter.kind), std::string(of_one_kind ? filter.ns : ""),
                        std::string(of_one_namespace ? filter.name : "")};
  for (auto at = objects_.lower_bound(begin); at != objects_.end(); ++at) {
    const auto& [key, stored] = *at;
    if ((of_one_kind && key.kind != filter.kind) || (of_one_namespace && key.ns != filter.ns)) break;
    if (of_one_namespace && !filter.name.empty() && key.name != filter.name) break;
    const auto passes = [](std::string_view wanted, const std::string& found) {
      return wanted.empty() || wanted == found;
    };
    if (!passes(filter.kind, key.kind) || !passes(filter.ns, key.ns) || !passes(filter.name, key.name)) continue;
    if (!first) out += ',';
    first = false;
    const bool has_password = stored.kind->use == KindUse::MetallbPeer;
    if (key.kind == "Secret" || has_password) {
      json::value value = read_canonical(stored.text);
      if (value.is_object()) (has_password ? hide_password : hide_secret)(value.get_object());
      out += json::serialize(value);
    } else {
      out += stored.text;
    }
  }
  return out + "]}";
}

json::value ObjectSet::to_json(const Filter& filter, std::optional<uint64_t> generation) const {
  return read_canonical(to_text(filter, generation));
}

const std::string* ObjectSet::text_of(const ObjectKey& key) const {
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : &found->second.text;
}

// A value of GatewayConfiguration that its object does not give is a FelixConfiguration's.
void ObjectSet::blame_felix(Fault& fault) const {
  const std::string_view field = fault.kind == gateway_kind ? felix_field(fault.pointer) : std::string_view();
  if (field.empty() || felix_.empty()) return;
  const std::string* const gateway = text_of({fault.kind, "", fault.name});
  if (gateway == nullptr || exists(read_canonical(*gateway), fault.pointer)) return;
  for (const std::string& name : felix_names()) {
    const std::string* const felix = text_of({"FelixConfiguration", "", name});
    if (felix == nullptr || !exists(read_canonical(*felix), fmt::format("/spec/{}", field))) continue;
    fault.kind = "FelixConfiguration";
    fault.name = name;
    fault.pointer = fmt::format("/spec/{}", field);
    fault.path = fmt::format("spec.{}", field);
  }
}

void ObjectSet::locate(std::vector<Fault>& faults) const {
  for (Fault& fault : faults) {
    blame_felix(fault);
    const size_t slash = fault.name.find('/');
    const bool namespaced = slash != std::string::npos;
    const auto found = objects_.find({fault.kind, namespaced ? fault.name.substr(0, slash) : "",
                                      namespaced ? fault.name.substr(slash + 1) : fault.name});
    if (found == objects_.end()) continue;
    use_short_form(found->second.text, fault);
    const bool in_document = found->second.document == document_;
    fault.pointer = in_document ? found->second.location + fault.pointer : std::string();
  }
}

Change ObjectSet::difference(const ObjectSet& before, const ObjectSet& after) {
  Change change;
  auto old = before.objects_.begin();
  auto now = after.objects_.begin();
  while (old != before.objects_.end() || now != after.objects_.end()) {
    const bool only_old = now == after.objects_.end() || (old != before.objects_.end() && old->first < now->first);
    const bool only_now = old == before.objects_.end() || (now != after.objects_.end() && now->first < old->first);
    if (only_old) {
      const bool used = old->second.kind->use != KindUse::Kept;
      change.touched.push_back({old->first, Change::Action::Removed, used, old->second.text});
      ++old;
    } else if (only_now) {
      change.touched.push_back({now->first, Change::Action::Added, now->second.kind->use != KindUse::Kept, {}});
      ++now;
    } else {
      if (old->second.text != now->second.text) {
        const KindUse use = now->second.kind->use;
        const bool effective = before.typed_of(old->first, use) != after.typed_of(now->first, use);
        change.touched.push_back({now->first, Change::Action::Replaced, effective, old->second.text});
      }
      ++old, ++now;
    }
  }
  const auto compare = [&](const Config& one, const Config& other) {
    for (const auto& [name, entry] : one.blocks) {
      const auto found = other.blocks.find(name);
      if (found == other.blocks.end() || !(found->second == entry)) change.blocks.insert(name);
    }
  };
  compare(before.config_, after.config_);
  compare(after.config_, before.config_);
  return change;
}

}  // namespace sluice::config
