// The ports that are no devices of DPDK. Interfaces of the kernel, of pods and devices "packet,iface=NAME": which
// interface each has, and the packet sockets behind them (dataplane/pod_socket.h), opened with the first, one for each
// worker. And memifs of pods, called by their device ("memif,socket=web-0"), with the server behind them
// (memif_server.h): one worker receives from each, the first one sends to all.
//
// An interface that is not there, or not there any more, is waited for: its port stands in snapshots without a device
// until look() finds it. So is a pod that has not connected to its memif. Control thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/link_use.h"
#include "control/memif_server.h"
#include "control/taken_links.h"
#include "dataplane/pod_socket.h"
#include "dataplane/snapshot.h"

namespace sluice::control {

// By the interface's name or the memif's device.
using KernelLinks = std::map<std::string, LinkUse>;

struct PodPortsOptions {
  std::string state_folder;  // where it is remembered what the machine's interfaces were like; empty: nowhere
  std::string memif_folder;  // of the sockets of pods' memifs (memif_socket.h); empty: there are none
};

class PodPorts {
 public:
  PodPorts(uint16_t workers, const PodPortsOptions& options);
  ~PodPorts();
  PodPorts(const PodPorts&) = delete;
  PodPorts& operator=(const PodPorts&) = delete;

  // Adds those of these interfaces that have no port yet. An error leaves all as it was.
  [[nodiscard]] net::Status<> open(const KernelLinks& interfaces);
  // Takes back what the last open() added.
  void abandon();
  // Ports of other interfaces stand in no snapshot from now on. What a router that was killed had beside these is given
  // back.
  void keep(const KernelLinks& interfaces);
  // After the grace period of a snapshot that fill() made: receives from its ports only, and their numbers are free
  // again that it no longer has.
  void finish();
  // Looks all interfaces up. Whether the snapshot has to be filled anew.
  [[nodiscard]] bool look();

  void fill(dataplane::Snapshot& snapshot) const;
  // Of an interface with a port.
  [[nodiscard]] uint16_t port_of(const std::string& interface) const;
  // index 0: there is none now.
  [[nodiscard]] dataplane::KernelLink link_of(const std::string& interface) const;
  // Why its pod is not there, for people; empty: nothing is wrong.
  [[nodiscard]] std::string problem_of(const std::string& interface) const;
  // The interface behind a port, and its name, without a memif's secret; empty: there is none.
  [[nodiscard]] std::pair<std::string, dataplane::KernelLink> link_at(uint16_t port) const;
  // Frames that found a ring full, since the start.
  [[nodiscard]] uint64_t missed() const;
  // Why pods cannot be listened to, or interfaces not given back; empty: nothing is wrong.
  [[nodiscard]] const std::string& problem() const;

 private:
  struct Pod {
    uint16_t slot = 0;
    LinkUse use = LinkUse::Pod;
    dataplane::KernelLink link;
    uint32_t promiscuous = 0;  // the index that was made so
    MemifServer::Key key = 0;  // of a memif
    std::shared_ptr<dataplane::MemifLink> memif;
    std::string problem;
  };

  void look_up(const std::string& interface, Pod& pod);
  [[nodiscard]] bool look_at_memif(Pod& pod);
  void remember(const std::string& interface);
  void give_back(const std::string& interface, const Pod& pod);
  // One of the machine's, to the kernel's stack.
  void give_back(const std::string& interface, const dataplane::LinkSettings& before);
  // From its link no worker receives after the grace period of the next snapshot.
  void retire_memif(Pod& pod);
  [[nodiscard]] uint16_t worker_of(uint16_t slot) const { return slot % workers_; }

  uint16_t workers_;
  MemifServer memifs_;
  std::vector<std::shared_ptr<dataplane::MemifLink>> retired_;
  std::vector<std::unique_ptr<dataplane::PodSocket>> sockets_;  // by worker; none before the first pod
  std::map<std::string, Pod> pods_;
  std::vector<std::string> added_;
  std::vector<uint16_t> closing_;
  std::deque<uint16_t> free_;                     // the one that has been free longest comes first
  uint16_t used_ = 0;                             // slots that were ever used
  std::vector<std::vector<uint32_t>> listening_;  // by worker
  std::string problem_;
  TakenLinks taken_;  // from the kernel's stack, those that are Own
  std::string record_problem_;
  std::string give_back_problem_;  // since the last keep()
};

}  // namespace sluice::control
