// How an idle worker waits. Whether it has waited is seen from a grace period, which ends while it does.
#include "dataplane/idle_wait.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <rte_build_config.h>

#include "dataplane/doorbell.h"
#include "dataplane/pod_socket.h"
#include "dataplane/publisher.h"

namespace sluice::dataplane {
namespace {

constexpr uint32_t nap = 1;  // microseconds
constexpr unsigned soon = IdleWait::spin_turns + 100;

class IdleWaiting : public testing::Test {
 protected:
  IdleWaiting() {
    void* const ring =
        mmap(nullptr, PodSocket::ring_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT_NE(ring, MAP_FAILED);
    frames_ = eventfd(0, EFD_NONBLOCK);
    pods_ = PodSocket::over(frames_, ring);
    publish({});
    publisher_->online(0);
  }
  ~IdleWaiting() override { publisher_->offline(0); }

  void publish(std::vector<PollQueue> queues) {
    auto snapshot = std::make_unique<Snapshot>();
    snapshot->generation = ++generation_;
    snapshot->workers.resize(1);
    snapshot->workers[0].receive = std::move(queues);
    snapshot->workers[0].pods = pods_.get();
    (void)publisher_->publish(std::move(snapshot));
  }

  // Empty turns until it has waited once; 0: it did not in `most`.
  [[nodiscard]] unsigned turns_until_wait(unsigned most = soon) {
    const uint64_t token = publisher_->start_grace_period();
    for (unsigned turn = 1; turn <= most; ++turn) {
      idle_.after_turn(false);
      if (publisher_->passed(token)) return turn;
    }
    return 0;
  }

  std::unique_ptr<Publisher> publisher_ = Publisher::create(1).value();
  std::unique_ptr<Doorbell> doorbell_ = Doorbell::create().value();
  IdleWait idle_{0, *publisher_, *doorbell_, nap};
  uint32_t generation_ = 0;
  int frames_ = -1;
  std::unique_ptr<PodSocket> pods_;
};

TEST_F(IdleWaiting, WaitsAfterMoreThanTheSpinTurnsAndThenAfterEach) {
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns);
  EXPECT_EQ(turns_until_wait(), 1U);
  EXPECT_EQ(turns_until_wait(), 1U);
}

TEST_F(IdleWaiting, WorkBeginsItAnew) {
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns);
  idle_.after_turn(true);
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns);
}

TEST_F(IdleWaiting, TheDoorbellEndsItAndIsHeardOnce) {
  doorbell_->ring();  // nobody waits
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns);
  EXPECT_EQ(turns_until_wait(), 1U);
  doorbell_->ring();
  doorbell_->ring();
  EXPECT_EQ(turns_until_wait(), 1U);
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns) << "awake after it";
  EXPECT_EQ(turns_until_wait(), 1U) << "heard once";
}

TEST_F(IdleWaiting, AFrameOfAPodEndsIt) {
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns);
  ASSERT_EQ(eventfd_write(frames_, 1), 0);
  EXPECT_EQ(turns_until_wait(), 1U);
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns);
}

TEST_F(IdleWaiting, NapsBesideAQueueThatCannotTell) {
  publish({{0, 0}});
  EXPECT_EQ(turns_until_wait(), 0U);
  publish({});
  EXPECT_NE(turns_until_wait(), 0U) << "the queue is gone";
  publish({{0, 0}});
  EXPECT_EQ(turns_until_wait(), 0U) << "and came back";
}

TEST_F(IdleWaiting, NapsIfInterruptsCannotBeTurnedOn) {
  publish({{RTE_MAX_ETHPORTS - 1, 0, frames_}});  // no such port is open
  EXPECT_EQ(turns_until_wait(), 0U);
}

TEST_F(IdleWaiting, NeverRestsIfToldToPoll) {
  IdleWait polls(0, *publisher_, *doorbell_, 0);
  const uint64_t token = publisher_->start_grace_period();
  for (unsigned turn = 0; turn < 2 * soon; ++turn) polls.after_turn(false);
  EXPECT_FALSE(publisher_->passed(token));
}

TEST_F(IdleWaiting, TheSnapshotOfBeforeMayGoWhileItWaits) {
  EXPECT_GT(turns_until_wait(), IdleWait::spin_turns);
  publish({});
  EXPECT_NE(turns_until_wait(), 0U);
  publisher_->reclaim();  // ASan: nothing reads it afterwards
  EXPECT_NE(turns_until_wait(), 0U);
}

}  // namespace
}  // namespace sluice::dataplane
