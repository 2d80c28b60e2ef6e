#include "control/pattern_places.h"

#include <algorithm>

#include <fmt/format.h>
#include <hs/hs.h>

#include "control/pattern_compiler.h"

namespace sluice::control {
namespace {

struct Search {
  std::optional<uint64_t> end;  // wanted
  std::optional<PatternPlace> first;
};

int on_match(unsigned /*id*/, unsigned long long from, unsigned long long to, unsigned /*flags*/, void* context) {
  Search& search = *static_cast<Search*>(context);
  if (search.end && to != *search.end) return 0;
  std::optional<PatternPlace>& first = search.first;
  if (!first || to < first->end || (to == first->end && from < first->begin)) first = PatternPlace{from, to};
  return 0;
}

std::string key_of(const config::ContentExpression& expression) {
  return fmt::format("{:d}{:d}{:d}{:d}{:d} {} {} {}", expression.literal, expression.caseless, expression.dot_all,
                     expression.multi_line, expression.utf8, expression.least_end.value_or(0),
                     expression.most_end.value_or(UINT64_MAX), expression.text);
}

}  // namespace

const hs_database_t* PatternPlaces::compiled(const config::ContentExpression& expression) {
  if (const auto known = compiled_.find(key_of(expression)); known != compiled_.end()) {
    known->second.used = ++looks_;
    return known->second.database.get();
  }
  const bool noted = std::find(missing_.begin(), missing_.end(), expression) != missing_.end();
  if (!noted && missing_.size() < most_kept) missing_.push_back(expression);
  return nullptr;
}

std::vector<PatternPlaces::Compiled> PatternPlaces::compile(const std::vector<config::ContentExpression>& expressions) {
  std::vector<Compiled> out;
  for (const config::ContentExpression& expression : expressions) {
    out.push_back({key_of(expression), PatternCompiler::with_begins(expression)});
  }
  return out;
}

void PatternPlaces::keep(std::vector<Compiled>&& made) {
  for (Compiled& one : made) compiled_.insert_or_assign(std::move(one.key), Kept{std::move(one.database), ++looks_});
  while (compiled_.size() > most_kept) {
    compiled_.erase(std::min_element(compiled_.begin(), compiled_.end(),
                                     [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
  }
}

std::vector<PatternPlace> PatternPlaces::find(const config::ContentPattern& pattern, std::span<const uint8_t> bytes,
                                              std::optional<uint64_t> end) {
  std::vector<PatternPlace> out;
  for (const config::ContentExpression& expression : pattern.all) {
    const hs_database_t* const database = compiled(expression);
    hs_scratch_t* scratch = nullptr;
    if (database == nullptr || hs_alloc_scratch(database, &scratch) != HS_SUCCESS) continue;
    Search search{end, std::nullopt};
    hs_scan(database, reinterpret_cast<const char*>(bytes.data()), static_cast<unsigned>(bytes.size()), 0, scratch,
            on_match, &search);
    hs_free_scratch(scratch);
    if (search.first) out.push_back(*search.first);
  }
  return out;
}

}  // namespace sluice::control
