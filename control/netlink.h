// The kernel's links, addresses, routes and neighbours (rtnetlink(7)), as values, and a socket that is told of their
// changes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

struct mnl_socket;
struct nlmsghdr;

namespace sluice::control::netlink {

struct Link {
  int index = 0;
  std::string name;
  bool up = false;    // IFF_UP: by the administrator
  bool gone = false;  // the message says so, of this and the others

  friend bool operator==(const Link&, const Link&) = default;
};

struct Address {
  int link = 0;
  net::Prefix address;   // host bits kept
  uint8_t protocol = 0;  // IFA_PROTO: who set it; 0: nobody said (or a kernel before 5.18)
  bool gone = false;

  friend bool operator==(const Address&, const Address&) = default;
};

enum class RouteType : uint8_t { Unicast, Blackhole, Unreachable, Prohibit };

struct Route {
  struct Hop {
    int link = 0;
    // Absent: the destination is on the link. Of an IPv4 route it may be of IPv6 (RTA_VIA, RFC 8950).
    std::optional<net::IpAddr> via;

    friend bool operator==(const Hop&, const Hop&) = default;
  };
  net::Prefix destination;
  RouteType type = RouteType::Unicast;
  uint32_t table = 0;
  uint8_t protocol = 0;  // rtm_protocol
  uint32_t metric = 0;   // RTA_PRIORITY; less is better
  std::vector<Hop> hops;
  bool gone = false;
  // NLM_F_REPLACE: another of this destination, table and metric is gone, of which no message of its own tells.
  bool replaces = false;

  friend bool operator==(const Route&, const Route&) = default;
};

struct Neighbor {
  enum class Type : uint8_t {
    Resolved,   // or being resolved, by the kernel itself; or it has no MAC address
    Permanent,  // NUD_PERMANENT: somebody said so
    NoArp,      // NUD_NOARP: the same, or the kernel, of broadcasts and groups
    Learned,    // NTF_EXT_LEARNED: a routing daemon's
  };
  int link = 0;
  net::IpAddr address;
  net::MacAddr mac;
  Type type = Type::Resolved;
  bool gone = false;
  // NLM_F_MULTI: of a dump. A change that was told before it may be younger: the kernel looks before it tells.
  bool dumped = false;

  friend bool operator==(const Neighbor&, const Neighbor&) = default;
};

// A request of ours that the kernel did not carry out, or not to its end.
struct Refusal {
  int error = 0;  // errno

  friend bool operator==(const Refusal&, const Refusal&) = default;
};

// std::monostate: nothing of interest, or nothing that holds together.
using Message = std::variant<std::monostate, Link, Address, Route, Neighbor, Refusal>;
// Dead next hops are left out. Weights are not looked at.
[[nodiscard]] Message parse(const nlmsghdr& message);

class Socket {
 public:
  enum class Dump : uint8_t { Links, Addresses, Routes, Neighbors };
  enum class Status : uint8_t {
    Empty,  // nothing more for now
    More,
    DumpDone,         // everything that was asked for has come
    DumpInterrupted,  // the same, but things changed meanwhile: ask again
    DumpFailed,       // nothing more of it will come; the Refusal said why
    Overrun,          // changes were lost: everything is to be asked for again
  };

  // Of the network namespace that the process is in.
  static net::Result<std::unique_ptr<Socket>> open();
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  [[nodiscard]] int descriptor() const;
  [[nodiscard]] net::Status<> ask(Dump what);
  // Reads one buffer of messages, without waiting.
  [[nodiscard]] Status receive(const std::function<void(const Message&)>& on_message);
  // Puts an address on a link, marked with `protocol`, or takes it off. Without waiting for the kernel's answer,
  // which comes only if it is a Refusal.
  void add_address(int link, const net::Prefix& address, uint8_t protocol);
  void remove_address(int link, const net::Prefix& address);

 private:
  explicit Socket(mnl_socket* socket) : socket_(socket) {}
  void send_address(uint16_t type, uint16_t flags, int link, const net::Prefix& address, uint8_t protocol);

  mnl_socket* socket_;
  uint32_t sequence_ = 0;
  uint32_t dump_ = 0;  // sequence number of the dump under way; 0: none
  bool interrupted_ = false;
};

}  // namespace sluice::control::netlink
