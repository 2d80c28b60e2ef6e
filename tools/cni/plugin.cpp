#include "tools/cni/plugin.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <sys/stat.h>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "tools/cni/delegate.h"
#include "tools/cni/netlink.h"
#include "tools/cni/router.h"

namespace sluice::cni {
namespace {

namespace json = boost::json;

constexpr const char* own_ipam = "sluice-ipam";

Error failed(const net::Error& error) { return {Code::Failed, error.message}; }

bool is_there(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0;
}

// What is to be undone, the latest first, unless all went well.
class Undo {
 public:
  Undo() = default;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
  }
  void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
  void forget() { steps_.clear(); }

 private:
  std::vector<std::function<void()>> steps_;
};

// Of a router that is configured.
Result<std::string> node_of(const NetConf& conf, Router& router) {
  auto own = router.node_name();
  if (!own || conf.node_name.empty()) {
    if (own && own->empty()) return Error{Code::InvalidConfig, "/nodeName: needed, as the router has none"};
    return own;
  }
  return conf.node_name;
}

// `dns`: as the plugin for addresses has it.
Result<std::vector<net::IpAddr>> get_addresses(const NetConf& conf, const Environment& environment, Router& router,
                                               const Names& names, const std::string& node, json::object& dns) {
  if (conf.ipam_type == own_ipam) return router.assign(conf, environment, names, node);
  const auto answer = delegate(conf, environment, "ADD");
  if (!answer) return answer.error();
  const json::value* found = answer->if_contains("dns");
  if (found != nullptr && found->is_object()) dns = found->get_object();
  return addresses_of(*answer, environment.ifname);
}

Status give_addresses_back(const NetConf& conf, const Environment& environment, Router& router, const Names& names) {
  if (conf.ipam_type == own_ipam) return router.release(names.handle);
  const auto answer = delegate(conf, environment, "DEL");
  if (!answer) return answer.error();
  return net::Done{};
}

net::IpAddr gateway_for(const net::IpAddr& address) {
  return address.is_v4() ? net::IpAddr(gateway4) : net::IpAddr(gateway6);
}

// The gateway is on the link whatever the address, so the default route can name it.
std::vector<Route> routes_for(const net::IpAddr& address, int interface) {
  const net::IpAddr gateway = gateway_for(address);
  const net::IpAddr any = address.is_v4() ? net::IpAddr(net::Ipv4Addr{}) : net::IpAddr(net::Ipv6Addr{});
  return {{net::Prefix::host(gateway), std::nullopt, interface}, {{any, 0}, gateway, interface}};
}

net::Status<> set_sysctls(const std::vector<std::pair<std::string, const char*>>& values) {
  for (const auto& [key, value] : values) {
    if (auto set = set_sysctl(key, value); !set) return set;
  }
  return net::Done{};
}

// The kernel of the host has nothing to do with what comes from the pod: the router reads it with a packet socket. What
// the pod sends to its gateway is for another than the interface, by the MAC address; the rest is for what else it
// sends.
net::Status<> quieten(const std::string& interface) {
  const std::string v4 = fmt::format("net/ipv4/conf/{}/", interface);
  // No route leads back by this interface, so nothing that comes from it passes the filter.
  if (auto set = set_sysctls({{v4 + "forwarding", "0"}, {v4 + "rp_filter", "1"}}); !set) return set;
  if (!is_there("/proc/sys/net/ipv6")) return net::Done{};  // a kernel without IPv6
  return set_sysctls({{fmt::format("net/ipv6/conf/{}/disable_ipv6", interface), "1"}});
}

// In the container.
net::Status<> furnish(const std::string& interface, const std::vector<net::IpAddr>& addresses, net::MacAddr& mac,
                      uint32_t& mtu) {
  auto netlink = Netlink::open();
  if (!netlink) return netlink.error();
  const auto loopback = netlink->link("lo");
  if (!loopback) return loopback.error();
  if (*loopback) {
    if (auto up = netlink->set_up((*loopback)->index, true); !up) return up;
  }
  const auto link = netlink->link(interface);
  if (!link) return link.error();
  if (!*link) return net::Error{fmt::format("interface {} has gone", interface)};
  mac = (*link)->mac;
  mtu = (*link)->mtu;
  const int index = (*link)->index;
  if (std::any_of(addresses.begin(), addresses.end(), [](const net::IpAddr& address) { return address.is_v6(); })) {
    const std::string own = fmt::format("net/ipv6/conf/{}/", interface);
    if (auto set = set_sysctls({{"net/ipv6/conf/all/disable_ipv6", "0"},
                                {"net/ipv6/conf/lo/disable_ipv6", "0"},
                                {own + "disable_ipv6", "0"},
                                {own + "accept_dad", "0"},
                                {own + "accept_ra", "0"}});
        !set) {
      return set;
    }
  }
  if (auto up = netlink->set_up(index, true); !up) return up;
  for (const net::IpAddr& address : addresses) {
    if (auto added = netlink->add_address(index, address); !added) return added;
    for (const Route& route : routes_for(address, index)) {
      if (auto added = netlink->add_route(route); !added) return added;
    }
  }
  return net::Done{};
}

Error not_as_made(std::string what) { return {Code::NotAsMade, std::move(what)}; }

// In the container: what CHECK finds wrong. Plugins that come later in the list may have added addresses and routes,
// and set another MTU.
Status inspect(const Attachment& expected, const std::vector<ResultRoute>& expected_routes, const Link& host) {
  auto netlink = Netlink::open();
  if (!netlink) return failed(netlink.error());
  const auto link = netlink->link(expected.interface);
  if (!link) return failed(link.error());
  if (!*link) return not_as_made(fmt::format("there is no interface {} in the container", expected.interface));
  const Link& own = **link;
  if (own.kind != "veth" || own.peer != host.index || host.peer != own.index) {
    return not_as_made(fmt::format("{} and {} are no pair", expected.interface, expected.host_interface));
  }
  if (!own.up) return not_as_made(fmt::format("{} is down", expected.interface));
  if (!expected.mac.empty() && net::to_string(own.mac) != expected.mac) {
    return not_as_made(
        fmt::format("{} has MAC address {}, not {}", expected.interface, net::to_string(own.mac), expected.mac));
  }
  const auto addresses = netlink->addresses(own.index);
  if (!addresses) return failed(addresses.error());
  for (const net::IpAddr& address : expected.addresses) {
    const net::Prefix wanted = net::Prefix::host(address);
    if (std::find(addresses->begin(), addresses->end(), wanted) == addresses->end()) {
      return not_as_made(
          fmt::format("{} is not among the addresses of {}", net::to_string(wanted), expected.interface));
    }
  }
  for (const ResultRoute& wanted : expected_routes) {
    const auto routes = netlink->routes(wanted.destination.addr.family());
    if (!routes) return failed(routes.error());
    const bool found = std::any_of(routes->begin(), routes->end(), [&](const Route& route) {
      return route.destination == wanted.destination && (!wanted.gateway || route.gateway == wanted.gateway);
    });
    if (!found) return not_as_made(fmt::format("the route to {} is missing", net::to_string(wanted.destination)));
  }
  return net::Done{};
}

// What ADD told the runtime, which hands it back.
Result<Attachment> previous_attachment(const NetConf& conf, const Environment& environment, const Names& names) {
  if (!conf.previous) return Error{Code::InvalidConfig, "/prevResult: CHECK needs what ADD answered"};
  Attachment out;
  out.host_interface = names.host_interface;
  out.interface = environment.ifname;
  auto addresses = addresses_of(*conf.previous, environment.ifname);
  if (!addresses) return addresses.error();
  out.addresses = std::move(*addresses);
  json::error_code error;
  const json::value previous(*conf.previous);
  const json::value* interfaces = previous.find_pointer("/interfaces", error);
  if (interfaces == nullptr || !interfaces->is_array())
    return Error{Code::InvalidConfig, "/prevResult/interfaces: missing"};
  for (const json::value& one : interfaces->get_array()) {
    const auto text = [&](const char* name) {
      const json::value* found = one.is_object() ? one.get_object().if_contains(name) : nullptr;
      return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
    };
    if (text("name") == environment.ifname && !text("sandbox").empty()) out.mac = text("mac");
    if (text("name") == names.host_interface && text("sandbox").empty()) out.host_mac = text("mac");
  }
  if (out.mac.empty()) {
    return Error{Code::InvalidConfig, fmt::format("/prevResult/interfaces: {} is not among them", environment.ifname)};
  }
  return out;
}

}  // namespace

Result<json::object> add(const NetConf& conf, const Environment& environment) {
  if (conf.previous) {
    return Error{Code::InvalidConfig, "/prevResult: sluice-cni makes the interface, so it comes first in a list"};
  }
  if (!is_there(environment.netns)) {
    return Error{Code::InvalidEnvironment, fmt::format("CNI_NETNS: there is no {}", environment.netns)};
  }
  Router router(conf.socket);
  const auto node = node_of(conf, router);
  if (!node) return node.error();
  const Names names = names_of(conf, environment, *node);
  auto host = Netlink::open();
  if (!host) return failed(host.error());
  const auto existing = host->link(names.host_interface);
  if (!existing) return failed(existing.error());
  // Before anything is changed: what there is belongs to a container that runs.
  if (*existing) {
    return Error{Code::Failed, fmt::format("container {} has interface {} already ({})", environment.container_id,
                                           environment.ifname, names.host_interface)};
  }

  Undo undo;
  undo.add([&] { (void)give_addresses_back(conf, environment, router, names); });
  json::object dns;
  const auto addresses = get_addresses(conf, environment, router, names, *node, dns);
  if (!addresses) return addresses.error();
  Attachment made{.host_interface = names.host_interface,
                  .interface = environment.ifname,
                  .netns = environment.netns,
                  .addresses = *addresses,
                  .dns = std::move(dns)};
  {
    auto container = Entered::enter(environment.netns);
    if (!container) return failed(container.error());
    // From the host's side, by a socket that stays there.
    const auto pair = host->add_veth(names.host_interface, environment.ifname, container->descriptor(), conf.mtu);
    if (!pair) return failed(pair.error());
    undo.add([&] { (void)host->remove_link(names.host_interface); });
  }
  if (auto quiet = quieten(names.host_interface); !quiet) return failed(quiet.error());
  const auto link = host->link(names.host_interface);
  if (!link) return failed(link.error());
  if (!*link) return Error{Code::Failed, fmt::format("interface {} has gone", names.host_interface)};
  made.host_mac = net::to_string((*link)->mac);
  if (auto up = host->set_up((*link)->index, false); !up) return failed(up.error());
  {
    const auto container = Entered::enter(environment.netns);
    if (!container) return failed(container.error());
    net::MacAddr mac;
    if (auto furnished = furnish(environment.ifname, *addresses, mac, made.mtu); !furnished) {
      return failed(furnished.error());
    }
    made.mac = net::to_string(mac);
  }
  undo.add([&] { (void)router.delete_endpoint(names, environment.container_id); });
  if (auto put = router.put_endpoint(environment, names, *node, made); !put) return put.error();
  undo.forget();
  return result_of(conf, made);
}

Status del(const NetConf& conf, const Environment& environment) {
  Router router(conf.socket);
  const auto node = node_of(conf, router);
  const Names names = names_of(conf, environment, node ? *node : "");
  std::optional<Error> problem;
  // The router first, so that it does not read an interface that goes away.
  if (node) {
    if (auto deleted = router.delete_endpoint(names, environment.container_id); !deleted) problem = deleted.error();
  } else {
    problem = node.error();
  }
  auto host = Netlink::open();
  if (!host) return failed(host.error());
  // With one end goes the other, wherever it is; with a namespace that is gone both have gone.
  if (auto removed = host->remove_link(names.host_interface); !removed) return failed(removed.error());
  // An address whose endpoint the router still has must not become another's.
  if (!problem) {
    if (auto given = give_addresses_back(conf, environment, router, names); !given) problem = given.error();
  }
  if (router.unreachable() && conf.ipam_type == own_ipam) {
    // It finds out by itself: the network namespace of the container is gone.
    std::fprintf(stderr, "sluice-cni: sluiced is not there; it gives the addresses of %s back by itself later\n",
                 environment.container_id.c_str());
    return net::Done{};
  }
  if (problem) return *problem;
  return net::Done{};
}

Status check(const NetConf& conf, const Environment& environment) {
  if (!at_least(conf.cni_version, "0.4.0")) {
    return Error{Code::IncompatibleVersion, fmt::format("version {} has no CHECK", conf.cni_version)};
  }
  Router router(conf.socket);
  const auto node = node_of(conf, router);
  if (!node) return node.error();
  const Names names = names_of(conf, environment, *node);
  auto expected = previous_attachment(conf, environment, names);
  if (!expected) return expected.error();
  const auto routes = routes_of(*conf.previous);
  if (!routes) return routes.error();
  if (!is_there(environment.netns)) {
    return Error{Code::UnknownContainer, fmt::format("CNI_NETNS: there is no {}", environment.netns)};
  }
  auto host = Netlink::open();
  if (!host) return failed(host.error());
  const auto link = host->link(names.host_interface);
  if (!link) return failed(link.error());
  if (!*link) return not_as_made(fmt::format("there is no interface {} in the host", names.host_interface));
  if (!(*link)->up) return not_as_made(fmt::format("{} is down", names.host_interface));
  // With the gateway's own the kernel would take what the pod sends.
  if ((*link)->mac == gateway_mac ||
      (!expected->host_mac.empty() && net::to_string((*link)->mac) != expected->host_mac)) {
    return not_as_made(fmt::format("{} has MAC address {}, not {}", names.host_interface, net::to_string((*link)->mac),
                                   expected->host_mac));
  }
  {
    const auto container = Entered::enter(environment.netns);
    if (!container) return failed(container.error());
    if (auto fine = inspect(*expected, *routes, **link); !fine) return fine;
  }
  if (conf.ipam_type == own_ipam) {
    const auto assigned = router.assigned(names.handle);
    if (!assigned) return assigned.error();
    for (const net::IpAddr& address : *assigned) {
      const auto& all = expected->addresses;
      if (std::find(all.begin(), all.end(), address) == all.end()) {
        return not_as_made(fmt::format("handle {} has another address, {}", names.handle, net::to_string(address)));
      }
    }
    // The router knows those that it gave.
    expected->addresses = *assigned;
  } else if (const auto answer = delegate(conf, environment, "CHECK"); !answer) {
    return answer.error();
  }
  const auto endpoint = router.endpoint(names);
  if (!endpoint) return endpoint.error();
  if (!*endpoint) return not_as_made(fmt::format("the router has no WorkloadEndpoint {}/{}", names.ns, names.endpoint));
  const json::value* spec = (*endpoint)->if_contains("spec");
  for (const auto& wanted : endpoint_spec(environment, *node, *expected)) {
    const json::value* found =
        spec != nullptr && spec->is_object() ? spec->get_object().if_contains(wanted.key()) : nullptr;
    if (found == nullptr || *found != wanted.value()) {
      return not_as_made(fmt::format("WorkloadEndpoint {}/{} has another {}", names.ns, names.endpoint,
                                     std::string_view(wanted.key())));
    }
  }
  return net::Done{};
}

}  // namespace sluice::cni
