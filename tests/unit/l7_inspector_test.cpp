// Patterns in the bytes of connections: whatever segments they come in, what is found is what a scan of the whole
// stream finds. Databases are compiled as for a ContentPolicy.
#include <filesystem>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/pattern_compiler.h"
#include "dataplane/l7/inspector.h"

namespace sluice::l7 {
namespace {

namespace fs = std::filesystem;
using config::ContentExpression;
using config::ContentPattern;
using control::PatternCompiler;

ContentPattern regex(std::string text) { return {.name = text, .all = {{.text = text}}}; }
ContentPattern literal(std::string text) { return {.name = text, .all = {{.text = text, .literal = true}}}; }

std::shared_ptr<ContentRules> rules_of(const std::vector<ContentPattern>& patterns, ContentRules::Settings settings,
                                       ContentAction action = ContentAction::Count,
                                       const PatternCompiler& compiler = PatternCompiler("")) {
  auto compiled = compiler.compile(patterns);
  if (!compiled) {
    for (const auto& fault : compiled.error()) ADD_FAILURE() << fault.message;
    return nullptr;
  }
  std::vector<ContentRule> rules;
  for (const ContentPattern& pattern : patterns) {
    const bool placed = pattern.all.front().text.find('^') != std::string::npos;
    rules.push_back({pattern.name, "default/x", action, true, true, placed});
  }
  auto created =
      ContentRules::create(std::move(rules), std::move(compiled->parts), std::move(compiled->engines), settings);
  EXPECT_TRUE(created.ok());
  return *created;
}

// One connection of one worker.
class Stream {
 public:
  Stream(Inspector& inspector, const ContentRules& rules, bool tcp = true)
      : inspector_(inspector), chain_(inspector.begin(rules, true, no_inspection)), tcp_(tcp) {
    (void)send(0, "", true);
  }
  ~Stream() { inspector_.end(chain_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // A datagram in several buffers.
  Finding send(const std::vector<std::string_view>& texts) {
    std::vector<std::span<const uint8_t>> parts;
    uint32_t length = 0;
    for (const std::string_view text : texts) {
      parts.emplace_back(reinterpret_cast<const uint8_t*>(text.data()), text.size());
      length += static_cast<uint32_t>(text.size());
    }
    return inspector_.look(chain_, {.tcp = tcp_, .seq = first, .length = length, .parts = parts});
  }
  Finding send(uint32_t at, std::string_view text, bool syn = false, bool reply = false) {
    const std::span<const uint8_t> part(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    const uint32_t begin = first + at;
    const Segment segment{.reply = reply,
                          .tcp = tcp_,
                          .syn = syn,
                          .seq = syn ? begin - 1 : begin,
                          .length = static_cast<uint32_t>(text.size()),
                          .parts = {&part, 1}};
    return inspector_.look(chain_, segment);
  }
  // The server's SYN+ACK.
  void agree(uint32_t at) {
    const Segment segment{.reply = true, .tcp = true, .syn = true, .acks = true, .seq = 77, .ack = first + at};
    (void)inspector_.look(chain_, segment);
  }
  [[nodiscard]] bool is_looked_into() const { return chain_ != no_inspection; }

 private:
  static constexpr uint32_t first = 0xfffffff0;  // numbers wrap

  Inspector& inspector_;
  InspectionId chain_;
  bool tcp_;
};

uint64_t hits(const ContentRules& rules) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < rules.rules().size(); ++i) sum += rules.hits(i);
  return sum;
}

TEST(L7Inspector, CNT4_AnySegmentsAnyOrderTheSameFindings) {
  const std::vector<ContentPattern> patterns{regex("ab+a"), regex("^cab"), literal("caca"), regex("b.{3}c")};
  const auto whole = rules_of(patterns, {});
  const auto pieces = rules_of(patterns, {});
  Inspector inspector(0, 16);
  std::mt19937 random(7);
  for (unsigned round = 0; round < 2000; ++round) {
    std::string text(random() % 40 + 1, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 3);
    {
      Stream stream(inspector, *whole);
      (void)stream.send(0, text);
    }
    Stream stream(inspector, *pieces);
    size_t sent = 0;
    while (sent < text.size()) {
      // Ahead, again, or what is next; a sender repeats until all has come in order.
      const size_t at = random() % 4 != 0 ? sent : random() % text.size();
      const size_t size = std::min<size_t>(random() % 6 + 1, text.size() - at);
      const Finding finding = stream.send(static_cast<uint32_t>(at), std::string_view(text).substr(at, size));
      EXPECT_EQ(finding.gap, at > sent);
      if (!finding.gap) sent = std::max(sent, at + size);
    }
    for (uint32_t i = 0; i < patterns.size(); ++i) {
      ASSERT_EQ(pieces->hits(i), whole->hits(i)) << patterns[i].name << " in " << text;
    }
  }
  EXPECT_GT(hits(*whole), 1000u);
  EXPECT_EQ(whole->in_use(), 0u);
}

TEST(L7Inspector, CNT9_WhereAMatchEndsAndItsPacketBegins) {
  const auto rules = rules_of({literal("needle")}, {}, ContentAction::Reset);
  Inspector inspector(0, 16);
  Stream stream(inspector, *rules);
  EXPECT_EQ(stream.send(0, "hay, n").action, ContentAction::None);
  const Finding finding = stream.send(6, "eedle, hay");
  EXPECT_EQ(finding.end, 11u);
  EXPECT_EQ(finding.at, 6);
  // Other bytes in the place of those that passed, and more: half before what counts, half seen.
  Stream again(inspector, *rules);
  EXPECT_EQ(again.send(0, "hay and more hay").action, ContentAction::None);
  const Finding second = again.send(4, "needle");
  EXPECT_EQ(second.end, 10u);
  EXPECT_EQ(second.at, 4);
  const Finding third = again.send(static_cast<uint32_t>(-2), "xxneedle");
  EXPECT_EQ(third.end, 6u);
  EXPECT_EQ(third.at, -2);
}

// What is found in bytes that nobody sent is what a worker finds in them.
TEST(L7Inspector, CNT9_SearchFindsWhatWorkersFind) {
  const std::vector<ContentPattern> patterns{regex("ab+a"),
                                             regex("^cab"),
                                             literal("caca"),
                                             regex("b$"),
                                             {.name = "both", .all = {{.text = "bb"}, {.text = "cc"}}}};
  const auto rules = rules_of(patterns, {.depth = 64});
  Inspector inspector(0, 16);
  std::mt19937 random(3);
  for (const bool tcp : {true, false}) {
    for (unsigned round = 0; round < 500; ++round) {
      std::string text(random() % 80 + 1, 'a');
      for (char& c : text) c = static_cast<char>('a' + random() % 3);
      std::vector<uint64_t> before;
      for (uint32_t i = 0; i < patterns.size(); ++i) before.push_back(rules->hits(i));
      {
        Stream stream(inspector, *rules, tcp);
        (void)stream.send(0, text);
      }
      std::vector<uint64_t> found(patterns.size());
      const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
      for (const Finding& finding : Inspector::search(*rules, true, tcp, bytes)) ++found[finding.rule];
      for (uint32_t i = 0; i < patterns.size(); ++i) {
        ASSERT_EQ(found[i], rules->hits(i) - before[i]) << patterns[i].name << " in " << text;
      }
    }
  }
  EXPECT_GT(hits(*rules), 500u);
}

TEST(L7Inspector, CNT5_OnlyTheDepthIsLookedAt) {
  const auto rules = rules_of({literal("needle")}, {.depth = 100});
  Inspector inspector(0, 16);
  Stream stream(inspector, *rules);
  EXPECT_EQ(stream.send(0, std::string(94, 'x')).action, ContentAction::None);
  EXPECT_EQ(stream.send(94, "needle").action, ContentAction::Count) << "its last byte is the hundredth";
  EXPECT_EQ(rules->in_use(), 1u) << "the other direction";
  (void)stream.send(0, std::string(200, 'x'), false, true);
  EXPECT_FALSE(stream.is_looked_into());
  EXPECT_EQ(rules->in_use(), 0u);
  Stream other(inspector, *rules);
  EXPECT_EQ(other.send(0, std::string(95, 'x') + "needle").action, ContentAction::None);
}

TEST(L7Inspector, CNT6_WithoutRoomNobodyLooks) {
  for (const bool drop : {false, true}) {
    const auto rules = rules_of({literal("needle"), regex("n.*e")}, {.drop_when_full = drop, .streams = 2});
    Inspector inspector(0, 16);
    std::vector<std::unique_ptr<Stream>> streams;
    for (int i = 0; i < 3; ++i) streams.push_back(std::make_unique<Stream>(inspector, *rules));
    EXPECT_EQ(rules->in_use(), 3u) << "who has said nothing needs no stream";
    EXPECT_FALSE(streams[0]->send(0, "need").overload);
    EXPECT_FALSE(streams[1]->send(0, "need").overload);
    EXPECT_EQ(streams[2]->send(0, "need").overload, drop);
    EXPECT_EQ(streams[2]->is_looked_into(), drop);
    EXPECT_EQ(rules->overloads(), 1u);
    streams.erase(streams.begin());
    streams.push_back(std::make_unique<Stream>(inspector, *rules));
    EXPECT_EQ(streams.back()->send(0, "le").action, ContentAction::None) << "what another one left is forgotten";
    EXPECT_EQ(streams.back()->send(2, "needle").action, ContentAction::Count);
  }

  Inspector small(0, 1);
  const auto many = rules_of({literal("needle")}, {});
  Stream first(small, *many);
  Stream second(small, *many);
  EXPECT_TRUE(first.is_looked_into());
  EXPECT_FALSE(second.is_looked_into());
}

TEST(L7Inspector, CNT4_WhatIsSentAgainIsHeldAgainstWhatEndsConnections) {
  const auto ends = rules_of({literal("needle"), regex("^hay")}, {}, ContentAction::Drop);
  const auto counts = rules_of({literal("needle")}, {});
  Inspector inspector(0, 8);
  Stream stream(inspector, *ends);
  EXPECT_EQ(stream.send(0, "some hay").action, ContentAction::None);
  EXPECT_EQ(stream.send(5, "hay").action, ContentAction::None) << "which does not begin the stream";
  EXPECT_EQ(stream.send(2, "needle").action, ContentAction::Drop) << "other bytes than the first time";
  Stream other(inspector, *ends);
  EXPECT_EQ(other.send(0, "some hay").action, ContentAction::None);
  EXPECT_EQ(other.send(2, "needle and more").action, ContentAction::Drop) << "a part of it is new";
  Stream counted(inspector, *counts);
  EXPECT_EQ(counted.send(0, "needle").action, ContentAction::Count);
  EXPECT_EQ(counted.send(0, "needle").action, ContentAction::None);
  EXPECT_EQ(counts->hits(0), 1u);
}

TEST(L7Inspector, CNT4_AStreamBeginsWhereTheServerAgrees) {
  const auto rules = rules_of({literal("needle")}, {});
  Inspector inspector(0, 8);
  Stream stream(inspector, *rules);
  EXPECT_TRUE(stream.send(0, "early data", true).gap) << "few take data with a SYN";
  (void)stream.send(0x40000000, "", true);
  stream.agree(0);
  EXPECT_EQ(stream.send(0, "nee").action, ContentAction::None);
  (void)stream.send(0x40000000, "", true);
  EXPECT_EQ(stream.send(3, "dle").action, ContentAction::Count);
}

TEST(L7Inspector, CNT3_TheStrongestActionCounts) {
  auto compiled = PatternCompiler("").compile({literal("a"), literal("b"), literal("c")});
  ASSERT_TRUE(compiled.ok());
  const auto rules = *ContentRules::create({{"a", "default/x", ContentAction::Count, true, true},
                                            {"b", "default/x", ContentAction::Drop, true, true},
                                            {"c", "default/x", ContentAction::Reset, true, true}},
                                           {}, std::move(compiled->engines), {});
  Inspector inspector(0, 4);
  Stream stream(inspector, *rules);
  EXPECT_EQ(stream.send(0, "a").action, ContentAction::Count);
  EXPECT_EQ(stream.send(1, "ca").action, ContentAction::Reset);
  const Finding finding = stream.send(3, "..b..");
  EXPECT_EQ(finding.action, ContentAction::Drop);
  EXPECT_EQ(finding.rule, 1u);
  EXPECT_EQ(finding.end, 6u);
}

TEST(L7Inspector, CNT2_AllOfSeveralExpressionsInAnyOrder) {
  const ContentPattern both{.name = "both", .all = {{.text = "user"}, {.text = "pass", .literal = true}}};
  const auto rules = rules_of({literal("x"), both}, {});
  Inspector inspector(0, 4);
  Stream stream(inspector, *rules);
  EXPECT_EQ(stream.send(0, "a pass").action, ContentAction::None);
  EXPECT_EQ(stream.send(6, "and a us").action, ContentAction::None);
  EXPECT_EQ(stream.send(14, "er").action, ContentAction::Count);
  EXPECT_EQ(stream.send(16, "user pass").action, ContentAction::None);
  EXPECT_EQ(rules->hits(1), 1u) << "once is enough";
  Stream other(inspector, *rules);
  EXPECT_EQ(other.send(0, "user").action, ContentAction::None) << "what another connection had is forgotten";

  Stream datagrams(inspector, *rules, false);
  EXPECT_EQ(datagrams.send(0, "user").action, ContentAction::None);
  EXPECT_EQ(datagrams.send(0, "pass").action, ContentAction::None);
  EXPECT_EQ(datagrams.send(0, "pass user").action, ContentAction::Count);
}

TEST(L7Inspector, CNT3_ADatagramInSeveralBuffersIsOne) {
  const auto rules = rules_of({regex("version\\.bind"), literal("tail")}, {.depth = 64});
  Inspector inspector(0, 4);
  Stream datagrams(inspector, *rules, false);
  EXPECT_EQ(datagrams.send({"a ver", "si", "", "on.bind"}).action, ContentAction::Count);
  EXPECT_EQ(datagrams.send({"version", " bind"}).action, ContentAction::None);
  EXPECT_EQ(rules->hits(0), 1u);
  // 26 bytes have passed: "tail" ends behind the depth.
  EXPECT_EQ(datagrams.send({std::string(20, '.'), std::string(15, '.') + "ta", "il"}).action, ContentAction::None);
  EXPECT_FALSE(datagrams.is_looked_into() && datagrams.send({"tail"}).action != ContentAction::None);
}

TEST(L7Inspector, CNT2_PlacesAreCountedFromTheFirstByte) {
  const ContentPattern placed{.name = "placed",
                              .all = {{.text = "abc", .literal = true, .least_end = 5, .most_end = 8}}};
  const auto rules = rules_of({placed}, {});
  Inspector inspector(0, 4);
  const auto found = [&](std::string_view text) {
    Stream stream(inspector, *rules);
    return stream.send(0, text).action == ContentAction::Count;
  };
  EXPECT_FALSE(found("abc......"));
  EXPECT_TRUE(found("..abc...."));
  EXPECT_TRUE(found(".....abc."));
  EXPECT_FALSE(found("......abc"));
}

TEST(L7Inspector, CNT8_LiteralsHaveADatabaseOfTheirOwn) {
  std::vector<ContentPattern> patterns;
  for (int i = 0; i < 5000; ++i) patterns.push_back(literal(fmt::format("host-{}.example.com", i)));
  auto compiled = PatternCompiler("").compile(patterns);
  ASSERT_TRUE(compiled.ok());
  EXPECT_EQ(compiled->engines.size(), 1u);
  patterns.push_back(regex("a+b"));
  compiled = PatternCompiler("").compile(patterns);
  ASSERT_TRUE(compiled.ok());
  EXPECT_EQ(compiled->engines.size(), 2u);
}

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string text = (fs::temp_directory_path() / "sluice-patterns-XXXXXX").string();
    ASSERT_NE(::mkdtemp(text.data()), nullptr);
    path_ = text;
  }
  void TearDown() override { fs::remove_all(path_); }
  [[nodiscard]] std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(path_)) out.push_back(entry.path());
    return out;
  }
  std::string path_;
};

TEST_F(Folder, CNT8_DatabasesAreKeptByTheirHash) {
  const PatternCompiler compiler(path_);
  const std::vector<ContentPattern> patterns{regex("ab+a"), literal("needle")};
  EXPECT_FALSE(compiler.compile(patterns)->from_disk);
  EXPECT_EQ(files().size(), 4u) << "of streams and of datagrams, of expressions and of literals";
  EXPECT_TRUE(compiler.compile(patterns)->from_disk);
  const auto rules = rules_of(patterns, {}, ContentAction::Count, compiler);
  Inspector inspector(0, 4);
  Stream stream(inspector, *rules);
  EXPECT_EQ(stream.send(0, "needle").action, ContentAction::Count);

  for (const fs::path& file : files()) fs::resize_file(file, 100);
  EXPECT_FALSE(compiler.compile(patterns)->from_disk) << "damaged ones are made anew";
  EXPECT_TRUE(compiler.compile(patterns)->from_disk);
  compiler.prune(1);
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(Folder, CNT8_EveryExpressionThatIsWrongIsTold) {
  const auto compiled = PatternCompiler(path_).compile({regex("good"),
                                                        regex("a("),
                                                        literal("fine"),
                                                        regex("(x)\\1"),
                                                        {.name = "two", .all = {{.text = "a"}, {.text = "["}}}});
  ASSERT_FALSE(compiled.ok());
  ASSERT_EQ(compiled.error().size(), 3u);
  EXPECT_EQ(compiled.error()[0].pattern, 1u);
  EXPECT_EQ(compiled.error()[1].pattern, 3u);
  EXPECT_EQ(compiled.error()[2].pattern, 4u);
}

}  // namespace
}  // namespace sluice::l7
