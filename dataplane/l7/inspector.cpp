#include "dataplane/l7/inspector.h"

#include <algorithm>

namespace sluice::l7 {

namespace {

// One worker writes it: no read-modify-write that others could see the middle of.
template <class T>
void bump(std::atomic<T>& counter, T by, std::memory_order order = std::memory_order_relaxed) {
  counter.store(counter.load(std::memory_order_relaxed) + by, order);
}

}  // namespace

struct Inspector::Match {
  const ContentRules* rules;
  ContentRules::Counter* hits;
  ContentRules::Mask* masks;
  bool ingress;
  Finding* finding;
};

int Inspector::on_match(unsigned id, unsigned long long /*from*/, unsigned long long to, unsigned /*flags*/,
                        void* context) {
  const Match& match = *static_cast<const Match*>(context);
  if (id >= match.rules->rules_.size()) {
    const ContentPart& part = match.rules->parts_[id - match.rules->rules_.size()];
    ContentRules::Mask& found = match.masks[part.combination];
    const bool known = found == part.whole;
    found |= part.bit;
    if (known || found != part.whole) return 0;
    id = part.rule;
  }
  const ContentRule& rule = match.rules->rules_[id];
  if (!(match.ingress ? rule.ingress : rule.egress)) return 0;
  bump<uint64_t>(match.hits[id], 1);
  Finding& finding = *match.finding;
  if (rule.action > finding.action) {
    finding.action = rule.action;
    finding.rules = match.rules;
    finding.rule = id;
    finding.end = to;
  }
  return rule.action == ContentAction::Drop ? 1 : 0;
}

Inspector::Inspector(uint16_t worker, uint32_t capacity)
    : worker_(worker), inspections_(std::make_unique<Inspection[]>(capacity)), capacity_(capacity) {}

bool Inspector::take_streams(const ContentRules& rules, ContentRules::Share& share, Side& side) {
  for (size_t i = 0; i < rules.engines(); ++i) {
    if (share.free[i].empty()) return false;
    side.streams[i] = share.free[i].back();
    share.free[i].pop_back();
  }
  if (!share.free_masks.empty()) {
    side.masks = share.free_masks.back();
    share.free_masks.pop_back();
    std::fill_n(side.masks, rules.combinations_, 0);
  }
  return true;
}

void Inspector::return_streams(const ContentRules& rules, ContentRules::Share& share, Side& side) {
  for (size_t i = 0; i < rules.engines(); ++i) {
    if (side.streams[i] == nullptr) continue;
    hs_reset_stream(side.streams[i], 0, nullptr, nullptr, nullptr);
    share.free[i].push_back(side.streams[i]);
    side.streams[i] = nullptr;
  }
  if (side.masks != nullptr) share.free_masks.push_back(side.masks);
  side.masks = nullptr;
}

InspectionId Inspector::begin(const ContentRules& rules, bool tcp, bool selected_replies, InspectionId chain) {
  ContentRules::Share& share = rules.share(worker_);
  InspectionId id = free_;
  if (id == no_inspection && used_ < capacity_) id = used_;
  if (id == no_inspection) {
    bump<uint64_t>(share.overloads, 1);
    return no_inspection;
  }
  Inspection& inspection = inspections_[id];
  const InspectionId next_free = inspection.next;
  inspection = {};
  for (const bool reply : {false, true}) {
    Side& side = inspection.sides[reply ? 1 : 0];
    if (!rules.wants(reply != selected_replies)) continue;
    side.left = rules.settings().depth;
    if (!tcp || take_streams(rules, share, side)) continue;
    for (Side& taken : inspection.sides) return_streams(rules, share, taken);
    inspection.next = next_free;
    bump<uint64_t>(share.overloads, 1);
    return no_inspection;
  }
  if (id == free_) {
    free_ = next_free;
  } else {
    ++used_;
  }
  inspection.rules = &rules;
  inspection.next = chain;
  inspection.selected_replies = selected_replies;
  bump<uint32_t>(share.in_use, 1);
  return id;
}

void Inspector::release(InspectionId id) {
  Inspection& inspection = inspections_[id];
  ContentRules::Share& share = inspection.rules->share(worker_);
  for (Side& side : inspection.sides) return_streams(*inspection.rules, share, side);
  inspection.rules = nullptr;
  inspection.next = free_;
  free_ = id;
  // Behind everything that was done with the rules.
  bump<uint32_t>(share.in_use, static_cast<uint32_t>(-1), std::memory_order_release);
}

void Inspector::end(InspectionId chain) {
  while (chain != no_inspection) {
    const InspectionId next = inspections_[chain].next;
    release(chain);
    chain = next;
  }
}

Finding Inspector::look(InspectionId& chain, const Segment& segment) {
  Finding finding;
  for (InspectionId* link = &chain; *link != no_inspection;) {
    const InspectionId id = *link;
    Inspection& inspection = inspections_[id];
    look(inspection, segment, finding);
    if (inspection.sides[0].left == 0 && inspection.sides[1].left == 0) {
      *link = inspection.next;
      release(id);
    } else {
      link = &inspection.next;
    }
  }
  return finding;
}

void Inspector::look(Inspection& inspection, const Segment& segment, Finding& finding) {
  Side& side = inspection.sides[segment.reply ? 1 : 0];
  if (side.left == 0) return;
  uint32_t skip = 0;
  bool again = !segment.tcp;  // looked at by itself
  if (segment.tcp) {
    const uint32_t begin = segment.seq + (segment.syn ? 1 : 0);
    const bool untouched = side.left == inspection.rules->settings().depth;
    if (!side.begun || (segment.syn && untouched)) {
      side.next = begin;
      side.begun = true;
    }
    if (segment.length == 0) return;
    const auto ahead = static_cast<int32_t>(begin - side.next);
    if (ahead > 0) {
      finding.gap = true;
      return;
    }
    again = begin + segment.length == side.next || static_cast<int32_t>(begin + segment.length - side.next) < 0;
    if (!again) skip = static_cast<uint32_t>(-ahead);
  }
  const ContentRules& rules = *inspection.rules;
  ContentRules::Share& share = rules.share(worker_);
  if (!segment.tcp) std::fill(share.datagram.begin(), share.datagram.end(), 0);
  ContentRules::Mask* const masks = segment.tcp ? side.masks : share.datagram.data();
  Match match{&rules, share.hits.get(), masks, segment.reply != inspection.selected_replies, &finding};
  const bool streamed = segment.tcp && !again;
  for (const std::span<const uint8_t> part : segment.parts) {
    if (skip >= part.size()) {
      skip -= static_cast<uint32_t>(part.size());
      continue;
    }
    const size_t size = streamed || !segment.tcp ? std::min<size_t>(part.size() - skip, side.left) : part.size();
    const auto* const data = reinterpret_cast<const char*>(part.data() + skip);
    for (size_t i = 0; i < rules.engines(); ++i) {
      if (streamed) {
        hs_scan_stream(side.streams[i], data, static_cast<unsigned>(size), 0, share.scratch, on_match, &match);
      } else {
        hs_scan(rules.engines_[i].block.get(), data, static_cast<unsigned>(size), 0, share.scratch, on_match, &match);
      }
    }
    if (streamed) side.next += static_cast<uint32_t>(part.size() - skip);
    if (streamed || !segment.tcp) side.left -= static_cast<uint32_t>(size);
    skip = 0;
    if (side.left == 0) break;
  }
  if (side.left == 0) return_streams(rules, share, side);
}

}  // namespace sluice::l7
