#include "tests/packet/documents.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>

namespace sluice::packet_test {
namespace {

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

bool is_v6(const std::string& address) { return address.find(':') != std::string::npos; }

std::string quoted_list(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "\"" : ",\"") + item + "\"";
  return "[" + out + "]";
}

std::string dashed(std::string address) {
  for (char& letter : address) {
    if (letter == '.' || letter == ':') letter = '-';
  }
  return address;
}

std::string escaped(std::string text) {
  for (size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return text;
}

std::string port_name(const std::vector<std::string>& port) {
  return fmt::format("p{}-{}", port[1], port[0] == "TCP" ? "tcp" : port[0] == "UDP" ? "udp" : "sctp");
}

std::string slice(const ServiceSpec& spec, bool v6) {
  std::string endpoints;
  for (const std::string& text : spec.endpoints) {
    const auto word = words(text);
    if (is_v6(word[0]) != v6) continue;
    const std::string state = word.size() > 2 ? word[2] : "ready";
    endpoints += fmt::format(
        R"({}{{"addresses":["{}"],"nodeName":"{}","targetRef":{{"kind":"Pod","name":"{}-{}"}},
        "conditions":{{"ready":{},"serving":{},"terminating":{}}}}})",
        endpoints.empty() ? "" : ",", word[0], word[1] == "-" ? "" : word[1], spec.name, dashed(word[0]),
        state == "ready", state != "unready", state == "terminating");
  }
  std::string ports;
  for (const std::string& text : spec.ports) {
    const auto port = words(text);
    ports += fmt::format(R"({}{{"name":"{}","protocol":"{}","port":{}}})", ports.empty() ? "" : ",", port_name(port),
                         port[0], port[2]);
  }
  return fmt::format(R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"namespace":"default",
    "name":"{0}-{1}","labels":{{"kubernetes.io/service-name":"{0}"}}}},"addressType":"IPv{1}","ports":[{2}],
    "endpoints":[{3}]}})",
                     spec.name, v6 ? 6 : 4, ports, endpoints);
}

}  // namespace

const char* const interface_a = R"({"name":"up","device":"net_ring_a","mac":"02:00:00:00:00:0a","role":"uplink",
  "addresses":["192.0.2.1/24","2001:db8:2::1/64"],"gateway":{"v4":"192.0.2.254","v6":"2001:db8:2::fe"}})";
const char* const interface_b = R"({"name":"un","device":"net_ring_b","mac":"02:00:00:00:00:0b","role":"uplink",
  "addresses":["192.168.0.1/24","2001:db8:a::1/64"]})";

Gateway::Gateway()
    : neighbors(R"({"interface":"up","address":"192.0.2.10","mac":"02:00:00:00:00:10"},
    {"interface":"up","address":"192.0.2.254","mac":"02:00:00:00:00:fe"},
    {"interface":"up","address":"2001:db8:2::10","mac":"02:00:00:00:00:10"},
    {"interface":"up","address":"2001:db8:2::fe","mac":"02:00:00:00:00:fe"},
    {"interface":"un","address":"192.168.0.11","mac":"02:00:00:00:00:11"},
    {"interface":"un","address":"192.168.0.12","mac":"02:00:00:00:00:12"},
    {"interface":"un","address":"192.168.0.13","mac":"02:00:00:00:00:13"},
    {"interface":"un","address":"2001:db8:a::11","mac":"02:00:00:00:00:11"},
    {"interface":"un","address":"2001:db8:a::12","mac":"02:00:00:00:00:12"},
    {"interface":"un","address":"2001:db8:a::13","mac":"02:00:00:00:00:13"})") {}

std::string Gateway::text() const {
  return fmt::format(R"({{"apiVersion":"sluice.dev/v1","kind":"GatewayConfiguration","metadata":{{"name":"default"}},
    "spec":{{"nodeName":"gw","interfaces":[{}],"neighbors":[{}],
    "cluster":{{"clusterCIDRs":["10.244.0.0/14","fd00:10:246::/48"],
                "serviceCIDRs":["10.96.0.0/16","fd00:10:96::/112"]}}{}{}}}}})",
                     interfaces, neighbors, more.empty() ? "" : ",", more);
}

std::string gateway(const std::string& more) {
  Gateway out;
  out.more = more;
  return out.text();
}

std::string service(const ServiceSpec& spec) {
  std::string ports;
  bool node_ports = false;
  for (const std::string& text : spec.ports) {
    const auto port = words(text);
    ports += fmt::format(R"({}{{"name":"{}","protocol":"{}","port":{},"targetPort":{}{}}})", ports.empty() ? "" : ",",
                         port_name(port), port[0], port[1], port[2], port.size() > 3 ? ",\"nodePort\":" + port[3] : "");
    node_ports = node_ports || port.size() > 3;
  }
  bool families[2] = {false, false};
  std::string family_names;
  for (const std::string& address : spec.cluster_ips) {
    families[is_v6(address) ? 1 : 0] = true;
    family_names += (family_names.empty() ? "" : ",") + std::string(is_v6(address) ? "\"IPv6\"" : "\"IPv4\"");
  }
  const char* type = !spec.load_balancer_ip.empty() ? "LoadBalancer" : node_ports ? "NodePort" : "ClusterIP";
  std::string out = fmt::format(
      R"({{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"default","name":"{}",
    "annotations":{{"sluice.dev/weights":"{}","sluice.dev/forwarding":"{}"}}}},"spec":{{"type":"{}",
    "clusterIP":"{}","clusterIPs":{},"ipFamilies":[{}],"ports":[{}]{}{}{}}})",
      spec.name, escaped(spec.weights), spec.forwarding, type, spec.cluster_ips.at(0), quoted_list(spec.cluster_ips),
      family_names, ports, spec.external_ip.empty() ? "" : ",\"externalIPs\":[\"" + spec.external_ip + "\"]",
      spec.more.empty() ? "" : ",", spec.more);
  if (!spec.load_balancer_ip.empty()) {
    out += fmt::format(R"(,"status":{{"loadBalancer":{{"ingress":[{{"ip":"{}"}}]}}}})", spec.load_balancer_ip);
  }
  out += "}";
  if (families[0]) out += "," + slice(spec, false);
  if (families[1]) out += "," + slice(spec, true);
  return out;
}

std::string node(const std::string& name, const std::string& address, const std::string& annotations) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}","annotations":{{{}}}}},
    "status":{{"addresses":[{{"type":"InternalIP","address":"{}"}}]}}}})",
                     name, annotations, address);
}

std::string pool(const std::string& name, const std::string& cidr, const std::string& more) {
  return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{{"name":"{}"}},
    "spec":{{"cidr":"{}"{}{}}}}})",
                     name, cidr, more.empty() ? "" : ",", more);
}

std::string block(const std::string& node, const std::string& cidr, const std::string& state) {
  std::string name = node + "-" + dashed(cidr);
  std::replace(name.begin(), name.end(), '/', '-');
  return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"BlockAffinity","metadata":{{"name":"{}"}},
    "spec":{{"node":"{}","cidr":"{}","state":"{}","deleted":false}}}})",
                     name, node, cidr, state);
}

std::string cluster(const std::string& more) {
  const std::string comma = more.empty() ? "" : "," + more;
  const std::string own = R"("projectcalico.org/IPv4Address":"192.168.0.1/24",
    "projectcalico.org/IPv4VXLANTunnelAddr":"10.244.0.0","projectcalico.org/IPv4IPIPTunnelAddr":"10.245.0.0")";
  const std::string node3 = R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"node3"},"status":{"addresses":[
    {"type":"InternalIP","address":"192.168.0.13"},{"type":"InternalIP","address":"2001:db8:a::13"}]}})";
  const std::vector<std::string> objects{
      node("gw", "192.168.0.1", own),
      node("node1", "192.168.0.11"),
      node("node2", "192.168.0.12"),
      node3,
      pool("vxlan", "10.244.0.0/16", R"("vxlanMode":"Always")" + comma),
      pool("ipip", "10.245.0.0/16", R"("ipipMode":"Always")" + comma),
      pool("direct", "10.246.0.0/16", more),
      pool("direct-v6", "fd00:10:246::/48", more),
      block("gw", "10.244.0.0/26"),
      block("gw", "10.245.0.0/26"),
      block("node1", "10.244.34.0/26"),
      block("node2", "10.245.40.0/26"),
      block("node3", "10.246.1.0/26"),
      block("node3", "fd00:10:246::/122"),
  };
  std::string out;
  for (const std::string& object : objects) out += (out.empty() ? "" : ",") + object;
  return out;
}

std::string list(const std::vector<std::string>& objects) {
  std::string items;
  for (const std::string& object : objects) {
    if (!object.empty()) items += (items.empty() ? "" : ",\n") + object;
  }
  return R"({"apiVersion":"v1","kind":"List","items":[)" + items + "]}";
}

}  // namespace sluice::packet_test
