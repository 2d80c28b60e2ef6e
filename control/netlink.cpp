#include "control/netlink.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

namespace sluice::control::netlink {
namespace {

constexpr int receive_buffer = 16 << 20;  // bytes: a burst of some ten thousand changes
constexpr size_t buffer_size = 64 << 10;  // bytes
constexpr uint16_t ifa_proto = 11;        // IFA_PROTO, since Linux 5.18

template <size_t Count>
using Attributes = std::array<const nlattr*, Count>;

// libmnl's loops do without the conversions that C++ wants.
template <class Fn>
void each_attribute(const void* attributes, size_t length, Fn&& fn) {
  const auto* at = static_cast<const nlattr*>(attributes);
  const char* const end = static_cast<const char*>(attributes) + length;
  while (mnl_attr_ok(at, static_cast<int>(end - reinterpret_cast<const char*>(at)))) {
    fn(*at);
    at = mnl_attr_next(at);
  }
}

// By type; those that are not known here are left out (rtnetlink adds new ones).
template <size_t Count>
Attributes<Count> attributes_of(const nlmsghdr& message, unsigned header) {
  Attributes<Count> found{};
  const size_t payload = mnl_nlmsg_get_payload_len(&message);
  const size_t offset = MNL_ALIGN(header);
  if (payload < offset) return found;
  const auto* const first = static_cast<const char*>(mnl_nlmsg_get_payload_offset(&message, header));
  each_attribute(first, payload - offset, [&](const nlattr& attribute) {
    const uint16_t type = mnl_attr_get_type(&attribute);
    if (type < Count) found[type] = &attribute;
  });
  return found;
}

std::optional<uint32_t> read_u32(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) != sizeof(uint32_t)) return std::nullopt;
  return mnl_attr_get_u32(attribute);
}

std::optional<net::IpAddr> read_address(const nlattr* attribute, uint8_t family) {
  if (attribute == nullptr) return std::nullopt;
  const uint16_t length = mnl_attr_get_payload_len(attribute);
  const void* const bytes = mnl_attr_get_payload(attribute);
  if (family == AF_INET && length == 4) {
    uint32_t wire = 0;
    std::memcpy(&wire, bytes, sizeof wire);
    return net::Ipv4Addr::from_wire(wire);
  }
  if (family == AF_INET6 && length == 16) {
    net::Ipv6Addr address;
    std::memcpy(address.bytes.data(), bytes, address.bytes.size());
    return address;
  }
  return std::nullopt;
}

// RTA_VIA: a next hop with its family before it (struct rtvia), in host byte order.
std::optional<net::IpAddr> read_via(const nlattr& attribute) {
  constexpr size_t family_size = sizeof(__kernel_sa_family_t);
  const size_t length = mnl_attr_get_payload_len(&attribute);
  if (length < family_size) return std::nullopt;
  const auto* const bytes = static_cast<const uint8_t*>(mnl_attr_get_payload(&attribute));
  __kernel_sa_family_t family = 0;
  std::memcpy(&family, bytes, family_size);
  if (family != AF_INET6 || length != family_size + 16) return std::nullopt;
  net::Ipv6Addr address;
  std::memcpy(address.bytes.data(), bytes + family_size, address.bytes.size());
  return address;
}

// A twin without carrier is one whose router was not there a moment ago.
bool is_alive(unsigned flags) { return (flags & RTNH_F_DEAD) == 0; }

Message parse_link(const nlmsghdr& message) {
  const auto* const header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
  const auto found = attributes_of<IFLA_MAX + 1>(message, sizeof(ifinfomsg));
  Link link{.index = header->ifi_index, .up = (header->ifi_flags & IFF_UP) != 0};
  link.gone = message.nlmsg_type == RTM_DELLINK;
  if (found[IFLA_IFNAME] == nullptr || mnl_attr_validate(found[IFLA_IFNAME], MNL_TYPE_NUL_STRING) < 0) return {};
  link.name = mnl_attr_get_str(found[IFLA_IFNAME]);
  return link;
}

Message parse_address(const nlmsghdr& message) {
  const auto* const header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
  const auto found = attributes_of<ifa_proto + 1>(message, sizeof(ifaddrmsg));
  // On a point-to-point link IFA_ADDRESS is the peer's.
  const nlattr* const own = found[IFA_LOCAL] != nullptr ? found[IFA_LOCAL] : found[IFA_ADDRESS];
  const auto address = read_address(own, header->ifa_family);
  if (!address || header->ifa_prefixlen > address->bit_length()) return {};
  Address out{.link = static_cast<int>(header->ifa_index), .address = {*address, header->ifa_prefixlen}};
  if (found[ifa_proto] != nullptr && mnl_attr_get_payload_len(found[ifa_proto]) == 1) {
    out.protocol = mnl_attr_get_u8(found[ifa_proto]);
  }
  // Duplicate address detection (RFC 4862 section 5.4): not assigned before it ends well.
  const uint32_t flags = read_u32(found[IFA_FLAGS]).value_or(header->ifa_flags);
  out.gone = message.nlmsg_type == RTM_DELADDR || (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) != 0;
  return out;
}

std::optional<RouteType> type_of(uint8_t type) {
  switch (type) {
    case RTN_UNICAST:
      return RouteType::Unicast;
    case RTN_BLACKHOLE:
      return RouteType::Blackhole;
    case RTN_UNREACHABLE:
      return RouteType::Unreachable;
    case RTN_PROHIBIT:
      return RouteType::Prohibit;
    default:
      return std::nullopt;
  }
}

void read_hops(const nlattr* multipath, uint8_t family, std::vector<Route::Hop>& hops) {
  const auto* hop = static_cast<const rtnexthop*>(mnl_attr_get_payload(multipath));
  size_t left = mnl_attr_get_payload_len(multipath);
  while (left >= sizeof(rtnexthop) && hop->rtnh_len >= sizeof(rtnexthop) && hop->rtnh_len <= left) {
    Route::Hop out{.link = hop->rtnh_ifindex};
    bool usable = is_alive(hop->rtnh_flags);
    const auto* const inside = reinterpret_cast<const uint8_t*>(hop) + sizeof(rtnexthop);
    each_attribute(inside, hop->rtnh_len - sizeof(rtnexthop), [&](const nlattr& attribute) {
      const uint16_t type = mnl_attr_get_type(&attribute);
      if (type == RTA_GATEWAY) out.via = read_address(&attribute, family);
      if (type == RTA_VIA) {
        out.via = read_via(attribute);
        usable = usable && out.via.has_value();
      }
    });
    if (usable) hops.push_back(out);
    const size_t step = RTNH_ALIGN(hop->rtnh_len);
    if (step > left) break;
    left -= step;
    hop = reinterpret_cast<const rtnexthop*>(reinterpret_cast<const uint8_t*>(hop) + step);
  }
}

Message parse_route(const nlmsghdr& message) {
  const auto* const header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
  const auto type = type_of(header->rtm_type);
  const bool deleted = message.nlmsg_type == RTM_DELROUTE;
  const bool replaces = !deleted && (message.nlmsg_flags & NLM_F_REPLACE) != 0;
  // Of another type only what it takes the place of matters.
  if (!type && !replaces) return {};
  if ((header->rtm_flags & RTM_F_CLONED) != 0 || header->rtm_tos != 0) return {};
  const auto found = attributes_of<RTA_MAX + 1>(message, sizeof(rtmsg));
  const bool v4 = header->rtm_family == AF_INET;
  if ((!v4 && header->rtm_family != AF_INET6) || header->rtm_dst_len > (v4 ? 32 : 128)) return {};
  Route route{.type = type.value_or(RouteType::Unicast), .protocol = header->rtm_protocol};
  route.gone = deleted || !type;
  route.replaces = replaces;
  net::IpAddr destination = v4 ? net::IpAddr(net::Ipv4Addr{}) : net::IpAddr(net::Ipv6Addr{});
  if (const auto given = read_address(found[RTA_DST], header->rtm_family)) destination = *given;
  route.destination = net::Prefix{destination, header->rtm_dst_len}.masked();
  route.table = read_u32(found[RTA_TABLE]).value_or(header->rtm_table);
  route.metric = read_u32(found[RTA_PRIORITY]).value_or(0);
  if (type != RouteType::Unicast) return route;
  if (found[RTA_MULTIPATH] != nullptr) {
    read_hops(found[RTA_MULTIPATH], header->rtm_family, route.hops);
  } else if (const auto link = read_u32(found[RTA_OIF]); link && (is_alive(header->rtm_flags) || route.gone)) {
    const auto via =
        found[RTA_VIA] != nullptr ? read_via(*found[RTA_VIA]) : read_address(found[RTA_GATEWAY], header->rtm_family);
    // Without one that can be read it would say that all of the destination is on the link.
    const bool given = found[RTA_VIA] != nullptr || found[RTA_GATEWAY] != nullptr;
    if (via || !given) route.hops.push_back({static_cast<int>(*link), via});
  }
  return route;
}

Message parse_neighbor(const nlmsghdr& message) {
  const auto* const header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(&message));
  // Not those of bridges (AF_BRIDGE), nor what is answered for (NTF_PROXY).
  if ((header->ndm_flags & NTF_PROXY) != 0) return {};
  const auto found = attributes_of<NDA_MAX + 1>(message, sizeof(ndmsg));
  const auto address = read_address(found[NDA_DST], header->ndm_family);
  if (!address) return {};
  Neighbor out{.link = header->ndm_ifindex, .address = *address};
  out.gone = message.nlmsg_type == RTM_DELNEIGH;
  out.dumped = (message.nlmsg_flags & NLM_F_MULTI) != 0;
  const nlattr* const mac = found[NDA_LLADDR];
  if (mac == nullptr || mnl_attr_get_payload_len(mac) != out.mac.bytes.size()) return out;
  std::memcpy(out.mac.bytes.data(), mnl_attr_get_payload(mac), out.mac.bytes.size());
  constexpr unsigned known = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
  if ((header->ndm_flags & NTF_EXT_LEARNED) != 0 && (header->ndm_state & known) != 0) {
    out.type = Neighbor::Type::Learned;
  } else if ((header->ndm_state & NUD_PERMANENT) != 0) {
    out.type = Neighbor::Type::Permanent;
  } else if ((header->ndm_state & NUD_NOARP) != 0) {
    out.type = Neighbor::Type::NoArp;
  }
  return out;
}

}  // namespace

Message parse(const nlmsghdr& message) {
  const size_t payload = mnl_nlmsg_get_payload_len(&message);
  switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return payload < sizeof(ifinfomsg) ? Message{} : parse_link(message);
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return payload < sizeof(ifaddrmsg) ? Message{} : parse_address(message);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return payload < sizeof(rtmsg) ? Message{} : parse_route(message);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return payload < sizeof(ndmsg) ? Message{} : parse_neighbor(message);
    case NLMSG_ERROR: {
      if (payload < sizeof(nlmsgerr)) return {};
      const int error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&message))->error;
      return error == 0 ? Message{} : Refusal{-error};
    }
    case NLMSG_DONE: {
      if (payload < sizeof(int)) return {};
      const int error = *static_cast<const int*>(mnl_nlmsg_get_payload(&message));
      return error >= 0 ? Message{} : Refusal{-error};
    }
    default:
      return {};
  }
}

net::Result<std::unique_ptr<Socket>> Socket::open() {
  mnl_socket* const opened = mnl_socket_open2(NETLINK_ROUTE, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (opened == nullptr) return net::Error{std::string("netlink: ") + std::strerror(errno)};
  std::unique_ptr<Socket> out(new Socket(opened));
  const int descriptor = mnl_socket_get_fd(opened);
  // Beyond net.core.rmem_max, which CAP_NET_ADMIN may.
  if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer) != 0) {
    (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  }
  constexpr unsigned groups =
      RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (mnl_socket_bind(opened, groups, MNL_SOCKET_AUTOPID) < 0) {
    return net::Error{std::string("netlink: ") + std::strerror(errno)};
  }
  return out;
}

Socket::~Socket() { mnl_socket_close(socket_); }

int Socket::descriptor() const { return mnl_socket_get_fd(socket_); }

net::Status<> Socket::ask(Dump what) {
  alignas(nlmsghdr) std::array<char, 128> buffer{};
  nlmsghdr* const message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  interrupted_ = false;
  message->nlmsg_seq = dump_ = ++sequence_;
  // Of every family.
  const auto put = [&](uint16_t type, size_t header) {
    message->nlmsg_type = type;
    mnl_nlmsg_put_extra_header(message, header);
  };
  switch (what) {
    case Dump::Links:
      put(RTM_GETLINK, sizeof(ifinfomsg));
      break;
    case Dump::Addresses:
      put(RTM_GETADDR, sizeof(ifaddrmsg));
      break;
    case Dump::Routes:
      put(RTM_GETROUTE, sizeof(rtmsg));
      break;
    case Dump::Neighbors:
      put(RTM_GETNEIGH, sizeof(ndmsg));
      break;
  }
  if (mnl_socket_sendto(socket_, message, message->nlmsg_len) >= 0) return net::Done{};
  dump_ = 0;
  return net::Error{std::string("netlink: ") + std::strerror(errno)};
}

Socket::Status Socket::receive(const std::function<void(const Message&)>& on_message) {
  alignas(nlmsghdr) static thread_local std::array<char, buffer_size> buffer;
  const ssize_t received = mnl_socket_recvfrom(socket_, buffer.data(), buffer.size());
  if (received < 0) return errno == ENOBUFS ? Status::Overrun : errno == EINTR ? Status::More : Status::Empty;
  Status status = Status::More;
  auto left = static_cast<int>(received);
  for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(message, left);
       message = mnl_nlmsg_next(message, &left)) {
    const bool of_dump = dump_ != 0 && message->nlmsg_seq == dump_;
    if (of_dump && (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) interrupted_ = true;
    if (message->nlmsg_type == NLMSG_DONE && of_dump) {
      dump_ = 0;
      const Message end = parse(*message);
      if (std::holds_alternative<Refusal>(end)) {
        status = Status::DumpFailed;
        on_message(end);
      } else {
        status = interrupted_ ? Status::DumpInterrupted : Status::DumpDone;
      }
      continue;
    }
    if (message->nlmsg_type == NLMSG_ERROR && of_dump) {
      dump_ = 0;
      status = Status::DumpFailed;
    }
    if (message->nlmsg_type >= NLMSG_MIN_TYPE || message->nlmsg_type == NLMSG_ERROR) on_message(parse(*message));
  }
  return status;
}

void Socket::send_address(uint16_t type, uint16_t flags, int link, const net::Prefix& address, uint8_t protocol) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* const message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = type;
  message->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  message->nlmsg_seq = ++sequence_;
  auto* const header = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg)));
  header->ifa_family = address.addr.is_v4() ? AF_INET : AF_INET6;
  header->ifa_prefixlen = address.length;
  header->ifa_index = static_cast<unsigned>(link);
  header->ifa_scope = RT_SCOPE_UNIVERSE;
  const auto put = [&](uint16_t attribute, const net::IpAddr& value) {
    if (value.is_v4()) {
      mnl_attr_put_u32(message, attribute, value.v4().wire());
    } else {
      mnl_attr_put(message, attribute, value.v6().bytes.size(), value.v6().bytes.data());
    }
  };
  put(IFA_LOCAL, address.addr);
  put(IFA_ADDRESS, address.addr);
  if (address.addr.is_v4() && address.length < 31) {
    const uint32_t hosts = ~uint32_t{0} >> address.length;
    put(IFA_BROADCAST, net::Ipv4Addr::from_host(address.addr.v4().host() | hosts));
  }
  if (address.addr.is_v6()) header->ifa_flags = IFA_F_NODAD;  // the router answers for it already
  if (protocol != 0) mnl_attr_put_u8(message, ifa_proto, protocol);
  (void)mnl_socket_sendto(socket_, message, message->nlmsg_len);
}

void Socket::add_address(int link, const net::Prefix& address, uint8_t protocol) {
  send_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, link, address, protocol);
}

void Socket::remove_address(int link, const net::Prefix& address) { send_address(RTM_DELADDR, 0, link, address, 0); }

}  // namespace sluice::control::netlink
