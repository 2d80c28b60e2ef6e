// What is kept over a restart: every change that was appended, whenever the process dies, whatever is damaged.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdlib.h>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/journal_record.h"
#include "control/state_file.h"
#include "control/state_journal.h"
#include "tests/unit/config_documents.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;
using config::ObjectSet;
using testing::HasSubstr;
using testing::IsEmpty;

class Journal : public testing::Test {
 protected:
  Journal() {
    std::string name = (fs::temp_directory_path() / "sluice-journal-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    take(config::list_with_gateway({config::service("a", "10.96.0.1")}));
  }
  ~Journal() override { fs::remove_all(folder_); }

  // The first document.
  void take(const std::string& text) {
    auto prepared = objects_.prepare(text);
    first_ = *objects_.apply(std::move(*prepared));
  }
  config::Change put(const std::string& name, const std::string& address) {
    auto delta = config::parse_delta(R"({"kind": "Delta", "upsert": [)" + config::service(name, address) + "]}");
    return *objects_.apply(std::move(*delta));
  }
  config::Change remove(const std::string& name) {
    return *objects_.apply(config::deletion_of({"Service", "default", name}));
  }
  // As the controller does; the change comes while the document is being written.
  void rewrite(StateJournal& journal, const std::string& meanwhile = "") {
    ASSERT_TRUE(journal.rotate());
    ASSERT_TRUE(journal.begin(generation_));
    std::string text;
    objects_.each_after({}, [&](const config::ObjectKey&, const std::string& object) {
      text += (text.empty() ? "" : ",") + object;
      return true;
    });
    if (!meanwhile.empty()) {
      ASSERT_TRUE(journal.append(objects_, put(meanwhile, "10.96.9.9"), ++generation_));
    }
    ASSERT_TRUE(journal.write(text));
    ASSERT_TRUE(journal.end());
    ASSERT_TRUE(journal.install());
  }
  // What a process that starts now finds.
  StateJournal::Kept found() { return StateJournal(folder_).load(); }
  // The objects of it, as text; messages are none.
  std::string kept() {
    const StateJournal::Kept all = found();
    EXPECT_THAT(all.messages, IsEmpty());
    return all.objects ? all.objects->to_text({}) : "";
  }
  // A document as versions wrote it that knew no format.
  [[nodiscard]] std::string list_with_generation() const {
    const std::string objects = objects_.to_text({});
    return R"({"apiVersion":"v1","kind":"List","metadata":{"generation":7,"journal":0},)" +
           objects.substr(objects.find("\"items\""));
  }
  [[nodiscard]] std::string now() const { return objects_.to_text({}); }
  [[nodiscard]] std::string file(const std::string& name) const { return folder_ + "/" + name; }
  static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  }

  std::string folder_;
  ObjectSet objects_;
  config::Change first_;
  uint64_t generation_ = 0;  // of the last that was appended
};

TEST_F(Journal, NothingIsKeptAtFirst) {
  EXPECT_EQ(kept(), "");
  StateJournal none("");
  EXPECT_FALSE(none.enabled());
  EXPECT_TRUE(none.append(objects_, first_, ++generation_));
}

TEST_F(Journal, EveryChangeIsThereAfterARestart) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  EXPECT_EQ(kept(), now());
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  EXPECT_EQ(kept(), now());
  ASSERT_TRUE(journal.append(objects_, put("a", "10.96.0.3"), ++generation_));
  ASSERT_TRUE(journal.append(objects_, remove("b"), ++generation_));
  EXPECT_EQ(kept(), now());
  // And after several.
  StateJournal next(folder_);
  (void)next.load();
  ASSERT_TRUE(next.append(objects_, put("c", "10.96.0.4"), ++generation_));
  EXPECT_EQ(kept(), now());
}

TEST_F(Journal, AChangeOfAWholeClusterIsOneRecord) {
  StateJournal journal(folder_);
  (void)journal.load();
  std::vector<std::string> objects;
  for (int i = 0; i < 3000; ++i) {
    objects.push_back(config::service(fmt::format("s{}", i), fmt::format("10.96.{}.{}", 1 + i / 250, i % 250)));
    objects.back().insert(objects.back().size() - 1,
                          R"(, "x": ")" + std::string(static_cast<size_t>(i) % 1500, 'x') + '"');
  }
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  take(config::list_with_gateway(objects));
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  ASSERT_TRUE(journal.append(objects_, put("a", "10.96.0.9"), ++generation_));
  EXPECT_EQ(kept(), now());
  const std::string whole = read(file("config.journal.0"));
  EXPECT_GT(whole.size(), 2U << 20);
  // Torn anywhere it is left out, and with it all that came after.
  for (size_t length = 10; length < whole.size(); length += whole.size() / 7) {
    write(file("config.journal.0"), whole.substr(0, length));
    EXPECT_THAT(found().messages, testing::SizeIs(1)) << length;
  }
}

TEST_F(Journal, ARewrittenDocumentHasItAllAndWhatCameMeanwhile) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  rewrite(journal, "meanwhile");
  EXPECT_EQ(kept(), now());
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  EXPECT_EQ(kept(), now());
  rewrite(journal);
  rewrite(journal);
  EXPECT_EQ(kept(), now());
  EXPECT_FALSE(fs::exists(file("config.journal.0")));
  EXPECT_TRUE(fs::exists(file("config.json.previous")));
}

TEST_F(Journal, DeathAtAnyByteLeavesWhatWasAcknowledged) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  const std::string path = file("config.journal.0");
  const size_t acknowledged = fs::file_size(path);
  const std::string before = now();
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  const std::string whole = read(path);
  for (size_t size = acknowledged; size < whole.size(); ++size) {
    write(path, whole.substr(0, size));
    const StateJournal::Kept all = found();
    EXPECT_EQ(all.objects->to_text({}), before) << size;
    EXPECT_EQ(all.messages.size(), size == acknowledged ? 0U : 1U) << size;
  }
  write(path, whole);
  EXPECT_EQ(kept(), now());
}

TEST_F(Journal, DeathWhileTheDocumentIsWrittenLosesNothing) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  rewrite(journal);
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  ASSERT_TRUE(journal.rotate());
  EXPECT_EQ(kept(), now());
  ASSERT_TRUE(journal.begin(2));
  ASSERT_TRUE(journal.write("{\"half"));
  ASSERT_TRUE(journal.append(objects_, put("c", "10.96.0.3"), ++generation_));
  EXPECT_EQ(kept(), now());
  // Between the two renames.
  fs::rename(file("config.json"), file("config.json.previous"));
  const StateJournal::Kept all = found();
  EXPECT_EQ(all.objects->to_text({}), now());
}

TEST_F(Journal, ADamagedDocumentIsSetAsideAndThePreviousOneLeadsToTheSame) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  rewrite(journal);
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  rewrite(journal);
  ASSERT_TRUE(journal.append(objects_, put("c", "10.96.0.3"), ++generation_));
  std::string text = read(file("config.json"));
  const size_t place = text.find("10.96.0.2");
  ASSERT_NE(place, std::string::npos);
  text[place + 8] = '7';  // still a sound document, but another
  write(file("config.json"), text);
  const StateJournal::Kept all = found();
  ASSERT_FALSE(all.messages.empty());
  EXPECT_THAT(all.messages.front(), HasSubstr("damaged"));
  EXPECT_EQ(all.objects->to_text({}), now());
  EXPECT_TRUE(fs::exists(file("config.json.damaged")));
}

TEST_F(Journal, ADamagedJournalEndsWhereTheDamageBegins) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  const std::string before = now();
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  ASSERT_TRUE(journal.append(objects_, put("c", "10.96.0.3"), ++generation_));
  std::string text = read(file("config.journal.0"));
  text[text.find("10.96.0.2") + 8] = '7';
  write(file("config.journal.0"), text);
  StateJournal next(folder_);
  const StateJournal::Kept all = next.load();
  ASSERT_EQ(all.messages.size(), 1u);
  EXPECT_THAT(all.messages.front(), HasSubstr("lost"));
  EXPECT_EQ(all.objects->to_text({}), before);
  // What follows a gap is not appended to it.
  EXPECT_TRUE(next.is_broken());
  EXPECT_FALSE(next.append(objects_, put("d", "10.96.0.4"), ++generation_));
  rewrite(next);
  ASSERT_TRUE(next.append(objects_, put("e", "10.96.0.5"), ++generation_));
  EXPECT_EQ(kept(), now());
}

TEST_F(Journal, AFailureLeavesAnOlderStateUntilAllIsWrittenAnew) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  rewrite(journal);
  const std::string before = now();
  // No journal can be opened any more.
  StateJournal next(folder_);
  (void)next.load();
  fs::create_directory(file("config.journal.2"));
  const auto failed = next.append(objects_, put("b", "10.96.0.2"), ++generation_);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("config.journal.2"));
  EXPECT_FALSE(next.append(objects_, put("c", "10.96.0.3"), ++generation_));
  fs::remove(file("config.journal.2"));
  EXPECT_EQ(kept(), before);
  rewrite(next);
  EXPECT_EQ(kept(), now());
  ASSERT_TRUE(next.append(objects_, put("d", "10.96.0.4"), ++generation_));
  EXPECT_EQ(kept(), now());
}

// The disk said so later than append() could: fdatasync(2) failed.
TEST_F(Journal, WhatWasLostOnItsWayToTheDiskIsWrittenAnew) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  rewrite(journal);
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  journal.lose();
  EXPECT_TRUE(journal.is_broken());
  EXPECT_FALSE(journal.append(objects_, put("c", "10.96.0.3"), ++generation_));
  rewrite(journal);
  EXPECT_FALSE(journal.is_broken());
  ASSERT_TRUE(journal.append(objects_, put("d", "10.96.0.4"), ++generation_));
  EXPECT_EQ(kept(), now());
}

// A disk that stays full is tried again and again.
TEST_F(Journal, AttemptsThatFailLeaveNothing) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  rewrite(journal);
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  const std::string before = now();
  journal.lose();
  const auto files = [&] { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); };
  const auto there = files();
  for (int attempt = 0; attempt < 5; ++attempt) {
    ASSERT_TRUE(journal.rotate());
    ASSERT_TRUE(journal.begin(generation_));
    ASSERT_TRUE(journal.append(objects_, put("c", fmt::format("10.96.0.{}", 3 + attempt)), ++generation_));
    journal.give_up();
    EXPECT_TRUE(journal.is_broken());
    EXPECT_EQ(files(), there);
    EXPECT_EQ(found().objects->to_text({}), before);
  }
  rewrite(journal);
  EXPECT_EQ(kept(), now());
}

TEST_F(Journal, WhatWasKeptIsVoidWhenAnotherDocumentComes) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  ASSERT_TRUE(journal.append(objects_, put("old", "10.96.0.2"), ++generation_));
  objects_ = ObjectSet();
  take(config::list_with_gateway({config::service("new", "10.96.0.1")}));
  StateJournal next(folder_);
  next.ignore_kept();
  EXPECT_TRUE(next.is_broken());
  rewrite(next);
  EXPECT_EQ(kept(), now());
}

TEST_F(Journal, ADocumentOfAnEarlierVersionIsRead) {
  write(file("config.json"), config::list_with_gateway({config::service("a", "10.96.0.1")}));
  EXPECT_EQ(kept(), now());
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), ++generation_));
  EXPECT_EQ(kept(), now());
}

uint64_t generation_after(const std::string& folder) {
  StateJournal next(folder);
  (void)next.load();
  return next.last_generation();
}

TEST_F(Journal, API_TheGenerationGoesOnAfterARestart) {
  StateJournal journal(folder_);
  EXPECT_EQ(generation_after(folder_), 0U);
  generation_ = 40;
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, ++generation_));
  EXPECT_EQ(generation_after(folder_), 41U);
  rewrite(journal);
  EXPECT_EQ(generation_after(folder_), 41U);
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), 46));  // several in one
  EXPECT_EQ(generation_after(folder_), 46U);
  // Nor does a document that takes the place of what was kept bring them back.
  StateJournal other(folder_);
  other.ignore_kept();
  EXPECT_EQ(other.last_generation(), 46U);
  // A torn change was never acknowledged.
  const std::string whole = read(file("config.journal.1"));
  ASSERT_TRUE(journal.append(objects_, put("c", "10.96.0.3"), 47));
  const std::string longer = read(file("config.journal.1"));
  write(file("config.journal.1"), longer.substr(0, (whole.size() + longer.size()) / 2));
  EXPECT_EQ(generation_after(folder_), 46U);
}

TEST_F(Journal, API_AGenerationThatIsLostIsNotGivenOutAgain) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, 1));
  for (uint64_t generation = 2; generation < 9; ++generation) {
    ASSERT_TRUE(journal.append(objects_, put("b", fmt::format("10.96.0.{}", generation)), generation));
  }
  std::string text = read(file("config.journal.0"));
  text[text.find("10.96.0.4")] = '7';
  write(file("config.journal.0"), text);
  EXPECT_GE(generation_after(folder_), 8U);
}

TEST_F(Journal, API_ChangesOfAnEarlierVersionCountAsOneGenerationEach) {
  const std::string change = R"({"kind":"Delta","upsert":[)" + config::service("b", "10.96.0.2") + "]}";
  const std::string document = list_with_generation();
  write(file("config.json"), document);
  write(file("config.journal.0"), record_of(change_word, change.size(), checksum(change)) + change + "\n");
  EXPECT_EQ(generation_after(folder_), 8U);
  (void)put("b", "10.96.0.2");
  EXPECT_EQ(kept(), now());
}

TEST_F(Journal, API_ALaterFormatIsRefusedByNameAndLeftAlone) {
  StateJournal journal(folder_);
  (void)journal.load();
  ASSERT_TRUE(journal.append(objects_, first_, 1));
  rewrite(journal);
  ASSERT_TRUE(journal.append(objects_, put("b", "10.96.0.2"), 2));
  for (const char* name : {"config.json", "config.journal.1"}) {
    const std::string text = read(file(name));
    std::string later = text;
    const std::string_view mine = name == std::string("config.json") ? "\"format\":1" : "format 1 ";
    ASSERT_NE(later.find(mine), std::string::npos) << name;
    later[later.find(mine) + mine.find('1')] = '2';
    write(file(name), later);
    const StateJournal::Kept all = found();
    EXPECT_THAT(all.refused, HasSubstr(file(name)));
    EXPECT_THAT(all.refused, HasSubstr("its format is 2, this version reads up to 1"));
    EXPECT_FALSE(all.objects);
    EXPECT_EQ(read(file(name)), later);
    write(file(name), text);
  }
  EXPECT_EQ(found().refused, "");
  EXPECT_EQ(kept(), now());
}

TEST_F(Journal, FilesAreReadWholeWhateverTheirSize) {
  const std::string path = folder_ + "/text";
  for (const size_t size : {size_t{0}, size_t{1}, size_t{65535}, size_t{65536}, size_t{65537}, size_t{300'001}}) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 >> 3);
    std::ofstream(path, std::ios::binary) << text;
    const auto got = read_file(path);
    ASSERT_TRUE(got) << size;
    EXPECT_TRUE(*got == text) << size;
  }
  // Of no size that it says.
  const auto about = read_file("/proc/self/smaps");
  ASSERT_TRUE(about);
  EXPECT_THAT(*about, HasSubstr("VmFlags"));
  const auto folder = read_file(folder_);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().message, "cannot read " + folder_ + ": Is a directory");
  const auto none = read_file(folder_ + "/none");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "cannot read " + folder_ + "/none: No such file or directory");
}

}  // namespace
}  // namespace sluice::control
