#include "nat/service.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace sluice::nat {
namespace {

// FNV-1a over bytes, so that nothing depends on the machine, and a finalizer, because FNV's last bytes hardly reach
// the high bits.
class ByteHash {
 public:
  void add(const void* data, size_t length) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    for (size_t i = 0; i < length; ++i) state_ = (state_ ^ bytes[i]) * 0x100000001b3;
  }
  [[nodiscard]] uint64_t value() const {
    uint64_t x = state_;
    x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;
    return x ^ x >> 33;
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace

template <class F>
uint64_t identity(const Backend<F>& backend) {
  ByteHash hash;
  hash.add(&backend.addr, sizeof backend.addr);
  hash.add(&backend.port, sizeof backend.port);
  return hash.value();
}

template <class F>
const Backend<F>* BackendSet<F>::find(const typename F::Addr& addr, be16 port) const {
  const auto at = std::lower_bound(backends.begin(), backends.end(), 0, [&](const Backend<F>& backend, int) {
    return backend.addr != addr ? backend.addr < addr : backend.port < port;
  });
  return at != backends.end() && at->addr == addr && at->port == port ? &*at : nullptr;
}

template <class F>
BackendSet<F> make_backend_set(std::vector<Backend<F>> backends, uint32_t table_size) {
  const auto same = [](const Backend<F>& a, const Backend<F>& b) { return a.addr == b.addr && a.port == b.port; };
  // Of two with one address and port the local one, else the one of less weight comes first and stays.
  std::sort(backends.begin(), backends.end(), [&](const Backend<F>& a, const Backend<F>& b) {
    if (a.addr != b.addr) return a.addr < b.addr;
    if (a.port != b.port) return a.port < b.port;
    return a.local != b.local ? a.local : a.weight < b.weight;
  });
  backends.erase(std::unique(backends.begin(), backends.end(), same), backends.end());

  std::vector<uint64_t> ids;
  std::vector<uint8_t> weights;
  ids.reserve(backends.size());
  weights.reserve(backends.size());
  for (const Backend<F>& backend : backends) {
    ids.push_back(identity(backend));
    weights.push_back(backend.weight);
  }
  return {std::move(backends), Maglev(ids, table_size, weights)};
}

template <class F>
ServiceTable<F>::ServiceTable(std::vector<Frontend<F>> frontends) : frontends_(std::move(frontends)) {
  if (frontends_.empty()) return;
  const auto is_cluster = [](const Frontend<F>& frontend) { return frontend.kind == FrontendKind::ClusterIp; };
  const auto cluster_ips = std::count_if(frontends_.begin(), frontends_.end(), is_cluster);
  slots_.resize(std::bit_ceil(2 * (frontends_.size() + static_cast<size_t>(cluster_ips))));
  mask_ = slots_.size() - 1;
  for (uint32_t i = 0; i < frontends_.size(); ++i) {
    const Frontend<F>& frontend = frontends_[i];
    cuts_off_ = cuts_off_ || !frontend.service->cut_off.empty();
    // In the order of the list, so of two duplicates the probe meets the first.
    insert(hash(frontend.addr, frontend.port, frontend.protocol), i);
    if (is_cluster(frontend) && !is_cluster_ip(frontend.addr)) insert(hash(frontend.addr, {}, 0), i);
  }
}

template <class F>
void ServiceTable<F>::insert(uint64_t hash, uint32_t index) {
  uint64_t at = hash & mask_;
  while (slots_[at].index != 0) at = (at + 1) & mask_;
  slots_[at] = {static_cast<uint32_t>(hash >> 32), index + 1};
}

template uint64_t identity(const Backend<net::V4>&);
template uint64_t identity(const Backend<net::V6>&);
template BackendSet<net::V4> make_backend_set(std::vector<Backend<net::V4>>, uint32_t);
template BackendSet<net::V6> make_backend_set(std::vector<Backend<net::V6>>, uint32_t);
template struct BackendSet<net::V4>;
template struct BackendSet<net::V6>;
template class ServiceTable<net::V4>;
template class ServiceTable<net::V6>;

}  // namespace sluice::nat
