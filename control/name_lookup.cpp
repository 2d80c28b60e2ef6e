#include "control/name_lookup.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <utility>

#include <boost/asio/post.hpp>

namespace sluice::control {
namespace {

constexpr size_t most_threads = 4;

net::IpAddr address_of(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof v4);
    return net::Ipv4Addr::from_wire(v4.sin_addr.s_addr);
  }
  sockaddr_in6 v6;
  std::memcpy(&v6, &address, sizeof v6);
  net::Ipv6Addr out;
  std::memcpy(out.bytes.data(), &v6.sin6_addr, out.bytes.size());
  return out;
}

LookupAnswer look_up(const std::string& name, net::Family family) {
  LookupAnswer answer;
  addrinfo hints{};
  hints.ai_family = family == net::Family::V4 ? AF_INET : AF_INET6;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo((name + '.').c_str(), nullptr, &hints, &found);
  const int reason = errno;
  if (error == EAI_NONAME || error == EAI_NODATA) {
    answer.kind = LookupAnswer::Kind::None;
    return answer;
  }
  if (error != 0) {
    answer.problem = error == EAI_SYSTEM ? std::generic_category().message(reason) : ::gai_strerror(error);
    return answer;
  }
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_family == hints.ai_family) answer.addresses.push_back(address_of(*one->ai_addr));
  }
  ::freeaddrinfo(found);
  std::sort(answer.addresses.begin(), answer.addresses.end());
  answer.addresses.erase(std::unique(answer.addresses.begin(), answer.addresses.end()), answer.addresses.end());
  answer.kind = answer.addresses.empty() ? LookupAnswer::Kind::None : LookupAnswer::Kind::Addresses;
  return answer;
}

struct Question {
  std::string name;
  net::Family family;
  NameLookup::Done done;
};

// What the threads and the one who asks have in common.
struct Shared {
  std::mutex mutex;
  boost::asio::io_context* io = nullptr;  // nullptr: nobody listens any more
  std::deque<Question> waiting;
  size_t threads = 0;
};

void answer_all(const std::shared_ptr<Shared>& shared) {
  std::unique_lock lock(shared->mutex);
  while (!shared->waiting.empty()) {
    Question question = std::move(shared->waiting.front());
    shared->waiting.pop_front();
    lock.unlock();
    LookupAnswer answer = look_up(question.name, question.family);
    lock.lock();
    if (shared->io == nullptr) break;
    boost::asio::post(*shared->io, [done = std::move(question.done), answer = std::move(answer)]() mutable {
      done(std::move(answer));
    });
  }
  --shared->threads;
}

class HostLookup final : public NameLookup {
 public:
  explicit HostLookup(boost::asio::io_context& io) { shared_->io = &io; }
  ~HostLookup() override {
    const std::lock_guard lock(shared_->mutex);
    shared_->io = nullptr;
    shared_->waiting.clear();
  }
  HostLookup(const HostLookup&) = delete;
  HostLookup& operator=(const HostLookup&) = delete;

  void ask(const std::string& name, net::Family family, Done done) override {
    const std::lock_guard lock(shared_->mutex);
    shared_->waiting.push_back({name, family, std::move(done)});
    if (shared_->threads == most_threads) return;
    try {
      std::thread([shared = shared_] { answer_all(shared); }).detach();
      ++shared_->threads;
    } catch (const std::system_error& error) {
      if (shared_->threads != 0) return;  // those that there are answer it, too
      Question question = std::move(shared_->waiting.back());
      shared_->waiting.pop_back();
      LookupAnswer failed;
      failed.problem = error.what();
      boost::asio::post(*shared_->io, [done = std::move(question.done), failed]() { done(failed); });
    }
  }

 private:
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace

std::unique_ptr<NameLookup> make_host_lookup(boost::asio::io_context& io) { return std::make_unique<HostLookup>(io); }

}  // namespace sluice::control
