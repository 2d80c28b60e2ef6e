#include "dataplane/icmp.h"

#include <algorithm>

#include "dataplane/net/checksum.h"
#include "dataplane/net/parse.h"
#include "dataplane/output.h"
#include "dataplane/own_packet.h"
#include "dataplane/punt.h"

namespace sluice::dataplane {
namespace {

using net::DropReason;

constexpr uint16_t quote_limit_v4 = 576 - net::ipv4_header_length - net::icmp_header_length;   // RFC 1812 4.3.2.3
constexpr uint16_t quote_limit_v6 = 1280 - net::ipv6_header_length - net::icmp_header_length;  // RFC 4443 2.4 (c)
// RFC 1812 section 4.3.2.5: errors travel with precedence 6, internetwork control.
constexpr uint8_t error_tos = 0xc0;

struct TypeAndCode {
  uint8_t type;
  uint8_t code;
};

template <class F>
TypeAndCode type_of(IcmpError error, uint8_t code) {
  if constexpr (F::is_v4) {
    if (error == IcmpError::TtlExceeded) return {net::icmpv4::time_exceeded, 0};
    if (error == IcmpError::TooBig) return {net::icmpv4::unreachable, net::icmpv4::code_fragmentation_needed};
    return {net::icmpv4::unreachable, code};
  } else {
    if (error == IcmpError::TtlExceeded) return {net::icmpv6::time_exceeded, 0};
    if (error == IcmpError::TooBig) return {net::icmpv6::packet_too_big, 0};
    if (error == IcmpError::ParameterProblem) return {net::icmpv6::parameter_problem, code};
    return {net::icmpv6::unreachable, code};
  }
}

template <class F>
constexpr uint8_t icmp_protocol = F::is_v4 ? net::protocol::icmp : net::protocol::icmpv6;

template <class F>
uint32_t fold_address(const typename F::Addr& addr) {
  if constexpr (F::is_v4) {
    return addr.wire() * 2654435761U;
  } else {
    uint64_t half[2];
    std::memcpy(half, addr.bytes.data(), sizeof half);
    return static_cast<uint32_t>((half[0] ^ half[1]) * 0x9e3779b97f4a7c15 >> 32);
  }
}

template <class F>
bool may_be_told(const typename F::Addr& source) {
  if constexpr (F::is_v4) {
    return !source.is_this_network() && !source.is_loopback() && source.host() >> 28 < 0xe;
  } else {
    return !source.is_unspecified() && !source.is_multicast() && !source.is_loopback();
  }
}

}  // namespace

IcmpResponder::IcmpResponder(Context& context, Output& output) : context_(context), output_(output) {}

bool IcmpResponder::take(Bucket& bucket, nat::Millis now, uint32_t rate, uint32_t burst) {
  const uint64_t elapsed = static_cast<uint32_t>(now - bucket.refilled);
  bucket.tokens = static_cast<uint32_t>(std::min<uint64_t>(bucket.tokens + elapsed * rate, uint64_t{burst} * 1000));
  bucket.refilled = now;
  if (bucket.tokens < 1000) return false;
  bucket.tokens -= 1000;
  return true;
}

bool IcmpResponder::allowed(uint32_t destination_hash) {
  Bucket& bucket = by_destination_[destination_hash % by_destination_.size()];
  if (bucket.owner != destination_hash) {
    bucket = {destination_hash, per_destination_burst * 1000, context_.now};
  }
  const uint32_t share = std::max<uint32_t>(context_.snapshot->icmp.errors_per_second / context_.tables.workers, 1);
  if (take(bucket, context_.now, per_destination_rate, per_destination_burst) &&
      take(all_, context_.now, share, share)) {
    return true;
  }
  context_.counters.add(Event::IcmpErrorsLimited);
  return false;
}

template <class F>
void IcmpResponder::send_error(const net::FlowPacket<F>& packet, IcmpError error, uint8_t code, uint16_t mtu,
                               const typename F::Addr* source) {
  // ICMP-7; packets to broadcast and multicast addresses never come this far.
  if (packet.icmp_error || packet.fragment == net::FragmentKind::Later || !may_be_told<F>(packet.key.src)) return;
  if (!allowed(fold_address<F>(packet.key.src))) return;
  const Egress egress = output_.route<F>(packet.key.src, packet.hash);
  const bool to_host = packet.from_host() && egress.kind == HopKind::Local;
  const bool turned_back = packet.turned_back() && egress.kind == HopKind::Local && !turned_.full();
  if (!egress.forwards() && !to_host && !turned_back) return;

  rte_mbuf* const mbuf = rte_pktmbuf_alloc(context_.tables.pool);
  if (mbuf == nullptr) return context_.counters.drop(DropReason::NoBuffer);
  const uint16_t limit = F::is_v4 ? quote_limit_v4 : quote_limit_v6;
  const uint16_t quoted = std::min({packet.l3_length, limit, static_cast<uint16_t>(packet.mbuf->pkt_len - packet.l3)});
  const uint16_t payload = static_cast<uint16_t>(net::icmp_header_length + quoted);
  auto* const l3 = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, own_header_length<F> + payload));
  uint8_t* const icmp = l3 + own_header_length<F>;

  typename F::Addr from{};
  if (source != nullptr) {
    from = *source;
  } else {
    if (packet.tunnel_source == net::no_tunnel_source && packet.ingress != net::no_interface) {
      from = context_.interface(packet.ingress).template primary<F>();
    }
    // Through a tunnel, the address its other end expects to hear from (MASQ-10).
    if (egress.tunnel != no_tunnel) {
      const auto& ours = context_.snapshot->tunnels[egress.tunnel].template masquerade<F>();
      if (!(ours == typename F::Addr{})) from = ours;
    }
    // 169.254.1.1 of a pod's port is nobody's address elsewhere (ICMP-8).
    if (from == typename F::Addr{} || from.is_link_local()) from = context_.snapshot->template router_address<F>();
  }
  write_own_header(l3, from, packet.key.src, icmp_protocol<F>, error_tos, payload, context_.ip_id++);
  const auto [type, wire_code] = type_of<F>(error, code);
  std::memset(icmp, 0, net::icmp_header_length);
  icmp[0] = type;
  icmp[1] = wire_code;
  // RFC 1191 section 4: 16 bits at offset 6; RFC 4443 sections 3.2 and 3.4: 32 bits at offset 4.
  if (error == IcmpError::TooBig || error == IcmpError::ParameterProblem) net::store_be16(icmp + 6, mtu);
  const void* const original = rte_pktmbuf_read(packet.mbuf, packet.l3, quoted, icmp + net::icmp_header_length);
  if (original != icmp + net::icmp_header_length) std::memcpy(icmp + net::icmp_header_length, original, quoted);
  net::store(icmp + 2, net::checksum(icmp, payload, icmp_pseudo_sum<F>(l3, payload)));

  net::Packet answer;
  answer.mbuf = mbuf;
  answer.l3 = 0;
  answer.l3_length = static_cast<uint16_t>(mbuf->pkt_len);
  context_.counters.add(Event::IcmpErrorsSent);
  if (to_host) return context_.punt->give(mbuf, 0, packet.ingress, PuntClass::Icmp);
  if (turned_back) {
    turned_.push({mbuf, packet.ingress == net::no_interface ? uint16_t{0} : packet.ingress});
  } else {
    output_.send<F>(answer, egress, packet.hash);
  }
}

template void IcmpResponder::send_error<net::V4>(const net::FlowPacket<net::V4>&, IcmpError, uint8_t, uint16_t,
                                                 const net::Ipv4Addr*);
template void IcmpResponder::send_error<net::V6>(const net::FlowPacket<net::V6>&, IcmpError, uint8_t, uint16_t,
                                                 const net::Ipv6Addr*);

void IcmpResponder::send_host_unreachable(rte_mbuf* mbuf, uint16_t l3) {
  const auto about = [&]<class F>(net::FlowPacket<F> packet, uint8_t code) {
    packet.mbuf = mbuf;
    packet.l3 = l3;
    if (net::parse_ip(packet, true) != DropReason::None) return;
    // Only what was turned back is forwarded between addresses of ours.
    const FamilyTables<F>& tables = context_.snapshot->family<F>();
    if (tables.owns(packet.key.src) && tables.owns(packet.key.dst)) packet.tunnel_source = net::turned_source;
    send_error(packet, IcmpError::Unreachable, code, 0, nullptr);
  };
  if (net::ip_version(rte_pktmbuf_mtod_offset(mbuf, uint8_t*, l3)) == 4) {
    about(net::FlowPacket<net::V4>{}, net::icmpv4::code_host);
  } else {
    about(net::FlowPacket<net::V6>{}, net::icmpv6::code_address);
  }
}

template <class F>
void IcmpResponder::answer_echo(net::FlowPacket<F>& packet) {
  uint8_t* const l3 = packet.l3_header();
  uint8_t* const icmp = packet.l4_header();
  if (!icmp_checksum_good(packet)) return context_.drop(packet.mbuf, DropReason::IcmpBadChecksum);
  const typename F::Addr client = packet.key.src;
  const typename F::Addr own = packet.key.dst;
  // Addresses that change places leave the pseudo header's sum as it is: only the type makes a difference.
  const auto asked = net::load<uint16_t>(icmp);
  icmp[0] = F::is_v4 ? net::icmpv4::echo_reply : net::icmpv6::echo_reply;
  net::ChecksumDelta delta;
  delta.replace16(asked, net::load<uint16_t>(icmp));
  net::store(icmp + 2, delta.apply(net::load<uint16_t>(icmp + 2)));
  if constexpr (F::is_v4) {
    net::store(l3 + 12, own.wire());
    net::store(l3 + 16, client.wire());
    l3[8] = own_ttl;
    net::store_be16(l3 + 4, context_.ip_id++);
    net::store(l3 + 10, uint16_t{0});
    net::store(l3 + 10, net::checksum(l3, static_cast<size_t>(packet.l4 - packet.l3)));
  } else {
    net::store(l3 + 8, own);
    net::store(l3 + 24, client);
    l3[7] = own_ttl;
  }
  Egress egress;
  if (client.is_link_local() && !F::is_v4) {
    // Link-local addresses are routed nowhere: back where it came from.
    egress = {.kind = HopKind::Connected,
              .interface = packet.ingress,
              .mtu = context_.interface(packet.ingress).mtu,
              .neighbor = no_neighbor};
    const uint32_t index = context_.tables.neighbors->find(packet.ingress, client);
    if (index != no_neighbor) egress.neighbor = context_.tables.neighbors->ref(index);
  } else {
    egress = output_.route<F>(client, packet.hash);
  }
  if (!egress.forwards()) return context_.drop(packet.mbuf, egress.reason);
  context_.counters.add(Event::EchoReplies);
  if (packet.l3_length <= egress.mtu) {
    output_.send<F>(packet, egress, packet.hash);
  } else if constexpr (F::is_v4) {
    net::store_be16(l3 + 6, 0);
    output_.fragment_and_send(packet, egress, packet.hash);
  } else {
    context_.drop(packet.mbuf, DropReason::MtuExceeded);
  }
}

template void IcmpResponder::answer_echo<net::V4>(net::FlowPacket<net::V4>&);
template void IcmpResponder::answer_echo<net::V6>(net::FlowPacket<net::V6>&);

}  // namespace sluice::dataplane
