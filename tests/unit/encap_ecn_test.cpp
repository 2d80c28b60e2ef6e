// RFC 6040 figure 4, cell by cell.
#include <gtest/gtest.h>

#include "encap/ecn.h"

namespace sluice::encap {
namespace {

struct Cell {
  Ecn inner;
  Ecn outer;
  Ecn result;
  bool drop;
  bool odd;
};

TEST(Ecn, DecapsulationMatrix) {
  using enum Ecn;
  for (const Cell& c : {
           Cell{NotEct, NotEct, NotEct, false, false},
           {NotEct, Ect0, NotEct, false, true},
           {NotEct, Ect1, NotEct, false, true},
           {NotEct, Ce, NotEct, true, true},
           {Ect0, NotEct, Ect0, false, false},
           {Ect0, Ect0, Ect0, false, false},
           {Ect0, Ect1, Ect1, false, false},
           {Ect0, Ce, Ce, false, false},
           {Ect1, NotEct, Ect1, false, false},
           {Ect1, Ect0, Ect1, false, true},
           {Ect1, Ect1, Ect1, false, false},
           {Ect1, Ce, Ce, false, false},
           {Ce, NotEct, Ce, false, false},
           {Ce, Ect0, Ce, false, false},
           {Ce, Ect1, Ce, false, true},
           {Ce, Ce, Ce, false, false},
       }) {
    const auto inner = static_cast<uint8_t>(c.inner);
    const auto outer = static_cast<uint8_t>(c.outer);
    const EcnOutcome outcome = decapsulate_ecn(inner, outer);
    EXPECT_EQ(outcome.drop, c.drop) << int{inner} << int{outer};
    EXPECT_EQ(outcome.odd, c.odd) << int{inner} << int{outer};
    if (!c.drop) {
      EXPECT_EQ(outcome.ecn, c.result) << int{inner} << int{outer};
    }
    // A DSCP in either octet changes nothing.
    const EcnOutcome marked = decapsulate_ecn(static_cast<uint8_t>(inner | 0xb8), static_cast<uint8_t>(outer | 0x28));
    EXPECT_EQ(marked.ecn, outcome.ecn);
    EXPECT_EQ(marked.drop, outcome.drop);
  }
}

// RFC 3168 section 5.
TEST(Ecn, CodePoints) {
  EXPECT_EQ(static_cast<int>(Ecn::NotEct), 0b00);
  EXPECT_EQ(static_cast<int>(Ecn::Ect1), 0b01);
  EXPECT_EQ(static_cast<int>(Ecn::Ect0), 0b10);
  EXPECT_EQ(static_cast<int>(Ecn::Ce), 0b11);
}

}  // namespace
}  // namespace sluice::encap
