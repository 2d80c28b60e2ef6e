#include "control/ipam_storage.h"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/types.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace sluice::control::ipam {

FileStorage::~FileStorage() {
  if (fd_ >= 0) ::close(fd_);
}

net::Result<Storage::Kept> FileStorage::load() {
  Kept kept;
  auto snapshot = snapshot_.load();
  if (!snapshot) return snapshot.error();
  kept.snapshot = std::move(*snapshot);
  if (!folder_.empty() && std::filesystem::exists(log())) {
    auto text = read_file(log());
    if (!text) return text.error();
    kept.log = std::move(*text);
  }
  return kept;
}

net::Status<> FileStorage::open_log() {
  if (fd_ >= 0) return net::Done{};
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return net::Error{fmt::format("cannot make the state folder {}: {}", folder_, error.message())};
  const bool fresh = !std::filesystem::exists(log());
  fd_ = ::open(log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd_ < 0) return failure("cannot write", log());
  if (!fresh) return net::Done{};
  // The name of a new file is durable when the folder is.
  const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && ::fsync(folder) == 0;
  const net::Error why = failure("cannot write", folder_);
  if (folder >= 0) ::close(folder);
  if (synced) return net::Done{};
  ::close(std::exchange(fd_, -1));
  return why;
}

net::Status<> FileStorage::append(std::string_view record) {
  if (folder_.empty()) return net::Done{};
  if (auto opened = open_log(); !opened) return opened;
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  if (before >= 0 && write_all(fd_, record)) return net::Done{};
  const net::Error why = failure("cannot write", log());
  if (before < 0 || ::ftruncate(fd_, before) != 0) ::close(std::exchange(fd_, -1));
  return why;
}

std::function<net::Status<>()> FileStorage::sync() {
  return [fd = fd_ < 0 ? -1 : ::dup(fd_), opened = fd_ >= 0, file = log()]() -> net::Status<> {
    if (!opened) return net::Done{};
    const bool synced = fd >= 0 && ::fdatasync(fd) == 0;
    const net::Error why = failure("cannot write", file);
    if (fd >= 0) ::close(fd);
    if (!synced) return why;
    return net::Done{};
  };
}

net::Status<> FileStorage::replace(std::string_view snapshot) {
  if (folder_.empty()) return net::Done{};
  if (auto saved = snapshot_.save(snapshot); !saved) return saved;
  if (auto opened = open_log(); !opened) return opened;
  if (::ftruncate(fd_, 0) != 0) return failure("cannot empty", log());
  return net::Done{};
}

}  // namespace sluice::control::ipam
