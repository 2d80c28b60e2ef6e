// The config API without its sockets: a request's head and body in, an answer out. Which path and method do what,
// which parameters and content types they take, which status code stands for which outcome (docs/api.md).
//
// Errors have one shape, {"error": {"code", "reason", "message"}}; a refused document adds "errors", the list of
// its faults. A method, parameter or content type that a path does not know is refused by name, never ignored:
// a typing error in ?dryRun= must not change a gateway.
//
// Everything runs on the control thread; nothing blocks. Only std::bad_alloc and what Router throws comes out of
// `handle`; the server turns it into a 500.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "control/api_json.h"
#include "control/router.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct Request {
  std::string method;            // "GET"; HEAD is answered like GET, the server leaves the body out
  std::string path;              // decoded, without the query: "/v1/services/default/web"
  FieldList query;               // decoded, in order
  std::string content_type;      // as sent; empty: application/json
  std::string content_encoding;  // as sent
  std::string if_match;          // as sent
  std::string last_event_id;     // as sent
  bool has_body = false;         // one comes behind the header
  std::string body;              // expanded
};

// The body of an answer that goes on until one of the sides ends it.
class Stream {
 public:
  virtual ~Stream() = default;
  // What is to be sent next; empty if there was nothing for `patience`. One call at a time.
  virtual Awaitable<std::string> next(std::chrono::milliseconds patience) = 0;
  // Whether everything has been said; asked after next().
  [[nodiscard]] virtual bool ended() const { return false; }
  // What may be sent while there is nothing to say; empty: nothing.
  [[nodiscard]] virtual std::string heartbeat() const { return ":\n\n"; }
};

struct Response {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  FieldList headers;                    // besides Content-Type, Content-Length and those about the connection
  std::shared_ptr<Stream> stream = {};  // if there is one, it comes behind `body`
};

// Splits a request target ("/v1/config?kind=Service", or its absolute form) into path and query and undoes
// percent-encoding (RFC 3986 section 2.1).
[[nodiscard]] net::Status<> set_target(Request& request, std::string_view target);

// The type without parameters, in lower case: "application/json" of "Application/JSON; charset=utf-8".
[[nodiscard]] std::string media_type(std::string_view text);

// RFC 9110 section 8.4.1.3.
[[nodiscard]] bool is_gzip(std::string_view content_encoding);

// The answer to a request that cannot be served whatever its body is (404, 405, 415, parameters that are unknown):
// so that a body need not be taken in for nothing. `head` is a request without its body.
[[nodiscard]] std::optional<Response> refuse(const Request& head);

// `router` outlives the call.
[[nodiscard]] Awaitable<Response> handle(Router& router, Request request);

// For /metrics: a request that refuse() or the server itself answered; handle() counts its own.
void count_request(Router& router, const Request& request, unsigned status);

[[nodiscard]] Response json_response(const boost::json::value& value, unsigned status = 200);
[[nodiscard]] Response error_response(unsigned status, std::string_view message);
// "Not Found" (RFC 9110 section 15).
[[nodiscard]] std::string_view reason_phrase(unsigned status);

}  // namespace sluice::control
