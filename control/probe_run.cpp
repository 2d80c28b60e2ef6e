// A packet that nobody sends, and what its client would say next.
#include <algorithm>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "control/frame_text.h"
#include "control/probe.h"

namespace sluice::control {
namespace {

using net::V4;
using net::V6;

// The buffer, or chain of buffers, with these bytes; nullptr if there is none.
rte_mbuf* make_buffer(rte_mempool* pool, const std::vector<uint8_t>& bytes) {
  rte_mbuf* first = nullptr;
  for (size_t at = 0; at < bytes.size();) {
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(pool);
    if (mbuf == nullptr || (first != nullptr && rte_pktmbuf_chain(first, mbuf) != 0)) {
      rte_pktmbuf_free(mbuf);
      rte_pktmbuf_free(first);
      return nullptr;
    }
    if (first == nullptr) first = mbuf;
    const auto piece = static_cast<uint16_t>(std::min<size_t>(bytes.size() - at, rte_pktmbuf_tailroom(mbuf)));
    std::memcpy(rte_pktmbuf_mtod(mbuf, uint8_t*), bytes.data() + at, piece);
    mbuf->data_len = piece;
    if (mbuf != first) first->pkt_len += piece;
    if (mbuf == first) mbuf->pkt_len = piece;
    at += piece;
  }
  return first;
}

// Numbers of TLS, most significant byte first, and the lengths in front of what is behind them.
std::string number(size_t value, size_t width) {
  std::string out;
  while (width-- > 0) out += static_cast<char>(value >> 8 * width & 0xff);
  return out;
}
std::string counted(const std::string& text, size_t width) { return number(text.size(), width) + text; }

// RFC 7301 section 3.1. Empty: nothing is said of it.
std::string alpn_extension(std::string_view names) {
  std::string list;
  while (!names.empty()) {
    const size_t comma = std::min(names.find(','), names.size());
    if (comma != 0) list += counted(std::string(names.substr(0, comma)), 1);
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  return list.empty() ? list : number(16, 2) + counted(counted(list, 2), 2);
}

// RFC 8446 section 4.1.2 with the extension of RFC 6066 section 3.
std::string client_hello(const Probe& probe) {
  const std::string name = counted(number(0, 1) + counted(probe.host, 2), 2);
  const std::string extensions =
      number(0, 2) + counted(name, 2) + number(43, 2) + counted(counted("\x03\x04", 1), 2) + alpn_extension(probe.alpn);
  const std::string hello = "\x03\x03" + std::string(32, 'x') + counted("", 1) + counted("\x13\x01", 2) +
                            counted(number(0, 1), 1) + counted(extensions, 2);
  return number(22, 1) + "\x03\x01" + counted(number(1, 1) + counted(hello, 3), 2);
}

template <class F>
uint32_t cookie_of(const dataplane::DryRun& run, const Probe& probe) {
  return run.cookie(net::FlowKey<F>{F::addr_of(probe.from),
                                    F::addr_of(probe.to),
                                    net::be16::from_host(probe.from_port.value_or(probe_source_port)),
                                    net::be16::from_host(probe.to_port),
                                    probe.protocol,
                                    {}});
}

net::Result<bool> run_one(dataplane::DryRun& run, const net::Result<std::vector<uint8_t>>& packet,
                          const ProbeArrival& arrival, const dataplane::Snapshot& snapshot, rte_mempool* pool,
                          dataplane::PacketTrace& out) {
  if (!packet) return packet.error();
  const dataplane::Interface& interface = snapshot.interfaces[arrival.interface];
  const bool from_tunnel = arrival.tunnel_source != net::no_tunnel_source;
  rte_mbuf* const mbuf = make_buffer(pool, from_tunnel ? *packet : make_frame(*packet, interface));
  if (mbuf == nullptr) return net::Error{"packet buffers have run out"};
  if (from_tunnel) {
    run.run_from_tunnel(mbuf, arrival.interface, arrival.tunnel_source, out);
  } else {
    run.run(mbuf, interface.port, out);
  }
  return true;
}

}  // namespace

std::string said_by(const Probe& probe, const std::vector<uint16_t>& tls) {
  if (probe.host.empty()) return probe.data;
  if (std::find(tls.begin(), tls.end(), probe.to_port) != tls.end()) return client_hello(probe);
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", probe.path, probe.host);
}

net::Result<bool> run_probe(dataplane::DryRun& run, const Probe& probe, const ProbeArrival& arrival,
                            const std::vector<uint16_t>& tls, const dataplane::Snapshot& snapshot, rte_mempool* pool,
                            dataplane::PacketTrace& out) {
  const bool tcp = probe.protocol == net::protocol::tcp;
  ProbeSegment segment;
  if (!tcp) segment.data = probe.data;
  const auto first = run_one(run, make_packet(probe, segment), arrival, snapshot, pool, out);
  const std::string said = said_by(probe, tls);
  if (!first || !tcp || said.empty()) return first;
  if (out.count(dataplane::Event::SynCookiesSent) == 0) {
    if (out.dropped() || probe.host.empty()) return first;
    return net::Error{
        fmt::format("host: nobody reads there what clients say first: {} is no address and port of an "
                    "Ingress, or the connection exists",
                    endpoint_text(probe.to, probe.to_port))};
  }
  Probe second = probe;
  second.tcp_flags = net::tcp_flag::ack | net::tcp_flag::psh;
  second.size = 0;
  const uint32_t cookie = probe.to.is_v4() ? cookie_of<V4>(run, probe) : cookie_of<V6>(run, probe);
  out = {};
  return run_one(run, make_packet(second, {1, cookie + 1, said}), arrival, snapshot, pool, out);
}

}  // namespace sluice::control
