// Pods on the pods' sockets (dataplane/pod_socket.h), without privileges: the test writes the sockets' rings as the
// kernel would, and reads what they send from the other end of a pair of sockets.
//
//   pod 0 10.244.0.5, fd00:10:246:1::5, MAC …50 and pod 1 10.244.0.6, …::6, MAC …51 on this node
//   10.96.0.10:80, fd00:10:96::10 a service of pod 1's port 8080, 10.96.0.11 and …::11 of pod 0's
//   node1 with 10.244.34.0/26 behind VXLAN at port b
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/flow_record.h"
#include "dataplane/offload.h"
#include "dataplane/trace.h"
#include "tests/packet/rig.h"

namespace sluice::packet_test {

inline constexpr net::MacAddr gateway_mac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};

// A frame that a pod gets.
struct Got {
  dataplane::VnetHeader about;
  Bytes frame;
};

// An established connection, as each end sees it.
struct PodConnection {
  struct Side {
    int pod = 0;
    Endpoint own, other;
    uint32_t seq = 0;  // of the next byte it sends
  };
  std::array<Side, 2> sides;  // of the client, of the server
};

// One worker's socket and both of its ends.
class PodWire;

class PodRig {
 public:
  static constexpr size_t count = 2;

  explicit PodRig(uint16_t workers);
  ~PodRig();
  PodRig(const PodRig&) = delete;
  PodRig& operator=(const PodRig&) = delete;

  [[nodiscard]] Rig& rig() { return *rig_; }
  [[nodiscard]] uint16_t interface(int pod) const { return interfaces_[static_cast<size_t>(pod)]; }
  // The snapshot again with what `change` does to it, `generations` later.
  template <class Change>
  void republish(const Change& change, uint32_t generations) {
    auto next = std::make_unique<dataplane::Snapshot>(*now_);
    next->generation += generations;
    change(*next);
    now_ = next.get();
    (void)rig_->plane().publisher().publish(std::move(next));
    (void)rig_->run();
  }
  // Somebody traces something else: every frame is cut.
  void trace_something();

  void put(int pod, const Bytes& frame, const dataplane::VnetHeader& about = {});
  // Runs the workers, and what pods get then, in the order of each worker.
  std::vector<Got> run();
  // The packets that a frame stands for. What they look like is checked by view().
  std::vector<View> packets(const Got& got);
  // Of the only packet that came.
  View only(const std::vector<Got>& got);

  [[nodiscard]] static net::MacAddr mac_of(int pod) { return mac(static_cast<uint8_t>(0x50 + pod)); }
  [[nodiscard]] static Bytes frame_of(int pod, const Ip& packet) {
    return ethernet(gateway_mac, mac_of(pod), packet.bytes());
  }
  // A SYN of pod 0, the answer, an ACK. Numbers of the client begin at 101, of the server at 501.
  PodConnection connect(const Endpoint& client, const Endpoint& frontend, int server);
  // The next bytes of a side, which acknowledges all that the other one has sent.
  [[nodiscard]] static Ip data(const PodConnection& connection, size_t from, size_t size);

  std::vector<dataplane::FlowRecord> records();
  [[nodiscard]] dataplane::InterfaceCounters counters(int pod);

 private:
  void attach();

  uint16_t workers_;
  dataplane::TraceOrders orders_;
  std::vector<std::unique_ptr<PodWire>> wires_;
  std::unique_ptr<Rig> rig_;
  const dataplane::Snapshot* now_ = nullptr;
  std::array<uint16_t, count> interfaces_{};
};

// A TCP frame as the kernel leaves it: the field of its checksum holds the sum of the pseudo header. `packet_limit`:
// payload of each of its packets, bytes.
[[nodiscard]] dataplane::VnetHeader leave_unfinished(Bytes& frame, uint16_t packet_limit);

}  // namespace sluice::packet_test
