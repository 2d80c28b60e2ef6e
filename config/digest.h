// What stands for a text where only "the same as before" is asked: 128 bits under keys that are drawn at every start,
// so that nobody can make two texts that have one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::config {

struct Digest {
  uint64_t low = 0;
  uint64_t high = 0;

  struct Hash {
    size_t operator()(const Digest& digest) const { return digest.low; }
  };
  [[nodiscard]] bool empty() const { return low == 0 && high == 0; }
  friend bool operator==(const Digest&, const Digest&) = default;
};

[[nodiscard]] Digest digest_of(std::string_view text);

}  // namespace sluice::config
