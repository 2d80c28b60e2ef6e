// What workers tell each other about flows that NAT split between them, and about their clients (handoff.h).
#include "dataplane/flow_handoff.h"
#include "dataplane/pipeline.h"

namespace sluice::dataplane {

using net::DropReason;
using net::FlowKey;
using net::FlowPacket;
using net::V4;
using net::V6;

template <class F>
bool Pipeline::send_stub(StubMessage::Kind kind, nat::ConnectionId id, const FlowKey<F>& key, uint16_t worker,
                         bool optional) {
  StubMessage message;
  message.kind = kind;
  message.optional = optional;
  message.owner = context_.worker;
  message.connection = id;
  message.hash = context_.tables.hasher(key);
  message.set_key(key);
  return context_.tables.rings->send(context_.worker, worker, message);
}

// Tells the worker where replies arrive that this connection lives here. Before the first packet leaves, so
// that the reply cannot overtake it: workers read messages after they took packets, before they process them.
template <class F>
bool Pipeline::place_stub(nat::ConnectionId id, const FlowKey<F>& reply, uint64_t hash) {
  const uint16_t worker = net::owner_of(hash, context_.tables.workers);
  if (!send_stub<F>(F::is_v4 ? StubMessage::Kind::AddV4 : StubMessage::Kind::AddV6, id, reply, worker)) return false;
  connections_.of<F>().connection(id).stub_worker = worker;
  return true;
}

// The packet's connection waits for the answer (flow_handoff.h).
template <class F>
void Pipeline::ask(FlowPacket<F>& packet, nat::ConnectionId id) {
  const nat::Conntrack<F>& table = connections_.of<F>();
  const uint16_t worker = table.connection(id).stub_worker;
  const FlowKey<F>& reply = table.flow(nat::flow_id(id, nat::Direction::Reply)).key;
  StubMessage message;
  message.kind = F::is_v4 ? StubMessage::Kind::AddV4 : StubMessage::Kind::AddV6;
  message.asks = true;
  message.owner = context_.worker;
  message.connection = ++questions_;
  message.hash = context_.tables.hasher(reply);
  message.set_key(reply);
  if (!context_.tables.rings->send(context_.worker, worker, message)) {
    return context_.drop(packet.mbuf, DropReason::HandoffFull);
  }
  HandoffNote note = note_of(packet, HandoffKind::Flow);
  note.neighbor |= asks_for_confirmation;
  note.question = {questions_, context_.worker};
  HandoffRings::set_hash(packet.mbuf, packet.hash);
  output_.hand_over(packet.mbuf, worker, note);
}

// The message that came before it has been read: the answer, if there is one, goes before it.
void Pipeline::answer_question(rte_mbuf* mbuf, const HandoffNote& note) {
  std::optional<uint32_t>& lost = unanswered_[note.question.asker];
  if (lost && no_later(note.question.number, *lost)) return context_.drop(mbuf, DropReason::HandoffFull);
  lost.reset();
  output_.hand_over(mbuf, note.question.asker, note);
}

// Whether it was this connection that was asked for, not one that had its key before it.
template <class F>
void Pipeline::take_answer(nat::FlowId id, const Question& question) {
  nat::Conntrack<F>& table = connections_.of<F>();
  if (!table.is_connection(id)) return;
  ++returned_[F::is_v4 ? 0 : 1];
  nat::Connection& connection = table.connection(nat::connection_of(id));
  if ((table.flow(id).flags & unconfirmed) == 0 || !no_later(connection.splice_seq, question.number)) return;
  table.flow(id).flags &= static_cast<uint8_t>(~unconfirmed);
  connection.splice_seq = 0;
}

void Pipeline::on_message(const StubMessage& message, uint16_t from) {
  const auto handle = [&]<class F>(F) {
    nat::Conntrack<F>& table = connections_.of<F>();
    const FlowKey<F>& key = message.key<F>();
    switch (message.kind) {
      case StubMessage::Kind::AddV4:
      case StubMessage::Kind::AddV6: {
        // The room of those that cannot do without.
        if (message.optional && table.counters().stubs >= table.capacity() / 4) return;
        const nat::StubStatus status = table.add_stub(key, message.hash, message.owner);
        if (status == nat::StubStatus::Ok || status == nat::StubStatus::Same || message.optional) return;
        StubMessage answer = message;
        answer.kind = F::is_v4 ? StubMessage::Kind::ClashV4 : StubMessage::Kind::ClashV6;
        if (!context_.tables.rings->send(context_.worker, from, answer) && message.asks) {
          unanswered_[from] = message.connection;
        }
        return;
      }
      case StubMessage::Kind::RemoveV4:
      case StubMessage::Kind::RemoveV6:
        // Only if the stub still speaks of the sender.
        if (const nat::FlowId id = table.find(key, message.hash);
            id != nat::no_flow && table.is_stub(id) && table.flow(id).route == message.owner) {
          table.remove_stub(key, message.hash);
        }
        return;
      case StubMessage::Kind::ClashV4:
      case StubMessage::Kind::ClashV6: {
        // The tuple towards the endpoint is taken over there (MASQ-7). The connection goes; when the client sends
        // again it gets another source port, whose replies arrive here.
        context_.counters.add(Event::StubClashes);
        const nat::FlowId id = table.find(key, message.hash);
        const bool ours = id != nat::no_flow && !table.is_stub(id) && nat::direction_of(id) == nat::Direction::Reply;
        // Who asked waits for it, though the record may have gone to another since (CT-9).
        if (ours || message.asks) clashes_.remember(message.hash, context_.now);
        if (ours) {
          table.connection(nat::connection_of(id)).stub_worker = nat::no_worker;
          close_connection<F>(nat::connection_of(id));
        }
        return;
      }
      case StubMessage::Kind::AffinityV4:
      case StubMessage::Kind::AffinityV6:
        (void)connections_.affinity<F>().remember(key.src, message.connection, {key.dst, key.dst_port, false}, 0,
                                                  context_.now);
        return;
      case StubMessage::Kind::HintV4:
      case StubMessage::Kind::HintV6:
        return take_hint<F>(message);
    }
  };
  const bool v4 = message.kind == StubMessage::Kind::AddV4 || message.kind == StubMessage::Kind::RemoveV4 ||
                  message.kind == StubMessage::Kind::ClashV4 || message.kind == StubMessage::Kind::AffinityV4 ||
                  message.kind == StubMessage::Kind::HintV4;
  if (v4) {
    handle(V4{});
  } else {
    handle(V6{});
  }
}

template bool Pipeline::send_stub<V4>(StubMessage::Kind, nat::ConnectionId, const FlowKey<V4>&, uint16_t, bool);
template bool Pipeline::send_stub<V6>(StubMessage::Kind, nat::ConnectionId, const FlowKey<V6>&, uint16_t, bool);
template bool Pipeline::place_stub<V4>(nat::ConnectionId, const FlowKey<V4>&, uint64_t);
template bool Pipeline::place_stub<V6>(nat::ConnectionId, const FlowKey<V6>&, uint64_t);
template void Pipeline::ask<V4>(FlowPacket<V4>&, nat::ConnectionId);
template void Pipeline::ask<V6>(FlowPacket<V6>&, nat::ConnectionId);
template void Pipeline::take_answer<V4>(nat::FlowId, const Question&);
template void Pipeline::take_answer<V6>(nat::FlowId, const Question&);

}  // namespace sluice::dataplane
