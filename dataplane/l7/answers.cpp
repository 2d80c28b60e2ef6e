#include "dataplane/l7/answers.h"

#include <cstring>
#include <string_view>

#include "dataplane/l7/http_chars.h"

namespace sluice::l7 {

namespace {

constexpr std::string_view protocol = "HTTP/1.";
constexpr uint8_t version_end = 8;  // behind the digit
constexpr uint8_t status_end = 12;  // behind its three digits
constexpr std::string_view length_field = "content-length";
constexpr std::string_view coding_field = "transfer-encoding";
constexpr std::string_view chunked_coding = "chunked";
constexpr uint8_t another = 0xff;            // Answers::known_ of a name or a coding that is none of these
constexpr uint64_t far = uint64_t{1} << 30;  // sequence numbers still tell what is before and what behind
constexpr unsigned most_digits = 18;

}  // namespace

void Answers::expect(bool head, bool upgrade) {
  if (pending_ == most_pending || upgrade_ || switched_) lost_ = true;
  if (lost_) return;
  heads_ |= static_cast<uint64_t>(head) << pending_;
  ++pending_;
  upgrade_ = upgrade;
}

bool Answers::reads() const {
  if (lost_ || switched_ || pending_ == 0) return false;
  return pending_ > 1 || body_.framing != Framing::Length || body_.remaining > far;
}

void Answers::pass(uint64_t bytes) {
  l7::pass(body_, bytes);
  if (bytes != 0 && body_.done()) end_answer();
}

void Answers::read(Bytes data) {
  size_t at = 0;
  while (at < data.size() && !lost_ && !switched_) {
    if (pending_ == 0) return lose();  // nobody has asked
    if (!body_.done()) {
      const Skipped skipped = skip(body_, data.subspan(at));
      if (skipped.bad) return lose();
      at += skipped.bytes;
      if (body_.done()) end_answer();
      continue;
    }
    const Step step = read_head(data, at);
    if (step == Step::Bad) return lose();
    if (step == Step::Ends) end_head();
  }
}

Answers::Step Answers::read_head(Bytes data, size_t& at) {
  while (at < data.size()) {
    Step step = Step::Goes;
    switch (at_) {
      case State::Version:
        step = version(data[at++]);
        break;
      case State::Rest:
        step = rest_of_line(data, at);
        break;
      case State::FieldFirst:
        known_ = 0;
        if (data[at] == '\r') {
          at_ = State::EndFeed;
          ++at;
          break;
        }
        if (data[at] == '\n') {
          ++at;
          bare_feed_ = true;
          return Step::Ends;
        }
        at_ = State::Name;
        [[fallthrough]];
      case State::Name:
        step = name(data[at++]);
        break;
      case State::Length:
        step = length(data[at++]);
        break;
      case State::Coding:
        step = coding(data[at++]);
        break;
      case State::LineFeed:
        at_ = State::FieldFirst;
        step = data[at++] == '\n' ? Step::Goes : Step::Bad;
        break;
      case State::EndFeed:
        step = data[at++] == '\n' ? Step::Ends : Step::Bad;
        break;
    }
    if (step != Step::Goes) return step;
  }
  return Step::Goes;
}

// A CR is part of the line's end, or anybody's guess (RFC 9112 section 2.2).
Answers::Step Answers::rest_of_line(Bytes data, size_t& at) {
  const uint8_t* const from = data.data() + at;
  const void* const feed = std::memchr(from, '\n', data.size() - at);
  const size_t length =
      feed == nullptr ? data.size() - at : static_cast<size_t>(static_cast<const uint8_t*>(feed) - from);
  const void* const found = std::memchr(from, '\r', length);
  if (length != 0 && return_seen_) return Step::Bad;
  if (found != nullptr) {
    if (found != from + length - 1) return Step::Bad;
    return_seen_ = true;
  }
  at += length;
  if (feed == nullptr) return Step::Goes;
  ++at;
  bare_feed_ = bare_feed_ || !return_seen_;
  return_seen_ = false;
  at_ = State::FieldFirst;
  return Step::Goes;
}

// RFC 9112 section 4.
Answers::Step Answers::version(uint8_t byte) {
  const uint8_t index = known_++;
  if (index < protocol.size()) return byte == static_cast<uint8_t>(protocol[index]) ? Step::Goes : Step::Bad;
  if (index == version_end) return byte == ' ' ? Step::Goes : Step::Bad;
  if (index == status_end) {
    at_ = byte == '\n' ? State::FieldFirst : State::Rest;
    return_seen_ = byte == '\r';
    if (byte == '\n') bare_feed_ = true;
    // What it does not agree to now it never will. Whoever asks for an upgrade asks for nothing else behind that.
    if (status_ >= 200 && pending_ == 1) upgrade_ = false;
    return byte == ' ' || byte == '\r' || byte == '\n' ? Step::Goes : Step::Bad;
  }
  if (!is_digit(static_cast<char>(byte))) return Step::Bad;
  if (index < version_end) {
    http10_ = byte == '0';
  } else {
    status_ = static_cast<uint16_t>(status_ * 10 + (byte - '0'));
  }
  return Step::Goes;
}

Answers::Step Answers::name(uint8_t byte) {
  if (byte == ':') {
    const std::string_view known(name_.data(), known_ <= name_.size() ? known_ : 0);
    at_ = known == length_field ? State::Length : known == coding_field ? State::Coding : State::Rest;
    const bool again = (at_ == State::Length && has_length_) || (at_ == State::Coding && has_coding_);
    const bool empty = known_ == 0;
    has_length_ = has_length_ || at_ == State::Length;
    has_coding_ = has_coding_ || at_ == State::Coding;
    known_ = 0;
    return again || empty ? Step::Bad : Step::Goes;
  }
  // White space in front of the name or of the colon is where readers differ (RFC 9112 section 5).
  if (!token_chars[byte]) return Step::Bad;
  if (known_ < name_.size()) {
    name_[known_++] = lower(static_cast<char>(byte));
  } else {
    known_ = another;
  }
  return Step::Goes;
}

Answers::Step Answers::length(uint8_t byte) {
  if (is_digit(static_cast<char>(byte))) {
    if (blank_behind_ || ++known_ > most_digits) return Step::Bad;
    length_ = length_ * 10 + (byte - '0');
    return Step::Goes;
  }
  if (byte == ' ' || byte == '\t') {
    blank_behind_ = known_ != 0;
    return Step::Goes;
  }
  at_ = byte == '\n' ? State::FieldFirst : State::LineFeed;
  if (byte == '\n') bare_feed_ = true;
  return (byte == '\r' || byte == '\n') && known_ != 0 ? Step::Goes : Step::Bad;
}

// A list of codings. known_: letters of "chunked" that were there, or `another`.
Answers::Step Answers::coding(uint8_t byte) {
  if (byte == ' ' || byte == '\t') {
    // What follows is not in the same word.
    if (known_ != 0) known_ = known_ == chunked_coding.size() ? known_ : another;
    return Step::Goes;
  }
  if (byte == ',' || byte == '\r' || byte == '\n') {
    if (byte != ',') at_ = byte == '\n' ? State::FieldFirst : State::LineFeed;
    if (byte == '\n') bare_feed_ = true;
    return end_coding() ? Step::Goes : Step::Bad;
  }
  const bool goes_on = known_ < chunked_coding.size() && lower(static_cast<char>(byte)) == chunked_coding[known_];
  known_ = goes_on ? static_cast<uint8_t>(known_ + 1) : another;
  return Step::Goes;
}

// False: chunked is not the last one.
bool Answers::end_coding() {
  const bool empty = known_ == 0;
  const bool is_chunked = known_ == chunked_coding.size();
  known_ = 0;
  if (empty) return true;
  if (chunked_) return false;
  chunked_ = is_chunked;
  return true;
}

void Answers::begin_head() {
  at_ = State::Version;
  known_ = 0;
  status_ = 0;
  length_ = 0;
  has_length_ = return_seen_ = blank_behind_ = has_coding_ = chunked_ = http10_ = bare_feed_ = false;
}

// RFC 9112 section 6.3, of a response.
void Answers::end_head() {
  const bool without_body = (heads_ & 1) != 0 || status_ == 204 || status_ == 304;
  const bool chunked = has_coding_ && chunked_;
  const bool doubtful =
      !without_body && ((has_coding_ && (!chunked_ || has_length_ || http10_)) || (!has_coding_ && !has_length_));
  const uint16_t status = status_;
  const uint64_t length = length_;
  const bool bare_feed = bare_feed_;
  begin_head();
  if (status < 100) return lose();
  if (status == 101) {
    if (!upgrade_ || pending_ != 1) return lose();
    switched_ = true;
    return;
  }
  if (bare_feed) return lose();
  if (status < 200) return;  // another head follows (RFC 9110 section 15.2)
  if (doubtful) return lose();
  if (chunked && !without_body) {
    body_ = {.framing = Framing::Chunked};
  } else if (length != 0 && !without_body) {
    body_ = {.remaining = length, .framing = Framing::Length};
  } else {
    end_answer();
  }
}

void Answers::end_answer() {
  --pending_;
  heads_ >>= 1;
}

}  // namespace sluice::l7
