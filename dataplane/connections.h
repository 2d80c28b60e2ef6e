// What one worker remembers of connections, one table of a kind per address family.
#pragma once

#include <memory>

#include "dataplane/l7/inspector.h"
#include "nat/affinity.h"
#include "nat/conntrack.h"
#include "nat/hints.h"
#include "nat/mapping.h"

namespace sluice::dataplane {

struct Connections {
  std::unique_ptr<nat::Conntrack<net::V4>> v4;
  std::unique_ptr<nat::Conntrack<net::V6>> v6;
  std::unique_ptr<nat::AffinityTable<net::V4>> affinity_v4;
  std::unique_ptr<nat::AffinityTable<net::V6>> affinity_v6;
  std::unique_ptr<nat::HintTable<net::V4>> hints_v4;
  std::unique_ptr<nat::HintTable<net::V6>> hints_v6;
  std::unique_ptr<nat::MappingTable<net::V4>> mappings_v4;
  std::unique_ptr<nat::MappingTable<net::V6>> mappings_v6;
  std::unique_ptr<l7::Inspector> inspector;  // nullptr: nothing is looked into
  // Of each connection that is content_flag::looked_into. Others' entries were never written, and take no memory.
  std::unique_ptr<l7::InspectionId[]> inspections_v4;
  std::unique_ptr<l7::InspectionId[]> inspections_v6;

  template <class F>
  [[nodiscard]] l7::InspectionId& inspection(nat::ConnectionId id) const {
    if constexpr (F::is_v4) {
      return inspections_v4[id];
    } else {
      return inspections_v6[id];
    }
  }
  template <class F>
  [[nodiscard]] nat::Conntrack<F>& of() const {
    if constexpr (F::is_v4) {
      return *v4;
    } else {
      return *v6;
    }
  }
  template <class F>
  [[nodiscard]] nat::AffinityTable<F>& affinity() const {
    if constexpr (F::is_v4) {
      return *affinity_v4;
    } else {
      return *affinity_v6;
    }
  }
  template <class F>
  [[nodiscard]] nat::HintTable<F>& hints() const {
    if constexpr (F::is_v4) {
      return *hints_v4;
    } else {
      return *hints_v6;
    }
  }
  template <class F>
  [[nodiscard]] nat::MappingTable<F>& mappings() const {
    if constexpr (F::is_v4) {
      return *mappings_v4;
    } else {
      return *mappings_v6;
    }
  }
};

}  // namespace sluice::dataplane
