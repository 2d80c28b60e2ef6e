// Services of type ExternalName behind rules of Ingresses: which count, and what their names make of the tables.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/external_name.h"
#include "control/service_compiler.h"
#include "tests/unit/config_documents.h"
#include "tests/unit/fake_lookup.h"

namespace sluice::control {
namespace {

using config::ObjectName;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr const char* gateway = R"({"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration",
  "metadata": {"name": "default"}, "spec": {"nodeName": "gw-1",
  "interfaces": [{"name": "uplink0", "device": "net_null0", "addresses": ["192.168.0.2/24", "fd00:1::2/64"]}],
  "ingress": {"enabled": true, "addresses": ["192.168.0.2", "fd00:1::2"]}}})";
constexpr const char* our_class = R"({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
  "metadata": {"name": "gw"}, "spec": {"controller": "sluice.dev/ingress"}})";

std::string service(const std::string& name, const std::string& external) {
  return fmt::format(R"({{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{}"}}, "spec": {{
    "type": "ExternalName", "externalName": "{}", "ports": [{{"name": "https", "port": 8443}},
      {{"name": "dns", "port": 53, "protocol": "UDP"}}]}}}})",
                     name, external);
}

// Paths with a service and a port each: {"/a", "db", R"("number": 80)"}.
struct Path {
  std::string path, service, port;
};
std::string ingress(const std::vector<Path>& paths) {
  std::string list;
  for (const Path& path : paths) {
    list += fmt::format(R"({}{{"path": "{}", "pathType": "Prefix", "backend": {{"service": {{"name": "{}",
      "port": {{{}}}}}}}}})",
                        list.empty() ? "" : ",", path.path, path.service, path.port);
  }
  return fmt::format(R"({{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {{"name": "rules"}},
    "spec": {{"ingressClassName": "gw", "rules": [{{"host": "foo.com", "http": {{"paths": [{}]}}}}]}}}})",
                     list);
}

const std::vector<net::IpAddr> own{*net::parse_ip("192.168.0.2"), *net::parse_ip("fd00:1::2")};
const ObjectName db{"default", "db"};
constexpr uint8_t tcp = 6;

class ExternalService : public testing::Test {
 protected:
  void load(std::vector<std::string> list) {
    list.insert(list.begin(), {gateway, our_class});
    objects_ = config::valid_set(config::list_of(list));
    tables_ = compiler_.compile(objects_.config(), own);
    follow();
  }
  void change(const std::string& delta) {
    auto parsed = config::parse_delta(delta);
    ASSERT_TRUE(parsed);
    const auto change = objects_.apply(std::move(*parsed));
    ASSERT_TRUE(change);
    tables_ = compiler_.update(objects_.config(), *change, own);
    follow();
  }
  void upsert(const std::string& object) { change(R"({"kind": "Delta", "upsert": [)" + object + "]}"); }
  void remove(const std::string& kind, const std::string& name) {
    change(fmt::format(R"({{"kind": "Delta", "delete": [{{"kind": "{}", "name": "{}"}}]}})", kind, name));
  }
  // As the controller does.
  void follow() {
    changes_ = 0;
    for (const ObjectName& name : compiler_.take_touched_external()) {
      const std::string* const text = objects_.text_of({"Service", name.ns, name.name});
      const std::string wanted =
          compiler_.external().contains(name) ? config::external_name_of(*text).name : std::string();
      if (wanted.empty()) {
        names_.forget(name);
      } else {
        names_.want(name, wanted);
      }
    }
    if (changes_ != 0) publish();
  }
  void answer(const std::vector<std::string>& v4, const std::vector<std::string>& v6 = {}) {
    const auto waiting = std::exchange(*questions_, {});
    for (const auto& question : waiting) question.done(answer_of(question.family == net::Family::V4 ? v4 : v6));
    publish();
  }
  void publish() {
    config::Change change;
    for (const ObjectName& name : names_.take_changed()) {
      if (!compiler_.external().contains(name)) continue;
      change.touched.push_back({{"Service", name.ns, name.name}, config::Change::Action::Replaced});
    }
    tables_ = compiler_.update(objects_.config(), change, own);
  }
  // The hidden frontend that requests of the path get to; nullptr: none.
  template <class F>
  [[nodiscard]] const nat::Frontend<F>* hidden(const std::string& path) const {
    const std::string head = "GET " + path + " HTTP/1.1\r\nHost: foo.com\r\n\r\n";
    const l7::Decision decision =
        compiler_.ingress().http()->decide({reinterpret_cast<const uint8_t*>(head.data()), head.size()});
    const auto& table = [&]() -> const nat::ServiceTable<F>& {
      if constexpr (F::is_v4) {
        return *tables_.v4;
      } else {
        return *tables_.v6;
      }
    }();
    return table.find(l7::target_address<typename F::Addr>(decision.target), net::be16{}, tcp);
  }
  template <class F = net::V4>
  [[nodiscard]] std::vector<std::string> endpoints(const std::string& path) const {
    const auto* const frontend = hidden<F>(path);
    if (frontend == nullptr) return {"nothing"};
    EXPECT_EQ(frontend->kind, nat::FrontendKind::ExternalIp);
    EXPECT_EQ(frontend->service->has_endpoint, !frontend->service->cluster.backends.empty());
    return texts<F>(frontend->service->cluster.backends);
  }
  template <class F>
  [[nodiscard]] static std::vector<std::string> texts(const std::vector<nat::Backend<F>>& backends) {
    std::vector<std::string> out;
    for (const auto& backend : backends) {
      out.push_back(net::to_string(net::IpAddr(backend.addr)) + " " + std::to_string(backend.port.host()));
    }
    return out;
  }

  config::ObjectSet objects_;
  FakeLookup::Questions questions_ = std::make_shared<std::vector<FakeLookup::Question>>();
  ExternalNameCounts counts_;
  unsigned changes_ = 0;
  ExternalNames names_{std::make_unique<FakeLookup>(questions_),
                       {.objection = [](const net::IpAddr&) { return std::string(); },
                        .changed = [this] { ++changes_; },
                        .report = [](const RouterEvent&) {}},
                       counts_};
  ServiceCompiler compiler_{config::one_after_the_other, nullptr, &names_};
  ServiceCompiler::Tables tables_;
};

TEST_F(ExternalService, ING6_ING9_AddressesBecomeEndpoints) {
  load({service("db", "db.example.com"), ingress({{"/", "db", R"("number": 80)"},
                                                  {"/named", "db", R"("name": "https")"},
                                                  {"/listed", "db", R"("number": 8443)"},
                                                  {"/nobody", "db", R"("name": "none")"},
                                                  {"/udp", "db", R"("name": "dns")"}})});
  EXPECT_THAT(compiler_.external(), ElementsAre(db));
  EXPECT_THAT(endpoints("/"), IsEmpty()) << "503: DNS has not answered";
  answer({"203.0.113.5", "203.0.113.6"}, {"2001:db8::5"});
  EXPECT_THAT(endpoints("/"), ElementsAre("203.0.113.5 80", "203.0.113.6 80"));
  EXPECT_THAT(endpoints("/named"), ElementsAre("203.0.113.5 8443", "203.0.113.6 8443"));
  EXPECT_THAT(endpoints("/nobody"), ElementsAre("nothing"));
  EXPECT_THAT(endpoints("/udp"), ElementsAre("nothing"));
  EXPECT_THAT(endpoints<net::V6>("/"), ElementsAre("2001:db8::5 80"));
  EXPECT_EQ(hidden<net::V4>("/named")->service, hidden<net::V4>("/listed")->service) << "one port, by name and number";
  EXPECT_EQ(hidden<net::V4>("/named")->service->name, "default/db:https");
  EXPECT_EQ(hidden<net::V4>("/")->service->name, "default/db:80");
  const net::Ipv4Addr five = net::parse_ip("203.0.113.5")->v4();
  EXPECT_TRUE(tables_.endpoints_v4->contains(five, net::be16::from_host(80), tcp));
}

TEST_F(ExternalService, ING8_ING9_OtherAddressesAreNoMatterOfTheRules) {
  load({service("db", "db.example.com"), ingress({{"/", "db", R"("number": 80)"}})});
  answer({"203.0.113.5"});
  const auto listener = compiler_.ingress().http();
  const uint32_t id = hidden<net::V4>("/")->service->id;
  names_.tick(ExternalNames::Clock::time_point() + ExternalNames::interval);
  answer({"203.0.113.6"});
  EXPECT_THAT(endpoints("/"), ElementsAre("203.0.113.6 80"));
  EXPECT_EQ(compiler_.ingress().http(), listener);
  EXPECT_EQ(hidden<net::V4>("/")->service->id, id);
  EXPECT_THAT(texts<net::V4>(hidden<net::V4>("/")->service->serving), ElementsAre("203.0.113.6 80", "203.0.113.5 80"))
      << "connections that are there stay, whatever onBackendRemoved says";
  const auto before = hidden<net::V4>("/")->service;
  publish();
  EXPECT_EQ(hidden<net::V4>("/")->service, before) << "nothing is different";
}

TEST_F(ExternalService, ING9_OnlyWhatRulesLeadTo) {
  load({service("db", "db.example.com"), service("other", "other.example.com"),
        ingress({{"/", "db", R"("number": 80)"}})});
  EXPECT_THAT(compiler_.external(), ElementsAre(db));
  ASSERT_EQ(questions_->size(), 2U);
  EXPECT_EQ(questions_->front().name, "db.example.com");
  answer({"203.0.113.5"});
  remove("Ingress", "rules");
  EXPECT_THAT(compiler_.external(), IsEmpty());
  EXPECT_EQ(names_.addresses_of(db), nullptr);
  EXPECT_EQ(tables_.v4->size(), 2U) << "the two that are listened on";
  upsert(ingress({{"/", "db", R"("number": 80)"}}));
  answer({"203.0.113.7"});
  EXPECT_THAT(endpoints("/"), ElementsAre("203.0.113.7 80"));
  // It becomes an ordinary one, and what it was again.
  upsert(R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": {"clusterIP": "10.96.0.1",
    "ports": [{"port": 80}]}})");
  EXPECT_THAT(compiler_.external(), IsEmpty());
  EXPECT_EQ(hidden<net::V4>("/")->kind, nat::FrontendKind::ClusterIp);
  upsert(service("db", "db.example.com"));
  answer({"203.0.113.8"});
  EXPECT_THAT(endpoints("/"), ElementsAre("203.0.113.8 80"));
  remove("Service", "db");
  EXPECT_THAT(compiler_.external(), IsEmpty());
  EXPECT_THAT(endpoints("/"), ElementsAre("nothing"));
  EXPECT_EQ(names_.addresses_of(db), nullptr);
}

TEST_F(ExternalService, ING6_ING9_ANameThatIsTakenAwayTakesItsAddresses) {
  const auto five = net::parse_ip("203.0.113.5")->v4();
  const auto contains = [&] { return tables_.endpoints_v4->contains(five, net::be16::from_host(80), tcp); };
  load({service("db", "db.example.com"), ingress({{"/", "db", R"("number": 80)"}})});
  answer({"203.0.113.5"});
  ASSERT_THAT(endpoints("/"), ElementsAre("203.0.113.5 80"));
  ASSERT_TRUE(contains());
  for (const char* const wrong : {"", "203.0.113.5", "no name"}) {
    upsert(service("db", wrong));
    EXPECT_THAT(endpoints("/"), IsEmpty()) << wrong << ": 503";
    EXPECT_FALSE(contains()) << wrong;
    EXPECT_EQ(hidden<net::V4>("/")->service->serving.size(), 0U) << wrong;
    upsert(service("db", "db.example.com"));
    answer({"203.0.113.5"});
    ASSERT_THAT(endpoints("/"), ElementsAre("203.0.113.5 80"));
  }
  // Another name: nothing of the first one is left.
  upsert(service("db", "other.example.com"));
  EXPECT_THAT(endpoints("/"), IsEmpty());
  EXPECT_FALSE(contains());
  answer({"203.0.113.5"});
  ASSERT_TRUE(contains());
  // No rule, no Service, no external one: the tables that say so have no address, nothing follows.
  remove("Ingress", "rules");
  EXPECT_FALSE(contains());
  upsert(ingress({{"/", "db", R"("number": 80)"}}));
  answer({"203.0.113.5"});
  ASSERT_TRUE(contains());
  remove("Service", "db");
  EXPECT_FALSE(contains());
  EXPECT_THAT(endpoints("/"), ElementsAre("nothing"));
  upsert(service("db", "db.example.com"));
  answer({"203.0.113.5"});
  ASSERT_TRUE(contains());
  upsert(R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": {"clusterIP": "10.96.0.1",
    "ports": [{"port": 80}]}})");
  EXPECT_FALSE(contains());
}

TEST_F(ExternalService, ING9_TheDefaultBackendOfTheGateway) {
  std::string with_default = gateway;
  with_default.replace(with_default.find(R"("enabled": true)"), 15,
                       R"("enabled": true, "defaultBackend": "default/db:8443")");
  load({service("db", "db.example.com"), ingress({{"/a", "none", R"("number": 80)"}})});
  EXPECT_THAT(compiler_.external(), IsEmpty());
  upsert(with_default);
  EXPECT_THAT(compiler_.external(), ElementsAre(db));
  answer({"203.0.113.5"});
  EXPECT_THAT(endpoints("/b"), ElementsAre("203.0.113.5 8443"));
}

}  // namespace
}  // namespace sluice::control
