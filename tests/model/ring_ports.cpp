#include "tests/model/ring_ports.h"

#include <cstring>
#include <stdexcept>

#include <rte_eth_ring.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "dataplane/net/headers.h"

namespace sluice::model_test {
namespace {

constexpr unsigned ring_slots = 4096;

// Like RSS: by addresses and, of whole TCP and UDP packets, ports; the two directions of a flow differ.
uint32_t receive_hash(std::span<const uint8_t> frame) {
  constexpr size_t at = net::ethernet_header_length;
  uint32_t hash = 2166136261U;
  const auto mix = [&](size_t from, size_t count) {
    for (size_t i = from; i < from + count && i < frame.size(); ++i) hash = (hash ^ frame[i]) * 16777619U;
  };
  if (frame.size() < at + net::ipv4_header_length) return 0;
  const auto has_ports = [](uint8_t protocol) {
    return protocol == net::protocol::tcp || protocol == net::protocol::udp;
  };
  if (frame[at] >> 4 == 6) {
    mix(at + 8, has_ports(frame[at + 6]) ? 36 : 32);
  } else if (frame[at] == 0x45) {
    const bool fragment = (net::load_be16(&frame[at + 6]) & 0x3fff) != 0;
    mix(at + 12, !fragment && has_ports(frame[at + 9]) ? 12 : 8);
  }
  return hash ^ hash >> 15;
}

rte_ring* make_ring(const std::string& name) {
  rte_ring* const ring = rte_ring_create(name.c_str(), ring_slots, SOCKET_ID_ANY, 0);
  if (ring == nullptr) throw std::runtime_error("no ring " + name);
  return ring;
}

}  // namespace

RingPorts::RingPorts(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    Port port;
    for (uint16_t queue = 0; queue < queues; ++queue) {
      const std::string suffix = name + std::to_string(queue);
      port.receive[queue] = make_ring("model_rx_" + suffix);
      port.transmit[queue] = make_ring("model_tx_" + suffix);
    }
    if (rte_eth_from_rings(name.c_str(), port.receive.data(), queues, port.transmit.data(), queues, 0) < 0) {
      throw std::runtime_error("no port " + name);
    }
    ports_.push_back(port);
  }
}

bool RingPorts::receive(size_t port, std::span<const uint8_t> frame, rte_mempool* pool, uint16_t used) {
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(pool);
  if (mbuf == nullptr) return false;
  char* const to = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size()));
  const auto queue = static_cast<uint16_t>(receive_hash(frame) % used);
  if (to != nullptr) {
    std::memcpy(to, frame.data(), frame.size());
    if (rte_ring_enqueue(ports_.at(port).receive[queue], mbuf) == 0) return true;
  }
  rte_pktmbuf_free(mbuf);
  return false;
}

void RingPorts::collect(const std::function<void(size_t port, std::span<const uint8_t> frame)>& take) {
  for (size_t port = 0; port < ports_.size(); ++port) {
    for (rte_ring* const ring : ports_[port].transmit) {
      void* item = nullptr;
      while (rte_ring_dequeue(ring, &item) == 0) {
        auto* const mbuf = static_cast<rte_mbuf*>(item);
        copy_.resize(mbuf->pkt_len);
        const void* const data = rte_pktmbuf_read(mbuf, 0, mbuf->pkt_len, copy_.data());
        take(port, {static_cast<const uint8_t*>(data), mbuf->pkt_len});
        rte_pktmbuf_free(mbuf);
      }
    }
  }
}

}  // namespace sluice::model_test
