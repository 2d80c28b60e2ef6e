// One pod's connection to its memif socket, as the server: from HELLO to CONNECTED, and until it hangs up.
//
// The pod may say anything, at any pace. Every descriptor that it passes is kept until the session ends, whatever the
// message with it was worth, and is closed by the session's destructor, which may take as long as the files that the
// pod chose want (a file system of its own, a socket that lingers): destroy it where nobody waits. Everything else here
// returns at once.
//
// Memory is taken if it stays what it is: a memfd sealed against shrinking (F_SEAL_SHRINK), of ordinary pages. When it
// is mapped it is sealed against holes as well (F_SEAL_FUTURE_WRITE; the pod's own mapping stays writable), and locked
// as far as RLIMIT_MEMLOCK goes, so that no touch of it waits.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/device.h"
#include "control/descriptor.h"
#include "dataplane/memif_link.h"

struct msghdr;

namespace sluice::control {

class MemifSession {
 public:
  enum class State : uint8_t { Talking, Connected, Over };
  static constexpr uint64_t most_memory = 128 << 20;  // of one pod, bytes

  // Says HELLO.
  MemifSession(Descriptor connection, const config::MemifDevice& device);
  ~MemifSession();
  MemifSession(const MemifSession&) = delete;
  MemifSession& operator=(const MemifSession&) = delete;

  [[nodiscard]] int descriptor() const { return connection_.number(); }
  [[nodiscard]] State state() const { return state_; }
  // Reads some of what has come.
  State advance();
  // The memory, once, when the state has become Connected.
  [[nodiscard]] std::unique_ptr<dataplane::MemifLink> take_link() { return std::move(link_); }
  // Tells the pod why, and ends it.
  void refuse(const std::string& why);
  // Why it is over; empty: the pod just left.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  struct Message;

  // The descriptors that came with it, which belong to passed_.
  [[nodiscard]] std::vector<int> keep_passed(msghdr& header);
  void take(const Message& message, const std::vector<int>& passed);
  void take_init(const Message& message);
  void add_region(const Message& message, const std::vector<int>& passed);
  void add_ring(const Message& message);
  void connect();
  void say(const Message& message);
  void acknowledge();
  void over(std::string problem);

  Descriptor connection_;
  config::MemifDevice device_;
  State state_ = State::Talking;
  bool known_ = false;  // INIT was right
  std::vector<Descriptor> passed_;
  std::vector<dataplane::MemifRegion> regions_;
  uint64_t memory_ = 0;  // bytes
  std::optional<dataplane::MemifPlace> to_router_, from_router_;
  std::unique_ptr<dataplane::MemifLink> link_;
  std::string problem_;
};

}  // namespace sluice::control
