// Tells switches that snoop MLD that the router listens to the solicited-node group of an address (RFC 4291 section
// 2.7.1), so that they let neighbour solicitations for it through: the report that Linux sends when it joins, MLDv2 of
// RFC 3810 section 6.1. Queries are not answered; the control thread has reports sent again in time.
#pragma once

#include <cstdint>

#include "dataplane/context.h"
#include "dataplane/net/addr.h"

namespace sluice::dataplane {

class Output;

// Of worker 0. Nothing at a pod's interface.
void send_membership_report(Context& context, Output& output, uint16_t interface, const net::Ipv6Addr& address);

}  // namespace sluice::dataplane
