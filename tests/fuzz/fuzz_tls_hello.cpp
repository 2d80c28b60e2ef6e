// Any bytes as a ClientHello: nothing is read behind them, and what is certain stays so with more of them.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dataplane/l7/tls_hello.h"

namespace sluice::l7 {
namespace {

void check(bool invariant) {
  if (!invariant) __builtin_trap();
}

void run(const uint8_t* data, size_t size) {
  if (size > 2 * most_hello_bytes) return;
  const std::vector<uint8_t> bytes(data, data + size);
  const TlsHello whole = parse_tls_hello(bytes);
  if (whole.state == HelloState::Whole) {
    check(whole.size <= bytes.size() && whole.size >= 9);
    check(whole.server_name().size() <= whole.name.size());
  }
  // Half of it decides nothing, or the same.
  const std::vector<uint8_t> half(data, data + size / 2);
  const TlsHello part = parse_tls_hello(half);
  check(part.state == HelloState::More || (part.state == whole.state && part.server_name() == whole.server_name()));
}

}  // namespace
}  // namespace sluice::l7

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::l7::run(data, size);
  return 0;
}
