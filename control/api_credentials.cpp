#include "control/api_credentials.h"

#include <sys/stat.h>

namespace sluice::control {

Credentials::Signature Credentials::signature(const CredentialFiles& files) {
  Signature states;
  for (const std::string* path : {&files.access, &files.tls.certificate, &files.tls.key, &files.tls.client_ca}) {
    struct stat file {};
    if (path->empty() || ::stat(path->c_str(), &file) != 0) {
      states.push_back({});
      continue;
    }
    states.push_back({static_cast<int64_t>(file.st_dev), static_cast<int64_t>(file.st_ino), file.st_size,
                      file.st_mtim.tv_sec, file.st_mtim.tv_nsec, file.st_mode});
  }
  return states;
}

net::Result<Credentials> Credentials::load(CredentialFiles files) {
  Credentials credentials;
  credentials.files_ = std::move(files);
  if (const auto loaded = credentials.reload(); !loaded) return loaded.error();
  return credentials;
}

net::Status<> Credentials::reload() {
  // Taken first: what is written meanwhile counts as changed.
  Signature now = signature(files_);
  auto access = AccessList::read(files_.access);
  if (!access) return access.error();
  if (access->names_certificates() && files_.tls.client_ca.empty()) {
    return net::Error{files_.access +
                      " has rules for client certificates, but no authority says which are genuine: "
                      "--tls-client-ca"};
  }
  TlsContext tls;
  if (!files_.tls.certificate.empty()) {
    auto made = make_tls_context(files_.tls);
    if (!made) return made.error();
    tls = std::move(*made);
  }
  access_ = std::move(*access);
  tls_ = std::move(tls);
  read_ = std::move(now);
  ++generation_;
  return net::Done{};
}

}  // namespace sluice::control
