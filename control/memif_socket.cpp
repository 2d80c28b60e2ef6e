#include "control/memif_socket.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sched.h>
#include <string_view>
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
  if (faccessat(folder.number(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return net::Error{
        fmt::format("the folder {} belongs to user {}, and this router is user {}: chown it, or remove it", name,
                    own.st_uid, geteuid())};
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

// The folder and those of pods in it, of which a router that ran as somebody else may have made some. What others may
// enter is left alone: open_pod_folder() says so.
net::Status<> hand_over(const std::string& path, const Identity& owner) {
  Descriptor folder(open(path.c_str(), as_folder));
  if (!folder.is_open()) return failed(fmt::format("the folder {} for the sockets of pods cannot be opened", path));
  struct stat before {};
  if (fstat(folder.number(), &before) != 0) return failed("fstat");
  if ((before.st_mode & 077) != 0) return net::Done{};
  const auto refused = [&] { return failed(fmt::format("{} cannot be given to {}", path, owner.name)); };
  if (fchown(folder.number(), owner.uid, owner.gid) != 0) return refused();
  const std::unique_ptr<DIR, int (*)(DIR*)> list(fdopendir(fcntl(folder.number(), F_DUPFD_CLOEXEC, 0)), closedir);
  if (list == nullptr) return refused();
  while (const dirent* const entry = readdir(list.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const Descriptor pod(openat(folder.number(), entry->d_name, as_folder));
    struct stat about {};
    if (!pod.is_open() || fstat(pod.number(), &about) != 0) continue;
    const bool left = about.st_uid == 0 || about.st_uid == before.st_uid;
    if (left && (about.st_mode & 022) == 0 && fchown(pod.number(), owner.uid, owner.gid) != 0) return refused();
  }
  return net::Done{};
}

}  // namespace

net::Status<> make_pod_folder(const std::string& path, const Identity* owner) {
  const bool made = mkdir(path.c_str(), own_mode) == 0;
  if (!made && errno != EEXIST) {
    return failed(fmt::format("the folder {} for the sockets of pods cannot be made (--pod-sockets)", path));
  }
  if (owner == nullptr) return net::Done{};
  return made ? give(path, *owner) : hand_over(path, *owner);
}

net::Result<Descriptor> open_pod_folder(const std::string& path) {
  const uid_t own = geteuid();
  const auto somebodys = [&](uid_t owner) {
    return net::Error{fmt::format(
        "the folder {0} for the sockets of pods belongs to user {1}, and this router is user {2}: give it to this "
        "one (chown -R {2} {0}), or remove it",
        path, owner, own)};
  };
  struct stat about {};
  Descriptor folder(open(path.c_str(), as_folder));
  if (!folder.is_open()) {
    const int error = errno;
    const net::Error why =
        failed(fmt::format("the folder {} for the sockets of pods cannot be opened (--pod-sockets)", path));
    if (error == EACCES && lstat(path.c_str(), &about) == 0 && about.st_uid != own) return somebodys(about.st_uid);
    return why;
  }
  if (fstat(folder.number(), &about) != 0) return failed("fstat");
  // Root may be about to become the user whose it is.
  if (about.st_uid != own && own != 0) return somebodys(about.st_uid);
  if ((about.st_mode & 077) != 0) {
    return net::Error{fmt::format(
        "the folder {0} for the sockets of pods has mode {1:04o}, so that others may get into it: it has to be this "
        "router's alone (chmod 700 {0})",
        path, about.st_mode & 07777)};
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
  // It has its name when somebody listens: a pod may wait for the name and connect once.
  constexpr const char* unready = ".memif.sock";
  const int folder_number = out.folder.number();
  (void)unlinkat(folder_number, unready, 0);
  const sockaddr_un address = address_of(unready);
  if (bind(out.socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(out.socket.number(), 1) != 0 ||
      renameat2(folder_number, unready, folder_number, memif_socket_name, RENAME_NOREPLACE) != 0) {
    return failed(fmt::format("{}/{} cannot be made", name, memif_socket_name));
  }
  return out;
}

void remove_socket(const MemifListener& listener) { (void)unlinkat(listener.folder.number(), memif_socket_name, 0); }

void remove_pod_folder(const Descriptor& pods, const std::string& name) {
  (void)unlinkat(pods.number(), name.c_str(), AT_REMOVEDIR);
}

}  // namespace sluice::control
