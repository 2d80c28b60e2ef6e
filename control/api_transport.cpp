#include "control/api_transport.h"

#include <algorithm>
#include <array>
#include <utility>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::control {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr size_t drain_size = 64 << 10;   // bytes
constexpr size_t record_size = 16 << 10;  // bytes; the largest of TLS (RFC 8446 section 5.1)
constexpr auto cancel_again = std::chrono::milliseconds(50);

}  // namespace

Transport::Transport(Socket socket, TlsContext tls)
    : socket_(std::move(socket)), context_(std::move(tls)), timer_(socket_.get_executor()) {
  if (context_ != nullptr) tls_.emplace(socket_, *context_);
}

std::optional<Subject> Transport::subject() { return tls_ ? peer_subject(tls_->native_handle()) : std::nullopt; }

void Transport::arm(Clock::time_point deadline) {
  timed_out_ = false;
  timer_.expires_at(deadline);
  await_deadline();
}

void Transport::await_deadline() {
  timer_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (error || !self || self->timer_.expiry() > Clock::now()) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
    self->timer_.expires_after(cancel_again);
    self->await_deadline();
  });
}

Transport::Received Transport::outcome(const error_code& error) {
  timer_.cancel();
  if (!error) return Received::Data;
  return timed_out_ && !abandoned_ ? Received::TimedOut : Received::Gone;
}

Awaitable<Transport::Received> Transport::handshake(Clock::time_point deadline) {
  if (abandoned_) co_return Received::Gone;
  arm(deadline);
  error_code error;
  co_await tls_->async_handshake(asio::ssl::stream_base::server, asio::redirect_error(asio::use_awaitable, error));
  co_return outcome(error);
}

Awaitable<Transport::Received> Transport::receive(boost::beast::flat_buffer& buffer, size_t size,
                                                  Clock::time_point deadline) {
  if (abandoned_) co_return Received::Gone;
  if (deadline <= Clock::now()) co_return Received::TimedOut;
  arm(deadline);
  error_code error;
  const auto space = buffer.prepare(size);
  size_t got = 0;
  if (tls_) {
    got = co_await tls_->async_read_some(space, asio::redirect_error(asio::use_awaitable, error));
  } else {
    got = co_await socket_.async_read_some(space, asio::redirect_error(asio::use_awaitable, error));
  }
  buffer.commit(got);
  co_return outcome(error);
}

Awaitable<bool> Transport::send(std::string head, std::string body, std::chrono::milliseconds patience) {
  if (tls_ && head.size() + body.size() <= record_size) head += std::exchange(body, {});
  size_t sent = 0;
  while (sent < head.size() + body.size()) {
    const size_t of_head = std::min(sent, head.size());
    const std::array<asio::const_buffer, 2> rest{asio::buffer(head) + of_head, asio::buffer(body) + (sent - of_head)};
    arm(Clock::now() + patience);
    error_code error;
    if (tls_) {
      // A record has what one buffer has.
      const asio::const_buffer& next = rest[0].size() > 0 ? rest[0] : rest[1];
      sent += co_await tls_->async_write_some(next, asio::redirect_error(asio::use_awaitable, error));
    } else {
      sent += co_await socket_.async_write_some(rest, asio::redirect_error(asio::use_awaitable, error));
    }
    if (outcome(error) != Received::Data) co_return false;
  }
  co_return true;
}

Awaitable<void> Transport::drain(Clock::time_point deadline) {
  std::string nowhere(drain_size, '\0');
  Received received = Received::Data;
  while (received == Received::Data && deadline > Clock::now() && !abandoned_) {
    arm(deadline);
    error_code error;
    co_await socket_.async_read_some(asio::buffer(nowhere), asio::redirect_error(asio::use_awaitable, error));
    received = outcome(error);
  }
}

Awaitable<void> Transport::finish(bool drain, Clock::time_point deadline) {
  error_code error;
  if (tls_) {
    // close_notify, and the client's own if there is time to wait for it (RFC 8446 section 6.1).
    arm(drain ? deadline : Clock::now());
    co_await tls_->async_shutdown(asio::redirect_error(asio::use_awaitable, error));
    (void)outcome(error);
  }
  socket_.shutdown(Socket::shutdown_send, error);
  if (drain) co_await this->drain(deadline);
}

void Transport::abandon() {
  abandoned_ = true;
  arm(Clock::now());
}

void Transport::close() {
  error_code ignored;
  timer_.cancel();
  socket_.close(ignored);
}

}  // namespace sluice::control
