// The words of CNI: what a runtime hands the plugin, what it gets back in each version, which errors it gets; and the
// names under which a container is known.
#include "tools/cni/cni.h"

#include <map>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/cni/delegate.h"
#include "tools/cni/router.h"

namespace sluice::cni {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;

std::map<std::string, std::string>& variables() {
  static std::map<std::string, std::string> all;
  return all;
}

const char* variable(const char* name) {
  const auto found = variables().find(name);
  return found == variables().end() ? nullptr : found->second.c_str();
}

void set_environment(std::map<std::string, std::string> more = {}) {
  variables() = {{"CNI_COMMAND", "ADD"},
                 {"CNI_CONTAINERID", "0123abc"},
                 {"CNI_NETNS", "/run/netns/x"},
                 {"CNI_IFNAME", "eth0"},
                 {"CNI_PATH", "/nowhere:/usr/lib/cni"}};
  for (auto& [name, value] : more) variables()[name] = value;
}

Environment environment(std::map<std::string, std::string> more = {}) {
  set_environment(std::move(more));
  auto read = read_environment(variable);
  EXPECT_TRUE(read) << read.error().message;
  return *read;
}

std::string environment_error(std::map<std::string, std::string> more) {
  set_environment(std::move(more));
  const auto read = read_environment(variable);
  if (read) return "fine";
  EXPECT_EQ(read.error().code, Code::InvalidEnvironment);
  return read.error().message;
}

// {"cniVersion", "name", "type"} and what comes after.
std::string conf_text(const std::string& more = "", const std::string& version = "1.0.0") {
  return R"({"cniVersion":")" + version + R"(","name":"net","type":"sluice-cni")" + (more.empty() ? "" : "," + more) +
         "}";
}

NetConf conf(const std::string& more = "", const std::string& version = "1.0.0",
             std::map<std::string, std::string> variables = {}) {
  const auto read = read_conf(conf_text(more, version), environment(std::move(variables)));
  EXPECT_TRUE(read) << read.error().message;
  return *read;
}

Error conf_error(const std::string& text) {
  const auto read = read_conf(text, environment());
  EXPECT_FALSE(read);
  return read ? Error{} : read.error();
}

std::vector<std::string> texts(const std::vector<net::IpAddr>& addresses) {
  std::vector<std::string> out;
  for (const net::IpAddr& address : addresses) out.push_back(net::to_string(address));
  return out;
}

TEST(Cni, ReadsTheEnvironment) {
  const Environment read = environment({{"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0"}});
  EXPECT_EQ(read.command, Command::Add);
  EXPECT_EQ(read.container_id, "0123abc");
  EXPECT_EQ(read.ifname, "eth0");
  EXPECT_EQ(read.args.at("K8S_POD_NAME"), "web-0");
  EXPECT_EQ(environment({{"CNI_COMMAND", "DEL"}, {"CNI_NETNS", ""}}).command, Command::Del)
      << "the namespace may have gone";
  EXPECT_EQ(environment({{"CNI_COMMAND", "VERSION"}, {"CNI_CONTAINERID", ""}}).command, Command::Version);
}

TEST(Cni, RefusesAnEnvironmentThatIsWrong) {
  EXPECT_THAT(environment_error({{"CNI_COMMAND", "add"}}), HasSubstr("CNI_COMMAND"));
  EXPECT_THAT(environment_error({{"CNI_CONTAINERID", ""}}), HasSubstr("CNI_CONTAINERID"));
  EXPECT_THAT(environment_error({{"CNI_CONTAINERID", "../x"}}), HasSubstr("CNI_CONTAINERID"));
  EXPECT_THAT(environment_error({{"CNI_IFNAME", "a/b"}}), HasSubstr("CNI_IFNAME"));
  EXPECT_THAT(environment_error({{"CNI_IFNAME", "sixteencharacter"}}), HasSubstr("CNI_IFNAME"));
  EXPECT_THAT(environment_error({{"CNI_NETNS", ""}}), HasSubstr("CNI_NETNS"));
  EXPECT_THAT(environment_error({{"CNI_COMMAND", "CHECK"}, {"CNI_NETNS", ""}}), HasSubstr("CNI_NETNS"));
}

TEST(Cni, ErrorsOfAConfigurationSayWhere) {
  EXPECT_EQ(conf_error("{").code, Code::Undecodable);
  EXPECT_EQ(conf_error("[]").code, Code::Undecodable);
  const Error version = conf_error(conf_text("", "0.2.0"));
  EXPECT_EQ(version.code, Code::IncompatibleVersion);
  EXPECT_THAT(version.details, HasSubstr("0.3.1, 0.4.0, 1.0.0"));
  const std::pair<const char*, const char*> wrong[] = {
      {R"("mtu":"big")", "/mtu: expected a number"},
      {R"("mtu":70000)", "/mtu: expected a number up to 65535"},
      {R"("ipam":{"assign_ipv6":"yes"})", "/ipam/assign_ipv6: expected true or false"},
      {R"("ipam":{"assign_ipv4":false})", "neither assign_ipv4 nor assign_ipv6"},
      {R"("ipam":{"type":"../host-local"})", "/ipam/type"},
      {R"("ipam":{"ipv4_pools":"a"})", "/ipam/ipv4_pools: expected a list"},
      {R"("runtimeConfig":{"ips":["x"]})", "\"x\", which the pod asks for, is no address"},
      {R"("socket":7)", "/socket: expected a text"},
  };
  for (const auto& [text, message] : wrong) {
    const Error error = conf_error(conf_text(text));
    EXPECT_EQ(error.code, Code::InvalidConfig) << text;
    EXPECT_THAT(error.message, HasSubstr(message)) << text;
  }
  EXPECT_THAT(conf_error(R"({"cniVersion":"1.0.0","name":"a b"})").message, HasSubstr("/name"));
}

TEST(Cni, IPAM8_WishesThatAreWrongKeepNobodyFromDel) {
  const char* wrong[] = {
      R"("ipam":{"assign_ipv4":false})",
      R"("runtimeConfig":{"ips":["x"]})",
      R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"cni.projectcalico.org/ipAddrs":"10.0.0.1"}})",
  };
  for (const char* text : wrong) {
    EXPECT_EQ(conf_error(conf_text(text)).code, Code::InvalidConfig) << "ADD: " << text;
    for (const char* command : {"DEL", "CHECK"}) {
      const auto read = read_conf(conf_text(text), environment({{"CNI_COMMAND", command}}));
      EXPECT_TRUE(read) << command << ": " << text;
    }
  }
}

TEST(Cni, IPAM3_APodAsksForAnAddressInFourWays) {
  const std::string annotations = R"("io.kubernetes.cri.pod-annotations":{
      "cni.projectcalico.org/ipAddrs":"[\"10.0.0.1\",\"fd00::1\"]","cni.projectcalico.org/ipv4pools":"[\"blue\"]"})";
  const std::string runtime = R"("runtimeConfig":{"ips":["10.0.0.2/24"],)" + annotations + "}";
  const NetConf first = conf(runtime + R"(,"ipam":{"ipv4_pools":["red"]})");
  EXPECT_THAT(texts(first.addresses), ElementsAre("10.0.0.1", "fd00::1"));
  EXPECT_THAT(first.pools, ElementsAre("blue"));
  EXPECT_THAT(texts(conf(R"("runtimeConfig":{"ips":["10.0.0.2/24"]},"args":{"cni":{"ips":["10.0.0.3"]}})").addresses),
              ElementsAre("10.0.0.2"));
  EXPECT_THAT(texts(conf(R"("args":{"cni":{"ips":["10.0.0.3"]}})").addresses), ElementsAre("10.0.0.3"));
  EXPECT_THAT(texts(conf("", "1.0.0", {{"CNI_ARGS", "IP=10.0.0.4"}}).addresses), ElementsAre("10.0.0.4"));
  EXPECT_TRUE(conf().addresses.empty());
}

TEST(Cni, ResultsOfEveryVersion) {
  Attachment made{.host_interface = "cali0",
                  .host_mac = "02:00:00:00:00:02",
                  .interface = "eth0",
                  .mac = "02:00:00:00:00:01",
                  .netns = "/run/netns/x",
                  .addresses = {*net::parse_ip("10.0.0.5"), *net::parse_ip("fd00::5")}};
  const json::value result = result_of(conf(R"("dns":{"nameservers":["10.96.0.10"]})"), made);
  EXPECT_EQ(result, json::parse(R"({"cniVersion":"1.0.0",
    "interfaces":[{"name":"cali0","mac":"02:00:00:00:00:02"},
                  {"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/x"}],
    "ips":[{"address":"10.0.0.5/32","gateway":"169.254.1.1","interface":1},
           {"address":"fd00::5/128","gateway":"fe80::ecee:eeff:feee:eeee","interface":1}],
    "routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"::/0","gw":"fe80::ecee:eeff:feee:eeee"}],
    "dns":{"nameservers":["10.96.0.10"]}})"));
  for (const char* old : {"0.3.1", "0.4.0"}) {
    const json::value older = result_of(conf("", old), made);
    EXPECT_EQ(older.at("cniVersion").as_string(), old);
    EXPECT_EQ(older.at("ips").at(0).at("version").as_string(), "4");
    EXPECT_EQ(older.at("ips").at(1).at("version").as_string(), "6");
    EXPECT_EQ(older.as_object().contains("dns"), false);
  }
  const auto again = addresses_of(result.as_object(), "eth0");
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, made.addresses);
  EXPECT_FALSE(addresses_of(result.as_object(), "eth1")) << "they are eth0's";
  EXPECT_FALSE(addresses_of(json::object{{"ips", json::array{}}}, "eth0"));
  EXPECT_TRUE(addresses_of(json::parse(R"({"ips":[{"address":"10.0.0.5/24"}]})").as_object(), "eth0"));
  const auto routes = routes_of(result.as_object());
  ASSERT_TRUE(routes);
  ASSERT_EQ(routes->size(), 2U);
  EXPECT_EQ(net::to_string(routes->back().destination), "::/0");
  EXPECT_EQ(routes->back().gateway, net::IpAddr(gateway6));
  EXPECT_TRUE(routes_of(json::object{}).value().empty());
  EXPECT_FALSE(routes_of(json::parse(R"({"routes":[{"dst":"x"}]})").as_object()));
}

TEST(Cni, DnsOfAPluginForAddressesUnlessTheConfigurationHasIt) {
  const Attachment made{.host_interface = "cali0",
                        .interface = "eth0",
                        .mac = "02:00:00:00:00:01",
                        .addresses = {*net::parse_ip("10.0.0.5")},
                        .dns = {{"domain", "plugin"}}};
  EXPECT_EQ(result_of(conf(), made).at("dns"), json::parse(R"({"domain":"plugin"})"));
  EXPECT_EQ(result_of(conf(R"("dns":{"domain":"own"})"), made).at("dns"), json::parse(R"({"domain":"own"})"));
}

TEST(Cni, ErrorsAndVersionsAsTheSpecificationHasThem) {
  EXPECT_EQ(json::value(error_of("0.4.0", {Code::TryAgain, "later", "why"})),
            json::parse(R"({"cniVersion":"0.4.0","code":11,"msg":"later","details":"why"})"));
  EXPECT_EQ(json::value(version_answer("0.4.0")),
            json::parse(R"({"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]})"));
  EXPECT_EQ(version_of(R"({"cniVersion":"0.3.1"})"), "0.3.1");
  EXPECT_EQ(version_of("nonsense"), "1.0.0");
  EXPECT_TRUE(at_least("1.0.0", "0.4.0"));
  EXPECT_FALSE(at_least("0.3.1", "0.4.0"));
}

TEST(Cni, NamesOfAPodAreCalicos) {
  const Environment pod = environment({{"CNI_ARGS", "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0"}});
  const Names names = names_of(conf(), pod, "node-1");
  EXPECT_EQ(names.ns, "prod");
  EXPECT_EQ(names.endpoint, "node--1-k8s-web--0-eth0");
  EXPECT_EQ(names.handle, "net.0123abc.eth0");
  EXPECT_EQ(names.host_interface.size(), 15U);
  EXPECT_TRUE(names.host_interface.starts_with("cali"));
  const Names bare = names_of(conf(), environment(), "n");
  EXPECT_EQ(bare.host_interface, names.host_interface) << "of the container, whatever the pod is called";
  EXPECT_EQ(bare.endpoint, "n-cni-0123abc-eth0");
  EXPECT_EQ(bare.ns, "default");
  const Names other = names_of(conf(), environment({{"CNI_IFNAME", "eth1"}}), "n");
  EXPECT_NE(other.host_interface, bare.host_interface);
  EXPECT_NE(other.handle, bare.handle);
  const Names odd = names_of(conf(), environment({{"CNI_CONTAINERID", "Upper_Case"}}), "n");
  EXPECT_TRUE(odd.endpoint.starts_with("cni-")) << "no DNS name: a hash";
  EXPECT_EQ(odd.handle, "net.Upper_Case.eth0");
}

TEST(Cni, WorkloadEndpointsHaveCalicosFields) {
  const Attachment made{
      .host_interface = "cali0", .mac = "02:00:00:00:00:01", .addresses = {*net::parse_ip("10.0.0.5")}};
  const Environment pod = environment({{"CNI_ARGS", "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0"}});
  EXPECT_EQ(json::value(endpoint_spec(pod, "n1", made)),
            json::parse(R"({"orchestrator":"k8s","node":"n1","containerID":"0123abc","endpoint":"eth0",
              "interfaceName":"cali0","mac":"02:00:00:00:00:01","ipNetworks":["10.0.0.5/32"],"pod":"web-0"})"));
}

TEST(Cni, APluginForAddressesThatIsNotThereIsNamed) {
  const NetConf wanted = conf(R"("ipam":{"type":"no-such-plugin"})");
  const auto answer = delegate(wanted, environment(), "ADD");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::InvalidConfig);
  EXPECT_THAT(answer.error().message, HasSubstr("no-such-plugin"));
}

}  // namespace
}  // namespace sluice::cni
