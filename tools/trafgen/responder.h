// What a host on the port would answer: ARP and neighbour solicitations for its addresses, ping; and asking for the
// gateways' MAC addresses.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "tools/trafgen/counter.h"
#include "tools/trafgen/frame_view.h"
#include "tools/trafgen/profile.h"

namespace sluice::trafgen {

class Responder {
 public:
  Responder(const PortProfile& profile, const net::MacAddr& mac) : profile_(profile), mac_(mac) {}

  // True: `view` was ARP, a neighbour message or a ping for us. If `length` is not 0 then, the frame now holds the
  // answer of that many bytes, to be sent.
  bool receive(const FrameView& view, uint16_t room, uint16_t& length);

  // A question for a gateway whose MAC address is not known, into `out` (128 bytes); 0: none left to ask.
  uint16_t ask(uint8_t* out);
  [[nodiscard]] bool resolved() const {
    return (!profile_.gateway || known_[0].load(std::memory_order_acquire)) &&
           (!profile_.gateway6 || known_[1].load(std::memory_order_acquire));
  }
  // Valid once resolved. The gateway of the family, or the only one there is.
  [[nodiscard]] net::MacAddr gateway_mac(net::Family family) const;
  [[nodiscard]] const Counter& answered() const { return answered_; }

 private:
  [[nodiscard]] bool answers_for(const net::IpAddr& addr) const;
  [[nodiscard]] bool is_own(const net::IpAddr& addr) const;
  [[nodiscard]] std::optional<net::IpAddr> own(net::Family family) const;
  void learn(const net::IpAddr& addr, const net::MacAddr& mac);
  bool receive_arp(const FrameView& view, uint16_t& length);
  bool receive_neighbor(const FrameView& view, uint16_t room, uint16_t& length);
  uint16_t ask_arp(uint8_t* out, const net::IpAddr& gateway) const;
  uint16_t ask_neighbor(uint8_t* out, const net::IpAddr& gateway) const;

  const PortProfile& profile_;
  net::MacAddr mac_;
  std::array<net::MacAddr, 2> macs_;  // of gateway and gateway6
  std::array<std::atomic<bool>, 2> known_{};
  unsigned turn_ = 0;
  Counter answered_;
};

}  // namespace sluice::trafgen
