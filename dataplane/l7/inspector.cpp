#include "dataplane/l7/inspector.h"

#include <algorithm>

namespace sluice::l7 {

namespace {

constexpr size_t most_payload = 65535;  // of a packet: its length has 16 bits

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
  bool again;  // these bytes passed before
  Finding* finding;
  int64_t at = 0;    // of the packet's first byte, from the first byte looked at
  int64_t base = 0;  // what the ends of matches are counted from
};

struct Inspector::Search {
  const ContentRules* rules;
  bool ingress;
  std::vector<ContentRules::Mask> masks;
  std::vector<Finding> found;
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
  if (match.again && (rule.placed || rule.action < ContentAction::Reset)) return 0;
  bump<uint64_t>(match.hits[id], 1);
  Finding& finding = *match.finding;
  if (rule.action > finding.action) {
    finding.action = rule.action;
    finding.rules = match.rules;
    finding.rule = id;
    finding.end = static_cast<uint64_t>(match.base + static_cast<int64_t>(to));
    finding.at = match.at;
  }
  return rule.action == ContentAction::Drop ? 1 : 0;
}

int Inspector::on_found(unsigned id, unsigned long long /*from*/, unsigned long long to, unsigned /*flags*/,
                        void* context) {
  Search& search = *static_cast<Search*>(context);
  const ContentRules& rules = *search.rules;
  if (id >= rules.rules_.size()) {
    const ContentPart& part = rules.parts_[id - rules.rules_.size()];
    ContentRules::Mask& found = search.masks[part.combination];
    const bool known = found == part.whole;
    found |= part.bit;
    if (known || found != part.whole) return 0;
    id = part.rule;
  }
  const ContentRule& rule = rules.rules_[id];
  if (search.ingress ? rule.ingress : rule.egress) {
    Finding& finding = search.found.emplace_back();
    finding.action = rule.action;
    finding.rules = &rules;
    finding.rule = id;
    finding.end = to;
  }
  return 0;
}

std::vector<Finding> Inspector::search(const ContentRules& rules, bool ingress, bool tcp,
                                       std::span<const uint8_t> bytes) {
  Search search{&rules, ingress, std::vector<ContentRules::Mask>(rules.combinations_), {}};
  const auto* const data = reinterpret_cast<const char*>(bytes.data());
  const auto size = static_cast<unsigned>(std::min<size_t>(bytes.size(), rules.settings().depth));
  for (const ContentEngine& engine : rules.engines_) {
    const hs_database_t* const database = (tcp ? engine.stream : engine.block).get();
    hs_scratch_t* scratch = nullptr;
    if (hs_alloc_scratch(database, &scratch) != HS_SUCCESS) continue;
    hs_stream_t* stream = nullptr;
    if (!tcp) {
      hs_scan(database, data, size, 0, scratch, on_found, &search);
    } else if (hs_open_stream(database, 0, &stream) == HS_SUCCESS) {
      hs_scan_stream(stream, data, size, 0, scratch, on_found, &search);
      hs_close_stream(stream, nullptr, nullptr, nullptr);
    }
    hs_free_scratch(scratch);
  }
  return std::move(search.found);
}

Inspector::Inspector(uint16_t worker, uint32_t capacity)
    : worker_(worker),
      inspections_(std::make_unique<Inspection[]>(capacity)),
      copy_(std::make_unique<uint8_t[]>(most_payload)),
      capacity_(capacity) {}

bool Inspector::take_streams(const ContentRules& rules, ContentRules::Share& share, Side& side) {
  for (size_t i = 0; i < rules.engines(); ++i) {
    if (share.free[i].empty()) {
      return_streams(rules, share, side);
      return false;
    }
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

InspectionId Inspector::begin(const ContentRules& rules, bool selected_replies, InspectionId chain) {
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
    if (rules.wants(reply != selected_replies)) side.left = rules.settings().depth;
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
  if (segment.tcp) follow_handshake(inspection, segment);
  if (side.left == 0 || segment.length == 0) return;
  if (!segment.tcp) return look_at_datagram(inspection, side, segment, finding);
  if (!side.begun) {
    side.first = side.next = segment.seq;
    side.begun = true;
  }
  finding.next = side.next;
  const auto ahead = static_cast<int32_t>(segment.seq - side.next);
  if (segment.syn || ahead > 0) {
    finding.gap = true;
    return;
  }
  const auto behind = static_cast<uint32_t>(-ahead);
  if (behind != 0) look_again(inspection, side, segment, finding);
  if (behind < segment.length) look_at_stream(inspection, side, segment, behind, finding);
}

// Where each direction begins: of the client that with which the server agrees, whatever other SYNs it sends.
void Inspector::follow_handshake(Inspection& inspection, const Segment& segment) {
  if (!segment.syn) return;
  Side& side = inspection.sides[segment.reply ? 1 : 0];
  if (!side.begun) {
    side.first = side.next = segment.seq + 1;
    side.begun = true;
  }
  Side& client = inspection.sides[0];
  if (segment.reply && segment.acks && !client.started) {
    client.first = client.next = segment.ack;
    client.begun = true;
  }
}

void Inspector::look_at_datagram(Inspection& inspection, Side& side, const Segment& segment, Finding& finding) {
  const ContentRules& rules = *inspection.rules;
  ContentRules::Share& share = rules.share(worker_);
  std::fill(share.datagram.begin(), share.datagram.end(), 0);
  Match match{&rules, share.hits.get(), share.datagram.data(), segment.reply != inspection.selected_replies,
              false,  &finding};
  const std::span<const uint8_t> data = in_one(segment, 0, side.left);
  const auto size = static_cast<unsigned>(data.size());
  for (const ContentEngine& engine : rules.engines_) {
    hs_scan(engine.block.get(), reinterpret_cast<const char*>(data.data()), size, 0, share.scratch, on_match, &match);
  }
  side.left -= size;
}

std::span<const uint8_t> Inspector::in_one(const Segment& segment, size_t skip, size_t most) const {
  most = std::min(most, most_payload);
  size_t copied = 0;
  for (std::span<const uint8_t> part : segment.parts) {
    const size_t before = std::min(skip, part.size());
    skip -= before;
    part = part.subspan(before, std::min(part.size() - before, most - copied));
    // All that is wanted, or all there is.
    const bool last = part.size() == most || segment.parts.size() == 1;
    if (copied == 0 && last) return part;
    std::copy(part.begin(), part.end(), copy_.get() + copied);
    copied += part.size();
  }
  return {copy_.get(), copied};
}

void Inspector::look_at_stream(Inspection& inspection, Side& side, const Segment& segment, uint32_t skip,
                               Finding& finding) {
  const ContentRules& rules = *inspection.rules;
  ContentRules::Share& share = rules.share(worker_);
  if (!side.started && !take_streams(rules, share, side)) {
    bump<uint64_t>(share.overloads, 1);
    if (rules.settings().drop_when_full) {
      finding.overload = true;
    } else {
      inspection.sides[0].left = inspection.sides[1].left = 0;
    }
    return;
  }
  side.started = true;
  Match match{&rules, share.hits.get(), side.masks, segment.reply != inspection.selected_replies, false, &finding};
  match.at = static_cast<int64_t>(side.next - side.first) - skip;
  for (std::span<const uint8_t> part : segment.parts) {
    const size_t known = std::min<size_t>(skip, part.size());
    skip -= static_cast<uint32_t>(known);
    part = part.subspan(known);
    const auto size = static_cast<uint32_t>(std::min<size_t>(part.size(), side.left));
    for (size_t i = 0; size != 0 && i < rules.engines(); ++i) {
      hs_scan_stream(side.streams[i], reinterpret_cast<const char*>(part.data()), size, 0, share.scratch, on_match,
                     &match);
    }
    side.next += static_cast<uint32_t>(part.size());
    side.left -= size;
  }
  if (side.left == 0) return_streams(rules, share, side);
}

void Inspector::look_again(Inspection& inspection, Side& side, const Segment& segment, Finding& finding) {
  const ContentRules& rules = *inspection.rules;
  ContentRules::Share& share = rules.share(worker_);
  if (!side.started) return;
  Match match{&rules, share.hits.get(), side.masks, segment.reply != inspection.selected_replies, true, &finding};
  const auto early = static_cast<int32_t>(side.first - segment.seq);
  const auto skip = static_cast<size_t>(std::max<int32_t>(early, 0));
  match.at = -int64_t{early};
  match.base = match.at + static_cast<int64_t>(skip);
  const std::span<const uint8_t> data = in_one(segment, skip, most_payload);
  for (const ContentEngine& engine : rules.engines_) {
    hs_scan(engine.block.get(), reinterpret_cast<const char*>(data.data()), static_cast<unsigned>(data.size()), 0,
            share.scratch, on_match, &match);
  }
}

}  // namespace sluice::l7
