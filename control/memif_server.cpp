#include "control/memif_server.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace sluice::control {
namespace {

constexpr auto listen_again = std::chrono::seconds(1);
constexpr auto accept_again = std::chrono::milliseconds(250);
constexpr auto connect_again = std::chrono::seconds(1);
constexpr auto mapped_again = std::chrono::milliseconds(5);
constexpr auto look_again = std::chrono::milliseconds(50);  // for something to be closed, or a name to be free
constexpr auto most_talk = std::chrono::seconds(2);

}  // namespace

MemifServer::MemifServer(std::string folder) : path_(std::move(folder)) { open_folder(); }

void MemifServer::open_folder() {
  if (path_.empty()) {
    folder_problem_ = "no folder for the sockets of pods was named (--pod-sockets)";
    return;
  }
  auto made = make_pod_folder(path_, nullptr);
  auto opened = open_pod_folder(path_);
  if (opened) {
    folder_ = std::move(*opened);
    folder_problem_.clear();
  } else {
    folder_problem_ = made ? opened.error().message : made.error().message;
  }
}

MemifServer::~MemifServer() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake();
  if (thread_.joinable()) thread_.join();
}

void MemifServer::wake() const {
  const uint64_t one = 1;
  if (wake_.is_open()) (void)!write(wake_.number(), &one, sizeof one);
}

MemifServer::Key MemifServer::add(const config::MemifDevice& device) {
  if (!folder_.is_open()) open_folder();
  const Key key = next_key_++;
  if (folder_.is_open() && !thread_.joinable()) start();
  {
    const std::lock_guard lock(mutex_);
    shared_.emplace(key, Shared{device, false, nullptr, folder_.is_open() ? thread_problem_ : folder_problem_});
  }
  wake();
  return key;
}

void MemifServer::start() {
  thread_problem_.clear();
  wake_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.is_open()) {
    thread_problem_ = fmt::format("eventfd: {}", std::strerror(errno));
    return;
  }
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    thread_problem_ = error.what();
  }
}

void MemifServer::remove(Key key) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = shared_.find(key);
    if (found == shared_.end()) return;
    if (!thread_.joinable()) {
      shared_.erase(found);
      return;
    }
    found->second.removed = true;
  }
  wake();
}

MemifServer::View MemifServer::look(Key key) {
  bool broken = false;
  View view;
  {
    const std::lock_guard lock(mutex_);
    const auto found = shared_.find(key);
    if (found == shared_.end()) return view;
    view = {found->second.link, found->second.problem};
    broken = view.link != nullptr && view.link->is_broken();
  }
  if (broken) wake();
  return view;
}

void MemifServer::give_back(std::shared_ptr<dataplane::MemifLink> link) { bury(std::move(link)); }

std::weak_ptr<const void> MemifServer::bury(std::shared_ptr<const void> thing) {
  if (thing == nullptr) return {};
  // A weak pointer to the thing itself would be expired before its destructor has run.
  const auto alive = std::make_shared<char>();
  try {
    std::thread([held = std::move(thing), token = alive]() mutable {
      held.reset();
      token.reset();
    }).detach();
  } catch (const std::system_error&) {
    // No further thread: it is gone already, and who called had to wait for it.
  }
  return alive;
}

// ---- the thread ----------------------------------------------------------------------------------------

void MemifServer::run() {
  if (auto ready = become_socket_maker(); !ready) {
    const std::lock_guard lock(mutex_);
    thread_problem_ = ready.error().message;
    for (auto& [key, shared] : shared_) shared.problem = thread_problem_;
    return;
  }
  while (synchronise()) {
    const Clock::time_point now = Clock::now();
    Clock::time_point next = Clock::time_point::max();
    polled_.assign(1, {wake_.number(), POLLIN, 0});
    for (auto& [key, pod] : pods_) {
      if (!pod.listener.socket.is_open() && now >= pod.next_try) listen(key, pod, now);
      pod.polled = 0;
      if (pod.session != nullptr) {
        pod.polled = polled_.size();
        polled_.push_back({pod.session->descriptor(), POLLIN, 0});
        if (pod.session->state() == MemifSession::State::Talking) next = std::min(next, pod.deadline);
        if (pod.session->is_mapping()) next = std::min(next, now + mapped_again);
      } else if (!pod.listener.socket.is_open() || now < pod.next_try) {
        next = std::min(next, pod.next_try);
      } else if (!is_free(pod)) {
        next = std::min(next, now + look_again);
      } else {
        pod.polled = polled_.size();
        polled_.push_back({pod.listener.socket.number(), POLLIN, 0});
      }
    }
    int timeout = -1;
    if (next != Clock::time_point::max()) {
      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - now);
      timeout = static_cast<int>(std::max<int64_t>(wait.count(), 0));
    }
    if (poll(polled_.data(), polled_.size(), timeout) < 0) continue;
    if (polled_.front().revents != 0) {
      uint64_t count = 0;
      (void)!read(wake_.number(), &count, sizeof count);
    }
    const Clock::time_point then = Clock::now();
    for (auto& [key, pod] : pods_) {
      const bool ready = pod.polled != 0 && polled_[pod.polled].revents != 0;
      if (pod.session != nullptr) {
        advance(key, pod, ready, then);
      } else if (ready) {
        accept(pod, then);
      }
    }
  }
  // The folders stay: a pod that has one keeps it when the router starts again.
  for (auto& [key, pod] : pods_) close_down(key, pod);
}

bool MemifServer::synchronise() {
  std::vector<Key> gone;
  {
    const std::lock_guard lock(mutex_);
    if (stop_) return false;
    for (const auto& [key, shared] : shared_) {
      if (shared.removed) {
        gone.push_back(key);
      } else if (!pods_.contains(key)) {
        pods_[key].device = shared.device;
      }
    }
  }
  for (const Key key : gone) {
    if (const auto pod = pods_.find(key); pod != pods_.end()) {
      close_down(key, pod->second);
      const std::string name = pod->second.device.socket;
      pods_.erase(pod);
      // One that takes its place, with another id or MTU, keeps the folder, which the pod may have mounted.
      const bool wanted = std::any_of(pods_.begin(), pods_.end(),
                                      [&](const auto& other) { return other.second.device.socket == name; });
      if (!wanted) remove_pod_folder(folder_, name);
    }
    const std::lock_guard lock(mutex_);
    shared_.erase(key);
  }
  return true;
}

void MemifServer::tell(Key key, const std::string& problem) {
  const std::lock_guard lock(mutex_);
  if (const auto found = shared_.find(key); found != shared_.end()) found->second.problem = problem;
}

void MemifServer::listen(Key key, Pod& pod, Clock::time_point now) {
  // Another one of this name goes first; it was removed, or soon will be.
  const bool taken = std::any_of(pods_.begin(), pods_.end(), [&](const auto& other) {
    return other.first != key && other.second.device.socket == pod.device.socket &&
           other.second.listener.socket.is_open();
  });
  if (taken) {
    pod.next_try = now + look_again;
    return;
  }
  auto listener = listen_for_pod(folder_, pod.device.socket);
  if (listener) {
    pod.listener = std::move(*listener);
    tell(key, "");
  } else {
    pod.next_try = now + listen_again;
    tell(key, listener.error().message);
  }
}

bool MemifServer::is_free(const Pod& pod) {
  return pod.closing.expired() && pod.mapping.expired() && pod.lent.expired();
}

void MemifServer::accept(Pod& pod, Clock::time_point now) {
  Descriptor connection(accept4(pod.listener.socket.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  pod.next_try = now + accept_again;
  if (!connection.is_open()) return;
  pod.session = std::make_shared<MemifSession>(std::move(connection), pod.device, pod.pages.room(now));
  pod.deadline = now + most_talk;
  pod.counted = false;
}

void MemifServer::advance(Key key, Pod& pod, bool readable, Clock::time_point now) {
  MemifSession& session = *pod.session;
  const bool was_connected = session.state() == MemifSession::State::Connected;
  if (readable) session.advance();
  session.take_mapped();
  if (session.state() == MemifSession::State::Talking && now >= pod.deadline) {
    session.refuse(fmt::format("the pod did not finish within {} s", most_talk.count()));
  }
  if (auto link = session.take_link(); link != nullptr) {
    std::shared_ptr<dataplane::MemifLink> shared(std::move(link));
    pod.lent = shared;
    pod.connected = now;
    pod.pages.add(session.made(), now);
    pod.counted = true;
    if (session.state() == MemifSession::State::Connected) {
      const std::lock_guard lock(mutex_);
      Shared& seen = shared_.at(key);
      seen.problem.clear();
      seen.link = std::move(shared);
    }
    bury(std::move(shared));  // it has left again
  } else if (was_connected) {
    const std::lock_guard lock(mutex_);
    const auto& seen = shared_.at(key).link;
    if (seen != nullptr && seen->is_broken()) session.refuse("what the pod wrote into its rings makes no sense");
  }
  if (session.state() == MemifSession::State::Over) end_session(key, pod, now);
}

void MemifServer::end_session(Key key, Pod& pod, Clock::time_point now) {
  std::shared_ptr<dataplane::MemifLink> link;
  {
    const std::lock_guard lock(mutex_);
    Shared& shared = shared_.at(key);
    link = std::move(shared.link);
    shared.problem = pod.session->problem();
  }
  bury(std::move(link));
  if (!pod.counted) pod.pages.add(pod.session->made(), now);
  pod.mapping = pod.session->mapping();
  pod.closing = bury(std::move(pod.session));
  pod.session.reset();
  pod.next_try = std::max(now + accept_again, pod.connected + connect_again);
}

void MemifServer::close_down(Key key, Pod& pod) {
  if (pod.session != nullptr) {
    pod.session->refuse("the pod is detached");
    end_session(key, pod, Clock::now());
  }
  if (!pod.listener.socket.is_open()) return;
  remove_socket(pod.listener);
  bury(std::make_shared<MemifListener>(std::move(pod.listener)));
}

}  // namespace sluice::control
