// What interfaces of the kernel were like, over the end of a process.
#include <filesystem>
#include <fstream>
#include <memory>
#include <net/if.h>
#include <string>
#include <sys/capability.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/taken_links.h"

namespace sluice::control {
namespace {

using dataplane::LinkSettings;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class TakenLinksIn : public testing::Test {
 protected:
  TakenLinksIn() {
    folder = std::filesystem::temp_directory_path() / ("sluice-links-" + std::to_string(getpid()));
    std::filesystem::remove_all(folder);
    next();
  }
  ~TakenLinksIn() override {
    links.reset();
    std::filesystem::remove_all(folder);
  }
  // The process ends, the next one starts.
  void next() {
    links.reset();
    links = std::make_unique<TakenLinks>(folder.string());
    const auto loaded = links->load();
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_TRUE(*loaded);
  }
  [[nodiscard]] std::string text() const { return *read_file((folder / "interfaces.json").string()); }
  void write(const std::string& text) const { std::ofstream(folder / "interfaces.json") << text; }

  std::filesystem::path folder;
  std::unique_ptr<TakenLinks> links;
};

TEST_F(TakenLinksIn, HOST1_AreKnownToTheNextProcess) {
  EXPECT_THAT(links->all(), IsEmpty());
  ASSERT_TRUE(links->add("eth1", {7, true, false}));
  ASSERT_TRUE(links->add("eth2", {8, true, true}));
  next();
  EXPECT_EQ(links->find("eth1"), (LinkSettings{7, true, false}));
  EXPECT_EQ(links->find("eth2"), (LinkSettings{8, true, true}));
  EXPECT_EQ(links->find("eth3"), std::nullopt);
  links->remove("eth1");
  ASSERT_TRUE(links->add("eth2", {9, true, false}));
  next();
  EXPECT_EQ(links->all().size(), 1u);
  EXPECT_EQ(links->find("eth2"), (LinkSettings{9, true, false})) << "another one of that name";
}

TEST_F(TakenLinksIn, HOST1_OfAnotherBootOrNamespaceAreForgotten) {
  ASSERT_TRUE(links->add("eth1", {7, true, true}));
  std::string other = text();
  other.replace(other.find("\"boot\":\"") + 8, 4, "none");
  write(other);
  next();
  EXPECT_THAT(links->all(), IsEmpty());
  ASSERT_TRUE(links->add("eth1", {7, true, true}));
  other = text();
  other.replace(other.find("\"namespace\":\"") + 13, 1, "999");
  write(other);
  next();
  EXPECT_THAT(links->all(), IsEmpty());
}

TEST_F(TakenLinksIn, HOST1_DamagedFilesAreTold) {
  ASSERT_TRUE(links->add("eth1", {7, true, true}));
  const std::string whole = text();
  write(whole.substr(0, whole.size() / 2));
  TakenLinks damaged(folder.string());
  links.reset();
  const auto loaded = damaged.load();
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("interfaces.json"));
  std::string odd = whole;
  odd.replace(odd.find("\"arp\":true"), 10, "\"arp\":7");
  write(odd);
  ASSERT_TRUE(damaged.load());
  EXPECT_THAT(damaged.all(), IsEmpty());
}

TEST_F(TakenLinksIn, HOST1_BelongToTheProcessThatRuns) {
  ASSERT_TRUE(links->add("eth1", {7, true, true}));
  TakenLinks second(folder.string());
  auto loaded = second.load();
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(*loaded);
  EXPECT_THAT(second.all(), IsEmpty());
  const std::string before = text();
  EXPECT_FALSE(second.add("eth2", {8, true, true}));
  second.remove("eth2");
  EXPECT_EQ(text(), before) << "what the other one has taken stays on record";
  links.reset();
  EXPECT_FALSE(second.add("eth2", {8, true, true})) << "it does not know yet what was taken";
  EXPECT_EQ(text(), before);
  loaded = second.load();
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(*loaded);
  EXPECT_EQ(second.all().size(), 1u);
}

TEST_F(TakenLinksIn, HOST1_WhatIsNotThereIsNotGivenBack) {
  ASSERT_TRUE(links->add("no-such-link0", {7, true, true}));
  const TakenLinks::GivenBack given = links->give_back();
  EXPECT_THAT(given.names, IsEmpty());
  EXPECT_THAT(given.problems, IsEmpty());
  next();
  EXPECT_THAT(links->all(), IsEmpty());
}

// Of a thread without CAP_NET_ADMIN, as the kernel refuses it to a command that somebody else runs.
TEST_F(TakenLinksIn, HOST1_WhatTheKernelRefusesStaysOnRecord) {
  const uint32_t index = if_nametoindex("lo");
  ASSERT_NE(index, 0u);
  ASSERT_TRUE(links->add("lo", {index, true, false}));
  TakenLinks::GivenBack given;
  std::thread([&] {
    const std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)> none(cap_init(), cap_free);
    ASSERT_EQ(cap_set_proc(none.get()), 0);
    given = links->give_back();
  }).join();
  EXPECT_THAT(given.names, IsEmpty());
  EXPECT_THAT(given.problems, ElementsAre(HasSubstr("lo is not given back to the kernel: ARP cannot be switched on")));
  next();
  EXPECT_EQ(links->find("lo"), (LinkSettings{index, true, false}));
}

TEST_F(TakenLinksIn, HOST1_ALinkInThePlaceOfTheLockIsNotFollowed) {
  ASSERT_TRUE(links->add("eth1", {7, true, true}));
  links.reset();
  const std::filesystem::path lock = folder / "interfaces.json.lock";
  ASSERT_TRUE(std::filesystem::remove(lock));
  std::filesystem::create_symlink(folder / "elsewhere", lock);
  TakenLinks again(folder.string());
  const auto loaded = again.load();
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("cannot lock " + lock.string()));
  EXPECT_FALSE(std::filesystem::exists(folder / "elsewhere"));
}

TEST_F(TakenLinksIn, HOST1_WithoutAFolderNothingIsKept) {
  TakenLinks nowhere;
  ASSERT_TRUE(nowhere.load());
  ASSERT_TRUE(nowhere.add("eth1", {7, true, true}));
  EXPECT_EQ(nowhere.all().size(), 1u);
  TakenLinks other;
  ASSERT_TRUE(other.load());
  EXPECT_THAT(other.all(), IsEmpty());
}

}  // namespace
}  // namespace sluice::control
