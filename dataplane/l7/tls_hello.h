// The ClientHello of a TLS connection: RFC 8446 section 4.1.2, in records of section 5.1, which may cut it anywhere;
// the server name of RFC 6066 section 3 and the protocols of RFC 7301.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dataplane/l7/decision.h"

namespace sluice::l7 {

// Those of browsers are of 500 to 2500 bytes.
inline constexpr uint32_t most_hello_bytes = 16384;

// RFC 8446 section 6.
enum class TlsAlert : uint8_t {
  UnexpectedMessage = 10,
  IllegalParameter = 47,
  DecodeError = 50,
  UnrecognizedName = 112,
};

enum class HelloState : uint8_t {
  More,
  Whole,
  Bad,     // `alert` says why
  NotTls,  // nothing to answer to
};

struct TlsHello {
  HelloState state = HelloState::More;
  TlsAlert alert = TlsAlert::DecodeError;
  uint32_t size = 0;  // bytes, with the headers of records and what else the last record holds
  uint8_t name_size = 0;
  uint8_t alpn_size = 0;
  std::array<char, 255> name;
  std::array<char, 63> alpn;

  // As it was sent; empty: none.
  [[nodiscard]] std::string_view server_name() const { return {name.data(), name_size}; }
  // Those of ALPN with commas between them, "h2,http/1.1", as many as there is room for. For people: nothing depends
  // on them.
  [[nodiscard]] std::string_view protocols() const { return {alpn.data(), alpn_size}; }
};

// `start`: the first bytes of a connection. What has been read stays checked: a hello whose end is still to come is bad
// as early as that is certain.
[[nodiscard]] TlsHello parse_tls_hello(Bytes start);

// A fatal alert in a record of its own. Lives as long as the program.
[[nodiscard]] Bytes tls_alert(TlsAlert alert);

}  // namespace sluice::l7
