// The HTTP/1.1 server of the config API: on a UNIX socket, and optionally on a loopback TCP port behind a bearer
// token. It knows sockets, limits and deadlines; what a request means is control/api.h's business.
//
// One coroutine per connection on the control thread's io_context. A connection reads into a small buffer, feeds
// the parser, and writes an answer; every wait for the client has a deadline, every buffer a limit:
//
//   state       waits for                 ends with
//   waiting     the head of a request     silence after header_timeout (a new connection) or idle_timeout; 408 when
//                                         a begun head takes longer than header_timeout; 431 past header_limit
//   receiving   the body                  408 after body_idle_timeout without a byte or body_timeout in all; 413 as
//                                         soon as Content-Length, what came, or what a compressed body means exceeds
//                                         body_limit; 503 when the bodies and answers of all exceed memory_limit
//   answering   the router, the client    silence when the client takes nothing for write_timeout; an answer without
//                                         end (api.h: Stream) goes on until then, or until the server stops
//
// With max_connections open a further one takes the place of the one that has been `waiting` for longest, so that
// idle connections lock nobody out; if none is waiting it gets a 503. After an answer that leaves a body unread the
// connection is drained for linger_timeout, so that the client sees the answer and not a reset.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>

#include <boost/asio/io_context.hpp>

#include "control/router.h"
#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct ApiServerOptions {
  std::string socket_path = "/run/sluice/sluiced.sock";  // empty: no UNIX socket
  mode_t socket_mode = 0660;

  struct Tcp {
    net::IpAddr address;  // loopback: 127.0.0.0/8 or ::1
    uint16_t port = 0;    // host byte order; 0: the kernel chooses (ApiServer::tcp_port)
    std::string token;    // at least min_token_length characters (read_token)
  };
  std::optional<Tcp> tcp;

  size_t max_connections = 256;
  size_t header_limit = 16 << 10;   // bytes
  uint64_t body_limit = 128 << 20;  // bytes of one body, expanded
  uint64_t memory_limit = 0;        // bytes of all bodies and answers at one time; 0: twice body_limit
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_idle_timeout{30'000};
  std::chrono::milliseconds body_timeout{120'000};
  std::chrono::milliseconds idle_timeout{60'000};
  std::chrono::milliseconds write_timeout{30'000};
  std::chrono::milliseconds stream_heartbeat{5'000};  // of an answer without end, while there is nothing to say
  std::chrono::milliseconds linger_timeout{2'000};
  std::chrono::milliseconds stop_timeout{5'000};  // what running requests have after stop()
};

inline constexpr size_t min_token_length = 16;

// The first line of `path`, without white space around it. Error: unreadable, open to other users, too short.
[[nodiscard]] net::Result<std::string> read_token(const std::string& path);

class ApiServer {
 public:
  // `io` and `router` outlive the server, and `io` is run by one thread, the one that calls the members.
  ApiServer(boost::asio::io_context& io, Router& router, ApiServerOptions options);
  ~ApiServer();  // as stop(), and closes what is still open
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // Binds and begins to accept. A socket file that nobody serves is replaced, its missing folder is made. Error:
  // another process serves the socket, the address is not loopback, the token is too short, the system says no.
  [[nodiscard]] net::Status<> start();

  // Closes the listeners and the waiting connections and removes the socket file; requests that run get their
  // answer. When they have, at the latest after stop_timeout, the server holds no work of `io` any more and calls
  // `finished`, from `io`. Only the first call counts.
  void stop(std::function<void()> finished = {});

  [[nodiscard]] uint16_t tcp_port() const;   // 0: none
  [[nodiscard]] size_t connections() const;  // open

 private:
  class Connection;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::control
