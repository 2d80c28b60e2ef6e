#include "dataplane/l7/hpack.h"

#include <algorithm>

namespace sluice::l7 {

namespace {

// RFC 7541 appendix A.
constexpr std::array<HeaderField, 61> static_table{{
    {":authority", ""},
    {":method", "GET"},
    {":method", "POST"},
    {":path", "/"},
    {":path", "/index.html"},
    {":scheme", "http"},
    {":scheme", "https"},
    {":status", "200"},
    {":status", "204"},
    {":status", "206"},
    {":status", "304"},
    {":status", "400"},
    {":status", "404"},
    {":status", "500"},
    {"accept-charset", ""},
    {"accept-encoding", "gzip, deflate"},
    {"accept-language", ""},
    {"accept-ranges", ""},
    {"accept", ""},
    {"access-control-allow-origin", ""},
    {"age", ""},
    {"allow", ""},
    {"authorization", ""},
    {"cache-control", ""},
    {"content-disposition", ""},
    {"content-encoding", ""},
    {"content-language", ""},
    {"content-length", ""},
    {"content-location", ""},
    {"content-range", ""},
    {"content-type", ""},
    {"cookie", ""},
    {"date", ""},
    {"etag", ""},
    {"expect", ""},
    {"expires", ""},
    {"from", ""},
    {"host", ""},
    {"if-match", ""},
    {"if-modified-since", ""},
    {"if-none-match", ""},
    {"if-range", ""},
    {"if-unmodified-since", ""},
    {"last-modified", ""},
    {"link", ""},
    {"location", ""},
    {"max-forwards", ""},
    {"proxy-authenticate", ""},
    {"proxy-authorization", ""},
    {"range", ""},
    {"referer", ""},
    {"refresh", ""},
    {"retry-after", ""},
    {"server", ""},
    {"set-cookie", ""},
    {"strict-transport-security", ""},
    {"transfer-encoding", ""},
    {"user-agent", ""},
    {"vary", ""},
    {"via", ""},
    {"www-authenticate", ""},
}};

constexpr size_t symbols = 257;
constexpr size_t end_of_string = 256;
constexpr size_t shortest_code = 5;
constexpr size_t longest_code = 30;

// RFC 7541 appendix B: how many bits the code of each symbol has. Codes of one length follow each other in the order of
// symbols, and longer ones follow shorter ones, so this is all there is to it.
// clang-format off
constexpr std::array<uint8_t, symbols> code_lengths{
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
};
// clang-format on

struct Codes {
  std::array<uint32_t, longest_code + 1> first{};  // code of each length
  std::array<uint16_t, longest_code + 1> count{};
  std::array<uint16_t, longest_code + 1> offset{};  // in `order`
  std::array<uint16_t, symbols> order{};
};

constexpr Codes make_codes() {
  Codes out;
  uint32_t code = 0;
  uint16_t at = 0;
  for (size_t length = 1; length <= longest_code; ++length) {
    code <<= 1;
    out.first[length] = code;
    out.offset[length] = at;
    for (size_t symbol = 0; symbol < symbols; ++symbol) {
      if (code_lengths[symbol] != length) continue;
      out.order[at++] = static_cast<uint16_t>(symbol);
      ++out.count[length];
      ++code;
    }
  }
  return out;
}
constexpr Codes codes = make_codes();

}  // namespace

ptrdiff_t huffman_decode(Bytes coded, char* out, size_t room) {
  size_t written = 0;
  uint32_t code = 0;
  size_t length = 0;
  for (const uint8_t byte : coded) {
    for (int bit = 7; bit >= 0; --bit) {
      code = code << 1 | (byte >> bit & 1U);
      ++length;
      if (length < shortest_code || code - codes.first[length] >= codes.count[length]) {
        if (length == longest_code) return -1;
        continue;
      }
      const size_t symbol = codes.order[codes.offset[length] + code - codes.first[length]];
      if (symbol == end_of_string) return -1;
      if (written < room) out[written] = static_cast<char>(symbol);
      ++written;
      code = 0;
      length = 0;
    }
  }
  // Padding: less than a byte, of the most significant bits of the end of string, which are ones.
  if (length > 7 || code != (1U << length) - 1) return -1;
  return static_cast<ptrdiff_t>(written);
}

// Section 5.1. Nothing that counts here is near 2^28.
bool HpackDecoder::number(unsigned prefix_bits, size_t& out) {
  const size_t all = (size_t{1} << prefix_bits) - 1;
  out = block_[at_++] & all;
  if (out < all) return true;
  for (unsigned shift = 0; shift < 28; shift += 7) {
    if (at_ == block_.size()) return false;
    const uint8_t byte = block_[at_++];
    out += static_cast<size_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

// Section 5.2.
HpackState HpackDecoder::text(std::string_view& out) {
  if (at_ == block_.size()) return HpackState::Bad;
  const bool coded = (block_[at_] & 0x80) != 0;
  size_t length = 0;
  if (!number(7, length) || length > block_.size() - at_) return HpackState::Bad;
  const Bytes bytes = block_.subspan(at_, length);
  at_ += length;
  if (!coded) {
    out = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    return HpackState::Field;
  }
  char* const to = text_.data() + text_size_;
  const size_t room = text_.size() - text_size_;
  const ptrdiff_t size = huffman_decode(bytes, to, room);
  if (size < 0) return HpackState::Bad;
  if (static_cast<size_t>(size) > room) return HpackState::TooLong;
  out = {to, static_cast<size_t>(size)};
  text_size_ += static_cast<size_t>(size);
  return HpackState::Field;
}

bool HpackDecoder::indexed(size_t index, HeaderField& out) const {
  if (index == 0) return false;
  if (index <= static_table.size()) {
    out = static_table[index - 1];
    return true;
  }
  const size_t age = index - static_table.size() - 1;
  if (age >= entries_) return false;
  out = table_[(newest_ + table_.size() - age) % table_.size()];
  return true;
}

// Sections 4.3 and 4.4: the oldest go.
void HpackDecoder::shrink_to(size_t size) {
  while (table_size_ > size) {
    const HeaderField& oldest = table_[(newest_ + table_.size() + 1 - entries_) % table_.size()];
    table_size_ -= oldest.name.size() + oldest.value.size() + entry_overhead;
    --entries_;
  }
}

void HpackDecoder::insert(const HeaderField& field) {
  const size_t size = field.name.size() + field.value.size() + entry_overhead;
  shrink_to(size > table_limit_ ? 0 : table_limit_ - size);
  if (size > table_limit_) return;
  newest_ = (newest_ + 1) % table_.size();
  table_[newest_] = field;
  ++entries_;
  table_size_ += size;
}

// Section 6.2.
HpackState HpackDecoder::literal(unsigned prefix_bits, HeaderField& out) {
  size_t index = 0;
  if (!number(prefix_bits, index)) return HpackState::Bad;
  if (index != 0) {
    HeaderField named;
    if (!indexed(index, named)) return HpackState::Bad;
    out.name = named.name;
  } else if (const HpackState state = text(out.name); state != HpackState::Field) {
    return state;
  }
  return text(out.value);
}

HpackState HpackDecoder::next(HeaderField& out) {
  while (at_ < block_.size()) {
    const uint8_t first = block_[at_];
    if ((first & 0xe0) == 0x20) {
      // Section 6.3: only before the first field (section 4.2), and no more than there may be.
      size_t size = 0;
      if (any_field_ || !number(5, size) || size > most_table) return HpackState::Bad;
      table_limit_ = size;
      shrink_to(size);
      continue;
    }
    any_field_ = true;
    if ((first & 0x80) != 0) {
      size_t index = 0;
      return number(7, index) && indexed(index, out) ? HpackState::Field : HpackState::Bad;
    }
    const bool kept = (first & 0x40) != 0;
    const HpackState state = literal(kept ? 6 : 4, out);
    if (kept && state == HpackState::Field) insert(out);
    return state;
  }
  return HpackState::End;
}

}  // namespace sluice::l7
