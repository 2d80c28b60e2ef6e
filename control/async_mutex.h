// Mutual exclusion between coroutines of one thread: changes of configuration happen one after the other, in the
// order they were asked for.
#pragma once

#include <chrono>
#include <deque>
#include <memory>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::control {

// A Lock may outlive the mutex: coroutines that wait when the program ends are taken down after what they were part of.
class AsyncMutex {
  struct State {
    bool locked = false;
    std::deque<std::shared_ptr<boost::asio::steady_timer>> waiting;
  };

 public:
  class Lock {
   public:
    explicit Lock(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Lock(Lock&& other) noexcept = default;
    Lock& operator=(Lock&&) = delete;
    ~Lock() {
      if (state_ == nullptr) return;
      if (state_->waiting.empty()) {
        state_->locked = false;
        return;
      }
      // Stays locked: it is handed to the one that has waited longest.
      state_->waiting.front()->cancel();
      state_->waiting.pop_front();
    }

   private:
    std::shared_ptr<State> state_;
  };

  boost::asio::awaitable<Lock> lock() {
    const std::shared_ptr<State> state = state_;
    if (state->locked) {
      auto timer = std::make_shared<boost::asio::steady_timer>(co_await boost::asio::this_coro::executor,
                                                               std::chrono::steady_clock::time_point::max());
      state->waiting.push_back(timer);
      boost::system::error_code woken;
      co_await timer->async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
    }
    state->locked = true;
    co_return Lock(state);
  }

 private:
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace sluice::control
