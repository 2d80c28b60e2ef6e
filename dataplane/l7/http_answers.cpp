#include "dataplane/l7/http_answers.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "dataplane/l7/http_head.h"

namespace sluice::l7 {

namespace {

struct Status {
  uint16_t number;
  std::string_view phrase;
};
constexpr std::array statuses{
    Status{200, "OK"},
    Status{308, "Permanent Redirect"},
    Status{400, "Bad Request"},
    Status{404, "Not Found"},
    Status{405, "Method Not Allowed"},
    Status{408, "Request Timeout"},
    Status{431, "Request Header Fields Too Large"},
    Status{502, "Bad Gateway"},
    Status{503, "Service Unavailable"},
    Status{504, "Gateway Timeout"},
    Status{505, "HTTP Version Not Supported"},
};
constexpr size_t other = 2;

size_t index_of(uint16_t status) {
  const auto found =
      std::find_if(statuses.begin(), statuses.end(), [&](const Status& one) { return one.number == status; });
  return found == statuses.end() ? other : static_cast<size_t>(found - statuses.begin());
}

struct Answers {
  Answers() {
    for (size_t i = 0; i < statuses.size(); ++i) {
      const std::string number = std::to_string(statuses[i].number);
      const std::string line = number + " " + std::string(statuses[i].phrase);
      const std::string body = line + "\n";
      heads[i] = "HTTP/1.1 " + line + "\r\n";
      // RFC 9110 section 15.5.6. No resource of ours knows another method.
      if (statuses[i].number == 405) heads[i] += "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";
      heads[i] += "Content-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
                  "\r\nConnection: close\r\n\r\n";
      whole[i] = heads[i] + body;
    }
  }
  std::array<std::string, statuses.size()> heads;
  std::array<std::string, statuses.size()> whole;
};

Bytes bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

// Text of at most so many bytes.
struct Text {
  std::array<char, most_head_bytes + 512> bytes;
  size_t size;
  bool fits;

  void clear() {
    size = 0;
    fits = true;
  }
  void append(std::string_view more) {
    fits = fits && more.size() <= bytes.size() - size;
    if (!fits) return;
    std::copy(more.begin(), more.end(), bytes.data() + size);
    size += more.size();
  }
};
thread_local constinit Text location{};
thread_local constinit Text redirection{};

const Answers answers;

}  // namespace

std::string_view http_phrase(uint16_t status) { return statuses[index_of(status)].phrase; }

Bytes http_answer(uint16_t status, bool head) {
  const size_t index = index_of(status);
  return bytes_of(head ? answers.heads[index] : answers.whole[index]);
}

std::string_view https_location(std::string_view host, uint16_t port, std::string_view path, std::string_view query) {
  Text& out = location;
  out.clear();
  out.append("https://");
  out.append(host);
  constexpr uint16_t usual = 443;
  if (port != usual) {
    std::array<char, 8> digits{':'};
    const auto end = std::to_chars(digits.data() + 1, digits.data() + digits.size(), port);
    out.append({digits.data(), end.ptr});
  }
  out.append(path);
  out.append(query);
  return out.fits && out.size <= most_head_bytes ? std::string_view(out.bytes.data(), out.size) : std::string_view{};
}

Bytes http_redirect(std::string_view to) {
  Text& out = redirection;
  out.clear();
  out.append("HTTP/1.1 308 Permanent Redirect\r\nLocation: ");
  out.append(to);
  out.append("\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  return bytes_of({out.bytes.data(), out.size});
}

}  // namespace sluice::l7
