// ICMP errors that quote a packet of a tracked flow (specification 7.1, RFC 5508 section 4).
//
// The quoted packet is one that we forwarded, so it carries the tuple *after* translation, and whoever
// receives the error must see the tuple it sent itself (ICMP-1). Take a packet of direction D: its reversed
// quoted key is the key with which the opposite direction arrives, so one lookup of quoted.reversed() finds the
// opposite Flow R, and R's rewrite, read backwards, is what undoes D's translation (ICMP-3):
//
//                        client C, virtual address V, backend B            quoted        restored
//   error behind us      about C→B, found R = (B→C ⇒ V→C)                  C→B           C→V     sent to C
//   error before us      about V→C, found R = (C→V ⇒ C→B)                  V→C           B→C     sent to B
//
//   quoted source      = R.rewrite.dst     quoted destination = R.rewrite.src     outer destination = R.rewrite.dst
//
// The outer source (ICMP-2): a router between us and B has no business being seen by C, so with
// `source_as_vip` the error comes from R.rewrite.src whenever R translates its source, as Linux and VPP do.
// Where R does not translate the source (a router in the Internet, about a masqueraded flow) its sender stays and
// traceroute works. An error that the flow's own endpoint sent is translated like any packet of it.
//
// Checksums are verified before anything is touched (RFC 5508 REQ-3), then adjusted incrementally. Extension
// objects (RFC 4884) are carried along untouched.
#pragma once

#include <cstdint>

#include "dataplane/net/verdict.h"
#include "nat/flow.h"

namespace sluice::nat {

// Translates an ICMP(v6) error in place. `l3`: the outer IP header, followed by the whole packet, `l3_length`
// contiguous bytes (linearise the mbuf before); `l4_offset`: of the ICMP header, from l3. `reverse`: the reversed
// quoted key (net::parse_quoted); `back`: what becomes of the packets that have it. The outer TTL is not touched.
// Neither flow is: an error neither refreshes nor ends one (RFC 5508 REQ-6).
//
// None; IcmpBadChecksum: the message's checksum or the quoted IPv4 header's is wrong; IcmpMalformed: not
// an error, too short, not about that flow, or not addressed to the sender of the quoted packet. Nothing has been
// changed then.
template <class F>
[[nodiscard]] net::DropReason translate_error(uint8_t* l3, uint16_t l3_length, uint16_t l4_offset,
                                              const FlowKey<F>& reverse, const Rewrite<F>& back, bool source_as_vip);

}  // namespace sluice::nat
