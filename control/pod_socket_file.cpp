#include "control/pod_socket_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

namespace sluice::control {
namespace {

using config::PodDevice;

net::Error failure(const std::string& path, const char* what) {
  return net::Error{fmt::format("the pod's socket {}: {}: {}", path, what, std::strerror(errno))};
}

// Whether a process serves the socket.
bool is_served(const std::string& path, int type) {
  const int descriptor = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const bool connected = connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const bool full = !connected && errno == EAGAIN;
  close(descriptor);
  return connected || full;
}

}  // namespace

std::string PodSocketFile::path_of(const std::string& folder, const std::string& port, PodDevice::Kind kind) {
  return fmt::format("{}/{}/{}.sock", folder, port, kind == PodDevice::Kind::Memif ? "memif" : "vhost-user");
}

net::Result<std::unique_ptr<PodSocketFile>> PodSocketFile::prepare(const std::string& folder, const std::string& port,
                                                                   PodDevice::Kind kind) {
  std::unique_ptr<PodSocketFile> file(new PodSocketFile);
  const std::string path = path_of(folder, port, kind);
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return net::Error{
        fmt::format("the pod's socket {}: at most {} characters; choose a shorter folder with --pod-sockets", path,
                    sizeof(sockaddr_un::sun_path) - 1)};
  }
  std::error_code error;
  std::filesystem::create_directories(folder + "/" + port, error);
  if (error) {
    return net::Error{
        fmt::format("the folder {}/{} of a pod's socket cannot be made: {}; make {} writable for sluiced, "
                    "or choose another folder with --pod-sockets",
                    folder, port, error.message(), folder)};
  }
  if (is_served(path, kind == PodDevice::Kind::Memif ? SOCK_SEQPACKET : SOCK_STREAM)) {
    return net::Error{fmt::format(
        "the pod's socket {} is another process's; give each router a folder of its own with --pod-sockets", path)};
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return failure(path, "an old one cannot be removed");
  file->folder_ = folder + "/" + port;
  file->path_ = path;
  return file;
}

PodSocketFile::~PodSocketFile() {
  if (!path_.empty()) unlink(path_.c_str());
}

void PodSocketFile::remove() const {
  unlink(path_.c_str());
  rmdir(folder_.c_str());
}

net::Status<> PodSocketFile::give(const PodDevice& device) const {
  if (device.uid || device.gid) {
    const uid_t user = device.uid.value_or(static_cast<uid_t>(-1));
    const gid_t group = device.gid.value_or(static_cast<gid_t>(-1));
    if (lchown(path_.c_str(), user, group) != 0) return failure(path_, "its owner cannot be set");
  }
  if (chmod(path_.c_str(), device.mode) != 0) return failure(path_, "its mode cannot be set");
  return net::Done{};
}

}  // namespace sluice::control
