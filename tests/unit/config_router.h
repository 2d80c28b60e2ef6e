// A router that has a configuration and nothing else: the real objects, rules and generations, no data plane. For those
// who test what stands in front of it.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "config/json_memory.h"
#include "config/object_set.h"
#include "config/validate.h"
#include "control/router.h"

namespace sluice::control {

class ConfigRouter : public Router {
 public:
  Awaitable<ApplyReply> replace_config(std::string text, ApplyOptions options) override {
    if (stale(options)) co_return stale_reply();
    const auto memory = budget_for(text);
    auto prepared = within(memory, [&] { return objects.prepare(text, parse_options(options)); });
    if (!prepared) co_return refusal(prepared.error());
    co_return conclude(objects.apply(std::move(*prepared), config::validate), options);
  }
  Awaitable<ApplyReply> patch_config(std::string text, ApplyOptions options) override {
    const auto memory = budget_for(text);
    auto delta = within(memory, [&] { return config::parse_delta(text, parse_options(options)); });
    if (!delta) co_return refusal(delta.error());
    co_return apply(std::move(*delta), options);
  }
  Awaitable<ApplyReply> put_object(std::string text, ApplyOptions options) override {
    const auto memory = budget_for(text);
    auto document = within(memory, [&] { return config::parse_document(text, parse_options(options)); });
    if (!document) co_return refusal(document.error());
    co_return apply(config::to_delta(std::move(*document)), options);
  }
  Awaitable<ApplyReply> delete_object(config::ObjectKey key, ApplyOptions options) override {
    co_return apply(config::deletion_of(std::move(key)), options);
  }
  std::string applied_config(const config::ObjectSet::Filter& filter) const override {
    return objects.to_text(filter, serving);
  }
  uint64_t generation() const override { return serving; }
  Status status() const override {
    Status status;
    status.version = "1";
    status.ready = serving != 0;
    status.generation_wanted = status.generation_applied = serving;
    return status;
  }
  Counters counters() const override { return {{{"no_route", 3}}, {{"arp_requests", 4}}}; }
  std::vector<NeighborEntry> neighbors() const override { return {}; }
  std::vector<RouteEntry> routes() const override { return {}; }
  std::vector<ServiceEntry> services() const override { return {}; }
  BgpStatus bgp() const override { return {}; }
  std::vector<DrainEntry> drains() const override { return {}; }
  Awaitable<DrainReply> drain(DrainTarget target, bool hard) override {
    co_return DrainReply{true, {target.text(), hard, {}}, {}};
  }
  Awaitable<DrainReply> undrain(DrainTarget target) override {
    co_return DrainReply{false, {target.text(), false, {}}, {}};
  }
  Awaitable<net::Result<std::vector<net::IpAddr>, ipam::Refusal>> assign_addresses(ipam::Request request) override {
    if (request.node.empty()) request.node = objects.config().gateway.node_name;
    co_return allocator.assign(objects.config(), request, 1);
  }
  Awaitable<net::Result<size_t, ipam::Refusal>> release_addresses(std::string handle) override {
    co_return allocator.release(handle, 2);
  }
  const ipam::State& assigned_addresses() const override { return allocator.state(); }
  Awaitable<std::vector<FlowEntry>> flows(FlowFilter) override { co_return std::vector<FlowEntry>{}; }
  Awaitable<uint64_t> delete_flows(FlowFilter) override { co_return 0; }
  std::shared_ptr<FlowWatch> watch_flows(const FlowFilter&) override { return nullptr; }
  Awaitable<net::Result<Explanation>> explain(Probe) override { co_return net::Error{"such a packet cannot come in"}; }
  Awaitable<net::Result<std::shared_ptr<TraceWatch>>> trace(TraceRequest) override {
    co_return std::shared_ptr<TraceWatch>();
  }

  EventLog& events() override { return log; }
  Measurements& measurements() override { return measured; }

  config::ObjectSet objects;
  uint64_t serving = 0;
  // Not run: what is in the log is read at once.
  boost::asio::io_context event_io;
  EventLog log{event_io, 1};
  Measurements measured;
  ipam::FileStorage ipam_storage{""};  // keeps nothing
  ipam::Ipam allocator = loaded(ipam_storage);

 private:
  static ipam::Ipam loaded(ipam::Storage& storage) {
    ipam::Ipam made(storage);
    (void)made.load();
    return made;
  }
  static config::Options parse_options(const ApplyOptions& options) {
    config::Options parse;
    parse.format = options.ndjson ? config::Format::NdJson : config::Format::Json;
    parse.ignore_unknown_kinds = options.ignore_unknown_kinds;
    return parse;
  }
  [[nodiscard]] bool stale(const ApplyOptions& options) const {
    return options.base_generation && *options.base_generation != serving;
  }
  [[nodiscard]] ApplyReply stale_reply() const { return {ApplyReply::Code::StaleBase, serving, "another", {}, {}, 0}; }
  using Memory = std::shared_ptr<config::MemoryBudget>;
  static Memory budget_for(const std::string& text) {
    return std::make_shared<config::MemoryBudget>(config::memory_for(text.size()));
  }
  template <class Parse>
  static std::invoke_result_t<const Parse&> within(const Memory& memory, const Parse& parse) {
    const config::MemoryScope scope(memory);
    return parse();
  }
  [[nodiscard]] ApplyReply refusal(const config::ParseFailure& failure) const {
    if (failure.syntax) {
      const bool too_large = failure.syntax->message == config::TooLarge().what();
      return {ApplyReply::Code::SyntaxError,
              serving,
              too_large ? failure.syntax->message : failure.syntax->text(),
              {},
              {},
              0};
    }
    return {ApplyReply::Code::Invalid, serving, "", failure.faults, {}, 0};
  }
  ApplyReply apply(config::Delta delta, ApplyOptions options) {
    if (delta.base_generation) options.base_generation = delta.base_generation;
    if (stale(options)) return stale_reply();
    return conclude(objects.apply(std::move(delta), config::validate), options);
  }
  ApplyReply conclude(config::Result<config::Change, config::ParseFailure> change, const ApplyOptions& options) {
    if (!change) return refusal(change.error());
    std::vector<config::Warning> warnings = objects.warnings();
    const bool differs = serving == 0 || !change->empty();
    if (options.dry_run) objects.revert(std::move(*change));
    if (options.dry_run || (serving != 0 && change->empty())) {
      return {ApplyReply::Code::Unchanged, serving, "", {}, std::move(warnings), 0, options.dry_run && differs};
    }
    ++serving;
    return {ApplyReply::Code::Applied, serving, "", {}, std::move(warnings), 0};
  }
};

}  // namespace sluice::control
