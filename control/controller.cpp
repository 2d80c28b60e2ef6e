#include "control/controller.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "config/validate.h"

namespace sluice::control {
namespace {

using config::ObjectSet;

constexpr auto poll_interval = std::chrono::microseconds(200);
constexpr auto worker_patience = std::chrono::seconds(10);
// SVC-82: twice kube-proxy's sync period.
constexpr auto change_patience = std::chrono::seconds(60);

config::Options parse_options(const ApplyOptions& options) {
  config::Options parse;
  parse.format = options.ndjson ? config::Format::NdJson : config::Format::Json;
  parse.ignore_unknown_kinds = options.ignore_unknown_kinds;
  return parse;
}

ApplyReply refusal(const config::ParseFailure& failure, uint64_t generation) {
  ApplyReply reply;
  reply.generation = generation;
  if (failure.syntax) {
    reply.code = ApplyReply::Code::SyntaxError;
    reply.message = failure.syntax->text();
  } else {
    reply.code = ApplyReply::Code::Invalid;
    reply.faults = failure.faults;
  }
  return reply;
}

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

Controller::Controller(boost::asio::io_context& io, dataplane::Dataplane& plane, ControllerOptions options)
    : io_(io),
      plane_(plane),
      options_(std::move(options)),
      state_(options_.state_folder),
      drain_state_(options_.state_folder, "drains.json"),
      deployment_(plane),
      health_server_(io, [this] { return health(); }),
      flow_events_(io, plane, [this](uint32_t service) { return services_.name_of(service); }),
      traces_(
          io, plane, [this](const dataplane::PacketTrace& trace) { return describe_trace(trace, false); },
          [this](uint16_t port) { return port_name(port); }) {
  load_drains();
}

Controller::~Controller() = default;

Awaitable<void> Controller::pause(std::chrono::microseconds time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

Awaitable<bool> Controller::wait_for(uint64_t token) {
  const auto deadline = Clock::now() + worker_patience;
  while (!plane_.publisher().passed(token)) {
    if (Clock::now() > deadline) co_return false;
    co_await pause(poll_interval);
  }
  co_return true;
}

ApplyReply Controller::applied(ApplyReply::Code code, std::vector<config::Warning> warnings,
                               Clock::time_point begin) const {
  ApplyReply reply;
  reply.code = code;
  reply.generation = generation_;
  reply.warnings = std::move(warnings);
  reply.apply_milliseconds = milliseconds_since(begin);
  return reply;
}

Awaitable<ApplyReply> Controller::replace_config(std::string text, ApplyOptions options) {
  const auto begin = Clock::now();
  auto document = config::parse_document(text, parse_options(options));
  if (!document) co_return refusal(document.error(), generation_);
  auto next = ObjectSet::from_document(std::move(*document), config::validate);
  if (!next) co_return refusal(next.error(), generation_);
  std::vector<config::Warning> warnings = next->warnings();
  if (options.dry_run) co_return applied(ApplyReply::Code::Unchanged, std::move(warnings), begin);

  const auto lock = co_await changes_.lock();
  if (generation_ != 0 && ObjectSet::difference(objects_, *next).empty()) {
    co_return applied(ApplyReply::Code::Unchanged, std::move(warnings), begin);
  }
  ApplyReply reply = co_await deploy(next->config());
  if (reply.code == ApplyReply::Code::Applied) {
    objects_ = std::move(*next);
    reply.warnings.insert(reply.warnings.begin(), warnings.begin(), warnings.end());
    remember(reply);
  }
  reply.apply_milliseconds = last_apply_milliseconds_ = milliseconds_since(begin);
  co_return reply;
}

Awaitable<ApplyReply> Controller::patch_config(std::string text, ApplyOptions options) {
  auto delta = config::parse_delta(text, parse_options(options));
  if (!delta) co_return refusal(delta.error(), generation_);
  co_return co_await apply_delta(std::move(*delta), options);
}

Awaitable<ApplyReply> Controller::put_object(std::string text, ApplyOptions options) {
  auto document = config::parse_document(text, parse_options(options));
  if (!document) co_return refusal(document.error(), generation_);
  co_return co_await apply_delta(config::to_delta(std::move(*document)), options);
}

Awaitable<ApplyReply> Controller::delete_object(config::ObjectKey key, ApplyOptions options) {
  co_return co_await apply_delta(config::deletion_of(std::move(key)), options);
}

Awaitable<ApplyReply> Controller::apply_delta(config::Delta delta, ApplyOptions options) {
  const auto begin = Clock::now();
  const auto lock = co_await changes_.lock();
  if (delta.base_generation && *delta.base_generation != generation_) {
    ApplyReply reply;
    reply.code = ApplyReply::Code::StaleBase;
    reply.generation = generation_;
    reply.message = fmt::format("the change is based on generation {}, but generation {} serves; read it and try again",
                                *delta.base_generation, generation_);
    co_return reply;
  }
  auto change = objects_.apply(std::move(delta), config::validate);
  if (!change) co_return refusal(change.error(), generation_);
  std::vector<config::Warning> warnings = change->warnings;
  if (options.dry_run) {
    objects_.revert(std::move(*change));
    co_return applied(ApplyReply::Code::Unchanged, std::move(warnings), begin);
  }
  if (change->empty()) co_return applied(ApplyReply::Code::Unchanged, std::move(warnings), begin);
  ApplyReply reply = co_await deploy(objects_.config());
  if (reply.code == ApplyReply::Code::Applied) {
    reply.warnings.insert(reply.warnings.begin(), warnings.begin(), warnings.end());
    remember(reply);
  } else {
    objects_.revert(std::move(*change));
  }
  reply.apply_milliseconds = last_apply_milliseconds_ = milliseconds_since(begin);
  co_return reply;
}

Awaitable<ApplyReply> Controller::deploy(const config::Config& config) {
  ApplyReply reply;
  reply.generation = generation_;
  ++wanted_generation_;
  if (!changing_since_) changing_since_ = Clock::now();
  const auto fail = [&](const net::Error& error) {
    if (!awaited_token_) changing_since_.reset();
    reply.message = error.message;
    wanted_generation_ = generation_;
    return reply;
  };
  Plan plan = make_plan(config);
  std::vector<std::string> warnings = plan.warnings;
  if (config.gateway.conntrack.max != plane_.options().connections) {
    warnings.push_back(fmt::format("conntrack.max is {} since the start; {} takes effect at the next one",
                                   plane_.options().connections, config.gateway.conntrack.max));
  }
  if (auto opened = deployment_.open_ports(plan); !opened) co_return fail(opened.error());
  if (deployment_.changes_routing(plan)) {
    if (!co_await wait_for(deployment_.announce(plan))) {
      co_await deployment_retreat();
      co_return fail({"a worker does not answer"});
    }
    if (auto installed = deployment_.install_routes(plan); !installed) {
      const net::Error error = installed.error();
      co_await deployment_retreat();
      co_return fail(error);
    }
  }
  const uint64_t token = deployment_.publish(config, std::move(plan), services_, drains_);
  if (co_await wait_for(token)) {
    changing_since_.reset();
    awaited_token_.reset();
  } else {
    awaited_token_ = token;
    warnings.emplace_back("a worker has not taken the new generation over yet");
  }
  deployment_.finish();
  updated_ = std::chrono::system_clock::now();
  health_server_.update(make_health_plan(config, drains_));
  generation_ = wanted_generation_;
  warnings_ = warnings;
  reply.code = ApplyReply::Code::Applied;
  reply.generation = generation_;
  for (std::string& warning : warnings) reply.warnings.push_back({.message = std::move(warning)});
  for (config::Warning& problem : health_server_.problems()) reply.warnings.push_back(std::move(problem));
  co_return reply;
}

// After a failed deployment: the workers forget the interfaces they were told of, then the devices are closed.
Awaitable<void> Controller::deployment_retreat() {
  (void)co_await wait_for(deployment_.retreat());
  deployment_.abandon_ports();
}

RouterHealth Controller::health() const {
  const bool taken_over = awaited_token_ && plane_.publisher().passed(*awaited_token_);
  const bool late = changing_since_ && Clock::now() - *changing_since_ > change_patience && !taken_over;
  return {generation_ != 0 && !late, updated_};
}

void Controller::remember(ApplyReply& reply) {
  if (auto saved = state_.save(objects_.to_text({}, generation_)); !saved) {
    reply.warnings.push_back({.message = "applied, but not kept for the next start: " + saved.error().message});
  }
}

}  // namespace sluice::control
