#include "control/memif_session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::control {
namespace {

using memif_message::Message;
using memif_message::Type;

constexpr std::chrono::seconds handshake_patience{10};
constexpr size_t most_descriptors = 4;  // that are read of one message; a pod sends one

template <size_t Size>
void copy_text(char (&to)[Size], const std::string& text) {
  const size_t length = std::min(text.size(), Size - 1);
  std::memcpy(to, text.data(), length);
  to[length] = 0;
}

}  // namespace

struct MemifSession::Received {
  Message message{};
  std::vector<int> descriptors;

  Received() = default;
  ~Received() {
    for (const int descriptor : descriptors) ::close(descriptor);
  }
  Received(const Received&) = delete;
  Received& operator=(const Received&) = delete;

  // Bytes that came; 0: the other end is gone; -1: errno says why.
  ssize_t read(int socket) {
    iovec whole{&message, sizeof message};
    alignas(cmsghdr) char control[CMSG_SPACE(most_descriptors * sizeof(int))];
    msghdr header{};
    header.msg_iov = &whole;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size <= 0) return size;
    for (const cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr;
         part = CMSG_NXTHDR(&header, const_cast<cmsghdr*>(part))) {
      if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      const size_t before = descriptors.size();
      descriptors.resize(before + count);
      std::memcpy(descriptors.data() + before, CMSG_DATA(part), count * sizeof(int));
    }
    return size;
  }
};

MemifSession::MemifSession(MemifServer& server, int descriptor)
    : server_(&server), socket_(server.io_, descriptor), patience_(server.io_) {}

void MemifSession::start() {
  Message hello{};
  hello.type = Type::Hello;
  copy_text(hello.hello.name, "sluice");
  hello.hello.min_version = hello.hello.max_version = memif_message::version;
  hello.hello.max_region = dataplane::memif::max_regions - 1;
  hello.hello.max_ring_from_server = hello.hello.max_ring_to_server = static_cast<uint16_t>(server_->rings_ - 1);
  hello.hello.max_log2_ring_size = dataplane::memif::max_log2_ring_size;
  if (!send(hello)) return end();
  patience_.expires_after(handshake_patience);
  patience_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && !self->connected_) self->end();
  });
  wait();
}

void MemifSession::close() {
  server_ = nullptr;
  patience_.cancel();
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void MemifSession::wait() {
  socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       if (!error && self->server_ != nullptr) self->read_all();
                     });
}

void MemifSession::read_all() {
  while (server_ != nullptr) {
    Received received;
    const ssize_t size = received.read(socket_.native_handle());
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return wait();
    if (size <= 0) return end();
    if (size != sizeof received.message) return refuse("a message has 128 bytes");
    if (received.message.type == Type::Disconnect) return end();
    if (auto handled = handle(received); !handled) return refuse(handled.error().message);
  }
}

net::Status<> MemifSession::handle(const Received& received) {
  const Message& message = received.message;
  if (message.type == Type::Ack) return net::Done{};
  if (initialised_ == (message.type == Type::Init) || connected_) return net::Error{"unexpected message"};
  net::Status<> done = net::Done{};
  switch (message.type) {
    case Type::Init:
      done = on_init(message.init);
      break;
    case Type::AddRegion:
      done = on_region(message.add_region, received.descriptors.empty() ? -1 : received.descriptors.front());
      break;
    case Type::AddRing:
      done = on_ring(message.add_ring);
      break;
    case Type::Connect:
      return on_connect();
    default:
      return net::Error{"unknown message type"};
  }
  if (done && !send(Type::Ack)) return net::Error{"the acknowledgement was not taken"};
  return done;
}

net::Status<> MemifSession::on_init(const memif_message::Init& init) {
  if (init.version != memif_message::version) return net::Error{"incompatible memif version"};
  if (init.mode != memif_message::mode_ethernet) return net::Error{"only Ethernet mode is supported"};
  if (init.id != 0) return net::Error{"the socket has one interface, with id 0"};
  if (server_->connected_ != nullptr) return net::Error{"already connected"};
  initialised_ = true;
  return net::Done{};
}

net::Status<> MemifSession::on_region(const memif_message::AddRegion& region, int descriptor) {
  if (descriptor < 0) return net::Error{"a region without its descriptor"};
  if (region.index != regions_) return net::Error{"regions have to come in order"};
  ++regions_;
  return link_->add_region(descriptor, region.size);
}

net::Status<> MemifSession::on_ring(const memif_message::AddRing& ring) {
  auto& rings = (ring.flags & memif_message::ring_to_server) != 0 ? receive_ : transmit_;
  if (ring.index != rings.size()) return net::Error{"rings have to come in order"};
  if (rings.size() == server_->rings_) return net::Error{"too many rings"};
  rings.push_back({ring.region, ring.offset, ring.log2_ring_size});
  return net::Done{};
}

net::Status<> MemifSession::on_connect() {
  if (auto opened = link_->open(receive_, transmit_); !opened) return opened;
  Message answer{};
  answer.type = Type::Connected;
  copy_text(answer.interface_name, "sluice");
  if (!server_->connect(*this, link_)) return net::Error{"already connected"};
  connected_ = true;
  patience_.cancel();
  if (!send(answer)) return net::Error{"the answer was not taken"};
  return net::Done{};
}

bool MemifSession::send(const Message& message) {
  return ::send(socket_.native_handle(), &message, sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof message;
}

bool MemifSession::send(Type type) {
  Message message{};
  message.type = type;
  return send(message);
}

void MemifSession::refuse(const std::string& why) {
  Message message{};
  message.type = Type::Disconnect;
  copy_text(message.disconnect.text, why);
  send(message);
  end();
}

void MemifSession::end() {
  const auto self = shared_from_this();
  MemifServer* const server = server_;
  close();
  if (server != nullptr) server->leave(*this);
}

}  // namespace sluice::control
