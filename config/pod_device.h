// What annotation sluice.dev/device says of a WorkloadEndpoint: how its pod is attached.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/net/result.h"

namespace sluice::config {

struct PodDevice {
  enum class Kind : uint8_t {
    Kernel,     // the end of a veth pair
    Memif,      // a socket of ours where the pod offers its memory by memif
    VhostUser,  // a socket of ours where the pod offers its memory by vhost-user, as virtio-user and QEMU do
    Dpdk,       // a DPDK device that the annotation names
  };
  Kind kind = Kind::Kernel;
  // Of the socket; absent: of the router's process.
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  uint32_t mode = 0600;
  uint16_t mtu = 1500;  // largest IP packet, bytes

  [[nodiscard]] bool has_socket() const { return kind == Kind::Memif || kind == Kind::VhostUser; }
  friend bool operator==(const PodDevice&, const PodDevice&) = default;
};

// "", "memif", "vhost-user,uid=1000,mode=0660", "net_af_packet0,iface=eth1". The error says what to write.
[[nodiscard]] net::Result<PodDevice> parse_pod_device(std::string_view text);

}  // namespace sluice::config
