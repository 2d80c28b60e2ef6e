// ICMP and ICMPv6 that the router itself sends: errors about packets it cannot forward (RFC 1812 section 4.3,
// RFC 4443) and answers to echo requests. Never about the cases of ICMP-7, and rate limited twice: for the whole
// router and per destination.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/context.h"
#include "dataplane/net/packet.h"

namespace sluice::dataplane {

class Output;

// ParameterProblem: of ICMPv6 only.
enum class IcmpError : uint8_t { TtlExceeded, Unreachable, TooBig, ParameterProblem };

class IcmpResponder {
 public:
  static constexpr uint32_t per_destination_rate = 10;  // errors per second
  static constexpr uint32_t per_destination_burst = 20;

  IcmpResponder(Context& context, Output& output);

  // An error about `packet`, which is quoted as it stands in its mbuf: call before translating it (ICMP-5).
  // `code`: of Unreachable and ParameterProblem. `mtu`: of TooBig; of ParameterProblem the pointer. `source`: nullptr
  // for the address of the receiving interface. The packet stays the caller's.
  template <class F>
  void send_error(const net::FlowPacket<F>& packet, IcmpError error, uint8_t code, uint16_t mtu,
                  const typename F::Addr* source);
  // The same about a packet of which only the IP header is known, for the resolver.
  void send_host_unreachable(rte_mbuf* mbuf, uint16_t l3);

  // Errors about packets that were turned back (mapped_port.cpp), which go to an address of ours as well, since the
  // last call: visit(mbuf, interface), whose buffer is the visitor's.
  template <class Visit>
  void take_turned(Visit&& visit) {
    for (size_t i = 0; i < turned_.size(); ++i) visit(turned_[i].mbuf, turned_[i].interface);
    turned_.clear();
  }
  [[nodiscard]] bool any_turned() const { return !turned_.empty(); }

  // Answers an echo request to one of our addresses. Takes ownership.
  template <class F>
  void answer_echo(net::FlowPacket<F>& packet);

 private:
  struct Bucket {
    uint32_t owner = 0;
    uint32_t tokens = 0;  // thousandths
    nat::Millis refilled = 0;
  };
  struct Turned {
    rte_mbuf* mbuf;
    uint16_t interface;  // that its cause came in by
  };
  [[nodiscard]] bool allowed(uint32_t destination_hash);
  static bool take(Bucket& bucket, nat::Millis now, uint32_t rate, uint32_t burst);

  Context& context_;
  Output& output_;
  Bucket all_;
  std::array<Bucket, 1024> by_destination_{};
  net::Burst<Turned, 64> turned_;
};

}  // namespace sluice::dataplane
