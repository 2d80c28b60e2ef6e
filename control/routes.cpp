#include "control/routes.h"

#include <array>

#include "control/api_bgp.h"
#include "control/api_config.h"
#include "control/api_content.h"
#include "control/api_events.h"
#include "control/api_ingress.h"
#include "control/api_ipam.h"
#include "control/api_load_balancer.h"
#include "control/api_state.h"
#include "control/api_trace.h"
#include "control/api_traffic.h"
#include "control/openapi.h"

namespace sluice::control {
namespace {

constexpr std::string_view no_parameters = " ";
constexpr std::string_view change_words = " dryRun ignoreUnknown ";
constexpr std::string_view flow_words =
    " src dst sport dport reply-src reply-dst reply-sport reply-dport proto state service limit ";
constexpr std::string_view flow_watch_words =
    " src dst sport dport reply-src reply-dst reply-sport reply-dport proto service event ";
constexpr std::string_view flow_delete_words =
    " src dst sport dport reply-src reply-dst reply-sport reply-dport proto state service limit all ";
constexpr std::string_view trace_words = " filter count seconds ";
constexpr std::string_view event_words = " types dropRate after follow ";

constexpr std::string_view event_stream = "text/event-stream";
constexpr std::string_view plain_text = "text/plain";

constexpr std::array table{
    Route{"/v1/config", "GET", Access::Read, " kind namespace ", Body::None, "List", "The applied objects", get_config},
    Route{"/v1/config", "PUT", Access::Write, change_words, Body::JsonOrLines, "ChangeAnswer",
          "Replaces the whole configuration, all or nothing", replace_config},
    Route{"/v1/config", "PATCH", Access::Write, change_words, Body::Json, "ChangeAnswer",
          "Changes a part of the configuration, all or nothing: a Delta", patch_config},
    Route{"/v1/config:validate", "POST", Access::Read, " ignoreUnknown ", Body::JsonOrLines, "ChangeAnswer",
          "Says what is wrong with a full document, applies nothing", validate_config},
    Route{object_path, "GET", Access::Read, no_parameters, Body::None, "Object", "One applied object", get_object},
    Route{object_path, "PUT", Access::Write, " dryRun ", Body::Json, "ChangeAnswer", "Adds or replaces one object",
          put_object},
    Route{object_path, "DELETE", Access::Write, " dryRun ", Body::None, "ChangeAnswer", "Removes one object",
          delete_object},
    Route{"/v1/status", "GET", Access::Read, no_parameters, Body::None, "Status", "Generation, workers, interfaces",
          get_status},
    Route{"/v1/counters", "GET", Access::Read, no_parameters, Body::None, "Counters",
          "Why packets were dropped, and what else is counted", get_counters},
    Route{"/v1/neighbors", "GET", Access::Read, no_parameters, Body::None, "NeighborList",
          "ARP and neighbour discovery", get_neighbors},
    Route{"/v1/routes", "GET", Access::Read, " to ", Body::None, "RouteList", "Routes", get_routes},
    Route{"/v1/services", "GET", Access::Read, no_parameters, Body::None, "ServiceList",
          "Service ports with their frontends and endpoints", get_services},
    Route{"/v1/ingress", "GET", Access::Read, no_parameters, Body::None, "IngressList",
          "Ingresses of this router: rules, what they lead to, ready endpoints", get_ingress},
    Route{"/v1/load-balancers", "GET", Access::Read, no_parameters, Body::None, "LoadBalancerList",
          "Services that get their addresses from here", get_load_balancers},
    Route{"/v1/l2", "GET", Access::Read, no_parameters, Body::None, "L2List",
          "Load balancer addresses that are announced by ARP and neighbour discovery", get_l2},
    Route{"/v1/content-policies", "GET", Access::Read, no_parameters, Body::None, "ContentPolicyList",
          "What is looked for in connections, and how often it was found", get_content_policies},
    Route{"/v1/bgp", "GET", Access::Read, no_parameters, Body::None, "BgpStatus",
          "BGP sessions, what is announced and why", get_bgp},
    Route{"/v1/conntrack", "GET", Access::Read, flow_words, Body::None, "FlowList", "Tracked connections",
          get_conntrack},
    Route{"/v1/conntrack", "DELETE", Access::Write, flow_delete_words, Body::None, "FlowsDeleted",
          "Ends the connections that match", delete_conntrack},
    Route{"/v1/conntrack/events", "GET", Access::Read, flow_watch_words, Body::None, event_stream,
          "Connections as they open and end", watch_conntrack},
    Route{"/v1/drains", "GET", Access::Read, no_parameters, Body::None, "DrainList", "Endpoints drained by hand",
          get_drains},
    Route{"/v1/drains", "PUT", Access::Write, " endpoint hard ", Body::None, "DrainAnswer",
          "Takes an endpoint out of service", put_drain},
    Route{"/v1/drains", "DELETE", Access::Write, " endpoint ", Body::None, "DrainAnswer",
          "Puts a drained endpoint back", delete_drain},
    Route{"/v1/ipam/addresses", "GET", Access::Read, no_parameters, Body::None, "AddressList",
          "Addresses that are assigned", get_ipam_addresses},
    Route{"/v1/ipam/addresses", "POST", Access::Write, no_parameters, Body::Json, "AddressAnswer",
          "Assigns addresses to a handle, all or none", post_ipam_addresses},
    Route{"/v1/ipam/blocks", "GET", Access::Read, no_parameters, Body::None, "BlockList",
          "Blocks of addresses, and whose they are", get_ipam_blocks},
    Route{"/v1/ipam/handles", "GET", Access::Read, no_parameters, Body::None, "HandleList", "Handles of addresses",
          get_ipam_handles},
    Route{handle_path, "GET", Access::Read, no_parameters, Body::None, "Handle", "One handle with its addresses",
          get_ipam_handle},
    Route{handle_path, "DELETE", Access::Write, no_parameters, Body::None, "ReleaseAnswer",
          "Gives the addresses of a handle back; that there are none is no error", delete_ipam_handle},
    Route{"/v1/events", "GET", Access::Read, event_words, Body::None, event_stream,
          "What happens to the router itself; with follow=false what is kept of it, as an EventList", get_events},
    Route{"/v1/explain", "POST", Access::Read, no_parameters, Body::Json, "Explanation",
          "What would happen to a packet that nobody sends", post_explain},
    Route{"/v1/trace", "GET", Access::Read, trace_words, Body::None, event_stream,
          "What happens to the next packets that match", get_trace},
    Route{"/v1/capture", "GET", Access::Read, trace_words, Body::None, "application/x-pcapng",
          "The next packets that match, as they came and left", get_capture},
    Route{"/v1/openapi.json", "GET", Access::Read, no_parameters, Body::None, "application/json", "This description",
          get_openapi},
    Route{"/v1/schemas/gatewayconfiguration.json", "GET", Access::Read, no_parameters, Body::None,
          "application/schema+json", "The JSON Schema of GatewayConfiguration", get_gateway_schema},
    Route{"/v1/schemas/contentpolicy.json", "GET", Access::Read, no_parameters, Body::None, "application/schema+json",
          "The JSON Schema of ContentPolicy", get_content_schema},
    Route{"/v1/version", "GET", Access::Read, no_parameters, Body::None, "Version", "The router's version",
          get_version},
    Route{"/healthz", "GET", Access::Read, no_parameters, Body::None, plain_text, "Whether the control thread runs",
          get_alive},
    Route{"/livez", "GET", Access::Read, no_parameters, Body::None, plain_text, "Whether the control thread runs",
          get_alive},
    Route{"/readyz", "GET", Access::Read, no_parameters, Body::None, plain_text,
          "Whether a full configuration is applied", get_ready},
    Route{"/metrics", "GET", Access::Read, no_parameters, Body::None, plain_text, "Prometheus metrics", get_metrics},
};

}  // namespace

std::span<const Route> routes() { return table; }

}  // namespace sluice::control
