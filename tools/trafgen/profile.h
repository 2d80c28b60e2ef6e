// What a run is to do: ports and streams, as docs/trafgen.md describes them. Read from JSON, checked whole; every
// fault is told with its JSON pointer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"
#include "tools/trafgen/flows.h"
#include "tools/trafgen/range.h"

namespace sluice::trafgen {

enum class Mode : uint8_t { Flood, Rate, Requests, Connections, Replay };
enum class Protocol : uint8_t { Udp, Tcp, Icmp };
enum class Reflect : uint8_t { Off, Mac, Swap };
enum class TunnelKind : uint8_t { None, Vxlan, Ipip };

[[nodiscard]] std::string_view name_of(Mode mode);

struct PortProfile {
  std::string name;
  std::string device;
  std::optional<net::MacAddr> mac;
  uint16_t receive_queues = 1;
  std::vector<net::Prefix> addresses;
  std::vector<AddrRange> answers_for;
  std::optional<net::IpAddr> gateway, gateway6;
  Reflect reflect = Reflect::Off;
};

struct TunnelProfile {
  TunnelKind kind = TunnelKind::None;
  AddrRange src, dst;  // outer, IPv4
  uint32_t vni = 0;
  uint16_t port = 4789;
  net::MacAddr inner_src, inner_dst;
};

struct TunnelExpectation {
  bool any = false;
  TunnelKind kind = TunnelKind::None;
  std::optional<AddrRange> src, dst;
  std::optional<uint32_t> vni;
};

// An empty list of ranges: as the flow was sent (or, reversed, as its answer must come).
struct ExpectProfile {
  bool reversed = false;
  std::vector<AddrRange> src, dst;
  std::vector<PortRange> src_port, dst_port;
  uint64_t per_destination = 0;  // 0: any address of `dst` is right for any flow
  bool affinity = true;
  TunnelExpectation tunnel;
  std::optional<uint8_t> ttl;
  std::optional<net::MacAddr> dst_mac;

  [[nodiscard]] bool unchanged() const { return src.empty() && dst.empty() && src_port.empty() && dst_port.empty(); }
};

struct AnswerProfile {
  uint32_t every = 1;
  ExpectProfile expect;
};

struct PrefixRewrite {
  net::Prefix from, to;
};

// The ports of `from`, in their order, become those from `to` on.
struct PortRewrite {
  PortRange from;
  uint16_t to = 0;
};

struct ReplayProfile {
  std::string file;
  std::vector<PrefixRewrite> src, dst;
  std::vector<PortRewrite> src_port, dst_port;
};

struct StreamProfile {
  std::string name;
  uint16_t send = 0;
  std::vector<uint16_t> receive;
  Mode mode = Mode::Flood;
  std::vector<double> rates;  // one trial each; empty: unlimited
  std::vector<uint16_t> frame{64};
  std::optional<net::MacAddr> src_mac, dst_mac;
  bool resolve = false;  // dst_mac is asked for
  Protocol protocol = Protocol::Udp;
  uint8_t ttl = 64;
  FlowSpec flows;
  TunnelProfile tunnel;
  ExpectProfile expect;
  std::optional<AnswerProfile> answer;
  bool latency = false;
  uint32_t outstanding = 0;
  double timeout = 0;  // seconds
  ReplayProfile replay;

  [[nodiscard]] net::Family family() const { return flows.src.family; }
};

struct Profile {
  double duration = 10;  // seconds
  double warmup = 1;
  std::vector<PortProfile> ports;
  std::vector<StreamProfile> streams;
};

// net_null swallows what it is given; what it makes up itself is no traffic.
[[nodiscard]] inline bool is_null_device(std::string_view device) { return device.starts_with("net_null"); }

inline constexpr uint16_t max_frame = 1800;  // with every tunnel's headers it fits a packet buffer

// All faults at once, one line each: "/streams/0/rate: …".
[[nodiscard]] net::Result<Profile> read_profile(const boost::json::value& document);
[[nodiscard]] net::Result<boost::json::value> parse_json(std::string_view text);

}  // namespace sluice::trafgen
