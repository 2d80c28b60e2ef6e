#include "control/memif_session.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "control/memif_memory.h"

namespace sluice::control {
namespace {

constexpr uint16_t version = 0x0200;
constexpr uint8_t ethernet_mode = 0;
constexpr uint16_t to_server = 1;  // flag of ADD_RING
constexpr unsigned messages_per_turn = 16;

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

// What the thread works on that maps. It has the descriptors, and closes them. The rest is the session's again when it
// is done.
struct MemifSession::Mapping {
  std::vector<Descriptor> passed;
  std::vector<Region> regions;
  dataplane::MemifPlace to_router, from_router;
  uint64_t may_make = 0;
  std::unique_ptr<dataplane::MemifLink> link;
  std::string problem;
  std::atomic<bool> done{false};

  void run();
};

void MemifSession::Mapping::run() {
  std::vector<dataplane::MemifRegion> mapped;
  for (const Region& region : regions) {
    auto memory = map_memory(region.file, region.size, may_make);
    if (!memory) {
      problem = memory.error().message;
      return;
    }
    mapped.push_back(std::move(*memory));
  }
  auto opened = dataplane::MemifLink::open(std::move(mapped), to_router, from_router);
  if (opened) {
    link = std::move(*opened);
  } else {
    problem = opened.error().message;
  }
}

MemifSession::MemifSession(Descriptor connection, const config::MemifDevice& device, uint64_t may_make)
    : connection_(std::move(connection)), device_(device), may_make_(may_make) {
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

int MemifSession::keep_passed(msghdr& header) {
  const cmsghdr* const part = CMSG_FIRSTHDR(&header);
  if (part == nullptr || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) return -1;
  if (part->cmsg_len < CMSG_LEN(sizeof(int))) return -1;
  int number = -1;
  std::memcpy(&number, CMSG_DATA(part), sizeof number);
  passed_.emplace_back(number);
  return number;
}

MemifSession::State MemifSession::advance() {
  for (unsigned turn = 0; turn < messages_per_turn && state_ != State::Over; ++turn) {
    Message message;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec bytes{&message, sizeof message};
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = CMSG_LEN(sizeof(int));  // in CMSG_SPACE there would be room for two
    const ssize_t size = recvmsg(connection_.number(), &header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) {
      if (errno != EAGAIN && errno != EINTR) over({});
      break;
    }
    // As that has what came with the message, the message's own reference, which goes with it below, is not the last.
    const int passed = keep_passed(header);
    if (size == 0) {
      over({});
    } else if ((header.msg_flags & MSG_CTRUNC) != 0) {
      refuse("more descriptors than belong to a message, or than this router may have open");
    } else if (char unused = 0; recv(connection_.number(), &unused, sizeof unused, MSG_DONTWAIT) < 0) {
      over({});
    } else if ((header.msg_flags & MSG_TRUNC) != 0 || size < ssize_t{sizeof message.kind}) {
      refuse("a message of another size");
    } else {
      take(message, passed);
    }
  }
  return state_;
}

void MemifSession::take(const Message& message, int passed) {
  const auto kind = static_cast<Kind>(message.kind);
  if (kind == Kind::Disconnect) {
    const auto goodbye = message.as<Disconnect>();
    const std::string why = printable(goodbye.text, sizeof goodbye.text);
    return over(state_ == State::Connected || why.empty() ? "" : "the pod hung up: " + why);
  }
  const bool may_pass = kind == Kind::AddRegion || kind == Kind::AddRing;
  if (state_ != State::Talking || mapping_ != nullptr || (passed >= 0 && !may_pass) || known_ == (kind == Kind::Init)) {
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

void MemifSession::add_region(const Message& message, int passed) {
  const auto asked = message.as<AddRegion>();
  if (passed < 0) return refuse("a region without memory");
  if (asked.index != regions_.size() || regions_.size() == dataplane::MemifLink::most_regions) {
    return refuse(fmt::format("region {} is not the next, or one too many", unsigned{asked.index}));
  }
  if (asked.size > most_memory - memory_) {
    return refuse(fmt::format("more than {} MiB of memory", most_memory >> 20));
  }
  if (auto right = check_memory(passed, asked.size); !right) return refuse(right.error().message);
  regions_.push_back({passed, asked.size});
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
  mapping_ = std::make_shared<Mapping>();
  mapping_->passed = std::move(passed_);
  passed_.clear();
  mapping_->regions = regions_;
  mapping_->to_router = *to_router_;
  mapping_->from_router = *from_router_;
  mapping_->may_make = may_make_;
  try {
    std::thread([mapping = mapping_] {
      mapping->run();
      std::vector<Descriptor> passed = std::move(mapping->passed);
      mapping->done.store(true, std::memory_order_release);
    }).detach();
  } catch (const std::system_error& error) {
    mapping_->done.store(true, std::memory_order_release);  // and no page was made
    refuse(fmt::format("no thread that maps the memory: {}", error.what()));
  }
}

MemifSession::State MemifSession::take_mapped() {
  if (!is_mapping() || !mapping_->done.load(std::memory_order_acquire)) return state_;
  if (mapping_->link == nullptr) {
    refuse(mapping_->problem);
    return state_;
  }
  link_ = std::move(mapping_->link);
  struct {
    char name[32] = "sluice";
  } connected;
  say(Message(Kind::Connected, connected));
  if (state_ == State::Talking) state_ = State::Connected;
  return state_;
}

uint64_t MemifSession::made() const {
  if (mapping_ == nullptr) return 0;
  if (!mapping_->done.load(std::memory_order_acquire)) return std::min(memory_, may_make_);
  return may_make_ - mapping_->may_make;
}

}  // namespace sluice::control
