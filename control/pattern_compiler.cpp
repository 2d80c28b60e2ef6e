#include "control/pattern_compiler.h"

#include <algorithm>
#include <array>
#include <filesystem>

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
  [[nodiscard]] bool places(size_t i) const { return extensions[i].flags != 0; }
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

bool is_plain_literal(const ContentPattern& pattern) {
  const ContentExpression& first = pattern.all.front();
  return pattern.all.size() == 1 && first.literal && !first.utf8 && !first.least_end && !first.most_end;
}

struct Sorted {
  Expressions literals;
  Expressions regexes;
};

// An expression's number is its pattern's, those of several in one pattern have numbers behind all patterns.
Sorted sort_out(const std::vector<ContentPattern>& patterns) {
  Sorted out;
  auto further = static_cast<unsigned>(patterns.size());
  for (unsigned i = 0; i < patterns.size(); ++i) {
    const ContentPattern& pattern = patterns[i];
    if (is_plain_literal(pattern)) {
      const ContentExpression& literal = pattern.all.front();
      out.literals.add(literal.text, HS_FLAG_SINGLEMATCH | (literal.caseless ? HS_FLAG_CASELESS : 0U), i);
    } else if (pattern.all.size() == 1) {
      const ContentExpression& only = pattern.all.front();
      out.regexes.add(regex_of(only), flags_of(only), i, &only);
    } else {
      std::string combination;
      for (const ContentExpression& part : pattern.all) {
        out.regexes.add(regex_of(part), (flags_of(part) & ~unsigned{HS_FLAG_SINGLEMATCH}) | HS_FLAG_QUIET, further,
                        &part);
        combination += fmt::format("{}{}", combination.empty() ? "" : " & ", further++);
      }
      out.regexes.add(combination, HS_FLAG_COMBINATION | HS_FLAG_SINGLEMATCH, i);
    }
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
  if ((all.flags[at] & HS_FLAG_COMBINATION) != 0) return {};
  // "\0" would end it early.
  if (all.texts[at].find('\0') != std::string::npos) return "a NUL byte is written \\x00 in an expression";
  Expressions one;
  one.texts = {all.texts[at]};
  one.flags = {all.flags[at] & ~unsigned{HS_FLAG_QUIET}};
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

// By pattern; of a pattern of several expressions the first that is wrong.
std::vector<PatternFault> faults_of(const std::vector<ContentPattern>& patterns, const Expressions& regexes) {
  std::vector<PatternFault> out;
  size_t at = 0;
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (is_plain_literal(patterns[i])) continue;
    const size_t parts = patterns[i].all.size();
    const size_t end = at + (parts == 1 ? 1 : parts + 1);
    std::string message;
    for (; at < end; ++at) {
      if (message.empty()) message = fault_of(regexes, at);
      if (!message.empty()) continue;
    }
    if (!message.empty()) {
      const std::string_view text = patterns[i].all.front().text;
      out.push_back({i, fmt::format("{} cannot be looked for: {}", config::quoted(text), message)});
    }
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
  const Sorted sorted = sort_out(patterns);
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
      if (out.from_disk && !literal) {
        if (auto faults = faults_of(patterns, expressions); !faults.empty()) return faults;
      }
      out.from_disk = false;
      Verdict verdict = build(expressions, literal, mode);
      if (!verdict.database) {
        const size_t id = verdict.at ? expressions.ids[*verdict.at] : 0;
        return std::vector<PatternFault>{{std::min(id, patterns.size() - 1), verdict.message}};
      }
      database = std::move(verdict.database);
      save(hash, database.get());
    }
    out.stream_bytes += stream_bytes_of(engine.stream.get());
    out.engines.push_back(std::move(engine));
  }
  return out;
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
