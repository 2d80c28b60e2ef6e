#include "control/api_connection.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

#include "control/api.h"
#include "control/gunzip.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::beast::iequals;
using boost::system::error_code;
using Clock = Transport::Clock;
using Received = Transport::Received;

constexpr size_t read_size = 64 << 10;
constexpr uint64_t expand_size = 1 << 20;                         // of a compressed body, before others have their turn
constexpr size_t large_answer = 1 << 20;                          // smaller ones are given however much memory is held
constexpr auto stream_patience = std::chrono::milliseconds(250);  // how soon a stream learns that all is over

}  // namespace

std::string head_of(const Response& response, bool keep_alive) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nServer: sluice\r\nContent-Type: {}\r\n", response.status,
                                 reason_phrase(response.status), response.content_type);
  // A stream ends with its connection (RFC 9112 section 6.3).
  if (response.stream == nullptr) head += fmt::format("Content-Length: {}\r\n", response.body.size());
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  // An answer about now; a proxy or browser must not keep it.
  head += "Cache-Control: no-store\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

Awaitable<void> Connection::run(std::shared_ptr<Connection> self) {
  self->start_waiting();
  bool goes_on = co_await self->shake_hands();
  while (goes_on) {  // awaited in the condition g++ 12 would lay out the frame wrongly
    self->start_waiting();
    goes_on = co_await self->serve_one();
  }
  self->close();
}

Awaitable<bool> Connection::shake_hands() {
  if (!transport_->is_tls()) co_return true;
  const Received done = co_await transport_->handshake(Clock::now() + limits().header_timeout);
  subject_ = transport_->subject();
  credentials_ = pool_->credentials_->generation();
  co_return done == Received::Data;
}

void Connection::parse(Parser& parser, error_code& error) {
  error = http::error::need_more;
  if (buffer_.size() == 0) return;
  const bool in_head = !parser.is_header_done();
  const size_t used = parser.put(buffer_.data(), error);
  buffer_.consume(used);
  if (!in_head) return;
  head_bytes_ += used;
  // The parser's own limit is on what it gets at a time.
  if (head_bytes_ > limits().header_limit ||
      (error == http::error::need_more && head_bytes_ + buffer_.size() > limits().header_limit)) {
    error = http::error::header_limit;
  }
}

Awaitable<bool> Connection::receive_head(Parser& parser) {
  const ApiLimits& limits = this->limits();
  auto deadline = Clock::now() + (first_ ? limits.header_timeout : limits.idle_timeout);
  bool begun = false;
  head_bytes_ = 0;
  while (true) {
    error_code error;
    parse(parser, error);
    if (!error) co_return true;
    if (error == http::error::header_limit) {
      co_return co_await answer_broken(431, fmt::format("the header is larger than {} bytes", limits.header_limit));
    }
    if (error == http::error::body_limit) {
      co_return co_await answer_broken(413, fmt::format("the body is larger than {} bytes", limits.body_limit));
    }
    if (error == http::error::bad_version) co_return co_await answer_broken(505, "HTTP/1.1 is spoken here");
    if (error != http::error::need_more) {
      co_return co_await answer_broken(400, fmt::format("no HTTP request: {}", error.message()));
    }
    if (!begun && head_bytes_ + buffer_.size() > 0) {
      begun = true;
      deadline = Clock::now() + limits.header_timeout;
    }
    const Received received = co_await transport_->receive(buffer_, limits.header_limit, deadline);
    if (received == Received::TimedOut && begun) {
      co_return co_await answer_broken(408, "the request's header did not come in time");
    }
    if (received != Received::Data) co_return false;
  }
}

Awaitable<bool> Connection::expand(Parser& parser, Gunzip& gunzip, std::string& body) {
  const uint64_t limit = limits().body_limit;
  const std::string packed = std::exchange(parser.get().body(), {});
  std::string_view rest = packed;
  auto outcome = Gunzip::Outcome::Full;
  while (outcome == Gunzip::Outcome::Full) {
    // One byte more than allowed tells that it is too much.
    outcome = gunzip.expand(rest, body, std::min<uint64_t>(expand_size, limit + 1 - body.size()));
    if (outcome == Gunzip::Outcome::Broken) co_return co_await answer_broken(400, "broken body: no sound gzip");
    if (body.size() > limit) {
      co_return co_await answer_broken(413, fmt::format("the body is larger than {} bytes when expanded", limit));
    }
    hold(packed.size() + body.size());
    if (pool_->held_bytes_ > pool_->pool_limits_.memory) {
      co_return co_await answer_broken(503, "too many large requests at one time: try again later");
    }
    // Others have their turn.
    if (outcome == Gunzip::Outcome::Full) co_await asio::post(asio::use_awaitable);
  }
  co_return true;
}

Awaitable<bool> Connection::receive_body(Parser& parser, Request& request) {
  const ApiLimits& limits = this->limits();
  const auto deadline = Clock::now() + limits.body_timeout;
  std::optional<Gunzip> gunzip;
  if (is_gzip(request.content_encoding)) gunzip.emplace();
  const std::string& expanded = request.body;
  parser.eager(true);
  while (true) {
    error_code error;
    parse(parser, error);
    if (error == http::error::body_limit) {
      co_return co_await answer_broken(413, fmt::format("the body is larger than {} bytes", limits.body_limit));
    }
    if (error && error != http::error::need_more) {
      co_return co_await answer_broken(400, fmt::format("broken body: {}", error.message()));
    }
    if (gunzip) {
      const bool sound = co_await expand(parser, *gunzip, request.body);
      if (!sound) co_return false;
    }
    hold(parser.get().body().size() + expanded.size());
    if (pool_->held_bytes_ > pool_->pool_limits_.memory) {
      co_return co_await answer_broken(503, "too many large requests at one time: try again later");
    }
    if (parser.is_done()) {
      if (gunzip && !gunzip->complete()) co_return co_await answer_broken(400, "broken body: the gzip ends too early");
      if (!gunzip) request.body = std::move(parser.get().body());
      co_return true;
    }
    // Only the line before a chunk stays in the buffer.
    if (buffer_.size() > limits.header_limit)
      co_return co_await answer_broken(400, "broken body: endless chunk header");
    const Received received =
        co_await transport_->receive(buffer_, read_size, std::min(deadline, Clock::now() + limits.body_idle_timeout));
    if (received == Received::TimedOut)
      co_return co_await answer_broken(408, "the request's body did not come in time");
    if (received == Received::Gone) co_return false;
  }
}

std::optional<Response> Connection::refuse_caller(const Request& request) const {
  if (pool_->credentials_ == nullptr) return std::nullopt;
  const Credentials& credentials = *pool_->credentials_;
  Caller caller{authorization_, subject_, credentials.wants_certificates()};
  if (subject_ && (credentials_ != credentials.generation() || subject_->valid_until <= std::time(nullptr))) {
    caller.subject.reset();
  }
  return credentials.access().refuse(caller, request.method, request.path);
}

std::optional<Response> Connection::refuse_head(const Parser& parser, Request& request) {
  const auto& head = parser.get();
  if (head.version() == 11 && head.count(http::field::host) != 1) {
    return error_response(400, "exactly one Host header is needed (RFC 9112 section 3.2)");
  }
  request.method = head.method_string();
  request.content_type = head[http::field::content_type];
  request.content_encoding = head[http::field::content_encoding];
  request.if_match = head[http::field::if_match];
  request.last_event_id = head["Last-Event-ID"];
  request.has_body = !parser.is_done();
  if (const auto target = set_target(request, head.target()); !target) {
    return error_response(400, target.error().message);
  }
  authorization_ = head[http::field::authorization];
  if (auto refusal = refuse_caller(request)) return refusal;
  if (head.count(http::field::transfer_encoding) != 0 &&
      (!parser.chunked() || !iequals(head[http::field::transfer_encoding], "chunked"))) {
    return error_response(501, "of the transfer encodings only chunked is understood");
  }
  if (head.count(http::field::expect) != 0 && !iequals(head[http::field::expect], "100-continue")) {
    return error_response(417, "only 100-continue can be expected");
  }
  return refuse(request);
}

Awaitable<bool> Connection::serve_one() {
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(limits().header_limit));
  parser.body_limit(limits().body_limit);
  const bool has_head = co_await receive_head(parser);
  if (!has_head) co_return false;
  stop_waiting();
  Request request;
  if (auto refusal = refuse_head(parser, request)) {
    count_request(pool_->router_, request, refusal->status);
    co_return co_await answer(*std::move(refusal), request, parser);
  }
  if (!parser.is_done()) {
    if (parser.get().count(http::field::expect) != 0 && parser.get().version() == 11 && buffer_.size() == 0) {
      const bool told = co_await send("HTTP/1.1 100 Continue\r\n\r\n", "");
      if (!told) co_return false;
    }
    const bool has_body = co_await receive_body(parser, request);
    if (!has_body) co_return false;
  } else {
    request.body = std::move(parser.get().body());
  }
  Request asked;  // for a stream, which asks again and again whether its caller may
  asked.method = request.method;
  asked.path = request.path;
  Response response;
  try {
    response = co_await handle(pool_->router_, std::move(request));
  } catch (const std::exception& failure) {
    response = error_response(500, failure.what());
    count_request(pool_->router_, Request{}, response.status);
  }
  co_return co_await answer(std::move(response), asked, parser);
}

Awaitable<bool> Connection::answer(Response response, const Request& request, const Parser& parser) {
  if (response.stream != nullptr) {
    if (pool_->streams_ < pool_->pool_limits_.streams) {
      co_await answer_without_end(std::move(response), request);
      co_return false;
    }
    response = error_response(503, "too many clients watch or trace at one time: try again later");
  }
  const bool verified_anew = subject_ && credentials_ != pool_->credentials_->generation();
  const bool keep_alive = parser.is_done() && parser.keep_alive() && response.status != 401 && !verified_anew &&
                          !pool_->stopping_ && !evicted_;
  hold(0);
  if (response.body.size() > large_answer && pool_->held_bytes_ > pool_->pool_limits_.memory) {
    response = error_response(503, "too many large requests at one time: try again later");
  }
  std::string head = head_of(response, keep_alive);
  std::string body = parser.get().method() == http::verb::head ? std::string() : std::move(response.body);
  hold(body.size());
  const bool sent = co_await send(std::move(head), std::move(body));
  hold(0);
  first_ = false;
  if (sent && !keep_alive) {
    co_await transport_->finish(!parser.is_done() || buffer_.size() > 0, Clock::now() + limits().linger_timeout);
  }
  const bool goes_on = sent && keep_alive && !pool_->stopping_;
  co_return goes_on;
}

// A comment now and then finds out whether the client is still there.
Awaitable<void> Connection::answer_without_end(Response response, const Request& request) {
  // However it ends.
  struct Counted {
    explicit Counted(size_t& streams) : count(streams) { ++count; }
    ~Counted() { --count; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    size_t& count;
  };
  const Counted counted(pool_->streams_);
  std::string head = head_of(response, false);
  bool goes_on = co_await send(std::move(head), std::move(response.body));
  auto last_sent = Clock::now();
  bool ended = false;
  while (goes_on && !ended && !pool_->stopping_ && !refuse_caller(request)) {
    std::string piece = co_await response.stream->next(stream_patience);
    ended = response.stream->ended();
    if (piece.empty() && Clock::now() - last_sent >= limits().stream_heartbeat) {
      piece = response.stream->heartbeat();
      last_sent = Clock::now();
    }
    if (!piece.empty()) {
      goes_on = co_await send(std::move(piece), "");
      last_sent = Clock::now();
    }
  }
  if (goes_on) co_await transport_->finish(false, Clock::now());
}

// The rest of what comes cannot be told apart from a next request.
Awaitable<bool> Connection::answer_broken(unsigned status, std::string message) {
  stop_waiting();
  hold(0);
  Response response = error_response(status, message);
  std::string head = head_of(response, false);
  const bool sent = co_await send(std::move(head), std::move(response.body));
  if (sent) co_await transport_->finish(true, Clock::now() + limits().linger_timeout);
  co_return false;
}

}  // namespace sluice::control
