// What the plugin asks of sluiced: addresses for a container, and the WorkloadEndpoint by which the router knows it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "tools/cni/cni.h"
#include "tools/sluicectl/client.h"

namespace sluice::cni {

// The names under which one attachment of a container is known.
struct Names {
  std::string handle;          // of its addresses
  std::string host_interface;  // "cali" and 11 digits of a hash, as Calico names them
  std::string ns;              // of the WorkloadEndpoint
  std::string endpoint;        // its name; of a pod Calico's: NODE-k8s-POD-INTERFACE
};
[[nodiscard]] Names names_of(const NetConf& conf, const Environment& environment, const std::string& node);

class Router {
 public:
  explicit Router(const std::string& socket) { server_.socket = socket; }

  // Set after a call that got no answer at all.
  [[nodiscard]] bool unreachable() const { return unreachable_; }

  // Code::TryAgain: it has no configuration yet, so that nothing it says of objects and addresses counts. The name is
  // empty if the configuration has none.
  [[nodiscard]] Result<std::string> node_name();
  [[nodiscard]] Result<std::vector<net::IpAddr>> assign(const NetConf& conf, const Environment& environment,
                                                        const Names& names, const std::string& node);
  [[nodiscard]] Result<std::vector<net::IpAddr>> assigned(const std::string& handle);
  [[nodiscard]] Status release(const std::string& handle);

  [[nodiscard]] Status put_endpoint(const Environment& environment, const Names& names, const std::string& node,
                                    const Attachment& attachment);
  // Empty if there is none.
  [[nodiscard]] Result<std::optional<boost::json::object>> endpoint(const Names& names);
  // Leaves it alone if it is another container's by now. That there is none is no error.
  [[nodiscard]] Status delete_endpoint(const Names& names, const std::string& container_id);

 private:
  // The answer's object. Empty: 404.
  [[nodiscard]] Result<std::optional<boost::json::object>> call(const ctl::Call& call);

  ctl::Server server_;
  bool unreachable_ = false;
};

// The fields of a WorkloadEndpoint that follow from an attachment.
[[nodiscard]] boost::json::object endpoint_spec(const Environment& environment, const std::string& node,
                                                const Attachment& attachment);

}  // namespace sluice::cni
