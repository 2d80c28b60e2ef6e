#include "control/external_names.h"

#include <algorithm>
#include <iterator>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace json = boost::json;
using config::ObjectName;
using net::IpAddr;

constexpr std::array<net::Family, 2> asked{net::Family::V4, net::Family::V6};

std::string text_of(const std::vector<IpAddr>& addresses) {
  std::string out;
  for (const IpAddr& address : addresses) out += (out.empty() ? "" : ", ") + net::to_string(address);
  return out.empty() ? "no address" : out;
}

json::value value_of(const std::vector<IpAddr>& addresses) {
  json::array out;
  for (const IpAddr& address : addresses) out.emplace_back(net::to_string(address));
  return json::object{{"addresses", std::move(out)}};
}

}  // namespace

ExternalNames::ExternalNames(std::unique_ptr<NameLookup> lookup, Hooks hooks, ExternalNameCounts& counts)
    : lookup_(std::move(lookup)), hooks_(std::move(hooks)), counts_(counts) {}

void ExternalNames::want(const ObjectName& service, const std::string& name) {
  const auto known = names_.find(service);
  if (known != names_.end() && known->second == name) return;
  Addresses before;
  if (known != names_.end()) {
    before = entries_.at(known->second).addresses;
    release(service);
  }
  names_[service] = name;
  const auto [at, fresh] = entries_.try_emplace(name);
  Entry& entry = at->second;
  entry.services.insert(service);
  if (fresh) {
    entry.number = ++next_number_;
    entry.next = now_;
    due_.emplace(std::pair(entry.next, entry.number), name);
    ++count_of(entry);
    ask_due();
  }
  if (entry.addresses == before) return;
  changed_.insert(service);
  hooks_.changed();
}

void ExternalNames::forget(const ObjectName& service) {
  const auto known = names_.find(service);
  if (known == names_.end()) return;
  const bool had = !(entries_.at(known->second).addresses == Addresses());
  release(service);
  if (!had) return;
  changed_.insert(service);
  hooks_.changed();
}

void ExternalNames::release(const ObjectName& service) {
  const auto known = names_.find(service);
  const auto at = entries_.find(known->second);
  Entry& entry = at->second;
  entry.services.erase(service);
  if (entry.services.empty()) {
    --count_of(entry);
    due_.erase({entry.next, entry.number});
    entries_.erase(at);
  }
  names_.erase(known);
}

void ExternalNames::tick(Clock::time_point now) {
  now_ = now;
  ask_due();
}

void ExternalNames::ask_due() {
  while (!due_.empty() && due_.begin()->first.first <= now_ && under_way_ + families <= most_asked * families) {
    const std::string name = std::move(due_.extract(due_.begin()).mapped());
    ask(name, entries_.at(name));
  }
}

void ExternalNames::ask(const std::string& name, Entry& entry) {
  entry.waits_for = families;
  under_way_ += families;
  for (size_t family = 0; family < families; ++family) {
    lookup_->ask(name, asked[family],
                 [this, here = std::weak_ptr(here_), name, number = entry.number, family](LookupAnswer answer) {
                   if (!here.expired()) take(name, number, family, std::move(answer));
                 });
  }
}

void ExternalNames::take(const std::string& name, uint64_t number, size_t family, LookupAnswer answer) {
  switch (answer.kind) {
    case LookupAnswer::Kind::Addresses:
      ++counts_.answered;
      break;
    case LookupAnswer::Kind::None:
      ++counts_.none;
      break;
    case LookupAnswer::Kind::Failed:
      ++counts_.failed;
      break;
  }
  --under_way_;
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.number != number) return ask_due();
  Entry& entry = found->second;
  const bool failed = answer.kind == LookupAnswer::Kind::Failed;
  entry.failures[family] = failed ? std::move(answer.problem) : std::string();
  if (!failed) {
    entry.known[family] = std::move(answer.addresses);
    if (entry.known[family].size() > most_addresses) entry.known[family].resize(most_addresses);
  }
  --count_of(entry);
  const bool differs = settle(entry);
  ++count_of(entry);
  if (--entry.waits_for == 0) end_round(name, entry);
  if (differs) {
    changed_.insert(entry.services.begin(), entry.services.end());
    hooks_.changed();
  }
  ask_due();
}

bool ExternalNames::settle(Entry& entry) {
  std::vector<IpAddr> now;
  entry.refused.clear();
  for (const auto& list : entry.known) {
    for (const IpAddr& address : list) {
      std::string why = hooks_.objection(address);
      if (why.empty()) {
        now.push_back(address);
      } else {
        entry.refused.emplace(address, std::move(why));
      }
    }
  }
  std::sort(now.begin(), now.end());
  auto& [current, former] = entry.addresses;
  if (now == current) return false;
  // Those that went last are the last.
  std::erase_if(former, [&](const IpAddr& one) { return std::binary_search(now.begin(), now.end(), one); });
  std::set_difference(current.begin(), current.end(), now.begin(), now.end(), std::back_inserter(former));
  if (former.size() > most_former) {
    former.erase(former.begin(), former.end() - static_cast<ptrdiff_t>(most_former));
  }
  current = std::move(now);
  return true;
}

void ExternalNames::end_round(const std::string& name, Entry& entry) {
  entry.answered = true;
  const bool failed =
      std::any_of(entry.failures.begin(), entry.failures.end(), [](const auto& why) { return !why.empty(); });
  const Clock::duration retry = first_retry * (1U << std::min(entry.tries, 5U));
  entry.next = now_ + (failed ? std::min<Clock::duration>(retry, interval) : interval);
  due_.emplace(std::pair(entry.next, entry.number), name);
  entry.tries = failed ? entry.tries + 1 : 0;
  const std::vector<IpAddr>& current = entry.addresses.current;
  if (current != entry.told) {
    tell(name, entry, current.empty(), "ExternalNameChanged",
         fmt::format("{} is {} now, was {}", name, text_of(current), text_of(entry.told)));
    entry.told = current;
  }
  std::string problem = problem_of(entry);
  if (problem == entry.told_problem) return;
  if (problem.empty()) {
    tell(name, entry, false, "ExternalNameResolved", fmt::format("{} is {}", name, text_of(current)));
  } else {
    tell(name, entry, true, "ExternalNameProblem", fmt::format("{}: {}", name, problem));
  }
  entry.told_problem = std::move(problem);
}

const ExternalNames::Addresses* ExternalNames::addresses_of(const ObjectName& service) const {
  const auto name = names_.find(service);
  return name == names_.end() ? nullptr : &entries_.at(name->second).addresses;
}

ExternalNames::View ExternalNames::view_of(const ObjectName& service) const {
  const auto name = names_.find(service);
  if (name == names_.end()) return {};
  const Entry& entry = entries_.at(name->second);
  std::string problem = problem_of(entry);
  if (problem.empty() && !entry.answered) problem = "DNS has not answered yet";
  return {name->second, entry.addresses.current, std::move(problem)};
}

std::string ExternalNames::problem_of(const Entry& entry) {
  std::string out;
  const auto add = [&](const std::string& what) { out += (out.empty() ? "" : "; ") + what; };
  for (size_t family = 0; family < families; ++family) {
    const bool repeated = family != 0 && entry.failures[family] == entry.failures[0];
    if (!entry.failures[family].empty() && !repeated) add(fmt::format("the look-up fails: {}", entry.failures[family]));
  }
  const bool failed = !out.empty();
  for (const auto& [address, why] : entry.refused) add(fmt::format("{} is not used: {}", net::to_string(address), why));
  const bool none = std::all_of(entry.known.begin(), entry.known.end(), [](const auto& list) { return list.empty(); });
  if (none && !failed && entry.answered) add("DNS knows no address of it");
  return out;
}

void ExternalNames::tell(const std::string& name, const Entry& entry, bool warning, const char* reason,
                         std::string message) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  RouterEvent event{.time_seconds = now, .type = EventType::Dns, .warning = warning};
  event.reason = reason;
  event.object = name;
  event.message = std::move(message);
  event.before = value_of(entry.told);
  event.after = value_of(entry.addresses.current);
  hooks_.report(std::move(event));
}

}  // namespace sluice::control
