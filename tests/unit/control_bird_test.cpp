// How sluiced gets on with a BIRD that is slow, refuses, or hangs up: what is at the other end of the socket here says
// what BIRD 2.0.12 says, when the test wants it. The real one is in the system tests.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/bird.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Protocol = asio::local::stream_protocol;

constexpr auto long_enough = std::chrono::seconds(10);
const char* const announced = "203.0.113.0/24";

class FakeBird {
 public:
  // What is said to a command; empty: it hangs up.
  std::function<std::string(const std::string&)> answer = [](const std::string& command) {
    if (command.starts_with("configure check")) return "0002-Reading configuration from x\n0020 Configuration OK\n";
    if (command.starts_with("configure")) return "0002-Reading configuration from x\n0003 Reconfigured\n";
    return "0000 \n";
  };
  std::vector<std::string> commands;

  FakeBird(asio::io_context& io, const std::string& path) : acceptor_(io, Protocol::endpoint(path)) {
    asio::co_spawn(io, serve(), asio::detached);
  }
  [[nodiscard]] size_t count(const std::string& beginning) const {
    return static_cast<size_t>(std::count_if(
        commands.begin(), commands.end(), [&](const std::string& command) { return command.starts_with(beginning); }));
  }

 private:
  asio::awaitable<void> serve() {
    while (true) {
      error_code error;
      Protocol::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      co_await talk(std::move(socket));
    }
  }
  asio::awaitable<void> talk(Protocol::socket socket) {
    error_code error;
    std::string said = "0001 BIRD 2.0.12 ready.\n";
    std::string input;
    while (!said.empty()) {
      co_await asio::async_write(socket, asio::buffer(said), asio::redirect_error(asio::use_awaitable, error));
      const size_t length = co_await asio::async_read_until(socket, asio::dynamic_buffer(input), '\n',
                                                            asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      commands.push_back(input.substr(0, length - 1));
      input.erase(0, length);
      said = answer(commands.back());
    }
  }

  Protocol::acceptor acceptor_;
};

class BirdTest : public testing::Test {
 protected:
  ~BirdTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  static std::filesystem::path new_folder() {
    char folder[] = "/tmp/sluice-bird-XXXXXX";
    if (::mkdtemp(folder) == nullptr) throw std::runtime_error("mkdtemp");
    return folder;
  }
  [[nodiscard]] std::string file() const {
    std::ostringstream text;
    text << std::ifstream(paths_.config_file).rdbuf();
    return text.str();
  }
  static BgpPlan plan(const char* prefix = announced) {
    BgpPlan out;
    out.router_id = *net::parse_ipv4("192.0.2.1");
    out.origins[*net::parse_prefix(prefix)].reasons.emplace("the test");
    BgpSession session;
    session.name = "peer.tor";
    session.peer = *net::parse_ip("192.0.2.2");
    session.peer_as = 64999;
    session.local_as = 64512;
    out.sessions.push_back(session);
    return out;
  }
  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + long_enough;
    while (!condition() && std::chrono::steady_clock::now() < end) io_.run_one_for(std::chrono::milliseconds(50));
    return condition();
  }
  bool told(const char* prefix = announced) {
    return until([&] { return fake_->count("configure \"") > 0 && file().find(prefix) != std::string::npos; });
  }
  // Through, and a turn of the coroutine afterwards that would do more.
  void withdraw(const std::function<void()>& meanwhile = [] {}) {
    bool done = false;
    asio::co_spawn(io_, bird_.withdraw(std::chrono::milliseconds(200)),
                   [&](const std::exception_ptr&) { done = true; });
    asio::post(io_, meanwhile);
    ASSERT_TRUE(until([&] { return done; }));
  }

  asio::io_context io_{1};
  std::filesystem::path folder_ = new_folder();
  BirdPaths paths_{folder_ / "bird.conf", folder_ / "bird.ctl"};
  std::vector<std::string> events_;
  std::unique_ptr<FakeBird> fake_;
  void begin() {
    fake_ = std::make_unique<FakeBird>(io_, paths_.control_socket);
    bird_.set(plan());
    ASSERT_TRUE(told());
  }
  Bird bird_{io_, paths_, [this](const RouterEvent& event) { events_.push_back(event.reason); }};
};

TEST_F(BirdTest, BGP9_AChangeDuringThePlannedEndAnnouncesNothing) {
  begin();
  withdraw([this] { bird_.set(plan("198.51.100.0/24")); });
  EXPECT_THAT(file(), HasSubstr("    export none;\n"));
  EXPECT_THAT(file(), Not(HasSubstr("198.51.100.0/24")));
  bird_.clear();
  bird_.set(plan());
  const size_t looks = fake_->count("show protocols");
  ASSERT_TRUE(until([&] { return fake_->count("show protocols") > looks + 1; }));
  EXPECT_THAT(file(), Not(HasSubstr(announced)));
}

TEST_F(BirdTest, BGP9_WhatBirdDoesNotTakeIsThereForOneThatStartsLater) {
  begin();
  fake_->answer = [](const std::string& command) {
    return command.starts_with("configure") ? "0002-Reading configuration from x\n8002 x:1:1 no such thing\n"
                                            : "0000 \n";
  };
  ASSERT_THAT(file(), HasSubstr(announced));
  withdraw();
  EXPECT_THAT(file(), Not(HasSubstr(announced)));
  EXPECT_THAT(file(), HasSubstr("    export none;\n"));
}

TEST_F(BirdTest, BGP9_SwitchedOffItSendsNothing) {
  begin();
  bird_.clear();
  ASSERT_TRUE(until([&] { return file().find("export none;") != std::string::npos; }));
  bird_.set(plan());
  ASSERT_TRUE(until([&] { return file().find("export none;") == std::string::npos; })) << "and may be on again";
}

TEST_F(BirdTest, BGP1_ABirdThatGreetsButDoesNotConfigureIsTold) {
  begin();
  EXPECT_THAT(bird_.problems(), IsEmpty());
  fake_->answer = [](const std::string& command) {
    return command.starts_with("configure") ? std::string() : std::string("0000 \n");
  };
  bird_.set(plan("198.51.100.0/24"));
  ASSERT_TRUE(until([&] { return !bird_.problems().empty(); }));
  EXPECT_THAT(bird_.problems(), Contains(HasSubstr("BIRD has hung up while it read its configuration")));
  EXPECT_THAT(events_, Contains("BirdLost"));
}

TEST_F(BirdTest, BGP1_ChangesAreGathered) {
  begin();
  const size_t looks = fake_->count("show protocols");
  ASSERT_TRUE(until([&] { return fake_->count("show protocols") > looks; }));  // it rests now, or nearly
  const size_t before = fake_->count("configure check");
  std::function<void(int)> change = [&](int number) {
    bird_.set(plan(("198.51." + std::to_string(number) + ".0/24").c_str()));
    if (number < 50) asio::post(io_, [&change, number] { change(number + 1); });
  };
  change(1);
  ASSERT_TRUE(told("198.51.50.0/24"));
  EXPECT_EQ(fake_->count("configure check"), before + 1);
}

}  // namespace
}  // namespace sluice::control
