#include "tools/cni/netlink.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace sluice::cni {
namespace {

using Buffer = std::array<char, 8192>;

// A message with its own kind of header behind the common one.
template <class Head>
std::pair<nlmsghdr*, Head*> begin(Buffer& buffer, uint16_t type, uint16_t flags) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = type;
  message->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  auto* head = static_cast<Head*>(mnl_nlmsg_put_extra_header(message, sizeof(Head)));
  return {message, head};
}

uint8_t family_of(const net::IpAddr& address) { return address.is_v4() ? AF_INET : AF_INET6; }

void put_address(nlmsghdr* message, uint16_t type, const net::IpAddr& address) {
  mnl_attr_put(message, type, address.bit_length() / 8, address.bytes().data());
}

std::optional<net::IpAddr> address_in(const nlattr* attribute) {
  if (attribute == nullptr) return std::nullopt;
  const auto* bytes = static_cast<const uint8_t*>(mnl_attr_get_payload(attribute));
  if (mnl_attr_get_payload_len(attribute) == 4) {
    uint32_t wire = 0;
    std::memcpy(&wire, bytes, sizeof wire);
    return net::Ipv4Addr::from_wire(wire);
  }
  if (mnl_attr_get_payload_len(attribute) != 16) return std::nullopt;
  net::Ipv6Addr out;
  std::memcpy(out.bytes.data(), bytes, out.bytes.size());
  return out;
}

// Attributes by their type, up to `Max`.
template <size_t Max>
struct Attributes {
  std::array<const nlattr*, Max + 1> of{};

  static int take(const nlattr* attribute, void* data) {
    auto* self = static_cast<Attributes*>(data);
    if (mnl_attr_get_type(attribute) <= Max) self->of[mnl_attr_get_type(attribute)] = attribute;
    return MNL_CB_OK;
  }
  Attributes(const nlmsghdr* message, unsigned offset) { mnl_attr_parse(message, offset, take, this); }
  explicit Attributes(const nlattr* nest) { mnl_attr_parse_nested(nest, take, this); }
};

net::Error failed(const std::string& what, int error) {
  return net::Error{fmt::format("cannot {}: {}", what, std::strerror(error))};
}

int take_link(const nlmsghdr* message, void* data) {
  auto& out = *static_cast<std::optional<Link>*>(data);
  const auto* head = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  const Attributes<IFLA_LINKINFO + 32> attributes(message, sizeof *head);
  Link link{.index = head->ifi_index, .up = (head->ifi_flags & IFF_UP) != 0};
  if (const nlattr* mac = attributes.of[IFLA_ADDRESS]; mac != nullptr && mnl_attr_get_payload_len(mac) == 6) {
    std::memcpy(link.mac.bytes.data(), mnl_attr_get_payload(mac), link.mac.bytes.size());
  }
  if (const nlattr* mtu = attributes.of[IFLA_MTU]) link.mtu = mnl_attr_get_u32(mtu);
  if (const nlattr* peer = attributes.of[IFLA_LINK]) link.peer = static_cast<int>(mnl_attr_get_u32(peer));
  if (const nlattr* info = attributes.of[IFLA_LINKINFO]) {
    const Attributes<IFLA_INFO_DATA> inner(info);
    if (inner.of[IFLA_INFO_KIND] != nullptr) link.kind = mnl_attr_get_str(inner.of[IFLA_INFO_KIND]);
  }
  out = std::move(link);
  return MNL_CB_OK;
}

int take_route(const nlmsghdr* message, void* data) {
  const auto* head = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const Attributes<RTA_TABLE> attributes(message, sizeof *head);
  if (head->rtm_table != RT_TABLE_MAIN || head->rtm_protocol == RTPROT_KERNEL || head->rtm_type != RTN_UNICAST) {
    return MNL_CB_OK;
  }
  const net::IpAddr none = head->rtm_family == AF_INET ? net::IpAddr(net::Ipv4Addr{}) : net::IpAddr(net::Ipv6Addr{});
  Route route{{address_in(attributes.of[RTA_DST]).value_or(none), head->rtm_dst_len},
              address_in(attributes.of[RTA_GATEWAY])};
  if (attributes.of[RTA_OIF] != nullptr) route.interface = static_cast<int>(mnl_attr_get_u32(attributes.of[RTA_OIF]));
  static_cast<std::vector<Route>*>(data)->push_back(route);
  return MNL_CB_OK;
}

struct AddressesOf {
  int index = 0;
  std::vector<net::Prefix> found = {};
};

int take_address(const nlmsghdr* message, void* data) {
  auto& out = *static_cast<AddressesOf*>(data);
  const auto* head = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
  if (static_cast<int>(head->ifa_index) != out.index) return MNL_CB_OK;
  const Attributes<IFA_FLAGS> attributes(message, sizeof *head);
  const nlattr* own = attributes.of[IFA_LOCAL] != nullptr ? attributes.of[IFA_LOCAL] : attributes.of[IFA_ADDRESS];
  const auto address = address_in(own);
  if (address && !(address->is_v6() && address->is_link_local())) out.found.push_back({*address, head->ifa_prefixlen});
  return MNL_CB_OK;
}

int take_nothing(const nlmsghdr*, void*) { return MNL_CB_OK; }

}  // namespace

// ---- namespaces --------------------------------------------------------------------------------------

net::Result<Entered> Entered::enter(const std::string& path) {
  const int home = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return failed("open /proc/self/ns/net", errno);
  const int there = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (there < 0 || ::setns(there, CLONE_NEWNET) != 0) {
    const int error = errno;
    if (there >= 0) ::close(there);
    ::close(home);
    return failed(fmt::format("enter the network namespace {}", path), error);
  }
  return Entered(home, there);
}

Entered::Entered(Entered&& other) noexcept
    : home_(std::exchange(other.home_, -1)), there_(std::exchange(other.there_, -1)) {}

Entered::~Entered() {
  if (home_ < 0) return;
  // It was the program's a moment ago; without it nothing that follows would be right.
  if (::setns(home_, CLONE_NEWNET) != 0) std::abort();
  ::close(home_);
  ::close(there_);
}

net::Status<> set_sysctl(const std::string& key, const std::string& value) {
  const std::string file = "/proc/sys/" + key;
  int error = 0;
  if (const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC); fd >= 0) {
    if (::write(fd, value.data(), value.size()) != static_cast<ssize_t>(value.size())) error = errno;
    ::close(fd);
  } else {
    error = errno;
  }
  if (error == 0) return net::Done{};
  // Where /proc/sys may only be read, somebody else may have set it.
  std::array<char, 64> text;
  ssize_t got = 0;
  if (const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC); fd >= 0) {
    got = ::read(fd, text.data(), text.size());
    ::close(fd);
  }
  const std::string_view found(text.data(), static_cast<size_t>(std::max<ssize_t>(got, 0)));
  if (found == value || found == value + "\n") return net::Done{};
  return failed(fmt::format("set {} to {}", file, value), error);
}

// ---- messages ----------------------------------------------------------------------------------------

net::Result<Netlink> Netlink::open() {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return failed("open a netlink socket", errno);
  Netlink out(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return failed("bind a netlink socket", errno);
  return out;
}

Netlink::Netlink(Netlink&& other) noexcept
    : socket_(std::exchange(other.socket_, nullptr)), sequence_(other.sequence_) {}

Netlink::~Netlink() {
  if (socket_ != nullptr) mnl_socket_close(socket_);
}

int Netlink::exchange(nlmsghdr* message, int (*take)(const nlmsghdr*, void*), void* data) {
  message->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_, message, message->nlmsg_len) < 0) return errno;
  std::array<char, 65536> answer;
  int more = MNL_CB_OK;
  while (more > MNL_CB_STOP) {
    const ssize_t got = mnl_socket_recvfrom(socket_, answer.data(), answer.size());
    if (got < 0) return errno;
    more = mnl_cb_run(answer.data(), static_cast<size_t>(got), sequence_, mnl_socket_get_portid(socket_), take, data);
  }
  return more == MNL_CB_ERROR ? errno : 0;
}

net::Status<> Netlink::change(nlmsghdr* message, const std::string& what) {
  const int error = exchange(message, take_nothing, nullptr);
  if (error != 0) return failed(what, error);
  return net::Done{};
}

net::Status<> Netlink::add_veth(const std::string& own, const std::string& peer, int peer_namespace, uint32_t mtu) {
  Buffer buffer{};
  const auto [message, head] = begin<ifinfomsg>(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
  const auto describe = [&, message = message](const std::string& name) {
    mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
    if (mtu != 0) mnl_attr_put_u32(message, IFLA_MTU, mtu);
  };
  describe(own);
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_strz(message, IFLA_INFO_KIND, "veth");
  nlattr* details = mnl_attr_nest_start(message, IFLA_INFO_DATA);
  nlattr* other = mnl_attr_nest_start(message, VETH_INFO_PEER);
  const ifinfomsg peer_head{};
  std::memcpy(mnl_nlmsg_get_payload_tail(message), &peer_head, sizeof peer_head);
  message->nlmsg_len += sizeof peer_head;
  describe(peer);
  mnl_attr_put_u32(message, IFLA_NET_NS_FD, static_cast<uint32_t>(peer_namespace));
  mnl_attr_nest_end(message, other);
  mnl_attr_nest_end(message, details);
  mnl_attr_nest_end(message, info);
  return change(message, fmt::format("make the pair of interfaces {} and {}", own, peer));
}

net::Result<std::optional<Link>> Netlink::link(const std::string& name) {
  Buffer buffer{};
  const auto [message, head] = begin<ifinfomsg>(buffer, RTM_GETLINK, NLM_F_ACK);
  mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
  std::optional<Link> out;
  const int error = exchange(message, take_link, &out);
  if (error != 0 && error != ENODEV) return failed(fmt::format("read interface {}", name), error);
  return out;
}

net::Status<> Netlink::remove_link(const std::string& name) {
  Buffer buffer{};
  const auto [message, head] = begin<ifinfomsg>(buffer, RTM_DELLINK, NLM_F_ACK);
  mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
  const int error = exchange(message, take_nothing, nullptr);
  if (error != 0 && error != ENODEV) return failed(fmt::format("remove interface {}", name), error);
  return net::Done{};
}

net::Status<> Netlink::set_up(int index, bool arp) {
  Buffer buffer{};
  const auto [message, head] = begin<ifinfomsg>(buffer, RTM_NEWLINK, NLM_F_ACK);
  head->ifi_index = index;
  head->ifi_change = IFF_UP | IFF_NOARP;
  head->ifi_flags = arp ? IFF_UP : IFF_UP | IFF_NOARP;
  return change(message, "bring an interface up");
}

net::Status<> Netlink::add_address(int index, const net::IpAddr& address) {
  Buffer buffer{};
  const auto [message, head] = begin<ifaddrmsg>(buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
  head->ifa_family = family_of(address);
  head->ifa_prefixlen = address.bit_length();
  head->ifa_flags = address.is_v6() ? IFA_F_NODAD : 0;
  head->ifa_scope = RT_SCOPE_UNIVERSE;
  head->ifa_index = static_cast<uint32_t>(index);
  put_address(message, IFA_LOCAL, address);
  put_address(message, IFA_ADDRESS, address);
  return change(message, fmt::format("add address {}", net::to_string(address)));
}

net::Status<> Netlink::add_route(const Route& route) {
  Buffer buffer{};
  const auto [message, head] = begin<rtmsg>(buffer, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
  head->rtm_family = family_of(route.destination.addr);
  head->rtm_dst_len = route.destination.length;
  head->rtm_table = RT_TABLE_MAIN;
  head->rtm_protocol = RTPROT_BOOT;
  head->rtm_scope = route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  head->rtm_type = RTN_UNICAST;
  if (route.destination.length != 0) put_address(message, RTA_DST, route.destination.addr);
  if (route.gateway) put_address(message, RTA_GATEWAY, *route.gateway);
  mnl_attr_put_u32(message, RTA_OIF, static_cast<uint32_t>(route.interface));
  return change(message, fmt::format("add the route to {}", net::to_string(route.destination)));
}

net::Result<std::vector<Route>> Netlink::routes(net::Family family) {
  Buffer buffer{};
  const auto [message, head] = begin<rtmsg>(buffer, RTM_GETROUTE, NLM_F_DUMP);
  head->rtm_family = family == net::Family::V4 ? AF_INET : AF_INET6;
  std::vector<Route> out;
  if (const int error = exchange(message, take_route, &out); error != 0) return failed("read the routes", error);
  return out;
}

net::Result<std::vector<net::Prefix>> Netlink::addresses(int index) {
  Buffer buffer{};
  const auto [message, head] = begin<ifaddrmsg>(buffer, RTM_GETADDR, NLM_F_DUMP);
  AddressesOf out{index};
  if (const int error = exchange(message, take_address, &out); error != 0) return failed("read the addresses", error);
  std::sort(out.found.begin(), out.found.end());
  return std::move(out.found);
}

}  // namespace sluice::cni
