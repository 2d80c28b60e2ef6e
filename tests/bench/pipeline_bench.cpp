// What the router costs without drivers, in TSC cycles per packet: each case configures the real data plane from JSON
// text, opens its flows and sends bursts of random flows through one worker (bench_rig.h). Medians over all bursts;
// "fastest" is the fifth percentile, what a burst costs when the machine is quiet. A case fails if a packet is dropped
// or does not come out. pass_bench is the same program with a clock between the passes (dataplane/pass_clock.h): its
// counters say how many cycles each takes per packet.
//
//   pipeline_bench --benchmark_filter='service/.*flows:100000/'  --benchmark_format=json
#include <cstring>
#include <functional>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "tests/bench/bench_rig.h"
#include "tests/bench/measure.h"
#include "tests/bench/pass_times.h"
#include "tests/packet/documents.h"
#include "tests/packet/frames.h"

namespace sluice::bench {
namespace {

namespace docs = packet_test;
using docs::Bytes;
using docs::ethernet;
using docs::Ip;
using net::MacAddr;

constexpr unsigned most = net::burst_size;

uint32_t wire(uint32_t host) { return __builtin_bswap32(host); }
uint16_t wire16(uint32_t host) { return __builtin_bswap16(static_cast<uint16_t>(host)); }
constexpr uint32_t ip(unsigned a, unsigned b, unsigned c, unsigned d) { return a << 24 | b << 16 | c << 8 | d; }

MacAddr mac(uint8_t last) { return {{0x02, 0, 0, 0, 0, last}}; }
Bytes frame_at_a(const Bytes& l3) { return ethernet(mac(0x0a), mac(0xfe), l3); }

// 60 bytes on the wire without FCS: the smallest frame.
Ip small_udp() { return docs::udp("10.0.0.1:1", "10.0.0.2:2").with_payload(18); }
Ip small_tcp(std::string_view flags) { return docs::tcp("10.0.0.1:1", "10.0.0.2:2", flags).with_payload(6); }
Shape plain_a(const Ip& packet) { return {frame_at_a(packet.bytes()), 14}; }

using Numbered = std::function<Tuple(uint32_t)>;

// A stream of packets in one direction.
struct Traffic {
  Side side = Side::A;
  Shape shape;
  Numbered tuple;
};

uint16_t inner_offset(const uint8_t* frame) {
  if (frame[23] == net::protocol::ipip) return 34;
  const bool vxlan = frame[23] == net::protocol::udp && net::load_be16(frame + 36) == 4789;
  return vxlan ? 64 : 14;
}

Tuple tuple_of(const uint8_t* frame) {
  const uint8_t* const l3 = frame + inner_offset(frame);
  Tuple tuple;
  std::memcpy(&tuple.src, l3 + 12, 4);
  std::memcpy(&tuple.dst, l3 + 16, 4);
  std::memcpy(&tuple.src_port, l3 + 20, 2);
  std::memcpy(&tuple.dst_port, l3 + 22, 2);
  return tuple;
}

// The frame that answers one that the router sent: both ends change places at every layer but the innermost IP, which
// its tuple fills.
Shape answer_to(const rte_mbuf* mbuf) {
  const auto* const data = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  Bytes frame(data, data + mbuf->data_len);
  const uint16_t inner = inner_offset(data);
  const auto swap = [&](size_t a, size_t b, size_t size) { std::swap_ranges(&frame[a], &frame[a] + size, &frame[b]); };
  swap(0, 6, 6);
  if (inner != 14) swap(26, 30, 4);
  if (inner == 64) swap(50, 56, 6);
  return {std::move(frame), inner};
}

// The same frame with other TCP flags.
Shape with_flags(const Shape& shape, uint8_t flags) {
  Bytes frame = shape.frame();
  frame[shape.inner() + net::ipv4_header_length + 13] = flags;
  return {std::move(frame), shape.inner()};
}

// The same Ethernet header before another packet.
Shape with_payload(const Shape& shape, const Ip& packet) {
  Bytes frame(shape.frame().begin(), shape.frame().begin() + shape.inner());
  const Bytes l3 = packet.bytes();
  frame.insert(frame.end(), l3.begin(), l3.end());
  return {std::move(frame), shape.inner()};
}

// ---- measuring ---------------------------------------------------------------------------------------

class Bench {
 public:
  Bench(benchmark::State& state, const BenchRig::Options& options, const std::string& document)
      : state_(state), rig_(options) {
    rig_.load(document);
  }

  BenchRig& rig() { return rig_; }

  // What follows is measured.
  void begin() { passes_.clear(); }

  // One burst of the flows that `number` gives; returns cycles. What came out is in rig().collect().
  uint64_t burst(const Traffic& traffic, unsigned count, const std::function<uint32_t(unsigned)>& number) {
    rte_mbuf* frames[most];
    for (unsigned i = 0; i < count; ++i) {
      frames[i] = rig_.take();
      traffic.shape.write(frames[i], traffic.tuple(number(i)));
    }
    rig_.offer(traffic.side, frames, count);
    const uint64_t cycles = rig_.turn();
    passes_.take();
    turn_size_ = count;
    if (rig_.collect().size() != count) lost_ += count - rig_.collect().size();
    return cycles;
  }

  // Every flow once, in order; `seen` gets what came out.
  void all(const Traffic& traffic, uint32_t flows,
           const std::function<void(uint32_t, const rte_mbuf*)>& seen = nullptr) {
    for (uint32_t first = 0; first < flows; first += most) {
      const unsigned count = std::min<uint32_t>(most, flows - first);
      (void)burst(traffic, count, [&](unsigned i) { return first + i; });
      if (!seen) continue;
      uint32_t at = first;
      for (const rte_mbuf* mbuf : rig_.collect()) seen(at++, mbuf);
    }
  }

  // Opens flows and returns the traffic that answers them.
  Traffic answers(const Traffic& traffic, uint32_t flows) {
    auto tuples = std::make_shared<std::vector<Tuple>>(flows);
    Traffic reply;
    all(traffic, flows, [&](uint32_t flow, const rte_mbuf* mbuf) {
      if (flow == 0) reply.shape = answer_to(mbuf);
      (*tuples)[flow] = tuple_of(rte_pktmbuf_mtod(mbuf, const uint8_t*)).reversed();
    });
    // Which port it left by tells the destination MAC: ours is …0a or …0b.
    if (!reply.shape.frame().empty()) reply.side = reply.shape.frame()[5] == 0x0a ? Side::A : Side::B;
    reply.tuple = [tuples](uint32_t flow) { return (*tuples)[flow]; };
    return reply;
  }

  // Those of the flows that the second of two workers owns, or the first.
  Traffic owned_by(uint16_t worker, const Traffic& traffic, uint32_t flows) {
    auto owned = std::make_shared<std::vector<uint32_t>>();
    const auto received = [this] {
      return rig_.counters(1).events[static_cast<size_t>(dataplane::Event::ReceivedOver)];
    };
    for (uint32_t flow = 0; flow < flows; ++flow) {
      const uint64_t before = received();
      (void)burst(traffic, 1, [=](unsigned) { return flow; });
      if ((received() != before) == (worker == 1)) owned->push_back(flow);
    }
    Traffic chosen = traffic;
    chosen.tuple = [owned, tuple = traffic.tuple](uint32_t flow) { return tuple((*owned)[flow % owned->size()]); };
    return chosen;
  }

  // Random flows, the streams in turns.
  void measure(const std::vector<Traffic>& streams, uint32_t flows, unsigned count) {
    Distribution cycles;
    uint64_t packets = 0;
    begin();
    for (auto _ : state_) {
      uint64_t sum = 0;
      for (const Traffic& stream : streams) {
        const uint64_t spent = burst(stream, count, [&](unsigned) { return random_.below(flows); });
        cycles.add(spent);
        sum += spent;
        packets += count;
      }
      state_.SetIterationTime(static_cast<double>(sum) / tsc_hz());
    }
    report(cycles, count);
    state_.SetItemsProcessed(static_cast<int64_t>(packets));
  }

  void report(const Distribution& cycles, double per) {
    state_.counters["cycles"] = cycles.quantile(0.5) / per;
    state_.counters["fastest"] = cycles.quantile(0.05) / per;
    passes_.report(state_, turn_size_);
    if (lost_ != 0) state_.SkipWithError(("packets lost: " + std::to_string(lost_) + "; " + rig_.drops()).c_str());
  }

  static double tsc_hz() { return static_cast<double>(rte_get_tsc_hz()); }

 private:
  benchmark::State& state_;
  BenchRig rig_;
  Random random_;
  PassTimes passes_;
  unsigned turn_size_ = 0;
  uint64_t lost_ = 0;
};

// ---- configurations ----------------------------------------------------------------------------------

// Clients in 10.247.0.0/16 (of the cluster) and 198.18.0.0/15 (outside) behind port a.
const std::string clients =
    R"({"destination":"10.247.0.0/16","via":"192.0.2.10"},{"destination":"198.18.0.0/15","via":"192.0.2.10"})";

// TIME_WAIT is short, so that closed connections leave as fast as new ones come.
std::string gateway(const std::string& routes = "") {
  return docs::gateway(R"("conntrack":{"max":8388608,"timeouts":{"tcpTimeWait":"1s"}},"routes":[)" + clients +
                       (routes.empty() ? "" : ",") + routes + "]");
}

std::string endpoints_document(const std::string& prefix, const std::string& node, unsigned endpoints,
                               const std::string& port, unsigned services) {
  std::vector<std::string> objects{gateway(), docs::cluster()};
  for (unsigned number = 0; number < services; ++number) {
    docs::ServiceSpec spec;
    spec.name = fmt::format("s{}", number);
    spec.cluster_ips = {
        fmt::format("10.{}.{}.{}", 96 + (number + 1) / 65536, (number + 1) / 256 % 256, (number + 1) % 256)};
    spec.ports = {number == 0 ? port : "UDP 80 8080"};
    for (unsigned i = 0; i < endpoints; ++i) spec.endpoints.push_back(fmt::format("{}.{} {}", prefix, i + 1, node));
    objects.push_back(docs::service(spec));
  }
  std::string text = docs::list(objects);
  if (services > 60000) {
    const std::string narrow = "10.96.0.0/16";
    text.replace(text.find(narrow), narrow.size(), "10.96.0.0/14");
  }
  return text;
}

// Many clients with some ports each, to the first service.
Numbered cluster_clients(uint32_t service_ip, uint16_t port) {
  return [=](uint32_t flow) {
    return Tuple{wire(ip(10, 247, 0, 0) + flow % 65521), wire(service_ip), wire16(1024 + flow / 65521), wire16(port)};
  };
}

// ---- cases -------------------------------------------------------------------------------------------

void forward(benchmark::State& state) {
  const auto routes = static_cast<uint32_t>(state.range(0));
  std::string extra;
  // /24s in 172.16.0.0/12 and beyond, one next hop: the FIB's memory, not the neighbours', is what differs.
  for (uint32_t i = 0; i < routes && routes > 1; ++i) {
    const uint32_t net = ip(20, 0, 0, 0) + i * 256;
    extra += fmt::format(R"({}{{"destination":"{}.{}.{}.0/24","via":"192.168.0.13"}})", i == 0 ? "" : ",", net >> 24,
                         net >> 16 & 255, net >> 8 & 255);
  }
  Bench bench(state, {.routes = routes + 1024}, docs::list({gateway(extra), docs::cluster()}));
  Traffic traffic{Side::A, plain_a(small_udp()), [=](uint32_t flow) {
                    const uint32_t to = routes > 1 ? ip(20, 0, 0, 9) + flow * 256 : ip(10, 246, 1, 1) + flow % 60;
                    return Tuple{wire(ip(198, 18, 0, 0) + flow), wire(to), wire16(1024 + flow % 60000), wire16(53)};
                  }};
  bench.measure({traffic}, routes > 1 ? routes : 1000, static_cast<unsigned>(state.range(1)));
}

void encapsulate(benchmark::State& state, uint32_t destination) {
  Bench bench(state, {}, docs::list({gateway(), docs::cluster()}));
  Traffic traffic{Side::A, plain_a(small_udp()), [=](uint32_t flow) {
                    return Tuple{wire(ip(10, 247, 0, 0) + flow), wire(destination + flow % 60),
                                 wire16(1024 + flow % 60000), wire16(53)};
                  }};
  bench.measure({traffic}, 1000, static_cast<unsigned>(state.range(0)));
}

void decapsulate(benchmark::State& state, uint32_t source) {
  Bench bench(state, {}, docs::list({gateway(), docs::cluster()}));
  Traffic out{Side::A, plain_a(small_udp()), [=](uint32_t flow) {
                return Tuple{wire(ip(10, 247, 0, 0) + flow), wire(source + flow % 60), wire16(1024 + flow), wire16(53)};
              }};
  const Traffic in = bench.answers(out, 1000);
  bench.measure({in}, 1000, static_cast<unsigned>(state.range(0)));
}

void established(benchmark::State& state, const std::string& document, const Traffic& original, unsigned count = 1) {
  const auto flows = static_cast<uint32_t>(state.range(0));
  Bench bench(state, {.connections = std::max(2 * flows, 65536U), .routes = count + 4096}, document);
  const Traffic reply = bench.answers(original, flows);
  for (int round = 0; round < 2; ++round) {
    bench.rig().advance_clock(2500);  // a stream is one that lasts longer than two seconds (CT-37)
    bench.all(reply, flows);
    bench.all(original, flows);
  }
  bench.measure({original, reply}, flows, static_cast<unsigned>(state.range(1)));
}

// Two workers, one receive queue: every packet is handed over to the second, or none is. Cycles of both together.
void hand_over(benchmark::State& state, bool with_service, bool apart) {
  const std::string document = with_service ? endpoints_document("10.246.1", "node3", 32, "UDP 80 8080", 1)
                                            : docs::list({gateway(), docs::cluster()});
  Bench bench(state, {.workers = 2}, document);
  Traffic all{
      Side::A, plain_a(small_udp()), [](uint32_t flow) {
        return Tuple{wire(ip(10, 247, 0, 0) + flow), wire(ip(10, 246, 1, 1) + flow % 60), wire16(1024), wire16(53)};
      }};
  if (with_service) all.tuple = cluster_clients(ip(10, 96, 0, 1), 80);
  const Traffic chosen = bench.owned_by(static_cast<uint16_t>(state.range(1)), all, 1000);
  if (with_service) {
    const Traffic reply = bench.answers(chosen, 400);
    for (int round = 0; round < 2; ++round) {
      bench.rig().advance_clock(2500);
      bench.all(reply, 400);
      bench.all(chosen, 400);
    }
  }
  if (apart) bench.rig().run_apart();
  bench.measure({chosen}, 400, static_cast<unsigned>(state.range(0)));
}

void service(benchmark::State& state) {
  const std::string document = endpoints_document("10.246.1", "node3", 32, "UDP 80 8080", 1);
  established(state, document, {Side::A, plain_a(small_udp()), cluster_clients(ip(10, 96, 0, 1), 80)});
}

void services(benchmark::State& state) {
  const auto count = static_cast<unsigned>(state.range(2));
  const std::string document = endpoints_document("10.246.1", "node3", 2, "UDP 80 8080", count);
  const Numbered spread = [=](uint32_t flow) {
    Tuple tuple = cluster_clients(0, 80)(flow);
    tuple.dst = wire(ip(10, 96, 0, 1) + flow % count);
    return tuple;
  };
  established(state, document, {Side::A, plain_a(small_udp()), spread}, count);
}

void tcp_service(benchmark::State& state) {
  const auto flows = static_cast<uint32_t>(state.range(0));
  Bench bench(state, {.connections = std::max(2 * flows, 65536U)},
              endpoints_document("10.246.1", "node3", 32, "TCP 80 8080", 1));
  Traffic original{Side::A, plain_a(small_tcp("S")), cluster_clients(ip(10, 96, 0, 1), 80)};
  Traffic reply = bench.answers(original, flows);
  reply.shape = with_flags(reply.shape, net::tcp_flag::syn | net::tcp_flag::ack);
  bench.all(reply, flows);
  original.shape = with_flags(original.shape, net::tcp_flag::ack);
  bench.all(original, flows);
  reply.shape = with_flags(reply.shape, net::tcp_flag::ack);
  bench.all(reply, flows);
  bench.measure({original, reply}, flows, static_cast<unsigned>(state.range(1)));
}

// Connections that were looked into for some patterns, and are no longer: their first bytes have passed.
void behind_patterns(benchmark::State& state) {
  const auto flows = static_cast<uint32_t>(state.range(0));
  std::string document = endpoints_document("10.246.1", "node3", 32, "TCP 80 8080", 1);
  std::string patterns;
  for (int64_t i = 0; i < state.range(2); ++i) {
    patterns += fmt::format(R"({}{{"name":"p{}","regex":"word{}=[0-9]{{3,9}}x"}})", i == 0 ? "" : ",", i, i);
  }
  if (!patterns.empty()) {
    document.insert(document.rfind(']'), R"(,{"apiVersion":"sluice.dev/v1","kind":"ContentPolicy",)"
                                         R"("metadata":{"name":"p","namespace":"default"},)"
                                         R"("spec":{"serviceSelector":{},"depth":64,"patterns":[)" +
                                             patterns + "]}}");
  }
  Bench bench(state, {.connections = std::max(2 * flows, 65536U)}, document);
  const auto packet = [](std::string_view flags, uint32_t seq, uint32_t ack, size_t bytes) {
    return docs::tcp("10.0.0.1:1", "10.0.0.2:2", flags).with_seq(seq, ack).with_payload(bytes);
  };
  Traffic original{Side::A, plain_a(packet("S", 0, 0, 0)), cluster_clients(ip(10, 96, 0, 1), 80)};
  Traffic reply = bench.answers(original, flows);
  const Shape answer = reply.shape;
  if (answer.frame().empty()) return state.SkipWithError(("nothing came out; " + bench.rig().drops()).c_str());
  const auto exchange = [&](std::string_view flags, uint32_t seq, size_t bytes) {
    if (seq != 0) {
      original.shape = plain_a(packet(flags, seq, seq, bytes));
      bench.all(original, flows);
    }
    reply.shape = with_payload(answer, packet(flags, seq, seq != 0 ? seq : 1, bytes));
    bench.all(reply, flows);
  };
  exchange("SA", 0, 0);
  exchange("A", 1, 200);
  exchange("A", 201, 6);
  const auto looked_into = bench.rig().counters(0).events[static_cast<size_t>(dataplane::Event::ContentFlows)];
  if (looked_into != (patterns.empty() ? 0 : flows)) return state.SkipWithError("not every connection was looked into");
  bench.measure({original, reply}, flows, static_cast<unsigned>(state.range(1)));
}

void node_port(benchmark::State& state) {
  const std::string document = endpoints_document("10.246.1", "node3", 60, "UDP 80 8080 30080", 1);
  established(state, document, {Side::A, plain_a(small_udp()), [](uint32_t flow) {
                                  return Tuple{wire(ip(198, 18, 0, 0) + flow % 131071), wire(ip(192, 0, 2, 1)),
                                               wire16(1024 + flow / 131071), wire16(30080)};
                                }});
}

void vxlan_to_ipip(benchmark::State& state) {
  const std::string document = endpoints_document("10.245.40", "node2", 32, "UDP 80 8080", 1);
  // What node1 sends is what answers a packet to it.
  Shape from_node1;
  {
    Bench probe(state, {}, document);
    from_node1 =
        probe
            .answers(
                {Side::A, plain_a(small_udp()),
                 [](uint32_t flow) {
                   return Tuple{wire(ip(10, 247, 0, 1)), wire(ip(10, 244, 34, 1)), wire16(1024 + flow), wire16(53)};
                 }},
                1)
            .shape;
  }
  established(state, document, {Side::B, from_node1, [](uint32_t flow) {
                                  return Tuple{wire(ip(10, 244, 34, 0) + flow % 61), wire(ip(10, 96, 0, 1)),
                                               wire16(1024 + flow / 61), wire16(80)};
                                }});
}

Traffic opening_flows() {
  return {Side::A, plain_a(small_udp()), [](uint32_t flow) {
            return Tuple{wire(ip(10, 247, 0, 0) + flow % 65521), wire(ip(10, 96, 0, 1)),
                         wire16(1024 + flow / 65521 % 60000), wire16(80)};
          }};
}

void open_flows(benchmark::State& state, Bench& bench, const Traffic& traffic, uint32_t next) {
  Distribution cycles;
  bench.begin();
  for (auto _ : state) {
    const uint64_t spent = bench.burst(traffic, most, [&](unsigned i) { return next + i; });
    next += most;
    cycles.add(spent);
    state.SetIterationTime(static_cast<double>(spent) / Bench::tsc_hz());
  }
  state.SetItemsProcessed(state.iterations() * most);
  bench.report(cycles, most);
}

// Every packet a new flow; the table stays full, so that for each one that comes an old one goes.
void new_flows(benchmark::State& state) {
  const auto table = static_cast<uint32_t>(state.range(0));
  Bench bench(state, {.connections = table}, endpoints_document("10.246.1", "node3", 32, "UDP 80 8080", 1));
  const Traffic traffic = opening_flows();
  bench.all(traffic, table);
  open_flows(state, bench, traffic, table);
}

// Every packet a new flow, while those that came a second ago age out.
void aging_flows(benchmark::State& state) {
  std::string document = endpoints_document("10.246.1", "node3", 32, "UDP 80 8080", 1);
  const std::string timeouts = R"("timeouts":{)";
  document.insert(document.find(timeouts) + timeouts.size(), R"("udp":"1s",)");
  Bench bench(state, {.connections = 8'388'608}, document);
  const Traffic traffic = opening_flows();
  uint32_t next = 0;
  const uint64_t begin = rte_rdtsc();  // until as many go as come
  while (static_cast<double>(rte_rdtsc() - begin) < 2.5 * Bench::tsc_hz()) {
    (void)bench.burst(traffic, most, [&](unsigned i) { return next + i; });
    next += most;
  }
  open_flows(state, bench, traffic, next);
}

// Whole connections: SYN, SYN+ACK, ACK, FIN+ACK, FIN+ACK, ACK, while those that were closed a second ago age out.
void connections(benchmark::State& state) {
  Bench bench(state, {.connections = 8'388'608}, endpoints_document("10.246.1", "node3", 32, "TCP 80 8080", 1));
  Traffic original{Side::A, plain_a(small_tcp("S")), cluster_clients(ip(10, 96, 0, 1), 80)};
  Traffic reply;
  uint32_t next = 0;
  const uint8_t ack = net::tcp_flag::ack;
  const uint8_t fin = net::tcp_flag::fin | net::tcp_flag::ack;
  Tuple answers[most];
  const auto connect = [&] {
    uint64_t spent = 0;
    const auto there = [&](uint8_t flags) {
      Traffic now{original.side, with_flags(original.shape, flags), original.tuple};
      spent += bench.burst(now, most, [&](unsigned i) { return next + i; });
    };
    const auto back = [&](uint8_t flags) {
      Traffic now{reply.side, with_flags(reply.shape, flags), [&](uint32_t i) { return answers[i]; }};
      spent += bench.burst(now, most, [](unsigned i) { return i; });
    };
    there(net::tcp_flag::syn);
    unsigned at = 0;
    for (const rte_mbuf* mbuf : bench.rig().collect()) {
      if (reply.shape.frame().empty()) reply = {Side::B, answer_to(mbuf), nullptr};
      answers[at++] = tuple_of(rte_pktmbuf_mtod(mbuf, const uint8_t*)).reversed();
    }
    back(net::tcp_flag::syn | ack);
    there(ack);
    there(fin);
    back(fin);
    there(ack);
    next += most;
    return spent;
  };
  const uint64_t begin = rte_rdtsc();  // until as many go as come
  while (static_cast<double>(rte_rdtsc() - begin) < 2.5 * Bench::tsc_hz()) (void)connect();
  Distribution cycles;
  bench.begin();
  for (auto _ : state) {
    const uint64_t spent = connect();
    cycles.add(spent);
    state.SetIterationTime(static_cast<double>(spent) / Bench::tsc_hz());
  }
  state.SetItemsProcessed(state.iterations() * most);
  bench.report(cycles, most);
}

void register_all() {
  const auto add = [](const char* name, auto function) {
    return benchmark::RegisterBenchmark(name, function)->UseManualTime()->Unit(benchmark::kMicrosecond);
  };
  const std::vector<int64_t> bursts{1, 4, 16, 32, 64};
  add("forward", forward)->ArgNames({"routes", "burst"})->ArgsProduct({{1, 100000}, bursts});
  const auto vxlan_pods = ip(10, 244, 34, 1);
  const auto ipip_pods = ip(10, 245, 40, 1);
  add("vxlan/encapsulate", [=](benchmark::State& state) { encapsulate(state, vxlan_pods); })->ArgName("burst")->Arg(64);
  add("ipip/encapsulate", [=](benchmark::State& state) { encapsulate(state, ipip_pods); })->ArgName("burst")->Arg(64);
  add("vxlan/decapsulate", [=](benchmark::State& state) { decapsulate(state, vxlan_pods); })->ArgName("burst")->Arg(64);
  add("ipip/decapsulate", [=](benchmark::State& state) { decapsulate(state, ipip_pods); })->ArgName("burst")->Arg(64);
  add("service", service)
      ->ArgNames({"flows", "burst"})
      ->ArgsProduct({{1000}, bursts})
      ->ArgsProduct({{10000, 100000, 1000000, 4000000}, {64}});
  add("service/tcp", tcp_service)->ArgNames({"flows", "burst"})->ArgsProduct({{1000, 100000, 1000000}, {64}});
  add("service/tcp/behind", behind_patterns)
      ->ArgNames({"flows", "burst", "patterns"})
      ->ArgsProduct({{1000}, {64}, {0, 1000}});
  add("nodeport", node_port)->ArgNames({"flows", "burst"})->ArgsProduct({{1000, 100000, 1000000}, {64}});
  add("vxlan/service/ipip", vxlan_to_ipip)->ArgNames({"flows", "burst"})->ArgsProduct({{1000, 100000}, {64}});
  add("services", services)
      ->ArgNames({"flows", "burst", "services"})
      ->ArgsProduct({{100000}, {64}, {10, 1000, 10000, 100000}});
  for (const bool with_service : {false, true}) {
    for (const bool apart : {false, true}) {
      const std::string name =
          fmt::format("two_{}/{}", apart ? "cpus" : "workers", with_service ? "service" : "forward");
      add(name.c_str(), [=](benchmark::State& state) { hand_over(state, with_service, apart); })
          ->ArgNames({"burst", "handed_over"})
          ->ArgsProduct({{64}, {0, 1}});
    }
  }
  add("new/udp", new_flows)->ArgName("table")->Arg(65536)->Arg(1048576);
  add("new/udp/aging", aging_flows);
  add("new/tcp", connections);
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  sluice::bench::register_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
