#include "control/api_ipam.h"

#include <algorithm>
#include <array>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace json = boost::json;

constexpr size_t longest_handle = 255;
constexpr size_t longest_text = 1024;  // of an attribute
constexpr size_t most_attributes = 32;

bool is_handle(std::string_view text) {
  return !text.empty() && text.size() <= longest_handle && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-' || c == ':';
  });
}

// Takes the fields of a request one after the other and keeps the first complaint.
class AddressRequestReader {
 public:
  explicit AddressRequestReader(const json::object& fields) : fields_(fields) {}

  net::Result<ipam::Request> read() {
    for (const auto& field : fields_) take(field.key(), field.value());
    if (complaint_.empty() && request_.handle.empty()) complain("handle", "needed");
    if (complaint_.empty() && request_.families.empty() && request_.addresses.empty()) {
      complain("families", "needed, or addresses");
    }
    if (!complaint_.empty()) return net::Error{complaint_};
    return request_;
  }

 private:
  void take(std::string_view name, const json::value& value) {
    if (name == "handle") {
      request_.handle = text(name, value);
      if (!is_handle(request_.handle)) complain(name, "expected letters, digits and . _ - : , at most 255 of them");
    } else if (name == "node") {
      request_.node = text(name, value);
    } else if (name == "use") {
      const std::string use = text(name, value);
      if (use != "Workload" && use != "Tunnel") complain(name, "expected Workload or Tunnel");
      request_.use = use == "Tunnel" ? ipam::Use::Tunnel : ipam::Use::Workload;
    } else if (name == "attributes") {
      take_attributes(value);
    } else if (name == "families") {
      each(name, value, [&](const std::string& word) {
        if (word != "IPv4" && word != "IPv6") return complain(name, "expected IPv4 or IPv6 in the list");
        request_.families.push_back(word == "IPv4" ? net::Family::V4 : net::Family::V6);
      });
    } else if (name == "addresses") {
      each(name, value, [&](const std::string& word) {
        const auto address = net::parse_ip(word);
        if (!address) return complain(name, fmt::format("\"{}\" is not an address", word));
        request_.addresses.push_back(*address);
      });
    } else if (name == "pools") {
      each(name, value, [&](const std::string& word) { request_.pools.push_back(word); });
    } else {
      complain(name, "there is no such field");
    }
  }

  void take_attributes(const json::value& value) {
    const json::object* attributes = value.if_object();
    if (attributes == nullptr || attributes->size() > most_attributes) {
      return complain("attributes", "expected an object of at most 32 texts");
    }
    for (const auto& field : *attributes) {
      const std::string name = fmt::format("attributes/{}", std::string_view(field.key()));
      request_.attributes.emplace(field.key(), text(name, field.value()));
    }
  }

  template <class Visit>
  void each(std::string_view name, const json::value& value, Visit visit) {
    const json::array* items = value.if_array();
    if (items == nullptr) return complain(name, "expected a list of texts");
    for (const json::value& item : *items) visit(text(name, item));
  }

  std::string text(std::string_view name, const json::value& value) {
    const json::string* found = value.if_string();
    if (found != nullptr && found->size() <= longest_text) return std::string(*found);
    complain(name, "expected a text of at most 1024 bytes");
    return "";
  }

  void complain(std::string_view name, std::string_view what) {
    if (complaint_.empty()) complaint_ = fmt::format("/{}: {}", name, what);
  }

  const json::object& fields_;
  ipam::Request request_;
  std::string complaint_;
};

json::array texts_of(const std::vector<net::IpAddr>& addresses) {
  json::array out;
  for (const net::IpAddr& address : addresses) out.emplace_back(net::to_string(address));
  return out;
}

json::object attributes_of(const ipam::Handle& handle) {
  json::object out;
  for (const auto& [name, value] : handle.attributes) out[name] = value;
  return out;
}

json::object to_json(const std::string& name, const ipam::Handle& handle) {
  return {{"handle", name},
          {"node", handle.node},
          {"use", ipam::to_text(handle.use)},
          {"timeSeconds", handle.since},
          {"addresses", texts_of(handle.addresses)},
          {"attributes", attributes_of(handle)}};
}

Response refused(const ipam::Refusal& refusal) {
  using Kind = ipam::Refusal::Kind;
  const bool later = refusal.kind == Kind::NotKept || refusal.kind == Kind::NotReady;
  return error_response(later ? 503 : refusal.kind == Kind::Invalid ? 422 : 409, refusal.message);
}

}  // namespace

net::Result<ipam::Request> read_address_request(const std::string& body) {
  json::error_code error;
  const json::value value = json::parse(body, error);
  if (error || !value.is_object()) {
    return net::Error{R"(expected an object like {"handle": "net.0123", "families": ["IPv4"]})"};
  }
  return AddressRequestReader(value.get_object()).read();
}

std::optional<std::string> handle_of(std::string_view path) {
  static constexpr std::string_view prefix = "/v1/ipam/handles/";
  if (!path.starts_with(prefix)) return std::nullopt;
  path.remove_prefix(prefix.size());
  if (!is_handle(path)) return std::nullopt;
  return std::string(path);
}

Awaitable<Response> post_ipam_addresses(Router& router, Request request) {
  auto wanted = read_address_request(request.body);
  if (!wanted) co_return error_response(400, wanted.error().message);
  const std::string handle = wanted->handle;
  const auto assigned = co_await router.assign_addresses(std::move(*wanted));
  if (!assigned) co_return refused(assigned.error());
  co_return json_response(json::object{{"handle", handle}, {"addresses", texts_of(*assigned)}});
}

Awaitable<Response> delete_ipam_handle(Router& router, Request request) {
  const auto released = co_await router.release_addresses(handle_of(request.path).value());
  if (!released) co_return refused(released.error());
  co_return json_response(json::object{{"released", *released}});
}

Awaitable<Response> get_ipam_addresses(Router& router, Request) {
  const ipam::State& state = router.assigned_addresses();
  json::array out;
  for (const auto& [cidr, block] : state.blocks()) {
    for (const auto& [ordinal, name] : block.used) {
      const ipam::Handle& handle = *state.handle(name);
      out.push_back(json::object{{"address", net::to_string(block.address(ordinal))},
                                 {"handle", name},
                                 {"node", handle.node},
                                 {"use", ipam::to_text(handle.use)},
                                 {"block", net::to_string(cidr)},
                                 {"borrowed", handle.node != block.node},
                                 {"timeSeconds", handle.since},
                                 {"attributes", attributes_of(handle)}});
    }
  }
  co_return json_response(json::object{{"addresses", std::move(out)}});
}

Awaitable<Response> get_ipam_blocks(Router& router, Request) {
  json::array out;
  for (const auto& [cidr, block] : router.assigned_addresses().blocks()) {
    out.push_back(json::object{{"cidr", net::to_string(cidr)},
                               {"node", block.node},
                               {"state", ipam::to_text(block.affinity)},
                               {"size", block.size()},
                               {"used", block.used.size()},
                               {"free", block.free.size()}});
  }
  co_return json_response(json::object{{"blocks", std::move(out)}});
}

Awaitable<Response> get_ipam_handles(Router& router, Request) {
  json::array out;
  for (const auto& [name, handle] : router.assigned_addresses().handles()) out.push_back(to_json(name, handle));
  co_return json_response(json::object{{"handles", std::move(out)}});
}

Awaitable<Response> get_ipam_handle(Router& router, Request request) {
  const std::string name = handle_of(request.path).value();
  const ipam::Handle* handle = router.assigned_addresses().handle(name);
  if (handle == nullptr) co_return error_response(404, fmt::format("there is no handle {}", name));
  co_return json_response(to_json(name, *handle));
}

}  // namespace sluice::control
