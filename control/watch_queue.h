// What waits for one client of a watch until its connection takes it. Bounded: what does not fit is counted, and the
// client is told how much it missed. Control thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::control {

template <class Item>
class WatchQueue {
 public:
  struct Taken {
    std::vector<Item> items;
    uint64_t lost = 0;  // after the items
  };

  // `limit`: items that may wait.
  WatchQueue(boost::asio::io_context& io, size_t limit)
      : limit_(limit), timer_(io, std::chrono::steady_clock::time_point::max()) {}

  void put(Item item) {
    if (items_.size() == limit_) {
      ++lost_;
    } else {
      items_.push_back(std::move(item));
    }
  }
  void lose(uint64_t items) { lost_ += items; }
  // After these: whoever waits goes on.
  void wake() {
    if (!empty()) timer_.cancel();
  }

  // At most `most`; empty if nothing came for `patience`. One call at a time.
  boost::asio::awaitable<Taken> take(std::chrono::milliseconds patience, size_t most) {
    if (empty()) {
      timer_.expires_after(patience);
      boost::system::error_code woken;
      co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
    }
    Taken taken;
    for (; !items_.empty() && taken.items.size() < most; items_.pop_front()) {
      taken.items.push_back(std::move(items_.front()));
    }
    // What was lost came after what waited.
    if (items_.empty()) taken.lost = std::exchange(lost_, 0);
    co_return taken;
  }

 private:
  [[nodiscard]] bool empty() const { return items_.empty() && lost_ == 0; }

  size_t limit_;
  std::deque<Item> items_;
  uint64_t lost_ = 0;
  boost::asio::steady_timer timer_;
};

}  // namespace sluice::control
