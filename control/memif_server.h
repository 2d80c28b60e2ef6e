// The router's side of one pod's memif socket (memif, version 2.0): messages by which a pod hands over its memory. One
// pod at a time is connected; when it goes, the next may come. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include "config/pod_device.h"
#include "control/pod_socket_file.h"
#include "dataplane/memif.h"
#include "dataplane/net/result.h"

namespace sluice::control {

class MemifSession;

class MemifServer {
 public:
  // `rings`: the most that a pod may have for each direction. `changed` is called whenever link() is another one.
  static net::Result<std::unique_ptr<MemifServer>> listen(boost::asio::io_context& io, const std::string& folder,
                                                          const std::string& port, const config::PodDevice& device,
                                                          uint16_t rings, std::function<void()> changed);
  ~MemifServer();
  MemifServer(const MemifServer&) = delete;
  MemifServer& operator=(const MemifServer&) = delete;

  // nullptr: no pod is connected. What a worker may use still belongs to whoever keeps it.
  [[nodiscard]] const std::shared_ptr<dataplane::MemifLink>& link() const { return link_; }
  [[nodiscard]] const std::string& path() const { return file_->path(); }
  // Before its end, if the pod is gone for good.
  void remove_file() const { file_->remove(); }

 private:
  friend class MemifSession;

  MemifServer(boost::asio::io_context& io, uint16_t rings, std::function<void()> changed);
  void accept_next();
  void accept_all();
  // Of a session whose pod is connected, or not any more. False: another one's is.
  [[nodiscard]] bool connect(MemifSession& session, std::shared_ptr<dataplane::MemifLink> link);
  void leave(MemifSession& session);

  boost::asio::io_context& io_;
  boost::asio::posix::stream_descriptor listener_;
  uint16_t rings_;
  std::function<void()> changed_;
  std::unique_ptr<PodSocketFile> file_;
  std::set<std::shared_ptr<MemifSession>> sessions_;
  const MemifSession* connected_ = nullptr;
  std::shared_ptr<dataplane::MemifLink> link_;
};

}  // namespace sluice::control
