// Explicit Congestion Notification across tunnels (RFC 6040). On the way in the outer header copies the inner field
// (normal mode) or says Not-ECT (compatibility mode); header_template.h does that with one mask. On the way out the
// two fields become one by the table of section 4.2: congestion that the underlay marked is not lost, and a
// transport that does not understand marks never sees one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::encap {

inline constexpr uint8_t ecn_mask = 3;  // of the TOS or traffic class octet
enum class Ecn : uint8_t { NotEct = 0, Ect1 = 1, Ect0 = 2, Ce = 3 };

struct EcnOutcome {
  Ecn ecn;
  bool drop = false;  // congestion that cannot be signalled: losing the packet is the signal
  bool odd = false;   // no sound sender produces it: RFC 6040 marks it (!) or (!!!)
};

// RFC 6040 figure 4. The arguments are whole TOS octets or just their ECN bits.
[[nodiscard]] constexpr EcnOutcome decapsulate_ecn(uint8_t inner, uint8_t outer) {
  using enum Ecn;
  constexpr std::array<std::array<EcnOutcome, 4>, 4> outcome{{
      // outer:  Not-ECT          ECT(1)                 ECT(0)                 CE
      /* Not-ECT */ {{{NotEct}, {NotEct, false, true}, {NotEct, false, true}, {NotEct, true, true}}},
      /* ECT(1)  */ {{{Ect1}, {Ect1}, {Ect1, false, true}, {Ce}}},
      /* ECT(0)  */ {{{Ect0}, {Ect1}, {Ect0}, {Ce}}},
      /* CE      */ {{{Ce}, {Ce, false, true}, {Ce}, {Ce}}},
  }};
  return outcome[static_cast<size_t>(inner & ecn_mask)][static_cast<size_t>(outer & ecn_mask)];
}

}  // namespace sluice::encap
