// BgpPlan → the configuration of BIRD 2 (bird.conf). Pure text; `bird -p` of Debian's bird2 2.0.12 takes all of it.
//
// What is announced are static blackhole routes of two protocols, originated4 and originated6, that never reach the
// kernel: the router has its own routes for them. So a service that comes or goes changes static routes alone, and
// filters, which BIRD would apply anew to every route, stay as they are. The kernel's own routes are learned to resolve
// next hops by them, and never announced.
//
// Prefixes of MetalLB's BGPAdvertisements have a number beside them, the attribute sluice_audience; what a session
// sends with a number is said in a function of its own.
#pragma once

#include <string>

#include "control/bgp_plan.h"

namespace sluice::control {

inline constexpr const char* originated_v4 = "originated4";
inline constexpr const char* originated_v6 = "originated6";

[[nodiscard]] std::string bird_config(const BgpPlan& plan);

}  // namespace sluice::control
