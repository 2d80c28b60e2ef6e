// Ingress and IngressClass, and spec.ingress of the gateway: what is read, refused and warned of.
#include <array>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string ingress(std::string_view spec, std::string_view annotations = "{}", std::string_view name = "web") {
  return fmt::format(R"({{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
    "metadata": {{"name": "{}", "creationTimestamp": "2026-01-02T03:04:05Z", "annotations": {}}}, "spec": {}}})",
                     name, annotations, spec);
}

std::string ingress_class(std::string_view name, std::string_view controller, bool is_default = false) {
  return fmt::format(R"({{"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {{"name": "{}",
    "annotations": {{"ingressclass.kubernetes.io/is-default-class": "{}"}}}}, "spec": {{"controller": "{}"}}}})",
                     name, is_default, controller);
}

// A rule of one path for a service.
std::string rule(std::string_view host, std::string_view path, std::string_view type = "Prefix",
                 std::string_view backend = R"({"service": {"name": "web", "port": {"number": 80}}})") {
  return fmt::format(R"({{"rules": [{{"host": "{}", "http": {{"paths": [
    {{"path": "{}", "pathType": "{}", "backend": {}}}]}}}}]}})",
                     host, path, type, backend);
}

Ingress read(std::string_view spec, std::string_view annotations = "{}") {
  return valid_set(list_with_gateway({ingress(spec, annotations)})).config().ingresses.at({"default", "web"});
}

std::vector<std::string> faults_of(const std::string& object) {
  auto set = load(list_with_gateway({object}));
  return set ? lines(validate(*set)) : lines(set.error().faults);
}

std::vector<std::string> warnings_of(const std::string& object) {
  return lines(valid_set(list_with_gateway({object})).warnings());
}

TEST(ConfigIngress, ING1_HostsPathsAndBackends) {
  const Ingress read_one = read(R"({"ingressClassName": "gw",
    "defaultBackend": {"service": {"name": "rest", "port": {"name": "http"}}},
    "rules": [
      {"host": "Foo.com", "http": {"paths": [
        {"path": "/a", "pathType": "Exact", "backend": {"service": {"name": "a", "port": {"number": 8080}}}},
        {"pathType": "ImplementationSpecific", "backend": {"service": {"name": "b", "port": {"name": "web"}}}}]}},
      {"host": "*.foo.com"},
      {"http": {"paths": [{"path": "/", "pathType": "Prefix",
                           "backend": {"service": {"name": "c", "port": {"number": 1}}}}]}}],
    "tls": [{"hosts": ["Foo.com"], "secretName": "cert"}]})",
                                R"({"sluice.dev/tls-passthrough": "true"})");
  EXPECT_EQ(read_one.class_name, "gw");
  EXPECT_EQ(read_one.created, "2026-01-02T03:04:05Z");
  EXPECT_EQ(read_one.default_backend, (IngressBackend{"rest", {"http", 0}}));
  ASSERT_EQ(read_one.rules.size(), 3U);
  EXPECT_EQ(read_one.rules[0].host, "foo.com");
  EXPECT_THAT(read_one.rules[0].paths,
              ElementsAre(IngressPath{"/a", PathType::Exact, {"a", {"", 8080}}},
                          IngressPath{"/", PathType::ImplementationSpecific, {"b", {"web", 0}}}));
  EXPECT_EQ(read_one.rules[1].host, "*.foo.com");
  EXPECT_THAT(read_one.rules[1].paths, IsEmpty());
  EXPECT_EQ(read_one.rules[2].host, "");
  EXPECT_THAT(read_one.tls_hosts, ElementsAre("foo.com"));
}

TEST(ConfigIngress, ING14_Annotations) {
  const Ingress plain = read(rule("foo.com", "/"));
  EXPECT_FALSE(plain.tls_passthrough);
  EXPECT_FALSE(plain.proxy_protocol);
  EXPECT_FALSE(plain.ssl_redirect);
  EXPECT_TRUE(read(rule("a", "/"), R"({"sluice.dev/tls-passthrough": "true"})").tls_passthrough);
  EXPECT_TRUE(read(rule("a", "/"), R"({"nginx.ingress.kubernetes.io/ssl-passthrough": "true"})").tls_passthrough);
  EXPECT_FALSE(read(rule("a", "/"), R"({"nginx.ingress.kubernetes.io/ssl-passthrough": "true",
                                        "sluice.dev/tls-passthrough": "false"})")
                   .tls_passthrough);
  EXPECT_TRUE(read(rule("a", "/"), R"({"sluice.dev/proxy-protocol": "v2"})").proxy_protocol);
  EXPECT_EQ(read(rule("a", "/"), R"({"sluice.dev/ssl-redirect": "false"})").ssl_redirect, false);
  EXPECT_THAT(faults_of(ingress(rule("a", "/"), R"({"sluice.dev/proxy-protocol": "v1"})")),
              ElementsAre(HasSubstr("/items/1/metadata/annotations/sluice.dev~1proxy-protocol: ")));
  EXPECT_THAT(faults_of(ingress(rule("a", "/"), R"({"sluice.dev/tls-passthrough": "yes"})")),
              ElementsAre(HasSubstr("/items/1/metadata/annotations/sluice.dev~1tls-passthrough: ")));
  EXPECT_THAT(warnings_of(ingress(rule("a", "/"), R"({"sluice.dev/tls": "x", "other/thing": "y",
                                                      "nginx.ingress.kubernetes.io/rewrite-target": "/"})")),
              ElementsAre(HasSubstr("sluice.dev~1tls: "), HasSubstr("rewrite-target: ")));
}

TEST(ConfigIngress, ING7_WhoseRulesCount) {
  const auto ours = [](const std::string& object, const std::vector<std::string>& classes) {
    std::vector<std::string> objects = classes;
    objects.push_back(object);
    const ObjectSet set = valid_set(list_with_gateway(objects));
    return is_ours(set.config(), set.config().ingresses.at({"default", "web"}));
  };
  const std::string mine = ingress_class("gw", "sluice.dev/ingress");
  const std::string mine_by_default = ingress_class("gw", "sluice.dev/ingress", true);
  const std::string foreign = ingress_class("nginx", "k8s.io/ingress-nginx", true);
  const std::string none = ingress(rule("a", "/"));
  const auto named = [](const std::string& name) {
    return ingress(fmt::format(R"({{"ingressClassName": "{}", "defaultBackend": {{"service": {{"name": "a",
      "port": {{"number": 1}}}}}}}})",
                               name));
  };
  const auto annotated = [](const std::string& name) {
    return ingress(rule("a", "/"), fmt::format(R"({{"kubernetes.io/ingress.class": "{}"}})", name));
  };
  EXPECT_TRUE(ours(named("gw"), {mine}));
  EXPECT_FALSE(ours(named("gw"), {}));
  EXPECT_FALSE(ours(named("nginx"), {mine_by_default, foreign}));
  EXPECT_FALSE(ours(named("other"), {mine_by_default}));
  EXPECT_TRUE(ours(none, {mine_by_default}));
  EXPECT_FALSE(ours(none, {mine}));
  EXPECT_FALSE(ours(none, {mine, foreign}));
  EXPECT_TRUE(ours(annotated("gw"), {mine}));
  EXPECT_TRUE(ours(annotated("sluice"), {}));
  EXPECT_FALSE(ours(annotated("nginx"), {mine_by_default}));
}

TEST(ConfigIngress, ING2_WrongRulesAreRefusedWhereTheyStand) {
  struct Case {
    std::string spec;
    std::string pointer;
    std::string message;
  };
  const std::string path = "/items/1/spec/rules/0/http/paths/0/";
  const std::string service = path + "backend/service/";
  for (const Case& one : std::vector<Case>{
           {rule("10.0.0.1", "/"), "/items/1/spec/rules/0/host", "is an IP address"},
           {rule("foo_bar.com", "/"), "/items/1/spec/rules/0/host", "is not a DNS name"},
           {rule("foo.com:80", "/"), "/items/1/spec/rules/0/host", "is not a DNS name"},
           {rule("a.*.com", "/"), "/items/1/spec/rules/0/host", "only as its whole first label"},
           {rule("*", "/"), "/items/1/spec/rules/0/host", "only as its whole first label"},
           {rule("*.*.com", "/"), "/items/1/spec/rules/0/host", "only as its whole first label"},
           {rule("a", "foo"), path + "path", "must begin with /"},
           {rule("a", ""), path + "path", "must begin with /"},
           {rule("a", "foo", "ImplementationSpecific"), path + "path", "must begin with /"},
           {rule("a", "/a//b"), path + "path", "must not have //"},
           {rule("a", "/a/../b", "Exact"), path + "path", "must not have /../"},
           {rule("a", "/a%2Fb"), path + "path", "must not have %2F"},
           {rule("a", "/a/.."), path + "path", "must not end in"},
           {rule("a", "/", "Regex"), path + "pathType", "Regex"},
           {R"({"rules": [{"http": {"paths": [{"path": "/", "backend": {"service": {"name": "a",
               "port": {"number": 1}}}}]}}]})",
            path + "pathType", "required"},
           {R"({"rules": [{"http": {"paths": [{"path": "/", "pathType": "Exact"}]}}]})", path + "backend", "required"},
           {rule("a", "/", "Exact", "{}"), path + "backend", "needs a service"},
           {rule("a", "/", "Exact", R"({"service": {"name": "Web", "port": {"number": 1}}})"), service + "name",
            "is not a name of a Service"},
           {rule("a", "/", "Exact", R"({"service": {"name": "web"}})"), service + "port",
            "needs the name or the number"},
           {rule("a", "/", "Exact", R"({"service": {"name": "web", "port": {"number": 1, "name": "x"}}})"),
            service + "port", "not both"},
           {rule("a", "/", "Exact", R"({"service": {"name": "web", "port": {"number": 70000}}})"),
            service + "port/number", "70000"},
           {R"({"rules": [{"host": "a", "http": {}}]})", "/items/1/spec/rules/0/http/paths", "required"},
           {R"({"rules": []})", "/items/1/spec", "needs rules or a defaultBackend"},
       }) {
    EXPECT_THAT(faults_of(ingress(one.spec)),
                Contains(testing::AllOf(testing::StartsWith(one.pointer + ": "), HasSubstr(one.message))))
        << one.spec;
  }
}

// One cluster's objects are for several controllers, and the API servers let more through than rules here can be.
TEST(ConfigIngress, ING7_WhatIsMeantForOthersIsNotRefused) {
  const std::string at = "/items/1/spec/rules/0/http/paths/0/path: ";
  for (const auto& [path, type, why] : std::vector<std::array<const char*, 3>>{
           {"/(.*)?", "ImplementationSpecific", "has ? or #"},
           {"/a#b", "ImplementationSpecific", "has ? or #"},
           {"/a?b", "Prefix", "has ? or #"},
           {"/100%", "Exact", "two hexadecimal digits"},
           {"/a%00", "Prefix", "has %00"},
           {"/..", "ImplementationSpecific", "leads out of the root"},
           {"/a/%2E./../b", "ImplementationSpecific", "leads out of the root"},
       }) {
    EXPECT_THAT(warnings_of(ingress(rule("a", path, type))),
                ElementsAre(testing::AllOf(testing::StartsWith(at), HasSubstr(why), HasSubstr("left out"))))
        << path;
  }
  EXPECT_THAT(warnings_of(ingress(rule("a", "/a/./b/../c%2F%2e%2ed/..", "ImplementationSpecific"))), IsEmpty());

  const std::string odd = R"({"nginx.ingress.kubernetes.io/ssl-passthrough": "True"})";
  EXPECT_FALSE(read(rule("a", "/"), odd).tls_passthrough);
  EXPECT_THAT(warnings_of(ingress(rule("a", "/"), odd)), ElementsAre(HasSubstr("ssl-passthrough: \"True\" is taken")));
  std::string other = ingress_class("nginx", "k8s.io/ingress-nginx", true);
  other.replace(other.find("\"true\""), 6, "\"yes\"");
  EXPECT_THAT(warnings_of(other), ElementsAre(HasSubstr("is-default-class: \"yes\" is taken")));
  EXPECT_FALSE(valid_set(list_with_gateway({other})).config().ingress_classes.at("nginx").is_default);
}

TEST(ConfigIngress, ING9_WhatHasNoEndpointsIsWarnedOf) {
  const std::string resource =
      rule("a", "/", "Prefix", R"({"resource": {"apiGroup": "k8s.example.com", "kind": "Bucket", "name": "icons"}})");
  EXPECT_THAT(warnings_of(ingress(resource)),
              ElementsAre(testing::AllOf(HasSubstr("/items/1/spec/rules/0/http/paths/0/backend/resource: "),
                                         HasSubstr("\"Bucket\""), HasSubstr("503"))));
  EXPECT_EQ(read(resource).rules[0].paths[0].backend, IngressBackend{});
  EXPECT_THAT(warnings_of(ingress(R"({"rulez": [], "tls": [{"hosts": ["a"], "secretName": "s"}],
                                     "defaultBackend": {"service": {"name": "a", "port": {"number": 1}}}})")),
              ElementsAre(HasSubstr("/items/1/spec/tls: "), HasSubstr("/items/1/spec/rulez: ")));
}

std::string gateway(std::string_view settings) {
  return fmt::format(R"({{"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
    "metadata": {{"name": "default"}}, "spec": {{"nodeName": "gw-1",
    "interfaces": [{{"name": "uplink0", "device": "net_null0", "addresses": ["192.168.0.2/24"]}}],
    "cluster": {{"serviceCIDRs": ["10.96.0.0/16"]}}, "ingress": {}}}}})",
                     settings);
}

std::vector<std::string> gateway_faults(std::string_view settings, std::vector<std::string> objects = {}) {
  objects.insert(objects.begin(), gateway(settings));
  auto set = load(list_of(objects));
  return set ? lines(validate(*set)) : lines(set.error().faults);
}

TEST(ConfigIngress, ING16_WhereTheGatewayListens) {
  const IngressSettings settings = valid_set(list_of({gateway(R"({"enabled": true, "http": [80, 8080], "https": [8443],
        "addresses": ["192.168.0.2", "2001:db8::80"], "defaultBackend": "default/web:http", "sslRedirect": false,
        "timeouts": {"headers": "5s"}})")}))
                                       .config()
                                       .gateway.ingress;
  EXPECT_THAT(settings.http, ElementsAre(80, 8080));
  EXPECT_THAT(settings.https, ElementsAre(8443));
  EXPECT_EQ(settings.addresses.size(), 2U);
  EXPECT_EQ(settings.default_backend, (DefaultBackend{"default", "web", {"http", 0}}));
  EXPECT_FALSE(settings.ssl_redirect);
  EXPECT_FALSE(settings.preserve_client_address);
  EXPECT_TRUE(valid_set(list_of({gateway(R"({"preserveClientAddress": true})")}))
                  .config()
                  .gateway.ingress.preserve_client_address);
  EXPECT_EQ(settings.header_timeout, Seconds(5));
  EXPECT_EQ(settings.tcp, IngressTcp{});
  const std::string offer = R"({"tcp": {"mss": 1400, "timestamps": false, "sack": false}})";
  EXPECT_EQ(valid_set(list_of({gateway(offer)})).config().gateway.ingress.tcp, (IngressTcp{1400, false, false}));
  EXPECT_EQ(valid_set(list_of({gateway(R"({"tcp": {"mss": null}})")})).config().gateway.ingress.tcp, IngressTcp{});

  const std::string at = "/items/0/spec/ingress/";
  EXPECT_THAT(gateway_faults(R"({"enabled": false})"), IsEmpty());
  EXPECT_THAT(gateway_faults(R"({"enabled": true})"), ElementsAre(HasSubstr(at + "addresses: ")));
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["127.0.0.1"]})"),
              ElementsAre(HasSubstr(at + "addresses/0: 127.0.0.1 is a loopback address")));
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["192.0.2.1", "192.0.2.1"]})"),
              ElementsAre(HasSubstr(at + "addresses/1: ")));
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["192.0.2.1"], "https": [443, 80]})"),
              ElementsAre(HasSubstr(at + "https/1: 80 is a port of http")));
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["192.0.2.1"], "http": [], "https": []})"),
              ElementsAre(HasSubstr(at + "http: ")));
  EXPECT_THAT(gateway_faults(R"({"defaultBackend": "web:80"})"), ElementsAre(HasSubstr(at + "defaultBackend: ")));
  for (const char* port : {"0", "65536", "70000", "99999999999999999999", ""}) {
    EXPECT_THAT(gateway_faults(fmt::format(R"({{"defaultBackend": "default/web:{}"}})", port)),
                ElementsAre(HasSubstr(at + "defaultBackend: ")))
        << port;
  }
  EXPECT_THAT(gateway_faults(R"({"http": [0]})"), ElementsAre(HasSubstr(at + "http/0: ")));
  EXPECT_THAT(gateway_faults(R"({"tcp": {"mss": 535}})"), ElementsAre(HasSubstr(at + "tcp/mss: ")));
}

std::string web(std::string_view fields) {
  return fmt::format(R"({{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "web"}},
    "spec": {{"type": "NodePort", "clusterIP": "10.96.0.1", {}}}}})",
                     fields);
}

TEST(ConfigIngress, ING16_AddressesThatServicesHave) {
  const std::string at = "/items/0/spec/ingress/";
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["10.96.0.1"]})", {web(R"("ports": [{"port": 81}])")}),
              ElementsAre(HasSubstr(at + "addresses/0: 10.96.0.1 belongs to the service network"),
                          HasSubstr(at + "addresses/0: 10.96.0.1 belongs to service default/web")));
  const std::string external = web(R"("externalIPs": ["192.0.2.1"], "ports": [{"port": 443}])");
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["192.0.2.1"]})", {external}),
              ElementsAre(HasSubstr(at + "https/0: TCP port 443 of 192.0.2.1 belongs to service default/web")));
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["192.0.2.1"], "https": []})", {external}), IsEmpty());
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["192.0.2.2"]})", {external}), IsEmpty());
  const std::string node_port = web(R"("ports": [{"port": 80, "nodePort": 30080}])");
  EXPECT_THAT(gateway_faults(R"({"enabled": true, "addresses": ["192.168.0.2"], "http": [30080]})", {node_port}),
              ElementsAre(HasSubstr(at + "http/0: TCP node port 30080 belongs to service default/web")));

  // The service that comes later is told.
  auto set = valid_set(list_of({gateway(R"({"enabled": true, "addresses": ["192.0.2.1"]})")}));
  auto delta = parse_delta(R"({"kind": "Delta", "upsert": [)" + external + "]}");
  ASSERT_TRUE(delta);
  const auto change = set.apply(std::move(*delta));
  ASSERT_TRUE(change);
  EXPECT_THAT(lines(validate(set, *change)),
              ElementsAre(HasSubstr("/upsert/0/spec/ports/0/port: TCP port 443 of 192.0.2.1 belongs to spec.ingress")));
}

TEST(ConfigIngress, ING16_AddressesThatAreSomebodyElses) {
  const std::string node = R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
    "spec": {"podCIDRs": ["10.244.1.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.11"}]}})";
  const std::string self = R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gw-1"},
    "status": {"addresses": [{"type": "ExternalIP", "address": "192.0.2.7"}]}})";
  const std::string at = "/items/0/spec/ingress/addresses/0: ";
  const auto faults = [&](std::string_view address) {
    std::string with_gateway = gateway(fmt::format(R"({{"enabled": true, "addresses": ["{}"]}})", address));
    const std::string own = R"(["192.168.0.2/24"])";
    with_gateway.insert(with_gateway.find(own) + own.size(), R"(, "gateway": {"v4": "192.168.0.1"})");
    with_gateway.insert(with_gateway.rfind(R"("ingress")"), R"("neighbors": [{"interface": "uplink0",
      "address": "192.168.0.5", "mac": "02:00:00:00:00:05"}], )");
    auto set = load(list_of({with_gateway, node, self}));
    return set ? lines(validate(*set)) : lines(set.error().faults);
  };
  EXPECT_THAT(faults("192.168.0.1"), ElementsAre(HasSubstr(at + "192.168.0.1 belongs to the gateway of interface")));
  EXPECT_THAT(faults("192.168.0.5"), ElementsAre(HasSubstr(at + "192.168.0.5 belongs to a static neighbor")));
  EXPECT_THAT(faults("192.168.0.11"), ElementsAre(HasSubstr(at + "192.168.0.11 belongs to node node1")));
  EXPECT_THAT(faults("10.244.1.9"), ElementsAre(HasSubstr(at + "10.244.1.9 belongs to the pod network")));
  EXPECT_THAT(faults("10.96.7.7"), ElementsAre(HasSubstr(at + "10.96.7.7 belongs to the service network")));
  for (const char* free : {"192.168.0.2", "192.168.0.3", "192.0.2.7"}) EXPECT_THAT(faults(free), IsEmpty()) << free;
}

TEST(ConfigIngress, ING4_DeltasLeadWhereDocumentsDo) {
  const std::string other = ingress(rule("b.com", "/"), "{}", "other");
  ObjectSet set = valid_set(list_with_gateway({ingress(rule("a.com", "/")), ingress_class("gw", "x")}));
  auto delta = parse_delta(R"({"kind": "Delta", "upsert": [)" + other + "," + ingress_class("gw", "y") +
                           R"(], "delete": [{"kind": "Ingress", "namespace": "default", "name": "web"}]})");
  ASSERT_TRUE(delta);
  auto change = set.apply(std::move(*delta));
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->touches("Ingress"));
  const ObjectSet whole = valid_set(list_with_gateway({other, ingress_class("gw", "y")}));
  EXPECT_EQ(set.config(), whole.config());
  set.revert(std::move(*change));
  EXPECT_EQ(set.config(),
            valid_set(list_with_gateway({ingress(rule("a.com", "/")), ingress_class("gw", "x")})).config());
}

}  // namespace
}  // namespace sluice::config
