// The whole data plane in one thread: a Dataplane with one or two workers that the test turns itself, configured from
// JSON text by the same steps as the controller, with ports made of rings. Frames go into a port's receive ring as a
// NIC with RSS would put them: the queue is chosen by a hash of addresses and ports that is not symmetric.
//
// The rig owns its Dataplane; names of DPDK's tables are global, so one rig at a time. When it ends, every packet
// buffer must be back in the pool.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "config/object_set.h"
#include "control/deployment.h"
#include "control/service_compiler.h"
#include "dataplane/dataplane.h"
#include "tests/packet/frames.h"

namespace sluice::packet_test {

// Of programs that are not GoogleTest's, once, before the first Rig.
void start_environment();

struct RigOptions {
  uint16_t workers = 1;
  uint32_t connections = 8192;
  uint32_t late_buffers = 256;
};

class Rig {
 public:
  // Ports "a", "b" and "c" are the devices net_ring_a, net_ring_b and net_ring_c with MAC 02:00:00:00:00:0a (…0b, …0c).
  explicit Rig(const RigOptions& options = {});
  ~Rig();
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  // Replaces the configuration. What the router sends on its own account meanwhile is in announcements().
  void load(const std::string& document);
  // An error of parsing, validation or deployment; empty if it was applied.
  [[nodiscard]] std::string try_load(const std::string& document);
  // The same by deploy_delta(), from the document that was loaded last; what went wrong.
  [[nodiscard]] std::string try_change(const std::string& document);
  // Routes of the host's kernel. What could not be installed, as one sentence; empty if all were.
  std::string change_host_routes(const std::vector<control::HostRouteChange>& changes);
  // Load balancer addresses that the workers answer for from now on.
  void publish(std::vector<dataplane::Announcement> announcements);
  // Worker 0 tells them to everybody; what came out, as from send().
  std::string announce(std::vector<dataplane::Announcement> announcements);
  // Endpoints that are drained from the next configuration on.
  [[nodiscard]] control::DrainList& drains() { return drains_; }
  // Called in the middle of every later change of routes: workers know the new topology, routes are the old ones.
  void between(std::function<void()> call) { between_ = std::move(call); }

  // Puts IP packets in Ethernet frames for the port, runs the workers until nothing moves and returns the texts of
  // all frames that came out, sorted, joined with "\n"; out() has them whole.
  std::string send(const std::string& port, const Ip& packet) { return send(port, packet.bytes()); }
  std::string send(const std::string& port, const Bytes& l3, uint16_t vlan = 0);
  std::string send_burst(const std::string& port, const std::vector<Bytes>& packets);
  // The frame in several buffers, which end before these of its bytes (the Ethernet header counts).
  std::string send_cut(const std::string& port, const Bytes& l3, const std::vector<size_t>& cuts);
  std::string send_frame(const std::string& port, const Bytes& frame);
  std::string send_frames(const std::string& port, const std::vector<Bytes>& frames);
  std::string run();
  // Puts an IP packet in an Ethernet frame for the port; nobody runs yet.
  void place(const std::string& port, const Bytes& l3);
  // What the port's driver says of the frames that come now: RTE_MBUF_F_RX_... flags.
  void set_receive_flags(uint64_t flags) { receive_flags_ = flags; }
  // Moves the clock, then runs; long times in steps, as timers are many small turns.
  std::string advance(nat::Millis milliseconds);

  [[nodiscard]] const std::vector<View>& out() const { return out_; }
  // The only frame that came out last; a failure if there is not just one.
  [[nodiscard]] const View& only() const;
  [[nodiscard]] const std::string& announcements() const { return announcements_; }
  // "ttl_exceeded 1, no_route 2": what was dropped since the last call.
  [[nodiscard]] std::string drops();
  [[nodiscard]] uint64_t count(dataplane::Event event) const;  // over all workers, since the start
  [[nodiscard]] uint64_t flows() const;                        // live, both families
  [[nodiscard]] dataplane::Dataplane& plane() { return *plane_; }
  [[nodiscard]] const dataplane::Snapshot& snapshot() const { return *deployment_->snapshot(); }
  [[nodiscard]] const control::Plan& plan() const { return deployment_->plan(); }
  [[nodiscard]] const control::ServiceCompiler& services() const { return services_; }
  [[nodiscard]] const control::ContentLibrary& content() const { return content_; }

 private:
  [[nodiscard]] rte_mbuf* make_frame(const Bytes& frame, const std::vector<size_t>& cuts);
  void inject(const std::string& port, const Bytes& frame, const std::vector<size_t>& cuts = {});
  bool turn();
  void collect();
  [[nodiscard]] bool wait_for(uint64_t token);

  RigOptions options_;
  std::unique_ptr<dataplane::Dataplane> plane_;
  control::ContentLibrary content_;
  control::ServiceCompiler services_;
  control::DrainList drains_;
  std::unique_ptr<control::Deployment> deployment_;
  std::function<void()> between_;
  std::string document_;  // that serves
  uint64_t receive_flags_ = 0;
  std::vector<View> out_;
  std::string announcements_;
  std::array<uint64_t, net::drop_reason_count> seen_drops_{};
};

[[nodiscard]] net::MacAddr mac(uint8_t last);  // 02:00:00:00:00:last

// "*" in the pattern stands for any text.
[[nodiscard]] testing::AssertionResult like(const std::string& text, const std::string& pattern);

// Every case with one worker and with two.
class RigTest : public testing::TestWithParam<uint16_t> {
 protected:
  void SetUp() override { start({}); }
  void start(RigOptions options) {
    rig_.reset();
    options.workers = GetParam();
    rig_ = std::make_unique<Rig>(options);
  }
  [[nodiscard]] Rig& rig() { return *rig_; }

 private:
  std::unique_ptr<Rig> rig_;
};

#define SLUICE_WITH_WORKERS(suite)                                                    \
  INSTANTIATE_TEST_SUITE_P(Workers, suite, testing::Values(uint16_t{1}, uint16_t{2}), \
                           [](const auto& info) { return std::to_string(info.param); })

}  // namespace sluice::packet_test
