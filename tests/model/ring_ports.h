// Ports made of rings: what is put into a receive ring is what a NIC with RSS would have put into that queue, and what
// is found in a transmit ring has been sent. Made once per process, kept while routers come and go.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

namespace sluice::model_test {

class RingPorts {
 public:
  static constexpr uint16_t queues = 4;  // as many workers as there may be

  // The devices net_ring_NAME, in this order. After the EAL; throws std::runtime_error.
  explicit RingPorts(const std::vector<std::string>& names);

  [[nodiscard]] size_t size() const { return ports_.size(); }
  // Into the queue of port number `port` that RSS over `used` queues gives the frame. False: there is no room.
  [[nodiscard]] bool receive(size_t port, std::span<const uint8_t> frame, rte_mempool* pool, uint16_t used);
  // Everything that was sent since the last call, by port and queue; frees the buffers.
  void collect(const std::function<void(size_t port, std::span<const uint8_t> frame)>& take);

 private:
  struct Port {
    std::array<rte_ring*, queues> receive{};
    std::array<rte_ring*, queues> transmit{};
  };
  std::vector<Port> ports_;
  std::vector<uint8_t> copy_;  // of a frame in several buffers
};

}  // namespace sluice::model_test
