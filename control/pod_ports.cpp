#include "control/pod_ports.h"

#include <algorithm>

#include <fmt/format.h>

namespace sluice::control {

net::Status<> PodPorts::open(const std::set<std::string>& interfaces) {
  added_.clear();
  while (!interfaces.empty() && sockets_.size() < workers_) {
    auto socket = dataplane::PodSocket::open();
    if (!socket) return socket.error();
    sockets_.push_back(std::move(*socket));
    listening_.emplace_back();
  }
  for (const std::string& interface : interfaces) {
    if (pods_.contains(interface)) continue;
    Pod pod;
    if (!free_.empty()) {
      pod.slot = free_.front();
      free_.pop_front();
    } else if (used_ < dataplane::max_pod_ports) {
      pod.slot = used_++;
    } else {
      abandon();
      return net::Error{fmt::format("more than {} pods on this node", dataplane::max_pod_ports)};
    }
    pod.link = dataplane::PodSocket::prepare(interface).value_or(dataplane::KernelLink{});
    pods_.emplace(interface, pod);
    added_.push_back(interface);
  }
  return net::Done{};
}

void PodPorts::abandon() {
  for (const std::string& interface : added_) {
    free_.push_back(pods_.at(interface).slot);
    pods_.erase(interface);
  }
  added_.clear();
}

void PodPorts::keep(const std::set<std::string>& interfaces) {
  added_.clear();
  for (auto at = pods_.begin(); at != pods_.end();) {
    if (interfaces.contains(at->first)) {
      ++at;
    } else {
      closing_.push_back(at->second.slot);
      at = pods_.erase(at);
    }
  }
}

void PodPorts::finish() {
  std::vector<std::vector<uint32_t>> wanted(sockets_.size());
  for (const auto& [interface, pod] : pods_) {
    if (pod.link.index != 0) wanted[worker_of(pod.slot)].push_back(pod.link.index);
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
}

bool PodPorts::look() {
  bool changed = false;
  for (auto& [interface, pod] : pods_) {
    const dataplane::KernelLink now = dataplane::PodSocket::prepare(interface).value_or(dataplane::KernelLink{});
    // A pod sets its end down and up as it likes; that is nobody else's business.
    changed = changed || now.index != pod.link.index || now.mtu != pod.link.mtu;
    pod.link = now;
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

uint64_t PodPorts::missed() const {
  uint64_t frames = 0;
  for (const auto& socket : sockets_) frames += socket->missed();
  return frames;
}

}  // namespace sluice::control
