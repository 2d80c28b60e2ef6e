// Everything a run is made of: open ports, streams with their senders and checkers, packet buffers. Built by the
// control thread; each port and stream belongs to one packet thread from then on (docs/trafgen.md, --lcores).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/result.h"
#include "dataplane/port.h"
#include "tools/trafgen/checker.h"
#include "tools/trafgen/connections.h"
#include "tools/trafgen/fault.h"
#include "tools/trafgen/profile.h"
#include "tools/trafgen/replay.h"
#include "tools/trafgen/responder.h"
#include "tools/trafgen/sender.h"
#include "tools/trafgen/test_addresses.h"
#include "tools/trafgen/transmit_buffer.h"

namespace sluice::trafgen {

struct PortCounters {
  Counter received, received_bytes;
  Counter foreign;  // not of a stream, and nobody wanted them
  Counter damaged;  // of the foreign ones: a stream's addresses, and no signature that can be read
  Counter reflected;
  Counter unreadable;  // lengths that contradict each other
  Counter bursts, full_bursts;
  void clear();
};

struct TestPort {
  const PortProfile* profile = nullptr;
  uint16_t number = 0;  // in the profile
  uint32_t worker = 0;
  std::unique_ptr<dataplane::Port> device;
  std::unique_ptr<Responder> responder;
  std::unique_ptr<TransmitBuffer> out;
  FaultPlan faults;
  rte_mbuf* late = nullptr;  // kept back to be sent after others
  PortCounters counters;
  uint64_t end_received = 0, end_received_bytes = 0;  // when sending ended

  ~TestPort() { rte_pktmbuf_free(late); }
};

// Counts when sending ended, for rates; what was still on its way then is in the counters, for the checks.
struct EndCounts {
  uint64_t sent = 0, sent_bytes = 0, received = 0, received_bytes = 0, answered = 0, answered_bytes = 0, completed = 0;
};

struct TestStream {
  const StreamProfile* profile = nullptr;
  uint32_t number = 0;
  uint32_t send_worker = 0, receive_worker = 0;
  uint64_t receive_ports = 0;  // bit per port
  std::optional<Replay> replay;
  FlowSpace flows;
  std::unique_ptr<ConnectionClient> connections;
  std::unique_ptr<Checker> forward, answers;
  std::unique_ptr<Sender> sender;
  Counter answers_sent;
  EndCounts end;
};

struct TestbedOptions {
  unsigned workers = 1;
  uint32_t mbufs = 16384;
  unsigned burst = 32;
  Fault fault = Fault::None;
  uint64_t fault_every = 1000;
  double wait_link = 0;                     // seconds in which a memif client's server may come
  const std::atomic<bool>* stop = nullptr;  // becomes true when there is nothing to wait for any more
};

class Testbed {
 public:
  // `profile` outlives it. The error is one sentence that says what to do.
  static net::Result<std::unique_ptr<Testbed>> build(const Profile& profile, const TestbedOptions& options);
  ~Testbed();
  Testbed(const Testbed&) = delete;
  Testbed& operator=(const Testbed&) = delete;

  [[nodiscard]] uint32_t key() const { return key_; }
  [[nodiscard]] const TestbedOptions& options() const { return options_; }
  [[nodiscard]] rte_mempool* pool() const { return pool_; }
  [[nodiscard]] const TestAddresses& addresses() const { return addresses_; }
  std::vector<std::unique_ptr<TestPort>> ports;
  std::vector<std::unique_ptr<TestStream>> streams;

  // Puts the streams' Ethernet addresses in place, once gateways are known. Nothing is being sent.
  void set_macs();

 private:
  Testbed() = default;
  net::Status<> open_port(const PortProfile& profile);
  net::Status<> build_stream(const StreamProfile& profile);

  TestbedOptions options_;
  uint32_t key_ = 0;
  rte_mempool* pool_ = nullptr;
  TestAddresses addresses_;
};

}  // namespace sluice::trafgen
