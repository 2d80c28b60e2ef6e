// The calls of the API about addresses: what they answer, what they refuse.
#include <boost/asio/co_spawn.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api.h"
#include "control/api_ipam.h"
#include "tests/unit/fake_router.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using testing::HasSubstr;

class ApiIpam : public testing::Test {
 protected:
  ApiIpam() {
    router.pools.gateway.node_name = "gw-1";
    router.pools.gateway.local_node_names = {"gw-1", "n2"};
    router.pools.nodes["n2"] = {.name = "n2"};
    for (const auto& [name, cidr, size] : {std::tuple("four", "10.0.0.0/29", 30), {"six", "fd00::/120", 126}}) {
      config::IpPool pool;
      pool.name = name;
      pool.cidr = prefix(cidr);
      pool.block_size = static_cast<uint8_t>(size);
      router.pools.pools[name] = pool;
    }
  }

  Response ask(std::string method, std::string_view target, std::string body = "") {
    Request request;
    request.method = std::move(method);
    request.has_body = !body.empty();
    request.body = std::move(body);
    EXPECT_TRUE(set_target(request, target));
    asio::io_context io;
    Response out;
    asio::co_spawn(io, handle(router, std::move(request)), [&](const std::exception_ptr& error, Response response) {
      EXPECT_FALSE(error);
      out = std::move(response);
    });
    io.run();
    return out;
  }
  Response assign(std::string body) { return ask("POST", "/v1/ipam/addresses", std::move(body)); }
  static std::string message(const Response& response) {
    return std::string(json::parse(response.body).at("error").at("message").as_string());
  }

  FakeRouter router;
};

TEST_F(ApiIpam, IPAM10_AssignsShowsAndReleases) {
  EXPECT_EQ(assign(R"({"handle":"net.a","families":["IPv4","IPv6"],"attributes":{"pod":"web-0"}})").body,
            R"({"handle":"net.a","addresses":["10.0.0.0","fd00::"]})"
            "\n");
  const std::string handle =
      R"({"handle":"net.a","node":"gw-1","use":"Workload","timeSeconds":1,"addresses":["10.0.0.0","fd00::"],)"
      R"("attributes":{"pod":"web-0"}})";
  EXPECT_EQ(ask("GET", "/v1/ipam/handles/net.a").body, handle + "\n");
  EXPECT_EQ(ask("GET", "/v1/ipam/handles").body, R"({"handles":[)" + handle + "]}\n");
  const json::value blocks = json::parse(ask("GET", "/v1/ipam/blocks").body).at("blocks");
  ASSERT_EQ(blocks.as_array().size(), 2U);
  EXPECT_EQ(blocks.at(0),
            json::parse(R"({"cidr":"10.0.0.0/30","node":"gw-1","state":"pending","size":4,"used":1,"free":3})"));
  const json::value addresses = json::parse(ask("GET", "/v1/ipam/addresses").body).at("addresses");
  ASSERT_EQ(addresses.as_array().size(), 2U);
  EXPECT_EQ(addresses.at(0), json::parse(R"({"address":"10.0.0.0","handle":"net.a","node":"gw-1","use":"Workload",
      "block":"10.0.0.0/30","borrowed":false,"timeSeconds":1,"attributes":{"pod":"web-0"}})"));
  EXPECT_EQ(ask("DELETE", "/v1/ipam/handles/net.a").body, "{\"released\":2}\n");
  EXPECT_EQ(ask("DELETE", "/v1/ipam/handles/net.a").body, "{\"released\":0}\n");
  EXPECT_EQ(ask("GET", "/v1/ipam/handles/net.a").status, 404U);
}

TEST_F(ApiIpam, StatusCodesOfRefusals) {
  EXPECT_EQ(assign(R"({"handle":"a","addresses":["10.9.9.9"]})").status, 422U) << "in no pool";
  EXPECT_EQ(assign(R"({"handle":"a","families":["IPv4"],"node":"nobody"})").status, 422U);
  EXPECT_EQ(assign(R"({"handle":"a","addresses":["10.0.0.1"]})").status, 200U);
  EXPECT_EQ(assign(R"({"handle":"b","addresses":["10.0.0.1"]})").status, 409U) << "another's";
  EXPECT_EQ(assign(R"({"handle":"a","addresses":["10.0.0.2"]})").status, 409U) << "it has another";
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(assign(fmt::format(R"({{"handle":"x{}","families":["IPv4"]}})", i)).status, 200U);
  }
  EXPECT_EQ(assign(R"({"handle":"y","families":["IPv4"]})").status, 409U) << "nothing is free";
}

TEST_F(ApiIpam, WhatIsWrongWithARequestIsSaid) {
  const std::pair<const char*, const char*> wrong[] = {
      {"[]", "expected an object"},
      {"{", "expected an object"},
      {R"({"families":["IPv4"]})", "/handle: needed"},
      {R"({"handle":"a/b","families":["IPv4"]})", "/handle: expected letters"},
      {R"({"handle":"a"})", "/families: needed"},
      {R"({"handle":"a","families":["IPv5"]})", "/families: expected IPv4 or IPv6"},
      {R"({"handle":"a","families":"IPv4"})", "/families: expected a list"},
      {R"({"handle":"a","addresses":["10.0.0.1/32"]})", "/addresses: \"10.0.0.1/32\" is not an address"},
      {R"({"handle":"a","families":["IPv4"],"use":"Other"})", "/use: expected Workload or Tunnel"},
      {R"({"handle":"a","families":["IPv4"],"attributes":{"pod":1}})", "/attributes/pod: expected a text"},
      {R"({"handle":"a","families":["IPv4"],"pod":"x"})", "/pod: there is no such field"},
  };
  for (const auto& [body, what] : wrong) {
    const Response response = assign(body);
    EXPECT_EQ(response.status, 400U) << body;
    EXPECT_THAT(message(response), HasSubstr(what)) << body;
  }
}

TEST_F(ApiIpam, PathsOfHandles) {
  EXPECT_EQ(handle_of("/v1/ipam/handles/net.a"), "net.a");
  EXPECT_FALSE(handle_of("/v1/ipam/handles/"));
  EXPECT_FALSE(handle_of("/v1/ipam/handles/a/b"));
  EXPECT_EQ(ask("GET", "/v1/ipam/handles/a/b").status, 404U);
  EXPECT_EQ(ask("PUT", "/v1/ipam/handles/a", "{}").status, 405U);
  EXPECT_EQ(ask("GET", "/v1/services/default/web").status, 404U) << "an object's path is still one";
}

}  // namespace
}  // namespace sluice::control
