#include "config/selector.h"

#include <algorithm>

namespace sluice::config {
namespace {

constexpr int deepest = 50;  // parentheses and "!" within each other

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_label_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '/' || c == '-';
}

}  // namespace

// Recursive descent; each function takes what it reads off the front of rest_ and says whether it was there.
class SelectorParser {
 public:
  SelectorParser(std::string_view text, std::vector<Selector::Step>& steps) : rest_(text), steps_(steps) {}

  bool whole() {
    skip_space();
    return rest_.empty() || (either() && rest_.empty());
  }

 private:
  using Kind = Selector::Kind;

  bool either() {
    if (!both()) return false;
    while (take("||")) {
      if (!both()) return false;
      steps_.push_back({Kind::Or});
    }
    return true;
  }

  bool both() {
    if (!term()) return false;
    while (take("&&")) {
      if (!term()) return false;
      steps_.push_back({Kind::And});
    }
    return true;
  }

  bool term() {
    if (++depth_ > deepest) return false;
    const bool read = negated_or_plain();
    --depth_;
    return read;
  }

  bool negated_or_plain() {
    if (rest_.starts_with("!") && !rest_.starts_with("!=")) {
      take("!");
      if (!term()) return false;
      steps_.push_back({Kind::Not});
      return true;
    }
    if (take("(")) return either() && take(")");
    const std::string label = word();
    if (label.empty()) return false;
    if (take("(")) {
      if (label == "all") {
        steps_.push_back({Kind::All});
        return take(")");
      }
      if (label != "has") return false;
      steps_.push_back({Kind::Has, word()});
      return !steps_.back().label.empty() && take(")");
    }
    return comparison(label);
  }

  bool comparison(const std::string& label) {
    if (take("==")) return value(Kind::In, label);
    if (take("!=")) return value(Kind::In, label) && negate();
    const std::string verb = word();
    if (verb == "in") return set(label);
    if (verb == "not") return word() == "in" && set(label) && negate();
    if (verb == "contains") return value(Kind::Contains, label);
    if (verb == "starts") return word() == "with" && value(Kind::StartsWith, label);
    if (verb == "ends") return word() == "with" && value(Kind::EndsWith, label);
    return false;
  }

  bool negate() {
    steps_.push_back({Kind::Not});
    return true;
  }

  bool value(Kind kind, const std::string& label) {
    std::string text;
    if (!quoted(text)) return false;
    steps_.push_back({kind, label, {std::move(text)}});
    return true;
  }

  bool set(const std::string& label) {
    if (!take("{")) return false;
    Selector::Step step{Kind::In, label, {}};
    while (!take("}")) {
      if (!step.values.empty() && !take(",")) return false;
      if (!quoted(step.values.emplace_back())) return false;
    }
    steps_.push_back(std::move(step));
    return true;
  }

  bool quoted(std::string& out) {
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return false;
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return false;
    out = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    skip_space();
    return true;
  }

  std::string word() {
    const auto* end = std::find_if_not(rest_.begin(), rest_.end(), is_label_char);
    std::string out(rest_.begin(), end);
    rest_.remove_prefix(out.size());
    skip_space();
    return out;
  }

  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    skip_space();
    return true;
  }

  void skip_space() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
  }

  std::string_view rest_;
  std::vector<Selector::Step>& steps_;
  int depth_ = 0;
};

std::optional<Selector> Selector::parse(std::string_view text) {
  Selector out;
  if (!SelectorParser(text, out.steps_).whole()) return std::nullopt;
  return out;
}

bool Selector::matches(const std::map<std::string, std::string>& labels) const {
  std::vector<bool> stack;
  for (const Step& step : steps_) {
    const auto found = labels.find(step.label);
    const bool has = found != labels.end();
    const auto pop = [&] {
      const bool top = stack.back();
      stack.pop_back();
      return top;
    };
    bool result = true;
    switch (step.kind) {
      case Kind::All:
        break;
      case Kind::Has:
        result = has;
        break;
      case Kind::In:
        result = has && std::find(step.values.begin(), step.values.end(), found->second) != step.values.end();
        break;
      case Kind::Contains:
        result = has && found->second.find(step.values.front()) != std::string::npos;
        break;
      case Kind::StartsWith:
        result = has && found->second.starts_with(step.values.front());
        break;
      case Kind::EndsWith:
        result = has && found->second.ends_with(step.values.front());
        break;
      case Kind::Not:
        result = !pop();
        break;
      case Kind::And:
      case Kind::Or: {
        const bool right = pop();
        const bool left = pop();
        result = step.kind == Kind::And ? left && right : left || right;
        break;
      }
    }
    stack.push_back(result);
  }
  return stack.empty() || stack.back();
}

}  // namespace sluice::config
