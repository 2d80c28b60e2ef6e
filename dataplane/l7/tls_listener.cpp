#include "dataplane/l7/tls_listener.h"

#include "dataplane/l7/authority.h"
#include "dataplane/l7/tls_hello.h"

namespace sluice::l7 {

namespace {

Decision answer(TlsAlert alert, std::string_view reason) {
  Decision out;
  out.outcome = Outcome::Answer;
  out.answer = tls_alert(alert);
  out.reason = reason;
  return out;
}

}  // namespace

Decision TlsListener::decide(Bytes start) const {
  const TlsHello hello = parse_tls_hello(start);
  switch (hello.state) {
    case HelloState::More:
      return {};
    case HelloState::NotTls: {
      Decision out;
      out.outcome = Outcome::Reset;
      out.reason = "not_tls";
      return out;
    }
    case HelloState::Bad:
      return answer(hello.alert, "client_hello");
    case HelloState::Whole:
      break;
  }
  const HostName name(hello.server_name());
  const PathRules* host = rules_.find(name.text());
  const Route* route = host == nullptr ? nullptr : host->find("/");
  if (route == nullptr || route->target == no_target) {
    return answer(TlsAlert::UnrecognizedName, hello.name_size == 0 ? "no_server_name" : "no_host_rule");
  }
  Decision out;
  out.outcome = Outcome::Forward;
  out.target = route->target;
  out.rule = route->rule;
  out.proxy_protocol = route->proxy_protocol;
  out.preserve_client = settings_.preserve_client;
  out.head = hello.size;
  out.body = {.framing = Framing::Endless};
  return out;
}

Bytes TlsListener::too_long(Bytes /*start*/) const { return tls_alert(TlsAlert::DecodeError); }
uint32_t TlsListener::most_bytes() const { return most_hello_bytes; }

}  // namespace sluice::l7
