// Server-sent events (the WHATWG's HTML standard, section 9.2) as they come, in pieces of any size.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace sluice::ctl {

// Lines of "event: NAME" and "data: JSON", an empty line at the end of each event; other lines are comments.
class EventReader {
 public:
  explicit EventReader(std::function<void(std::string_view name, std::string_view data)> on_event)
      : on_event_(std::move(on_event)) {}

  void read(std::string_view piece);

 private:
  void line(std::string_view line);

  std::function<void(std::string_view, std::string_view)> on_event_;
  std::string rest_;
  std::string name_;
};

// A line of JSON for programs.
[[nodiscard]] std::string event_json(std::string_view name, std::string_view data);

}  // namespace sluice::ctl
