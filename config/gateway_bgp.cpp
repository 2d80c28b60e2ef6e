// GatewayConfiguration spec.bgp: which routing daemon speaks BGP for the router, and how.
#include <array>

#include "config/convert.h"

namespace sluice::config {
namespace {

constexpr std::array engines{Choice<BgpEngine>{"none", BgpEngine::None}, Choice<BgpEngine>{"bird", BgpEngine::Bird}};

constexpr uint32_t longest_interval = 60000;  // milliseconds

}  // namespace

void read_bgp(Reader& spec, Bgp& bgp) {
  Reader object = spec.object("bgp");
  object.choice("engine", bgp.engine, engines);
  object.number("maxPrefixes", bgp.max_prefixes, 0, 100'000'000);
  object.flag("allowDefaultRoute", bgp.allow_default_route);
  object.parsed("routerID", bgp.router_id, net::parse_ipv4, "a router id, which is written as an IPv4 address");
  Reader bfd = object.object("bfd");
  if (!bfd) return;
  Bfd& out = bgp.bfd.emplace();
  auto receive = static_cast<uint32_t>(out.receive.count());
  auto transmit = static_cast<uint32_t>(out.transmit.count());
  bfd.number("receiveInterval", receive, 10, longest_interval);
  bfd.number("transmitInterval", transmit, 10, longest_interval);
  out.receive = std::chrono::milliseconds(receive);
  out.transmit = std::chrono::milliseconds(transmit);
  bfd.number("detectMultiplier", out.multiplier, 2, 255);
}

}  // namespace sluice::config
