// Gives addresses to pods and tunnels, in the manner of Calico's IPAM: blocks cut from IPPools are claimed for nodes,
// addresses are taken from the blocks of the node, from a new block, or borrowed from another node's (IPAM-2).
//
// What happens is decided by looking at the configuration and the state (ipam_state.h), written to the log as one
// record, all or nothing, and then done. A record has a number, one higher than the last; the snapshot has the number
// of the last record that is in it, so that records that are in both are done once. An answer may be given when the
// disk has the record: sync(), in which many answers can wait for one write.
//
// This router is the only one that knows its blocks. What the configuration says of nodes (BlockAffinity, podCIDRs)
// belongs to those nodes: no block is cut there for another, and with autoAllocateBlocks: false none anywhere else.
// IPAM-4: a block that is given up stays as pendingDeletion until drop(), when nobody sends packets for it here.
//
// No clock, no thread, no I/O but the storage's. For one thread; what sync() returns runs in any.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/model.h"
#include "control/ipam_state.h"
#include "control/ipam_storage.h"
#include "dataplane/net/result.h"

namespace sluice::control::ipam {

struct Request {
  std::string handle;
  std::string node;
  Use use = Use::Workload;
  std::map<std::string, std::string> attributes = {};
  std::vector<net::Family> families = {};  // an address of each, both or none (IPAM-10)
  // IPAM-3: just these, at most one of a family; they stand for their family.
  std::vector<net::IpAddr> addresses = {};
  std::vector<std::string> pools = {};  // names or CIDRs of IPPools, the preferred first; none: by their selectors

  // The Namespace of the pod, which is attributes["namespace"]; empty: none.
  [[nodiscard]] std::string ns() const {
    const auto found = attributes.find("namespace");
    return found == attributes.end() ? std::string() : found->second;
  }
};

// Why there is no address.
struct Refusal {
  enum class Kind : uint8_t {
    Invalid,    // it can never be had in this configuration
    Conflict,   // it is another's, or the handle has others
    Exhausted,  // nothing is free
    NotKept,    // it could not be written down
    NotReady    // pools and nodes are not known yet
  };
  Kind kind = Kind::Invalid;
  std::string message = {};
};

class Ipam {
 public:
  // `storage` outlives it.
  explicit Ipam(Storage& storage) : storage_(storage) {}

  // Before all else. What is read is written again as a snapshot. The messages say what was damaged. After an error
  // nothing can be assigned.
  [[nodiscard]] net::Result<std::vector<std::string>> load();

  // The addresses of a handle: those it has if they are what is asked for, so that a request may be repeated. Its
  // attributes are those of the last request.
  [[nodiscard]] net::Result<std::vector<net::IpAddr>, Refusal> assign(const config::Config& config,
                                                                      const Request& request, Seconds now);
  // Gives back all of a handle. The number of addresses; 0: there is no such handle.
  [[nodiscard]] net::Result<size_t, Refusal> release(const std::string& handle, Seconds now);

  // What is written so far: an answer that depends on it may be given once synced() has been told of it.
  [[nodiscard]] uint64_t written() const { return written_; }
  [[nodiscard]] std::function<net::Status<>()> sync() { return storage_.sync(); }
  // The disk has what was written until `record`; claims until then are confirmed.
  [[nodiscard]] net::Status<> synced(uint64_t record);
  // The disk may not have it, and would not say so twice: the whole is written again before anything else.
  void sync_failed() { broken_ = true; }
  // After a failure: the disk has all that is written so far. Otherwise nothing.
  [[nodiscard]] net::Status<> repair();

  // Gives up blocks without addresses, but for the first of a node and family (IPAM-8); all of them where the pool or
  // the node is gone. Those of which an address may not be used again yet stay until it may.
  [[nodiscard]] net::Status<> tidy(const config::Config& config, Seconds now);
  // Blocks that are given up are free for other nodes from now on.
  [[nodiscard]] net::Status<> drop(const std::set<net::Prefix>& blocks);

  [[nodiscard]] const State& state() const { return state_; }
  // What is routed: blocks as the configuration's BlockAffinity objects would have them.
  [[nodiscard]] std::vector<config::BlockAffinity> routed() const;
  [[nodiscard]] std::set<net::Prefix> given_up() const;

 private:
  // Writes the effects down and does them; nothing is done if they cannot be written.
  [[nodiscard]] net::Status<> commit(const Effects& effects);
  [[nodiscard]] net::Status<> write_snapshot();

  Storage& storage_;
  State state_;
  std::map<net::Prefix, uint64_t> pending_;  // claims, with the record that has them
  uint64_t written_ = 0;                     // number of the last record
  uint64_t snapshot_bytes_ = 0;
  uint64_t log_bytes_ = 0;
  bool broken_ = false;  // nothing goes to the log until there is a new snapshot
  std::string unusable_ = "what was kept has not been read";
};

}  // namespace sluice::control::ipam
