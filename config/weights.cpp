// The annotation sluice.dev/weights of a Service: how new flows are shared out among its endpoints. Its text is a JSON
// object from endpoints to weights; an endpoint is named by its address, by its pod, or as one of those whose
// EndpointSlice has a label:
//
//   {"10.244.34.5": 0, "web-7c9f-x2x4q": 50, "track=canary": 10}
#include <algorithm>

#include <boost/json/parse.hpp>
#include <fmt/format.h>

#include "config/convert.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

// False: such an endpoint has a weight already.
bool set_weight(std::string_view endpoint, uint8_t weight, EndpointWeights& out) {
  if (const auto address = net::parse_ip(endpoint)) return out.addresses.emplace(*address, weight).second;
  const size_t equals = endpoint.find('=');
  if (equals == std::string_view::npos) return out.pods.emplace(endpoint, weight).second;
  return out.labels.emplace(std::pair(endpoint.substr(0, equals), endpoint.substr(equals + 1)), weight).second;
}

bool names_endpoints(std::string_view text) {
  const size_t equals = text.find('=');
  return equals == std::string_view::npos ? net::parse_ip(text) || is_dns_subdomain(text) : equals != 0;
}

}  // namespace

void read_weights(Reader& annotations, EndpointWeights& out) {
  static constexpr std::string_view key = "sluice.dev/weights";
  std::string text;
  annotations.text(key, text);
  if (text.empty()) return;
  const auto fault = [&](std::string message) { annotations.fault(key, std::move(message)); };
  json::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) {
    return fault(R"(expected a JSON object of weights, like {"10.244.34.5": 0, "web-0": 50, "track=canary": 10})");
  }
  for (const auto& [name, weight] : value.get_object()) {
    const std::string_view endpoint = name;
    json::error_code no_number;
    const auto number = weight.to_number<int64_t>(no_number);
    if (!names_endpoints(endpoint)) {
      fault(fmt::format("{} is neither an address nor the name of a pod nor a label (key=value)", quoted(endpoint)));
    } else if (no_number || weight.is_double() || number < 0 || number > EndpointWeights::full) {
      fault(fmt::format("{}: expected a weight from 0 to {}", quoted(endpoint), EndpointWeights::full));
    } else if (!set_weight(endpoint, static_cast<uint8_t>(number), out)) {
      fault(fmt::format("{} is named twice", quoted(endpoint)));
    }
  }
}

uint8_t EndpointWeights::of(const EndpointSlice& slice, const Endpoint& endpoint) const {
  if (empty()) return full;
  if (const auto found = addresses.find(endpoint.address); found != addresses.end()) return found->second;
  if (const auto found = pods.find(endpoint.pod); found != pods.end()) return found->second;
  uint8_t weight = full;
  for (const auto& [label, value] : labels) {
    const auto found = slice.labels.find(label.first);
    if (found != slice.labels.end() && found->second == label.second) weight = std::min(weight, value);
  }
  return weight;
}

}  // namespace sluice::config
