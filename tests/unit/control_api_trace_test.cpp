// POST /v1/explain, GET /v1/trace and GET /v1/capture: what they take, what they answer; filters and the capture
// format.
#include <cstdio>
#include <pcap/pcap.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "control/api.h"
#include "control/api_trace.h"
#include "control/drop_advice.h"
#include "control/frame_text.h"
#include "control/packet_filter.h"
#include "control/pcapng.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using std::chrono::milliseconds;

// Gives its batches, and after the last one nothing.
class FakeTrace final : public TraceWatch {
 public:
  explicit FakeTrace(std::vector<TraceBatch> batches) : batches_(std::move(batches)) {}
  Awaitable<TraceBatch> next(milliseconds) override {
    if (at_ == batches_.size()) co_return TraceBatch{};
    co_return batches_[at_++];
  }

 private:
  std::vector<TraceBatch> batches_;
  size_t at_ = 0;
};

// Knows packets only.
class TraceRouter final : public Router {
 public:
  Awaitable<net::Result<Explanation>> explain(Probe asked) override {
    probe = asked;
    if (!explanation.verdict.empty()) co_return explanation;
    co_return net::Error{"no route leads back to it"};
  }
  Awaitable<net::Result<std::shared_ptr<TraceWatch>>> trace(TraceRequest asked) override {
    request = asked;
    if (asked.filter == "wrong") co_return net::Error{"the filter \"wrong\" is wrong"};
    co_return watch;
  }

  Awaitable<ApplyReply> replace_config(std::string, ApplyOptions) override { co_return ApplyReply{}; }
  Awaitable<ApplyReply> patch_config(std::string, ApplyOptions) override { co_return ApplyReply{}; }
  Awaitable<ApplyReply> put_object(std::string, ApplyOptions) override { co_return ApplyReply{}; }
  Awaitable<ApplyReply> delete_object(config::ObjectKey, ApplyOptions) override { co_return ApplyReply{}; }
  std::string applied_config(const config::ObjectSet::Filter&) const override { return {}; }
  uint64_t generation() const override { return 0; }
  Status status() const override { return {}; }
  Counters counters() const override { return {}; }
  std::vector<NeighborEntry> neighbors() const override { return {}; }
  std::vector<RouteEntry> routes() const override { return {}; }
  std::vector<ServiceEntry> services() const override { return {}; }
  BgpStatus bgp() const override { return {}; }
  std::vector<DrainEntry> drains() const override { return {}; }
  Awaitable<DrainReply> drain(DrainTarget, bool) override { co_return DrainReply{}; }
  Awaitable<DrainReply> undrain(DrainTarget) override { co_return DrainReply{}; }
  Awaitable<std::vector<FlowEntry>> flows(FlowFilter) override { co_return std::vector<FlowEntry>{}; }
  Awaitable<uint64_t> delete_flows(FlowFilter) override { co_return 0; }
  std::shared_ptr<FlowWatch> watch_flows(const FlowFilter&) override { return nullptr; }
  Awaitable<net::Result<std::vector<net::IpAddr>, ipam::Refusal>> assign_addresses(ipam::Request) override {
    co_return std::vector<net::IpAddr>{};
  }
  Awaitable<net::Result<size_t, ipam::Refusal>> release_addresses(std::string) override { co_return size_t{0}; }
  const ipam::State& assigned_addresses() const override { return addresses; }
  EventLog& events() override { return log; }
  Measurements& measurements() override { return measured; }

  asio::io_context event_io;
  EventLog log{event_io, 1};
  Measurements measured;
  ipam::State addresses;

  Probe probe;
  Explanation explanation{"dropped", "no_route", "add one", {{"parsed", "a packet"}, {"dropped", "no_route: add one"}}};
  TraceRequest request;
  std::shared_ptr<TraceWatch> watch;
};

class ApiTrace : public testing::Test {
 protected:
  template <class T>
  T wait(Awaitable<T> call) {
    asio::io_context io;
    T out{};
    asio::co_spawn(io, std::move(call), [&](const std::exception_ptr& error, T value) {
      EXPECT_FALSE(error);
      out = std::move(value);
    });
    io.run();
    return out;
  }
  Response ask(std::string method, std::string_view target, std::string body = "") {
    Request request;
    request.method = std::move(method);
    request.body = std::move(body);
    EXPECT_TRUE(set_target(request, target));
    return wait(handle(router, std::move(request)));
  }
  static std::string message(const Response& response) {
    return std::string(json::parse(response.body).at("error").at("message").as_string());
  }

  TraceRouter router;
};

TEST_F(ApiTrace, EXP1_AnExplanationIsTheVerdictAndItsSteps) {
  const Response response = ask("POST", "/v1/explain", R"({"from": "192.0.2.10:4000", "to": "10.96.0.10:80"})");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"verdict":"dropped","reason":"no_route","advice":"add one","steps":[{"step":"parsed",)"
                           R"("text":"a packet"},{"step":"dropped","text":"no_route: add one"}]})"
                           "\n");
  EXPECT_EQ(net::to_string(router.probe.from), "192.0.2.10");
  EXPECT_EQ(router.probe.from_port, 4000);
  EXPECT_EQ(router.probe.to_port, 80);
  EXPECT_EQ(router.probe.protocol, net::protocol::tcp);
  EXPECT_EQ(router.probe.tcp_flags, net::tcp_flag::syn);
  EXPECT_TRUE(router.probe.dont_fragment);
  router.explanation.verdict.clear();
  EXPECT_EQ(ask("POST", "/v1/explain", R"({"from": "192.0.2.10", "to": "10.96.0.10:80"})").status, 422);
}

TEST_F(ApiTrace, EXP1_FieldsOfAPacket) {
  const auto probe = read_probe(R"({"from": "2001:db8::1", "to": "[2001:db8::2]:53", "protocol": "UDP", "size": 1400,
                                    "ttl": 3, "dontFragment": false, "interface": "up"})");
  ASSERT_TRUE(probe) << probe.error().message;
  EXPECT_EQ(probe->protocol, net::protocol::udp);
  EXPECT_EQ(probe->from_port, std::nullopt);
  EXPECT_EQ(probe->to_port, 53);
  EXPECT_EQ(probe->size, 1400);
  EXPECT_EQ(probe->ttl, 3);
  EXPECT_FALSE(probe->dont_fragment);
  EXPECT_EQ(probe->interface, "up");
  EXPECT_EQ(read_probe(R"({"from": "fd00::1", "to": "fd00::2", "protocol": "icmp"})")->protocol, net::protocol::icmpv6);
  EXPECT_EQ(read_probe(R"({"from": "192.0.2.1", "to": "192.0.2.2:1", "flags": "syn,ACK"})")->tcp_flags,
            net::tcp_flag::syn | net::tcp_flag::ack);
}

TEST_F(ApiTrace, CNT9_WhatAPacketSays) {
  const auto probe = read_probe(R"({"from": "10.0.0.1", "to": "10.0.0.2:80", "data": "GET /\r\n"})");
  ASSERT_TRUE(probe) << probe.error().message;
  EXPECT_EQ(probe->data, "GET /\r\n");
  EXPECT_EQ(read_probe(R"({"from": "10.0.0.1", "to": "10.0.0.2:53", "protocol": "udp", "data": "x"})")->data, "x");
  EXPECT_EQ(read_probe(R"({"from": "10.0.0.1", "to": "10.0.0.2:443", "host": "a", "alpn": "h2"})")->alpn, "h2");
  const auto fault = [](const std::string& more) {
    return read_probe(R"({"from": "10.0.0.1", "to": "10.0.0.2:80", )" + more + "}").error().message;
  };
  EXPECT_EQ(fault(R"("data": "x", "flags": "ACK")"),
            "data: expected nothing: who opens a TCP connection says something, and datagrams of UDP, found \"x\"");
  EXPECT_TRUE(fault(R"("data": "x", "protocol": "sctp")").starts_with("data: expected nothing"));
  EXPECT_TRUE(fault(R"("data": "x", "host": "a")").starts_with("data: expected nothing beside a host"));
  EXPECT_EQ(fault(R"("data": ")" + std::string(8193, 'x') + '"'),
            "data: expected 8192 bytes at most, found \"8193 bytes\"");
  EXPECT_TRUE(fault(R"("alpn": "h2")").starts_with("alpn: expected nothing without a host"));
}

TEST_F(ApiTrace, EXP4_WhatIsNoPacket) {
  const auto fault = [](const std::string& body) { return read_probe(body).error().message; };
  EXPECT_EQ(fault("[]"), R"(expected an object like {"from": "192.0.2.1", "to": "10.96.0.10:80"})");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1"})"),
            "to: expected ADDRESS or ADDRESS:PORT, IPv6 with a port as [ADDRESS]:PORT, found \"\"");
  EXPECT_EQ(fault(R"({"from": "web", "to": "192.0.2.1:80"})"),
            "from: expected ADDRESS or ADDRESS:PORT, IPv6 with a port as [ADDRESS]:PORT, found \"web\"");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1", "to": "192.0.2.2"})"),
            "to: expected a port, as tcp has them, found \"none\"");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1", "to": "192.0.2.2:80", "protocol": "icmp"})"),
            "to: expected no port: ICMP has none, found \"80\"");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1", "to": "192.0.2.2:80", "size": 10})"),
            "size: expected a number from 20 to 9216, found \"10\"");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1", "to": "192.0.2.2:80", "flags": "SIN"})"),
            "flags: expected names with commas between them, like SYN,ACK, found \"SIN\"");
  EXPECT_EQ(
      fault(R"({"from": "192.0.2.1", "to": "192.0.2.2:80", "df": true})"),
      "unknown field \"df\"; a packet has: from to protocol flags size ttl dontFragment interface host path alpn data");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1", "to": "192.0.2.2:80", "host": "a b"})"),
            "host: expected a host or server name, found \"a b\"");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1", "to": "192.0.2.2:80", "host": "a", "path": "b"})"),
            "path: expected a path like /api, found \"b\"");
  EXPECT_EQ(fault(R"({"from": "192.0.2.1", "to": "192.0.2.2:80", "host": "a", "protocol": "udp"})"),
            "host: expected nothing: only who opens a TCP connection has one, found \"a\"");
  for (const char* odd :
       {"192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:", "[192.0.2.1]:80", "fd00::1]:80", "[fd00::1]"}) {
    EXPECT_FALSE(read_probe(std::string(R"({"from": "192.0.2.1", "to": ")") + odd + "\"}")) << odd;
  }
  EXPECT_EQ(ask("POST", "/v1/explain", "{").status, 400);
  EXPECT_EQ(ask("GET", "/v1/explain").status, 405);
}

TracedPacket traced() {
  TracedPacket packet;
  packet.time_seconds = 1700000000.25;
  packet.worker = 1;
  packet.explanation = {"forwarded", "", "", {{"parsed", "a packet"}, {"out", "by b"}}};
  packet.frames = {{"net_ring_a", false, 60, std::string(60, 'a')}, {"net_ring_b", true, 110, std::string(64, 'b')}};
  return packet;
}

TEST_F(ApiTrace, EXP5_TracesAreServerSent) {
  router.watch = std::make_shared<FakeTrace>(std::vector<TraceBatch>{{{traced()}, 0, false}, {{}, 7, true}});
  const Response response = ask("GET", "/v1/trace?filter=tcp%20port%2080&count=5&seconds=9");
  EXPECT_EQ(response.content_type, "text/event-stream");
  EXPECT_EQ(response.body, ": tracing\n\n");
  EXPECT_EQ(router.request.filter, "tcp port 80");
  EXPECT_EQ(router.request.count, 5u);
  EXPECT_EQ(router.request.time.count(), 9);
  ASSERT_NE(response.stream, nullptr);
  EXPECT_EQ(wait(response.stream->next(milliseconds(1))),
            "event: packet\n"
            R"(data: {"timeSeconds":1700000000.25,"worker":1,"verdict":"forwarded","steps":[{"step":"parsed",)"
            R"("text":"a packet"},{"step":"out","text":"by b"}]})"
            "\n\n");
  EXPECT_FALSE(response.stream->ended());
  EXPECT_EQ(wait(response.stream->next(milliseconds(1))),
            "event: lost\ndata: {\"lost\":7}\n\nevent: end\ndata: {}\n\n");
  EXPECT_TRUE(response.stream->ended());
}

TEST_F(ApiTrace, EXP6_WhatCannotBeTraced) {
  EXPECT_EQ(message(ask("GET", "/v1/trace?filter=wrong")), "parameter filter: the filter \"wrong\" is wrong");
  EXPECT_EQ(message(ask("GET", "/v1/trace")), "too many traces and captures run already: try again later");
  EXPECT_EQ(ask("GET", "/v1/capture").status, 503);
  EXPECT_EQ(router.request.count, 1000u);
  for (const char* target : {"/v1/trace?count=0", "/v1/trace?count=100001", "/v1/capture?seconds=3601",
                             "/v1/trace?seconds=x", "/v1/trace?port=80"}) {
    EXPECT_EQ(ask("GET", target).status, 400) << target;
  }
  const Response head = ask("HEAD", "/v1/capture");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.content_type, "application/x-pcapng");
  EXPECT_EQ(head.stream, nullptr);
}

// libpcap's reader is the judge; the comments, which it passes over, are found in the bytes.
TEST_F(ApiTrace, EXP7_CapturesAreReadByOthers) {
  router.watch = std::make_shared<FakeTrace>(std::vector<TraceBatch>{{{traced(), traced()}, 0, true}});
  const Response response = ask("GET", "/v1/capture?count=2");
  std::string file = response.body + wait(response.stream->next(milliseconds(1)));
  EXPECT_TRUE(response.stream->ended());
  EXPECT_EQ(response.stream->heartbeat(), "");
  EXPECT_NE(file.find("packet 1, forwarded | parsed: a packet | out: by b\n"), std::string::npos);
  EXPECT_NE(file.find("what became of packet 2\n"), std::string::npos);
  char error[PCAP_ERRBUF_SIZE] = {};
  std::FILE* const in = fmemopen(file.data(), file.size(), "rb");
  pcap_t* const reader = pcap_fopen_offline_with_tstamp_precision(in, PCAP_TSTAMP_PRECISION_NANO, error);
  ASSERT_NE(reader, nullptr) << error;
  EXPECT_EQ(pcap_datalink(reader), DLT_EN10MB);
  unsigned packets = 0;
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  int result = 0;
  while ((result = pcap_next_ex(reader, &header, &data)) == 1) {
    const bool out = packets++ % 2 != 0;
    EXPECT_EQ(header->len, out ? 110u : 60u);
    EXPECT_EQ(header->caplen, out ? 64u : 60u);
    EXPECT_EQ(data[header->caplen - 1], out ? 'b' : 'a');
    EXPECT_EQ(header->ts.tv_sec, 1700000000);
    EXPECT_EQ(header->ts.tv_usec / 1000000, 250);
  }
  EXPECT_EQ(result, PCAP_ERROR_BREAK) << pcap_geterr(reader);
  EXPECT_EQ(packets, 4u);
  pcap_close(reader);
}

std::vector<uint8_t> frame_of(const std::vector<uint8_t>& l3) {
  std::vector<uint8_t> frame(14, 0);
  frame[12] = 0x08;
  frame.insert(frame.end(), l3.begin(), l3.end());
  return frame;
}

bool matches(const std::string& text, const std::vector<uint8_t>& frame) {
  const auto filter = PacketFilter::compile(text);
  if (!filter) {
    ADD_FAILURE() << filter.error().message;
    return false;
  }
  const auto [run, program] = filter->filter();
  const auto length = static_cast<uint32_t>(frame.size());
  return run(program, frame.data(), length, length);
}

TEST(PacketFilters, EXP5_AreThoseOfTcpdump) {
  // tcp 192.0.2.10:1000 > 10.96.0.10:80, SYN
  std::vector<uint8_t> l3{0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 10, 10, 96, 0, 10};
  l3.insert(l3.end(), {0x03, 0xe8, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0});
  const auto frame = frame_of(l3);
  for (const char* yes :
       {"", "tcp", "host 192.0.2.10", "src net 192.0.2.0/24 and dst port 80", "not udp", "tcp[tcpflags] & tcp-syn != 0",
        "ip host 10.96.0.10 and portrange 79-81", "tcp port http", "len <= 54",
        "(udp or tcp) and not (port 81 or port 82)", "ip[8] = 64", "ether proto 0x0800"}) {
    EXPECT_TRUE(matches(yes, frame)) << yes;
  }
  for (const char* no : {"udp", "host 192.0.2.11", "dst port 81", "ip6", "arp", "tcp[tcpflags] & tcp-ack != 0", "vlan",
                         "icmp", "greater 1000", "ether host 02:00:00:00:00:0b", "host fd00::1"}) {
    EXPECT_FALSE(matches(no, frame)) << no;
  }
}

TEST(PacketFilters, EXP6_WhatIsNone) {
  const auto fault = [](const std::string& text) { return PacketFilter::compile(text).error().message; };
  EXPECT_EQ(fault("host example"),
            "\"example\" is no word of a filter (pcap-filter(7)) and no address: names of hosts "
            "are not looked up");
  EXPECT_FALSE(PacketFilter::compile("host www.example.com"));
  EXPECT_FALSE(PacketFilter::compile("net loopback"));
  EXPECT_TRUE(fault("tcp port").starts_with("the filter \"tcp port\" is wrong: ")) << fault("tcp port");
  EXPECT_FALSE(PacketFilter::compile("tcp and and"));
  EXPECT_FALSE(PacketFilter::compile("port 99999"));
  EXPECT_EQ(fault(std::string(1001, ' ')), "the filter is longer than 1000 characters");
}

TEST(FrameText, EXP5_FramesInTheMannerOfTcpdump) {
  const std::vector<uint8_t> arp{0,   1, 8, 0,  6, 4, 0, 1, 2, 0, 0,   0, 0, 1,
                                 192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1};
  std::vector<uint8_t> frame = frame_of(arp);
  frame[13] = 0x06;
  EXPECT_EQ(describe_frame(frame).text, "arp who has 192.0.2.1, tell 192.0.2.10");
  EXPECT_EQ(describe_frame(frame).kind, FrameText::Kind::Discovery);
  // Cut short anywhere it is described as far as it goes, and nothing is read behind its end.
  std::vector<uint8_t> l3{0x45, 0, 0, 60, 0, 1, 0, 0, 64, 4, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2};
  const std::vector<uint8_t> inner{0x45, 0, 0,  40, 0, 1, 0, 0, 64, 17, 0, 0,  10, 0,
                                   0,    1, 10, 0,  0, 2, 0, 7, 0,  8,  0, 20, 0,  0};
  l3.insert(l3.end(), inner.begin(), inner.end());
  const FrameText whole = describe_frame(frame_of(l3));
  EXPECT_EQ(whole.text, "udp 10.0.0.1:7 > 10.0.0.2:8, 40 bytes");
  EXPECT_EQ(whole.headers, "ipip 192.168.0.1 > 192.168.0.2");
  const std::vector<uint8_t> long_frame = frame_of(l3);
  for (size_t length = 0; length < long_frame.size(); ++length) {
    const std::vector<uint8_t> cut(long_frame.begin(), long_frame.begin() + static_cast<std::ptrdiff_t>(length));
    (void)describe_frame(cut);
  }
  EXPECT_EQ(tcp_flags_text(0x12), "SYN,ACK");
  EXPECT_EQ(tcp_flags_text(0), "no flags");
}

TEST(DropAdvice, EXP1_EveryReasonHasOne) {
  for (size_t i = 1; i < net::drop_reason_count; ++i) {
    const auto reason = static_cast<net::DropReason>(i);
    EXPECT_GE(advice(reason).size(), 15u) << net::name(reason);
    EXPECT_NE(advice(reason).back(), '.') << net::name(reason);
  }
}

}  // namespace
}  // namespace sluice::control
