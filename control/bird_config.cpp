#include "control/bird_config.h"

#include <algorithm>
#include <iterator>
#include <set>

#include <fmt/format.h>

namespace sluice::control {
namespace {

using config::BgpFilterRule;
using net::Family;
using net::Prefix;

constexpr std::string_view head = R"(# Written by sluiced out of its configuration; what is changed here is lost.
{}timeformat protocol iso long;

protocol device {{
  scan time 5;
}}

# To resolve next hops by.
protocol direct connected {{
  ipv4;
  ipv6;
  interface {};
}}
)";

constexpr std::string_view kernel = R"(
protocol kernel kernel{0} {{
  ipv{0} {{
    import all;
    export filter {{
      if source = RTS_BGP then accept;
      if proto = "reachable{0}" then accept;
      reject;
    }};
  }};
  learn;
  persist;
  scan time 5;
  merge paths on;
  graceful restart;
}}
)";

class Writer {
 public:
  explicit Writer(const BgpPlan& plan) : plan_(plan) {}

  std::string write() {
    std::string interfaces;
    for (const std::string& name : plan_.ignored_interfaces) interfaces += fmt::format("-{}, ", quoted(name));
    const bool known = !plan_.router_id.is_unspecified();  // otherwise BIRD looks for one itself
    line(head, known ? fmt::format("router id {};\n", net::to_string(plan_.router_id)) : "",
         interfaces + R"(-"cali*", "*")");
    const bool advertises = std::any_of(plan_.sessions.begin(), plan_.sessions.end(),
                                        [](const BgpSession& one) { return one.advertisements_only(); });
    if (advertises || !plan_.advertised.empty()) line("{}", "\nattribute int sluice_audience;\n");
    if (plan_.has_bfd()) write_bfd();
    for (const Family family : {Family::V4, Family::V6}) write_family(family);
    for (const auto& [name, filter] : plan_.filters) write_filter(name, filter);
    for (const BgpSession& session : plan_.sessions) write_session(session);
    return std::move(out_);
  }

 private:
  template <class... Values>
  void line(fmt::string_view format, const Values&... values) {
    fmt::vformat_to(std::back_inserter(out_), format, fmt::make_format_args(values...));
  }
  // Texts that come from people are checked before: no quotation mark, no line end.
  static std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c != '"' && static_cast<unsigned char>(c) >= ' ') out += c;
    }
    return out + "\"";
  }
  static int number_of(Family family) { return static_cast<int>(family); }
  static std::string function_name(const std::string& filter, const char* what) {
    // Symbols have at most 64 characters; a BGPFilter's name may have more.
    const std::string name = filter.size() <= 40 ? filter : fmt::format("{}_{:x}", filter.substr(0, 20), hash(filter));
    return fmt::format("'filter.{}:{}'", name, what);
  }
  // Symbols have at most 64 characters, names of sessions 60.
  static std::string audience_function(const BgpSession& session) { return fmt::format("'to.{}'", session.name); }
  static uint64_t hash(const std::string& text) {
    uint64_t value = 0xcbf29ce484222325;  // FNV-1a
    for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return value;
  }

  void write_bfd();
  void write_family(Family family);
  void write_origins(Family family);
  void write_origin(const Prefix& prefix, const std::set<config::BgpCommunity>& communities);
  void write_reachable(Family family);
  void write_policy(Family family);
  void write_filter(const std::string& name, const config::BgpFilter& filter);
  void write_rules(const std::string& function, const std::vector<BgpFilterRule>& rules);
  void write_advertisements(const BgpSession& session);
  void write_session(const BgpSession& session);
  void write_timers(const BgpSession& session);
  void write_session_bfd(const BgpSession& session);
  void write_channel(const BgpSession& session);

  const BgpPlan& plan_;
  std::string out_;
};

std::string times_of(const config::Bfd& bfd) {
  return fmt::format("min rx interval {} ms; min tx interval {} ms; multiplier {};", bfd.receive.count(),
                     bfd.transmit.count(), bfd.multiplier);
}

void Writer::write_bfd() {
  const std::string times = times_of(plan_.bfd.value_or(config::Bfd{}));
  line("\nprotocol bfd bfd1 {{\n  interface \"*\" {{ {0} }};\n  multihop {{ {0} }};\n}}\n", times);
}

void Writer::write_family(Family family) {
  line(kernel, number_of(family));
  write_origins(family);
  write_reachable(family);
  write_policy(family);
}

std::string text_of(const config::BgpCommunity& community) {
  if (community.is_large()) return fmt::format(" bgp_large_community.add(({}));", fmt::join(community.parts, ","));
  return fmt::format(" bgp_community.add(({}));", fmt::join(community.parts, ","));
}

void Writer::write_origins(Family family) {
  line("\nprotocol static originated{0} {{\n  ipv{0};\n", number_of(family));
  for (const auto& [prefix, origin] : plan_.origins) {
    if (prefix.family() == family) write_origin(prefix, origin.communities);
  }
  line("{}", "}\n");
  if (plan_.advertised.empty()) return;
  line("\nprotocol static advertised{0} {{\n  ipv{0};\n", number_of(family));
  for (const auto& [prefix, advertised] : plan_.advertised) {
    if (prefix.family() == family && !plan_.origins.contains(prefix)) write_origin(prefix, {});
  }
  line("{}", "}\n");
}

void Writer::write_origin(const Prefix& prefix, const std::set<config::BgpCommunity>& communities) {
  line("  route {} blackhole", net::to_string(prefix));
  const auto advertised = plan_.advertised.find(prefix);
  const bool numbered = advertised != plan_.advertised.end();
  if (numbered || !communities.empty()) {
    line("{}", " {");
    if (numbered) line(" sluice_audience = {};", advertised->second.audience);
    for (const config::BgpCommunity& community : communities) line("{}", text_of(community));
    line("{}", " }");
  }
  line("{}", ";\n");
}

void Writer::write_reachable(Family family) {
  line("\nprotocol static reachable{0} {{\n  ipv{0};\n", number_of(family));
  std::set<net::IpAddr> done;
  for (const BgpSession& session : plan_.sessions) {
    if (!session.reachable_by || session.peer.family() != family || !done.insert(session.peer).second) continue;
    line("  route {} via {};\n", net::to_string(Prefix::host(session.peer)), net::to_string(*session.reachable_by));
  }
  line("{}", "}\n");
}

// "net ~ [ … ]" of prefixes written by `text`; "false" if there are none.
template <class Text>
std::string one_of(const std::set<Prefix>& prefixes, Family family, Text text) {
  std::vector<std::string> items;
  for (const Prefix& prefix : prefixes) {
    if (prefix.family() == family) items.push_back(text(prefix));
  }
  return items.empty() ? "false" : fmt::format("net ~ [ {} ]", fmt::join(items, ", "));
}

// What goes for every session: BGP-8, BGP-12.
void Writer::write_policy(Family family) {
  const int number = number_of(family);
  const char* everything = family == Family::V4 ? "0.0.0.0/0" : "::/0";
  const auto below = [](const Prefix& block) {  // not single addresses, which other nodes may have borrowed
    return fmt::format("{}{{{},{}}}", net::to_string(block), block.length, block.addr.bit_length() - 1);
  };
  const auto inside = [](const Prefix& pool) { return net::to_string(pool) + "+"; };
  line("\nfunction never_imported{0}() {{\n", number);
  if (!plan_.allow_default_route) line("  if net = {} then return true;\n", everything);
  line("  return {};\n}}\n", one_of(plan_.own_blocks, family, below));
  line("\nfunction never_exported{0}() {{\n", number);
  if (!plan_.allow_default_route) line("  if net = {} then return true;\n", everything);
  line("  return source = RTS_BGP && {};\n}}\n", one_of(plan_.silent_pools, family, inside));
  line("\nfunction announced{0}() {{\n  if proto = \"originated{0}\" then return true;\n", number);
  line("  return source = RTS_BGP && {};\n}}\n", one_of(plan_.pools, family, inside));
}

std::string condition_of(const BgpFilterRule& rule) {
  using Operator = BgpFilterRule::Operator;
  std::vector<std::string> conditions;
  if (rule.cidr) {
    const std::string cidr = net::to_string(*rule.cidr);
    const bool ranged = rule.min_length || rule.max_length;
    const int min = rule.min_length.value_or(rule.cidr->length);
    const int max = rule.max_length.value_or(rule.cidr->addr.bit_length());
    const std::string set = fmt::format("(net ~ [ {}{{{},{}}} ])", cidr, ranged ? min : rule.cidr->length,
                                        ranged ? max : rule.cidr->addr.bit_length());
    switch (rule.match) {
      case Operator::Equal:
        conditions.push_back(fmt::format("(net = {})", cidr));
        break;
      case Operator::NotEqual:
        conditions.push_back(fmt::format("(net != {})", cidr));
        break;
      case Operator::In:
        conditions.push_back(set);
        break;
      case Operator::NotIn:
        conditions.push_back(fmt::format("(! {})", set));
        break;
    }
    const bool in_set = rule.match == Operator::In || rule.match == Operator::NotIn;
    if (ranged && !in_set) conditions.push_back(fmt::format("(net.len >= {} && net.len <= {})", min, max));
  }
  if (rule.from_remote_peers) conditions.emplace_back("(source = RTS_BGP)");
  if (!rule.interface.empty()) conditions.push_back(fmt::format("(ifname ~ \"{}\")", rule.interface));
  return conditions.empty() ? "true" : fmt::format("{}", fmt::join(conditions, " && "));
}

// The first rule that matches decides; a route that none matches goes on.
void Writer::write_rules(const std::string& function, const std::vector<BgpFilterRule>& rules) {
  if (rules.empty()) return;
  line("\nfunction {}() {{\n", function);
  for (const BgpFilterRule& rule : rules) {
    line("  if {} then {};\n", condition_of(rule), rule.accept ? "accept" : "reject");
  }
  line("{}", "}\n");
}

void Writer::write_filter(const std::string& name, const config::BgpFilter& filter) {
  write_rules(function_name(name, "import4"), filter.import_v4);
  write_rules(function_name(name, "export4"), filter.export_v4);
  write_rules(function_name(name, "import6"), filter.import_v6);
  write_rules(function_name(name, "export6"), filter.export_v6);
}

// LB-10: what it sends with each number.
void Writer::write_advertisements(const BgpSession& session) {
  line("\nfunction {}() {{\n", audience_function(session));
  line("{}", "  if ! defined(sluice_audience) then reject;\n");
  // Those of Calico's objects are for Calico's peers.
  line("{}", "  bgp_community.empty;\n  bgp_large_community.empty;\n");
  for (size_t i = 0; i < plan_.audiences.size(); ++i) {
    const auto found = plan_.audiences[i].find(session.name);
    if (found == plan_.audiences[i].end()) continue;
    line("  if sluice_audience = {} then {{", i);
    if (found->second.local_pref) line(" bgp_local_pref = {};", *found->second.local_pref);
    for (const config::BgpCommunity& community : found->second.communities) line("{}", text_of(community));
    line("{}", " accept; }\n");
  }
  line("{}", "}\n");
}

void Writer::write_timers(const BgpSession& session) {
  if (session.connect_retry) {
    line("  connect delay time 2;\n  connect retry time {};\n", session.connect_retry->count());
  } else {
    line("{}", "  connect delay time 2;\n  connect retry time 5;\n");
  }
  line("{}", "  error wait time 5, 30;\n");
  if (session.hold) {
    line("  hold time {};\n", session.hold->count());
    if (session.keepalive) line("  keepalive time {};\n", session.keepalive->count());
  } else if (session.keepalive) {
    // RFC 4271 section 4.4; BIRD's own hold time is 240 s, and keepalives may not be rarer.
    const auto hold = std::max<int64_t>(240, 3 * session.keepalive->count());
    line("  hold time {};\n  keepalive time {};\n", hold, session.keepalive->count());
  }
}

void Writer::write_session_bfd(const BgpSession& session) {
  if (!session.bfd) return;
  if (!session.bfd_profile) {
    line("{}", "  bfd on;\n");
    return;
  }
  line("  bfd {{ {}{} }};\n", times_of(session.bfd_profile->times),
       session.bfd_profile->passive ? " passive yes;" : "");
}

void Writer::write_session(const BgpSession& session) {
  if (session.advertisements_only()) write_advertisements(session);
  line("\n# {}\nprotocol bgp '{}' {{\n", session.object, session.name);
  line("{}", "  local");
  if (session.source) line(" {}", net::to_string(*session.source));
  line(" port {} as {};\n", plan_.listen_port, session.local_as);
  const std::string as = session.any_external_as ? "external" : fmt::format("as {}", session.peer_as);
  line("  neighbor {} port {} {};\n", net::to_string(session.peer), session.peer_port, as);
  if (session.router_id) line("  router id {};\n", net::to_string(*session.router_id));
  if (session.on_link) {
    // The TAP device loses its carrier when sluiced ends, and has it again when it is back.
    line("{}", "  direct;\n  check link off;\n");
  } else if (session.hops > 0) {
    line("  multihop {};\n", session.hops);
  } else {
    line("{}", "  multihop;\n");
  }
  if (session.hops > 0) line("{}", "  ttl security on;\n");
  if (plan_.bind_to_source && session.source) line("{}", "  strict bind on;\n");
  if (!session.password.empty()) line("  password \"{}\";\n", session.password);
  if (session.graceful_restart) {
    line("  graceful restart on;\n  graceful restart time {};\n", session.restart_time.count());
  } else {
    line("{}", "  graceful restart aware;\n");
  }
  write_timers(session);
  if (session.allowed_local_as != 0) line("  allow local as {};\n", session.allowed_local_as);
  if (session.route_reflector_client) {
    line("  rr client;\n  rr cluster id {};\n", net::to_string(*plan_.cluster_id));
  }
  write_session_bfd(session);
  write_channel(session);
  line("{}", "}\n");
}

void Writer::write_channel(const BgpSession& session) {
  const int number = number_of(session.peer.family());
  const auto call_filters = [&](const char* direction, auto v4_rules, auto v6_rules) {
    for (const std::string& name : session.filters) {
      const config::BgpFilter& filter = plan_.filters.at(name);
      const bool any = !(session.peer.is_v4() ? filter.*v4_rules : filter.*v6_rules).empty();
      if (any) line("      {}();\n", function_name(name, fmt::format("{}{}", direction, number).c_str()));
    }
  };
  if (session.advertisements_only()) {
    line("  ipv{} {{\n    import none;\n", number);
  } else {
    line("  ipv{} {{\n    import filter {{\n      if never_imported{}() then reject;\n", number, number);
    call_filters("import", &config::BgpFilter::import_v4, &config::BgpFilter::import_v6);
    line("{}", "      accept;\n    };\n");
  }
  if (plan_.silent) {
    line("{}", "    export none;\n");
  } else if (session.advertisements_only()) {
    line("    export filter {{\n      if never_exported{}() then reject;\n", number);
    line("      {}();\n      reject;\n    }};\n", audience_function(session));
  } else {
    line("    export filter {{\n      if never_exported{}() then reject;\n", number);
    call_filters("export", &config::BgpFilter::export_v4, &config::BgpFilter::export_v6);
    line("      if announced{}() then accept;\n", number);
    // What a route reflector passes on between nodes of its AS is not a matter of pools.
    if (plan_.cluster_id && !session.external()) line("{}", "      if source = RTS_BGP then accept;\n");
    line("{}", "      reject;\n    };\n");
  }
  if (plan_.max_prefixes != 0) line("    import limit {} action block;\n", plan_.max_prefixes);
  const bool self = session.next_hop == config::NextHopMode::Self ||
                    (session.next_hop == config::NextHopMode::Auto && session.external());
  if (self) line("{}", "    next hop self;\n");
  if (session.next_hop == config::NextHopMode::Keep) line("{}", "    next hop keep;\n");
  line("{}", "    gateway recursive;\n    add paths on;\n  };\n");
}

}  // namespace

std::string bird_config(const BgpPlan& plan) { return Writer(plan).write(); }

}  // namespace sluice::control
