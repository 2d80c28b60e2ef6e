// The HTTP/1.1 server of the config API: on a UNIX socket, and optionally on TCP, with TLS and roles.
//
//   api_listener.h    binds, accepts
//   api_pool.h        how many connections there may be, who makes room
//   api_connection.h  a conversation: heads, bodies, answers, deadlines
//   api_transport.h   bytes, TLS
//   api_credentials.h certificates, tokens and roles, which change while this runs
//   api.h             what a request means
//
// Who can open the UNIX socket may do everything: its file's mode and group say who that is. On TCP a caller has the
// role of its token or client certificate (api_access.h). Without TLS only loopback addresses are served.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "control/api_credentials.h"
#include "control/api_listener.h"
#include "control/api_pool.h"
#include "control/router.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct ApiServerOptions : ApiLimits {
  std::string socket_path = "/run/sluice/sluiced.sock";  // empty: no UNIX socket
  mode_t socket_mode = 0660;
  size_t max_connections = 256;  // on the UNIX socket
  uint64_t memory_limit = 0;     // bytes of all its bodies and answers at one time; 0: twice body_limit

  std::vector<TcpAddress> tcp;                        // empty: not on TCP
  CredentialFiles credentials;                        // for TCP
  PoolLimits tcp_limits{256, 64, 12, 0};              // memory 0: body_limit
  std::chrono::milliseconds reload_interval{10'000};  // how often the files are looked at

  std::chrono::milliseconds stop_timeout{5'000};  // what running requests have after stop()
  std::function<void(std::string_view)> say;      // to whom runs this: credentials changed, or could not be read
};

// What is needed for options.tcp. Error: credentials are missing or broken, an address is not one to serve.
[[nodiscard]] net::Result<Credentials> load_credentials(const ApiServerOptions& options);

class ApiServer {
 public:
  // `io` and `router` outlive the server, and `io` is run by one thread, the one that calls the members.
  ApiServer(boost::asio::io_context& io, Router& router, ApiServerOptions options);
  ~ApiServer();  // as stop(), and closes what is still open
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // Binds and begins to accept. Error: another process serves the socket, credentials are missing or broken, an
  // address is not one to serve, the system says no.
  [[nodiscard]] net::Status<> start();

  // Reads the files of credentials again; what is wrong with them is said, and those from before stay in use. Without
  // this they are read again when they have changed. Connections go on; new ones get the new certificate, every new
  // request is judged by the new roles.
  void reload();

  // Closes the listeners and the waiting connections and removes the socket file; requests that run get their
  // answer. When they have, at the latest after stop_timeout, the server holds no work of `io` any more and calls
  // `finished`, from `io`. Only the first call counts.
  void stop(std::function<void()> finished = {});

  [[nodiscard]] uint16_t tcp_port(size_t index = 0) const;  // of options.tcp; 0: none
  [[nodiscard]] size_t connections() const;                 // open

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::control
