// Traces for the clients of the API: tells the workers which packets are wanted, takes what they wrote down and gives
// each client its own, in words.
//
// Bounded: so many traces at one time, each with a count, a time and a queue. What does not fit is counted, and the
// client is told. While there is no client the workers do nothing for it.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "control/packet_filter.h"
#include "control/router.h"
#include "dataplane/dataplane.h"

namespace sluice::control {

class Traces {
 public:
  static constexpr size_t most = dataplane::TraceOrders::most;
  static constexpr size_t queue_limit = 4096;  // packets that wait for one client

  // Of each record in its place; the records outlive what it returns.
  using Describe = std::function<Awaitable<std::vector<Explanation>>(std::span<const dataplane::PacketTrace>)>;
  using PortName = std::function<std::string(uint16_t)>;

  // All outlive the object; its watches may outlive it, but are not asked any more then.
  Traces(boost::asio::io_context& io, dataplane::Dataplane& plane, Describe describe, PortName port_name);
  ~Traces();
  Traces(const Traces&) = delete;
  Traces& operator=(const Traces&) = delete;

  struct Started {
    std::shared_ptr<TraceWatch> watch;
    uint64_t token = 0;  // Publisher::passed: from then on every worker looks
  };
  // Ends when nobody holds the watch; nullptr: there are too many. Error: what is wrong with the filter.
  [[nodiscard]] net::Result<Started> start(const TraceRequest& request);

 private:
  class Watch;
  // What workers may still look at.
  struct Retired {
    std::unique_ptr<const dataplane::TraceOrders> orders;
    std::vector<PacketFilter> filters;
    uint64_t token = 0;
  };

  // Drops the filters of traces that ended and tells the workers which are left. The token of the grace period.
  uint64_t give_orders();
  [[nodiscard]] bool any_ended() const;
  void arm();
  void poll();
  // What one look has found: records, and how many there was no room for.
  struct Found {
    std::vector<dataplane::PacketTrace> records;
    std::array<std::weak_ptr<Watch>, most> watches;  // whose they are, by slot
    double time_seconds = 0;                         // since 1970
    uint64_t lost = 0;
  };
  [[nodiscard]] Awaitable<void> deliver(Found found);
  [[nodiscard]] TracedPacket packet_of(const dataplane::PacketTrace& trace, double now) const;
  void end_poll(uint64_t lost);

  boost::asio::io_context& io_;
  dataplane::Dataplane& plane_;
  Describe describe_;
  PortName port_name_;
  struct Slot {
    std::weak_ptr<Watch> watch;
    std::vector<PacketFilter> filter;  // one while the slot is taken
  };
  std::array<Slot, most> slots_;
  std::unique_ptr<const dataplane::TraceOrders> orders_;
  std::vector<Retired> retired_;
  std::vector<uint64_t> lost_;  // by worker: what its ring had lost at the last look
  boost::asio::steady_timer timer_;
  bool polling_ = false;
};

}  // namespace sluice::control
