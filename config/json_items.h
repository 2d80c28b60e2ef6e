// Where the objects of a document begin and end, found without parsing them: for reading one after the other, and for
// telling that one is the same text as before.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "config/json_memory.h"

namespace sluice::config {

// White space of JSON (RFC 8259 section 2).
[[nodiscard]] constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Taken for each item of a document, beside its value: where it stands, what is found about it.
inline constexpr size_t memory_of_item = 256;  // bytes

// Both functions throw TooLarge if the items, or what is beside them, take more than `budget`.

// The texts of the items of a v1 List. Empty if the text has not quite the form of one (other kind, a field twice, what
// is between the items is no JSON): whoever parses all of it knows better what it is. The items themselves may be no
// JSON.
[[nodiscard]] std::optional<std::vector<std::string_view>> list_items(std::string_view text,
                                                                      const std::shared_ptr<MemoryBudget>& budget);

// The lines that are not blank.
[[nodiscard]] std::vector<std::string_view> lines_of(std::string_view text, MemoryBudget& budget);

}  // namespace sluice::config
