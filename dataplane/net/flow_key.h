// What makes packets one flow: addresses, ports, protocol. The key is hashed and compared as raw memory,
// so it has no padding.
//
// Ports by protocol: TCP, UDP, SCTP: their ports. ICMP echo: the identifier stands where the client's port
// would, 0 where the server's would (request: src_port = id; reply: dst_port = id), so that the reversed key
// of a request is the key of its reply and masquerade of the identifier (MASQ-12) is masquerade of a port.
// Other ICMP queries: type and code in dst_port. Anything else: 0 and 0 (CT-37).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dataplane/net/addr.h"

namespace sluice::net {

template <class F>
struct FlowKey {
  typename F::Addr src;
  typename F::Addr dst;
  be16 src_port;
  be16 dst_port;
  uint8_t protocol = 0;
  uint8_t zero[3] = {};

  [[nodiscard]] FlowKey reversed() const { return {dst, src, dst_port, src_port, protocol, {}}; }
  friend bool operator==(const FlowKey& a, const FlowKey& b) { return std::memcmp(&a, &b, sizeof a) == 0; }
};

static_assert(sizeof(FlowKey<V4>) == 16 && std::has_unique_object_representations_v<FlowKey<V4>>);
static_assert(sizeof(FlowKey<V6>) == 40 && std::has_unique_object_representations_v<FlowKey<V6>>);

// 128-bit product folded to 64 bits.
[[nodiscard]] inline uint64_t multiply_fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Symmetric keyed hash: both directions of an untranslated flow have the same value, so one function serves
// ownership and tables. The keys are secret and random per process: a sender cannot aim at one bucket.
struct FlowHasher {
  uint64_t k0 = 0x9e3779b97f4a7c15;
  uint64_t k1 = 0xd6e8feb86659fd93;

  [[nodiscard]] uint64_t operator()(const FlowKey<V4>& key) const {
    uint64_t addresses = 0;  // source in the lower half
    uint64_t rest = 0;       // source port, destination port, protocol, from the lowest bits up
    std::memcpy(&addresses, &key, 8);
    std::memcpy(&rest, reinterpret_cast<const uint8_t*>(&key) + 8, 8);
    const uint64_t source = (addresses & 0xffffffff) | (rest & 0xffff) << 32;
    const uint64_t destination = addresses >> 32 | (rest & 0xffff0000) << 16;
    return combine(source, destination, rest >> 32);
  }
  [[nodiscard]] uint64_t operator()(const FlowKey<V6>& key) const {
    return combine(endpoint(key.src, key.src_port), endpoint(key.dst, key.dst_port), key.protocol);
  }

 private:
  [[nodiscard]] uint64_t endpoint(const Ipv6Addr& addr, be16 port) const {
    uint64_t half[2];
    std::memcpy(half, addr.bytes.data(), sizeof half);
    return multiply_fold(half[0] ^ k0 ^ port.wire(), half[1] ^ k1);
  }
  // A product does not know which factor was first.
  [[nodiscard]] uint64_t combine(uint64_t a, uint64_t b, uint64_t protocol) const {
    return multiply_fold(multiply_fold(a ^ k0, b ^ k0) ^ k1 ^ protocol, 0x9fb21c651e98df25);
  }
};

// The worker that owns a flow: a packet that arrives elsewhere is handed over to it. High bits of the hash,
// so that they are independent of the bucket index, which takes the low ones.
[[nodiscard]] inline uint16_t owner_of(uint64_t hash, uint16_t workers) {
  return static_cast<uint16_t>((hash >> 40) * workers >> 24);
}

// The hash behind Maglev's choice: fixed keys, so that two gateways with one configuration choose alike
// (SVC-21). `with_source_port` is false for services with client-IP affinity.
template <class F>
[[nodiscard]] uint64_t balancing_hash(const FlowKey<F>& key, bool with_source_port = true) {
  uint64_t words[6] = {};
  FlowKey<F> copy = key;
  if (!with_source_port) copy.src_port = {};
  std::memcpy(words, &copy, sizeof copy);
  uint64_t state = 0x2d358dccaa6c78a5;
  for (size_t i = 0; i < (sizeof copy + 7) / 8; ++i)
    state = multiply_fold(state ^ words[i], 0x8bb84b93962eacc9 + i * 2);
  return state;
}

}  // namespace sluice::net
