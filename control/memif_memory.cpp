#include "control/memif_memory.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fmt/format.h>

namespace sluice::control {
namespace {

// Bytes within that nothing was ever written to or read from. Such that were allocated and not touched count as well.
net::Result<uint64_t> holes_in(int file, uint64_t size) {
  const auto failed = [] {
    return net::Error{fmt::format("the memory cannot be looked at: {}", std::strerror(errno))};
  };
  const auto end = static_cast<off_t>(size);
  uint64_t holes = 0;
  for (off_t at = 0; at < end;) {
    const off_t hole = lseek(file, at, SEEK_HOLE);
    if (hole < 0) return failed();
    if (hole >= end) break;
    off_t data = lseek(file, hole, SEEK_DATA);
    if (data < 0 && errno != ENXIO) return failed();
    if (data < 0 || data > end) data = end;  // a hole up to the end
    holes += static_cast<uint64_t>(data - hole);
    at = data;
  }
  return holes;
}

// All pages are there and mapped afterwards.
net::Status<> touch(void* begin, uint64_t size) {
  if (madvise(begin, size, MADV_POPULATE_WRITE) == 0) return net::Done{};
  if (errno != EINVAL) return net::Error{fmt::format("the memory cannot be filled: {}", std::strerror(errno))};
  // Linux before 5.14.
  const auto* const bytes = static_cast<const volatile unsigned char*>(begin);
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (uint64_t at = 0; at < size; at += page) (void)bytes[at];
  return net::Done{};
}

}  // namespace

net::Status<> check_memory(int file, uint64_t size) {
  // First of all: only files that are memory have seals, and asking them anything never waits for somebody else.
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0) return net::Error{"the memory is no memfd"};
  if ((seals & F_SEAL_SHRINK) == 0) return net::Error{"the memory is not sealed against shrinking (F_SEAL_SHRINK)"};
  if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
    return net::Error{"the memory is sealed against writing, as that of an earlier connection is; make new memory"};
  }
  struct statfs system {};
  struct stat about {};
  if (fstatfs(file, &system) != 0 || fstat(file, &about) != 0) return net::Error{"the memory cannot be looked at"};
  if (system.f_type != TMPFS_MAGIC) return net::Error{"the memory is in hugepages, which can have holes"};
  if (size == 0 || about.st_size < 0 || static_cast<uint64_t>(about.st_size) < size) {
    return net::Error{fmt::format("a region of {} bytes in memory of {}", size, about.st_size)};
  }
  return net::Done{};
}

net::Result<dataplane::MemifRegion> map_memory(int file, uint64_t size, uint64_t& may_make) {
  void* const begin = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (begin == MAP_FAILED) return net::Error{fmt::format("the memory cannot be mapped: {}", std::strerror(errno))};
  dataplane::MemifRegion region(begin, size);
  if (fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0) {
    return net::Error{"the memory cannot be sealed against holes (F_SEAL_FUTURE_WRITE)"};
  }
  // From here on no page goes that is there.
  const auto holes = holes_in(file, size);
  if (!holes) return holes.error();
  if (*holes > may_make) {
    return net::Error{fmt::format("touch the memory first: {} KiB of it are not there, and the router makes {} KiB now",
                                  *holes >> 10, may_make >> 10)};
  }
  may_make -= *holes;
  if (auto touched = touch(begin, size); !touched) return touched.error();
  (void)mlock(begin, size);
  return region;
}

}  // namespace sluice::control
