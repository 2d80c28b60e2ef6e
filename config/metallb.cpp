// MetalLB's objects (metallb.io/v1beta1), and what it reads of a Service.
#include "config/metallb.h"

#include <algorithm>
#include <array>

#include <boost/json/parse.hpp>
#include <fmt/format.h>

#include "config/convert.h"
#include "config/metallb_advertisement.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

constexpr std::array family_policies{Choice<FamilyPolicy>{"SingleStack", FamilyPolicy::SingleStack},
                                     Choice<FamilyPolicy>{"PreferDualStack", FamilyPolicy::PreferDualStack},
                                     Choice<FamilyPolicy>{"RequireDualStack", FamilyPolicy::RequireDualStack}};
constexpr std::array families{Choice<net::Family>{"IPv4", net::Family::V4},
                              Choice<net::Family>{"IPv6", net::Family::V6}};

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

IpAddr last_of(const Prefix& network) {
  const bool v4 = network.addr.is_v4();
  std::array<uint8_t, 16> bytes = network.addr.bytes();
  for (size_t bit = network.length; bit < network.addr.bit_length(); ++bit) {
    bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] | 0x80U >> bit % 8);
  }
  if (!v4) return net::Ipv6Addr{bytes};
  return Ipv4Addr::from_host(static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
                             static_cast<uint32_t>(bytes[2]) << 8 | bytes[3]);
}

// The annotation by its name of today, or of MetalLB before version 0.13.
std::string_view annotation_of(Reader& annotations, std::string_view today, std::string_view before) {
  return annotations.has(today) ? today : before;
}

void read_wanted(Reader& annotations, std::string_view key, std::vector<IpAddr>& out) {
  std::string text;
  annotations.text(key, text);
  if (text.empty()) return;
  std::string_view rest = text;
  while (true) {
    const size_t comma = rest.find(',');
    const std::string_view item = trimmed(rest.substr(0, comma));
    const auto address = net::parse_ip(item);
    if (!address) {
      annotations.fault(key, fmt::format("{} is not an IPv4 or IPv6 address", quoted(item)));
    } else if (std::any_of(out.begin(), out.end(),
                           [&](const IpAddr& other) { return other.family() == address->family(); })) {
      annotations.fault(key, "at most one address of each family");
    } else {
      out.push_back(*address);
    }
    if (comma == std::string_view::npos) return;
    rest.remove_prefix(comma + 1);
  }
}

void read_families(Reader& spec, const Service& service, LoadBalancerRequest& request) {
  spec.choice("ipFamilyPolicy", request.policy, family_policies);
  spec.each_value("ipFamilies", [&](const json::value& value, const Place& place) {
    const auto read = spec.parse_value(
        value, place,
        [](std::string_view text) -> std::optional<net::Family> {
          const auto* found =
              std::find_if(families.begin(), families.end(), [&](const auto& c) { return c.text == text; });
          return found == families.end() ? std::nullopt : std::optional(found->value);
        },
        "\"IPv4\" or \"IPv6\"");
    if (!read) return;
    if (std::find(request.families.begin(), request.families.end(), *read) == request.families.end()) {
      request.families.push_back(*read);
    } else {
      spec.report().fault(place.path(), "this family is there already; IPv4 and IPv6 once each at most");
    }
  });
  if (request.families.empty()) {
    for (const IpAddr& address : service.cluster_ips) request.families.push_back(address.family());
  }
  if (request.families.empty()) request.families.push_back(net::Family::V4);
  if (request.policy == FamilyPolicy::SingleStack) {
    request.families.resize(1);
  } else if (request.families.size() == 1) {
    request.families.push_back(request.families.front() == net::Family::V4 ? net::Family::V6 : net::Family::V4);
  }
}

// A list of texts, as JSON, in a text.
void read_pool_names(Reader& annotations, std::string_view key, std::vector<std::string>& out) {
  std::string text;
  annotations.text(key, text);
  if (text.empty()) return;
  json::error_code error;
  const json::value list = json::parse(text, error);
  const json::array* names = error ? nullptr : list.if_array();
  const bool texts = names != nullptr && std::all_of(names->begin(), names->end(),
                                                     [](const json::value& name) { return name.is_string(); });
  if (!texts) {
    annotations.fault(key, R"(expected a list of IPPools or their networks, as JSON in a text: ["pool-a"])");
    return;
  }
  for (const json::value& name : *names) out.emplace_back(name.get_string());
}

void read_allocation(Reader& allocation, AddressPool& pool) {
  if (!allocation) return;
  ServiceAllocation out;
  allocation.number("priority", out.priority, 0, std::numeric_limits<int32_t>::max());
  allocation.texts("namespaces", out.namespaces);
  read_label_selectors(allocation, "namespaceSelectors", out.namespace_selectors);
  read_label_selectors(allocation, "serviceSelectors", out.service_selectors);
  pool.allocation = std::move(out);
}

}  // namespace

Reader metallb_spec(Reader& object) {
  static constexpr Place root{};
  const json::value* spec = object.find("spec");
  const json::object* fields = spec == nullptr ? nullptr : spec->if_object();
  return {fields, object.report(), Place{&root, "spec"}, UnknownFields::Warn};
}

std::optional<AddressRange> parse_address_range(std::string_view text) {
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) {
    const auto network = net::parse_prefix(trimmed(text));
    if (!network) return std::nullopt;
    const Prefix masked = network->masked();
    return AddressRange{masked.addr, last_of(masked)};
  }
  const auto first = net::parse_ip(trimmed(text.substr(0, dash)));
  const auto last = net::parse_ip(trimmed(text.substr(dash + 1)));
  if (!first || !last || first->family() != last->family() || *last < *first) return std::nullopt;
  return AddressRange{*first, *last};
}

bool AddressPool::has(const net::IpAddr& address) const {
  if (avoid_buggy && address.is_v4() && (address.bytes()[3] == 0 || address.bytes()[3] == 255)) return false;
  return std::any_of(ranges.begin(), ranges.end(), [&](const AddressRange& range) { return range.contains(address); });
}

bool L2Advertisement::announces(const AddressPool& pool) const { return selects(*this, pool); }

AddressPool read_address_pool(const ObjectKey& key, Reader& object) {
  AddressPool pool;
  pool.ns = key.ns;
  pool.name = key.name;
  Reader metadata = object.object("metadata");
  metadata.labels("labels", pool.labels);
  (void)object.object("spec");
  object.require("spec");
  Reader spec = metallb_spec(object);
  spec.require("addresses");
  spec.parsed_list("addresses", pool.ranges, parse_address_range,
                   "a network such as 192.0.2.0/28 or a range such as 192.0.2.1-192.0.2.9, first to last");
  const json::value* listed = spec.find("addresses");
  if (listed != nullptr && listed->is_array() && listed->get_array().empty()) {
    spec.fault("addresses", "at least one network or range is required");
  }
  spec.flag("autoAssign", pool.auto_assign);
  spec.flag("avoidBuggyIPs", pool.avoid_buggy);
  Reader allocation = spec.object("serviceAllocation");
  read_allocation(allocation, pool);
  return pool;
}

L2Advertisement read_l2_advertisement(const ObjectKey& key, Reader& object) {
  L2Advertisement out;
  (void)object.object("spec");
  Reader spec = metallb_spec(object);
  read_selection(key, spec, out);
  spec.texts("interfaces", out.interfaces);
  spec.each("preferredNodeSelectors", [&](Reader& item, size_t) {
    PreferredNodes preferred;
    std::optional<LabelSelector> nodes;
    item.require("weight");
    item.number("weight", preferred.weight, 1, 100);
    item.require("preference");
    read_label_selector(item, "preference", nodes);
    if (nodes) preferred.nodes = std::move(*nodes);
    out.preferred.push_back(std::move(preferred));
  });
  if (!out.preferred.empty() && !out.service_selectors.empty()) {
    spec.fault("preferredNodeSelectors", "and serviceSelectors exclude each other: an address has one order of nodes");
  }
  return out;
}

void read_load_balancer_request(Reader& object, Service& service) {
  if (service.type != ServiceType::LoadBalancer) return;
  LoadBalancerRequest& request = service.load_balancer;
  Reader metadata = object.object("metadata");
  Reader annotations = metadata.object("annotations");
  annotations.text(annotation_of(annotations, "metallb.io/address-pool", "metallb.universe.tf/address-pool"),
                   request.pool);
  annotations.text(annotation_of(annotations, "metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"),
                   request.share_key);
  const std::string_view wanted =
      annotation_of(annotations, "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs");
  read_wanted(annotations, wanted, request.wanted);
  Reader spec = object.object("spec");
  std::string load_balancer_class_name;
  spec.text("loadBalancerClass", load_balancer_class_name);
  request.ours =
      service.proxied && (load_balancer_class_name.empty() || load_balancer_class_name == load_balancer_class);
  spec.labels("selector", request.selector);
  std::string single;
  spec.text("loadBalancerIP", single);
  if (!single.empty() && annotations.has(wanted)) {
    spec.warn("loadBalancerIP", fmt::format("the annotation {} is used instead", wanted));
  } else if (!single.empty()) {
    std::optional<IpAddr> address;
    spec.parsed("loadBalancerIP", address, net::parse_ip, "an IPv4 or IPv6 address");
    if (address) request.wanted.push_back(*address);
  }
  read_families(spec, service, request);
  request.status_ips = service.load_balancer_ips;
}

Namespace read_namespace(const ObjectKey& key, Reader& object) {
  Namespace out;
  out.name = key.name;
  Reader metadata = object.object("metadata");
  metadata.labels("labels", out.labels);
  Reader annotations = metadata.object("annotations");
  read_pool_names(annotations, "cni.projectcalico.org/ipv4pools", out.ipv4_pools);
  read_pool_names(annotations, "cni.projectcalico.org/ipv6pools", out.ipv6_pools);
  return out;
}

}  // namespace sluice::config
