#include "nat/affinity.h"

#include "nat/anonymous_array.h"

namespace sluice::nat {

template <class F>
std::unique_ptr<AffinityTable<F>> AffinityTable<F>::create(const net::FlowHasher& hasher) {
  std::unique_ptr<AffinityTable> table(new AffinityTable(hasher));
  table->table_ = allocate_array<Set>(sets);
  return table->table_ == nullptr ? nullptr : std::move(table);
}

template <class F>
AffinityTable<F>::~AffinityTable() {
  release_array(table_, sets);
}

template <class F>
std::optional<Backend<F>> AffinityTable<F>::find(const typename F::Addr& client, uint32_t service, Millis timeout,
                                                 Millis now) const {
  for (const Entry& entry : set_of(client, service).entries) {
    if (entry.service != service || !(entry.client == client)) continue;
    if (now - entry.last_used >= timeout) return std::nullopt;
    return Backend<F>{entry.backend, entry.port, false};
  }
  return std::nullopt;
}

template <class F>
bool AffinityTable<F>::remember(const typename F::Addr& client, uint32_t service, const Backend<F>& backend,
                                Millis timeout, Millis now) {
  Set& set = set_of(client, service);
  Entry* place = &set.entries[0];
  for (Entry& entry : set.entries) {
    if (entry.service == service && entry.client == client) {
      place = &entry;
      break;
    }
    const bool older = entry.service == 0 || now - entry.last_used > now - place->last_used;
    if (place->service != 0 && older) place = &entry;
  }
  const bool same = place->service == service && place->client == client && place->backend == backend.addr &&
                    place->port == backend.port && now - place->last_used < timeout;
  const bool tell = !same || now - place->told >= timeout / 8;
  *place = {client, backend.addr, backend.port, service, now, tell ? now : place->told};
  return tell;
}

template class AffinityTable<net::V4>;
template class AffinityTable<net::V6>;

}  // namespace sluice::nat
