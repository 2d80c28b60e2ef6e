// The connections of one kind, and what bounds them all together.
//
// With as many connections open as the pool, or one peer in it, may have, a further one takes the place of the one that
// has been waiting for longest (of the same peer, if it is the peer's limit), so that idle connections lock nobody out;
// if none is waiting it gets a 503. What comes over TCP has a pool of its own: whatever happens there, the UNIX socket
// has its places and its memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "control/api_credentials.h"
#include "control/api_transport.h"
#include "control/router.h"

namespace sluice::control {

// Of one connection.
struct ApiLimits {
  size_t header_limit = 16 << 10;   // bytes
  uint64_t body_limit = 128 << 20;  // bytes of one body, expanded
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_idle_timeout{30'000};
  std::chrono::milliseconds body_timeout{120'000};
  std::chrono::milliseconds idle_timeout{60'000};
  std::chrono::milliseconds write_timeout{30'000};
  std::chrono::milliseconds stream_heartbeat{5'000};  // of an answer without end, while there is nothing to say
  std::chrono::milliseconds linger_timeout{2'000};    // for the client to see the last answer
};

// Of all connections of one kind.
struct PoolLimits {
  size_t connections = 256;
  size_t per_peer = 256;  // connections of one address (of IPv6: /64)
  size_t streams = 64;    // answers without end
  uint64_t memory = 0;    // bytes of all bodies and answers at one time
  // With TLS: what would begin more in a second, and more than this at once, is closed; a handshake is the dearest
  // thing that somebody unknown can ask for.
  size_t handshakes = 200;
};

class Connection;

class ConnectionPool : public std::enable_shared_from_this<ConnectionPool> {
 public:
  // `router` outlives the pool. `credentials` may change between requests; nullptr: whoever is connected may do
  // everything.
  ConnectionPool(Router& router, std::shared_ptr<const Credentials> credentials, const ApiLimits& limits,
                 const PoolLimits& pool_limits)
      : router_(router), credentials_(std::move(credentials)), limits_(limits), pool_limits_(pool_limits) {}

  // Serves it, or tells it that there are too many. `peer`: whose it is, for per_peer.
  void admit(Transport::Socket socket, const std::string& peer);
  // Requests that run get their answer; no other begins. `emptied` is called when the last connection has gone, at
  // once if there is none; it may be called more than once.
  void stop(std::function<void()> emptied);
  void close_all();
  // Who waits with a certificate has to show it again: what it was verified by has changed.
  void credentials_changed();
  [[nodiscard]] size_t size() const { return open_.size() - evicted_; }  // without those that were told to go
  [[nodiscard]] bool empty() const { return open_.empty(); }

 private:
  friend Connection;
  // Makes room for one more of this peer; false: there is none.
  [[nodiscard]] bool make_room(const std::string& peer);
  [[nodiscard]] bool may_shake_hands();

  Router& router_;
  std::shared_ptr<const Credentials> credentials_;
  ApiLimits limits_;
  PoolLimits pool_limits_;
  std::list<Connection*> open_;
  std::list<Connection*> waiting_;          // for a head; the one that waits longest in front
  std::map<std::string, size_t> per_peer_;  // connections that were not told to go
  size_t evicted_ = 0;                      // of those open: told to go
  size_t streams_ = 0;
  uint64_t held_bytes_ = 0;  // bodies that are here, answers that are not gone
  bool stopping_ = false;
  double handshakes_ = 0;  // that may begin now
  Transport::Clock::time_point handshakes_at_{};
  std::function<void()> emptied_;
};

}  // namespace sluice::control
