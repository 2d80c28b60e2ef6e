// A capture, read whole and sent again: packet n of the file is flow n. Addresses are mapped from prefix to prefix,
// ports from range to range.
//
// UDP, TCP and echo packets with at least 16 bytes of payload get the signature and the pattern over their payload,
// so that they are checked like all others; packets that cannot carry it are left out and counted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/net/result.h"
#include "tools/trafgen/flows.h"
#include "tools/trafgen/profile.h"
#include "tools/trafgen/signature.h"

namespace sluice::trafgen {

class Replay {
 public:
  // Classic pcap and pcapng files of Ethernet frames.
  static net::Result<Replay> read(const ReplayProfile& profile);

  [[nodiscard]] uint32_t packets() const { return static_cast<uint32_t>(frames_.size()); }
  [[nodiscard]] uint64_t left_out() const { return left_out_; }
  // The tuples of the packets, after rewriting, in the order of the file.
  [[nodiscard]] FlowSpace flows() const;
  [[nodiscard]] std::vector<uint16_t> payload_lengths() const;
  [[nodiscard]] std::vector<uint16_t> frame_lengths() const;

  // Writes packet `index` and returns its length in bytes.
  uint16_t fill(uint8_t* out, uint32_t index, const Signature& signature, const net::MacAddr& src,
                const net::MacAddr& dst) const;

 private:
  struct Frame {
    size_t offset = 0;  // in bytes_
    uint16_t length = 0, payload = 0, checksum = 0, payload_length = 0;
    bool udp = false;
    uint32_t sum = 0;  // of all that the L4 checksum covers, without the signature
  };

  bool take(const uint8_t* data, uint16_t length, const ReplayProfile& profile);

  std::vector<uint8_t> bytes_;
  std::vector<Frame> frames_;
  std::vector<Tuple> tuples_;
  net::Family family_ = net::Family::V4;
  uint64_t left_out_ = 0;
};

}  // namespace sluice::trafgen
