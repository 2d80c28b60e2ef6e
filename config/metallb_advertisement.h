// What MetalLB's two kinds of advertisements have in common: whose addresses they announce, and from where.
#pragma once

#include <algorithm>

#include "config/convert.h"
#include "config/metallb.h"

namespace sluice::config {

template <class Advertisement>
void read_selection(const ObjectKey& key, Reader& spec, Advertisement& out) {
  out.ns = key.ns;
  out.name = key.name;
  spec.texts("ipAddressPools", out.pools);
  read_label_selectors(spec, "ipAddressPoolSelectors", out.pool_selectors);
  read_label_selectors(spec, "nodeSelectors", out.node_selectors);
  read_label_selectors(spec, "serviceSelectors", out.service_selectors);
}

// Without a word about pools all of them.
template <class Advertisement>
[[nodiscard]] bool selects(const Advertisement& advertisement, const AddressPool& pool) {
  const auto& names = advertisement.pools;
  const auto& selectors = advertisement.pool_selectors;
  if (names.empty() && selectors.empty()) return true;
  return std::find(names.begin(), names.end(), pool.name) != names.end() ||
         (!selectors.empty() && any_matches(selectors, pool.labels));
}

}  // namespace sluice::config
