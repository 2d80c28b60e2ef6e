// What an endpoint answers on a connection whose requests are read: where each answer ends, byte by byte as it passes
// (RFC 9112 section 6.3). Only then is it certain that the next request may go elsewhere.
//
// A bare LF ends a line of a head for some readers, as section 2.2 allows, and is part of a value to others, who go on
// up to the next CRLF, into the body if need be. So a head with one, or with a CR alone, has no certain end, but for
// the one that agrees to another protocol: no answer follows that. In a chunked body a bare LF is refused.
//
// Nothing is kept of the bytes. Whatever two readers could take differently, or what ends with the connection, leaves
// it open for ever where the answer ends: the connection then stays where it is.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/l7/decision.h"

namespace sluice::l7 {

class Answers {
 public:
  static constexpr unsigned most_pending = 64;

  // Another endpoint is about to be asked.
  void begin() { *this = {}; }
  // It has been asked something. `head`: by a method whose answers have no body; `upgrade`: and for another protocol.
  void expect(bool head, bool upgrade);
  // The next bytes, in order.
  void read(Bytes data);
  // Bytes were missed that need not be read: at most skippable() of them.
  void pass(uint64_t bytes);
  // Nobody can say any more where an answer ends.
  void lose() { lost_ = true; }

  [[nodiscard]] bool lost() const { return lost_; }
  // It has answered all that it was asked.
  [[nodiscard]] bool complete() const { return pending_ == 0 && !lost_ && !switched_; }
  // It may yet agree to another protocol: what the client sends next is for that, or another request.
  [[nodiscard]] bool may_switch() const { return upgrade_ && !lost_ && !switched_; }
  // It has: what follows is no HTTP, in either direction.
  [[nodiscard]] bool switched() const { return switched_; }
  // Nothing has come of the only answer that is missing.
  [[nodiscard]] bool silent() const { return pending_ == 1 && within_head() && at_ == State::Version && known_ == 0; }
  [[nodiscard]] bool within_head() const { return pending_ != 0 && body_.done() && !lost_ && !switched_; }
  [[nodiscard]] uint64_t skippable() const { return lost_ ? 0 : l7::skippable(body_); }
  // Whether the next bytes have to be read. Those of the only answer's body need not, if its length is known and so
  // short that its end has a sequence number.
  [[nodiscard]] bool reads() const;

 private:
  enum class State : uint8_t {
    Version,     // "HTTP/1.", a digit, a blank, three digits: known_ of them
    Rest,        // up to the end of the line, which nobody reads
    FieldFirst,  // the first byte of a line
    Name,
    Length,  // the value of Content-Length
    Coding,  // of Transfer-Encoding
    LineFeed,
    EndFeed,  // the LF of the empty line
  };
  enum class Step : uint8_t { Goes, Ends, Bad };

  [[nodiscard]] Step read_head(Bytes data, size_t& at);
  [[nodiscard]] Step rest_of_line(Bytes data, size_t& at);
  [[nodiscard]] Step version(uint8_t byte);
  [[nodiscard]] Step name(uint8_t byte);
  [[nodiscard]] Step length(uint8_t byte);
  [[nodiscard]] Step coding(uint8_t byte);
  [[nodiscard]] bool end_coding();
  void begin_head();
  void end_head();
  void end_answer();

  uint64_t heads_ = 0;  // bit i: the answer after i others has no body
  Body body_;           // of the answer that is being read, behind its head
  uint64_t length_ = 0;
  uint16_t status_ = 0;
  uint8_t pending_ = 0;  // answers that are not complete
  State at_ = State::Version;
  uint8_t known_ = 0;  // bytes of the version, of the name, digits of the length or letters of the coding
  std::array<char, 17> name_{};
  bool bare_feed_ = false;    // a line of this head ends with LF alone
  bool return_seen_ = false;  // a CR was the last byte of Rest
  bool has_length_ = false;
  bool blank_behind_ = false;  // of the length
  bool has_coding_ = false;
  bool chunked_ = false;
  bool http10_ = false;
  bool upgrade_ = false;
  bool switched_ = false;
  bool lost_ = false;
};

}  // namespace sluice::l7
