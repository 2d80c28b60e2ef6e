#include "control/flow_events.h"

#include <chrono>
#include <utility>

#include "control/flow_entry.h"
#include "control/watch_queue.h"

namespace sluice::control {
namespace {

constexpr auto poll_interval = std::chrono::milliseconds(5);
constexpr size_t batch_limit = 512;  // events that one answer to a client holds

bool is_port_of(const std::string& port_name, const std::string& service) {
  return port_name.starts_with(service) && (port_name.size() == service.size() || port_name[service.size()] == ':');
}

}  // namespace

class FlowEvents::Watch final : public FlowWatch {
 public:
  Watch(boost::asio::io_context& io, const FlowFilter& filter, std::function<std::string(uint32_t)> service_name)
      : query_(query_of(filter)),
        service_(filter.service),
        service_name_(std::move(service_name)),
        queue_(io, queue_limit) {}

  void offer(const dataplane::FlowEvent& event, double time) {
    if (!query_.matches(event.record)) return;
    if (!service_.empty() && !is_port_of(service_name_(event.record.service), service_)) return;
    queue_.put({event, time});
  }
  void lose(uint64_t events) { queue_.lose(events); }
  // After offers: whoever waits goes on.
  void wake() { queue_.wake(); }

  Awaitable<FlowBatch> next(std::chrono::milliseconds patience) override {
    const auto taken = co_await queue_.take(patience, batch_limit);
    FlowBatch batch;
    batch.lost = taken.lost;
    for (const auto& [event, time] : taken.items) {
      batch.events.push_back({event.kind == dataplane::FlowEvent::Kind::Closed, time,
                              entry_of(event.record, service_name_(event.record.service))});
    }
    co_return batch;
  }

 private:
  struct Waiting {
    dataplane::FlowEvent event;
    double time;
  };

  dataplane::FlowQuery query_;
  std::string service_;
  std::function<std::string(uint32_t)> service_name_;
  WatchQueue<Waiting> queue_;
};

FlowEvents::FlowEvents(boost::asio::io_context& io, dataplane::Dataplane& plane,
                       std::function<std::string(uint32_t)> service_name)
    : io_(io), plane_(plane), service_name_(std::move(service_name)), lost_(plane.worker_count()), timer_(io) {}

FlowEvents::~FlowEvents() = default;

std::shared_ptr<FlowWatch> FlowEvents::watch(const FlowFilter& filter) {
  std::erase_if(watches_, [](const auto& watch) { return watch.expired(); });
  if (watches_.size() == most_watches) return nullptr;
  auto watch = std::make_shared<Watch>(io_, filter, service_name_);
  if (!std::exchange(polling_, true)) {
    for (uint16_t i = 0; i < plane_.worker_count(); ++i) {
      // What was noted for others who are gone is nobody's.
      plane_.worker(i).flow_events().take([](const dataplane::FlowEvent&) {});
      lost_[i] = plane_.worker(i).flow_events().lost();
      plane_.worker(i).watch_flows(true);
    }
    arm();
  }
  watches_.push_back(watch);
  return watch;
}

void FlowEvents::arm() {
  timer_.expires_after(poll_interval);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) poll();
  });
}

void FlowEvents::poll() {
  std::vector<std::shared_ptr<Watch>> watches;
  for (const auto& weak : watches_) {
    if (auto watch = weak.lock()) watches.push_back(std::move(watch));
  }
  if (watches.empty()) {
    for (uint16_t i = 0; i < plane_.worker_count(); ++i) plane_.worker(i).watch_flows(false);
    polling_ = false;
    return;
  }
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (uint16_t i = 0; i < plane_.worker_count(); ++i) {
    dataplane::FlowEventRing& ring = plane_.worker(i).flow_events();
    ring.take([&](const dataplane::FlowEvent& event) {
      for (const auto& watch : watches) watch->offer(event, now);
    });
    const uint64_t lost = ring.lost() - lost_[i];
    lost_[i] += lost;
    for (const auto& watch : watches) watch->lose(lost);
  }
  for (const auto& watch : watches) watch->wake();
  arm();
}

}  // namespace sluice::control
