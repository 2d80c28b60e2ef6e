// sluiced starts as root and goes on as somebody else: --user. What it keeps is what opening a further port takes.
#pragma once

#include <string>
#include <sys/types.h>

#include "dataplane/net/result.h"

namespace sluice::control {

struct Identity {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

// "USER" with its own group, or "USER:GROUP"; names or numbers. Error: nobody has that name.
[[nodiscard]] net::Result<Identity> find_identity(const std::string& text);

// The file or folder belongs to `owner` from now on; a link itself, not what it points to.
[[nodiscard]] net::Status<> give(const std::string& path, const Identity& owner);
// The folder, which is made if it is missing, and the files in it belong to `owner` from now on. Nothing is done for an
// empty path.
[[nodiscard]] net::Status<> give_folder(const std::string& folder, const Identity& owner);
// The same, but a folder that is there already keeps its owner: it may be everybody's, like /tmp.
[[nodiscard]] net::Status<> make_folder(const std::string& folder, const Identity& owner);

// Whether drop_privileges can work. The error says what is missing.
[[nodiscard]] net::Status<> can_become(const Identity& identity);

// All threads of the process run as `identity` from now on, in no other group and without capabilities, except the
// calling one (and those it starts later), which keeps CAP_NET_ADMIN and CAP_NET_RAW: TAP and AF_PACKET ports ask for
// them. What was open stays open.
[[nodiscard]] net::Status<> drop_privileges(const Identity& identity);

}  // namespace sluice::control
