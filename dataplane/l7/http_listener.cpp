#include "dataplane/l7/http_listener.h"

#include <array>

#include "dataplane/l7/authority.h"
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

}  // namespace

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
    route = host != nullptr && host->otherwise().target != no_target ? &host->otherwise() : &settings_.otherwise;
  }
  if (route->target == no_target && !route->redirect) {
    if (*normal == "/healthz") {
      out.status = 200;
      out.reason = "healthz";
    } else {
      out.status = 404;
      out.reason = host == nullptr ? "no_host_rule" : "no_path_rule";
    }
    return out;
  }
  out.route = *route;
  out.one_place = host == nullptr || host->leads_to_one(settings_.otherwise);
  return out;
}

Decision HttpListener::decide(Bytes start) const {
  const HttpHead head = parse_http_head(start);
  if (head.state == HeadState::More) return {};
  if (head.state == HeadState::Bad) return answer(head.status, head.reason, head);
  if (head.method == "CONNECT") return answer(405, "connect", head);
  const Match found = match(head.authority, head.path);
  if (found.status != 0) return answer(found.status, found.reason, head);
  if (found.route.redirect) {
    // Without a host there is nothing to lead to.
    if (found.host.empty()) return answer(404, "no_host_rule", head);
    Decision out = answer(308, "redirect", head);
    const std::string_view path = head.path == "*" ? std::string_view("/") : head.path;
    out.answer = http_redirect(found.host, settings_.https_port, path, head.query);
    out.rule = found.route.rule;
    return out.answer.empty() ? answer(431, "head_too_long", head) : out;
  }
  Decision out;
  out.outcome = Outcome::Forward;
  out.target = found.route.target;
  out.rule = found.route.rule;
  out.proxy_protocol = found.route.proxy_protocol;
  out.watched = !found.one_place && !head.close && head.body.framing != Framing::Endless;
  out.head = head.size;
  out.body = head.body;
  out.unavailable = http_answer(503, head.method == "HEAD");
  return out;
}

Bytes HttpListener::timed_out() const { return http_answer(408); }
Bytes HttpListener::too_long() const { return http_answer(431); }
uint32_t HttpListener::most_bytes() const { return most_head_bytes; }

}  // namespace sluice::l7
