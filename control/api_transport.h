// Bytes to and from one client of the API, over a socket of any kind, with TLS or without. Every wait has a deadline.
//
// One operation at a time, on the thread of the socket's executor. The objects are shared so that a deadline that comes
// while one goes away finds out.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include "control/router.h"
#include "control/tls_context.h"

namespace sluice::control {

class Transport : public std::enable_shared_from_this<Transport> {
 public:
  using Clock = std::chrono::steady_clock;
  using Socket = boost::asio::generic::stream_protocol::socket;
  enum class Received : uint8_t { Data, TimedOut, Gone };

  // `tls`: nullptr without. The handshake is the first operation then.
  Transport(Socket socket, TlsContext tls);

  [[nodiscard]] bool is_tls() const { return tls_.has_value(); }
  // What the client's certificate says, after the handshake.
  [[nodiscard]] std::optional<Subject> subject();

  // Data: it is done.
  Awaitable<Received> handshake(Clock::time_point deadline);
  // Appends at most `size` bytes to `buffer`.
  Awaitable<Received> receive(boost::beast::flat_buffer& buffer, size_t size, Clock::time_point deadline);
  // False: the client is gone, or has taken nothing for `patience`.
  Awaitable<bool> send(std::string head, std::string body, std::chrono::milliseconds patience);
  // Says that nothing more comes. With `drain` it then waits for the client's end, at most until the deadline: closing
  // a socket with unread data resets it, and the client would lose the answer.
  Awaitable<void> finish(bool drain, Clock::time_point deadline);

  // Ends what is waited for, and what would be waited for later, as Gone; what is sent still gets through.
  void abandon();
  void close();

 private:
  // Cancels what the socket waits for, again and again until outcome(): with TLS one operation is several waits, and
  // the deadline may come between two of them.
  void arm(Clock::time_point deadline);
  void await_deadline();
  [[nodiscard]] Received outcome(const boost::system::error_code& error);
  Awaitable<void> drain(Clock::time_point deadline);

  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
  TlsContext context_;  // as long as the connection
  boost::asio::steady_timer timer_;
  bool timed_out_ = false;
  bool abandoned_ = false;
};

}  // namespace sluice::control
