// Where the answers of an endpoint end on a connection whose next request may go elsewhere. Their heads are read as
// they pass, and chunked bodies; of a body of known length nothing is, so that its packets take the short cut.
#include <algorithm>

#include "dataplane/late_binding.h"
#include "dataplane/pipeline.h"

namespace sluice::dataplane {

using nat::Direction;
using nat::seq_before;
using net::DropReason;
using net::FlowPacket;
using net::V4;
using net::V6;

template <class F>
void LateBinding::expect_answer(Late<F>& late, const l7::Decision& decision, bool fresh) {
  const bool read = decision.answers != l7::AnswerKind::Unread;
  if (fresh) {
    late.answers = {};
    late.reads_answers = read;
  } else if (read != late.reads_answers) {
    late.reads_answers = true;
    return late.answers.lose();
  }
  if (read) late.answers.expect(decision.answers == l7::AnswerKind::Head, decision.upgrade);
}

// Bytes that nobody has asked for are no answer, and nobody knows what they are the beginning of.
template <class F>
void LateBinding::catch_up(Late<F>& late) const {
  if (late.state != LateState::Passing || !late.reads_answers || late.answers.reads()) return;
  const uint32_t said = windows(late).of(Direction::Reply).end;
  if (!seq_before(late.heard, said)) return;
  const uint32_t missed = said - late.heard;
  late.heard = said;
  if (late.answers.skippable() < missed) return late.answers.lose();
  late.answers.pass(missed);
}

template <class F>
bool LateBinding::follow(Late<F>& late, const FlowPacket<F>& packet, const Segment& segment) {
  // What the connection table refuses nobody hears.
  if (!is_tracked(late, Direction::Reply, segment)) return true;
  const uint32_t seq = segment.seq + pipeline_.connections_.of<F>().connection(late.connection).splice_seq;
  if (seq_before(late.heard, seq)) {
    const uint32_t gap = seq - late.heard;
    if (late.answers.skippable() < gap) {
      // A head is short: it comes again soon. Of a body more may be on its way than should be sent twice.
      if (late.answers.within_head()) return false;
      late.answers.lose();
      return true;
    }
    late.answers.pass(gap);
    late.heard = seq;
  }
  uint32_t skip = late.heard - seq;
  if (skip >= segment.length) return true;
  uint32_t left = segment.length - skip;
  if (late.answers.skippable() >= left) {
    late.answers.pass(left);
    late.heard += left;
    return true;
  }
  if (!checksum_good(packet)) return true;  // nor does the client take it
  late.heard += left;
  skip += segment.offset;
  for (const rte_mbuf* part = packet.mbuf; part != nullptr && left != 0; part = part->next) {
    const uint32_t before = std::min<uint32_t>(skip, part->data_len);
    const uint32_t size = std::min<uint32_t>(part->data_len - before, left);
    if (size != 0) late.answers.read({rte_pktmbuf_mtod_offset(part, const uint8_t*, before), size});
    skip -= before;
    left -= size;
  }
  // Whatever the two speak now goes between them as it is.
  if (late.answers.switched()) late.watched = false;
  return true;
}

template <class F>
void LateBinding::followed(LateId id) {
  Late<F>& late = table<F>()[id];
  const bool switched = late.answers.switched();
  const bool empty = late.buffer == no_late || (late.stream.in_order().empty() && !late.fin_taken);
  if (switched && empty && !late.owes()) return release<F>(id);
  if (late.buffer != no_late && (switched || !late.owes())) return consider<F>(id);
  mark_busy<F>(id);
}

template void LateBinding::expect_answer<V4>(Late<V4>&, const l7::Decision&, bool);
template void LateBinding::expect_answer<V6>(Late<V6>&, const l7::Decision&, bool);
template void LateBinding::catch_up<V4>(Late<V4>&) const;
template void LateBinding::catch_up<V6>(Late<V6>&) const;
template bool LateBinding::follow<V4>(Late<V4>&, const FlowPacket<V4>&, const Segment&);
template bool LateBinding::follow<V6>(Late<V6>&, const FlowPacket<V6>&, const Segment&);
template void LateBinding::followed<V4>(LateId);
template void LateBinding::followed<V6>(LateId);

}  // namespace sluice::dataplane
