// The description of the API has every call of the table of routes, with every parameter, and nothing else.
#include <set>
#include <sstream>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/openapi.h"
#include "control/routes.h"

namespace sluice::control {
namespace {

namespace json = boost::json;

std::string lower(std::string_view word) {
  std::string out(word);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::set<std::string> words(std::string_view text) {
  std::istringstream in{std::string(text)};
  return {std::istream_iterator<std::string>(in), {}};
}

class OpenApi : public testing::Test {
 protected:
  const json::value document = json::parse(openapi_document("1.2.3"));
  const json::object& paths = document.at("paths").as_object();
  const json::object& schemas = document.at("components").at("schemas").as_object();
};

TEST_F(OpenApi, HasEveryCallAndNoOther) {
  std::set<std::string> described;
  for (const auto& path : paths) {
    for (const auto& operation : path.value().as_object()) {
      described.insert(std::string(operation.key()) + " " + std::string(path.key()));
    }
  }
  std::set<std::string> served;
  for (const Route& route : routes()) served.insert(lower(route.method) + " " + std::string(route.path));
  EXPECT_EQ(described, served);
  EXPECT_EQ(served.size(), routes().size()) << "a call stands in the table twice";
}

TEST_F(OpenApi, HasEveryParameterAndNoOther) {
  for (const Route& route : routes()) {
    SCOPED_TRACE(std::string(route.method) + " " + std::string(route.path));
    std::set<std::string> described;
    for (const json::value& parameter : paths.at(route.path).at(lower(route.method)).at("parameters").as_array()) {
      EXPECT_FALSE(parameter.at("description").as_string().empty());
      EXPECT_TRUE(parameter.at("schema").as_object().contains("type"));
      if (parameter.at("in").as_string() == "query") described.emplace(parameter.at("name").as_string());
    }
    EXPECT_EQ(described, words(route.parameters));
  }
}

TEST_F(OpenApi, BodiesAndAnswersHaveSchemas) {
  for (const Route& route : routes()) {
    SCOPED_TRACE(std::string(route.method) + " " + std::string(route.path));
    const json::object& operation = paths.at(route.path).at(lower(route.method)).as_object();
    EXPECT_FALSE(route.summary.empty());
    EXPECT_EQ(operation.contains("requestBody"), route.body != Body::None);
    const bool is_schema = route.answer.find('/') == std::string_view::npos;
    EXPECT_EQ(schemas.contains(route.answer), is_schema) << route.answer;
  }
  const std::string text = json::serialize(document);
  static constexpr std::string_view reference = "#/components/schemas/";
  std::set<std::string> used{"GatewayConfiguration", "ContentPolicy"};  // in a List, beside kinds that are others'
  for (size_t at = 0; (at = text.find(reference, at)) != std::string::npos;) {
    at += reference.size();
    used.insert(text.substr(at, text.find('"', at) - at));
  }
  std::set<std::string> known;
  for (const auto& schema : schemas) known.insert(std::string(schema.key()));
  EXPECT_EQ(used, known);
}

TEST_F(OpenApi, ReadingChangesNothing) {
  for (const Route& route : routes()) {
    if (route.method != "POST") {
      EXPECT_EQ(route.access, route.method == "GET" ? Access::Read : Access::Write) << route.path;
    }
    const json::value& operation = paths.at(route.path).at(lower(route.method));
    EXPECT_EQ(operation.at("x-access").as_string(), route.access == Access::Read ? "read" : "write");
  }
}

TEST_F(OpenApi, SaysTheVersion) {
  EXPECT_EQ(document.at("openapi").as_string(), "3.1.0");
  EXPECT_EQ(document.at("info").at("version").as_string(), "1.2.3");
}

}  // namespace
}  // namespace sluice::control
