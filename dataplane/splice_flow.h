// What is translated of a flow that is spliced (l7/splice.h), beside addresses and ports.
#pragma once

#include "dataplane/l7/splice.h"
#include "nat/conntrack.h"

namespace sluice::dataplane {

template <class F>
[[nodiscard]] l7::Splice splice_of(const nat::Conntrack<F>& table, nat::ConnectionId id) {
  const nat::Connection& connection = table.connection(id);
  l7::Splice splice;
  splice.seq = connection.splice_seq;
  splice.timestamp = connection.splice_timestamp;
  splice.endpoint_scale = connection.endpoint_scale;
  const nat::TcpEnd& client = table.flow(nat::flow_id(id, nat::Direction::Original)).end;
  if (splice.endpoint_scale != l7::own_scale && client.scales != 0) splice.client_scale = client.scale;
  return splice;
}

// Behind the translation of addresses and ports. `tcp`: the header, with its options in one piece.
template <class F>
void translate_splice(const nat::Conntrack<F>& table, nat::FlowId id, uint8_t* tcp) {
  const l7::Splice splice = splice_of(table, nat::connection_of(id));
  const uint32_t header = (tcp[12] >> 4) * 4U;
  if (nat::direction_of(id) == nat::Direction::Reply) {
    l7::to_client(splice, tcp, header);
  } else {
    l7::to_endpoint(splice, tcp, header);
  }
}

}  // namespace sluice::dataplane
