// Calico's objects, as its API server (projectcalico.org/v3) or its custom resources (crd.projectcalico.org/v1)
// show them.
#include <algorithm>
#include <array>

#include "config/convert.h"

namespace sluice::config {
namespace {

// The empty text is an old way to write Never.
constexpr std::array tunnel_modes{
    Choice<TunnelMode>{"Never", TunnelMode::Never}, Choice<TunnelMode>{"Always", TunnelMode::Always},
    Choice<TunnelMode>{"CrossSubnet", TunnelMode::CrossSubnet}, Choice<TunnelMode>{"", TunnelMode::Never}};

enum class BlockState : uint8_t { Confirmed, Pending, PendingDeletion };
enum class AssignmentMode : uint8_t { Automatic, Manual };
constexpr std::array assignment_modes{Choice<AssignmentMode>{"Automatic", AssignmentMode::Automatic},
                                      Choice<AssignmentMode>{"Manual", AssignmentMode::Manual}};

constexpr std::array block_states{Choice<BlockState>{"confirmed", BlockState::Confirmed},
                                  Choice<BlockState>{"pending", BlockState::Pending},
                                  Choice<BlockState>{"pendingDeletion", BlockState::PendingDeletion}};

}  // namespace

IpPool read_ip_pool(const ObjectKey& key, Reader& object) {
  IpPool pool;
  pool.name = key.name;
  Reader spec = object.object("spec");
  object.require("spec");
  spec.require("cidr");
  spec.network("cidr", pool.cidr, HostBits::Refuse);
  pool.block_size = pool.cidr.addr.is_v6() ? 122 : 26;
  spec.number("blockSize", pool.block_size, 0, 128);
  spec.choice("vxlanMode", pool.vxlan_mode, tunnel_modes);
  spec.choice("ipipMode", pool.ipip_mode, tunnel_modes);
  spec.flag("natOutgoing", pool.nat_outgoing);
  spec.flag("disabled", pool.disabled);
  spec.flag("disableBGPExport", pool.disable_bgp_export);
  std::vector<std::string> uses;
  spec.texts("allowedUses", uses);
  pool.load_balancer_only =
      !uses.empty() && std::all_of(uses.begin(), uses.end(), [](const auto& use) { return use == "LoadBalancer"; });
  if (!uses.empty()) {
    pool.for_workloads = std::find(uses.begin(), uses.end(), "Workload") != uses.end();
    pool.for_tunnels = std::find(uses.begin(), uses.end(), "Tunnel") != uses.end();
  }
  auto mode = AssignmentMode::Automatic;
  spec.choice("assignmentMode", mode, assignment_modes);
  pool.manual = mode == AssignmentMode::Manual;
  spec.parsed("nodeSelector", pool.node_selector, Selector::parse, "a selector such as all() or zone == 'a'");
  spec.parsed("namespaceSelector", pool.namespace_selector, Selector::parse, "a selector such as all() or team == 'a'");
  return pool;
}

Ipam read_ipam_configuration(const ObjectKey& key, Reader& object) {
  constexpr uint32_t longest_time = 7 * 86400;  // seconds
  Ipam ipam;
  if (key.name != "default") {
    Reader metadata = object.object("metadata");
    metadata.fault("name", "there is one IPAMConfiguration, and its name is default");
  }
  Reader spec = object.object("spec");
  spec.flag("strictAffinity", ipam.strict_affinity);
  spec.flag("autoAllocateBlocks", ipam.auto_allocate_blocks);
  spec.flag("autoAllocateTunnelAddresses", ipam.auto_tunnel_addresses);
  spec.number("maxBlocksPerHost", ipam.max_blocks_per_host, 0, INT32_MAX);
  spec.number("ipCooldownSeconds", ipam.cooldown_seconds, 0, longest_time);
  spec.number("leakGraceSeconds", ipam.leak_grace_seconds, 1, longest_time);
  return ipam;
}

BlockAffinity read_block_affinity(const ObjectKey& key, Reader& object) {
  BlockAffinity block;
  block.name = key.name;
  Reader spec = object.object("spec");
  object.require("spec");
  spec.need_text("node", block.node);
  spec.require("cidr");
  spec.network("cidr", block.cidr, HostBits::Refuse);
  BlockState state = BlockState::Confirmed;
  spec.choice("state", state, block_states);
  // A boolean that some releases write as a text.
  bool deleted = false;
  const boost::json::value* field = spec.find("deleted");
  if (field != nullptr && field->is_string()) {
    deleted = field->get_string() == "true";
  } else {
    spec.flag("deleted", deleted);
  }
  // "virtual": the block belongs to no host (load balancer addresses).
  std::string type;
  spec.text("type", type);
  block.confirmed = state == BlockState::Confirmed && !deleted && type != "virtual";
  return block;
}

WorkloadEndpoint read_workload_endpoint(const ObjectKey& key, Reader& object) {
  WorkloadEndpoint workload;
  workload.name = {key.ns, key.name};
  {
    Reader metadata = object.object("metadata");
    metadata.labels("labels", workload.labels);
    Reader annotations = metadata.object("annotations");
    annotations.text("sluice.dev/device", workload.device);
  }
  Reader spec = object.object("spec");
  object.require("spec");
  spec.need_text("node", workload.node);
  spec.text("pod", workload.pod);
  if (workload.device.empty()) {
    spec.need_text("interfaceName", workload.interface);
  } else {
    spec.text("interfaceName", workload.interface);
  }
  spec.mac("mac", workload.mac);
  std::vector<Prefix> hosts;
  spec.require("ipNetworks");
  spec.parsed_list("ipNetworks", hosts, parse_host, "the address of a single host, such as 192.0.2.7/32");
  for (const Prefix& host : hosts) workload.addresses.push_back(host.addr);
  spec.networks("allowSpoofedSourcePrefixes", workload.allowed_sources, HostBits::Refuse);
  return workload;
}

}  // namespace sluice::config
