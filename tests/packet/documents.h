// Configurations of tests, as JSON text. The network of all cases:
//
//   clients ── 192.0.2.0/24 ── a [router] b ── 192.168.0.0/24 ── node1 (VXLAN)  pods 10.244.34.0/26
//              2001:db8:2::/64                 2001:db8:a::/64   node2 (IPIP)   pods 10.245.40.0/26
//                                                                node3 (direct) pods 10.246.1.0/26, fd00:10:246::/122
//
// At a: client .10 (MAC …10), the way to everywhere .254 (MAC …fe). At b: node N is .1N with MAC …1N. All neighbours
// are static unless a case leaves them out. Service addresses are in 10.96.0.0/16 and fd00:10:96::/112.
#pragma once

#include <string>
#include <vector>

namespace sluice::packet_test {

extern const char* const interface_a;
extern const char* const interface_b;

// The GatewayConfiguration. Every member is the JSON of a part and can be replaced.
struct Gateway {
  std::string interfaces = std::string(interface_a) + "," + interface_b;  // elements of the list
  std::string neighbors;                                                  // elements of the list
  std::string more;                                                       // further members of spec: "\"proxy\": {…}"

  Gateway();
  [[nodiscard]] std::string text() const;
};
// The same with further members of spec.
[[nodiscard]] std::string gateway(const std::string& more = "");

struct ServiceSpec {
  std::string name;
  std::vector<std::string> cluster_ips;  // at most one of each family
  std::vector<std::string> ports;        // "TCP 80 8080" or with a node port "TCP 80 8080 30080"
  std::vector<std::string> endpoints;  // "10.246.1.5 node3", "10.246.1.6 node3 terminating", "… unready"; "-" for no
                                       // node; of the pod "NAME-10-246-1-5"
  std::string load_balancer_ip;
  std::string external_ip;
  std::string more;     // further members of spec
  std::string weights;  // "{\"10.246.1.5\": 10}"
  std::string forwarding = "snat";
};
// The Service and its EndpointSlices.
[[nodiscard]] std::string service(const ServiceSpec& spec);

// The nodes, pools and blocks of the picture above. `pool`: further members of the pools' specs.
[[nodiscard]] std::string cluster(const std::string& pool = "");

[[nodiscard]] std::string node(const std::string& name, const std::string& address,
                               const std::string& annotations = "");
[[nodiscard]] std::string pool(const std::string& name, const std::string& cidr, const std::string& more = "");
[[nodiscard]] std::string block(const std::string& node, const std::string& cidr,
                                const std::string& state = "confirmed");

// A v1 List of objects; empty texts are left out.
[[nodiscard]] std::string list(const std::vector<std::string>& objects);

}  // namespace sluice::packet_test
