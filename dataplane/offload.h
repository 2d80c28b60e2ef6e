// What a Linux host leaves to its network card, done and undone in software, so that pods keep their default settings.
//
// From a pod, Segmenter finishes a frame: a checksum that was only begun is computed, and a TCP or UDP frame that is
// larger than the link carries (generic segmentation offload) becomes the packets it stands for. Everything behind it,
// services, tunnels, MTU, sees ordinary packets.
//
// To a pod, Merger does the opposite: TCP packets of one connection that follow each other in one burst become one
// frame that the kernel takes as such (generic receive offload), without a copy of what they carry. As in the kernel
// only whole packets with a right checksum that differ in nothing but their sequence number are merged, so that
// segmenting what comes out gives what went in.
//
// How a frame is to be understood stands in a VnetHeader before it.
#pragma once

#include <array>
#include <cstdint>
#include <sys/uio.h>

#include <rte_mbuf.h>

#include "dataplane/net/burst.h"
#include "dataplane/net/verdict.h"

namespace sluice::dataplane {

// struct virtio_net_hdr of linux/virtio_net.h, which C++ does not read (PACKET_VNET_HDR of packet(7)). In host byte
// order; offsets count from the Ethernet header.
struct VnetHeader {
  static constexpr uint8_t needs_checksum = 1;
  static constexpr uint8_t no_gso = 0;
  static constexpr uint8_t gso_tcp_v4 = 1;
  static constexpr uint8_t gso_tcp_v6 = 4;
  static constexpr uint8_t gso_udp = 5;
  static constexpr uint8_t gso_ecn = 0x80;  // beside one of these: the first packet has CWR

  uint8_t flags = 0;
  uint8_t gso_type = no_gso;
  uint16_t header_length = 0;  // of all headers
  uint16_t gso_size = 0;       // payload of a packet, bytes
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;  // of the field, from checksum_start
};
static_assert(sizeof(VnetHeader) == 10);

inline constexpr uint32_t most_segments = 256;       // packets that one frame may stand for
inline constexpr uint16_t tcp_checksum_offset = 16;  // from the TCP header (RFC 9293 section 3.1)

// Writes what VnetHeader::needs_checksum promises of an IPv4 or IPv6 frame without a VLAN tag: the sum of the pseudo
// header. `l4`: offset of the TCP header; `l4_length`: bytes from there on.
void begin_tcp_checksum(uint8_t* frame, uint16_t l4, uint32_t l4_length);

class Segmenter {
 public:
  // A whole Ethernet frame of `length` bytes, readable until done(). None, or why it is refused: what stands for more
  // than most_segments packets is, and what is to be cut inside a tunnel.
  [[nodiscard]] net::DropReason begin(const uint8_t* frame, uint32_t length, const VnetHeader& about);
  [[nodiscard]] bool done() const { return offset_ >= payload_; }
  // The next packet, chained if it is larger than a buffer. nullptr: no buffer, and the rest is given up.
  [[nodiscard]] rte_mbuf* next(rte_mempool* pool);

 private:
  static constexpr uint16_t most_headers = 256;

  [[nodiscard]] bool finish_checksum(rte_mbuf* mbuf) const;
  void finish_headers(uint8_t* headers, const uint8_t* payload, uint32_t size, bool last) const;

  const uint8_t* frame_ = nullptr;
  uint32_t payload_ = 0;  // behind the headers, bytes
  uint32_t offset_ = 0;   // in it, of the next packet
  uint32_t step_ = 0;     // payload of a packet
  uint16_t headers_ = 0;  // bytes that each packet begins with
  uint16_t l4_ = 0;       // 0: nothing to compute
  uint16_t sum_ = 0;      // of the checksum field
  bool tcp_ = false;
  bool known_ = false;  // l4_ is where a TCP, UDP or SCTP header begins and sum_ where its checksum is
  bool segments_ = false;
};

// Frames of one burst to one pod. What it gives out points into the frames and into itself.
class Merger {
 public:
  struct Message {
    VnetHeader about;
    uint16_t first = 0;   // of iovecs(); the first is `about`
    uint16_t count = 0;   // of iovecs()
    uint16_t frames = 0;  // in it
  };

  void clear();
  // At most net::burst_size frames until clear(). The frame stays the caller's, and as it is. False: it is in more
  // buffers than a message has room for, and left out.
  [[nodiscard]] bool add(rte_mbuf* frame);
  // The last may still grow before this.
  void finish();
  [[nodiscard]] uint16_t size() const { return messages_; }
  [[nodiscard]] const Message& operator[](uint16_t index) const { return list_[index]; }
  [[nodiscard]] iovec* iovecs(uint16_t index) { return &vectors_[list_[index].first]; }

 private:
  static constexpr size_t most_headers = 14 + 40 + 60;
  static constexpr size_t most_parts = 40;  // of a frame in several buffers; 65 535 bytes take 33 of 2 KiB
  static constexpr uint32_t largest = 65535;

  // A TCP packet that others may join.
  struct Segment {
    const uint8_t* frame = nullptr;
    uint16_t l4 = 0;
    uint16_t headers = 0;  // Ethernet, IP and TCP, bytes
    uint16_t payload = 0;
    uint32_t sequence = 0;
    bool v4 = false;
    bool pushes = false;  // PSH
  };

  [[nodiscard]] static bool read(const rte_mbuf* frame, Segment& segment);
  [[nodiscard]] static bool verified(const rte_mbuf* mbuf, const Segment& segment);
  [[nodiscard]] bool joins(const rte_mbuf* mbuf, const Segment& next);
  void close();

  uint16_t messages_ = 0;
  uint16_t used_ = 0;  // of vectors_
  std::array<Message, net::burst_size> list_;
  std::array<iovec, net::burst_size*(most_parts + 1)> vectors_;
  std::array<std::array<uint8_t, most_headers>, net::burst_size> headers_;
  // Of the last message, while it is open.
  bool open_ = false;
  Segment first_;
  const rte_mbuf* first_mbuf_ = nullptr;
  bool first_verified_ = false;
  uint32_t next_sequence_ = 0;
  uint32_t payload_ = 0;
  bool pushes_ = false;    // the last packet has PSH
  bool complete_ = false;  // nothing follows
};

}  // namespace sluice::dataplane
