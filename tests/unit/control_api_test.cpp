// The config API: first what each call answers, with a router that only remembers what it was asked; then the
// server around it, over a real socket, against clients that are slow, greedy, malformed or many.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "config/json_memory.h"
#include "control/api.h"
#include "control/api_server.h"
#include "control/metrics.h"
#include "tests/unit/fake_router.h"
#include "tests/unit/gzip.h"

namespace sluice::control {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using Code = ApplyReply::Code;
using std::chrono::milliseconds;

// ---- calls -------------------------------------------------------------------------------------------

class Api : public testing::Test {
 protected:
  Response ask(std::string method, std::string_view target, std::string body = "", std::string type = "") {
    Request request;
    request.method = std::move(method);
    request.body = std::move(body);
    request.content_type = std::move(type);
    EXPECT_TRUE(set_target(request, target));
    return ask(std::move(request));
  }
  Response ask(Request request) {
    asio::io_context io;
    Response out;
    asio::co_spawn(io, handle(router, std::move(request)), [&](const std::exception_ptr& error, Response response) {
      EXPECT_FALSE(error);
      out = std::move(response);
    });
    io.run();
    return out;
  }
  static json::value parse(const Response& response) {
    EXPECT_EQ(response.content_type, "application/json");
    EXPECT_TRUE(response.body.ends_with('\n'));
    return json::parse(response.body);
  }
  static std::string message(const Response& response) {
    const json::value answer = parse(response);
    EXPECT_EQ(answer.at("error").at("code").to_number<unsigned>(), response.status);
    return std::string(answer.at("error").at("message").as_string());
  }
  static std::string header(const Response& response, std::string_view name) {
    for (const auto& [key, value] : response.headers) {
      if (key == name) return value;
    }
    return "";
  }

  FakeRouter router;
};

TEST_F(Api, PutConfigReplacesEverything) {
  const Response response = ask("PUT", "/v1/config", "the text", "application/json; charset=utf-8");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"generation":42,"applied":true,"changed":true,"applyMillis":12,"warnings":[]})"
                           "\n");
  EXPECT_EQ(router.call, "replace");
  EXPECT_EQ(router.text, "the text");
  EXPECT_FALSE(router.options.dry_run || router.options.ignore_unknown_kinds || router.options.ndjson);
}

// What is made of a body can be many times larger than the body.
TEST_F(Api, API_MemoryIsBoundedWhileABodyIsRead) {
  router.reply.code = Code::SyntaxError;
  router.reply.message = config::TooLarge().what();
  const Response refused = ask("POST", "/v1/config:validate", "{}");
  EXPECT_EQ(refused.status, 413);
  EXPECT_EQ(message(refused), router.reply.message);

  std::string zeros = R"({"metadata": [0)";
  while (zeros.size() < (size_t{16} << 20)) zeros += ",0";
  zeros += "]}";
  router.call.clear();
  EXPECT_EQ(ask("PUT", "/v1/services/default/web", zeros).status, 413);
  EXPECT_EQ(router.call, "");
  EXPECT_EQ(message(ask("POST", "/v1/explain", zeros)), "the body is larger than 1048576 bytes");
  EXPECT_EQ(ask("POST", "/v1/ipam/addresses", zeros).status, 413);
}

TEST_F(Api, OptionsOfAChange) {
  ask("PUT", "/v1/config?dryRun=true&ignoreUnknown=true", "", "application/x-ndjson");
  EXPECT_TRUE(router.options.dry_run && router.options.ignore_unknown_kinds && router.options.ndjson);
  ask("PATCH", "/v1/config?dryRun=false", "{}");
  EXPECT_EQ(router.call, "patch");
  EXPECT_FALSE(router.options.dry_run || router.options.ignore_unknown_kinds);
}

TEST_F(Api, UnchangedAndDryRunAreToldApart) {
  router.reply.code = Code::Unchanged;
  json::value answer = parse(ask("PUT", "/v1/config"));
  EXPECT_TRUE(answer.at("applied").as_bool());
  EXPECT_FALSE(answer.at("changed").as_bool());
  router.reply.code = Code::Applied;
  answer = parse(ask("PUT", "/v1/config?dryRun=true"));
  EXPECT_FALSE(answer.at("applied").as_bool());
  EXPECT_TRUE(answer.at("dryRun").as_bool());
}

TEST_F(Api, ValidateIsADryRun) {
  EXPECT_EQ(ask("POST", "/v1/config:validate", "{}").status, 200);
  EXPECT_EQ(router.call, "replace");
  EXPECT_TRUE(router.options.dry_run);
  EXPECT_EQ(ask("POST", "/v1/config:validate?dryRun=false", "{}").status, 400);
}

TEST_F(Api, OutcomesHaveTheirStatusCodes) {
  const std::map<Code, unsigned> expected{{Code::SyntaxError, 400}, {Code::StaleBase, 409}, {Code::Failed, 503}};
  for (const auto& [code, status] : expected) {
    router.reply = {code, 42, "line 3, column 14 (offset 57): expected a value", {}, {}, 0};
    const Response response = ask("PATCH", "/v1/config", "{}");
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(message(response), router.reply.message);
    EXPECT_EQ(parse(response).at("generation").to_number<int>(), 42);
  }
}

TEST_F(Api, FaultsAreListedWithTheirPlaces) {
  router.reply.code = Code::Invalid;
  router.reply.faults = {{"Service", "default/web", "/items/3/spec/ports/1/nodePort", "spec.ports[1].nodePort",
                          "expected a port in 30000-32767, found 80"}};
  const Response response = ask("PUT", "/v1/config", "{}");
  EXPECT_EQ(response.status, 422);
  EXPECT_EQ(message(response), "nothing was applied, 1 fault");
  EXPECT_EQ(json::serialize(parse(response).at("errors")),
            R"([{"kind":"Service","name":"default/web","path":"spec.ports[1].nodePort",)"
            R"("pointer":"/items/3/spec/ports/1/nodePort","message":"expected a port in 30000-32767, found 80"}])");
}

TEST_F(Api, WarningsComeWithTheAnswerUpToAThousand) {
  router.reply.warnings.assign(1500, {"Node", "n", "/items/0/spec/x", "spec.x", "unknown field"});
  const json::value answer = parse(ask("PUT", "/v1/config", "{}"));
  EXPECT_EQ(answer.at("warnings").as_array().size(), 1000);
  EXPECT_EQ(answer.at("warnings").at(0).at("path"), "spec.x");
  EXPECT_EQ(answer.at("warningsLeftOut").to_number<int>(), 500);
}

TEST_F(Api, GetConfigTakesKindsAsKubectlDoes) {
  EXPECT_EQ(ask("GET", "/v1/config").body, router.applied + '\n');
  EXPECT_EQ(router.asked_kind + router.asked_ns, "");
  const std::map<std::string, std::string> words{{"svc", "Service"},
                                                 {"services", "Service"},
                                                 {"EndpointSlice", "EndpointSlice"},
                                                 {"ippools", "IPPool"},
                                                 {"no", "Node"},
                                                 {"blockaffinities", "BlockAffinity"},
                                                 {"ingresses", "Ingress"},
                                                 {"INGRESS", "Ingress"},
                                                 {"networkpolicies", "NetworkPolicy"},
                                                 {"gatewayconfigurations", "GatewayConfiguration"},
                                                 {"bfdprofiles", "BFDProfile"}};
  for (const auto& [word, kind] : words) {
    EXPECT_EQ(ask("GET", "/v1/config?namespace=default&kind=" + word).status, 200) << word;
    EXPECT_EQ(router.asked_kind, kind);
    EXPECT_NE(config::find_kind_by_name(kind, true), nullptr) << kind;
  }
  EXPECT_EQ(router.asked_ns, "default");
  EXPECT_EQ(ask("GET", "/v1/config?kind=foos").status, 400);
}

TEST_F(Api, API_EveryKindIsReadSetAndDeletedByItsName) {
  for (const config::Kind& kind : config::all_kinds()) {
    std::string word(kind.name);
    for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    word = word.ends_with('y') ? word.substr(0, word.size() - 1) + "ies" : word + (word.ends_with('s') ? "es" : "s");
    for (const std::string& name : {std::string(kind.name), word}) {
      EXPECT_EQ(ask("GET", "/v1/config?kind=" + name).status, 200) << name;
      EXPECT_EQ(router.asked_kind, kind.name);
      const std::string path = fmt::format("/v1/{}/{}/x", name, kind.namespaced ? "ns" : "-");
      const std::string body = fmt::format(R"({{"kind":"{}","metadata":{{"name":"x"}}}})", kind.name);
      EXPECT_EQ(ask("PUT", path, body).status, 200) << path;
      EXPECT_EQ(ask("DELETE", path).status, 200) << path;
      EXPECT_EQ(router.text, fmt::format("{} {}x", kind.name, kind.namespaced ? "ns/" : ""));
    }
  }
}

TEST_F(Api, OneObjectIsPutGotAndDeletedByItsPath) {
  const std::string web = R"({"kind":"Service","metadata":{"name":"web"}})";
  EXPECT_EQ(ask("PUT", "/v1/services/default/web", web).status, 200);
  EXPECT_EQ(router.call, "put");
  EXPECT_EQ(json::parse(router.text).at("metadata").at("namespace"), "default");
  EXPECT_EQ(ask("PUT", "/v1/nodes/-/n1", R"({"kind":"Node","metadata":{"name":"n1"}})").status, 200);
  EXPECT_EQ(ask("DELETE", "/v1/svc/default/web").status, 200);
  EXPECT_EQ(router.text, "Service default/web");
  EXPECT_EQ(ask("DELETE", "/v1/svc/-/web").status, 200);  // as kubectl without -n
  EXPECT_EQ(router.text, "Service default/web");
  EXPECT_EQ(ask("DELETE", "/v1/Nodes/-/n1?dryRun=true").status, 200);
  EXPECT_EQ(router.text, "Node n1");

  router.applied = R"({"items":[{"metadata":{"name":"api"}},{"metadata":{"name":"web"},"spec":{}}]})";
  EXPECT_EQ(ask("GET", "/v1/services/default/web").body, "{\"metadata\":{\"name\":\"web\"},\"spec\":{}}\n");
  EXPECT_EQ(router.asked_kind, "Service");
  EXPECT_EQ(message(ask("GET", "/v1/services/default/db")), "there is no Service default/db");
  router.reply.code = Code::Unchanged;
  EXPECT_EQ(ask("DELETE", "/v1/services/default/db").status, 404);
}

TEST_F(Api, API_ADryRunSaysWhetherItWouldChangeAnything) {
  router.reply.code = Code::Unchanged;
  EXPECT_EQ(parse(ask("PUT", "/v1/config?dryRun=true", "{}")).at("wouldChange"), false);
  EXPECT_EQ(ask("DELETE", "/v1/services/default/db?dryRun=true").status, 404);
  router.reply.would_change = true;
  const json::value answer = parse(ask("PUT", "/v1/config?dryRun=true", "{}"));
  EXPECT_EQ(answer.at("wouldChange"), true);
  EXPECT_EQ(answer.at("changed"), false);
  EXPECT_EQ(ask("DELETE", "/v1/services/default/db?dryRun=true").status, 200);
  router.reply.code = Code::Applied;
  EXPECT_FALSE(parse(ask("PUT", "/v1/config", "{}")).as_object().contains("wouldChange"));
}

TEST_F(Api, TheBodyIsTheObjectOfThePath) {
  const std::string other = R"({"kind":"Service","metadata":{"name":"api","namespace":"default"}})";
  EXPECT_EQ(message(ask("PUT", "/v1/services/default/web", other)),
            "the path names Service default/web, the body is Service default/api");
  EXPECT_EQ(ask("PUT", "/v1/nodes/-/api", other).status, 400);
  EXPECT_EQ(ask("PUT", "/v1/services/prod/api", other).status, 400);
  EXPECT_EQ(router.call, "");
  router.reply.code = Code::SyntaxError;  // no JSON: the router says what is wrong
  EXPECT_EQ(ask("PUT", "/v1/services/default/web", "{").status, 400);
  EXPECT_EQ(router.text, "{");
}

TEST_F(Api, StateCalls) {
  router.state.version = "0.1.0";
  router.state.workers.resize(1);
  router.state.workers[0].packets = 7;
  InterfaceStatus uplink;
  uplink.addresses = {prefix("192.168.0.2/24")};
  router.state.interfaces = {uplink};
  const json::value status = parse(ask("GET", "/v1/status"));
  EXPECT_EQ(status.at("workers").at(0).at("packets").to_number<int>(), 7);
  EXPECT_EQ(status.at("interfaces").at(0).at("addresses").at(0), "192.168.0.2/24");
  EXPECT_EQ(ask("GET", "/v1/counters").body, "{\"drops\":{\"no_route\":3},\"events\":{\"arp_requests\":4}}\n");
  const json::value neighbor = parse(ask("GET", "/v1/neighbors")).at("neighbors").at(0);
  EXPECT_EQ(neighbor.at("mac"), "02:00:00:00:00:01");
  EXPECT_EQ(neighbor.at("source"), "resolved");
  const json::value service = parse(ask("GET", "/v1/services")).at("services").at(0);
  EXPECT_EQ(service.at("frontends").at(0).at("address"), "10.96.7.7");
  EXPECT_EQ(service.at("endpoints").at(0).at("port").to_number<int>(), 8080);
  EXPECT_EQ(ask("GET", "/v1/version").body, "{\"version\":\"0.1.0\",\"api\":\"v1\"}\n");
}

TEST_F(Api, RoutesToAnAddressAreTheLongestMatch) {
  EXPECT_EQ(parse(ask("GET", "/v1/routes")).at("routes").as_array().size(), 3);
  const auto to = [&](std::string_view address) {
    const json::value answer = parse(ask("GET", fmt::format("/v1/routes?to={}", address)));
    return answer.at("routes").as_array().empty()
               ? ""
               : std::string(answer.at("routes").at(0).at("destination").as_string());
  };
  EXPECT_EQ(to("10.244.34.5"), "10.244.34.0/26");
  EXPECT_EQ(to("10.244.35.5"), "10.244.0.0/16");
  EXPECT_EQ(to("8.8.8.8"), "0.0.0.0/0");
  EXPECT_EQ(to("fd00::1"), "");
  EXPECT_EQ(ask("GET", "/v1/routes?to=10.244.0.0/16").status, 400);
}

TEST_F(Api, FlowFiltersAreRead) {
  EXPECT_EQ(
      ask("GET", "/v1/conntrack?src=10.0.0.0%2F8&dst=fd00::1&sport=4711&dport=80&proto=TCP&service=default/web&limit=5")
          .status,
      200);
  EXPECT_EQ(router.filter.src, prefix("10.0.0.0/8"));
  EXPECT_EQ(router.filter.dst, prefix("fd00::1/128"));
  EXPECT_EQ(router.filter.src_port, 4711);
  EXPECT_EQ(router.filter.dst_port, 80);
  EXPECT_EQ(router.filter.protocol, 6);
  EXPECT_EQ(router.filter.service, "default/web");
  for (const char* wrong : {"src=10.0.0", "dst=", "sport=65536", "dport=-1", "dport=80x", "proto=tpc", "proto=256",
                            "limit=0", "limit=1000001"}) {
    EXPECT_EQ(ask("GET", fmt::format("/v1/conntrack?{}", wrong)).status, 400) << wrong;
  }
  EXPECT_EQ(message(ask("GET", "/v1/conntrack?sport=http")),
            "parameter sport: expected a number from 0 to 65535, found \"http\"");
}

TEST_F(Api, FlowFiltersOfRepliesAndStates) {
  EXPECT_EQ(ask("GET",
                "/v1/conntrack?reply-src=10.244.0.0/16&reply-dst=192.168.0.2&reply-sport=8080&reply-dport=4711"
                "&state=time_wait")
                .status,
            200);
  EXPECT_EQ(router.filter.reply_src, prefix("10.244.0.0/16"));
  EXPECT_EQ(router.filter.reply_dst, prefix("192.168.0.2/32"));
  EXPECT_EQ(router.filter.reply_src_port, 8080);
  EXPECT_EQ(router.filter.reply_dst_port, 4711);
  EXPECT_EQ(router.filter.tcp_state, nat::TcpState::TimeWait);
  EXPECT_EQ(ask("DELETE", "/v1/conntrack?state=UNREPLIED").status, 200) << "that says which";
  EXPECT_EQ(router.filter.standing, FlowStanding::Unreplied);
  EXPECT_FALSE(router.filter.tcp_state);
  EXPECT_EQ(ask("DELETE", "/v1/conntrack?reply-sport=8080&limit=7").status, 200);
  EXPECT_EQ(router.filter.limit, 7u);
  EXPECT_EQ(
      message(ask("GET", "/v1/conntrack?state=OPEN")),
      "parameter state: expected a state of TCP like ESTABLISHED, or UNREPLIED, REPLIED, ASSURED, found \"OPEN\"");
  for (const char* wrong : {"reply-src=x", "reply-sport=65536", "replysrc=10.0.0.1", "state="}) {
    EXPECT_EQ(ask("GET", fmt::format("/v1/conntrack?{}", wrong)).status, 400) << wrong;
  }
}

// An event about a connection from this port.
FlowEventEntry event_of(uint16_t port, bool closed) {
  FlowEventEntry event{closed, 1700000000.25, {"udp", "", false, closed, false, 0, {}, {}, "default/dns:dns", 30}};
  event.flow.original = {ip("10.244.34.5"), ip("10.96.0.10"), port, 53, 1, 60};
  event.flow.reply = {ip("10.244.40.6"), ip("10.244.34.5"), 5353, port, 1, 200};
  return event;
}

class ApiEvents : public Api {
 protected:
  std::string next(const Response& response) {
    asio::io_context io;
    std::string out;
    asio::co_spawn(io, response.stream->next(milliseconds(1)), [&](const std::exception_ptr& error, std::string text) {
      EXPECT_FALSE(error);
      out = std::move(text);
    });
    io.run();
    return out;
  }
};

TEST_F(ApiEvents, CT34_EventsAreServerSent) {
  router.news = {{event_of(1000, false), event_of(1001, true)}, 7};
  const Response response = ask("GET", "/v1/conntrack/events?dport=53&proto=udp&reply-src=10.244.0.0/16");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.content_type, "text/event-stream");
  EXPECT_EQ(response.body, ": watching\n\n");
  EXPECT_EQ(router.filter.dst_port, 53);
  EXPECT_EQ(router.filter.reply_src, prefix("10.244.0.0/16"));
  ASSERT_NE(response.stream, nullptr);
  EXPECT_EQ(next(response),
            "event: new\n"
            R"(data: {"timeSeconds":1700000000.25,"protocol":"udp","state":"","assured":false,"replied":false,)"
            R"("directReturn":false,"worker":0,"service":"default/dns:dns","expiresSeconds":30,)"
            R"("original":{"src":"10.244.34.5","dst":"10.96.0.10","sport":1000,"dport":53,"packets":1,"bytes":60},)"
            R"("reply":{"src":"10.244.40.6","dst":"10.244.34.5","sport":5353,"dport":1000,"packets":1,"bytes":200}})"
            "\n\n"
            "event: closed\n"
            R"(data: {"timeSeconds":1700000000.25,"protocol":"udp","state":"","assured":false,"replied":true,)"
            R"("directReturn":false,"worker":0,"service":"default/dns:dns","expiresSeconds":30,)"
            R"("original":{"src":"10.244.34.5","dst":"10.96.0.10","sport":1001,"dport":53,"packets":1,"bytes":60},)"
            R"("reply":{"src":"10.244.40.6","dst":"10.244.34.5","sport":5353,"dport":1001,"packets":1,"bytes":200}})"
            "\n\n"
            "event: lost\ndata: {\"lost\":7}\n\n");
  EXPECT_EQ(next(response), "");
}

TEST_F(ApiEvents, CT34_OnlyNewOrClosedOnes) {
  for (const char* kind : {"new", "closed"}) {
    router.watched.reset();
    router.news = {{event_of(1000, false), event_of(1001, true)}, 0};
    const std::string text = next(ask("GET", fmt::format("/v1/conntrack/events?event={}", kind)));
    EXPECT_EQ(text.find("event: new") != std::string::npos, kind == std::string("new"));
    EXPECT_EQ(text.find("event: closed") != std::string::npos, kind == std::string("closed"));
  }
}

TEST_F(ApiEvents, CT34_WhatCannotBeWatched) {
  EXPECT_EQ(message(ask("GET", "/v1/conntrack/events")), "too many watch connections already: try again later");
  EXPECT_EQ(ask("GET", "/v1/conntrack/events?event=open").status, 400);
  EXPECT_EQ(ask("GET", "/v1/conntrack/events?limit=5").status, 400);
  EXPECT_EQ(ask("GET", "/v1/conntrack/events?sport=x").status, 400);
  EXPECT_EQ(ask("DELETE", "/v1/conntrack/events").status, 405);
  const Response head = ask("HEAD", "/v1/conntrack/events");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.stream, nullptr);
}

TEST_F(Api, FlowsSayWhetherThereAreMore) {
  router.live_flows = 5;
  json::value answer = parse(ask("GET", "/v1/conntrack?limit=5"));
  EXPECT_FALSE(answer.at("truncated").as_bool());
  EXPECT_EQ(answer.at("flows").as_array().size(), 5);
  EXPECT_EQ(answer.at("flows").at(0).at("reply").at("dport").to_number<int>(), 32768);
  answer = parse(ask("GET", "/v1/conntrack?limit=4"));
  EXPECT_TRUE(answer.at("truncated").as_bool());
  EXPECT_EQ(answer.at("flows").as_array().size(), 4);
}

TEST_F(Api, DeletingFlowsWantsToKnowWhich) {
  EXPECT_EQ(ask("DELETE", "/v1/conntrack").status, 400);
  EXPECT_EQ(ask("DELETE", "/v1/conntrack?limit=5").status, 400);
  EXPECT_EQ(ask("DELETE", "/v1/conntrack?all=true").body, "{\"deleted\":2}\n");
  EXPECT_EQ(ask("DELETE", "/v1/conntrack?dport=53&proto=17").body, "{\"deleted\":2}\n");
  EXPECT_EQ(router.filter.protocol, 17);
  EXPECT_GT(router.filter.limit, 1'000'000'000);
}

TEST_F(Api, ING9_ING16_IngressesAndNamesOutsideOfTheCluster) {
  EXPECT_EQ(ask("GET", "/v1/ingress").body,
            R"({"ingresses":[{"name":"a/rules","addresses":["192.168.0.2"],"tlsPassthrough":true,"rules":[)"
            R"({"endpoints":2,"host":"a.b","path":"/","pathType":"Prefix","target":"a/web:80"},)"
            R"({"endpoints":1,"target":"a/far:80","externalName":{"name":"far.example","addresses":["203.0.113.5"],)"
            R"("problem":"the look-up fails: no server"}}]}]})"
            "\n");
}

TEST_F(Api, DrainedEndpoints) {
  EXPECT_EQ(ask("GET", "/v1/drains").body,
            R"({"drains":[{"endpoint":"prod/web-0","hard":true,"services":["prod/web:http"]}]})"
            "\n");
  const std::map<std::string, std::string> targets{{"prod/web-0", "prod/web-0"}, {"web-0", "default/web-0"},
                                                   {"10.0.0.1", "10.0.0.1"},     {"10.0.0.1:8080", "10.0.0.1:8080"},
                                                   {"fd00::0:1", "fd00::1"},     {"[fd00::1]:80", "[fd00::1]:80"}};
  for (const auto& [word, target] : targets) {
    EXPECT_EQ(ask("PUT", "/v1/drains?endpoint=" + word).status, 200);
    EXPECT_EQ(router.call, "drain " + target);
    EXPECT_EQ(ask("DELETE", "/v1/drains?endpoint=" + word).status, 200);
    EXPECT_EQ(router.call, "undrain " + target);
  }
  EXPECT_EQ(ask("PUT", "/v1/drains?endpoint=prod/web-0&hard=true").body,
            R"({"endpoint":"prod/web-0","hard":true,"services":["prod/web:http"],"changed":true,)"
            R"("warnings":["prod/web:http has no endpoint left"]})"
            "\n");
  EXPECT_EQ(router.call, "drain hard prod/web-0");
  EXPECT_EQ(message(ask("DELETE", "/v1/drains?endpoint=10.0.0.1:1")), "10.0.0.1:1 is not drained");
}

TEST_F(Api, WhatIsNoEndpointIsNotDrained) {
  for (const char* wrong : {"", "a/b/c", "Web", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:", "10.0.0.1/24", "/web",
                            "a/", "[10.0.0.1]:80", "10.0.0.256"}) {
    EXPECT_EQ(ask("PUT", fmt::format("/v1/drains?endpoint={}", wrong)).status, 400U) << wrong;
  }
  EXPECT_EQ(router.call, "");
  EXPECT_EQ(message(ask("PUT", "/v1/drains")),
            "parameter endpoint: \"\" is no endpoint: expected NAMESPACE/POD, an address, or ADDRESS:PORT");
  EXPECT_EQ(ask("PUT", "/v1/drains?endpoint=a&hard=yes").status, 400);
  EXPECT_EQ(ask("DELETE", "/v1/drains?endpoint=a&hard=true").status, 400);
}

TEST_F(Api, Probes) {
  EXPECT_EQ(ask("GET", "/healthz").body, "ok\n");
  EXPECT_EQ(ask("HEAD", "/livez").status, 200);
  EXPECT_EQ(ask("GET", "/readyz").status, 503);
  router.state.ready = true;
  EXPECT_EQ(ask("GET", "/readyz").status, 200);
  const Response metrics = ask("GET", "/metrics");
  EXPECT_EQ(metrics.content_type, metrics_content_type);
  EXPECT_NE(metrics.body.find("sluice_drops_total{reason=\"no_route\"} 3\n"), std::string::npos);
}

TEST_F(Api, UnknownPathsAndMethodsAreRefused) {
  for (const char* path : {"/", "/v1", "/v1/config/", "/v1/foos/default/web", "/v1/services/default", "/v2/config",
                           "/v1/services/default/a/b", "/v1/services//web", "/v1/nodes/default/n1", "/metrics/"}) {
    EXPECT_EQ(ask("GET", path).status, 404) << path;
  }
  EXPECT_TRUE(message(ask("GET", "/v1/%ff")).starts_with("nothing is at /v1/?;"));
  EXPECT_EQ(ask("POST", "/v1/config").status, 405);
  EXPECT_EQ(header(ask("POST", "/v1/config"), "Allow"), "GET, HEAD, PUT, PATCH");
  EXPECT_EQ(header(ask("PATCH", "/v1/services/default/web"), "Allow"), "GET, HEAD, PUT, DELETE");
  EXPECT_EQ(header(ask("DELETE", "/healthz"), "Allow"), "GET, HEAD");
  EXPECT_EQ(header(ask("GET", "/v1/config:validate"), "Allow"), "POST");
}

TEST_F(Api, UnknownParametersAreNamed) {
  EXPECT_EQ(message(ask("PUT", "/v1/config?dryrun=true", "{}")),
            "unknown parameter \"dryrun\"; PUT /v1/config takes: dryRun ignoreUnknown");
  EXPECT_EQ(ask("GET", "/v1/status?x=1").status, 400);
  EXPECT_EQ(ask("GET", "/v1/config?kind%20namespace=1").status, 400);
  EXPECT_EQ(ask("PUT", "/v1/config?dryRun=true&dryRun=false").status, 400);
  EXPECT_EQ(ask("PUT", "/v1/config?dryRun=1").status, 400);
  EXPECT_EQ(ask("PUT", "/v1/config?dryRun").status, 400);
  EXPECT_EQ(router.call, "");
}

TEST_F(Api, ContentTypes) {
  EXPECT_EQ(ask("PUT", "/v1/config", "{}", "application/x-www-form-urlencoded").status, 415);
  EXPECT_EQ(ask("PUT", "/v1/config", "{}", "application/yaml").status, 415);
  EXPECT_EQ(ask("PATCH", "/v1/config", "{}", "application/x-ndjson").status, 415);
  EXPECT_EQ(ask("PUT", "/v1/config", "{}", "Application/JSON").status, 200);
  Request zipped{"PUT", "/v1/config", {}, "application/json", "br", "", "xx"};
  const Response response = ask(zipped);
  EXPECT_EQ(response.status, 415);
  EXPECT_EQ(header(response, "Accept-Encoding"), "gzip, identity");
  EXPECT_TRUE(refuse(zipped));  // before the body is there
  zipped.content_encoding = "GZIP";
  EXPECT_FALSE(refuse(zipped));
}

TEST_F(Api, GenerationsAreEntityTags) {
  EXPECT_EQ(header(ask("GET", "/v1/config"), "ETag"), "\"42\"");
  Request change{"PATCH", "/v1/config", {}, "", "", "\"41\"", "{}"};
  const Response done = ask(change);
  EXPECT_EQ(done.status, 200U);
  EXPECT_EQ(header(done, "ETag"), "\"42\"");
  EXPECT_EQ(router.options.base_generation, 41U);
  router.reply.code = Code::StaleBase;
  EXPECT_EQ(ask(change).status, 412U);
  change.if_match = "*";
  EXPECT_EQ(ask(change).status, 409U);
  EXPECT_FALSE(router.options.base_generation);
  router.call.clear();
  for (const char* wrong : {"41", "W/\"41\"", "\"\"", "\"x\"", "\"41\", \"42\"", "\"", "\"-1\""}) {
    change.if_match = wrong;
    EXPECT_EQ(ask(change).status, 400U) << wrong;
  }
  EXPECT_EQ(router.call, "");
}

TEST_F(Api, Targets) {
  Request request;
  EXPECT_TRUE(set_target(request, "http://sluice/v1/%63onfig?a=%2Fb&c&=d&&e=f=g"));
  EXPECT_EQ(request.path, "/v1/config");
  EXPECT_EQ(request.query, (FieldList{{"a", "/b"}, {"c", ""}, {"", "d"}, {"", ""}, {"e", "f=g"}}));
  for (const char* wrong : {"", "*", "v1", "http://sluice", "/%", "/%4", "/%zz", "/?a=%", "?a"}) {
    EXPECT_FALSE(set_target(request, wrong)) << wrong;
  }
}

// ---- the server --------------------------------------------------------------------------------------

// A client that can be as rude as a test wants.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connect(&address, sizeof address);
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // False when the server has gone.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // The next answer's status, 0 when there is none; the rest lies in `head` and `body`.
  unsigned receive(bool has_body = true) {
    size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return 0;
    }
    head = received_.substr(0, end + 4);
    received_.erase(0, end + 4);
    const size_t length_at = head.find("Content-Length: ");
    const size_t length = length_at == std::string::npos ? 0 : std::stoul(head.substr(length_at + 16));
    while (has_body && received_.size() < length) {
      if (!more()) return 0;
    }
    body = received_.substr(0, has_body ? length : 0);
    received_.erase(0, body.size());
    return static_cast<unsigned>(std::stoul(head.substr(9, 3)));
  }

  // Everything that came, once `text` is in it; "" if that never comes.
  std::string receive_until(std::string_view text) {
    while (received_.find(text) == std::string::npos) {
      if (!more()) return "";
    }
    return std::exchange(received_, "");
  }

  unsigned ask(std::string_view request) { return send(request) ? receive() : 0; }
  unsigned get(std::string_view target) { return ask(fmt::format("GET {} HTTP/1.1\r\nHost: s\r\n\r\n", target)); }
  // Nothing more came, and the server closed its end.
  bool closed() { return received_.empty() && !more() && end_seen_; }

  std::string head, body;

 private:
  void connect(const void* address, socklen_t size) {
    const timeval patience{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::connect(fd_, static_cast<const sockaddr*>(address), size), 0) << std::strerror(errno);
  }
  bool more() {
    std::array<char, 65536> buffer;
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
    end_seen_ = got == 0 || (got < 0 && errno == ECONNRESET);
    if (got > 0) received_.append(buffer.data(), static_cast<size_t>(got));
    return got > 0;
  }

  int fd_;
  bool end_seen_ = false;
  std::string received_;
};

std::string put(std::string_view body, std::string_view headers = "") {
  return fmt::format("PUT /v1/config HTTP/1.1\r\nHost: s\r\n{}Content-Length: {}\r\n\r\n{}", headers, body.size(),
                     body);
}

constexpr std::string_view chunked_put = "PUT /v1/config HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n";

class Server : public testing::Test {
 protected:
  Server() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-api-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    options.socket_path = folder_ + "/sluiced.sock";
    options.body_limit = 1 << 20;
    // A busy machine must not look like a slow client: only what a test is about is short.
    options.header_timeout = options.idle_timeout = options.stop_timeout = std::chrono::minutes(1);
    options.linger_timeout = milliseconds(100);
  }
  ~Server() override {
    finish();
    std::filesystem::remove_all(folder_);
  }

  void start() {
    server.emplace(io, router, options);
    const auto started = server->start();
    ASSERT_TRUE(started) << started.error().message;
    thread_ = std::thread([this] { io.run(); });
  }
  // Waits until `done`, asked on the server's thread, says so.
  void wait_until(const std::function<bool()>& done) {
    for (int i = 0; i < 2000; ++i) {
      std::promise<bool> answer;
      asio::post(io, [&] { answer.set_value(done()); });
      if (answer.get_future().get()) return;
      std::this_thread::sleep_for(milliseconds(5));
    }
    FAIL() << "waited in vain";
  }
  // The way main stops; returns how long it took.
  milliseconds finish() {
    const auto begin = std::chrono::steady_clock::now();
    if (server) asio::post(io, [this] { server->stop([this] { finished = true; }); });
    if (thread_.joinable()) thread_.join();
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
  }
  std::string why_not_started(ApiServerOptions tried) {
    ApiServer another(io, router, std::move(tried));
    const auto started = another.start();
    return started ? "" : started.error().message;
  }
  [[nodiscard]] const std::string& path() const { return options.socket_path; }

  asio::io_context io;
  FakeRouter router;
  ApiServerOptions options;
  std::optional<ApiServer> server;
  bool finished = false;  // the server said so
  std::string folder_;

 private:
  std::thread thread_;
};

TEST_F(Server, ServesOverASocketOfItsGroup) {
  start();
  struct stat file {};
  ASSERT_EQ(::lstat(path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0660U);
  Client client(path());
  EXPECT_EQ(client.ask(put("{}", "Content-Type: application/json\r\n")), 200U);
  EXPECT_NE(client.body.find("\"generation\":42"), std::string::npos);
  EXPECT_NE(client.head.find("Content-Type: application/json\r\n"), std::string::npos);
}

TEST_F(Server, KeepsConnectionsAlive) {
  start();
  Client client(path());
  EXPECT_EQ(client.get("/healthz"), 200U);
  EXPECT_EQ(client.get("/nowhere"), 404U);
  EXPECT_EQ(client.ask(put("one")), 200U);
  EXPECT_EQ(client.ask("HEAD /v1/version HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n"), 0U);  // no body comes
  EXPECT_NE(client.head.find("200 OK"), std::string::npos);
  EXPECT_TRUE(client.closed());
  Client old(path());
  EXPECT_EQ(old.ask("GET /healthz HTTP/1.0\r\n\r\n"), 200U);
  EXPECT_TRUE(old.closed());
}

TEST_F(Server, AnswersPipelinedRequestsInOrder) {
  start();
  Client client(path());
  std::string requests = put("one") + "GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n" + std::string(chunked_put) +
                         "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n" + "GET /x HTTP/1.1\r\nHost: s\r\n\r\n";
  EXPECT_EQ(client.ask(requests), 200U);
  EXPECT_EQ(client.receive(), 200U);
  EXPECT_EQ(client.body, "ok\n");
  EXPECT_EQ(client.receive(), 200U);
  EXPECT_EQ(client.receive(), 404U);
  EXPECT_EQ(router.text, "abcde");
}

TEST_F(Server, LargeBodiesAndAnswersPass) {
  router.applied = "[\"" + std::string(8 << 20, 'x') + "\"]";
  start();
  Client client(path());
  const std::string body(1 << 20, ' ');
  EXPECT_EQ(client.ask(put(body)), 200U);
  EXPECT_EQ(router.text, body);
  EXPECT_EQ(client.get("/v1/config"), 200U);
  EXPECT_EQ(client.body.size(), (8U << 20) + 5);
}

TEST_F(Server, TooLargeByContentLengthIsRefusedBeforeItIsSent) {
  start();
  Client client(path());
  EXPECT_EQ(client.ask("PUT /v1/config HTTP/1.1\r\nHost: s\r\nContent-Length: 1048577\r\n\r\n"), 413U);
  EXPECT_TRUE(client.closed());
}

TEST_F(Server, TooLargeByChunksIsRefusedAtTheLimit) {
  start();
  Client announced(path());
  EXPECT_EQ(announced.ask(std::string(chunked_put) + "7fffffff\r\n"), 413U);
  Client streamed(path());
  streamed.send(chunked_put);
  const std::string chunk = "8000\r\n" + std::string(0x8000, 'x') + "\r\n";
  for (int i = 0; i < 33; ++i) streamed.send(chunk);  // one more than the limit
  EXPECT_EQ(streamed.receive(), 413U);
}

TEST_F(Server, AnEndlessBodyIsCutOff) {
  start();
  Client client(path());
  client.send(chunked_put);
  const std::string chunk = "8000\r\n" + std::string(0x8000, 'x') + "\r\n";
  size_t chunks = 0;
  while (chunks < 1'000'000 && client.send(chunk)) ++chunks;
  EXPECT_LT(chunks, 1'000'000U);
  EXPECT_EQ(client.receive(), 413U);
  Client other(path());
  EXPECT_EQ(other.get("/healthz"), 200U);
}

TEST_F(Server, ABodyThatStopsOrTricklesTimesOut) {
  options.body_idle_timeout = milliseconds(300);
  options.body_timeout = milliseconds(900);
  start();
  Client silent(path());
  EXPECT_EQ(silent.ask("PUT /v1/config HTTP/1.1\r\nHost: s\r\nContent-Length: 10\r\n\r\nabc"), 408U);
  EXPECT_TRUE(silent.closed());
  Client trickling(path());
  trickling.send("PUT /v1/config HTTP/1.1\r\nHost: s\r\nContent-Length: 1000\r\n\r\n");
  int bytes = 0;
  while (bytes < 200 && trickling.send("x")) {
    ++bytes;
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_LT(bytes, 200);
  EXPECT_EQ(trickling.receive(), 408U);
  Client chunk_header(path());
  EXPECT_EQ(chunk_header.ask(std::string(chunked_put) + "1;" + std::string(40'000, 'x')), 400U);
}

TEST_F(Server, ABodyIsNotReadForNothing) {
  start();
  Client client(path());
  EXPECT_EQ(client.ask("PUT /v1/nothing HTTP/1.1\r\nHost: s\r\nContent-Length: 1000\r\n\r\n"), 404U);
  EXPECT_TRUE(client.closed());
  Client zipped(path());
  EXPECT_EQ(zipped.ask(put("xx", "Content-Encoding: br\r\n")), 415U);
}

TEST_F(Server, CompressedBodiesAreExpanded) {
  start();
  Client client(path());
  const std::string text = "{\"a\": \"" + std::string(300'000, 'x') + "\"}";
  EXPECT_EQ(client.ask(put(gzip(text), "Content-Encoding: gzip\r\n")), 200U);
  EXPECT_EQ(router.text, text);
  EXPECT_EQ(client.ask(put("{}")), 200U);  // the connection goes on
  EXPECT_EQ(router.text, "{}");
}

TEST_F(Server, CompressedBodiesThatAreTooLargeOrBrokenAreRefused) {
  start();
  router.text = "untouched";
  const std::string bomb = gzip(std::string(2 << 20, ' '));
  ASSERT_LT(bomb.size(), 10'000U);
  EXPECT_EQ(Client(path()).ask(put(bomb, "Content-Encoding: gzip\r\n")), 413U);
  EXPECT_EQ(Client(path()).ask(put("{}", "Content-Encoding: gzip\r\n")), 400U);
  const std::string good = gzip("{}");
  EXPECT_EQ(Client(path()).ask(put(good.substr(0, good.size() - 1), "Content-Encoding: gzip\r\n")), 400U);
  EXPECT_EQ(router.text, "untouched");
}

TEST_F(Server, TellsThoseWhoAskToGoOn) {
  start();
  Client client(path());
  client.send("PUT /v1/config HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.receive(), 100U);
  EXPECT_EQ(client.ask("{}"), 200U);
  EXPECT_EQ(client.ask(put("{}", "Expect: miracles\r\n")), 417U);
}

TEST_F(Server, CallsWithoutABodyTakeNone) {
  start();
  // Told before it comes: nobody waits for what is announced.
  EXPECT_EQ(Client(path()).ask("GET /healthz HTTP/1.1\r\nHost: s\r\nContent-Length: 1000\r\n\r\n"), 400U);
  EXPECT_EQ(Client(path()).ask("DELETE /v1/drains HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n"), 400U);
}

TEST_F(Server, SlowAndLongHeadersEnd) {
  options.header_timeout = milliseconds(300);
  start();
  Client silent(path());
  EXPECT_TRUE(silent.closed());
  Client slow(path());
  int bytes = 0;
  while (bytes < 200 && slow.send(bytes == 0 ? "GET /healthz HTTP/1.1\r\n" : "A: b\r\n")) {
    ++bytes;
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_LT(bytes, 200);
  EXPECT_EQ(slow.receive(), 408U);
  Client large(path());
  EXPECT_EQ(large.ask("GET / HTTP/1.1\r\nHost: s\r\nX: " + std::string(17'000, 'x')), 431U);
  Client many(path());
  many.send("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 300; ++i) many.send("X: " + std::string(60, 'x') + "\r\n");
  EXPECT_EQ(many.receive(), 431U);
}

TEST_F(Server, IdleConnectionsEnd) {
  options.idle_timeout = milliseconds(100);
  start();
  Client idle(path());
  EXPECT_EQ(idle.get("/healthz"), 200U);
  EXPECT_TRUE(idle.closed());
}

TEST_F(Server, MalformedRequestsAreRefused) {
  start();
  const std::vector<std::pair<std::string, unsigned>> cases{
      {"nonsense\r\n\r\n", 400},
      {std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + "\r\n\r\n", 400},  // TLS
      {"GET / HTTP/2.0\r\n\r\n", 505},
      {"GET /healthz HTTP/1.1\r\n\r\n", 400},  // no Host
      {"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: s\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: s\r\nBad Header: x\r\n\r\n", 400},
      {"PUT /v1/config HTTP/1.1\r\nHost: s\r\nContent-Length: x\r\n\r\n", 400},
      {"PUT /v1/config HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400},
      {"PUT /v1/config HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400},
      {"PUT /v1/config HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: gzip\r\n\r\nabc", 501},
      {"PUT /v1/config HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {std::string(chunked_put) + "zz\r\n", 400},
  };
  for (const auto& [request, status] : cases) {
    Client client(path());
    EXPECT_EQ(client.ask(request), status) << request;
    const json::value answer = json::parse(client.body);
    EXPECT_EQ(answer.at("error").at("code").to_number<unsigned>(), status);
  }
  EXPECT_EQ(router.call, "");
}

TEST_F(Server, AThousandIdleConnectionsLockNobodyOut) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  start();
  std::vector<std::unique_ptr<Client>> idle;
  for (int i = 0; i < 1000; ++i) {
    idle.push_back(std::make_unique<Client>(path()));
    if (i % 2 == 0) idle.back()->send("GET /heal");
  }
  Client client(path());
  EXPECT_EQ(client.get("/healthz"), 200U);
  EXPECT_EQ(client.get("/v1/status"), 200U);
  EXPECT_TRUE(idle.front()->closed());
  EXPECT_LT(finish(), options.stop_timeout / 2);
}

TEST_F(Server, WhenAllAreBusyOneMoreIsToldSo) {
  options.max_connections = 2;
  start();
  Client one(path());
  Client two(path());
  for (Client* client : {&one, &two}) {
    client->send("PUT /v1/config HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    EXPECT_EQ(client->receive(), 100U);
  }
  Client three(path());
  EXPECT_EQ(three.receive(), 503U);
  EXPECT_TRUE(three.closed());
  EXPECT_EQ(one.ask("{}"), 200U);
  Client four(path());  // takes the place of `one`, which is idle now
  EXPECT_EQ(four.get("/healthz"), 200U);
  EXPECT_EQ(two.ask("{}"), 200U);
}

TEST_F(Server, AllBodiesTogetherHaveALimit) {
  options.memory_limit = 1'500'000;
  start();
  Client one(path());
  one.send("PUT /v1/config HTTP/1.1\r\nHost: s\r\nContent-Length: 1000000\r\n\r\n" + std::string(999'999, 'x'));
  Client witness(path());
  EXPECT_EQ(witness.get("/healthz"), 200U);  // what came before it has been read
  Client two(path());
  EXPECT_EQ(two.ask(put(std::string(1'000'000, 'x'))), 503U);
  EXPECT_EQ(one.ask("x"), 200U);
  Client three(path());
  EXPECT_EQ(three.ask(put(std::string(1'000'000, 'x'))), 200U);
}

TEST_F(Server, AClientThatDoesNotReadIsLeft) {
  router.applied = "[\"" + std::string(8 << 20, 'x') + "\"]";
  options.write_timeout = milliseconds(200);
  start();
  Client client(path());
  EXPECT_EQ(client.get("/healthz"), 200U);
  client.send("GET /v1/config HTTP/1.1\r\nHost: s\r\n\r\n");
  wait_until([&] { return server->connections() == 0; });
  EXPECT_EQ(client.receive(), 0U);
}

TEST_F(Server, AnExceptionIsAnAnswer) {
  router.throws = true;
  start();
  Client client(path());
  EXPECT_EQ(client.ask(put("{}")), 500U);
  EXPECT_NE(client.body.find("out of order"), std::string::npos);
  EXPECT_EQ(client.get("/healthz"), 200U);
}

TEST_F(Server, StreamsUntilTheClientGoes) {
  router.news.events = {event_of(1000, false)};
  options.stream_heartbeat = milliseconds(20);
  start();
  {
    Client client(path());
    client.send("GET /v1/conntrack/events HTTP/1.1\r\nHost: s\r\n\r\n");
    const std::string got = client.receive_until(":\n\n:\n\n");
    EXPECT_NE(got.find("Content-Type: text/event-stream\r\n"), std::string::npos);
    EXPECT_EQ(got.find("Content-Length"), std::string::npos);
    EXPECT_NE(got.find("\r\n\r\n: watching\n\nevent: new\ndata: {"), std::string::npos);
  }
  wait_until([&] { return server->connections() == 0; });
}

TEST_F(Server, StopEndsStreams) {
  router.news.events = {event_of(1000, false)};
  start();
  Client client(path());
  client.send("GET /v1/conntrack/events HTTP/1.1\r\nHost: s\r\n\r\n");
  EXPECT_NE(client.receive_until("event: new"), "");
  EXPECT_LT(finish(), options.stop_timeout / 2);
  EXPECT_TRUE(client.closed());
}

TEST_F(Server, StopLetsRequestsFinish) {
  router.delay = milliseconds(200);
  start();
  Client idle(path());
  EXPECT_EQ(idle.get("/healthz"), 200U);
  Client busy(path());
  busy.send(put("{}"));
  wait_until([&] { return router.call == "replace"; });
  EXPECT_LT(finish(), options.stop_timeout / 2);
  EXPECT_TRUE(finished);
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_EQ(busy.receive(), 200U);
  EXPECT_NE(busy.head.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(idle.closed());
}

TEST_F(Server, StopDoesNotWaitForever) {
  options.body_idle_timeout = options.body_timeout = std::chrono::minutes(1);
  options.stop_timeout = milliseconds(300);
  start();
  Client busy(path());
  busy.send("PUT /v1/config HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
  EXPECT_EQ(busy.receive(), 100U);
  EXPECT_LT(finish(), std::chrono::seconds(20));
}

TEST_F(Server, TakesOverAStaleSocketButNotALiveOne) {
  {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);  // as a killed server leaves it
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(fd);
  }
  start();
  EXPECT_EQ(Client(path()).get("/healthz"), 200U);
  EXPECT_NE(why_not_started(options).find("another sluiced serves " + path()), std::string::npos);
  EXPECT_EQ(Client(path()).get("/healthz"), 200U);
  // A file that has come in the place of the server's is not the server's to remove.
  std::filesystem::remove(path());
  std::ofstream(path()) << "precious";
  EXPECT_NE(why_not_started(options).find("it is no socket"), std::string::npos);
  finish();
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(Server, SaysWhyItCannotListen) {
  options.socket_path = folder_ + "/" + std::string(120, 'x');
  EXPECT_NE(why_not_started(options).find("longer than 107 bytes"), std::string::npos);
  options.socket_path = folder_ + "/a/b/sluiced.sock";
  EXPECT_NE(why_not_started(options).find("cannot make the folder"), std::string::npos);
  options.socket_path = folder_ + "/made/sluiced.sock";
  EXPECT_EQ(why_not_started(options), "");
  EXPECT_FALSE(std::filesystem::exists(options.socket_path));
}

}  // namespace
}  // namespace sluice::control
