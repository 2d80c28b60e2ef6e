// Profiles: what is read, and what is said about what is wrong.
#include <fstream>
#include <regex>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/source_dir.h"
#include "tools/trafgen/profile.h"

namespace sluice::trafgen {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Profile read(const std::string& text) {
  const auto document = parse_json(text);
  EXPECT_TRUE(document) << document.error().message;
  auto profile = read_profile(*document);
  EXPECT_TRUE(profile) << profile.error().message;
  return profile ? std::move(profile).value() : Profile{};
}

std::string fault(const std::string& text) {
  const auto document = parse_json(text);
  if (!document) return document.error().message;
  const auto profile = read_profile(*document);
  return profile ? "" : profile.error().message;
}

// A profile with two ports and one stream of these fields.
std::string with_stream(const std::string& fields) {
  return R"({"ports": [{"device": "net_ring0"}, {"name": "server", "device": "net_ring1"}], "streams": [{)" + fields +
         "}]}";
}

TEST(TrafgenProfile, HasDefaultsForEverything) {
  const Profile profile = read(with_stream(""));
  EXPECT_DOUBLE_EQ(profile.duration, 10);
  ASSERT_EQ(profile.streams.size(), 1);
  const StreamProfile& stream = profile.streams[0];
  EXPECT_EQ(stream.mode, Mode::Flood);
  EXPECT_EQ(stream.send, 0);
  EXPECT_EQ(stream.receive, std::vector<uint16_t>{1});
  EXPECT_EQ(stream.flows.count, 1);
  EXPECT_EQ(stream.frame, std::vector<uint16_t>{64});
  EXPECT_FALSE(stream.answer);
  EXPECT_EQ(profile.ports[0].name, "port0");
}

TEST(TrafgenProfile, TheDocumentedExampleIsRight) {
  std::ifstream file(SLUICE_SOURCE_DIR "/docs/trafgen.md");
  std::ostringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  const size_t begin = all.find("```json\n", all.find("## Profile"));
  ASSERT_NE(begin, std::string::npos);
  const Profile profile = read(all.substr(begin + 8, all.find("```", begin + 8) - begin - 8));
  ASSERT_EQ(profile.streams.size(), 1);
  const StreamProfile& stream = profile.streams[0];
  EXPECT_EQ(stream.mode, Mode::Rate);
  EXPECT_EQ(stream.flows.count, 100000);
  EXPECT_TRUE(stream.flows.random);
  EXPECT_EQ(stream.flows.dst.count, 100);
  EXPECT_EQ(stream.expect.per_destination, 10);
  EXPECT_EQ(stream.expect.dst_port.size(), 1);
  EXPECT_TRUE(stream.answer);
  EXPECT_TRUE(stream.latency);
  EXPECT_EQ(profile.ports[1].answers_for.size(), 1);
}

TEST(TrafgenProfile, EveryKeyIsDocumented) {
  std::ifstream file(SLUICE_SOURCE_DIR "/docs/trafgen.md");
  std::ostringstream text;
  text << file.rdbuf();
  for (const char* key : {"duration",   "warmup",  "name",           "device",   "mac",    "addresses",
                          "answersFor", "gateway", "gateway6",       "reflect",  "send",   "receive",
                          "mode",       "rate",    "frame",          "ethernet", "ip",     "protocol",
                          "ttl",        "flows",   "count",          "order",    "file",   "src",
                          "dst",        "srcPort", "dstPort",        "tunnel",   "vni",    "innerSrc",
                          "innerDst",   "expect",  "perDestination", "affinity", "dstMac", "answer",
                          "every",      "latency", "outstanding",    "timeout",  "replay", "rewrite",
                          "reversed"}) {
    const std::regex word(std::string("[\"`.]") + key + "[\"`]");
    EXPECT_TRUE(std::regex_search(text.str(), word)) << key;
  }
}

TEST(TrafgenProfile, ReadsModesRatesAndFrames) {
  EXPECT_EQ(read(with_stream(R"("rate": "1.5M")")).streams[0].mode, Mode::Rate);
  EXPECT_EQ(read(with_stream(R"("rate": [1000, "2k"])")).streams[0].rates, (std::vector<double>{1000, 2000}));
  EXPECT_EQ(read(with_stream(R"("rate": {"from": 100, "to": 300, "steps": 3})")).streams[0].rates,
            (std::vector<double>{100, 200, 300}));
  EXPECT_EQ(read(with_stream(R"("frame": "imix")")).streams[0].frame.size(), 12);
  EXPECT_EQ(read(with_stream(R"("frame": [64, 1514])")).streams[0].frame, (std::vector<uint16_t>{64, 1514}));
  EXPECT_EQ(read(with_stream(R"("mode": "connections")")).streams[0].protocol, Protocol::Tcp);
  EXPECT_TRUE(read(with_stream(R"("mode": "requests")")).streams[0].answer);
  EXPECT_TRUE(read(with_stream(R"("receive": [])")).streams[0].receive.empty());
  EXPECT_EQ(read(with_stream(R"("send": "server", "receive": "port0")")).streams[0].send, 1);
}

TEST(TrafgenProfile, WidensTheSourceForMoreFlowsThanPorts) {
  const StreamProfile stream = read(with_stream(R"("flows": {"count": 16777216})")).streams[0];
  EXPECT_GE(tuples_in(stream.flows), max_flows);
  EXPECT_GT(stream.flows.src.count, 1);
}

TEST(TrafgenProfile, SaysWhatIsWrongAndWhere) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("rate": 0)", "/streams/0/rate: expected a number above 0"},
      {R"("rate": "fast")", "/streams/0/rate: expected a number above 0"},
      {R"("rate": [])", "/streams/0/rate: the list is empty"},
      {R"("rate": [100, "x"])", "/streams/0/rate/1: expected a rate above 0"},
      {R"("mode": "rate")", "/streams/0/rate: mode \"rate\" needs one"},
      {R"("mode": "flod")", "/streams/0/mode: "},
      {R"("frame": 20)", "/streams/0/frame: expected a size from 60 to 1800 bytes"},
      {R"("frame": [64, 9000])", "/streams/0/frame/1: expected a size from 60 to 1800 bytes"},
      {R"("send": "nobody")", "/streams/0/send: there is no such port; the profile has \"port0\", \"server\""},
      {R"("receive": [0, 7])", "/streams/0/receive/1: there is no such port"},
      {R"("flows": {"count": 16777217})", "/streams/0/flows/count: "},
      {R"("flows": {"src": "10.0.0.0/33"})", "/streams/0/flows/src: expected an address range such as"},
      {R"("flows": {"src": "10.0.0.1", "dst": "2001:db8::1"})", "/streams/0/flows: src and dst are of different"},
      {R"("flows": {"count": 100, "src": "10.0.0.1", "srcPort": 5})",
       "/streams/0/flows: the ranges hold 1 different flows, 100 are asked for"},
      {R"("flows": {"dstPort": 70000})", "/streams/0/flows/dstPort: expected a port"},
      {R"("ip": 6)", "/streams/0/ip: the flows' addresses are IPv4"},
      {R"("protocol": "sctp")", "/streams/0/protocol: "},
      {R"("ethernet": {"dst": "resolve"})", "/streams/0/ethernet/dst: \"resolve\" needs a \"gateway\""},
      {R"("ethernet": {"src": "02:00"})", "/streams/0/ethernet/src: "},
      {R"("tunnel": {"kind": "gre"})", "/streams/0/tunnel/kind: "},
      {R"("tunnel": {"kind": "vxlan", "src": "10.0.0.1", "dst": "10.0.0.2"})", "/streams/0/tunnel/vni: "},
      {R"("expect": "nothing")", "/streams/0/expect: expected \"same\", \"reversed\" or an object"},
      {R"("expect": {"dst": ["10.0.0"]})", "/streams/0/expect/dst/0: expected an address range"},
      {R"("expect": {"perDestination": 3})", "/streams/0/expect/perDestination: needs a single range"},
      {R"("mode": "replay")", "/streams/0/replay: mode \"replay\" needs"},
      {R"("mode": "requests", "receive": [])", "/streams/0/answer: nobody can answer"},
      {R"("mode": "connections", "protocol": "udp")", "/streams/0/protocol: mode \"connections\" is TCP"},
      {R"("rat": 5)", "/streams/0/rat: "},
      {R"("latency": 5)", "/streams/0/latency: "},
  };
  for (const auto& [fields, message] : cases) EXPECT_THAT(fault(with_stream(fields)), StartsWith(message)) << fields;
}

TEST(TrafgenProfile, SaysWhatIsWrongWithPortsAndTheWhole) {
  EXPECT_THAT(fault("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(fault("{}"), StartsWith("/ports: there is no port"));
  EXPECT_THAT(fault("{\"ports\": [}"), StartsWith("not JSON at line 1, column 12"));
  EXPECT_THAT(fault("{\"ports\":\n [1] 2}"), StartsWith("not JSON at line 2"));
  EXPECT_THAT(fault(R"({"ports": [{}]})"), StartsWith("/ports/0/device: "));
  EXPECT_THAT(fault(R"({"ports": [{"device": "a", "gateway": "10.0.0.1"}]})"),
              StartsWith("/ports/0/gateway: needs an own address"));
  EXPECT_THAT(fault(R"({"ports": [{"device": "a", "name": "x"}, {"device": "b", "name": "x"}]})"),
              StartsWith("/ports/1/name: a second one of this name"));
  EXPECT_THAT(fault(R"({"ports": [{"device": "a", "reflect": "yes"}]})"), StartsWith("/ports/0/reflect: "));
}

TEST(TrafgenProfile, TellsAllFaultsAtOnce) {
  const std::string text = fault(with_stream(R"("rate": 0, "frame": 1, "ttl": 300)"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
}

}  // namespace
}  // namespace sluice::trafgen
