#include "control/api_pool.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>

#include "control/api_connection.h"

namespace sluice::control {

namespace asio = boost::asio;
using boost::system::error_code;

bool ConnectionPool::make_room(const std::string& peer) {
  const auto found = per_peer_.find(peer);
  const bool too_many_of_peer = found != per_peer_.end() && found->second >= pool_limits_.per_peer;
  if (!too_many_of_peer && size() < pool_limits_.connections) return true;
  const auto longest = too_many_of_peer ? std::find_if(waiting_.begin(), waiting_.end(),
                                                       [&](const Connection* one) { return one->peer() == peer; })
                                        : waiting_.begin();
  if (longest == waiting_.end()) return false;
  (*longest)->evict();
  return true;
}

// A token bucket that holds those of one second.
bool ConnectionPool::may_shake_hands() {
  const auto now = Transport::Clock::now();
  const auto most = static_cast<double>(pool_limits_.handshakes);
  handshakes_ = std::min(most, handshakes_ + std::chrono::duration<double>(now - handshakes_at_).count() * most);
  handshakes_at_ = now;
  if (handshakes_ < 1) return false;
  handshakes_ -= 1;
  return true;
}

void ConnectionPool::admit(Transport::Socket socket, const std::string& peer) {
  if (stopping_) return;
  const TlsContext tls = credentials_ == nullptr ? nullptr : credentials_->tls();
  if (tls != nullptr && !may_shake_hands()) return;
  const auto executor = socket.get_executor();
  if (!make_room(peer)) {
    if (tls != nullptr) return;  // nobody could read it
    const Response response = error_response(503, "too many connections: try again later");
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(head_of(response, false) + response.body), ignored);
    socket.shutdown(Transport::Socket::shutdown_send, ignored);
    return;
  }
  auto connection =
      std::make_shared<Connection>(shared_from_this(), std::make_shared<Transport>(std::move(socket), tls), peer);
  // What is thrown, for want of memory, ends the conversation and nothing else.
  asio::co_spawn(executor, Connection::run(std::move(connection)), [](const std::exception_ptr&) {});
}

void ConnectionPool::stop(std::function<void()> emptied) {
  stopping_ = true;
  emptied_ = std::move(emptied);
  while (!waiting_.empty()) waiting_.front()->evict();
  if (open_.empty()) emptied_();
}

void ConnectionPool::credentials_changed() {
  std::vector<Connection*> stale;
  std::copy_if(waiting_.begin(), waiting_.end(), std::back_inserter(stale),
               [](const Connection* one) { return one->has_certificate(); });
  for (Connection* connection : stale) connection->evict();
}

void ConnectionPool::close_all() {
  for (Connection* connection : open_) connection->close();
}

}  // namespace sluice::control
