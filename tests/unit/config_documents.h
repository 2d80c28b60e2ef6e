// Documents for the tests of config: a List around the objects a test is about.
#pragma once

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "config/object_set.h"
#include "config/validate.h"

namespace sluice::config {

// A gateway with which the rules find nothing wrong; with addresses of its own for objects to run into.
inline constexpr std::string_view gateway_object = R"({
  "apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"},
  "spec": {
    "nodeName": "gw-1",
    "interfaces": [
      {"name": "uplink0", "device": "net_null0", "addresses": ["192.168.0.2/24", "fd00:1::2/64"],
       "gateway": {"v4": "192.168.0.1", "v6": "fd00:1::1"}}],
    "cluster": {"clusterCIDRs": ["10.244.0.0/16"], "serviceCIDRs": ["10.96.0.0/16", "fd00:96::/108"]}}})";

// {"kind": "List", "items": [objects…]}
inline std::string list_of(const std::vector<std::string>& objects) {
  std::string out = R"({"apiVersion": "v1", "kind": "List", "items": [)";
  for (size_t i = 0; i < objects.size(); ++i) out += (i == 0 ? "" : ",\n") + objects[i];
  return out + "]}";
}

// The objects as items 1, 2, … after the gateway at item 0.
inline std::string list_with_gateway(std::vector<std::string> objects) {
  objects.insert(objects.begin(), std::string(gateway_object));
  return list_of(objects);
}

// A Service with one port, in namespace default.
inline std::string service(const std::string& name, const std::string& cluster_ip) {
  return R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": ")" + name + R"("}, "spec": {"clusterIP": ")" +
         cluster_ip + R"(", "ports": [{"port": 80}]}})";
}

inline Result<ObjectSet, ParseFailure> load(std::string_view text, const Options& options = {}, Rules rules = nullptr) {
  auto document = parse_document(text, options);
  if (!document) return document.error();
  return ObjectSet::from_document(std::move(*document), rules);
}

// "pointer: message" of each, for comparing.
inline std::vector<std::string> lines(const std::vector<Finding>& findings) {
  std::vector<std::string> out;
  out.reserve(findings.size());
  for (const Finding& finding : findings) out.push_back(finding.pointer + ": " + finding.message);
  return out;
}

// Everything that is wrong with a document.
inline std::vector<Fault> faults_of(std::string_view text, const Options& options = {}) {
  const auto objects = load(text, options, validate);
  if (objects) return {};
  if (objects.error().syntax) return {{"", "", "", "", objects.error().syntax->text()}};
  return objects.error().faults;
}

// A set that is expected to be right in every way.
inline ObjectSet valid_set(std::string_view text) {
  auto objects = load(text);
  if (!objects) {
    for (const std::string& line : lines(objects.error().faults)) ADD_FAILURE() << line;
    if (objects.error().syntax) ADD_FAILURE() << objects.error().syntax->text();
    return {};
  }
  for (const std::string& line : lines(validate(*objects))) ADD_FAILURE() << line;
  return std::move(*objects);
}

inline std::string read_text(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace sluice::config
