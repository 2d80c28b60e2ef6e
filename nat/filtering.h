// Who may send to a mapping's port (RFC 4787 REQ-8).
#pragma once

#include <cstdint>

namespace sluice::nat {

enum class Filtering : uint8_t {
  EndpointIndependent,      // everybody
  AddressDependent,         // whom the endpoint inside has a connection to, from any port
  AddressAndPortDependent,  // what answers a connection, and nothing else
};

}  // namespace sluice::nat
