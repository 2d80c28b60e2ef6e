#include "control/traces.h"

#include <chrono>
#include <deque>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <rte_cycles.h>

namespace sluice::control {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto poll_interval = std::chrono::milliseconds(5);
constexpr size_t batch_limit = 64;  // packets that one answer to a client holds

}  // namespace

class Traces::Watch final : public TraceWatch {
 public:
  Watch(boost::asio::io_context& io, const TraceRequest& request)
      : left_(request.count), deadline_(Clock::now() + request.time), timer_(io, Clock::time_point::max()) {}

  // Whether it wants no more.
  [[nodiscard]] bool satisfied() const { return left_ == 0 || Clock::now() >= deadline_; }
  void offer(const TracedPacket& packet) {
    if (satisfied()) return;
    if (queue_.size() == queue_limit) {
      ++lost_;
      return;
    }
    --left_;
    queue_.push_back(packet);
  }
  void lose(uint64_t packets) { lost_ += packets; }
  // After offers: whoever waits goes on.
  void wake() {
    if (!queue_.empty() || lost_ != 0 || satisfied()) timer_.cancel();
  }

  Awaitable<TraceBatch> next(std::chrono::milliseconds patience) override {
    if (queue_.empty() && lost_ == 0 && !satisfied()) {
      timer_.expires_after(patience);
      boost::system::error_code woken;
      co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
    }
    TraceBatch batch;
    for (; !queue_.empty() && batch.packets.size() < batch_limit; queue_.pop_front()) {
      batch.packets.push_back(std::move(queue_.front()));
    }
    if (queue_.empty()) batch.lost = std::exchange(lost_, 0);
    batch.ended = queue_.empty() && satisfied();
    co_return batch;
  }

 private:
  uint64_t left_;
  Clock::time_point deadline_;
  std::deque<TracedPacket> queue_;
  uint64_t lost_ = 0;
  boost::asio::steady_timer timer_;
};

Traces::Traces(boost::asio::io_context& io, dataplane::Dataplane& plane, Describe describe, PortName port_name)
    : io_(io),
      plane_(plane),
      describe_(std::move(describe)),
      port_name_(std::move(port_name)),
      lost_(plane.worker_count()),
      timer_(io) {}

// The workers may run on; what they look at must not go before they have been told and have passed.
Traces::~Traces() {
  for (Slot& slot : slots_) slot.watch.reset();
  (void)give_orders();
  const auto deadline = Clock::now() + std::chrono::seconds(1);
  for (const Retired& retired : retired_) {
    while (!plane_.publisher().passed(retired.token) && Clock::now() < deadline) {
    }
  }
}

bool Traces::any_ended() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
    if (slot.filter.empty()) return false;
    const auto watch = slot.watch.lock();
    return watch == nullptr || watch->satisfied();
  });
}

uint64_t Traces::give_orders() {
  Retired retired;
  auto orders = std::make_unique<dataplane::TraceOrders>();
  bool any = false;
  for (size_t i = 0; i < most; ++i) {
    Slot& slot = slots_[i];
    const auto watch = slot.watch.lock();
    if (watch == nullptr || watch->satisfied()) {
      if (!slot.filter.empty()) retired.filters.push_back(std::move(slot.filter.front()));
      slot.filter.clear();
      slot.watch.reset();
      continue;
    }
    orders->filters[i] = slot.filter.front().filter();
    any = true;
  }
  retired.orders = std::move(orders_);
  if (any) orders_ = std::move(orders);
  for (uint16_t i = 0; i < plane_.worker_count(); ++i) plane_.worker(i).tracer().order(orders_.get());
  retired.token = plane_.publisher().start_grace_period();
  const uint64_t token = retired.token;
  retired_.push_back(std::move(retired));
  return token;
}

net::Result<Traces::Started> Traces::start(const TraceRequest& request) {
  auto filter = PacketFilter::compile(request.filter);
  if (!filter) return filter.error();
  if (any_ended()) (void)give_orders();
  for (Slot& slot : slots_) {
    if (!slot.filter.empty()) continue;
    const auto watch = std::make_shared<Watch>(io_, request);
    slot.watch = watch;
    slot.filter.push_back(std::move(*filter));
    const uint64_t token = give_orders();
    if (!std::exchange(polling_, true)) {
      for (uint16_t i = 0; i < plane_.worker_count(); ++i) {
        plane_.worker(i).tracer().ring().take([](const dataplane::PacketTrace&) {});
        lost_[i] = plane_.worker(i).tracer().ring().lost();
      }
      arm();
    }
    return Started{watch, token};
  }
  return Started{};
}

void Traces::arm() {
  timer_.expires_after(poll_interval);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) poll();
  });
}

TracedPacket Traces::packet_of(const dataplane::PacketTrace& trace, double now) const {
  TracedPacket packet;
  const double age = static_cast<double>(rte_rdtsc() - trace.tsc) / static_cast<double>(rte_get_tsc_hz());
  packet.time_seconds = now - age;
  packet.worker = trace.worker;
  const auto frame_of = [&](uint16_t port, const dataplane::PacketTrace::Frame& frame, bool out) {
    const auto* const bytes = reinterpret_cast<const char*>(trace.bytes.data()) + frame.offset;
    packet.frames.push_back({port_name_(port), out, frame.length, std::string(bytes, frame.captured)});
  };
  if (trace.port != net::no_interface) frame_of(trace.port, trace.frame, false);
  for (size_t i = 0; i < trace.sent_count; ++i) {
    const dataplane::PacketTrace::Sent& sent = trace.sent[i];
    if (!sent.to_worker) frame_of(sent.to, sent.frame, true);
  }
  return packet;
}

// Rings are not looked at again before it is over: what their room does not suffice for is lost, and counted.
Awaitable<void> Traces::deliver(Found found) {
  // Ports may have other names once anybody was waited for.
  std::vector<TracedPacket> packets;
  packets.reserve(found.records.size());
  for (const dataplane::PacketTrace& trace : found.records) packets.push_back(packet_of(trace, found.time_seconds));
  std::vector<Explanation> explanations = co_await describe_(found.records);
  for (size_t at = 0; at < packets.size(); ++at) {
    packets[at].explanation = std::move(explanations[at]);
    for (size_t i = 0; i < most; ++i) {
      const auto watch = (found.records[at].traces >> i & 1) != 0 ? found.watches[i].lock() : nullptr;
      if (watch != nullptr) watch->offer(packets[at]);
    }
  }
  end_poll(found.lost);
}

void Traces::poll() {
  Found found;
  found.time_seconds = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (uint16_t i = 0; i < plane_.worker_count(); ++i) {
    dataplane::TraceRing& ring = plane_.worker(i).tracer().ring();
    ring.take([&](const dataplane::PacketTrace& trace) { found.records.push_back(trace); });
    found.lost += ring.lost() - std::exchange(lost_[i], ring.lost());
  }
  if (found.records.empty()) return end_poll(found.lost);
  for (size_t i = 0; i < most; ++i) found.watches[i] = slots_[i].watch;
  boost::asio::co_spawn(io_, deliver(std::move(found)), boost::asio::detached);
}

void Traces::end_poll(uint64_t lost) {
  for (const Slot& slot : slots_) {
    if (const auto watch = slot.watch.lock()) {
      if (lost != 0) watch->lose(lost);
      watch->wake();
    }
  }
  if (any_ended()) (void)give_orders();
  std::erase_if(retired_, [this](const Retired& retired) { return plane_.publisher().passed(retired.token); });
  polling_ = orders_ != nullptr || !retired_.empty();
  if (polling_) arm();
}

}  // namespace sluice::control
