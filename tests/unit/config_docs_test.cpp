// docs/config.md tells the truth: its examples are right, the one with every default means the defaults, and no
// field of GatewayConfiguration is missing.
#include <regex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/source_dir.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::IsEmpty;

const std::string& reference() {
  static const std::string text = read_text(SLUICE_SOURCE_DIR "/docs/config.md");
  return text;
}

struct Block {
  size_t line = 0;  // of the document, of its first line
  std::string text;
};

// Everything between ```json and ```.
std::vector<Block> json_blocks() {
  std::vector<Block> blocks;
  std::istringstream lines(reference());
  std::string line;
  bool inside = false;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    if (line == "```json") {
      inside = true;
      blocks.push_back({number + 1, ""});
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      blocks.back().text += line + "\n";
    }
  }
  return blocks;
}

std::string kind_of(const std::string& text) {
  std::smatch match;
  return std::regex_search(text, match, std::regex(R"re("kind":\s*"(\w+)")re")) ? match[1].str() : "";
}

// What the examples of single objects are added to.
ObjectSet surroundings() {
  return valid_set(list_with_gateway({R"({"apiVersion": "projectcalico.org/v3", "kind": "IPPool",
      "metadata": {"name": "default-ipv4-ippool"}, "spec": {"cidr": "10.244.0.0/16"}})",
                                      service("old", "10.96.0.9")}));
}

void expect_valid_delta(Result<Delta, ParseFailure> delta) {
  ASSERT_TRUE(delta);
  ObjectSet objects = surroundings();
  const auto change = objects.apply(std::move(*delta));
  ASSERT_TRUE(change) << testing::PrintToString(lines(change.error().faults));
  EXPECT_FALSE(change->empty());
  EXPECT_THAT(lines(change->warnings), IsEmpty());
  EXPECT_THAT(lines(objects.warnings()), IsEmpty());
  EXPECT_THAT(lines(validate(objects, *change)), IsEmpty());
}

TEST(ConfigDocs, EveryExampleIsRight) {
  std::set<std::string> kinds;
  for (const Block& block : json_blocks()) {
    SCOPED_TRACE("docs/config.md line " + std::to_string(block.line));
    const std::string kind = kind_of(block.text);
    kinds.insert(kind);
    if (kind == "List" || kind == "GatewayConfiguration") {
      EXPECT_THAT(lines(valid_set(block.text).warnings()), IsEmpty());
    } else if (kind == "Delta") {
      expect_valid_delta(parse_delta(block.text));
    } else {
      auto document = parse_document(block.text);
      ASSERT_TRUE(document);
      expect_valid_delta(to_delta(std::move(*document)));
    }
  }
  EXPECT_THAT(kinds,
              testing::UnorderedElementsAre(
                  "List", "Delta", "GatewayConfiguration", "Node", "Service", "EndpointSlice", "Pod", "ServiceCIDR",
                  "IPPool", "IPAMConfiguration", "FelixConfiguration", "BlockAffinity", "IPAMBlock", "WorkloadEndpoint",
                  "IPAddressPool", "L2Advertisement", "Namespace", "Secret", "ContentPolicy", "BGPConfiguration",
                  "BGPPeer", "BGPFilter", "Ingress", "IngressClass", "BGPAdvertisement", "Community", "BFDProfile"));
}

TEST(ConfigDocs, WrittenDefaultsAreTheDefaults) {
  const Gateway brief = valid_set(R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
      "metadata": {"name": "defaults"}, "spec": {"nodeName": "gw-1",
      "interfaces": [{"name": "uplink0", "device": "0000:3b:00.0"}]}})")
                            .config()
                            .gateway;
  size_t found = 0;
  for (const Block& block : json_blocks()) {
    if (block.text.find("\"defaults\"") == std::string::npos) continue;
    ++found;
    EXPECT_EQ(valid_set(block.text).config().gateway, brief);
  }
  EXPECT_EQ(found, 1U);
}

TEST(ConfigDocs, EveryFieldIsDescribed) {
  // The names of fields are the first texts in calls of the reader.
  const std::regex call(R"re((?:\b\w+\.\w+\(|read_port_range\(\w+, |read_single_choice\(\w+, )"(\w+)")re");
  size_t count = 0;
  for (const char* file : {"gateway.cpp", "gateway_bgp.cpp", "gateway_ingress.cpp", "gateway_network.cpp"}) {
    const std::string source = read_text(SLUICE_SOURCE_DIR "/config/" + std::string(file));
    for (auto at = std::sregex_iterator(source.begin(), source.end(), call); at != std::sregex_iterator(); ++at) {
      const std::string field = (*at)[1];
      if (field == "spec") continue;  // of every object
      ++count;
      EXPECT_NE(reference().find("`" + field + "`"), std::string::npos) << file << " reads " << field;
    }
  }
  EXPECT_GT(count, 80U);
}

TEST(ConfigDocs, EveryKindIsDescribed) {
  const std::string source = read_text(SLUICE_SOURCE_DIR "/config/kinds.cpp");
  const std::regex kind(R"re(Kind\{"(\w+)")re");
  size_t count = 0;
  for (auto at = std::sregex_iterator(source.begin(), source.end(), kind); at != std::sregex_iterator(); ++at) {
    ++count;
    EXPECT_NE(reference().find((*at)[1]), std::string::npos) << (*at)[1];
  }
  EXPECT_GT(count, 20U);
}

}  // namespace
}  // namespace sluice::config
