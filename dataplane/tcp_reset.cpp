#include "dataplane/tcp_reset.h"

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/packet.h"
#include "dataplane/output.h"

namespace sluice::dataplane {
namespace {

constexpr uint8_t default_ttl = 64;  // TTL-4
constexpr uint16_t tcp_length = 20;

// Writes the IP header; returns the sum of the pseudo header (RFC 9293 section 3.1).
uint64_t write_header(uint8_t* l3, const net::FlowKey<net::V4>& key, uint16_t id) {
  std::memset(l3, 0, net::ipv4_header_length);
  l3[0] = 0x45;
  net::store_be16(l3 + 2, net::ipv4_header_length + tcp_length);
  net::store_be16(l3 + 4, id);
  l3[8] = default_ttl;
  l3[9] = net::protocol::tcp;
  net::store(l3 + 12, key.src.wire());
  net::store(l3 + 16, key.dst.wire());
  net::store(l3 + 10, net::checksum(l3, net::ipv4_header_length));
  return net::checksum_sum(l3 + 12, 8);
}

uint64_t write_header(uint8_t* l3, const net::FlowKey<net::V6>& key, uint16_t) {
  net::store_be32(l3, 0x60000000U);
  net::store_be16(l3 + 4, tcp_length);
  l3[6] = net::protocol::tcp;
  l3[7] = default_ttl;
  net::store(l3 + 8, key.src);
  net::store(l3 + 24, key.dst);
  return net::checksum_sum(l3 + 8, 32);
}

}  // namespace

template <class F>
void send_reset(Context& context, Output& output, const net::FlowKey<F>& key, uint8_t flags, uint32_t seq, uint32_t ack,
                uint64_t hash) {
  const Egress egress = output.route<F>(key.dst, hash);
  if (!egress.forwards()) return;
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context.tables.pool);
  if (mbuf == nullptr) return context.counters.drop(net::DropReason::NoBuffer);
  constexpr uint16_t header = F::is_v4 ? net::ipv4_header_length : net::ipv6_header_length;
  mbuf->data_len = header + tcp_length;
  mbuf->pkt_len = mbuf->data_len;
  auto* const l3 = rte_pktmbuf_mtod(mbuf, uint8_t*);
  uint8_t* const tcp = l3 + header;
  const uint64_t pseudo = write_header(l3, key, context.ip_id++) + net::be16::from_host(net::protocol::tcp).wire() +
                          net::be16::from_host(tcp_length).wire();
  std::memset(tcp, 0, tcp_length);
  net::store(tcp, key.src_port.wire());
  net::store(tcp + 2, key.dst_port.wire());
  net::store_be32(tcp + 4, seq);
  net::store_be32(tcp + 8, ack);
  tcp[12] = tcp_length / 4 << 4;
  tcp[13] = flags;
  net::store(tcp + 16, net::checksum(tcp, tcp_length, pseudo));
  net::Packet packet;
  packet.mbuf = mbuf;
  packet.l3 = 0;
  packet.l3_length = static_cast<uint16_t>(mbuf->pkt_len);
  context.counters.add(Event::ResetsSent);
  output.send<F>(packet, egress, hash);
}

template void send_reset<net::V4>(Context&, Output&, const net::FlowKey<net::V4>&, uint8_t, uint32_t, uint32_t,
                                  uint64_t);
template void send_reset<net::V6>(Context&, Output&, const net::FlowKey<net::V6>&, uint8_t, uint32_t, uint32_t,
                                  uint64_t);

}  // namespace sluice::dataplane
