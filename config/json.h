// JSON text → objects. The first step of a config's life: what is here knows that a document is made of objects
// with a kind and a name, and where each stands in the text; what the objects say is object_set.h's business.
//
// A document is a v1 List, a single object, or newline-delimited JSON with one object a line. A delta is
// {"kind": "Delta", "baseGeneration": 41, "upsert": [object, …], "delete": [{"kind", "namespace", "name"}, …]}.
//
// Two sorts of failure: text that is no JSON ends everything and is told with its offset; all else is a list of
// faults with the place of each. Faults in the heads of objects (kind, name) do not end the parse: they travel
// in the Document and come out of ObjectSet together with those found inside the objects.
//
// No function here throws. Values are allocated in one arena per document, which they keep alive.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

#include "config/digest.h"
#include "config/finding.h"
#include "config/kinds.h"
#include "config/spread.h"
#include "dataplane/net/result.h"

namespace sluice::config {

using net::Result;

enum class Format : uint8_t { Json, NdJson };

// By the file's name: .ndjson and .jsonl hold one object a line.
[[nodiscard]] inline Format format_of(std::string_view file) {
  return file.ends_with(".ndjson") || file.ends_with(".jsonl") ? Format::NdJson : Format::Json;
}

struct Options {
  Format format = Format::Json;
  bool ignore_unknown_kinds = false;    // otherwise an unknown kind is a fault
  size_t max_depth = 32;                // of nested lists and objects
  size_t max_faults = 1000;             // more are only counted
  Spread spread = one_after_the_other;  // read_document(): how the objects are read
};

struct SyntaxError {
  size_t offset = 0;  // bytes from the beginning of the text
  size_t line = 1;    // from 1
  size_t column = 1;  // from 1, in bytes
  std::string message;

  [[nodiscard]] std::string text() const;  // "line 3, column 14 (offset 57): …"
};

// Either the text is not JSON, or the document has faults.
struct ParseFailure {
  std::optional<SyntaxError> syntax;
  std::vector<Fault> faults;
};

// An object as it came, with its head already read.
struct RawObject {
  ObjectKey key;
  const Kind* kind = nullptr;
  boost::json::value value;    // an object
  std::string location;        // its JSON pointer in the document: "/items/3", "/upsert/0", "" when it is the document
  std::string_view text = {};  // what it came as, if serialising the value would give that very text
};

struct Document {
  std::vector<RawObject> objects;
  Findings findings;
};

struct Deletion {
  ObjectKey key;
  std::string location;
};

struct Delta {
  std::optional<uint64_t> base_generation;
  std::vector<RawObject> upsert;
  std::vector<Deletion> remove;
  Findings findings;
};

// Newline-delimited objects are located as if their lines were the items of a List; empty lines do not count.
[[nodiscard]] Result<Document, ParseFailure> parse_document(std::string_view text, const Options& options = {});
[[nodiscard]] Result<Delta, ParseFailure> parse_delta(std::string_view text, const Options& options = {});

// The objects of a document, for documents of a whole cluster: each is parsed, given away and forgotten before the
// next, so the values of few objects at a time are in memory. First every object is looked at by known() or read(),
// which may run in several threads (Options::spread), then those that come first of their key are told in the order of
// the document, all in the caller's thread.
struct DocumentVisitor {
  // Before anything else: how many objects there are.
  std::function<void(size_t count)> begin;
  // The key of an object whose text has this digest and need not be parsed; nullptr: there is none.
  std::function<const ObjectKey*(Digest)> known;
  // Any other. Its value lives as long as the call, the key that is answered until the end. No digest if the document
  // is not read object by object.
  std::function<const ObjectKey*(size_t index, RawObject&&, Digest, Findings&)> read;
  std::function<void(const ObjectKey&, std::string location)> keep;  // a known one
  std::function<void(size_t index)> take;                            // one that was read
};

// Adds to `findings` what parse_document() puts into a Document. Fails as parse_document() does.
[[nodiscard]] std::optional<ParseFailure> read_document(std::string_view text, const Options& options,
                                                        const DocumentVisitor& visitor, Findings& findings);

// PUT and DELETE of one object are deltas.
[[nodiscard]] Delta to_delta(Document&& document);
[[nodiscard]] Delta deletion_of(ObjectKey key);

// The key of an object that is named by three words, in a URL or by hand: a namespaced kind without a namespace
// is in "default", as with kubectl. Empty if there is no such kind.
[[nodiscard]] std::optional<ObjectKey> make_key(std::string_view kind, std::string_view ns, std::string_view name);

}  // namespace sluice::config
