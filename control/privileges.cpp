#include "control/privileges.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <grp.h>
#include <memory>
#include <pwd.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <fmt/format.h>

namespace sluice::control {
namespace {

namespace fs = std::filesystem;

net::Error failed(const std::string& what) { return net::Error{fmt::format("{}: {}", what, std::strerror(errno))}; }

// The whole text as a number of a user or group.
bool read_id(const std::string& text, uint32_t& id) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) return false;
  id = static_cast<uint32_t>(std::stoul(text));
  return true;
}

using Capabilities = std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)>;

bool may(cap_value_t capability) {
  const Capabilities own(cap_get_proc(), cap_free);
  cap_flag_value_t value = CAP_CLEAR;
  return own && cap_get_flag(own.get(), capability, CAP_EFFECTIVE, &value) == 0 && value == CAP_SET;
}

}  // namespace

net::Result<Identity> find_identity(const std::string& text) {
  const size_t colon = text.find(':');
  Identity identity;
  identity.name = text.substr(0, colon);
  const passwd* user = getpwnam(identity.name.c_str());
  if (user == nullptr && read_id(identity.name, identity.uid)) {
    user = getpwuid(identity.uid);
    identity.gid = identity.uid;
  } else if (user == nullptr) {
    return net::Error{
        fmt::format("there is no user \"{0}\"; make one (useradd --system --no-create-home {0})", identity.name)};
  }
  if (user != nullptr) {
    identity.uid = user->pw_uid;
    identity.gid = user->pw_gid;
  }
  if (colon == std::string::npos) return identity;
  const std::string group_name = text.substr(colon + 1);
  if (const group* const group = getgrnam(group_name.c_str()); group != nullptr) {
    identity.gid = group->gr_gid;
  } else if (!read_id(group_name, identity.gid)) {
    return net::Error{fmt::format("there is no group \"{0}\"; make one (groupadd --system {0})", group_name)};
  }
  return identity;
}

net::Status<> give(const std::string& path, const Identity& owner) {
  if (lchown(path.c_str(), owner.uid, owner.gid) == 0) return net::Done{};
  return failed(fmt::format("{} cannot be given to {}", path, owner.name));
}

net::Status<> give_folder(const std::string& folder, const Identity& owner) {
  if (folder.empty()) return net::Done{};
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return net::Error{fmt::format("{} cannot be made: {}", folder, error.message())};
  if (auto given = give(folder, owner); !given) return given;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (!entry.is_regular_file(error) || entry.is_symlink(error)) continue;
    if (auto given = give(entry.path().string(), owner); !given) return given;
  }
  return net::Done{};
}

net::Status<> make_folder(const std::string& folder, const Identity& owner) {
  if (folder.empty() || fs::exists(folder)) return net::Done{};
  return give_folder(folder, owner);
}

net::Status<> can_become(const Identity& identity) {
  if (identity.uid == geteuid() && identity.gid == getegid()) return net::Done{};
  if (may(CAP_SETUID) && may(CAP_SETGID) && may(CAP_CHOWN)) return net::Done{};
  return net::Error{fmt::format(
      "only root (or who has CAP_SETUID, CAP_SETGID and CAP_CHOWN) can go on as {}; start as root or without --user",
      identity.name)};
}

net::Status<> drop_privileges(const Identity& identity) {
  // Of the calling thread; the others lose all they may with their user (capabilities(7)).
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return failed("PR_SET_KEEPCAPS");
  // The C library carries these three over to every thread.
  if (may(CAP_SETGID) && setgroups(1, &identity.gid) != 0) return failed("setgroups");
  if (setresgid(identity.gid, identity.gid, identity.gid) != 0) return failed("setresgid");
  if (setresuid(identity.uid, identity.uid, identity.uid) != 0) return failed("setresuid");

  const Capabilities kept(cap_init(), cap_free);
  const Capabilities own(cap_get_proc(), cap_free);
  if (!kept || !own) return failed("capabilities");
  for (const cap_value_t wanted : {CAP_NET_ADMIN, CAP_NET_RAW}) {
    cap_flag_value_t permitted = CAP_CLEAR;
    if (cap_get_flag(own.get(), wanted, CAP_PERMITTED, &permitted) != 0 || permitted != CAP_SET) continue;
    if (cap_set_flag(kept.get(), CAP_PERMITTED, 1, &wanted, CAP_SET) != 0 ||
        cap_set_flag(kept.get(), CAP_EFFECTIVE, 1, &wanted, CAP_SET) != 0) {
      return failed("capabilities");
    }
  }
  if (cap_set_proc(kept.get()) != 0) return failed("capset");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("PR_SET_NO_NEW_PRIVS");
  // A change of user hides /proc/self from its own process and forbids core files.
  if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return failed("PR_SET_DUMPABLE");
  return net::Done{};
}

}  // namespace sluice::control
