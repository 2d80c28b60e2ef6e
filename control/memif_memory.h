// The memory that a pod passes for its memif.
//
// It is taken if it stays what it is: a memfd sealed against shrinking (F_SEAL_SHRINK), of ordinary pages. When it is
// mapped it is sealed against holes as well (F_SEAL_FUTURE_WRITE; the pod's own mapping stays writable), so that no
// touch of it can fail, and locked as far as RLIMIT_MEMLOCK goes, so that none waits.
//
// A page that the pod has not touched yet is made when the router touches it, and counts as the router's (memcg) as
// long as the pod keeps the memory, connected or not. So how much of that there may be is the caller's to say.
#pragma once

#include <cstdint>

#include "dataplane/memif_link.h"
#include "dataplane/net/result.h"

namespace sluice::control {

// Whether it can be taken, without touching it. Returns at once, whatever the file is.
[[nodiscard]] net::Status<> check_memory(int file, uint64_t size);

// Maps what was found to be right. The pod decides how long that takes: it may hold the file's locks. `may_make`: bytes
// of pages that may be made for it; those that were are taken off, also on an error.
[[nodiscard]] net::Result<dataplane::MemifRegion> map_memory(int file, uint64_t size, uint64_t& may_make);

}  // namespace sluice::control
