// The packet path does not allocate: what a worker's turns take from the heap is counted, while flows are opened, used,
// refused, given up for others and forgotten. What is compiled with the tests' own operator new is the whole program,
// the data plane included; DPDK's buffers are from a pool.
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "tests/packet/documents.h"
#include "tests/packet/rig.h"

namespace {

// Of this thread, while it is asked for: DPDK has threads of its own.
thread_local bool counting = false;
thread_local uint64_t allocations = 0;

void* counted(size_t size, size_t alignment) {
  if (counting) ++allocations;
  size = (size + alignment - 1) / alignment * alignment;
  void* memory = alignment <= alignof(std::max_align_t) ? std::malloc(size) : std::aligned_alloc(alignment, size);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return counted(size, 1); }
void* operator new[](size_t size) { return counted(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) { return counted(size, static_cast<size_t>(alignment)); }
void* operator new[](size_t size, std::align_val_t alignment) { return counted(size, static_cast<size_t>(alignment)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return counted(size, 1); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return counted(size, 1); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace sluice::packet_test {
namespace {

constexpr int burst = 32;
constexpr uint32_t connections = 2048;  // of the table, so that it is full before long

const ServiceSpec web{.name = "web",
                      .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                      .ports = {"TCP 80 8080 30080", "UDP 53 5353 30053"},
                      .endpoints = {"10.246.1.20 node3", "10.246.1.21 node3", "fd00:10:246::20 node3"}};
const ServiceSpec empty{.name = "empty", .cluster_ips = {"10.96.0.11"}, .ports = {"UDP 53 5353"}, .endpoints = {}};

class Allocation : public RigTest {
 protected:
  void SetUp() override {
    start({.connections = connections});
    rig().load(list({gateway(), cluster(), service(web), service(empty)}));
  }

  // The frames of `packets` come in by a port, spread over its queues; the workers turn until all is out. Returns how
  // many frames came out; what the turns allocated is added to in_turns.
  unsigned pass(char port, const std::vector<Ip>& packets) {
    const uint8_t last = static_cast<uint8_t>(port - 'a' + 0xa);
    for (size_t i = 0; i < packets.size(); ++i) {
      const Bytes frame = ethernet(mac(last), mac(0xee), packets[i].bytes());
      rte_mbuf* const mbuf = rte_pktmbuf_alloc(rig().plane().pool());
      if (mbuf == nullptr) std::abort();
      std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
      if (rte_ring_enqueue(ring("rx", port, i % GetParam()), mbuf) != 0) std::abort();
    }
    for (int turn = 0; turn < 8; ++turn) {
      for (uint16_t worker = 0; worker < GetParam(); ++worker) {
        const uint64_t before = allocations;
        counting = true;
        (void)rig().plane().worker(worker).run_once();
        counting = false;
        in_turns_ += allocations - before;
      }
    }
    return taken_out();
  }
  // Time passes for the workers, then timers run in their turns.
  void wait(nat::Millis milliseconds) {
    for (uint16_t worker = 0; worker < GetParam(); ++worker) rig().plane().worker(worker).advance_clock(milliseconds);
    for (int i = 0; i < 40; ++i) (void)pass('b', {});
  }
  [[nodiscard]] uint64_t in_turns() const { return in_turns_; }
  [[nodiscard]] uint64_t event(dataplane::Event which) { return rig().count(which); }

  static std::string from(int number) {
    return "10.246.1." + std::to_string(30 + number % 20) + ":" + std::to_string(1024 + number / 20);
  }
  static std::string outside(int number) { return "198.51.100.9:" + std::to_string(1024 + number); }

  // `count` packets in bursts, packet i by `make(i)`; how many came out.
  unsigned flood(char port, int first, int count, const std::function<Ip(int)>& make) {
    unsigned out = 0;
    for (int at = first; at < first + count; at += burst) {
      std::vector<Ip> packets;
      for (int i = at; i < at + burst; ++i) packets.push_back(make(i));
      out += pass(port, packets);
    }
    return out;
  }

 private:
  static rte_ring* ring(const char* direction, char port, size_t queue) {
    const std::string name = std::string("test_") + direction + "_" + port + std::to_string(queue);
    rte_ring* const found = rte_ring_lookup(name.c_str());
    if (found == nullptr) std::abort();
    return found;
  }
  unsigned taken_out() {
    unsigned count = 0;
    for (const char port : {'a', 'b', 'c'}) {
      for (size_t queue = 0; queue < 4; ++queue) {
        void* item = nullptr;
        while (rte_ring_dequeue(ring("tx", port, queue), &item) == 0) {
          rte_pktmbuf_free(static_cast<rte_mbuf*>(item));
          ++count;
        }
      }
    }
    return count;
  }

  uint64_t in_turns_ = 0;
};

TEST(AllocationCounter, CountsWhatIsTakenFromTheHeap) {
  counting = true;
  const uint64_t before = allocations;
  const auto text = std::make_unique<std::vector<int>>(1000);
  counting = false;
  EXPECT_EQ(allocations - before, 2) << "the vector and what it holds";
  EXPECT_EQ(text->size(), 1000u);
}

TEST_P(Allocation, EstablishedFlowsTakeNothingFromTheHeap) {
  const auto request = [](int i) { return udp(from(i % 256), "10.96.0.10:53"); };
  const auto plain = [](int i) { return udp("10.246.1.5:" + std::to_string(1024 + i % 64), "192.0.2.10:9"); };
  (void)flood('b', 0, 256, request);
  (void)flood('b', 0, 64, plain);
  const uint64_t before = in_turns();
  EXPECT_EQ(flood('b', 0, 2048, request), 2048u);
  EXPECT_EQ(flood('b', 0, 512, plain), 512u);
  EXPECT_EQ(in_turns() - before, 0u);
}

TEST_P(Allocation, NewFlowsTakeNothingFromTheHeap) {
  const auto to_service = [](int i) { return udp(from(i), "10.96.0.10:53"); };
  const auto to_node = [](int i) { return udp(outside(i), "192.0.2.1:30053"); };
  const auto connection = [](int i) { return tcp(from(i), "10.96.0.10:80", "S").with_seq(100, 0); };
  const auto refused = [](int i) { return udp(from(i), "10.96.0.11:53"); };
  const auto v6 = [](int i) { return udp("[fd00:10:246::3]:" + std::to_string(1024 + i), "[fd00:10:96::10]:53"); };
  // Warm-up: one burst of each.
  (void)flood('b', 0, burst, to_service);
  (void)flood('a', 0, burst, to_node);
  (void)flood('b', 0, burst, connection);
  (void)flood('b', 0, burst, refused);
  (void)flood('b', 0, burst, v6);
  wait(1000);
  const uint64_t before = in_turns();
  const uint64_t opened = event(dataplane::Event::FlowsOpened);
  EXPECT_GT(flood('b', burst, 512, to_service), 500u);
  EXPECT_GT(flood('a', burst, 512, to_node), 500u);
  EXPECT_GT(flood('b', burst, 512, connection), 500u);
  EXPECT_GT(flood('b', burst, 512, v6), 500u);
  (void)flood('b', burst, 512, refused);
  EXPECT_GT(event(dataplane::Event::FlowsOpened) - opened, 2000u);
  // More than the table holds: each one that comes takes the place of an old one.
  EXPECT_GT(flood('b', 1024, 4096, to_service), 4000u);
  EXPECT_EQ(in_turns() - before, 0u);
}

TEST_P(Allocation, FlowsThatEndTakeNothingFromTheHeap) {
  const auto to_service = [](int i) { return udp(from(i), "10.96.0.10:53"); };
  (void)flood('b', 0, burst, to_service);
  wait(300'000);
  EXPECT_EQ(rig().flows(), 0u);
  const uint64_t before = in_turns();
  (void)flood('b', 0, 1024, to_service);
  EXPECT_GT(rig().flows(), 1000u);
  wait(300'000);
  EXPECT_EQ(rig().flows(), 0u);
  EXPECT_EQ(in_turns() - before, 0u);
}

SLUICE_WITH_WORKERS(Allocation);

}  // namespace
}  // namespace sluice::packet_test
