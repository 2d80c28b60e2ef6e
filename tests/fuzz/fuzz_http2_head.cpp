// Any bytes behind the preface of HTTP/2, and the same as a block of fields: nothing is read behind them, and what is
// certain stays so with more of them.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataplane/l7/http2_head.h"

namespace sluice::l7 {
namespace {

void check(bool invariant) {
  if (!invariant) __builtin_trap();
}

void run(const uint8_t* data, size_t size) {
  if (size > most_head_bytes) return;
  std::vector<uint8_t> bytes(http2_preface.begin(), http2_preface.end());
  bytes.insert(bytes.end(), data, data + size);
  const Http2Head head(bytes);
  if (head.state() == HeadState::Whole) {
    check(head.size() <= bytes.size() && head.stream() % 2 == 1);
    check(!head.method().empty() && (head.method() == "CONNECT" || !head.target().empty()));
  } else if (head.state() == HeadState::Bad) {
    check(!head.reason().empty());
  }
  const std::vector<uint8_t> half(bytes.begin(), bytes.end() - static_cast<ptrdiff_t>(size / 2));
  const Http2Head part(half);
  check(part.state() == HeadState::More || part.state() == head.state());

  const std::vector<uint8_t> block(data, data + size);
  HpackDecoder decoder;
  decoder.start(block);
  HeaderField field;
  size_t read = 0;
  while (decoder.next(field) == HpackState::Field) {
    for (const std::string_view text : {field.name, field.value}) {
      for (const char c : text) read += static_cast<uint8_t>(c);
    }
  }
  check(read != static_cast<size_t>(-1));
}

}  // namespace
}  // namespace sluice::l7

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::l7::run(data, size);
  return 0;
}
