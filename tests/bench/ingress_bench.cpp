// What Ingress costs the router alone, without drivers: 100 hosts of five paths, and clients and endpoints that speak
// just enough TCP, whose frames go through rings (bench_rig.h). TSC cycles per request, of all turns that moved a
// frame; "frames" are those that came in for each. Making frames and reading them is not timed. Every endpoint says in
// its answer which it is; a case fails if an answer comes from a wrong one, is not complete, or if anything is dropped.
//
//   ingress_bench --benchmark_format=json
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <rte_ip.h>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "tests/bench/bench_rig.h"
#include "tests/packet/documents.h"

namespace sluice::bench {
namespace {

namespace docs = packet_test;
namespace tcp_flag = net::tcp_flag;

constexpr unsigned hosts = 100, paths = 5, services = 20, endpoints = 2;
constexpr std::array<const char*, paths> path_names{"/", "/api/", "/app/", "/img/", "/static/"};
constexpr size_t mss = 1460;
constexpr size_t bulk_bytes = 60'000;  // fits into a window that is not scaled

uint32_t wire(uint32_t host) { return __builtin_bswap32(host); }
uint16_t wire16(uint32_t host) { return __builtin_bswap16(static_cast<uint16_t>(host)); }
unsigned service_of(unsigned rule) { return rule % services; }

// The gateway's own address at its first port listens; endpoints are behind the second.
std::string document() {
  std::vector<std::string> objects{
      docs::gateway(R"("conntrack":{"max":2097152,"timeouts":{"tcpTimeWait":"1s"}},
        "routes":[{"destination":"10.247.0.0/16","via":"192.0.2.10"}],
        "ingress":{"enabled":true,"addresses":["192.0.2.1"],"http":[80],"https":[]})"),
      docs::cluster(),
      R"({"apiVersion":"networking.k8s.io/v1","kind":"IngressClass","metadata":{"name":"bench"},
        "spec":{"controller":"sluice.dev/ingress"}})"};
  for (unsigned number = 0; number < services; ++number) {
    docs::ServiceSpec spec;
    spec.name = fmt::format("s{}", number);
    spec.cluster_ips = {fmt::format("10.96.0.{}", number + 1)};
    spec.ports = {"TCP 80 8080"};
    for (unsigned i = 0; i < endpoints; ++i)
      spec.endpoints.push_back(fmt::format("10.246.1.{} node3", number * endpoints + i + 1));
    objects.push_back(docs::service(spec));
  }
  for (unsigned host = 0; host < hosts; ++host) {
    std::string rules;
    for (unsigned path = 0; path < paths; ++path) {
      rules += fmt::format(
          R"({}{{"path":"{}","pathType":"Prefix","backend":{{"service":{{"name":"s{}","port":{{"number":80}}}}}}}})",
          path == 0 ? "" : ",", path_names[path], service_of(host * paths + path));
    }
    objects.push_back(fmt::format(R"({{"apiVersion":"networking.k8s.io/v1","kind":"Ingress",
      "metadata":{{"namespace":"default","name":"h{0}"}},"spec":{{"ingressClassName":"bench",
      "rules":[{{"host":"host-{0}.example.com","http":{{"paths":[{1}]}}}}]}}}})",
                                  host, rules));
  }
  return docs::list(objects);
}

std::string request_of(unsigned rule, bool close) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: host-{}.example.com\r\n{}\r\n", path_names[rule % paths], rule / paths,
                     close ? "Connection: close\r\n" : "");
}

// A frame, read: addresses and ports as they lie in it, numbers in host byte order.
struct Segment {
  const uint8_t* frame = nullptr;
  Tuple tuple;
  uint8_t flags = 0;
  uint32_t seq = 0, ack = 0;
  std::string_view data;

  [[nodiscard]] bool has(uint8_t flag) const { return (flags & flag) != 0; }
  [[nodiscard]] uint32_t end() const {
    return seq + static_cast<uint32_t>(data.size()) + (has(tcp_flag::syn) || has(tcp_flag::fin) ? 1 : 0);
  }
};

Segment read(const rte_mbuf* mbuf) {
  Segment out;
  out.frame = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const uint8_t* const ip = out.frame + 14;
  const uint8_t* const tcp = ip + net::ipv4_header_length;
  std::memcpy(&out.tuple.src, ip + 12, 4);
  std::memcpy(&out.tuple.dst, ip + 16, 4);
  std::memcpy(&out.tuple.src_port, tcp, 2);
  std::memcpy(&out.tuple.dst_port, tcp + 2, 2);
  out.flags = tcp[13];
  out.seq = net::load_be32(tcp + 4);
  out.ack = net::load_be32(tcp + 8);
  const size_t header = net::ipv4_header_length + (tcp[12] >> 4) * 4U;
  out.data = {reinterpret_cast<const char*>(ip) + header, net::load_be16(ip + 2) - header};
  return out;
}

// A frame to send, once there is a buffer for it.
struct Outgoing {
  Side side = Side::A;
  Tuple tuple;
  uint8_t flags = 0;
  uint32_t seq = 0, ack = 0;
  std::string_view data;
};

constexpr uint8_t macs[2][12] = {{2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x10},
                                 {2, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0, 0, 0x13}};

void write(rte_mbuf* mbuf, const Outgoing& segment) {
  rte_pktmbuf_reset(mbuf);
  auto* const frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
  const size_t options = (segment.flags & tcp_flag::syn) != 0 ? 4 : 0;
  const size_t length = 40 + options + segment.data.size();
  mbuf->data_len = static_cast<uint16_t>(std::max<size_t>(60, 14 + length));
  mbuf->pkt_len = mbuf->data_len;
  std::memset(frame, 0, 14 + 40 + options);
  std::memcpy(frame, macs[static_cast<int>(segment.side)], 12);
  frame[12] = 8;
  uint8_t* const ip = frame + 14;
  ip[0] = 0x45;
  net::store_be16(ip + 2, static_cast<uint16_t>(length));
  ip[8] = 64;
  ip[9] = net::protocol::tcp;
  std::memcpy(ip + 12, &segment.tuple.src, 4);
  std::memcpy(ip + 16, &segment.tuple.dst, 4);
  net::store(ip + 10, net::checksum(ip, net::ipv4_header_length));
  uint8_t* const tcp = ip + net::ipv4_header_length;
  std::memcpy(tcp, &segment.tuple.src_port, 2);
  std::memcpy(tcp + 2, &segment.tuple.dst_port, 2);
  net::store_be32(tcp + 4, segment.seq);
  net::store_be32(tcp + 8, segment.ack);
  tcp[12] = static_cast<uint8_t>((20 + options) / 4 << 4);
  tcp[13] = segment.flags;
  net::store_be16(tcp + 14, 0xffff);
  if (options != 0) net::store_be32(tcp + 20, 2U << 24 | 4U << 16 | mss);
  std::memcpy(tcp + 20 + options, segment.data.data(), segment.data.size());
  net::store(tcp + 16, rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(ip), tcp));
}

struct Client {
  unsigned rule = 0;
  uint32_t next = 0, expected = 0;  // numbers: of what it sends, of what it waits for
  size_t missing = 0;               // bytes of the answer
  bool closed = false;
};

enum class Kind : uint8_t { Kept, New, Bulk };

class Conversation {
 public:
  Conversation(benchmark::State& state, Kind kind)
      : state_(state), kind_(kind), rig_({.connections = 2'097'152}), body_(kind == Kind::Bulk ? bulk_bytes : 64, 'x') {
    rig_.load(document());
    for (unsigned rule = 0; rule < hosts * paths; ++rule) requests_.push_back(request_of(rule, kind == Kind::New));
    for (unsigned number = 0; number < services * endpoints; ++number) {
      answers_.push_back(fmt::format("HTTP/1.1 200 OK\r\nX-From: {:3}\r\nContent-Length: {}\r\n{}\r\n{}", number,
                                     body_.size(), kind == Kind::New ? "Connection: close\r\n" : "", body_));
    }
  }

  // Begins connections of which each asks once; kept ones are asked again by again().
  void open(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const uint32_t number = opened_++;
      const Tuple tuple{wire(0x0af70000U + number % 60000), wire(0xc0000201U), wire16(1024 + number / 60000 % 60000),
                        wire16(80)};
      Client& client = clients_[key(tuple)];
      client = {.rule = number * 37 % (hosts * paths), .next = number * 64000};
      send({Side::A, tuple, tcp_flag::syn, client.next++, 0, {}});
    }
    run();
  }

  void ask(Client& client, const Tuple& tuple) {
    ++asked_;
    const std::string& text = requests_[client.rule];
    client.missing = answers_[0].size();
    send({Side::A, tuple, tcp_flag::ack | tcp_flag::psh, client.next, client.expected, text});
    client.next += static_cast<uint32_t>(text.size());
  }

  // Another request over each of `count` kept connections.
  void again(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const Tuple& tuple = kept_[at_++ % kept_.size()];
      ask(clients_.at(key(tuple)), tuple);
    }
    run();
  }

  void measure(unsigned at_once) {
    // Kept ones stay; of new ones so many that tables and caches are as they are later.
    for (unsigned i = 0; i < (kind_ == Kind::Bulk ? 1 : kind_ == Kind::New ? 100 : 8); ++i) {
      open(at_once);
      if (kind_ == Kind::New) clients_.clear();
    }
    frames_ = asked_ = 0;
    for (auto _ : state_) {
      spent_ = 0;
      if (kind_ == Kind::New) {
        open(at_once);
        clients_.clear();
      } else {
        again(at_once);
      }
      samples_.push_back(static_cast<double>(spent_) / at_once);
      state_.SetIterationTime(static_cast<double>(spent_) / static_cast<double>(rte_get_tsc_hz()));
    }
    std::sort(samples_.begin(), samples_.end());
    const auto quantile = [&](double part) {
      return samples_[static_cast<size_t>(static_cast<double>(samples_.size() - 1) * part)];
    };
    state_.counters["cycles"] = quantile(0.5);
    state_.counters["fastest"] = quantile(0.05);
    if (kind_ == Kind::Bulk) state_.counters["per_megabyte"] = quantile(0.5) / static_cast<double>(bulk_bytes) * 1e6;
    state_.counters["frames"] = static_cast<double>(frames_) / static_cast<double>(asked_);
    state_.SetItemsProcessed(state_.iterations() * at_once);
    if (!fault_.empty()) state_.SkipWithError((fault_ + "; " + rig_.drops()).c_str());
  }

 private:
  static uint64_t key(const Tuple& tuple) { return uint64_t{tuple.src} << 16 | tuple.src_port; }
  void send(const Outgoing& segment) { waiting_.push_back(segment); }

  // Until nobody has anything to say any more.
  void run() {
    for (unsigned quiet = 0; quiet < 3;) {
      const bool moved = step();
      quiet = moved ? 0 : quiet + 1;
    }
    for (const auto& [_, client] : clients_) {
      if (client.missing != 0) fault("an answer is not complete");
    }
  }

  bool step() {
    const auto count = static_cast<unsigned>(std::min<size_t>(64, waiting_.size()));
    for (const Side side : {Side::A, Side::B}) {
      std::array<rte_mbuf*, 64> frames;
      unsigned filled = 0;
      for (unsigned i = 0; i < count; ++i) {
        if (waiting_[i].side != side) continue;
        frames[filled] = rig_.take();
        write(frames[filled++], waiting_[i]);
      }
      if (filled != 0) rig_.offer(side, frames.data(), filled);
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + count);
    const uint64_t cycles = rig_.turn();
    const auto& out = rig_.collect();
    if (count == 0 && out.empty()) return false;
    spent_ += cycles;
    frames_ += count;
    for (const rte_mbuf* mbuf : out) {
      const Segment segment = read(mbuf);
      if (segment.frame[5] == 0x10) {
        client_hears(segment);
      } else {
        endpoint_hears(segment);
      }
    }
    (void)rig_.discard_output();  // has been read
    return true;
  }

  void client_hears(const Segment& segment) {
    const auto found = clients_.find(key(segment.tuple.reversed()));
    if (found == clients_.end()) return;  // of a connection that is over
    Client& client = found->second;
    const Tuple tuple = segment.tuple.reversed();
    if (segment.has(tcp_flag::rst)) return fault("a connection was reset");
    if (segment.has(tcp_flag::syn)) {
      client.expected = segment.end();
      send({Side::A, tuple, tcp_flag::ack, client.next, client.expected, {}});
      if (kind_ != Kind::New) kept_.push_back(tuple);
      return ask(client, tuple);
    }
    if (segment.seq != client.expected || segment.end() == segment.seq) return;
    check(client, segment.data);
    client.expected = segment.end();
    if (segment.data.size() > client.missing) return fault("more than the answer");
    client.missing -= segment.data.size();
    if (segment.has(tcp_flag::fin)) {
      send({Side::A, tuple, tcp_flag::ack | tcp_flag::fin, client.next, client.expected, {}});
      ++client.next;
    } else if (kind_ == Kind::Bulk && ++acks_ % 2 == 0) {
      send({Side::A, tuple, tcp_flag::ack, client.next, client.expected, {}});
    }
  }

  void check(const Client& client, std::string_view data) {
    if (data.substr(0, 9) != "HTTP/1.1 ") return;
    const auto from = data.find("X-From: ");
    if (from == std::string_view::npos) return fault("an answer of nobody: " + std::string(data.substr(0, 60)));
    const auto number = static_cast<unsigned>(std::atoi(std::string(data.substr(from + 8, 3)).c_str()));
    if (number / endpoints != service_of(client.rule)) fault("an answer of a wrong endpoint");
  }

  // It remembers nothing: what it says follows from what it hears.
  void endpoint_hears(const Segment& segment) {
    const Tuple tuple = segment.tuple.reversed();
    if (segment.has(tcp_flag::rst)) return;
    if (segment.has(tcp_flag::syn)) {
      send({Side::B, tuple, tcp_flag::syn | tcp_flag::ack, 7000, segment.end(), {}});
    } else if (!segment.data.empty()) {
      const uint32_t host = wire(segment.tuple.dst);
      const std::string_view answer = answers_[(host & 0xff) - 1];
      for (size_t at = 0; at < answer.size(); at += mss) {
        const std::string_view part = answer.substr(at, mss);
        const bool last = at + mss >= answer.size();
        const uint8_t more = last && kind_ == Kind::New ? tcp_flag::fin : 0;
        send({Side::B, tuple, static_cast<uint8_t>(tcp_flag::ack | tcp_flag::psh | more),
              segment.ack + static_cast<uint32_t>(at), segment.end(), part});
      }
    } else if (segment.has(tcp_flag::fin)) {
      const uint8_t mine = kind_ == Kind::New ? 0 : tcp_flag::fin;  // has been sent behind the answer
      send({Side::B, tuple, static_cast<uint8_t>(tcp_flag::ack | mine), segment.ack, segment.end(), {}});
    }
  }

  void fault(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }

  benchmark::State& state_;
  Kind kind_;
  BenchRig rig_;
  std::string body_;
  std::vector<std::string> requests_, answers_;
  std::unordered_map<uint64_t, Client> clients_;
  std::vector<Tuple> kept_;
  std::vector<Outgoing> waiting_;
  std::vector<double> samples_;
  std::string fault_;
  uint64_t spent_ = 0, frames_ = 0, asked_ = 0, acks_ = 0;
  uint32_t opened_ = 0;
  size_t at_ = 0;
};

void converse(benchmark::State& state, Kind kind, unsigned at_once) { Conversation(state, kind).measure(at_once); }

void register_all() {
  const auto add = [](const char* name, Kind kind, unsigned at_once) {
    benchmark::RegisterBenchmark(name, converse, kind, at_once)->UseManualTime()->Unit(benchmark::kMicrosecond);
  };
  add("kept", Kind::Kept, 64);
  add("new", Kind::New, 64);
  add("bulk", Kind::Bulk, 1);
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
