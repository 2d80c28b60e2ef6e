#include "control/content_text.h"

#include <algorithm>

#include <fmt/format.h>

#include "control/content_library.h"

namespace sluice::control {
namespace {

using dataplane::Event;
using dataplane::PacketTrace;
using l7::ContentAction;
using net::V4;
using net::V6;
using Bytes = std::span<const uint8_t>;

// Where each begins may have to be compiled for (PatternPlaces).
constexpr size_t most_described = 16;

// One policy's part in a connection; `selected_replies` as in l7::Inspector::begin.
struct Look {
  const l7::ContentRules* rules;
  bool selected_replies;
};

// The same that Pipeline::begin_inspection finds.
template <class F>
std::vector<Look> looks_of(const PacketTrace& trace, const dataplane::Snapshot& snapshot) {
  std::vector<Look> out;
  const auto add = [&](const dataplane::ContentRuleList* list, bool selected_replies) {
    if (list == nullptr) return;
    for (const auto& rules : *list) out.push_back({rules.get(), selected_replies});
  };
  const auto& tables = snapshot.family<F>();
  const dataplane::ServiceTrace& choice = trace.service;
  const bool late = choice.read && choice.target != l7::no_target;
  const auto* const frontend =
      late ? tables.services->find(l7::target_address<typename F::Addr>(choice.target), {}, net::protocol::tcp)
           : tables.services->find(F::addr_of(trace.flow.dst), net::be16::from_host(trace.flow.dst_port),
                                   trace.flow.protocol);
  if (frontend != nullptr && frontend->service->id == trace.flow.service) add(&frontend->service->content, true);
  add(tables.content->find(F::addr_of(trace.flow.reply_src)), true);
  add(tables.content->find(F::addr_of(trace.flow.src)), false);
  return out;
}

std::string policy_of(const l7::ContentRules& rules) { return rules.rules().front().policy; }

std::string what_is_looked_at(const Look& look, uint8_t protocol) {
  const bool client = look.rules->wants(look.selected_replies);
  const bool server = look.rules->wants(!look.selected_replies);
  return fmt::format("{} looks into the first {} bytes {}{}", policy_of(*look.rules), look.rules->settings().depth,
                     client && server ? "of each direction"
                     : client         ? "that the client says"
                                      : "that the client is told",
                     protocol == net::protocol::udp ? ", each datagram by itself" : "");
}

std::string what_happens(ContentAction action, uint8_t protocol) {
  switch (action) {
    case ContentAction::Drop:
      return "the connection ends in silence";
    case ContentAction::Reset:
      return protocol == net::protocol::udp ? "it is dropped and its sender told" : "both ends get a RST";
    case ContentAction::Mirror:
      return "copies go to the collector";
    default:
      return "it is counted";
  }
}

// "bytes 4 to 9 (\"jndi:l\")". `at`: of the first of `bytes`, in what the places are counted from.
std::string places_text(const std::vector<PatternPlace>& places, Bytes bytes, uint64_t at) {
  std::string out;
  for (const PatternPlace& place : places) {
    out += fmt::format("{}{} to {} ({})", out.empty() ? "bytes " : " and ", at + place.begin, at + place.end - 1,
                       quoted_bytes(bytes.subspan(place.begin, place.end - place.begin)));
  }
  return out;
}

std::string end_text(uint64_t end) { return fmt::format("bytes up to {}", std::max<uint64_t>(end, 1) - 1); }

// What is found in what the client would say.
void search(const Look& look, const PacketTrace& trace, const TraceNames& names, ContentText& out) {
  const uint8_t protocol = trace.flow.protocol;
  const Bytes said(reinterpret_cast<const uint8_t*>(names.said.data()), names.said.size());
  if (said.empty() || !look.rules->wants(look.selected_replies)) {
    out.lines.push_back(what_is_looked_at(look, protocol));
    return;
  }
  const auto found = l7::Inspector::search(*look.rules, look.selected_replies, protocol == net::protocol::tcp, said);
  if (found.empty()) {
    out.lines.push_back(
        fmt::format("{}: none of its patterns is in these {} bytes", what_is_looked_at(look, protocol), said.size()));
  }
  size_t described = 0;
  for (const l7::Finding& finding : found) {
    const l7::ContentRule& rule = look.rules->rules()[finding.rule];
    out.action = std::max(out.action, rule.action);
    if (described++ == most_described) {
      out.lines.push_back(fmt::format("and {} more", found.size() - most_described));
    }
    if (described > most_described) continue;
    const config::ContentPattern* const pattern =
        names.content == nullptr ? nullptr : names.content->pattern_of(*look.rules, finding.rule);
    std::string where;
    if (pattern != nullptr) {
      const auto end = pattern->all.size() == 1 ? std::optional(finding.end) : std::nullopt;
      where = places_text(names.content->places(*pattern, said, 0, end), said, 0);
    }
    if (where.empty()) where = end_text(finding.end);
    out.lines.push_back(fmt::format("pattern {}: {} matches {} of what the client says: {}", rule.policy, rule.name,
                                    where, what_happens(rule.action, protocol)));
  }
}

// What a worker found. Of a match that began in an earlier packet only the end is at hand.
std::string found_text(const dataplane::ServiceTrace& found, const TraceNames& names, Bytes payload) {
  std::string where;
  const std::string_view name = found.content.data();
  const config::ContentPattern* const pattern = names.content == nullptr ? nullptr : names.content->pattern_of(name);
  // Bytes of the packet that are before the first one that counts were looked at with an earlier SYN, if at all.
  const uint64_t skip =
      std::min<uint64_t>(static_cast<uint64_t>(std::max<int64_t>(-found.content_at, 0)), payload.size());
  const auto at = static_cast<uint64_t>(std::max<int64_t>(found.content_at, 0));
  const Bytes bytes = payload.subspan(skip);
  if (pattern != nullptr && found.content_end > at) {
    const auto end = pattern->all.size() == 1 ? std::optional(found.content_end - at) : std::nullopt;
    where = places_text(names.content->places(*pattern, bytes, at, end), bytes, at);
  }
  if (where.empty()) where = end_text(found.content_end);
  return fmt::format("pattern {} matches {} of this direction", name, where);
}

}  // namespace

std::string quoted_bytes(Bytes bytes) {
  constexpr size_t most = 48;
  std::string out = "\"";
  for (const uint8_t byte : bytes.first(std::min(bytes.size(), most))) {
    if (byte == '"' || byte == '\\') {
      out += fmt::format("\\{}", static_cast<char>(byte));
    } else if (byte < 0x20 || byte >= 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += static_cast<char>(byte);
    }
  }
  return out + (bytes.size() > most ? "\"…" : "\"");
}

ContentText describe_content(const PacketTrace& trace, const TraceNames& names, bool dry, Bytes payload) {
  ContentText out;
  const bool follows = trace.flow.protocol == net::protocol::tcp || trace.flow.protocol == net::protocol::udp;
  const bool begins =
      dry ? trace.count(Event::FlowsOpened) != 0 || !names.said.empty() : trace.count(Event::ContentFlows) != 0;
  if (begins && trace.has_flow && follows) {
    const auto looks =
        trace.flow.src.is_v4() ? looks_of<V4>(trace, *names.snapshot) : looks_of<V6>(trace, *names.snapshot);
    for (const Look& look : looks) {
      if (dry) {
        search(look, trace, names, out);
      } else {
        out.lines.push_back(what_is_looked_at(look, trace.flow.protocol));
      }
    }
  }
  if (trace.service.content[0] != 0) out.lines.push_back(found_text(trace.service, names, payload));
  return out;
}

}  // namespace sluice::control
