// Expressions → Hyperscan databases. Slow (milliseconds for each expression): never on a worker, and on the control
// thread only in the background. What was compiled once is kept on disk, by a hash of all that went into it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/content_policy.h"
#include "dataplane/l7/content_rules.h"

namespace sluice::control {

// Why an expression cannot be looked for.
struct PatternFault {
  size_t pattern = 0;  // index into the patterns
  std::string message;
};

struct CompiledPatterns {
  std::vector<l7::ContentEngine> engines;  // an expression's number is its pattern's index, or behind those its part's
  std::vector<l7::ContentPart> parts;      // of patterns of several expressions
  size_t stream_bytes = 0;                 // of all engines: the state of one direction of one connection
  bool from_disk = false;                  // nothing had to be compiled
};

class PatternCompiler {
 public:
  // More state than this in each stream is too much for one expression, or more code in the database. Usual ones need
  // 20 to 200 bytes and less than 64 KiB.
  static constexpr size_t most_stream_bytes = 1024;
  static constexpr size_t most_database_bytes = size_t{256} << 10;

  // `folder` of the databases that are kept; made when it is needed. Empty: none are.
  explicit PatternCompiler(std::string folder) : folder_(std::move(folder)) {}

  // All that is wrong with the patterns, or their databases. Literals without places have a database of their own, in
  // Hyperscan's literal mode. Several threads may call at once.
  [[nodiscard]] net::Result<CompiledPatterns, std::vector<PatternFault>> compile(
      const std::vector<config::ContentPattern>& patterns) const;
  // One expression in block mode that tells where its matches begin; nullptr: Hyperscan cannot.
  [[nodiscard]] static l7::Database with_begins(const config::ContentExpression& expression);
  // Deletes files of databases that were not used for longest, of more than `most`.
  void prune(size_t most) const;

 private:
  [[nodiscard]] std::string path_of(const std::string& hash) const;
  [[nodiscard]] l7::Database load(const std::string& hash) const;
  void save(const std::string& hash, const hs_database_t* database) const;

  std::string folder_;
};

}  // namespace sluice::control
