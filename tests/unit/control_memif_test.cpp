// The server of pods' memifs (control/memif_server.h) with pods that are written out message by message, among them
// some that mean no good.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/memif_server.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr uint16_t ack = 1, hello = 2, init = 3, add_region = 4, add_ring = 5, connect_it = 6, connected = 7,
                   goodbye = 8;
constexpr uint64_t memory_size = 64 << 10;
constexpr uint32_t second_ring = 8192;

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = 5s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

size_t open_descriptors() {
  return static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

// A message's body, byte by byte.
class Body {
 public:
  template <class T>
  Body& add(T value) {
    const auto* const begin = reinterpret_cast<const char*>(&value);
    bytes_.insert(bytes_.end(), begin, begin + sizeof value);
    return *this;
  }
  Body& text(const std::string& value, size_t size) {
    std::string padded = value;
    padded.resize(size);
    bytes_.insert(bytes_.end(), padded.begin(), padded.end());
    return *this;
  }
  [[nodiscard]] const std::vector<char>& bytes() const { return bytes_; }

 private:
  std::vector<char> bytes_;
};

Body init_of(uint32_t id = 0, const std::string& secret = "", uint16_t version = 0x200, uint8_t mode = 0) {
  return Body().add(version).add(id).add(mode).text(secret, 24).text("pod", 32);
}
Body region_of(uint16_t index = 0, uint64_t size = memory_size) { return Body().add(index).add(size); }
Body ring_of(bool to_router, uint32_t offset, uint16_t index = 0) {
  return Body()
      .add(static_cast<uint16_t>(to_router ? 1 : 0))
      .add(index)
      .add(uint16_t{0})
      .add(offset)
      .add(uint8_t{4})
      .add(uint16_t{0});
}

Descriptor memory(bool sealed = true, uint64_t size = memory_size) {
  Descriptor file(memfd_create("pod", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(file.number(), static_cast<off_t>(size)), 0);
  const uint32_t cookie = 0x3e31f20;
  for (const off_t at : {off_t{0}, off_t{second_ring}}) {
    EXPECT_EQ(pwrite(file.number(), &cookie, sizeof cookie, at), ssize_t{sizeof cookie});
  }
  if (sealed) {
    EXPECT_EQ(fcntl(file.number(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  }
  return file;
}

class Client {
 public:
  explicit Client(const fs::path& path) : socket_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    connected_ = connect(socket_.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  [[nodiscard]] bool is_connected() const { return connected_; }

  void say(uint16_t kind, const Body& body = {}, const std::vector<int>& passed = {}) {
    std::array<char, 128> message{};
    std::memcpy(message.data(), &kind, sizeof kind);
    std::copy(body.bytes().begin(), body.bytes().end(), message.begin() + sizeof kind);
    raw(message.data(), message.size(), passed);
  }
  void raw(const void* bytes, size_t size, const std::vector<int>& passed) {
    iovec part{const_cast<void*>(bytes), size};
    std::vector<char> control(CMSG_SPACE(passed.size() * sizeof(int)));
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!passed.empty()) {
      header.msg_control = control.data();
      header.msg_controllen = control.size();
      cmsghdr* const rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(passed.size() * sizeof(int));
      std::memcpy(CMSG_DATA(rights), passed.data(), passed.size() * sizeof(int));
    }
    (void)sendmsg(socket_.number(), &header, MSG_NOSIGNAL);
  }
  // The next message's kind; 0: the router hung up, or said nothing in time. The text of a goodbye is in said().
  uint16_t hear(std::chrono::milliseconds limit = 3s) {
    pollfd ready{socket_.number(), POLLIN, 0};
    if (poll(&ready, 1, static_cast<int>(limit.count())) != 1) return 0;
    std::array<char, 128> message{};
    if (recv(socket_.number(), message.data(), message.size(), 0) <= 0) return 0;
    uint16_t kind = 0;
    std::memcpy(&kind, message.data(), sizeof kind);
    if (kind == goodbye) said_ = message.data() + 6;
    return kind;
  }
  [[nodiscard]] const std::string& said() const { return said_; }

  // What a pod says that means well. Its memory, if it got so far.
  std::optional<Descriptor> shake_hands(uint32_t id = 0, const std::string& secret = "") {
    if (hear() != hello) return std::nullopt;
    Descriptor file = memory();
    const Descriptor interrupt(memfd_create("interrupt", MFD_CLOEXEC));
    say(init, init_of(id, secret));
    if (hear() != ack) return std::nullopt;
    say(add_region, region_of(), {file.number()});
    if (hear() != ack) return std::nullopt;
    say(add_ring, ring_of(true, 0), {interrupt.number()});
    say(add_ring, ring_of(false, second_ring), {interrupt.number()});
    if (hear() != ack || hear() != ack) return std::nullopt;
    say(connect_it, Body().text("pod", 32));
    if (hear() != connected) return std::nullopt;
    return file;
  }

 private:
  Descriptor socket_;
  bool connected_ = false;
  std::string said_;
};

class MemifServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "sluice-memif-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    server_ = std::make_unique<MemifServer>((folder_ / "pods").string());
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(folder_);
  }
  [[nodiscard]] fs::path socket_of(const std::string& name) const { return folder_ / "pods" / name / "memif.sock"; }
  MemifServer::Key attach(const std::string& name = "web", uint32_t id = 0, const std::string& secret = "") {
    config::MemifDevice device;
    device.socket = name;
    device.id = id;
    device.secret = secret;
    const MemifServer::Key key = server_->add(device);
    EXPECT_TRUE(eventually([&] { return fs::exists(socket_of(name)); })) << server_->look(key).problem;
    return key;
  }
  [[nodiscard]] bool eventually_up(MemifServer::Key key) {
    return eventually([&] { return server_->look(key).link != nullptr; });
  }
  [[nodiscard]] bool eventually_down(MemifServer::Key key) {
    return eventually([&] { return server_->look(key).link == nullptr; });
  }
  [[nodiscard]] bool eventually_problem(MemifServer::Key key, const std::string& text) {
    return eventually([&] { return server_->look(key).problem.find(text) != std::string::npos; });
  }
  // A pod on this socket gets a link, and leaves.
  void expect_served(MemifServer::Key key, const std::string& name = "web") {
    {
      Client pod(socket_of(name));
      EXPECT_TRUE(pod.shake_hands()) << pod.said() << server_->look(key).problem;
      EXPECT_TRUE(eventually_up(key));
    }
    EXPECT_TRUE(eventually_down(key));
  }

  fs::path folder_;
  std::unique_ptr<MemifServer> server_;
};

TEST_F(MemifServerTest, APodConnectsAndLeaves) {
  const size_t before = open_descriptors();
  const MemifServer::Key key = attach();
  EXPECT_EQ(server_->look(key).link, nullptr);
  expect_served(key);
  EXPECT_EQ(server_->look(key).problem, "") << "to leave is no fault";
  expect_served(key);
  server_->remove(key);
  EXPECT_TRUE(eventually([&] { return !fs::exists(folder_ / "pods" / "web"); }));
  server_.reset();
  EXPECT_TRUE(eventually([&] { return open_descriptors() < before; })) << "the folder's is closed too";
}

TEST_F(MemifServerTest, OnlyWhoWasGivenTheFolderGetsThere) {
  const mode_t before = umask(077);
  attach();
  EXPECT_EQ(umask(before), 077U) << "the mask is the thread's own";
  struct stat about {};
  ASSERT_EQ(stat((folder_ / "pods").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0700U);
  ASSERT_EQ(stat((folder_ / "pods" / "web").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0711U);
  ASSERT_EQ(stat(socket_of("web").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0777U);
}

TEST_F(MemifServerTest, ALinkThatIsLentKeepsThePodOut) {
  const MemifServer::Key key = attach();
  auto first = std::make_optional<Client>(socket_of("web"));
  ASSERT_TRUE(first->shake_hands());
  ASSERT_TRUE(eventually_up(key));
  std::shared_ptr<dataplane::MemifLink> lent = server_->look(key).link;
  first.reset();
  ASSERT_TRUE(eventually_down(key));
  Client second(socket_of("web"));
  EXPECT_EQ(second.hear(600ms), 0);
  MemifServer::give_back(std::move(lent));
  EXPECT_TRUE(second.shake_hands());
  EXPECT_TRUE(eventually_up(key));
}

TEST_F(MemifServerTest, WhatIsRefused) {
  const MemifServer::Key key = attach("web", 7, "sesame");
  const Descriptor good = memory();
  ASSERT_EQ(fcntl(good.number(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
  const Descriptor unsealed = memory(false);
  const Descriptor small = memory(true, 4096);
  Descriptor stubborn = memory();
  ASSERT_EQ(fcntl(stubborn.number(), F_ADD_SEALS, F_SEAL_SEAL), 0);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Descriptor pipe_end(ends[0]);
  const Descriptor other_end(ends[1]);
  const auto known = [](Client& pod) { pod.say(init, init_of(7, "sesame")); };
  const auto region = [&](const Descriptor& file, const Body& body = region_of()) {
    return [&file, body, known](Client& pod) {
      known(pod);
      pod.say(add_region, body, {file.number()});
    };
  };
  struct Case {
    const char* says;
    std::function<void(Client&)> acts;
  };
  const Case cases[] = {
      {"version 0x0100", [](Client& pod) { pod.say(init, init_of(7, "sesame", 0x100)); }},
      {"not in Ethernet mode", [](Client& pod) { pod.say(init, init_of(7, "sesame", 0x200, 1)); }},
      {"interface 8 is asked for, where 7 is", [](Client& pod) { pod.say(init, init_of(8, "sesame")); }},
      {"another secret", [](Client& pod) { pod.say(init, init_of(7, "sesam")); }},
      {"another secret", [](Client& pod) { pod.say(init, init_of(7)); }},
      {"an unexpected message (4)", [&](Client& pod) { pod.say(add_region, region_of(), {good.number()}); }},
      {"an unexpected message (3)",
       [&](Client& pod) {
         known(pod);
         known(pod);
       }},
      {"an unexpected message (77)",
       [&](Client& pod) {
         known(pod);
         pod.say(77);
       }},
      {"an unexpected message (3)", [&](Client& pod) { pod.say(init, init_of(7, "sesame"), {good.number()}); }},
      {"a message of another size", [](Client& pod) { pod.raw("x", 1, {}); }},
      {"a region without memory",
       [&](Client& pod) {
         known(pod);
         pod.say(add_region, region_of());
       }},
      {"region 1 is not the next", region(good, region_of(1))},
      {"more than 128 MiB", region(good, region_of(0, UINT64_MAX))},
      {"a region of 65536 bytes in memory of", region(small)},
      {"no memfd", region(pipe_end)},
      {"not sealed against shrinking", region(unsealed)},
      {"cannot be sealed against holes",
       [&](Client& pod) {
         region(stubborn)(pod);
         pod.say(add_ring, ring_of(true, 0));
         pod.say(add_ring, ring_of(false, second_ring));
         pod.say(connect_it);
       }},
      {"make new memory", region(good)},
      {"one ring each way is needed",
       [&](Client& pod) {
         region(memory())(pod);
         pod.say(connect_it);
       }},
      {"more than one ring each way",
       [&](Client& pod) {
         known(pod);
         pod.say(add_ring, ring_of(true, 0));
         pod.say(add_ring, ring_of(true, 0));
       }},
      {"a ring without its cookie",
       [&](Client& pod) {
         region(memory())(pod);
         pod.say(add_ring, ring_of(true, 0));
         pod.say(add_ring, ring_of(false, 4096));
         pod.say(connect_it);
       }},
  };
  const size_t before = open_descriptors();
  for (const Case& one : cases) {
    {
      Client pod(socket_of("web"));
      ASSERT_EQ(pod.hear(), hello) << one.says;
      one.acts(pod);
      uint16_t heard = ack;
      while (heard == ack) heard = pod.hear();
      EXPECT_EQ(heard, goodbye) << one.says;
      EXPECT_THAT(pod.said(), HasSubstr(one.says));
      EXPECT_TRUE(eventually_problem(key, one.says)) << server_->look(key).problem;
    }
    EXPECT_TRUE(eventually([&] { return open_descriptors() <= before; })) << one.says;
  }
  Client pod(socket_of("web"));
  EXPECT_TRUE(pod.shake_hands(7, "sesame"));
  EXPECT_TRUE(eventually_up(key));
  EXPECT_EQ(server_->look(key).problem, "");
}

TEST_F(MemifServerTest, MemoryThatIsTakenCanHaveNoHoles) {
  const MemifServer::Key key = attach();
  Client pod(socket_of("web"));
  const std::optional<Descriptor> file = pod.shake_hands();
  ASSERT_TRUE(file && eventually_up(key));
  EXPECT_NE(fallocate(file->number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  EXPECT_NE(ftruncate(file->number(), 0), 0);
}

TEST_F(MemifServerTest, DescriptorsWithMessagesOfAnySizeAreClosed) {
  const MemifServer::Key key = attach();
  const Descriptor file = memory();
  const std::vector<int> four(4, file.number());
  const std::vector<int> many(100, file.number());
  const size_t before = open_descriptors();
  for (unsigned round = 0; round < 3; ++round) {
    for (const auto& passed : {four, many}) {
      for (const size_t size : {size_t{0}, size_t{1}, size_t{128}, size_t{200}}) {
        Client pod(socket_of("web"));
        const std::array<char, 200> zeros{};
        pod.raw(zeros.data(), size, passed);
        pod.raw(zeros.data(), size, passed);
        while (pod.hear() != 0) {
        }
      }
    }
  }
  EXPECT_TRUE(eventually([&] { return open_descriptors() <= before; })) << open_descriptors() << " of " << before;
  expect_served(key);
}

TEST_F(MemifServerTest, HoldsFewDescriptorsOfAPod) {
  const MemifServer::Key key = attach();
  const Descriptor file = memory();
  const std::vector<int> many(253, file.number());
  Client pod(socket_of("web"));
  ASSERT_EQ(pod.hear(), hello);
  const size_t before = open_descriptors();
  size_t most = before;
  std::atomic<bool> stop{false};
  std::thread watch([&] {
    while (!stop) most = std::max(most, open_descriptors());
  });
  pod.say(init, init_of());
  EXPECT_EQ(pod.hear(), ack);
  pod.say(add_region, region_of(), many);
  EXPECT_TRUE(eventually_problem(key, "more descriptors than belong to a message"));
  stop = true;
  watch.join();
  EXPECT_LE(most, before + 2);
}

TEST_F(MemifServerTest, AStormOfPods) {
  const MemifServer::Key key = attach();
  const MemifServer::Key other = attach("other");
  const size_t before = open_descriptors();
  std::atomic<bool> stop{false};
  std::thread storm([&] {
    const Descriptor file = memory();
    while (!stop) {
      Client pod(socket_of("web"));
      pod.say(init, init_of(), {file.number()});
    }
  });
  for (unsigned round = 0; round < 3; ++round) expect_served(other, "other");
  timespec begin{};
  timespec end{};
  stop = true;
  storm.join();
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
  std::this_thread::sleep_for(1s);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
  EXPECT_LT(end.tv_sec - begin.tv_sec + 1e-9 * static_cast<double>(end.tv_nsec - begin.tv_nsec), 0.5)
      << "the storm is over";
  EXPECT_TRUE(eventually([&] { return open_descriptors() <= before; }));
  expect_served(key);
}

// A TCP connection that lingers over what nobody reads: who closes it waits.
class Lingering {
 public:
  static constexpr int seconds = 4;

  Lingering() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.number(), 1), 0);
    EXPECT_EQ(getsockname(listener_.number(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    slow_ = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(slow_.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::vector<char> bytes(1 << 16);
    while (send(slow_.number(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
    }
    const linger forever{1, seconds};
    EXPECT_EQ(setsockopt(slow_.number(), SOL_SOCKET, SO_LINGER, &forever, sizeof forever), 0);
  }
  [[nodiscard]] int number() const { return slow_.number(); }
  // As long as somebody else has it.
  void let_go() { Descriptor gone = std::move(slow_); }

 private:
  Descriptor listener_, slow_;
};

class WhatIsSlowToClose : public MemifServerTest, public testing::WithParamInterface<size_t> {};

// What a pod passed may take its time to close, wherever it stands among many.
TEST_P(WhatIsSlowToClose, KeepsNobodyWaiting) {
  const MemifServer::Key other = attach("other");
  const MemifServer::Key key = attach();
  Lingering slow;
  const Descriptor file = memory();
  std::vector<int> passed(GetParam() - 1, file.number());
  passed.push_back(slow.number());
  {
    // It waits behind another pod until the router alone has the descriptor.
    auto first = std::make_optional<Client>(socket_of("web"));
    ASSERT_EQ(first->hear(), hello);
    Client pod(socket_of("web"));
    pod.say(77, {}, passed);
    slow.let_go();
    first.reset();
    while (pod.hear() != 0) {
    }
    EXPECT_TRUE(eventually_problem(key, GetParam() == 1 ? "unexpected" : "more descriptors"));
  }
  const auto begin = std::chrono::steady_clock::now();
  expect_served(other, "other");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  Client again(socket_of("web"));
  EXPECT_EQ(again.hear(500ms), 0) << "what its last connection brought is not closed yet";
  EXPECT_EQ(again.hear(6s), hello);
}

INSTANTIATE_TEST_SUITE_P(AsThe, WhatIsSlowToClose, testing::Values(1, 2, 5, 253));

// In the place of a ring's interrupt, by a pod that is let in.
TEST_F(MemifServerTest, AnInterruptThatIsSlowToCloseKeepsNobodyWaiting) {
  const MemifServer::Key other = attach("other");
  const MemifServer::Key key = attach();
  Lingering slow;
  Client pod(socket_of("web"));
  ASSERT_EQ(pod.hear(), hello);
  const Descriptor file = memory();
  pod.say(init, init_of());
  pod.say(add_region, region_of(), {file.number()});
  pod.say(add_ring, ring_of(true, 0), {slow.number()});
  pod.say(add_ring, ring_of(false, second_ring), {slow.number()});
  for (unsigned i = 0; i < 4; ++i) ASSERT_EQ(pod.hear(), ack);
  slow.let_go();
  const auto begin = std::chrono::steady_clock::now();
  pod.say(connect_it, Body().text("pod", 32));
  EXPECT_EQ(pod.hear(), connected);
  EXPECT_TRUE(eventually_up(key));
  expect_served(other, "other");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
}

// Bytes of the file that somebody has touched.
uint64_t touched(const Descriptor& file) {
  struct stat about {};
  EXPECT_EQ(fstat(file.number(), &about), 0);
  return static_cast<uint64_t>(about.st_blocks) * 512;
}

TEST_F(MemifServerTest, MemoryIsTouchedWhenThePodConnects) {
  const MemifServer::Key key = attach();
  const Descriptor file = memory();
  const uint64_t before = touched(file);
  ASSERT_LT(before, memory_size);
  Client pod(socket_of("web"));
  ASSERT_EQ(pod.hear(), hello);
  pod.say(init, init_of());
  pod.say(add_region, region_of(), {file.number()});
  pod.say(add_ring, ring_of(true, 0));
  pod.say(add_ring, ring_of(false, second_ring));
  for (unsigned i = 0; i < 4; ++i) ASSERT_EQ(pod.hear(), ack);
  EXPECT_EQ(touched(file), before);
  pod.say(connect_it, Body().text("pod", 32));
  ASSERT_EQ(pod.hear(), connected);
  EXPECT_EQ(touched(file), memory_size) << "no worker waits for a page";
  EXPECT_TRUE(eventually_up(key));
}

// Pages that the router makes stay its own as long as the pod keeps the memory, so that it does not make many.
TEST_F(MemifServerTest, MemoryThatThePodNeverTouchedIsNotMadeOverAndOver) {
  const MemifServer::Key key = attach();
  constexpr uint64_t size = MemifSession::most_memory;
  const auto come_with = [&](const Descriptor& file) {
    Client pod(socket_of("web"));
    EXPECT_EQ(pod.hear(), hello);
    pod.say(init, init_of());
    pod.say(add_region, region_of(0, size), {file.number()});
    pod.say(add_ring, ring_of(true, 0));
    pod.say(add_ring, ring_of(false, second_ring));
    pod.say(connect_it, Body().text("pod", 32));
    uint16_t heard = ack;
    while (heard == ack) heard = pod.hear();
    return heard == connected ? std::string("connected") : pod.said();
  };
  std::vector<Descriptor> kept;
  for (unsigned round = 0; round < 2; ++round) {
    kept.push_back(memory(true, size));
    EXPECT_EQ(come_with(kept.back()), "connected");
    EXPECT_TRUE(eventually_down(key));
  }
  kept.push_back(memory(true, size));
  EXPECT_THAT(come_with(kept.back()), HasSubstr("touch the memory first"));
  EXPECT_LT(touched(kept.back()), 1U << 20);
  kept.clear();
  // One that touched it itself has all the room that it wants.
  const Descriptor whole = memory(true, size);
  void* const pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, whole.number(), 0);
  ASSERT_NE(pages, MAP_FAILED);
  munmap(pages, size);
  EXPECT_EQ(come_with(whole), "connected");
}

// Each connection costs everybody a new snapshot.
TEST_F(MemifServerTest, APodThatComesAndGoesConnectsOnceInASecond) {
  const MemifServer::Key key = attach();
  const auto end = std::chrono::steady_clock::now() + 3500ms;
  unsigned times = 0;
  while (std::chrono::steady_clock::now() < end) {
    Client pod(socket_of("web"));
    if (pod.is_connected() && pod.shake_hands()) ++times;
  }
  EXPECT_GE(times, 2U);
  EXPECT_LE(times, 5U) << "the last one may come late";
  EXPECT_TRUE(eventually_down(key));
}

// Holds the locks of a file, as a pod may: a write to it whose bytes do not come.
class Locked {
 public:
  explicit Locked(const Descriptor& file) : size_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    bytes_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    faults_ = Descriptor(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    uffdio_api api{};
    api.api = UFFD_API;
    uffdio_register range{};
    range.range = {reinterpret_cast<uint64_t>(bytes_), size_};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    works_ = bytes_ != MAP_FAILED && faults_.is_open() && ioctl(faults_.number(), UFFDIO_API, &api) == 0 &&
             ioctl(faults_.number(), UFFDIO_REGISTER, &range) == 0;
    if (!works_) return;
    writer_ = std::thread([this, number = file.number()] { (void)!pwrite(number, bytes_, 1, 0); });
    pollfd waits{faults_.number(), POLLIN, 0};
    works_ = poll(&waits, 1, 3000) == 1 && (waits.revents & POLLIN) != 0;
  }
  ~Locked() {
    faults_ = Descriptor();  // a page of zeros comes
    if (writer_.joinable()) writer_.join();
    munmap(bytes_, size_);
  }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
  // False: only root may (vm.unprivileged_userfaultfd).
  [[nodiscard]] bool works() const { return works_; }

 private:
  size_t size_;
  void* bytes_ = nullptr;
  Descriptor faults_;
  bool works_ = false;
  std::thread writer_;
};

TEST_F(MemifServerTest, MemoryThatCannotBeMappedNowKeepsNobodyWaiting) {
  const MemifServer::Key other = attach("other");
  const MemifServer::Key key = attach();
  const Descriptor file = memory();
  auto locked = std::make_optional<Locked>(file);
  if (!locked->works()) GTEST_SKIP() << "no userfaultfd";
  Client pod(socket_of("web"));
  ASSERT_EQ(pod.hear(), hello);
  pod.say(init, init_of());
  pod.say(add_region, region_of(), {file.number()});
  pod.say(add_ring, ring_of(true, 0));
  pod.say(add_ring, ring_of(false, second_ring));
  pod.say(connect_it, Body().text("pod", 32));
  const auto begin = std::chrono::steady_clock::now();
  expect_served(other, "other");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
  EXPECT_TRUE(eventually_problem(key, "the pod did not finish within 2 s")) << server_->look(key).problem;
  locked.reset();
  expect_served(key);
}

TEST_F(MemifServerTest, SomebodyElseAtTheSocket) {
  ASSERT_EQ(mkdir((folder_ / "pods").c_str(), 0700) == 0 || errno == EEXIST, true);
  ASSERT_EQ(mkdir((folder_ / "pods" / "web").c_str(), 0711), 0);
  std::optional<Descriptor> stranger(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_of("web").string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(stranger->number(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(stranger->number(), 1), 0);
  const MemifServer::Key key = attach();
  EXPECT_TRUE(eventually_problem(key, "somebody else listens at web/memif.sock"));
  expect_served(attach("other"), "other");
  stranger.reset();  // its file stays behind
  EXPECT_TRUE(eventually([&] { return server_->look(key).problem.empty(); }));
  expect_served(key);
}

TEST_F(MemifServerTest, LinksAndFilesOfOthersAreLeftAlone) {
  const fs::path target = folder_ / "target";
  ASSERT_TRUE(fs::create_directory(target));
  fs::create_directory_symlink(target, folder_ / "pods" / "link");
  config::MemifDevice device;
  device.socket = "link";
  EXPECT_TRUE(eventually_problem(server_->add(device), "link is no folder that can be opened"));
  EXPECT_TRUE(fs::is_empty(target));

  ASSERT_TRUE(fs::create_directory(folder_ / "pods" / "file"));
  std::ofstream(target / "precious") << "words";
  fs::create_symlink(target / "precious", socket_of("file"));
  device.socket = "file";
  EXPECT_TRUE(eventually_problem(server_->add(device), "file/memif.sock is no socket; remove it"));
  EXPECT_TRUE(fs::is_symlink(socket_of("file")));

  ASSERT_TRUE(fs::create_directory(folder_ / "pods" / "open"));
  fs::permissions(folder_ / "pods" / "open", fs::perms::all);
  device.socket = "open";
  EXPECT_TRUE(eventually_problem(server_->add(device), "mode 0777: others could put things into it"));
}

TEST_F(MemifServerTest, AFolderThatOthersCanEnterIsRefused) {
  const std::string pods = (folder_ / "pods").string();
  ASSERT_TRUE(open_pod_folder(pods));
  for (const mode_t mode : {0755, 0750, 0701}) {
    ASSERT_EQ(chmod(pods.c_str(), mode), 0);
    const auto opened = open_pod_folder(pods);
    ASSERT_FALSE(opened) << mode;
    EXPECT_THAT(opened.error().message, HasSubstr("(chmod 700 " + pods + ")"));
  }
}

// Runs this as somebody else, in a thread that has a user of its own.
void as_nobody(const std::function<void()>& run) {
  std::thread([&] {
    ASSERT_EQ(syscall(SYS_setresuid, -1, 65534, -1), 0);
    run();
  }).join();
}

TEST_F(MemifServerTest, AFolderOfAnotherUserIsRefusedWithAdvice) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may become somebody else";
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  const std::string pods = (folder_ / "pods").string();
  as_nobody([&] {
    const auto opened = open_pod_folder(pods);
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message, HasSubstr("belongs to user 0, and this router is user 65534"));
    EXPECT_THAT(opened.error().message, HasSubstr("chown -R 65534 " + pods));
  });
}

// Made by a router that ran as root, which goes on as somebody else.
TEST_F(MemifServerTest, FoldersOfRootGoToTheNextUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may give folders away";
  attach("web");
  server_.reset();
  const fs::path pods = folder_ / "pods";
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  ASSERT_TRUE(fs::create_directory(pods / "wide"));
  fs::permissions(pods / "wide", fs::perms::all);
  fs::create_directory_symlink(folder_, pods / "link");
  const auto owner = [](const fs::path& path) {
    struct stat about {};
    EXPECT_EQ(lstat(path.c_str(), &about), 0);
    return about.st_uid;
  };
  const Identity nobody{"nobody", 65534, 65534};
  ASSERT_TRUE(make_pod_folder(pods.string(), &nobody));
  EXPECT_EQ(owner(pods), 65534U);
  EXPECT_EQ(owner(pods / "web"), 65534U);
  EXPECT_EQ(owner(pods / "wide"), 0U) << "others may have put things into it";
  EXPECT_EQ(owner(folder_), 0U);
  as_nobody([&] {
    ASSERT_TRUE(become_socket_maker());
    const auto opened = open_pod_folder(pods.string());
    ASSERT_TRUE(opened) << opened.error().message;
    const auto listener = listen_for_pod(*opened, "web");
    EXPECT_TRUE(listener) << listener.error().message;
  });
  // One that root made meanwhile.
  ASSERT_TRUE(fs::create_directory(pods / "late"));
  as_nobody([&] {
    ASSERT_TRUE(become_socket_maker());
    const auto opened = open_pod_folder(pods.string());
    ASSERT_TRUE(opened);
    const auto listener = listen_for_pod(*opened, "late");
    ASSERT_FALSE(listener);
    EXPECT_THAT(listener.error().message,
                HasSubstr("late belongs to user 0, and this router is user 65534: chown it, or remove it"));
  });
  // What is everybody's stays so.
  ASSERT_EQ(chmod(folder_.c_str(), 01777), 0);
  ASSERT_TRUE(make_pod_folder(folder_.string(), &nobody));
  EXPECT_EQ(owner(folder_), 0U);
}

TEST_F(MemifServerTest, TheFolderStaysForTheNextStart) {
  attach();
  server_.reset();
  EXPECT_TRUE(fs::is_directory(folder_ / "pods" / "web"));
  EXPECT_FALSE(fs::exists(socket_of("web")));
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat((folder_ / "pods" / "web").c_str(), &before), 0);
  server_ = std::make_unique<MemifServer>((folder_ / "pods").string());
  expect_served(attach());
  ASSERT_EQ(stat((folder_ / "pods" / "web").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "a pod that has it mounted finds the new socket";
}

TEST_F(MemifServerTest, ADetachedPodIsTold) {
  const MemifServer::Key key = attach();
  Client pod(socket_of("web"));
  ASSERT_TRUE(pod.shake_hands());
  ASSERT_TRUE(eventually_up(key));
  std::shared_ptr<dataplane::MemifLink> lent = server_->look(key).link;
  server_->remove(key);
  EXPECT_EQ(pod.hear(), goodbye);
  EXPECT_EQ(pod.said(), "the pod is detached");
  EXPECT_FALSE(lent->is_broken()) << "the memory is there as long as somebody holds it";
  MemifServer::give_back(std::move(lent));
}

TEST_F(MemifServerTest, TheSameSocketAgainAtOnce) {
  const MemifServer::Key first = attach();
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat((folder_ / "pods" / "web").c_str(), &before), 0);
  config::MemifDevice device;
  device.socket = "web";
  device.id = 3;
  const MemifServer::Key second = server_->add(device);
  std::this_thread::sleep_for(100ms);
  server_->remove(first);
  ASSERT_TRUE(eventually([&] {
    Client pod(socket_of("web"));
    return pod.is_connected() && pod.shake_hands(3).has_value() && eventually_up(second);
  }));
  ASSERT_EQ(stat((folder_ / "pods" / "web").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "the folder is the pod's all the while";
}

TEST(MemifServer, WithoutAFolderThereAreNone) {
  MemifServer none("");
  config::MemifDevice device;
  device.socket = "web";
  const MemifServer::Key key = none.add(device);
  EXPECT_EQ(none.look(key).problem, "no folder for the sockets of pods was named (--pod-sockets)");
  none.remove(key);
  MemifServer missing("/nonexistent/pods");
  EXPECT_THAT(missing.look(missing.add(device)).problem, HasSubstr("/nonexistent/pods for the sockets of pods"));
}

}  // namespace
}  // namespace sluice::control
