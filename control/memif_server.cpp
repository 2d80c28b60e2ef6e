#include "control/memif_server.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

#include "control/memif_session.h"

namespace sluice::control {
namespace {

constexpr size_t most_sessions = 4;  // at a time; one of them can be connected
constexpr int backlog = 4;

net::Error failure(const std::string& path, const char* what) {
  return net::Error{fmt::format("the pod's socket {}: {}: {}", path, what, std::strerror(errno))};
}

}  // namespace

MemifServer::MemifServer(boost::asio::io_context& io, uint16_t rings, std::function<void()> changed)
    : io_(io), listener_(io), rings_(rings), changed_(std::move(changed)) {}

net::Result<std::unique_ptr<MemifServer>> MemifServer::listen(boost::asio::io_context& io, const std::string& folder,
                                                              const std::string& port, const config::PodDevice& device,
                                                              uint16_t rings, std::function<void()> changed) {
  std::unique_ptr<MemifServer> server(new MemifServer(io, rings, std::move(changed)));
  auto file = PodSocketFile::prepare(folder, port, config::PodDevice::Kind::Memif);
  if (!file) return file.error();
  server->file_ = std::move(*file);
  const std::string& path = server->path();
  const int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return failure(path, "cannot be opened");
  server->listener_.assign(descriptor);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failure(path, "cannot be bound");
  }
  // Nobody can connect before it has its owner and mode.
  if (auto given = server->file_->give(device); !given) return given.error();
  if (::listen(descriptor, backlog) != 0) return failure(path, "cannot be listened to");
  server->accept_next();
  return server;
}

MemifServer::~MemifServer() {
  for (const auto& session : sessions_) session->close();
}

void MemifServer::accept_next() {
  listener_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error) return;  // the server may be gone
                         accept_all();
                         accept_next();
                       });
}

void MemifServer::accept_all() {
  while (true) {
    const int descriptor = accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0) return;
    if (sessions_.size() == most_sessions) {
      ::close(descriptor);
      continue;
    }
    const auto session = std::make_shared<MemifSession>(*this, descriptor);
    sessions_.insert(session);
    session->start();
  }
}

bool MemifServer::connect(MemifSession& session, std::shared_ptr<dataplane::MemifLink> link) {
  if (connected_ != nullptr) return false;
  connected_ = &session;
  link_ = std::move(link);
  changed_();
  return true;
}

void MemifServer::leave(MemifSession& session) {
  sessions_.erase(session.shared_from_this());
  if (connected_ != &session) return;
  connected_ = nullptr;
  link_ = nullptr;
  changed_();
}

}  // namespace sluice::control
