// What a SYN offers and a SYN+ACK accepts (RFC 9293 section 3.2, RFC 7323, RFC 2018), and timestamps of later segments.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/net/tcp_options.h"

namespace sluice::l7 {

inline constexpr uint8_t no_scale = 15;
inline constexpr uint8_t most_scale = 14;     // RFC 7323 section 2.3: above is read as 14
inline constexpr uint16_t default_mss = 536;  // of who does not say (RFC 9293 section 3.7.1)
inline constexpr uint32_t most_options = 40;

struct Timestamp {
  uint32_t value = 0;
  uint32_t echo = 0;
};

struct TcpOffer {
  uint16_t mss = default_mss;  // bytes of data the sender takes in one segment
  uint8_t scale = no_scale;    // of the windows in its later segments
  bool sack = false;
  std::optional<Timestamp> timestamp;
};

[[nodiscard]] TcpOffer read_offer(const uint8_t* options, uint32_t length);
// nullopt: the segment has none.
[[nodiscard]] std::optional<Timestamp> read_timestamp(const uint8_t* options, uint32_t length);

// Options of a SYN or SYN+ACK at `out`, which has room for most_options. Returns their bytes, a multiple of 4.
[[nodiscard]] uint8_t write_offer(uint8_t* out, const TcpOffer& offer);
// Of any other segment: 12 bytes as RFC 7323 appendix A lays them out, or nothing.
[[nodiscard]] uint8_t write_timestamp(uint8_t* out, const std::optional<Timestamp>& timestamp);

}  // namespace sluice::l7
