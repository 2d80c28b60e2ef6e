// What interfaces of the kernel were like before the router took them ("packet,iface=NAME"), kept in a file while it
// has them: a router that was killed gives nothing back. The next start takes them over with this, or gives them back
// if its configuration does not name them; `sluiced --give-back-interfaces` does so without a start.
//
// The file holds for one boot and one network namespace, and an entry for the interface with its index in the kernel:
// what was made anew since is as its maker wants it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/state_file.h"
#include "dataplane/net/result.h"
#include "dataplane/pod_socket.h"

namespace sluice::control {

class TakenLinks {
 public:
  // Nothing is read yet. `folder` empty: nothing is kept.
  explicit TakenLinks(const std::string& folder = {}) : file_(folder, "interfaces.json") {}
  ~TakenLinks();
  TakenLinks(const TakenLinks&) = delete;
  TakenLinks& operator=(const TakenLinks&) = delete;

  // What the file has of this boot and namespace. False: another process has them, a router that runs.
  [[nodiscard]] net::Result<bool> load();

  [[nodiscard]] std::optional<dataplane::LinkSettings> find(const std::string& name) const;
  [[nodiscard]] const std::map<std::string, dataplane::LinkSettings>& all() const { return links_; }
  // Before the interface is changed. On an error it is remembered, but not beyond the end of the process: the file
  // stays as it is where load() found that another process has it, or could not find out.
  [[nodiscard]] net::Status<> add(const std::string& name, const dataplane::LinkSettings& before);
  // After it is as it was.
  void remove(const std::string& name);

  // Gives all interfaces back that are still those that were taken. Those that the kernel refuses to change stay on
  // record.
  struct GivenBack {
    std::vector<std::string> names;
    std::vector<std::string> problems;  // of the others, for people
  };
  GivenBack give_back();

 private:
  // False: another process has it.
  [[nodiscard]] net::Result<bool> lock();
  [[nodiscard]] net::Status<> save() const;

  StateFile file_;
  int lock_ = -1;
  std::string unread_;  // why the file's records may not be replaced; empty: they may
  std::map<std::string, dataplane::LinkSettings> links_;
};

}  // namespace sluice::control
