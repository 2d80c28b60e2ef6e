// Random conversations between pods, with super-frames that go on as they are (dataplane/super_frame.h) and with the
// same frames cut into packets: nobody can tell which.
#include <random>

#include <gtest/gtest.h>

#include "tests/packet/pod_rig.h"

namespace sluice::packet_test {
namespace {

using dataplane::Event;
using dataplane::FlowRecord;
using dataplane::InterfaceCounters;
using dataplane::VnetHeader;

constexpr uint8_t fin = 1, push = 8, ece = 0x40, cwr = 0x80;

// All that is left of a conversation.
struct Outcome {
  std::array<Bytes, 2> streams;  // to the server, to the client: headers that matter and bytes, as they came
  std::vector<uint64_t> counts;
  std::string drops;
  size_t frames = 0;  // that pods got

  void add(uint64_t count) { counts.push_back(count); }
};

// One random step after the other: data in one piece or in many, acknowledgements, data again, beyond the window.
class Conversation {
 public:
  Conversation(uint32_t seed, bool cut) : random_(seed), pods_(1) {
    if (cut) pods_.trace_something();
    static constexpr std::array<std::array<const char*, 2>, 6> ends{
        {{"10.244.0.5:1000", "10.244.0.6:80"},
         {"10.244.0.5:1000", "10.96.0.10:80"},
         {"10.244.0.5:1000", "10.96.0.11:80"},
         {"[fd00:10:246:1::5]:1000", "[fd00:10:246:1::6]:80"},
         {"[fd00:10:246:1::5]:1000", "[fd00:10:96::10]:80"},
         {"[fd00:10:246:1::5]:1000", "[fd00:10:96::11]:80"}}};
    const size_t which = seed % ends.size();
    connection_ = pods_.connect(ends[which][0], ends[which][1], which % 3 == 2 ? 0 : 1);
  }
  Outcome run() {
    for (int step = 0; step < 60; ++step) take_step();
    if (pick(2) == 0) one_frame(0, PodRig::data(connection_, 0, pick(3000)), fin);
    take_step();
    for (const FlowRecord& record : pods_.records()) {
      for (const uint64_t value : {uint64_t{record.packets}, uint64_t{record.reply_packets}, record.bytes,
                                   record.reply_bytes, static_cast<uint64_t>(record.tcp_state), uint64_t{record.flags}})
        out_.add(value);
    }
    for (const int pod : {0, 1}) {
      const InterfaceCounters counters = pods_.counters(pod);
      for (const uint64_t value : {counters.rx_packets, counters.rx_bytes, counters.tx_packets, counters.tx_bytes})
        out_.add(value);
    }
    for (size_t event = 0; event < dataplane::event_count; ++event)
      out_.add(pods_.rig().count(static_cast<Event>(event)));
    out_.drops = pods_.rig().drops();
    return out_;
  }

 private:
  uint32_t pick(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  void take_step() {
    const size_t from = pick(2);
    PodConnection::Side& side = connection_.sides[from];
    const uint32_t size = pick(3) == 0 ? pick(2000) : pick(40'000);
    Ip packet = PodRig::data(connection_, from, size);
    switch (pick(8)) {
      case 0:  // again, some or all of it known
        packet = packet.with_seq(side.seq - std::min(pick(80'000), side.seq - first_[from]), packet.ack);
        break;
      case 1:  // about where the window ends
        packet = packet.with_seq(side.seq + 65'535 - pick(50'000), packet.ack);
        break;
      case 2:  // an old acknowledgement
        packet.ack -= std::min(pick(200'000), packet.ack - first_[1 - from]);
        side.seq += size;
        break;
      case 3:  // of what was not sent
        packet.ack += pick(3);
        break;
      default:
        side.seq += size;
    }
    uint8_t flags = pick(4) == 0 ? push : uint8_t{0};
    if (pick(8) == 0) flags |= ece;
    if (pick(8) == 0) flags |= cwr;
    one_frame(from, packet, flags);
  }
  void one_frame(size_t from, Ip packet, uint8_t flags) {
    packet.flags |= flags;
    const auto packet_limit = static_cast<uint16_t>(200 + pick(1249));
    Bytes frame = PodRig::frame_of(connection_.sides[from].pod, packet);
    VnetHeader about;
    if (packet.payload.size() > 1448 || pick(2) == 0) about = leave_unfinished(frame, packet_limit);
    if (about.gso_size != 0 && packet.payload.size() <= packet_limit) {
      about.gso_type = VnetHeader::no_gso;
      about.gso_size = 0;
    }
    if (about.gso_size != 0 && (packet.flags & cwr) != 0 && pick(2) == 0) about.gso_type |= VnetHeader::gso_ecn;
    pods_.put(connection_.sides[from].pod, frame, about);
    for (const Got& got : pods_.run()) {
      ++out_.frames;
      for (const View& each : pods_.packets(got)) {
        const bool to_client = each.ip.dst.text() == connection_.sides[0].own.text();
        Bytes& stream = out_.streams[to_client ? 1 : 0];
        for (const uint32_t field : {each.ip.seq, each.ip.ack, uint32_t{each.ip.flags}, uint32_t{each.ip.ttl}}) {
          for (unsigned shift = 0; shift < 32; shift += 8) stream.push_back(static_cast<uint8_t>(field >> shift));
        }
        stream.insert(stream.end(), each.ip.payload.begin(), each.ip.payload.end());
      }
    }
  }

  std::mt19937 random_;
  PodRig pods_;
  PodConnection connection_;
  std::array<uint32_t, 2> first_{101, 501};
  Outcome out_;
};

TEST(SuperFrameConversation, PIPE2_CT10_CT34_NobodyCanTellItFromPackets) {
  size_t fewer = 0;
  for (uint32_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    const Outcome whole = Conversation(seed, false).run();
    const Outcome cut = Conversation(seed, true).run();
    EXPECT_TRUE(whole.streams == cut.streams);
    EXPECT_EQ(whole.counts, cut.counts);
    EXPECT_EQ(whole.drops, cut.drops);
    EXPECT_LE(whole.frames, cut.frames);
    fewer += whole.frames < cut.frames;
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(fewer, 12U) << "most of them have a frame of more than 64 packets";
}

}  // namespace
}  // namespace sluice::packet_test
