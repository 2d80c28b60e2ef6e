// TCP between two interfaces of the kernel (pod_socket.h) at the size that kernels give it: a super-frame, up to 64 KiB
// that stand for some forty packets, goes on as one if its connection is established, or needs no record, and its way
// out is such an interface, too. Its headers are rewritten where it lies, in the ring of the pods' socket, and one
// system call sends it from there: nothing is cut, copied, checksummed and joined again.
//
// It is a short cut like those of pipeline.cpp, and what it decides is what they would decide about each packet that
// the frame stands for, down to the counters. It does the whole of it or touches nothing and says no; then the frame is
// cut (offload.h) and its packets go their usual way. So do all that are not plain data, that are handed over to
// another worker, or that come while somebody traces.
#pragma once

#include <cstdint>

#include "dataplane/connections.h"
#include "dataplane/context.h"
#include "dataplane/net/headers.h"
#include "dataplane/offload.h"
#include "dataplane/output.h"

namespace sluice::dataplane {

// Data of a TCP connection over IPv4 without options or IPv6 without extension headers, with no flags but ACK, PSH
// and those of ECN (RFC 3168), of which CWR is the first packet's alone. Before it is room for a VnetHeader. Lengths in
// bytes.
struct SuperFrame {
  uint8_t* frame = nullptr;  // the Ethernet header, writable
  uint32_t interface = 0;    // it came from: the kernel's index
  uint32_t length = 0;
  uint16_t l4 = 0;            // offset of the TCP header
  uint16_t headers = 0;       // of each packet
  uint16_t packets = 0;       // it stands for
  uint16_t packet_limit = 0;  // payload of each but the last, which may be shorter

  [[nodiscard]] uint8_t* l3_header() const { return frame + net::ethernet_header_length; }
  [[nodiscard]] uint8_t* l4_header() const { return frame + l4; }
  [[nodiscard]] bool is_v4() const { return l4 == net::ethernet_header_length + net::ipv4_header_length; }
  // Of all packets together.
  [[nodiscard]] uint32_t total_length() const { return length + (packets - 1U) * headers; }
  [[nodiscard]] uint32_t total_ip_length() const {
    return total_length() - packets * uint32_t{net::ethernet_header_length};
  }
  // Of the largest packet.
  [[nodiscard]] uint32_t ip_length() const { return headers - uint32_t{net::ethernet_header_length} + packet_limit; }
  // How the kernel is to understand it. The checksum is begun, not finished.
  [[nodiscard]] VnetHeader about() const;
};

// Reads a frame of `length` bytes. False if it is not a super-frame as above; then `out` means nothing.
[[nodiscard]] bool read_super_frame(uint8_t* frame, uint32_t length, const VnetHeader& about, SuperFrame& out);

// One worker's.
class SuperFrames {
 public:
  SuperFrames(Context& context, Output& output, const Connections& connections)
      : context_(context), output_(output), connections_(connections) {}

  // A frame that came in by `port`, in its place among the packets that the worker takes. True: it was sent, or dropped
  // because the kernel refused it, and what lies there means nothing any more. False: it is as it was.
  [[nodiscard]] bool forward(const SuperFrame& frame, uint16_t port);

 private:
  template <class F>
  [[nodiscard]] bool forward_as(const SuperFrame& frame, uint16_t ingress);
  // By what its flow remembers; nullptr if it is not for this short cut.
  template <class F>
  [[nodiscard]] const Adjacency* way_of(const SuperFrame& frame, const nat::Flow<F>& flow);

  void send(const SuperFrame& frame, const Adjacency& way);

  Context& context_;
  Output& output_;
  const Connections& connections_;
};

}  // namespace sluice::dataplane
