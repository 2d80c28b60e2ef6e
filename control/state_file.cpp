#include "control/state_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "control/descriptor.h"

namespace sluice::control {
net::Error failure(const std::string& what, const std::string& path) {
  return net::Error{fmt::format("{} {}: {}", what, path, std::strerror(errno))};
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

net::Status<> StateFile::save(std::string_view document) const {
  if (!enabled()) return net::Done{};
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return net::Error{fmt::format("cannot make the state folder {}: {}", folder_, error.message())};
  const std::string fresh = path() + ".new";
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return failure("cannot write", fresh);
  const bool written = write_all(fd, document) && ::fsync(fd) == 0;
  const int saved = errno;
  ::close(fd);
  if (!written) {
    errno = saved;
    const net::Error why = failure("cannot write", fresh);
    ::unlink(fresh.c_str());
    return why;
  }
  if (::rename(fresh.c_str(), path().c_str()) != 0) return failure("cannot replace", path());
  // The rename itself is durable when the folder is.
  if (const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return net::Done{};
}

net::Result<std::optional<std::string>> StateFile::load() const {
  if (!enabled() || !std::filesystem::exists(path())) return std::optional<std::string>{};
  auto text = read_file(path());
  if (!text) return text.error();
  return std::optional<std::string>(std::move(*text));
}

net::Result<std::string> read_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about {};
  if (!file.is_open() || ::fstat(file.number(), &about) != 0) return failure("cannot read", path);
  // One more than there should be, to see the end; what has no size, such as a pipe, grows.
  constexpr size_t least_room = size_t{64} << 10;
  std::string text(std::max(static_cast<size_t>(std::max<off_t>(about.st_size, 0)) + 1, least_room), '\0');
  size_t length = 0;
  while (true) {
    if (length == text.size()) text.resize(2 * text.size());
    const ssize_t got = ::read(file.number(), text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failure("cannot read", path);
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  text.resize(length);
  return text;
}

}  // namespace sluice::control
