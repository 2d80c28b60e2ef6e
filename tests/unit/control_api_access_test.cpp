// Who may do what over TCP: the rules, what each call needs, and the answers to those who may not.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "control/api_access.h"
#include "control/api_listener.h"
#include "control/routes.h"

namespace sluice::control {
namespace {

constexpr std::string_view reader = "reader-token-0001";
constexpr std::string_view writer = "writer-token-0001";
// printf %s hashed-token-0001 | sha256sum
constexpr std::string_view hashed = "hashed-token-0001";
constexpr std::string_view hash = "dfa43ddd044179acfead973fb3883c638c64c6c475d902da51bd3b93dea73f18";

AccessList list(std::string_view text) {
  auto parsed = AccessList::parse(text);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return std::move(*parsed);
}

std::string mistake(std::string_view text) {
  const auto parsed = AccessList::parse(text);
  return parsed ? "none" : parsed.error().message;
}

const std::string rules = "# who may do what\n\nread-only token " + std::string(reader) + "\n  read-write\ttoken " +
                          std::string(writer) +
                          "  \r\nread-only cn prometheus\nread-write o platform team\nread-only o platform team\n";

TEST(ApiAccess, TokensHaveTheirRole) {
  const AccessList access = list(rules);
  EXPECT_EQ(access.of_token(reader), Role::ReadOnly);
  EXPECT_EQ(access.of_token(writer), Role::ReadWrite);
  for (const std::string_view wrong : {"", "reader-token-000", "reader-token-00011", "reader-token-0002", "token"}) {
    EXPECT_EQ(access.of_token(wrong), Role::None) << wrong;
  }
  // The highest of all rules.
  const std::string twice = "read-write token " + std::string(reader) + "\nread-only token " + std::string(reader);
  EXPECT_EQ(list(twice).of_token(reader), Role::ReadWrite);
}

TEST(ApiAccess, TokensMayBeDigests) {
  const AccessList access = list("read-only token sha256:" + std::string(hash));
  EXPECT_EQ(access.of_token(hashed), Role::ReadOnly);
  EXPECT_EQ(access.of_token(hash), Role::None);  // the digest itself opens nothing
  EXPECT_EQ(access.of_token("sha256:" + std::string(hash)), Role::None);
}

TEST(ApiAccess, CertificatesHaveTheRoleOfTheirSubject) {
  const AccessList access = list(rules);
  EXPECT_TRUE(access.names_certificates());
  EXPECT_FALSE(list("read-only token " + std::string(reader)).names_certificates());
  EXPECT_EQ(access.of_subject({"prometheus", {}}), Role::ReadOnly);
  EXPECT_EQ(access.of_subject({"anna", {"sales", "platform team"}}), Role::ReadWrite);
  EXPECT_EQ(access.of_subject({"prometheus", {"platform team"}}), Role::ReadWrite);
  EXPECT_EQ(access.of_subject({"Prometheus", {"platform"}}), Role::None);
  EXPECT_EQ(access.of_subject({"platform team", {"prometheus"}}), Role::None);
  EXPECT_EQ(access.of_subject({"", {}}), Role::None);
}

TEST(ApiAccess, MistakesAreNamedWithTheirLine) {
  EXPECT_EQ(mistake("\n# a\nadmin token x"), "line 3: a rule begins with read-only or read-write");
  EXPECT_EQ(mistake("read-only"), "line 1: behind the role stands what has it: token, cn or o");
  EXPECT_EQ(mistake("read-only user anna"), "line 1: behind the role stands what has it: token, cn or o");
  EXPECT_EQ(mistake("read-only cn "), "line 1: behind cn stands its value");
  EXPECT_EQ(mistake("read-only token short"), "line 1: the token is shorter than 16 characters");
  EXPECT_EQ(mistake("read-only token 0123456789abcdef # ours"), "line 1: a token is one word");
  EXPECT_NE(mistake("read-only token sha256:12").find("64 hexadecimal digits"), std::string::npos);
  EXPECT_NE(mistake("# nothing\n").find("no rules"), std::string::npos);
}

TEST(ApiAccess, FilesAreNotOpenToOthers) {
  std::string name = (std::filesystem::temp_directory_path() / "sluice-access-XXXXXX").string();
  const std::string folder = ::mkdtemp(name.data());
  const std::string file = folder + "/access";
  std::ofstream(file) << rules;
  std::filesystem::permissions(file, std::filesystem::perms{0640});
  EXPECT_EQ(AccessList::read(file).value().of_token(writer), Role::ReadWrite);
  std::filesystem::permissions(file, std::filesystem::perms{0644});
  EXPECT_NE(AccessList::read(file).error().message.find("open to other users"), std::string::npos);
  std::filesystem::permissions(file, std::filesystem::perms{0600});
  std::ofstream(file) << "nonsense";
  EXPECT_EQ(AccessList::read(file).error().message, file + ": line 1: a rule begins with read-only or read-write");
  EXPECT_NE(AccessList::read(folder + "/none").error().message.find("cannot read"), std::string::npos);
  EXPECT_FALSE(AccessList::read(folder));
  std::filesystem::remove_all(folder);
}

TEST(ApiAccess, EveryCallNeedsARole) {
  for (const std::string_view probe : {"/healthz", "/livez", "/readyz"}) {
    EXPECT_EQ(needed_role("GET", probe), Role::None);
    EXPECT_EQ(needed_role("HEAD", probe), Role::None);
    EXPECT_EQ(needed_role("PUT", probe), Role::ReadWrite);
  }
  for (const std::string_view path : {"/metrics", "/v1/status", "/v1/config", "/v1/secrets/default/x", "/v1/conntrack",
                                      "/v1/conntrack/events", "/v1/drains", "/healthz/", "/v1/later"}) {
    EXPECT_EQ(needed_role("GET", path), Role::ReadOnly) << path;
    EXPECT_EQ(needed_role("HEAD", path), Role::ReadOnly) << path;
    for (const std::string_view method : {"PUT", "PATCH", "DELETE", "POST", "OPTIONS", "get"}) {
      EXPECT_EQ(needed_role(method, path), Role::ReadWrite) << method << path;
    }
  }
  EXPECT_EQ(needed_role("POST", "/v1/explain"), Role::ReadOnly);
  EXPECT_EQ(needed_role("POST", "/v1/config:validate"), Role::ReadOnly);
  // What the table of all calls says may change something takes the higher role.
  for (const Route& route : routes()) {
    if (route.access != Access::Write) continue;
    EXPECT_EQ(needed_role(route.method, route.path), Role::ReadWrite) << route.path;
  }
  // Packets of others.
  EXPECT_EQ(needed_role("GET", "/v1/trace"), Role::ReadWrite);
  EXPECT_EQ(needed_role("GET", "/v1/capture"), Role::ReadWrite);
}

std::string header(const Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers) {
    if (key == name) return value;
  }
  return "";
}

TEST(ApiAccess, RefusalsSayWhatIsMissing) {
  const AccessList access = list(rules);
  const auto ask = [&](std::string authorization, std::optional<Subject> subject, std::string_view method = "GET") {
    auto refusal = access.refuse({std::move(authorization), std::move(subject), true}, method, "/v1/config");
    return refusal ? *std::move(refusal) : Response{};
  };
  const std::string read = "Bearer " + std::string(reader);
  EXPECT_EQ(ask("", {}).status, 401U);
  EXPECT_EQ(header(ask("", {}), "WWW-Authenticate"), "Bearer realm=\"sluice\"");
  EXPECT_EQ(ask(read + "x", {}).status, 401U);
  EXPECT_EQ(header(ask(read + "x", {}), "WWW-Authenticate"), "Bearer realm=\"sluice\", error=\"invalid_token\"");
  EXPECT_EQ(ask("Bearer ", {}).status, 401U);
  EXPECT_EQ(ask("Basic " + std::string(reader), {}).status, 401U);
  EXPECT_EQ(ask(read, {}).status, 200U);
  EXPECT_EQ(ask("bearer " + std::string(reader), {}).status, 200U);
  const Response forbidden = ask(read, {}, "PUT");
  EXPECT_EQ(forbidden.status, 403U);
  EXPECT_EQ(boost::json::parse(forbidden.body).at("error").at("message").as_string(),
            "PUT /v1/config needs the role read-write; this caller has read-only");
  EXPECT_NE(header(forbidden, "WWW-Authenticate").find("scope=\"read-write\""), std::string::npos);
  EXPECT_EQ(ask("", Subject{"prometheus", {}}).status, 200U);
  EXPECT_EQ(ask("", Subject{"prometheus", {}}, "PUT").status, 403U);
  EXPECT_EQ(ask("", Subject{"anna", {"platform team"}}, "PUT").status, 200U);
  EXPECT_EQ(ask("", Subject{"nobody", {}}).status, 403U);
  // Of certificate and token the higher counts; a token that is wrong is told of whatever else there is.
  EXPECT_EQ(ask(read, Subject{"nobody", {}}).status, 200U);
  EXPECT_EQ(ask(read, Subject{"anna", {"platform team"}}, "PUT").status, 200U);
  EXPECT_EQ(ask(read + "x", Subject{"anna", {"platform team"}}).status, 401U);
}

TEST(ApiAccess, AddressesToListenOn) {
  EXPECT_EQ(parse_tcp_address("192.0.2.1:9443")->port, 9443U);
  EXPECT_EQ(net::to_string(parse_tcp_address("[2001:db8::1]:443")->address), "2001:db8::1");
  for (const std::string_view wrong : {"", ":9080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
                                       "127.0.0.1:80x", "[127.0.0.1]:80", "::1:80", "[::1]", "localhost:80", "[]:80"}) {
    EXPECT_FALSE(parse_tcp_address(wrong)) << wrong;
  }
}

TEST(ApiAccess, NeverOnADataPort) {
  config::Gateway gateway;
  config::Interface uplink;
  uplink.name = "uplink0";
  uplink.device = "net_af_packet0,iface=eth-none,blocksz=4096";
  uplink.addresses = {*net::parse_prefix("192.0.2.1/24"), *net::parse_prefix("2001:db8::1/64")};
  gateway.interfaces = {uplink};
  const auto conflict = [&](std::string_view address) { return data_port_conflict(*net::parse_ip(address), gateway); };
  EXPECT_EQ(conflict("192.0.2.1"), "192.0.2.1 is an address of the router's interface uplink0");
  EXPECT_NE(conflict("2001:db8::1"), "");
  EXPECT_EQ(conflict("192.0.2.2"), "");
  EXPECT_EQ(conflict("127.0.0.1"), "");
  // The kernel's own address on a device that the router has a port on.
  gateway.interfaces.front().device = "net_af_packet0,iface=lo";
  EXPECT_EQ(conflict("127.0.0.1"), "127.0.0.1 is an address of lo, which the router takes for its interface uplink0");
  gateway.interfaces.front().device = "net_af_packet0,iface=lo0,qpairs=2";
  EXPECT_EQ(conflict("127.0.0.1"), "");
}

}  // namespace
}  // namespace sluice::control
