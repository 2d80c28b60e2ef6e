// Where the API is reached: binds a UNIX socket or an address of the machine and hands on who connects.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>

#include "config/model.h"
#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct TcpAddress {
  net::IpAddr address;
  uint16_t port = 0;  // host byte order; 0: the kernel chooses
};

// "192.0.2.1:9443", "[::1]:9080". Error: what is expected.
[[nodiscard]] net::Result<TcpAddress> parse_tcp_address(std::string_view text);

// Why the API must not be served at this address: it is one of the router's own, or the kernel's on an interface that
// the router has a port on, where anybody in the pod network could try to reach it. Empty: it may.
[[nodiscard]] std::string data_port_conflict(const net::IpAddr& address, const config::Gateway& gateway);

class ApiListener {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  // `peer`: the address that connects, "" on a UNIX socket, of IPv6 its /64: those who share it are one.
  using Accept = std::function<void(Socket socket, const std::string& peer)>;

  virtual ~ApiListener() = default;
  [[nodiscard]] virtual uint16_t port() const { return 0; }  // of TCP
  // Removes the socket file, too.
  virtual void close() = 0;
};

// A socket file that nobody serves is replaced, its missing folder is made. Error: another process serves it, or the
// system says no.
[[nodiscard]] net::Result<std::shared_ptr<ApiListener>> listen_unix(boost::asio::io_context& io,
                                                                    const std::string& path, mode_t mode,
                                                                    ApiListener::Accept accept);
[[nodiscard]] net::Result<std::shared_ptr<ApiListener>> listen_tcp(boost::asio::io_context& io, const TcpAddress& where,
                                                                   ApiListener::Accept accept);

}  // namespace sluice::control
