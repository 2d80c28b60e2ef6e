// Flows by number: which addresses and ports flow n has, and in which order flows are sent.
//
// Nothing is stored per flow but for tuples read from a file. Flow n is a number in a mixed radix: the destination
// address varies fastest, then destination port, source port, source address. The order visits every flow once per
// round, so the round is the sequence number of each packet in its flow, and the sender keeps no state per flow.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/net/result.h"
#include "tools/trafgen/range.h"

namespace sluice::trafgen {

inline constexpr uint32_t max_flows = 1U << 24;
__extension__ using Uint128 = unsigned __int128;

struct Tuple {
  WideAddr src;
  WideAddr dst;
  uint16_t src_port = 0;  // host byte order; ICMP: the identifier
  uint16_t dst_port = 0;
  friend bool operator==(const Tuple&, const Tuple&) = default;
};

// n / divisor for n < 2^24 by multiplication.
class Divider {
 public:
  explicit Divider(uint64_t divisor = 1)
      : divisor_(static_cast<uint32_t>(divisor < max_flows ? divisor : max_flows)),
        magic_(((uint64_t{1} << 48) + divisor_ - 1) / divisor_) {}
  [[nodiscard]] uint32_t quotient(uint32_t n) const {
    return static_cast<uint32_t>(static_cast<Uint128>(n) * magic_ >> 48);
  }
  [[nodiscard]] uint32_t divisor() const { return divisor_; }

 private:
  uint32_t divisor_;
  uint64_t magic_;
};

struct FlowSpec {
  uint32_t count = 1;
  bool random = false;
  AddrRange src, dst;
  PortRange src_port, dst_port;
  std::string file;  // of tuples; then the ranges mean nothing
};

class FlowSpace {
 public:
  FlowSpace() = default;
  // The ranges hold at least `count` different tuples (the profile was checked). Reads the file if there is one.
  static net::Result<FlowSpace> make(const FlowSpec& spec);

  [[nodiscard]] uint32_t count() const { return count_; }
  [[nodiscard]] net::Family family() const { return family_; }

  [[nodiscard]] Tuple at(uint32_t flow) const {
    if (!tuples_.empty()) [[unlikely]] {
      const Tuple& t = tuples_[flow];
      return {{t.src.high, t.src.low}, {t.dst.high, t.dst.low}, t.src_port, t.dst_port};
    }
    const uint32_t by_dst = by_dst_.quotient(flow);
    const uint32_t by_dst_port = by_dst_port_.quotient(by_dst);
    const uint32_t by_src_port = by_src_port_.quotient(by_dst_port);
    return {{src_.first.high, src_.low_at(by_src_port)},
            {dst_.first.high, dst_.low_at(flow - by_dst * by_dst_.divisor())},
            src_port_.at(by_dst_port - by_src_port * by_src_port_.divisor()),
            dst_port_.at(by_dst - by_dst_port * by_dst_port_.divisor())};
  }
  // Which destination of the range flow n goes to; 0 for tuples from a file.
  [[nodiscard]] uint32_t destination_index(uint32_t flow) const {
    return tuples_.empty() ? flow - by_dst_.quotient(flow) * by_dst_.divisor() : 0;
  }
  // Takes the tuples as they are, e.g. of a capture.
  static FlowSpace of(std::vector<Tuple> tuples, net::Family family);

 private:
  uint32_t count_ = 1;
  net::Family family_ = net::Family::V4;
  AddrRange src_, dst_;
  PortRange src_port_, dst_port_;
  Divider by_dst_, by_dst_port_, by_src_port_;
  std::vector<Tuple> tuples_;
};

// How many different tuples the ranges hold, at most 2^63.
[[nodiscard]] uint64_t tuples_in(const FlowSpec& spec);

class FlowOrder {
 public:
  struct Next {
    uint32_t flow;
    uint32_t sequence;
  };

  FlowOrder() = default;
  FlowOrder(uint32_t count, bool random);

  Next next() {
    if (!random_) {
      const Next out{index_, round_};
      if (++index_ == count_) {
        index_ = 0;
        ++round_;
      }
      return out;
    }
    for (;;) {
      const uint32_t flow = shuffled(index_);
      const uint32_t round = round_;
      if (index_++ == mask_) {
        index_ = 0;
        ++round_;
        reseed();
      }
      if (flow < count_) return {flow, round};
    }
  }

 private:
  // A bijection of [0, mask]: odd multiplications, additions and right shifts are all reversible.
  [[nodiscard]] uint32_t shuffled(uint32_t index) const {
    uint32_t x = (index + seed_) & mask_;
    x = (x * 0x9e3779b1U) & mask_;
    x ^= x >> shift_;
    x = (x * multiplier_) & mask_;
    x ^= x >> shift_;
    x = (x * 0x85ebca6bU) & mask_;
    x ^= x >> shift_;
    return x;
  }
  void reseed();

  uint32_t count_ = 1;
  bool random_ = false;
  uint32_t index_ = 0;
  uint32_t round_ = 0;
  uint32_t mask_ = 0;
  uint32_t shift_ = 1;
  uint32_t seed_ = 0;
  uint32_t multiplier_ = 1;
};

}  // namespace sluice::trafgen
