// The UNIX socket by which one pod finds the router: FOLDER/PORT/memif.sock or vhost-user.sock. A folder for each, so
// that it can be mounted into the pod, where a new socket is seen when the router has started anew.
#pragma once

#include <memory>
#include <string>

#include "config/pod_device.h"
#include "dataplane/net/result.h"

namespace sluice::control {

class PodSocketFile {
 public:
  [[nodiscard]] static std::string path_of(const std::string& folder, const std::string& port,
                                           config::PodDevice::Kind kind);
  // Makes the folders, and removes a socket that nobody listens to. The error says what to do.
  [[nodiscard]] static net::Result<std::unique_ptr<PodSocketFile>> prepare(const std::string& folder,
                                                                           const std::string& port,
                                                                           config::PodDevice::Kind kind);
  // Removes the socket. The folder stays for the router's next life.
  ~PodSocketFile();
  PodSocketFile(const PodSocketFile&) = delete;
  PodSocketFile& operator=(const PodSocketFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  // Owner and mode of the socket, once somebody listens there.
  [[nodiscard]] net::Status<> give(const config::PodDevice& device) const;
  // The pod is gone: removes the port's folder as well.
  void remove() const;

 private:
  PodSocketFile() = default;

  std::string folder_;  // the port's
  std::string path_;
};

}  // namespace sluice::control
