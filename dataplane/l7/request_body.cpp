// Where the body of a request ends, byte by byte as it passes: RFC 9112 sections 6.3 and 7.1. Of a chunked body the
// grammar is held to strictly (ING-13): what one reader takes for the end and another does not is how requests are
// smuggled.
#include <algorithm>

#include "dataplane/l7/decision.h"

namespace sluice::l7 {

namespace {

// Body::state while Framing::Chunked.
enum State : uint8_t {
  SizeFirst,   // the first digit of a chunk's size
  Size,        // a further digit, an extension, or the end of the line
  Extension,   // up to the end of the line
  SizeFeed,    // the LF of it
  Data,        // `remaining` bytes
  DataReturn,  // the CR behind them
  DataFeed,    // the LF
  LineFirst,   // the first byte of a trailer, or of the empty line that ends the body
  Line,        // up to the end of the trailer
  LineFeed,    // the LF of it
  LastFeed,    // the LF of the empty line
};

constexpr uint64_t most_chunk = uint64_t{1} << 60;

// -1: no hexadecimal digit.
int digit(uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  const uint8_t lower = byte | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Text of a chunk extension or a trailer: no control characters but the tab, no bare CR or LF.
bool is_text(uint8_t byte) { return byte == '\t' || (byte >= ' ' && byte != 0x7f); }

// False: no chunked body goes on like that.
bool step(Body& body, uint8_t byte) {
  switch (body.state) {
    case SizeFirst:
    case Size: {
      if (const int value = digit(byte); value >= 0) {
        if (body.remaining >= most_chunk) return false;
        body.remaining = body.remaining * 16 + static_cast<uint64_t>(value);
        body.state = Size;
        return true;
      }
      if (body.state == SizeFirst) return false;
      // RFC 9112 section 7.1.1 allows white space before an extension; section 7.1 none before the end of the line.
      if (byte == ';') {
        body.state = Extension;
      } else if (byte == '\r') {
        body.state = SizeFeed;
      } else {
        return false;
      }
      return true;
    }
    case Extension:
      if (byte == '\r') {
        body.state = SizeFeed;
        return true;
      }
      return is_text(byte);
    case SizeFeed:
      body.state = body.remaining == 0 ? LineFirst : Data;
      return byte == '\n';
    case DataReturn:
      body.state = DataFeed;
      return byte == '\r';
    case DataFeed:
      body.state = SizeFirst;
      return byte == '\n';
    case LineFirst:
      body.state = byte == '\r' ? LastFeed : Line;
      return byte == '\r' || (is_text(byte) && byte != ' ' && byte != '\t');
    case Line:
      if (byte == '\r') {
        body.state = LineFeed;
        return true;
      }
      return is_text(byte);
    case LineFeed:
      body.state = LineFirst;
      return byte == '\n';
    case LastFeed:
      body = {};
      return byte == '\n';
    default:
      return false;
  }
}

}  // namespace

Skipped skip(Body& body, Bytes data) {
  size_t at = 0;
  while (at < data.size() && body.framing != Framing::None) {
    if (body.framing == Framing::Endless) return {.bytes = static_cast<uint32_t>(data.size())};
    if (body.framing == Framing::Length || body.state == Data) {
      const uint64_t taken = std::min<uint64_t>(body.remaining, data.size() - at);
      pass(body, taken);
      at += taken;
    } else if (!step(body, data[at++])) {
      return {.bytes = static_cast<uint32_t>(at), .bad = true};
    }
  }
  return {.bytes = static_cast<uint32_t>(at)};
}

uint64_t skippable(const Body& body) {
  if (body.framing == Framing::Endless) return ~uint64_t{0};
  const bool counted = body.framing == Framing::Length || (body.framing == Framing::Chunked && body.state == Data);
  return counted ? body.remaining : 0;
}

void pass(Body& body, uint64_t bytes) {
  if (bytes == 0 || body.framing == Framing::Endless) return;
  body.remaining -= bytes;
  if (body.remaining != 0) return;
  if (body.framing == Framing::Length) {
    body = {};
  } else {
    body.state = DataReturn;
  }
}

}  // namespace sluice::l7
