// A filter in the words of tcpdump (pcap-filter(7)) as a program that workers run over a frame.
#pragma once

#include <memory>
#include <string_view>

#include "dataplane/net/result.h"
#include "dataplane/trace.h"

struct bpf_program;

namespace sluice::control {

class PacketFilter {
 public:
  static constexpr size_t most_characters = 1000;

  // Empty: every frame. Names of hosts are refused: looking them up would block the control thread.
  [[nodiscard]] static net::Result<PacketFilter> compile(std::string_view text);

  // For as long as this lives. libpcap runs it: no allocation, no system call, bounded by the program's length, since
  // it jumps forward only.
  [[nodiscard]] dataplane::TraceFilter filter() const;

 private:
  struct Free {
    void operator()(bpf_program* program) const;
  };
  explicit PacketFilter(std::unique_ptr<bpf_program, Free> program) : program_(std::move(program)) {}

  std::unique_ptr<bpf_program, Free> program_;
};

}  // namespace sluice::control
