#include "dataplane/doorbell.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <sys/eventfd.h>
#include <unistd.h>

namespace sluice::dataplane {

net::Result<std::unique_ptr<Doorbell>> Doorbell::create() {
  const int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (descriptor < 0) return net::Error{std::string("what wakes a worker could not be made: ") + std::strerror(errno)};
  return std::unique_ptr<Doorbell>(new Doorbell(descriptor));
}

Doorbell::~Doorbell() { close(descriptor_); }

void Doorbell::wake() {
  awaited_.store(false, std::memory_order_relaxed);  // one ring is enough
  (void)eventfd_write(descriptor_, 1);
}

void Doorbell::hear() {
  eventfd_t rings = 0;
  (void)eventfd_read(descriptor_, &rings);
}

}  // namespace sluice::dataplane
