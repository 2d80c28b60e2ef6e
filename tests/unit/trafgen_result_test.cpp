// What counts as wrong, wherever in a run it happened.
#include <functional>

#include "tests/unit/trafgen_frames.h"
#include "tools/trafgen/fault.h"
#include "tools/trafgen/result.h"
#include "tools/trafgen/run.h"
#include "tools/trafgen/test_addresses.h"

namespace sluice::trafgen {
namespace {

// Warm-up, a search's flood and two trials, each of a stream with answers and a port.
RunResult clean_run() {
  TrialResult trial;
  trial.streams.resize(1);
  trial.streams[0].answers.emplace();
  trial.ports.resize(1);
  RunResult run;
  run.warmup = trial;
  run.flood = trial;
  run.trials = {trial, trial};
  run.shown = 1;
  return run;
}

TEST(TrafgenResult, ASingleWrongPacketAnywhereIsTold) {
  EXPECT_TRUE(is_clean(clean_run()));
  const std::vector<std::function<TrialResult&(RunResult&)>> parts{
      [](RunResult& run) -> TrialResult& { return *run.warmup; },
      [](RunResult& run) -> TrialResult& { return *run.flood; },
      [](RunResult& run) -> TrialResult& { return run.trials[0]; },
      [](RunResult& run) -> TrialResult& { return run.trials[1]; }};
  const std::vector<std::function<uint64_t&(TrialResult&)>> faults{
      [](TrialResult& trial) -> uint64_t& { return trial.streams[0].forward.corrupted; },
      [](TrialResult& trial) -> uint64_t& { return trial.streams[0].forward.misrouted; },
      [](TrialResult& trial) -> uint64_t& { return trial.streams[0].forward.duplicated; },
      [](TrialResult& trial) -> uint64_t& { return trial.streams[0].answers->corrupted; },
      [](TrialResult& trial) -> uint64_t& { return trial.streams[0].answers->misrouted; },
      [](TrialResult& trial) -> uint64_t& { return trial.streams[0].answers->duplicated; },
      [](TrialResult& trial) -> uint64_t& { return trial.ports[0].unreadable; },
      [](TrialResult& trial) -> uint64_t& { return trial.ports[0].damaged; }};
  for (size_t part = 0; part < parts.size(); ++part) {
    for (size_t fault = 0; fault < faults.size(); ++fault) {
      RunResult run = clean_run();
      faults[fault](parts[part](run)) = 1;
      EXPECT_FALSE(is_clean(run)) << "part " << part << ", fault " << fault;
      EXPECT_EQ(run.wrong().sum(), 1);
    }
  }
}

TEST(TrafgenResult, LossAndOtherPeoplesPacketsAreNotWrong) {
  RunResult run = clean_run();
  run.trials[0].streams[0].forward.lost = 5;
  run.trials[0].streams[0].forward.reordered = 5;
  run.trials[0].ports[0].foreign = 5;
  EXPECT_TRUE(is_clean(run));
}

StreamProfile service(Protocol protocol) {
  StreamProfile stream;
  stream.protocol = protocol;
  stream.flows = flow_spec("10.0.0.1-10.0.0.9", "10.96.0.1", "1000", "80", 1);
  stream.expect.dst = {*parse_addr_range("10.244.0.1-10.244.0.4")};
  return stream;
}

// A packet from one address to another, as it may lie on the link.
bool known(const TestAddresses& addresses, const char* src, const char* dst, Protocol protocol,
           const std::function<void(const FrameView&)>& change = nullptr) {
  const Frames frames(flow_spec(src, dst, "1", "2", 1), {.protocol = protocol});
  std::vector<uint8_t> bytes = frames.build(0, 0);
  if (change) change(frames.view(bytes));
  return addresses.known(frames.view(bytes));
}

TEST(TrafgenTestAddresses, HoldWhatStreamsSendAndWhatRoutersMakeOfIt) {
  TestAddresses addresses;
  addresses.add(service(Protocol::Udp));
  EXPECT_TRUE(known(addresses, "10.0.0.5", "10.96.0.1", Protocol::Udp)) << "as sent";
  EXPECT_TRUE(known(addresses, "10.0.0.5", "10.244.0.4", Protocol::Udp)) << "as translated";
  EXPECT_TRUE(known(addresses, "10.244.0.4", "10.0.0.5", Protocol::Udp)) << "its answer";
  EXPECT_TRUE(known(addresses, "172.16.0.1", "10.244.0.4", Protocol::Udp)) << "one end is enough";
  EXPECT_FALSE(known(addresses, "172.16.0.1", "172.16.0.2", Protocol::Udp)) << "somebody else's";
  EXPECT_FALSE(known(addresses, "10.0.0.5", "10.96.0.1", Protocol::Tcp)) << "no stream of TCP";
  EXPECT_FALSE(known(addresses, "10.0.0.5", "10.96.0.1", Protocol::Icmp)) << "no stream of ICMP";
}

TEST(TrafgenTestAddresses, LeaveOutWhatRoutersTell) {
  TestAddresses addresses;
  addresses.add(service(Protocol::Tcp));
  addresses.add(service(Protocol::Icmp));
  EXPECT_TRUE(known(addresses, "10.0.0.5", "10.96.0.1", Protocol::Tcp));
  EXPECT_FALSE(known(addresses, "10.0.0.5", "10.96.0.1", Protocol::Tcp,
                     [](const FrameView& view) { view.data[view.l4 + 13] = net::tcp_flag::rst; }));
  EXPECT_TRUE(known(addresses, "10.0.0.5", "10.96.0.1", Protocol::Icmp));
  EXPECT_FALSE(
      known(addresses, "10.0.0.5", "10.96.0.1", Protocol::Icmp, [](const FrameView& view) { view.data[view.l4] = 3; }));
}

TEST(TrafgenTestAddresses, AnyAddressMayBeOneOfAFile) {
  StreamProfile stream = service(Protocol::Udp);
  stream.flows.file = "tuples.csv";
  TestAddresses addresses;
  addresses.add(stream);
  EXPECT_TRUE(known(addresses, "172.16.0.1", "172.16.0.2", Protocol::Udp));
  EXPECT_FALSE(known(addresses, "172.16.0.1", "172.16.0.2", Protocol::Tcp));
}

}  // namespace
}  // namespace sluice::trafgen
