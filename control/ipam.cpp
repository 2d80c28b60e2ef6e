#include "control/ipam.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "control/ipam_choice.h"
#include "control/journal_record.h"

namespace sluice::control::ipam {
namespace {

namespace json = boost::json;

constexpr uint64_t short_log = uint64_t{1} << 20;  // bytes, not worth a new snapshot

std::string text_of(uint64_t number, const Effects& effects) {
  return json::serialize(json::object{{"record", number}, {"effects", to_json(effects)}});
}

struct Step {
  uint64_t number = 0;
  Effects effects;
};

net::Result<Step> step_of(std::string_view text) {
  json::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* fields = error ? nullptr : value.if_object();
  const json::value* number = fields == nullptr ? nullptr : fields->if_contains("record");
  const json::value* list = fields == nullptr ? nullptr : fields->if_contains("effects");
  if (number == nullptr || list == nullptr) return net::Error{"it is no record"};
  auto effects = effects_of(*list);
  if (!effects) return effects.error();
  Step step{number->to_number<uint64_t>(error), std::move(*effects)};
  if (error) return net::Error{"it has no number"};
  return step;
}

net::Status<> apply_all(State& state, const Effects& effects) {
  for (const Effect& effect : effects) {
    if (auto applied = state.apply(effect); !applied) return applied;
  }
  return net::Done{};
}

Refusal not_kept(const net::Error& error) {
  return {Refusal::Kind::NotKept, "the addresses could not be written down: " + error.message};
}

}  // namespace

net::Result<std::vector<std::string>> Ipam::load() {
  std::vector<std::string> messages;
  const auto unusable = [&](std::string why) {
    unusable_ = std::move(why);
    return net::Error{unusable_};
  };
  auto kept = storage_.load();
  if (!kept) return unusable(kept.error().message);
  if (kept->snapshot) {
    const auto step = step_of(*kept->snapshot);
    const auto applied = step ? apply_all(state_, step->effects) : net::Status<>(step.error());
    if (!applied) return unusable("what was kept of addresses cannot be read: " + applied.error().message);
    written_ = step->number;
  }
  std::string_view rest = kept->log;
  while (!rest.empty()) {
    const size_t at = kept->log.size() - rest.size();
    Record record;
    const Read read = read_record(rest, record);
    const auto step = read == Read::Whole ? step_of(record.payload) : net::Result<Step>(net::Error{"it is not whole"});
    if (step && step->number <= written_) continue;  // in the snapshot
    const auto applied = !step                          ? net::Status<>(step.error())
                         : step->number != written_ + 1 ? net::Status<>(net::Error{"one before it is missing"})
                                                        : apply_all(state_, step->effects);
    if (!applied) {
      messages.push_back(
          fmt::format("the log of addresses ends at byte {} of {}: {}", at, kept->log.size(), applied.error().message));
      break;
    }
    written_ = step->number;
  }
  for (const auto& [cidr, block] : state_.blocks()) {
    if (block.affinity == Affinity::Pending) pending_.emplace(cidr, written_);
  }
  unusable_.clear();
  snapshot_bytes_ = kept->snapshot ? kept->snapshot->size() : 0;
  if (!kept->log.empty()) {
    if (auto written = write_snapshot(); !written) messages.push_back(written.error().message);
  }
  return messages;
}

net::Status<> Ipam::write_snapshot() {
  const std::string text = text_of(written_, state_.snapshot());
  auto replaced = storage_.replace(text);
  broken_ = !replaced;
  if (replaced) {
    snapshot_bytes_ = text.size();
    log_bytes_ = 0;
  }
  return replaced;
}

net::Status<> Ipam::repair() {
  if (!broken_) return net::Done{};
  return write_snapshot();
}

net::Status<> Ipam::commit(const Effects& effects) {
  if (effects.empty()) return net::Done{};
  if (!unusable_.empty()) return net::Error{unusable_};
  if (broken_ || log_bytes_ > std::max(short_log, snapshot_bytes_)) {
    if (auto written = write_snapshot(); !written) return written;
  }
  const std::string text = text_of(written_ + 1, effects);
  const std::string record = record_of(change_word, text.size(), checksum(text)) + text + '\n';
  if (auto appended = storage_.append(record); !appended) {
    broken_ = true;
    return appended;
  }
  ++written_;
  log_bytes_ += record.size();
  [[maybe_unused]] const auto applied = apply_all(state_, effects);
  assert(applied);
  return net::Done{};
}

net::Result<std::vector<net::IpAddr>, Refusal> Ipam::assign(const config::Config& config, const Request& request,
                                                            Seconds now) {
  const Choice choice(config, state_, request, now);
  if (const Handle* held = state_.handle(request.handle)) {
    if (!choice.is_answered_by(*held)) {
      return Refusal{Refusal::Kind::Conflict,
                     fmt::format("handle {} has other addresses already; release it first", request.handle)};
    }
    // A container that is started again has another network namespace.
    if (held->attributes != request.attributes) {
      const Effects described{Open{request.handle, held->node, held->use, held->since, request.attributes}};
      if (auto kept = commit(described); !kept) return not_kept(kept.error());
    }
    return held->addresses;
  }
  auto chosen = choice.choose();
  if (!chosen) return chosen.error();
  Effects effects;
  for (const Chosen& one : *chosen) {
    if (one.claim) effects.emplace_back(*one.claim);
  }
  effects.emplace_back(Open{request.handle, request.node, request.use, now, request.attributes});
  std::vector<net::IpAddr> addresses;
  for (const Chosen& one : *chosen) {
    effects.emplace_back(Assign{one.address, request.handle});
    addresses.push_back(one.address);
  }
  if (auto kept = commit(effects); !kept) return not_kept(kept.error());
  for (const Chosen& one : *chosen) {
    if (one.claim) pending_[one.claim->cidr] = written_;
  }
  return addresses;
}

net::Result<size_t, Refusal> Ipam::release(const std::string& handle, Seconds now) {
  const Handle* held = state_.handle(handle);
  if (held == nullptr) return size_t{0};
  Effects effects;
  for (const net::IpAddr& address : held->addresses) effects.emplace_back(Release{address, now});
  if (auto kept = commit(effects); !kept) return not_kept(kept.error());
  return effects.size();
}

net::Status<> Ipam::synced(uint64_t record) {
  Effects effects;
  for (const auto& [cidr, claimed] : pending_) {
    if (claimed <= record) effects.emplace_back(SetAffinity{cidr, Affinity::Confirmed});
  }
  if (auto kept = commit(effects); !kept) return kept;
  std::erase_if(pending_, [&](const auto& claim) { return claim.second <= record; });
  return net::Done{};
}

net::Status<> Ipam::tidy(const config::Config& config, Seconds now) {
  std::set<std::pair<std::string, net::Family>> kept_one;
  Effects effects;
  for (const auto& [cidr, block] : state_.blocks()) {
    if (block.affinity != Affinity::Confirmed || !block.used.empty()) continue;
    // The last in the queue was given back last.
    if (cools_down(config, block.free.back().released, now)) continue;
    const config::IpPool* pool = pool_of(config, cidr);
    const bool wanted = pool != nullptr && !pool->disabled && knows_node(config, block.node) &&
                        other_owner(config, cidr, block.node) == nullptr;
    if (wanted && kept_one.emplace(block.node, cidr.family()).second) continue;
    effects.emplace_back(SetAffinity{cidr, Affinity::PendingDeletion});
  }
  return commit(effects);
}

net::Status<> Ipam::drop(const std::set<net::Prefix>& blocks) {
  Effects effects;
  for (const net::Prefix& cidr : blocks) {
    const auto found = state_.blocks().find(cidr);
    if (found == state_.blocks().end() || found->second.affinity != Affinity::PendingDeletion) continue;
    effects.emplace_back(Drop{cidr});
  }
  return commit(effects);
}

std::vector<config::BlockAffinity> Ipam::routed() const {
  std::vector<config::BlockAffinity> out;
  for (const auto& [cidr, block] : state_.blocks()) {
    if (block.affinity != Affinity::Confirmed) continue;
    out.push_back({.name = net::to_string(cidr), .node = block.node, .cidr = cidr, .confirmed = true});
  }
  return out;
}

std::set<net::Prefix> Ipam::given_up() const {
  std::set<net::Prefix> out;
  for (const auto& [cidr, block] : state_.blocks()) {
    if (block.affinity == Affinity::PendingDeletion) out.insert(cidr);
  }
  return out;
}

}  // namespace sluice::control::ipam
