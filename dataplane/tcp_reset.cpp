#include "dataplane/tcp_reset.h"

#include "dataplane/net/packet.h"
#include "dataplane/output.h"
#include "dataplane/own_packet.h"

namespace sluice::dataplane {
template <class F>
void send_reset(Context& context, Output& output, const net::FlowKey<F>& key, uint8_t flags, uint32_t seq, uint32_t ack,
                uint64_t hash) {
  const Egress egress = output.route<F>(key.dst, hash);
  if (!egress.forwards()) return;
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context.tables.pool);
  if (mbuf == nullptr) return context.counters.drop(net::DropReason::NoBuffer);
  mbuf->data_len = own_header_length<F> + net::tcp_header_length;
  mbuf->pkt_len = mbuf->data_len;
  auto* const l3 = rte_pktmbuf_mtod(mbuf, uint8_t*);
  uint8_t* const tcp = l3 + own_header_length<F>;
  write_own_header(l3, key.src, key.dst, net::protocol::tcp, 0, net::tcp_header_length, context.ip_id++);
  std::memset(tcp, 0, net::tcp_header_length);
  net::store(tcp, key.src_port.wire());
  net::store(tcp + 2, key.dst_port.wire());
  net::store_be32(tcp + 4, seq);
  net::store_be32(tcp + 8, ack);
  tcp[12] = net::tcp_header_length / 4 << 4;
  tcp[13] = flags;
  net::store(tcp + 16, net::checksum(tcp, net::tcp_header_length,
                                     pseudo_header_sum<F>(l3, net::protocol::tcp, net::tcp_header_length)));
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
