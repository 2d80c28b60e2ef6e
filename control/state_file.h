// What the router remembers over a restart and writes whole, in one file: the drained endpoints. Written to a new file,
// synced, renamed over the old one, so that a crash leaves one or the other whole. The configuration: state_journal.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "dataplane/net/result.h"

namespace sluice::control {

class StateFile {
 public:
  // `folder` is made if it is missing; empty: nothing is kept.
  StateFile(std::string folder, std::string name) : folder_(std::move(folder)), name_(std::move(name)) {}

  [[nodiscard]] bool enabled() const { return !folder_.empty(); }
  [[nodiscard]] std::string path() const { return folder_ + "/" + name_; }
  [[nodiscard]] net::Status<> save(std::string_view document) const;
  // Empty: there is none yet.
  [[nodiscard]] net::Result<std::optional<std::string>> load() const;

 private:
  std::string folder_;
  std::string name_;
};

// "WHAT PATH: " and what errno says.
[[nodiscard]] net::Error failure(const std::string& what, const std::string& path);
// False: not all of it could be written; errno says why.
[[nodiscard]] bool write_all(int fd, std::string_view text);
// The whole of a file. The error names it.
[[nodiscard]] net::Result<std::string> read_file(const std::string& path);

}  // namespace sluice::control
