// A router that only remembers what it was asked, for tests of the API in front of it.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "control/router.h"

namespace sluice::control {

inline net::IpAddr ip(std::string_view text) { return net::parse_ip(text).value(); }
inline net::Prefix prefix(std::string_view text) { return net::parse_prefix(text).value(); }

// Tells what it was given, once, and then that nothing comes.
class FakeWatch : public FlowWatch {
 public:
  explicit FakeWatch(FlowBatch batch) : batch_(std::move(batch)) {}
  Awaitable<FlowBatch> next(std::chrono::milliseconds patience) override {
    if (batch_.events.empty()) {
      boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor,
                                      std::min(patience, std::chrono::milliseconds(5)));
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    co_return std::exchange(batch_, FlowBatch{});
  }

 private:
  FlowBatch batch_;
};

class FakeRouter : public Router {
 public:
  Awaitable<ApplyReply> replace_config(std::string text, ApplyOptions options) override {
    return change("replace", std::move(text), options);
  }
  Awaitable<ApplyReply> patch_config(std::string text, ApplyOptions options) override {
    return change("patch", std::move(text), options);
  }
  Awaitable<ApplyReply> put_object(std::string text, ApplyOptions options) override {
    return change("put", std::move(text), options);
  }
  Awaitable<ApplyReply> delete_object(config::ObjectKey key, ApplyOptions options) override {
    return change("delete", key.kind + ' ' + key.object_name(), options);
  }
  std::string applied_config(const config::ObjectSet::Filter& filter) const override {
    asked_kind = filter.kind;
    asked_ns = filter.ns;
    return applied;
  }
  uint64_t generation() const override { return 42; }
  Status status() const override { return state; }
  Counters counters() const override { return {{{"no_route", 3}}, {{"arp_requests", 4}}}; }
  std::vector<NeighborEntry> neighbors() const override {
    return {{"uplink0", ip("192.168.0.1"), *net::parse_mac("02:00:00:00:00:01"), "reachable", 1.5}};
  }
  std::vector<RouteEntry> routes() const override {
    const RouteEntry::Hop uplink{"uplink0", ip("192.168.0.1"), "", "reachable"};
    return {{prefix("0.0.0.0/0"), "unicast", "static", {uplink}},
            {prefix("10.244.0.0/16"), "blackhole", "pool", {}},
            {prefix("10.244.34.0/26"), "tunnel", "block", {{"", std::nullopt, "vxlan 192.168.0.12", ""}}}};
  }
  std::vector<ServiceEntry> services() const override {
    return {{"default/web:http",
             "TCP",
             {{"ClusterIP", ip("10.96.7.7"), 80}},
             {{ip("10.244.34.5"), 8080, "node1", false, true, true, false}},
             "Cluster",
             "Local"}};
  }
  std::vector<IngressEntry> ingresses() const override {
    const IngressRuleEntry inside{
        .host = "a.b", .path = "/", .path_type = "Prefix", .target = "a/web:80", .endpoints = 2};
    IngressRuleEntry outside{.target = "a/far:80", .endpoints = 1};
    outside.external = ExternalNameEntry{"far.example", {ip("203.0.113.5")}, "the look-up fails: no server"};
    return {{"a/rules", {ip("192.168.0.2")}, true, {inside, outside}}};
  }
  BgpStatus bgp() const override { return bgp_state; }
  std::vector<DrainEntry> drains() const override { return {{"prod/web-0", true, {"prod/web:http"}}}; }
  Awaitable<DrainReply> drain(DrainTarget target, bool hard) override {
    call = std::string(hard ? "drain hard " : "drain ") + target.text();
    co_return DrainReply{true, {target.text(), hard, {"prod/web:http"}}, {"prod/web:http has no endpoint left"}};
  }
  Awaitable<DrainReply> undrain(DrainTarget target) override {
    call = "undrain " + target.text();
    co_return DrainReply{target.port != 1, {target.text(), false, {}}, {}};
  }
  Awaitable<net::Result<std::vector<net::IpAddr>, ipam::Refusal>> assign_addresses(ipam::Request request) override {
    if (request.node.empty()) request.node = "gw-1";
    co_return allocator.assign(pools, request, 1);
  }
  Awaitable<net::Result<size_t, ipam::Refusal>> release_addresses(std::string handle) override {
    co_return allocator.release(handle, 2);
  }
  const ipam::State& assigned_addresses() const override { return allocator.state(); }
  Awaitable<std::vector<FlowEntry>> flows(FlowFilter asked) override {
    filter = asked;
    FlowEntry flow{"tcp", "ESTABLISHED", true, true, false, 1, {}, {}, "default/web:http", 86399};
    flow.original = {ip("203.0.113.7"), ip("10.96.7.7"), 4711, 80, 10, 1000};
    flow.reply = {ip("10.244.34.5"), ip("192.168.0.2"), 8080, 32768, 9, 9000};
    co_return std::vector<FlowEntry>(std::min(live_flows, asked.limit), flow);
  }
  Awaitable<uint64_t> delete_flows(FlowFilter asked) override {
    filter = asked;
    co_return live_flows;
  }

  std::shared_ptr<FlowWatch> watch_flows(const FlowFilter& asked) override {
    filter = asked;
    if (watched == nullptr && !news.events.empty()) watched = std::make_shared<FakeWatch>(news);
    return watched;
  }

  EventLog& events() override { return log; }
  Measurements& measurements() override { return measured; }

  // control_api_trace_test.cpp has a router that can.
  Awaitable<net::Result<Explanation>> explain(Probe) override { co_return net::Error{"not here"}; }
  Awaitable<net::Result<std::shared_ptr<TraceWatch>>> trace(TraceRequest) override { co_return net::Error{"not here"}; }

  // Not run: what is in the log is read at once.
  boost::asio::io_context event_io;
  EventLog log{event_io, 1};
  Measurements measured;

  // What it answers.
  config::Config pools;                // that addresses come from; of node gw-1
  ipam::FileStorage ipam_storage{""};  // keeps nothing
  ipam::Ipam allocator = loaded(ipam_storage);
  FlowBatch news;
  std::shared_ptr<FlowWatch> watched;  // of `news`, unless there is none
  ApplyReply reply{ApplyReply::Code::Applied, 42, "", {}, {}, 12};
  std::string applied = R"({"kind":"List","metadata":{"generation":42},"items":[]})";
  Status state;
  BgpStatus bgp_state;
  size_t live_flows = 2;
  std::chrono::milliseconds delay{0};
  bool throws = false;

  // What it was asked.
  std::string call;
  std::string text;
  ApplyOptions options;
  FlowFilter filter;
  mutable std::string asked_kind, asked_ns;

 private:
  static ipam::Ipam loaded(ipam::Storage& storage) {
    ipam::Ipam made(storage);
    (void)made.load();
    return made;
  }
  Awaitable<ApplyReply> change(std::string name, std::string what, ApplyOptions how) {
    call = std::move(name);
    text = std::move(what);
    options = how;
    if (throws) throw std::runtime_error("out of order");
    if (delay.count() > 0) {
      boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, delay);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    co_return reply;
  }
};

}  // namespace sluice::control
