// Pods that speak virtio to a socket of ours (vhost-user): DPDK ports by its driver net_vhost.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/pod_socket_file.h"
#include "dataplane/port.h"

namespace sluice::control {

// What PlannedInterface::device is for such a pod: "vhost-user/PORT" and what follows in its annotation.
[[nodiscard]] std::string vhost_user_device(const std::string& port, const std::string& annotation);
// The socket of such a device; empty of any other.
[[nodiscard]] std::string vhost_user_socket(const std::string& device, const std::string& folder);
// What DPDK calls the device.
[[nodiscard]] std::string dpdk_device(const std::string& device, const std::string& folder);

// Sockets by device.
class VhostUserSockets {
 public:
  // As dataplane::Port::open(). `folder`: where sockets are; empty: there are none.
  [[nodiscard]] net::Result<std::unique_ptr<dataplane::Port>> open(const std::string& device, const std::string& folder,
                                                                   const dataplane::PortSpec& spec, rte_mempool* pool);
  // The pod is gone.
  void close(const std::string& device);

 private:
  std::map<std::string, std::unique_ptr<PodSocketFile>> files_;
};

}  // namespace sluice::control
