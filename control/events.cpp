#include "control/events.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/watch_queue.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

constexpr size_t batch_limit = 256;  // events that one answer to a client holds

constexpr std::array<std::string_view, event_type_count> type_names{
    "config", "drain", "neighbor", "tunnel", "link", "drops", "table", "state", "l2", "bgp", "dns"};

json::object rate_of(double per_second) { return {{"perSecond", std::round(per_second)}}; }

}  // namespace

std::string_view name(EventType type) { return type_names[static_cast<size_t>(type)]; }

std::optional<EventType> event_type_of(std::string_view name) {
  const auto* found = std::find(type_names.begin(), type_names.end(), name);
  if (found == type_names.end()) return std::nullopt;
  return static_cast<EventType>(found - type_names.begin());
}

std::vector<RouterEvent> DropAlarm::look(const std::vector<DropRate>& rates) {
  std::vector<RouterEvent> events;
  const auto entry = [](auto& list, const std::string& reason) {
    return std::find_if(list.begin(), list.end(), [&](const DropRate& rate) { return rate.reason == reason; });
  };
  for (const DropRate& rate : rates) {
    if (rate.per_second < threshold_ || entry(high_, rate.reason) != high_.end()) continue;
    high_.push_back(rate);
    events.push_back({.type = EventType::Drops,
                      .warning = true,
                      .reason = "DropRateHigh",
                      .object = rate.reason,
                      .message = fmt::format("{:.0f} packets/s are dropped: {}", rate.per_second, rate.reason),
                      .after = rate_of(rate.per_second)});
  }
  std::erase_if(high_, [&](const DropRate& high) {
    const auto now = entry(rates, high.reason);
    const double per_second = now == rates.end() ? 0 : now->per_second;
    if (per_second >= threshold_ / 2) return false;
    events.push_back({.type = EventType::Drops,
                      .reason = "DropRateLow",
                      .object = high.reason,
                      .message = fmt::format("{:.0f} packets/s are dropped: {}", per_second, high.reason),
                      .before = rate_of(high.per_second),
                      .after = rate_of(per_second)});
    return true;
  });
  return events;
}

class EventLog::Watch final : public EventWatch {
 public:
  Watch(boost::asio::io_context& io, const EventFilter& filter) : filter_(filter), queue_(io, queue_limit) {
    if (filter.drop_rate) alarm_.emplace(*filter.drop_rate);
  }

  void offer(const RouterEvent& event) {
    if (!filter_.types[static_cast<size_t>(event.type)]) return;
    if (alarm_ && event.type == EventType::Drops && event.id != 0) return;  // by another threshold
    queue_.put(event);
    queue_.wake();
  }
  void drops(const std::vector<DropRate>& rates, double time_seconds) {
    if (!alarm_) return;
    for (RouterEvent& event : alarm_->look(rates)) {
      event.time_seconds = time_seconds;
      offer(event);
    }
  }
  void lose(uint64_t events) { queue_.lose(events); }

  boost::asio::awaitable<EventBatch> next(std::chrono::milliseconds patience) override {
    auto taken = co_await queue_.take(patience, batch_limit);
    co_return EventBatch{std::move(taken.items), taken.lost};
  }

 private:
  EventFilter filter_;
  std::optional<DropAlarm> alarm_;
  WatchQueue<RouterEvent> queue_;
};

uint64_t first_event_id(std::chrono::system_clock::time_point start) {
  constexpr uint64_t most_in_a_second = 1'000'000;
  return static_cast<uint64_t>(std::chrono::system_clock::to_time_t(start)) * most_in_a_second + 1;
}

EventLog::EventLog(boost::asio::io_context& io, uint64_t first_id) : io_(io), next_id_(first_id) {}

EventLog::~EventLog() = default;

std::vector<std::shared_ptr<EventLog::Watch>> EventLog::watches() {
  std::erase_if(watches_, [](const auto& watch) { return watch.expired(); });
  std::vector<std::shared_ptr<Watch>> held;
  for (const auto& weak : watches_) {
    if (auto watch = weak.lock()) held.push_back(std::move(watch));
  }
  return held;
}

void EventLog::add(RouterEvent event) {
  const auto type = static_cast<size_t>(event.type);
  event.id = next_id_++;
  ++counts_[type];
  for (const auto& watch : watches()) watch->offer(event);
  auto& kept = kept_[type];
  if (kept.size() == kept_of_a_type) {
    ++evicted_[type];
    evicted_last_[type] = kept.front().id;
    kept.pop_front();
  }
  kept.push_back(std::move(event));
}

void EventLog::drops(const std::vector<DropRate>& rates, double time_seconds) {
  for (RouterEvent& event : alarm_.look(rates)) {
    event.time_seconds = time_seconds;
    add(std::move(event));
  }
  for (const auto& watch : watches()) watch->drops(rates, time_seconds);
}

std::vector<RouterEvent> EventLog::kept(const EventFilter& filter) const {
  std::vector<RouterEvent> events;
  for (size_t type = 0; type < event_type_count; ++type) {
    if (!filter.types[type]) continue;
    for (const RouterEvent& event : kept_[type]) {
      if (event.id > filter.after.value_or(0)) events.push_back(event);
    }
  }
  std::sort(events.begin(), events.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return events;
}

uint64_t EventLog::missed(const EventFilter& filter) const {
  uint64_t missed = 0;
  for (size_t type = 0; type < event_type_count && filter.after; ++type) {
    if (!filter.types[type] || evicted_last_[type] <= *filter.after) continue;
    missed += std::min(evicted_[type], evicted_last_[type] - *filter.after);
  }
  return missed;
}

std::shared_ptr<EventWatch> EventLog::watch(const EventFilter& filter) {
  if (watches().size() == most_watches) return nullptr;
  auto watch = std::make_shared<Watch>(io_, filter);
  if (filter.after) {
    for (const RouterEvent& event : kept(filter)) watch->offer(event);
    // after=0 asks for what there is, not for what there was.
    if (*filter.after != 0) watch->lose(missed(filter));
  }
  watches_.push_back(watch);
  return watch;
}

}  // namespace sluice::control
