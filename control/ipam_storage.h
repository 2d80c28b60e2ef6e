// Where the allocator of addresses keeps what it knows (ipam.h): a snapshot, replaced as a whole, and a log behind it,
// of records with a checksum each (journal_record.h). In the state folder these are ipam.json and ipam.log.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "control/state_file.h"
#include "dataplane/net/result.h"

namespace sluice::control::ipam {

class Storage {
 public:
  virtual ~Storage() = default;

  struct Kept {
    std::optional<std::string> snapshot;
    std::string log;
  };
  [[nodiscard]] virtual net::Result<Kept> load() = 0;
  // At the end of the log, as a whole or not at all as far as this process can see; a crash may leave a part of what
  // was not synced.
  [[nodiscard]] virtual net::Status<> append(std::string_view record) = 0;
  // Does its work when it is called, in whatever thread: waits until the disk has all that has been appended by now.
  [[nodiscard]] virtual std::function<net::Status<>()> sync() = 0;
  // In one step the snapshot is another one, on the disk when this returns. Then the log is emptied; a crash in between
  // leaves the new snapshot and the old log.
  [[nodiscard]] virtual net::Status<> replace(std::string_view snapshot) = 0;
};

class FileStorage final : public Storage {
 public:
  // `folder` is made if it is missing; empty: nothing is kept, and all calls succeed. `name`: of the files.
  explicit FileStorage(std::string folder, std::string name = "ipam")
      : folder_(std::move(folder)), name_(std::move(name)), snapshot_(folder_, name_ + ".json") {}
  ~FileStorage() override;
  FileStorage(const FileStorage&) = delete;
  FileStorage& operator=(const FileStorage&) = delete;

  [[nodiscard]] net::Result<Kept> load() override;
  [[nodiscard]] net::Status<> append(std::string_view record) override;
  [[nodiscard]] std::function<net::Status<>()> sync() override;
  [[nodiscard]] net::Status<> replace(std::string_view snapshot) override;

 private:
  [[nodiscard]] std::string log() const { return folder_ + "/" + name_ + ".log"; }
  [[nodiscard]] net::Status<> open_log();

  std::string folder_, name_;
  StateFile snapshot_;
  int fd_ = -1;  // of the log
};

}  // namespace sluice::control::ipam
