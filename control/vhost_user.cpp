#include "control/vhost_user.h"

#include <fmt/format.h>

namespace sluice::control {
namespace {

using config::PodDevice;

constexpr std::string_view prefix = "vhost-user/";

// Empty: another device.
std::string port_of(const std::string& device) {
  if (!device.starts_with(prefix)) return "";
  return device.substr(prefix.size(), device.find(',') - prefix.size());
}

}  // namespace

std::string vhost_user_device(const std::string& port, const std::string& annotation) {
  const size_t arguments = annotation.find(',');
  return std::string(prefix) + port + (arguments == std::string::npos ? "" : annotation.substr(arguments));
}

std::string vhost_user_socket(const std::string& device, const std::string& folder) {
  const std::string port = port_of(device);
  return port.empty() ? "" : PodSocketFile::path_of(folder, port, PodDevice::Kind::VhostUser);
}

std::string dpdk_device(const std::string& device, const std::string& folder) {
  const std::string socket = vhost_user_socket(device, folder);
  return socket.empty() ? device : fmt::format("net_vhost_{},iface={},queues=1", port_of(device), socket);
}

void VhostUserSockets::close(const std::string& device) {
  const auto found = files_.find(device);
  if (found == files_.end()) return;
  found->second->remove();
  files_.erase(found);
}

net::Result<std::unique_ptr<dataplane::Port>> VhostUserSockets::open(const std::string& device,
                                                                     const std::string& folder,
                                                                     const dataplane::PortSpec& spec,
                                                                     rte_mempool* pool) {
  const std::string port = port_of(device);
  if (port.empty()) return dataplane::Port::open(spec, pool);
  if (folder.empty()) return net::Error{"this process has no sockets for pods"};
  const size_t arguments = device.find(',');
  const auto wanted =
      config::parse_pod_device("vhost-user" + (arguments == std::string::npos ? "" : device.substr(arguments)));
  if (!wanted) return wanted.error();
  auto file = PodSocketFile::prepare(folder, port, PodDevice::Kind::VhostUser);
  if (!file) return file.error();
  auto opened = dataplane::Port::open(spec, pool);
  if (!opened) return opened;
  if (auto given = (*file)->give(*wanted); !given) return given.error();
  files_[device] = std::move(*file);
  return opened;
}

}  // namespace sluice::control
