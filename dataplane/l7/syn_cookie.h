// SYN cookies (RFC 4987 section 3.6): the router's initial sequence number says what the client's SYN offered, and a
// keyed hash says that it was the router who wrote it. So a SYN is answered and forgotten, and the ACK that comes with
// the number is the proof that somebody at the client's address saw the answer.
//
//   bits 31..8  keyed hash over the tuple, the client's initial sequence number, the bits below and the time in periods
//   bits  7..5  MSS, as an index
//   bits  4..1  window scale, 15: none
//   bit      0  selective acknowledgements are permitted
//
// A cookie is good for the period that it was made in and the next. Timestamps need no bit: whether the client uses
// them is seen on its ACK.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/l7/siphash.h"
#include "dataplane/l7/tcp_offer.h"
#include "dataplane/net/flow_key.h"

namespace sluice::l7 {

class SynCookies {
 public:
  static constexpr uint32_t period = 64 * 1024;  // milliseconds

  explicit SynCookies(const SipKey& key) : key_(key) {}

  // The initial sequence number to answer a SYN with. `key`: of the client's packet. `now`: milliseconds, may wrap.
  // Sequence numbers in host byte order.
  template <class F>
  [[nodiscard]] uint32_t make(const net::FlowKey<F>& key, uint32_t client_isn, const TcpOffer& offer,
                              uint32_t now) const;
  // What the SYN offered whose answer had this number: its MSS rounded down, without a timestamp. nullopt: the router
  // never wrote that, or too long ago.
  template <class F>
  [[nodiscard]] std::optional<TcpOffer> check(const net::FlowKey<F>& key, uint32_t client_isn, uint32_t cookie,
                                              uint32_t now) const;
  // What is added to the clock for the timestamps of this connection: each has its own (RFC 7323 section 5.4).
  template <class F>
  [[nodiscard]] uint32_t timestamp_offset(const net::FlowKey<F>& key) const;

 private:
  template <class F>
  [[nodiscard]] uint32_t hash(const net::FlowKey<F>& key, uint32_t client_isn, uint32_t bits, uint32_t count) const;

  SipKey key_;
};

}  // namespace sluice::l7
