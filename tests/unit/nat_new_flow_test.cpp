// The first packet's decisions. The tables of the specification stand here as they are written there and are parsed,
// so that a difference between the two shows.
#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/net/headers.h"
#include "nat/new_flow.h"

namespace sluice::nat {
namespace {

using net::DropReason;
using net::V4;
using net::V6;

// Specification 3.16, word for word.
constexpr const char* truth_table = R"(
| policy | client | ClusterIP | NodePort | LB IP |
|---|---|---|---|---|
| Cluster/Cluster | pod | L,R | L,R masq | L,R masq |
| | node | L,R masq | L,R masq | L,R masq |
| | outside | L,R masq | L,R masq | L,R masq |
| externalTrafficPolicy Local | pod | L,R | L,R | L,R |
| | node | L,R masq | L,R masq | L,R masq |
| | outside | L,R masq | **L only, no masq** | **L only, no masq** |
| internalTrafficPolicy Local | pod | L | L,R masq | L,R masq |
| | node / outside | L masq | L,R masq | L,R masq |
| both Local (derived from the rules, not a listed test row) | pod | L | L,R | L,R |
| | node | L masq | L,R masq | L,R masq |
| | outside | L masq | L, no masq | L, no masq |
)";

// Specification 3.4, word for word.
constexpr const char* verdict_table = R"(
| situation | ClusterIP | externalIP / LB IP | NodePort |
|---|---|---|---|
| no usable endpoint in the cluster | REJECT | REJECT | REJECT |
| externalTrafficPolicy Local, usable endpoints only on other nodes, client outside | - | **DROP** (so the health check moves traffic away) | **DROP** |
| same, client is a pod or the node itself | works through Cluster list | works through Cluster list | works through Cluster list |
| internalTrafficPolicy Local, no usable local endpoint | **DROP** | by externalTrafficPolicy | by externalTrafficPolicy |
)";

using Row = std::vector<std::string>;

// Cells without surrounding blanks and emphasis; header and rule left out.
std::vector<Row> parse_table(const char* text) {
  std::vector<Row> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    line.erase(std::remove(line.begin(), line.end(), '*'), line.end());
    Row row;
    std::istringstream cells(line.substr(1));
    for (std::string cell; std::getline(cells, cell, '|');) {
      const auto first = cell.find_first_not_of(' ');
      const auto last = cell.find_last_not_of(' ');
      row.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
    }
    rows.push_back(std::move(row));
  }
  rows.erase(rows.begin(), rows.begin() + 2);
  return rows;
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// Addresses of kube-proxy's own tests, and something alike for IPv6.
template <class F>
struct Net;
template <>
struct Net<V4> {
  static constexpr const char* cluster_ip = "172.30.0.41";
  static constexpr const char* external_ip = "192.168.99.33";
  static constexpr const char* balancer = "5.6.7.8";
  static constexpr const char* node = "192.168.0.2";
  static constexpr const char* pod = "10.0.0.2";
  static constexpr const char* outside = "203.0.113.2";
  static constexpr const char* local = "10.180.0.1";
  static constexpr const char* remote = "10.180.1.1";
};
template <>
struct Net<V6> {
  static constexpr const char* cluster_ip = "fd00:172:30::41";
  static constexpr const char* external_ip = "fd00:192::33";
  static constexpr const char* balancer = "2001:db8:5::8";
  static constexpr const char* node = "fd00:1::2";
  static constexpr const char* pod = "fd00:10::2";
  static constexpr const char* outside = "2001:db8::2";
  static constexpr const char* local = "fd00:10:180::1";
  static constexpr const char* remote = "fd00:10:180:1::1";
};

template <class F>
typename F::Addr addr(const char* text) {
  return F::addr_of(*net::parse_ip(text));
}
be16 port(uint16_t host) { return be16::from_host(host); }

template <class F>
Backend<F> local_endpoint() {
  return {addr<F>(Net<F>::local), port(8080), true};
}
template <class F>
Backend<F> remote_endpoint() {
  return {addr<F>(Net<F>::remote), port(8080), false};
}

template <class F>
ServicePort<F> service_of(const std::vector<Backend<F>>& endpoints) {
  ServicePort<F> service;
  service.protocol = net::protocol::tcp;
  service.has_endpoint = !endpoints.empty();
  service.cluster = make_backend_set<F>(endpoints);
  std::vector<Backend<F>> local;
  std::copy_if(endpoints.begin(), endpoints.end(), std::back_inserter(local),
               [](const auto& each) { return each.local; });
  service.local = make_backend_set<F>(std::move(local));
  return service;
}

template <class F>
Frontend<F> frontend_of(FrontendKind kind, const ServicePort<F>& service) {
  const char* vip = Net<F>::node;
  if (kind == FrontendKind::ClusterIp) vip = Net<F>::cluster_ip;
  if (kind == FrontendKind::ExternalIp) vip = Net<F>::external_ip;
  if (kind == FrontendKind::LoadBalancer) vip = Net<F>::balancer;
  return {addr<F>(vip), port(kind == FrontendKind::NodePort ? 30080 : 80), net::protocol::tcp, kind,
          std::make_shared<const ServicePort<F>>(service)};
}

template <class F>
const char* address_of(ClientKind client) {
  if (client == ClientKind::Pod) return Net<F>::pod;
  return client == ClientKind::Node ? Net<F>::node : Net<F>::outside;
}

// Like kube-proxy: a ClusterIP answers outsiders (SVC-121).
ProxySettings like_kube_proxy() {
  ProxySettings settings;
  settings.allow_external_cluster_ip = true;
  return settings;
}

template <class F>
ServiceChoice<F> choose(const Frontend<F>& frontend, ClientKind client, const ProxySettings& settings,
                        const char* source, uint16_t source_port = 40000, bool source_is_vip = false) {
  const FlowKey<F> key{addr<F>(source), frontend.addr, port(source_port), frontend.port, frontend.protocol, {}};
  return choose_backend(frontend, key, client, settings, source_is_vip);
}
template <class F>
ServiceChoice<F> choose(const Frontend<F>& frontend, ClientKind client,
                        const ProxySettings& settings = like_kube_proxy()) {
  return choose(frontend, client, settings, address_of<F>(client));
}

constexpr std::array all_kinds{FrontendKind::ClusterIp, FrontendKind::ExternalIp, FrontendKind::LoadBalancer,
                               FrontendKind::NodePort};
constexpr std::array all_clients{ClientKind::Pod, ClientKind::Node, ClientKind::Outside};

// What many flows of a client get, written like a cell of the table.
template <class F>
std::string observe(const Frontend<F>& frontend, ClientKind client) {
  std::set<std::string> endpoints;
  std::set<bool> masquerade;
  for (uint16_t source_port = 40000; source_port < 40200; ++source_port) {
    const auto choice = choose(frontend, client, like_kube_proxy(), address_of<F>(client), source_port);
    if (choice.outcome != Outcome::Forward || choice.backend == nullptr) return "not forwarded";
    endpoints.insert(choice.backend->addr == addr<F>(Net<F>::local) ? "L" : "R");
    masquerade.insert(choice.masquerade);
  }
  if (masquerade.size() != 1) return "not always the same source";
  std::string cell;
  for (const auto& endpoint : endpoints) cell += cell.empty() ? endpoint : "," + endpoint;
  return *masquerade.begin() ? cell + " masq" : cell;
}

// "L only, no masq" and "L, no masq" say that nothing else happens: as short as "L".
std::string plain(std::string cell) {
  for (const char* word : {" only", ", no masq"}) {
    if (const auto at = cell.find(word); at != std::string::npos) cell.erase(at, std::string(word).size());
  }
  return cell;
}

template <class F>
class NewFlow : public ::testing::Test {};
struct FamilyNames {
  template <class F>
  static std::string GetName(int) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    return F::is_v4 ? "V4" : "V6";
  }
};
using Families = ::testing::Types<V4, V6>;
TYPED_TEST_SUITE(NewFlow, Families, FamilyNames);

struct TruthRow {
  std::string text;
  TrafficPolicy external = TrafficPolicy::Cluster;
  TrafficPolicy internal = TrafficPolicy::Cluster;
  std::vector<ClientKind> clients;
  std::string cluster_ip;
  std::string node_port;
  std::string balancer;
};

std::vector<TruthRow> parse_truth_table() {
  std::vector<TruthRow> rows;
  std::string policy;
  for (const Row& cells : parse_table(truth_table)) {
    if (!cells[0].empty()) policy = cells[0];
    TruthRow row;
    row.text = policy + ", " + cells[1];
    const bool both = contains(policy, "both Local");
    if (both || contains(policy, "externalTrafficPolicy Local")) row.external = TrafficPolicy::Local;
    if (both || contains(policy, "internalTrafficPolicy Local")) row.internal = TrafficPolicy::Local;
    if (contains(cells[1], "pod")) row.clients.push_back(ClientKind::Pod);
    if (contains(cells[1], "node")) row.clients.push_back(ClientKind::Node);
    if (contains(cells[1], "outside")) row.clients.push_back(ClientKind::Outside);
    row.cluster_ip = plain(cells[2]);
    row.node_port = plain(cells[3]);
    row.balancer = plain(cells[4]);
    rows.push_back(std::move(row));
  }
  return rows;
}

TYPED_TEST(NewFlow, SVC60_SVC61_SVC62_SVC64_MASQ1_MASQ2_MASQ4_TruthTable) {
  using F = TypeParam;
  const auto rows = parse_truth_table();
  ASSERT_EQ(rows.size(), 11u);
  for (const TruthRow& row : rows) {
    ASSERT_FALSE(row.clients.empty());
    auto service = service_of<F>({local_endpoint<F>(), remote_endpoint<F>()});
    service.external_policy = row.external;
    service.internal_policy = row.internal;
    for (const ClientKind client : row.clients) {
      EXPECT_EQ(observe(frontend_of(FrontendKind::ClusterIp, service), client), row.cluster_ip) << row.text;
      EXPECT_EQ(observe(frontend_of(FrontendKind::NodePort, service), client), row.node_port) << row.text;
      EXPECT_EQ(observe(frontend_of(FrontendKind::LoadBalancer, service), client), row.balancer) << row.text;
      // An external address is external traffic (3.1), as a load balancer's.
      EXPECT_EQ(observe(frontend_of(FrontendKind::ExternalIp, service), client), row.balancer) << row.text;
    }
  }
}

// A pod that detectLocalMode does not call local: for masquerade and policies it is as outside (MASQ-1, SVC-63), but it
// is of the cluster, so that it may use cluster IPs (SVC-121) and source ranges need not hold for it (SVC-68).
TYPED_TEST(NewFlow, MASQ1_SVC63_APodThatIsNotLocal) {
  using F = TypeParam;
  for (const TruthRow& row : parse_truth_table()) {
    if (std::find(row.clients.begin(), row.clients.end(), ClientKind::Outside) == row.clients.end()) continue;
    auto service = service_of<F>({local_endpoint<F>(), remote_endpoint<F>()});
    service.external_policy = row.external;
    service.internal_policy = row.internal;
    for (const FrontendKind kind : all_kinds) {
      const std::string& cell = kind == FrontendKind::ClusterIp  ? row.cluster_ip
                                : kind == FrontendKind::NodePort ? row.node_port
                                                                 : row.balancer;
      EXPECT_EQ(observe(frontend_of(kind, service), ClientKind::RemotePod), cell) << row.text;
    }
  }
  ProxySettings strict;
  auto service = service_of<F>({local_endpoint<F>()});
  service.direct_return = true;
  const auto cluster_ip = choose(frontend_of(FrontendKind::ClusterIp, service), ClientKind::RemotePod, strict);
  EXPECT_EQ(cluster_ip.outcome, Outcome::Forward);
  EXPECT_TRUE(cluster_ip.masquerade);
  service.restricted = true;
  const auto balancer = frontend_of(FrontendKind::LoadBalancer, service);
  EXPECT_EQ(choose(balancer, ClientKind::RemotePod, strict).reason, DropReason::SourceRange);
  strict.source_ranges_for_in_cluster = false;
  EXPECT_EQ(choose(balancer, ClientKind::RemotePod, strict).outcome, Outcome::Forward);
  EXPECT_FALSE(choose(balancer, ClientKind::RemotePod, strict).direct_return) << "that is for clients from outside";
  EXPECT_EQ(choose(balancer, ClientKind::Outside, strict).reason, DropReason::SourceRange);
}

TYPED_TEST(NewFlow, MASQ3_HairpinIsMasqueradedInEveryRow) {
  using F = TypeParam;
  for (const TruthRow& row : parse_truth_table()) {
    auto service = service_of<F>({local_endpoint<F>()});
    service.external_policy = row.external;
    service.internal_policy = row.internal;
    for (const FrontendKind kind : all_kinds) {
      for (const ClientKind client : row.clients) {
        const auto choice = choose(frontend_of(kind, service), client, like_kube_proxy(), Net<F>::local);
        ASSERT_EQ(choice.outcome, Outcome::Forward);
        EXPECT_TRUE(choice.masquerade) << row.text;
      }
    }
  }
}

TYPED_TEST(NewFlow, MASQ3_OnlyTheChosenEndpointCounts) {
  using F = TypeParam;
  const auto frontend =
      frontend_of(FrontendKind::ClusterIp, service_of<F>({local_endpoint<F>(), remote_endpoint<F>()}));
  std::set<bool> seen;
  for (uint16_t source_port = 1000; source_port < 1100; ++source_port) {
    const auto choice = choose(frontend, ClientKind::Pod, like_kube_proxy(), Net<F>::local, source_port);
    EXPECT_EQ(choice.masquerade, choice.backend->addr == addr<F>(Net<F>::local));
    seen.insert(choice.masquerade);
  }
  EXPECT_EQ(seen.size(), 2u);
}

// Direct server return: endpoint, "masq", and "dsr" for what goes into a tunnel.
template <class F>
std::string directly(const Frontend<F>& frontend, ClientKind client, const char* source = nullptr) {
  std::set<std::string> seen;
  for (uint16_t source_port = 40000; source_port < 40200; ++source_port) {
    const auto choice =
        choose(frontend, client, like_kube_proxy(), source == nullptr ? address_of<F>(client) : source, source_port);
    if (choice.outcome != Outcome::Forward) return std::string(net::name(choice.reason));
    const bool local = choice.backend->addr == addr<F>(Net<F>::local);
    seen.insert(std::string(local ? "L" : "R") + (choice.direct_return ? " dsr" : choice.masquerade ? " masq" : ""));
  }
  std::string out;
  for (const std::string& each : seen) out += out.empty() ? each : ", " + each;
  return out;
}

TYPED_TEST(NewFlow, SVC60_SVC61_MASQ2_MASQ4_DirectServerReturn) {
  using F = TypeParam;
  auto service = service_of<F>({local_endpoint<F>(), remote_endpoint<F>()});
  service.direct_return = true;
  for (const FrontendKind kind : {FrontendKind::LoadBalancer, FrontendKind::ExternalIp}) {
    EXPECT_EQ(directly(frontend_of(kind, service), ClientKind::Outside), "L, R dsr");
    EXPECT_EQ(directly(frontend_of(kind, service), ClientKind::Relayed), "L") << "never to another node again";
    EXPECT_EQ(directly(frontend_of(kind, service), ClientKind::Pod), "L masq, R masq");
    EXPECT_EQ(directly(frontend_of(kind, service), ClientKind::Node), "L masq, R masq");
  }
  for (const ClientKind client : {ClientKind::Outside, ClientKind::Relayed}) {
    EXPECT_EQ(directly(frontend_of(FrontendKind::NodePort, service), client), "L masq, R masq");
    EXPECT_EQ(directly(frontend_of(FrontendKind::ClusterIp, service), client), "L masq, R masq");
  }
  EXPECT_EQ(directly(frontend_of(FrontendKind::ClusterIp, service), ClientKind::Pod), "L, R");
  EXPECT_EQ(directly(frontend_of(FrontendKind::LoadBalancer, service), ClientKind::Outside, Net<F>::remote),
            "L, R masq")
      << "MASQ-3";

  auto elsewhere = service_of<F>({remote_endpoint<F>()});
  elsewhere.direct_return = true;
  EXPECT_EQ(directly(frontend_of(FrontendKind::LoadBalancer, elsewhere), ClientKind::Relayed), "no_local_endpoint");
  elsewhere.direct_return = false;
  EXPECT_EQ(directly(frontend_of(FrontendKind::LoadBalancer, elsewhere), ClientKind::Relayed), "R masq")
      << "what is not answered directly is as from outside";
  service.external_policy = TrafficPolicy::Local;
  EXPECT_EQ(directly(frontend_of(FrontendKind::LoadBalancer, service), ClientKind::Outside), "L");
}

// What is needed for the case that there is no tunnel.
TYPED_TEST(NewFlow, MASQ2_DirectServerReturnSaysWhatElseToDo) {
  using F = TypeParam;
  auto service = service_of<F>({remote_endpoint<F>()});
  service.direct_return = true;
  const auto frontend = frontend_of(FrontendKind::LoadBalancer, service);
  EXPECT_TRUE(choose(frontend, ClientKind::Outside).masquerade);
  auto kept = service;
  kept.external_policy = TrafficPolicy::Local;
  ProxySettings everywhere = like_kube_proxy();
  everywhere.local_scope_cluster = true;
  const auto choice = choose(frontend_of(FrontendKind::LoadBalancer, kept), ClientKind::Outside, everywhere);
  EXPECT_TRUE(choice.direct_return);
  EXPECT_FALSE(choice.masquerade) << "SVC-65";
}

// What the cells of table 3.4 say about one frontend.
template <class F>
std::string verdict(FrontendKind kind, const ServicePort<F>& service, ClientKind client) {
  const auto frontend = frontend_of(kind, service);
  const auto choice = choose(frontend, client);
  switch (choice.outcome) {
    case Outcome::Reject:
      return choice.reason == DropReason::NoEndpointRejected ? "REJECT" : "wrong reason";
    case Outcome::Drop:
      return choice.reason == DropReason::NoLocalEndpoint ? "DROP" : "wrong reason";
    case Outcome::Forward:
      break;
  }
  return choice.backend->local ? "works through Local list" : "works through Cluster list";
}

TYPED_TEST(NewFlow, SVC30_SVC61_VerdictTable) {
  using F = TypeParam;
  const auto rows = parse_table(verdict_table);
  ASSERT_EQ(rows.size(), 4u);
  const auto check = [](const std::string& cell, FrontendKind kind, const ServicePort<F>& service, ClientKind client,
                        const std::string& situation) {
    if (cell == "-" || contains(cell, "by externalTrafficPolicy")) return;
    EXPECT_TRUE(contains(cell, verdict(kind, service, client).c_str()))
        << situation << ": " << cell << " but " << verdict(kind, service, client);
  };
  for (const Row& row : rows) {
    const std::string& situation = row[0];
    const bool nothing = contains(situation, "no usable endpoint in the cluster");
    auto service = service_of<F>(nothing ? std::vector<Backend<F>>{} : std::vector{remote_endpoint<F>()});
    if (contains(situation, "externalTrafficPolicy Local") || contains(situation, "same")) {
      service.external_policy = TrafficPolicy::Local;
    }
    if (contains(situation, "internalTrafficPolicy Local")) service.internal_policy = TrafficPolicy::Local;
    std::vector<ClientKind> clients(all_clients.begin(), all_clients.end());
    if (contains(situation, "client outside")) clients = {ClientKind::Outside};
    if (contains(situation, "client is a pod or the node")) clients = {ClientKind::Pod, ClientKind::Node};
    for (const ClientKind client : clients) {
      check(row[1], FrontendKind::ClusterIp, service, client, situation);
      check(row[2], FrontendKind::ExternalIp, service, client, situation);
      check(row[2], FrontendKind::LoadBalancer, service, client, situation);
      check(row[3], FrontendKind::NodePort, service, client, situation);
    }
  }
}

TYPED_TEST(NewFlow, SVC30_NothingUsableIsRefusedWhateverThePolicy) {
  using F = TypeParam;
  for (const TruthRow& row : parse_truth_table()) {
    auto service = service_of<F>({});
    service.external_policy = row.external;
    service.internal_policy = row.internal;
    for (const FrontendKind kind : all_kinds) {
      for (const ClientKind client : row.clients) EXPECT_EQ(verdict(kind, service, client), "REJECT") << row.text;
    }
  }
}

TYPED_TEST(NewFlow, SVC30_SilentByOption) {
  using F = TypeParam;
  auto settings = like_kube_proxy();
  settings.no_endpoints_reject = false;
  const auto choice = choose(frontend_of(FrontendKind::ClusterIp, service_of<F>({})), ClientKind::Pod, settings);
  EXPECT_EQ(choice.outcome, Outcome::Drop);
  EXPECT_EQ(choice.reason, DropReason::NoEndpoint);
  EXPECT_EQ(choice.backend, nullptr);
}

TYPED_TEST(NewFlow, SVC65_LocalScopeClusterKeepsTheSourceAndTakesAnyEndpoint) {
  using F = TypeParam;
  auto settings = like_kube_proxy();
  settings.local_scope_cluster = true;
  auto service = service_of<F>({remote_endpoint<F>()});
  service.external_policy = TrafficPolicy::Local;
  for (const FrontendKind kind : {FrontendKind::LoadBalancer, FrontendKind::ExternalIp, FrontendKind::NodePort}) {
    const auto frontend = frontend_of(kind, service);
    const auto choice = choose(frontend, ClientKind::Outside, settings);
    ASSERT_EQ(choice.outcome, Outcome::Forward);
    EXPECT_EQ(choice.backend->addr, addr<F>(Net<F>::remote));
    EXPECT_FALSE(choice.masquerade);
    EXPECT_TRUE(choose(frontend, ClientKind::Node, settings).masquerade);
  }
  // It says nothing about internalTrafficPolicy.
  service.internal_policy = TrafficPolicy::Local;
  EXPECT_EQ(choose(frontend_of(FrontendKind::ClusterIp, service), ClientKind::Pod, settings).reason,
            DropReason::NoLocalEndpoint);
}

TYPED_TEST(NewFlow, SVC121_ClusterIpIsClosedToOutsideUnlessAllowed) {
  using F = TypeParam;
  const auto frontend = frontend_of(FrontendKind::ClusterIp, service_of<F>({local_endpoint<F>()}));
  const auto choice = choose(frontend, ClientKind::Outside, ProxySettings{});
  EXPECT_EQ(choice.outcome, Outcome::Drop);
  EXPECT_EQ(choice.reason, DropReason::ClusterIpFromOutside);
  EXPECT_EQ(choose(frontend, ClientKind::Pod, ProxySettings{}).outcome, Outcome::Forward);
  EXPECT_EQ(choose(frontend, ClientKind::Node, ProxySettings{}).outcome, Outcome::Forward);
  // No answer that would tell an outsider more than that.
  const auto empty = frontend_of(FrontendKind::ClusterIp, service_of<F>({}));
  EXPECT_EQ(choose(empty, ClientKind::Outside, ProxySettings{}).outcome, Outcome::Drop);
  // Other frontends are for outsiders.
  const auto balancer = frontend_of(FrontendKind::LoadBalancer, service_of<F>({local_endpoint<F>()}));
  EXPECT_EQ(choose(balancer, ClientKind::Outside, ProxySettings{}).outcome, Outcome::Forward);
}

TYPED_TEST(NewFlow, MASQ1_MasqueradeAllIsForClusterIps) {
  using F = TypeParam;
  auto settings = like_kube_proxy();
  settings.masquerade_all = true;
  auto service = service_of<F>({local_endpoint<F>()});
  service.external_policy = TrafficPolicy::Local;
  EXPECT_TRUE(choose(frontend_of(FrontendKind::ClusterIp, service), ClientKind::Pod, settings).masquerade);
  // MASQ-4: never for outside clients of a Local service.
  EXPECT_FALSE(choose(frontend_of(FrontendKind::LoadBalancer, service), ClientKind::Outside, settings).masquerade);
}

ServicePort<V4> restricted_service() {
  auto service = service_of<V4>({local_endpoint<V4>()});
  service.restricted = true;
  service.source_ranges = {{addr<V4>("198.51.100.0"), 24}, {addr<V4>("203.0.113.0"), 25}};
  return service;
}

template <class F>
Backend<F> numbered(unsigned i) {
  return {addr<F>(((F::is_v4 ? "10.180.0." : "fd00:10:180::") + std::to_string(i)).c_str()), port(8080), i % 2 == 0};
}

// What the client had counts among the endpoints it may have now, whatever the hash says.
TYPED_TEST(NewFlow, SVC44_SVC46_TheEndpointOfLastTime) {
  using F = TypeParam;
  std::vector<Backend<F>> endpoints;
  for (unsigned i = 1; i < 9; ++i) endpoints.push_back(numbered<F>(i));
  auto service = service_of<F>(endpoints);
  service.affinity_seconds = 60;
  const auto chosen = [&](FrontendKind kind, const Backend<F>& kept) {
    const auto frontend = frontend_of(kind, service);
    const FlowKey<F> key{addr<F>(Net<F>::outside), frontend.addr, port(40000), frontend.port, frontend.protocol, {}};
    return *choose_backend(frontend, key, ClientKind::Outside, like_kube_proxy(), false, &kept).backend;
  };
  for (const Backend<F>& kept : endpoints) EXPECT_EQ(chosen(FrontendKind::LoadBalancer, kept), kept);
  EXPECT_NE(chosen(FrontendKind::LoadBalancer, numbered<F>(9)), numbered<F>(9)) << "gone";
  Backend<F> other_port = numbered<F>(1);
  other_port.port = port(8081);
  EXPECT_NE(chosen(FrontendKind::LoadBalancer, other_port), other_port);
  service.external_policy = TrafficPolicy::Local;
  EXPECT_EQ(chosen(FrontendKind::NodePort, numbered<F>(4)), numbered<F>(4));
  EXPECT_TRUE(chosen(FrontendKind::NodePort, numbered<F>(3)).local) << "not in the Local list";
  EXPECT_EQ(chosen(FrontendKind::ClusterIp, numbered<F>(3)), numbered<F>(3));
}

TEST(SourceRanges, SVC66_OnlyListedSourcesReachALoadBalancer) {
  const auto frontend = frontend_of(FrontendKind::LoadBalancer, restricted_service());
  const auto reason = [&](const char* source) {
    return choose(frontend, ClientKind::Outside, like_kube_proxy(), source).reason;
  };
  EXPECT_EQ(reason("203.0.113.2"), DropReason::None);
  EXPECT_EQ(reason("198.51.100.255"), DropReason::None);
  EXPECT_EQ(reason("203.0.113.130"), DropReason::SourceRange);
}

TEST(SourceRanges, SVC66_FamilyWithoutEntriesIsOpen) {
  auto service = service_of<V6>({local_endpoint<V6>()});
  EXPECT_EQ(choose(frontend_of(FrontendKind::LoadBalancer, service), ClientKind::Outside).outcome, Outcome::Forward);
  service.restricted = true;
  EXPECT_EQ(choose(frontend_of(FrontendKind::LoadBalancer, service), ClientKind::Outside).reason,
            DropReason::SourceRange);
  EXPECT_TRUE(source_admitted(service_of<V6>({}), addr<V6>("::1")));
}

TEST(SourceRanges, SVC53_OtherFrontendsAreNotFiltered) {
  const auto service = restricted_service();
  for (const FrontendKind kind : {FrontendKind::ClusterIp, FrontendKind::ExternalIp, FrontendKind::NodePort}) {
    EXPECT_EQ(choose(frontend_of(kind, service), ClientKind::Outside, like_kube_proxy(), "203.0.113.130").outcome,
              Outcome::Forward);
  }
}

TEST(SourceRanges, SVC67_PodsAreFilteredAndTheDropIsSilent) {
  const auto frontend = frontend_of(FrontendKind::LoadBalancer, restricted_service());
  for (const ClientKind client : all_clients) {
    const auto choice = choose(frontend, client, like_kube_proxy(), "10.0.0.2");
    EXPECT_EQ(choice.outcome, Outcome::Drop);
    EXPECT_EQ(choice.reason, DropReason::SourceRange);
  }
  // Also where there is nothing behind it.
  auto empty = restricted_service();
  empty.has_endpoint = false;
  empty.cluster = {};
  empty.local = {};
  EXPECT_EQ(choose(frontend_of(FrontendKind::LoadBalancer, empty), ClientKind::Outside, like_kube_proxy(), "192.0.2.1")
                .reason,
            DropReason::SourceRange);
}

TEST(SourceRanges, SVC67_NodeMayTalkToItsOwnAddressIfTheRangesHoldTheNode) {
  auto service = restricted_service();
  const auto reason = [&](bool source_is_vip) {
    return choose(frontend_of(FrontendKind::LoadBalancer, service), ClientKind::Node, like_kube_proxy(),
                  Net<V4>::balancer, 40000, source_is_vip)
        .reason;
  };
  EXPECT_EQ(reason(true), DropReason::SourceRange);
  service.source_ranges.push_back({addr<V4>("192.168.0.0"), 24});
  service.ranges_admit_node = true;
  EXPECT_EQ(reason(true), DropReason::None);
  EXPECT_EQ(reason(false), DropReason::SourceRange);
}

TEST(SourceRanges, SVC68_InClusterSourcesMayBeExempt) {
  auto settings = like_kube_proxy();
  settings.source_ranges_for_in_cluster = false;
  const auto frontend = frontend_of(FrontendKind::LoadBalancer, restricted_service());
  EXPECT_EQ(choose(frontend, ClientKind::Pod, settings, "10.0.0.2").outcome, Outcome::Forward);
  EXPECT_EQ(choose(frontend, ClientKind::Node, settings, "192.168.0.2").outcome, Outcome::Forward);
  EXPECT_EQ(choose(frontend, ClientKind::Outside, settings, "203.0.113.130").reason, DropReason::SourceRange);
}

template <class F>
std::vector<Backend<F>> ten_pods() {
  std::vector<Backend<F>> pods;
  for (uint16_t number = 8080; number < 8090; ++number) pods.push_back({addr<F>(Net<F>::remote), port(number), true});
  return pods;
}

TYPED_TEST(NewFlow, SVC20_HundredRequestsTouchAllTenPods) {
  using F = TypeParam;
  const auto frontend = frontend_of(FrontendKind::ClusterIp, service_of<F>(ten_pods<F>()));
  std::set<uint16_t> touched;
  for (uint16_t i = 0; i < 100; ++i) {
    const auto source_port = static_cast<uint16_t>(40000 + i);
    const auto choice = choose(frontend, ClientKind::Pod, like_kube_proxy(), Net<F>::pod, source_port);
    touched.insert(choice.backend->port.host());
    // The same flow gets the same endpoint.
    EXPECT_EQ(choose(frontend, ClientKind::Pod, like_kube_proxy(), Net<F>::pod, source_port).backend, choice.backend);
  }
  EXPECT_EQ(touched.size(), 10u);
}

TYPED_TEST(NewFlow, SVC40_SVC41_AffinityKeepsAClientOnOneEndpointOverAllFrontends) {
  using F = TypeParam;
  auto service = service_of<F>(ten_pods<F>());
  service.affinity_seconds = 10800;
  std::set<uint16_t> touched;
  for (int i = 0; i < 100; ++i) {
    typename F::Addr client = addr<F>(Net<F>::pod);
    if constexpr (F::is_v4) {
      client = net::Ipv4Addr::from_host(client.host() + static_cast<uint32_t>(i));
    } else {
      client.bytes[15] = static_cast<uint8_t>(i);
    }
    const std::string source = net::to_string(client);
    std::set<uint16_t> of_this_client;
    for (const FrontendKind kind : all_kinds) {
      const auto frontend = frontend_of(kind, service);
      for (uint16_t source_port = 1000; source_port < 1010; ++source_port) {
        const auto choice = choose(frontend, ClientKind::Pod, like_kube_proxy(), source.c_str(), source_port);
        of_this_client.insert(choice.backend->port.host());
      }
    }
    EXPECT_EQ(of_this_client.size(), 1u);
    touched.insert(of_this_client.begin(), of_this_client.end());
  }
  EXPECT_EQ(touched.size(), 10u);
}

TEST(NatOutgoing, MASQ8_FromAPoolToNoPool) {
  // The second pool is without natOutgoing, the third is a disabled one that names a network to leave alone.
  const std::vector<Pool<V4>> pools{{{addr<V4>("10.244.0.0"), 16}, true},
                                    {{addr<V4>("10.245.0.0"), 16}, false},
                                    {{addr<V4>("172.16.0.0"), 12}, false}};
  const PoolView<V4> view{pools, {}};
  const auto leaves = [&](const char* src, const char* dst) {
    return nat_outgoing<V4>(addr<V4>(src), addr<V4>(dst), view);
  };
  EXPECT_TRUE(leaves("10.244.1.2", "198.51.100.7"));
  EXPECT_TRUE(leaves("10.244.1.2", "192.168.0.11"));
  EXPECT_FALSE(leaves("10.244.1.2", "10.244.9.9"));
  EXPECT_FALSE(leaves("10.244.1.2", "10.245.0.1"));
  EXPECT_FALSE(leaves("10.244.1.2", "172.20.0.1"));
  EXPECT_FALSE(leaves("10.245.0.1", "198.51.100.7"));
  EXPECT_FALSE(leaves("198.51.100.7", "198.51.100.8"));
  EXPECT_FALSE((nat_outgoing<V4>(addr<V4>("10.244.1.2"), addr<V4>("198.51.100.7"), PoolView<V4>{})));
}

TEST(NatOutgoing, MASQ8_HostAddressesExcludedByOption) {
  const std::vector<Pool<V6>> pools{{{addr<V6>("fd00:10:244::"), 48}, true}};
  std::vector<net::Ipv6Addr> nodes{addr<V6>("fd00:1::11"), addr<V6>("fd00:1::2"), addr<V6>("fd00:1::12")};
  std::sort(nodes.begin(), nodes.end());
  const auto pod = addr<V6>("fd00:10:244::5");
  for (const auto& node : nodes) {
    EXPECT_TRUE((nat_outgoing<V6>(pod, node, {pools, {}})));
    EXPECT_FALSE((nat_outgoing<V6>(pod, node, {pools, nodes})));
  }
  EXPECT_TRUE((nat_outgoing<V6>(pod, addr<V6>("fd00:1::13"), {pools, nodes})));
}

TEST(NatOutgoing, MASQ11_PodToPodKeepsItsSource) {
  const std::vector<Pool<V4>> pools{{{addr<V4>("10.244.0.0"), 16}, true}};
  EXPECT_FALSE((nat_outgoing<V4>(addr<V4>("10.244.1.2"), addr<V4>("10.244.2.2"), {pools, {}})));
}

}  // namespace
}  // namespace sluice::nat
