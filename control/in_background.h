// Work that would hold the control thread up, in a thread of its own.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::control {

// What `work` returns; it runs in `pool`, the caller goes on where it was.
template <class Work, class Made = std::invoke_result_t<Work>>
boost::asio::awaitable<Made> run_in(boost::asio::thread_pool& pool, Work work) {
  std::optional<Made> made;
  auto run = [](Work& task, std::optional<Made>& out) -> boost::asio::awaitable<void> {
    out.emplace(task());
    co_return;
  };
  co_await boost::asio::co_spawn(pool, run(work, made), boost::asio::use_awaitable);
  co_return *std::move(made);
}

}  // namespace sluice::control
