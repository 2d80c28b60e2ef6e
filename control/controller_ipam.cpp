// Addresses of pods and tunnels in the running router: chosen by ipam.h, on the disk and routed before they are told.
// Blocks are routed beside the configuration that serves, whose generation stays.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/controller.h"
#include "control/in_background.h"
#include "control/tunnel_addresses.h"

namespace sluice::control {
namespace {

using ipam::Refusal;

ipam::Seconds seconds_now() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count();
}

Refusal not_configured() { return {Refusal::Kind::NotReady, "no configuration has been applied yet: try again later"}; }

Refusal not_kept(const net::Error& error) { return {Refusal::Kind::NotKept, error.message}; }

// "" if the handle has none.
std::string attribute(const ipam::Handle& handle, const char* name) {
  const auto found = handle.attributes.find(name);
  return found == handle.attributes.end() ? std::string() : found->second;
}

// The network namespace of its container is. Whoever may not look there knows nothing.
bool is_gone(const ipam::Handle& handle) {
  const std::string netns = attribute(handle, "netns");
  std::error_code error;
  return !netns.empty() && std::filesystem::status(netns, error).type() == std::filesystem::file_type::not_found;
}

std::string container_id_of(const std::string& endpoint) {
  boost::json::error_code error;
  const boost::json::value object = boost::json::parse(endpoint, error);
  const boost::json::value* id = error ? nullptr : object.find_pointer("/spec/containerID", error);
  return id != nullptr && id->is_string() ? std::string(id->get_string()) : std::string();
}

}  // namespace

void Controller::load_addresses() {
  auto messages = ipam_.load();
  ipam_warnings_ = messages ? std::move(*messages) : std::vector<std::string>{messages.error().message};
}

Allocated Controller::allocated() const {
  Allocated out;
  out.blocks = ipam_.routed();
  const std::string& node = objects_.config().gateway.node_name;
  const auto address_of = [&](const char* kind) -> std::optional<net::IpAddr> {
    const ipam::Handle* handle = ipam_.state().handle(kind + node);
    if (handle == nullptr || handle->use != ipam::Use::Tunnel) return std::nullopt;
    return handle->addresses.front();
  };
  if (const auto found = address_of(vxlan_handle); found && found->is_v4()) out.tunnels.vxlan_v4 = found->v4();
  if (const auto found = address_of(ipip_handle); found && found->is_v4()) out.tunnels.ipip_v4 = found->v4();
  if (const auto found = address_of(vxlan_v6_handle); found && found->is_v6()) out.tunnels.vxlan_v6 = found->v6();
  return out;
}

// Many that wait share one write.
Awaitable<net::Status<>> Controller::sync_addresses() {
  const uint64_t wanted = ipam_.written();
  const auto lock = co_await ipam_sync_.lock();
  if (ipam_synced_ >= wanted) co_return net::Done{};
  if (auto repaired = ipam_.repair(); !repaired) co_return repaired;
  const uint64_t written = ipam_.written();
  auto synced = co_await run_in(background_, ipam_.sync());
  if (!synced) {
    ipam_.sync_failed();
    co_return synced;
  }
  if (auto confirmed = ipam_.synced(written); !confirmed) co_return confirmed;
  ipam_synced_ = written;
  co_return net::Done{};
}

Awaitable<net::Status<>> Controller::settle_addresses() {
  if (auto synced = co_await sync_addresses(); !synced) co_return synced;
  const auto is_routed = [this] {
    return allocated() == routed_ && (!routing_token_ || plane_.publisher().passed(*routing_token_));
  };
  if (is_routed() && ipam_.given_up().empty()) co_return net::Done{};
  const auto lock = co_await changes_.lock();
  if (generation_ == 0) co_return net::Done{};
  const std::set<net::Prefix> given_up = ipam_.given_up();
  if (!(allocated() == routed_)) {
    std::vector<std::string> warnings;
    const config::Change nothing;
    Allocated addresses = allocated();
    std::optional<net::Result<uint64_t>> token;
    if (const auto delta = delta_of(nothing, addresses)) {
      token = co_await rewire(*delta, nothing, std::move(addresses));
      warnings = routing_warnings(deployment_.plan().warnings);
    } else {
      token = co_await rewire(&nothing, warnings);
    }
    if (!*token) co_return token->error();
    warnings_ = std::move(warnings);
    follow_bgp(nullptr);
  }
  // As well for routes that were published earlier: a late worker may still send by them.
  if (!is_routed()) {
    const bool taken_over = co_await wait_for(*routing_token_);
    if (!taken_over) co_return net::Error{"a worker has not taken the routes of blocks over yet"};
    deployment_.finish();
  }
  co_return ipam_.drop(given_up);
}

Awaitable<net::Result<std::vector<net::IpAddr>, Refusal>> Controller::assign_addresses(ipam::Request request) {
  std::optional<net::Result<std::vector<net::IpAddr>, Refusal>> assigned;
  {
    const auto lock = co_await changes_.lock();  // the pools are those that serve
    if (generation_ == 0) co_return not_configured();
    if (request.node.empty()) request.node = objects_.config().gateway.node_name;
    assigned.emplace(ipam_.assign(objects_.config(), request, seconds_now()));
  }
  if (!*assigned) co_return *std::move(assigned);
  if (auto settled = co_await settle_addresses(); !settled) co_return not_kept(settled.error());
  co_return *std::move(assigned);
}

Awaitable<net::Result<size_t, Refusal>> Controller::release_addresses(std::string handle) {
  // The endpoints are not known yet either.
  if (generation_ == 0) co_return not_configured();
  // A start must not find an endpoint whose address is another's by then: its deletion is on the disk before.
  if (auto synced = co_await run_in(background_, journal_.sync()); !synced) co_return not_kept(synced.error());
  auto released = ipam_.release(handle, seconds_now());
  if (!released) co_return released;
  {
    const auto lock = co_await changes_.lock();
    if (auto tidied = ipam_.tidy(objects_.config(), seconds_now()); !tidied) co_return not_kept(tidied.error());
  }
  if (auto settled = co_await settle_addresses(); !settled) co_return not_kept(settled.error());
  co_return released;
}

// `change`: nullptr: nothing is known of what was before.
void Controller::follow_tunnel_addresses(const config::Change* change) {
  const bool concerned = change == nullptr || change->touches("IPPool") || change->touches("IPAMConfiguration") ||
                         change->touches("Node") || change->touches(std::string_view("GatewayConfiguration"));
  if (!concerned) return;
  const TunnelAddressSteps steps = tunnel_address_steps(objects_.config(), ipam_.state());
  if (steps.release.empty() && steps.assign.empty()) return;
  boost::asio::co_spawn(io_, take_tunnel_addresses(), boost::asio::detached);
}

Awaitable<void> Controller::take_tunnel_addresses() {
  const auto lock = co_await tunnel_addresses_.lock();
  TunnelAddressSteps steps = tunnel_address_steps(objects_.config(), ipam_.state());
  for (const std::string& handle : steps.release) (void)co_await release_addresses(handle);
  std::string problem;
  for (ipam::Request& request : steps.assign) {
    const std::string handle = request.handle;
    const auto assigned = co_await assign_addresses(std::move(request));
    if (!assigned) problem = fmt::format("{} has no address: {}", handle, assigned.error().message);
  }
  if (problem == tunnel_problem_) co_return;
  std::erase(ipam_warnings_, tunnel_problem_);
  if (!problem.empty()) ipam_warnings_.push_back(problem);
  tunnel_problem_ = std::move(problem);
}

Awaitable<void> Controller::renew_tunnel_addresses() {
  co_await take_tunnel_addresses();
  const config::Config& config = objects_.config();
  const auto is_right = [&](const net::IpAddr& address) {
    return std::any_of(config.pools.begin(), config.pools.end(), [&](const auto& entry) {
      return entry.second.for_tunnels && !entry.second.disabled && entry.second.cidr.contains(address);
    });
  };
  std::vector<ipam::Request> again;
  for (const auto& [name, handle] : ipam_.state().handles()) {
    if (handle.use != ipam::Use::Tunnel) continue;
    if (std::all_of(handle.addresses.begin(), handle.addresses.end(), is_right)) continue;
    ipam::Request request{
        .handle = name, .node = handle.node, .use = ipam::Use::Tunnel, .attributes = handle.attributes};
    for (const net::IpAddr& address : handle.addresses) request.families.push_back(address.family());
    again.push_back(std::move(request));
  }
  for (ipam::Request& request : again) {
    const auto released = co_await release_addresses(request.handle);
    if (!released) continue;
    const std::string handle = request.handle;
    const auto assigned = co_await assign_addresses(std::move(request));
    if (!assigned) ipam_warnings_.push_back(fmt::format("{} has no address: {}", handle, assigned.error().message));
  }
}

// A pod that ended while nobody could tell the router: its network namespace is gone.
Awaitable<void> Controller::collect_leaks() {
  std::vector<std::string> leaked;
  std::map<std::string, Clock::time_point> gone;
  const auto grace = std::chrono::seconds(objects_.config().ipam.leak_grace_seconds);
  for (const auto& [name, handle] : ipam_.state().handles()) {
    if (!is_gone(handle)) continue;
    const auto before = gone_since_.find(name);
    const Clock::time_point since = before == gone_since_.end() ? Clock::now() : before->second;
    gone.emplace(name, since);
    if (Clock::now() - since >= grace) leaked.push_back(name);
  }
  gone_since_ = std::move(gone);
  for (const std::string& name : leaked) co_await release_leak(name);
  if (generation_ != 0) co_await renew_tunnel_addresses();
  {
    const auto lock = co_await changes_.lock();
    if (generation_ != 0) (void)ipam_.tidy(objects_.config(), seconds_now());
  }
  (void)co_await settle_addresses();
}

// First what sends packets to the address, then the address. The container may be started again at any time, with
// another network namespace.
Awaitable<void> Controller::release_leak(std::string name) {
  const ipam::Handle* handle = ipam_.state().handle(name);
  if (handle == nullptr || !is_gone(*handle)) co_return;
  const std::string endpoint = attribute(*handle, "endpoint");
  const std::string container = attribute(*handle, "containerID");
  if (const size_t slash = endpoint.find('/'); slash != std::string::npos) {
    config::ObjectKey key{"WorkloadEndpoint", endpoint.substr(0, slash), endpoint.substr(slash + 1)};
    const std::string* object = objects_.text_of(key);
    // Another container may have the endpoint by now.
    if (object != nullptr && container_id_of(*object) == container) {
      ApplyOptions options;
      options.asked_by = "a network namespace that is gone";
      const ApplyReply reply = co_await delete_object(key, options);
      if (reply.code != ApplyReply::Code::Applied && reply.code != ApplyReply::Code::Unchanged) co_return;
    }
  }
  handle = ipam_.state().handle(name);
  if (handle != nullptr && is_gone(*handle)) (void)co_await release_addresses(name);
}

Awaitable<void> Controller::keep_collecting_leaks() {
  constexpr std::chrono::seconds shortest{1};
  constexpr std::chrono::seconds longest{60};
  Clock::time_point last = Clock::now();
  while (true) {
    co_await pause(shortest);
    const auto grace = std::chrono::seconds(objects_.config().ipam.leak_grace_seconds);
    if (Clock::now() - last < std::clamp(grace / 4, shortest, longest)) continue;
    co_await collect_leaks();
    last = Clock::now();
  }
}

}  // namespace sluice::control
