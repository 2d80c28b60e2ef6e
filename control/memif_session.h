// One pod's connection to its memif socket, as the server: from HELLO to CONNECTED, and until it hangs up.
//
// The pod may say anything, at any pace, and pass any descriptor. What the last reference to one costs is up to the
// file that the pod chose (a file system of its own, a socket that lingers), and the kernel drops those that find no
// room with a message where the message is read. So each message is looked at first (MSG_PEEK): one with more than a
// single descriptor is never taken. It goes with the connection, which the session's destructor closes, as it does all
// that was passed: destroy it where nobody waits. A session has at most most_passed of them at a time.
//
// The memory (memif_memory.h) is mapped when the pod says CONNECT, and by a thread of its own, since the pod can make
// that wait. Everything here returns at once.
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

  static constexpr size_t most_passed = dataplane::MemifLink::most_regions + 2 + 1;  // each ring's, and one too many

  // Says HELLO. `may_make`: of map_memory().
  MemifSession(Descriptor connection, const config::MemifDevice& device, uint64_t may_make);
  ~MemifSession();
  MemifSession(const MemifSession&) = delete;
  MemifSession& operator=(const MemifSession&) = delete;

  [[nodiscard]] int descriptor() const { return connection_.number(); }
  [[nodiscard]] State state() const { return state_; }
  // Reads some of what has come.
  State advance();
  // Whether the memory is being mapped; take_mapped() asks whether it is done.
  [[nodiscard]] bool is_mapping() const { return mapping_ != nullptr && state_ == State::Talking; }
  State take_mapped();
  // Until it is over nobody else can have the memory, and its thread what was passed. Empty: it never began.
  [[nodiscard]] std::weak_ptr<const void> mapping() const { return mapping_; }
  // Bytes of pages that were made for the pod, or may still be.
  [[nodiscard]] uint64_t made() const;
  // The memory, once, when the state has become Connected.
  [[nodiscard]] std::unique_ptr<dataplane::MemifLink> take_link() { return std::move(link_); }
  // Tells the pod why, and ends it.
  void refuse(const std::string& why);
  // Why it is over; empty: the pod just left.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  struct Message;
  struct Mapping;
  struct Region {
    int file = -1;      // one of passed_
    uint64_t size = 0;  // bytes
  };

  // The descriptor that came with it, which belongs to passed_; -1: none.
  [[nodiscard]] int keep_passed(msghdr& header);
  void take(const Message& message, int passed);
  void take_init(const Message& message);
  void add_region(const Message& message, int passed);
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
  std::vector<Region> regions_;
  uint64_t memory_ = 0;  // bytes
  uint64_t may_make_;
  std::optional<dataplane::MemifPlace> to_router_, from_router_;
  std::shared_ptr<Mapping> mapping_;
  std::unique_ptr<dataplane::MemifLink> link_;
  std::string problem_;
};

}  // namespace sluice::control
