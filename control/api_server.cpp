#include "control/api_server.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <list>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
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
using Clock = std::chrono::steady_clock;
using Socket = asio::generic::stream_protocol::socket;
using Parser = http::request_parser<http::string_body>;

constexpr size_t read_size = 64 << 10;
constexpr uint64_t expand_size = 1 << 20;                         // of a compressed body, before others have their turn
constexpr size_t large_answer = 1 << 20;                          // smaller ones are given however much memory is held
constexpr auto stream_patience = std::chrono::milliseconds(250);  // how soon a stream learns that all is over
constexpr auto accept_pause = std::chrono::milliseconds(100);     // after an error like EMFILE

// Takes as long for a wrong token as for the right one.
bool same_token(std::string_view given, std::string_view token) {
  unsigned difference = given.size() == token.size() ? 0 : 1;
  for (size_t i = 0; i < token.size(); ++i) {
    const char c = given.empty() ? '\0' : given[i % given.size()];
    difference |= static_cast<unsigned char>(c) ^ static_cast<unsigned char>(token[i]);
  }
  return difference == 0;
}

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

net::Error system_error(std::string_view what) { return {fmt::format("{}: {}", what, std::strerror(errno))}; }

// A socket file is left behind when its server was killed. Done: there is none any more.
net::Status<> clear_stale_socket(const std::string& path) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return net::Done{};
    return system_error(fmt::format("cannot look at {}", path));
  }
  if (!S_ISSOCK(file.st_mode)) return net::Error{fmt::format("{} is in the way: it is no socket", path)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (probe < 0) return system_error("cannot make a socket");
  const int connected = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = connected == 0 ? 0 : errno;
  ::close(probe);
  if (error == 0 || error == EAGAIN) {  // EAGAIN: its queue is full
    return net::Error{fmt::format("another sluiced serves {}: stop it, or choose another socket", path)};
  }
  errno = error;
  if (error != ECONNREFUSED) return system_error(fmt::format("cannot tell whether anything serves {}", path));
  if (::unlink(path.c_str()) != 0) return system_error(fmt::format("cannot remove the stale socket {}", path));
  return net::Done{};
}

}  // namespace

// ---- what all connections share ----------------------------------------------------------------------

struct ApiServer::State : std::enable_shared_from_this<State> {
  State(asio::io_context& context, Router& served, ApiServerOptions chosen)
      : io(context), router(served), options(std::move(chosen)), stop_timer(context) {}

  net::Status<> listen_unix();
  net::Status<> listen_tcp();
  template <class Acceptor>
  static Awaitable<void> accept_loop(std::shared_ptr<State> self, Acceptor& acceptor, bool needs_token);
  void admit(Socket socket, bool needs_token);
  void stop(std::function<void()> finished);
  void close_all();

  asio::io_context& io;
  Router& router;
  ApiServerOptions options;
  std::optional<asio::local::stream_protocol::acceptor> unix_acceptor;
  std::optional<asio::ip::tcp::acceptor> tcp_acceptor;
  asio::steady_timer stop_timer;
  std::optional<std::pair<dev_t, ino_t>> socket_file;  // ours, to be removed
  std::list<Connection*> open;
  std::list<Connection*> waiting;  // for a head; the one that waits longest in front
  size_t evicted = 0;              // of those open: told to go
  uint64_t held_bytes = 0;         // bodies that are here, answers that are not gone
  bool stopping = false;
};

// ---- one connection ----------------------------------------------------------------------------------

class ApiServer::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<State> state, Socket socket, bool needs_token)
      : state_(std::move(state)),
        socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        needs_token_(needs_token) {
    in_open_ = state_->open.insert(state_->open.end(), this);
    start_waiting();
  }

  ~Connection() {
    stop_waiting();
    hold(0);
    if (evicted_) --state_->evicted;
    state_->open.erase(in_open_);
    if (state_->open.empty()) state_->stop_timer.cancel();
  }

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  static Awaitable<void> run(std::shared_ptr<Connection> self);

  // Ends a connection that waits for a head, unless one has come meanwhile.
  void evict() {
    stop_waiting();
    evicted_ = true;
    ++state_->evicted;
    error_code ignored;
    socket_.cancel(ignored);
  }

  void close() {
    error_code ignored;
    timer_.cancel();
    socket_.close(ignored);
  }

 private:
  enum class Received : uint8_t { Data, TimedOut, Gone };

  // One step of the conversation; false: it is over.
  Awaitable<bool> serve_one();
  Awaitable<bool> receive_head(Parser& parser);
  // Into request.body, expanded.
  Awaitable<bool> receive_body(Parser& parser, Request& request);
  // What has come of a compressed body goes into `body`.
  Awaitable<bool> expand(Parser& parser, Gunzip& gunzip, std::string& body);
  // Answers and, if that is the end of the conversation, sees it out.
  Awaitable<bool> answer(Response response, const Parser& parser);
  Awaitable<void> answer_without_end(Response response);
  Awaitable<bool> answer_broken(unsigned status, std::string message);
  [[nodiscard]] std::optional<Response> refuse_head(const Parser& parser, Request& request) const;
  // Parses what has been received; `error` is need_more when that does not end the head or the body.
  void parse(Parser& parser, error_code& error);

  Awaitable<Received> receive(size_t size, Clock::time_point deadline);
  Awaitable<bool> send(std::string head, std::string body);
  Awaitable<void> drain();
  void arm(Clock::time_point deadline);

  void start_waiting() {
    if (!in_waiting_ && !evicted_) in_waiting_ = state_->waiting.insert(state_->waiting.end(), this);
  }
  void stop_waiting() {
    if (in_waiting_) state_->waiting.erase(*in_waiting_);
    in_waiting_.reset();
  }
  // Counts what this connection holds of the memory that all share.
  void hold(uint64_t bytes) {
    state_->held_bytes += bytes - held_bytes_;
    held_bytes_ = bytes;
  }

  std::shared_ptr<State> state_;
  Socket socket_;
  asio::steady_timer timer_;
  boost::beast::flat_buffer buffer_;
  bool needs_token_;
  bool first_ = true;  // no request has been answered yet
  bool evicted_ = false;
  bool timed_out_ = false;
  size_t head_bytes_ = 0;  // of the present head, parsed
  uint64_t held_bytes_ = 0;
  std::list<Connection*>::iterator in_open_;
  std::optional<std::list<Connection*>::iterator> in_waiting_;
};

Awaitable<void> ApiServer::Connection::run(std::shared_ptr<Connection> self) {
  bool goes_on = true;
  while (goes_on) {  // not `while (co_await …)`: g++ 12 lays out the frame wrongly then
    self->start_waiting();
    goes_on = co_await self->serve_one();
  }
  self->close();
}

// The timer cancels what the socket waits for. Every wait checks for itself that its time is not up, so a timer that
// fires between two waits is not lost.
void ApiServer::Connection::arm(Clock::time_point deadline) {
  timed_out_ = false;
  timer_.expires_at(deadline);
  timer_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (error || !self || self->timer_.expiry() > Clock::now()) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

Awaitable<ApiServer::Connection::Received> ApiServer::Connection::receive(size_t size, Clock::time_point deadline) {
  if (evicted_) co_return Received::Gone;
  if (deadline <= Clock::now()) co_return Received::TimedOut;
  arm(deadline);
  error_code error;
  const size_t got =
      co_await socket_.async_read_some(buffer_.prepare(size), asio::redirect_error(asio::use_awaitable, error));
  timer_.cancel();
  buffer_.commit(got);
  if (!error) co_return Received::Data;
  co_return timed_out_ ? Received::TimedOut : Received::Gone;
}

Awaitable<bool> ApiServer::Connection::send(std::string head, std::string body) {
  size_t sent = 0;
  while (sent < head.size() + body.size()) {
    const size_t of_head = std::min(sent, head.size());
    const std::array<asio::const_buffer, 2> rest{asio::buffer(head) + of_head, asio::buffer(body) + (sent - of_head)};
    arm(Clock::now() + state_->options.write_timeout);
    error_code error;
    sent += co_await socket_.async_write_some(rest, asio::redirect_error(asio::use_awaitable, error));
    timer_.cancel();
    if (error) co_return false;
  }
  co_return true;
}

// Closing a socket with unread data resets it, and the client would lose the answer.
Awaitable<void> ApiServer::Connection::drain() {
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  const auto deadline = Clock::now() + state_->options.linger_timeout;
  Received received = Received::Data;
  while (received == Received::Data) {
    buffer_.clear();
    received = co_await receive(read_size, deadline);
  }
}

void ApiServer::Connection::parse(Parser& parser, error_code& error) {
  error = http::error::need_more;
  if (buffer_.size() == 0) return;
  const bool in_head = !parser.is_header_done();
  const size_t used = parser.put(buffer_.data(), error);
  buffer_.consume(used);
  if (!in_head) return;
  head_bytes_ += used;
  // The parser's own limit is on what it gets at a time.
  if (head_bytes_ > state_->options.header_limit ||
      (error == http::error::need_more && head_bytes_ + buffer_.size() > state_->options.header_limit)) {
    error = http::error::header_limit;
  }
}

Awaitable<bool> ApiServer::Connection::receive_head(Parser& parser) {
  const ApiServerOptions& options = state_->options;
  auto deadline = Clock::now() + (first_ ? options.header_timeout : options.idle_timeout);
  bool begun = false;
  head_bytes_ = 0;
  while (true) {
    error_code error;
    parse(parser, error);
    if (!error) co_return true;
    if (error == http::error::header_limit) {
      co_return co_await answer_broken(431, fmt::format("the header is larger than {} bytes", options.header_limit));
    }
    if (error == http::error::body_limit) {
      co_return co_await answer_broken(413, fmt::format("the body is larger than {} bytes", options.body_limit));
    }
    if (error == http::error::bad_version) co_return co_await answer_broken(505, "HTTP/1.1 is spoken here");
    if (error != http::error::need_more) {
      co_return co_await answer_broken(400, fmt::format("no HTTP request: {}", error.message()));
    }
    if (!begun && head_bytes_ + buffer_.size() > 0) {
      begun = true;
      deadline = Clock::now() + options.header_timeout;
    }
    const Received received = co_await receive(options.header_limit, deadline);
    if (received == Received::TimedOut && begun) {
      co_return co_await answer_broken(408, "the request's header did not come in time");
    }
    if (received != Received::Data) co_return false;
  }
}

Awaitable<bool> ApiServer::Connection::expand(Parser& parser, Gunzip& gunzip, std::string& body) {
  const uint64_t limit = state_->options.body_limit;
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
    // Others have their turn.
    if (outcome == Gunzip::Outcome::Full) co_await asio::post(asio::use_awaitable);
  }
  co_return true;
}

Awaitable<bool> ApiServer::Connection::receive_body(Parser& parser, Request& request) {
  const ApiServerOptions& options = state_->options;
  const auto deadline = Clock::now() + options.body_timeout;
  std::optional<Gunzip> gunzip;
  if (is_gzip(request.content_encoding)) gunzip.emplace();
  const std::string& expanded = request.body;
  parser.eager(true);
  while (true) {
    error_code error;
    parse(parser, error);
    if (error == http::error::body_limit) {
      co_return co_await answer_broken(413, fmt::format("the body is larger than {} bytes", options.body_limit));
    }
    if (error && error != http::error::need_more) {
      co_return co_await answer_broken(400, fmt::format("broken body: {}", error.message()));
    }
    if (gunzip) {
      const bool sound = co_await expand(parser, *gunzip, request.body);
      if (!sound) co_return false;
    }
    hold(parser.get().body().size() + expanded.size());
    if (state_->held_bytes > options.memory_limit) {
      co_return co_await answer_broken(503, "too many large requests at one time: try again later");
    }
    if (parser.is_done()) {
      if (gunzip && !gunzip->complete()) co_return co_await answer_broken(400, "broken body: the gzip ends too early");
      if (!gunzip) request.body = std::move(parser.get().body());
      co_return true;
    }
    // Only the line before a chunk stays in the buffer.
    if (buffer_.size() > options.header_limit)
      co_return co_await answer_broken(400, "broken body: endless chunk header");
    const Received received = co_await receive(read_size, std::min(deadline, Clock::now() + options.body_idle_timeout));
    if (received == Received::TimedOut)
      co_return co_await answer_broken(408, "the request's body did not come in time");
    if (received == Received::Gone) co_return false;
  }
}

std::optional<Response> ApiServer::Connection::refuse_head(const Parser& parser, Request& request) const {
  const auto& head = parser.get();
  if (head.version() == 11 && head.count(http::field::host) != 1) {
    return error_response(400, "exactly one Host header is needed (RFC 9112 section 3.2)");
  }
  static constexpr std::string_view scheme = "Bearer ";
  const auto credentials = head[http::field::authorization];
  if (needs_token_ && (credentials.size() < scheme.size() || !iequals(credentials.substr(0, scheme.size()), scheme) ||
                       !same_token(std::string_view(credentials).substr(scheme.size()), state_->options.tcp->token))) {
    Response response = error_response(401, "a bearer token is needed: Authorization: Bearer TOKEN");
    response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"sluice\"");
    return response;
  }
  if (head.count(http::field::transfer_encoding) != 0 &&
      (!parser.chunked() || !iequals(head[http::field::transfer_encoding], "chunked"))) {
    return error_response(501, "of the transfer encodings only chunked is understood");
  }
  if (head.count(http::field::expect) != 0 && !iequals(head[http::field::expect], "100-continue")) {
    return error_response(417, "only 100-continue can be expected");
  }
  request.method = head.method_string();
  request.content_type = head[http::field::content_type];
  request.content_encoding = head[http::field::content_encoding];
  request.if_match = head[http::field::if_match];
  if (const auto target = set_target(request, head.target()); !target) {
    return error_response(400, target.error().message);
  }
  return refuse(request);
}

Awaitable<bool> ApiServer::Connection::serve_one() {
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(state_->options.header_limit));
  parser.body_limit(state_->options.body_limit);
  if (!co_await receive_head(parser)) co_return false;
  stop_waiting();
  Request request;
  if (auto refusal = refuse_head(parser, request)) co_return co_await answer(*std::move(refusal), parser);
  if (!parser.is_done()) {
    if (parser.get().count(http::field::expect) != 0 && parser.get().version() == 11 && buffer_.size() == 0) {
      if (!co_await send("HTTP/1.1 100 Continue\r\n\r\n", "")) co_return false;
    }
    if (!co_await receive_body(parser, request)) co_return false;
  } else {
    request.body = std::move(parser.get().body());
  }
  Response response;
  try {
    response = co_await handle(state_->router, std::move(request));
  } catch (const std::exception& failure) {
    response = error_response(500, failure.what());
  }
  co_return co_await answer(std::move(response), parser);
}

Awaitable<bool> ApiServer::Connection::answer(Response response, const Parser& parser) {
  if (response.stream != nullptr) {
    co_await answer_without_end(std::move(response));
    co_return false;
  }
  const bool keep_alive = parser.is_done() && parser.keep_alive() && !state_->stopping && !evicted_;
  hold(0);
  if (response.body.size() > large_answer && state_->held_bytes > state_->options.memory_limit) {
    response = error_response(503, "too many large requests at one time: try again later");
  }
  std::string head = head_of(response, keep_alive);
  std::string body = parser.get().method() == http::verb::head ? std::string() : std::move(response.body);
  hold(body.size());
  const bool sent = co_await send(std::move(head), std::move(body));
  hold(0);
  first_ = false;
  if (sent && !keep_alive && (!parser.is_done() || buffer_.size() > 0)) co_await drain();
  const bool goes_on = sent && keep_alive && !state_->stopping;
  co_return goes_on;
}

// A comment now and then finds out whether the client is still there.
Awaitable<void> ApiServer::Connection::answer_without_end(Response response) {
  std::string head = head_of(response, false);
  bool goes_on = co_await send(std::move(head), std::move(response.body));
  auto last_sent = Clock::now();
  while (goes_on && !state_->stopping) {
    std::string piece = co_await response.stream->next(stream_patience);
    const bool ended = response.stream->ended();
    if (piece.empty() && Clock::now() - last_sent >= state_->options.stream_heartbeat) {
      piece = response.stream->heartbeat();
      last_sent = Clock::now();
    }
    if (!piece.empty()) {
      goes_on = co_await send(std::move(piece), "");
      last_sent = Clock::now();
    }
    if (ended) co_return;
  }
}

// The rest of what comes cannot be told apart from a next request.
Awaitable<bool> ApiServer::Connection::answer_broken(unsigned status, std::string message) {
  stop_waiting();
  hold(0);
  Response response = error_response(status, message);
  std::string head = head_of(response, false);
  if (co_await send(std::move(head), std::move(response.body))) co_await drain();
  co_return false;
}

// ---- listening ---------------------------------------------------------------------------------------

net::Status<> ApiServer::State::listen_unix() {
  const std::string& path = options.socket_path;
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return net::Error{
        fmt::format("the path of the socket is longer than {} bytes: {}", sizeof(sockaddr_un::sun_path) - 1, path)};
  }
  const size_t slash = path.rfind('/');
  if (slash != 0 && slash != std::string::npos && ::mkdir(path.substr(0, slash).c_str(), 0755) != 0 &&
      errno != EEXIST) {
    return system_error(fmt::format("cannot make the folder of {}", path));
  }
  if (auto cleared = clear_stale_socket(path); !cleared) return cleared;
  error_code error;
  auto& acceptor = unix_acceptor.emplace(io);
  acceptor.open({}, error);
  if (!error) acceptor.bind(path, error);
  if (error) return net::Error{fmt::format("cannot bind the socket {}: {}", path, error.message())};
  struct stat file {};
  // Nobody can connect before listen(), so the socket is never open to more than `socket_mode` says.
  if (::lstat(path.c_str(), &file) != 0 || ::chmod(path.c_str(), options.socket_mode) != 0) {
    return system_error(fmt::format("cannot set the mode of {}", path));
  }
  socket_file = {file.st_dev, file.st_ino};
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return net::Error{fmt::format("cannot listen on {}: {}", path, error.message())};
  asio::co_spawn(io, accept_loop(shared_from_this(), acceptor, false), asio::detached);
  return net::Done{};
}

net::Status<> ApiServer::State::listen_tcp() {
  const ApiServerOptions::Tcp& tcp = *options.tcp;
  const std::string text = net::to_string(tcp.address);
  if (!tcp.address.is_loopback()) {
    return net::Error{fmt::format("the API is served on loopback addresses only, not on {}: use an SSH tunnel", text)};
  }
  if (tcp.token.size() < min_token_length) {
    return net::Error{fmt::format("the API on TCP needs a token of at least {} characters", min_token_length)};
  }
  error_code error;
  const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(text), tcp.port);
  auto& acceptor = tcp_acceptor.emplace(io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return net::Error{fmt::format("cannot listen on {} port {}: {}", text, tcp.port, error.message())};
  asio::co_spawn(io, accept_loop(shared_from_this(), acceptor, true), asio::detached);
  return net::Done{};
}

template <class Acceptor>
Awaitable<void> ApiServer::State::accept_loop(std::shared_ptr<State> self, Acceptor& acceptor, bool needs_token) {
  asio::steady_timer pause(self->io);
  while (acceptor.is_open()) {
    error_code error;
    auto socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (!error) {
      try {
        self->admit(Socket(std::move(socket)), needs_token);
      } catch (const std::exception&) {  // no memory for one more: it is closed, the next may have better luck
      }
    } else if (acceptor.is_open()) {
      pause.expires_after(accept_pause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
}

void ApiServer::State::admit(Socket socket, bool needs_token) {
  error_code ignored;
  if (stopping) return;
  if (open.size() - evicted >= options.max_connections) {
    if (waiting.empty()) {
      const Response response = error_response(503, "too many connections: try again later");
      socket.non_blocking(true, ignored);
      socket.write_some(asio::buffer(head_of(response, false) + response.body), ignored);
      socket.shutdown(Socket::shutdown_send, ignored);
      return;
    }
    waiting.front()->evict();
  }
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket), needs_token);
  asio::co_spawn(io, Connection::run(std::move(connection)), asio::detached);
}

void ApiServer::State::stop(std::function<void()> finished) {
  if (std::exchange(stopping, true)) return;
  error_code ignored;
  if (unix_acceptor) unix_acceptor->close(ignored);
  if (tcp_acceptor) tcp_acceptor->close(ignored);
  struct stat file {};
  const char* path = options.socket_path.c_str();
  if (socket_file && ::lstat(path, &file) == 0 && socket_file == std::pair(file.st_dev, file.st_ino)) ::unlink(path);
  while (!waiting.empty()) waiting.front()->evict();
  // The last connection to go cancels the timer.
  stop_timer.expires_after(open.empty() ? Clock::duration::zero() : options.stop_timeout);
  stop_timer.async_wait([weak = weak_from_this(), finished = std::move(finished)](const error_code&) {
    if (const auto self = weak.lock()) self->close_all();
    if (finished) finished();
  });
}

void ApiServer::State::close_all() {
  for (Connection* connection : open) connection->close();
}

// ---- the server --------------------------------------------------------------------------------------

ApiServer::ApiServer(asio::io_context& io, Router& router, ApiServerOptions options)
    : state_(std::make_shared<State>(io, router, std::move(options))) {
  if (state_->options.memory_limit == 0) state_->options.memory_limit = 2 * state_->options.body_limit;
}

ApiServer::~ApiServer() {
  state_->stop({});
  state_->close_all();
}

net::Status<> ApiServer::start() {
  if (!state_->options.socket_path.empty()) {
    if (auto listening = state_->listen_unix(); !listening) return listening;
  }
  if (state_->options.tcp) return state_->listen_tcp();
  return net::Done{};
}

void ApiServer::stop(std::function<void()> finished) { state_->stop(std::move(finished)); }

uint16_t ApiServer::tcp_port() const {
  error_code ignored;
  return state_->tcp_acceptor ? state_->tcp_acceptor->local_endpoint(ignored).port() : 0;
}

size_t ApiServer::connections() const { return state_->open.size() - state_->evicted; }

net::Result<std::string> read_token(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return system_error(fmt::format("cannot read the token file {}", path));
  if ((file.st_mode & S_IRWXO) != 0) {
    return net::Error{fmt::format("the token file {} is open to other users: chmod o= {}", path, path)};
  }
  std::ifstream in(path);
  std::string token;
  if (!(in >> token)) return net::Error{fmt::format("there is no token in {}", path)};
  if (token.size() < min_token_length) {
    return net::Error{fmt::format("the token in {} is shorter than {} characters", path, min_token_length)};
  }
  return token;
}

}  // namespace sluice::control
