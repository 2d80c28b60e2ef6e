#include "control/journal_record.h"

#include <charconv>
#include <zlib.h>

#include <fmt/format.h>

namespace sluice::control {
namespace {

constexpr size_t longest_head = 64;

}  // namespace

uint32_t checksum(std::string_view text, uint32_t before) {
  return static_cast<uint32_t>(::crc32_z(before, reinterpret_cast<const Bytef*>(text.data()), text.size()));
}

uint32_t joined_checksum(uint32_t first, uint32_t second, uint64_t length) {
  return static_cast<uint32_t>(::crc32_combine(first, second, static_cast<z_off_t>(length)));
}

std::string record_of(std::string_view word, uint64_t length, uint32_t sum) {
  return fmt::format("{} {} {:08x}\n", word, length, sum);
}

Read read_record(std::string_view& rest, Record& record) {
  if (rest.empty()) return Read::End;
  const size_t line = rest.substr(0, longest_head).find('\n');
  if (line == std::string_view::npos) return rest.size() < longest_head ? Read::Torn : Read::Damaged;
  const std::string_view head = rest.substr(0, line);
  const size_t first = head.find(' ');
  const size_t second = head.find(' ', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return Read::Damaged;
  record.word = head.substr(0, first);
  const auto length = std::from_chars(head.data() + first + 1, head.data() + second, record.length);
  const auto sum = std::from_chars(head.data() + second + 1, head.data() + head.size(), record.sum, 16);
  if (length.ec != std::errc() || sum.ec != std::errc()) return Read::Damaged;
  rest.remove_prefix(line + 1);
  if (record.word == document_word || record.word == format_word) return Read::Whole;
  if (record.word != change_word) return Read::Damaged;
  if (rest.size() < record.length + 1) return Read::Torn;
  record.payload = rest.substr(0, record.length);
  rest.remove_prefix(record.length + 1);
  return checksum(record.payload) == record.sum ? Read::Whole : Read::Damaged;
}

}  // namespace sluice::control
