// Rules about interfaces: each by itself, and among them names, devices and addresses.
#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "config/device.h"
#include "config/rules.h"

namespace sluice::config {
namespace {

constexpr uint16_t min_mtu = 576;      // RFC 791 section 3.1
constexpr uint16_t min_mtu_v6 = 1280;  // RFC 8200 section 5
constexpr uint16_t max_mtu = 9600;

constexpr size_t longest_link = 15;  // IFNAMSIZ without its end

class InterfaceRules {
 public:
  InterfaceRules(const Config& config, Findings& findings)
      : interfaces_(config.gateway.interfaces), report_(findings, {gateway_kind, "", config.gateway.name}) {}

  void check() {
    if (interfaces_.empty()) report_.fault(Path::of("spec", "interfaces"), "at least one interface is required");
    for (size_t i = 0; i < interfaces_.size(); ++i) {
      check_name(i);
      check_device(i);
      check_mtu(i);
      check_addresses(i);
      check_gateways(i);
      check_pod(i);
      check_mac(i, "mac", interfaces_[i].mac);
      check_host_interface(i);
    }
    for (size_t i = 0; i < interfaces_.size(); ++i) check_host_interface_is_free(i);
  }

 private:
  template <class... Steps>
  void fault(size_t i, std::string message, const Steps&... steps) {
    report_.fault(Path::of("spec", "interfaces", i, steps...), std::move(message));
  }

  void check_name(size_t i) {
    const std::string& name = interfaces_[i].name;
    if (!is_plain_name(name)) fault(i, std::string(plain_name), "name");
    if (!names_.try_emplace(name, i).second) fault(i, fmt::format("a second interface {}", quoted(name)), "name");
  }

  // Interfaces may share a device if they differ in their VLAN; then they have to mean the same device.
  void check_device(size_t i) {
    const Interface& interface = interfaces_[i];
    if (std::any_of(interface.device.begin(), interface.device.end(),
                    [](unsigned char c) { return c <= ' ' || c == 0x7f; })) {
      return fault(i, "a device has no white space", "device");
    }
    if (interface.device == "packet" || interface.device.starts_with("packet,")) check_packet_device(i);
    if (is_memif(interface.device)) {
      fault(i,
            "memif,socket=NAME is for pods, in the annotation sluice.dev/device of a WorkloadEndpoint; the driver of "
            "DPDK is called net_memif0",
            "device");
    }
    const auto [first, fresh] = devices_.try_emplace(device_name(interface.device), i);
    if (fresh) {
      vlans_.try_emplace(fmt::format("{}.{}", device_name(interface.device), interface.vlan), i);
      return;
    }
    const Interface& other = interfaces_[first->second];
    if (other.device != interface.device) {
      return fault(i, fmt::format("interface {} gives this device other arguments", quoted(other.name)), "device");
    }
    const auto [same, distinct] =
        vlans_.try_emplace(fmt::format("{}.{}", device_name(interface.device), interface.vlan), i);
    if (!distinct) {
      fault(i, fmt::format("interface {} has the same device and VLAN", quoted(interfaces_[same->second].name)),
            interface.vlan == 0 ? "device" : "vlan");
    }
  }

  void check_packet_device(size_t i) {
    const Interface& interface = interfaces_[i];
    const std::string_view link = packet_link(interface.device);
    if (link.empty() || link.size() > longest_link || link.find_first_of(",/:") != std::string_view::npos) {
      fault(i, "expected packet,iface=NAME with the name of a network interface and nothing else", "device");
    }
    if (interface.vlan != 0) {
      fault(i,
            "a packet device carries no VLANs; make an interface of the VLAN (ip link add … type vlan) and name that",
            "vlan");
    }
  }

  void check_mtu(size_t i) {
    const Interface& interface = interfaces_[i];
    const auto is_v6 = [](const Prefix& prefix) { return prefix.addr.is_v6(); };
    const bool v6 = std::any_of(interface.addresses.begin(), interface.addresses.end(), is_v6) ||
                    std::any_of(interface.pod_addresses.begin(), interface.pod_addresses.end(), is_v6);
    if (interface.mtu < min_mtu || interface.mtu > max_mtu) {
      fault(i, fmt::format("expected {} to {}, found {}", min_mtu, max_mtu, interface.mtu), "mtu");
    } else if (v6 && interface.mtu < min_mtu_v6) {
      fault(i, fmt::format("IPv6 needs at least {}, found {}", min_mtu_v6, interface.mtu), "mtu");
    }
  }

  void check_addresses(size_t i) {
    const std::vector<Prefix>& addresses = interfaces_[i].addresses;
    for (size_t j = 0; j < addresses.size(); ++j) {
      const Prefix& address = addresses[j];
      if (const std::string_view why = never_a_host(address.addr); !why.empty()) {
        fault(i, fmt::format("{} is {}", net::to_string(address.addr), why), "addresses", j);
        continue;
      }
      check_host_bits(i, j, address);
      check_unique(i, "addresses", j, address.addr);
      check_subnet(i, j, address);
    }
  }

  // The first and last address of an IPv4 subnet are no hosts (RFC 1122 section 3.2.1.3), except in /31 (RFC 3021).
  void check_host_bits(size_t i, size_t j, const Prefix& address) {
    if (address.addr.is_v6() || address.length > 30) return;
    const uint32_t host_mask = 0xffffffffU >> address.length;
    const uint32_t host = address.addr.v4().host() & host_mask;
    if (host == 0 || host == host_mask) {
      fault(i,
            fmt::format("{} is the {} address of its subnet", net::to_string(address.addr),
                        host == 0 ? "network" : "broadcast"),
            "addresses", j);
    }
  }

  void check_unique(size_t i, std::string_view list, size_t j, const IpAddr& address) {
    if (address.is_v6() && address.is_link_local()) return;  // unique on its link only
    const auto [first, fresh] = owners_.try_emplace(address, i);
    if (!fresh) {
      fault(i,
            fmt::format("{} is also an address of interface {}", net::to_string(address),
                        quoted(interfaces_[first->second].name)),
            list, j);
    }
  }

  // One subnet at two interfaces: nobody could say where its hosts are.
  void check_subnet(size_t i, size_t j, const Prefix& address) {
    if (address.is_host() || (address.addr.is_v6() && address.addr.is_link_local())) return;
    const auto [first, fresh] = subnets_.try_emplace(address.masked(), i);
    if (!fresh && first->second != i) {
      fault(i,
            fmt::format("interface {} is in the same subnet {}", quoted(interfaces_[first->second].name),
                        net::to_string(address.masked())),
            "addresses", j);
    }
  }

  void check_gateways(size_t i) {
    const Interface& interface = interfaces_[i];
    if (interface.gateway_v4) check_gateway(i, *interface.gateway_v4, "v4", default_v4_);
    if (interface.gateway_v6) check_gateway(i, *interface.gateway_v6, "v6", default_v6_);
  }

  void check_gateway(size_t i, const IpAddr& gateway, std::string_view family, std::optional<size_t>& first) {
    const Interface& interface = interfaces_[i];
    if (interface.role != InterfaceRole::Uplink) fault(i, "only an uplink has a gateway", "gateway");
    if (first) {
      fault(i,
            fmt::format("interface {} has the IP{} default gateway; for several next hops write a route",
                        quoted(interfaces_[*first].name), family),
            "gateway", family);
    } else {
      first = i;
    }
    const std::string text = net::to_string(gateway);
    if (const std::string_view why = never_a_host(gateway); !why.empty()) {
      return fault(i, fmt::format("{} is {}", text, why), "gateway", family);
    }
    const auto own = [&](const Prefix& prefix) { return prefix.addr == gateway; };
    if (std::any_of(interface.addresses.begin(), interface.addresses.end(), own)) {
      return fault(i, fmt::format("{} is the interface's own address", text), "gateway", family);
    }
    const bool on_link = (gateway.is_v6() && gateway.is_link_local()) ||
                         std::any_of(interface.addresses.begin(), interface.addresses.end(),
                                     [&](const Prefix& prefix) { return prefix.contains(gateway); });
    if (!on_link) fault(i, fmt::format("{} is in no subnet of this interface", text), "gateway", family);
  }

  void check_pod(size_t i) {
    const Interface& interface = interfaces_[i];
    const bool workload = interface.role == InterfaceRole::Workload;
    if (!workload && !interface.pod_addresses.empty()) fault(i, "only for role \"workload\"", "podAddresses");
    if (!workload && interface.pod_mac) fault(i, "only for role \"workload\"", "podMAC");
    if (workload && interface.pod_mac && interface.pod_addresses.empty()) {
      fault(i, "without podAddresses it belongs to no address", "podMAC");
    }
    check_mac(i, "podMAC", interface.pod_mac);
    for (size_t j = 0; j < interface.pod_addresses.size(); ++j) {
      const IpAddr& address = interface.pod_addresses[j].addr;
      if (const std::string_view why = never_remote(address); !why.empty()) {
        fault(i, fmt::format("{} is {}", net::to_string(address), why), "podAddresses", j);
      } else {
        check_unique(i, "podAddresses", j, address);
      }
    }
  }

  // What the kernel takes (dev_valid_name), and nothing a shell could mistake.
  void check_host_interface(size_t i) {
    const Interface& interface = interfaces_[i];
    const std::string& name = interface.host_interface;
    if (name.empty()) return;
    if (interface.role != InterfaceRole::Uplink) return fault(i, "only for role \"uplink\"", "hostInterface");
    if (name.size() > 15 || !is_plain_name(name) || name == "." || name == ".." || name == "all" || name == "default" ||
        name == "lo") {
      return fault(i, "expected a name for a network interface: at most 15 letters, digits, \".\", \"_\" and \"-\"",
                   "hostInterface");
    }
    const auto [first, fresh] = twins_.try_emplace(name, i);
    if (!fresh) {
      fault(i, fmt::format("interface {} has this one already", quoted(interfaces_[first->second].name)),
            "hostInterface");
    }
  }

  // The router makes it, and cannot make what it takes from the kernel.
  void check_host_interface_is_free(size_t i) {
    const std::string& name = interfaces_[i].host_interface;
    if (name.empty()) return;
    for (const Interface& other : interfaces_) {
      if (packet_link(other.device) != name) continue;
      return fault(i,
                   fmt::format("{} is what the device of interface {} is called; choose another name", quoted(name),
                               quoted(other.name)),
                   "hostInterface");
    }
  }

  void check_mac(size_t i, std::string_view field, const std::optional<MacAddr>& mac) {
    if (mac && (mac->is_multicast() || mac->is_zero())) {
      fault(i, fmt::format("{} is not the address of a station", net::to_string(*mac)), field);
    }
  }

  const std::vector<Interface>& interfaces_;
  Report report_;
  // The interface that came first with…
  std::unordered_map<std::string_view, size_t> names_;
  std::unordered_map<std::string_view, size_t> twins_;
  std::unordered_map<std::string_view, size_t> devices_;
  std::unordered_map<std::string, size_t> vlans_;  // "device.vlan"
  std::unordered_map<IpAddr, size_t> owners_;
  std::unordered_map<Prefix, size_t> subnets_;
  std::optional<size_t> default_v4_;
  std::optional<size_t> default_v6_;
};

}  // namespace

void check_interfaces(const Config& config, Findings& findings) { InterfaceRules(config, findings).check(); }

}  // namespace sluice::config
