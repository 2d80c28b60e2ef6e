// How fast a cache line goes from one CPU to another and back: two threads, each alone on its CPU, hand one to and fro.
// scripts/bench asks before and after each measurement between processes. The virtual CPUs of a virtual machine move
// about the host's cores: what is passed between two of them costs several times as much in one minute as in another.
//
//   line_exchange CPU CPU [MILLISECONDS]
//
// prints JSON: median and quartiles of a round trip in nanoseconds, and of how many batches of round trips.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned batch = 16;                      // round trips between two looks at the clock
constexpr std::size_t enough = 64;                  // batches; fewer only if even `patience` is over
constexpr auto patience = std::chrono::seconds(2);  // other programs may have taken a CPU
constexpr unsigned spins_per_look = 1024;           // at what is not the line

// Each alone on its line, and on the pair of lines that is fetched together.
struct alignas(128) Word {
  std::atomic<std::uint64_t> value = 0;
};

Word ball;  // odd: the second thread is to answer; even: the first
Word over;

bool run_on(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

// Waits for a value; false if `ended` says so first.
template <typename Ended>
bool wait_for(std::uint64_t wanted, Ended ended) {
  for (unsigned spins = 1; ball.value.load(std::memory_order_acquire) != wanted; ++spins) {
    if (spins % spins_per_look == 0 && ended()) return false;
  }
  return true;
}

void answer() {
  for (std::uint64_t wanted = 1;; wanted += 2) {
    if (!wait_for(wanted, [] { return over.value.load(std::memory_order_relaxed) != 0; })) return;
    ball.value.store(wanted + 1, std::memory_order_release);
  }
}

// Nanoseconds of a round trip, one figure a batch. An unfinished batch does not count.
std::vector<double> serve(Clock::duration wanted) {
  std::vector<double> found;
  const auto begin = Clock::now();
  auto before = begin;
  for (std::uint64_t sent = 0;;) {
    for (unsigned trip = 0; trip < batch; ++trip, sent += 2) {
      ball.value.store(sent + 1, std::memory_order_release);
      if (!wait_for(sent + 2, [begin] { return Clock::now() - begin > patience; })) return found;
    }
    const auto now = Clock::now();
    found.push_back(std::chrono::duration<double, std::nano>(now - before).count() / batch);
    before = now;
    if (now - begin > wanted && (found.size() >= enough || now - begin > patience)) return found;
  }
}

bool read(const char* text, unsigned& number) {
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), number);
  return error == std::errc{} && *end == '\0';
}

int fail(const char* what) {
  std::fprintf(stderr, "line_exchange: %s\n", what);
  return 1;
}

}  // namespace

int main(int count, char** words) {
  unsigned first = 0, second = 0, milliseconds = 20;
  if (count < 3 || count > 4 || !read(words[1], first) || !read(words[2], second) ||
      (count > 3 && !read(words[3], milliseconds))) {
    return fail("usage: line_exchange CPU CPU [MILLISECONDS]");
  }
  if (first >= CPU_SETSIZE || second >= CPU_SETSIZE || first == second) return fail("two different CPUs are needed");
  // The second thread begins where it belongs, so a CPU that there is not is noticed before there is one.
  if (!run_on(second)) return fail("no thread can run on the second CPU");
  std::thread peer(answer);
  std::vector<double> found;
  const bool placed = run_on(first);
  if (placed) found = serve(std::chrono::milliseconds(milliseconds));
  over.value.store(1, std::memory_order_relaxed);
  peer.join();
  if (!placed) return fail("no thread can run on the first CPU");
  if (found.empty()) return fail("the line did not come back: other programs have the CPUs");
  std::sort(found.begin(), found.end());
  const auto quartile = [&found](unsigned quarter) { return found[(found.size() - 1) * quarter / 4]; };
  std::printf("{\"median\": %.1f, \"lower\": %.1f, \"upper\": %.1f, \"batches\": %zu}\n", quartile(2), quartile(1),
              quartile(3), found.size());
  return 0;
}
