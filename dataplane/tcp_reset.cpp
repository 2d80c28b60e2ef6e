#include "dataplane/tcp_reset.h"

#include "dataplane/own_tcp.h"

namespace sluice::dataplane {
template <class F>
void send_reset(Context& context, Output& output, const net::FlowKey<F>& key, uint8_t flags, uint32_t seq, uint32_t ack,
                uint64_t hash) {
  if (send_segment(context, output, key, {.flags = flags, .seq = seq, .ack = ack}, hash))
    context.counters.add(Event::ResetsSent);
}

template void send_reset<net::V4>(Context&, Output&, const net::FlowKey<net::V4>&, uint8_t, uint32_t, uint32_t,
                                  uint64_t);
template void send_reset<net::V6>(Context&, Output&, const net::FlowKey<net::V6>&, uint8_t, uint32_t, uint32_t,
                                  uint64_t);

}  // namespace sluice::dataplane
