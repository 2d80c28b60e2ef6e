#include "control/trace_text.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "control/content_text.h"
#include "control/drop_advice.h"
#include "control/flow_entry.h"
#include "control/frame_text.h"

namespace sluice::control {
namespace {

using dataplane::Event;
using dataplane::HopKind;
using dataplane::NeighborState;
using dataplane::PacketTrace;
using net::DropReason;

std::string_view client_text(nat::ClientKind client) {
  switch (client) {
    case nat::ClientKind::Pod:
      return "a pod of this cluster";
    case nat::ClientKind::RemotePod:
      return "a pod of this cluster, but not of this node";
    case nat::ClientKind::Node:
      return "this node";
    case nat::ClientKind::Outside:
      return "outside the cluster";
    case nat::ClientKind::Relayed:
      return "outside the cluster, relayed by another gateway";
  }
  return "";
}

std::string_view frontend_text(nat::FrontendKind kind) {
  switch (kind) {
    case nat::FrontendKind::ClusterIp:
      return "ClusterIP";
    case nat::FrontendKind::ExternalIp:
      return "external IP";
    case nat::FrontendKind::LoadBalancer:
      return "LoadBalancer";
    case nat::FrontendKind::NodePort:
      return "NodePort";
  }
  return "";
}

std::string_view handoff_text(dataplane::HandoffKind kind) {
  switch (kind) {
    case dataplane::HandoffKind::Frame:
      return "address resolution is its";
    case dataplane::HandoffKind::Fragment:
      return "it knows the fragment's datagram";
    case dataplane::HandoffKind::Flow:
      return "the connection is its, by hash";
    case dataplane::HandoffKind::OwnerByStub:
      return "the translated connection is its";
    case dataplane::HandoffKind::Mapping:
      return "it keeps the mapping";
    case dataplane::HandoffKind::TunnelError:
      return "errors about tunnels are its";
    case dataplane::HandoffKind::Resolve:
      return "it asks for the neighbour";
    case dataplane::HandoffKind::Transmit:
      return "the port's queue is its";
  }
  return "";
}

class Text {
 public:
  Text(const PacketTrace& trace, const TraceNames& names, bool dry) : trace_(trace), names_(names), dry_(dry) {}

  Explanation write() {
    parsed();
    tunnel_in();
    flow();
    tls();
    ingress();
    service();
    backend();
    content();
    mapping();
    nat();
    if (wants_route()) {
      route();
      neighbor();
      mtu();
    }
    verdict();
    return std::move(out_);
  }

 private:
  template <class... Args>
  void step(const char* name, fmt::format_string<Args...> format, Args&&... args) {
    out_.steps.push_back({name, fmt::format(format, std::forward<Args>(args)...)});
  }
  [[nodiscard]] std::span<const uint8_t> bytes(const PacketTrace::Frame& frame) const {
    return {trace_.bytes.data() + frame.offset, frame.captured};
  }
  // Frames have an Ethernet header, packets between workers may have lost it with a tunnel.
  [[nodiscard]] FrameText before() const {
    const auto frame = bytes(trace_.frame);
    const bool whole = trace_.port != net::no_interface || trace_.came_as == dataplane::HandoffKind::Frame;
    return whole ? describe_frame(frame)
                 : describe_frame(frame.subspan(std::min<size_t>(trace_.l3, frame.size())), true);
  }
  [[nodiscard]] std::string interface_name(uint16_t index) const {
    const auto& interfaces = names_.snapshot->interfaces;
    return index < interfaces.size() ? interfaces[index].name : std::string("?");
  }
  // Of the interfaces of a port the one that sends here, else any.
  [[nodiscard]] std::string port_name(uint16_t port) const {
    const auto& interfaces = names_.snapshot->interfaces;
    const auto& route = trace_.route;
    if (route.asked && route.interface < interfaces.size() && interfaces[route.interface].port == port) {
      return interfaces[route.interface].name;
    }
    for (const dataplane::Interface& interface : interfaces) {
      if (interface.present && interface.port == port) return interface.name;
    }
    return fmt::format("port {}", port);
  }
  [[nodiscard]] std::string tunnel_name(uint16_t index) const {
    const auto& tunnels = names_.snapshot->tunnels;
    if (index >= tunnels.size()) return "?";
    const encap::TunnelSpec& spec = tunnels[index].spec;
    return fmt::format("{} {}", spec.kind == encap::Kind::Vxlan ? "vxlan" : "ipip", net::to_string(spec.remote));
  }
  [[nodiscard]] std::string service_name() const {
    const uint32_t id = trace_.service.asked ? trace_.service.service
                        : trace_.has_flow    ? trace_.flow.service
                                             : nat::no_service;
    return id == nat::no_service ? std::string() : names_.service(id);
  }
  [[nodiscard]] bool dropped_by(DropReason reason) const {
    return std::find(trace_.drops.begin(), trace_.drops.begin() + trace_.drop_count, reason) !=
           trace_.drops.begin() + trace_.drop_count;
  }

  void parsed() {
    const FrameText frame = before();
    if (trace_.handed_over) {
      step("worker", "{}, handed over by another: {}", trace_.worker, handoff_text(trace_.came_as));
    }
    const std::string by =
        trace_.interface == net::no_interface
            ? (trace_.port == net::no_interface ? std::string() : fmt::format(", in by {}", port_name(trace_.port)))
            : fmt::format(", in by {}", interface_name(trace_.interface));
    step("parsed", "{}{}{}{}", frame.text, fragment_text(), by,
         trace_.handed_over ? std::string()
         : dry_             ? std::string()
                            : fmt::format(", worker {}", trace_.worker));
    headers_ = frame.headers;
    payload_ = frame.payload;
  }
  [[nodiscard]] std::string_view fragment_text() const {
    if (!trace_.parsed || trace_.fragment == net::FragmentKind::Whole) return "";
    return trace_.fragment == net::FragmentKind::First ? ", first fragment" : ", later fragment";
  }

  void tunnel_in() {
    if (!headers_.empty()) {
      step("tunnel", "{}: {}", headers_,
           trace_.count(Event::Decapsulated) != 0 ? "ends here, taken off" : "not taken off");
    } else if (trace_.decapsulations != 0) {
      step("tunnel", "{}", "the packet comes out of a tunnel from a known node");
    }
  }

  void flow() {
    if (!trace_.parsed || trace_.icmp_error) {
      if (trace_.count(Event::IcmpErrorsTranslated) != 0) {
        step("flow", "{}", "an ICMP error about a known connection: translated like it");
      }
      return;
    }
    const bool hit = trace_.count(Event::FlowHits) != 0;
    const uint8_t opened = trace_.count(Event::FlowsOpened);
    if (trace_.service.mapping.turned_back && opened != 0) {
      const std::string_view what = opened == 1 ? "one" : "one for each of the two hosts inside";
      if (dry_) {
        step("flow", "none yet: this packet opens {}", what);
      } else {
        step("flow", "new: this packet opened {}, worker {}", what, trace_.worker);
      }
    } else if (trace_.has_flow && opened != 0) {
      if (dry_) {
        step("flow", "{}", "none yet: this packet opens one");
      } else {
        step("flow", "new: this packet opened it, worker {}", trace_.flow.worker);
      }
    } else if (trace_.has_flow) {
      const FlowEntry entry = entry_of(trace_.flow, "");
      step("flow", "known, {} direction{}{}, {} packets there and {} back, expires in {:.0f} s",
           trace_.reply ? "reply" : "original", entry.state.empty() ? "" : ", ", entry.state, entry.original.packets,
           entry.reply.packets, std::max(entry.expires_seconds, 0.0));
    } else if (hit) {
      step("flow", "{}", trace_.count(Event::FlowsClosed) != 0 ? "known, and ended by this packet" : "known");
    } else if (trace_.count(Event::Transit) != 0) {
      step("flow", "{}", "none, and none needed: forwarded by its route alone");
    } else if (trace_.count(Event::FlowMisses) != 0) {
      step("flow", "{}", "none: a packet like the first of a connection");
    }
  }

  // A ClientHello, whoever reads it.
  void tls() {
    const auto* const said = reinterpret_cast<const uint8_t*>(names_.said.data());
    const l7::TlsHello hello = trace_.service.tls     ? trace_.service.hello
                               : !names_.said.empty() ? l7::parse_tls_hello({said, names_.said.size()})
                                                      : l7::parse_tls_hello(payload_);
    if (hello.state != l7::HelloState::Whole) return;
    const auto text = [](std::string_view what, std::string_view value) {
      if (value.empty()) return fmt::format("no {}", what);
      return fmt::format("{} {}", what, quoted_bytes({reinterpret_cast<const uint8_t*>(value.data()), value.size()}));
    };
    step("tls", "ClientHello with {} and {}", text("server name", hello.server_name()),
         text("ALPN", hello.protocols()));
  }

  // An address whose connections go where their first bytes say.
  [[nodiscard]] bool is_bound_late() const {
    return trace_.service.read || trace_.count(Event::SynCookiesSent) != 0 || trace_.count(Event::LateOpened) != 0;
  }
  void ingress() {
    const dataplane::ServiceTrace& listener = trace_.service;
    // Of a service that is looked into: its endpoint is chosen whatever the client says.
    const bool at_once = listener.asked && !listener.read;
    if (trace_.count(Event::SynCookiesSent) != 0 && at_once) {
      return step("cookie", "{}",
                  "its entry would not stay until the client's ACK: nothing is kept of it but the answer to a cookie");
    }
    if (trace_.count(Event::LateOpened) != 0 && at_once) {
      return step("cookie", "{}", "the client has answered it: the connection is bound now");
    }
    if (trace_.count(Event::SynCookiesSent) != 0) {
      return step("ingress", "{}",
                  "what the client says first decides; until then nothing is kept but its answer to a cookie");
    }
    if (!is_bound_late()) return;
    const std::string rule = listener.rule == l7::no_rule ? std::string() : names_.rule(listener.rule);
    const std::string of = rule.empty() ? std::string() : fmt::format(" (rule {})", rule);
    if (!listener.read) {
      step("ingress", "{}", "the client has answered the cookie: what it says first decides");
    } else if (listener.decision == l7::Outcome::Forward) {
      step("ingress", "its bytes 0 to {} match {}", std::max(listener.head, 1U) - 1,
           rule.empty() ? std::string("no rule but the default backend") : "rule " + rule);
    } else if (listener.decision == l7::Outcome::More) {
      step("ingress", "its {} bytes decide nothing yet", listener.head);
    } else {
      step("ingress", "the router {}: {}{}",
           listener.decision == l7::Outcome::Answer ? "answers itself" : "resets the connection", listener.answer, of);
    }
  }

  void service() {
    const std::string name = service_name();
    if (name.empty()) return;
    const dataplane::ServiceTrace& choice = trace_.service;
    if (!choice.asked) {
      step("service", "{}, as decided when the connection was opened", name);
      return;
    }
    step("service", "{}, {} {}; the client is {}", name, frontend_text(choice.frontend),
         endpoint_text(trace_.dst, trace_.dst_port), client_text(choice.client));
  }

  void backend() {
    const dataplane::ServiceTrace& choice = trace_.service;
    if (!choice.asked) {
      if (trace_.has_flow && trace_.flow.service != nat::no_service) {
        step("backend", "{}, kept", endpoint_text(trace_.flow.reply_src, trace_.flow.reply_src_port));
      }
      return;
    }
    if (choice.reason == DropReason::SourceRange || choice.reason == DropReason::ClusterIpFromOutside) {
      step("backend", "{}", "none: the client may not enter");
    } else if (choice.outcome != nat::Outcome::Forward) {
      step("backend", "none: {}", names_.endpoints(service_name()));
    } else {
      const std::string of = fmt::format("{} {}endpoint{}", choice.candidates, choice.local_only ? "local " : "",
                                         choice.candidates == 1 ? "" : "s");
      const std::string endpoint = endpoint_text(choice.backend, choice.backend_port);
      if (choice.by_affinity) {
        step("backend", "{}, the one this client had before (session affinity)", endpoint);
      } else if (choice.candidates == 1) {
        step("backend", "{}, the only {}endpoint", endpoint, choice.local_only ? "local " : "");
      } else {
        step("backend", "{}, one of {} by Maglev hash", endpoint, of);
      }
    }
  }

  // What ContentPolicies find.
  void content() {
    const ContentText text = describe_content(trace_, names_, dry_, payload_);
    for (const std::string& line : text.lines) step("content", "{}", line);
    content_ends_it_ = text.action >= l7::ContentAction::Reset;
  }

  // What came to the port of an endpoint-independent mapping.
  void mapping() {
    const dataplane::MappingTrace& mapping = trace_.service.mapping;
    if (mapping.turned_back) {
      const bool opened = trace_.count(Event::FlowsOpened) != 0;
      // As below: of a connection that nobody opens.
      step("nat", "source {} to {}{}", endpoint_text(mapping.source, mapping.source_port),
           dry_ && opened ? net::to_string(mapping.outside) + " and the port of its mapping"
                          : endpoint_text(mapping.outside, mapping.outside_port),
           opened ? " (masqueraded: natOutgoing of the pool)" : "");
      step("hairpin", "{} is an address of the router itself: turned back, like a packet that comes from outside",
           net::to_string(trace_.dst));
    }
    if (!mapping.found) return;
    step("mapping", "{} is the port of {}; {}", endpoint_text(trace_.dst, trace_.dst_port),
         endpoint_text(mapping.inside, mapping.inside_port), filtering_text());
  }
  [[nodiscard]] std::string filtering_text() const {
    const dataplane::MappingTrace& mapping = trace_.service.mapping;
    if (!mapping.begins) return "only a SYN would begin something there";
    switch (names_.snapshot->filtering) {
      case nat::Filtering::EndpointIndependent:
        return "snat.filtering EndpointIndependent lets everybody in";
      case nat::Filtering::AddressDependent:
        return fmt::format("snat.filtering AddressDependent lets in whom it has a connection to, {} {}",
                           mapping.admitted ? "as to" : "but it has none to", net::to_string(trace_.src));
      case nat::Filtering::AddressAndPortDependent:
        break;
    }
    return "snat.filtering AddressAndPortDependent lets in nothing but answers to its connections";
  }

  // What this packet's addresses become.
  void nat() {
    if (!trace_.has_flow) return;
    const dataplane::FlowRecord& flow = trace_.flow;
    const bool opened = trace_.count(Event::FlowsOpened) != 0;
    if ((flow.flags & nat::connection_flag::one_way) != 0) {
      return step("nat", "{}", "none: the endpoint answers the client directly (sluice.dev/forwarding: dsr)");
    }
    std::string text;
    const auto add = [&](std::string_view what, const net::IpAddr& from, uint16_t from_port, const net::IpAddr& to,
                         uint16_t to_port) {
      if (from == to && from_port == to_port) return;
      // The port of a connection that nobody opens is not known before.
      const bool some_port = dry_ && opened && what == "source" && from_port != to_port;
      text += fmt::format("{}{} {} to {}", text.empty() ? "" : ", ", what, endpoint_text(from, from_port),
                          some_port ? net::to_string(to) + some_port_text() : endpoint_text(to, to_port));
    };
    if (trace_.reply) {
      add("source", flow.reply_src, flow.reply_src_port, flow.dst, flow.dst_port);
      add("destination", flow.reply_dst, flow.reply_dst_port, flow.src, flow.src_port);
    } else {
      add("destination", flow.dst, flow.dst_port, flow.reply_src, flow.reply_src_port);
      add("source", flow.src, flow.src_port, flow.reply_dst, flow.reply_dst_port);
    }
    if (!text.empty()) step("nat", "{}{}", text, opened ? masquerade_text() : std::string_view());
  }
  [[nodiscard]] const char* some_port_text() const {
    return (trace_.flow.flags & nat::connection_flag::mapped) != 0 ? " and the port of its mapping"
                                                                   : " and a free port";
  }
  [[nodiscard]] std::string_view masquerade_text() const {
    const dataplane::ServiceTrace& choice = trace_.service;
    if ((trace_.flow.flags & nat::connection_flag::masqueraded) == 0) return "";
    if (!choice.asked || !choice.masquerade) return " (masqueraded: natOutgoing of the pool)";
    if (choice.backend == trace_.src) return " (masqueraded: the endpoint talks to itself)";
    return " (masqueraded, so that replies come back here)";
  }

  [[nodiscard]] bool wants_route() const {
    const dataplane::RouteTrace& route = trace_.route;
    if (!route.asked || trace_.count(Event::EchoReplies) != 0) return false;
    if (is_bound_late() && !trace_.has_flow) return false;
    if (trace_.service.asked && trace_.service.outcome != nat::Outcome::Forward) return false;
    if (trace_.service.mapping.turned_back && !trace_.has_flow) return false;
    return !dropped_by(DropReason::ConntrackInvalid) && !dropped_by(DropReason::ReversePath);
  }

  void route() {
    const dataplane::RouteTrace& route = trace_.route;
    const std::string to = net::to_string(route.destination);
    const auto* planned = find_route(names_.plan->routes, route.destination);
    const std::string which =
        planned == nullptr ? to : fmt::format("{} ({})", net::to_string(planned->first), planned->second.origin);
    switch (route.kind) {
      case HopKind::Connected:
        return step("route", "{}, on the link of {}", which, interface_name(route.interface));
      case HopKind::Gateway:
        return step("route", "{} via {} dev {}", which, net::to_string(route.neighbor),
                    interface_name(route.interface));
      case HopKind::Tunnel:
        step("route", "{} into a tunnel, dev {}", which, interface_name(route.interface));
        return step("tunnel", "{}, MTU {}{}", tunnel_name(route.tunnel), route.mtu,
                    route.far_end_lost ? "; the underlay lately did not reach its other end" : "");
      case HopKind::Local:
        return step("route", "{} is an address of the router itself", to);
      case HopKind::Service:
        return step("route", "{} is a service address", to);
      default:
        if (planned == nullptr) return step("route", "none to {}", to);
        return step("route", "{}: {}", which, net::name(route.reason));
    }
  }
  [[nodiscard]] bool forwards() const {
    const HopKind kind = trace_.route.kind;
    return kind == HopKind::Connected || kind == HopKind::Gateway || kind == HopKind::Tunnel;
  }

  void neighbor() {
    if (!forwards()) return;
    const dataplane::RouteTrace& route = trace_.route;
    const std::string who = net::to_string(route.neighbor);
    const std::string where = interface_name(route.interface);
    const bool arp = route.neighbor.is_v4();
    switch (route.neighbor_state) {
      case NeighborState::Reachable:
      case NeighborState::Stale:
        return step("neighbor", "{} is at {}", who, net::to_string(route.neighbor_mac));
      case NeighborState::Permanent:
        return step("neighbor", "{} is at {}, by configuration", who, net::to_string(route.neighbor_mac));
      case NeighborState::Failed:
        missing_ = fmt::format("{} on {} does not answer {}", who, where, arp ? "ARP" : "neighbour discovery");
        break;
      default:
        missing_ = fmt::format("{} on {} has not answered {} yet", who, where, arp ? "ARP" : "neighbour discovery");
    }
    step("neighbor", "no MAC address: {}", missing_);
  }

  void mtu() {
    if (!forwards() || !trace_.parsed) return;
    const dataplane::RouteTrace& route = trace_.route;
    const std::string_view of = route.tunnel == dataplane::no_tunnel ? "the interface's MTU" : "the tunnel's MTU";
    if (trace_.l3_length <= route.mtu) {
      step("mtu", "{} bytes fit {} of {}{}", trace_.l3_length, of, route.mtu, too_large_text());
    } else {
      step("mtu", "{} bytes do not fit {} of {}{}", trace_.l3_length, of, route.mtu,
           trace_.count(Event::Fragmented) != 0 ? ": fragmented" : "");
    }
  }

  // What would come of packets that the sender's side carries and this way does not.
  [[nodiscard]] std::string too_large_text() const {
    const auto& interfaces = names_.snapshot->interfaces;
    const bool from_link = trace_.interface < interfaces.size() && trace_.tunnel_source == net::no_tunnel_source;
    if (!dry_ || !from_link || interfaces[trace_.interface].mtu <= trace_.route.mtu) return "";
    return fmt::format("; those of {} to {} bytes, which {} takes, {}", trace_.route.mtu + 1,
                       interfaces[trace_.interface].mtu, interface_name(trace_.interface),
                       may_be_fragmented()  ? "are fragmented"
                       : trace_.dst.is_v4() ? "are refused with ICMP \"fragmentation needed\""
                                            : "are refused with ICMPv6 \"packet too big\"");
  }
  // RFC 791 section 3.1: the flag DF. The frame is one that was made for a dry run.
  [[nodiscard]] bool may_be_fragmented() const {
    static constexpr size_t ethernet = 14, tag = 4, flags = 6;
    const auto frame = bytes(trace_.frame);
    if (!trace_.dst.is_v4() || frame.size() < ethernet + tag + flags) return false;
    const bool tagged = frame[ethernet - 2] == 0x81 && frame[ethernet - 1] == 0;
    return (frame[ethernet + (tagged ? tag : 0) + flags] & 0x40) == 0;
  }

  // Frames that left: those of the packet itself are `out`, the router's own words to its sender `answer`.
  [[nodiscard]] bool is_for_sender(const FrameText& frame) const {
    return frame.text.find(fmt::format("> {},", endpoint_text(trace_.src, trace_.src_port))) != std::string::npos;
  }

  void verdict() {
    // A datagram is what is explained, of a connection the SYN that opens it.
    if (content_ends_it_ && trace_.protocol == net::protocol::udp) return drop(DropReason::ContentMatched);
    bool forwarded = false;
    bool handed = false;
    bool resolving = false;
    const bool answered = trace_.count(Event::IcmpErrorsSent) != 0 || trace_.count(Event::ResetsSent) != 0 ||
                          trace_.count(Event::EchoReplies) != 0;
    for (size_t i = 0; i < trace_.sent_count; ++i) {
      const PacketTrace::Sent& sent = trace_.sent[i];
      if (sent.to_worker) {
        resolving = resolving || sent.kind == dataplane::HandoffKind::Resolve;
        handed = true;
        if (!dry_) step("handover", "to worker {}: {}", sent.to, handoff_text(sent.kind));
        continue;
      }
      const FrameText frame = describe_frame(bytes(sent.frame));
      const bool own = frame.kind == FrameText::Kind::IcmpError
                           ? !trace_.icmp_error
                           : trace_.dropped() || trace_.count(Event::EchoReplies) != 0;
      const std::string tunnel = frame.headers.empty() ? std::string() : fmt::format(", in {}", frame.headers);
      if (frame.kind == FrameText::Kind::Discovery) {
        const bool asks = trace_.count(Event::ArpRequestsSent) + trace_.count(Event::NdSolicitsSent) != 0;
        step(asks ? "asks" : "answer", "{} by {}", frame.text, port_name(sent.to));
      } else if ((answered && own) || (is_bound_late() && is_for_sender(frame))) {
        step("answer", "{} by {}{}", frame.text, port_name(sent.to), tunnel);
      } else {
        forwarded = true;
        step("out", "{} by {}{}", frame.text, port_name(sent.to), tunnel);
      }
    }
    if (trace_.dropped()) return drop(trace_.drops[0]);
    if (content_ends_it_) return drop(DropReason::ContentMatched);
    bool to_host = false;
    for (size_t kind = 0; kind < dataplane::punt_class_count; ++kind) {
      to_host = to_host || trace_.events[static_cast<size_t>(Event::HostNeighbor) + kind] != 0;
    }
    if (to_host) {
      step("host", "to the host, by the TAP device that stands for the interface");
      out_.verdict = "punted";
    } else if (forwarded) {
      out_.verdict = "forwarded";
    } else if (trace_.count(Event::EchoReplies) != 0 || (is_bound_late() && trace_.sent_count != 0)) {
      out_.verdict = "answered";
    } else if (resolving || (trace_.parsed && !handed && !missing_.empty())) {
      held();
    } else if (handed) {
      out_.verdict = "handed over";
    } else if (trace_.count(Event::ArpReceived) != 0 || trace_.count(Event::NdReceived) != 0) {
      out_.verdict = "taken";
    } else {
      out_.verdict = "held";
      out_.advice = "it waits: a fragment for the first of its datagram, or a packet for its neighbour";
      step("held", "{}", out_.advice);
    }
  }

  void drop(DropReason reason) {
    out_.verdict = "dropped";
    out_.reason = net::name(reason);
    out_.advice = advice(reason);
    if (reason == DropReason::SourceRange) out_.advice = source_range_text();
    if (reason == DropReason::NoRoute)
      out_.advice = fmt::format(
          "no route leads to {}: add a route, node or block for it; `sluicectl get routes` shows those there are",
          net::to_string(trace_.route.destination));
    if (reason == DropReason::NeighborFailed && !missing_.empty()) {
      out_.advice = fmt::format(
          "{}: is it up, on this link and in this VLAN? `sluicectl get neighbors` shows its state", missing_);
    }
    step("dropped", "{}: {}", out_.reason, out_.advice);
    for (size_t i = 1; i < trace_.drop_count; ++i) {
      step("dropped", "{}: {}", net::name(trace_.drops[i]), advice(trace_.drops[i]));
    }
  }

  void held() {
    out_.verdict = "held";
    out_.advice = missing_.empty() ? std::string("its neighbour's MAC address is being asked for")
                                   : fmt::format(
                                         "{}: is it up, on this link and in this VLAN? `sluicectl get neighbors` "
                                         "shows its state",
                                         missing_);
    step("held", "until the neighbour answers, three seconds at most. {}", out_.advice);
  }

  [[nodiscard]] std::string source_range_text() const {
    std::string ranges;
    const auto collect = [&](const auto& services, const auto& addr) {
      const auto* frontend = services.find(addr, net::be16::from_host(trace_.dst_port), trace_.protocol);
      if (frontend == nullptr) return;
      for (const auto& range : frontend->service->source_ranges) {
        const net::Prefix prefix{net::IpAddr(range.network), range.length};
        ranges += fmt::format("{}{}", ranges.empty() ? "" : ", ", net::to_string(prefix));
      }
    };
    if (trace_.dst.is_v4()) {
      collect(*names_.snapshot->v4.services, trace_.dst.v4());
    } else {
      collect(*names_.snapshot->v6.services, trace_.dst.v6());
    }
    return fmt::format(
        "{} is in none of the loadBalancerSourceRanges of {} ({}): add its network to them if it shall "
        "enter",
        net::to_string(trace_.src), service_name(), ranges);
  }

  const PacketTrace& trace_;
  const TraceNames& names_;
  bool dry_;
  std::string headers_;  // of the tunnel it came in
  std::string missing_;  // what is wrong with the neighbour
  std::span<const uint8_t> payload_;
  bool content_ends_it_ = false;  // a pattern in what a packet that nobody sent says
  Explanation out_;
};

}  // namespace

Explanation describe(const dataplane::PacketTrace& trace, const TraceNames& names, bool dry) {
  return Text(trace, names, dry).write();
}

}  // namespace sluice::control
