// When a worker lets frames gather. Its traffic is made up here: how many frames come in how many microseconds.
#include "dataplane/moderation.h"

#include <algorithm>
#include <cstddef>

#include <gtest/gtest.h>

#include "dataplane/snapshot.h"

namespace sluice::dataplane {
namespace {

constexpr uint64_t tsc_hz = 2'000'000'000;
constexpr uint64_t microsecond = tsc_hz / 1'000'000;

class Moderating : public testing::Test {
 protected:
  // A turn that took this many frames, and took so long.
  void turn(unsigned frames, double microseconds) {
    now_ += static_cast<uint64_t>(microseconds * microsecond);
    waits_ = moderation_.after_turn(frames, now_);
    ++turns_;
    if (!waits_) return;
    now_ += static_cast<uint64_t>(Moderation::wait_microseconds * microsecond);
    ++waited_;
  }

  // So many frames per microsecond come whatever the router does. Returns the share of turns that it waited after.
  double open_loop(double rate, double microseconds, double turn_time = 5) {
    turns_ = waited_ = 0;
    double arrived = 0;
    for (const uint64_t end = now_ + static_cast<uint64_t>(microseconds * microsecond); now_ < end;) {
      arrived += rate * (turn_time + (waits_ ? Moderation::wait_microseconds : 0));
      const auto frames = static_cast<unsigned>(std::min(arrived, 64.0));
      arrived -= frames;
      if (frames == 0) {
        now_ += static_cast<uint64_t>(turn_time * microsecond);
        waits_ = false;
      } else {
        turn(frames, turn_time);
      }
    }
    return static_cast<double>(waited_) / std::max(1U, turns_);
  }

  // So many connections each wait for an answer, which comes `answer` microseconds after the router has sent the last
  // frame: what it does decides how many come. A turn finds all of them that the time suffices for.
  double closed_loop(unsigned connections, double answer, double microseconds) {
    turns_ = waited_ = 0;
    for (const uint64_t end = now_ + static_cast<uint64_t>(microseconds * microsecond); now_ < end;) {
      turn(connections, waits_ ? std::max(5.0, answer - Moderation::wait_microseconds) : answer);
    }
    return static_cast<double>(waited_) / std::max(1U, turns_);
  }

  Moderation moderation_{tsc_hz};
  uint64_t now_ = microsecond;
  bool waits_ = false;
  unsigned turns_ = 0;
  unsigned waited_ = 0;
};

TEST_F(Moderating, LetsFramesGatherThatComeAnyway) {
  open_loop(0.1, 50'000);  // 100 000 a second
  EXPECT_GT(open_loop(0.1, 1'000'000), 0.9);
}

TEST_F(Moderating, NeverWaitsForFewFrames) {
  EXPECT_EQ(open_loop(0.01, 3'000'000), 0);  // 10 000 a second
}

TEST_F(Moderating, NeverWaitsBehindFullTurns) { EXPECT_EQ(open_loop(12, 1'000'000), 0); }

TEST_F(Moderating, GivesUpWhatMakesConnectionsWaitForIt) {
  // One connection, an answer after 20 us: waiting costs more than half of it.
  EXPECT_LT(closed_loop(1, 20, 3'000'000), 0.06);
  // Four of them, all at once: a turn brings four frames, and there would be a third as many turns.
  EXPECT_LT(closed_loop(4, 20, 3'000'000), 0.06);
}

TEST_F(Moderating, StaysWithConnectionsThatHaveToWaitForOthersAnyway) {
  closed_loop(16, 60, 50'000);
  EXPECT_GT(closed_loop(16, 60, 1'000'000), 0.9);
}

TEST_F(Moderating, IsTriedAgainWhenFarMoreCome) {
  EXPECT_LT(closed_loop(1, 20, 2'000'000), 0.06);
  open_loop(0.2, 25'000);
  EXPECT_GT(open_loop(0.2, 200'000), 0.9);
}

TEST_F(Moderating, EndsWhenFramesEnd) {
  open_loop(0.1, 100'000);
  now_ += 30'000 * microsecond;
  EXPECT_LT(open_loop(0.001, 100'000), 0.02) << "the first turn after the pause at most";
}

TEST(ModeratedPorts, AreAllSocketsOfTheKernel) {
  const PollQueue nic{0, 0};
  const PollQueue socket{1, 0, -1, true};
  auto* const pods = reinterpret_cast<PodSocket*>(alignof(std::max_align_t));  // not looked into
  EXPECT_FALSE((WorkerPorts{{}, nullptr}).through_kernel()) << "it polls nothing";
  EXPECT_TRUE((WorkerPorts{{}, pods}).through_kernel());
  EXPECT_TRUE((WorkerPorts{{socket, socket}, nullptr}).through_kernel());
  EXPECT_TRUE((WorkerPorts{{socket}, pods}).through_kernel());
  EXPECT_FALSE((WorkerPorts{{socket, nic}, pods}).through_kernel()) << "a NIC is not made to wait";
}

}  // namespace
}  // namespace sluice::dataplane
