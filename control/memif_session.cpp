#include "control/memif_session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <fmt/format.h>

namespace sluice::control {
namespace {

constexpr uint16_t version = 0x0200;
constexpr uint8_t ethernet_mode = 0;
constexpr uint16_t to_server = 1;  // flag of ADD_RING
constexpr unsigned messages_per_turn = 16;
constexpr size_t most_passed = 4;  // with one message

enum class Kind : uint16_t { None, Ack, Hello, Init, AddRegion, AddRing, Connect, Connected, Disconnect };

// The protocol's messages: packed, in host byte order.
struct [[gnu::packed]] Hello {
  char name[32];
  uint16_t least_version, most_version;
  uint16_t last_region, last_from_router, last_to_router;  // indices
  uint8_t most_log2_size;
};
struct [[gnu::packed]] Init {
  uint16_t version;
  uint32_t id;
  uint8_t mode;
  char secret[24];
  char name[32];
};
struct [[gnu::packed]] AddRegion {
  uint16_t index;
  uint64_t size;
};
struct [[gnu::packed]] AddRing {
  uint16_t flags, index, region;
  uint32_t offset;
  uint8_t log2_size;
  uint16_t private_size;
};
struct [[gnu::packed]] Disconnect {
  uint32_t code;
  char text[96];
};

// What a pod wrote, for people.
std::string printable(const char* text, size_t size) {
  std::string out(text, strnlen(text, size));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

// As long as the longer one, so that how long it takes does not tell how much of it is right.
bool is_secret(const Init& init, const std::string& secret) {
  char wanted[sizeof init.secret] = {};
  secret.copy(wanted, sizeof wanted);
  unsigned different = 0;
  for (size_t i = 0; i < sizeof wanted; ++i) different |= static_cast<unsigned>(wanted[i] ^ init.secret[i]);
  return different == 0;
}

net::Result<dataplane::MemifRegion> map_region(int file, uint64_t size) {
  // First of all: only files that are memory have seals, and asking them anything never waits for somebody else.
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0) return net::Error{"the memory is no memfd"};
  if ((seals & F_SEAL_SHRINK) == 0) return net::Error{"the memory is not sealed against shrinking (F_SEAL_SHRINK)"};
  if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
    return net::Error{"the memory is sealed against writing, as that of an earlier connection is; make new memory"};
  }
  struct statfs system {};
  struct stat about {};
  if (fstatfs(file, &system) != 0 || fstat(file, &about) != 0) return net::Error{"the memory cannot be looked at"};
  if (system.f_type != TMPFS_MAGIC) return net::Error{"the memory is in hugepages, which can have holes"};
  if (size == 0 || about.st_size < 0 || static_cast<uint64_t>(about.st_size) < size) {
    return net::Error{fmt::format("a region of {} bytes in memory of {}", size, about.st_size)};
  }
  void* const begin = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
  if (begin == MAP_FAILED) return net::Error{fmt::format("the memory cannot be mapped: {}", std::strerror(errno))};
  dataplane::MemifRegion region(begin, size);
  if (fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0) {
    return net::Error{"the memory cannot be sealed against holes (F_SEAL_FUTURE_WRITE)"};
  }
  (void)mlock(begin, size);
  return region;
}

}  // namespace

struct MemifSession::Message {
  uint16_t kind = 0;
  char body[126] = {};

  Message() = default;
  explicit Message(Kind which) : kind(static_cast<uint16_t>(which)) {}
  template <class Body>
  Message(Kind which, const Body& what) : Message(which) {
    static_assert(sizeof what <= sizeof body);
    std::memcpy(body, &what, sizeof what);
  }
  template <class Body>
  [[nodiscard]] Body as() const {
    Body out;
    std::memcpy(&out, body, sizeof out);
    return out;
  }
};

MemifSession::MemifSession(Descriptor connection, const config::MemifDevice& device)
    : connection_(std::move(connection)), device_(device) {
  Hello hello{};
  std::memcpy(hello.name, "sluice", 6);
  hello.least_version = hello.most_version = version;
  hello.last_region = dataplane::MemifLink::most_regions - 1;
  hello.most_log2_size = dataplane::MemifLink::most_log2_size;
  say(Message(Kind::Hello, hello));
}

MemifSession::~MemifSession() = default;

void MemifSession::over(std::string problem) {
  if (state_ == State::Over) return;
  state_ = State::Over;
  problem_ = std::move(problem);
  (void)shutdown(connection_.number(), SHUT_RDWR);
}

void MemifSession::say(const Message& message) {
  static_assert(sizeof message == 128);
  if (send(connection_.number(), &message, sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) over({});
}

void MemifSession::acknowledge() { say(Message(Kind::Ack)); }

void MemifSession::refuse(const std::string& why) {
  if (state_ == State::Over) return;
  Disconnect goodbye{};
  why.copy(goodbye.text, sizeof goodbye.text - 1);
  say(Message(Kind::Disconnect, goodbye));
  state_ = State::Talking;  // that the pod is gone already changes nothing about why
  over(why);
}

std::vector<int> MemifSession::keep_passed(msghdr& header) {
  std::vector<int> numbers;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + i * sizeof number, sizeof number);
      passed_.emplace_back(number);
      numbers.push_back(number);
    }
  }
  return numbers;
}

MemifSession::State MemifSession::advance() {
  for (unsigned turn = 0; turn < messages_per_turn && state_ != State::Over; ++turn) {
    Message message;
    alignas(cmsghdr) char control[CMSG_SPACE(most_passed * sizeof(int))];
    iovec bytes{&message, sizeof message};
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(connection_.number(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) {
      if (errno != EAGAIN && errno != EINTR) over({});
      break;
    }
    // Before anything else, also of an empty message.
    const std::vector<int> passed = keep_passed(header);
    if (size == 0) {
      over({});
    } else if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || size < ssize_t{sizeof message.kind}) {
      refuse("a message of another size");
    } else {
      take(message, passed);
    }
  }
  return state_;
}

void MemifSession::take(const Message& message, const std::vector<int>& passed) {
  const auto kind = static_cast<Kind>(message.kind);
  if (kind == Kind::Disconnect) {
    const auto goodbye = message.as<Disconnect>();
    const std::string why = printable(goodbye.text, sizeof goodbye.text);
    return over(state_ == State::Connected || why.empty() ? "" : "the pod hung up: " + why);
  }
  const size_t allowed = kind == Kind::AddRegion || kind == Kind::AddRing ? 1 : 0;
  if (state_ != State::Talking || passed.size() > allowed || known_ == (kind == Kind::Init)) {
    return refuse(fmt::format("an unexpected message ({})", message.kind));
  }
  switch (kind) {
    case Kind::Init:
      return take_init(message);
    case Kind::AddRegion:
      return add_region(message, passed);
    case Kind::AddRing:
      return add_ring(message);
    case Kind::Connect:
      return connect();
    default:
      return refuse(fmt::format("an unexpected message ({})", message.kind));
  }
}

void MemifSession::take_init(const Message& message) {
  const auto init = message.as<Init>();
  if (init.version != version)
    return refuse(fmt::format("version {:#06x}, where {:#06x} is spoken", unsigned{init.version}, version));
  if (init.mode != ethernet_mode) return refuse("not in Ethernet mode");
  if (init.id != device_.id)
    return refuse(fmt::format("interface {} is asked for, where {} is", uint32_t{init.id}, device_.id));
  if (!device_.secret.empty() && !is_secret(init, device_.secret)) return refuse("another secret");
  known_ = true;
  acknowledge();
}

void MemifSession::add_region(const Message& message, const std::vector<int>& passed) {
  const auto asked = message.as<AddRegion>();
  if (passed.empty()) return refuse("a region without memory");
  if (asked.index != regions_.size() || regions_.size() == dataplane::MemifLink::most_regions) {
    return refuse(fmt::format("region {} is not the next, or one too many", unsigned{asked.index}));
  }
  if (asked.size > most_memory - memory_) {
    return refuse(fmt::format("more than {} MiB of memory", most_memory >> 20));
  }
  auto region = map_region(passed.front(), asked.size);
  if (!region) return refuse(region.error().message);
  regions_.push_back(std::move(*region));
  memory_ += asked.size;
  acknowledge();
}

void MemifSession::add_ring(const Message& message) {
  const auto asked = message.as<AddRing>();
  auto& place = (asked.flags & to_server) != 0 ? to_router_ : from_router_;
  if (asked.index != 0 || place) return refuse("more than one ring each way");
  place = dataplane::MemifPlace{asked.region, asked.offset, asked.log2_size};
  acknowledge();
}

void MemifSession::connect() {
  if (!to_router_ || !from_router_) return refuse("one ring each way is needed");
  auto link = dataplane::MemifLink::open(std::move(regions_), *to_router_, *from_router_);
  regions_.clear();
  if (!link) return refuse(link.error().message);
  link_ = std::move(*link);
  struct {
    char name[32] = "sluice";
  } connected;
  say(Message(Kind::Connected, connected));
  if (state_ == State::Talking) state_ = State::Connected;
}

}  // namespace sluice::control
