// The words of the Container Network Interface (CNI specification 1.0.0; 0.4.0 and 0.3.1 as well): what a runtime hands
// a plugin in its environment and on standard input, and what it wants back.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"

namespace sluice::cni {

// CNI specification, "Error": codes below 100 are the specification's.
enum class Code : unsigned {
  IncompatibleVersion = 1,
  UnsupportedField = 2,
  UnknownContainer = 3,
  InvalidEnvironment = 4,
  Io = 5,
  Undecodable = 6,
  InvalidConfig = 7,
  TryAgain = 11,
  Failed = 100,    // something of the network could not be made
  Refused = 101,   // the router, or the plugin for addresses, said no
  NotAsMade = 102  // CHECK: the network is not what ADD made of it
};

struct Error {
  Code code = Code::Failed;
  std::string message;
  std::string details = {};
};
template <class T>
using Result = net::Result<T, Error>;
using Status = net::Status<Error>;

[[nodiscard]] const std::vector<std::string>& supported_versions();
// Whether version `a` is the same as `b` or newer; both are supported.
[[nodiscard]] bool at_least(std::string_view a, std::string_view b);

enum class Command : uint8_t { Add, Del, Check, Version };

struct Environment {
  Command command = Command::Version;
  std::string container_id;
  std::string netns;  // path; DEL: may be empty
  std::string ifname;
  std::string path;                         // where other plugins are, with colons between
  std::map<std::string, std::string> args;  // CNI_ARGS
};

// From CNI_COMMAND and the others; all that the command needs is there and well-formed.
[[nodiscard]] Result<Environment> read_environment(const char* (*get)(const char* name));

struct NetConf {
  std::string cni_version;
  std::string name;
  std::string socket;     // of sluiced
  std::string node_name;  // empty: the router's
  uint32_t mtu = 0;       // 0: the kernel's default
  std::string ipam_type;  // "sluice-ipam", or a plugin for addresses
  bool ipv4 = true;       // of sluice-ipam: the families that a pod has
  bool ipv6 = false;
  std::vector<std::string> pools;               // of sluice-ipam; empty: the router chooses
  std::vector<net::IpAddr> addresses;           // that the pod asks for
  boost::json::object dns;                      // as in the configuration
  std::optional<boost::json::object> previous;  // prevResult
  std::string text;                             // the whole, for plugins that are called
};

// Only the version, for VERSION and for errors about the rest.
[[nodiscard]] std::string version_of(std::string_view text);
[[nodiscard]] Result<NetConf> read_conf(const std::string& text, const Environment& environment);

// What a network has been made of.
struct Attachment {
  std::string host_interface;
  std::string host_mac;
  std::string interface;  // in the container
  std::string mac;
  std::string netns;
  uint32_t mtu = 0;
  std::vector<net::IpAddr> addresses;
  boost::json::object dns = {};  // of a plugin for addresses; the configuration's comes before it
};

// In the shape of the version that the configuration asks for.
[[nodiscard]] boost::json::object result_of(const NetConf& conf, const Attachment& attachment);
// The addresses of a result of any of our versions that are not another interface's; an error names what is odd.
[[nodiscard]] Result<std::vector<net::IpAddr>> addresses_of(const boost::json::object& result,
                                                            const std::string& interface);
struct ResultRoute {
  net::Prefix destination;
  std::optional<net::IpAddr> gateway;
};
[[nodiscard]] Result<std::vector<ResultRoute>> routes_of(const boost::json::object& result);
[[nodiscard]] boost::json::object error_of(std::string_view version, const Error& error);
[[nodiscard]] boost::json::object version_answer(std::string_view version);

// The gateways that every pod has: the router answers for them, whatever its own addresses are.
inline constexpr net::Ipv4Addr gateway4 = net::Ipv4Addr::from_host(0xa9fe0101);  // 169.254.1.1
inline constexpr net::MacAddr gateway_mac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}};
inline constexpr net::Ipv6Addr gateway6 = gateway_mac.link_local();  // fe80::ecee:eeff:feee:eeee

}  // namespace sluice::cni
