#include "control/load_balancer_log.h"

#include <algorithm>
#include <optional>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/journal_record.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

constexpr size_t short_log = size_t{1} << 20;  // bytes, not worth a new snapshot

std::string text_of(uint64_t number, const GivenAddresses& addresses) {
  json::object services;
  for (const auto& [name, given] : addresses) {
    json::array list;
    for (const net::IpAddr& address : given) list.emplace_back(net::to_string(address));
    services[name.text()] = std::move(list);
  }
  return json::serialize(json::object{{"record", number}, {"services", std::move(services)}});
}

struct Step {
  uint64_t number = 0;
  GivenAddresses changes;
};

std::optional<Step> step_of(std::string_view text) {
  json::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* fields = error ? nullptr : value.if_object();
  const json::value* number = fields == nullptr ? nullptr : fields->if_contains("record");
  const json::value* services = fields == nullptr ? nullptr : fields->if_contains("services");
  if (number == nullptr || services == nullptr || !services->is_object()) return std::nullopt;
  Step step{number->to_number<uint64_t>(error), {}};
  if (error) return std::nullopt;
  for (const auto& entry : services->get_object()) {
    const std::string_view name = entry.key();
    const size_t slash = name.find('/');
    if (slash == std::string_view::npos || !entry.value().is_array()) return std::nullopt;
    auto& given = step.changes[{std::string(name.substr(0, slash)), std::string(name.substr(slash + 1))}];
    for (const json::value& item : entry.value().get_array()) {
      const auto address = item.is_string() ? net::parse_ip(std::string_view(item.get_string())) : std::nullopt;
      if (!address) return std::nullopt;
      given.push_back(*address);
    }
  }
  return step;
}

void apply(GivenAddresses& all, GivenAddresses changes) {
  for (auto& [name, given] : changes) {
    if (given.empty()) {
      all.erase(name);
    } else {
      all.insert_or_assign(name, std::move(given));
    }
  }
}

}  // namespace

net::Result<GivenAddresses> LoadBalancerLog::load(std::vector<std::string>& messages) {
  const auto unusable = [&](std::string why) {
    unusable_ = std::move(why);
    return net::Error{unusable_};
  };
  auto kept = storage_.load();
  if (!kept) return unusable(kept.error().message);
  GivenAddresses out;
  if (kept->snapshot) {
    auto step = step_of(*kept->snapshot);
    if (!step) return unusable("what was kept of load balancer addresses cannot be read");
    written_ = step->number;
    snapshot_bytes_ = kept->snapshot->size();
    apply(out, std::move(step->changes));
  }
  std::string_view rest = kept->log;
  while (!rest.empty()) {
    const size_t at = kept->log.size() - rest.size();
    Record record;
    const Read read = read_record(rest, record);
    auto step = read == Read::Whole ? step_of(record.payload) : std::nullopt;
    if (step && step->number <= written_) continue;  // in the snapshot
    if (!step || step->number != written_ + 1) {
      messages.push_back(fmt::format("the log of load balancer addresses ends at byte {} of {}: {}", at,
                                     kept->log.size(), step ? "a record before it is missing" : "it is not whole"));
      break;
    }
    written_ = step->number;
    apply(out, std::move(step->changes));
  }
  if (!kept->log.empty()) {
    if (auto written = write_snapshot(out); !written) messages.push_back(written.error().message);
  }
  known_ = out;
  return out;
}

void LoadBalancerLog::owe(GivenAddresses changes) {
  apply(known_, std::move(changes));
  broken_ = true;
}

net::Status<> LoadBalancerLog::retry() {
  if (!unusable_.empty()) return net::Error{unusable_};
  if (!broken_) return net::Done{};
  ++written_;
  return write_snapshot(known_);
}

net::Status<> LoadBalancerLog::write_snapshot(const GivenAddresses& all) {
  const std::string text = text_of(written_, all);
  auto replaced = storage_.replace(text);
  broken_ = !replaced;
  if (replaced) {
    snapshot_bytes_ = text.size();
    log_bytes_ = 0;
  }
  return replaced;
}

net::Result<bool> LoadBalancerLog::append(GivenAddresses changes) {
  if (changes.empty()) return false;
  std::erase_if(changes, [&](const auto& entry) {
    const auto known = known_.find(entry.first);
    return known == known_.end() ? entry.second.empty() : known->second == entry.second;
  });
  if (changes.empty()) {
    if (broken_) (void)retry();  // what is owed is no matter of this change
    return false;
  }
  if (!unusable_.empty()) return net::Error{unusable_};
  if (broken_ || log_bytes_ > std::max(short_log, snapshot_bytes_)) {
    GivenAddresses all = known_;
    apply(all, std::move(changes));
    ++written_;
    if (auto written = write_snapshot(all); !written) return written.error();
    known_ = std::move(all);
    return true;
  }
  const std::string text = text_of(written_ + 1, changes);
  const std::string record = record_of(change_word, text.size(), checksum(text)) + text + '\n';
  if (auto appended = storage_.append(record); !appended) {
    broken_ = true;
    return appended.error();
  }
  ++written_;
  log_bytes_ += record.size();
  apply(known_, std::move(changes));
  return true;
}

}  // namespace sluice::control
