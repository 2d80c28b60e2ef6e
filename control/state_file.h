// What the router remembers over a restart, one file each: the last configuration that was applied, the drained
// endpoints. Written to a new file, synced, renamed over the old one, so that a crash leaves one or the other whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "dataplane/net/result.h"

namespace sluice::control {

class StateFile {
 public:
  // `folder` is made if it is missing; empty: nothing is kept.
  explicit StateFile(std::string folder, std::string name = "config.json")
      : folder_(std::move(folder)), name_(std::move(name)) {}

  [[nodiscard]] bool enabled() const { return !folder_.empty(); }
  [[nodiscard]] std::string path() const { return folder_ + "/" + name_; }
  [[nodiscard]] net::Status<> save(std::string_view document) const;
  // Empty: there is none yet.
  [[nodiscard]] net::Result<std::optional<std::string>> load() const;

 private:
  std::string folder_;
  std::string name_;
};

// The whole of a file. The error names it.
[[nodiscard]] net::Result<std::string> read_file(const std::string& path);

}  // namespace sluice::control
