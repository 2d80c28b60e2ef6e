#include "config/json_items.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <immintrin.h>
#include <utility>

#include <boost/json/value.hpp>

#include "config/json_reader.h"

namespace sluice::config {
namespace {

// What a character means to somebody who looks for the end of a value.
enum class Sign : uint8_t { None, Quote, Open, Close, Comma };

constexpr std::array<Sign, 256> signs = [] {
  std::array<Sign, 256> table{};
  table['"'] = Sign::Quote;
  table['{'] = table['['] = Sign::Open;
  table['}'] = table[']'] = Sign::Close;
  table[','] = Sign::Comma;
  return table;
}();

// Which of 64 characters are what, the first by the lowest bit.
struct Characters {
  static constexpr size_t count = 64;

  explicit Characters(const char* text)
      : low_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text))),
        high_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text + count / 2))) {}

  [[nodiscard]] uint64_t quotes() const { return equal(low_, high_, '"'); }
  [[nodiscard]] uint64_t backslashes() const { return equal(low_, high_, '\\'); }
  // Square and curly brackets differ in one bit.
  [[nodiscard]] uint64_t opening() const { return equal(curly(low_), curly(high_), '{'); }
  [[nodiscard]] uint64_t closing() const { return equal(curly(low_), curly(high_), '}'); }

 private:
  static __m256i curly(__m256i characters) { return _mm256_or_si256(characters, _mm256_set1_epi8('[' ^ '{')); }
  static uint64_t equal(__m256i low, __m256i high, char wanted) {
    const __m256i all = _mm256_set1_epi8(wanted);
    const auto first = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, all)));
    const auto second = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, all)));
    return uint64_t{second} << 32 | first;
  }

  __m256i low_;
  __m256i high_;
};

// The characters that a backslash stands for, each second one of a row of them. `escaped`: 1 if the first is one
// because of what came before; in the end, whether that which comes next is. After Langdale and Lemire, "Parsing
// Gigabytes of JSON per Second" (2019), section 3.1.1.
uint64_t find_escaped(uint64_t backslashes, uint64_t& escaped) {
  static constexpr uint64_t even = 0x5555555555555555;
  if (backslashes == 0) return std::exchange(escaped, 0);
  backslashes &= ~escaped;
  const uint64_t behind = backslashes << 1 | escaped;
  const uint64_t odd_rows = backslashes & ~even & ~behind;
  uint64_t rows = 0;
  escaped = __builtin_add_overflow(odd_rows, backslashes, &rows) ? 1 : 0;
  return (even ^ rows << 1) & behind;
}

// Bit by bit, whether the number of bits up to it is odd.
uint64_t odd_up_to(uint64_t bits) {
  for (unsigned shift = 1; shift < 64; shift *= 2) bits ^= bits << shift;
  return bits;
}

// Behind the bracket that ends the list or object with which `text` begins; 0: there is none. Whatever stands between
// them is not looked at, but for strings.
size_t end_of_nested(std::string_view text) {
  uint64_t in_string = 0;  // all bits, if the characters before ended in one
  uint64_t escaped = 0;
  size_t depth = 0;
  std::array<char, Characters::count> last{};
  for (size_t at = 0; at < text.size(); at += Characters::count) {
    const char* from = text.data() + at;
    if (text.size() - at < Characters::count) {
      std::memcpy(last.data(), from, text.size() - at);
      from = last.data();
    }
    const Characters characters(from);
    const uint64_t quotes = characters.quotes() & ~find_escaped(characters.backslashes(), escaped);
    const uint64_t strings = odd_up_to(quotes) ^ in_string;
    in_string = 0 - (strings >> 63);
    const uint64_t opening = characters.opening() & ~strings;
    const uint64_t closing = characters.closing() & ~strings;
    const auto closed = static_cast<size_t>(std::popcount(closing));
    if (depth > closed) {
      depth += static_cast<size_t>(std::popcount(opening)) - closed;
      continue;
    }
    for (uint64_t brackets = opening | closing; brackets != 0; brackets &= brackets - 1) {
      const auto place = static_cast<unsigned>(std::countr_zero(brackets));
      if ((opening >> place & 1) != 0) {
        ++depth;
      } else if (--depth == 0) {
        return at + place + 1;
      }
    }
  }
  return 0;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  void skip_blank() {
    while (at_ != end_ && is_blank(*at_)) ++at_;
  }
  // Takes `c`, with blanks before it; false: something else comes.
  bool take(char c) {
    skip_blank();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  [[nodiscard]] bool done() {
    skip_blank();
    return at_ == end_;
  }

  // The text of a string, with its quotes; empty if none comes.
  std::string_view string() {
    skip_blank();
    const char* begin = at_;
    if (at_ == end_ || *at_ != '"' || !skip_string()) return {};
    return {begin, static_cast<size_t>(at_ - begin)};
  }

  // The text of a value, up to the comma or bracket that ends it; empty if it does not end.
  std::string_view value() {
    skip_blank();
    const char* begin = at_;
    if (at_ != end_ && signs[static_cast<uint8_t>(*at_)] == Sign::Open) {
      const size_t length = end_of_nested({at_, static_cast<size_t>(end_ - at_)});
      at_ += length;
      return {begin, length};
    }
    size_t depth = 0;
    while (at_ != end_) {
      const Sign sign = signs[static_cast<uint8_t>(*at_)];
      if (sign == Sign::Quote) {
        if (!skip_string()) return {};
        continue;
      }
      if (depth == 0 && (sign == Sign::Comma || sign == Sign::Close)) break;
      ++at_;
      if (sign == Sign::Open) ++depth;
      if (sign == Sign::Close && --depth == 0) break;
    }
    if (depth != 0) return {};
    const char* end = at_;
    while (end != begin && is_blank(end[-1])) --end;
    return {begin, static_cast<size_t>(end - begin)};
  }

 private:
  // From its opening quote to behind the closing one.
  bool skip_string() {
    for (++at_; at_ != end_; ++at_) {
      skip_plain();
      if (at_ == end_) break;
      if (*at_ == '"') {
        ++at_;
        return true;
      }
      if (*at_ == '\\' && ++at_ == end_) return false;
    }
    return false;
  }

  // As far as nothing can end the string, sixteen characters at a time.
  void skip_plain() {
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i escape = _mm_set1_epi8('\\');
    for (; end_ - at_ >= 16; at_ += 16) {
      const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at_));
      const __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(text, quote), _mm_cmpeq_epi8(text, escape));
      if (const auto found = static_cast<unsigned>(_mm_movemask_epi8(ends)); found != 0) {
        at_ += std::countr_zero(found);
        return;
      }
    }
  }

  const char* at_;
  const char* end_;
};

bool read_items(Scanner& scanner, std::vector<std::string_view>& items, MemoryBudget& budget) {
  if (!scanner.take('[')) return false;
  if (scanner.take(']')) return true;
  while (true) {
    const std::string_view item = scanner.value();
    if (item.empty()) return false;
    budget.take(memory_of_item);
    items.push_back(item);
    if (scanner.take(']')) return true;
    if (!scanner.take(',')) return false;
  }
}

}  // namespace

std::optional<std::vector<std::string_view>> list_items(std::string_view text,
                                                        const std::shared_ptr<MemoryBudget>& budget) {
  const auto is_json = [&](std::string_view value) { return read_within(value, budget).has_value(); };
  Scanner scanner(text);
  std::vector<std::string_view> items;
  std::vector<std::string_view> fields;
  bool is_list = false;
  bool has_items = false;
  if (!scanner.take('{')) return std::nullopt;
  while (true) {
    const std::string_view field = scanner.string();
    if (field.empty() || field.find('\\') != std::string_view::npos || !is_json(field) || !scanner.take(':') ||
        std::find(fields.begin(), fields.end(), field) != fields.end()) {
      return std::nullopt;
    }
    fields.push_back(field);
    if (field == "\"items\"") {
      if (!read_items(scanner, items, *budget)) return std::nullopt;
      has_items = true;
    } else {
      const std::string_view value = scanner.value();
      if (value.empty() || !is_json(value)) return std::nullopt;
      is_list = is_list || (field == "\"kind\"" && value == "\"List\"");
    }
    if (scanner.take('}')) break;
    if (!scanner.take(',')) return std::nullopt;
  }
  if (!scanner.done() || !is_list || !has_items) return std::nullopt;
  return items;
}

std::vector<std::string_view> lines_of(std::string_view text, MemoryBudget& budget) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (std::all_of(line.begin(), line.end(), is_blank)) continue;
    budget.take(memory_of_item);
    lines.push_back(line);
  }
  return lines;
}

}  // namespace sluice::config
