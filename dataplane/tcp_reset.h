// A TCP reset that the router sends in the name of an endpoint that is gone (SVC-92, onBackendRemoved Reset).
#pragma once

#include <cstdint>

#include "dataplane/context.h"
#include "dataplane/net/flow_key.h"

namespace sluice::dataplane {

class Output;

// From key.src to key.dst, as its receiver sees the connection. Sequence numbers in host byte order; `flags` holds RST
// and, if `ack` means something, ACK (RFC 9293 section 3.10.7.1). `hash`: of the flow, for the choice of the way.
template <class F>
void send_reset(Context& context, Output& output, const net::FlowKey<F>& key, uint8_t flags, uint32_t seq, uint32_t ack,
                uint64_t hash);

}  // namespace sluice::dataplane
