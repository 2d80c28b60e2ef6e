// One packet on its way through the pipeline: the mbuf and what parsing found, so that nobody parses twice.
// Offsets count from the start of the mbuf's data. Everything up to and including the L4 header lies in the
// first segment (parse.h sees to it); payload may continue in further segments.
#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "dataplane/net/flow_key.h"
#include "dataplane/net/headers.h"

namespace sluice::net {

inline constexpr uint16_t no_tunnel_source = 0xffff;
// Instead of a tunnel's: the host behind the router sent it, by a TAP device (dataplane/punt.h).
inline constexpr uint16_t host_source = 0xfffe;
// The router itself turned it back, from one mapped host inside to another (dataplane/mapped_port.cpp).
inline constexpr uint16_t turned_source = 0xfffd;
inline constexpr uint16_t no_interface = 0xffff;

enum class FragmentKind : uint8_t { Whole, First, Later };

struct Packet {
  rte_mbuf* mbuf = nullptr;
  rte_mbuf* original = nullptr;               // a copy as it was sent, while the neighbour is not known (ICMP-5)
  uint16_t l3 = 0;                            // offset of the (innermost) IP header
  uint16_t l4 = 0;                            // offset behind IP options and extension headers
  uint16_t l3_length = 0;                     // bytes of the IP packet, header included
  uint16_t ingress = no_interface;            // index of the interface it came in by
  uint16_t tunnel_source = no_tunnel_source;  // index of the tunnel node it was decapsulated from
  uint8_t decapsulations = 0;
  bool handed_over = false;  // came over the ring from another worker
  bool has_ports = false;    // the key's ports were read from this packet
  bool icmp_error = false;   // an ICMP(v6) error message: belongs to the quoted flow
  bool plain = false;        // ordinary: plain.h
  FragmentKind fragment = FragmentKind::Whole;
  uint8_t protocol = 0;  // of layer 4
  // Of fragments only:
  bool more_fragments = false;
  uint16_t fragment_offset = 0;  // bytes
  uint32_t datagram = 0;         // the identification as it lies in the header; IPv4: 16 bits

  [[nodiscard]] uint8_t* data() const { return rte_pktmbuf_mtod(mbuf, uint8_t*); }
  [[nodiscard]] uint8_t* l3_header() const { return data() + l3; }
  [[nodiscard]] uint8_t* l4_header() const { return data() + l4; }
  [[nodiscard]] bool from_host() const { return tunnel_source == host_source; }
  [[nodiscard]] bool turned_back() const { return tunnel_source == turned_source; }
  [[nodiscard]] bool from_tunnel() const { return tunnel_source < turned_source; }
  // Contiguous bytes from `offset` to the end of the first segment.
  [[nodiscard]] uint16_t contiguous(uint16_t offset) const {
    return offset < mbuf->data_len ? static_cast<uint16_t>(mbuf->data_len - offset) : uint16_t{0};
  }
};

static_assert(sizeof(Packet) == 40);

// A packet with its flow key: what passes 1 to 5 of the pipeline carry.
template <class F>
struct FlowPacket : Packet {
  FlowKey<F> key;
  uint64_t hash = 0;
};

}  // namespace sluice::net
