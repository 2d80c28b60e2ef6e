#include "dataplane/next_hop.h"

#include "dataplane/net/headers.h"

namespace sluice::dataplane {

using net::DropReason;

NextHopTable::NextHopTable() : hops_(capacity) {
  hops_[hop::retry] = {.kind = HopKind::Retry};
  hops_[hop::no_route] = {.kind = HopKind::Reject, .reason = DropReason::NoRoute, .icmp_code = net::icmpv4::code_net};
  hops_[hop::local] = {.kind = HopKind::Local};
  hops_[hop::service] = {.kind = HopKind::Service};
  hops_[hop::service_unknown] = {.kind = HopKind::Drop, .reason = DropReason::ServiceUnknown};
  hops_[hop::blackhole] = {.kind = HopKind::Drop, .reason = DropReason::Blackhole};
  hops_[hop::unreachable] = {
      .kind = HopKind::Reject, .reason = DropReason::Unreachable, .icmp_code = net::icmpv4::code_host};
  hops_[hop::prohibit] = {
      .kind = HopKind::Reject, .reason = DropReason::Prohibited, .icmp_code = net::icmpv4::code_admin_prohibited};
  hops_[hop::broadcast] = {.kind = HopKind::Drop, .reason = DropReason::IpBroadcast};
}

NextHopId NextHopTable::add(const NextHop& hop) {
  NextHopId id = hop::retry;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else if (next_ < capacity) {
    id = next_++;
  } else {
    return hop::retry;
  }
  hops_[id] = hop;
  return id;
}

}  // namespace sluice::dataplane
