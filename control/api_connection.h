// One HTTP/1.1 conversation of the API. What a request means is control/api.h's business, how bytes travel
// api_transport.h's, how many there may be api_pool.h's.
//
// One coroutine per connection on the control thread's io_context. A connection reads into a small buffer, feeds
// the parser, and writes an answer; every wait for the client has a deadline, every buffer a limit:
//
//   state       waits for                 ends with
//   waiting     TLS, a request's head     silence after header_timeout (a new connection) or idle_timeout; 408 when
//                                         a begun head takes longer than header_timeout; 431 past header_limit
//   receiving   the body                  408 after body_idle_timeout without a byte or body_timeout in all; 413 as
//                                         soon as Content-Length, what came, or what a compressed body means exceeds
//                                         body_limit; 503 when the pool's bodies and answers exceed its memory
//   answering   the router, the client    silence when the client takes nothing for write_timeout; an answer without
//                                         end (api.h: Stream) goes on until then, or until the server stops
//
// Who may not make a call is told so before the body is read. Who is unknown is not kept: its connection ends with the
// 401. A client certificate counts until it expires or the credentials are read again: then the connection ends with
// the answer under way, and a stream with what it has sent, and the client may come back and be verified anew; a stream
// of a token that has lost its role ends as well.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "control/api.h"
#include "control/api_pool.h"
#include "control/api_transport.h"
#include "control/gunzip.h"

namespace sluice::control {

// The start line and the header of an answer.
[[nodiscard]] std::string head_of(const Response& response, bool keep_alive);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ConnectionPool> pool, std::shared_ptr<Transport> transport, std::string peer)
      : pool_(std::move(pool)), transport_(std::move(transport)), peer_(std::move(peer)) {
    size_t& of_peer = pool_->per_peer_[peer_];
    in_open_ = pool_->open_.insert(pool_->open_.end(), this);  // nothing throws from here on
    ++of_peer;
    ++measurements().connections_accepted;
    ++measurements().connections;
  }

  ~Connection() {
    stop_waiting();
    hold(0);
    if (evicted_) {
      --pool_->evicted_;
    } else {
      leave_peer();
    }
    pool_->open_.erase(in_open_);
    // The router may be gone when the last conversations are.
    if (!pool_->stopping_) --measurements().connections;
    if (pool_->open_.empty() && pool_->emptied_) pool_->emptied_();
  }

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  static Awaitable<void> run(std::shared_ptr<Connection> self);

  // Ends a connection that waits for a head, unless one has come meanwhile.
  void evict() {
    stop_waiting();
    evicted_ = true;
    ++pool_->evicted_;
    leave_peer();
    transport_->abandon();
  }

  void close() { transport_->close(); }
  [[nodiscard]] const std::string& peer() const { return peer_; }
  [[nodiscard]] bool has_certificate() const { return subject_.has_value(); }

 private:
  [[nodiscard]] const ApiLimits& limits() const { return pool_->limits_; }
  [[nodiscard]] Measurements& measurements() const { return pool_->router_.measurements(); }

  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  // One step of the conversation; false: it is over.
  Awaitable<bool> serve_one();
  Awaitable<bool> shake_hands();
  Awaitable<bool> receive_head(Parser& parser);
  // Into request.body, expanded.
  Awaitable<bool> receive_body(Parser& parser, Request& request);
  // What has come of a compressed body goes into `body`.
  Awaitable<bool> expand(Parser& parser, Gunzip& gunzip, std::string& body);
  // Answers and, if that is the end of the conversation, sees it out.
  Awaitable<bool> answer(Response response, const Request& request, const Parser& parser);
  Awaitable<void> answer_without_end(Response response, const Request& request);
  Awaitable<bool> answer_broken(unsigned status, std::string message);
  [[nodiscard]] std::optional<Response> refuse_head(const Parser& parser, Request& request);
  // Why this caller may not go on as it began; credentials and the time are as they are now.
  [[nodiscard]] std::optional<Response> refuse_caller(const Request& request) const;
  // Parses what has been received; `error` is need_more when that does not end the head or the body.
  void parse(Parser& parser, boost::system::error_code& error);
  Awaitable<bool> send(std::string head, std::string body) {
    return transport_->send(std::move(head), std::move(body), limits().write_timeout);
  }

  void start_waiting() {
    if (!in_waiting_ && !evicted_) in_waiting_ = pool_->waiting_.insert(pool_->waiting_.end(), this);
  }
  void stop_waiting() {
    if (in_waiting_) pool_->waiting_.erase(*in_waiting_);
    in_waiting_.reset();
  }
  void leave_peer() {
    const auto found = pool_->per_peer_.find(peer_);
    if (--found->second == 0) pool_->per_peer_.erase(found);
  }
  // Counts what this connection holds of the memory that all share.
  void hold(uint64_t bytes) {
    pool_->held_bytes_ += bytes - held_bytes_;
    held_bytes_ = bytes;
  }

  std::shared_ptr<ConnectionPool> pool_;
  std::shared_ptr<Transport> transport_;
  std::string peer_;
  std::optional<Subject> subject_;  // of the client's certificate
  uint64_t credentials_ = 0;        // the generation that verified it
  std::string authorization_;       // of the present request
  boost::beast::flat_buffer buffer_;
  bool first_ = true;  // no request has been answered yet
  bool evicted_ = false;
  size_t head_bytes_ = 0;  // of the present head, parsed
  uint64_t held_bytes_ = 0;
  std::list<Connection*>::iterator in_open_;
  std::optional<std::list<Connection*>::iterator> in_waiting_;
};

}  // namespace sluice::control
