#include "tests/packet/deploy.h"

#include "config/json.h"
#include "config/object_set.h"
#include "config/validate.h"
#include "control/plan.h"

namespace sluice::packet_test {
namespace {

std::string text(const config::ParseFailure& failure) {
  if (failure.syntax) return failure.syntax->text();
  std::string out;
  for (const config::Fault& fault : failure.faults) out += fault.text() + "\n";
  return out;
}

}  // namespace

std::string deploy(const std::string& document_text, control::Deployment& deployment,
                   control::ServiceCompiler& services, const std::function<bool(uint64_t)>& wait_for,
                   const std::function<void()>& between, const control::DrainList& drains,
                   control::ContentLibrary* content) {
  auto document = config::parse_document(document_text);
  if (!document) return text(document.error());
  auto objects = config::ObjectSet::from_document(std::move(*document), config::validate);
  if (!objects) return text(objects.error());
  return deploy(objects->config(), deployment, services, wait_for, between, drains, content);
}

std::string deploy(const config::Config& config, control::Deployment& deployment, control::ServiceCompiler& services,
                   const std::function<bool(uint64_t)>& wait_for, const std::function<void()>& between,
                   const control::DrainList& drains, control::ContentLibrary* content) {
  if (content != nullptr) {
    control::ContentLibrary::Made made = content->make(content->missing(config));
    if (!made.faults.empty()) return text(config::ParseFailure{{}, std::move(made.faults)});
    content->take(std::move(made));
  }
  control::Plan plan = control::make_plan(config);
  if (auto opened = deployment.open_ports(plan); !opened) return opened.error().message;
  if (deployment.changes_routing(plan)) {
    if (!wait_for(deployment.announce(plan))) return "no grace period after announce";
    if (between) between();
    if (auto installed = deployment.install_routes(plan); !installed) {
      if (!wait_for(deployment.retreat())) return "no grace period after retreat";
      deployment.abandon_ports();
      return installed.error().message;
    }
  }
  if (!wait_for(deployment.publish(config, std::move(plan), services, drains))) return "no grace period";
  deployment.finish();
  return {};
}

std::string deploy_delta(const std::string& before, const std::string& document, control::Deployment& deployment,
                         control::ServiceCompiler& services, const std::function<bool(uint64_t)>& wait_for) {
  auto old_document = config::parse_document(before);
  auto new_document = config::parse_document(document);
  if (!old_document || !new_document) return text((old_document ? new_document : old_document).error());
  const auto old_objects = config::ObjectSet::from_document(std::move(*old_document));
  const auto objects = config::ObjectSet::from_document(std::move(*new_document), config::validate);
  if (!old_objects || !objects) return text((old_objects ? objects : old_objects).error());
  const config::Change change = config::ObjectSet::difference(*old_objects, *objects);
  return deploy_delta(objects->config(), change, deployment, services, wait_for);
}

std::string deploy_delta(const config::Config& config, const config::Change& change, control::Deployment& deployment,
                         control::ServiceCompiler& services, const std::function<bool(uint64_t)>& wait_for,
                         const control::DrainList& drains) {
  const auto delta = deployment.plan_delta(config, change, {}, {}, {});
  if (!delta) return no_delta;
  if (auto opened = deployment.open_ports(*delta); !opened) return opened.error().message;
  if (control::Deployment::announces(*delta) && !wait_for(deployment.announce(*delta))) return "no grace period";
  if (auto installed = deployment.install_routes(*delta); !installed) {
    if (!wait_for(deployment.retreat())) return "no grace period after retreat";
    deployment.abandon_ports();
    return installed.error().message;
  }
  if (!wait_for(deployment.publish(config, *delta, services, drains, change))) return "no grace period";
  deployment.finish();
  return {};
}

}  // namespace sluice::packet_test
