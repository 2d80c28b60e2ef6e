// The receiving side finds planted faults, and only those.
#include <deque>

#include "tests/unit/trafgen_frames.h"
#include "tools/trafgen/fault.h"

namespace sluice::trafgen {
namespace {

Frames udp(uint16_t size = 64) {
  return Frames(flow_spec("10.0.0.0/24", "10.96.0.1+4", "1000-1999", "80", 1000), {.size = size});
}

struct Found {
  uint64_t received, distinct, duplicated, reordered, corrupted, misrouted;
  friend bool operator==(const Found&, const Found&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Found& f) {
    return out << f.received << " received, " << f.distinct << " distinct, " << f.duplicated << " duplicated, "
               << f.reordered << " reordered, " << f.corrupted << " corrupted, " << f.misrouted << " misrouted";
  }
};
Found found(const Checker& checker) {
  const CheckCounters& c = checker.counters();
  return {c.received.get(),  c.distinct.get(),  c.duplicated.get(),
          c.reordered.get(), c.corrupted.get(), c.misrouted.get()};
}
uint64_t by(const Checker& checker, Corruption what) {
  return checker.counters().corrupted_by[static_cast<size_t>(what)].get();
}
uint64_t by(const Checker& checker, Misroute what) {
  return checker.counters().misrouted_by[static_cast<size_t>(what)].get();
}

TEST(TrafgenChecker, FindsNothingWhereNothingIsWrong) {
  const Frames frames = udp();
  Checker checker = frames.checker();
  for (uint32_t sequence = 0; sequence < 50; ++sequence) {
    for (uint32_t flow = 0; flow < 100; ++flow) EXPECT_TRUE(frames.pass(checker, flow, sequence));
  }
  EXPECT_EQ(found(checker), (Found{5000, 5000, 0, 0, 0, 0}));
}

TEST(TrafgenChecker, CountsWhatIsLostAsNotDistinct) {
  const Frames frames = udp();
  Checker checker = frames.checker();
  for (uint32_t sequence = 0; sequence < 100; ++sequence) {
    if (sequence % 10 != 3) frames.pass(checker, 5, sequence);
  }
  EXPECT_EQ(found(checker), (Found{90, 90, 0, 0, 0, 0}));
}

TEST(TrafgenChecker, TellsDuplicatesFromReordered) {
  const Frames frames = udp();
  Checker checker = frames.checker();
  for (const uint32_t sequence : {0, 1, 3, 2, 4, 4, 2, 9, 5, 7}) frames.pass(checker, 5, sequence);
  EXPECT_EQ(found(checker), (Found{10, 8, 2, 3, 0, 0}));
}

TEST(TrafgenChecker, FlowsDoNotDisturbEachOther) {
  const Frames frames = udp();
  Checker checker = frames.checker();
  for (const uint32_t sequence : {0, 1, 2}) {
    frames.pass(checker, 1, sequence);
    frames.pass(checker, 999, 2 - sequence);
  }
  EXPECT_EQ(found(checker), (Found{6, 6, 0, 2, 0, 0}));
}

TEST(TrafgenChecker, FindsWrongChecksums) {
  const Frames frames = udp();
  Checker checker = frames.checker();
  EXPECT_FALSE(frames.pass(checker, 1, 0, [](const FrameView& v) { spoil(v, Fault::WrongChecksum); }));
  EXPECT_FALSE(frames.pass(checker, 1, 1, [](const FrameView& v) { v.data[v.l3 + 10] ^= 1; }));
  EXPECT_FALSE(frames.pass(checker, 1, 2, [](const FrameView& v) {
    net::store<uint16_t>(v.data + v.checksum_offset(), 0);  // turned off
  }));
  // A router that lowers the TTL and forgets the header checksum.
  EXPECT_FALSE(frames.pass(checker, 1, 3, [](const FrameView& v) { --v.data[v.l3 + 8]; }));
  EXPECT_EQ(found(checker), (Found{4, 4, 0, 0, 4, 0}));
  EXPECT_EQ(by(checker, Corruption::L4Checksum), 2);
  EXPECT_EQ(by(checker, Corruption::IpChecksum), 2);
}

TEST(TrafgenChecker, FindsEveryChangedBitOfThePayload) {
  for (const uint16_t size : {64, 65, 594}) {
    const Frames frames = udp(size);
    Checker checker = frames.checker();
    uint64_t changed = 0;
    for (uint16_t at = signature_length; at < frames.frame().payload_length(); ++at) {
      EXPECT_FALSE(frames.pass(checker, 1, at, [at](const FrameView& v) { v.data[v.payload + at] ^= 0x10; }));
      ++changed;
    }
    EXPECT_EQ(by(checker, Corruption::L4Checksum), changed);
  }
}

TEST(TrafgenChecker, FindsAPayloadReplacedWithARightChecksum) {
  const Frames frames = udp(594);
  Checker checker = frames.checker();
  EXPECT_FALSE(frames.pass(checker, 1, 0, [](const FrameView& v) {
    replace_word(v, v.data + v.payload + 100, static_cast<uint16_t>(~net::load<uint16_t>(v.data + v.payload + 100)));
  }));
  EXPECT_EQ(by(checker, Corruption::Payload), 1);
}

TEST(TrafgenChecker, FindsAnotherLength) {
  const Frames frames = udp(100);
  Checker checker({frames.flows.count(), Expectation({}, &frames.flows, false), {22, 80}, false});
  EXPECT_FALSE(frames.pass(checker, 1, 0));
  EXPECT_EQ(by(checker, Corruption::Length), 1);
}

TEST(TrafgenChecker, FindsOtherAddressesPortsAndTunnels) {
  const Frames frames = udp();
  Checker checker = frames.checker();
  EXPECT_FALSE(frames.pass(checker, 1, 0, [](const FrameView& v) { spoil(v, Fault::SwapEndpoint); }));
  EXPECT_FALSE(frames.pass(checker, 1, 1, [](const FrameView& v) { rewrite_destination(v, "10.244.0.1", 80); }));
  EXPECT_FALSE(frames.pass(checker, 1, 2, [](const FrameView& v) { rewrite_destination(v, "10.96.0.2", 81); }));
  EXPECT_FALSE(frames.pass(checker, 1, 3, nullptr, false));
  EXPECT_EQ(by(checker, Misroute::Source), 1);
  EXPECT_EQ(by(checker, Misroute::Destination), 2);
  EXPECT_EQ(by(checker, Misroute::Port), 1);
  EXPECT_EQ(found(checker).misrouted, 4);
}

ExpectProfile service() {
  ExpectProfile expect;
  expect.dst = {*parse_addr_range("10.244.0.0/28")};
  expect.dst_port = {{8080, 1}};
  return expect;
}

TEST(TrafgenChecker, AcceptsAnEndpointAndHoldsTheFlowToIt) {
  const Frames frames = udp();
  Checker checker = frames.checker(service());
  const auto to = [](const char* address, uint16_t port) {
    return [=](const FrameView& v) { rewrite_destination(v, address, port); };
  };
  EXPECT_TRUE(frames.pass(checker, 1, 0, to("10.244.0.3", 8080)));
  EXPECT_TRUE(frames.pass(checker, 2, 0, to("10.244.0.4", 8080)));
  EXPECT_TRUE(frames.pass(checker, 1, 1, to("10.244.0.3", 8080)));
  EXPECT_FALSE(frames.pass(checker, 1, 2, to("10.244.0.4", 8080))) << "another endpoint of the same service";
  EXPECT_FALSE(frames.pass(checker, 1, 3, to("10.244.1.3", 8080))) << "no endpoint";
  EXPECT_FALSE(frames.pass(checker, 1, 4, to("10.244.0.3", 8081)));
  EXPECT_FALSE(frames.pass(checker, 1, 5)) << "not translated";
  EXPECT_EQ(by(checker, Misroute::Affinity), 1);
  EXPECT_EQ(by(checker, Misroute::Destination), 3);
}

TEST(TrafgenChecker, HoldsEachServiceToItsOwnEndpoints) {
  const Frames frames = udp();  // flow n goes to service n mod 4
  ExpectProfile expect = service();
  expect.per_destination = 4;
  Checker checker = frames.checker(expect);
  const auto to = [](const char* address) {
    return [=](const FrameView& v) { rewrite_destination(v, address, 8080); };
  };
  EXPECT_TRUE(frames.pass(checker, 0, 0, to("10.244.0.3")));
  EXPECT_TRUE(frames.pass(checker, 1, 0, to("10.244.0.4")));
  EXPECT_TRUE(frames.pass(checker, 7, 0, to("10.244.0.15")));
  EXPECT_FALSE(frames.pass(checker, 2, 0, to("10.244.0.4")));
  EXPECT_EQ(by(checker, Misroute::Destination), 1);
}

TEST(TrafgenChecker, FindsWrongTunnels) {
  TunnelProfile tunnel{.kind = TunnelKind::Vxlan,
                       .src = *parse_addr_range("172.16.0.1"),
                       .dst = *parse_addr_range("172.16.0.2"),
                       .vni = 7};
  const Frames frames(flow_spec("10.0.0.1", "10.0.1.1", "1000", "80", 1), {.tunnel = tunnel});
  const auto result = [&](TunnelExpectation expected) {
    ExpectProfile expect;
    expect.tunnel = expected;
    Checker checker = frames.checker(expect);
    return frames.pass(checker, 0, 0);
  };
  EXPECT_TRUE(result({.kind = TunnelKind::Vxlan}));
  EXPECT_TRUE(result({.any = true}));
  EXPECT_TRUE(result({.kind = TunnelKind::Vxlan, .dst = *parse_addr_range("172.16.0.2"), .vni = 7}));
  EXPECT_FALSE(result({}));
  EXPECT_FALSE(result({.kind = TunnelKind::Ipip}));
  EXPECT_FALSE(result({.kind = TunnelKind::Vxlan, .vni = 8}));
  EXPECT_FALSE(result({.kind = TunnelKind::Vxlan, .src = *parse_addr_range("172.16.0.9")}));
}

TEST(TrafgenChecker, ReversedExpectsTheAnswerOfAPeer) {
  const Frames frames = udp();
  ExpectProfile expect;
  expect.reversed = true;
  Checker checker = frames.checker(expect);
  EXPECT_TRUE(frames.pass(checker, 1, 0, [](const FrameView& v) { turn_around(v); }));
  EXPECT_FALSE(frames.pass(checker, 1, 1));
}

TEST(TrafgenChecker, LatencyIsWhatTheClockSays) {
  const Frames frames = udp();
  Checker checker = frames.checker({}, true);
  for (uint32_t i = 0; i < 1000; ++i) {
    auto bytes = frames.build(i, 0, 0xffffff00);  // across the clock's end
    const FrameView view = frames.view(bytes);
    checker.check(view, Signature::read(view.data + view.payload), true, 0xffffff00 + i + 1);
  }
  EXPECT_EQ(checker.latency().count(), 1000);
  EXPECT_EQ(checker.latency().min(), 1);
  EXPECT_EQ(checker.latency().max(), 1000);
  EXPECT_NEAR(static_cast<double>(checker.latency().quantile(0.5)), 500, 5);
}

// The window against a model that remembers everything.
TEST(TrafgenSequence, AgreesWithAModelOnRandomTraffic) {
  uint64_t state = 42;
  const auto random = [&state](uint32_t below) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return static_cast<uint32_t>((state >> 33) % below);
  };
  for (const uint32_t start : {0U, 0xfffffff0U}) {
    SequenceWindow window;
    if (start != 0) {
      for (const uint32_t step : {0x70000000U, 0xe0000000U, start - 1}) window.receive(step);  // no step over 2^31
    }
    std::deque<uint32_t> recent{start - 1};
    uint32_t next = start;
    for (int i = 0; i < 20000; ++i) {
      const uint32_t ahead = random(4);
      const uint32_t back = random(20);
      const uint32_t sequence = random(2) == 0 ? next + ahead : next - 1 - back;
      const bool known = std::find(recent.begin(), recent.end(), sequence) != recent.end();
      const bool newest = static_cast<int32_t>(sequence - next) >= 0;
      if (static_cast<int32_t>(sequence - start) < 0) continue;
      EXPECT_EQ(window.has(sequence), known);
      const Arrival expected = newest ? Arrival::InOrder : known ? Arrival::Duplicate : Arrival::Reordered;
      EXPECT_EQ(window.receive(sequence), expected) << sequence;
      if (newest) next = sequence + 1;
      if (!known) recent.push_back(sequence);
      if (recent.size() > 200) recent.pop_front();
    }
  }
}

TEST(TrafgenSequence, LargeGapsForgetAllButTheNewest) {
  SequenceWindow window;
  for (uint32_t sequence = 0; sequence < 40; ++sequence) window.receive(sequence);
  EXPECT_EQ(window.receive(39 + 31), Arrival::InOrder);
  EXPECT_EQ(window.receive(39), Arrival::Duplicate) << "31 behind is still known";
  EXPECT_EQ(window.receive(39 + 31 + 32), Arrival::InOrder);
  EXPECT_EQ(window.receive(39 + 31 + 31), Arrival::Reordered);
  EXPECT_EQ(window.receive(39 + 31 + 32), Arrival::Duplicate);
}

}  // namespace
}  // namespace sluice::trafgen
