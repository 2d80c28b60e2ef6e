// What looking into connections costs, beside Hyperscan itself: cycles and bytes per second over the same segments of
// HTTP requests, by number of patterns.
//
//   content_bench --benchmark_format=json
#include <map>
#include <random>
#include <string>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "control/pattern_compiler.h"
#include "dataplane/l7/inspector.h"

namespace sluice::bench {
namespace {

constexpr size_t segment_size = 1448;  // of TCP with timestamps over Ethernet

// Patterns as rules of intrusion detection have them: words, numbers, some alternatives.
std::vector<config::ContentPattern> patterns(size_t count) {
  std::mt19937 random(5);
  const auto word = [&] {
    std::string out(4 + random() % 8, 'a');
    for (char& c : out) c = static_cast<char>('a' + random() % 26);
    return out;
  };
  std::vector<config::ContentPattern> out;
  for (size_t i = 0; i < count; ++i) {
    config::ContentPattern pattern{.name = std::to_string(i)};
    switch (i % 4) {
      case 0:
        pattern.all = {{.text = fmt::format("/{}/{}\\.(php|asp|jsp)\\?id=", word(), word()), .caseless = true}};
        break;
      case 1:
        pattern.all = {{.text = fmt::format("{}=[0-9]{{4,12}}&{}", word(), word())}};
        break;
      case 2:
        pattern.all = {{.text = fmt::format("X-{}: {}", word(), word()), .literal = true}};
        break;
      default:
        pattern.all = {{.text = fmt::format("{}[^\\r\\n]{{1,40}}{}", word(), word()), .caseless = true}};
    }
    out.push_back(std::move(pattern));
  }
  return out;
}

// Requests of browsers, one behind the other, in segments.
std::vector<std::string> segments(size_t bytes) {
  std::mt19937 random(9);
  std::string all;
  while (all.size() < bytes) {
    all += fmt::format(
        "GET /shop/items/{}?page={}&sort=price HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; "
        "Linux "
        "x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36\r\nAccept: text/html,application/"
        "xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\nCookie: session={:x}{:x}; "
        "theme=dark\r\nReferer: https://www.example.com/shop?page={}\r\n\r\n",
        random() % 100000, random() % 50, random(), random(), random() % 50);
  }
  std::vector<std::string> out;
  for (size_t at = 0; at + segment_size <= all.size(); at += segment_size) out.push_back(all.substr(at, segment_size));
  return out;
}

struct Compiled {
  std::shared_ptr<l7::ContentRules> rules;
  std::vector<l7::ContentEngine> engines;

  explicit Compiled(size_t count) {
    const auto wanted = patterns(count);
    auto first = control::PatternCompiler("").compile(wanted);
    auto second = control::PatternCompiler("").compile(wanted);
    if (!first || !second) return;
    std::vector<l7::ContentRule> named;
    for (const auto& pattern : wanted)
      named.push_back({pattern.name, "default/x", l7::ContentAction::Count, true, false});
    auto created = l7::ContentRules::create(std::move(named), {}, std::move(first->engines), {.depth = 1U << 30});
    if (created) rules = *created;
    engines = std::move(second->engines);
  }
};

// Compiled once: it takes longer than all the rest, and every repetition asks for it.
const Compiled& compiled_for(size_t count) {
  static std::map<size_t, Compiled> made;
  return made.try_emplace(count, count).first->second;
}

constexpr size_t stream_bytes = 16384;  // as many as are looked at by default

void hyperscan(benchmark::State& state) {
  const Compiled& compiled = compiled_for(static_cast<size_t>(state.range(0)));
  const auto text = segments(stream_bytes * 16);
  hs_scratch_t* scratch = nullptr;
  std::vector<hs_stream_t*> streams;
  for (const l7::ContentEngine& engine : compiled.engines) {
    hs_alloc_scratch(engine.stream.get(), &scratch);
    hs_stream_t* stream = nullptr;
    hs_open_stream(engine.stream.get(), 0, &stream);
    streams.push_back(stream);
  }
  uint64_t found = 0;
  const auto count = [](unsigned, unsigned long long, unsigned long long, unsigned, void* at) {
    ++*static_cast<uint64_t*>(at);
    return 0;
  };
  for (auto _ : state) {
    size_t in_stream = 0;
    for (const std::string& segment : text) {
      for (hs_stream_t* stream : streams) {
        hs_scan_stream(stream, segment.data(), static_cast<unsigned>(segment.size()), 0, scratch, count, &found);
        if (in_stream + segment.size() >= stream_bytes) hs_reset_stream(stream, 0, nullptr, nullptr, nullptr);
      }
      in_stream = in_stream + segment.size() >= stream_bytes ? 0 : in_stream + segment.size();
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size() * segment_size));
  for (hs_stream_t* stream : streams) hs_close_stream(stream, nullptr, nullptr, nullptr);
  hs_free_scratch(scratch);
}

void inspector(benchmark::State& state) {
  const Compiled& compiled = compiled_for(static_cast<size_t>(state.range(0)));
  const auto text = segments(stream_bytes * 16);
  l7::Inspector inspector(0, 16);
  for (auto _ : state) {
    l7::InspectionId chain = l7::no_inspection;
    uint32_t at = 0;
    for (const std::string& segment : text) {
      if (chain == l7::no_inspection) chain = inspector.begin(*compiled.rules, true, l7::no_inspection);
      const std::span<const uint8_t> part(reinterpret_cast<const uint8_t*>(segment.data()), segment.size());
      const l7::Segment packet{
          .tcp = true, .seq = at, .length = static_cast<uint32_t>(segment.size()), .parts = {&part, 1}};
      benchmark::DoNotOptimize(inspector.look(chain, packet));
      at += static_cast<uint32_t>(segment.size());
      if (at >= stream_bytes) {
        inspector.end(chain);
        chain = l7::no_inspection;
        at = 0;
      }
    }
    inspector.end(chain);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size() * segment_size));
}

BENCHMARK(hyperscan)->ArgName("patterns")->Arg(10)->Arg(100)->Arg(1000);
BENCHMARK(inspector)->ArgName("patterns")->Arg(10)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace sluice::bench

BENCHMARK_MAIN();
