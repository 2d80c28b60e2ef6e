// Captures in the pcapng format (draft-ietf-opsawg-pcapng), block by block, with comments. Little endian, times in
// nanoseconds, link type Ethernet.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace sluice::control {

class PcapngWriter {
 public:
  // The Section Header Block. `application`: who writes it.
  [[nodiscard]] static std::string header(std::string_view application);

  struct Packet {
    std::string_view interface;
    double time_seconds = 0;  // since 1970
    bool out = false;
    uint32_t length = 0;     // of the frame, bytes
    std::string_view bytes;  // the first of them
    uint64_t id = 0;         // the same for what one packet was and what it became
    std::string_view comment;
  };
  // An Enhanced Packet Block, with an Interface Description Block in front of it if the interface is new.
  [[nodiscard]] std::string packet(const Packet& packet);

 private:
  std::map<std::string, uint32_t, std::less<>> interfaces_;
};

}  // namespace sluice::control
