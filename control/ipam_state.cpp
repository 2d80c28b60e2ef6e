#include "control/ipam_state.h"

#include <algorithm>
#include <array>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control::ipam {
namespace {

namespace json = boost::json;

constexpr size_t most_addresses = 4096;  // of a block: /20, /116

constexpr std::array affinity_words{std::pair{Affinity::Pending, std::string_view("pending")},
                                    std::pair{Affinity::Confirmed, std::string_view("confirmed")},
                                    std::pair{Affinity::PendingDeletion, std::string_view("pendingDeletion")}};
constexpr std::array use_words{std::pair{Use::Workload, std::string_view("Workload")},
                               std::pair{Use::Tunnel, std::string_view("Tunnel")}};

template <class Words, class E>
std::string_view word_of(const Words& words, E value) {
  return std::find_if(words.begin(), words.end(), [&](const auto& word) { return word.first == value; })->second;
}

// ---- effects as JSON: each is an object whose first field tells what it is ---------------------------

struct Writer {
  json::object operator()(const Claim& claim) const {
    return {{"claim", net::to_string(claim.cidr)}, {"node", claim.node}, {"pool", claim.pool}};
  }
  json::object operator()(const SetAffinity& change) const {
    return {{"block", net::to_string(change.cidr)}, {"affinity", to_text(change.affinity)}};
  }
  json::object operator()(const Drop& drop) const { return {{"drop", net::to_string(drop.cidr)}}; }
  json::object operator()(const Open& open) const {
    json::object attributes;
    for (const auto& [name, value] : open.attributes) attributes[name] = value;
    return {{"open", open.handle},
            {"node", open.node},
            {"use", to_text(open.use)},
            {"since", open.since},
            {"attributes", std::move(attributes)}};
  }
  json::object operator()(const Assign& assign) const {
    return {{"assign", net::to_string(assign.address)}, {"handle", assign.handle}};
  }
  json::object operator()(const Release& release) const {
    return {{"release", net::to_string(release.address)}, {"time", release.time}};
  }
  json::object operator()(const Cursor& cursor) const {
    return {{"cursor", net::to_string(cursor.cidr)}, {"pool", cursor.pool}};
  }
};

// Takes fields out of one effect; `fine` tells whether all were there.
class Fields {
 public:
  explicit Fields(const json::object& fields) : fields_(fields) {}

  std::string text(std::string_view name) {
    const json::value* found = fields_.if_contains(name);
    if (found != nullptr && found->is_string()) return std::string(found->get_string());
    fine = false;
    return "";
  }
  Seconds seconds(std::string_view name) {
    const json::value* found = fields_.if_contains(name);
    json::error_code error;
    const auto value = found == nullptr ? Seconds{0} : found->to_number<Seconds>(error);
    fine = fine && found != nullptr && !error;
    return value;
  }
  net::Prefix block(std::string_view name) {
    const auto prefix = net::parse_prefix(text(name));
    fine = fine && prefix && prefix->masked() == *prefix;
    return prefix.value_or(net::Prefix{});
  }
  net::IpAddr address(std::string_view name) {
    const auto address = net::parse_ip(text(name));
    fine = fine && address;
    return address.value_or(net::IpAddr{});
  }
  template <class Words>
  auto word(std::string_view name, const Words& words) {
    const std::string value = text(name);
    const auto* found =
        std::find_if(words.begin(), words.end(), [&](const auto& word) { return word.second == value; });
    fine = fine && found != words.end();
    return found == words.end() ? words.front().first : found->first;
  }
  std::map<std::string, std::string> texts(std::string_view name) {
    std::map<std::string, std::string> out;
    const json::value* found = fields_.if_contains(name);
    fine = fine && found != nullptr && found->is_object();
    if (!fine) return out;
    for (const auto& field : found->get_object()) {
      fine = fine && field.value().is_string();
      if (fine) out.emplace(field.key(), std::string_view(field.value().get_string()));
    }
    return out;
  }

  bool fine = true;

 private:
  const json::object& fields_;
};

std::optional<Effect> effect_of(const json::object& object) {
  if (object.empty()) return std::nullopt;
  const std::string_view kind = object.begin()->key();
  Fields fields(object);
  std::optional<Effect> effect;
  if (kind == "claim") effect = Claim{fields.block("claim"), fields.text("node"), fields.text("pool")};
  if (kind == "block") effect = SetAffinity{fields.block("block"), fields.word("affinity", affinity_words)};
  if (kind == "drop") effect = Drop{fields.block("drop")};
  if (kind == "open") {
    effect = Open{fields.text("open"), fields.text("node"), fields.word("use", use_words), fields.seconds("since"),
                  fields.texts("attributes")};
  }
  if (kind == "assign") effect = Assign{fields.address("assign"), fields.text("handle")};
  if (kind == "release") effect = Release{fields.address("release"), fields.seconds("time")};
  if (kind == "cursor") effect = Cursor{fields.text("pool"), fields.block("cursor")};
  if (!fields.fine) return std::nullopt;
  return effect;
}

net::Error contradiction(std::string what) { return net::Error{std::move(what)}; }

}  // namespace

std::string_view to_text(Affinity affinity) { return word_of(affinity_words, affinity); }
std::string_view to_text(Use use) { return word_of(use_words, use); }

json::array to_json(const Effects& effects) {
  json::array out;
  for (const Effect& effect : effects) out.push_back(std::visit(Writer{}, effect));
  return out;
}

net::Result<Effects> effects_of(const json::value& value) {
  Effects out;
  if (!value.is_array()) return net::Error{"the effects are no list"};
  for (const json::value& item : value.get_array()) {
    auto effect = item.is_object() ? effect_of(item.get_object()) : std::nullopt;
    if (!effect) return net::Error{fmt::format("this is no effect: {}", json::serialize(item))};
    out.push_back(*std::move(effect));
  }
  return out;
}

// ---- blocks ------------------------------------------------------------------------------------------

// The ordinal is in the last two bytes of an address: a block has at most 12 bits of them.
net::IpAddr Block::address(uint16_t ordinal) const {
  if (cidr.addr.is_v4()) return net::Ipv4Addr::from_host(cidr.addr.v4().host() | ordinal);
  net::Ipv6Addr out = cidr.addr.v6();
  out.bytes[14] = static_cast<uint8_t>(out.bytes[14] | ordinal >> 8);
  out.bytes[15] = static_cast<uint8_t>(out.bytes[15] | (ordinal & 0xff));
  return out;
}

uint16_t Block::ordinal(const net::IpAddr& address) const {
  const uint32_t low = address.is_v4() ? address.v4().host()
                                       : static_cast<uint32_t>(address.v6().bytes[14] << 8 | address.v6().bytes[15]);
  return static_cast<uint16_t>(low & (size() - 1));
}

// ---- state -------------------------------------------------------------------------------------------

const Block* State::block_of(const net::IpAddr& address) const {
  // The last block that does not begin behind the address: blocks do not overlap.
  auto after = blocks_.upper_bound(net::Prefix::host(address));
  if (after == blocks_.begin()) return nullptr;
  --after;
  return after->first.contains(address) ? &after->second : nullptr;
}

Block* State::find(const net::IpAddr& address) { return const_cast<Block*>(block_of(address)); }

const Handle* State::handle(const std::string& name) const {
  const auto found = handles_.find(name);
  return found == handles_.end() ? nullptr : &found->second;
}

std::optional<net::Prefix> State::cursor(const std::string& pool) const {
  const auto found = cursors_.find(pool);
  if (found == cursors_.end()) return std::nullopt;
  return found->second;
}

net::Status<> State::apply(const Effect& effect) {
  return std::visit([this](const auto& one) { return run(one); }, effect);
}

net::Status<> State::run(const Claim& claim) {
  const auto next = blocks_.lower_bound(claim.cidr);
  const bool overlaps = (next != blocks_.end() && next->first.overlaps(claim.cidr)) ||
                        (next != blocks_.begin() && std::prev(next)->first.overlaps(claim.cidr));
  Block block{.cidr = claim.cidr, .node = claim.node};
  if (overlaps || claim.cidr.addr.bit_length() - claim.cidr.length > 12 || block.size() > most_addresses) {
    return contradiction(fmt::format("{} cannot be a block", net::to_string(claim.cidr)));
  }
  for (size_t ordinal = 0; ordinal < block.size(); ++ordinal) {
    block.free.push_back({static_cast<uint16_t>(ordinal), 0});
  }
  blocks_.emplace(claim.cidr, std::move(block));
  if (!claim.pool.empty()) cursors_[claim.pool] = claim.cidr;
  return net::Done{};
}

net::Status<> State::run(const SetAffinity& change) {
  const auto found = blocks_.find(change.cidr);
  if (found == blocks_.end()) return contradiction(fmt::format("there is no block {}", net::to_string(change.cidr)));
  found->second.affinity = change.affinity;
  return net::Done{};
}

net::Status<> State::run(const Drop& drop) {
  const auto found = blocks_.find(drop.cidr);
  if (found == blocks_.end() || !found->second.used.empty()) {
    return contradiction(fmt::format("{} is no empty block", net::to_string(drop.cidr)));
  }
  blocks_.erase(found);
  return net::Done{};
}

net::Status<> State::run(const Open& open) {
  const auto [at, fresh] =
      handles_.try_emplace(open.handle, Handle{open.node, open.use, open.since, open.attributes, {}});
  Handle& handle = at->second;
  if (handle.node != open.node || handle.use != open.use) {
    return contradiction(fmt::format("handle {} is in use", open.handle));
  }
  handle.attributes = open.attributes;
  return net::Done{};
}

net::Status<> State::run(const Assign& assign) {
  Block* block = find(assign.address);
  const auto owner = handles_.find(assign.handle);
  if (block == nullptr || owner == handles_.end()) {
    return contradiction(fmt::format("{} has no block, or no handle", net::to_string(assign.address)));
  }
  const uint16_t ordinal = block->ordinal(assign.address);
  const auto free = std::find_if(block->free.begin(), block->free.end(),
                                 [&](const FreeAddress& one) { return one.ordinal == ordinal; });
  if (free == block->free.end()) return contradiction(fmt::format("{} is in use", net::to_string(assign.address)));
  block->free.erase(free);
  block->used.emplace(ordinal, assign.handle);
  owner->second.addresses.push_back(assign.address);
  return net::Done{};
}

net::Status<> State::run(const Release& release) {
  Block* block = find(release.address);
  if (block == nullptr) return contradiction(fmt::format("{} has no block", net::to_string(release.address)));
  const uint16_t ordinal = block->ordinal(release.address);
  if (const auto used = block->used.find(ordinal); used != block->used.end()) {
    const auto owner = handles_.find(used->second);
    std::erase(owner->second.addresses, release.address);
    if (owner->second.addresses.empty()) handles_.erase(owner);
    block->used.erase(used);
  } else {
    std::erase_if(block->free, [&](const FreeAddress& one) { return one.ordinal == ordinal; });
  }
  block->free.push_back({ordinal, release.time});
  return net::Done{};
}

net::Status<> State::run(const Cursor& cursor) {
  cursors_[cursor.pool] = cursor.cidr;
  return net::Done{};
}

Effects State::snapshot() const {
  Effects out;
  for (const auto& [cidr, block] : blocks_) {
    out.emplace_back(Claim{cidr, block.node, ""});
    if (block.affinity != Affinity::Pending) out.emplace_back(SetAffinity{cidr, block.affinity});
    for (const FreeAddress& free : block.free) {
      if (free.released != 0) out.emplace_back(Release{block.address(free.ordinal), free.released});
    }
  }
  for (const auto& [name, handle] : handles_) {
    out.emplace_back(Open{name, handle.node, handle.use, handle.since, handle.attributes});
    for (const net::IpAddr& address : handle.addresses) out.emplace_back(Assign{address, name});
  }
  for (const auto& [pool, cidr] : cursors_) out.emplace_back(Cursor{pool, cidr});
  return out;
}

}  // namespace sluice::control::ipam
