#include "dataplane/l7/decision.h"

namespace sluice::l7 {

std::string_view name(Outcome outcome) {
  switch (outcome) {
    case Outcome::More:
      return "more";
    case Outcome::Forward:
      return "forward";
    case Outcome::Answer:
      return "answer";
    case Outcome::Reset:
      return "reset";
  }
  return "unknown";
}

}  // namespace sluice::l7
