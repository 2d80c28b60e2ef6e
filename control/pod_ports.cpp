#include "control/pod_ports.h"

#include <algorithm>

#include <fmt/format.h>

namespace sluice::control {

net::Status<> PodPorts::open(const PodLinks& interfaces) {
  added_.clear();
  while (!interfaces.empty() && sockets_.size() < workers_) {
    auto socket = dataplane::PodSocket::open();
    if (!socket) return socket.error();
    sockets_.push_back(std::move(*socket));
    listening_.emplace_back();
  }
  for (const auto& [interface, device] : interfaces) {
    if (auto opened = open_one(interface, device); !opened) {
      abandon();
      return net::Error{fmt::format("interface {}: {}", interface, opened.error().message)};
    }
  }
  return net::Done{};
}

net::Status<> PodPorts::open_one(const std::string& interface, const std::string& device) {
  if (const auto found = pods_.find(interface); found != pods_.end()) {
    if (found->second.device == device) return net::Done{};
    return net::Error{"it is attached in another way; delete its WorkloadEndpoint first, then add the new one"};
  }
  if (free_.empty() && used_ == dataplane::max_pod_ports) {
    return net::Error{fmt::format("more than {} pods on this node", dataplane::max_pod_ports)};
  }
  Pod pod;
  pod.device = device;
  if (!device.empty()) {
    auto server = serve(interface, device);
    if (!server) return server.error();
    pod.server = std::move(*server);
  }
  if (free_.empty()) {
    pod.slot = used_++;
  } else {
    pod.slot = free_.front();
    free_.pop_front();
  }
  pod.link = find(interface, pod);
  pods_.emplace(interface, std::move(pod));
  added_.push_back(interface);
  return net::Done{};
}

net::Result<std::unique_ptr<MemifServer>> PodPorts::serve(const std::string& interface,
                                                          const std::string& device) const {
  const auto wanted = config::parse_pod_device(device);
  if (!wanted) return wanted.error();
  if (at_.io == nullptr) return net::Error{"this process has no sockets for pods"};
  return MemifServer::listen(*at_.io, at_.folder, interface, *wanted, workers_, at_.changed);
}

// What there is of it now.
dataplane::KernelLink PodPorts::find(const std::string& interface, const Pod& pod) {
  if (pod.server == nullptr) return dataplane::PodSocket::prepare(interface).value_or(dataplane::KernelLink{});
  if (pod.server->link() == nullptr) return {};
  return {.index = dataplane::first_memif_interface + pod.slot, .mtu = 0, .up = true};
}

void PodPorts::abandon() {
  for (const std::string& interface : added_) {
    const Pod& pod = pods_.at(interface);
    free_.push_back(pod.slot);
    if (pod.server != nullptr) pod.server->remove_file();
    pods_.erase(interface);
  }
  added_.clear();
}

void PodPorts::keep(const PodLinks& interfaces) {
  added_.clear();
  for (auto at = pods_.begin(); at != pods_.end();) {
    if (const auto wanted = interfaces.find(at->first);
        wanted != interfaces.end() && wanted->second == at->second.device) {
      ++at;
    } else {
      closing_.push_back(at->second.slot);
      if (at->second.server != nullptr) at->second.server->remove_file();
      at = pods_.erase(at);
    }
  }
}

void PodPorts::finish() {
  std::vector<std::vector<uint32_t>> wanted(sockets_.size());
  for (const auto& [interface, pod] : pods_) {
    if (pod.server == nullptr && pod.link.index != 0) wanted[worker_of(pod.slot)].push_back(pod.link.index);
  }
  problem_.clear();
  for (size_t worker = 0; worker < sockets_.size(); ++worker) {
    std::sort(wanted[worker].begin(), wanted[worker].end());
    if (wanted[worker] == listening_[worker]) continue;
    if (auto done = sockets_[worker]->listen(wanted[worker]); done) {
      listening_[worker] = std::move(wanted[worker]);
    } else {
      problem_ = done.error().message;
    }
  }
  free_.insert(free_.end(), closing_.begin(), closing_.end());
  closing_.clear();
  retired_.clear();
}

bool PodPorts::look() {
  bool changed = false;
  for (auto& [interface, pod] : pods_) {
    const dataplane::KernelLink now = find(interface, pod);
    // A pod sets its end down and up as it likes; that is nobody else's business.
    changed = changed || now.index != pod.link.index || now.mtu != pod.link.mtu;
    pod.link = now;
    if (pod.server == nullptr) continue;
    changed = changed || pod.memory != pod.server->link();
    pod.memory = pod.server->link();
  }
  return changed;
}

void PodPorts::fill(dataplane::Snapshot& snapshot) {
  snapshot.pod_ports.clear();
  for (size_t worker = 0; worker < sockets_.size(); ++worker) snapshot.workers[worker].pods = sockets_[worker].get();
  for (const auto& [interface, pod] : pods_) {
    const uint16_t port = port_of(interface);
    if (snapshot.ports.size() <= port) snapshot.ports.resize(port + 1U);
    dataplane::PortView& view = snapshot.ports[port];
    view.present = pod.link.index != 0;
    view.tx_queues = pod.memory == nullptr ? workers_ : std::min(workers_, pod.memory->transmit_rings());
    view.kernel_index = pod.link.index;
    if (view.present) snapshot.pod_ports.push_back({pod.link.index, port});
  }
  std::sort(snapshot.pod_ports.begin(), snapshot.pod_ports.end(),
            [](const auto& a, const auto& b) { return a.kernel_index < b.kernel_index; });
  share_memory();
}

// Each ring is one worker's.
void PodPorts::share_memory() {
  std::vector<dataplane::MemifPods> next(sockets_.size());
  for (const auto& [interface, pod] : pods_) {
    if (pod.memory == nullptr) continue;
    for (uint16_t ring = 0; ring < pod.memory->receive_rings(); ++ring) {
      next[static_cast<size_t>(pod.slot + ring) % workers_].receive.push_back({pod.link.index, ring, pod.memory});
    }
    for (uint16_t ring = 0; ring < std::min(workers_, pod.memory->transmit_rings()); ++ring) {
      next[ring].transmit.push_back({pod.link.index, ring, pod.memory});
    }
  }
  shared_.resize(sockets_.size());
  for (size_t worker = 0; worker < sockets_.size(); ++worker) {
    std::sort(next[worker].transmit.begin(), next[worker].transmit.end(),
              [](const auto& a, const auto& b) { return a.interface < b.interface; });
    if (shared_[worker] != nullptr) retired_.push_back(std::move(shared_[worker]));
    shared_[worker] = std::make_shared<const dataplane::MemifPods>(std::move(next[worker]));
    sockets_[worker]->share(shared_[worker].get());
  }
}

uint16_t PodPorts::port_of(const std::string& interface) const {
  return static_cast<uint16_t>(dataplane::first_pod_port + pods_.at(interface).slot);
}

dataplane::KernelLink PodPorts::link_of(const std::string& interface) const {
  const auto found = pods_.find(interface);
  return found == pods_.end() ? dataplane::KernelLink{} : found->second.link;
}

std::string PodPorts::socket_of(const std::string& interface) const {
  const auto found = pods_.find(interface);
  return found == pods_.end() || found->second.server == nullptr ? "" : found->second.server->path();
}

uint64_t PodPorts::missed() const {
  uint64_t frames = 0;
  for (const auto& socket : sockets_) frames += socket->missed();
  return frames;
}

}  // namespace sluice::control
