// What the names of Services of type ExternalName stand for, as long as rules of Ingresses lead to them (ING-9): asked
// of DNS once and again, each name once however many services have it.
//
// The system's resolver tells no time to live, so a name is asked for again after `interval`, sooner after a failure;
// who has waited longest comes first, and no more than `most_asked` names are asked for at one time. What was known
// stays while DNS fails. That there is no such name, or no address of a family, is an answer like any other. Answers
// are the word of others: an address that would lead back to the router, or to no other machine, is left out. Control
// thread only.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/model.h"
#include "control/events.h"
#include "control/measurements.h"
#include "control/name_lookup.h"

namespace sluice::control {

class ExternalNames {
 public:
  using Clock = std::chrono::steady_clock;
  using Names = std::set<config::ObjectName>;
  static constexpr auto interval = std::chrono::seconds(30);
  static constexpr auto first_retry = std::chrono::seconds(1);  // doubled with each failure, up to the interval
  static constexpr size_t most_addresses = 64;                  // of one family of a name that are used
  static constexpr size_t most_former = 64;                     // addresses that a name had which are remembered
  static constexpr size_t most_asked = 16;                      // names with look-ups under way

  struct Hooks {
    // Why an address must not be used; empty: it may be.
    std::function<std::string(const net::IpAddr&)> objection;
    // Services have other addresses: take_changed().
    std::function<void()> changed;
    std::function<void(RouterEvent)> report;
  };
  // Answers have come by `lookup` to whoever holds it; `counts` outlives the object.
  ExternalNames(std::unique_ptr<NameLookup> lookup, Hooks hooks, ExternalNameCounts& counts);

  // The service is asked for by this name from now on: at once, but for `most_asked`. After a tick.
  void want(const config::ObjectName& service, const std::string& name);
  // It has no addresses any more.
  void forget(const config::ObjectName& service);
  // Asks for what is due, and so does an answer.
  void tick(Clock::time_point now);
  // Services whose addresses are others since this was asked last.
  [[nodiscard]] Names take_changed() { return std::exchange(changed_, {}); }

  struct Addresses {
    std::vector<net::IpAddr> current;  // sorted
    std::vector<net::IpAddr> former;   // that connections may still have
    friend bool operator==(const Addresses&, const Addresses&) = default;
  };
  // nullptr: the service is not asked for.
  [[nodiscard]] const Addresses* addresses_of(const config::ObjectName& service) const;
  struct View {
    std::string name;
    std::vector<net::IpAddr> addresses;
    std::string problem;  // with the last look-ups or what they said; empty: none
  };
  [[nodiscard]] View view_of(const config::ObjectName& service) const;

 private:
  static constexpr size_t families = 2;

  struct Entry {
    Names services;
    std::array<std::vector<net::IpAddr>, families> known;  // what was answered last
    std::array<std::string, families> failures;            // why there is no newer answer
    Addresses addresses;
    std::map<net::IpAddr, std::string> refused;  // addresses that are not used, and why
    size_t waits_for = 0;                        // look-ups under way; 0: it is in due_
    unsigned tries = 0;                          // failures in a row
    bool answered = false;                       // for both families
    Clock::time_point next;
    std::vector<net::IpAddr> told;  // what events have said of it
    std::string told_problem;
    uint64_t number = 0;  // tells it from an earlier entry of the same name
  };

  // As many of those that are due as may be asked for.
  void ask_due();
  void ask(const std::string& name, Entry& entry);
  void take(const std::string& name, uint64_t number, size_t family, LookupAnswer answer);
  // What of it may be used now. Whether that is something else.
  bool settle(Entry& entry);
  // Both families have been asked for.
  void end_round(const std::string& name, Entry& entry);
  void release(const config::ObjectName& service);
  [[nodiscard]] static std::string problem_of(const Entry& entry);
  void tell(const std::string& name, const Entry& entry, bool warning, const char* reason, std::string message);
  [[nodiscard]] size_t& count_of(const Entry& entry) {
    return entry.addresses.current.empty() ? counts_.unknown : counts_.known;
  }

  std::unique_ptr<NameLookup> lookup_;
  Hooks hooks_;
  ExternalNameCounts& counts_;
  Clock::time_point now_{};  // at the last tick
  std::map<std::string, Entry> entries_;
  std::map<std::pair<Clock::time_point, uint64_t>, std::string> due_;  // names, by Entry::next and Entry::number
  size_t under_way_ = 0;                                               // look-ups, of forgotten names as well
  std::map<config::ObjectName, std::string> names_;
  Names changed_;
  uint64_t next_number_ = 0;
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);  // for answers that come too late
};

}  // namespace sluice::control
