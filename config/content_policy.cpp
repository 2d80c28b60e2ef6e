#include "config/content_policy.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>

#include "config/convert.h"
#include "config/suricata.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

constexpr uint32_t least_depth = 64;
constexpr uint32_t most_depth = 16U << 20;

constexpr std::array actions{
    Choice<ContentAction>{"Drop", ContentAction::Drop}, Choice<ContentAction>{"Reset", ContentAction::Reset},
    Choice<ContentAction>{"Mirror", ContentAction::Mirror}, Choice<ContentAction>{"Count", ContentAction::Count}};
constexpr std::array directions{Choice<ContentDirection>{"Both", ContentDirection::Both},
                                Choice<ContentDirection>{"Ingress", ContentDirection::Ingress},
                                Choice<ContentDirection>{"Egress", ContentDirection::Egress}};
constexpr std::array overloads{Choice<ContentOverload>{"Pass", ContentOverload::Pass},
                               Choice<ContentOverload>{"Drop", ContentOverload::Drop}};

struct Flag {
  std::string_view name;
  bool ContentExpression::*field;
};
constexpr std::array flags{Flag{"caseless", &ContentExpression::caseless}, Flag{"dotAll", &ContentExpression::dot_all},
                           Flag{"multiLine", &ContentExpression::multi_line}, Flag{"utf8", &ContentExpression::utf8}};

void read_flags(Reader& item, ContentExpression& expression) {
  item.each_value("flags", [&](const json::value& value, const Place& place) {
    const auto text = item.to_text(value, place);
    if (!text) return;
    const auto* const flag = std::find_if(flags.begin(), flags.end(), [&](const Flag& f) { return f.name == *text; });
    if (flag == flags.end()) {
      item.report().fault(
          place.path(),
          fmt::format("{} is not one of \"caseless\", \"dotAll\", \"multiLine\", \"utf8\"", quoted(*text)));
    } else {
      expression.*(flag->field) = true;
    }
  });
}

ContentPattern read_pattern(Reader& item, const ContentPattern& defaults) {
  ContentPattern pattern = defaults;
  item.need_text("name", pattern.name);
  item.choice("action", pattern.action, actions);
  item.choice("direction", pattern.direction, directions);
  ContentExpression expression;
  std::string literal;
  item.text("regex", expression.text);
  item.text("literal", literal);
  if (expression.text.empty() == literal.empty()) {
    item.fault(item.has("literal") ? "literal" : "regex",
               "exactly one of regex and literal says what to look for, and it is not empty");
  }
  if (!literal.empty()) {
    expression.text = std::move(literal);
    expression.literal = true;
  }
  read_flags(item, expression);
  pattern.all.push_back(std::move(expression));
  return pattern;
}

Digest digest_of_rules(const ContentPolicy& policy) {
  std::string all = fmt::format("{} {}\n", policy.depth, static_cast<int>(policy.overload));
  for (const ContentPattern& pattern : policy.patterns) {
    all += fmt::format("{}:{} {} {} {} {} {}\n", pattern.name.size(), pattern.name, static_cast<int>(pattern.action),
                       static_cast<int>(pattern.direction), pattern.list, pattern.index, pattern.all.size());
    for (const ContentExpression& one : pattern.all) {
      all += fmt::format("{}:{} {}{}{}{}{} {} {}\n", one.text.size(), one.text, one.literal, one.caseless, one.dot_all,
                         one.multi_line, one.utf8, one.least_end.value_or(0), one.most_end.value_or(0));
    }
  }
  return digest_of(all);
}

// Rules of Suricata: a list of lines, or a text of them as they stand in a file.
void read_suricata(Reader& spec, const ContentPattern& defaults, ContentPolicy& policy) {
  constexpr std::string_view key = "suricataRules";
  const auto take = [&](std::string_view line, size_t index, const Path& path, std::string_view where) {
    const SuricataRule rule = parse_suricata_rule(line);
    if (const auto* unmapped = std::get_if<UnmappedRule>(&rule)) {
      spec.report().warn(path, fmt::format("{}this rule is left out: {}", where, unmapped->reason));
    } else if (const auto* pattern = std::get_if<ContentPattern>(&rule)) {
      ContentPattern& added = policy.patterns.emplace_back(*pattern);
      added.list = key;
      added.index = static_cast<uint32_t>(index);
      if (added.name.empty()) added.name = fmt::format("rule {}", index + 1);
      if (added.direction == ContentDirection::Both) added.direction = defaults.direction;
    }
  };
  const json::value* const value = spec.find(key);
  if (value == nullptr) return;
  if (!value->is_string()) {
    return spec.each_value(key, [&](const json::value& item, const Place& place) {
      if (const auto line = spec.to_text(item, place)) take(*line, place.index, place.path(), "");
    });
  }
  std::string_view rest = value->get_string();
  for (size_t line = 0; !rest.empty(); ++line) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    take(rest.substr(0, end), line, Path::of("spec", key), fmt::format("line {}: ", line + 1));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

}  // namespace

ContentPolicy read_content_policy(const ObjectKey& key, Reader& object) {
  ContentPolicy policy;
  policy.ns = key.ns;
  policy.name = key.name;
  static constexpr Place root{};
  const json::value* fields = object.find("spec");
  (void)object.object("spec");
  object.require("spec");
  Reader spec(fields == nullptr ? nullptr : fields->if_object(), object.report(), Place{&root, "spec"},
              UnknownFields::Warn);
  read_label_selector(spec, "serviceSelector", policy.services);
  read_label_selector(spec, "podSelector", policy.pods);
  if (!policy.services && !policy.pods) {
    spec.warn("serviceSelector",
              "nothing is selected: say serviceSelector or podSelector ({} is everything in the "
              "namespace)");
  }
  spec.number("depth", policy.depth, least_depth, most_depth);
  spec.choice("overload", policy.overload, overloads);
  ContentPattern defaults;
  spec.choice("action", defaults.action, actions);
  spec.choice("direction", defaults.direction, directions);
  std::set<std::string> names;
  spec.each("patterns", [&](Reader& item, size_t index) {
    defaults.index = static_cast<uint32_t>(index);
    policy.patterns.push_back(read_pattern(item, defaults));
    const std::string& name = policy.patterns.back().name;
    if (!name.empty() && !names.insert(name).second) {
      item.fault("name", fmt::format("there is a pattern {} already", quoted(name)));
    }
  });
  read_suricata(spec, defaults, policy);
  policy.digest = digest_of_rules(policy);
  return policy;
}

}  // namespace sluice::config
