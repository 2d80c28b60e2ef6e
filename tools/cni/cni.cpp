#include "tools/cni/cni.h"

#include <algorithm>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sluice::cni {
namespace {

namespace json = boost::json;

constexpr const char* default_socket = "/run/sluice/sluiced.sock";
constexpr size_t longest_interface = 15;
constexpr uint64_t largest_mtu = 65535;

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// CNI specification: what network names and container ids have to look like.
bool is_name(std::string_view text) {
  return !text.empty() && is_alphanumeric(text.front()) && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || c == '_' || c == '.' || c == '-';
  });
}

bool is_interface_name(std::string_view text) {
  return !text.empty() && text.size() <= longest_interface && text != "." && text != ".." &&
         std::none_of(text.begin(), text.end(), [](char c) { return c == '/' || c == ':' || c <= ' '; });
}

std::map<std::string, std::string> read_args(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find(';'));
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    out.emplace(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return out;
}

// ---- the configuration -------------------------------------------------------------------------------

// Reads fields and keeps the first complaint.
class Fields {
 public:
  Fields(const json::object& fields, std::string where, std::optional<Error>& complaint)
      : fields_(fields), where_(std::move(where)), complaint_(complaint) {}

  const json::value* find(std::string_view name) const {
    const json::value* found = fields_.if_contains(name);
    return found == nullptr || found->is_null() ? nullptr : found;
  }
  void text(std::string_view name, std::string& out) {
    const json::value* found = find(name);
    if (found == nullptr) return;
    if (!found->is_string()) return complain(name, "expected a text");
    out = std::string_view(found->get_string());
  }
  // Calico writes "true" as well as true.
  void flag(std::string_view name, bool& out) {
    const json::value* found = find(name);
    if (found == nullptr) return;
    if (found->is_bool()) {
      out = found->get_bool();
    } else if (found->is_string() && (found->get_string() == "true" || found->get_string() == "false")) {
      out = found->get_string() == "true";
    } else {
      complain(name, "expected true or false");
    }
  }
  void number(std::string_view name, uint32_t& out, uint64_t max) {
    const json::value* found = find(name);
    if (found == nullptr) return;
    json::error_code error;
    const auto value = found->to_number<uint64_t>(error);
    if (error || value > max) return complain(name, fmt::format("expected a number up to {}", max));
    out = static_cast<uint32_t>(value);
  }
  void texts(std::string_view name, std::vector<std::string>& out) {
    const json::value* found = find(name);
    if (found == nullptr) return;
    const json::array* items = found->if_array();
    if (items == nullptr) return complain(name, "expected a list of texts");
    for (const json::value& item : *items) {
      if (!item.is_string()) return complain(name, "expected a list of texts");
      out.emplace_back(std::string_view(item.get_string()));
    }
  }
  // Empty if there is none.
  json::object object(std::string_view name) {
    const json::value* found = find(name);
    if (found == nullptr) return {};
    if (found->is_object()) return found->get_object();
    complain(name, "expected an object");
    return {};
  }
  void complain(std::string_view name, std::string_view what) {
    if (complaint_) return;
    complaint_ = Error{Code::InvalidConfig, fmt::format("{}/{}: {}", where_, name, what)};
  }

 private:
  const json::object& fields_;
  std::string where_;
  std::optional<Error>& complaint_;
};

// "10.0.0.1" or "10.0.0.1/24".
std::optional<net::IpAddr> address_of(std::string_view text) {
  if (const auto prefix = net::parse_prefix(text)) return prefix->addr;
  return net::parse_ip(text);
}

// What a pod asks for comes in four ways; the annotation is the most particular.
void read_wishes(Fields& conf, const Environment& environment, NetConf& out, std::optional<Error>& complaint) {
  std::vector<std::string> addresses;
  const json::object runtime = conf.object("runtimeConfig");
  Fields runtime_fields(runtime, "/runtimeConfig", complaint);
  const json::object annotations = runtime_fields.object("io.kubernetes.cri.pod-annotations");
  Fields annotation_fields(annotations, "/runtimeConfig/io.kubernetes.cri.pod-annotations", complaint);
  // Each is a list, as JSON, in a text.
  const auto annotation = [&](const char* name, std::vector<std::string>& list) {
    std::string text;
    annotation_fields.text(name, text);
    if (text.empty()) return;
    json::error_code error;
    const json::object wrapped{{name, json::parse(text, error)}};
    if (error) return annotation_fields.complain(name, "expected a list of texts, as JSON");
    Fields(wrapped, "/runtimeConfig/io.kubernetes.cri.pod-annotations", complaint).texts(name, list);
  };
  std::vector<std::string> pools;
  annotation("cni.projectcalico.org/ipv4pools", pools);
  annotation("cni.projectcalico.org/ipv6pools", pools);
  if (!pools.empty()) out.pools = std::move(pools);
  annotation("cni.projectcalico.org/ipAddrs", addresses);
  if (addresses.empty()) runtime_fields.texts("ips", addresses);
  if (addresses.empty()) {
    const json::object args = conf.object("args");
    const json::object cni = Fields(args, "/args", complaint).object("cni");
    Fields(cni, "/args/cni", complaint).texts("ips", addresses);
  }
  if (const auto asked = environment.args.find("IP"); addresses.empty() && asked != environment.args.end()) {
    addresses.push_back(asked->second);
  }
  for (const std::string& text : addresses) {
    if (const auto address = address_of(text)) {
      out.addresses.push_back(*address);
    } else {
      conf.complain("args", fmt::format("\"{}\", which the pod asks for, is no address", text));
    }
  }
}

std::string prefix_text(const net::IpAddr& address) { return net::to_string(net::Prefix::host(address)); }

}  // namespace

const std::vector<std::string>& supported_versions() {
  static const std::vector<std::string> versions{"0.3.1", "0.4.0", "1.0.0"};
  return versions;
}

bool at_least(std::string_view a, std::string_view b) {
  const auto& all = supported_versions();
  return std::find(all.begin(), all.end(), a) >= std::find(all.begin(), all.end(), b);
}

Result<Environment> read_environment(const char* (*get)(const char* name)) {
  const auto text = [&](const char* name) {
    const char* value = get(name);
    return std::string(value == nullptr ? "" : value);
  };
  const auto wrong = [](std::string message) { return Error{Code::InvalidEnvironment, std::move(message)}; };
  Environment out;
  const std::string command = text("CNI_COMMAND");
  if (command == "VERSION") return out;
  if (command == "ADD") {
    out.command = Command::Add;
  } else if (command == "DEL") {
    out.command = Command::Del;
  } else if (command == "CHECK") {
    out.command = Command::Check;
  } else {
    return wrong(fmt::format("CNI_COMMAND is \"{}\", expected ADD, DEL, CHECK or VERSION", command));
  }
  out.container_id = text("CNI_CONTAINERID");
  out.netns = text("CNI_NETNS");
  out.ifname = text("CNI_IFNAME");
  out.path = text("CNI_PATH");
  out.args = read_args(text("CNI_ARGS"));
  if (!is_name(out.container_id)) {
    return wrong(fmt::format("CNI_CONTAINERID is \"{}\", expected letters, digits, _ . and -", out.container_id));
  }
  if (!is_interface_name(out.ifname)) {
    return wrong(fmt::format("CNI_IFNAME is \"{}\", which is no name of an interface", out.ifname));
  }
  if (out.netns.empty() && out.command != Command::Del) return wrong("CNI_NETNS is not set");
  return out;
}

std::string version_of(std::string_view text) {
  json::error_code error;
  const json::value value = json::parse(text, error);
  const json::value* found = error || !value.is_object() ? nullptr : value.get_object().if_contains("cniVersion");
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : supported_versions().back();
}

Result<NetConf> read_conf(const std::string& text, const Environment& environment) {
  json::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) {
    return Error{Code::Undecodable, "the network configuration on standard input is no JSON object",
                 error ? error.message() : ""};
  }
  NetConf out;
  out.text = text;
  out.socket = default_socket;
  std::optional<Error> complaint;
  Fields conf(value.get_object(), "", complaint);
  conf.text("cniVersion", out.cni_version);
  const auto& versions = supported_versions();
  if (std::find(versions.begin(), versions.end(), out.cni_version) == versions.end()) {
    return Error{Code::IncompatibleVersion, fmt::format("cniVersion \"{}\" is not supported", out.cni_version),
                 fmt::format("supported: {}", fmt::join(versions, ", "))};
  }
  conf.text("name", out.name);
  if (!is_name(out.name)) conf.complain("name", "expected letters, digits, _ . and -");
  conf.text("socket", out.socket);
  conf.text("nodeName", out.node_name);
  conf.number("mtu", out.mtu, largest_mtu);
  out.dns = conf.object("dns");
  if (conf.find("prevResult") != nullptr) out.previous = conf.object("prevResult");
  const json::object ipam = conf.object("ipam");
  Fields ipam_fields(ipam, "/ipam", complaint);
  out.ipam_type = "sluice-ipam";
  ipam_fields.text("type", out.ipam_type);
  if (!is_name(out.ipam_type)) ipam_fields.complain("type", "expected the name of a plugin");
  // Only ADD asks for addresses: an annotation that is wrong must not keep a container from being removed.
  if (out.ipam_type == "sluice-ipam" && environment.command == Command::Add) {
    ipam_fields.flag("assign_ipv4", out.ipv4);
    ipam_fields.flag("assign_ipv6", out.ipv6);
    ipam_fields.texts("ipv4_pools", out.pools);
    ipam_fields.texts("ipv6_pools", out.pools);
    read_wishes(conf, environment, out, complaint);
    if (!out.ipv4 && !out.ipv6 && out.addresses.empty()) {
      ipam_fields.complain("assign_ipv6", "neither assign_ipv4 nor assign_ipv6 is true");
    }
  }
  if (complaint) return *complaint;
  return out;
}

json::object result_of(const NetConf& conf, const Attachment& attachment) {
  json::array ips;
  json::array routes;
  for (const net::IpAddr& address : attachment.addresses) {
    const net::IpAddr gateway = address.is_v4() ? net::IpAddr(gateway4) : net::IpAddr(gateway6);
    json::object ip;
    if (!at_least(conf.cni_version, "1.0.0")) ip["version"] = address.is_v4() ? "4" : "6";
    ip["address"] = prefix_text(address);
    ip["gateway"] = net::to_string(gateway);
    ip["interface"] = 1;
    ips.push_back(std::move(ip));
    routes.push_back(json::object{{"dst", address.is_v4() ? "0.0.0.0/0" : "::/0"}, {"gw", net::to_string(gateway)}});
  }
  json::array interfaces{
      json::object{{"name", attachment.host_interface}, {"mac", attachment.host_mac}},
      json::object{{"name", attachment.interface}, {"mac", attachment.mac}, {"sandbox", attachment.netns}}};
  json::object out{{"cniVersion", conf.cni_version},
                   {"interfaces", std::move(interfaces)},
                   {"ips", std::move(ips)},
                   {"routes", std::move(routes)}};
  const json::object& dns = conf.dns.empty() ? attachment.dns : conf.dns;
  if (!dns.empty()) out["dns"] = dns;
  return out;
}

Result<std::vector<net::IpAddr>> addresses_of(const json::object& result, const std::string& interface) {
  std::vector<net::IpAddr> out;
  const Error odd{Code::Undecodable, "a result has no addresses", json::serialize(result)};
  const json::value* ips = result.if_contains("ips");
  if (ips == nullptr || !ips->is_array()) return odd;
  const json::value whole(result);
  // An index into the list of interfaces: in a container, and of that name.
  const auto is_anothers = [&](const json::value& ip) {
    json::error_code error;
    const json::value* index = ip.is_object() ? ip.get_object().if_contains("interface") : nullptr;
    if (index == nullptr || index->is_null()) return false;
    const json::value* owner = whole.find_pointer(fmt::format("/interfaces/{}", json::serialize(*index)), error);
    if (owner == nullptr || !owner->is_object()) return false;
    const json::value* name = owner->get_object().if_contains("name");
    return name == nullptr || *name != json::string(interface) || !owner->get_object().contains("sandbox");
  };
  for (const json::value& ip : ips->get_array()) {
    if (is_anothers(ip)) continue;
    const json::value* text = ip.is_object() ? ip.get_object().if_contains("address") : nullptr;
    const auto address = text != nullptr && text->is_string() ? address_of(text->get_string()) : std::nullopt;
    if (!address) return odd;
    out.push_back(*address);
  }
  if (out.empty()) return odd;
  return out;
}

Result<std::vector<ResultRoute>> routes_of(const json::object& result) {
  std::vector<ResultRoute> out;
  const json::value* routes = result.if_contains("routes");
  if (routes == nullptr || !routes->is_array()) return out;
  for (const json::value& route : routes->get_array()) {
    const auto text = [&](const char* name) {
      const json::value* found = route.is_object() ? route.get_object().if_contains(name) : nullptr;
      return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
    };
    const auto destination = net::parse_prefix(text("dst"));
    const auto gateway = net::parse_ip(text("gw"));
    if (!destination || (!gateway && !text("gw").empty())) {
      return Error{Code::Undecodable, "a result has a route that is none", json::serialize(route)};
    }
    out.push_back({destination->masked(), gateway});
  }
  return out;
}

json::object error_of(std::string_view version, const Error& error) {
  json::object out{{"cniVersion", version}, {"code", static_cast<unsigned>(error.code)}, {"msg", error.message}};
  if (!error.details.empty()) out["details"] = error.details;
  return out;
}

json::object version_answer(std::string_view version) {
  json::array versions;
  for (const std::string& one : supported_versions()) versions.emplace_back(one);
  return {{"cniVersion", version}, {"supportedVersions", std::move(versions)}};
}

}  // namespace sluice::cni
