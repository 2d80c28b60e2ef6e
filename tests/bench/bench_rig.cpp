#include "tests/bench/bench_rig.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <span>

#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>
#include <rte_ring.h>

#include "dataplane/eal.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "tests/packet/deploy.h"

namespace sluice::bench {
namespace {

constexpr unsigned buffers = 512;
constexpr unsigned ring_slots = 1024;
constexpr uint16_t most_workers = 2;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::exit(1);
}

struct Wires {
  rte_ring* receive[2];
  rte_ring* transmit[2][most_workers];
};

// DPDK's environment and the two ports, once per process.
const Wires& wires() {
  static const Wires made = [] {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) fail("no CPU affinity");
    dataplane::EalOptions options;
    options.control_cpu = CPU_COUNT(&cpus) - 1;  // this thread; the last CPU is the quietest
    options.worker_cpus = {0};
    options.memory_mib = 192;
    // valgrind's address space is too small for the reservations of hugepages.
    if (getenv("SLUICE_BENCH_NO_HUGE") != nullptr) options.hugepages = dataplane::Hugepages::Never;
    auto eal = dataplane::Eal::init(options);
    if (!eal) fail(eal.error().message);
    static std::unique_ptr<dataplane::Eal> kept = std::move(*eal);
    Wires wires{};
    for (const int side : {0, 1}) {
      const std::string name(1, static_cast<char>('a' + side));
      wires.receive[side] =
          rte_ring_create(("bench_rx_" + name).c_str(), ring_slots, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
      for (uint16_t queue = 0; queue < most_workers; ++queue) {
        wires.transmit[side][queue] = rte_ring_create(("bench_tx_" + name + std::to_string(queue)).c_str(), ring_slots,
                                                      SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        if (wires.transmit[side][queue] == nullptr) fail("no memory for rings");
      }
      if (wires.receive[side] == nullptr) fail("no memory for rings");
      if (rte_eth_from_rings(name.c_str(), &wires.receive[side], 1, wires.transmit[side], most_workers, 0) < 0)
        fail("no ring ports");
    }
    return wires;
  }();
  return made;
}

}  // namespace

void Shape::write(rte_mbuf* mbuf, const Tuple& tuple) const {
  rte_pktmbuf_reset(mbuf);
  mbuf->data_len = static_cast<uint16_t>(frame_.size());
  mbuf->pkt_len = static_cast<uint32_t>(frame_.size());
  auto* const data = rte_pktmbuf_mtod(mbuf, uint8_t*);
  std::memcpy(data, frame_.data(), frame_.size());
  uint8_t* const ip = data + inner_;
  std::memcpy(ip + 12, &tuple.src, 4);
  std::memcpy(ip + 16, &tuple.dst, 4);
  std::memcpy(ip + 20, &tuple.src_port, 2);
  std::memcpy(ip + 22, &tuple.dst_port, 2);
  net::store(ip + 10, uint16_t{0});
  net::store(ip + 10, net::checksum(ip, net::ipv4_header_length));
  if (ip[9] != net::protocol::tcp) return;
  uint8_t* const tcp = ip + net::ipv4_header_length;
  net::store(tcp + 16, uint16_t{0});
  net::store(tcp + 16, rte_ipv4_udptcp_cksum(reinterpret_cast<const rte_ipv4_hdr*>(ip), tcp));
}

BenchRig::BenchRig(const Options& options)
    : content_("", options.workers), services_(config::one_after_the_other, &content_) {
  (void)wires();
  dataplane::DataplaneOptions plane_options;
  plane_options.workers = options.workers;
  plane_options.mbufs = 4 * buffers - 1;
  plane_options.connections = options.connections;
  plane_options.fib = {.max_routes_v4 = options.routes, .max_routes_v6 = 1024, .groups_v4 = 1024, .groups_v6 = 2048};
  auto plane = dataplane::Dataplane::create(plane_options);
  if (!plane) fail(plane.error().message);
  plane_ = std::move(*plane);
  for (uint16_t worker = 0; worker < options.workers; ++worker) plane_->publisher().online(worker);
  deployment_ = std::make_unique<control::Deployment>(*plane_);
  for (unsigned i = 0; i < buffers; ++i) {
    stock_.push_back(rte_pktmbuf_alloc(plane_->pool()));
    if (stock_.back() == nullptr) fail("no packet buffers");
  }
}

BenchRig::~BenchRig() {
  stop_second();
  give_back();
  for (rte_mbuf* mbuf : stock_) rte_pktmbuf_free(mbuf);
  for (uint16_t worker = 0; worker < plane_->worker_count(); ++worker) plane_->publisher().offline(worker);
  deployment_.reset();
  plane_.reset();
}

void BenchRig::load(const std::string& document) {
  const auto wait_for = [this](uint64_t token) {
    while (!plane_->publisher().passed(token)) (void)turn();
    return true;
  };
  const std::string wrong =
      packet_test::deploy(document, *deployment_, services_, wait_for, nullptr, control::DrainList(), &content_);
  if (!wrong.empty()) fail(wrong);
  for (int i = 0; i < 20; ++i) {  // what the router says when it starts
    advance_clock(500);
    (void)turn();
    (void)discard_output();
  }
}

rte_mbuf* BenchRig::take() {
  give_back();
  if (stock_.size() <= buffers / 2) {  // the router dropped some
    stock_.push_back(rte_pktmbuf_alloc(plane_->pool()));
    if (stock_.back() == nullptr) fail("packet buffers are lost");
  }
  rte_mbuf* const mbuf = stock_.front();
  stock_.pop_front();
  return mbuf;
}

void BenchRig::give_back() {
  stock_.insert(stock_.end(), out_.begin(), out_.end());
  out_.clear();
  offered_ = 0;
}

void BenchRig::offer(Side side, rte_mbuf* const* frames, unsigned count) {
  if (rte_ring_sp_enqueue_bulk(wires().receive[static_cast<int>(side)], reinterpret_cast<void* const*>(frames), count,
                               nullptr) != count) {
    fail("a receive ring is full");
  }
  offered_ += count;
}

void BenchRig::run_apart() {
  const unsigned lcore = rte_get_next_lcore(-1, 1, 0);
  const auto run = [](void* self) {
    auto& rig = *static_cast<BenchRig*>(self);
    while (!rig.stop_second_.load(std::memory_order_relaxed)) (void)rig.plane_->worker(1).run_once();
    return 0;
  };
  if (lcore == RTE_MAX_LCORE || rte_eal_remote_launch(run, this, lcore) != 0) fail("no second CPU");
  apart_ = true;
}

void BenchRig::stop_second() {
  if (!apart_) return;
  stop_second_ = true;
  rte_eal_mp_wait_lcore();
}

uint64_t BenchRig::turn() {
  const uint64_t begin = rte_rdtsc();
  if (apart_) {
    const dataplane::WorkerCounters& second = counters(1);
    const uint64_t busy = __atomic_load_n(&second.busy_cycles, __ATOMIC_RELAXED);
    (void)plane_->worker(0).run_once();
    const uint64_t spent = rte_rdtsc() - begin;
    while (collect().size() < offered_ && rte_rdtsc() - begin < rte_get_tsc_hz() / 10) rte_pause();
    // What it sent last it counts at the end of that turn.
    const uint64_t loops = __atomic_load_n(&second.loops, __ATOMIC_RELAXED);
    while (__atomic_load_n(&second.loops, __ATOMIC_RELAXED) < loops + 2) rte_pause();
    return spent + __atomic_load_n(&second.busy_cycles, __ATOMIC_RELAXED) - busy;
  }
  for (uint16_t worker = 0; worker < plane_->worker_count(); ++worker) (void)plane_->worker(worker).run_once();
  return rte_rdtsc() - begin;
}

const std::vector<rte_mbuf*>& BenchRig::collect() {
  void* items[128];
  for (rte_ring* ring : std::span(&wires().transmit[0][0], 2 * most_workers)) {
    while (const unsigned count = rte_ring_sc_dequeue_burst(ring, items, 128, nullptr)) {
      for (unsigned i = 0; i < count; ++i) out_.push_back(static_cast<rte_mbuf*>(items[i]));
    }
  }
  return out_;
}

size_t BenchRig::discard_output() {
  const size_t count = collect().size();
  give_back();
  return count;
}

void BenchRig::advance_clock(nat::Millis milliseconds) {
  for (uint16_t worker = 0; worker < plane_->worker_count(); ++worker)
    plane_->worker(worker).advance_clock(milliseconds);
}

std::string BenchRig::drops() const {
  std::string out;
  for (size_t reason = 0; reason < net::drop_reason_count; ++reason) {
    uint64_t count = 0;
    for (uint16_t worker = 0; worker < plane_->worker_count(); ++worker) count += counters(worker).drops[reason];
    if (count == 0) continue;
    out += (out.empty() ? "" : ", ") + std::string(net::name(static_cast<net::DropReason>(reason))) + " " +
           std::to_string(count);
  }
  return out;
}

}  // namespace sluice::bench
