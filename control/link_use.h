// What stands behind a port that is no device of DPDK.
#pragma once

#include <cstdint>

namespace sluice::control {

enum class LinkUse : uint8_t {
  Pod,    // an interface of the kernel that comes and goes with its pod
  Own,    // one of the machine's: it has to be there when it is opened, and is given back to the kernel's stack
  Memif,  // a pod's shared memory (memif_server.h)
};

}  // namespace sluice::control
