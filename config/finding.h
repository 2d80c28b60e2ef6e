// What is wrong with a document, or odd about it, and where: the words that parse and validate share.
//
// A place is given twice. `pointer` is an RFC 6901 pointer into the document that was sent, so that an editor
// can jump there: /items/3/spec/ports/1/nodePort. `path` is the form of the Kubernetes API servers, relative to
// the object: spec.ports[1].nodePort. Both are text only when there is something to say about the place.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::config {

struct Finding {
  std::string kind;     // of the object; empty: the document itself
  std::string name;     // "namespace/name" or "name"; empty: not known
  std::string pointer;  // empty: the whole document, or an object that is not in this document
  std::string path;
  std::string message;

  [[nodiscard]] std::string text() const;  // "Service default/web: spec.ports[1].nodePort: …"
  friend bool operator==(const Finding&, const Finding&) = default;
};

// A fault refuses the document, a warning does not.
using Fault = Finding;
using Warning = Finding;

// A text out of a document, for a message: in quotation marks, not longer than a line of a terminal, cut between
// characters of UTF-8 and without control characters, because messages go to logs.
[[nodiscard]] std::string quoted(std::string_view text);

// A place in both notations: Path::of("spec", "ports", 1, "nodePort").
class Path {
 public:
  template <class... Steps>
  static Path of(const Steps&... steps) {
    Path path;
    (path.add(steps), ...);
    return path;
  }

  Path& add(std::string_view key);
  Path& add(std::integral auto index) { return add_index(static_cast<size_t>(index)); }

  [[nodiscard]] const std::string& pointer() const { return pointer_; }
  [[nodiscard]] const std::string& dotted() const { return dotted_; }

 private:
  Path& add_index(size_t index);

  std::string pointer_;
  std::string dotted_;
};

// All findings about one document. Past `max_faults` faults are only counted, so that a document of a hundred
// thousand wrong objects does not answer with a hundred thousand sentences.
struct Findings {
  std::vector<Fault> faults;
  std::vector<Warning> warnings;
  size_t max_faults = 1000;
  size_t left_out = 0;

  [[nodiscard]] bool any_fault() const { return !faults.empty() || left_out != 0; }
  void append(Findings&& other);
  // The faults, and a last one that tells how many were left out.
  [[nodiscard]] std::vector<Fault> take_faults();
};

// Which object a report is about; all views, so the texts outlive the report.
struct Subject {
  std::string_view kind = {};
  std::string_view ns = {};
  std::string_view name = {};
  std::string_view location = {};  // the object's own place in the document: "/items/3"
};

// The findings about one object. Costs nothing until there is one.
class Report {
 public:
  Report(Findings& findings, const Subject& subject) : findings_(findings), subject_(subject) {}

  void fault(const Path& path, std::string message);
  void warn(const Path& path, std::string message);

 private:
  [[nodiscard]] Finding finding(const Path& path, std::string message) const;

  Findings& findings_;
  Subject subject_;
};

}  // namespace sluice::config
