#include "control/api_server.h"

#include <exception>
#include <utility>

#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

namespace sluice::control {

namespace asio = boost::asio;
using boost::system::error_code;

net::Result<Credentials> load_credentials(const ApiServerOptions& options) {
  const TlsFiles& tls = options.credentials.tls;
  if (tls.certificate.empty() != tls.key.empty()) {
    return net::Error{"a TLS certificate and its key come together: --tls-cert and --tls-key"};
  }
  if (!tls.client_ca.empty() && tls.certificate.empty()) {
    return net::Error{"client certificates need TLS: --tls-cert and --tls-key"};
  }
  if (options.credentials.access.empty()) {
    return net::Error{"the API on TCP is not open to everyone: --api-access FILE says who may do what"};
  }
  for (const TcpAddress& where : options.tcp) {
    const std::string text = net::to_string(where.address);
    if (where.address.is_unspecified()) {
      return net::Error{fmt::format("the API is served on addresses that are named, not on all ({})", text)};
    }
    if (tls.certificate.empty() && !where.address.is_loopback()) {
      return net::Error{
          fmt::format("without TLS the API is served on loopback addresses only, not on {}: --tls-cert "
                      "and --tls-key, or an SSH tunnel",
                      text)};
    }
  }
  return Credentials::load(options.credentials);
}

struct ApiServer::State : std::enable_shared_from_this<State> {
  State(asio::io_context& context, Router& router, ApiServerOptions chosen);

  [[nodiscard]] net::Status<> listen();
  void watch_credentials();
  void reload();
  void stop(std::function<void()> finished);
  void close_all();

  asio::io_context& io;
  ApiServerOptions options;
  std::shared_ptr<Credentials> credentials;  // for TCP
  std::shared_ptr<ConnectionPool> unix_pool;
  std::shared_ptr<ConnectionPool> tcp_pool;  // once there are credentials
  Router& served;
  std::vector<std::shared_ptr<ApiListener>> unix_listeners, tcp_listeners;
  asio::steady_timer reload_timer;
  asio::steady_timer stop_timer;
  std::string last_problem;  // with the credentials; said once
  bool stopping = false;
};

ApiServer::State::State(asio::io_context& context, Router& router, ApiServerOptions chosen)
    : io(context), options(std::move(chosen)), served(router), reload_timer(context), stop_timer(context) {
  if (options.memory_limit == 0) options.memory_limit = 2 * options.body_limit;
  if (options.tcp_limits.memory == 0) options.tcp_limits.memory = options.body_limit;
  PoolLimits limits;
  limits.connections = limits.per_peer = options.max_connections;
  limits.memory = options.memory_limit;
  unix_pool = std::make_shared<ConnectionPool>(served, nullptr, options, limits);
}

net::Status<> ApiServer::State::listen() {
  if (!options.tcp.empty()) {
    auto loaded = load_credentials(options);
    if (!loaded) return loaded.error();
    credentials = std::make_shared<Credentials>(std::move(*loaded));
    tcp_pool = std::make_shared<ConnectionPool>(served, credentials, options, options.tcp_limits);
  }
  const auto into = [](std::shared_ptr<ConnectionPool> pool) {
    return [pool = std::move(pool)](ApiListener::Socket socket, const std::string& peer) {
      pool->admit(std::move(socket), peer);
    };
  };
  if (!options.socket_path.empty()) {
    auto listening = listen_unix(io, options.socket_path, options.socket_mode, into(unix_pool));
    if (!listening) return listening.error();
    unix_listeners.push_back(*listening);
  }
  for (const TcpAddress& where : options.tcp) {
    auto listening = listen_tcp(io, where, into(tcp_pool));
    if (!listening) return listening.error();
    tcp_listeners.push_back(*listening);
  }
  if (credentials) watch_credentials();
  return net::Done{};
}

void ApiServer::State::watch_credentials() {
  reload_timer.expires_after(options.reload_interval);
  reload_timer.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (error || !self || self->stopping) return;
    if (self->credentials->changed()) self->reload();
    self->watch_credentials();
  });
}

void ApiServer::State::reload() {
  if (!credentials) return;
  std::string problem;
  try {
    if (const auto reloaded = credentials->reload(); !reloaded) {
      problem = reloaded.error().message;
    } else if (tcp_pool) {
      tcp_pool->credentials_changed();
    }
  } catch (const std::exception& failure) {  // of memory, or the TLS library
    problem = failure.what();
  }
  if (!options.say || (!problem.empty() && problem == last_problem)) return;
  last_problem = problem;
  if (!problem.empty()) {
    options.say(fmt::format("the API goes on with the credentials from before: {}", problem));
  } else if (credentials->tls() != nullptr) {
    options.say(fmt::format("read the API's credentials again; its certificate is valid until {}",
                            valid_until(credentials->tls())));
  } else {
    options.say("read the API's credentials again");
  }
}

void ApiServer::State::stop(std::function<void()> finished) {
  if (std::exchange(stopping, true)) return;
  reload_timer.cancel();
  for (const auto* listeners : {&unix_listeners, &tcp_listeners}) {
    for (const auto& listener : *listeners) listener->close();
  }
  stop_timer.expires_after(options.stop_timeout);
  stop_timer.async_wait([weak = weak_from_this(), finished = std::move(finished)](const error_code&) {
    if (const auto self = weak.lock()) self->close_all();
    if (finished) finished();
  });
  // The last connection to go cancels the timer.
  const auto emptied = [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self && self->unix_pool->empty() && (!self->tcp_pool || self->tcp_pool->empty())) self->stop_timer.cancel();
  };
  if (tcp_pool) tcp_pool->stop(emptied);
  unix_pool->stop(emptied);
}

void ApiServer::State::close_all() {
  unix_pool->close_all();
  if (tcp_pool) tcp_pool->close_all();
}

ApiServer::ApiServer(asio::io_context& io, Router& router, ApiServerOptions options)
    : state_(std::make_shared<State>(io, router, std::move(options))) {}

ApiServer::~ApiServer() {
  state_->stop({});
  state_->close_all();
}

net::Status<> ApiServer::start() { return state_->listen(); }
void ApiServer::reload() { state_->reload(); }
void ApiServer::stop(std::function<void()> finished) { state_->stop(std::move(finished)); }

uint16_t ApiServer::tcp_port(size_t index) const {
  return index < state_->tcp_listeners.size() ? state_->tcp_listeners[index]->port() : 0;
}

size_t ApiServer::connections() const {
  return state_->unix_pool->size() + (state_->tcp_pool ? state_->tcp_pool->size() : 0);
}

}  // namespace sluice::control
