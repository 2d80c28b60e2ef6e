// The host behind the router: twins of interfaces (host_interface.h), frames to and from them (host_link.h), and what
// the kernel knows of them (netlink.h) in both directions.
//
// Of addresses the configuration has the last word: its own are put on the twins, and again if somebody takes them off;
// what a person adds becomes the router's as well. Marks in the kernel tell the two apart after a restart. Of routes
// the kernel has the word, below those of the configuration; so it has of static neighbours (host_neighbors.h).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/model.h"
#include "control/deployment.h"
#include "control/host_interface.h"
#include "control/host_link.h"
#include "control/host_neighbors.h"
#include "control/host_routes.h"
#include "control/netlink.h"
#include "control/plan.h"

namespace sluice::control {

class HostStack {
 public:
  // `rings` and `io` outlive it. `on_change`: addresses(), routes() or neighbors() may be different from now on.
  HostStack(boost::asio::io_context& io, dataplane::PuntRings& rings, std::function<void()> on_change);
  ~HostStack();
  HostStack(const HostStack&) = delete;
  HostStack& operator=(const HostStack&) = delete;

  // 1. With the ports open: twins that are new or different. On an error all are as they were.
  [[nodiscard]] net::Status<> open(const Plan& plan, const Deployment& deployment);
  void abandon();
  // 2. With the plan in service.
  void commit(const config::Config& config, const Deployment& deployment);
  // Instead of both, if the plan differs by `delta`, which is in service.
  void follow_plan(const config::Config& config, const Deployment& deployment, const PlanDelta& delta);

  // What people gave the twins beside the configuration's addresses.
  [[nodiscard]] HostAddresses addresses() const;
  [[nodiscard]] HostRouteTable& routes() { return routes_; }
  [[nodiscard]] HostNeighborTable& neighbors() { return neighbors_; }
  [[nodiscard]] const HostNeighborTable& neighbors() const { return neighbors_; }
  // Why netlink does not work; empty if it does.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  struct Twin {
    std::shared_ptr<HostInterface> device;
    std::set<net::Prefix> wanted;              // the configuration's addresses
    std::map<net::Prefix, uint8_t> addresses;  // the kernel's, and who set them (IFA_PROTO)
    std::map<net::Prefix, uint8_t> dumped;     // of the answer that is coming in
  };
  enum class Asking : uint8_t { Nothing, Links, Addresses, Routes, Neighbors };

  void start_netlink();
  void read_later();
  void read_some();
  void ask_all();
  void ask_next();
  void ask_neighbors();
  // The dump that was asked for will not come, now or ever: what is known stands meanwhile.
  void ask_later();
  void take(const netlink::Message& message);
  void take(const netlink::Link& link);
  void take(const netlink::Address& address);
  void take(const netlink::Neighbor& neighbor);
  void settle_addresses(Twin& twin);
  [[nodiscard]] Twin* twin_of(int link);

  boost::asio::io_context& io_;
  std::function<void()> on_change_;
  std::map<std::string, Twin> twins_;  // by the interface's name
  // Of the change in progress:
  std::map<std::string, std::shared_ptr<HostInterface>> opened_;
  std::vector<std::pair<std::shared_ptr<HostInterface>, HostInterfaceSpec>> changed_;  // what they were
  std::unique_ptr<netlink::Socket> netlink_;
  std::unique_ptr<boost::asio::posix::stream_descriptor> readable_;
  Asking asking_ = Asking::Nothing;
  bool ask_again_ = false;
  bool all_missing_ = false;  // an answer was not whole: everything is to be asked for again
  boost::asio::steady_timer retry_;
  std::map<int, bool> up_;  // of twins
  HostRouteTable routes_;
  HostNeighborTable neighbors_;
  std::string problem_;
  HostLink link_;
};

}  // namespace sluice::control
