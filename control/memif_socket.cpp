#include "control/memif_socket.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fmt/format.h>

namespace sluice::control {
namespace {

constexpr mode_t own_mode = 0700;
constexpr mode_t pod_mode = 0711;  // it is entered by whom it was given to, and changed by nobody else
constexpr int as_folder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

net::Error failed(const std::string& what) { return net::Error{fmt::format("{}: {}", what, std::strerror(errno))}; }

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

Descriptor new_socket() { return Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

// A pod's folder, which belongs to whom FOLDER does.
net::Result<Descriptor> pod_folder(const Descriptor& pods, const std::string& name) {
  const bool made = mkdirat(pods.number(), name.c_str(), pod_mode) == 0;
  if (!made && errno != EEXIST) return failed(fmt::format("the folder {} cannot be made", name));
  Descriptor folder(openat(pods.number(), name.c_str(), as_folder));
  if (!folder.is_open()) return failed(fmt::format("{} is no folder that can be opened", name));
  struct stat above {};
  struct stat own {};
  if (fstat(pods.number(), &above) != 0 || fstat(folder.number(), &own) != 0) return failed("fstat");
  if (made && own.st_uid != above.st_uid && fchown(folder.number(), above.st_uid, above.st_gid) != 0) {
    return failed(fmt::format("the folder {} cannot be given to the router's user", name));
  }
  const bool ours = made || own.st_uid == above.st_uid || own.st_uid == geteuid() || own.st_uid == 0;
  if (!ours || (own.st_mode & 022) != 0) {
    return net::Error{
        fmt::format("the folder {} belongs to user {} and has mode {:04o}: others could put things into it; remove it",
                    name, own.st_uid, own.st_mode & 07777)};
  }
  return folder;
}

// Makes room for a socket of ours.
net::Status<> remove_stale(const Descriptor& folder, const std::string& name) {
  const Descriptor old(openat(folder.number(), memif_socket_name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!old.is_open()) return errno == ENOENT ? net::Status<>(net::Done{}) : failed(name);
  struct stat about {};
  if (fstat(old.number(), &about) != 0) return failed("fstat");
  if (!S_ISSOCK(about.st_mode)) {
    return net::Error{fmt::format("{}/{} is no socket; remove it", name, memif_socket_name)};
  }
  const Descriptor probe = new_socket();
  // This very file, whatever has its name by now.
  const sockaddr_un address = address_of(fmt::format("/proc/self/fd/{}", old.number()));
  const bool refused = connect(probe.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
                       errno == ECONNREFUSED;
  if (!refused) {
    return net::Error{fmt::format("somebody else listens at {}/{}; end that program, or give the pod another socket",
                                  name, memif_socket_name)};
  }
  if (unlinkat(folder.number(), memif_socket_name, 0) != 0) {
    return failed(fmt::format("the old {}/{} cannot be removed", name, memif_socket_name));
  }
  return net::Done{};
}

}  // namespace

net::Status<> make_pod_folder(const std::string& path, const Identity* owner) {
  if (mkdir(path.c_str(), own_mode) != 0 && errno != EEXIST) {
    return failed(fmt::format("the folder {} for the sockets of pods cannot be made (--pod-sockets)", path));
  }
  return owner == nullptr ? net::Status<>(net::Done{}) : give(path, *owner);
}

net::Result<Descriptor> open_pod_folder(const std::string& path) {
  Descriptor folder(open(path.c_str(), as_folder));
  if (!folder.is_open()) {
    return failed(fmt::format("the folder {} for the sockets of pods cannot be opened (--pod-sockets)", path));
  }
  struct stat about {};
  if (fstat(folder.number(), &about) != 0) return failed("fstat");
  const uid_t own = geteuid();
  if ((about.st_mode & 022) != 0 || (about.st_uid != own && about.st_uid != 0 && own != 0)) {
    return net::Error{fmt::format(
        "others may write to the folder {0} for the sockets of pods: it has to be this router's alone (chmod 700 {0})",
        path)};
  }
  return folder;
}

net::Status<> become_socket_maker() {
  if (unshare(CLONE_FS) != 0) return failed("unshare");
  umask(0);
  return net::Done{};
}

net::Result<MemifListener> listen_for_pod(const Descriptor& pods, const std::string& name) {
  auto folder = pod_folder(pods, name);
  if (!folder) return folder.error();
  if (auto room = remove_stale(*folder, name); !room) return room.error();
  MemifListener out{std::move(*folder), new_socket()};
  // The name of a socket has no room for a path, and bind() none for a folder to begin at.
  if (!out.socket.is_open() || fchdir(out.folder.number()) != 0) return failed("a socket cannot be made");
  const sockaddr_un address = address_of(memif_socket_name);
  if (bind(out.socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(out.socket.number(), 1) != 0) {
    return failed(fmt::format("{}/{} cannot be made", name, memif_socket_name));
  }
  return out;
}

void remove_socket(const MemifListener& listener) { (void)unlinkat(listener.folder.number(), memif_socket_name, 0); }

void remove_pod_folder(const Descriptor& pods, const std::string& name) {
  (void)unlinkat(pods.number(), name.c_str(), AT_REMOVEDIR);
}

}  // namespace sluice::control
