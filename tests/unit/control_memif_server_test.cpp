// The socket by which a pod hands over its memory, and what it may not say there.
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "control/memif_messages.h"
#include "control/memif_server.h"
#include "tests/packet/memif_memory.h"

namespace sluice::control {
namespace {

using memif_message::Message;
using memif_message::Type;
using packet_test::MemifMemory;

constexpr uint16_t rings = 1;

// The pod's end.
class Client {
 public:
  Client(boost::asio::io_context& io, const std::string& path) : io_(io) {
    descriptor_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
        << std::strerror(errno);
  }
  ~Client() { close(descriptor_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(const Message& message, int descriptor = -1, size_t size = sizeof(Message)) const {
    iovec whole{const_cast<Message*>(&message), size};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &whole;
    header.msg_iovlen = 1;
    if (descriptor >= 0) {
      header.msg_control = control;
      header.msg_controllen = sizeof control;
      cmsghdr* const part = CMSG_FIRSTHDR(&header);
      part->cmsg_level = SOL_SOCKET;
      part->cmsg_type = SCM_RIGHTS;
      part->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(part), &descriptor, sizeof descriptor);
    }
    EXPECT_EQ(sendmsg(descriptor_, &header, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }
  void hang_up() const { shutdown(descriptor_, SHUT_RDWR); }
  // The server's next message; empty: it has closed the connection, or says nothing.
  std::optional<Message> receive() {
    for (int turns = 0; turns < 100; ++turns) {
      io_.restart();
      io_.poll();
      Message message{};
      const ssize_t size = recv(descriptor_, &message, sizeof message, MSG_DONTWAIT);
      if (size == sizeof message) return message;
      if (size == 0) return std::nullopt;
    }
    return std::nullopt;
  }
  Type answer() {
    const auto message = receive();
    return message ? message->type : Type::None;
  }
  // What it says when it hangs up.
  std::string refusal() {
    const auto message = receive();
    if (!message || message->type != Type::Disconnect) return "no refusal";
    return receive() ? "not closed" : message->disconnect.text;
  }
  Type init(uint16_t version = memif_message::version, uint32_t id = 0) {
    send(init_message(version, id));
    return answer();
  }
  static Message init_message(uint16_t version, uint32_t id) {
    Message message{};
    message.type = Type::Init;
    message.init.version = version;
    message.init.id = id;
    return message;
  }
  static Message region_message(uint64_t size, uint16_t index = 0) {
    Message message{};
    message.type = Type::AddRegion;
    message.add_region.index = index;
    message.add_region.size = size;
    return message;
  }
  static Message ring_message(int ring) {
    const dataplane::memif::RingPlace place = MemifMemory::place(ring);
    Message message{};
    message.type = Type::AddRing;
    message.add_ring.flags = ring == 0 ? memif_message::ring_to_server : uint16_t{0};
    message.add_ring.offset = place.offset;
    message.add_ring.log2_ring_size = place.log2_ring_size;
    return message;
  }
  static Message plain(Type type) {
    Message message{};
    message.type = type;
    return message;
  }
  // Up to and with the answer to Connect.
  Type hand_over(const MemifMemory& memory) {
    EXPECT_EQ(answer(), Type::Hello);
    EXPECT_EQ(init(), Type::Ack);
    send(region_message(memory.size()), memory.descriptor());
    EXPECT_EQ(answer(), Type::Ack);
    for (const int ring : {0, 1}) {
      send(ring_message(ring), memory.descriptor());
      EXPECT_EQ(answer(), Type::Ack);
    }
    send(plain(Type::Connect));
    return answer();
  }

 private:
  boost::asio::io_context& io_;
  int descriptor_;
};

class MemifServerTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/memif_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    folder_ = pattern;
    listen({});
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  void listen(config::PodDevice device) {
    server_.reset();
    device.kind = config::PodDevice::Kind::Memif;
    auto server = MemifServer::listen(io_, folder_, "cali1", device, rings, [this] { ++changes_; });
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  void turn() {
    io_.restart();
    io_.poll();
  }

  std::string folder_;
  boost::asio::io_context io_;
  std::unique_ptr<MemifServer> server_;
  int changes_ = 0;
};

TEST_F(MemifServerTest, APodHandsOverItsMemoryAndTheNextOneAfterIt) {
  for (int round = 1; round <= 3; ++round) {
    const MemifMemory memory;
    Client client(io_, server_->path());
    EXPECT_EQ(client.hand_over(memory), Type::Connected);
    ASSERT_NE(server_->link(), nullptr);
    EXPECT_EQ(server_->link()->receive_rings(), 1);
    EXPECT_EQ(server_->link()->transmit_rings(), 1);
    EXPECT_EQ(changes_, 2 * round - 1);
    if (round == 2) {
      client.send(Client::plain(Type::Disconnect));
    } else {
      client.hang_up();
    }
    turn();
    EXPECT_EQ(server_->link(), nullptr) << "round " << round;
    EXPECT_EQ(changes_, 2 * round);
  }
}

TEST_F(MemifServerTest, OnePodAtATime) {
  const MemifMemory memory;
  Client first(io_, server_->path());
  Client slow(io_, server_->path());
  EXPECT_EQ(slow.answer(), Type::Hello);
  EXPECT_EQ(slow.init(), Type::Ack);
  EXPECT_EQ(first.hand_over(memory), Type::Connected);
  const auto link = server_->link();
  Client second(io_, server_->path());
  EXPECT_EQ(second.answer(), Type::Hello);
  second.send(Client::init_message(memif_message::version, 0));
  EXPECT_EQ(second.refusal(), "already connected");
  slow.send(Client::plain(Type::Connect));
  EXPECT_EQ(slow.refusal(), "a ring for each direction is needed");
  EXPECT_EQ(server_->link(), link);
}

TEST_F(MemifServerTest, ConnectionsThatSayNothingAreFew) {
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 6; ++i) {
    silent.push_back(std::make_unique<Client>(io_, server_->path()));
    turn();
  }
  EXPECT_EQ(silent[3]->answer(), Type::Hello);
  EXPECT_EQ(silent[4]->answer(), Type::None);
}

TEST_F(MemifServerTest, WhatIsWrongIsRefusedInWords) {
  const MemifMemory memory;
  const MemifMemory shrinks(2048, false);
  const auto said = [&](const std::vector<std::pair<Message, int>>& messages) {
    Client client(io_, server_->path());
    EXPECT_EQ(client.answer(), Type::Hello);
    for (size_t i = 0; i < messages.size(); ++i) {
      client.send(messages[i].first, messages[i].second);
      if (i + 1 < messages.size()) {
        EXPECT_EQ(client.answer(), Type::Ack);
      }
    }
    return client.refusal();
  };
  const auto init = std::pair(Client::init_message(memif_message::version, 0), -1);
  const auto region = std::pair(Client::region_message(memory.size()), memory.descriptor());
  const auto ring = [](int which) { return std::pair(Client::ring_message(which), -1); };
  const auto connect = std::pair(Client::plain(Type::Connect), -1);
  EXPECT_EQ(said({connect}), "unexpected message");
  EXPECT_EQ(said({{Client::init_message(0x0100, 0), -1}}), "incompatible memif version");
  EXPECT_EQ(said({{Client::init_message(memif_message::version, 1), -1}}), "the socket has one interface, with id 0");
  EXPECT_EQ(said({init, init}), "unexpected message");
  EXPECT_EQ(said({init, {Client::region_message(memory.size()), -1}}), "a region without its descriptor");
  EXPECT_EQ(said({init, {Client::region_message(memory.size(), 1), memory.descriptor()}}),
            "regions have to come in order");
  EXPECT_EQ(said({init, {Client::region_message(memory.size() + 1), memory.descriptor()}}),
            "a region is larger than its memory");
  EXPECT_EQ(said({init, {Client::region_message(UINT64_MAX), memory.descriptor()}}),
            "regions have at most 256 MiB in all");
  EXPECT_EQ(said({init, {Client::region_message(shrinks.size()), shrinks.descriptor()}}),
            "a region has to be a memfd sealed against shrinking (F_SEAL_SHRINK)");
  const int huge = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING | MFD_CLOEXEC);
  if (huge >= 0 && fcntl(huge, F_ADD_SEALS, F_SEAL_SHRINK) == 0) {
    EXPECT_EQ(said({init, {Client::region_message(1 << 21), huge}}),
              "a region has to be of ordinary pages, not hugepages");
  }
  close(huge);
  EXPECT_EQ(said({init, region, ring(0), ring(0)}), "rings have to come in order");
  EXPECT_EQ(said({init, region, ring(0), connect}), "a ring for each direction is needed");
  auto outside = ring(1);
  outside.first.add_ring.offset = static_cast<uint32_t>(memory.size()) - 64;
  EXPECT_EQ(said({init, region, ring(0), outside, connect}), "a ring reaches beyond its region");
  outside.first.add_ring.offset = 0xfffffffc;
  EXPECT_EQ(said({init, region, ring(0), outside, connect}), "a ring reaches beyond its region");
  outside.first.add_ring.offset = 2;
  EXPECT_EQ(said({init, region, ring(0), outside, connect}), "a ring is not aligned");
  outside.first.add_ring.offset = 64;
  EXPECT_EQ(said({init, region, ring(0), outside, connect}), "a ring without its cookie");
  outside = ring(1);
  outside.first.add_ring.region = 1;
  EXPECT_EQ(said({init, region, ring(0), outside, connect}), "a ring in a region that is not there");
  outside = ring(1);
  outside.first.add_ring.log2_ring_size = 60;
  EXPECT_EQ(said({init, region, ring(0), outside, connect}), "a ring is too large");
  EXPECT_EQ(said({init, {Client::plain(static_cast<Type>(99)), -1}}), "unknown message type");
  EXPECT_EQ(changes_, 0);
  Client last(io_, server_->path());
  EXPECT_EQ(last.hand_over(memory), Type::Connected);
}

TEST_F(MemifServerTest, TheSocketHasItsModeAndGoesWithThePod) {
  config::PodDevice device;
  device.mode = 0660;
  device.gid = 4242;
  if (geteuid() != 0) device.gid.reset();
  listen(device);
  const std::string path = server_->path();
  EXPECT_EQ(path, folder_ + "/cali1/memif.sock");
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0660U);
  if (device.gid) {
    EXPECT_EQ(status.st_gid, 4242U);
  }
  EXPECT_FALSE(MemifServer::listen(io_, folder_, "cali1", device, rings, [] {})) << "another one serves it";
  server_->remove_file();
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/cali1"));
}

TEST_F(MemifServerTest, TheSocketOfARouterThatDiedIsReplaced) {
  const std::string path = server_->path();
  server_.reset();
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/cali1")) << "mounted into the pod, for the router's next life";
  const int dead = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  close(dead);
  listen({});
  const MemifMemory memory;
  Client client(io_, path);
  EXPECT_EQ(client.hand_over(memory), Type::Connected);
}

}  // namespace
}  // namespace sluice::control
