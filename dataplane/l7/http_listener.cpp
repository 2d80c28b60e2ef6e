#include "dataplane/l7/http_listener.h"

#include <algorithm>
#include <array>

#include "dataplane/l7/authority.h"
#include "dataplane/l7/http2_head.h"
#include "dataplane/l7/http_answers.h"
#include "dataplane/l7/http_head.h"
#include "dataplane/l7/request_path.h"

namespace sluice::l7 {

namespace {

Decision answer(uint16_t status, std::string_view reason, const HttpHead& head) {
  Decision out;
  out.outcome = Outcome::Answer;
  out.head = head.size;
  out.body = head.body;
  out.answer = http_answer(status, head.method == "HEAD");
  out.reason = reason;
  return out;
}

// As far as there is anything, it is the preface. No method of HTTP/1 is "PRI".
bool may_be_http2(Bytes start) {
  const size_t known = std::min(start.size(), http2_preface.size());
  return std::equal(start.begin(), start.begin() + static_cast<ptrdiff_t>(known), http2_preface.begin());
}

void cut_answer(const Http2Head& head, Decision& out) {
  out.cut = Http2Head::answer_size;
  out.cut_at = head.answer_at();
}

uint16_t status_of(Failure failure) {
  switch (failure) {
    case Failure::Unavailable:
      break;
    case Failure::Refused:
      return 502;
    case Failure::Unanswered:
      return 504;
  }
  return 503;
}

bool speaks_http2(Bytes start) {
  constexpr size_t method = 4;  // "PRI "
  return start.size() >= method && may_be_http2(start);
}

}  // namespace

HttpListener::HttpListener(HostRules rules, const HttpSettings& settings)
    : rules_(std::move(rules)), settings_(settings) {
  if (const Route* place = rules_.only_place(settings_.otherwise)) only_place_ = *place;
}

HttpListener::Match HttpListener::match(std::string_view authority, std::string_view path) const {
  Match out;
  out.host = parse_authority(authority).host;
  // "*" of OPTIONS asks the server as a whole, which is that of the root.
  if (path == "*") path = "/";
  std::array<char, most_head_bytes> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
  const std::optional<std::string_view> normal = normalised_path(path, buffer);
  if (!normal) {
    out.status = 400;
    out.reason = "path";
    return out;
  }
  const HostName name(out.host);
  const PathRules* host = rules_.find(name.text());
  const Route* route = host == nullptr ? nullptr : host->find(*normal);
  if (route == nullptr) {
    route = host != nullptr && host->otherwise().leads() ? &host->otherwise() : &settings_.otherwise;
  }
  if (!route->leads()) {
    if (*normal == "/healthz") {
      out.status = 200;
      out.reason = "healthz";
    } else {
      out.status = 404;
      out.reason = host == nullptr ? "no_host_rule" : "no_path_rule";
    }
    return out;
  }
  // Without a host there is nothing to lead to.
  if (route->redirect && out.host.empty()) {
    out.status = 404;
    out.reason = "no_host_rule";
    return out;
  }
  out.route = *route;
  out.one_place = host == nullptr || host->leads_to_one(settings_.otherwise);
  return out;
}

std::string_view HttpListener::location(const Match& match, std::string_view path, std::string_view query) const {
  return https_location(match.host, settings_.https_port, path == "*" ? std::string_view("/") : path, query);
}

Decision HttpListener::forward(const Route& route) const {
  Decision out;
  out.outcome = Outcome::Forward;
  out.target = route.target;
  out.rule = route.rule;
  out.proxy_protocol = route.proxy_protocol;
  out.preserve_client = settings_.preserve_client;
  return out;
}

Decision HttpListener::decide(Bytes start) const {
  if (may_be_http2(start)) return decide_http2(start, false);
  // A head that comes in small pieces is not parsed anew with each of them: its beginning is, where other protocols
  // show, and then the whole.
  const bool whole = http_head_may_end(start);
  const HttpHead head = parse_http_head(whole ? start : start.first(std::min(start.size(), strict_head_bytes)));
  if (head.state == HeadState::More) return {};
  if (head.state == HeadState::Bad) return answer(head.status, head.reason, head);
  if (head.method == "CONNECT") return answer(405, "connect", head);
  const Match found = match(head.authority, head.path);
  if (found.status != 0) return answer(found.status, found.reason, head);
  if (found.route.redirect) {
    const std::string_view to = location(found, head.path, head.query);
    if (to.empty()) return answer(431, "head_too_long", head);
    Decision out = answer(308, "redirect", head);
    out.answer = http_redirect(to);
    out.rule = found.route.rule;
    return out;
  }
  Decision out = forward(found.route);
  // A client, or a proxy in front, may ask for any host next.
  out.watched = !only_place_ && !head.close;
  out.head = head.size;
  out.body = head.body;
  out.answers = head.method == "HEAD" ? AnswerKind::Head : AnswerKind::Http;
  out.upgrade = head.upgrade;
  return out;
}

// Clients of gRPC send no request before they have the server's SETTINGS, which RFC 9113 section 3.4 allows. Who is in
// the middle of a frame does not wait.
Bytes HttpListener::greeting(Bytes start) const {
  if (!speaks_http2(start)) return {};
  const Http2Head head(start);
  return head.settings_came() && head.size() == start.size() ? http2_greeting() : Bytes{};
}

// The whole connection goes where its first request does.
Decision HttpListener::decide_http2(Bytes start, bool greeted) const {
  const Http2Head head(start, greeted);
  Decision out;
  if (head.state() == HeadState::More) {
    // Clients may wait for the SETTINGS of the server before they ask for anything (RFC 9113 section 3.4).
    if (!only_place_ || only_place_->target == no_target || !head.settings_came()) return out;
    if (greeted && head.answer_at() == 0) return out;
    out = forward(*only_place_);
    if (greeted) cut_answer(head, out);
    out.head = head.size();
    out.body = {.framing = Framing::Endless};
    return out;
  }
  out.outcome = Outcome::Answer;
  out.head = head.size();
  out.body = {.framing = Framing::Endless};
  if (head.state() == HeadState::Bad) {
    out.reason = head.reason();
    out.answer = head.error() == Http2Error::None ? http2_answer(400, head.stream()) : http2_goaway(head.error());
    return out;
  }
  if (head.method() == "CONNECT") {
    out.reason = "connect";
    out.answer = http2_answer(405, head.stream());
    return out;
  }
  const size_t question = head.target().find('?');
  const std::string_view path = head.target().substr(0, question);
  const Match found = match(head.authority(), path);
  out.rule = found.route.rule;
  if (found.status != 0) {
    out.reason = found.reason;
    out.answer = http2_answer(found.status, head.stream());
  } else if (found.route.redirect) {
    const std::string_view query =
        question == std::string_view::npos ? std::string_view{} : head.target().substr(question);
    const std::string_view to = location(found, path, query);
    out.reason = to.empty() ? "head_too_long" : "redirect";
    out.answer = to.empty() ? http2_answer(431, head.stream()) : http2_answer(308, head.stream(), to);
  } else if (!found.one_place) {
    // Later requests of the connection are not read, and HTTP/1.1 has an answer for them (RFC 9113 section 7).
    out.reason = "several_places";
    out.answer = http2_goaway(Http2Error::Http11Required);
  } else {
    out = forward(found.route);
    out.head = head.size();
    out.body = {.framing = Framing::Endless};
    if (greeted) cut_answer(head, out);
  }
  return out;
}

Bytes HttpListener::timed_out(Bytes start) const {
  return speaks_http2(start) ? http2_goaway(Http2Error::None) : http_answer(408);
}
Bytes HttpListener::too_long(Bytes start) const {
  return speaks_http2(start) ? http2_goaway(Http2Error::EnhanceYourCalm) : http_answer(431);
}
// ING-6.
Bytes HttpListener::failed(Bytes start, Failure failure) const {
  const uint16_t status = status_of(failure);
  if (!may_be_http2(start)) return http_answer(status, parse_http_head(start).method == "HEAD");
  const Http2Head head(start);
  return head.state() == HeadState::Whole && head.stream() == 1 ? http2_failure(status) : Bytes{};
}
Bytes HttpListener::bad_body() const { return http_answer(400); }
uint32_t HttpListener::most_bytes() const { return most_head_bytes; }

}  // namespace sluice::l7
