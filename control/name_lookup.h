// Asks DNS for the addresses of names, as the host does: by what "hosts" in its /etc/nsswitch.conf says, which is the
// servers of its /etc/resolv.conf for the source "dns".
//
// The system's resolver waits, for many seconds where no server answers. So it is asked in threads of its own, a few at
// one time, which end when there is nothing left to ask, and which nobody waits for: not the control thread, and not
// the end of the program.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "dataplane/net/addr.h"

namespace sluice::control {

struct LookupAnswer {
  // None: there is no such name, or it has no address of this family.
  enum class Kind : uint8_t { Addresses, None, Failed };
  Kind kind = Kind::Failed;
  std::vector<net::IpAddr> addresses;  // sorted, each once
  std::string problem;                 // of Failed, for people
};

class NameLookup {
 public:
  using Done = std::function<void(LookupAnswer)>;

  virtual ~NameLookup() = default;
  // Of the absolute name, without a dot at its end; it gets one, so that neither search domains nor lines of /etc/hosts
  // count. `done` is called in the thread of the caller, later and once, unless the object ends before.
  virtual void ask(const std::string& name, net::Family family, Done done) = 0;
};

// `done` is called by `io`, which outlives the object.
[[nodiscard]] std::unique_ptr<NameLookup> make_host_lookup(boost::asio::io_context& io);

}  // namespace sluice::control
