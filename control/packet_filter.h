// A filter in the words of tcpdump (pcap-filter(7)) as a program that workers run over a frame.
#pragma once

#include <string_view>
#include <utility>

#include "dataplane/net/result.h"

struct rte_bpf;

namespace sluice::control {

class PacketFilter {
 public:
  static constexpr size_t most_characters = 1000;

  // Empty: every frame. Names of hosts are refused: looking them up would block the control thread.
  [[nodiscard]] static net::Result<PacketFilter> compile(std::string_view text);
  PacketFilter(PacketFilter&& other) noexcept : program_(std::exchange(other.program_, nullptr)) {}
  PacketFilter& operator=(PacketFilter&& other) noexcept {
    std::swap(program_, other.program_);
    return *this;
  }
  ~PacketFilter();

  [[nodiscard]] const rte_bpf* program() const { return program_; }

 private:
  explicit PacketFilter(rte_bpf* program) : program_(program) {}

  rte_bpf* program_;
};

}  // namespace sluice::control
