#include "control/api_trace.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/flow_entry.h"
#include "control/pcapng.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

constexpr uint64_t default_trace_count = 10;
constexpr uint64_t default_capture_count = 1000;
constexpr uint64_t most_count = 100'000;
constexpr uint64_t default_seconds = 60;
constexpr uint64_t most_seconds = 3600;

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// ---- the packet of POST /v1/explain ------------------------------------------------------------------

struct Place {
  net::IpAddr address;
  std::optional<uint16_t> port;
};

// "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80".
std::optional<Place> parse_place(std::string_view text) {
  if (const auto address = net::parse_ip(text)) return Place{*address, std::nullopt};
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view number = text.substr(colon + 1);
  const bool brackets = host.starts_with('[') && host.ends_with(']');
  if (brackets) host = host.substr(1, host.size() - 2);
  const auto address = net::parse_ip(host);
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), port);
  if (!address || address->is_v4() == brackets || error != std::errc() || end != number.data() + number.size() ||
      port == 0) {
    return std::nullopt;
  }
  return Place{*address, port};
}

std::optional<uint8_t> parse_flags(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, uint8_t>, 6> names{{{"syn", net::tcp_flag::syn},
                                                                              {"ack", net::tcp_flag::ack},
                                                                              {"fin", net::tcp_flag::fin},
                                                                              {"rst", net::tcp_flag::rst},
                                                                              {"psh", net::tcp_flag::psh},
                                                                              {"urg", net::tcp_flag::urg}}};
  uint8_t flags = 0;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string word = lower_case(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
    const auto* found = std::find_if(names.begin(), names.end(), [&](const auto& name) { return name.first == word; });
    if (found == names.end()) return std::nullopt;
    flags |= found->second;
  }
  return flags;
}

// Reads fields and keeps the first complaint.
class ProbeReader {
 public:
  explicit ProbeReader(const json::object& fields) : fields_(fields) {}

  net::Result<Probe> read() {
    refuse_unknown();
    const auto from = place("from");
    const auto to = place("to");
    Probe probe;
    if (from && to) {
      probe.from = from->address;
      probe.to = to->address;
      probe.from_port = from->port;
      protocol(probe);
      port(probe, to->port);
    }
    if (const auto flags = text("flags")) {
      const auto parsed = parse_flags(*flags);
      if (!parsed) complain("flags", "names with commas between them, like SYN,ACK", *flags);
      if (probe.protocol != net::protocol::tcp) complain("flags", "nothing: TCP alone has them", *flags);
      probe.tcp_flags = parsed.value_or(0);
    }
    probe.size = number("size", 20, most_probe_bytes).value_or(0);
    probe.ttl = static_cast<uint8_t>(number("ttl", 1, 255).value_or(64));
    if (const json::value* df = fields_.if_contains("dontFragment"); df != nullptr) {
      if (!df->is_bool()) complain("dontFragment", "true or false", json::serialize(*df));
      probe.dont_fragment = df->is_bool() && df->get_bool();
    }
    probe.interface = text("interface").value_or("");
    says(probe);
    if (!complaint_.empty()) return net::Error{complaint_};
    return probe;
  }

 private:
  void complain(std::string_view name, std::string_view expected, std::string_view found) {
    if (complaint_.empty()) complaint_ = fmt::format("{}: expected {}, found \"{}\"", name, expected, found);
  }
  void refuse_unknown() {
    static constexpr std::array<std::string_view, 12> known{
        "from", "to", "protocol", "flags", "size", "ttl", "host", "dontFragment", "interface", "path", "alpn", "data"};
    for (const auto& field : fields_) {
      if (std::find(known.begin(), known.end(), std::string_view(field.key())) == known.end() && complaint_.empty()) {
        complaint_ = fmt::format(
            "unknown field \"{}\"; a packet has: from to protocol flags size ttl dontFragment "
            "interface host path alpn data",
            std::string_view(field.key()));
      }
    }
  }
  void says(Probe& probe) {
    constexpr size_t most = 1024;
    const auto is_plain = [](const std::string& word) {
      return word.size() <= most && std::all_of(word.begin(), word.end(), [](char c) { return c > ' ' && c != 0x7f; });
    };
    probe.host = text("host").value_or("");
    probe.path = text("path").value_or("/");
    if (!is_plain(probe.host)) complain("host", "a host or server name", probe.host);
    if (!probe.path.starts_with('/') || !is_plain(probe.path)) complain("path", "a path like /api", probe.path);
    const bool opens = probe.protocol == net::protocol::tcp && probe.tcp_flags == net::tcp_flag::syn;
    if (!probe.host.empty() && !opens) complain("host", "nothing: only who opens a TCP connection has one", probe.host);
    probe.alpn = text("alpn").value_or("");
    if (!is_plain(probe.alpn) || probe.alpn.size() > 0xff)
      complain("alpn", "names of protocols like h2,http/1.1", probe.alpn);
    if (!probe.alpn.empty() && probe.host.empty()) complain("alpn", "nothing without a host", probe.alpn);
    probe.data = text("data").value_or("");
    if (probe.data.empty()) return;
    if (!opens && probe.protocol != net::protocol::udp) {
      complain("data", "nothing: who opens a TCP connection says something, and datagrams of UDP", probe.data);
    }
    if (!probe.host.empty()) complain("data", "nothing beside a host, which makes a request of its own", probe.data);
    if (probe.data.size() > most_probe_data) {
      complain("data", fmt::format("{} bytes at most", most_probe_data), fmt::format("{} bytes", probe.data.size()));
    }
  }
  std::optional<std::string> text(std::string_view name) {
    const json::value* value = fields_.if_contains(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return std::string(value->get_string());
    complain(name, "text", json::serialize(*value));
    return std::nullopt;
  }
  std::optional<uint16_t> number(std::string_view name, uint16_t min, uint16_t max) {
    const json::value* value = fields_.if_contains(name);
    if (value == nullptr) return std::nullopt;
    json::error_code error;
    const auto found = value->to_number<uint64_t>(error);
    if (error || found < min || found > max) {
      complain(name, fmt::format("a number from {} to {}", min, max), json::serialize(*value));
      return std::nullopt;
    }
    return static_cast<uint16_t>(found);
  }
  std::optional<Place> place(std::string_view name) {
    constexpr std::string_view expected = "ADDRESS or ADDRESS:PORT, IPv6 with a port as [ADDRESS]:PORT";
    const auto given = text(name);
    const auto parsed = given ? parse_place(*given) : std::nullopt;
    if (!parsed) complain(name, expected, given.value_or(""));
    return parsed;
  }
  void protocol(Probe& probe) {
    const std::string name = lower_case(text("protocol").value_or("tcp"));
    const bool v4 = probe.from.is_v4();
    for (const uint8_t known : {net::protocol::tcp, net::protocol::udp, net::protocol::sctp}) {
      if (name == protocol_name(known)) {
        probe.protocol = known;
        return;
      }
    }
    if (name == "icmp" || name == "icmpv6") {
      probe.protocol = v4 ? net::protocol::icmp : net::protocol::icmpv6;
    } else {
      complain("protocol", "tcp, udp, sctp or icmp", name);
    }
  }
  void port(Probe& probe, std::optional<uint16_t> port) {
    const bool echo = probe.protocol == net::protocol::icmp || probe.protocol == net::protocol::icmpv6;
    if (!echo && !port) complain("to", fmt::format("a port, as {} has them", protocol_name(probe.protocol)), "none");
    if (echo && port) complain("to", "no port: ICMP has none", std::to_string(*port));
    probe.to_port = port.value_or(0);
  }

  const json::object& fields_;
  std::string complaint_;
};

// ---- streams -----------------------------------------------------------------------------------------

class TraceStream final : public Stream {
 public:
  explicit TraceStream(std::shared_ptr<TraceWatch> watch) : watch_(std::move(watch)) {}

  Awaitable<std::string> next(std::chrono::milliseconds patience) override {
    const TraceBatch batch = co_await watch_->next(patience);
    std::string out;
    for (const TracedPacket& packet : batch.packets) {
      json::object data{{"timeSeconds", packet.time_seconds}, {"worker", packet.worker}};
      json::value explanation = to_json(packet.explanation);
      for (auto& [key, value] : explanation.get_object()) data.emplace(key, std::move(value));
      out += server_sent("packet", data);
    }
    if (batch.lost != 0) out += server_sent("lost", json::object{{"lost", batch.lost}});
    if (batch.ended) out += server_sent("end", json::object{});
    ended_ = batch.ended;
    co_return out;
  }
  [[nodiscard]] bool ended() const override { return ended_; }

 private:
  std::shared_ptr<TraceWatch> watch_;
  bool ended_ = false;
};

// One line, for columns and filters. With a line feed at its end: scapy reads a comment up to there.
std::string comment_of(const TracedPacket& packet) {
  std::string out = packet.explanation.verdict;
  if (!packet.explanation.reason.empty()) out += ": " + packet.explanation.reason;
  for (const Explanation::Step& step : packet.explanation.steps) out += fmt::format(" | {}: {}", step.name, step.text);
  return out;
}

class CaptureStream final : public Stream {
 public:
  explicit CaptureStream(std::shared_ptr<TraceWatch> watch) : watch_(std::move(watch)) {}

  Awaitable<std::string> next(std::chrono::milliseconds patience) override {
    const TraceBatch batch = co_await watch_->next(patience);
    std::string out;
    for (const TracedPacket& packet : batch.packets) {
      ++number_;
      for (const TracedFrame& frame : packet.frames) {
        // Of a packet that another worker handed over there is no frame as it came.
        const bool first = &frame == packet.frames.data();
        const std::string comment = first ? fmt::format("packet {}, {}\n", number_, comment_of(packet))
                                          : fmt::format("what became of packet {}\n", number_);
        out +=
            writer_.packet({frame.port, packet.time_seconds, frame.out, frame.length, frame.bytes, number_, comment});
      }
    }
    ended_ = batch.ended;
    co_return out;
  }
  [[nodiscard]] bool ended() const override { return ended_; }
  [[nodiscard]] std::string heartbeat() const override { return ""; }

 private:
  std::shared_ptr<TraceWatch> watch_;
  PcapngWriter writer_;
  uint64_t number_ = 0;
  bool ended_ = false;
};

// What both kinds of stream ask for; an error response if that cannot be.
struct Asked {
  std::shared_ptr<TraceWatch> watch;
  std::optional<Response> refusal;
};

Awaitable<Asked> ask(Router& router, const Request& request, uint64_t default_count) {
  Query query(request.query);
  TraceRequest wanted;
  wanted.filter = query.text("filter");
  wanted.count = query.number("count", 1, most_count).value_or(default_count);
  wanted.time = std::chrono::seconds(query.number("seconds", 1, most_seconds).value_or(default_seconds));
  if (!query.complaint().empty()) co_return Asked{nullptr, error_response(400, query.complaint())};
  if (request.method == "HEAD") co_return Asked{nullptr, Response{}};
  auto watch = co_await router.trace(std::move(wanted));
  if (!watch) co_return Asked{nullptr, error_response(400, "parameter filter: " + watch.error().message)};
  if (*watch == nullptr) {
    co_return Asked{nullptr, error_response(503, "too many traces and captures run already: try again later")};
  }
  co_return Asked{std::move(*watch), std::nullopt};
}

}  // namespace

json::value to_json(const Explanation& explanation) {
  json::object out{{"verdict", explanation.verdict}};
  if (!explanation.reason.empty()) out["reason"] = explanation.reason;
  if (!explanation.advice.empty()) out["advice"] = explanation.advice;
  json::array steps;
  for (const Explanation::Step& step : explanation.steps) {
    steps.push_back(json::object{{"step", step.name}, {"text", step.text}});
  }
  out["steps"] = std::move(steps);
  return out;
}

net::Result<Probe> read_probe(const std::string& body) {
  json::error_code error;
  const json::value value = json::parse(body, error);
  if (error || !value.is_object()) {
    return net::Error{"expected an object like {\"from\": \"192.0.2.1\", \"to\": \"10.96.0.10:80\"}"};
  }
  return ProbeReader(value.get_object()).read();
}

Awaitable<Response> post_explain(Router& router, Request request) {
  const auto probe = read_probe(request.body);
  if (!probe) co_return error_response(400, probe.error().message);
  const auto explanation = co_await router.explain(*probe);
  if (!explanation) co_return error_response(422, explanation.error().message);
  co_return json_response(to_json(*explanation));
}

Awaitable<Response> get_trace(Router& router, Request request) {
  Asked asked = co_await ask(router, request, default_trace_count);
  if (asked.refusal) {
    if (asked.refusal->status == 200) asked.refusal->content_type = "text/event-stream";
    co_return *std::move(asked.refusal);
  }
  // The first line says that from here on nothing is missed.
  co_return Response{
      200, "text/event-stream", ": tracing\n\n", {}, std::make_shared<TraceStream>(std::move(asked.watch))};
}

Awaitable<Response> get_capture(Router& router, Request request) {
  constexpr std::string_view type = "application/x-pcapng";
  Asked asked = co_await ask(router, request, default_capture_count);
  if (asked.refusal) {
    if (asked.refusal->status == 200) asked.refusal->content_type = type;
    co_return *std::move(asked.refusal);
  }
  co_return Response{200,
                     std::string(type),
                     PcapngWriter::header("sluiced"),
                     {},
                     std::make_shared<CaptureStream>(std::move(asked.watch))};
}

}  // namespace sluice::control
