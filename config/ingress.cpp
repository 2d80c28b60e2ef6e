// Ingress and IngressClass as `kubectl get … -o json` prints them (ING-1 to ING-9).
#include "config/ingress.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "config/convert.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

constexpr std::array path_types{Choice<PathType>{"Exact", PathType::Exact},
                                Choice<PathType>{"Prefix", PathType::Prefix},
                                Choice<PathType>{"ImplementationSpecific", PathType::ImplementationSpecific}};
constexpr std::array booleans{Choice<bool>{"true", true}, Choice<bool>{"false", false}};
enum class ProxyHeader : uint8_t { None, V2 };
constexpr std::array proxy_headers{Choice<ProxyHeader>{"v2", ProxyHeader::V2},
                                   Choice<ProxyHeader>{"", ProxyHeader::None}};

constexpr std::string_view passthrough_annotation = "sluice.dev/tls-passthrough";
constexpr std::string_view nginx_passthrough_annotation = "nginx.ingress.kubernetes.io/ssl-passthrough";
constexpr std::string_view proxy_annotation = "sluice.dev/proxy-protocol";
constexpr std::string_view redirect_annotation = "sluice.dev/ssl-redirect";
constexpr std::string_view class_annotation = "kubernetes.io/ingress.class";
constexpr std::string_view default_class_annotation = "ingressclass.kubernetes.io/is-default-class";
constexpr std::string_view annotated_class = "sluice";  // that annotation's value where there is no IngressClass

// What stands in spec and in our own annotations decides where traffic goes, so what nobody knows deserves a word.
Reader spec_of(Reader& object) {
  static constexpr Place root{};
  const json::value* spec = object.find("spec");
  const json::object* fields = spec == nullptr ? nullptr : spec->if_object();
  return {fields, object.report(), Place{&root, "spec"}, UnknownFields::Warn};
}

void to_lower_case(std::string& text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// A DNS name, or "*." and one (ING-1). Why it is none; empty: it is.
std::string objection_to_host(std::string_view host) {
  if (net::parse_ip(host)) return "is an IP address; rules are for names, and without a host for everything else";
  if (host.starts_with("*.")) host.remove_prefix(2);
  if (host.find('*') != std::string_view::npos) return "may have a * only as its whole first label: *.example.com";
  if (!is_dns_subdomain(host)) return "is not a DNS name such as example.com or *.example.com";
  return {};
}

// ING-10: what the API servers refuse. Why a path cannot be that of a rule; empty: it can.
std::string objection_to_path(std::string_view path, PathType type) {
  if (!path.starts_with('/')) return "must begin with /";
  if (type == PathType::ImplementationSpecific) return {};
  for (const std::string_view part : {"//", "/./", "/../", "%2f", "%2F"}) {
    if (path.find(part) != std::string_view::npos) return fmt::format("must not have {}", part);
  }
  if (path.ends_with("/.") || path.ends_with("/..")) return "must not end in /. or /..";
  return {};
}

// How many dots a segment of a path is, as they are or encoded; 0: it is something else.
size_t dots_of(std::string_view segment) {
  size_t dots = 0;
  while (!segment.empty()) {
    const bool encoded = segment.starts_with("%2e") || segment.starts_with("%2E");
    if (!encoded && segment.front() != '.') return 0;
    segment.remove_prefix(encoded ? 3 : 1);
    ++dots;
  }
  return dots;
}

bool leaves_root(std::string_view path) {
  size_t depth = 0;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(segment.size());
    const size_t dots = dots_of(segment);
    if (dots == 2 && depth == 0) return true;
    if (dots == 2) {
      --depth;
    } else if (!segment.empty() && dots != 1) {
      ++depth;
    }
  }
  return false;
}

// Why no request has such a path, which may be meant for another controller; empty: requests may have it.
std::string_view never_asked_for(std::string_view path) {
  for (size_t at = path.find('%'); at != std::string_view::npos; at = path.find('%', at + 1)) {
    const auto is_hex = [&](size_t i) {
      return i < path.size() && std::string_view("0123456789abcdefABCDEF").find(path[i]) != std::string_view::npos;
    };
    if (!is_hex(at + 1) || !is_hex(at + 2)) return "has a % without two hexadecimal digits behind it";
    if (path.substr(at + 1, 2) == "00") return "has %00";
  }
  if (path.find_first_of("?#") != std::string_view::npos) return "has ? or #, and rules are for paths only";
  if (leaves_root(path)) return "leads out of the root";
  return {};
}

void read_backend_port(Reader& service, BackendPort& out) {
  Reader port = service.object("port");
  port.text("name", out.name);
  port.number("number", out.number, 0, 65535);
  const bool named = !out.name.empty();
  const bool numbered = out.number != 0;
  if (named == numbered) {
    service.fault("port",
                  named ? "either name or number, not both" : "needs the name or the number of the Service's port");
  }
}

// `item`: the object that has the field.
std::optional<IngressBackend> read_backend(Reader& item, std::string_view key) {
  Reader backend = item.object(key);
  if (!backend) return std::nullopt;
  IngressBackend out;
  const bool resource = backend.has("resource");
  if (resource && backend.has("service")) {
    backend.fault("resource", "a backend is either a service or a resource");
  } else if (resource) {
    Reader reference = backend.object("resource");
    std::string kind;
    reference.text("kind", kind);
    for (const std::string_view known : {"apiGroup", "name"}) (void)reference.has(known);
    backend.warn("resource",
                 fmt::format("a backend of kind {} has no endpoints: requests for it are answered with 503; "
                             "name a service instead",
                             quoted(kind)));
  } else {
    Reader service = backend.object("service");
    if (!service) {
      if (!backend.has("service")) item.fault(key, "needs a service");
      return out;
    }
    if (service.need_text("name", out.service) && !is_dns_1035_label(out.service)) {
      service.fault("name", fmt::format("{} is not a name of a Service", quoted(out.service)));
    }
    read_backend_port(service, out.port);
  }
  return out;
}

void read_paths(Reader& rule, IngressRule& out) {
  Reader http = rule.object("http");
  if (!http) return;
  http.each("paths", [&](Reader& item, size_t) {
    IngressPath path;
    item.choice("pathType", path.type, path_types);
    item.require("pathType");
    item.text("path", path.path);
    if (path.path.empty() && path.type == PathType::ImplementationSpecific) path.path.push_back('/');
    if (const std::string why = objection_to_path(path.path, path.type); !why.empty()) {
      item.fault("path", fmt::format("{} {}", quoted(path.path), why));
    } else if (const std::string_view never = never_asked_for(path.path); !never.empty()) {
      item.warn("path",
                fmt::format("{} {}: no request has such a path, so this rule is left out", quoted(path.path), never));
    }
    item.require("backend");
    path.backend = read_backend(item, "backend").value_or(IngressBackend{});
    out.paths.push_back(std::move(path));
  });
  if (out.paths.empty()) http.require("paths");
}

// What others read as well is theirs to judge: "true" is, and everything else is not.
bool foreign_flag(Reader& annotations, std::string_view key) {
  std::string value;
  annotations.text(key, value);
  if (!value.empty() && value != "true" && value != "false") {
    annotations.warn(key, fmt::format("{} is taken for \"false\"; write \"true\" or \"false\"", quoted(value)));
  }
  return value == "true";
}

// The annotation's name comes with a group that is ours, or was another controller's.
void read_annotations(Reader& metadata, Ingress& out) {
  const json::value* value = metadata.find("annotations");
  Reader annotations = metadata.object("annotations");
  std::optional<bool> ours;
  bool flag = false;
  if (annotations.has(passthrough_annotation)) {
    annotations.choice(passthrough_annotation, flag, booleans);
    ours = flag;
  }
  const bool theirs = foreign_flag(annotations, nginx_passthrough_annotation);
  out.tls_passthrough = ours.value_or(theirs);
  if (annotations.has(redirect_annotation))
    annotations.choice(redirect_annotation, out.ssl_redirect.emplace(), booleans);
  ProxyHeader header = ProxyHeader::None;
  annotations.choice(proxy_annotation, header, proxy_headers);
  out.proxy_protocol = header == ProxyHeader::V2;
  if (annotations.has(class_annotation)) {
    annotations.text(class_annotation, out.class_name.emplace());
    out.class_by_annotation = true;
  }
  if (value == nullptr || !value->is_object()) return;
  for (const auto& [key, ignored] : value->get_object()) {
    const std::string_view name = key;
    if (name == passthrough_annotation || name == nginx_passthrough_annotation || name == redirect_annotation ||
        name == proxy_annotation) {
      continue;
    }
    if (name.starts_with("sluice.dev/") || name.starts_with("nginx.ingress.kubernetes.io/")) {
      annotations.warn(name, "this annotation of an Ingress has no effect here");
    }
  }
}

void read_tls(Reader& spec, Ingress& out) {
  spec.each("tls", [&](Reader& item, size_t) {
    (void)item.has("secretName");
    std::vector<std::string> hosts;
    item.texts("hosts", hosts);
    for (std::string& host : hosts) {
      to_lower_case(host);
      if (const std::string why = objection_to_host(host); !why.empty()) {
        item.fault("hosts", fmt::format("{} {}", quoted(host), why));
      }
      out.tls_hosts.push_back(std::move(host));
    }
  });
  if (spec.has("tls") && !out.tls_passthrough) {
    spec.warn("tls", fmt::format("the router ends no TLS: hosts are served on https ports only with the annotation {}: "
                                 "\"true\", by endpoints that have the certificate",
                                 passthrough_annotation));
  }
}

}  // namespace

Ingress read_ingress(const ObjectKey& key, Reader& object) {
  Ingress ingress;
  ingress.ns = key.ns;
  ingress.name = key.name;
  {
    Reader metadata = object.object("metadata");
    metadata.text("creationTimestamp", ingress.created);
    read_annotations(metadata, ingress);
  }
  object.require("spec");
  Reader spec = spec_of(object);
  if (spec.has("ingressClassName")) {
    spec.text("ingressClassName", ingress.class_name.emplace());
    ingress.class_by_annotation = false;
  }
  ingress.default_backend = read_backend(spec, "defaultBackend");
  spec.each("rules", [&](Reader& item, size_t) {
    IngressRule rule;
    item.text("host", rule.host);
    to_lower_case(rule.host);
    if (!rule.host.empty()) {
      if (const std::string why = objection_to_host(rule.host); !why.empty()) {
        item.fault("host", fmt::format("{} {}", quoted(rule.host), why));
      }
    }
    read_paths(item, rule);
    ingress.rules.push_back(std::move(rule));
  });
  read_tls(spec, ingress);
  if (spec && ingress.rules.empty() && !ingress.default_backend) {
    object.fault("spec", "needs rules or a defaultBackend");
  }
  return ingress;
}

IngressClass read_ingress_class(const ObjectKey& key, Reader& object) {
  IngressClass out;
  out.name = key.name;
  {
    Reader metadata = object.object("metadata");
    Reader annotations = metadata.object("annotations");
    out.is_default = foreign_flag(annotations, default_class_annotation);
  }
  Reader spec = spec_of(object);
  spec.text("controller", out.controller);
  if (out.controller == ingress_controller && spec.has("parameters")) spec.unused("parameters");
  return out;
}

bool is_ours(const Config& config, const Ingress& ingress) {
  const auto is_our_class = [](const IngressClass& one) { return one.controller == ingress_controller; };
  if (!ingress.class_name) {
    return std::any_of(config.ingress_classes.begin(), config.ingress_classes.end(),
                       [&](const auto& entry) { return entry.second.is_default && is_our_class(entry.second); });
  }
  const auto found = config.ingress_classes.find(*ingress.class_name);
  if (found != config.ingress_classes.end()) return is_our_class(found->second);
  return ingress.class_by_annotation && *ingress.class_name == annotated_class;
}

}  // namespace sluice::config
