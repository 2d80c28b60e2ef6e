// The kernel's side of one worker: one packet socket (packet(7)) for the veth pairs of all its pods, and for interfaces
// that are ports as they are ("packet,iface=NAME").
//
// A pod is no DPDK port: DPDK has room for RTE_MAX_ETHPORTS (32) of those, each polled by itself. Here one
// memory-mapped ring receives from all pods, so a turn of the loop costs the same for one pod as for a thousand, a pod
// costs no memory, and pods come and go by nothing but a new filter: frames of the others are not touched. The ring is
// not bound to an interface; the filter passes only frames that come out of the listed ones, by a search of their
// indices.
//
// Both directions carry virtio headers, so that pods keep their offloads (offload.h). Frames are copied out of the
// ring, which needs no system call, but for those that go to another pod as they lie there (super_frame.h). The others
// are sent by one sendmmsg(2) for each pod and burst: a ring for sending would save no copy, and the kernel gives its
// slots back when a veth's other end takes a frame, not when its bytes have been read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/net/addr.h"
#include "dataplane/net/result.h"
#include "dataplane/offload.h"

namespace sluice::dataplane {

struct Context;
struct SuperFrame;

// A network interface of the kernel.
struct KernelLink {
  uint32_t index = 0;
  uint16_t mtu = 0;  // largest IP packet, bytes
  bool up = false;   // both ends of the pair
  net::MacAddr mac;

  friend bool operator==(const KernelLink&, const KernelLink&) = default;
};

// What an interface is given back with.
struct LinkSettings {
  uint32_t index = 0;  // of the interface that this is about: another one may get its name
  bool arp = true;
  bool ipv6 = true;

  friend bool operator==(const LinkSettings&, const LinkSettings&) = default;
};

class PodSocket {
 public:
  static constexpr uint32_t slot_size = 65536 + 128;  // a whole super-frame and its description, bytes
  static constexpr uint32_t slots = 480;
  static constexpr size_t ring_size = 32 << 20;

  // Needs CAP_NET_RAW. Receives nothing yet.
  static net::Result<std::unique_ptr<PodSocket>> open();
  // Of a descriptor that takes messages and of memory for `ring_size` bytes that somebody fills as the kernel would
  // (tests). Takes both.
  static std::unique_ptr<PodSocket> over(int descriptor, void* ring);
  ~PodSocket();
  PodSocket(const PodSocket&) = delete;
  PodSocket& operator=(const PodSocket&) = delete;

  // Control thread, any time: receives from these interfaces (indices of the kernel) and no others.
  [[nodiscard]] net::Status<> listen(std::vector<uint32_t> interfaces);
  // Control thread: whether frames for other stations, too, come from this interface.
  [[nodiscard]] net::Status<> receive_all_of(uint32_t interface, bool all);
  // Control thread: frames that found the ring full, since the start.
  [[nodiscard]] uint64_t missed();

  // Worker: the frame that comes next if it is a super-frame. It stays where it is, and comes out of receive() in
  // pieces unless finish_super_frame() says that it went on.
  [[nodiscard]] bool next_super_frame(SuperFrame& frame);
  void finish_super_frame();
  // Readable when a frame has come.
  [[nodiscard]] int descriptor() const { return descriptor_; }
  // Worker: up to net::burst_size packets, all of the pod at `interface`. What cannot be read is counted and dropped.
  [[nodiscard]] uint16_t receive(Context& context, rte_mbuf** packets, uint32_t& interface);
  // Worker: sends at most net::burst_size frames, which it takes. Those that the kernel refuses are dropped.
  void send(Context& context, rte_mbuf** frames, uint16_t count, uint32_t interface);
  // Worker: sends the frame as it lies there; the VnetHeader before it is written anew.
  void send_super_frame(Context& context, const SuperFrame& frame, uint32_t interface);

  // How an interface is now; empty if there is none.
  [[nodiscard]] static std::optional<LinkSettings> settings_of(const std::string& name);
  // Looks an interface up, sets it up, and keeps the kernel's own stack off it (no ARP, no IPv6). Empty if there is
  // none.
  [[nodiscard]] static std::optional<KernelLink> prepare(const std::string& name);
  // Gives an interface back to the kernel's stack as it was. False: it is not there any more, or another one is. An
  // error says what the kernel refused.
  [[nodiscard]] static net::Result<bool> release(const std::string& name, const LinkSettings& before);

 private:
  // A frame of the ring, until it is given back.
  struct Received {
    uint8_t* frame = nullptr;  // nullptr: there is none
    uint32_t length = 0;
    uint32_t interface = 0;
    net::DropReason refusal = net::DropReason::None;  // `about` means nothing if it is not None
    VnetHeader about;
  };

  PodSocket() = default;
  [[nodiscard]] uint8_t* slot(uint32_t index) const;
  [[nodiscard]] Received look() const;
  void give_back();

  int descriptor_ = -1;
  uint8_t* ring_ = nullptr;
  uint32_t next_ = 0;     // slot
  bool reading_ = false;  // slot `next_`
  // As the last one could not go on whole, so many super-frames are cut where they come, in the midst of a burst.
  unsigned unasked_ = 0;
  uint32_t reading_from_ = 0;
  Segmenter segmenter_;
  Merger merger_;
  uint64_t missed_ = 0;
};

}  // namespace sluice::dataplane
