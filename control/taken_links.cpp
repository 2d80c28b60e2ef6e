#include "control/taken_links.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace json = boost::json;
using dataplane::LinkSettings;

std::string boot() {
  auto text = read_file("/proc/sys/kernel/random/boot_id");
  if (!text) return {};
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

uint64_t network_namespace() {
  struct stat info {};
  return stat("/proc/self/ns/net", &info) == 0 ? info.st_ino : 0;
}

std::optional<LinkSettings> settings_of(const json::value& value) {
  const auto* const object = value.if_object();
  if (object == nullptr) return std::nullopt;
  const auto* const index = object->if_contains("index");
  const auto* const arp = object->if_contains("arp");
  const auto* const ipv6 = object->if_contains("ipv6");
  if (index == nullptr || arp == nullptr || ipv6 == nullptr || !arp->is_bool() || !ipv6->is_bool()) return std::nullopt;
  boost::system::error_code error;
  const auto number = index->to_number<uint32_t>(error);
  if (error) return std::nullopt;
  return LinkSettings{number, arp->get_bool(), ipv6->get_bool()};
}

}  // namespace

TakenLinks::~TakenLinks() {
  if (lock_ >= 0) close(lock_);
}

// As long as the process lives, however it ends. A link in the folder is somebody else's doing, and not followed.
net::Result<bool> TakenLinks::lock() {
  if (lock_ >= 0 || !file_.enabled()) return true;
  const std::string path = file_.path() + ".lock";
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    if (errno == ENOENT) return true;  // there is no folder yet, and nobody has it
    return failure("cannot lock", path);
  }
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    const bool elsewhere = errno == EWOULDBLOCK;
    const auto failed = failure("cannot lock", path);
    close(descriptor);
    return elsewhere ? net::Result<bool>(false) : failed;
  }
  lock_ = descriptor;
  return true;
}

net::Result<bool> TakenLinks::load() {
  links_.clear();
  unread_.clear();
  const auto text = file_.load();
  if (!text) return text.error();
  if (!*text) return true;
  if (auto locked = lock(); !locked || !*locked) {
    unread_ = locked ? "another router has " + file_.path() : locked.error().message;
    return locked;
  }
  boost::system::error_code error;
  const json::value document = json::parse(**text, error);
  const json::object* const object = error ? nullptr : document.if_object();
  if (object == nullptr) return net::Error{"cannot be understood, and is not used: " + file_.path()};
  const auto* const of_boot = object->if_contains("boot");
  const auto* const of_namespace = object->if_contains("namespace");
  const auto* const interfaces = object->if_contains("interfaces");
  if (of_boot == nullptr || of_namespace == nullptr || interfaces == nullptr || !interfaces->is_object()) return true;
  if (*of_boot != json::value(boot()) || *of_namespace != json::value(std::to_string(network_namespace()))) return true;
  for (const auto& [name, value] : interfaces->get_object()) {
    if (const auto settings = settings_of(value)) links_.emplace(name, *settings);
  }
  return true;
}

std::optional<LinkSettings> TakenLinks::find(const std::string& name) const {
  const auto found = links_.find(name);
  return found == links_.end() ? std::nullopt : std::optional(found->second);
}

net::Status<> TakenLinks::save() const {
  json::object interfaces;
  for (const auto& [name, settings] : links_) {
    interfaces[name] = json::object{{"index", settings.index}, {"arp", settings.arp}, {"ipv6", settings.ipv6}};
  }
  const json::object document{
      {"boot", boot()}, {"namespace", std::to_string(network_namespace())}, {"interfaces", std::move(interfaces)}};
  return file_.save(json::serialize(document) + "\n");
}

net::Status<> TakenLinks::add(const std::string& name, const LinkSettings& before) {
  links_.insert_or_assign(name, before);
  if (!unread_.empty()) return net::Error{unread_};
  if (auto saved = save(); !saved) return saved;
  // The folder is there now. Another process that has it would have been found by load().
  if (auto locked = lock(); !locked) return locked.error();
  return net::Done{};
}

void TakenLinks::remove(const std::string& name) {
  if (links_.erase(name) != 0 && unread_.empty()) (void)save();
}

TakenLinks::GivenBack TakenLinks::give_back() {
  GivenBack out;
  const bool any = !links_.empty();
  for (auto at = links_.begin(); at != links_.end();) {
    const auto done = dataplane::PodSocket::release(at->first, at->second);
    if (!done) {
      out.problems.push_back(fmt::format("{} is not given back to the kernel: {}", at->first, done.error().message));
      ++at;
      continue;
    }
    if (*done) out.names.push_back(at->first);
    at = links_.erase(at);
  }
  if (!any) return out;
  if (auto saved = save(); !saved) out.problems.push_back(saved.error().message);
  return out;
}

}  // namespace sluice::control
