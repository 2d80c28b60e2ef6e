// What of Calico's FelixConfiguration is about forwarding. It holds where GatewayConfiguration says nothing itself: of
// the object `default`, and before that of `node.NAME`, NAME being this router's node.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

#include "config/json.h"
#include "config/model.h"
#include "config/reader.h"

namespace sluice::config {

inline constexpr std::array nat_exclusions{
    Choice<NatExclusions>{"IPPoolsOnly", NatExclusions::IpPoolsOnly},
    Choice<NatExclusions>{"IPPoolsAndHostIPs", NatExclusions::IpPoolsAndHostIps}};

struct Felix {
  std::optional<uint32_t> vxlan_vni;
  std::optional<uint16_t> vxlan_port;
  std::optional<uint16_t> vxlan_mtu;  // of packets inside; 0: by the uplinks, as if absent
  std::optional<uint16_t> ipip_mtu;
  std::optional<PortRange> nat_port_range;
  std::optional<NatExclusions> nat_outgoing_exclusions;
  std::optional<std::vector<Prefix>> external_nodes;

  // `more` comes first, field by field.
  void override_with(const Felix& more);
  friend bool operator==(const Felix&, const Felix&) = default;
};

[[nodiscard]] Felix read_felix_configuration(const ObjectKey& key, Reader& object);
// Sets in `gateway` what its object does not set.
void add_felix(const Felix& felix, const boost::json::value& object, Gateway& gateway);
// The field of a FelixConfiguration's spec that stands for this place in a GatewayConfiguration, a JSON pointer; empty:
// none does.
[[nodiscard]] std::string_view felix_field(std::string_view gateway_pointer);

}  // namespace sluice::config
