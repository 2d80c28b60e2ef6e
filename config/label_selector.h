// Kubernetes' label selectors: matchLabels and matchExpressions, all of which must hold (apimachinery's
// LabelSelector). One that says nothing matches everything. A label that is missing is NotIn every list.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::config {

class Reader;

class LabelSelector {
 public:
  [[nodiscard]] bool matches(const std::map<std::string, std::string>& labels) const;

  friend bool operator==(const LabelSelector&, const LabelSelector&) = default;

 private:
  friend class LabelSelectorReader;

  enum class Operator : uint8_t { In, NotIn, Exists, DoesNotExist };
  struct Requirement {
    std::string label;
    Operator op = Operator::Exists;
    std::vector<std::string> values = {};
    friend bool operator==(const Requirement&, const Requirement&) = default;
  };

  std::vector<Requirement> requirements_;
};

// Whether any of them matches; an empty list matches everything.
[[nodiscard]] bool any_matches(const std::vector<LabelSelector>& selectors,
                               const std::map<std::string, std::string>& labels);

// The selector in a field, if it is there.
void read_label_selector(Reader& from, std::string_view key, std::optional<LabelSelector>& out);
// The list of selectors in a field.
void read_label_selectors(Reader& from, std::string_view key, std::vector<LabelSelector>& out);

}  // namespace sluice::config
