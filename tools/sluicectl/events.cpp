#include "tools/sluicectl/events.h"

#include <cstdio>

#include <fmt/format.h>

namespace sluice::ctl {

void EventReader::read(std::string_view piece) {
  rest_ += piece;
  for (size_t end = 0; (end = rest_.find('\n')) != std::string::npos; rest_.erase(0, end + 1)) {
    line(std::string_view(rest_).substr(0, end));
  }
  std::fflush(stdout);
}

void EventReader::line(std::string_view line) {
  static constexpr std::string_view event = "event: ";
  static constexpr std::string_view data = "data: ";
  if (line.starts_with(event)) name_ = line.substr(event.size());
  if (line.starts_with(data)) on_event_(name_, line.substr(data.size()));
}

std::string event_json(std::string_view name, std::string_view data) {
  return fmt::format("{{\"event\": \"{}\", \"data\": {}}}\n", name, data);
}

}  // namespace sluice::ctl
