#include "control/host_link.h"

#include <algorithm>
#include <ctime>
#include <poll.h>
#include <unistd.h>

namespace sluice::control {
namespace {

constexpr unsigned frames_per_turn = 64;
constexpr long shortest_nap = 50'000;         // nanoseconds
constexpr long longest_nap = 1'000'000;       // nanoseconds
constexpr unsigned turns_before_sleep = 100;  // at the shortest nap

}  // namespace

HostLink::~HostLink() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void HostLink::set(Twins twins) {
  const bool any = std::any_of(twins.begin(), twins.end(), [](const auto& twin) { return twin != nullptr; });
  {
    const std::lock_guard lock(mutex_);
    wanted_ = std::make_shared<const Twins>(std::move(twins));
  }
  changed_.notify_one();
  if (any && !thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void HostLink::run() {
  std::shared_ptr<const Twins> twins;
  std::vector<pollfd> descriptors;
  unsigned idle = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || twins != wanted_ || !descriptors.empty(); });
      if (stop_) return;
      if (twins != wanted_) {
        twins = wanted_;
        descriptors.clear();
        for (const auto& twin : *twins) {
          if (twin != nullptr) descriptors.push_back({twin->descriptor(), POLLIN, 0});
        }
      }
    }
    if (descriptors.empty()) continue;
    const bool written = write_frames(*twins);
    const bool read = read_frames(*twins);
    idle = written || read ? 0 : idle + 1;
    if (idle == 0) continue;
    // Without room in the ring nobody waits for the devices: they hold what comes.
    const nfds_t count = rings_.from_host().has_room() ? descriptors.size() : 0;
    const long nap = idle < turns_before_sleep ? shortest_nap : longest_nap;
    const timespec time{0, nap};
    (void)ppoll(descriptors.data(), count, &time, nullptr);
    // A device that was deleted is ready for ever.
    for (pollfd& descriptor : descriptors) {
      if ((descriptor.revents & (POLLERR | POLLNVAL)) != 0) descriptor.fd = -1;
    }
  }
}

bool HostLink::write_frames(const Twins& twins) {
  bool any = false;
  const auto write_one = [&](uint16_t interface, const uint8_t* frame, uint32_t length) {
    const HostInterface* const twin = interface < twins.size() ? twins[interface].get() : nullptr;
    if (twin == nullptr || write(twin->descriptor(), frame, length) < 0)
      refused_.fetch_add(1, std::memory_order_relaxed);
  };
  for (uint16_t worker = 0; worker < rings_.workers(); ++worker) {
    if (rings_.to_host(worker).take(frames_per_turn, write_one) != 0) any = true;
  }
  return any;
}

bool HostLink::read_frames(const Twins& twins) {
  dataplane::FrameRing& ring = rings_.from_host();
  uint8_t frame[dataplane::FrameRing::longest];
  bool any = false;
  for (uint16_t interface = 0; interface < twins.size(); ++interface) {
    if (twins[interface] == nullptr) continue;
    for (unsigned count = 0; count < frames_per_turn && ring.has_room(); ++count) {
      const ssize_t length = read(twins[interface]->descriptor(), frame, sizeof frame);
      if (length <= 0) break;
      uint8_t* const to = ring.reserve(interface, static_cast<uint32_t>(length));
      if (to == nullptr) break;
      std::memcpy(to, frame, static_cast<size_t>(length));
      ring.commit();
      any = true;
    }
  }
  if (any) rings_.announce_from_host();
  return any;
}

}  // namespace sluice::control
