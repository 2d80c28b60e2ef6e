// Memifs of pods: a thread that listens at their sockets, speaks with those that connect and watches that they are
// there.
//
// A link is lent to who looks (look()): as long as somebody holds it the memory behind it stays mapped, and its pod
// cannot connect again. So a pod that comes and goes in a storm gets one turn for each round of its holder, and one
// connection in a second at most, and nobody else pays. What a pod passed is mapped and closed by threads of its own,
// for both may take as long as the pod likes; it is not let in again meanwhile. Pages that the router makes for it come
// out of a bucket of its own.
//
// A socket that cannot be made (somebody else listens there) is a problem of that one pod, and tried again every
// second.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <poll.h>
#include <string>
#include <thread>
#include <vector>

#include "config/device.h"
#include "control/descriptor.h"
#include "control/leaky_bucket.h"
#include "control/memif_session.h"
#include "control/memif_socket.h"
#include "dataplane/memif_link.h"

namespace sluice::control {

class MemifServer {
 public:
  using Key = uint64_t;
  struct View {
    std::shared_ptr<dataplane::MemifLink> link;  // nullptr: no pod is there
    std::string problem;                         // why not; empty: it has not come
  };

  // `folder`: of the sockets (memif_socket.h), opened at once if it is there or can be made, for later this process may
  // be somebody else.
  explicit MemifServer(std::string folder);
  // Takes the sockets away. Nobody uses a link any more.
  ~MemifServer();
  MemifServer(const MemifServer&) = delete;
  MemifServer& operator=(const MemifServer&) = delete;

  // One thread may call these; they return at once.
  [[nodiscard]] Key add(const config::MemifDevice& device);
  // Hangs up and takes the socket away. A link that is lent stays.
  void remove(Key key);
  [[nodiscard]] View look(Key key);
  // Gives a lent link back, which nobody uses any more.
  static void give_back(std::shared_ptr<dataplane::MemifLink> link);

 private:
  using Clock = std::chrono::steady_clock;
  // What both sides see, under the mutex.
  struct Shared {
    config::MemifDevice device;
    bool removed = false;
    std::shared_ptr<dataplane::MemifLink> link;
    std::string problem;
  };
  // Of pages that the pod did not make itself (memif_memory.h), and may keep when it has left.
  static constexpr uint64_t most_made = 2 * MemifSession::most_memory;
  static constexpr uint64_t made_per_second = 128 << 10;
  // What the thread knows of a pod.
  struct Pod {
    config::MemifDevice device;
    MemifListener listener;
    std::shared_ptr<MemifSession> session;
    Clock::time_point next_try;                     // of listening or accepting
    Clock::time_point deadline;                     // of a session that is not connected
    std::weak_ptr<const void> closing;              // there until the last session is closed
    std::weak_ptr<const void> mapping;              // its memory, until its thread is done
    std::weak_ptr<const void> lent;                 // the last link
    Clock::time_point connected;                    // the last session
    LeakyBucket pages{most_made, made_per_second};  // that the router made for it, bytes
    bool counted = false;                           // those of the session are in it
    size_t polled = 0;                              // its place among what is polled; 0: none
  };

  void open_folder();
  void start();
  void wake() const;
  void run();
  // False: the end.
  [[nodiscard]] bool synchronise();
  void listen(Key key, Pod& pod, Clock::time_point now);
  // Whether the last pod is gone, with all that it passed and was lent.
  [[nodiscard]] static bool is_free(const Pod& pod);
  void accept(Pod& pod, Clock::time_point now);
  void advance(Key key, Pod& pod, bool readable, Clock::time_point now);
  void end_session(Key key, Pod& pod, Clock::time_point now);
  void close_down(Key key, Pod& pod);
  void tell(Key key, const std::string& problem);
  // Destroys it in a thread of its own.
  // Destroys it in a thread of its own. What is returned is gone when that is over.
  static std::weak_ptr<const void> bury(std::shared_ptr<const void> thing);

  std::string path_;
  Descriptor folder_;
  std::string folder_problem_;
  Descriptor wake_;
  std::mutex mutex_;  // of shared_, stop_ and thread_problem_; before the thread begins nobody needs it
  std::map<Key, Shared> shared_;
  bool stop_ = false;
  std::string thread_problem_;  // why it does not work
  Key next_key_ = 1;
  std::map<Key, Pod> pods_;  // the thread's
  std::vector<pollfd> polled_;
  std::thread thread_;  // from the first pod on
};

}  // namespace sluice::control
