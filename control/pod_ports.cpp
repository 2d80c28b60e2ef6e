#include "control/pod_ports.h"

#include <algorithm>
#include <net/if.h>

#include <fmt/format.h>

#include "config/device.h"

namespace sluice::control {
namespace {

// What link_of() says of a memif with a pod: no interface of the kernel has this index.
constexpr uint32_t memif_index = UINT32_MAX;

}  // namespace

PodPorts::PodPorts(uint16_t workers, const PodPortsOptions& options)
    : workers_(workers), memifs_(options.memif_folder), taken_(options.state_folder) {
  if (auto loaded = taken_.load(); !loaded) {
    record_problem_ = "what interfaces were like before the router took them: " + loaded.error().message;
  } else if (!*loaded) {
    record_problem_ = "another process has the state folder: what interfaces were like is not read";
  }
}

PodPorts::~PodPorts() {
  for (const auto& [interface, pod] : pods_) {
    if (pod.use != LinkUse::Memif) give_back(interface, pod);
  }
}

void PodPorts::look_up(const std::string& interface, Pod& pod) {
  const net::MacAddr before = pod.link.mac;
  if (pod.use == LinkUse::Own) remember(interface);
  pod.link = dataplane::PodSocket::prepare(interface).value_or(dataplane::KernelLink{});
  if (pod.link.index == 0) pod.link.mac = before;
}

// Before it is changed.
void PodPorts::remember(const std::string& interface) {
  const auto now = dataplane::PodSocket::settings_of(interface);
  if (!now) return;
  const auto before = taken_.find(interface);
  if (before && before->index == now->index) return;
  if (!now->arp) {
    // Somebody else wants it so, and it stays.
    taken_.remove(interface);
  } else if (auto kept = taken_.add(interface, *now); !kept) {
    record_problem_ =
        fmt::format("{} is not given back if this process is killed: {}", interface, kept.error().message);
  }
}

void PodPorts::give_back(const std::string& interface, const Pod& pod) {
  if (pod.use == LinkUse::Memif) return memifs_.remove(pod.key);
  const auto before = taken_.find(interface);
  if (pod.use == LinkUse::Own && before) give_back(interface, *before);
}

// One that the kernel refuses to change stays on record: it is tried again with the next configuration, and by the next
// process.
void PodPorts::give_back(const std::string& interface, const dataplane::LinkSettings& before) {
  if (const auto done = dataplane::PodSocket::release(interface, before); done) {
    taken_.remove(interface);
  } else {
    give_back_problem_ = fmt::format("{} is not given back to the kernel: {}", interface, done.error().message);
  }
}

const std::string& PodPorts::problem() const {
  if (!problem_.empty()) return problem_;
  return give_back_problem_.empty() ? record_problem_ : give_back_problem_;
}

bool PodPorts::look_at_memif(Pod& pod) {
  MemifServer::View now = memifs_.look(pod.key);
  pod.problem = std::move(now.problem);
  if (now.link == pod.memif) return false;
  retire_memif(pod);
  pod.memif = std::move(now.link);
  pod.link.index = pod.memif != nullptr ? memif_index : 0;
  pod.link.up = pod.memif != nullptr;
  return true;
}

void PodPorts::retire_memif(Pod& pod) {
  if (pod.memif != nullptr) retired_.push_back(std::move(pod.memif));
  pod.memif.reset();
}

net::Status<> PodPorts::open(const KernelLinks& interfaces) {
  added_.clear();
  const bool any_in_kernel = std::any_of(interfaces.begin(), interfaces.end(),
                                         [](const auto& entry) { return entry.second != LinkUse::Memif; });
  while (any_in_kernel && sockets_.size() < workers_) {
    auto socket = dataplane::PodSocket::open();
    if (!socket) return socket.error();
    sockets_.push_back(std::move(*socket));
    listening_.emplace_back();
  }
  for (const auto& [interface, use] : interfaces) {
    if (const auto open = pods_.find(interface); open != pods_.end()) {
      if (open->second.use == use) continue;
      abandon();
      return net::Error{fmt::format(
          "{} cannot turn from a pod's interface into a device, or back, in one change; take it out first", interface)};
    }
    if (use == LinkUse::Own && if_nametoindex(interface.c_str()) == 0) {
      abandon();
      return net::Error{fmt::format(
          "device packet,iface={0}: there is no network interface \"{0}\"; create it first (ip link)", interface)};
    }
    Pod pod;
    pod.use = use;
    if (!free_.empty()) {
      pod.slot = free_.front();
      free_.pop_front();
    } else if (used_ < dataplane::max_pod_ports) {
      pod.slot = used_++;
    } else {
      abandon();
      return net::Error{fmt::format("more than {} pods on this node", dataplane::max_pod_ports)};
    }
    if (use == LinkUse::Memif) {
      std::string unused;  // it was found to be right
      const config::MemifDevice device = config::parse_memif(interface, unused).value_or(config::MemifDevice{});
      pod.key = memifs_.add(device);
      pod.link.mtu = device.mtu;
    } else {
      look_up(interface, pod);
    }
    pods_.emplace(interface, std::move(pod));
    added_.push_back(interface);
  }
  return net::Done{};
}

void PodPorts::abandon() {
  for (const std::string& interface : added_) {
    give_back(interface, pods_.at(interface));
    free_.push_back(pods_.at(interface).slot);
    pods_.erase(interface);
  }
  added_.clear();
}

void PodPorts::keep(const KernelLinks& interfaces) {
  added_.clear();
  give_back_problem_.clear();
  const auto left = taken_.all();
  for (const auto& [interface, before] : left) {
    if (!pods_.contains(interface)) give_back(interface, before);
  }
  for (auto at = pods_.begin(); at != pods_.end();) {
    if (interfaces.contains(at->first)) {
      ++at;
    } else {
      if (at->second.promiscuous != 0) {
        (void)sockets_[worker_of(at->second.slot)]->receive_all_of(at->second.promiscuous, false);
      }
      give_back(at->first, at->second);
      retire_memif(at->second);
      closing_.push_back(at->second.slot);
      at = pods_.erase(at);
    }
  }
}

void PodPorts::finish() {
  std::vector<std::vector<uint32_t>> wanted(sockets_.size());
  problem_.clear();
  for (auto& [interface, pod] : pods_) {
    if (pod.link.index == 0 || pod.use == LinkUse::Memif) continue;
    wanted[worker_of(pod.slot)].push_back(pod.link.index);
    if (pod.use != LinkUse::Own || pod.promiscuous == pod.link.index) continue;
    if (auto done = sockets_[worker_of(pod.slot)]->receive_all_of(pod.link.index, true); done) {
      pod.promiscuous = pod.link.index;
    } else {
      problem_ = done.error().message;
    }
  }
  for (size_t worker = 0; worker < sockets_.size(); ++worker) {
    std::sort(wanted[worker].begin(), wanted[worker].end());
    if (wanted[worker] == listening_[worker]) continue;
    if (auto done = sockets_[worker]->listen(wanted[worker]); done) {
      listening_[worker] = std::move(wanted[worker]);
    } else {
      problem_ = done.error().message;
    }
  }
  for (auto& link : retired_) MemifServer::give_back(std::move(link));
  retired_.clear();
  free_.insert(free_.end(), closing_.begin(), closing_.end());
  closing_.clear();
}

bool PodPorts::look() {
  bool changed = false;
  for (auto& [interface, pod] : pods_) {
    if (pod.use == LinkUse::Memif) {
      changed = look_at_memif(pod) || changed;
      continue;
    }
    const dataplane::KernelLink before = pod.link;
    look_up(interface, pod);
    // A pod sets its end down and up as it likes; that is nobody else's business.
    changed = changed || pod.link.index != before.index || pod.link.mtu != before.mtu || pod.link.mac != before.mac;
  }
  return changed;
}

void PodPorts::fill(dataplane::Snapshot& snapshot) const {
  snapshot.pod_ports.clear();
  for (size_t worker = 0; worker < sockets_.size(); ++worker) snapshot.workers[worker].pods = sockets_[worker].get();
  for (const auto& [interface, pod] : pods_) {
    const uint16_t port = port_of(interface);
    if (snapshot.ports.size() <= port) snapshot.ports.resize(port + 1U);
    dataplane::PortView& view = snapshot.ports[port];
    view.present = pod.link.index != 0;
    if (pod.use == LinkUse::Memif) {
      view.tx_queues = 1;
      view.memif = pod.memif.get();
      if (view.present) snapshot.workers[worker_of(pod.slot)].receive.push_back({port, 0});
      continue;
    }
    view.tx_queues = workers_;
    view.kernel_index = pod.link.index;
    if (view.present) snapshot.pod_ports.push_back({pod.link.index, port});
  }
  std::sort(snapshot.pod_ports.begin(), snapshot.pod_ports.end(),
            [](const auto& a, const auto& b) { return a.kernel_index < b.kernel_index; });
}

uint16_t PodPorts::port_of(const std::string& interface) const {
  return static_cast<uint16_t>(dataplane::first_pod_port + pods_.at(interface).slot);
}

dataplane::KernelLink PodPorts::link_of(const std::string& interface) const {
  const auto found = pods_.find(interface);
  return found == pods_.end() ? dataplane::KernelLink{} : found->second.link;
}

std::string PodPorts::problem_of(const std::string& interface) const {
  const auto found = pods_.find(interface);
  return found == pods_.end() ? "" : found->second.problem;
}

std::pair<std::string, dataplane::KernelLink> PodPorts::link_at(uint16_t port) const {
  for (const auto& [interface, pod] : pods_) {
    if (port_of(interface) == port) return {std::string(config::device_name(interface)), pod.link};
  }
  return {};
}

uint64_t PodPorts::missed() const {
  uint64_t frames = 0;
  for (const auto& socket : sockets_) frames += socket->missed();
  return frames;
}

}  // namespace sluice::control
