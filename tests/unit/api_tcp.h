// A server on TCP in a thread of its own, and a client of one connection.
#pragma once

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/api_server.h"
#include "tests/unit/config_router.h"

namespace sluice::control {

using std::chrono::milliseconds;

inline constexpr std::string_view reader = "reader-token-0001";
inline constexpr std::string_view writer = "writer-token-0001";

// One connection, answers without Content-Length are read to their end.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connect(&address, sizeof address);
  }
  explicit Client(uint16_t port, uint32_t from = INADDR_LOOPBACK) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(from);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
    sockaddr_in address = own;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    connect(&address, sizeof address);
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  bool send(std::string_view bytes) {
    return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // The next answer's status, 0 when there is none.
  unsigned receive() {
    size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return 0;
    }
    head = received_.substr(0, end + 4);
    received_.erase(0, end + 4);
    const size_t at = head.find("Content-Length: ");
    const size_t length = at == std::string::npos ? 0 : std::stoul(head.substr(at + 16));
    while (received_.size() < length) {
      if (!more()) return 0;
    }
    body = received_.substr(0, length);
    received_.erase(0, length);
    return static_cast<unsigned>(std::stoul(head.substr(9, 3)));
  }
  unsigned ask(std::string_view method, std::string_view target, std::string_view token = "",
               std::string_view content = "") {
    std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: s\r\n", method, target);
    if (!token.empty()) request += fmt::format("Authorization: Bearer {}\r\n", token);
    if (!content.empty()) request += fmt::format("Content-Length: {}\r\n", content.size());
    return send(request + "\r\n" + std::string(content)) ? receive() : 0;
  }
  bool closed() { return received_.empty() && !more() && end_seen_; }
  // Reads on until nothing comes for the time of set_patience(); true: that was the end.
  bool ends() {
    while (more()) {
    }
    return end_seen_;
  }
  // How long each wait of it lasts from now on.
  void set_patience(milliseconds time) {
    const timeval patience{time.count() / 1000, time.count() % 1000 * 1000};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }

  std::string head, body;

 private:
  void connect(const void* address, socklen_t size) {
    const timeval patience{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::connect(fd_, static_cast<const sockaddr*>(address), size), 0) << std::strerror(errno);
  }
  bool more() {
    std::array<char, 65536> buffer;
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
    end_seen_ = got == 0 || (got < 0 && errno == ECONNRESET);
    if (got > 0) received_.append(buffer.data(), static_cast<size_t>(got));
    return got > 0;
  }

  int fd_;
  bool end_seen_ = false;
  std::string received_;
};

// News that never come.
class Silence : public FlowWatch {
 public:
  Awaitable<FlowBatch> next(milliseconds) override {
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, milliseconds(5));
    co_await timer.async_wait(boost::asio::use_awaitable);
    co_return FlowBatch{};
  }
};

class WatchedRouter : public ConfigRouter {
 public:
  std::shared_ptr<FlowWatch> watch_flows(const FlowFilter&) override { return std::make_shared<Silence>(); }
};

class ApiTcp : public testing::Test {
 protected:
  ApiTcp() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-tcp-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    options.socket_path = folder_ + "/sluiced.sock";
    options.credentials.access = folder_ + "/access";
    options.tcp = {{*net::parse_ip("127.0.0.1"), 0}};
    options.header_timeout = options.idle_timeout = options.stop_timeout = std::chrono::minutes(1);
    options.linger_timeout = milliseconds(100);
    options.reload_interval = milliseconds(20);
    options.say = [this](std::string_view text) { said += std::string(text) + '\n'; };
    grant(fmt::format("read-only token {}\nread-write token {}\n", reader, writer));
  }
  ~ApiTcp() override {
    if (server) boost::asio::post(io, [this] { server->stop(); });
    if (thread_.joinable()) thread_.join();
    std::filesystem::remove_all(folder_);
  }
  void grant(std::string_view rules) {
    std::ofstream(options.credentials.access + ".new") << rules;
    std::filesystem::permissions(options.credentials.access + ".new", std::filesystem::perms{0600});
    std::filesystem::rename(options.credentials.access + ".new", options.credentials.access);
  }
  void start() {
    server.emplace(io, router, options);
    const auto started = server->start();
    ASSERT_TRUE(started) << started.error().message;
    port = server->tcp_port();
    thread_ = std::thread([this] { io.run(); });
  }
  std::string why_not_started() {
    ApiServer another(io, router, options);
    const auto started = another.start();
    return started ? "" : started.error().message;
  }
  void wait_until(const std::function<bool()>& done) {
    for (int i = 0; i < 2000; ++i) {
      std::promise<bool> answer;
      boost::asio::post(io, [&] { answer.set_value(done()); });
      if (answer.get_future().get()) return;
      std::this_thread::sleep_for(milliseconds(5));
    }
    FAIL() << "waited in vain";
  }

  boost::asio::io_context io;
  WatchedRouter router;
  ApiServerOptions options;
  std::optional<ApiServer> server;
  uint16_t port = 0;
  std::string said;  // touched by the server's thread only
  std::string folder_;

 private:
  std::thread thread_;
};

}  // namespace sluice::control
