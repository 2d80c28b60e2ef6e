// What would happen to a packet that nobody sent: the pipeline itself, run by the control thread over the tables that
// serve, with connections, counters, source ports and buffers of its own. Nothing leaves, and nothing stays behind: all
// that it changes is its own and ends with it, but for the marks that keep neighbours from being forgotten, which are
// taken back.
//
// One object is one packet. What only the workers know, that the packet belongs to a connection or its sender to an
// endpoint, has to be told before.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/command.h"
#include "dataplane/punt.h"
#include "dataplane/trace_recorder.h"

namespace sluice::dataplane {

class DryRun {
 public:
  // Control thread. `tables` and `snapshot` are those that serve and outlive the object, which lives no longer than
  // until the control thread changes them.
  static net::Result<std::unique_ptr<DryRun>> create(const Tables& tables, const Snapshot& snapshot, uint64_t random);
  ~DryRun();
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;

  // The packet may be one of this connection. TCP segments of it lie within the window.
  void remember_flow(const FlowRecord& flow);
  // A mapping that a worker found.
  void remember_mapping(const Command::Mapping& mapping);
  // The endpoint that the client had of the service, by session affinity.
  template <class F>
  void remember_endpoint(const typename F::Addr& client, const nat::ServicePort<F>& service,
                         const nat::Backend<F>& endpoint);

  // The number that a client is told whose SYN had this key, the number 0 and no options, where its first bytes decide
  // (l7/syn_cookie.h). Host byte order.
  template <class F>
  [[nodiscard]] uint32_t cookie(const net::FlowKey<F>& key) const;
  // An Ethernet frame that comes in by `port`. Takes ownership. Several packets of a connection may follow each other,
  // each with a record of its own.
  void run(rte_mbuf* frame, uint16_t port, PacketTrace& out);
  // An IP packet, at the beginning of the buffer, that a tunnel of the known node `source` carried; the outer packet
  // came in by `interface`. Takes ownership.
  void run_from_tunnel(rte_mbuf* packet, uint16_t interface, uint16_t source, PacketTrace& out);

 private:
  DryRun(const Tables& tables, const Snapshot& snapshot, uint64_t random);
  template <class F>
  void remember(const FlowRecord& flow);
  // The mapping with these ends, of the packets that have this key, held once more.
  template <class F>
  [[nodiscard]] nat::MappingId hold_mapping(const net::FlowKey<F>& key, const typename F::Addr& outside,
                                            net::be16 port);
  template <class F>
  void remember_mapping_of(const Command::Mapping& mapping);
  template <class F>
  void set_note(rte_mbuf* packet, uint16_t interface, uint16_t source) const;
  void finish();

  Context context_;
  Connections connections_;
  Punt punt_;
  Output output_;
  IcmpResponder icmp_;
  Pipeline pipeline_;
  TraceRecorder recorder_;
  std::vector<uint32_t> unused_neighbors_;
};

}  // namespace sluice::dataplane
