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
  std::vector<std::string> uses;
  spec.texts("allowedUses", uses);
  pool.load_balancer_only =
      !uses.empty() && std::all_of(uses.begin(), uses.end(), [](const auto& use) { return use == "LoadBalancer"; });
  return pool;
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

}  // namespace sluice::config
