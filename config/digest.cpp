#include "config/digest.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

namespace sluice::config {
namespace {

__extension__ using Product = unsigned __int128;

// Both halves of a product, folded: what wyhash is made of.
uint64_t multiply_fold(uint64_t a, uint64_t b) {
  const Product product = static_cast<Product>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

std::array<uint64_t, 4> draw_keys() {
  std::random_device random;
  std::array<uint64_t, 4> keys{};
  for (uint64_t& key : keys) key = uint64_t{random()} << 32 | random() | 1;
  return keys;
}

}  // namespace

Digest digest_of(std::string_view text) {
  static const std::array<uint64_t, 4> keys = draw_keys();
  uint64_t low = keys[0] ^ text.size();
  uint64_t high = keys[1];
  for (size_t at = 0; at < text.size(); at += 16) {
    std::array<uint64_t, 2> words{};
    std::memcpy(words.data(), text.data() + at, std::min<size_t>(16, text.size() - at));
    low = multiply_fold(low ^ words[0] ^ keys[2], words[1] ^ keys[3]);
    high = multiply_fold(high ^ words[1] ^ keys[3], words[0] ^ low ^ keys[2]);
  }
  return {multiply_fold(low ^ keys[1], keys[2]), multiply_fold(high ^ keys[0], keys[3]) | 1};
}

}  // namespace sluice::config
