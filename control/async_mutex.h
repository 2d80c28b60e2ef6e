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

class AsyncMutex {
 public:
  class Lock {
   public:
    explicit Lock(AsyncMutex& mutex) : mutex_(&mutex) {}
    Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock() {
      if (mutex_ != nullptr) mutex_->unlock();
    }

   private:
    AsyncMutex* mutex_;
  };

  boost::asio::awaitable<Lock> lock() {
    if (locked_) {
      auto timer = std::make_shared<boost::asio::steady_timer>(co_await boost::asio::this_coro::executor,
                                                               std::chrono::steady_clock::time_point::max());
      waiting_.push_back(timer);
      boost::system::error_code woken;
      co_await timer->async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
    }
    locked_ = true;
    co_return Lock(*this);
  }

 private:
  void unlock() {
    if (waiting_.empty()) {
      locked_ = false;
      return;
    }
    // Stays locked: it is handed to the one that has waited longest.
    waiting_.front()->cancel();
    waiting_.pop_front();
  }

  bool locked_ = false;
  std::deque<std::shared_ptr<boost::asio::steady_timer>> waiting_;
};

}  // namespace sluice::control
