#include "control/health_server.h"

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Acceptor = asio::ip::tcp::acceptor;

constexpr size_t max_connections = 64;
constexpr uint32_t header_limit = 8 << 10;  // bytes
constexpr auto request_time = std::chrono::seconds(5);
constexpr auto retry_time = std::chrono::seconds(5);
constexpr auto accept_pause = std::chrono::milliseconds(100);  // after an error like EMFILE

// An address of the machine, or all of both families, and a port.
using Place = std::pair<std::optional<net::IpAddr>, uint16_t>;

std::string text(const Place& place) {
  return fmt::format("{} port {}", place.first ? net::to_string(*place.first) : "any address", place.second);
}

error_code bind(Acceptor& acceptor, const asio::ip::tcp::endpoint& endpoint, bool v6_only) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(v6_only), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  error_code ignored;
  if (error) acceptor.close(ignored);
  return error;
}

error_code listen(Acceptor& acceptor, const Place& place) {
  const auto& [address, port] = place;
  if (address) return bind(acceptor, {asio::ip::make_address(net::to_string(*address)), port}, true);
  const error_code error = bind(acceptor, {asio::ip::address_v6::any(), port}, false);
  // A kernel without IPv6.
  if (error != asio::error::address_family_not_supported) return error;
  return bind(acceptor, {asio::ip::address_v4::any(), port}, false);
}

std::string to_text(const Response& response, bool with_body) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n", response.status,
                                reason_phrase(response.status), response.content_type, response.body.size());
  for (const auto& [name, value] : response.headers) out += fmt::format("{}: {}\r\n", name, value);
  out += "Cache-Control: no-store\r\nConnection: close\r\n\r\n";
  if (with_body) out += response.body;
  return out;
}

}  // namespace

struct HealthServer::State : std::enable_shared_from_this<State> {
  State(asio::io_context& context, std::function<RouterHealth()> asked)
      : io(context), router(std::move(asked)), retry(context) {}

  void open_missing();
  void stop();
  [[nodiscard]] config::Warning problem(const Place& place, const error_code& error) const;
  static Awaitable<void> accept_loop(std::shared_ptr<State> self, std::shared_ptr<Acceptor> acceptor, uint16_t port);
  static Awaitable<void> serve(std::shared_ptr<State> self, asio::ip::tcp::socket socket, uint16_t port);

  asio::io_context& io;
  std::function<RouterHealth()> router;
  asio::steady_timer retry;
  HealthPlan plan;
  std::set<Place> wanted;
  std::map<Place, std::shared_ptr<Acceptor>> listeners;
  std::vector<config::Warning> problems;
  size_t connections = 0;
  bool stopped = false;
};

config::Warning HealthServer::State::problem(const Place& place, const error_code& error) const {
  config::Warning warning;
  warning.message = fmt::format("cannot listen on {}: {}", text(place), error.message());
  if (error == asio::error::address_in_use) warning.message += "; another program listens there";
  if (error == boost::system::errc::address_not_available) warning.message += "; the machine's kernel has no such one";
  if (const auto service = plan.services.find(place.second); service != plan.services.end()) {
    warning.kind = "Service";
    warning.name = service->second.service.text();
    warning.path = "spec.healthCheckNodePort";
  } else {
    warning.kind = "GatewayConfiguration";
    warning.path = "spec.proxy.healthzPort";
  }
  return warning;
}

void HealthServer::State::open_missing() {
  problems.clear();
  for (const Place& place : wanted) {
    if (listeners.contains(place)) continue;
    auto acceptor = std::make_shared<Acceptor>(io);
    if (const error_code error = listen(*acceptor, place)) {
      problems.push_back(problem(place, error));
      continue;
    }
    listeners.emplace(place, acceptor);
    asio::co_spawn(io, accept_loop(shared_from_this(), std::move(acceptor), place.second), asio::detached);
  }
  retry.cancel();
  if (problems.empty()) return;
  retry.expires_after(retry_time);
  retry.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (!error && self && !self->stopped) self->open_missing();
  });
}

void HealthServer::State::stop() {
  stopped = true;
  retry.cancel();
  error_code ignored;
  for (const auto& [place, acceptor] : listeners) acceptor->close(ignored);
  listeners.clear();
}

Awaitable<void> HealthServer::State::accept_loop(std::shared_ptr<State> self, std::shared_ptr<Acceptor> acceptor,
                                                 uint16_t port) {
  asio::steady_timer pause(self->io);
  while (acceptor->is_open()) {
    error_code error;
    auto socket = co_await acceptor->async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (!error && acceptor->is_open()) {
      if (self->connections < max_connections) {
        ++self->connections;
        asio::co_spawn(self->io, serve(self, std::move(socket), port),
                       [self](const std::exception_ptr&) { --self->connections; });
      }
    } else if (acceptor->is_open()) {
      pause.expires_after(accept_pause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
}

Awaitable<void> HealthServer::State::serve(std::shared_ptr<State> self, asio::ip::tcp::socket socket, uint16_t port) {
  boost::beast::tcp_stream stream(std::move(socket));
  stream.expires_after(request_time);
  boost::beast::flat_buffer buffer(header_limit);
  http::request_parser<http::empty_body> parser;
  parser.header_limit(header_limit);
  error_code error;
  (void)co_await http::async_read_header(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error || self->stopped) co_return;
  const std::string method(parser.get().method_string());
  const std::string target(parser.get().target());
  const Response response =
      health_answer(self->plan, port, method, target, self->router(), std::chrono::system_clock::now());
  const std::string answer = to_text(response, method != "HEAD");
  (void)co_await asio::async_write(stream, asio::buffer(answer), asio::redirect_error(asio::use_awaitable, error));
  if (!error) stream.socket().shutdown(asio::socket_base::shutdown_send, error);
}

HealthServer::HealthServer(asio::io_context& io, std::function<RouterHealth()> router)
    : state_(std::make_shared<State>(io, std::move(router))) {}

HealthServer::~HealthServer() { state_->stop(); }

const HealthPlan& HealthServer::plan() const { return state_->plan; }

void HealthServer::update(HealthPlan plan) {
  State& state = *state_;
  state.plan = std::move(plan);
  std::set<uint16_t> ports;
  for (const auto& [port, service] : state.plan.services) ports.insert(port);
  if (state.plan.healthz_port != 0) ports.insert(state.plan.healthz_port);
  state.wanted.clear();
  for (const uint16_t port : ports) {
    if (state.plan.addresses.empty()) state.wanted.emplace(std::nullopt, port);
    for (const net::IpAddr& address : state.plan.addresses) state.wanted.emplace(address, port);
  }
  std::erase_if(state.listeners, [&](const auto& listener) {
    if (state.wanted.contains(listener.first)) return false;
    error_code ignored;
    listener.second->close(ignored);
    return true;
  });
  state.open_missing();
}

std::vector<config::Warning> HealthServer::problems() const {
  std::vector<config::Warning> out = state_->plan.warnings;
  out.insert(out.end(), state_->problems.begin(), state_->problems.end());
  return out;
}

}  // namespace sluice::control
