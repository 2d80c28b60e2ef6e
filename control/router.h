// What the config API and the metrics ask of the running router. The API server knows only this interface,
// so that it can be tested without a data plane; Controller (controller.h) implements it.
//
// All calls are made on the control thread. Those that return an awaitable wait for the workers (a grace
// period, an answer on the command ring) without blocking that thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "config/json.h"
#include "config/object_set.h"
#include "control/bgp_status.h"
#include "control/content_views.h"
#include "control/drains.h"
#include "control/events.h"
#include "control/ingress_views.h"
#include "control/ipam.h"
#include "control/load_balancer_views.h"
#include "control/measurements.h"
#include "control/totals.h"
#include "dataplane/net/addr.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/result.h"
#include "nat/flow.h"

namespace sluice::control {

template <class T>
using Awaitable = boost::asio::awaitable<T>;

// The answer to a change of configuration.
struct ApplyReply {
  enum class Code { Applied, Unchanged, SyntaxError, Invalid, StaleBase, Failed };
  Code code = Code::Failed;
  uint64_t generation = 0;            // the one that serves after the call
  std::string message;                // SyntaxError, StaleBase, Failed: one sentence
  std::vector<config::Fault> faults;  // Invalid
  std::vector<config::Warning> warnings;
  double apply_milliseconds = 0;
  bool would_change = false;  // of a dry run: there is something in it that is not so already
};

struct ApplyOptions {
  bool dry_run = false;
  bool ignore_unknown_kinds = false;
  bool ndjson = false;                      // one object per line
  bool from_state = false;                  // it is what the router kept itself
  std::string asked_by = {};                // "PUT /v1/config"; empty: the start of the router
  std::optional<uint64_t> base_generation;  // refused as StaleBase if another serves
};

struct InterfaceStatus {
  std::string name;
  std::string device;
  uint16_t port = 0;  // DPDK port id
  uint16_t vlan = 0;
  net::MacAddr mac;
  uint16_t mtu = 0;
  bool link_up = false;
  bool waiting = false;  // a pod's interface of the kernel that is not there
  std::vector<net::Prefix> addresses;
  uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0;  // by the router's own counters
  uint64_t rx_missed = 0, rx_errors = 0, tx_errors = 0;                 // by the device, of the port
};

struct WorkerStatus {
  uint16_t index = 0;
  int cpu = 0;
  uint64_t generation = 0;   // last snapshot it has passed
  uint64_t busy_cycles = 0;  // TSC, loops that moved at least one packet
  uint64_t total_cycles = 0;
  uint64_t packets = 0;                 // packets taken from ports and rings
  uint64_t handed_over = 0;             // given to other workers
  uint64_t received_over = 0;           // taken from other workers
  uint64_t flows_v4 = 0, flows_v6 = 0;  // live connections
  uint64_t flows_opened = 0, flows_closed = 0;
  // Source ports: given, asked for, and refused because none was free, or none among those a packet may ask for.
  uint64_t snat_allocated = 0, snat_draws = 0, snat_exhausted = 0, snat_gave_up = 0;
  uint64_t snat_mappings = 0;  // endpoint-independent, at present
};

struct Status {
  std::string version;
  std::string node_name;
  uint64_t generation_wanted = 0;
  uint64_t generation_applied = 0;  // passed by every worker
  bool ready = false;               // a full configuration is applied
  double uptime_seconds = 0;
  double last_apply_milliseconds = 0;
  std::vector<std::string> warnings;
  std::vector<WorkerStatus> workers;
  std::vector<InterfaceStatus> interfaces;
  uint32_t mbufs_total = 0, mbufs_in_use = 0;
  uint64_t conntrack_max = 0;  // per family, all workers
  LoadBalancerStatus load_balancers;
  std::vector<ContentStatus> content;
};

struct NamedCounter {
  std::string name;
  uint64_t value = 0;
};

struct Counters {
  std::vector<NamedCounter> drops;   // every DropReason, by its name, summed over workers
  std::vector<NamedCounter> events;  // everything else: icmp errors sent, arp requests, …
};

struct NeighborEntry {
  std::string interface;
  net::IpAddr address;
  net::MacAddr mac;
  std::string state;  // incomplete, reachable, stale, failed, permanent
  double age_seconds = 0;
  std::string source = "resolved";  // by ARP or ND; configuration, host, extern_learn: static, by whom
};

struct RouteEntry {
  net::Prefix destination;
  std::string type;    // unicast, connected, local, service, blackhole, unreachable, prohibit, tunnel
  std::string origin;  // interface, static, block, pool, service, node
  struct Hop {
    std::string interface;
    std::optional<net::IpAddr> via;
    std::string tunnel;  // "vxlan 192.168.0.12", "ipip 192.168.0.13"
    std::string neighbor_state;
    // With a tunnel:
    uint16_t tunnel_mtu = 0;          // of packets in it now, bytes
    bool mtu_from_path = false;       // learned from ICMP of the underlay, less than what is configured
    bool tunnel_unreachable = false;  // the underlay lately did not reach the other end
  };
  std::vector<Hop> hops;
};

struct ServiceEntry {
  std::string name;  // "default/web:http"
  std::string protocol;
  struct Frontend {
    std::string kind;  // ClusterIP, ExternalIP, LoadBalancer, NodePort
    net::IpAddr address;
    uint16_t port = 0;
  };
  std::vector<Frontend> frontends;
  struct Endpoint {
    net::IpAddr address;
    uint16_t port = 0;
    std::string node;
    bool local = false;
    bool ready = false, serving = false, terminating = false;
    uint8_t weight = 100;  // of new flows
    bool drained = false;  // by hand
  };
  std::vector<Endpoint> endpoints;
  std::string internal_policy, external_policy;
  std::string forwarding;  // snat, dsr
};

struct DrainEntry {
  std::string endpoint;  // DrainTarget::text()
  bool hard = false;
  std::vector<std::string> services;  // service ports that have it now, "default/web:http"
};

// The answer to drain and undrain.
struct DrainReply {
  bool changed = false;  // false: it was so before
  DrainEntry drain;
  std::vector<std::string> warnings;
};

struct FlowEntry {
  std::string protocol;  // tcp, udp, icmp, …
  std::string state;     // ESTABLISHED … for TCP, empty otherwise
  bool assured = false, replied = false;
  bool direct_return = false;  // nothing is translated; the endpoint, reply.src, answers past this router
  uint16_t worker = 0;
  struct Tuple {
    net::IpAddr src, dst;
    uint16_t src_port = 0, dst_port = 0;
    uint64_t packets = 0, bytes = 0;
  };
  Tuple original, reply;  // as the packets carry them when they arrive
  std::string service;    // "default/web:http" or empty
  double expires_seconds = 0;
};

enum class FlowStanding : uint8_t { Unreplied, Replied, Assured };

// Empty fields match everything.
struct FlowFilter {
  std::optional<net::Prefix> src, dst;  // of the original direction
  std::optional<uint16_t> src_port, dst_port;
  std::optional<net::Prefix> reply_src, reply_dst;  // of the reply direction
  std::optional<uint16_t> reply_src_port, reply_dst_port;
  std::optional<uint8_t> protocol;
  std::optional<nat::TcpState> tcp_state;
  std::optional<FlowStanding> standing;
  std::string service;
  size_t limit = 1000;

  // Whether anything is said about which.
  [[nodiscard]] bool narrow() const {
    return src || dst || src_port || dst_port || reply_src || reply_dst || reply_src_port || reply_dst_port ||
           protocol || tcp_state || standing || !service.empty();
  }
};

// A connection that was opened, or that has ended with the state and counts that it had.
struct FlowEventEntry {
  bool closed = false;
  double time_seconds = 0;  // since 1970, to some milliseconds
  FlowEntry flow;
};

struct FlowBatch {
  std::vector<FlowEventEntry> events;
  uint64_t lost = 0;  // events after these that there was no room for, whether they were asked for or not
};

// The news of connections that one client wants. It gets them as long as it is held.
class FlowWatch {
 public:
  virtual ~FlowWatch() = default;
  // Empty if nothing came for `patience`. One call at a time.
  virtual Awaitable<FlowBatch> next(std::chrono::milliseconds patience) = 0;
};

// What became of a packet, or would: a line for each decision.
struct Explanation {
  std::string verdict;  // forwarded, answered, punted (to the host), taken (ARP, ND), held, handed over, dropped
  std::string reason;   // of dropped: the counter's name
  std::string advice;   // of dropped and held: what it means, what to do
  struct Step {
    std::string name;  // parsed, flow, service, backend, nat, route, tunnel, neighbor, mtu, out, answer, dropped
    std::string text;
  };
  std::vector<Step> steps;
};

// A packet that nobody sends.
struct Probe {
  net::IpAddr from, to;                   // of one family
  std::optional<uint16_t> from_port;      // empty: some port
  uint16_t to_port = 0;                   // of TCP, UDP and SCTP
  uint8_t protocol = net::protocol::tcp;  // also UDP, SCTP, ICMP and ICMPv6 (an echo request)
  uint8_t tcp_flags = net::tcp_flag::syn;
  uint16_t size = 0;          // bytes of the IP packet; 0: headers only
  bool dont_fragment = true;  // IPv4; IPv6 is never fragmented on its way
  uint8_t ttl = 64;
  std::string interface;  // it comes in by; empty: where the route to `from` leads
  // What the client of a TCP connection says first: a GET for this host and path, or where TLS is spoken a ClientHello
  // with this server name. Empty: nothing.
  std::string host;
  std::string path = "/";
  std::string alpn;  // of that ClientHello: names with commas between them
  // Instead: the first bytes of a TCP connection that it opens, or what is in the datagram.
  std::string data;
};
inline constexpr uint16_t most_probe_bytes = 9216;
inline constexpr uint16_t most_probe_data = 8192;

struct TraceRequest {
  std::string filter;  // pcap-filter(7), over frames as they arrive; empty: every frame
  uint64_t count = 10;
  std::chrono::seconds time{60};
};

struct TracedFrame {
  std::string port;  // DPDK device
  bool out = false;
  uint32_t length = 0;  // of the frame, bytes
  std::string bytes;    // the first of them
};

struct TracedPacket {
  double time_seconds = 0;  // since 1970
  uint16_t worker = 0;
  Explanation explanation;
  std::vector<TracedFrame> frames;  // as it came, then what left
};

struct TraceBatch {
  std::vector<TracedPacket> packets;
  uint64_t lost = 0;   // packets of any trace that there was no room for
  bool ended = false;  // nothing comes any more: so many were traced, or the time is over
};

// The packets that one client wants. It gets them as long as it is held.
class TraceWatch {
 public:
  virtual ~TraceWatch() = default;
  // Empty if nothing came for `patience`. One call at a time.
  virtual Awaitable<TraceBatch> next(std::chrono::milliseconds patience) = 0;
};

class Router {
 public:
  virtual ~Router() = default;

  // PUT /v1/config: `text` is the whole document.
  virtual Awaitable<ApplyReply> replace_config(std::string text, ApplyOptions options) = 0;
  // PATCH /v1/config: `text` is a Delta with optional baseGeneration.
  virtual Awaitable<ApplyReply> patch_config(std::string text, ApplyOptions options) = 0;
  // PUT and DELETE of one object.
  virtual Awaitable<ApplyReply> put_object(std::string text, ApplyOptions options) = 0;
  virtual Awaitable<ApplyReply> delete_object(config::ObjectKey key, ApplyOptions options) = 0;

  // The applied objects as the text of a v1 List with metadata.generation; empty strings match all.
  [[nodiscard]] virtual std::string applied_config(const config::ObjectSet::Filter& filter) const = 0;
  // The generation that serves; 0: none yet.
  [[nodiscard]] virtual uint64_t generation() const = 0;
  [[nodiscard]] virtual Status status() const = 0;
  [[nodiscard]] virtual Counters counters() const = 0;
  [[nodiscard]] virtual Totals totals() const { return {}; }
  [[nodiscard]] virtual std::vector<NeighborEntry> neighbors() const = 0;
  [[nodiscard]] virtual std::vector<RouteEntry> routes() const = 0;
  [[nodiscard]] virtual std::vector<ServiceEntry> services() const = 0;
  [[nodiscard]] virtual std::vector<LoadBalancerEntry> load_balancers() const { return {}; }
  [[nodiscard]] virtual std::vector<L2Entry> l2() const { return {}; }
  [[nodiscard]] virtual std::vector<ContentPolicyEntry> content_policies() const { return {}; }
  [[nodiscard]] virtual std::vector<IngressEntry> ingresses() const { return {}; }
  [[nodiscard]] virtual BgpStatus bgp() const = 0;
  // Endpoints taken out of service by hand.
  [[nodiscard]] virtual std::vector<DrainEntry> drains() const = 0;
  virtual Awaitable<DrainReply> drain(DrainTarget target, bool hard) = 0;
  virtual Awaitable<DrainReply> undrain(DrainTarget target) = 0;
  // Addresses of pods and tunnels; the answer comes when it is on the disk and routed. A request without a node is for
  // this router's.
  virtual Awaitable<net::Result<std::vector<net::IpAddr>, ipam::Refusal>> assign_addresses(ipam::Request request) = 0;
  virtual Awaitable<net::Result<size_t, ipam::Refusal>> release_addresses(std::string handle) = 0;
  [[nodiscard]] virtual const ipam::State& assigned_addresses() const = 0;
  virtual Awaitable<std::vector<FlowEntry>> flows(FlowFilter filter) = 0;
  // Number of connections removed.
  virtual Awaitable<uint64_t> delete_flows(FlowFilter filter) = 0;
  // The filter's limit and state mean nothing. nullptr: too many watch already.
  [[nodiscard]] virtual std::shared_ptr<FlowWatch> watch_flows(const FlowFilter& filter) = 0;
  // What happened to the router itself.
  [[nodiscard]] virtual EventLog& events() = 0;
  [[nodiscard]] virtual Measurements& measurements() = 0;
  // Nothing is sent and nothing stays behind. Error: the packet cannot come in at all, and why.
  virtual Awaitable<net::Result<Explanation>> explain(Probe probe) = 0;
  // What comes after the answer is traced. Error: what is wrong with the filter. nullptr: too many trace already.
  virtual Awaitable<net::Result<std::shared_ptr<TraceWatch>>> trace(TraceRequest request) = 0;
};

}  // namespace sluice::control
