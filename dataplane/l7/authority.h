// Host and port as HTTP writes them (RFC 3986 section 3.2), and hosts as rules know them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::l7 {

// Views are into what was parsed.
struct Authority {
  bool ok = false;
  std::string_view host;  // without port; an IPv6 address with its brackets. May be empty
  std::string_view port;  // digits; may be empty
  [[nodiscard]] bool valid() const { return ok; }
};
// No user information: nobody sends that to a server (RFC 9110 section 4.2.4).
[[nodiscard]] Authority parse_authority(std::string_view text);

// In lower case and without the dot at the end (ING-1). Neither allocates nor is larger than a name can be.
class HostName {
 public:
  static constexpr size_t most_bytes = 255;
  // Longer hosts are no name of any rule: empty.
  explicit HostName(std::string_view host);
  [[nodiscard]] std::string_view text() const { return {bytes_.data(), size_}; }

 private:
  std::array<char, most_bytes> bytes_;  // NOLINT(cppcoreguidelines-pro-type-member-init): size_ of them are set
  size_t size_ = 0;
};

}  // namespace sluice::l7
