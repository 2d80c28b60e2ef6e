#include "control/api_listener.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include "control/router.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Local = asio::local::stream_protocol;

constexpr auto accept_pause = std::chrono::milliseconds(100);  // after an error like EMFILE

net::Error system_error(std::string_view what) { return {fmt::format("{}: {}", what, std::strerror(errno))}; }

// A socket file is left behind when its server was killed. Done: there is none any more.
net::Status<> clear_stale_socket(const std::string& path) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return net::Done{};
    return system_error(fmt::format("cannot look at {}", path));
  }
  if (!S_ISSOCK(file.st_mode)) return net::Error{fmt::format("{} is in the way: it is no socket", path)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (probe < 0) return system_error("cannot make a socket");
  const int connected = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = connected == 0 ? 0 : errno;
  ::close(probe);
  if (error == 0 || error == EAGAIN) {  // EAGAIN: its queue is full
    return net::Error{fmt::format("another sluiced serves {}: stop it, or choose another socket", path)};
  }
  errno = error;
  if (error != ECONNREFUSED) return system_error(fmt::format("cannot tell whether anything serves {}", path));
  if (::unlink(path.c_str()) != 0) return system_error(fmt::format("cannot remove the stale socket {}", path));
  return net::Done{};
}

// Whose connection it is; "" if it has gone already, like those of a UNIX socket.
std::string peer_of(const Local::socket&) { return ""; }
std::string peer_of(const tcp::socket& socket) {
  error_code error;
  const asio::ip::address address = socket.remote_endpoint(error).address();
  if (error || address.is_v4()) return error ? "" : address.to_string();
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
  return asio::ip::address_v6(bytes).to_string();
}

// An answer is several small writes with TLS; none of them waits for an acknowledgement.
void prepare(Local::socket&) {}
void prepare(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
}

template <class Protocol>
class Listener : public ApiListener {
 public:
  using Acceptor = typename Protocol::acceptor;
  Listener(asio::io_context& io, Accept accept) : acceptor(io), accept_(std::move(accept)) {}

  static void start(const std::shared_ptr<Listener>& self) {
    asio::co_spawn(self->acceptor.get_executor(), run(self), asio::detached);
  }

  void close() override {
    error_code ignored;
    acceptor.close(ignored);
    struct stat file {};
    if (socket_file && ::lstat(path.c_str(), &file) == 0 && socket_file == std::pair(file.st_dev, file.st_ino)) {
      ::unlink(path.c_str());
    }
    socket_file.reset();
    accept_ = nullptr;
  }

  [[nodiscard]] uint16_t port() const override {
    if constexpr (std::is_same_v<Protocol, tcp>) {
      error_code ignored;
      return acceptor.local_endpoint(ignored).port();
    }
    return 0;
  }

  Acceptor acceptor;
  std::string path;                                    // of a UNIX socket
  std::optional<std::pair<dev_t, ino_t>> socket_file;  // ours, to be removed

 private:
  static Awaitable<void> run(std::shared_ptr<Listener> self) {
    asio::steady_timer pause(self->acceptor.get_executor());
    while (self->acceptor.is_open()) {
      error_code error;
      bool accepted = false;
      try {  // without memory for one more that one is closed; a later one may have better luck
        auto socket = co_await self->acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
        if (!self->acceptor.is_open()) co_return;
        accepted = !error;
        if (accepted) {
          const std::string peer = peer_of(socket);
          prepare(socket);
          self->accept_(Socket(std::move(socket)), peer);
        }
      } catch (const std::exception&) {
      }
      if (accepted) continue;
      pause.expires_after(accept_pause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }

  Accept accept_;
};

// The kernel's interface with this address; empty: none.
std::string kernel_interface(const net::IpAddr& address) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return "";
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(all, ::freeifaddrs);
  const asio::ip::address wanted = asio::ip::make_address(net::to_string(address));
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    if (one->ifa_addr->sa_family == AF_INET && wanted.is_v4()) {
      const auto& found = reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr;
      if (ntohl(found.s_addr) == wanted.to_v4().to_uint()) return one->ifa_name;
    } else if (one->ifa_addr->sa_family == AF_INET6 && wanted.is_v6()) {
      const auto& found = reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr;
      if (std::memcmp(&found, wanted.to_v6().to_bytes().data(), sizeof found) == 0) return one->ifa_name;
    }
  }
  return "";
}

// The value of "iface=" among the arguments of a software device.
std::string_view kernel_interface_of(std::string_view device) {
  static constexpr std::string_view word = ",iface=";
  const size_t at = device.find(word);
  if (at == std::string_view::npos) return "";
  device.remove_prefix(at + word.size());
  return device.substr(0, device.find(','));
}

}  // namespace

net::Result<TcpAddress> parse_tcp_address(std::string_view text) {
  const net::Error wrong{fmt::format("expected ADDRESS:PORT, like 127.0.0.1:9080 or [::1]:9080, not \"{}\"", text)};
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = net::parse_ip(host);
  if (!address || address->is_v4() == bracketed) return wrong;
  TcpAddress where{*address, 0};
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + colon + 1, end, where.port);
  if (error != std::errc() || at != end || where.port == 0) return wrong;
  return where;
}

std::string data_port_conflict(const net::IpAddr& address, const config::Gateway& gateway) {
  for (const config::Interface& interface : gateway.interfaces) {
    for (const net::Prefix& own : interface.addresses) {
      if (own.addr != address) continue;
      return fmt::format("{} is an address of the router's interface {}", net::to_string(address), interface.name);
    }
  }
  const std::string kernel = kernel_interface(address);
  for (const config::Interface& interface : gateway.interfaces) {
    if (kernel.empty() || kernel_interface_of(interface.device) != kernel) continue;
    return fmt::format("{} is an address of {}, which the router takes for its interface {}", net::to_string(address),
                       kernel, interface.name);
  }
  return "";
}

net::Result<std::shared_ptr<ApiListener>> listen_unix(asio::io_context& io, const std::string& path, mode_t mode,
                                                      ApiListener::Accept accept) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return net::Error{
        fmt::format("the path of the socket is longer than {} bytes: {}", sizeof(sockaddr_un::sun_path) - 1, path)};
  }
  const size_t slash = path.rfind('/');
  if (slash != 0 && slash != std::string::npos && ::mkdir(path.substr(0, slash).c_str(), 0755) != 0 &&
      errno != EEXIST) {
    return system_error(fmt::format("cannot make the folder of {}", path));
  }
  if (auto cleared = clear_stale_socket(path); !cleared) return cleared.error();
  auto listener = std::make_shared<Listener<Local>>(io, std::move(accept));
  auto& acceptor = listener->acceptor;
  error_code error;
  acceptor.open({}, error);
  if (!error) acceptor.bind(path, error);
  if (error) return net::Error{fmt::format("cannot bind the socket {}: {}", path, error.message())};
  struct stat file {};
  // Nobody can connect before listen(), so the socket is never open to more than `mode` says.
  if (::lstat(path.c_str(), &file) != 0 || ::chmod(path.c_str(), mode) != 0) {
    return system_error(fmt::format("cannot set the mode of {}", path));
  }
  listener->path = path;
  listener->socket_file = {file.st_dev, file.st_ino};
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return net::Error{fmt::format("cannot listen on {}: {}", path, error.message())};
  Listener<Local>::start(listener);
  return std::shared_ptr<ApiListener>(listener);
}

net::Result<std::shared_ptr<ApiListener>> listen_tcp(asio::io_context& io, const TcpAddress& where,
                                                     ApiListener::Accept accept) {
  const std::string text = net::to_string(where.address);
  const tcp::endpoint endpoint(asio::ip::make_address(text), where.port);
  auto listener = std::make_shared<Listener<tcp>>(io, std::move(accept));
  auto& acceptor = listener->acceptor;
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return net::Error{fmt::format("cannot listen on {} port {}: {}", text, where.port, error.message())};
  Listener<tcp>::start(listener);
  return std::shared_ptr<ApiListener>(listener);
}

}  // namespace sluice::control
