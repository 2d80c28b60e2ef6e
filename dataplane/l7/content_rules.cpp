#include "dataplane/l7/content_rules.h"

#include <algorithm>
#include <utility>

namespace sluice::l7 {

ContentRules::ContentRules(std::vector<ContentRule> rules, std::vector<ContentPart> parts,
                           std::vector<ContentEngine> engines, const Settings& settings)
    : rules_(std::move(rules)),
      parts_(std::move(parts)),
      engines_(std::move(engines)),
      settings_(settings),
      shares_(std::make_unique<Share[]>(settings.workers)) {
  for (const ContentRule& rule : rules_) {
    ingress_ = ingress_ || rule.ingress;
    egress_ = egress_ || rule.egress;
  }
  for (const ContentPart& part : parts_) combinations_ = std::max<size_t>(combinations_, part.combination + 1);
}

net::Result<std::shared_ptr<ContentRules>> ContentRules::create(std::vector<ContentRule> rules,
                                                                std::vector<ContentPart> parts,
                                                                std::vector<ContentEngine> engines,
                                                                const Settings& settings) {
  const std::shared_ptr<ContentRules> out(
      new ContentRules(std::move(rules), std::move(parts), std::move(engines), settings));
  for (uint16_t worker = 0; worker < settings.workers; ++worker) {
    Share& share = out->shares_[worker];
    share.hits = std::make_unique<Counter[]>(out->rules_.size());
    if (out->combinations_ != 0) {
      share.masks.resize(out->combinations_ * settings.streams);
      share.datagram.resize(out->combinations_);
      share.free_masks.reserve(settings.streams);
      for (uint32_t n = 0; n < settings.streams; ++n) {
        share.free_masks.push_back(&share.masks[n * out->combinations_]);
      }
    }
    for (size_t i = 0; i < out->engines_.size(); ++i) {
      const ContentEngine& engine = out->engines_[i];
      if (hs_alloc_scratch(engine.stream.get(), &share.scratch) != HS_SUCCESS ||
          hs_alloc_scratch(engine.block.get(), &share.scratch) != HS_SUCCESS) {
        return net::Error{"Hyperscan has no scratch space for the patterns"};
      }
      share.free[i].reserve(settings.streams);
      share.opened.reserve(share.opened.size() + settings.streams);
      for (uint32_t n = 0; n < settings.streams; ++n) {
        hs_stream_t* stream = nullptr;
        if (hs_open_stream(engine.stream.get(), 0, &stream) != HS_SUCCESS) {
          return net::Error{"there is no memory for the streams of the patterns"};
        }
        share.opened.push_back(stream);
        share.free[i].push_back(stream);
      }
    }
  }
  return out;
}

ContentRules::~ContentRules() {
  for (uint16_t worker = 0; worker < settings_.workers; ++worker) {
    Share& share = shares_[worker];
    for (hs_stream_t* stream : share.opened) hs_close_stream(stream, nullptr, nullptr, nullptr);
    hs_free_scratch(share.scratch);
  }
}

uint64_t ContentRules::hits(uint32_t rule) const {
  uint64_t sum = 0;
  for (uint16_t worker = 0; worker < settings_.workers; ++worker) {
    sum += shares_[worker].hits[rule].load(std::memory_order_relaxed);
  }
  return sum;
}

uint64_t ContentRules::overloads() const {
  uint64_t sum = 0;
  for (uint16_t worker = 0; worker < settings_.workers; ++worker) {
    sum += shares_[worker].overloads.load(std::memory_order_relaxed);
  }
  return sum;
}

uint32_t ContentRules::in_use() const {
  uint32_t sum = 0;
  for (uint16_t worker = 0; worker < settings_.workers; ++worker) {
    sum += shares_[worker].in_use.load(std::memory_order_acquire);
  }
  return sum;
}

}  // namespace sluice::l7
