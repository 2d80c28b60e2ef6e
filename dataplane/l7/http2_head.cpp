#include "dataplane/l7/http2_head.h"

#include <algorithm>

#include "dataplane/l7/authority.h"
#include "dataplane/l7/http_chars.h"

namespace sluice::l7 {

namespace {

// RFC 9113 section 6.
enum FrameType : uint8_t {
  DataFrame = 0,
  HeadersFrame = 1,
  ResetFrame = 3,
  SettingsFrame = 4,
  PushFrame = 5,
  GoawayFrame = 7,
  ContinuationFrame = 9,
};
constexpr uint8_t ack_flag = 0x1;
constexpr uint8_t end_headers_flag = 0x4;
constexpr uint8_t padded_flag = 0x8;
constexpr uint8_t priority_flag = 0x20;
constexpr size_t frame_header = 9;
constexpr size_t most_payload = 16384;  // SETTINGS_MAX_FRAME_SIZE before any SETTINGS of the server

// Section 8.2.1, and a colon only in front of pseudo-header fields.
constexpr CharClass name_chars = char_class([](char c) { return is_token_char(c) && lower(c) == c; });
constexpr CharClass value_chars = char_class([](char c) { return c != '\0' && c != '\r' && c != '\n'; });
constexpr CharClass path_chars = char_class([](char c) {
  const auto byte = static_cast<uint8_t>(c);
  return byte > ' ' && byte != 0x7f && c != '#';
});

// Section 8.2.2.
bool is_of_connection(const HeaderField& field) {
  for (const std::string_view name : {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}) {
    if (field.name == name) return true;
  }
  return field.name == "te" && field.value != "trailers";
}

}  // namespace

Http2Head::Http2Head(Bytes start, bool greeted) : data_(start), greeted_(greeted) { run(); }

bool Http2Head::bad(Http2Error error, std::string_view reason) {
  state_ = HeadState::Bad;
  error_ = error;
  reason_ = reason;
  return false;
}

void Http2Head::run() {
  const size_t known = std::min(data_.size(), http2_preface.size());
  if (!std::equal(data_.begin(), data_.begin() + static_cast<ptrdiff_t>(known), http2_preface.begin())) {
    bad(Http2Error::Protocol, "preface");
    return;
  }
  if (known < http2_preface.size()) return;
  at_ = known;
  Frame frame;
  bool first = true;
  while (next_frame(frame)) {
    // Section 3.4.
    if (first && (frame.type != SettingsFrame || (frame.flags & ack_flag) != 0)) {
      bad(Http2Error::Protocol, "preface");
      return;
    }
    first = false;
    if (frame.type == HeadersFrame) {
      if (headers(frame)) fields();
      if (state_ == HeadState::Whole && greeted_) find_answer();
      return;
    }
    if (!before_headers(frame)) return;
    if (greeted_) note_answer(frame);
    settings_came_ = true;
  }
}

bool Http2Head::next_frame(Frame& out) {
  const Bytes rest = data_.subspan(at_);
  if (rest.size() < frame_header) {
    if (at_ + frame_header > most_head_bytes) return bad(Http2Error::EnhanceYourCalm, "head_too_long");
    return false;
  }
  const size_t length = static_cast<size_t>(rest[0]) << 16 | static_cast<size_t>(rest[1]) << 8 | rest[2];
  if (length > most_payload) return bad(Http2Error::FrameSize, "frame_size");
  if (at_ + frame_header + length > most_head_bytes) return bad(Http2Error::EnhanceYourCalm, "head_too_long");
  out.type = rest[3];
  out.flags = rest[4];
  out.stream = (static_cast<uint32_t>(rest[5]) << 24 | static_cast<uint32_t>(rest[6]) << 16 |
                static_cast<uint32_t>(rest[7]) << 8 | rest[8]) &
               0x7fffffff;
  if (rest.size() < frame_header + length) return false;
  out.payload = rest.subspan(frame_header, length);
  at_ += frame_header + length;
  return true;
}

// Behind the request, if it did not come before. Until it comes nothing is whole.
void Http2Head::find_answer() {
  Frame frame;
  while (answer_at_ == 0 && next_frame(frame)) note_answer(frame);
  if (answer_at_ == 0 && state_ == HeadState::Whole) state_ = HeadState::More;
}

void Http2Head::note_answer(const Frame& frame) {
  const bool answer = frame.type == SettingsFrame && (frame.flags & ack_flag) != 0 && frame.payload.empty();
  if (answer && answer_at_ == 0) answer_at_ = at_ - answer_size;
}

// Frames that may come while no stream is open; the endpoint judges what is in them. Unknown ones are passed over
// (section 5.5).
bool Http2Head::before_headers(const Frame& frame) {
  switch (frame.type) {
    case SettingsFrame:
      if (frame.stream != 0) return bad(Http2Error::Protocol, "settings");
      return frame.payload.size() % 6 == 0 || bad(Http2Error::FrameSize, "settings");
    case DataFrame:
    case ResetFrame:
    case PushFrame:
    case GoawayFrame:
    case ContinuationFrame:
      return bad(Http2Error::Protocol, "no_headers");
    default:
      return true;
  }
}

// Sections 6.2 and 6.10.
bool Http2Head::headers(const Frame& frame) {
  stream_ = frame.stream;
  if (stream_ % 2 == 0) return bad(Http2Error::Protocol, "stream");
  Bytes fragment = frame.payload;
  if ((frame.flags & padded_flag) != 0) {
    if (fragment.empty() || fragment[0] >= fragment.size()) return bad(Http2Error::Protocol, "padding");
    fragment = fragment.subspan(1, fragment.size() - 1 - fragment[0]);
  }
  if ((frame.flags & priority_flag) != 0) {
    constexpr size_t priority = 5;
    if (fragment.size() < priority) return bad(Http2Error::FrameSize, "priority");
    fragment = fragment.subspan(priority);
  }
  if (!append(fragment)) return false;
  bool last = (frame.flags & end_headers_flag) != 0;
  while (!last) {
    Frame more;
    if (!next_frame(more)) return false;
    if (more.type != ContinuationFrame || more.stream != stream_) return bad(Http2Error::Protocol, "continuation");
    if (!append(more.payload)) return false;
    last = (more.flags & end_headers_flag) != 0;
  }
  return true;
}

bool Http2Head::append(Bytes fragment) {
  if (fragment.size() > block_.size() - block_size_) return bad(Http2Error::EnhanceYourCalm, "head_too_long");
  std::copy(fragment.begin(), fragment.end(), block_.begin() + static_cast<ptrdiff_t>(block_size_));
  block_size_ += fragment.size();
  return true;
}

// Section 8.3.
void Http2Head::fields() {
  decoder_.start(Bytes(block_.data(), block_size_));
  HeaderField field;
  while (true) {
    const HpackState next = decoder_.next(field);
    if (next == HpackState::End) break;
    if (next == HpackState::TooLong) {
      bad(Http2Error::EnhanceYourCalm, "head_too_long");
      return;
    }
    if (next == HpackState::Bad) {
      bad(Http2Error::Compression, "compression");
      return;
    }
    if (!(field.name.starts_with(':') ? pseudo(field) : regular(field))) return;
  }
  if (has_authority_ && has_host_ && !equals_ignoring_case(authority_, host_)) {
    malformed("host_is_not_of_target");
    return;
  }
  if (!has_authority_) authority_ = host_;
  if (!parse_authority(authority_).valid()) {
    malformed("host");
    return;
  }
  const bool connect = method_ == "CONNECT";
  if (!is_token(method_) || (!connect && (scheme_.empty() || target_.empty()))) {
    malformed("request_line");
    return;
  }
  const bool path = target_.starts_with('/') || (target_ == "*" && method_ == "OPTIONS");
  if (!connect && (!path || !all_of_class(target_, path_chars))) {
    malformed("target");
    return;
  }
  state_ = HeadState::Whole;
}

bool Http2Head::pseudo(const HeaderField& field) {
  std::string_view* out = nullptr;
  if (field.name == ":method") out = &method_;
  if (field.name == ":scheme") out = &scheme_;
  if (field.name == ":path") out = &target_;
  if (field.name == ":authority") {
    if (has_authority_) return malformed("pseudo_field");
    has_authority_ = true;
    out = &authority_;
  }
  if (out == nullptr || regular_seen_ || !out->empty() || !all_of_class(field.value, value_chars)) {
    return malformed("pseudo_field");
  }
  *out = field.value;
  return true;
}

bool Http2Head::regular(const HeaderField& field) {
  regular_seen_ = true;
  if (field.name.empty() || !all_of_class(field.name, name_chars)) return malformed("field_name");
  if (!all_of_class(field.value, value_chars)) return malformed("control_character");
  if (is_of_connection(field)) return malformed("field_of_connection");
  if (field.name == "host") {
    if (has_host_) return malformed("several_hosts");
    has_host_ = true;
    host_ = field.value;
  }
  return true;
}

}  // namespace sluice::l7
