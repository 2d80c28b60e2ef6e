#include "control/api_events.h"

#include <charconv>
#include <limits>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace json = boost::json;

class EventStream final : public Stream {
 public:
  explicit EventStream(std::shared_ptr<EventWatch> watch) : watch_(std::move(watch)) {}

  Awaitable<std::string> next(std::chrono::milliseconds patience) override {
    const EventBatch batch = co_await watch_->next(patience);
    std::string out;
    for (const RouterEvent& event : batch.events) out += server_sent(name(event.type), to_json(event), event.id);
    if (batch.lost != 0) out += server_sent("lost", json::object{{"lost", batch.lost}});
    co_return out;
  }

 private:
  std::shared_ptr<EventWatch> watch_;
};

// "config,neighbor".
net::Result<std::bitset<event_type_count>> parse_types(std::string_view text) {
  std::bitset<event_type_count> types;
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    const auto type = event_type_of(text.substr(0, comma));
    if (!type) {
      std::string known;
      for (size_t i = 0; i < event_type_count; ++i) known += (i == 0 ? "" : ", ") + std::string(name(EventType(i)));
      return net::Error{fmt::format("parameter types: \"{}\" is none of {}", text.substr(0, comma), known)};
    }
    types.set(static_cast<size_t>(*type));
    if (comma == text.size()) return types;
    text.remove_prefix(comma + 1);
  }
}

// The header that a browser sends when it comes back; the parameter is for those who cannot set headers. What is no
// number is no event of ours: everything that is kept came after it.
std::optional<uint64_t> last_seen(std::string_view header, std::optional<uint64_t> parameter) {
  if (header.empty()) return parameter;
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), id);
  return error == std::errc() && end == header.data() + header.size() ? id : 0;
}

}  // namespace

Awaitable<Response> get_events(Router& router, Request request) {
  Query query(request.query);
  EventFilter filter;
  const auto after = query.number("after", 0, std::numeric_limits<int64_t>::max());
  filter.drop_rate = query.number("dropRate", 1, 1'000'000'000);
  const std::string_view types = query.text("types");
  const bool follow = query.flag("follow", true);
  filter.after = last_seen(request.last_event_id, after);
  if (!query.complaint().empty()) co_return error_response(400, query.complaint());
  if (!types.empty()) {
    const auto chosen = parse_types(types);
    if (!chosen) co_return error_response(400, chosen.error().message);
    filter.types = *chosen;
  }
  if (!follow) {
    if (filter.drop_rate) co_return error_response(400, "parameter dropRate: only of a stream, not with follow=false");
    json::array events;
    for (const RouterEvent& event : router.events().kept(filter)) events.push_back(to_json(event));
    co_return json_response(json::object{{"lost", router.events().missed(filter)}, {"events", std::move(events)}});
  }
  if (request.method == "HEAD") co_return Response{200, "text/event-stream", "", {}};
  auto watch = router.events().watch(filter);
  if (!watch) co_return error_response(503, "too many watch connections already: try again later");
  // The first line says that from here on nothing is missed.
  co_return Response{200, "text/event-stream", ": watching\n\n", {}, std::make_shared<EventStream>(std::move(watch))};
}

}  // namespace sluice::control
