#include "control/host_link.h"

#include <algorithm>
#include <ctime>
#include <poll.h>
#include <unistd.h>

namespace sluice::control {
namespace {

constexpr unsigned frames_per_turn = 64;
constexpr long full_ring_nap = 50'000;  // nanoseconds
constexpr long longest_wait = 5'000'000;

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
  std::vector<pollfd> descriptors;  // the doorbell, then the devices; empty: there are none
  dataplane::Doorbell& doorbell = rings_.host_doorbell();
  bool awaited = false;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || twins != wanted_ || !descriptors.empty(); });
      if (stop_) return;
      if (twins != wanted_) {
        twins = wanted_;
        descriptors.clear();
        for (const auto& twin : *twins) {
          if (twin == nullptr) continue;
          if (descriptors.empty()) descriptors.push_back({doorbell.descriptor(), POLLIN, 0});
          descriptors.push_back({twin->descriptor(), POLLIN, 0});
        }
      }
    }
    if (descriptors.empty()) continue;
    const bool written = write_frames(*twins);
    const bool read = read_frames(*twins);
    // After it has asked to be woken it looks once more: what came meanwhile rang for nobody.
    if (const bool found = written || read; found || !awaited) {
      awaited = !found;
      doorbell.await(awaited);
      continue;
    }
    // Without room in the ring nobody waits for the devices: they hold what comes.
    const bool room = rings_.from_host().has_room();
    const timespec time{0, room ? longest_wait : full_ring_nap};
    (void)ppoll(descriptors.data(), room ? descriptors.size() : 1, &time, nullptr);
    if (descriptors[0].revents != 0) doorbell.hear();
    awaited = false;
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
