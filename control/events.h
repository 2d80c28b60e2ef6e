// What happened to the router, for people and for programs that react: changes of configuration, neighbours, tunnels,
// links, drops, tables, names and the state folder (docs/api.md).
//
// The log keeps the last events of each type, so that what happens often does not wash away what matters; who comes
// later, or comes back, gets them from there. Identifiers grow, also over a restart: a client says the last one it has
// seen and gets what came after it. Each client has a bounded queue; one that does not read loses events and is told
// how many. Control thread only.
#pragma once

#include <array>
#include <bitset>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json/value.hpp>

namespace sluice::control {

enum class EventType : uint8_t { Config, Drain, Neighbor, Tunnel, Link, Drops, Table, State, L2, Bgp, Dns, Count };
inline constexpr size_t event_type_count = static_cast<size_t>(EventType::Count);

// "config", stable.
[[nodiscard]] std::string_view name(EventType type);
[[nodiscard]] std::optional<EventType> event_type_of(std::string_view name);

struct RouterEvent {
  uint64_t id = 0;          // 0: of one watch alone, which cannot be asked for again
  double time_seconds = 0;  // since 1970
  EventType type = EventType::Config;
  bool warning = false;
  std::string reason;         // "NeighborFailed": stable, for programs
  std::string object;         // "uplink0 192.168.0.1"
  std::string message;        // for people; its words may change
  boost::json::value before;  // null: there was nothing
  boost::json::value after;   // null: there is nothing
};

struct EventFilter {
  std::bitset<event_type_count> types = std::bitset<event_type_count>().set();
  std::optional<uint64_t> after;      // with what is kept of those that came after this one; empty: only new ones
  std::optional<uint64_t> drop_rate;  // packets/s of a reason that are worth an event; empty: default_drop_rate
};
inline constexpr uint64_t default_drop_rate = 100;

struct EventBatch {
  std::vector<RouterEvent> events;
  uint64_t lost = 0;  // there was no room for so many after these
};

// The events that one client wants. It gets them as long as it is held.
class EventWatch {
 public:
  virtual ~EventWatch() = default;
  // Empty if nothing came for `patience`. One call at a time.
  virtual boost::asio::awaitable<EventBatch> next(std::chrono::milliseconds patience) = 0;
};

// How fast packets are dropped for one reason.
struct DropRate {
  std::string reason;
  double per_second = 0;
};

// Tells when a reason's rate reaches a threshold, and when it has fallen below half of it.
class DropAlarm {
 public:
  explicit DropAlarm(uint64_t threshold) : threshold_(static_cast<double>(threshold)) {}
  // `rates`: of every reason that had drops lately; the others have none. Events without id and time.
  [[nodiscard]] std::vector<RouterEvent> look(const std::vector<DropRate>& rates);

 private:
  double threshold_;
  std::vector<DropRate> high_;
};

// For EventLog: above all that an earlier run of the router gave, and exact as a number of JSON.
[[nodiscard]] uint64_t first_event_id(std::chrono::system_clock::time_point start);

class EventLog {
 public:
  static constexpr size_t kept_of_a_type = 256;
  static constexpr size_t most_watches = 16;
  static constexpr size_t queue_limit = 4096;  // events that wait for one client

  // `first_id` > 0. `io` outlives the log; its watches may outlive it, but are not told any more then.
  EventLog(boost::asio::io_context& io, uint64_t first_id);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Its id is given here.
  void add(RouterEvent event);
  // What was dropped lately: watches with a threshold of their own compare, and so does the log with the default.
  void drops(const std::vector<DropRate>& rates, double time_seconds);

  // Those of the filter that are kept, in order; without `after`: all of them.
  [[nodiscard]] std::vector<RouterEvent> kept(const EventFilter& filter) const;
  // How many of the filter came after `after` and are not kept any more, at most.
  [[nodiscard]] uint64_t missed(const EventFilter& filter) const;
  // Ends when nobody holds it. nullptr: there are too many.
  [[nodiscard]] std::shared_ptr<EventWatch> watch(const EventFilter& filter);

  // Since the start, by type.
  [[nodiscard]] const std::array<uint64_t, event_type_count>& counts() const { return counts_; }

 private:
  class Watch;

  [[nodiscard]] std::vector<std::shared_ptr<Watch>> watches();

  boost::asio::io_context& io_;
  uint64_t next_id_;
  std::array<std::deque<RouterEvent>, event_type_count> kept_;
  std::array<uint64_t, event_type_count> counts_{};
  std::array<uint64_t, event_type_count> evicted_{};       // how many
  std::array<uint64_t, event_type_count> evicted_last_{};  // the last one's id
  DropAlarm alarm_{default_drop_rate};
  std::vector<std::weak_ptr<Watch>> watches_;
};

}  // namespace sluice::control
