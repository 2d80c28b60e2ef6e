#include "config/json.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "config/json_items.h"
#include "config/json_memory.h"
#include "config/json_reader.h"
#include "config/reader.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

SyntaxError syntax_error(std::string_view text, size_t offset, std::string message) {
  const std::string_view before = text.substr(0, offset);
  const size_t newline = before.rfind('\n');
  SyntaxError error;
  error.offset = offset;
  error.line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  error.column = newline == std::string_view::npos ? offset + 1 : offset - newline;
  error.message = std::move(message);
  return error;
}

// Exceptions can come out of Boost.JSON and of what counts memory, and they end here.
template <class T, class Parse>
Result<T, ParseFailure> without_exceptions(Parse parse) {
  try {
    return parse();
  } catch (const std::exception& exception) {
    return ParseFailure{SyntaxError{0, 1, 1, exception.what()}, {}};
  }
}

// The texts of one document, parsed into one arena.
class TextParser {
 public:
  TextParser(std::string_view document, const Options& options, const std::shared_ptr<MemoryBudget>& budget)
      : document_(document),
        reader_(json::make_shared_resource<Arena>(budget, std::max<size_t>(document.size(), 1024)),
                parse_options(options), json::make_shared_resource<CountedMemory>(budget)) {}

  // `text` is a part of the document.
  Result<json::value, SyntaxError> parse(std::string_view text) {
    const auto start = static_cast<size_t>(text.data() - document_.data());
    json::error_code error;
    const size_t end = reader_.read(text, error);
    if (error) return syntax_error(document_, start + end, error.message());
    const std::string_view rest = text.substr(end);
    const auto* next = std::find_if_not(rest.begin(), rest.end(), is_blank);
    if (next != rest.end()) {
      const auto offset = static_cast<size_t>(next - document_.data());
      return syntax_error(document_, offset, "there is more after the end of the document");
    }
    return reader_.release();
  }

 private:
  static json::parse_options parse_options(const Options& options) {
    json::parse_options parse_options;
    parse_options.max_depth = options.max_depth;
    return parse_options;
  }

  std::string_view document_;
  JsonReader reader_;
};

// An object comes alone or in a list, which nests it two levels deeper; what comes alone must fit in a list.
constexpr size_t list_levels = 2;

// Why a value could not be written as JSON and read again; empty if it can. The fields of objects are counted.
std::string_view objection(const json::value& value, size_t levels, size_t& fields_found) {
  if (const double* number = value.if_double()) return std::isfinite(*number) ? "" : "a number in it is too large";
  const json::object* fields = value.if_object();
  const json::array* items = value.if_array();
  if (fields == nullptr && items == nullptr) return {};
  if (levels == 0) return "lists and objects in it are nested too deeply";
  std::string_view found;
  if (items != nullptr) {
    for (auto at = items->begin(); at != items->end() && found.empty(); ++at)
      found = objection(*at, levels - 1, fields_found);
  } else {
    fields_found += fields->size();
    for (auto at = fields->begin(); at != fields->end() && found.empty(); ++at)
      found = objection(at->value(), levels - 1, fields_found);
  }
  return found;
}

// The string in a field, for naming an object before its head has been checked.
std::string peek(const json::object& fields, std::string_view key) {
  const json::value* value = fields.if_contains(key);
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

// Reads the head of one object.
class HeadReader {
 public:
  HeadReader(const Options& options, Findings& findings) : options_(options), findings_(findings) {}

  // Empty if it cannot be taken; the reason has been recorded then, or it is of a kind that is to be ignored.
  std::optional<RawObject> take(json::value&& value, std::string location) {
    const json::object* fields = value.if_object();
    if (fields == nullptr) {
      Report(findings_, {.location = location})
          .fault({}, fmt::format("expected an object, found {}", type_name(value)));
      return std::nullopt;
    }
    const size_t levels = options_.max_depth - std::min(options_.max_depth, list_levels);
    if (const std::string_view why = objection(value, levels, fields_); !why.empty()) {
      Report(findings_, {.location = location}).fault({}, std::string(why));
      return std::nullopt;
    }
    auto head = read_head(*fields, location);
    if (!head) return std::nullopt;
    // Initialised, not assigned: assignment between two arenas would copy the value.
    return RawObject{std::move(head->key), head->kind, std::move(value), std::move(location)};
  }

  // The kind of an object that was ignored.
  [[nodiscard]] const std::string& ignored() const { return ignored_; }
  // That the value has, each name of an object once.
  [[nodiscard]] size_t fields() const { return fields_; }

 private:
  struct Head {
    const Kind* kind;
    ObjectKey key;
  };

  // What names an object in the findings about its own head.
  static ObjectKey peek_key(const json::object& fields) {
    ObjectKey key{peek(fields, "kind"), "", ""};
    if (const auto* metadata = fields.if_contains("metadata"); metadata != nullptr && metadata->is_object()) {
      key.ns = peek(metadata->get_object(), "namespace");
      key.name = peek(metadata->get_object(), "name");
    }
    return key;
  }

  // Empty if the object cannot be taken; the reason has been recorded then.
  std::optional<Head> read_head(const json::object& fields, const std::string& location) {
    const ObjectKey shown = peek_key(fields);
    Report report(findings_, {shown.kind, shown.ns, shown.name, location});
    Reader head(&fields, report, {}, UnknownFields::Ignore);
    std::string name;
    std::string api_version;
    const bool has_kind = head.need_text("kind", name);
    const bool has_version = head.need_text("apiVersion", api_version);
    if (!has_kind || !has_version) return std::nullopt;
    const Kind* kind = find_kind(name, api_version);
    if (kind == nullptr) {
      unknown(head, name, api_version);
      return std::nullopt;
    }
    ObjectKey key{std::move(name), "", ""};
    return read_name(head, *kind, key) ? std::optional(Head{kind, std::move(key)}) : std::nullopt;
  }

  void unknown(Reader& head, const std::string& kind, const std::string& api_version) {
    if (options_.ignore_unknown_kinds) {
      ignored_ = kind;
    } else if (const Kind* known = find_kind_by_name(kind, false)) {
      head.fault("apiVersion", fmt::format("unknown kind {} of {}; known is that of {}", kind, quoted(api_version),
                                           known->api_version));
    } else {
      head.fault("kind", fmt::format("unknown kind {}", quoted(kind)));
    }
  }

  static bool read_name(Reader& head, const Kind& kind, ObjectKey& key) {
    Reader metadata = head.object("metadata");
    if (!metadata) {
      head.require("metadata");
      return false;
    }
    key.ns = "default";
    metadata.text("namespace", key.ns);
    if (!metadata.need_text("name", key.name)) return false;
    if (!kind.namespaced) key.ns.clear();
    if (kind.use == KindUse::Service) {
      if (is_dns_1035_label(key.name)) return is_namespace(metadata, key.ns);
      metadata.fault("name",
                     "expected at most 63 of a-z, 0-9 and \"-\", beginning with a letter, ending without \"-\"");
      return false;
    }
    if (is_dns_subdomain(key.name)) return !kind.namespaced || is_namespace(metadata, key.ns);
    metadata.fault("name",
                   "expected a DNS name: a-z, 0-9, \"-\" and \".\", beginning and ending with a letter or digit");
    return false;
  }

  static bool is_namespace(Reader& metadata, const std::string& ns) {
    if (is_dns_label(ns)) return true;
    metadata.fault("namespace", "expected at most 63 of a-z, 0-9 and \"-\", beginning and ending without \"-\"");
    return false;
  }

  const Options& options_;
  Findings& findings_;
  std::string ignored_;
  size_t fields_ = 0;
};

void tell_ignored(const std::map<std::string, size_t>& ignored, Findings& findings) {
  for (const auto& [kind, count] : ignored) {
    Report(findings, {kind}).warn({}, fmt::format("unknown kind, ignored ({} objects)", count));
  }
}

void tell_second(const ObjectKey& key, const std::string& location, const std::string& first, Findings& findings) {
  Report(findings, {key.kind, key.ns, key.name, location})
      .fault(Path::of("metadata", "name"),
             fmt::format("a second {} of this name; the first is at {}", key.kind, first));
}

// Takes objects one after the other and keeps those that have a head, the first of each key.
class Intake {
 public:
  Intake(const Options& options, std::vector<RawObject>& objects, Findings& findings)
      : options_(options), objects_(objects), findings_(findings) {}

  void take(json::value&& value, std::string location) {
    HeadReader reader(options_, findings_);
    auto object = reader.take(std::move(value), std::move(location));
    if (!reader.ignored().empty()) ++ignored_[reader.ignored()];
    if (!object) return;
    const auto [first, fresh] = seen_.try_emplace(object->key, object->location);
    if (!fresh) return tell_second(object->key, object->location, first->second, findings_);
    objects_.push_back(std::move(*object));
  }

  // Tells what was ignored, once per kind.
  void finish() { tell_ignored(ignored_, findings_); }

 private:
  const Options& options_;
  std::vector<RawObject>& objects_;
  Findings& findings_;
  std::map<ObjectKey, std::string> seen_;
  std::map<std::string, size_t> ignored_;
};

// A document that is not even in the shape of one.
ParseFailure misshapen(const Path& path, std::string message) {
  Findings findings;
  Report(findings, {}).fault(path, std::move(message));
  return {std::nullopt, findings.take_faults()};
}

// Takes the objects of the list in `key`, if there is one.
void take_list(json::object& fields, std::string_view key, Intake& intake) {
  json::value* value = fields.if_contains(key);
  json::array* items = value == nullptr ? nullptr : value->if_array();
  if (items == nullptr) return;
  size_t index = 0;
  for (json::value& item : *items) intake.take(std::move(item), fmt::format("/{}/{}", key, index++));
}

Result<Document, ParseFailure> parse_lines(std::string_view text, const Options& options) {
  Document document;
  document.findings.max_faults = options.max_faults;
  const auto budget = MemoryScope::budget();
  Intake intake(options, document.objects, document.findings);
  TextParser parser(text, options, budget);
  size_t index = 0;
  for (const std::string_view line : lines_of(text, *budget)) {
    auto value = parser.parse(line);
    if (!value) return ParseFailure{value.error(), {}};
    intake.take(std::move(*value), fmt::format("/items/{}", index++));
  }
  intake.finish();
  return document;
}

Result<Document, ParseFailure> parse_value(std::string_view text, const Options& options) {
  auto value = TextParser(text, options, MemoryScope::budget()).parse(text);
  if (!value) return ParseFailure{value.error(), {}};
  json::object* fields = value->if_object();
  if (fields == nullptr) return misshapen({}, fmt::format("expected an object, found {}", type_name(*value)));
  Document document;
  document.findings.max_faults = options.max_faults;
  Intake intake(options, document.objects, document.findings);
  if (peek(*fields, "kind") != "List") {
    intake.take(std::move(*value), "");
  } else {
    const json::value* items = fields->if_contains("items");
    if (items == nullptr || !items->is_array()) return misshapen(Path::of("items"), "expected a list of objects");
    take_list(*fields, "items", intake);
  }
  intake.finish();
  return document;
}

// Parses one item after the other into the same memory.
class ItemParser {
 public:
  static constexpr size_t no_plain_text = SIZE_MAX;

  // `levels`: that items stand below others of the document.
  ItemParser(std::string_view document, const Options& options, size_t levels,
             const std::shared_ptr<MemoryBudget>& budget)
      : document_(document),
        memory_(budget, first_block),
        reader_(&memory_, parse_options(options, levels), json::make_shared_resource<CountedMemory>(budget)) {}

  // `parsed` gets the value, which lives no longer than the call, and how many fields its text names if that
  // has neither blanks nor escapes nor numbers that can be written in several ways; otherwise no_plain_text.
  template <class Parsed>
  std::optional<SyntaxError> parse(std::string_view item, const Parsed& parsed) {
    json::error_code error;
    const size_t end = reader_.read(item, error);
    const auto* next = std::find_if_not(item.begin() + end, item.end(), is_blank);
    if (error || next != item.end()) {
      const auto* place = error ? item.data() + end : next;
      return syntax_error(document_, static_cast<size_t>(place - document_.data()),
                          error ? error.message() : "there is more after the end of the document");
    }
    parsed(reader_.release(), reader_.plain_size() == item.size() ? reader_.fields() : no_plain_text);
    memory_.reset();
    return std::nullopt;
  }

 private:
  static constexpr size_t first_block = size_t{256} << 10;

  static json::parse_options parse_options(const Options& options, size_t levels) {
    json::parse_options parse_options;
    parse_options.max_depth = options.max_depth - std::min(options.max_depth, levels);
    return parse_options;
  }

  std::string_view document_;
  Arena memory_;
  JsonReader reader_;
};

// What was found out about an item, wherever that was done.
struct ReadItem {
  const ObjectKey* key = nullptr;  // nullptr: there is no object
  bool known = false;
  std::string ignored;  // a kind
  Findings findings;
};

struct KeyHash {
  size_t operator()(const ObjectKey* key) const {
    const std::hash<std::string_view> hash;
    return (hash(key->name) * 31 + hash(key->ns)) * 31 + hash(key->kind);
  }
};
struct SameKey {
  bool operator()(const ObjectKey* a, const ObjectKey* b) const { return *a == *b; }
};

std::string location_of(size_t index) { return fmt::format("/items/{}", index); }

// Some items, one after the other. The first that is no JSON ends it.
std::optional<SyntaxError> read_some(std::string_view text, const std::vector<std::string_view>& items, size_t first,
                                     size_t last, size_t levels, const Options& options, const DocumentVisitor& visitor,
                                     const std::shared_ptr<MemoryBudget>& budget, std::vector<ReadItem>& found) {
  std::optional<ItemParser> parser;
  for (size_t index = first; index < last; ++index) {
    const Digest digest = digest_of(items[index]);
    ReadItem& item = found[index];
    item.findings.max_faults = options.max_faults;
    item.key = visitor.known(digest);
    item.known = item.key != nullptr;
    if (item.known) continue;
    if (!parser) parser.emplace(text, options, levels, budget);
    auto error = parser->parse(items[index], [&](json::value&& value, size_t fields) {
      HeadReader reader(options, item.findings);
      auto object = reader.take(std::move(value), location_of(index));
      item.ignored = reader.ignored();
      if (!object) return;
      if (fields == reader.fields()) object->text = items[index];
      item.key = visitor.read(index, std::move(*object), digest, item.findings);
    });
    if (error) return error;
  }
  return std::nullopt;
}

std::optional<ParseFailure> read_items(std::string_view text, const std::vector<std::string_view>& items, size_t levels,
                                       const Options& options, const DocumentVisitor& visitor,
                                       const std::shared_ptr<MemoryBudget>& budget, Findings& findings) {
  static constexpr size_t together = 128;  // a millisecond or two: nobody waits long for the last
  std::vector<ReadItem> found(items.size());
  std::vector<std::optional<ParseFailure>> failures((items.size() + together - 1) / together);
  visitor.begin(items.size());
  options.spread(failures.size(), [&](size_t part) {
    struct Read {};
    const MemoryScope scope(budget);
    const auto read = without_exceptions<Read>([&]() -> Result<Read, ParseFailure> {
      const size_t last = std::min(items.size(), (part + 1) * together);
      if (auto error = read_some(text, items, part * together, last, levels, options, visitor, budget, found)) {
        return ParseFailure{std::move(*error), {}};
      }
      return Read{};
    });
    if (!read) failures[part] = read.error();
  });
  for (auto& failure : failures) {
    if (failure) return std::move(failure);
  }
  std::unordered_map<const ObjectKey*, size_t, KeyHash, SameKey> seen;
  seen.reserve(items.size());
  std::map<std::string, size_t> ignored;
  for (size_t index = 0; index < found.size(); ++index) {
    ReadItem& item = found[index];
    if (!item.ignored.empty()) ++ignored[item.ignored];
    if (item.key != nullptr) {
      if (const auto [first, fresh] = seen.try_emplace(item.key, index); !fresh) {
        tell_second(*item.key, location_of(index), location_of(first->second), findings);
        continue;
      }
      if (item.known) {
        visitor.keep(*item.key, location_of(index));
      } else {
        visitor.take(index);
      }
    }
    findings.append(std::move(item.findings));
  }
  tell_ignored(ignored, findings);
  return std::nullopt;
}

void read_deletion(Reader& item, const std::string& location, const Options& options, Delta& delta) {
  std::string kind;
  std::string ns;
  std::string name;
  item.text("namespace", ns);
  const bool has_kind = item.need_text("kind", kind);
  const bool has_name = item.need_text("name", name);
  if (!has_kind || !has_name) return;
  if (auto key = make_key(kind, ns, name)) {
    delta.remove.push_back({std::move(*key), location});
  } else if (!options.ignore_unknown_kinds) {
    item.fault("kind", fmt::format("unknown kind {}", quoted(kind)));
  }
}

Result<Delta, ParseFailure> parse_delta_value(std::string_view text, const Options& options) {
  auto value = TextParser(text, options, MemoryScope::budget()).parse(text);
  if (!value) return ParseFailure{value.error(), {}};
  json::object* fields = value->if_object();
  if (fields == nullptr) return misshapen({}, fmt::format("expected an object, found {}", type_name(*value)));
  if (peek(*fields, "kind") != "Delta") return misshapen(Path::of("kind"), "expected \"Delta\"");

  Delta delta;
  delta.findings.max_faults = options.max_faults;
  Intake intake(options, delta.upsert, delta.findings);
  Report report(delta.findings, {"Delta"});
  {
    Reader body(fields, report, {}, UnknownFields::Warn);
    std::string ignored;
    body.text("kind", ignored);
    body.number("baseGeneration", delta.base_generation, 0, std::numeric_limits<uint64_t>::max());
    body.each_value("upsert", [](const json::value&, const Place&) {});  // that it is a list
    body.each("delete", [&](Reader& item, size_t index) {
      read_deletion(item, fmt::format("/delete/{}", index), options, delta);
    });
  }
  take_list(*fields, "upsert", intake);
  intake.finish();

  std::map<ObjectKey, const std::string*> removed;
  for (const Deletion& deletion : delta.remove) removed.try_emplace(deletion.key, &deletion.location);
  for (const RawObject& object : delta.upsert) {
    const auto both = removed.find(object.key);
    if (both == removed.end()) continue;
    Report(delta.findings, {object.key.kind, object.key.ns, object.key.name, object.location})
        .fault({}, fmt::format("to be both set and deleted, see {}", *both->second));
  }
  return delta;
}

}  // namespace

std::string SyntaxError::text() const {
  return fmt::format("line {}, column {} (offset {}): {}", line, column, offset, message);
}

Result<Document, ParseFailure> parse_document(std::string_view text, const Options& options) {
  return without_exceptions<Document>(
      [&] { return options.format == Format::NdJson ? parse_lines(text, options) : parse_value(text, options); });
}

std::optional<ParseFailure> read_document(std::string_view text, const Options& options, const DocumentVisitor& visitor,
                                          Findings& findings) {
  struct Read {};
  const auto result = without_exceptions<Read>([&]() -> Result<Read, ParseFailure> {
    std::optional<ParseFailure> failure;
    const auto budget = MemoryScope::budget();
    if (options.format == Format::NdJson) {
      failure = read_items(text, lines_of(text, *budget), 0, options, visitor, budget, findings);
    } else if (const auto items = list_items(text, budget)) {
      failure = read_items(text, *items, list_levels, options, visitor, budget, findings);
      // Who reads all of the text knows best where it is wrong.
      if (failure && !budget->exceeded()) {
        if (const auto whole = parse_value(text, options); !whole) failure = whole.error();
      }
    } else {
      auto document = parse_value(text, options);
      if (!document) return document.error();
      visitor.begin(document->objects.size());
      findings.append(std::move(document->findings));
      for (size_t index = 0; index < document->objects.size(); ++index) {
        (void)visitor.read(index, std::move(document->objects[index]), {}, findings);
        visitor.take(index);
      }
    }
    if (failure) return *std::move(failure);
    return Read{};
  });
  if (!result) return result.error();
  return std::nullopt;
}

Result<Delta, ParseFailure> parse_delta(std::string_view text, const Options& options) {
  return without_exceptions<Delta>([&] { return parse_delta_value(text, options); });
}

Delta to_delta(Document&& document) {
  Delta delta;
  delta.upsert = std::move(document.objects);
  delta.findings = std::move(document.findings);
  return delta;
}

Delta deletion_of(ObjectKey key) {
  Delta delta;
  delta.remove.push_back({std::move(key), ""});
  return delta;
}

std::optional<ObjectKey> make_key(std::string_view kind, std::string_view ns, std::string_view name) {
  const Kind* known = find_kind_by_name(kind, !ns.empty());
  if (known == nullptr) return std::nullopt;
  ObjectKey key{std::string(kind), "", std::string(name)};
  if (known->namespaced) key.ns = ns.empty() ? "default" : ns;
  return key;
}

}  // namespace sluice::config
