// A packet's life in one worker: six passes over a burst (pipeline.cpp tells them in order).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/connections.h"
#include "dataplane/context.h"
#include "dataplane/flow_events.h"
#include "dataplane/fragment.h"
#include "dataplane/icmp.h"
#include "dataplane/output.h"
#include "dataplane/reassembly.h"
#include "dataplane/resolver.h"
#include "dataplane/tunnel_errors.h"
#include "nat/snat.h"

namespace sluice::dataplane {

// Reply keys that turned out to be taken on another worker, so that the next attempt takes another port. Where one
// clash takes the place of another, the attempt asks again (flow_handoff.h), so that forgetting costs a packet.
class ClashMemory {
 public:
  void remember(uint64_t hash, nat::Millis now) {
    Entry& entry = entries_[hash % entries_.size()];
    if (entry.hash != hash && is_recent(entry, now)) forgot_ = now;
    entry = {hash, now};
  }
  void forget(uint64_t hash) { entries_[hash % entries_.size()] = {}; }
  [[nodiscard]] bool recent(uint64_t hash, nat::Millis now) const {
    const Entry& entry = entries_[hash % entries_.size()];
    return entry.hash == hash && is_recent(entry, now);
  }
  // Whether a clash was forgotten for another so short a while ago that who asked may still be on the way.
  [[nodiscard]] bool may_have_forgotten(nat::Millis now) const {
    return forgot_ != 0 && nat::millis_between(forgot_, now) < longest_way;
  }

 private:
  static constexpr int32_t memory = 60000;      // milliseconds
  static constexpr int32_t longest_way = 1000;  // milliseconds
  struct Entry {
    uint64_t hash = 0;
    nat::Millis seen = 0;  // 0: never
  };
  [[nodiscard]] static bool is_recent(const Entry& entry, nat::Millis now) {
    return entry.seen != 0 && nat::millis_between(entry.seen, now) < memory;
  }
  std::array<Entry, 256> entries_{};
  nat::Millis forgot_ = 0;  // 0: never
};

// The first packet of a TCP connection, or the answer to it.
[[nodiscard]] inline bool is_syn(const net::Packet& packet) {
  return packet.protocol == net::protocol::tcp && packet.fragment != net::FragmentKind::Later &&
         (packet.l4_header()[13] & net::tcp_flag::syn) != 0;
}

class LateBinding;

class Pipeline {
 public:
  // `resolver`, `tunnel_errors`: nullptr but for worker 0.
  Pipeline(Context& context, Output& output, IcmpResponder& icmp, Resolver* resolver, TunnelErrors* tunnel_errors,
           Connections& connections);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Must be called before any packet comes.
  void set_reassembly(Reassembly* reassembly) { reassembly_ = reassembly; }
  // Before any packet comes to an address with a listener. `connections` and `buffers`: of clients, per family. False:
  // there is no memory.
  [[nodiscard]] bool bind_late(uint32_t connections, uint32_t buffers);
  // Frames as they came from a port, at most net::burst_size. Takes ownership.
  void process_frames(rte_mbuf** frames, uint16_t count, uint16_t port);
  // Packets another worker handed over, at most net::burst_size. Takes ownership.
  void process_handed_over(rte_mbuf** packets, uint16_t count);
  // Frames that the host sent by the twins of `interfaces` (punt.h), at most net::burst_size. Takes ownership. Worker
  // 0.
  void process_from_host(rte_mbuf** frames, const uint16_t* interfaces, uint16_t count);
  // What another worker says about flows that NAT split between us.
  void on_message(const StubMessage& message, uint16_t from);
  // Ages connections, a few per call. None while has_room_for_ends() says no.
  [[nodiscard]] bool expire(unsigned budget);
  // Whether every other worker can be told of the ends of `connections` connections of either family. One that is not
  // told keeps the stub for good: whoever can wait with closing connections asks first.
  [[nodiscard]] bool has_room_for_ends(unsigned connections) const;
  [[nodiscard]] const nat::SnatCounters& snat_counters() const { return ports_.counters(); }
  // After one packet came in: what was read of it, if it got as far as its flow. Its buffer may be gone.
  template <class F>
  [[nodiscard]] const net::FlowPacket<F>* last() const {
    if constexpr (F::is_v4) {
      return burst_v4_.size() == 1 ? &burst_v4_[0] : nullptr;
    } else {
      return burst_v6_.size() == 1 ? &burst_v6_[0] : nullptr;
    }
  }
  // Removes a connection with all that hangs on it.
  template <class F>
  void close_connection(nat::ConnectionId id);

 private:
  friend class LateBinding;
  template <class F>
  using FlowBurst = net::Burst<net::FlowPacket<F>>;

  template <class F>
  [[nodiscard]] FlowBurst<F>& burst() {
    if constexpr (F::is_v4) {
      return burst_v4_;
    } else {
      return burst_v6_;
    }
  }

  template <class F>
  [[nodiscard]] typename F::Addr* destinations() {
    if constexpr (F::is_v4) {
      return destinations_v4_.data();
    } else {
      return destinations_v6_.data();
    }
  }

  template <class F>
  [[nodiscard]] FragmentTable<F>& fragments() {
    if constexpr (F::is_v4) {
      return fragments_v4_;
    } else {
      return fragments_v6_;
    }
  }
  template <class F>
  [[nodiscard]] auto& released() {
    if constexpr (F::is_v4) {
      return released_v4_;
    } else {
      return released_v6_;
    }
  }

  // What the frames of one burst have in common.
  struct Arrival {
    uint64_t mac = 0;                        // own address, in the low 48 bits as it lies in a frame
    uint16_t interface = net::no_interface;  // of untagged frames
    bool from_pod = false;                   // SPOOF-1 and SPOOF-2 hold here
    uint32_t others = 0;                     // frames that did not take the short cut
    uint64_t bytes = 0;                      // of those that did
  };

  // Pass 1
  [[nodiscard]] bool enter_plain(rte_mbuf* mbuf, Arrival& arrival);
  template <class F>
  [[nodiscard]] bool enter_plain(rte_mbuf* mbuf, const Arrival& arrival);
  template <class F>
  [[nodiscard]] static net::DropReason refusal_of_pod(const net::FlowPacket<F>& packet, const Interface& interface);
  template <class F>
  void settle_plain(net::FlowPacket<F>& packet);
  // The hash of a packet that took the short cut while there were no flows.
  template <class F>
  void ensure_hash(net::FlowPacket<F>& packet) const {
    if (packet.hash == 0) packet.hash = context_.tables.hasher(packet.key);
  }
  template <class F>
  [[nodiscard]] bool is_tunnel_endpoint(const typename F::Addr& addr) const;
  template <class F>
  [[nodiscard]] bool may_be_vxlan(const net::FlowPacket<F>& packet) const;
  template <class F>
  [[nodiscard]] bool ends_here(net::FlowPacket<F>& packet);
  [[nodiscard]] bool leave_plain_tunnel(rte_mbuf* mbuf, uint16_t interface, bool checksum_known_good,
                                        net::FlowPacket<net::V4>& packet);
  template <class F>
  [[nodiscard]] bool leave_tunnel(net::FlowPacket<F>& packet);
  template <class F>
  [[nodiscard]] bool may_gather(const net::FlowPacket<F>& fragment) const;
  template <class F>
  void gather(net::FlowPacket<F>& fragment);
  template <class F>
  [[nodiscard]] bool is_elsewhere(net::FlowPacket<F>& fragment, const DatagramKey<F>& datagram, uint64_t& hash);
  template <class F>
  void enter_inner(const net::Packet& outer);
  void classify(rte_mbuf* mbuf, uint16_t port);
  void enter_v4(net::FlowPacket<net::V4>& packet, bool checksum_known_good);
  void enter_v6(net::FlowPacket<net::V6>& packet);
  void refuse_fragment(const net::FlowPacket<net::V6>& packet, net::DropReason reason);
  template <class F>
  void enter(net::FlowPacket<F>& packet);
  template <class F>
  void enter_flow(net::FlowPacket<F>& packet);
  template <class F>
  [[nodiscard]] bool settle_fragment(net::FlowPacket<F>& packet);
  template <class F>
  void run_released();
  template <class F>
  void hand_over(const net::FlowPacket<F>& packet, uint16_t worker, HandoffKind kind);
  void take_handed_over(rte_mbuf* mbuf);
  template <class F>
  void take_flow(rte_mbuf* mbuf, const HandoffNote& note);
  template <class F>
  [[nodiscard]] bool quoted_key(const net::FlowPacket<F>& packet, net::FlowKey<F>& key) const;

  // The host: host_path.cpp
  void take_from_host(rte_mbuf* mbuf, uint16_t index);
  void send_as_framed(rte_mbuf* mbuf, uint16_t index);
  void to_host_or_drop(rte_mbuf* mbuf, uint16_t l3, uint16_t ether_type, uint16_t index, net::DropReason reason);
  [[nodiscard]] bool take_multicast(const net::FlowPacket<net::V6>& packet);
  template <class F>
  [[nodiscard]] bool leaves_as_framed(net::FlowPacket<F>& packet, NextHopId hop);
  template <class F>
  [[nodiscard]] bool end_at_host(net::FlowPacket<F>& packet, const nat::Translation<F>& change);
  template <class F>
  [[nodiscard]] bool open_to_host(net::FlowPacket<F>& packet);
  template <class F>
  [[nodiscard]] bool answers_directly(net::FlowPacket<F>& packet, nat::Flow<F>& flow);
  template <class F>
  [[nodiscard]] bool is_left_to_host(net::FlowPacket<F>& packet, nat::Flow<F>& flow);

  // Passes 2 to 5
  void run_all();
  template <class F>
  void run(FlowBurst<F>& burst);
  template <class F>
  void forward_flow(net::FlowPacket<F>& packet, nat::FlowId id);
  // The same of a packet that is not a late binding's any more.
  template <class F>
  void forward_tracked(net::FlowPacket<F>& packet, nat::FlowId id);
  template <class F>
  void look_up_routes(const FlowBurst<F>& burst, const net::Burst<uint8_t>& misses, NextHopId* hops);
  template <class F>
  void forward_misses(FlowBurst<F>& burst, const net::Burst<uint8_t>& misses);
  template <class F>
  [[nodiscard]] bool forward_plain_spliced(net::FlowPacket<F>& packet, nat::FlowId id, const Adjacency& way);
  // Short cuts: false if the packet is not for them, which then is as it was. `generation`: of the snapshot.
  template <class F>
  [[nodiscard]] bool forward_plain_flow(nat::Conntrack<F>& table, net::FlowPacket<F>& packet, nat::FlowId id,
                                        uint32_t generation);
  template <class F>
  [[nodiscard]] bool forward_plain(net::FlowPacket<F>& packet, NextHopId id);
  [[nodiscard]] const Adjacency* group_member(NextHopId id, uint64_t hash);
  template <class F>
  void forward_miss(net::FlowPacket<F>& packet, NextHopId hop);
  // Checks TTL and size, translates if `flow` is given, sends.
  template <class F>
  void forward(net::FlowPacket<F>& packet, const Egress& egress, const nat::Translation<F>* change);
  template <class F>
  [[nodiscard]] bool ends_before_it_opens(net::FlowPacket<F>& packet, const Egress& egress);
  template <class F>
  void refuse_failed(net::FlowPacket<F>& packet);
  template <class F>
  void clamp_segments(net::FlowPacket<F>& packet, const Egress& egress);
  template <class F>
  void refuse(net::FlowPacket<F>& packet, const Egress& egress);
  template <class F>
  [[nodiscard]] Egress find_egress(nat::FlowId id, uint64_t hash) const;
  template <class F>
  [[nodiscard]] Egress flow_egress(nat::FlowId id, uint64_t hash);
  template <class F>
  [[nodiscard]] bool still_valid(nat::FlowId id);

  // Cold: open_flow.cpp
  // Whether a new flow's source is replaced: for its service (MASQ-1 to MASQ-4), or because it leaves the pods'
  // networks (MASQ-8), which may have an address and ports of its own; Mapped: by the mapping of its source (MASQ-13);
  // Inbound: it is not, but the destination is that of a mapping.
  enum class Masquerade : uint8_t { No, Service, Outgoing, Mapped, Inbound };
  template <class F>
  void expect_openings(FlowBurst<F>& burst, const net::Burst<uint8_t>& misses, const NextHopId* hops);
  template <class F>
  void open_to_service(net::FlowPacket<F>& packet, const nat::Frontend<F>& frontend);
  // The endpoint that the packet gets there, `kept` if it may. Neither drops nor rejects it.
  template <class F>
  [[nodiscard]] nat::ServiceChoice<F> choose(const net::FlowPacket<F>& packet, const nat::Frontend<F>& frontend,
                                             const nat::Backend<F>* kept) const;
  // Opens a flow of a choice to forward.
  template <class F>
  [[nodiscard]] bool is_of_host(const net::FlowPacket<F>& packet, const nat::Backend<F>& backend) const;
  template <class F>
  void open_chosen(net::FlowPacket<F>& packet, const nat::ServicePort<F>& service, const nat::ServiceChoice<F>& choice);
  template <class F>
  void open_outgoing(net::FlowPacket<F>& packet, const Egress& egress);
  template <class F>
  [[nodiscard]] bool wants_tracking(const net::FlowPacket<F>& packet) const;
  template <class F>
  void open_untranslated(net::FlowPacket<F>& packet, const Egress& egress);
  template <class F>
  void open(net::FlowPacket<F>& packet, const Egress& egress, const typename F::Addr& destination,
            net::be16 destination_port, Masquerade masquerade, const nat::ServicePort<F>* service);
  template <class F>
  [[nodiscard]] nat::Opened make_entry(const net::FlowPacket<F>& packet, const net::FlowKey<F>& reply,
                                       uint64_t reply_hash);
  template <class F>
  [[nodiscard]] bool place_stub(nat::ConnectionId id, const net::FlowKey<F>& reply, uint64_t hash);
  // Questions of workers whether a tuple is free: messages.cpp
  template <class F>
  void ask(net::FlowPacket<F>& packet, nat::ConnectionId id);
  void answer_question(rte_mbuf* mbuf, const HandoffNote& note);
  template <class F>
  void take_answer(nat::FlowId id, const Question& question);
  // SVC-43: of a packet that opens a connection.
  template <class F>
  void keep_affinity(const typename F::Addr& client, const nat::ServicePort<F>& service,
                     const nat::Backend<F>& backend);
  // Endpoint-independent mapping: mapping.cpp
  template <class F>
  [[nodiscard]] static bool has_port(const net::FlowPacket<F>& packet);
  template <class F>
  [[nodiscard]] bool keeps_mapping(const net::FlowPacket<F>& packet) const;
  template <class F>
  [[nodiscard]] nat::MappingId map_endpoint(const net::FlowKey<F>& key, const typename F::Addr& outside);
  template <class F>
  [[nodiscard]] nat::MappingId move_mapping(nat::MappingId id, const net::FlowKey<F>& key,
                                            const net::FlowKey<F>& reply);
  template <class F>
  [[nodiscard]] bool is_unmapped(const net::FlowKey<F>& key, const typename F::Addr& outside, net::be16 port) const;
  template <class F>
  [[nodiscard]] std::optional<net::be16> free_port(const net::FlowKey<F>& key, const typename F::Addr& outside);
  template <class F>
  [[nodiscard]] uint64_t port_space(const typename F::Addr& outside, uint8_t protocol) const;
  template <class F>
  void close_mapping(nat::MappingId id);
  template <class F>
  void release_mapping(nat::ConnectionId id);
  template <class F>
  void expire_mappings(unsigned budget);
  // To the ports of mappings: mapped_port.cpp
  template <class F>
  [[nodiscard]] bool may_be_mapped(const net::FlowPacket<F>& packet) const;
  template <class F>
  [[nodiscard]] bool is_to_turn_back(const net::FlowPacket<F>& packet) const;
  template <class F>
  [[nodiscard]] uint16_t mapped_port_worker(const net::FlowPacket<F>& packet) const;
  template <class F>
  [[nodiscard]] bool take_mapped(net::FlowPacket<F>& packet);
  template <class F>
  [[nodiscard]] bool admits(nat::MappingId id, const net::FlowPacket<F>& packet) const;
  template <class F>
  void turn_back(net::FlowPacket<F>& packet, const nat::Rewrite<F>& rewrite);
  template <class F>
  void turn_back_error(net::FlowPacket<F>& packet);
  void turn_back_errors();
  // Without a record: stateless.cpp
  template <class F>
  [[nodiscard]] bool may_end_stateless(const net::FlowPacket<F>& packet) const;
  template <class F>
  [[nodiscard]] const nat::Hint<F>* find_hint(const net::FlowPacket<F>& packet);
  template <class F>
  void forward_stateless(net::FlowPacket<F>& packet, const Egress& egress, const typename F::Addr& endpoint,
                         net::be16 endpoint_port);
  template <class F>
  [[nodiscard]] bool forward_reply_by_hint(net::FlowPacket<F>& packet, const Egress& egress);
  template <class F>
  void place_hints(const net::FlowKey<F>& original, uint64_t hash, const typename F::Addr& endpoint,
                   net::be16 endpoint_port, bool proven);
  template <class F>
  void take_hint(const StubMessage& message);
  template <class F>
  void leave_hints(nat::ConnectionId id);

  // What is looked for in the bytes of connections: inspect.cpp
  // Whether a packet is of a pod that is looked into.
  template <class F>
  [[nodiscard]] bool is_looked_into(const net::FlowPacket<F>& packet) const;
  // Whether a connection must not pass if nobody can look into it.
  template <class F>
  [[nodiscard]] bool must_be_looked_into(const net::FlowPacket<F>& packet, const nat::ServicePort<F>* service,
                                         const typename F::Addr& destination) const;
  // For a connection that has its rewrites, before its first packet is tracked. False: there is no room to look into
  // it, and it must not pass without.
  template <class F>
  [[nodiscard]] bool begin_inspection(nat::ConnectionId id, const nat::ServicePort<F>* service);
  // The handshake of one that is bound late, whose endpoint answered with this number: what the client itself said
  // begins at `client_first`. Both as each of them counts.
  template <class F>
  void inspect_spliced(nat::ConnectionId id, uint32_t endpoint_isn, uint32_t client_first);
  template <class F>
  [[nodiscard]] bool may_be_inspected(nat::ConnectionId id, const nat::ServicePort<F>* service) const;
  // The same as begin_inspection() of a connection that begins with a SYN, for when both ends have agreed to it.
  template <class F>
  void put_off_inspection(nat::ConnectionId id, const nat::ServicePort<F>* service);
  // Now they have. False: as of begin_inspection().
  template <class F>
  [[nodiscard]] bool begin_put_off(nat::ConnectionId id);
  // Of a connection that is, or was, looked into: a SYN of its client behind the handshake. It may be the beginning of
  // another connection (CT-5), which is looked into from its own beginning.
  template <class F>
  [[nodiscard]] bool begins_anew(const net::FlowPacket<F>& packet, nat::FlowId id) const;
  // Of a tracked packet. False: it was dropped, and the connection may be gone.
  template <class F>
  [[nodiscard]] bool passes_inspection(net::FlowPacket<F>& packet, nat::FlowId id);
  template <class F>
  void end_inspection(nat::ConnectionId id);
  // Sends a copy of the packet to the collector.
  template <class F>
  void mirror(const net::FlowPacket<F>& packet);
  template <class Outer>
  void mirror(const net::Packet& packet, uint8_t protocol, uint64_t hash);

  template <class F>
  void to_service_address(net::FlowPacket<F>& packet);
  template <class F>
  void to_local_address(net::FlowPacket<F>& packet);
  template <class F>
  void reject(net::FlowPacket<F>& packet, net::DropReason reason);
  template <class F>
  void forward_icmp_error(net::FlowPacket<F>& packet);
  template <class F>
  [[nodiscard]] nat::ClientKind client_kind(const net::FlowPacket<F>& packet) const;
  // Direct server return: direct_return.cpp
  template <class F>
  [[nodiscard]] Egress direct_egress(const nat::Backend<F>& backend, net::be16 port, uint64_t hash) const;
  template <class F>
  [[nodiscard]] Egress direct_egress(const nat::Flow<F>& flow, uint64_t hash) const;
  template <class F>
  void open_direct(net::FlowPacket<F>& packet, const Egress& egress, const nat::Backend<F>& backend,
                   const nat::ServicePort<F>& service);
  template <class F>
  void relay_error(net::FlowPacket<F>& packet, nat::FlowId id);
  template <class F>
  [[nodiscard]] const typename F::Addr& masquerade_address(const Egress& egress) const;
  template <class F>
  void reject_exhausted(net::FlowPacket<F>& packet, bool to_service);
  template <class F>
  void forget(nat::ConnectionId id);
  // Tells those who watch of a connection that opens or ends.
  template <class F>
  void note(FlowEvent::Kind kind, nat::ConnectionId id) {
    if (context_.flow_events != nullptr) [[unlikely]]
      context_.flow_events->put({kind, record_of(connections_.of<F>(), id, context_)});
  }
  template <class F>
  [[nodiscard]] bool send_stub(StubMessage::Kind kind, nat::ConnectionId id, const net::FlowKey<F>& key,
                               uint16_t worker, bool optional = false);

  Context& context_;
  Output& output_;
  IcmpResponder& icmp_;
  Resolver* resolver_;
  TunnelErrors* tunnel_errors_;
  Reassembly* reassembly_ = nullptr;
  Connections& connections_;
  nat::PortAllocator ports_;
  std::unique_ptr<LateBinding> late_;
  ClashMemory clashes_;
  uint32_t questions_ = 0;                           // the number of the last one asked
  std::vector<std::optional<uint32_t>> unanswered_;  // by asker: its last question whose clash it could not be told of
  std::array<uint32_t, 2> returned_{};               // IPv4, IPv6: packets of the burst that asked and have a flow
  FragmentTable<net::V4> fragments_v4_;
  FragmentTable<net::V6> fragments_v6_;
  // Fragments whose first one is in the present burst.
  net::Burst<net::FlowPacket<net::V4>, FragmentTable<net::V4>::most_released> released_v4_;
  net::Burst<net::FlowPacket<net::V6>, FragmentTable<net::V6>::most_released> released_v6_;
  FlowBurst<net::V4> burst_v4_;
  FlowBurst<net::V6> burst_v6_;
  // To look routes up by; here, because making them costs more than filling them.
  std::array<net::Ipv4Addr, net::burst_size> destinations_v4_;
  std::array<net::Ipv6Addr, net::burst_size> destinations_v6_;
  // Of the present burst:
  bool without_flows_ = false;  // nothing was in the connection tables at its beginning
  bool only_plain_ = false;     // all of it came by the short cut
  bool plain_transit_ = false;  // plain packets without a flow need nothing but their route
  net::be16 vxlan_port_;        // of the tunnels that end here
};

}  // namespace sluice::dataplane
