// An SCTP ABORT that the router sends in the name of an endpoint that is gone (SVC-92, onBackendRemoved Reset).
#pragma once

#include <cstdint>

#include "dataplane/context.h"
#include "dataplane/net/flow_key.h"

namespace sluice::dataplane {

class Output;

// Whose verification tag an ABORT carries (RFC 9260 section 8.5.1 B).
enum class TagOf : uint8_t {
  Receiver,  // as in what its peer sends it
  Sender,    // as in what it sends itself: the T bit is set
};

// From key.src to key.dst, as its receiver sees the association. `tag` in host byte order; 0, which no association has,
// sends nothing. `hash`: of the flow, for the choice of the way.
template <class F>
void send_abort(Context& context, Output& output, const net::FlowKey<F>& key, uint32_t tag, TagOf whose, uint64_t hash);

}  // namespace sluice::dataplane
