#include "dataplane/own_tcp.h"

#include "dataplane/own_packet.h"
#include "dataplane/own_send.h"

namespace sluice::dataplane {

template <class F>
rte_mbuf* make_segment(Context& context, const net::FlowKey<F>& key, const OwnSegment& segment) {
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context.tables.pool);
  if (mbuf == nullptr) {
    context.counters.drop(net::DropReason::NoBuffer);
    return nullptr;
  }
  const auto header = static_cast<uint16_t>(net::tcp_header_length + segment.options.size());
  const auto length = static_cast<uint16_t>(header + segment.data.size());
  mbuf->data_len = static_cast<uint16_t>(own_header_length<F> + length);
  mbuf->pkt_len = mbuf->data_len;
  auto* const l3 = rte_pktmbuf_mtod(mbuf, uint8_t*);
  uint8_t* const tcp = l3 + own_header_length<F>;
  write_own_header(l3, key.src, key.dst, net::protocol::tcp, 0, length, context.ip_id++);
  std::memset(tcp, 0, net::tcp_header_length);
  net::store(tcp, key.src_port.wire());
  net::store(tcp + 2, key.dst_port.wire());
  net::store_be32(tcp + 4, segment.seq);
  net::store_be32(tcp + 8, segment.ack);
  tcp[12] = static_cast<uint8_t>(header / 4 << 4);
  tcp[13] = segment.flags;
  net::store_be16(tcp + 14, segment.window);
  if (!segment.options.empty())
    std::memcpy(tcp + net::tcp_header_length, segment.options.data(), segment.options.size());
  if (!segment.data.empty()) std::memcpy(tcp + header, segment.data.data(), segment.data.size());
  net::store(tcp + 16, net::checksum(tcp, length, pseudo_header_sum<F>(l3, net::protocol::tcp, length)));
  return mbuf;
}

template <class F>
bool send_segment(Context& context, Output& output, const net::FlowKey<F>& key, const OwnSegment& segment,
                  uint64_t hash) {
  return send_own(context, output, key, hash, [&] { return make_segment(context, key, segment); });
}

template rte_mbuf* make_segment<net::V4>(Context&, const net::FlowKey<net::V4>&, const OwnSegment&);
template rte_mbuf* make_segment<net::V6>(Context&, const net::FlowKey<net::V6>&, const OwnSegment&);
template bool send_segment<net::V4>(Context&, Output&, const net::FlowKey<net::V4>&, const OwnSegment&, uint64_t);
template bool send_segment<net::V6>(Context&, Output&, const net::FlowKey<net::V6>&, const OwnSegment&, uint64_t);

}  // namespace sluice::dataplane
