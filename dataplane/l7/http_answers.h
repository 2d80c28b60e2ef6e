// What the router answers itself to HTTP/1 requests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/l7/decision.h"

namespace sluice::l7 {

// A whole answer with status line, Content-Length and "Connection: close" (RFC 9112 section 9.6). `head`: without its
// body, whose length it tells all the same (RFC 9110 section 9.3.2). Statuses: 200, 400, 404, 405, 408, 431, 502,
// 503, 504 and 505; another one gives 400. Lives as long as the program.
[[nodiscard]] Bytes http_answer(uint16_t status, bool head = false);
// The phrase of RFC 9110 section 15.
[[nodiscard]] std::string_view http_phrase(uint16_t status);

// `https://host:port` and the path and query, port only if it is not 443. Lives until this thread asks again; empty: it
// would be longer than heads may be. The arguments are from a head that was parsed.
[[nodiscard]] std::string_view https_location(std::string_view host, uint16_t port, std::string_view path,
                                              std::string_view query);
// 308 to there. Lives until this thread asks again.
[[nodiscard]] Bytes http_redirect(std::string_view location);

}  // namespace sluice::l7
