// Rules about workload endpoints: each by itself, and among them and the interfaces names, devices and addresses.
// What is wrong between two of them is said about the one that came with the change.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "config/change_rules.h"
#include "config/device.h"

namespace sluice::config {
namespace {

constexpr std::string_view kind = "WorkloadEndpoint";
constexpr size_t longest_interface = 15;  // IFNAMSIZ without its end
constexpr uint16_t least_mtu_v6 = 1280;   // RFC 8200 section 5, bytes

bool has_blank(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; });
}

class WorkloadRules {
 public:
  WorkloadRules(const Config& config, Findings& findings) : config_(config), findings_(findings) {
    for (const Interface& interface : config.gateway.interfaces) {
      const std::string owner = fmt::format("interface {}", quoted(interface.name));
      ports_.emplace(interface.name, owner);
      devices_.emplace(device_name(interface.device), owner);
      if (const auto link = packet_link(interface.device); !link.empty()) ports_.emplace(link, owner);
      if (!interface.host_interface.empty()) ports_.emplace(interface.host_interface, "the twin of " + owner);
      for (const Prefix& address : interface.addresses) addresses_.emplace(address.addr, owner);
      for (const Prefix& pod : interface.pod_addresses) addresses_.emplace(pod.addr, owner);
    }
  }

  void check(const WorkloadEndpoint& workload) {
    Report report(findings_, {kind, workload.name.ns, workload.name.name});
    const std::string owner = fmt::format("WorkloadEndpoint {}", workload.name.text());
    check_interface(report, workload);
    if (workload.mac && (workload.mac->is_multicast() || workload.mac->is_zero())) {
      report.fault(Path::of("spec", "mac"),
                   fmt::format("{} is not the address of a station", net::to_string(*workload.mac)));
    }
    check_addresses(report, workload, owner);
    if (config_.gateway.is_local(workload.node)) check_port(report, workload, owner);
  }

 private:
  static void check_interface(Report& report, const WorkloadEndpoint& workload) {
    const std::string& name = workload.interface;
    const Path path = Path::of("spec", "interfaceName");
    if (name.size() > longest_interface) {
      report.fault(path, fmt::format("at most {} characters, found {}", longest_interface, name.size()));
    } else if (name == "." || name == ".." || name.find_first_of(",/:") != std::string::npos || has_blank(name)) {
      report.fault(path, fmt::format("{} cannot be the name of a network interface", quoted(name)));
    }
    check_device(report, workload);
  }

  static void check_device(Report& report, const WorkloadEndpoint& workload) {
    const Path path = Path::of("metadata", "annotations", "sluice.dev/device");
    if (has_blank(workload.device)) return report.fault(path, "a device has no white space");
    if (workload.device.starts_with("packet")) {
      return report.fault(path, "a packet device is what a pod has without this annotation; leave it out");
    }
    if (!is_memif(workload.device)) return;
    std::string problem;
    const auto memif = parse_memif(workload.device, problem);
    if (!memif) return report.fault(path, std::move(problem));
    const bool v6 = std::any_of(workload.addresses.begin(), workload.addresses.end(),
                                [](const IpAddr& address) { return address.is_v6(); });
    if (v6 && memif->mtu < least_mtu_v6) {
      report.fault(path, fmt::format("mtu={}: IPv6 needs at least {}", memif->mtu, least_mtu_v6));
    }
  }

  void check_addresses(Report& report, const WorkloadEndpoint& workload, const std::string& owner) {
    if (workload.addresses.empty()) {
      report.fault(Path::of("spec", "ipNetworks"), "at least one address is required");
    }
    for (size_t i = 0; i < workload.addresses.size(); ++i) {
      const IpAddr& address = workload.addresses[i];
      const Path path = Path::of("spec", "ipNetworks", i);
      if (const std::string_view why = never_remote(address); !why.empty()) {
        report.fault(path, fmt::format("{} is {}", net::to_string(address), why));
        continue;
      }
      const auto [first, fresh] = addresses_.try_emplace(address, owner);
      if (!fresh) {
        report.fault(path, fmt::format("{} is also an address of {}", net::to_string(address), first->second));
      }
    }
  }

  void check_port(Report& report, const WorkloadEndpoint& workload, const std::string& owner) {
    const auto [port, fresh_port] = ports_.try_emplace(workload.port_name(), owner);
    if (!fresh_port) {
      report.fault(Path::of("spec", "interfaceName"),
                   fmt::format("{} is also called {}", port->second, quoted(workload.port_name())));
    }
    if (workload.device.empty()) return;
    const auto [device, fresh_device] = devices_.try_emplace(std::string(device_name(workload.device)), owner);
    if (!fresh_device) {
      report.fault(Path::of("metadata", "annotations", "sluice.dev/device"),
                   fmt::format("{} has the same device", device->second));
    }
  }

  const Config& config_;
  Findings& findings_;
  // Who has it.
  std::unordered_map<std::string, std::string> ports_;
  std::unordered_map<std::string, std::string> devices_;
  std::unordered_map<IpAddr, std::string> addresses_;
};

const std::vector<std::string> nowhere;

std::vector<const WorkloadEndpoint*> by_name(const std::set<const WorkloadEndpoint*>& workloads) {
  std::vector<const WorkloadEndpoint*> out(workloads.begin(), workloads.end());
  std::sort(out.begin(), out.end(),
            [](const WorkloadEndpoint* a, const WorkloadEndpoint* b) { return a->name < b->name; });
  return out;
}

void check_every_workload(const Config& config, const Scope& scope, WorkloadRules& rules) {
  std::set<ObjectName> touched;
  if (scope.change != nullptr) {
    for (ObjectName& name : names_of(*scope.change, kind)) touched.insert(std::move(name));
  }
  for (const auto& [name, workload] : config.workloads) {
    if (!touched.contains(name)) rules.check(workload);
  }
  for (const ObjectName& name : touched) {
    if (const auto found = config.workloads.find(name); found != config.workloads.end()) rules.check(found->second);
  }
}

}  // namespace

void check_workloads(const Config& config, const Scope& scope, Findings& findings) {
  if (config.workloads.empty()) return;
  WorkloadRules rules(config, findings);
  // Interfaces have names and addresses as well.
  if (scope.touched(gateway_kind)) return check_every_workload(config, scope, rules);
  std::set<const WorkloadEndpoint*> touched;
  std::set<const WorkloadEndpoint*> rivals;
  for (const ObjectName& name : names_of(*scope.change, kind)) {
    const auto found = config.workloads.find(name);
    if (found == config.workloads.end()) continue;
    const WorkloadEndpoint& workload = found->second;
    touched.insert(&workload);
    const bool local = config.gateway.is_local(workload.node);
    rivals.merge(scope.owners->rivals_of(workload, local ? config.gateway.local_node_names : nowhere));
  }
  std::erase_if(rivals, [&](const WorkloadEndpoint* rival) { return touched.contains(rival); });
  for (const WorkloadEndpoint* workload : by_name(rivals)) rules.check(*workload);
  for (const WorkloadEndpoint* workload : by_name(touched)) rules.check(*workload);
}

}  // namespace sluice::config
