#include "control/pattern_compiler.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

#include <fmt/format.h>
#include <hs/hs.h>
#include <openssl/evp.h>

#include "config/finding.h"
#include "control/state_file.h"

namespace sluice::control {
namespace {

using config::ContentExpression;
using config::ContentPattern;
using l7::Database;

constexpr size_t most_parts = 32;

// As hs_compile_ext_multi wants them, and what they were made of.
struct Expressions {
  std::vector<std::string> texts;
  std::vector<unsigned> flags;
  std::vector<unsigned> ids;
  std::vector<hs_expr_ext_t> extensions;

  void add(std::string text, unsigned flag, unsigned id, const ContentExpression* places = nullptr) {
    texts.push_back(std::move(text));
    flags.push_back(flag);
    ids.push_back(id);
    hs_expr_ext_t& extension = extensions.emplace_back();
    extension = {};
    if (places != nullptr && places->least_end) {
      extension.flags |= HS_EXT_FLAG_MIN_OFFSET;
      extension.min_offset = *places->least_end;
    }
    if (places != nullptr && places->most_end) {
      extension.flags |= HS_EXT_FLAG_MAX_OFFSET;
      extension.max_offset = *places->most_end;
    }
  }
  [[nodiscard]] bool empty() const { return texts.empty(); }
};

unsigned flags_of(const ContentExpression& expression) {
  // Once for each connection is enough, and much cheaper.
  return HS_FLAG_SINGLEMATCH | (expression.caseless ? HS_FLAG_CASELESS : 0U) |
         (expression.dot_all ? HS_FLAG_DOTALL : 0U) | (expression.multi_line ? HS_FLAG_MULTILINE : 0U) |
         (expression.utf8 ? HS_FLAG_UTF8 : 0U);
}

// Bytes as a regular expression.
std::string regex_of(const ContentExpression& expression) {
  if (!expression.literal) return expression.text;
  std::string out;
  for (const char c : expression.text) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return out;
}

bool is_plain_literal(const ContentExpression& expression) {
  return expression.literal && !expression.utf8 && !expression.least_end && !expression.most_end;
}

struct Sorted {
  Expressions literals;
  Expressions regexes;
  std::vector<l7::ContentPart> parts;
};

Sorted sort_out(const std::vector<ContentPattern>& patterns) {
  Sorted out;
  const auto add = [&](const ContentExpression& expression, unsigned id) {
    if (is_plain_literal(expression)) {
      out.literals.add(expression.text, HS_FLAG_SINGLEMATCH | (expression.caseless ? HS_FLAG_CASELESS : 0U), id);
    } else {
      out.regexes.add(regex_of(expression), flags_of(expression), id, &expression);
    }
  };
  uint32_t combinations = 0;
  for (unsigned i = 0; i < patterns.size(); ++i) {
    const std::vector<ContentExpression>& all = patterns[i].all;
    if (all.size() == 1) {
      add(all.front(), i);
      continue;
    }
    const auto whole = static_cast<uint32_t>((uint64_t{1} << std::min(all.size(), most_parts)) - 1);
    for (size_t part = 0; part < std::min(all.size(), most_parts); ++part) {
      add(all[part], static_cast<unsigned>(patterns.size() + out.parts.size()));
      out.parts.push_back({.rule = i, .combination = combinations, .bit = 1U << part, .whole = whole});
    }
    ++combinations;
  }
  return out;
}

std::string hash_of(const Expressions& expressions, bool literal, unsigned mode) {
  std::string all = fmt::format("{}\n{}\n{}\n", hs_version(), literal, mode);
  for (size_t i = 0; i < expressions.texts.size(); ++i) {
    const hs_expr_ext_t& extension = expressions.extensions[i];
    all += fmt::format("{} {} {} {} {} {}:{}\n", expressions.ids[i], expressions.flags[i], extension.flags,
                       extension.min_offset, extension.max_offset, expressions.texts[i].size(), expressions.texts[i]);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  EVP_Digest(all.data(), all.size(), digest.data(), &length, EVP_sha256(), nullptr);
  std::string out;
  for (unsigned i = 0; i < length; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

// A database or Hyperscan's words. `at`: the expression they are about, if they are about one.
struct Verdict {
  Database database;
  std::string message;
  std::optional<size_t> at;
};

Verdict build(const Expressions& expressions, bool literal, unsigned mode) {
  std::vector<const char*> texts;
  std::vector<size_t> lengths;
  std::vector<const hs_expr_ext_t*> extensions;
  for (size_t i = 0; i < expressions.texts.size(); ++i) {
    texts.push_back(expressions.texts[i].c_str());
    lengths.push_back(expressions.texts[i].size());
    extensions.push_back(&expressions.extensions[i]);
  }
  hs_database_t* database = nullptr;
  hs_compile_error_t* problem = nullptr;
  const auto count = static_cast<unsigned>(texts.size());
  const hs_error_t done = literal ? hs_compile_lit_multi(texts.data(), expressions.flags.data(), expressions.ids.data(),
                                                         lengths.data(), count, mode, nullptr, &database, &problem)
                                  : hs_compile_ext_multi(texts.data(), expressions.flags.data(), expressions.ids.data(),
                                                         extensions.data(), count, mode, nullptr, &database, &problem);
  Verdict verdict{.database = Database(database)};
  if (done == HS_SUCCESS) return verdict;
  verdict.database.reset();
  verdict.message = problem == nullptr ? "Hyperscan does not take it" : problem->message;
  if (problem != nullptr && problem->expression >= 0) verdict.at = static_cast<size_t>(problem->expression);
  hs_free_compile_error(problem);
  return verdict;
}

size_t stream_bytes_of(const hs_database_t* database) {
  size_t bytes = 0;
  return hs_stream_size(database, &bytes) == HS_SUCCESS ? bytes : 0;
}

// What is wrong with one expression by itself. Empty: nothing.
std::string fault_of(const Expressions& all, size_t at) {
  // "\0" would end it early.
  if (all.texts[at].find('\0') != std::string::npos) return "a NUL byte is written \\x00 in an expression";
  Expressions one;
  one.texts = {all.texts[at]};
  one.flags = {all.flags[at]};
  one.ids = {0};
  one.extensions = {all.extensions[at]};
  const Verdict verdict = build(one, false, HS_MODE_STREAM);
  if (!verdict.database) return verdict.message;
  size_t bytes = 0;
  if (const size_t state = stream_bytes_of(verdict.database.get()); state > PatternCompiler::most_stream_bytes) {
    return fmt::format("it is too expensive: each connection would need {} bytes to look for it, more than {}", state,
                       PatternCompiler::most_stream_bytes);
  }
  if (hs_database_size(verdict.database.get(), &bytes) == HS_SUCCESS && bytes > PatternCompiler::most_database_bytes) {
    return fmt::format("it is too expensive: it compiles to {} bytes, more than {}", bytes,
                       PatternCompiler::most_database_bytes);
  }
  return {};
}

// Of patterns with more expressions than a combination has bits, and of expressions that Hyperscan does not take; one
// for each pattern.
std::vector<PatternFault> faults_of(const std::vector<ContentPattern>& patterns, const Sorted& sorted) {
  std::map<size_t, std::string> messages;
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (patterns[i].all.size() > most_parts) messages[i] = fmt::format("more than {} expressions", most_parts);
  }
  const Expressions& regexes = sorted.regexes;
  for (size_t at = 0; at < regexes.texts.size(); ++at) {
    const unsigned id = regexes.ids[at];
    const size_t pattern = id < patterns.size() ? id : sorted.parts[id - patterns.size()].rule;
    if (messages.contains(pattern)) continue;
    if (std::string message = fault_of(regexes, at); !message.empty()) messages[pattern] = std::move(message);
  }
  std::vector<PatternFault> out;
  for (const auto& [pattern, message] : messages) {
    const std::string_view text = patterns[pattern].all.front().text;
    out.push_back({pattern, fmt::format("{} cannot be looked for: {}", config::quoted(text), message)});
  }
  return out;
}

}  // namespace

std::string PatternCompiler::path_of(const std::string& hash) const { return folder_ + "/" + hash + ".hs"; }

Database PatternCompiler::load(const std::string& hash) const {
  if (folder_.empty()) return {};
  const auto text = read_file(path_of(hash));
  if (!text) return {};
  hs_database_t* database = nullptr;
  // Which checks version, machine and sum.
  if (hs_deserialize_database(text->data(), text->size(), &database) != HS_SUCCESS) return {};
  std::error_code ignored;
  std::filesystem::last_write_time(path_of(hash), std::filesystem::file_time_type::clock::now(), ignored);
  return Database(database);
}

// Only to be faster next time: who cannot keep it goes on without.
void PatternCompiler::save(const std::string& hash, const hs_database_t* database) const {
  if (folder_.empty()) return;
  char* bytes = nullptr;
  size_t length = 0;
  if (hs_serialize_database(database, &bytes, &length) != HS_SUCCESS) return;
  (void)StateFile(folder_, hash + ".hs").save({bytes, length});
  std::free(bytes);
}

net::Result<CompiledPatterns, std::vector<PatternFault>> PatternCompiler::compile(
    const std::vector<ContentPattern>& patterns) const {
  Sorted sorted = sort_out(patterns);
  CompiledPatterns out;
  out.from_disk = true;
  for (const bool literal : {false, true}) {
    const Expressions& expressions = literal ? sorted.literals : sorted.regexes;
    if (expressions.empty()) continue;
    l7::ContentEngine engine;
    for (const unsigned mode : {HS_MODE_STREAM, HS_MODE_BLOCK}) {
      Database& database = mode == HS_MODE_STREAM ? engine.stream : engine.block;
      const std::string hash = hash_of(expressions, literal, mode);
      database = load(hash);
      if (database) continue;
      if (out.from_disk) {
        if (auto faults = faults_of(patterns, sorted); !faults.empty()) return faults;
      }
      out.from_disk = false;
      Verdict verdict = build(expressions, literal, mode);
      if (!verdict.database) {
        const size_t id = verdict.at ? expressions.ids[*verdict.at] : 0;
        const size_t pattern = id < patterns.size() ? id : sorted.parts[id - patterns.size()].rule;
        return std::vector<PatternFault>{{pattern, verdict.message}};
      }
      database = std::move(verdict.database);
      save(hash, database.get());
    }
    out.stream_bytes += stream_bytes_of(engine.stream.get());
    out.engines.push_back(std::move(engine));
  }
  out.parts = std::move(sorted.parts);
  return out;
}

Database PatternCompiler::with_begins(const ContentExpression& expression) {
  Expressions one;
  one.add(regex_of(expression), (flags_of(expression) & ~unsigned{HS_FLAG_SINGLEMATCH}) | HS_FLAG_SOM_LEFTMOST, 0,
          &expression);
  return build(one, false, HS_MODE_BLOCK).database;
}

void PatternCompiler::prune(size_t most) const {
  namespace fs = std::filesystem;
  std::error_code problem;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, problem)) {
    if (entry.path().extension() == ".hs") files.emplace_back(entry.last_write_time(problem), entry.path());
  }
  std::sort(files.begin(), files.end());
  for (size_t i = 0; i + most < files.size(); ++i) fs::remove(files[i].second, problem);
}

}  // namespace sluice::control
