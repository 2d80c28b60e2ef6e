// WorkloadEndpoints as Calico writes them, and what is refused about them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/device.h"
#include "config/validate.h"
#include "control/plan.h"
#include "tests/unit/config_documents.h"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Lines = std::vector<std::string>;

std::string endpoint(const std::string& name, const std::string& spec, const std::string& annotations = "") {
  return R"({"apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint", "metadata": {"name": ")" + name +
         R"(", "annotations": {)" + annotations + R"(}}, "spec": {"orchestrator": "k8s", )" + spec + "}}";
}
std::string pod(const std::string& name, const std::string& interface, const std::string& addresses,
                const std::string& node = "gw-1") {
  return endpoint(
      name, R"("node": ")" + node + R"(", "interfaceName": ")" + interface + R"(", "ipNetworks": [)" + addresses + "]");
}
Lines faults(const std::vector<std::string>& objects) { return lines(faults_of(list_with_gateway(objects))); }

TEST(ConfigWorkload, IsReadAsCalicoWritesIt) {
  const ObjectSet objects = valid_set(list_with_gateway({endpoint(
      "node1-k8s-web-eth0", R"("node": "gw-1", "workload": "", "pod": "web", "endpoint": "eth0", "containerID": "13",
      "interfaceName": "cali0ef24ba", "mac": "ca:fe:1d:52:bb:e9", "profiles": ["kns.default"],
      "ipNetworks": ["10.244.34.5/32", "fd00:244::5/128"], "allowSpoofedSourcePrefixes": ["198.51.100.0/24"],
      "ports": [{"name": "http", "port": 80, "protocol": "TCP"}])")}));
  const WorkloadEndpoint& read = objects.config().workloads.at({"default", "node1-k8s-web-eth0"});
  EXPECT_EQ(read.node, "gw-1");
  EXPECT_EQ(read.pod, "web");
  EXPECT_EQ(read.port_name(), "cali0ef24ba");
  EXPECT_EQ(read.mac, net::parse_mac("ca:fe:1d:52:bb:e9"));
  EXPECT_THAT(read.addresses, ElementsAre(*net::parse_ip("10.244.34.5"), *net::parse_ip("fd00:244::5")));
  EXPECT_THAT(read.allowed_sources, ElementsAre(*net::parse_prefix("198.51.100.0/24")));
}

TEST(ConfigWorkload, WhatIsMissing) {
  EXPECT_THAT(faults({endpoint("a", R"("pod": "a")")}),
              ElementsAre("/items/1/spec/node: required", "/items/1/spec/interfaceName: required",
                          "/items/1/spec/ipNetworks: required"));
  EXPECT_THAT(faults({pod("a", "cali1", "")}),
              ElementsAre("/items/1/spec/ipNetworks: at least one address is required"));
}

TEST(ConfigWorkload, Interface) {
  EXPECT_THAT(faults({pod("a", "cali0123456789ab", "\"10.244.0.1/32\"")}),
              ElementsAre("/items/1/spec/interfaceName: at most 15 characters, found 16"));
  for (const char* name : {"..", "a/b", "a b", "a:1", "memif,socket=a"}) {
    EXPECT_THAT(faults({pod("a", name, "\"10.244.0.1/32\"")}),
                ElementsAre("/items/1/spec/interfaceName: \"" + std::string(name) +
                            "\" cannot be the name of a network interface"));
  }
  EXPECT_THAT(faults({pod("a", "cali1", "\"10.244.0.1/32\""), pod("b", "cali1", "\"10.244.0.2/32\"")}),
              ElementsAre("/items/2/spec/interfaceName: WorkloadEndpoint default/a is also called \"cali1\""));
  EXPECT_THAT(faults({pod("a", "uplink0", "\"10.244.0.1/32\"")}),
              ElementsAre("/items/1/spec/interfaceName: interface \"uplink0\" is also called \"uplink0\""));
  EXPECT_THAT(faults({pod("a", "cali1", "\"10.244.0.1/32\""), pod("b", "cali1", "\"10.244.0.2/32\"", "node2")}),
              IsEmpty())
      << "another node's";
}

// They are names of the kernel's all the same: of pods' interfaces, of those that are ports as they are, of twins.
TEST(ConfigWorkload, HOST1_InterfacesOfTheKernelThatTheGatewayHas) {
  const std::string gateway = R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
    "metadata": {"name": "default"}, "spec": {"nodeName": "gw-1", "interfaces": [
      {"name": "up", "device": "packet,iface=eth1", "addresses": ["192.168.0.2/24"], "hostInterface": "up0"}]}})";
  const auto faults_beside = [&](const std::string& interface) {
    return lines(faults_of(list_of({gateway, pod("a", interface, "\"10.244.0.1/32\"")})));
  };
  EXPECT_THAT(faults_beside("eth1"),
              ElementsAre("/items/1/spec/interfaceName: interface \"up\" is also called \"eth1\""));
  EXPECT_THAT(faults_beside("up0"),
              ElementsAre("/items/1/spec/interfaceName: the twin of interface \"up\" is also called \"up0\""));
  EXPECT_THAT(faults_beside("cali1"), IsEmpty());
}

TEST(ConfigWorkload, Addresses) {
  EXPECT_THAT(faults({pod("a", "cali1", "\"10.244.0.0/24\"")}),
              ElementsAre("/items/1/spec/ipNetworks/0: \"10.244.0.0/24\" is not the address of a single host, such as "
                          "192.0.2.7/32"));
  EXPECT_THAT(faults({pod("a", "cali1", R"("10.244.0.1", "169.254.1.1/32")")}),
              ElementsAre("/items/1/spec/ipNetworks/1: 169.254.1.1 is a link-local address"));
  EXPECT_THAT(faults({pod("a", "cali1", "\"10.244.0.1/32\""), pod("b", "cali2", "\"10.244.0.1/32\"")}),
              ElementsAre("/items/2/spec/ipNetworks/0: 10.244.0.1 is also an address of WorkloadEndpoint default/a"));
  EXPECT_THAT(faults({pod("a", "cali1", "\"10.244.0.1/32\""), pod("b", "cali2", "\"10.244.0.1/32\"", "node2")}),
              ElementsAre("/items/2/spec/ipNetworks/0: 10.244.0.1 is also an address of WorkloadEndpoint default/a"))
      << "wherever they are";
  EXPECT_THAT(faults({pod("a", "cali1", "\"fd00:1::2/128\"")}),
              ElementsAre("/items/1/spec/ipNetworks/0: fd00:1::2 is also an address of interface \"uplink0\""));
}

TEST(ConfigWorkload, MacAndDevice) {
  const std::string rest = R"("node": "gw-1", "interfaceName": "cali1", "ipNetworks": ["10.244.0.1/32"])";
  EXPECT_THAT(faults({endpoint("a", R"("mac": "01:00:5e:00:00:01", )" + rest)}),
              ElementsAre("/items/1/spec/mac: 01:00:5e:00:00:01 is not the address of a station"));
  EXPECT_THAT(faults({endpoint("a", R"("mac": "02:00", )" + rest)}),
              ElementsAre("/items/1/spec/mac: \"02:00\" is not a MAC address such as 02:00:00:00:00:01"));
  EXPECT_THAT(
      faults({endpoint("a", rest, R"("sluice.dev/device": "net_null0,size=64")")}),
      ElementsAre("/items/1/metadata/annotations/sluice.dev~1device: interface \"uplink0\" has the same device"));
}

std::string on_memif(const std::string& name, const std::string& device,
                     const std::string& addresses = "\"10.244.0.1/32\"", const std::string& node = "gw-1") {
  return endpoint(name, R"("node": ")" + node + R"(", "ipNetworks": [)" + addresses + "]",
                  R"("sluice.dev/device": ")" + device + "\"");
}

TEST(ConfigWorkload, Memif) {
  const std::string device = "memif,socket=web-0,id=7,mtu=1450,secret=sesame";
  const ObjectSet objects = valid_set(list_with_gateway({on_memif("a", device)}));
  EXPECT_EQ(objects.config().workloads.at({"default", "a"}).device, device);
  std::string problem;
  EXPECT_EQ(parse_memif(device, problem), (MemifDevice{"web-0", 7, 1450, "sesame"}));
  EXPECT_EQ(parse_memif("memif,socket=w", problem), (MemifDevice{"w", 0, 1500, ""}));
  const control::Plan plan = control::make_plan(objects.config());
  const control::PlannedInterface& planned = plan.interfaces.back();
  EXPECT_EQ(planned.name, "default/a");
  EXPECT_EQ(planned.link, device);
  EXPECT_TRUE(planned.in_kernel() && planned.of_pod());
  EXPECT_EQ(planned.use, control::LinkUse::Memif);
  EXPECT_EQ(planned.mac, net::parse_mac("ee:ee:ee:ee:ee:ee"));
}

// Whatever an interface of the kernel is called, it is no memif.
TEST(ConfigWorkload, AnInterfaceThatIsCalledMemif) {
  const ObjectSet objects = valid_set(list_with_gateway({pod("a", "memif", "\"10.244.0.1/32\"")}));
  const control::Plan plan = control::make_plan(objects.config());
  EXPECT_EQ(plan.interfaces.back().link, "memif");
  EXPECT_EQ(plan.interfaces.back().use, control::LinkUse::Pod);
}

TEST(ConfigWorkload, MemifFaults) {
  const std::string at = "/items/1/metadata/annotations/sluice.dev~1device: ";
  const std::string name =
      ": expected the name of a folder, 1 to 63 letters, digits, '.', '_' or '-' and no '.' at its "
      "begin; the router makes it where --pod-sockets says";
  const std::pair<std::string, std::string> cases[] = {
      {"memif", "expected memif,socket=NAME[,id=N][,mtu=N][,secret=TEXT]"},
      {"memif,id=1,socket=a", "expected memif,socket=NAME[,id=N][,mtu=N][,secret=TEXT]"},
      {"memif,socket=", "socket=" + name},
      {"memif,socket=..", "socket=.." + name},
      {"memif,socket=/run/a", "socket=/run/a" + name},
      {"memif,socket=" + std::string(64, 'a'), "socket=" + std::string(64, 'a') + name},
      {"memif,socket=a,id=-1", "id=-1: expected a number from 0 to 4294967295"},
      {"memif,socket=a,id=4294967296", "id=4294967296: expected a number from 0 to 4294967295"},
      {"memif,socket=a,mtu=575", "mtu=575: expected a number from 576 to 9600"},
      {"memif,socket=a,mtu=9601", "mtu=9601: expected a number from 576 to 9600"},
      {"memif,socket=a,secret=", "secret=…: expected 1 to 23 bytes, found 0"},
      {"memif,socket=a,secret=012345678901234567890123", "secret=…: expected 1 to 23 bytes, found 24"},
      {"memif,socket=a,role=server", "\"role\" is no argument, or a second one; expected id=N, mtu=N or secret=TEXT"},
      {"memif,socket=a,id=1,id=1", "\"id\" is no argument, or a second one; expected id=N, mtu=N or secret=TEXT"},
      {"memif,socket=a,", "\"\" is no argument, or a second one; expected id=N, mtu=N or secret=TEXT"},
  };
  for (const auto& [device, fault] : cases) EXPECT_THAT(faults({on_memif("a", device)}), ElementsAre(at + fault));
  EXPECT_THAT(faults({on_memif("a", "memif,socket=a,mtu=1279", "\"fd00:244::1\"")}),
              ElementsAre(at + "mtu=1279: IPv6 needs at least 1280"));
  EXPECT_THAT(faults({on_memif("a", "memif,socket=a,mtu=1279")}), IsEmpty());
}

TEST(ConfigWorkload, MemifsHaveSocketsOfTheirOwn) {
  EXPECT_THAT(faults({on_memif("a", "memif,socket=s,id=1"), on_memif("b", "memif,socket=s,id=2", "\"10.244.0.2/32\"")}),
              ElementsAre("/items/2/metadata/annotations/sluice.dev~1device: WorkloadEndpoint default/a has the same "
                          "device"));
  EXPECT_THAT(faults({on_memif("a", "memif,socket=s"), on_memif("b", "memif,socket=t", "\"10.244.0.2/32\"")}),
              IsEmpty());
  EXPECT_THAT(faults({on_memif("a", "memif,socket=s"), on_memif("b", "memif,socket=s", "\"10.244.0.2/32\"", "node2")}),
              IsEmpty())
      << "another node's";
}

// The one that comes is at fault, whatever its name.
TEST(ConfigWorkload, TheNewcomerIsRefused) {
  ObjectSet objects = valid_set(list_with_gateway({pod("b", "cali1", "\"10.244.0.1/32\"")}));
  auto delta = parse_delta(R"({"kind": "Delta", "upsert": [)" + pod("a", "cali2", "\"10.244.0.1/32\"") + "]}");
  ASSERT_TRUE(delta);
  auto change = objects.apply(std::move(*delta), validate);
  ASSERT_FALSE(change);
  EXPECT_THAT(lines(change.error().faults),
              ElementsAre("/upsert/0/spec/ipNetworks/0: 10.244.0.1 is also an address of WorkloadEndpoint default/b"));
  EXPECT_EQ(objects.config().workloads.size(), 1U);
}

TEST(ConfigWorkload, OnlyThoseOfThisNodeBecomePorts) {
  const ObjectSet objects = valid_set(
      list_with_gateway({pod("a", "cali1", R"("10.244.0.1/32", "fd00:244::1/128")"),
                         pod("b", "cali2", "\"10.244.0.2/32\"", "node2"), pod("c", "cali3", "\"10.244.0.3/32\"")}));
  const control::Plan plan = control::make_plan(objects.config());
  std::vector<std::string> ports;
  for (const control::PlannedInterface& interface : plan.interfaces) {
    if (interface.in_kernel()) ports.push_back(interface.name);
  }
  EXPECT_THAT(ports, ElementsAre("cali1", "cali3"));
  const auto* route = control::find_route(plan.routes, *net::parse_ip("fd00:244::1"));
  ASSERT_NE(route, nullptr);
  EXPECT_EQ(route->second.origin, "pod");
  EXPECT_EQ(route->second.hops.front().neighbor->interface, "cali1");
  route = control::find_route(plan.routes, *net::parse_ip("10.244.0.2"));
  EXPECT_TRUE(route == nullptr || route->second.origin != "pod");
  EXPECT_THAT(lines(objects.warnings()), IsEmpty());
}

}  // namespace
}  // namespace sluice::config
