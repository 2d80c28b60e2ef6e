#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "tools/trafgen/profile_reader.h"

namespace sluice::trafgen {
namespace {

namespace json = boost::json;
using config::Choice;
using config::Reader;

constexpr std::array<Choice<Mode>, 5> modes{{{"flood", Mode::Flood},
                                             {"rate", Mode::Rate},
                                             {"requests", Mode::Requests},
                                             {"connections", Mode::Connections},
                                             {"replay", Mode::Replay}}};
constexpr std::array<Choice<Protocol>, 3> protocols{
    {{"udp", Protocol::Udp}, {"tcp", Protocol::Tcp}, {"icmp", Protocol::Icmp}}};
constexpr std::array<Choice<bool>, 2> orders{{{"sequential", false}, {"random", true}}};
constexpr std::array<Choice<TunnelKind>, 2> tunnel_kinds{{{"vxlan", TunnelKind::Vxlan}, {"ipip", TunnelKind::Ipip}}};

constexpr uint16_t min_frame = 60;

std::optional<uint16_t> find_port(const json::value& value, const std::vector<PortProfile>& ports) {
  if (const auto* number = value.if_int64();
      number != nullptr && *number >= 0 && static_cast<size_t>(*number) < ports.size()) {
    return static_cast<uint16_t>(*number);
  }
  if (const auto* text = value.if_string()) {
    for (size_t i = 0; i < ports.size(); ++i) {
      if (*text == json::string_view(ports[i].name)) return static_cast<uint16_t>(i);
    }
  }
  return std::nullopt;
}

std::string port_form(const std::vector<PortProfile>& ports) {
  std::string names;
  for (const PortProfile& port : ports) names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", port.name);
  return fmt::format("there is no such port; the profile has {}", names.empty() ? "none" : names);
}

void read_ports(Reader& stream, const std::vector<PortProfile>& ports, StreamProfile& out) {
  if (const auto* value = stream.find("send")) {
    if (const auto port = find_port(*value, ports)) {
      out.send = *port;
    } else {
      stream.fault("send", port_form(ports));
    }
  }
  const auto* value = stream.find("receive");
  if (value == nullptr) {
    if (ports.empty()) return;
    const auto next = static_cast<uint16_t>((out.send + 1) % ports.size());
    if (!is_null_device(ports[next].device)) out.receive = {next};
    return;
  }
  if (!value->is_array()) {
    if (const auto port = find_port(*value, ports)) {
      out.receive = {*port};
    } else {
      stream.fault("receive", port_form(ports));
    }
    return;
  }
  stream.each_value("receive", [&](const json::value& item, const config::Place& place) {
    if (const auto port = find_port(item, ports)) {
      out.receive.push_back(*port);
    } else {
      stream.report().fault(place.path(), port_form(ports));
    }
  });
}

void read_rate(Reader& stream, StreamProfile& out) {
  const auto* value = stream.find("rate");
  if (value == nullptr) return;
  if (const auto* list = value->if_array()) {
    if (list->empty()) stream.fault("rate", "the list is empty; give at least one rate, or leave it out");
    stream.each_value("rate", [&](const json::value& item, const config::Place& place) {
      std::optional<double> rate;
      if (const auto* text = item.if_string()) rate = parse_rate({text->data(), text->size()});
      if (item.is_number()) rate = item.to_number<double>();
      if (rate && *rate > 0) {
        out.rates.push_back(*rate);
      } else {
        stream.report().fault(place.path(), "expected a rate above 0 such as 1000000 or \"1.5M\"");
      }
    });
  } else if (value->is_object()) {
    Reader ramp = stream.object("rate");
    std::optional<double> from;
    std::optional<double> to;
    uint32_t steps = 10;
    read_quantity(ramp, "from", from);
    read_quantity(ramp, "to", to);
    ramp.number("steps", steps, 2, 1000);
    if (!from) ramp.require("from");
    if (!to) ramp.require("to");
    if (from && to) {
      for (uint32_t i = 0; i < steps; ++i) out.rates.push_back(*from + (*to - *from) * i / (steps - 1));
    }
  } else {
    std::optional<double> rate;
    read_quantity(stream, "rate", rate);
    if (rate) out.rates = {*rate};
  }
}

void read_frame(Reader& stream, StreamProfile& out) {
  const auto* value = stream.find("frame");
  if (value == nullptr) return;
  const std::string form =
      fmt::format("expected a size from {} to {} bytes, a list of sizes, or \"imix\"", min_frame, max_frame);
  const auto size = [](const json::value& item) -> std::optional<uint16_t> {
    const auto* number = item.if_int64();
    if (number == nullptr || *number < min_frame || *number > max_frame) return std::nullopt;
    return static_cast<uint16_t>(*number);
  };
  if (const auto* text = value->if_string(); text != nullptr && *text == "imix") {
    out.frame = {64, 594, 64, 594, 64, 1514, 64, 594, 64, 594, 64, 64};
  } else if (value->is_array()) {
    out.frame.clear();
    stream.each_value("frame", [&](const json::value& item, const config::Place& place) {
      if (const auto bytes = size(item)) {
        out.frame.push_back(*bytes);
      } else {
        stream.report().fault(place.path(), fmt::format("expected a size from {} to {} bytes", min_frame, max_frame));
      }
    });
    if (value->get_array().empty() || value->get_array().size() > 64) stream.fault("frame", "expected 1 to 64 sizes");
    if (out.frame.empty()) out.frame = {64};
  } else if (const auto bytes = size(*value)) {
    out.frame = {*bytes};
  } else {
    stream.fault("frame", form);
  }
}

void read_ethernet(Reader& stream, const std::vector<PortProfile>& ports, StreamProfile& out) {
  Reader ethernet = stream.object("ethernet");
  if (!ethernet) return;
  ethernet.mac("src", out.src_mac);
  const auto* dst = ethernet.find("dst");
  if (dst == nullptr) return;
  if (const auto* text = dst->if_string(); text != nullptr && *text == "resolve") {
    out.resolve = true;
    if (out.send < ports.size() && !ports[out.send].gateway && !ports[out.send].gateway6) {
      ethernet.fault("dst", fmt::format("\"resolve\" needs a \"gateway\" in port \"{}\"", ports[out.send].name));
    }
    return;
  }
  ethernet.mac("dst", out.dst_mac);
}

}  // namespace

void read_flows(Reader& stream, StreamProfile& out) {
  Reader flows = stream.object("flows");
  std::optional<AddrRange> src;
  std::optional<AddrRange> dst;
  std::optional<PortRange> src_port;
  std::optional<PortRange> dst_port;
  if (flows) {
    flows.number("count", out.flows.count, 1, max_flows);
    flows.choice("order", out.flows.random, orders);
    flows.text("file", out.flows.file);
    read_addr_range(flows, "src", src);
    read_addr_range(flows, "dst", dst);
    read_port_range(flows, "srcPort", src_port);
    read_port_range(flows, "dstPort", dst_port);
  }
  const bool v6 = (src && src->family == net::Family::V6) || (dst && dst->family == net::Family::V6);
  out.flows.src = src ? *src : *parse_addr_range(v6 ? "2001:2::1" : "198.18.0.1");
  out.flows.dst = dst ? *dst : *parse_addr_range(v6 ? "2001:2:0:1::1" : "198.19.0.1");
  out.flows.dst_port = dst_port.value_or(PortRange{53, 1});
  if (src_port) {
    out.flows.src_port = *src_port;
  } else {
    // As many ports as it takes; addresses only where they were given.
    const uint64_t others = std::max<uint64_t>(
        1, tuples_in({.src = out.flows.src, .dst = out.flows.dst, .src_port = {}, .dst_port = out.flows.dst_port}));
    const uint64_t needed = (out.flows.count + others - 1) / others;
    out.flows.src_port = {1024, static_cast<uint32_t>(std::min<uint64_t>(needed, 65536 - 1024))};
    if (!src && needed > out.flows.src_port.count) {
      const uint64_t more = (needed + out.flows.src_port.count - 1) / out.flows.src_port.count;
      if (const auto wider = make_addr_range(out.flows.src.address(0), more, 1)) out.flows.src = *wider;
    }
  }
  if (!out.flows.file.empty()) {
    if (flows && (flows.has("src") || flows.has("dst") || flows.has("count"))) {
      flows.fault("file", "a file of tuples stands instead of count and ranges; leave out one or the other");
    }
    return;
  }
  if (out.flows.src.family != out.flows.dst.family) {
    stream.fault("flows", "src and dst are of different address families; choose one");
  } else if (tuples_in(out.flows) < out.flows.count) {
    stream.fault("flows",
                 fmt::format("the ranges hold {} different flows, {} are asked for; widen src, dst, srcPort or dstPort",
                             tuples_in(out.flows), out.flows.count));
  }
  uint8_t ip = 0;
  stream.number("ip", ip, 4, 6);
  if (ip != 0 && ip != static_cast<uint8_t>(out.family())) {
    stream.fault("ip",
                 fmt::format("the flows' addresses are IPv{}; change one of them", static_cast<int>(out.family())));
  }
}

void read_tunnel(Reader& stream, StreamProfile& out) {
  Reader tunnel = stream.object("tunnel");
  if (!tunnel) return;
  if (tunnel.require("kind")) tunnel.choice("kind", out.tunnel.kind, tunnel_kinds);
  const auto outer = [&](std::string_view key, AddrRange& range) {
    std::optional<AddrRange> found;
    read_addr_range(tunnel, key, found);
    if (!found) {
      tunnel.require(key);
    } else if (found->family != net::Family::V4) {
      tunnel.fault(key, "outer addresses are IPv4");
    } else {
      range = *found;
    }
  };
  outer("src", out.tunnel.src);
  outer("dst", out.tunnel.dst);
  if (out.tunnel.kind != TunnelKind::Vxlan) return;
  if (tunnel.require("vni")) tunnel.number("vni", out.tunnel.vni, 0, 0xffffff);
  tunnel.number("port", out.tunnel.port, 1, 65535);
  tunnel.mac("innerSrc", out.tunnel.inner_src);
  tunnel.mac("innerDst", out.tunnel.inner_dst);
}

void read_expect(Reader& from, std::string_view key, ExpectProfile& out) {
  const auto* value = from.find(key);
  if (value == nullptr) return;
  if (const auto* text = value->if_string()) {
    if (*text == "reversed") {
      out.reversed = true;
    } else if (*text != "same") {
      from.fault(key, "expected \"same\", \"reversed\" or an object");
    }
    return;
  }
  Reader expect = from.object(key);
  if (!expect) return;
  read_addr_ranges(expect, "src", out.src);
  read_addr_ranges(expect, "dst", out.dst);
  read_port_ranges(expect, "srcPort", out.src_port);
  read_port_ranges(expect, "dstPort", out.dst_port);
  expect.number("perDestination", out.per_destination, 1, max_flows);
  if (out.per_destination != 0 && out.dst.size() != 1) {
    expect.fault("perDestination", "needs a single range in \"dst\", which is cut into blocks");
  }
  expect.flag("affinity", out.affinity);
  expect.number("ttl", out.ttl, 0, 255);
  expect.mac("dstMac", out.dst_mac);
  const auto* tunnel = expect.find("tunnel");
  if (tunnel == nullptr) return;
  if (const auto* text = tunnel->if_string()) {
    if (*text == "any") {
      out.tunnel.any = true;
    } else if (*text != "none") {
      expect.fault("tunnel", "expected \"none\", \"any\" or an object with \"kind\"");
    }
    return;
  }
  Reader fields = expect.object("tunnel");
  if (!fields) return;
  if (fields.require("kind")) fields.choice("kind", out.tunnel.kind, tunnel_kinds);
  read_addr_range(fields, "src", out.tunnel.src);
  read_addr_range(fields, "dst", out.tunnel.dst);
  fields.number("vni", out.tunnel.vni, 0, 0xffffff);
}

void read_replay(Reader& stream, StreamProfile& out) {
  Reader replay = stream.object("replay");
  if (!replay) {
    if (out.mode == Mode::Replay) stream.fault("replay", "mode \"replay\" needs {\"file\": \"capture.pcap\"}");
    return;
  }
  replay.need_text("file", out.replay.file);
  Reader rewrite = replay.object("rewrite");
  if (!rewrite) return;
  const auto list = [&](std::string_view key, std::vector<PrefixRewrite>& rules) {
    rewrite.each(key, [&](Reader& rule, size_t) {
      PrefixRewrite found;
      if (!rule.require("from") || !rule.require("to")) return;
      rule.network("from", found.from, config::HostBits::Refuse);
      rule.network("to", found.to, config::HostBits::Refuse);
      if (found.from.family() != found.to.family() || found.from.length != found.to.length) {
        rule.fault("to", "must be of the family and length of \"from\"");
      } else {
        rules.push_back(found);
      }
    });
  };
  list("src", out.replay.src);
  list("dst", out.replay.dst);
  const auto ports = [&](std::string_view key, std::vector<PortRewrite>& rules) {
    rewrite.each(key, [&](Reader& rule, size_t) {
      std::optional<PortRange> from;
      PortRewrite found;
      if (!rule.require("from") || !rule.require("to")) return;
      read_port_range(rule, "from", from);
      rule.number("to", found.to, 1, 65535);
      if (!from || found.to == 0) return;
      found.from = *from;
      if (found.to + from->count > 65536) {
        rule.fault("to", fmt::format("{} ports from here on go beyond 65535; choose a lower one", from->count));
      } else {
        rules.push_back(found);
      }
    });
  };
  ports("srcPort", out.replay.src_port);
  ports("dstPort", out.replay.dst_port);
}

void read_stream(Reader& stream, size_t index, const std::vector<PortProfile>& ports, StreamProfile& out) {
  out.name = fmt::format("stream{}", index);
  stream.text("name", out.name);
  read_ports(stream, ports, out);
  read_rate(stream, out);
  if (!out.rates.empty()) out.mode = Mode::Rate;
  stream.choice("mode", out.mode, modes);
  if (out.mode == Mode::Rate && out.rates.empty()) {
    stream.fault("rate", "mode \"rate\" needs one, such as 1000000 or \"1M\"");
  }
  read_frame(stream, out);
  read_ethernet(stream, ports, out);
  stream.choice("protocol", out.protocol, protocols);
  if (out.mode == Mode::Connections) {
    if (stream.has("protocol") && out.protocol != Protocol::Tcp) {
      stream.fault("protocol", "mode \"connections\" is TCP; say \"tcp\" or leave it out");
    }
    out.protocol = Protocol::Tcp;
  }
  stream.number("ttl", out.ttl, 1, 255);
  read_flows(stream, out);
  read_tunnel(stream, out);
  read_expect(stream, "expect", out.expect);
  if (Reader answer = stream.object("answer")) {
    out.answer.emplace();
    answer.number("every", out.answer->every, 1, 0xffffffff);
    read_expect(answer, "expect", out.answer->expect);
  } else if (out.mode == Mode::Requests) {
    out.answer.emplace();
  }
  if (out.mode == Mode::Requests && out.answer->every != 1) {
    stream.fault("answer", "in mode \"requests\" every packet is answered; leave \"every\" out");
  }
  if (out.answer && out.receive.empty()) stream.fault("answer", "nobody can answer: the stream has no receive port");
  if (out.answer && out.expect.reversed) stream.fault("answer", "\"expect\": \"reversed\" means that a peer answers");
  stream.flag("latency", out.latency);
  out.outstanding = out.mode == Mode::Connections ? 16384 : 256;
  stream.number("outstanding", out.outstanding, 1, 1 << 22);
  std::optional<double> timeout;
  read_quantity(stream, "timeout", timeout);
  out.timeout = timeout.value_or(out.mode == Mode::Connections ? 1 : 0.5);
  read_replay(stream, out);
}

}  // namespace sluice::trafgen
