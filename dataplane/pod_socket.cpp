#include "dataplane/pod_socket.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/context.h"
#include "dataplane/super_frame.h"

namespace sluice::dataplane {
namespace {

using net::DropReason;

constexpr uint32_t block_size = 1 << 20;
constexpr uint32_t slots_per_block = block_size / PodSocket::slot_size;
constexpr uint32_t blocks = PodSocket::slots / slots_per_block;
static_assert(size_t{block_size} * blocks == PodSocket::ring_size);
static_assert(PodSocket::slots % slots_per_block == 0 && PodSocket::slot_size % TPACKET_ALIGNMENT == 0);
constexpr int send_buffer = 32 << 20;  // bytes on their way to pods
constexpr uint32_t whole_frame = 0x40000;
constexpr unsigned most_unasked = 16;
constexpr size_t most_linear = 4;  // interfaces that are compared one after the other

net::Error failure(const char* what) {
  return net::Error{std::string("the packet socket for pods: ") + what + ": " + std::strerror(errno) +
                    "; it needs root or CAP_NET_RAW and CAP_NET_ADMIN"};
}

// A binary search of the interface's index, which the accumulator holds: `from` to `to` of `sorted`.
void search(const std::vector<uint32_t>& sorted, size_t from, size_t to, std::vector<sock_filter>& program) {
  if (to - from <= most_linear) {
    for (size_t i = from; i < to; ++i) {
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, sorted[i], 0, 1));
      program.push_back(BPF_STMT(BPF_RET | BPF_K, whole_frame));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
    return;
  }
  const size_t middle = from + (to - from) / 2;
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, sorted[middle], 0, 1));
  const size_t jump = program.size();
  program.push_back(BPF_STMT(BPF_JMP | BPF_JA, 0));
  search(sorted, from, middle, program);
  program[jump].k = static_cast<uint32_t>(program.size() - jump - 1);
  search(sorted, middle, to, program);
}

template <class T>
int set_option(int descriptor, int option, const T& value) {
  return setsockopt(descriptor, SOL_PACKET, option, &value, sizeof value);
}

// A sysctl that is not there is no loss. False: errno says why it cannot be written.
bool write_setting(const std::string& path, const char* value) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return errno == ENOENT;
  const bool written = ::write(file, value, std::strlen(value)) >= 0;
  const int error = errno;
  ::close(file);
  errno = error;
  return written;
}

// Of a switch that turns something off: whether it is not used. Without IPv6 in the kernel there is none.
bool is_off(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char value = '1';
  const bool off = ::read(file, &value, 1) == 1 && value == '0';
  ::close(file);
  return off;
}

std::string ipv6_switch(const std::string& interface) {
  return "/proc/sys/net/ipv6/conf/" + interface + "/disable_ipv6";
}

}  // namespace

net::Result<std::unique_ptr<PodSocket>> PodSocket::open() {
  std::unique_ptr<PodSocket> self(new PodSocket);
  // Protocol 0: nothing comes before it is bound.
  const int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return failure("cannot be opened");
  self->descriptor_ = descriptor;
  if (set_option(descriptor, PACKET_VERSION, int{TPACKET_V2}) != 0) return failure("TPACKET_V2");
  if (set_option(descriptor, PACKET_VNET_HDR, 1) != 0) return failure("PACKET_VNET_HDR");
  if (set_option(descriptor, PACKET_IGNORE_OUTGOING, 1) != 0) return failure("PACKET_IGNORE_OUTGOING");
  if (setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &send_buffer, sizeof send_buffer) != 0) {
    (void)setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
  }
  tpacket_req ring{};
  ring.tp_block_size = block_size;
  ring.tp_block_nr = blocks;
  ring.tp_frame_size = slot_size;
  ring.tp_frame_nr = slots;
  if (set_option(descriptor, PACKET_RX_RING, ring) != 0) return failure("no memory for its ring");
  void* const memory = mmap(nullptr, ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) return failure("its ring cannot be mapped");
  self->ring_ = static_cast<uint8_t*>(memory);
  if (auto done = self->listen({}); !done) return done.error();
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  if (bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failure("cannot be bound");
  }
  return self;
}

std::unique_ptr<PodSocket> PodSocket::over(int descriptor, void* ring) {
  std::unique_ptr<PodSocket> self(new PodSocket);
  self->descriptor_ = descriptor;
  self->ring_ = static_cast<uint8_t*>(ring);
  return self;
}

PodSocket::~PodSocket() {
  if (ring_ != nullptr) munmap(ring_, ring_size);
  if (descriptor_ >= 0) close(descriptor_);
}

net::Status<> PodSocket::listen(std::vector<uint32_t> interfaces) {
  std::sort(interfaces.begin(), interfaces.end());
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_IFINDEX)));
  search(interfaces, 0, interfaces.size(), program);
  if (program.size() > BPF_MAXINSNS) {
    return net::Error{"more pods than one worker can listen to: " + std::to_string(interfaces.size())};
  }
  const sock_fprog filter{static_cast<uint16_t>(program.size()), program.data()};
  if (setsockopt(descriptor_, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return failure("its filter is refused");
  }
  return net::Done{};
}

uint64_t PodSocket::missed() {
  tpacket_stats statistics{};
  socklen_t size = sizeof statistics;
  if (getsockopt(descriptor_, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0) missed_ += statistics.tp_drops;
  return missed_;
}

net::Status<> PodSocket::receive_all_of(uint32_t interface, bool all) {
  packet_mreq request{};
  request.mr_ifindex = static_cast<int>(interface);
  request.mr_type = PACKET_MR_PROMISC;
  if (set_option(descriptor_, all ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP, request) != 0)
    return failure("an interface is not promiscuous");
  return net::Done{};
}

std::optional<LinkSettings> PodSocket::settings_of(const std::string& name) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return std::nullopt;
  std::memcpy(request.ifr_name, name.data(), name.size());
  const int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return std::nullopt;
  LinkSettings settings;
  bool there = ioctl(descriptor, SIOCGIFINDEX, &request) == 0;
  settings.index = static_cast<uint32_t>(request.ifr_ifindex);
  there = there && ioctl(descriptor, SIOCGIFFLAGS, &request) == 0;
  settings.arp = (request.ifr_flags & IFF_NOARP) == 0;
  close(descriptor);
  if (!there) return std::nullopt;
  settings.ipv6 = is_off(ipv6_switch(name));
  return settings;
}

std::optional<KernelLink> PodSocket::prepare(const std::string& name) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return std::nullopt;
  std::memcpy(request.ifr_name, name.data(), name.size());
  const int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return std::nullopt;
  const auto close_it = std::unique_ptr<const int, void (*)(const int*)>(&descriptor, [](const int* d) { close(*d); });
  if (ioctl(descriptor, SIOCGIFINDEX, &request) != 0) return std::nullopt;
  KernelLink link;
  link.index = static_cast<uint32_t>(request.ifr_ifindex);
  if (ioctl(descriptor, SIOCGIFMTU, &request) != 0) return std::nullopt;
  link.mtu = static_cast<uint16_t>(std::clamp(request.ifr_mtu, 0, 65535));
  if (ioctl(descriptor, SIOCGIFHWADDR, &request) != 0) return std::nullopt;
  std::memcpy(link.mac.bytes.data(), request.ifr_hwaddr.sa_data, link.mac.bytes.size());
  if (ioctl(descriptor, SIOCGIFFLAGS, &request) != 0) return std::nullopt;
  constexpr short ours = IFF_UP | IFF_NOARP;
  if ((request.ifr_flags & ours) != ours) {
    (void)write_setting(ipv6_switch(name), "1");
    request.ifr_flags = static_cast<short>(request.ifr_flags | ours);
    (void)ioctl(descriptor, SIOCSIFFLAGS, &request);
    if (ioctl(descriptor, SIOCGIFFLAGS, &request) != 0) return std::nullopt;
  }
  link.up = (request.ifr_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
  return link;
}

net::Result<bool> PodSocket::release(const std::string& name, const LinkSettings& before) {
  const auto refused = [](const char* what) {
    return net::Error{std::string(what) + ": " + std::strerror(errno) + "; it needs root or CAP_NET_ADMIN"};
  };
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return false;
  std::memcpy(request.ifr_name, name.data(), name.size());
  const int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return refused("no socket");
  const auto close_it = std::unique_ptr<const int, void (*)(const int*)>(&descriptor, [](const int* d) { close(*d); });
  if (ioctl(descriptor, SIOCGIFINDEX, &request) != 0)
    return errno == ENODEV ? net::Result<bool>(false) : refused(name.c_str());
  if (static_cast<uint32_t>(request.ifr_ifindex) != before.index) return false;
  if (before.arp) {
    bool done = ioctl(descriptor, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags = static_cast<short>(request.ifr_flags & ~IFF_NOARP);
    done = done && ioctl(descriptor, SIOCSIFFLAGS, &request) == 0;
    if (!done && errno == ENODEV) return false;
    if (!done) return refused("ARP cannot be switched on");
  }
  const std::string off = ipv6_switch(name);
  if (before.ipv6 && !is_off(off) && !write_setting(off, "0")) return refused("IPv6 cannot be switched on");
  return true;
}

// ---- receive -------------------------------------------------------------------------------------------

uint8_t* PodSocket::slot(uint32_t index) const {
  return ring_ + size_t{index / slots_per_block} * block_size + size_t{index % slots_per_block} * slot_size;
}

// The kernel's again.
void PodSocket::give_back() {
  auto* const header = reinterpret_cast<tpacket2_hdr*>(slot(next_));
  __atomic_store_n(&header->tp_status, static_cast<uint32_t>(TP_STATUS_KERNEL), __ATOMIC_RELEASE);
  next_ = next_ + 1 == slots ? 0 : next_ + 1;
  reading_ = false;
}

PodSocket::Received PodSocket::look() const {
  Received out;
  uint8_t* const start = slot(next_);
  const auto* const header = reinterpret_cast<const tpacket2_hdr*>(start);
  const uint32_t status = __atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE);
  if ((status & TP_STATUS_USER) == 0) return out;
  const auto* const address = reinterpret_cast<const sockaddr_ll*>(start + TPACKET_ALIGN(sizeof(tpacket2_hdr)));
  out.frame = start + header->tp_mac;
  out.length = header->tp_len;
  out.interface = static_cast<uint32_t>(address->sll_ifindex);
  if ((status & TP_STATUS_VLAN_VALID) != 0 && (header->tp_vlan_tci & 0xfff) != 0) {
    out.refusal = DropReason::UnknownVlan;
  } else if (header->tp_snaplen != header->tp_len) {
    out.refusal = DropReason::OffloadMalformed;
  } else {
    std::memcpy(&out.about, out.frame - sizeof out.about, sizeof out.about);
  }
  return out;
}

bool PodSocket::next_super_frame(SuperFrame& frame) {
  if (reading_) return false;
  const Received next = look();
  if (next.frame == nullptr || next.refusal != DropReason::None ||
      !read_super_frame(next.frame, next.length, next.about, frame)) {
    return false;
  }
  frame.interface = next.interface;
  return true;
}

void PodSocket::finish_super_frame() {
  unasked_ = 0;
  give_back();
}

uint16_t PodSocket::receive(Context& context, rte_mbuf** packets, uint32_t& interface) {
  uint16_t count = 0;
  for (unsigned looked = 0; count < net::burst_size && looked < net::burst_size;) {
    if (!reading_) {
      const Received next = look();
      if (next.frame == nullptr || (count != 0 && next.interface != interface)) break;
      const auto gso = static_cast<uint8_t>(next.about.gso_type & ~VnetHeader::gso_ecn);
      const bool super = gso == VnetHeader::gso_tcp_v4 || gso == VnetHeader::gso_tcp_v6;
      // It may go on whole, when what came before it is on its way.
      if (super && count != 0 && unasked_ == 0) break;
      if (super) unasked_ = count == 0 ? most_unasked : unasked_ - 1;
      interface = next.interface;
      ++looked;
      DropReason reason = next.refusal;
      if (reason == DropReason::None) reason = segmenter_.begin(next.frame, next.length, next.about);
      if (reason != DropReason::None) {
        context.counters.drop(reason);
        give_back();
        continue;
      }
      reading_ = true;
      reading_from_ = next.interface;
    }
    interface = reading_from_;
    rte_mbuf* const packet = segmenter_.next(context.tables.pool);
    if (packet == nullptr) {
      context.counters.drop(DropReason::NoBuffer);
    } else {
      packets[count++] = packet;
    }
    if (segmenter_.done()) give_back();
  }
  return count;
}

// ---- send ----------------------------------------------------------------------------------------------

namespace {

sockaddr_ll address_of(uint32_t interface) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(interface);
  address.sll_halen = 6;
  return address;
}

// Why a frame was not sent.
DropReason refusal_of(int error) {
  const bool gone = error == ENXIO || error == ENETDOWN || error == ENODEV;
  return gone ? DropReason::InterfaceGone : DropReason::TransmitFull;
}

}  // namespace

void PodSocket::send(Context& context, rte_mbuf** frames, uint16_t count, uint32_t interface) {
  merger_.clear();
  for (uint16_t i = 0; i < count; ++i) {
    if (!merger_.add(frames[i])) context.counters.drop(DropReason::TransmitFull);
  }
  merger_.finish();
  sockaddr_ll address = address_of(interface);
  const uint16_t messages = merger_.size();
  mmsghdr headers[net::burst_size];
  for (uint16_t i = 0; i < messages; ++i) {
    headers[i] = {};
    headers[i].msg_hdr.msg_name = &address;
    headers[i].msg_hdr.msg_namelen = sizeof address;
    headers[i].msg_hdr.msg_iov = merger_.iovecs(i);
    headers[i].msg_hdr.msg_iovlen = merger_[i].count;
  }
  for (uint16_t sent = 0; sent < messages;) {
    const int done = sendmmsg(descriptor_, headers + sent, messages - sent, MSG_DONTWAIT);
    if (done > 0) {
      sent = static_cast<uint16_t>(sent + done);
      continue;
    }
    // This one is refused; the next may do. Not so if the interface is gone or down.
    const DropReason reason = refusal_of(errno);
    do {
      context.counters.drop(reason, merger_[sent].frames);
      ++sent;
    } while (reason == DropReason::InterfaceGone && sent < messages);
  }
  for (uint16_t i = 0; i < count; ++i) context.discard(frames[i]);
}

void PodSocket::send_super_frame(Context& context, const SuperFrame& frame, uint32_t interface) {
  const VnetHeader about = frame.about();
  uint8_t* const begin = frame.frame - sizeof about;
  std::memcpy(begin, &about, sizeof about);
  sockaddr_ll address = address_of(interface);
  iovec whole{begin, sizeof about + frame.length};
  msghdr header{};
  header.msg_name = &address;
  header.msg_namelen = sizeof address;
  header.msg_iov = &whole;
  header.msg_iovlen = 1;
  if (sendmsg(descriptor_, &header, MSG_DONTWAIT) >= 0) return;
  context.counters.drop(refusal_of(errno), frame.packets);
}

}  // namespace sluice::dataplane
