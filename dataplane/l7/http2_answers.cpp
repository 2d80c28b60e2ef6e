// What the router answers itself to HTTP/2 connections, which end with it.
#include <algorithm>
#include <array>

#include "dataplane/l7/http2_head.h"

namespace sluice::l7 {

namespace {

// Frames one after another, of a known most.
class Frames {
 public:
  constexpr void clear() { size_ = 0; }
  constexpr void put(uint32_t value, size_t width) {
    while (width-- > 0) bytes_[size_++] = static_cast<uint8_t>(value >> 8 * width);
  }
  constexpr void put(std::string_view text) {
    for (const char c : text) bytes_[size_++] = static_cast<uint8_t>(c);
  }
  constexpr void header(size_t length, uint8_t type, uint8_t flags, uint32_t stream) {
    put(static_cast<uint32_t>(length), 3);
    put(type, 1);
    put(flags, 1);
    put(stream, 4);
  }
  [[nodiscard]] Bytes bytes() const { return {bytes_.data(), size_}; }

  // RFC 9113 sections 3.4, 6.5.3 and 6.8.
  constexpr void settings() {
    header(0, 4, 0, 0);
    header(0, 4, 1, 0);
  }
  constexpr void goaway(uint32_t last_stream, Http2Error error) {
    header(8, 7, 0, 0);
    put(last_stream, 4);
    put(static_cast<uint32_t>(error), 4);
  }
  // A response without content; RFC 7541 appendix A: 8 is ":status", 46 "location".
  constexpr void response(uint16_t status, uint32_t stream, std::string_view location) {
    constexpr uint8_t end_stream = 0x1;
    constexpr uint8_t end_headers = 0x4;
    const size_t start = size_;
    header(0, 1, end_stream | end_headers, stream);
    const size_t block = size_;
    put(8, 1);
    put(3, 1);
    for (const unsigned unit : {100U, 10U, 1U}) put('0' + status / unit % 10, 1);
    if (!location.empty()) {
      put(0x0f, 1);
      put(46 - 15, 1);
      size_t length = location.size();
      if (length < 127) {
        put(static_cast<uint32_t>(length), 1);
      } else {
        put(127, 1);
        for (length -= 127; length >= 128; length >>= 7) put(static_cast<uint32_t>(length & 0x7f) | 0x80, 1);
        put(static_cast<uint32_t>(length), 1);
      }
      put(location);
    }
    const size_t length = size_ - block;
    for (size_t i = 0; i < 3; ++i) bytes_[start + i] = static_cast<uint8_t>(length >> 8 * (2 - i));
  }

  static constexpr size_t most_location = most_head_bytes;

 private:
  std::array<uint8_t, most_location + 128> bytes_{};
  size_t size_ = 0;
};

thread_local constinit Frames own{};

constexpr Frames make_failure(uint16_t status) {
  Frames out;
  out.settings();
  out.response(status, 1, {});
  out.goaway(1, Http2Error::None);
  return out;
}
constexpr Frames refused = make_failure(502);
constexpr Frames unavailable = make_failure(503);
constexpr Frames unanswered = make_failure(504);

constexpr Frames make_greeting() {
  Frames out;
  out.header(0, 4, 0, 0);
  return out;
}
constexpr Frames greeting = make_greeting();

}  // namespace

Bytes http2_answer(uint16_t status, uint32_t stream, std::string_view location) {
  own.clear();
  own.settings();
  own.response(status, stream, location.substr(0, Frames::most_location - 64));
  own.goaway(stream, Http2Error::None);
  return own.bytes();
}

Bytes http2_goaway(Http2Error error) {
  own.clear();
  own.settings();
  own.goaway(0, error);
  return own.bytes();
}

Bytes http2_greeting() { return greeting.bytes(); }

Bytes http2_failure(uint16_t status) {
  return (status == 502 ? refused : status == 504 ? unanswered : unavailable).bytes();
}

}  // namespace sluice::l7
