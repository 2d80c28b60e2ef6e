// The twin of an interface in the host: a TAP device with its MAC address and MTU. It stays when the router ends, down
// as far as the kernel's carrier goes but with its addresses and routes, and is found again by the next start.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct HostInterfaceSpec {
  std::string name;
  net::MacAddr mac;
  uint16_t mtu = 1500;  // largest IP packet, bytes

  friend bool operator==(const HostInterfaceSpec&, const HostInterfaceSpec&) = default;
};

class HostInterface {
 public:
  // Makes the device or takes the one that is there, and sets it up. The error is one sentence that says what to do.
  static net::Result<std::unique_ptr<HostInterface>> open(const HostInterfaceSpec& spec);
  // Gives it another MAC address or MTU; the name is not looked at.
  net::Status<> change(const HostInterfaceSpec& spec);
  // The device goes when this object does.
  void remove();
  ~HostInterface();
  HostInterface(const HostInterface&) = delete;
  HostInterface& operator=(const HostInterface&) = delete;

  [[nodiscard]] const HostInterfaceSpec& spec() const { return spec_; }
  // Non-blocking; a read or write is one Ethernet frame.
  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] int index() const { return index_; }  // the kernel's
  // open() made the device.
  [[nodiscard]] bool is_new() const { return new_; }

 private:
  explicit HostInterface(HostInterfaceSpec spec) : spec_(std::move(spec)) {}
  [[nodiscard]] net::Status<> attach();
  [[nodiscard]] net::Status<> apply();

  HostInterfaceSpec spec_;
  int descriptor_ = -1;
  int index_ = 0;
  bool new_ = false;
};

}  // namespace sluice::control
