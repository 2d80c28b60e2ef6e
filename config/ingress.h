// networking.k8s.io/v1 Ingress and IngressClass, and where the gateway listens for them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/addr.h"

namespace sluice::config {

struct Config;

// IngressClass spec.controller of this router.
inline constexpr std::string_view ingress_controller = "sluice.dev/ingress";

// A port of a Service, by one of both.
struct BackendPort {
  std::string name;
  uint16_t number = 0;  // 0: by name

  [[nodiscard]] std::string text() const { return name.empty() ? std::to_string(number) : name; }
  friend bool operator==(const BackendPort&, const BackendPort&) = default;
  friend auto operator<=>(const BackendPort&, const BackendPort&) = default;
};

// A Service of the Ingress's namespace; without a name: something else, which never has an endpoint.
struct IngressBackend {
  std::string service;
  BackendPort port;
  friend bool operator==(const IngressBackend&, const IngressBackend&) = default;
};

enum class PathType : uint8_t { Exact, Prefix, ImplementationSpecific };

struct IngressPath {
  std::string path;  // begins with a slash
  PathType type = PathType::Prefix;
  IngressBackend backend;
  friend bool operator==(const IngressPath&, const IngressPath&) = default;
};

struct IngressRule {
  std::string host;  // "foo.com", "*.foo.com"; empty: all others
  std::vector<IngressPath> paths;
  friend bool operator==(const IngressRule&, const IngressRule&) = default;
};

struct Ingress {
  std::string ns;
  std::string name;
  std::string created;                    // metadata.creationTimestamp: RFC 3339 in UTC, so that older is smaller
  std::optional<std::string> class_name;  // spec.ingressClassName, else annotation kubernetes.io/ingress.class
  bool class_by_annotation = false;
  std::optional<IngressBackend> default_backend;
  std::vector<IngressRule> rules;
  std::vector<std::string> tls_hosts;  // of all tls[]
  bool tls_passthrough = false;        // annotation sluice.dev/tls-passthrough
  bool proxy_protocol = false;         // annotation sluice.dev/proxy-protocol: v2
  std::optional<bool> ssl_redirect;    // annotation sluice.dev/ssl-redirect

  [[nodiscard]] std::string text() const { return ns + "/" + name; }
  friend bool operator==(const Ingress&, const Ingress&) = default;
};

struct IngressClass {
  std::string name;
  std::string controller;
  bool is_default = false;  // annotation ingressclass.kubernetes.io/is-default-class
  friend bool operator==(const IngressClass&, const IngressClass&) = default;
};

// Whether the rules of an Ingress are for this router (ING-7).
[[nodiscard]] bool is_ours(const Config& config, const Ingress& ingress);

// "namespace/name:port".
struct DefaultBackend {
  std::string ns;
  std::string service;
  BackendPort port;
  friend bool operator==(const DefaultBackend&, const DefaultBackend&) = default;
};

// spec.ingress.tcp: what clients are offered at most.
struct IngressTcp {
  uint16_t mss = 0;  // bytes; 0: what the way to them takes, and endpoints turned out to take
  bool timestamps = true;
  bool sack = true;
  friend bool operator==(const IngressTcp&, const IngressTcp&) = default;
};

// GatewayConfiguration spec.ingress.
struct IngressSettings {
  bool enabled = false;
  std::vector<uint16_t> http{80};
  std::vector<uint16_t> https{443};
  std::vector<net::IpAddr> addresses;
  std::optional<DefaultBackend> default_backend;
  bool ssl_redirect = true;
  bool preserve_client_address = false;  // endpoints see the client's address, not the router's
  IngressTcp tcp;
  std::chrono::seconds header_timeout{30};  // from the first byte of a connection to the end of its head
  friend bool operator==(const IngressSettings&, const IngressSettings&) = default;
};

}  // namespace sluice::config
