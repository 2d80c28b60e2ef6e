#include "tools/cni/router.h"

#include <algorithm>
#include <array>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <openssl/evp.h>

#include "config/kinds.h"

namespace sluice::cni {
namespace {

namespace json = boost::json;

constexpr size_t hash_digits = 11;
constexpr const char* pod_name = "K8S_POD_NAME";
constexpr const char* pod_namespace = "K8S_POD_NAMESPACE";

std::string arg(const Environment& environment, const char* name) {
  const auto found = environment.args.find(name);
  return found == environment.args.end() ? std::string() : found->second;
}

std::string hash_of(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha1(), nullptr);
  std::string out;
  for (unsigned i = 0; i < length; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

// Calico: a dash within a part is written twice, so that parts can be told from each other.
std::string part(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '-' ? std::string("--") : std::string(1, c);
  return out;
}

std::string path_of(const Names& names) {
  return fmt::format("/v1/WorkloadEndpoint/{}/{}", ctl::percent_encoded(names.ns),
                     ctl::percent_encoded(names.endpoint));
}

std::string text_at(const json::object& object, std::string_view pointer) {
  json::error_code error;
  const json::value value(object);
  const json::value* found = value.find_pointer(pointer, error);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

Result<std::vector<net::IpAddr>> addresses_in(const json::object& answer) {
  std::vector<net::IpAddr> out;
  const json::value* list = answer.if_contains("addresses");
  if (list != nullptr && list->is_array()) {
    for (const json::value& item : list->get_array()) {
      const auto address = item.is_string() ? net::parse_ip(item.get_string()) : std::nullopt;
      if (address) out.push_back(*address);
    }
  }
  if (out.empty()) return Error{Code::Undecodable, "the router answered without an address", json::serialize(answer)};
  return out;
}

}  // namespace

Names names_of(const NetConf& conf, const Environment& environment, const std::string& node) {
  Names out;
  out.handle = fmt::format("{}.{}.{}", conf.name, environment.container_id, environment.ifname);
  // Handles have at most 255 characters, of those that every container's has.
  if (out.handle.size() > 255 || std::any_of(out.handle.begin(), out.handle.end(), [](char c) {
        return !(c == '.' || c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                 (c >= 'A' && c <= 'Z'));
      })) {
    out.handle = fmt::format("cni.{}", hash_of(out.handle));
  }
  const std::string attachment = fmt::format("{}/{}", environment.container_id, environment.ifname);
  out.host_interface = fmt::format("cali{}", hash_of(attachment).substr(0, hash_digits));
  const std::string pod = arg(environment, pod_name);
  out.ns = arg(environment, pod_namespace);
  if (out.ns.empty()) out.ns = "default";
  out.endpoint = pod.empty()
                     ? fmt::format("{}-cni-{}-{}", part(node), part(environment.container_id), part(environment.ifname))
                     : fmt::format("{}-k8s-{}-{}", part(node), part(pod), part(environment.ifname));
  if (!config::is_dns_subdomain(out.endpoint)) out.endpoint = fmt::format("cni-{}", hash_of(attachment));
  return out;
}

json::object endpoint_spec(const Environment& environment, const std::string& node, const Attachment& attachment) {
  const std::string pod = arg(environment, pod_name);
  json::array networks;
  for (const net::IpAddr& address : attachment.addresses) {
    networks.emplace_back(net::to_string(net::Prefix::host(address)));
  }
  json::object spec{{"orchestrator", pod.empty() ? "cni" : "k8s"},
                    {"node", node},
                    {"containerID", environment.container_id},
                    {"endpoint", environment.ifname},
                    {"interfaceName", attachment.host_interface},
                    {"mac", attachment.mac},
                    {"ipNetworks", std::move(networks)}};
  spec[pod.empty() ? "workload" : "pod"] = pod.empty() ? environment.container_id : pod;
  return spec;
}

Result<std::optional<json::object>> Router::call(const ctl::Call& call) {
  const auto answer = ctl::send(server_, call);
  if (!answer) {
    unreachable_ = true;
    return Error{Code::TryAgain, answer.error().message};
  }
  json::error_code error;
  json::value body = json::parse(answer->body, error);
  if (answer->status == 200 && !error && body.is_object()) return std::optional(std::move(body.get_object()));
  if (answer->status == 404) return std::optional<json::object>();
  std::string why =
      error || !body.is_object() ? answer->body.substr(0, 200) : text_at(body.get_object(), "/error/message");
  // Of a document the first fault says more.
  if (!error && body.is_object()) {
    const std::string fault = text_at(body.get_object(), "/errors/0/message");
    if (!fault.empty()) why += fmt::format(": {}: {}", text_at(body.get_object(), "/errors/0/path"), fault);
  }
  // 503: what is in the way may go.
  return Error{answer->status == 503 ? Code::TryAgain : Code::Refused,
               fmt::format("sluiced refused {} {}: {} ({})", call.method, call.target, why, answer->status)};
}

Result<std::string> Router::node_name() {
  auto status = call({"GET", "/v1/status"});
  if (!status) return status.error();
  const json::value* generation = *status ? (*status)->if_contains("generationApplied") : nullptr;
  if (generation == nullptr || *generation == 0) return Error{Code::TryAgain, "sluiced has no configuration yet"};
  return text_at(**status, "/nodeName");
}

Result<std::vector<net::IpAddr>> Router::assign(const NetConf& conf, const Environment& environment, const Names& names,
                                                const std::string& node) {
  json::array families;
  if (conf.ipv4) families.emplace_back("IPv4");
  if (conf.ipv6) families.emplace_back("IPv6");
  json::array addresses;
  for (const net::IpAddr& address : conf.addresses) addresses.emplace_back(net::to_string(address));
  json::array pools;
  for (const std::string& pool : conf.pools) pools.emplace_back(pool);
  json::object attributes{{"netns", environment.netns},
                          {"containerID", environment.container_id},
                          {"endpoint", fmt::format("{}/{}", names.ns, names.endpoint)}};
  if (const std::string pod = arg(environment, pod_name); !pod.empty()) {
    attributes["pod"] = pod;
    attributes["namespace"] = names.ns;
  }
  const json::object request{{"handle", names.handle},          {"node", node},
                             {"families", std::move(families)}, {"addresses", std::move(addresses)},
                             {"pools", std::move(pools)},       {"attributes", std::move(attributes)}};
  auto answer = call({"POST", "/v1/ipam/addresses", "application/json", json::serialize(request)});
  if (!answer) return answer.error();
  if (!*answer) return Error{Code::Refused, "sluiced does not allocate addresses: it is an older version"};
  return addresses_in(**answer);
}

Result<std::vector<net::IpAddr>> Router::assigned(const std::string& handle) {
  auto answer = call({"GET", fmt::format("/v1/ipam/handles/{}", ctl::percent_encoded(handle))});
  if (!answer) return answer.error();
  if (!*answer) return Error{Code::NotAsMade, fmt::format("no address is assigned to handle {}", handle)};
  return addresses_in(**answer);
}

Status Router::release(const std::string& handle) {
  const auto answer = call({"DELETE", fmt::format("/v1/ipam/handles/{}", ctl::percent_encoded(handle))});
  if (!answer) return answer.error();
  return net::Done{};
}

Status Router::put_endpoint(const Environment& environment, const Names& names, const std::string& node,
                            const Attachment& attachment) {
  const json::object object{{"apiVersion", "projectcalico.org/v3"},
                            {"kind", "WorkloadEndpoint"},
                            {"metadata", {{"name", names.endpoint}, {"namespace", names.ns}}},
                            {"spec", endpoint_spec(environment, node, attachment)}};
  const auto answer = call({"PUT", path_of(names), "application/json", json::serialize(object)});
  if (!answer) return answer.error();
  if (!*answer) return Error{Code::Refused, "sluiced knows no WorkloadEndpoint: it is an older version"};
  return net::Done{};
}

Result<std::optional<json::object>> Router::endpoint(const Names& names) { return call({"GET", path_of(names)}); }

Status Router::delete_endpoint(const Names& names, const std::string& container_id) {
  const auto found = endpoint(names);
  if (!found) return found.error();
  if (!*found || text_at(**found, "/spec/containerID") != container_id) return net::Done{};
  const auto answer = call({"DELETE", path_of(names)});
  if (!answer) return answer.error();
  return net::Done{};
}

}  // namespace sluice::cni
