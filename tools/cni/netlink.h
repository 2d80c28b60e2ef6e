// The interfaces of one network namespace, through rtnetlink(7): made, removed, and read back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

struct mnl_socket;
struct nlmsghdr;

namespace sluice::cni {

// The program is in another network namespace as long as this lives.
class Entered {
 public:
  // Error: there is no such namespace, or it may not be entered.
  [[nodiscard]] static net::Result<Entered> enter(const std::string& path);
  Entered(Entered&& other) noexcept;
  Entered& operator=(Entered&&) = delete;
  ~Entered();

  // Of the namespace.
  [[nodiscard]] int descriptor() const { return there_; }

 private:
  Entered(int home, int there) : home_(home), there_(there) {}
  int home_;
  int there_;
};

struct Link {
  int index = 0;
  int peer = 0;  // of a veth: the index of the other end, in its namespace
  std::string kind;
  net::MacAddr mac;
  uint32_t mtu = 0;
  bool up = false;
};

struct Route {
  net::Prefix destination;
  std::optional<net::IpAddr> gateway;
  int interface = 0;  // index
  friend bool operator==(const Route&, const Route&) = default;
};

// Errors say what was tried and what the kernel answered.
class Netlink {
 public:
  // Of the namespace that the program is in now; it stays with that one.
  [[nodiscard]] static net::Result<Netlink> open();
  Netlink(Netlink&& other) noexcept;
  Netlink& operator=(Netlink&&) = delete;
  ~Netlink();

  // A pair, whose `peer` is in the namespace of the descriptor. `mtu` 0: the kernel's default. MAC addresses are the
  // kernel's choice.
  [[nodiscard]] net::Status<> add_veth(const std::string& own, const std::string& peer, int peer_namespace,
                                       uint32_t mtu);
  // Empty if there is no such interface.
  [[nodiscard]] net::Result<std::optional<Link>> link(const std::string& name);
  // That there is none is no error.
  [[nodiscard]] net::Status<> remove_link(const std::string& name);
  // Without ARP it neither asks nor answers: what reads it as a packet socket does.
  [[nodiscard]] net::Status<> set_up(int index, bool arp);
  // A host address: /32, /128. IPv6 without duplicate address detection.
  [[nodiscard]] net::Status<> add_address(int index, const net::IpAddr& address);
  [[nodiscard]] net::Status<> add_route(const Route& route);
  // Of the main table and one family; without those that the kernel makes by itself.
  [[nodiscard]] net::Result<std::vector<Route>> routes(net::Family family);
  // With the length of their network; link-local ones of IPv6 are left out.
  [[nodiscard]] net::Result<std::vector<net::Prefix>> addresses(int index);

 private:
  explicit Netlink(mnl_socket* socket) : socket_(socket) {}
  // Sends one message and waits for the kernel's word. The number is errno; 0: done.
  [[nodiscard]] int exchange(nlmsghdr* message, int (*take)(const nlmsghdr*, void*), void* data);
  [[nodiscard]] net::Status<> change(nlmsghdr* message, const std::string& what);

  mnl_socket* socket_;
  uint32_t sequence_ = 0;
};

// A value under /proc/sys of the namespace that the program is in. Error: there is no such key, or it has another value
// and may not be written.
[[nodiscard]] net::Status<> set_sysctl(const std::string& key, const std::string& value);

}  // namespace sluice::cni
