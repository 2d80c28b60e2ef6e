// Changes of HTTP requests that leave them requests: other methods, targets, fields; bodies that are other JSON of the
// same kinds, compressed or in chunks. What bytes alone would take a fuzzer ages to find.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::fuzz {

struct HttpRequest {
  std::string method;
  std::string target;
  std::vector<std::string> fields;  // without those of the body's length and coding
  std::string body;                 // as it is meant
  bool gzip = false;
  bool chunked = false;
};

// Nothing for text that is not whole requests.
[[nodiscard]] std::optional<std::vector<HttpRequest>> read_requests(std::string_view text);
[[nodiscard]] std::string to_text(const std::vector<HttpRequest>& requests);

// Some changes; `mutate_bytes` is the fuzzer's own way to change a text of so many bytes at most.
using MutateBytes = std::string (*)(std::string text, size_t most);
void mutate(std::vector<HttpRequest>& requests, std::minstd_rand& random, MutateBytes mutate_bytes);

}  // namespace sluice::fuzz
