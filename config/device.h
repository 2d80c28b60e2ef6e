// The `device` of an interface: what opens it, and its arguments.
#pragma once

#include <string_view>

namespace sluice::config {

inline constexpr std::string_view packet_device = "packet,iface=";

// The kernel's interface behind a device "packet,iface=NAME", which the router reads and writes by packet(7) itself;
// empty: the device is one of DPDK's.
[[nodiscard]] inline std::string_view packet_link(std::string_view device) {
  return device.starts_with(packet_device) ? device.substr(packet_device.size()) : std::string_view();
}

// What tells devices apart: "net_memif0" of "net_memif0,role=server", all of "packet,iface=eth1".
[[nodiscard]] inline std::string_view device_name(std::string_view device) {
  return packet_link(device).empty() ? device.substr(0, device.find(',')) : device;
}

}  // namespace sluice::config
