#include "dataplane/l7/request_path.h"

#include "dataplane/l7/http_chars.h"

namespace sluice::l7 {

namespace {

constexpr char hex_digits[] = "0123456789ABCDEF";

// Never ahead of what is read: every step writes at most as many bytes as it takes.
class Writer {
 public:
  explicit Writer(std::span<char> out) : out_(out) {}

  void put(char c) { out_[size_++] = c; }
  // Behind the last byte of a segment. False: it leads out of the root.
  bool end_segment(bool more) {
    const std::string_view segment(out_.data() + segment_, size_ - segment_);
    if (segment == ".") {
      size_ = segment_;
    } else if (segment == "..") {
      if (segment_ == 1) return false;
      size_ = segment_ - 1;
      while (out_[size_ - 1] != '/') --size_;
    } else if (!segment.empty() && more) {
      put('/');
    }
    segment_ = size_;
    return true;
  }
  void begin() {
    put('/');
    segment_ = size_;
  }
  [[nodiscard]] std::string_view text() const { return {out_.data(), size_}; }

 private:
  std::span<char> out_;
  size_t size_ = 0;
  size_t segment_ = 0;  // where the last one begins
};

constexpr bool stays_encoded(uint8_t byte) {
  return byte < ' ' || byte == 0x7f || byte == '/' || byte == '%' || byte == '\\';
}

}  // namespace

std::optional<std::string_view> normalised_path(std::string_view path, std::span<char> out) {
  if (!path.starts_with('/') || path.size() > out.size()) return std::nullopt;
  Writer writer(out);
  writer.begin();
  for (size_t at = 1; at < path.size(); ++at) {
    const char c = path[at];
    if (c == '/') {
      if (!writer.end_segment(true)) return std::nullopt;
    } else if (c != '%') {
      writer.put(c);
    } else {
      const int high = path.size() - at > 2 ? hex_digit(path[at + 1]) : -1;
      const int low = path.size() - at > 2 ? hex_digit(path[at + 2]) : -1;
      if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
      const auto byte = static_cast<uint8_t>(high * 16 + low);
      if (stays_encoded(byte)) {
        writer.put('%');
        writer.put(hex_digits[high]);
        writer.put(hex_digits[low]);
      } else {
        writer.put(static_cast<char>(byte));
      }
      at += 2;
    }
  }
  if (!writer.end_segment(false)) return std::nullopt;
  return writer.text();
}

}  // namespace sluice::l7
