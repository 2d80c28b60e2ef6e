// Calico's selectors over labels: all(), has(k), k == 'v', k in {'a', 'b'}, contains, starts with, ends with, !, &&, ||
// and parentheses (projectcalico.org/v3, NetworkPolicy "Selectors"). A label that is missing is different from every
// value: k != 'v' and k not in {…} hold without it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::config {

class Selector {
 public:
  // Everything.
  Selector() = default;

  // Empty text is all(). Empty result: it is no selector.
  [[nodiscard]] static std::optional<Selector> parse(std::string_view text);

  [[nodiscard]] bool matches(const std::map<std::string, std::string>& labels) const;

  friend bool operator==(const Selector&, const Selector&) = default;

 private:
  friend class SelectorParser;

  enum class Kind : uint8_t { All, Has, In, Contains, StartsWith, EndsWith, Not, And, Or };
  // In postfix order: what Not, And and Or work on comes before them.
  struct Step {
    Kind kind = Kind::All;
    std::string label = {};
    std::vector<std::string> values = {};  // In: any of them
    friend bool operator==(const Step&, const Step&) = default;
  };

  std::vector<Step> steps_;  // none: all()
};

}  // namespace sluice::config
