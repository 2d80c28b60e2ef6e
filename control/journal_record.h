// Records of the files that changes are appended to: a line "WORD LENGTH CHECKSUM" (CRC-32, hexadecimal) and, of a
// change, LENGTH bytes and a line feed. A "document" says what the document that names this journal has to be; a
// "format" is the first of its file, and its LENGTH says in which form the others are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::control {

inline constexpr std::string_view change_word = "change";
inline constexpr std::string_view document_word = "document";
inline constexpr std::string_view format_word = "format";

// CRC-32 as zlib has it, going on from `before`.
[[nodiscard]] uint32_t checksum(std::string_view text, uint32_t before = 0);
// Of two texts, one behind the other, of which the second has this length.
[[nodiscard]] uint32_t joined_checksum(uint32_t first, uint32_t second, uint64_t length);

// The first line of a record, line feed included.
[[nodiscard]] std::string record_of(std::string_view word, uint64_t length, uint32_t sum);

struct Record {
  std::string_view word;
  uint64_t length = 0;  // bytes
  uint32_t sum = 0;
  std::string_view payload;  // of a change
};

enum class Read : uint8_t { Whole, End, Torn, Damaged };

// Takes a record off the front of `rest`; what is torn or damaged stays, or a part of it.
[[nodiscard]] Read read_record(std::string_view& rest, Record& record);

}  // namespace sluice::control
