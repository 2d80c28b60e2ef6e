#include "tools/trafgen/live_table.h"

#include <cstdio>

#include <fmt/format.h>

namespace sluice::trafgen {

LiveTable::PortSeen LiveTable::seen(const TestPort& port) const {
  PortSeen out;
  rte_eth_stats stats{};
  if (rte_eth_stats_get(port.device->id(), &stats) == 0) {
    out.sent = stats.opackets;
    out.sent_bytes = stats.obytes;
  }
  out.received = port.counters.received.get();
  out.received_bytes = port.counters.received_bytes.get();
  return out;
}

void LiveTable::begin(std::string what, double seconds, double after) {
  what_ = std::move(what);
  seconds_ = seconds;
  after_ = after;
  last_ = 0;
  before_.clear();
  for (const auto& port : bed_.ports) before_.push_back(seen(*port));
}

void LiveTable::update(double elapsed) {
  const double period = elapsed - last_;
  if (!shown_ || period <= 0) return;
  last_ = elapsed;
  std::string out;
  if (lines_ != 0) out += fmt::format("\x1b[{}A", lines_);
  size_t lines = 0;
  const auto line = [&](const std::string& text) {
    out += text + "\x1b[K\n";
    ++lines;
  };
  constexpr int width = 24;
  const double share = seconds_ > 0 ? std::min(1.0, elapsed / seconds_) : 1;
  const auto filled = static_cast<size_t>(share * width);
  line(fmt::format("{} [{}{}] {:.0f} of {:.0f} s, {:.0f} s left in all", what_, std::string(filled, '#'),
                   std::string(width - filled, '.'), elapsed, seconds_, std::max(0.0, seconds_ - elapsed) + after_));
  line(fmt::format("{:<12} {:>13} {:>10} {:>13} {:>10} {:>10} {:>10}", "port", "sent/s", "Mbit/s", "received/s",
                   "Mbit/s", "foreign", "unreadable"));
  for (size_t i = 0; i < bed_.ports.size(); ++i) {
    const TestPort& port = *bed_.ports[i];
    const PortSeen now = seen(port);
    PortSeen& before = before_[i];
    const auto rate = [period](uint64_t from, uint64_t to) {
      return to < from ? 0.0 : static_cast<double>(to - from) / period;
    };
    line(fmt::format("{:<12} {:>13.0f} {:>10.1f} {:>13.0f} {:>10.1f} {:>10} {:>10}", port.profile->name,
                     rate(before.sent, now.sent), rate(before.sent_bytes, now.sent_bytes) * 8e-6,
                     rate(before.received, now.received), rate(before.received_bytes, now.received_bytes) * 8e-6,
                     port.counters.foreign.get(), port.counters.unreadable.get()));
    before = now;
  }
  line(fmt::format("{:<12} {:>13} {:>13} {:>10} {:>10} {:>10} {:>10}", "stream", "sent", "received", "duplicated",
                   "reordered", "corrupted", "misrouted"));
  for (const auto& stream : bed_.streams) {
    const auto row = [&](const std::string& name, uint64_t sent, const CheckCounters& counters) {
      line(fmt::format("{:<12} {:>13} {:>13} {:>10} {:>10} {:>10} {:>10}", name, sent, counters.received.get(),
                       counters.duplicated.get(), counters.reordered.get(), counters.corrupted.get(),
                       counters.misrouted.get()));
    };
    row(stream->profile->name, stream->sender->counters().packets.get(), stream->forward->counters());
    if (stream->profile->answer) row("  answers", stream->answers_sent.get(), stream->answers->counters());
    if (stream->connections) {
      const ConnectionCounters& counters = stream->connections->counters();
      line(fmt::format("  connections  opened {}, complete {}, failed {}, reset {}", counters.opened.get(),
                       counters.completed.get(), counters.failed.get(), counters.reset.get()));
    }
  }
  for (size_t i = lines; i < lines_; ++i) line("");
  lines_ = std::max(lines_, lines);
  std::fputs(out.c_str(), stderr);
  std::fflush(stderr);
}

void LiveTable::end() { lines_ = 0; }

}  // namespace sluice::trafgen
