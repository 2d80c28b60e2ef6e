// Fields that neither the API of an object nor the router knows get a word; all others get none (18.1).
#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/source_dir.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> warnings_of(const std::string& object) {
  const auto set = load(list_with_gateway({object}));
  EXPECT_TRUE(set) << object;
  return set ? lines(set->warnings()) : std::vector<std::string>{};
}

TEST(ConfigUnknownFields, API_WhatKubectlPrintsHasNeitherFaultsNorWarnings) {
  json::value list = json::parse(read_text(SLUICE_SOURCE_DIR "/tests/unit/data/kubectl-get.json"));
  json::array& items = list.as_object()["items"].as_array();
  const size_t count = items.size();
  items.push_back(json::parse(gateway_object));
  const ObjectSet set = valid_set(json::serialize(list));
  EXPECT_EQ(set.size(), count + 1);
  EXPECT_THAT(lines(set.warnings()), IsEmpty());
  EXPECT_EQ(set.config().services.size(), 5U);
  EXPECT_EQ(set.config().nodes.size(), 2U);
}

TEST(ConfigUnknownFields, API_AMistypedFieldOfAServiceIsNamed) {
  EXPECT_THAT(warnings_of(R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
    "spec": {"clusterIP": "10.96.0.9", "sesionAffinity": "ClientIP", "ports": [{"port": 80}, {"name": "b", "port": 81,
      "nodeprt": 30000}], "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeout": 5}}},
    "stauts": {}, "weather": "fine"})"),
              ElementsAre("/items/1/spec/sesionAffinity: unknown field, ignored; did you mean \"sessionAffinity\"?",
                          "/items/1/spec/ports/1/nodeprt: unknown field, ignored; did you mean \"nodePort\"?",
                          "/items/1/spec/sessionAffinityConfig/clientIP/timeout: unknown field, ignored",
                          "/items/1/stauts: unknown field, ignored; did you mean \"status\"?",
                          "/items/1/weather: unknown field, ignored"));
}

TEST(ConfigUnknownFields, API_AMistypedFieldOfASliceIsNamed) {
  EXPECT_THAT(
      warnings_of(R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web-1"},
    "addressType": "IPv4", "prots": [], "ports": [{"port": 80, "protocl": "TCP"}],
    "endpoints": [{"addresses": ["10.244.0.5"]}, {"addresses": ["10.244.0.6"], "nodename": "n1",
                   "conditions": {"redy": false}}]})"),
      ElementsAre("/items/1/prots: unknown field, ignored; did you mean \"ports\"?",
                  "/items/1/ports/0/protocl: unknown field, ignored; did you mean \"protocol\"?",
                  "/items/1/endpoints/1/nodename: unknown field, ignored; did you mean \"nodeName\"?",
                  "/items/1/endpoints/1/conditions/redy: unknown field, ignored; did you mean \"ready\"?"));
}

TEST(ConfigUnknownFields, API_OneFieldIsNamedOnceHoweverManyEndpointsHaveIt) {
  EXPECT_THAT(warnings_of(R"({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s",
    "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.244.0.1"], "nodename": "n"}, {"addresses": ["10.244.0.2"], "nodename": "n"}]})"),
              ElementsAre("/items/1/endpoints/0/nodename: unknown field, ignored; did you mean \"nodeName\"?"));
}

TEST(ConfigUnknownFields, API_MistypedFieldsOfOtherKindsAreNamed) {
  const auto one = [](const char* api, const char* kind, const char* name, const char* spec) {
    return warnings_of(fmt::format(R"({{"apiVersion": "{}", "kind": "{}", "metadata": {{"name": "{}"}}, "spec": {}}})",
                                   api, kind, name, spec));
  };
  EXPECT_THAT(one("v1", "Node", "n1", R"({"podCIDRS": ["10.244.0.0/24"], "taints": [{"ky": "x"}]})"),
              ElementsAre("/items/1/spec/podCIDRS: unknown field, ignored; did you mean \"podCIDRs\"?",
                          "/items/1/spec/taints/0/ky: unknown field, ignored; did you mean \"key\"?"));
  EXPECT_THAT(one("projectcalico.org/v3", "IPPool", "p", R"({"cidr": "10.244.0.0/16", "vxlanmode": "Always"})"),
              ElementsAre("/items/1/spec/vxlanmode: unknown field, ignored; did you mean \"vxlanMode\"?"));
  EXPECT_THAT(one("projectcalico.org/v3", "BlockAffinity", "b",
                  R"({"cidr": "10.244.0.0/26", "node": "n1", "state": "confirmed", "sate": ""})"),
              ElementsAre("/items/1/spec/sate: unknown field, ignored; did you mean \"state\"?"));
  EXPECT_THAT(one("projectcalico.org/v3", "IPAMConfiguration", "default", R"({"strictAfinity": true})"),
              ElementsAre("/items/1/spec/strictAfinity: unknown field, ignored; did you mean \"strictAffinity\"?"));
  EXPECT_THAT(
      one("v1", "Pod", "p", R"({"nodename": "n1", "containers": [{"name": "c", "ports": [{"hostport": 80}]}]})"),
      ElementsAre("/items/1/spec/nodename: unknown field, ignored; did you mean \"nodeName\"?",
                  "/items/1/spec/containers/0/ports/0/hostport: unknown field, ignored; did you mean \"hostPort\"?"));
  EXPECT_THAT(one("v1", "Namespace", "p", R"({"finalisers": []})"),
              ElementsAre("/items/1/spec/finalisers: unknown field, ignored; did you mean \"finalizers\"?"));
  EXPECT_THAT(warnings_of(R"({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringdata": {}})"),
              ElementsAre("/items/1/stringdata: unknown field, ignored; did you mean \"stringData\"?"));
  EXPECT_THAT(one("networking.k8s.io/v1", "ServiceCIDR", "c", R"({"cidr": ["10.97.0.0/16"]})"),
              ElementsAre("/items/1/spec/cidr: unknown field, ignored; did you mean \"cidrs\"?"));
  EXPECT_THAT(one("projectcalico.org/v3", "WorkloadEndpoint", "w",
                  R"({"node": "n1", "interfaceName": "cali0", "ipNetworks": ["10.244.0.5/32"], "podd": "x"})"),
              ElementsAre("/items/1/spec/podd: unknown field, ignored; did you mean \"pod\"?"));
}

}  // namespace
}  // namespace sluice::config
