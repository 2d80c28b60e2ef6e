#include "control/pci_names.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <boost/interprocess/file_mapping.hpp>
#include <boost/interprocess/mapped_region.hpp>

namespace sluice::control {
namespace {

namespace fs = std::filesystem;
namespace ipc = boost::interprocess;

// 0000:03:00.0; what begins with net_ is a virtual device, whose arguments may be anything.
bool is_pci(std::string_view device) {
  return device.find(':') != std::string_view::npos && !device.starts_with("net_");
}

// `text`: JSON without blanks, as the journal writes it.
bool may_be_in(std::string_view text) {
  constexpr std::string_view word = R"("device":")";
  while (const void* found = memmem(text.data(), text.size(), word.data(), word.size())) {
    text.remove_prefix(static_cast<size_t>(static_cast<const char*>(found) - text.data()) + word.size());
    if (is_pci(text.substr(0, text.find('"')))) return true;
  }
  return false;
}

}  // namespace

bool names_pci(const config::ObjectSet& objects) {
  const auto& interfaces = objects.config().gateway.interfaces;
  return std::any_of(interfaces.begin(), interfaces.end(),
                     [](const config::Interface& interface) { return is_pci(interface.device); });
}

bool may_name_pci(const std::string& folder) {
  std::error_code gone;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, gone)) {
    if (!entry.path().filename().string().starts_with("config.")) continue;
    try {
      const ipc::file_mapping file(entry.path().c_str(), ipc::read_only);
      const ipc::mapped_region text(file, ipc::read_only);
      if (may_be_in({static_cast<const char*>(text.get_address()), text.get_size()})) return true;
    } catch (const ipc::interprocess_exception&) {
      continue;  // empty, or unreadable: whoever reads it will say
    }
  }
  return false;
}

}  // namespace sluice::control
