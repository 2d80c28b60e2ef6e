// A frame in one line, in the manner of tcpdump: what a person needs to know which one it is.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "dataplane/net/addr.h"

namespace sluice::control {

struct FrameText {
  // Discovery: ARP and neighbour discovery. IcmpError: of either family.
  enum class Kind : uint8_t { Other, Discovery, IcmpError, Ip };
  Kind kind = Kind::Other;
  std::string text;                  // "tcp SYN 192.0.2.1:40000 > 10.96.0.10:80, 60 bytes"
  std::string headers;               // "IPv4 192.168.0.1 > 192.168.0.11, " and alike, of tunnels; empty without one
  std::span<const uint8_t> payload;  // of TCP and UDP, as much as there is of it; within the frame
};

// An Ethernet frame; `l3` true: an IP packet without one. What is cut off or makes no sense is left out.
[[nodiscard]] FrameText describe_frame(std::span<const uint8_t> bytes, bool l3 = false);

// "192.0.2.1:80", "[2001:db8::1]:80"; without a port the address alone.
[[nodiscard]] std::string endpoint_text(const net::IpAddr& address, uint16_t port);

// "SYN", "SYN,ACK"; "no flags".
[[nodiscard]] std::string tcp_flags_text(uint8_t flags);

}  // namespace sluice::control
