// What the API on TCP knows callers by: the files of api_access.h and tls_context.h, read again when they change, so
// that certificates and tokens can be rotated while connections go on.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

#include "control/api_access.h"
#include "control/tls_context.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct CredentialFiles {
  std::string access;  // api_access.h
  TlsFiles tls;        // no certificate: plain HTTP
};

class Credentials {
 public:
  // Error: which file, what is wrong with it.
  [[nodiscard]] static net::Result<Credentials> load(CredentialFiles files);

  // Whether a file is another one than what was read last, by its number, size and times. Follows links.
  [[nodiscard]] bool changed() const { return signature(files_) != read_; }
  // Reads all files again. Error: what is wrong; everything stays as it was.
  [[nodiscard]] net::Status<> reload();

  // Counts what reload() has read.
  [[nodiscard]] uint64_t generation() const { return generation_; }
  [[nodiscard]] const AccessList& access() const { return access_; }
  [[nodiscard]] const TlsContext& tls() const { return tls_; }  // nullptr: plain HTTP
  [[nodiscard]] bool wants_certificates() const { return !files_.tls.client_ca.empty(); }

 private:
  using FileState = std::array<int64_t, 6>;
  using Signature = std::vector<FileState>;
  [[nodiscard]] static Signature signature(const CredentialFiles& files);

  CredentialFiles files_;
  Signature read_;
  AccessList access_;
  TlsContext tls_;
  uint64_t generation_ = 0;
};

}  // namespace sluice::control
