// Hosts and paths: ING-1 to ING-5 and ING-10. The paths are those of the table in Kubernetes' documentation of Ingress.
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/l7/host_rules.h"
#include "dataplane/l7/request_path.h"

namespace sluice::l7 {
namespace {

constexpr auto exact = PathMatch::Exact;
constexpr auto prefix = PathMatch::Prefix;

struct Written {
  PathMatch match;
  std::string path;
};

// The number of the first rule that is found, or -1.
int find(const std::vector<Written>& written, std::string_view path) {
  std::vector<PathRule> rules;
  for (const Written& one : written) {
    rules.push_back({one.path, one.match, {.target = static_cast<TargetId>(rules.size())}});
  }
  const PathRules made(std::move(rules));
  const Route* route = made.find(path);
  return route == nullptr ? -1 : static_cast<int>(route->target);
}

TEST(L7HostRules, ING2_ExactIsEqualAndPrefixIsByElements) {
  struct Case {
    PathMatch match;
    std::string rule;
    std::string_view path;
    bool matches;
  };
  const std::vector<Case> cases{
      {prefix, "/", "/", true},
      {prefix, "/", "/any/thing", true},
      {exact, "/foo", "/foo", true},
      {exact, "/foo", "/bar", false},
      {exact, "/foo", "/foo/", false},
      {exact, "/foo/", "/foo", false},
      {exact, "/foo", "/Foo", false},
      {prefix, "/foo", "/foo", true},
      {prefix, "/foo", "/foo/", true},
      {prefix, "/foo/", "/foo", true},
      {prefix, "/foo/", "/foo/", true},
      {prefix, "/foo", "/foobar", false},
      {prefix, "/aaa/bb", "/aaa/bbb", false},
      {prefix, "/aaa/bbb", "/aaa/bbb", true},
      {prefix, "/aaa/bbb/", "/aaa/bbb", true},
      {prefix, "/aaa/bbb", "/aaa/bbb/", true},
      {prefix, "/aaa/bbb", "/aaa/bbb/ccc", true},
      {prefix, "/aaa/bbb", "/aaa/bbbxyz", false},
      {prefix, "/aaa/bbb", "/aaa", false},
      {prefix, "/FOO", "/foo", false},
      {exact, "/", "/", true},
      {exact, "/", "/foo", false},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(find({{one.match, one.rule}}, one.path), one.matches ? 0 : -1) << one.rule << " and " << one.path;
  }
}

TEST(L7HostRules, ING3_TheLongestPathAndExactBeforePrefix) {
  EXPECT_EQ(find({{prefix, "/"}, {prefix, "/aaa"}}, "/aaa/ccc"), 1);
  EXPECT_EQ(find({{prefix, "/"}, {prefix, "/aaa"}}, "/ccc"), 0);
  EXPECT_EQ(find({{prefix, "/aaa"}, {prefix, "/aaa/bbb"}, {prefix, "/"}}, "/aaa/bbb/c"), 1);
  EXPECT_EQ(find({{prefix, "/aaa"}, {prefix, "/aaa/bbb"}, {prefix, "/"}}, "/aaa/bb"), 0);
  EXPECT_EQ(find({{prefix, "/foo"}, {exact, "/foo"}}, "/foo"), 1);
  EXPECT_EQ(find({{exact, "/foo"}, {prefix, "/foo"}}, "/foo/"), 1);
  EXPECT_EQ(find({{prefix, "/foo"}, {prefix, "/foo/"}}, "/foo/x"), 1);
  EXPECT_EQ(find({{exact, "/aaa/bbb/ccc/ddd"}, {prefix, "/a"}}, "/aaa"), -1);
}

TEST(L7HostRules, ING4_TheFirstOfTwoThatAreAlike) {
  EXPECT_EQ(find({{prefix, "/foo"}, {prefix, "/foo"}}, "/foo"), 0);
  EXPECT_EQ(find({{exact, "/foo"}, {exact, "/foo"}}, "/foo"), 0);
}

std::shared_ptr<const PathRules> to(TargetId target, std::string path = "/") {
  return std::make_shared<const PathRules>(std::vector<PathRule>{{std::move(path), prefix, {.target = target}}});
}

int64_t target_of(const HostRules& rules, std::string_view host, std::string_view path = "/") {
  const PathRules* found = rules.find(host);
  const Route* route = found == nullptr ? nullptr : found->find(path);
  return route == nullptr ? -1 : static_cast<int64_t>(route->target);
}

TEST(L7HostRules, ING1_ExactHostsThenOneLabelThenAll) {
  const HostRules rules = HostRules().changed({{"foo.com", to(1)}, {"*.foo.com", to(2)}, {"a.foo.com", to(3)}});
  EXPECT_EQ(target_of(rules, "foo.com"), 1);
  EXPECT_EQ(target_of(rules, "bar.foo.com"), 2);
  EXPECT_EQ(target_of(rules, "a.foo.com"), 3);
  EXPECT_EQ(target_of(rules, "baz.bar.foo.com"), -1);
  EXPECT_EQ(target_of(rules, ".foo.com"), -1);
  EXPECT_EQ(target_of(rules, "com"), -1);
  EXPECT_EQ(target_of(rules, ""), -1);
  const HostRules with_all = rules.changed({{"", to(4)}});
  EXPECT_EQ(target_of(with_all, "baz.bar.foo.com"), 4);
  EXPECT_EQ(target_of(with_all, ""), 4);
  EXPECT_EQ(with_all.find_named("other.com"), nullptr);
  EXPECT_EQ(target_of(rules, ""), -1) << "a version changed after it was made";
}

TEST(L7HostRules, ING5_AHostWithoutThePathIsNotTheWildcard) {
  const HostRules rules = HostRules().changed({{"a.foo.com", to(1, "/only")}, {"*.foo.com", to(2)}, {"", to(3)}});
  EXPECT_EQ(target_of(rules, "a.foo.com", "/only"), 1);
  EXPECT_EQ(target_of(rules, "a.foo.com", "/other"), -1);
}

TEST(L7HostRules, ING4_HostsComeGoAndChange) {
  HostRules rules = HostRules().changed({{"a", to(1)}, {"b", to(2)}, {"*.c", to(3)}});
  EXPECT_EQ(rules.size(), 3U);
  rules = rules.changed({{"a", nullptr}, {"b", to(4)}, {"*.c", nullptr}, {"unknown", nullptr}});
  EXPECT_EQ(target_of(rules, "a"), -1);
  EXPECT_EQ(target_of(rules, "b"), 4);
  EXPECT_EQ(target_of(rules, "x.c"), -1);
  EXPECT_EQ(rules.size(), 1U);
}

TEST(L7HostRules, ING8_AHostWithOneTargetNeedsNoMoreThanOneLook) {
  const Route answered;
  const auto one = PathRules({{"/a", prefix, {.target = 1}}, {"/", prefix, {.target = 1, .rule = 5}}});
  EXPECT_TRUE(one.leads_to_one(answered));
  EXPECT_FALSE(PathRules({{"/a", prefix, {.target = 1}}}).leads_to_one(answered)) << "what is not /a is answered";
  EXPECT_TRUE(PathRules({{"/a", prefix, {.target = 1}}}).leads_to_one({.target = 1}));
  EXPECT_TRUE(PathRules({{"/a", prefix, {.target = 1}}}, {.target = 1}).leads_to_one(answered));
  EXPECT_FALSE(PathRules({{"/a", prefix, {.target = 1}}, {"/", prefix, {.target = 2}}}).leads_to_one(answered));
  EXPECT_FALSE(PathRules({{"/", exact, {.target = 1}}}).leads_to_one(answered));
}

TEST(L7RequestPath, ING10_DotsAndSlashesAreResolved) {
  struct Case {
    std::string_view path;
    std::string_view wanted;  // empty: none
  };
  for (const Case& one : std::vector<Case>{
           {"/", "/"},
           {"/a/b", "/a/b"},
           {"/a/b/", "/a/b/"},
           {"//a///b", "/a/b"},
           {"/a//", "/a/"},
           {"/a/./b", "/a/b"},
           {"/a/.", "/a/"},
           {"/./", "/"},
           {"/a/../b", "/b"},
           {"/a/b/..", "/a/"},
           {"/a/..", "/"},
           {"/a/...", "/a/..."},
           {"/a/.b", "/a/.b"},
           {"/..", ""},
           {"/a/../..", ""},
           {"/%2e%2E/a", ""},
           {"/a/%2e%2e/b", "/b"},
           {"/%61%7e", "/a~"},
           {"/a%2fb", "/a%2Fb"},
           {"/a%2f..%2Fb", "/a%2F..%2Fb"},
           {"/a%5c..", "/a%5C.."},
           {"/a%252e", "/a%252e"},
           {"/a%0a", "/a%0A"},
           {"/a%7f", "/a%7F"},
           {"/caf%c3%a9", "/caf\xc3\xa9"},
           {"/a%20b", "/a b"},
           {"/a%00", ""},
           {"/a%", ""},
           {"/a%2", ""},
           {"/a%zz", ""},
           {"/a%41", "/aA"},
           {"a", ""},
           {"", ""},
       }) {
    std::vector<char> out(one.path.size());
    const auto normal = normalised_path(one.path, out);
    EXPECT_EQ(normal.value_or(""), one.wanted) << one.path;
    EXPECT_EQ(normal.has_value(), !one.wanted.empty()) << one.path;
  }
}

TEST(L7HostRules, ING3_TenThousandHostsAreFoundAndChangedFast) {
  constexpr size_t count = 10000;
  const auto paths = [](TargetId target) {
    std::vector<PathRule> rules;
    for (size_t i = 0; i < 5; ++i) rules.push_back({"/path/" + std::to_string(i), prefix, {.target = target}});
    return std::make_shared<const PathRules>(std::move(rules));
  };
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  std::vector<HostRules::Host> hosts;
  for (size_t i = 0; i < count; ++i) hosts.push_back({"host-" + std::to_string(i) + ".example.com", paths(i)});
  auto begin = Clock::now();
  HostRules rules = HostRules().changed(std::move(hosts));
  RecordProperty("build_seconds", std::to_string(since(begin)));
  EXPECT_LT(since(begin), 2.0);

  begin = Clock::now();
  for (size_t i = 0; i < 100; ++i)
    rules = rules.changed({{"host-" + std::to_string(i) + ".example.com", paths(77777)}});
  RecordProperty("change_seconds", std::to_string(since(begin) / 100));
  EXPECT_LT(since(begin) / 100, 0.05);

  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back("host-" + std::to_string(i) + ".example.com");
  begin = Clock::now();
  for (size_t i = 0; i < count; ++i) {
    ASSERT_EQ(target_of(rules, names[i], "/path/3/x/y"), i < 100 ? 77777 : static_cast<int64_t>(i));
  }
  RecordProperty("lookup_nanoseconds", std::to_string(since(begin) / count * 1e9));
}

}  // namespace
}  // namespace sluice::l7
