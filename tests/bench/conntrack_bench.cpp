// What a lookup costs, in TSC cycles per packet: bursts of 1 to 64 packets of random connections, each pass over the
// burst timed on its own; medians. `hash` is the part of classify that belongs to the table (hash and prefetch of the
// bucket), `find` is find_bulk, `use` is what forwarding does to the flow record at the least. Then the life of a
// connection: insert, first packet, eviction of another; and the timer's share of its end.
#include "nat/conntrack.h"

#include <cstdlib>
#include <memory>
#include <vector>
#include <x86intrin.h>

#include <benchmark/benchmark.h>

#include "tests/bench/measure.h"

namespace sluice::nat {
namespace {

using bench::Distribution;
using bench::Random;
using net::V4;
using net::V6;

constexpr size_t most = 64;  // packets of a burst

// As large as net::FlowPacket.
template <class F>
struct BenchPacket {
  uint8_t packet[24];
  FlowKey<F> key;
  uint64_t hash;
};

net::Ipv4Addr address(V4, uint32_t number) { return net::Ipv4Addr::from_host(0x0a000000 + number); }
net::Ipv6Addr address(V6, uint32_t number) {
  net::Ipv6Addr addr{{0xfd}};
  net::store_be32(&addr.bytes[12], number);
  return addr;
}

template <class F>
FlowKey<F> key_of(uint32_t number) {
  return {address(F{}, number / 16),
          address(F{}, 0x800000 + number % 1000),
          be16::from_host(static_cast<uint16_t>(1024 + number % 16)),
          be16::from_host(80),
          net::protocol::udp,
          {}};
}

template <class F>
FlowKey<F> reply_of(uint32_t number, bool translated) {
  FlowKey<F> reply = key_of<F>(number).reversed();
  if (translated) reply.src = address(F{}, 0x900000 + number % 3000);
  return reply;
}

template <class F>
std::unique_ptr<Conntrack<F>> filled(uint32_t capacity, uint32_t connections, bool translated) {
  auto table = Conntrack<F>::create({capacity, 0}, 0);
  if (table == nullptr) std::abort();
  const net::FlowHasher hasher;
  for (uint32_t i = 0; i < connections; ++i) {
    const FlowKey<F> original = key_of<F>(i);
    const FlowKey<F> reply = reply_of<F>(i, translated);
    if (table->open(original, hasher(original), reply, hasher(reply), 0).status != OpenStatus::Ok) std::abort();
  }
  return table;
}

template <class F>
void lookup(benchmark::State& state) {
  const auto connections = static_cast<uint32_t>(state.range(0));
  const bool misses = state.range(1) != 0;
  const auto burst = static_cast<size_t>(state.range(2));
  const auto table = filled<F>(std::max(connections, 1'000'000U), connections, true);
  const net::FlowHasher hasher;
  Random random;
  std::vector<BenchPacket<F>> packets(burst);
  FlowId found[most];
  Distribution hash;
  Distribution find;
  Distribution use;
  Distribution sum;
  uint64_t hits = 0;
  for (auto _ : state) {
    for (auto& packet : packets) packet.key = key_of<F>(random.below(connections) + (misses ? 0x1000000 : 0));
    const uint64_t start = __rdtsc();
    for (auto& packet : packets) {
      packet.hash = hasher(packet.key);
      table->prefetch(packet.hash);
    }
    const uint64_t hashed = __rdtsc();
    table->find_bulk(packets.data(), burst, found);
    const uint64_t looked_up = __rdtsc();
    for (size_t i = 0; i < burst; ++i) {
      const FlowId id = found[i];
      if (id == no_flow) continue;
      ++hits;
      account(table->flow(id), 100, 1);
    }
    const uint64_t used = __rdtsc();
    hash.add(hashed - start);
    find.add(looked_up - hashed);
    use.add(used - looked_up);
    sum.add(used - start);
  }
  if (hits != (misses ? 0 : state.iterations() * burst)) state.SkipWithError("wrong answers");
  const auto per_packet = [burst](const Distribution& cycles) {
    return cycles.quantile(0.5) / static_cast<double>(burst);
  };
  state.counters["hash"] = per_packet(hash);
  state.counters["find"] = per_packet(find);
  state.counters["use"] = per_packet(use);
  state.counters["sum"] = per_packet(sum);
}

// A table held at `connections`, each iteration opens one connection and closes the oldest.
template <class F>
void churn(benchmark::State& state) {
  const auto connections = static_cast<uint32_t>(state.range(0));
  const auto table = filled<F>(connections, connections, true);
  const net::FlowHasher hasher;
  const Timeouts timeouts;
  uint32_t number = connections;
  for (auto _ : state) {
    const FlowKey<F> original = key_of<F>(number);
    const FlowKey<F> reply = reply_of<F>(number, true);
    ++number;
    const uint64_t original_hash = hasher(original);
    const uint64_t reply_hash = hasher(reply);
    table->prefetch(original_hash);
    table->prefetch(reply_hash);
    table->evict([](ConnectionId) {});
    const Opened opened = table->open(original, original_hash, reply, reply_hash, 0);
    if (opened.status != OpenStatus::Ok) std::abort();
    benchmark::DoNotOptimize(table->track(opened.flow, {}, timeouts, 0));
  }
}

// A full table that became idle, reclaimed in calls of 64.
template <class F>
void reclaim(benchmark::State& state) {
  const auto connections = static_cast<uint32_t>(state.range(0));
  const Timeouts timeouts;
  uint64_t closed = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const auto table = filled<F>(connections, connections, true);
    state.ResumeTiming();
    while (table->counters().connections != 0) closed += table->expire(100'000, timeouts, 64, [](ConnectionId) {});
  }
  state.SetItemsProcessed(static_cast<int64_t>(closed));
}

BENCHMARK(lookup<V4>)
    ->ArgNames({"flows", "miss", "burst"})
    ->ArgsProduct({{1'000, 10'000, 100'000, 1'000'000, 4'000'000}, {0}, {64}})
    ->ArgsProduct({{1'000, 4'000'000}, {0}, {1, 4, 16, 32}})
    ->Args({1'000'000, 1, 64});
BENCHMARK(lookup<V6>)
    ->ArgNames({"flows", "miss", "burst"})
    ->ArgsProduct({{1'000, 10'000, 100'000, 1'000'000}, {0}, {64}})
    ->Args({1'000'000, 1, 64});
BENCHMARK(churn<V4>)->ArgName("flows")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(churn<V6>)->ArgName("flows")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(reclaim<V4>)->ArgName("flows")->Arg(1'000)->Arg(1'000'000);

}  // namespace
}  // namespace sluice::nat

BENCHMARK_MAIN();
