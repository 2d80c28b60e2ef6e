// A DPDK port: a NIC by its PCI address or a software device by its DPDK name and arguments. Owned by the
// control thread; opening and closing never touches a running worker (it polls a port only while a snapshot
// says so).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

struct rte_mempool;

namespace sluice::dataplane {

struct PortSpec {
  std::string device;    // "0000:3b:00.0", "net_af_packet0,iface=eth1", …
  uint16_t workers = 1;  // queues wanted in each direction
  uint16_t mtu = 1500;   // largest IP packet without VLAN tag, bytes
  std::optional<net::MacAddr> mac;
  bool promiscuous = false;
  uint16_t receive_queues = 0;  // 0: as many as there are workers, on memif one
  bool interrupts = false;      // wanted of receive queues, from devices that have them

  friend bool operator==(const PortSpec&, const PortSpec&) = default;
};

struct PortStatistics {
  uint64_t rx_missed = 0, rx_errors = 0, tx_errors = 0;
  bool link_up = false;
};

class Port {
 public:
  // Attaches, configures and starts. The error is one sentence that says what to do.
  static net::Result<std::unique_ptr<Port>> open(const PortSpec& spec, rte_mempool* pool);
  // Gives the running device another MTU, MAC address or promiscuity; the rest of `wanted` is not looked at.
  // On an error the device is as it was.
  net::Status<> change(const PortSpec& wanted);
  // Stops and detaches. No worker may poll it any more.
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  [[nodiscard]] uint16_t id() const { return id_; }
  [[nodiscard]] const PortSpec& spec() const { return spec_; }
  [[nodiscard]] net::MacAddr mac() const { return mac_; }
  [[nodiscard]] uint16_t rx_queues() const { return rx_queues_; }
  [[nodiscard]] uint16_t tx_queues() const { return tx_queues_; }
  // Readable when a frame has come to the receive queue while its interrupts are on (rte_eth_dev_rx_intr_enable). -1:
  // it cannot tell.
  [[nodiscard]] int interrupt_of(uint16_t queue) const { return queue < interrupts_.size() ? interrupts_[queue] : -1; }
  // Whether the device is a socket or a TAP device of the kernel's, and each burst costs system calls.
  [[nodiscard]] bool through_kernel() const;
  [[nodiscard]] bool verifies_ipv4_checksum() const { return verifies_ipv4_checksum_; }
  [[nodiscard]] PortStatistics statistics() const;
  [[nodiscard]] bool link_up() const;

 private:
  explicit Port(PortSpec spec) : spec_(std::move(spec)) {}
  [[nodiscard]] net::Status<> attach();
  [[nodiscard]] net::Status<> start(rte_mempool* pool);
  [[nodiscard]] net::Status<> set_up(rte_mempool* pool, bool interrupts);
  void find_interrupts();
  [[nodiscard]] net::Status<> set_mtu(uint16_t mtu);
  void set_mac(const net::MacAddr& mac);
  void set_promiscuity();
  [[nodiscard]] net::Error failure(const std::string& what, int error) const;

  PortSpec spec_;
  uint16_t id_ = 0xffff;
  bool attached_ = false;
  bool started_ = false;
  net::MacAddr mac_;
  net::MacAddr device_mac_;   // its own, before any was set
  bool foreign_mac_ = false;  // the device refused to take mac_
  uint32_t mtu_limit_ = 0;    // what a packet buffer holds, or the device in several, bytes
  uint16_t rx_queues_ = 0;
  uint16_t tx_queues_ = 0;
  bool verifies_ipv4_checksum_ = false;
  std::vector<int> interrupts_;  // by queue; empty: none
};

}  // namespace sluice::dataplane
