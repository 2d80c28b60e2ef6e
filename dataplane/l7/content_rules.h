// What is looked for in the first bytes of connections (ContentPolicy), as Hyperscan's databases, and what each worker
// needs to look: scratch space, streams that are open already, counters. Databases are compiled by the control thread;
// here they are only run.
//
// Const for all but the workers' shares, each of which is one worker's own. Whoever looks into a connection holds a
// plain pointer: the control thread keeps rules that no snapshot has any more until in_use() says that nobody looks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <hs/hs_runtime.h>

#include "dataplane/net/result.h"

namespace sluice::l7 {

// What happens where a rule is found; a later one takes precedence.
enum class ContentAction : uint8_t { None, Count, Mirror, Reset, Drop };

struct ContentRule {
  std::string name;    // of the pattern
  std::string policy;  // "namespace/name"
  ContentAction action = ContentAction::Drop;
  bool ingress = true;  // towards what the policy selects
  bool egress = true;   // from there
  bool placed = false;  // whether it matches depends on where the bytes stand: it has "^", "$", an offset …
};

// One of several expressions that must all be found for their rule. Hyperscan could combine them itself, but in streams
// it tells of a combination that is complete with the last byte of a segment only when the next one comes.
struct ContentPart {
  uint32_t rule = 0;         // index
  uint32_t combination = 0;  // of those that there are
  uint32_t bit = 0;          // the only one set
  uint32_t whole = 0;        // bits of all parts
};

struct DatabaseDeleter {
  void operator()(hs_database_t* database) const { hs_free_database(database); }
};
using Database = std::unique_ptr<hs_database_t, DatabaseDeleter>;

// The same expressions twice: for connections, and for single datagrams. An expression's number is that of its rule, or
// behind all rules that of its part.
struct ContentEngine {
  Database stream;  // HS_MODE_STREAM
  Database block;   // HS_MODE_BLOCK
};

class ContentRules {
 public:
  // One for regular expressions, one for literals.
  static constexpr size_t most_engines = 2;

  struct Settings {
    uint32_t depth = 16384;       // bytes of each direction of a connection that are looked at
    bool drop_when_full = false;  // what there is no room to look into does not pass
    uint32_t streams = 1024;      // of every engine, for each worker
    uint16_t workers = 1;
  };

  // Opens all streams. Fails for want of memory, or if a database is not for this machine.
  static net::Result<std::shared_ptr<ContentRules>> create(std::vector<ContentRule> rules,
                                                           std::vector<ContentPart> parts,
                                                           std::vector<ContentEngine> engines,
                                                           const Settings& settings);
  ~ContentRules();
  ContentRules(const ContentRules&) = delete;
  ContentRules& operator=(const ContentRules&) = delete;

  [[nodiscard]] const std::vector<ContentRule>& rules() const { return rules_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] size_t engines() const { return engines_.size(); }
  // Whether any rule is for this direction.
  [[nodiscard]] bool wants(bool ingress) const { return ingress ? ingress_ : egress_; }

  // Control thread; counts of all workers.
  [[nodiscard]] uint64_t hits(uint32_t rule) const;
  [[nodiscard]] uint64_t overloads() const;
  // Connections that are being looked into.
  [[nodiscard]] uint32_t in_use() const;

 private:
  friend class Inspector;

  using Streams = std::vector<hs_stream_t*>;
  using Mask = uint32_t;  // which parts of a combination were found
  // Written by one worker, read by the control thread.
  using Counter = std::atomic<uint64_t>;
  struct alignas(64) Share {
    hs_scratch_t* scratch = nullptr;
    Streams opened;                          // all there are, whoever has them
    std::array<Streams, most_engines> free;  // of each engine; never more than there were at first
    std::vector<Mask> masks;                 // of all streams, one for each combination
    std::vector<Mask*> free_masks;           // none if there is no combination
    std::vector<Mask> datagram;              // of the one that is being looked at
    std::unique_ptr<Counter[]> hits;         // by rule
    std::atomic<uint32_t> in_use{0};
    Counter overloads{0};
  };

  ContentRules(std::vector<ContentRule> rules, std::vector<ContentPart> parts, std::vector<ContentEngine> engines,
               const Settings& settings);
  [[nodiscard]] Share& share(uint16_t worker) const { return shares_[worker]; }

  std::vector<ContentRule> rules_;
  std::vector<ContentPart> parts_;
  size_t combinations_ = 0;
  std::vector<ContentEngine> engines_;
  Settings settings_;
  bool ingress_ = false;
  bool egress_ = false;
  std::unique_ptr<Share[]> shares_;
};

}  // namespace sluice::l7
