// What the fuzzer of the API puts into requests (tests/fuzz/http_grammar.h) knows every path and every kind, and its
// documents are right: what is wrong at once leads nowhere.
#include <algorithm>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/kinds.h"
#include "control/routes.h"
#include "tests/fuzz/http_grammar.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

std::string first_kind(const std::string& text) {
  std::smatch found;
  return std::regex_search(text, found, std::regex(R"re("kind":"(\w+)")re")) ? found[1].str() : "";
}

TEST(FuzzGrammar, HasADocumentOfEveryKind) {
  const std::regex head(R"re("apiVersion":"([^"]+)","kind":"(\w+)")re");
  std::set<std::string> there;
  for (const std::string_view document : fuzz::documents) {
    const std::string text(document);
    for (std::sregex_iterator at(text.begin(), text.end(), head); at != std::sregex_iterator(); ++at) {
      const std::string kind = (*at)[2].str();
      EXPECT_EQ(find_kind(kind, (*at)[1].str()) == nullptr, kind == "List") << kind;
      there.insert(kind);
    }
  }
  for (const Kind& kind : all_kinds()) EXPECT_TRUE(there.contains(std::string(kind.name))) << kind.name;
}

TEST(FuzzGrammar, ItsDocumentsAreRight) {
  constexpr std::string_view pool =
      R"({"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"pods"},"spec":{"cidr":"10.244.0.0/16"}})";
  for (const std::string_view document : fuzz::documents) {
    const std::string text(document);
    const std::string kind = first_kind(text);
    if (kind == "List") {
      EXPECT_THAT(lines(faults_of(text)), testing::IsEmpty());
    } else if (!kind.empty() && text.starts_with(R"({"apiVersion")")) {
      std::vector<std::string> objects{text};
      if (kind != "IPPool") objects.emplace_back(pool);  // that blocks are in
      EXPECT_THAT(lines(faults_of(list_with_gateway(objects))), testing::IsEmpty()) << text;
    }
  }
}

TEST(FuzzGrammar, HasATargetForEveryPath) {
  for (const control::Route& route : control::routes()) {
    if (route.path == control::object_path) continue;
    const std::string_view path = route.path.substr(0, route.path.find('{'));
    EXPECT_TRUE(std::any_of(fuzz::targets.begin(), fuzz::targets.end(), [&](std::string_view target) {
      const bool longer = path != route.path && target.size() > path.size();
      return target.starts_with(path) && (longer || target.substr(0, target.find('?')) == path);
    })) << route.path;
  }
}

}  // namespace
}  // namespace sluice::config
