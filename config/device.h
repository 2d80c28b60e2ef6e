// The `device` of an interface: what opens it, and its arguments.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::config {

inline constexpr std::string_view packet_device = "packet,iface=";
inline constexpr std::string_view memif_device = "memif,socket=";

// The kernel's interface behind a device "packet,iface=NAME", which the router reads and writes by packet(7) itself;
// empty: the device is one of DPDK's.
[[nodiscard]] inline std::string_view packet_link(std::string_view device) {
  return device.starts_with(packet_device) ? device.substr(packet_device.size()) : std::string_view();
}

// "memif,socket=NAME[,id=N][,mtu=N][,secret=TEXT]": a pod's link by shared memory, whose server the router is itself.
struct MemifDevice {
  std::string socket;  // the name of its folder
  uint32_t id = 0;
  uint16_t mtu = 1500;  // largest IP packet, bytes
  std::string secret;   // empty: any will do

  friend bool operator==(const MemifDevice&, const MemifDevice&) = default;
};
// Whether a device is meant to be one, with or without faults.
[[nodiscard]] inline bool is_memif(std::string_view device) {
  return device == "memif" || device.starts_with("memif,") || device.starts_with("memif=");
}
// Empty: it is none; `problem` says what is wrong with it, and what is right.
[[nodiscard]] std::optional<MemifDevice> parse_memif(std::string_view device, std::string& problem);

// What tells devices apart: "net_memif0" of "net_memif0,role=server", "memif,socket=web-0" of
// "memif,socket=web-0,id=1", all of "packet,iface=eth1".
[[nodiscard]] inline std::string_view device_name(std::string_view device) {
  if (!packet_link(device).empty()) return device;
  const size_t from = device.starts_with(memif_device) ? memif_device.size() : 0;
  return device.substr(0, device.find(',', from));
}

}  // namespace sluice::config
