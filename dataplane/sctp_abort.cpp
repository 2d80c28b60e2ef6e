#include "dataplane/sctp_abort.h"

#include <cstring>

#include "dataplane/crc32c.h"
#include "dataplane/own_packet.h"
#include "dataplane/own_send.h"
#include "nat/sctp.h"

namespace sluice::dataplane {
namespace {

constexpr uint16_t chunk_header_length = 4;
constexpr uint16_t abort_length = nat::sctp_header_length + chunk_header_length;  // without causes
constexpr uint8_t flag_t = 1;                                                     // RFC 9260 section 3.3.7

// RFC 9260 section 6.8 and appendix A: over everything with the field zero, low byte first.
void finish_checksum(uint8_t* sctp) {
  const uint32_t crc = ~crc32c(sctp, abort_length, ~0U);
  std::memcpy(sctp + 8, &crc, sizeof crc);
}

template <class F>
rte_mbuf* make_abort(Context& context, const net::FlowKey<F>& key, uint32_t tag, TagOf whose) {
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context.tables.pool);
  if (mbuf == nullptr) {
    context.counters.drop(net::DropReason::NoBuffer);
    return nullptr;
  }
  mbuf->data_len = static_cast<uint16_t>(own_header_length<F> + abort_length);
  mbuf->pkt_len = mbuf->data_len;
  auto* const l3 = rte_pktmbuf_mtod(mbuf, uint8_t*);
  uint8_t* const sctp = l3 + own_header_length<F>;
  write_own_header(l3, key.src, key.dst, net::protocol::sctp, 0, abort_length, context.ip_id++);
  std::memset(sctp, 0, abort_length);
  net::store(sctp, key.src_port.wire());
  net::store(sctp + 2, key.dst_port.wire());
  net::store_be32(sctp + 4, tag);
  uint8_t* const chunk = sctp + nat::sctp_header_length;
  chunk[0] = static_cast<uint8_t>(nat::SctpChunk::Abort);
  chunk[1] = whose == TagOf::Sender ? flag_t : uint8_t{0};
  net::store_be16(chunk + 2, chunk_header_length);
  finish_checksum(sctp);
  return mbuf;
}

}  // namespace

template <class F>
void send_abort(Context& context, Output& output, const net::FlowKey<F>& key, uint32_t tag, TagOf whose,
                uint64_t hash) {
  if (tag == 0) return;
  const bool sent = send_own(context, output, key, hash, [&] { return make_abort(context, key, tag, whose); });
  if (sent) context.counters.add(Event::ResetsSent);
}

template void send_abort<net::V4>(Context&, Output&, const net::FlowKey<net::V4>&, uint32_t, TagOf, uint64_t);
template void send_abort<net::V6>(Context&, Output&, const net::FlowKey<net::V6>&, uint32_t, TagOf, uint64_t);

}  // namespace sluice::dataplane
