// Looks into the connections of one worker for what ContentRules look for: the bytes of each direction in order, up to
// a depth, whatever segments they come in. A datagram is looked at by itself.
//
// Only what comes in order is looked at. A segment behind a gap must wait for its sender to repeat it (`gap`), so that
// what the endpoint reads is what was looked at; so must data with a SYN, which few take. What is sent again is looked
// at by itself, because it may not be the same as the first time: for what ends connections, and has no place in the
// stream.
//
// A connection can be several policies' matter (the service's, the pod's, the client pod's): its inspections are a
// chain. All memory is taken at the start.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/l7/content_rules.h"

namespace sluice::l7 {

using InspectionId = uint32_t;
inline constexpr InspectionId no_inspection = 0xffffffff;

// One packet's payload. Numbers in host byte order.
struct Segment {
  bool reply = false;  // of the connection's reply direction
  bool tcp = false;    // false: a datagram
  bool syn = false;
  bool acks = false;
  uint32_t seq = 0;
  uint32_t ack = 0;
  uint32_t length = 0;  // bytes, of all parts
  std::span<const std::span<const uint8_t>> parts;
};

struct Finding {
  ContentAction action = ContentAction::None;
  bool gap = false;                     // bytes before these are missing, or these are too early
  bool overload = false;                // there is no room to look, and these must not pass without
  const ContentRules* rules = nullptr;  // unless the action is None
  uint32_t rule = 0;                    // index
  uint64_t end = 0;                     // of the match, counted from the first byte looked at
  int64_t at = 0;                       // so counted the first byte of the packet
  uint32_t next = 0;                    // of TCP: the number of the first byte that has not passed before
};

class Inspector {
 public:
  Inspector(uint16_t worker, uint32_t capacity);

  // A connection is to be looked into; before its first packet is. `selected_replies`: what the rules are for is the
  // end that the connection was opened to. The new inspection stands before `chain`. no_inspection: no room, counted.
  [[nodiscard]] InspectionId begin(const ContentRules& rules, bool selected_replies, InspectionId chain);
  // Of the whole chain: nobody looks any more.
  void end(InspectionId chain);
  // What is found in a packet. Inspections that have seen all they are to see leave the chain; it is over when `chain`
  // becomes no_inspection.
  [[nodiscard]] Finding look(InspectionId& chain, const Segment& segment);

  // Control thread, with memory of its own, and no counter knows of it: all rules that are found in the first bytes of
  // one direction of a connection, or in a datagram, each where it is found first.
  [[nodiscard]] static std::vector<Finding> search(const ContentRules& rules, bool ingress, bool tcp,
                                                   std::span<const uint8_t> bytes);

 private:
  // Of one direction: by `reply`.
  struct Side {
    hs_stream_t* streams[ContentRules::most_engines] = {};
    ContentRules::Mask* masks = nullptr;
    uint32_t first = 0;    // sequence number of the first byte that is looked at
    uint32_t next = 0;     // and of the next one
    uint32_t left = 0;     // bytes that are still to be looked at
    bool begun = false;    // `next` is known
    bool started = false;  // bytes were looked at
  };
  struct Inspection {
    const ContentRules* rules = nullptr;
    Side sides[2];
    InspectionId next = no_inspection;  // of the chain, or of the free list
    bool selected_replies = false;
  };

  [[nodiscard]] static bool take_streams(const ContentRules& rules, ContentRules::Share& share, Side& side);
  static void return_streams(const ContentRules& rules, ContentRules::Share& share, Side& side);
  void release(InspectionId id);
  void look(Inspection& inspection, const Segment& segment, Finding& finding);
  static void follow_handshake(Inspection& inspection, const Segment& segment);
  void look_at_datagram(Inspection& inspection, Side& side, const Segment& segment, Finding& finding);
  // `skip`: bytes of it that were looked at before.
  void look_at_stream(Inspection& inspection, Side& side, const Segment& segment, uint32_t skip, Finding& finding);
  void look_again(Inspection& inspection, Side& side, const Segment& segment, Finding& finding);
  // At most `most` bytes behind the first `skip`, in one piece.
  [[nodiscard]] std::span<const uint8_t> in_one(const Segment& segment, size_t skip, size_t most) const;
  // What one scan has at hand when something matches.
  struct Match;
  static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void* context);
  struct Search;
  static int on_found(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void* context);

  uint16_t worker_;
  std::unique_ptr<Inspection[]> inspections_;
  std::unique_ptr<uint8_t[]> copy_;  // of a payload in several parts
  uint32_t capacity_;
  uint32_t used_ = 0;
  InspectionId free_ = no_inspection;
};

}  // namespace sluice::l7
