// What MetalLB's objects become in a BgpPlan (LB-10): sessions of its BGPPeers, and prefixes of its BGPAdvertisements.
// Pure, part of make_bgp_plan (bgp_plan.h).
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "config/model.h"
#include "control/bgp_plan.h"

namespace sluice::control {

// The peer's own part of a session; `session` has what is true for every session with its address.
[[nodiscard]] BgpSession metallb_session(const config::MetallbPeer& peer, BgpSession session);

// Prefixes, and which of the plan's sessions gets them with what. Several advertisements of one prefix to one session:
// all of their communities, the highest of their preferences.
void add_advertised(const config::Config& config, const BgpServices& services, BgpPlan& plan);

// The networks of pools of which this router announces aggregated prefixes, with what the prefixes have beyond pools.
[[nodiscard]] std::vector<net::Prefix> aggregated_networks(const config::Config& config);

// Adds the largest networks that make up the addresses first to last, of one family.
void add_networks(const net::IpAddr& first, const net::IpAddr& last, std::set<net::Prefix>& out);

}  // namespace sluice::control
