// Bodies that come compressed (Content-Encoding: gzip, RFC 9110 section 8.4.1.3), expanded while they come.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::control {

class Gunzip {
 public:
  Gunzip();
  ~Gunzip();
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  enum class Outcome : uint8_t {
    Consumed,  // all of `packed`
    Full,      // `out` has grown by `room`; `packed` is what is left, and there may be more of what was taken
    Broken,    // this is no gzip, or its checksum is wrong
  };
  // Appends to `out` at most `room` bytes, so that a small text that means a very large one costs no more than that.
  [[nodiscard]] Outcome expand(std::string_view& packed, std::string& out, uint64_t room);
  // Whether the text may end here: at the end of a member, and not before the first.
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  bool complete_ = false;
  bool more_ = false;  // zlib may have text that there was no room for
};

}  // namespace sluice::control
