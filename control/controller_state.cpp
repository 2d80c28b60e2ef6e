// Keeping the configuration for the next start: each change in the journal before it is acknowledged, the document
// written anew now and then, piece by piece between changes.
#include <utility>

#include <boost/asio/detached.hpp>

#include "control/controller.h"
#include "control/in_background.h"

namespace sluice::control {
namespace {

constexpr size_t large_change = 1000;        // objects; appended in the background
constexpr size_t piece = size_t{256} << 10;  // bytes of the document between two changes
constexpr auto sync_delay = std::chrono::milliseconds(200);
constexpr auto retry_delay = std::chrono::seconds(10);

}  // namespace

// Nothing, if it is no work to speak of.
std::unique_ptr<Controller::Keeping> Controller::begin_keeping(const config::Change& change) {
  if (!journal_.enabled() || change.touched.size() <= large_change) return nullptr;
  auto keeping = std::make_unique<Keeping>();
  keeping->errand =
      helpers_.begin([this, &change, out = &keeping->prepared] { *out = StateJournal::prepare(objects_, change); });
  return keeping;
}

Awaitable<void> Controller::end_keeping(std::unique_ptr<Keeping> keeping) {
  if (keeping == nullptr) co_return;
  const auto end = [&] {
    keeping.reset();
    return true;
  };
  (void)co_await run_in(background_, end);
}

Awaitable<std::optional<config::Warning>> Controller::remember(const config::Change& change, Keeping* keeping) {
  if (!journal_.enabled()) co_return std::nullopt;
  net::Status<> kept = net::Done{};
  if (journal_.is_broken() && !tidying_ && Clock::now() >= next_rewrite_) {
    tidying_ = true;
    kept = co_await rewrite_document(true);
    tidying_ = false;
  } else if (change.touched.size() > large_change) {
    const auto append = [&] {
      if (keeping == nullptr) return journal_.append(objects_, change, generation_);
      keeping->errand->finish();
      return journal_.append(keeping->prepared, generation_);
    };
    kept = co_await run_in(background_, append);
  } else {
    kept = journal_.append(objects_, change, generation_);
  }
  if (!std::exchange(syncing_, true)) {
    boost::asio::co_spawn(io_, tidy_journal(), boost::asio::detached);
  }
  if (kept) co_return std::nullopt;
  co_return config::Warning{.message = "applied, but not kept for the next start: " + kept.error().message};
}

// Runs once after the first of the changes that come within sync_delay.
Awaitable<void> Controller::tidy_journal() {
  co_await pause(sync_delay);
  syncing_ = false;
  const auto synced = co_await run_in(background_, journal_.sync());
  if (!synced) journal_.lose();
  // What is lost is written anew by catch_up(), which lets no change in meanwhile.
  if (journal_.is_broken() || !journal_.is_long() || tidying_ || Clock::now() < next_rewrite_) co_return;
  tidying_ = true;
  (void)co_await rewrite_document(false);
  tidying_ = false;
}

bool Controller::has_arrears() const {
  if (generation_ == 0) return false;
  const bool unkept = journal_.is_broken() && !tidying_ && Clock::now() >= next_rewrite_;
  return unkept || (!load_balancer_.frozen().empty() && Clock::now() >= next_giving_);
}

Awaitable<void> Controller::catch_up() {
  if (std::exchange(catching_up_, true)) co_return;
  {
    const auto lock = co_await changes_.lock();
    if (journal_.is_broken() && !tidying_ && Clock::now() >= next_rewrite_) {
      tidying_ = true;
      (void)co_await rewrite_document(true);
      tidying_ = false;
    }
    if (!load_balancer_.frozen().empty() && Clock::now() >= next_giving_) {
      next_giving_ = Clock::now() + retry_delay;
      if (load_balancer_log_.retry()) co_await give_to_those_who_wait();
    }
  }
  catching_up_ = false;
}

Awaitable<net::Status<>> Controller::rewrite_document(bool locked) {
  const auto fail = [this](const net::Error& error) {
    journal_.give_up();
    next_rewrite_ = Clock::now() + retry_delay;
    return error;
  };
  {
    std::optional<AsyncMutex::Lock> lock;
    if (!locked) lock.emplace(co_await changes_.lock());
    if (auto synced = co_await run_in(background_, journal_.sync()); !synced) {
      journal_.lose();
      co_return fail(synced.error());
    }
    if (auto rotated = journal_.rotate(); !rotated) co_return fail(rotated.error());
    if (auto begun = journal_.begin(generation_); !begun) co_return fail(begun.error());
  }
  config::ObjectKey last;
  bool first = true;
  bool more = true;
  while (more) {
    std::string text;
    {
      std::optional<AsyncMutex::Lock> lock;
      if (!locked) lock.emplace(co_await changes_.lock());
      more = false;
      objects_.each_after(last, [&](const config::ObjectKey& key, const std::string& object) {
        if (text.size() > piece) {
          more = true;
          return false;
        }
        if (!std::exchange(first, false)) text += ',';
        text += object;
        last = key;
        return true;
      });
    }
    const auto write = [&] { return journal_.write(text); };
    if (auto written = co_await run_in(background_, write); !written) co_return fail(written.error());
  }
  const auto end = [&] { return journal_.end(); };
  if (auto ended = co_await run_in(background_, end); !ended) co_return fail(ended.error());
  if (auto installed = journal_.install(); !installed) co_return fail(installed.error());
  co_return net::Done{};
}

}  // namespace sluice::control
