// The network of documents.h by the parts that its addresses play, for cases that hold in IPv4 and IPv6 alike.
#pragma once

#include <array>
#include <string>

namespace sluice::packet_test {

// "10.0.0.1:53", "[2001:db8::1]:53".
[[nodiscard]] inline std::string with_port(const std::string& address, int port) {
  return (address.find(':') == std::string::npos ? address : "[" + address + "]") + ":" + std::to_string(port);
}

struct Family {
  const char* name;
  const char* pods;      // at node3 without a tunnel; a host's number follows
  const char* clients;   // outside, behind `a`; a host's number follows
  const char* service;   // a cluster address
  const char* balancer;  // a load balancer's
  const char* router_a;  // the router's own, with the node ports
  const char* router_b;
  const char* port_unreachable;  // type and code of ICMP, as the other two
  const char* time_exceeded;
  const char* prohibited;  // by the router itself: it has no port left (RFC 5508 REQ-8)

  [[nodiscard]] std::string pod(int host) const { return pods + std::to_string(host); }
  [[nodiscard]] std::string pod(int host, int port) const { return with_port(pod(host), port); }
  [[nodiscard]] std::string client(int host) const { return clients + std::to_string(host); }
  [[nodiscard]] std::string client(int host, int port) const { return with_port(client(host), port); }
  [[nodiscard]] std::string service_at(int port) const { return with_port(service, port); }
  [[nodiscard]] std::string node_port(int port) const { return with_port(router_a, port); }
  // Of documents.h: the pod at node3.
  [[nodiscard]] std::string endpoint(int host, const std::string& more = "") const {
    return pod(host) + " node3" + (more.empty() ? "" : " " + more);
  }
};

inline constexpr Family ipv4{"IPv4",      "10.246.1.",   "203.0.113.", "10.96.0.10", "198.51.100.80",
                             "192.0.2.1", "192.168.0.1", "3/3",        "11/0",       "3/13"};
inline constexpr Family ipv6{"IPv6",
                             "fd00:10:246::",
                             "2001:db8:99::",
                             "fd00:10:96::10",
                             "2001:db8:80::80",
                             "2001:db8:2::1",
                             "2001:db8:a::1",
                             "1/4",
                             "3/0",
                             "1/1"};
inline constexpr std::array<Family, 2> families{ipv4, ipv6};

}  // namespace sluice::packet_test
