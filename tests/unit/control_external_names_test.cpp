// What names of Services stand for: asked at once, asked again, kept while DNS fails, and never the router itself.
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/external_names.h"
#include "tests/unit/fake_lookup.h"

namespace sluice::control {
namespace {

using namespace std::chrono_literals;
using config::ObjectName;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const ObjectName db{"default", "db"};
const ObjectName cache{"default", "cache"};

class ExternalNamesTest : public testing::Test {
 protected:
  void SetUp() override { make(); }
  void make() {
    names_.emplace(std::make_unique<FakeLookup>(questions_),
                   ExternalNames::Hooks{.objection =
                                            [this](const net::IpAddr& address) {
                                              const auto found = objections_.find(net::to_string(address));
                                              return found == objections_.end() ? std::string() : found->second;
                                            },
                                        .changed = [this] { ++changes_; },
                                        .report = [this](RouterEvent event) { events_.push_back(std::move(event)); }},
                   counts_);
    names_->tick(now_);
  }
  void advance(std::chrono::milliseconds time) {
    now_ += time;
    names_->tick(now_);
  }
  // Answers every question that waits; a name that is not in `answers` has no address.
  void answer(const std::map<std::string, LookupAnswer>& v4, const std::map<std::string, LookupAnswer>& v6 = {}) {
    const std::vector<FakeLookup::Question> waiting = std::exchange(*questions_, {});
    for (const FakeLookup::Question& question : waiting) {
      const auto& answers = question.family == net::Family::V4 ? v4 : v6;
      const auto found = answers.find(question.name);
      question.done(found == answers.end() ? answer_of({}) : found->second);
    }
  }
  [[nodiscard]] std::vector<std::string> asked() const {
    std::vector<std::string> out;
    for (const FakeLookup::Question& question : *questions_) {
      out.push_back(question.name + (question.family == net::Family::V4 ? " A" : " AAAA"));
    }
    return out;
  }
  [[nodiscard]] std::vector<std::string> addresses(const ObjectName& service) const {
    return texts(names_->addresses_of(service)->current);
  }
  [[nodiscard]] std::vector<std::string> former(const ObjectName& service) const {
    return texts(names_->addresses_of(service)->former);
  }
  static std::vector<std::string> texts(const std::vector<net::IpAddr>& addresses) {
    std::vector<std::string> out;
    for (const net::IpAddr& address : addresses) out.push_back(net::to_string(address));
    return out;
  }
  std::vector<std::string> told() {
    std::vector<std::string> out;
    for (const RouterEvent& event : events_) out.push_back(event.reason + (event.warning ? "!" : ""));
    events_.clear();
    return out;
  }

  FakeLookup::Questions questions_ = std::make_shared<std::vector<FakeLookup::Question>>();
  std::map<std::string, std::string> objections_;
  ExternalNameCounts counts_;
  std::vector<RouterEvent> events_;
  unsigned changes_ = 0;
  ExternalNames::Clock::time_point now_{1h};
  std::optional<ExternalNames> names_;
};

TEST_F(ExternalNamesTest, ING9_BothFamiliesAreAskedForAtOnce) {
  names_->want(db, "db.example.com");
  EXPECT_THAT(asked(), ElementsAre("db.example.com A", "db.example.com AAAA"));
  EXPECT_THAT(addresses(db), IsEmpty());
  EXPECT_EQ(names_->view_of(db).problem, "DNS has not answered yet");
  answer({{"db.example.com", answer_of({"203.0.113.9", "203.0.113.5"})}},
         {{"db.example.com", answer_of({"2001:db8::5"})}});
  EXPECT_THAT(addresses(db), ElementsAre("203.0.113.5", "203.0.113.9", "2001:db8::5"));
  EXPECT_THAT(names_->take_changed(), ElementsAre(db));
  EXPECT_EQ(changes_, 2U) << "nobody waits for the slower of the two";
  EXPECT_EQ(names_->view_of(db).name, "db.example.com");
  EXPECT_EQ(names_->view_of(db).problem, "");
  EXPECT_THAT(told(), ElementsAre("ExternalNameChanged"));
  EXPECT_EQ(counts_.answered, 2U);
  EXPECT_EQ(counts_.known, 1U);
  EXPECT_EQ(names_->addresses_of(cache), nullptr);
}

TEST_F(ExternalNamesTest, ING9_AskedAgainAndChangedWhenItIsAnother) {
  names_->want(db, "db.example.com");
  answer({{"db.example.com", answer_of({"203.0.113.5"})}});
  (void)names_->take_changed();
  changes_ = 0;
  advance(29s);
  EXPECT_THAT(asked(), IsEmpty());
  advance(1s);
  EXPECT_THAT(asked(), ElementsAre("db.example.com A", "db.example.com AAAA"));
  advance(60s);
  EXPECT_EQ(asked().size(), 2U) << "not while an answer is missing";
  answer({{"db.example.com", answer_of({"203.0.113.5"})}});
  EXPECT_EQ(changes_, 0U) << "the same";
  advance(30s);
  answer({{"db.example.com", answer_of({"203.0.113.6"})}});
  EXPECT_EQ(changes_, 1U);
  EXPECT_THAT(names_->take_changed(), ElementsAre(db));
  EXPECT_THAT(addresses(db), ElementsAre("203.0.113.6"));
  EXPECT_THAT(former(db), ElementsAre("203.0.113.5")) << "connections may go on there";
  advance(30s);
  answer({{"db.example.com", answer_of({"203.0.113.5", "203.0.113.6"})}});
  EXPECT_THAT(former(db), IsEmpty());
  EXPECT_THAT(told(), ElementsAre("ExternalNameChanged", "ExternalNameChanged", "ExternalNameChanged"));
}

TEST_F(ExternalNamesTest, ING9_WhatWasKnownStaysWhileDnsFails) {
  names_->want(db, "db.example.com");
  answer({{"db.example.com", answer_of({"203.0.113.5"})}});
  (void)told();
  (void)names_->take_changed();
  advance(30s);
  const std::map<std::string, LookupAnswer> fails{{"db.example.com", failure("no server")}};
  answer(fails, fails);
  EXPECT_THAT(addresses(db), ElementsAre("203.0.113.5"));
  EXPECT_THAT(names_->take_changed(), IsEmpty());
  EXPECT_THAT(told(), ElementsAre("ExternalNameProblem!"));
  EXPECT_EQ(names_->view_of(db).problem, "the look-up fails: no server");
  // 1, 2, 4, 8, 16 and then 30 seconds later.
  for (const auto wait : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) {
    advance(wait - 1ms);
    EXPECT_THAT(asked(), IsEmpty()) << wait.count();
    advance(1ms);
    EXPECT_EQ(asked().size(), 2U) << wait.count();
    answer(fails, fails);
  }
  EXPECT_THAT(told(), IsEmpty()) << "once is enough";
  EXPECT_EQ(counts_.failed, 16U);
  EXPECT_EQ(counts_.known, 1U);
  advance(30s);
  answer({{"db.example.com", answer_of({"203.0.113.5"})}});
  EXPECT_THAT(told(), ElementsAre("ExternalNameResolved"));
  EXPECT_EQ(names_->view_of(db).problem, "");
  advance(29s);
  EXPECT_THAT(asked(), IsEmpty());
}

TEST_F(ExternalNamesTest, ING9_OneFamilyFailsAndTheOtherGoesOn) {
  names_->want(db, "db.example.com");
  answer({{"db.example.com", answer_of({"203.0.113.5"})}}, {{"db.example.com", answer_of({"2001:db8::5"})}});
  advance(30s);
  answer({{"db.example.com", answer_of({"203.0.113.6"})}}, {{"db.example.com", failure("time out")}});
  EXPECT_THAT(addresses(db), ElementsAre("203.0.113.6", "2001:db8::5"));
  EXPECT_EQ(names_->view_of(db).problem, "the look-up fails: time out");
}

TEST_F(ExternalNamesTest, ING6_ING9_ANameThatIsGoneIsAnAnswer) {
  names_->want(db, "db.example.com");
  answer({{"db.example.com", answer_of({"203.0.113.5"})}});
  (void)names_->take_changed();
  (void)told();
  advance(30s);
  answer({});
  EXPECT_THAT(addresses(db), IsEmpty());
  EXPECT_THAT(names_->take_changed(), ElementsAre(db));
  EXPECT_EQ(names_->view_of(db).problem, "DNS knows no address of it");
  EXPECT_THAT(told(), ElementsAre("ExternalNameChanged!", "ExternalNameProblem!"));
  EXPECT_EQ(counts_.unknown, 1U);
  EXPECT_EQ(counts_.none, 3U);
  advance(29s);
  EXPECT_THAT(asked(), IsEmpty()) << "it is no failure";
}

TEST_F(ExternalNamesTest, ING9_AddressesThatLeadBackAreNotUsed) {
  objections_["203.0.113.80"] = "a service address of this router";
  names_->want(db, "db.example.com");
  answer({{"db.example.com", answer_of({"203.0.113.5", "203.0.113.80"})}});
  EXPECT_THAT(addresses(db), ElementsAre("203.0.113.5"));
  EXPECT_EQ(names_->view_of(db).problem, "203.0.113.80 is not used: a service address of this router");
  EXPECT_THAT(told(), ElementsAre("ExternalNameChanged", "ExternalNameProblem!"));
  // What is the router's changes, and with a failing DNS as well.
  objections_ = {{"203.0.113.5", "an address of this router"}};
  advance(30s);
  answer({{"db.example.com", failure("no server")}}, {{"db.example.com", failure("no server")}});
  EXPECT_THAT(addresses(db), ElementsAre("203.0.113.80"));
  EXPECT_THAT(names_->view_of(db).problem, HasSubstr("203.0.113.5 is not used: an address of this router"));
}

TEST_F(ExternalNamesTest, ING9_OneNameOfSeveralServices) {
  names_->want(db, "db.example.com");
  names_->want(cache, "db.example.com");
  EXPECT_EQ(asked().size(), 2U);
  answer({{"db.example.com", answer_of({"203.0.113.5"})}});
  EXPECT_THAT(names_->take_changed(), UnorderedElementsAre(db, cache));
  names_->forget(db);
  EXPECT_EQ(names_->addresses_of(db), nullptr);
  EXPECT_THAT(addresses(cache), ElementsAre("203.0.113.5"));
  names_->forget(cache);
  names_->forget(cache);
  advance(1h);
  EXPECT_THAT(asked(), IsEmpty());
  EXPECT_EQ(counts_.known + counts_.unknown, 0U);
  names_->want(db, "other.example.com");
  answer({{"other.example.com", answer_of({"203.0.113.6"})}});
  names_->want(cache, "other.example.com");
  EXPECT_THAT(addresses(cache), ElementsAre("203.0.113.6")) << "it is known already";
  EXPECT_THAT(names_->take_changed(), UnorderedElementsAre(db, cache));
}

TEST_F(ExternalNamesTest, ING9_AnotherNameIsAnotherMatter) {
  names_->want(db, "old.example.com");
  names_->want(db, "old.example.com");
  EXPECT_EQ(asked().size(), 2U);
  answer({{"old.example.com", answer_of({"203.0.113.5"})}});
  advance(30s);
  std::vector<FakeLookup::Question> late = std::exchange(*questions_, {});
  (void)names_->take_changed();
  names_->want(db, "new.example.com");
  EXPECT_THAT(names_->take_changed(), ElementsAre(db));
  EXPECT_THAT(addresses(db), IsEmpty());
  for (const FakeLookup::Question& question : late) question.done(answer_of({"203.0.113.77"}));
  EXPECT_THAT(addresses(db), IsEmpty()) << "that was another name";
  answer({{"new.example.com", answer_of({"203.0.113.6"})}});
  EXPECT_THAT(addresses(db), ElementsAre("203.0.113.6"));
  // The same name again is not what was asked before.
  names_->want(db, "old.example.com");
  for (const FakeLookup::Question& question : late) question.done(answer_of({"203.0.113.78"}));
  EXPECT_THAT(addresses(db), IsEmpty());
}

TEST_F(ExternalNamesTest, ING9_WhatIsForgottenServesNoMore) {
  names_->want(db, "db.example.com");
  names_->forget(db);
  EXPECT_THAT(names_->take_changed(), IsEmpty()) << "it never had an address";
  names_->want(db, "db.example.com");
  names_->want(cache, "db.example.com");
  answer({{"db.example.com", answer_of({"203.0.113.5"})}});
  (void)names_->take_changed();
  changes_ = 0;
  names_->forget(db);
  EXPECT_THAT(names_->take_changed(), ElementsAre(db)) << "what was published has its address";
  EXPECT_EQ(changes_, 1U);
  names_->forget(db);
  EXPECT_EQ(changes_, 1U);
  // Connections may have an address that DNS has forgotten: that goes, too.
  advance(30s);
  answer({});
  (void)names_->take_changed();
  EXPECT_THAT(former(cache), ElementsAre("203.0.113.5"));
  names_->forget(cache);
  EXPECT_THAT(names_->take_changed(), ElementsAre(cache));
}

TEST_F(ExternalNamesTest, ING9_FewNamesAreAskedForAtOneTime) {
  constexpr size_t all = 10'000;
  constexpr size_t most = 2 * ExternalNames::most_asked;
  const auto name_of = [](size_t i) { return "n" + std::to_string(i) + ".example.com"; };
  for (size_t i = 0; i < all; ++i) names_->want({"default", "s" + std::to_string(i)}, name_of(i));
  EXPECT_EQ(asked().size(), most);
  EXPECT_EQ(counts_.unknown, all);
  std::map<std::string, LookupAnswer> answers;
  for (size_t i = 0; i < all; i += 2) answers.emplace(name_of(i), answer_of({"203.0.113.5"}));
  size_t questions = 0;
  for (; !questions_->empty(); answer(answers)) {
    EXPECT_LE(asked().size(), most);
    questions += asked().size();
  }
  EXPECT_EQ(questions, 2 * all) << "an answer makes room for the next, without a tick";
  EXPECT_EQ(counts_.known, all / 2);
  EXPECT_EQ(counts_.unknown, all / 2);
  EXPECT_EQ(names_->take_changed().size(), all / 2);
  for (size_t i = 0; i < all; i += 3) names_->forget({"default", "s" + std::to_string(i)});
  EXPECT_EQ(counts_.known + counts_.unknown, all - (all + 2) / 3);
  EXPECT_EQ(counts_.known, all / 2 - (all + 5) / 6);
}

TEST_F(ExternalNamesTest, ING9_WhoHasWaitedLongestIsAskedForFirst) {
  constexpr size_t all = 4 * ExternalNames::most_asked;
  for (size_t i = 0; i < all; ++i) {
    const std::string name(1 + i / 26, static_cast<char>('a' + i % 26));
    names_->want({"default", name}, name + ".example.com");
  }
  std::map<std::string, unsigned> times;
  for (size_t round = 0; round < 4; ++round) {
    for (const FakeLookup::Question& question : *questions_) ++times[question.name];
    advance(31s);  // the first ones would be due again
    answer({});
  }
  EXPECT_EQ(times.size(), all) << "a slow DNS forgets no name";
}

TEST_F(ExternalNamesTest, ING9_ForgottenNamesGiveTheirPlaceAway) {
  for (size_t i = 0; i < ExternalNames::most_asked; ++i) {
    names_->want({"default", std::to_string(i)}, std::to_string(i) + ".example.com");
  }
  names_->want(db, "db.example.com");
  names_->want(cache, "cache.example.com");
  for (size_t i = 0; i < ExternalNames::most_asked; ++i) names_->forget({"default", std::to_string(i)});
  names_->forget(cache);
  advance(1s);
  EXPECT_EQ(asked().size(), 2 * ExternalNames::most_asked) << "they are under way all the same";
  answer({});
  EXPECT_THAT(asked(), ElementsAre("db.example.com A", "db.example.com AAAA"));
  answer({});
  advance(30s);
  EXPECT_THAT(asked(), ElementsAre("db.example.com A", "db.example.com AAAA")) << "once, and cache not at all";
}

TEST_F(ExternalNamesTest, ING9_WhatIsKeptIsBounded) {
  names_->want(db, "db.example.com");
  std::vector<std::string> many;
  for (int i = 1; i <= 200; ++i) many.push_back("203.0.113." + std::to_string(i));
  answer({{"db.example.com", answer_of(many)}});
  EXPECT_EQ(addresses(db).size(), ExternalNames::most_addresses);
  for (int turn = 0; turn < 4; ++turn) {
    for (std::string& address : many) address.replace(0, 3, turn % 2 == 0 ? "198" : "203");
    advance(30s);
    answer({{"db.example.com", answer_of(many)}});
    EXPECT_LE(former(db).size(), ExternalNames::most_former);
  }
}

TEST_F(ExternalNamesTest, ING9_AnswersThatComeTooLateAreNobodys) {
  names_->want(db, "db.example.com");
  names_.reset();
  for (const FakeLookup::Question& question : *questions_) question.done(answer_of({"203.0.113.5"}));
  EXPECT_EQ(counts_.answered, 0U);
  EXPECT_THAT(events_, IsEmpty());
}

// A label of more than 63 bytes: nobody has such a name, and the system's resolver knows without asking (RFC 1035
// section 2.3.4).
const std::string never(64, 'a');

TEST(HostLookup, ING9_AnswersLaterAndInTheCallersThread) {
  boost::asio::io_context io;
  const auto lookup = make_host_lookup(io);
  unsigned answers = 0;
  for (const net::Family family : {net::Family::V4, net::Family::V6}) {
    lookup->ask(never, family, [&, here = std::this_thread::get_id()](const LookupAnswer& answer) {
      ++answers;
      EXPECT_EQ(std::this_thread::get_id(), here);
      EXPECT_EQ(answer.kind, LookupAnswer::Kind::None);
      EXPECT_EQ(answer.problem, "");
    });
  }
  EXPECT_EQ(answers, 0U);
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (answers < 2 && std::chrono::steady_clock::now() < end) {
    io.restart();
    io.run_for(5ms);
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(answers, 2U);
}

TEST(HostLookup, ING9_NobodyWaitsForAnAnswerThatNobodyWants) {
  boost::asio::io_context io;
  bool answered = false;
  {
    const auto lookup = make_host_lookup(io);
    for (int i = 0; i < 20; ++i) {
      lookup->ask(never, net::Family::V4, [&](const LookupAnswer&) { answered = true; });
    }
  }
  // Those that were posted before are called yet; nothing comes behind them.
  io.run_for(50ms);
  answered = false;
  io.restart();
  io.run_for(50ms);
  EXPECT_FALSE(answered);
}

}  // namespace
}  // namespace sluice::control
