// One connection to a pod's memif socket. Lives while the pod does, or until it says something wrong.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "control/memif_messages.h"
#include "control/memif_server.h"

namespace sluice::control {

class MemifSession : public std::enable_shared_from_this<MemifSession> {
 public:
  // Takes the descriptor, a connected socket that does not block.
  MemifSession(MemifServer& server, int descriptor);

  // Says hello. The session ends by itself.
  void start();
  // Nothing reaches the server any more.
  void close();

 private:
  // A message and the descriptor that came with it, which is closed with it.
  struct Received;

  void wait();
  void read_all();
  // Error: what is told to the pod before the session ends.
  [[nodiscard]] net::Status<> handle(const Received& received);
  [[nodiscard]] net::Status<> on_init(const memif_message::Init& init);
  [[nodiscard]] net::Status<> on_region(const memif_message::AddRegion& region, int descriptor);
  [[nodiscard]] net::Status<> on_ring(const memif_message::AddRing& ring);
  [[nodiscard]] net::Status<> on_connect();
  // False: the pod does not take it.
  bool send(const memif_message::Message& message);
  bool send(memif_message::Type type);
  void refuse(const std::string& why);
  void end();

  MemifServer* server_;  // nullptr once closed
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer patience_;
  bool initialised_ = false;
  bool connected_ = false;
  uint16_t regions_ = 0;
  std::shared_ptr<dataplane::MemifLink> link_ = std::make_shared<dataplane::MemifLink>();
  std::vector<dataplane::memif::RingPlace> receive_, transmit_;
};

}  // namespace sluice::control
