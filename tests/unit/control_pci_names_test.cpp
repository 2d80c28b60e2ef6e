// What a router that starts knows of its devices before it has read what it keeps: as the journal writes it.
#include <filesystem>
#include <stdlib.h>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/pci_names.h"
#include "control/state_journal.h"
#include "tests/unit/config_documents.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;
using config::ObjectSet;

std::string gateway_with(const std::string& device) {
  return fmt::format(
      R"({{"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {{"name": "default"}},
           "spec": {{"nodeName": "gw", "interfaces": [
             {{"name": "uplink0", "device": "{}", "addresses": ["192.0.2.1/24"]}}]}}}})",
      device);
}

class PciNames : public testing::Test {
 protected:
  PciNames() {
    std::string name = (fs::temp_directory_path() / "sluice-pci-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~PciNames() override { fs::remove_all(folder_); }

  ObjectSet objects_of(const std::string& gateway) {
    auto loaded = config::load(config::list_of({gateway, config::service("a", "10.96.0.1")}));
    EXPECT_TRUE(loaded);
    return std::move(*loaded);
  }
  // The whole of `objects` as a document of the journal.
  void write(StateJournal& journal, const ObjectSet& objects) {
    ASSERT_TRUE(journal.rotate());
    ASSERT_TRUE(journal.begin(1));
    std::string text;
    objects.each_after({}, [&](const config::ObjectKey&, const std::string& object) {
      text += (text.empty() ? "" : ",") + object;
      return true;
    });
    ASSERT_TRUE(journal.write(text));
    ASSERT_TRUE(journal.end());
    ASSERT_TRUE(journal.install());
  }
  void change(StateJournal& journal, ObjectSet& objects, const std::string& gateway) {
    auto delta = config::parse_delta(R"({"kind": "Delta", "upsert": [)" + gateway + "]}");
    ASSERT_TRUE(delta);
    const auto change = objects.apply(std::move(*delta));
    ASSERT_TRUE(change);
    ASSERT_TRUE(journal.append(objects, *change, 2));
  }

  std::string folder_;
};

TEST_F(PciNames, VirtualDevicesNeedNoBus) {
  for (const std::string device : {"net_tap0,iface=up:1", "net_memif0,socket=@a:b", "net_null0"}) {
    const ObjectSet objects = objects_of(gateway_with(device));
    EXPECT_FALSE(names_pci(objects)) << device;
    StateJournal journal(folder_);
    write(journal, objects);
    EXPECT_FALSE(may_name_pci(folder_)) << device;
  }
}

TEST_F(PciNames, OfTheDocument) {
  const ObjectSet objects = objects_of(gateway_with("0000:03:00.0"));
  EXPECT_TRUE(names_pci(objects));
  StateJournal journal(folder_);
  write(journal, objects);
  EXPECT_TRUE(may_name_pci(folder_));
}

TEST_F(PciNames, OfAChangeSince) {
  ObjectSet objects = objects_of(gateway_with("net_null0"));
  StateJournal journal(folder_);
  write(journal, objects);
  change(journal, objects, gateway_with("03:00.0,arg=1"));
  EXPECT_TRUE(names_pci(objects));
  EXPECT_TRUE(may_name_pci(folder_));
}

TEST_F(PciNames, WithoutAnythingKept) {
  EXPECT_FALSE(may_name_pci(folder_));
  EXPECT_FALSE(may_name_pci(folder_ + "/none"));
  EXPECT_FALSE(may_name_pci(""));
}

}  // namespace
}  // namespace sluice::control
