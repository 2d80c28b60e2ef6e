#include "nat/service.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <tuple>
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

namespace {

// A total order but for the endpoints of a service port, which have changed since where two differ in nothing else.
template <class F>
bool before(const Frontend<F>& a, const Frontend<F>& b) {
  const auto key = [](const Frontend<F>& frontend) {
    return std::tuple(frontend.addr, frontend.port.wire(), frontend.protocol, frontend.yields,
                      std::string_view(frontend.service->name), frontend.kind, frontend.service->id);
  };
  return key(a) < key(b);
}

template <class F>
void settle(std::vector<Frontend<F>>& entries, std::vector<Frontend<F>>& added, std::vector<Frontend<F>>& removed) {
  std::sort(entries.begin(), entries.end(), before<F>);
  std::sort(removed.begin(), removed.end(), before<F>);
  std::vector<Frontend<F>> left;
  std::set_difference(entries.begin(), entries.end(), removed.begin(), removed.end(), std::back_inserter(left),
                      before<F>);
  left.insert(left.end(), std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()));
  std::sort(left.begin(), left.end(), before<F>);
  entries = std::move(left);
}

}  // namespace

template <class F>
ServiceTable<F>::ServiceTable(std::vector<Frontend<F>> frontends)
    : ServiceTable(ServiceTable().changed(std::move(frontends), {})) {}

template <class F>
ServiceTable<F> ServiceTable<F>::changed(std::vector<Frontend<F>> added, std::vector<Frontend<F>> removed) const {
  ServiceTable next;
  const auto cluster_ips = [](const std::vector<Frontend<F>>& frontends) {
    std::vector<typename EndpointSet<F>::Endpoint> out;
    for (const Frontend<F>& frontend : frontends) {
      if (frontend.kind == FrontendKind::ClusterIp) out.push_back({frontend.addr, {}, any_protocol});
    }
    return out;
  };
  const auto cutting = [](const std::vector<Frontend<F>>& frontends) {
    return static_cast<size_t>(std::count_if(frontends.begin(), frontends.end(), [](const Frontend<F>& frontend) {
      return !frontend.service->cut_off.empty();
    }));
  };
  next.cutting_ = cutting_ + cutting(added) - cutting(removed);
  next.cluster_ips_ = cluster_ips_.changed(cluster_ips(added), cluster_ips(removed));
  next.table_ = table_.changed(std::move(added), std::move(removed), settle<F>);
  return next;
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
