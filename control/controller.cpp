#include "control/controller.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <rte_cycles.h>

#include "config/rules.h"
#include "config/validate.h"
#include "control/api_listener.h"
#include "control/in_background.h"
#include "control/plan_delta.h"
#include "control/snapshot_parts.h"

namespace sluice::control {
namespace {

using config::ObjectSet;

constexpr auto first_poll = std::chrono::microseconds(50);
constexpr auto poll_interval = std::chrono::microseconds(200);
constexpr const char* late_worker = "a worker has not taken the new generation over yet";
constexpr size_t max_batch = 256;
constexpr size_t most_together = 64;  // nodes and the like; more would be planned with all others (plan_delta.h)
// A larger document is read in the background.
constexpr size_t large_document = size_t{256} << 10;  // bytes
constexpr auto worker_patience = std::chrono::seconds(10);
constexpr auto worker_look_interval = std::chrono::milliseconds(1);
// SVC-82: twice kube-proxy's sync period.
constexpr auto change_patience = std::chrono::seconds(60);

config::Options parse_options(const ApplyOptions& options) {
  config::Options parse;
  parse.format = options.ndjson ? config::Format::NdJson : config::Format::Json;
  parse.ignore_unknown_kinds = options.ignore_unknown_kinds;
  return parse;
}

std::shared_ptr<config::MemoryBudget> budget_for(const std::string& text) {
  return std::make_shared<config::MemoryBudget>(config::memory_for(text.size()));
}

ApplyReply refusal(const config::ParseFailure& failure, uint64_t generation) {
  ApplyReply reply;
  reply.generation = generation;
  if (failure.syntax) {
    reply.code = ApplyReply::Code::SyntaxError;
    const bool too_large = failure.syntax->message == config::TooLarge().what();
    reply.message = too_large ? failure.syntax->message : failure.syntax->text();
  } else {
    reply.code = ApplyReply::Code::Invalid;
    reply.faults = failure.faults;
  }
  return reply;
}

std::vector<config::ObjectName> removed_services(const config::Delta& delta) {
  std::vector<config::ObjectName> out;
  for (const config::Deletion& one : delta.remove) {
    if (one.key.kind == "Service") out.push_back({one.key.ns, one.key.name});
  }
  return out;
}

// What one deployment takes together at the cost of its parts.
enum class Together : uint8_t { Alone, Services, Network };

Together together_of(std::string_view kind) {
  if (kind == "EndpointSlice" || kind == "Service" || kind == "Pod") return Together::Services;
  return is_planned_by_delta(kind) ? Together::Network : Together::Alone;
}

Together together_of(const config::Delta& delta) {
  std::optional<Together> found;
  const auto add = [&](const config::ObjectKey& key) {
    const Together one = together_of(key.kind);
    found = !found || *found == one ? one : Together::Alone;
  };
  for (const config::RawObject& raw : delta.upsert) add(raw.key);
  for (const config::Deletion& one : delta.remove) add(one.key);
  return found.value_or(Together::Services);
}

// Whether the delta touches nothing of `touched`, to which it adds what it touches. Of endpoint slices it does not
// matter.
bool touches_apart(const config::Delta& delta, std::set<config::ObjectKey>& touched) {
  const auto add = [&](const config::ObjectKey& key) {
    return key.kind == "EndpointSlice" || touched.insert(key).second;
  };
  return std::all_of(delta.upsert.begin(), delta.upsert.end(), [&](const auto& raw) { return add(raw.key); }) &&
         std::all_of(delta.remove.begin(), delta.remove.end(), [&](const auto& one) { return add(one.key); });
}

// Where objects and deletions stand in the delta that a caller sent.
using Places = std::map<config::ObjectKey, std::string>;

Places places_of(const config::Delta& delta) {
  Places places;
  for (const config::RawObject& raw : delta.upsert) places.emplace(raw.key, raw.location);
  for (const config::Deletion& one : delta.remove) places.emplace(one.key, one.location);
  return places;
}

// The delta that leads to what `objects` says of what `change` touched, with what was said of the one that it came of.
config::Delta delta_to(const ObjectSet& objects, const config::Change& change, const Places& places) {
  const auto place_of = [&](const config::ObjectKey& key) {
    const auto found = places.find(key);
    return found == places.end() ? std::string() : found->second;
  };
  std::string text = R"({"kind":"Delta","upsert":[)";
  std::vector<config::Deletion> removed;
  bool first = true;
  for (const config::Change::Touched& touched : change.touched) {
    if (const std::string* object = objects.text_of(touched.key)) {
      if (!std::exchange(first, false)) text += ',';
      text += *object;
    } else {
      removed.push_back({touched.key, place_of(touched.key)});
    }
  }
  text += "]}";
  auto delta = config::parse_delta(text, {.ignore_unknown_kinds = true});
  config::Delta out = delta ? std::move(*delta) : config::Delta();
  for (config::RawObject& raw : out.upsert) raw.location = place_of(raw.key);
  out.remove = std::move(removed);
  out.findings.warnings = change.warnings;
  return out;
}

uint64_t cycles_of(std::chrono::milliseconds time) {
  return rte_get_tsc_hz() / 1000 * static_cast<uint64_t>(time.count());
}

IdleWorkers::Look look_at_workers(const dataplane::Dataplane& plane) {
  IdleWorkers::Look look{rte_rdtsc(), {}};
  for (uint16_t i = 0; i < plane.worker_count(); ++i) look.spent.push_back(plane.worker(i).counters().awake_cycles);
  return look;
}

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

Controller::Controller(boost::asio::io_context& io, dataplane::Dataplane& plane, StateJournal& journal,
                       ControllerOptions options)
    : io_(io),
      plane_(plane),
      options_(std::move(options)),
      journal_(journal),
      drain_state_(options_.state_folder, "drains.json"),
      ipam_storage_(options_.state_folder),
      load_balancer_storage_(options_.state_folder, "loadbalancers"),
      idle_workers_([this] { return look_at_workers(plane_); }, cycles_of(worker_look_interval)),
      helpers_(options_.helper_cpus, options_.helpers_yield ? HelperThreads::MayHelp([this] { return idle_workers_(); })
                                                            : HelperThreads::MayHelp()),
      content_(options_.state_folder, plane.options().workers),
      external_names_(make_host_lookup(io),
                      {.objection = [this](const net::IpAddr& address) { return objection_to(address); },
                       .changed = [this] { external_names_changed(); },
                       .report = [this](RouterEvent event) { events_.add(std::move(event)); }},
                      measurements_.external_names),
      services_(std::ref(helpers_), &content_, &external_names_),
      deployment_(plane, {.state_folder = options_.state_folder, .memif_folder = options_.pod_sockets}),
      host_(io, plane.punts(), [this] { host_changed(); }),
      bird_(io, options_.bird, [this](RouterEvent event) { report_bgp(std::move(event)); }),
      events_(io, first_event_id(started_at_)),
      look_timer_(io),
      health_server_(io, [this] { return health(); }),
      flow_events_(io, plane, [this](uint32_t service) { return services_.name_of(service); }),
      traces_(
          io, plane,
          [this](std::span<const dataplane::PacketTrace> records) { return describe_traces(records, false, {}); },
          [this](uint16_t port) { return port_name(port); }) {
  load_drains();
  load_addresses();
  load_load_balancers();
  boost::asio::co_spawn(io_, keep_watching_claims(), boost::asio::detached);
  boost::asio::co_spawn(io_, keep_telling(), boost::asio::detached);
  boost::asio::co_spawn(io_, keep_collecting_leaks(), boost::asio::detached);
  look_again();
}

Controller::~Controller() = default;

Awaitable<void> Controller::pause(std::chrono::microseconds time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

Awaitable<bool> Controller::wait_for(uint64_t token) {
  const auto begin = Clock::now();
  auto interval = first_poll;
  while (!plane_.publisher().passed(token)) {
    if (Clock::now() - begin > worker_patience) co_return false;
    co_await pause(interval);
    interval = std::min(2 * interval, poll_interval);
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

ApplyReply Controller::tried(const config::Change& change, std::vector<config::Warning> warnings,
                             Clock::time_point begin) const {
  const config::Config& config = objects_.config();
  if (generation_ == 0 || (!deployment_.only_services(config, change) && !deployment_.service_moves(config, change))) {
    const auto delta = delta_of(change, allocated());
    std::vector<std::string> of_plan = delta ? warnings_after(*delta, deployment_.plan().warnings)
                                             : make_plan(config, allocated(), host_.addresses()).warnings;
    for (std::string& warning : of_plan) warnings.push_back({.message = std::move(warning)});
  }
  ApplyReply reply = applied(ApplyReply::Code::Unchanged, std::move(warnings), begin);
  reply.would_change = generation_ == 0 || !change.empty();
  return reply;
}

std::optional<config::ParseFailure> Controller::exposes_api(const config::Change& change) const {
  const config::Gateway& gateway = objects_.config().gateway;
  if (!change.touches(config::gateway_kind)) return std::nullopt;
  for (const net::IpAddr& address : options_.api_addresses) {
    const std::string conflict = data_port_conflict(address, gateway);
    if (conflict.empty()) continue;
    std::vector<config::Fault> faults{{std::string(config::gateway_kind), gateway.name, "/spec/interfaces",
                                       "spec.interfaces",
                                       fmt::format("the API is served there, and never on a data port: {}", conflict)}};
    objects_.locate(faults);
    return config::ParseFailure{{}, std::move(faults)};
  }
  return std::nullopt;
}

Awaitable<ApplyReply> Controller::replace_config(std::string text, ApplyOptions options) {
  const auto begin = Clock::now();
  const auto lock = co_await changes_.lock();
  if (auto stale = refuse_stale(options.base_generation, generation_)) co_return *std::move(stale);
  if (generation_ == 0 && !options.from_state) journal_.ignore_kept();
  std::optional<config::Result<ObjectSet::Replacement, config::ParseFailure>> prepared;
  const auto memory = budget_for(text);
  if (text.size() < large_document) {
    const config::MemoryScope scope(memory);
    prepared.emplace(objects_.prepare(text, parse_options(options)));
  } else {
    auto prepare = [&] {
      const config::MemoryScope scope(memory);
      config::Options parse = parse_options(options);
      parse.spread = std::ref(helpers_);
      prepared.emplace(objects_.prepare(text, parse));
      return true;
    };
    (void)co_await run_in(background_, prepare);
  }
  text = {};
  if (!*prepared) co_return refusal(prepared->error(), generation_);
  auto change = objects_.apply(std::move(**prepared), config::validate);
  prepared.reset();
  if (!change) co_return refusal(change.error(), generation_);
  co_return co_await replace(std::move(*change), std::move(options), begin);
}

Awaitable<ApplyReply> Controller::begin_with(config::ObjectSet objects, ApplyOptions options) {
  const auto begin = Clock::now();
  const auto lock = co_await changes_.lock();
  if (!options.from_state) journal_.ignore_kept();
  objects_ = std::move(objects);
  beginning_ = true;
  ApplyReply reply = co_await replace(ObjectSet::difference({}, objects_), std::move(options), begin);
  beginning_ = false;
  co_return reply;
}

// The change, which led to objects_, is that of a whole document.
Awaitable<ApplyReply> Controller::replace(config::Change change, ApplyOptions options, Clock::time_point begin) {
  const std::optional<config::ParseFailure> obstacle = co_await cannot_serve(change);
  if (obstacle) {
    objects_.revert(std::move(change));
    co_return refusal(*obstacle, generation_);
  }
  std::vector<config::Warning> warnings = objects_.warnings();
  if (options.dry_run) {
    ApplyReply reply = tried(change, std::move(warnings), begin);
    objects_.revert(std::move(change));
    co_return reply;
  }
  if (generation_ != 0 && change.empty()) {
    co_return applied(ApplyReply::Code::Unchanged, std::move(warnings), begin);
  }
  const uint64_t before = generation_;
  if (generation_ != 0) load_balancer_.drop_absent();
  // What was kept is the generation that it was; anything else is one that nobody has seen.
  const uint64_t last = journal_.last_generation();
  const uint64_t generations = generation_ != 0 ? 1 : options.from_state ? std::max<uint64_t>(last, 1) : last + 1;
  std::unique_ptr<Keeping> keeping = options.from_state ? nullptr : begin_keeping(change);
  ApplyReply reply = co_await give_and_deploy(change, generations);
  reply.apply_milliseconds = milliseconds_since(begin);
  report(change, options, reply, before);
  if (reply.code == ApplyReply::Code::Applied) {
    reply.warnings.insert(reply.warnings.begin(), warnings.begin(), warnings.end());
    if (!options.from_state) {
      auto problem = co_await remember(change, keeping.get());
      if (problem) reply.warnings.push_back(std::move(*problem));
    }
  } else {
    co_await end_keeping(std::move(keeping));
    objects_.revert(std::move(change));
    co_await take_addresses_back();
  }
  co_await end_keeping(std::move(keeping));  // where it was not needed after all
  reply.apply_milliseconds = last_apply_milliseconds_ = milliseconds_since(begin);
  co_return reply;
}

Awaitable<ApplyReply> Controller::patch_config(std::string text, ApplyOptions options) {
  const auto memory = budget_for(text);
  const auto parse = [&] {
    const config::MemoryScope scope(memory);
    return config::parse_delta(text, parse_options(options));
  };
  std::optional<config::Result<config::Delta, config::ParseFailure>> delta;
  if (text.size() < large_document) {
    delta.emplace(parse());
  } else {
    delta.emplace(co_await run_in(background_, parse));
  }
  text = {};
  if (!*delta) co_return refusal(delta->error(), generation_);
  co_return co_await apply_delta(std::move(**delta), options, memory);
}

Awaitable<ApplyReply> Controller::put_object(std::string text, ApplyOptions options) {
  const auto memory = budget_for(text);
  const auto parse = [&] {
    const config::MemoryScope scope(memory);
    return config::parse_document(text, parse_options(options));
  };
  auto document = parse();
  if (!document) co_return refusal(document.error(), generation_);
  co_return co_await apply_delta(config::to_delta(std::move(*document)), options, memory);
}

Awaitable<ApplyReply> Controller::delete_object(config::ObjectKey key, ApplyOptions options) {
  co_return co_await apply_delta(config::deletion_of(std::move(key)), options, nullptr);
}

Awaitable<ApplyReply> Controller::apply_delta(config::Delta delta, ApplyOptions options, Memory memory) {
  const auto pending = std::make_shared<Pending>();
  pending->delta = std::move(delta);
  pending->options = options;
  pending->memory = std::move(memory);
  waiting_.push_back(pending);
  const auto lock = co_await changes_.lock();
  if (!pending->reply) {
    const Batch batch = take_batch(pending);
    co_await apply_batch(batch);
  }
  co_return *std::move(pending->reply);
}

Controller::Batch Controller::take_batch(const std::shared_ptr<Pending>& own) {
  std::erase(waiting_, own);
  Batch batch{own};
  const Together together = together_of(own->delta);
  if (together == Together::Alone) return batch;
  std::set<config::ObjectKey> touched;
  bool apart = touches_apart(own->delta, touched);
  while (!waiting_.empty() && batch.size() < max_batch && together_of(waiting_.front()->delta) == together) {
    apart = apart && touches_apart(waiting_.front()->delta, touched);
    if (!apart || (together == Together::Network && touched.size() > most_together)) break;
    batch.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  return batch;
}

std::optional<ApplyReply> Controller::refuse_stale(std::optional<uint64_t> base, uint64_t serving) {
  if (!base || *base == serving) return std::nullopt;
  ApplyReply reply;
  reply.code = ApplyReply::Code::StaleBase;
  reply.generation = serving;
  reply.message = fmt::format("the change is based on generation {}, but generation {} serves; read it and try again",
                              *base, serving);
  return reply;
}

net::Result<config::Change, config::ParseFailure> Controller::apply_pending(Pending& pending) {
  std::optional<config::MemoryScope> scope;
  if (pending.memory) scope.emplace(pending.memory);
  return objects_.apply(std::move(pending.delta), config::validate);
}

Awaitable<void> Controller::apply_batch(const Batch& batch) {
  struct Step {
    std::shared_ptr<Pending> pending;
    config::Change change;
    Places places;  // only of several
  };
  std::vector<Step> steps;
  config::Change whole;
  for (const auto& pending : batch) {
    const uint64_t serving = generation_ + steps.size();
    if (auto stale = refuse_stale(pending->delta.base_generation, serving)) {
      pending->reply = std::move(stale);
      continue;
    }
    if (auto stale = refuse_stale(pending->options.base_generation, serving)) {
      pending->reply = std::move(stale);
      continue;
    }
    std::vector<config::ObjectName> removed = removed_services(pending->delta);
    Places places = batch.size() > 1 ? places_of(pending->delta) : Places();
    auto change = apply_pending(*pending);
    if (!change) {
      pending->reply = refusal(change.error(), serving);
      continue;
    }
    const std::optional<config::ParseFailure> obstacle = co_await cannot_serve(*change);
    if (obstacle) {
      objects_.revert(std::move(*change));
      pending->reply = refusal(*obstacle, serving);
      continue;
    }
    if (!pending->options.dry_run) load_balancer_.drop_kept(std::move(removed));
    if (pending->options.dry_run || change->empty()) {
      const bool dry = pending->options.dry_run;
      pending->reply = dry ? tried(*change, change->warnings, pending->begin)
                           : applied(ApplyReply::Code::Unchanged, change->warnings, pending->begin);
      pending->reply->generation = serving;
      if (dry) objects_.revert(std::move(*change));
      continue;
    }
    append(whole, *change);
    steps.push_back({pending, std::move(*change), std::move(places)});
  }
  if (steps.empty()) co_return;
  // The first one of all is one that nobody has seen (replace()).
  const uint64_t unseen = generation_ == 0 ? journal_.last_generation() : 0;
  const uint64_t before = generation_ + unseen;
  const ApplyReply deployed = co_await give_and_deploy(whole, unseen + steps.size());
  const bool done = deployed.code == ApplyReply::Code::Applied;
  if (!done && steps.size() > 1) {
    // It is not known whose fault it is: each alone.
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
      config::Delta& delta = step->pending->delta;
      const auto base = delta.base_generation;
      delta = delta_to(objects_, step->change, step->places);
      delta.base_generation = base;
      step->pending->memory.reset();
      objects_.revert(std::move(step->change));
    }
    co_await take_addresses_back();
    for (const Step& step : steps) {
      const Batch alone{step.pending};
      co_await apply_batch(alone);
    }
    co_return;
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    ApplyReply& reply = steps[i].pending->reply.emplace(deployed);
    if (done) reply.generation = before + i + 1;
    reply.apply_milliseconds = milliseconds_since(steps[i].pending->begin);
    report(steps[i].change, steps[i].pending->options, reply, before + i);
  }
  std::optional<config::Warning> problem;
  if (done) {
    problem = co_await remember(whole);
  } else {
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) objects_.revert(std::move(step->change));
    co_await take_addresses_back();
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    ApplyReply& reply = *steps[i].pending->reply;
    const std::vector<config::Warning>& own = steps[i].change.warnings;
    reply.warnings.insert(reply.warnings.begin(), own.begin(), own.end());
    if (problem) reply.warnings.push_back(*problem);
    reply.apply_milliseconds = last_apply_milliseconds_ = milliseconds_since(steps[i].pending->begin);
  }
}

std::vector<std::string> Controller::routing_warnings(std::vector<std::string> of_plan) const {
  const uint32_t wanted = objects_.config().gateway.conntrack.max;
  if (wanted != plane_.options().connections) {
    of_plan.push_back(fmt::format("conntrack.max is {} since the start; {} takes effect at the next one",
                                  plane_.options().connections, wanted));
  }
  return of_plan;
}

std::optional<PlanDelta> Controller::delta_of(const config::Change& change, const Allocated& addresses) const {
  if (generation_ == 0 || !(host_.addresses() == host_addresses_)) return std::nullopt;
  return deployment_.plan_delta(objects_.config(), change, addresses, routed_, host_addresses_);
}

Awaitable<net::Result<uint64_t>> Controller::rewire(const PlanDelta& delta, const config::Change& change,
                                                    Allocated addresses) {
  if (auto opened = deployment_.open_ports(delta); !opened) co_return opened.error();
  if (Deployment::announces(delta)) {
    const bool announced = co_await wait_for(deployment_.announce(delta));
    if (!announced) {
      co_await deployment_retreat();
      co_return net::Error{"a worker does not answer"};
    }
  }
  if (auto installed = deployment_.install_routes(delta); !installed) {
    const net::Error error = installed.error();
    co_await deployment_retreat();
    co_return error;
  }
  const config::Config& config = objects_.config();
  routed_ = std::move(addresses);
  routing_token_ = deployment_.publish(config, delta, services_, drains_, change);
  host_.follow_plan(config, deployment_, delta);
  co_return *routing_token_;
}

// Opening a device is waiting for the kernel most of the time: at the start the tables of services are made meanwhile.
// Not later, when helper threads may do less than this one (privileges.h).
net::Status<> Controller::open_ports(const Plan& plan, std::optional<ServiceCompiler::Tables>& tables) {
  if (!beginning_) return deployment_.open_ports(plan);
  net::Status<> opened = net::Done{};
  const auto errand = helpers_.begin([&] { opened = deployment_.open_ports(plan); });
  tables = services_.compile(objects_.config(), own_addresses_of(plan.interfaces), drains_);
  errand->finish();
  return opened;
}

Awaitable<net::Result<uint64_t>> Controller::rewire(const config::Change* change, std::vector<std::string>& warnings) {
  const config::Config& config = objects_.config();
  Allocated addresses = allocated();
  HostAddresses host_addresses = host_.addresses();
  Plan plan = make_plan(config, addresses, host_addresses);
  warnings = routing_warnings(plan.warnings);
  std::optional<ServiceCompiler::Tables> tables;
  if (auto opened = open_ports(plan, tables); !opened) co_return opened.error();
  if (auto opened = host_.open(plan, deployment_); !opened) {
    deployment_.abandon_ports();
    co_return opened.error();
  }
  if (deployment_.changes_routing(plan)) {
    const bool announced = co_await wait_for(deployment_.announce(plan));
    if (!announced) {
      co_await deployment_retreat();
      co_return net::Error{"a worker does not answer"};
    }
    if (auto installed = deployment_.install_routes(plan); !installed) {
      const net::Error error = installed.error();
      co_await deployment_retreat();
      co_return error;
    }
  }
  routed_ = std::move(addresses);
  routing_token_ = deployment_.publish(config, std::move(plan), services_, drains_, change, std::move(tables));
  host_addresses_ = std::move(host_addresses);
  host_.commit(config, deployment_);
  co_return *routing_token_;
}

Awaitable<ApplyReply> Controller::give_and_deploy(const config::Change& change, uint64_t generations) {
  const std::optional<config::Change> given = co_await give_addresses(change);
  const config::Change& whole = given ? *given : change;
  const bool first = generation_ == 0;
  ApplyReply reply = co_await deploy(whole, generations);
  if (reply.code != ApplyReply::Code::Applied) co_return reply;
  co_await announce_load_balancers(first ? nullptr : &whole);
  follow_tunnel_addresses(first ? nullptr : &whole);
  if (const std::string& why = load_balancer_.frozen(); !why.empty() && load_balancer_.waiting() != 0) {
    reply.warnings.push_back({.message = "services that have no address yet wait: " + why});
  }
  if (first || whole.touches("L2Advertisement") || whole.touches("IPAddressPool")) {
    for (const std::string& odd : pool_warnings_) reply.warnings.push_back({.message = odd});
  }
  co_return reply;
}

Awaitable<ApplyReply> Controller::deploy(const config::Change& change, uint64_t generations) {
  ApplyReply reply;
  reply.generation = generation_;
  wanted_generation_ = generation_ + generations;
  if (!changing_since_) changing_since_ = Clock::now();
  std::vector<std::string> warnings;
  std::optional<uint64_t> token;
  const bool only_services = generation_ != 0 && deployment_.only_services(objects_.config(), change);
  const auto moves = only_services ? std::nullopt : deployment_.service_moves(objects_.config(), change);
  Allocated addresses = only_services || moves ? Allocated{} : allocated();
  const auto delta = only_services || moves ? std::nullopt : delta_of(change, addresses);
  const bool rewires = !only_services && !moves && !delta;
  const bool allocated_differs = (rewires || delta) && !(addresses == routed_);
  if (moves) {
    if (auto moved = deployment_.move_services(*moves); !moved) {
      reply.message = moved.error().message;
      wanted_generation_ = generation_;
      if (!awaited_token_) changing_since_.reset();
      co_return reply;
    }
  }
  if (rewires || delta) {
    std::optional<net::Result<uint64_t>> wired;
    if (delta) {
      wired = co_await rewire(*delta, change, std::move(addresses));
      warnings = routing_warnings(deployment_.plan().warnings);
    } else {
      wired = co_await rewire(&change, warnings);
    }
    if (!*wired) {
      if (!awaited_token_) changing_since_.reset();
      reply.message = wired->error().message;
      wanted_generation_ = generation_;
      co_return reply;
    }
    token = **wired;
    warnings_ = warnings;
  } else if (change.effective()) {
    token = deployment_.publish_services(objects_.config(), services_, drains_, &change);
  }
  // A name that is gone or another takes its addresses with it before the change is answered.
  follow_external_names(change);
  if (const auto with_names = put_external_names()) token = with_names;
  bool taken_over = true;
  if (token) taken_over = co_await wait_for(*token);
  if (taken_over) {
    if (token) awaited_token_.reset();
    if (!awaited_token_) changing_since_.reset();
    std::erase(warnings_, late_worker);
  } else {
    awaited_token_ = token;
    warnings.emplace_back(late_worker);
    if (std::find(warnings_.begin(), warnings_.end(), late_worker) == warnings_.end()) {
      warnings_.emplace_back(late_worker);
    }
  }
  deployment_.finish();
  updated_ = std::chrono::system_clock::now();
  const bool checks_differ = rewires || affects_health(objects_.config(), change, health_server_.plan());
  if (checks_differ) {
    health_server_.update(make_health_plan(objects_.config(), drains_));
  }
  follow_bgp(&change, allocated_differs);
  service_totals_.update(objects_.config(), change);
  generation_ = wanted_generation_;
  reply.code = ApplyReply::Code::Applied;
  reply.generation = generation_;
  for (std::string& warning : warnings) reply.warnings.push_back({.message = std::move(warning)});
  if (rewires || (checks_differ && change.touches("Service"))) {
    for (config::Warning& problem : health_server_.problems()) reply.warnings.push_back(std::move(problem));
  }
  co_return reply;
}

// After a failed deployment: the workers forget the interfaces they were told of, then the devices are closed.
Awaitable<void> Controller::deployment_retreat() {
  (void)co_await wait_for(deployment_.retreat());
  deployment_.abandon_ports();
  host_.abandon();
}

RouterHealth Controller::health() const {
  const bool taken_over = awaited_token_ && plane_.publisher().passed(*awaited_token_);
  const bool late = changing_since_ && Clock::now() - *changing_since_ > change_patience && !taken_over;
  return {generation_ != 0 && !late, updated_};
}

}  // namespace sluice::control
