// Delayed binding: the router takes connections to addresses with a listener itself, reads until the listener has
// decided, and connects the endpoint with the client's own sequence numbers. From then on it translates the endpoint's
// (l7/splice.h); the connection is an ordinary flow with flow_flag::spliced.
//
// A SYN costs no memory (l7/syn_cookie.h). The ACK that answers the cookie makes a record (late_table.h); what the
// client sends is put in order, acknowledged and shown to the listener. Once it decides, a SYN that looks as if the
// client had sent it goes the way of any first packet to the target's service port, so endpoints, policies, masquerade
// and ports are as everywhere. What was acknowledged to the client is owed to the endpoint: it is sent, and sent again,
// until the endpoint has acknowledged it. Then the buffer is free, and the record too unless later requests may go
// elsewhere.
//
// Services whose connections are looked into are bound so as well, at once, while SYNs come faster than their entries
// could stay (late_pressure.cpp).
//
//   late_binding.cpp   the client: SYN, ACK, bytes
//   late_pressure.cpp  when it stands in for services without a listener
//   late_answer.cpp    what the router itself says to it
//   late_endpoint.cpp  the endpoint: SYN, failures, the end
//   late_owed.cpp      what is owed to the endpoint
//   late_request.cpp   what may go to the endpoint: the first request, and every later one
//   late_follow.cpp    where its answers end
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>

#include "dataplane/l7/syn_cookie.h"
#include "dataplane/late_table.h"
#include "dataplane/net/packet.h"
#include "dataplane/own_tcp.h"
#include "nat/service.h"

namespace sluice::dataplane {

class Pipeline;

class LateBinding {
 public:
  // nullptr: no memory. Sizing as in Pipeline::bind_late.
  [[nodiscard]] static std::unique_ptr<LateBinding> create(Pipeline& pipeline, uint32_t connections, uint32_t buffers);

  // Whether a packet of a connection without a flow is for on_miss() although no listener is there: a SYN whose entry
  // would not last, or what answers the cookie of one. Of a service that is looked into.
  template <class F>
  [[nodiscard]] bool stands_in(const net::FlowPacket<F>& packet, const nat::Frontend<F>& frontend);
  // A packet to a frontend with a listener, or that it stands in for, of a connection without a flow. Takes ownership.
  template <class F>
  void on_miss(net::FlowPacket<F>& packet, const nat::Frontend<F>& frontend);
  // A packet of a flow that is spliced. True: it was taken. False: it goes on as any packet of its flow.
  template <class F>
  [[nodiscard]] bool on_hit(net::FlowPacket<F>& packet, nat::FlowId id);
  // The endpoint of a flow that is being connected is reported unreachable. True: that has been seen to.
  template <class F>
  [[nodiscard]] bool on_unreachable(nat::FlowId quoted);
  // A router says that a segment with this number is more than `mtu` bytes long; `quoted`: the flow that answers it.
  template <class F>
  void on_too_big(nat::FlowId quoted, uint32_t mtu, uint32_t seq);
  // Of a flow that on_hit() has opened and that is not tracked yet.
  template <class F>
  void on_opened(nat::ConnectionId id);
  // Whether the flow that is being opened is one of these: without an entry it must not go on.
  [[nodiscard]] bool opening() const { return opening_ != no_late; }
  // Nothing of the flow passes any more: what was found in it is not allowed.
  template <class F>
  void on_blocked(nat::ConnectionId id);
  // The flow is about to be removed from the connection table.
  template <class F>
  void on_closed(nat::ConnectionId id);
  // Timers, a few per call.
  void tick(unsigned budget);

 private:
  // What is read of a segment; host byte order.
  struct Segment {
    uint8_t flags = 0;
    uint32_t seq = 0;
    uint32_t ack = 0;
    uint16_t window = 0;
    uint32_t length = 0;  // bytes of data
    uint32_t offset = 0;  // of the data in the mbuf
    std::span<const uint8_t> options;
    std::optional<l7::Timestamp> timestamp;

    [[nodiscard]] bool has(uint8_t flag) const { return (flags & flag) != 0; }
    [[nodiscard]] uint32_t end() const { return seq + length; }
  };
  // What the endpoints of a service port turned out not to do. By ServicePort::id; a new one takes an old one's place.
  struct Profile {
    uint32_t service = nat::no_service;
    uint16_t mss = 0xffff;  // the least of them
    bool timestamps = true;
  };
  // Of one family: whether SYNs to services that are looked into get cookies.
  struct Pressure {
    bool on = false;
    bool used = false;      // `last` is a time
    nat::Millis since = 0;  // when SYNs were counted from
    nat::Millis last = 0;   // when one got a cookie
    uint32_t syns = 0;
  };

  explicit LateBinding(Pipeline& pipeline);

  // --- late_binding.cpp
  template <class F>
  [[nodiscard]] LateTable<F>& table() const {
    if constexpr (F::is_v4) {
      return *v4_;
    } else {
      return *v6_;
    }
  }
  template <class F>
  [[nodiscard]] static std::optional<Segment> read(const net::FlowPacket<F>& packet);
  template <class F>
  [[nodiscard]] static bool checksum_good(const net::FlowPacket<F>& packet);
  // The frontend that the client came to, if it still has a listener; otherwise nullptr.
  template <class F>
  [[nodiscard]] const nat::Frontend<F>* frontend_of(const Late<F>& late) const;
  // The same, or the one whose own endpoints the client gets.
  template <class F>
  [[nodiscard]] const nat::Frontend<F>* came_to(const Late<F>& late) const;
  template <class F>
  [[nodiscard]] static l7::TcpLimits limits_of(const nat::ServicePort<F>& service);
  // How long a head may take from its first byte on.
  template <class F>
  [[nodiscard]] nat::Millis time_for_head(const Late<F>& late) const;
  template <class F>
  void answer_syn(const net::FlowPacket<F>& packet, const Segment& segment, const nat::Frontend<F>& frontend);
  template <class F>
  [[nodiscard]] LateId begin(const net::FlowPacket<F>& packet, const Segment& segment, bool listens);
  template <class F>
  void refuse_ack(const net::FlowPacket<F>& packet, const Segment& segment, bool listens);
  // Whether it echoes what the router told this client a moment ago.
  template <class F>
  [[nodiscard]] bool is_recent(const net::FlowKey<F>& key, const l7::Timestamp& timestamp) const;
  // Segments of a client that are not for an endpoint yet, or not any more. The caller frees the packet.
  template <class F>
  void from_client(LateId id, const net::FlowPacket<F>& packet, const Segment& segment);
  template <class F>
  [[nodiscard]] bool note_client(Late<F>& late, const Segment& segment, uint32_t next);
  // Bytes that it may send from next_in() on.
  template <class F>
  [[nodiscard]] static uint32_t room(const Late<F>& late);
  template <class F>
  [[nodiscard]] static bool is_acceptable(const Late<F>& late, const Segment& segment);
  template <class F>
  [[nodiscard]] bool is_begun_anew(const Late<F>& late, const Segment& segment) const;
  template <class F>
  void challenge(Late<F>& late);
  template <class F>
  void collect(LateId id, const net::FlowPacket<F>& packet, const Segment& segment);
  template <class F>
  void collect_answer_ack(LateId id, const Segment& segment);
  // Listener::greeting, and once more if it was lost. False: the time for the head is over.
  template <class F>
  bool greet(LateId id);
  template <class F>
  [[nodiscard]] l7::Bytes greeting_of(const Late<F>& late) const;
  // The client has not acknowledged it, and got nothing else.
  template <class F>
  [[nodiscard]] static bool is_greeting_owed(const Late<F>& late);
  template <class F>
  [[nodiscard]] bool need_buffer(LateId id);
  template <class F>
  [[nodiscard]] bool give_up(LateId oldest);
  template <class F>
  void acknowledge(const Late<F>& late);
  template <class F>
  void to_client(const Late<F>& late, uint8_t flags, uint32_t seq, std::span<const uint8_t> data);
  // Number of what the client has sent next, and of what it gets next.
  template <class F>
  [[nodiscard]] static uint32_t next_in(const Late<F>& late);
  template <class F>
  [[nodiscard]] uint32_t next_out(const Late<F>& late) const;
  template <class F>
  [[nodiscard]] uint32_t clock(const Late<F>& late) const;
  // Ends the connection with `bytes`, which are copied; without any in order.
  template <class F>
  void answer(LateId id, l7::Bytes bytes);
  template <class F>
  void send_answer(Late<F>& late, bool probe);
  template <class F>
  void reset(LateId id);
  template <class F>
  void on_timer(LateId id);

  // --- late_pressure.cpp
  template <class F>
  [[nodiscard]] Pressure& pressure() {
    return pressure_[F::is_v4 ? 0 : 1];
  }
  template <class F>
  [[nodiscard]] bool is_pressed();
  template <class F>
  [[nodiscard]] bool may_answer_cookie(const net::FlowPacket<F>& packet, const Segment& segment);
  // To an endpoint of the service that the client came to, whatever it says. False: the record is gone.
  template <class F>
  [[nodiscard]] bool bind_at_once(LateId id);
  // Forgets what is not in order.
  template <class F>
  void drop_buffer(LateId id);

  // --- late_endpoint.cpp
  template <class F>
  void connect(LateId id);
  template <class F>
  void try_endpoint(LateId id);
  // `failure`: of the one before.
  template <class F>
  void next_endpoint(LateId id, l7::Failure failure);
  template <class F>
  void unavailable(LateId id);
  // Its options are options_.
  template <class F>
  [[nodiscard]] OwnSegment make_syn(const Late<F>& late);
  template <class F>
  [[nodiscard]] OwnSegment make_ack(const Late<F>& late, uint32_t seq);
  template <class F>
  void send_syn(LateId id);
  template <class F>
  void from_endpoint(LateId id, net::FlowPacket<F>& packet, const Segment& segment);
  template <class F>
  void established(LateId id, const Segment& segment);
  template <class F>
  void owe(LateId id);
  template <class F>
  void send_owed(LateId id);
  template <class F>
  void note_acknowledgement(LateId id, Late<F>& late, const Segment& segment);
  template <class F>
  void settle(LateId id);
  template <class F>
  [[nodiscard]] nat::TcpSegment as_tracked(const Late<F>& late, nat::Direction direction, const Segment& segment) const;
  // Whether it fits the windows of a connection that is spliced (CT-10), so that something may be learnt from it.
  template <class F>
  [[nodiscard]] bool is_tracked(const Late<F>& late, nat::Direction direction, const Segment& segment) const;
  // The segment as the client's: tracked, translated, sent. It may be the end of the flow, and of its record.
  template <class F>
  void as_client(nat::ConnectionId connection, const Late<F>& late, const OwnSegment& segment);
  // Whether the record is still this flow's, spliced.
  template <class F>
  [[nodiscard]] bool is_of(LateId id, nat::ConnectionId connection) const;
  template <class F>
  void release(LateId id);
  template <class F>
  void hang_up(LateId id);
  template <class F>
  [[nodiscard]] nat::TcpWindows windows(const Late<F>& late) const;
  // Tells the flow which of its packets concern the record.
  template <class F>
  void mark(LateId id);
  template <class F>
  void mark_busy(LateId id);
  // The greatest MSS that this client may be told, whatever the endpoints take.
  template <class F>
  [[nodiscard]] uint16_t own_mss(const net::FlowKey<F>& key, uint64_t hash, const l7::TcpLimits& limits) const;
  // `told`: to the client, of MSS.
  void learn(uint32_t service, const l7::TcpOffer& offer, bool timestamps, uint16_t told);
  [[nodiscard]] const Profile* known_profile(uint32_t service) const {
    const Profile& found = profiles_[service % profiles_.size()];
    return found.service == service ? &found : nullptr;
  }

  // --- late_request.cpp
  template <class F>
  void consider(LateId id);
  // Of the head at the beginning of what is not approved. False: it waits, or the record is gone.
  template <class F>
  [[nodiscard]] bool decide(LateId id, l7::Bytes rest);
  template <class F>
  static void wait_behind_answers(Late<F>& late);
  // Of a body whose end nobody can find.
  template <class F>
  void refuse_body(LateId id);
  template <class F>
  [[nodiscard]] bool seems_finished(const Late<F>& late) const;
  template <class F>
  [[nodiscard]] bool response_finished(const Late<F>& late) const;
  template <class F>
  [[nodiscard]] bool is_same_endpoint(const Late<F>& late, l7::TargetId target) const;
  // A segment with data of a spliced connection whose later requests are read. False: it passes as it is.
  template <class F>
  [[nodiscard]] bool watch(LateId id, net::FlowPacket<F>& packet, const Segment& segment);
  // Where a connection is in what is asked and answered on it.
  struct Exchange {
    l7::Body body;
    l7::Answers answers;
    bool begins = false;  // a request has begun
  };
  // Moves `now` over what of `data` may pass. How many bytes; the rest begins a head that must be collected.
  template <class F>
  [[nodiscard]] uint32_t pass_over(const Late<F>& late, Exchange& now, l7::Bytes data) const;
  template <class F>
  [[nodiscard]] bool from_spliced_client(LateId id, net::FlowPacket<F>& packet, const Segment& segment);

  // --- late_follow.cpp
  // Of a request that may go to the endpoint now. `fresh`: it is the first that this endpoint gets.
  template <class F>
  void expect_answer(Late<F>& late, const l7::Decision& decision, bool fresh);
  // Reads a segment of the endpoint. False: it must not pass before what is missing in front of it.
  template <class F>
  [[nodiscard]] bool follow(Late<F>& late, const net::FlowPacket<F>& packet, const Segment& segment);
  // Behind a segment that was read: what waited for it goes on.
  template <class F>
  void followed(LateId id);
  // What passed unread is taken off the answer that it belongs to.
  template <class F>
  void catch_up(Late<F>& late) const;
  template <class F>
  [[nodiscard]] static bool reads(const Late<F>& late) {
    return late.reads_answers && late.watched && late.answers.reads();
  }
  // It is known where the last answer ends.
  template <class F>
  [[nodiscard]] static bool is_certain(const Late<F>& late) {
    return late.reads_answers && !late.answers.lost();
  }

  Pipeline& pipeline_;
  std::unique_ptr<LateTable<net::V4>> v4_;
  std::unique_ptr<LateTable<net::V6>> v6_;
  l7::SynCookies cookies_;
  LateId opening_ = no_late;
  std::array<Profile, 64> profiles_{};
  std::array<Pressure, 2> pressure_{};  // IPv4, IPv6
  std::array<uint8_t, l7::most_options> options_{};

  // Milliseconds.
  static constexpr nat::Millis head_time = 10'000;  // where the listener says nothing
  static constexpr nat::Millis moment = 10'000;     // for which what was told a client is fresh
  static constexpr nat::Millis answer_retry = 500;
  static constexpr nat::Millis greeting_pause = 50;  // of a client whose bytes decide nothing
  static constexpr nat::Millis challenge_pause = 500;
  static constexpr nat::Millis connect_retry = 1'000;  // RFC 6298 section 2.1
  static constexpr nat::Millis owed_retry = 300;       // at least
  static constexpr uint8_t initial_flight = 10;        // segments, RFC 6928
  static constexpr uint8_t connect_tries = 2;          // beside the first
  static constexpr uint8_t owed_tries = 8;
  static constexpr uint8_t probe_tries = 4;          // of who answers with a closed window
  static constexpr nat::Millis owed_time = 120'000;  // without any progress
  static constexpr nat::Millis response_time = 60'000;
  static constexpr nat::Millis pipeline_pause = 1'000;  // without a word of the endpoint
};

}  // namespace sluice::dataplane
