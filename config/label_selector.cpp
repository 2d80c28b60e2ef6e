#include "config/label_selector.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "config/reader.h"

namespace sluice::config {

class LabelSelectorReader {
 public:
  static LabelSelector read(Reader& item) {
    LabelSelector out;
    std::map<std::string, std::string> labels;
    item.labels("matchLabels", labels);
    for (auto& [label, value] : labels) out.requirements_.push_back({label, Operator::In, {value}});
    item.each("matchExpressions", [&](Reader& expression, size_t) {
      LabelSelector::Requirement requirement;
      expression.need_text("key", requirement.label);
      expression.require("operator");
      expression.choice("operator", requirement.op, operators);
      expression.texts("values", requirement.values);
      const bool wants_values = requirement.op == Operator::In || requirement.op == Operator::NotIn;
      if (wants_values == requirement.values.empty()) {
        expression.fault("values", wants_values ? "at least one is required with the operators In and NotIn"
                                                : "must be empty with the operators Exists and DoesNotExist");
      }
      out.requirements_.push_back(std::move(requirement));
    });
    return out;
  }

 private:
  using Operator = LabelSelector::Operator;
  static constexpr std::array operators{
      Choice<Operator>{"In", Operator::In}, Choice<Operator>{"NotIn", Operator::NotIn},
      Choice<Operator>{"Exists", Operator::Exists}, Choice<Operator>{"DoesNotExist", Operator::DoesNotExist}};
};

bool LabelSelector::matches(const std::map<std::string, std::string>& labels) const {
  return std::all_of(requirements_.begin(), requirements_.end(), [&](const Requirement& requirement) {
    const auto found = labels.find(requirement.label);
    const bool there = found != labels.end();
    const auto listed = [&] {
      return std::find(requirement.values.begin(), requirement.values.end(), found->second) != requirement.values.end();
    };
    switch (requirement.op) {
      case Operator::In:
        return there && listed();
      case Operator::NotIn:
        return !there || !listed();
      case Operator::Exists:
        return there;
      case Operator::DoesNotExist:
        return !there;
    }
    return false;
  });
}

bool any_matches(const std::vector<LabelSelector>& selectors, const std::map<std::string, std::string>& labels) {
  return selectors.empty() || std::any_of(selectors.begin(), selectors.end(),
                                          [&](const LabelSelector& selector) { return selector.matches(labels); });
}

void read_label_selector(Reader& from, std::string_view key, std::optional<LabelSelector>& out) {
  Reader item = from.object(key);
  if (item) out = LabelSelectorReader::read(item);
}

void read_label_selectors(Reader& from, std::string_view key, std::vector<LabelSelector>& out) {
  from.each(key, [&](Reader& item, size_t) { out.push_back(LabelSelectorReader::read(item)); });
}

}  // namespace sluice::config
