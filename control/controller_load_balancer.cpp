// Load balancer addresses in the running router: given by load_balancer.h, on the disk before they serve, and announced
// on the wire by whom announcer.h says.
#include <algorithm>
#include <set>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <fmt/format.h>

#include "config/validate.h"
#include "control/controller.h"
#include "control/in_background.h"

namespace sluice::control {
namespace {

// L2-4: at once and then so often and so long.
constexpr auto announce_interval = std::chrono::milliseconds(1100);
constexpr unsigned announce_rounds = 5;
constexpr auto claim_interval = std::chrono::milliseconds(200);
constexpr auto link_interval = std::chrono::seconds(1);
// Switches that snoop MLD forget a group after some 260 s (RFC 3810 section 9.4), and not every one of them asks.
constexpr auto membership_interval = std::chrono::seconds(60);

constexpr size_t pending_events = 20;  // of one change

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Announcer::Now both_clocks() { return {std::chrono::steady_clock::now(), std::chrono::system_clock::now()}; }

// Addresses that the gateway listens on for Ingresses, in the subnet of an interface: no other router is asked.
void add_ingress(const config::Gateway& gateway, std::vector<Announcer::Announced>& out) {
  if (!gateway.ingress.enabled) return;
  for (const net::IpAddr& address : gateway.ingress.addresses) {
    for (const config::Interface& interface : gateway.interfaces) {
      const bool near = std::any_of(interface.addresses.begin(), interface.addresses.end(),
                                    [&](const net::Prefix& own) { return own.masked().contains(address); });
      const bool own = std::any_of(interface.addresses.begin(), interface.addresses.end(),
                                   [&](const net::Prefix& each) { return each.addr == address; });
      if (near && !own) out.push_back({address, interface.name, true});
    }
  }
}

}  // namespace

void Controller::load_load_balancers() {
  auto kept = load_balancer_log_.load(load_balancer_warnings_);
  if (kept) {
    load_balancer_.restore(std::move(*kept));
  } else {
    load_balancer_warnings_.push_back(kept.error().message);
  }
}

// Afterwards the services of objects_ have the addresses that serve.
void Controller::take_given(const std::vector<config::ObjectName>& services) {
  for (const config::ObjectName& name : services) objects_.give(name, load_balancer_.given(name));
}

Awaitable<net::Status<>> Controller::keep_given(GivenAddresses changes) {
  const auto appended = load_balancer_log_.append(std::move(changes));
  if (!appended) co_return appended.error();
  if (!*appended) co_return net::Done{};
  auto synced = co_await run_in(background_, load_balancer_log_.sync());
  if (!synced) load_balancer_log_.failed();
  co_return synced;
}

GivenAddresses Controller::given_to(const std::vector<config::ObjectName>& services) const {
  GivenAddresses out;
  for (const config::ObjectName& name : services) out[name] = load_balancer_.recorded(name);
  return out;
}

Awaitable<std::optional<config::Change>> Controller::give_addresses(const config::Change& change) {
  if (!load_balancer_.frozen().empty() && load_balancer_log_.retry()) {
    std::erase(load_balancer_warnings_, load_balancer_.frozen());
    load_balancer_.freeze({});
  }
  given_services_ = load_balancer_.update(objects_.config(), generation_ == 0 ? nullptr : &change);
  GivenAddresses changes = given_to(given_services_);
  const net::Status<> kept = co_await keep_given(std::move(changes));
  if (!kept) {
    const std::string problem =
        fmt::format("load balancer addresses could not be written down: {}", kept.error().message);
    give_what_is_known(problem, generation_ == 0 ? nullptr : &change);
  }
  take_given(given_services_);
  if (given_services_.empty()) co_return std::nullopt;
  config::Change whole;
  append(whole, change);
  mark_services(whole, given_services_);
  co_return whole;
}

// A router that does not start, or takes no change any more, helps nobody. But what it gave now, the next start would
// not know.
void Controller::give_what_is_known(const std::string& problem, const config::Change* change) {
  std::vector<config::ObjectName> touched = std::move(given_services_);
  std::erase(load_balancer_warnings_, load_balancer_.frozen());
  given_services_ = load_balancer_.update_frozen(objects_.config(), change, problem);
  touched.insert(touched.end(), given_services_.begin(), given_services_.end());
  load_balancer_log_.owe(given_to(touched));
  if (std::find(load_balancer_warnings_.begin(), load_balancer_warnings_.end(), problem) ==
      load_balancer_warnings_.end()) {
    load_balancer_warnings_.push_back(problem);
  }
}

// As a change that is none but for their addresses; the caller holds changes_.
Awaitable<void> Controller::give_to_those_who_wait() {
  const config::Change nothing;
  const ApplyReply reply = co_await give_and_deploy(nothing, 0);
  if (reply.code != ApplyReply::Code::Applied) co_await take_addresses_back();
}

// The change did not come to pass, and objects_ is what it was.
Awaitable<void> Controller::take_addresses_back() {
  load_balancer_.undo(objects_.config());
  take_given(given_services_);
  GivenAddresses changes = given_to(given_services_);
  const net::Status<> kept = co_await keep_given(std::move(changes));
  if (!kept) load_balancer_log_.owe(given_to(given_services_));
  given_services_.clear();
}

Announcer::Sources Controller::announcer_sources() const {
  return {[this](const config::ObjectName& service) { return services_.slices_of(service); },
          [this](const net::IpAddr& address) -> const config::AddressPool* {
            return load_balancer_.pool_with_address(address);
          }};
}

// `change`: nullptr: anything may be different.
Awaitable<void> Controller::announce_load_balancers(const config::Change* change) {
  if (change == nullptr || change->touches("IPAddressPool") || change->touches("L2Advertisement") ||
      change->touches(std::string_view("GatewayConfiguration"))) {
    pool_warnings_ = config::load_balancer_warnings(objects_.config());
  }
  // Who came without getting an address, or lost it: LB-2.
  size_t told = 0;
  for (const config::ObjectName& name : given_services_) {
    const std::string why = load_balancer_.pending(name);
    if (why.empty() || ++told > pending_events) continue;
    events_.add({.time_seconds = seconds_since_1970(),
                 .type = EventType::L2,
                 .warning = true,
                 .reason = "AddressPending",
                 .object = name.text(),
                 .message = fmt::format("{} waits for a load balancer address: {}", name.text(), why)});
  }
  announcer_.update(objects_.config(), change, announcer_sources(), both_clocks());
  co_await publish_announcements();
}

std::vector<dataplane::Announcement> Controller::indexed(const std::vector<Announcer::Announced>& all) const {
  std::vector<dataplane::Announcement> out;
  std::map<std::string_view, uint16_t> indices;
  for (const PlannedInterface& interface : deployment_.plan().interfaces) {
    if (const auto index = deployment_.index_of_interface(interface.name)) indices.emplace(interface.name, *index);
  }
  for (const Announcer::Announced& one : all) {
    const auto found = indices.find(one.interface);
    if (found != indices.end()) out.push_back({one.address, found->second, one.answers});
  }
  return out;
}

// The caller holds changes_.
Awaitable<void> Controller::publish_announcements() {
  std::vector<Announcer::Announced> fresh = announcer_.take_fresh();
  if (announcer_.take_changed()) {
    const std::vector<Announcer::Announced> all = announced_addresses(true, true);
    const std::vector<Announcer::Announced> ingress = announced_addresses(false, true);
    for (const Announcer::Announced& one : ingress) {
      if (!told_ingress_.contains(one)) fresh.push_back(one);
    }
    told_ingress_ = {ingress.begin(), ingress.end()};
    if (const auto token = deployment_.publish_announcements(indexed(all)); token) {
      (void)co_await wait_for(*token);
      deployment_.finish();
    }
  }
  report_announcements();
  if (fresh.empty()) co_return;
  boost::asio::co_spawn(io_, tell_announcements(indexed(fresh)), boost::asio::detached);
}

Awaitable<void> Controller::tell_announcements(std::vector<dataplane::Announcement> fresh) {
  for (unsigned round = 0; round < announce_rounds; ++round) {
    if (round != 0) co_await pause(announce_interval);
    co_await send_announcements(fresh);
  }
}

Awaitable<void> Controller::send_announcements(std::vector<dataplane::Announcement> announcements) {
  dataplane::Command command;
  command.kind = dataplane::Command::Kind::Announce;
  command.announcements = std::move(announcements);
  co_await run_command(0, command);
}

std::vector<Announcer::Announced> Controller::announced_addresses(bool load_balancers, bool ingress) const {
  std::vector<Announcer::Announced> out;
  if (load_balancers) out = announcer_.announced();
  if (ingress) add_ingress(objects_.config().gateway, out);
  return out;
}

std::vector<Announcer::Announced> Controller::behind_new_links() {
  std::set<std::string> fresh;
  for (const auto& [device, port] : deployment_.ports()) {
    const auto [link, first] = links_.try_emplace(device, true);
    const bool before = std::exchange(link->second, port->link_up());
    if (!before && link->second) fresh.insert(device);
  }
  for (const PlannedInterface& interface : deployment_.plan().interfaces) {
    if (!interface.in_kernel() || interface.of_pod()) continue;
    const bool up = deployment_.pods().link_of(interface.link).up;
    const auto [link, first] = links_.try_emplace(interface.device, true);
    if (!std::exchange(link->second, up) && up) fresh.insert(interface.device);
  }
  std::vector<Announcer::Announced> out;
  if (fresh.empty()) return out;
  std::set<std::string> interfaces;
  for (const config::Interface& interface : objects_.config().gateway.interfaces) {
    if (fresh.contains(interface.device)) interfaces.insert(interface.name);
  }
  for (const Announcer::Announced& one : announced_addresses(true, true)) {
    if (one.answers && interfaces.contains(one.interface)) out.push_back(one);
  }
  return out;
}

// What was said while a link was down, or too long ago, is said again.
Awaitable<void> Controller::keep_telling() {
  auto said = std::chrono::steady_clock::now();
  while (true) {
    co_await pause(link_interval);
    if (generation_ == 0) continue;
    std::vector<Announcer::Announced> again = behind_new_links();
    if (!again.empty()) {
      boost::asio::co_spawn(io_, tell_announcements(indexed(again)), boost::asio::detached);
    }
    if (std::chrono::steady_clock::now() - said < membership_interval) continue;
    said = std::chrono::steady_clock::now();
    again = announced_addresses(true, true);
    std::erase_if(again, [](const Announcer::Announced& one) { return !one.answers || one.address.is_v4(); });
    if (!again.empty()) co_await send_announcements(indexed(again));
  }
}

Awaitable<void> Controller::keep_watching_claims() {
  while (true) {
    co_await pause(claim_interval);
    dataplane::ClaimRing* claims = plane_.worker(0).claims();
    if (claims == nullptr || deployment_.snapshot() == nullptr) continue;
    std::vector<dataplane::AddressClaim> heard;
    claims->take([&](const dataplane::AddressClaim& claim) { heard.push_back(claim); });
    if (heard.empty() && !announcer_.watches()) continue;
    const auto lock = co_await changes_.lock();
    const auto now = both_clocks();
    const std::vector<dataplane::Interface>& interfaces = deployment_.snapshot()->interfaces;
    for (const dataplane::AddressClaim& claim : heard) {
      // Two interfaces of this router on one link hear each other.
      const bool own = std::any_of(interfaces.begin(), interfaces.end(), [&](const dataplane::Interface& interface) {
        return interface.present && interface.mac == claim.mac;
      });
      if (!own) announcer_.on_claim(claim.address, claim.mac, now);
    }
    const auto questions = announcer_.tick(objects_.config(), announcer_sources(), now);
    co_await publish_announcements();
    if (!questions.empty()) co_await send_announcements(indexed(questions));
  }
}

void Controller::report_announcements() {
  for (const Announcer::News& news : announcer_.take_news()) {
    using Kind = Announcer::News::Kind;
    RouterEvent event{.time_seconds = seconds_since_1970(),
                      .type = EventType::L2,
                      .warning = news.kind == Kind::Conflict,
                      .reason = news.kind == Kind::TookOver ? "AddressTakenOver"
                                : news.kind == Kind::GaveUp ? "AddressGivenUp"
                                                            : "AddressConflict",
                      .object = net::to_string(news.address),
                      .message = fmt::format("{}: {}", net::to_string(news.address), news.text)};
    events_.add(std::move(event));
  }
}

std::vector<LoadBalancerEntry> Controller::load_balancers() const {
  std::vector<LoadBalancerEntry> out;
  for (const auto& [name, service] : objects_.config().services) {
    const auto given = load_balancer_.given(name);
    if (!given) continue;
    LoadBalancerEntry entry{name.text(), *given, {}, load_balancer_.pending(name)};
    if (!given->empty()) entry.pool = load_balancer_.pool_of(given->front());
    out.push_back(std::move(entry));
  }
  return out;
}

LoadBalancerStatus Controller::load_balancer_status() const {
  LoadBalancerStatus out{
      load_balancer_.served(), load_balancer_.waiting(), announcer_.owned(), announcer_.conflicts(), {}};
  for (const auto& [name, in_use] : load_balancer_.pools()) out.pools.emplace_back(name, in_use);
  return out;
}

}  // namespace sluice::control
