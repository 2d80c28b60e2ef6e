// Messages of memif's socket, version 2.0: 128 bytes each, in host byte order.
#pragma once

#include <cstdint>

namespace sluice::control::memif_message {

inline constexpr uint16_t version = 2 << 8;

enum class Type : uint16_t {
  None,
  Ack,
  Hello,
  Init,
  AddRegion,
  AddRing,
  Connect,
  Connected,
  Disconnect,
};

inline constexpr uint16_t ring_to_server = 1;  // AddRing::flags
inline constexpr uint8_t mode_ethernet = 0;    // Init::mode

struct [[gnu::packed]] Hello {
  char name[32];
  uint16_t min_version;
  uint16_t max_version;
  uint16_t max_region;  // the largest index
  uint16_t max_ring_from_server;
  uint16_t max_ring_to_server;
  uint8_t max_log2_ring_size;
};

struct [[gnu::packed]] Init {
  uint16_t version;
  uint32_t id;
  uint8_t mode;
  uint8_t secret[24];
  char name[32];
};

struct [[gnu::packed]] AddRegion {
  uint16_t index;
  uint64_t size;
};

struct [[gnu::packed]] AddRing {
  uint16_t flags;
  uint16_t index;
  uint16_t region;
  uint32_t offset;
  uint8_t log2_ring_size;
  uint16_t private_header_size;
};

struct [[gnu::packed]] Disconnect {
  uint32_t code;
  char text[96];
};

struct [[gnu::packed]] Message {
  Type type;
  union {
    uint8_t bytes[126];  // first: all of them are 0 in a message that is initialised by {}
    Hello hello;
    Init init;
    AddRegion add_region;
    AddRing add_ring;
    char interface_name[32];  // Connect, Connected
    Disconnect disconnect;
  };
};
static_assert(sizeof(Message) == 128);

}  // namespace sluice::control::memif_message
