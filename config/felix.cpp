#include "config/felix.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "config/port_range.h"

namespace sluice::config {
namespace {

// Calico's writing: "32768:65535", or one port.
std::optional<PortRange> parse_ports(std::string_view text) {
  const bool is_range = text.find(':') != std::string_view::npos;
  return is_range ? parse_port_range(text, ':') : parse_port_range(fmt::format("{0}:{0}", text), ':');
}

void read_ports(Reader& spec, std::string_view key, std::optional<PortRange>& out) {
  const auto* value = spec.find(key);
  if (value == nullptr) return;
  if (value->is_string()) return spec.parsed(key, out, parse_ports, "a range of ports such as 32768:65535");
  uint16_t port = 0;
  spec.number(key, port, 1, 65535);
  if (port != 0) out = PortRange{port, port};
}

// Where GatewayConfiguration has what a field of Felix says.
struct Counterpart {
  std::string_view field;
  std::string_view pointer;
};
constexpr std::array counterparts{
    Counterpart{"vxlanVNI", "/spec/overlay/vxlanVNI"},
    Counterpart{"vxlanPort", "/spec/overlay/vxlanPort"},
    Counterpart{"vxlanMTU", "/spec/overlay/mtu"},
    Counterpart{"natPortRange", "/spec/snat/natPortRange"},
    Counterpart{"natOutgoingExclusions", "/spec/snat/natOutgoingExclusions"},
    Counterpart{"externalNodesList", "/spec/overlay/externalNodesCIDRs"},
};

bool says(const boost::json::value& object, std::string_view field) {
  const auto* const found = std::find_if(counterparts.begin(), counterparts.end(),
                                         [&](const Counterpart& one) { return one.field == field; });
  boost::json::error_code error;
  const auto* const value = object.find_pointer(found->pointer, error);
  return value != nullptr && !value->is_null();
}

template <class T>
void take(std::optional<T>& out, const std::optional<T>& more) {
  if (more) out = more;
}

}  // namespace

void Felix::override_with(const Felix& more) {
  take(vxlan_vni, more.vxlan_vni);
  take(vxlan_port, more.vxlan_port);
  take(vxlan_mtu, more.vxlan_mtu);
  take(ipip_mtu, more.ipip_mtu);
  take(nat_port_range, more.nat_port_range);
  take(nat_outgoing_exclusions, more.nat_outgoing_exclusions);
  take(external_nodes, more.external_nodes);
}

Felix read_felix_configuration(const ObjectKey&, Reader& object) {
  Felix felix;
  Reader spec = object.object("spec");
  spec.number("vxlanVNI", felix.vxlan_vni, 0, 0xffffff);
  spec.number("vxlanPort", felix.vxlan_port, 1, 65535);
  spec.number("vxlanMTU", felix.vxlan_mtu, 0, 65535);
  spec.number("ipipMTU", felix.ipip_mtu, 0, 65535);
  read_ports(spec, "natPortRange", felix.nat_port_range);
  if (spec.has("natOutgoingExclusions")) {
    spec.choice("natOutgoingExclusions", felix.nat_outgoing_exclusions.emplace(), nat_exclusions);
  }
  if (spec.has("externalNodesList")) {
    spec.networks("externalNodesList", felix.external_nodes.emplace(), HostBits::Warn);
  }
  if (spec.has("natOutgoingAddress")) {
    spec.warn("natOutgoingAddress",
              "not used: give this router's own in snat.natOutgoingAddress of its GatewayConfiguration");
  }
  return felix;
}

void add_felix(const Felix& felix, const boost::json::value& object, Gateway& gateway) {
  Overlay& overlay = gateway.overlay;
  if (felix.vxlan_vni && !says(object, "vxlanVNI")) overlay.vxlan_vni = *felix.vxlan_vni;
  if (felix.vxlan_port && !says(object, "vxlanPort")) overlay.vxlan_port = *felix.vxlan_port;
  if (!says(object, "vxlanMTU")) {
    for (const std::optional<uint16_t>& mtu : {felix.vxlan_mtu, felix.ipip_mtu}) {
      if (mtu.value_or(0) != 0) overlay.mtu = std::min(*mtu, overlay.mtu.value_or(*mtu));
    }
  }
  if (felix.external_nodes && !says(object, "externalNodesList")) overlay.external_nodes = *felix.external_nodes;
  Snat& snat = gateway.snat;
  if (felix.nat_port_range && !says(object, "natPortRange")) snat.nat_port_range = felix.nat_port_range;
  if (felix.nat_outgoing_exclusions && !says(object, "natOutgoingExclusions")) {
    snat.nat_outgoing_exclusions = *felix.nat_outgoing_exclusions;
  }
}

std::string_view felix_field(std::string_view gateway_pointer) {
  const auto* const found = std::find_if(counterparts.begin(), counterparts.end(),
                                         [&](const Counterpart& one) { return one.pointer == gateway_pointer; });
  return found == counterparts.end() ? std::string_view() : found->field;
}

}  // namespace sluice::config
