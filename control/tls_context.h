// TLS of the API on TCP: certificate, key and the authority of client certificates from files; TLS 1.2 and 1.3, ALPN
// http/1.1. A context is never changed: when files change a new one is made, connections go on with theirs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "control/api_access.h"
#include "dataplane/net/result.h"

namespace sluice::control {

struct TlsFiles {
  std::string certificate;  // PEM: the server's, behind it those between it and the root
  std::string key;          // PEM, not open to other users
  std::string client_ca;    // PEM: clients may show a certificate of these; empty: they are not asked for one
};

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;

// Error: which file, what is wrong with it; the key and the certificate do not belong together.
[[nodiscard]] net::Result<TlsContext> make_tls_context(const TlsFiles& files);

// Of the client's certificate, after the handshake, which has verified it; empty: it showed none.
[[nodiscard]] std::optional<Subject> peer_subject(SSL* connection);

// The end of the certificate's time, like "Nov 21 19:57:46 2027 GMT"; empty if it cannot be read.
[[nodiscard]] std::string valid_until(const TlsContext& context);

}  // namespace sluice::control
