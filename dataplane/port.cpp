#include "dataplane/port.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <net/if.h>

#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>

namespace sluice::dataplane {
namespace {

constexpr uint16_t rx_descriptors = 1024;
constexpr uint16_t tx_descriptors = 1024;

std::string device_name(const std::string& device) { return device.substr(0, device.find(',')); }

bool is_virtual(const std::string& device) { return device.starts_with("net_") || device.starts_with("eth_"); }

std::optional<std::string> argument(const std::string& device, const std::string& key) {
  size_t at = device.find("," + key + "=");
  if (at == std::string::npos) return std::nullopt;
  at += key.size() + 2;
  return device.substr(at, device.find(',', at) - at);
}

// Software devices take the number of queues as an argument of their own; the user need not know which.
std::string with_queues(const PortSpec& spec) {
  struct Rule {
    const char* driver;
    const char* key;
  };
  static constexpr Rule rules[] = {{"net_af_packet", "qpairs"}, {"net_af_xdp", "queue_count"}};
  if (spec.workers <= 1) return spec.device;
  for (const Rule& rule : rules) {
    if (spec.device.starts_with(rule.driver) && !argument(spec.device, rule.key)) {
      return spec.device + "," + rule.key + "=" + std::to_string(spec.workers);
    }
  }
  return spec.device;
}

// Whether the driver's argument `iface` names a network interface that has to be there. That of net_tap and
// net_virtio_user is one they make, that of net_vhost a socket.
bool opens_interface(const std::string& device) {
  static constexpr const char* drivers[] = {"net_af_packet", "net_af_xdp", "net_pcap", "eth_af_packet", "eth_pcap"};
  return std::any_of(std::begin(drivers), std::end(drivers),
                     [&](const char* driver) { return device.starts_with(driver); });
}

// One for each worker, where the device has them. On memif the peer decides how many rings there are, and the driver
// takes a queue without a ring for the first ring: frames would come twice. Every peer has one each way.
uint16_t wanted_queues(const PortSpec& spec) { return spec.device.starts_with("net_memif") ? 1 : spec.workers; }

// Devices of the bus, and virtio over a socket. Other software devices have no interrupts, or (net_vhost) other ones
// for every client that comes.
bool may_interrupt(const std::string& device) { return !is_virtual(device) || device.starts_with("net_virtio_user"); }

}  // namespace

net::Error Port::failure(const std::string& what, int error) const {
  std::string message = "device \"" + spec_.device + "\": " + what;
  if (error != 0) message += std::string(": ") + rte_strerror(error < 0 ? -error : error);
  return net::Error{message};
}

net::Result<std::unique_ptr<Port>> Port::open(const PortSpec& spec, rte_mempool* pool) {
  std::unique_ptr<Port> port(new Port(spec));
  if (auto attached = port->attach(); !attached) return attached.error();
  if (auto started = port->start(pool); !started) return started.error();
  return port;
}

net::Status<> Port::attach() {
  const std::string name = device_name(spec_.device);
  if (rte_eth_dev_get_port_by_name(name.c_str(), &id_) == 0) {
    if (is_virtual(spec_.device) && argument(spec_.device, "iface")) {
      return failure("a device of this name is already open; give it another number, like net_af_packet1", 0);
    }
    return net::Done{};  // made before us, e.g. by a test
  }
  if (const auto iface = argument(spec_.device, "iface");
      iface && opens_interface(spec_.device) && if_nametoindex(iface->c_str()) == 0) {
    return failure("there is no network interface \"" + *iface + "\"; create it first (ip link)", 0);
  }
  const std::string devargs = with_queues(spec_);
  const int error = rte_dev_probe(devargs.c_str());
  if (error != 0 || rte_eth_dev_get_port_by_name(name.c_str(), &id_) != 0) {
    std::string advice = is_virtual(spec_.device)
                             ? "DPDK could not create it; check the name and arguments, and that the process may "
                               "open raw sockets or devices (root or CAP_NET_RAW, CAP_NET_ADMIN)"
                             : "DPDK found no such PCI device bound to a driver it can use (dpdk-devbind.py --status)";
    return failure(advice, error);
  }
  attached_ = true;
  return net::Done{};
}

net::Status<> Port::start(rte_mempool* pool) {
  if (spec_.interrupts && may_interrupt(spec_.device) && set_up(pool, true)) {
    find_interrupts();
  } else if (auto done = set_up(pool, false); !done) {  // not every device takes the question well
    return done;
  }
  started_ = true;
  set_promiscuity();
  // ND needs the solicited-node groups.
  rte_eth_allmulticast_enable(id_);
  return net::Done{};
}

// Whether a queue can be told to interrupt is known once one has tried.
bool Port::through_kernel() const {
  static constexpr const char* drivers[] = {"net_af_packet", "net_af_xdp", "net_tap", "eth_af_packet"};
  return std::any_of(std::begin(drivers), std::end(drivers),
                     [&](const char* driver) { return spec_.device.starts_with(driver); });
}

void Port::find_interrupts() {
  for (uint16_t queue = 0; queue < rx_queues_; ++queue) {
    const int descriptor = rte_eth_dev_rx_intr_ctl_q_get_fd(id_, queue);
    if (descriptor < 0 || rte_eth_dev_rx_intr_enable(id_, queue) != 0) return interrupts_.clear();
    rte_eth_dev_rx_intr_disable(id_, queue);
    interrupts_.push_back(descriptor);
  }
}

net::Status<> Port::set_up(rte_mempool* pool, bool interrupts) {
  rte_eth_dev_info info{};
  if (const int error = rte_eth_dev_info_get(id_, &info); error != 0) return failure("cannot be queried", error);

  const uint16_t receive_queues = spec_.receive_queues != 0 ? spec_.receive_queues : wanted_queues(spec_);
  rx_queues_ = std::clamp<uint16_t>(receive_queues, 1, std::max<uint16_t>(info.max_rx_queues, 1));
  tx_queues_ = std::clamp<uint16_t>(wanted_queues(spec_), 1, std::max<uint16_t>(info.max_tx_queues, 1));
  rte_eth_conf conf{};
  conf.intr_conf.rxq = interrupts ? 1 : 0;
  if (rx_queues_ > 1 && info.flow_type_rss_offloads != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf =
        (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP) & info.flow_type_rss_offloads;
  }
  if ((info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0) {
    conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
    verifies_ipv4_checksum_ = true;
  }
  // What a NIC found damaged opens no flow (CT-21).
  conf.rxmode.offloads |= info.rx_offload_capa & (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
  if ((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0)
    conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  mtu_limit_ = rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM - RTE_ETHER_HDR_LEN - RTE_VLAN_HLEN;
  // MTU-5: a larger frame comes and goes in several buffers, where the device can do that. Its driver may be slower
  // then.
  const bool in_parts = (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) != 0 &&
                        (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
  if (spec_.mtu > mtu_limit_ && in_parts) {
    conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
    conf.rxmode.mtu = spec_.mtu;
    mtu_limit_ = info.max_mtu;
  }
  if (const int error = rte_eth_dev_configure(id_, rx_queues_, tx_queues_, &conf); error != 0) {
    return failure("does not take " + std::to_string(rx_queues_) + " queues", error);
  }
  uint16_t rx_count = rx_descriptors;
  uint16_t tx_count = tx_descriptors;
  rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx_count, &tx_count);
  const int socket = rte_eth_dev_socket_id(id_);
  for (uint16_t queue = 0; queue < rx_queues_; ++queue) {
    if (const int error = rte_eth_rx_queue_setup(id_, queue, rx_count, static_cast<unsigned>(socket), nullptr, pool);
        error != 0) {
      return failure("receive queue " + std::to_string(queue) + " cannot be set up", error);
    }
  }
  for (uint16_t queue = 0; queue < tx_queues_; ++queue) {
    if (const int error = rte_eth_tx_queue_setup(id_, queue, tx_count, static_cast<unsigned>(socket), nullptr);
        error != 0) {
      return failure("transmit queue " + std::to_string(queue) + " cannot be set up", error);
    }
  }
  if (auto done = set_mtu(spec_.mtu); !done) return done;
  rte_ether_addr own{};
  rte_eth_macaddr_get(id_, &own);
  std::memcpy(device_mac_.bytes.data(), own.addr_bytes, device_mac_.bytes.size());
  mac_ = device_mac_;
  if (spec_.mac) set_mac(*spec_.mac);
  if (const int error = rte_eth_dev_start(id_); error != 0) return failure("cannot be started", error);
  return net::Done{};
}

net::Status<> Port::change(const PortSpec& wanted) {
  if (wanted.mtu != spec_.mtu) {
    if (auto done = set_mtu(wanted.mtu); !done) return done;
    spec_.mtu = wanted.mtu;
  }
  if (const net::MacAddr mac = wanted.mac.value_or(device_mac_); !(mac == mac_)) set_mac(mac);
  spec_.mac = wanted.mac;
  spec_.promiscuous = wanted.promiscuous;
  set_promiscuity();
  return net::Done{};
}

net::Status<> Port::set_mtu(uint16_t mtu) {
  if (mtu > mtu_limit_) {
    return failure("an MTU of " + std::to_string(mtu) +
                       (started_ ? " does not fit what it was started with; apply the "
                                   "configuration without this interface first"
                                 : " is too large for it") +
                       "; the most is " + std::to_string(mtu_limit_),
                   0);
  }
  const int error = rte_eth_dev_set_mtu(id_, mtu);
  // Not every software device can; those carry whatever fits a packet buffer.
  if (error == 0 || error == -ENOTSUP) return net::Done{};
  if (error == -EBUSY) {
    return failure("takes a new MTU only while it is stopped; apply the configuration without this interface first", 0);
  }
  return failure("does not take an MTU of " + std::to_string(mtu), error);
}

void Port::set_mac(const net::MacAddr& mac) {
  rte_ether_addr addr{};
  std::memcpy(addr.addr_bytes, mac.bytes.data(), sizeof addr.addr_bytes);
  foreign_mac_ = rte_eth_dev_default_mac_addr_set(id_, &addr) != 0;
  mac_ = mac;
}

// A device that cannot change its address still sees ours in promiscuous mode.
void Port::set_promiscuity() {
  if (spec_.promiscuous || foreign_mac_) {
    rte_eth_promiscuous_enable(id_);
  } else {
    rte_eth_promiscuous_disable(id_);
  }
}

Port::~Port() {
  if (started_) rte_eth_dev_stop(id_);
  if (!attached_) return;
  rte_eth_dev_info info{};
  rte_device* device = rte_eth_dev_info_get(id_, &info) == 0 ? info.device : nullptr;
  rte_eth_dev_close(id_);
  if (device != nullptr) rte_dev_remove(device);
}

PortStatistics Port::statistics() const {
  PortStatistics out;
  rte_eth_stats stats{};
  if (rte_eth_stats_get(id_, &stats) == 0) {
    out.rx_missed = stats.imissed;
    out.rx_errors = stats.ierrors;
    out.tx_errors = stats.oerrors;
  }
  out.link_up = link_up();
  return out;
}

bool Port::link_up() const {
  rte_eth_link link{};
  return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace sluice::dataplane
