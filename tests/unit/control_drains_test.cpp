// Drained endpoints as a list and as a file.
#include <gtest/gtest.h>

#include "control/drains.h"

namespace sluice::control {
namespace {

DrainTarget target(std::string_view text) {
  auto parsed = DrainTarget::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? *parsed : DrainTarget{};
}
net::IpAddr ip(std::string_view text) { return *net::parse_ip(text); }

const config::ObjectName web_0{"prod", "web-0"};

TEST(Drains, SVC91_TheHardestOfWhatCoversAnEndpointCounts) {
  DrainList drains;
  EXPECT_EQ(drains.of(web_0, ip("10.0.0.1"), 80), Drain::None);
  EXPECT_TRUE(drains.add(target("10.0.0.1:80"), false));
  EXPECT_FALSE(drains.add(target("10.0.0.1:80"), false));
  EXPECT_EQ(drains.of(web_0, ip("10.0.0.1"), 80), Drain::Graceful);
  EXPECT_EQ(drains.of(web_0, ip("10.0.0.1"), 81), Drain::None);
  EXPECT_EQ(drains.of(web_0, ip("10.0.0.2"), 80), Drain::None);
  EXPECT_TRUE(drains.add(target("prod/web-0"), true));
  EXPECT_EQ(drains.of(web_0, ip("10.0.0.1"), 80), Drain::Hard);
  EXPECT_EQ(drains.of({"prod", "web-1"}, ip("10.0.0.1"), 80), Drain::Graceful);
  EXPECT_EQ(drains.of({"prod", ""}, ip("10.0.0.2"), 80), Drain::None) << "an endpoint of no pod";
  EXPECT_TRUE(drains.add(target("prod/web-0"), false)) << "no longer so hard";
  EXPECT_EQ(drains.of(web_0, ip("10.0.0.2"), 80), Drain::Graceful);
  EXPECT_TRUE(drains.remove(target("prod/web-0")));
  EXPECT_FALSE(drains.remove(target("prod/web-0")));
  EXPECT_EQ(drains.of(web_0, ip("10.0.0.2"), 80), Drain::None);
}

TEST(Drains, TheFileHoldsWhatTheListHolds) {
  DrainList drains;
  for (const char* text : {"prod/web-0", "10.0.0.1", "10.0.0.1:80", "fd00::1", "[fd00::1]:80"}) {
    (void)drains.add(target(text), std::string_view(text).starts_with("fd"));
  }
  const auto read = DrainList::from_text(drains.to_text());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->targets(), drains.targets());
  EXPECT_EQ(DrainList().to_text(), "{\"drains\":[]}\n");
}

TEST(Drains, AFileThatIsNone) {
  for (const char* text :
       {"", "[]", "{}", R"({"drains":{}})", R"({"drains":[1]})", R"({"drains":[{"endpoint":"a/b"}]})",
        R"({"drains":[{"endpoint":"a/b/c","hard":true}]})", R"({"drains":[]})x)"}) {
    EXPECT_FALSE(DrainList::from_text(text)) << text;
  }
}

TEST(Drains, ServicesThatHaveTheEndpoint) {
  config::Config config;
  for (const char* name : {"web", "api"}) {
    config::Service& service = config.services[{"prod", name}];
    service.name = {"prod", name};
    service.ports = {{.name = "http", .port = 80}, {.name = "", .port = 443}};
    config::EndpointSlice& slice = config.slices[{"prod", std::string(name) + "-a"}];
    slice.service = name;
    slice.ports = {{.name = "http", .port = 8080}, {.name = "", .port = 8443}};
    slice.endpoints = {{.address = ip("10.0.0.1"), .pod = "web-0"}};
  }
  config.slices[{"prod", "api-a"}].endpoints[0].pod = "api-0";
  using Names = std::vector<std::string>;
  EXPECT_EQ(services_of(config, target("prod/web-0")), (Names{"prod/web:443", "prod/web:http"}));
  EXPECT_EQ(services_of(config, target("web-0")), Names{}) << "another namespace";
  EXPECT_EQ(services_of(config, target("10.0.0.1:8080")), (Names{"prod/api:http", "prod/web:http"}));
  EXPECT_EQ(services_of(config, target("10.0.0.2")), Names{});
}

}  // namespace
}  // namespace sluice::control
