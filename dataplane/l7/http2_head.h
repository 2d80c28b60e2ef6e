// The first request of an HTTP/2 connection whose client knows that HTTP/2 is spoken (RFC 9113 section 3.3): behind the
// preface frames up to the end of the first header block. Everything after that is between client and endpoint.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/l7/decision.h"
#include "dataplane/l7/hpack.h"
#include "dataplane/l7/http_head.h"

namespace sluice::l7 {

inline constexpr std::string_view http2_preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113 section 7.
enum class Http2Error : uint8_t {
  None = 0,
  Protocol = 1,
  FrameSize = 6,
  Compression = 9,
  EnhanceYourCalm = 11,
  Http11Required = 13
};

class Http2Head {
 public:
  // `start`: begins with the preface, or with a part of it that is all there is. `greeted`: the client was sent
  // http2_greeting(), and its answer to that is a part of the head, wherever it is.
  explicit Http2Head(Bytes start, bool greeted = false);
  Http2Head(const Http2Head&) = delete;
  Http2Head& operator=(const Http2Head&) = delete;

  [[nodiscard]] HeadState state() const { return state_; }
  // Of Bad: what is wrong with the connection; None: with the request alone.
  [[nodiscard]] Http2Error error() const { return error_; }
  [[nodiscard]] std::string_view reason() const { return reason_; }
  // The client's preface is whole, whatever follows.
  [[nodiscard]] bool settings_came() const { return settings_came_; }
  [[nodiscard]] uint32_t stream() const { return stream_; }
  [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(at_); }
  // Of a client that was greeted: where its answer is, which the endpoint has not asked for (RFC 9113 section 6.5.3).
  [[nodiscard]] uint32_t answer_at() const { return static_cast<uint32_t>(answer_at_); }
  static constexpr uint32_t answer_size = 9;
  // Of Whole; they live as long as this and the bytes it was made of.
  [[nodiscard]] std::string_view method() const { return method_; }
  [[nodiscard]] std::string_view authority() const { return authority_; }
  [[nodiscard]] std::string_view target() const { return target_; }

 private:
  struct Frame {
    uint8_t type = 0;
    uint8_t flags = 0;
    uint32_t stream = 0;
    Bytes payload;
  };

  void run();
  // False: it is not whole yet, or too long.
  bool next_frame(Frame& out);
  bool before_headers(const Frame& frame);
  bool headers(const Frame& frame);
  bool append(Bytes fragment);
  void fields();
  void find_answer();
  void note_answer(const Frame& frame);
  bool pseudo(const HeaderField& field);
  bool regular(const HeaderField& field);
  bool bad(Http2Error error, std::string_view reason);
  bool malformed(std::string_view reason) { return bad(Http2Error::None, reason); }

  Bytes data_;
  bool greeted_;
  size_t at_ = 0;
  size_t answer_at_ = 0;  // 0: it has not come
  HeadState state_ = HeadState::More;
  Http2Error error_ = Http2Error::None;
  std::string_view reason_;
  uint32_t stream_ = 0;
  std::string_view method_, scheme_, authority_, target_, host_;
  bool settings_came_ = false;
  bool has_authority_ = false;
  bool has_host_ = false;
  bool regular_seen_ = false;
  size_t block_size_ = 0;
  std::array<uint8_t, most_head_bytes> block_;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  HpackDecoder decoder_;
};

// SETTINGS that leave all as it is: what a client waits for that sends no request before. Lives as long as the program.
[[nodiscard]] Bytes http2_greeting();
// SETTINGS, the status for the stream and GOAWAY, as the router answers and ends a connection. `location`: for a
// redirect. Lives until this thread asks again.
[[nodiscard]] Bytes http2_answer(uint16_t status, uint32_t stream, std::string_view location = {});
// SETTINGS and GOAWAY. Lives until this thread asks again.
[[nodiscard]] Bytes http2_goaway(Http2Error error);
// 502, 503 or 504 for stream 1, which is every client's first but after an upgrade. Lives as long as the program.
[[nodiscard]] Bytes http2_failure(uint16_t status);

}  // namespace sluice::l7
