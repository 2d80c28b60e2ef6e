// Fields of one header block of HTTP/2: RFC 7541. The first block of a connection begins with an empty dynamic table;
// what it puts there it may refer to itself, so that is kept here, as views of what was decoded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dataplane/l7/decision.h"

namespace sluice::l7 {

struct HeaderField {
  std::string_view name;
  std::string_view value;
};

enum class HpackState : uint8_t { Field, End, Bad, TooLong };

class HpackDecoder {
 public:
  // What names and values may come to together, and a dynamic table of SETTINGS_HEADER_TABLE_SIZE as it is before any
  // SETTINGS of the server (RFC 9113 section 6.5.2).
  static constexpr size_t most_text = 16384;
  static constexpr size_t most_table = 4096;

  HpackDecoder() = default;
  HpackDecoder(const HpackDecoder&) = delete;
  HpackDecoder& operator=(const HpackDecoder&) = delete;

  // Once. `block`: of all frames that it came in.
  void start(Bytes block) { block_ = block; }
  // The next field; views live as long as the decoder.
  [[nodiscard]] HpackState next(HeaderField& out);

 private:
  static constexpr size_t entry_overhead = 32;  // RFC 7541 section 4.1
  static constexpr size_t most_entries = most_table / entry_overhead;

  [[nodiscard]] bool number(unsigned prefix_bits, size_t& out);
  [[nodiscard]] HpackState text(std::string_view& out);
  [[nodiscard]] HpackState literal(unsigned prefix_bits, HeaderField& out);
  [[nodiscard]] bool indexed(size_t index, HeaderField& out) const;
  void insert(const HeaderField& field);
  void shrink_to(size_t size);

  Bytes block_;
  size_t at_ = 0;
  size_t table_size_ = 0;
  size_t table_limit_ = most_table;
  size_t newest_ = 0;  // index in table_
  size_t entries_ = 0;
  bool any_field_ = false;
  size_t text_size_ = 0;
  std::array<HeaderField, most_entries> table_;
  std::array<char, most_text> text_;  // NOLINT(cppcoreguidelines-pro-type-member-init): text_size_ of them are set
};

// RFC 7541 section 5.2: appends at most `room` bytes at `out`. -1: bad code or padding; else how many bytes; more than
// `room`: there was no room for them all.
[[nodiscard]] ptrdiff_t huffman_decode(Bytes coded, char* out, size_t room);

}  // namespace sluice::l7
