#include "config/finding.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "config/json_memory.h"

namespace sluice::config {
namespace {

// A key that needs no brackets in the dotted form.
bool is_plain(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

}  // namespace

std::string quoted(std::string_view text) {
  static constexpr size_t longest = 80;
  size_t end = std::min(text.size(), longest);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  std::string shown(text.substr(0, end));
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return fmt::format("\"{}{}\"", shown, end < text.size() ? "…" : "");
}

std::string Finding::text() const {
  std::string out = kind;
  if (!name.empty()) out += (out.empty() ? "" : " ") + name;
  const std::string& place = path.empty() ? pointer : path;
  if (!place.empty()) out += (out.empty() ? "" : ": ") + place;
  return out.empty() ? message : out + ": " + message;
}

// RFC 6901 section 3: "~" is written ~0, "/" is written ~1.
Path& Path::add(std::string_view key) {
  pointer_ += '/';
  for (const char c : key) {
    if (c == '~') {
      pointer_ += "~0";
    } else if (c == '/') {
      pointer_ += "~1";
    } else {
      pointer_ += c;
    }
  }
  if (!is_plain(key)) {
    dotted_ += fmt::format("[{}]", key);
  } else {
    if (!dotted_.empty()) dotted_ += '.';
    dotted_ += key;
  }
  return *this;
}

Path& Path::add_index(size_t index) {
  pointer_ += fmt::format("/{}", index);
  dotted_ += fmt::format("[{}]", index);
  return *this;
}

void Findings::append(Findings&& other) {
  const size_t room = max_faults > faults.size() ? max_faults - faults.size() : 0;
  const size_t taken = std::min(room, other.faults.size());
  const auto end = other.faults.begin() + static_cast<std::ptrdiff_t>(taken);
  std::move(other.faults.begin(), end, std::back_inserter(faults));
  std::move(other.warnings.begin(), other.warnings.end(), std::back_inserter(warnings));
  left_out += other.left_out + other.faults.size() - taken;
  other = {};
}

std::vector<Fault> Findings::take_faults() {
  std::vector<Fault> out = std::move(faults);
  faults.clear();
  if (left_out != 0) out.push_back({"", "", "", "", fmt::format("and {} more faults", left_out)});
  left_out = 0;
  return out;
}

void Report::fault(const Path& path, std::string message) {
  if (findings_.faults.size() >= findings_.max_faults) {
    ++findings_.left_out;
  } else {
    findings_.faults.push_back(finding(path, std::move(message)));
  }
}

void Report::warn(const Path& path, std::string message) {
  findings_.warnings.push_back(finding(path, std::move(message)));
}

Finding Report::finding(const Path& path, std::string message) const {
  const auto& [kind, ns, name, location] = subject_;
  Finding out{std::string(kind), ns.empty() ? std::string(name) : fmt::format("{}/{}", ns, name),
              std::string(location) + path.pointer(), path.dotted(), std::move(message)};
  MemoryScope::take(sizeof(Finding) + out.kind.size() + out.name.size() + out.pointer.size() + out.path.size() +
                    out.message.size());
  return out;
}

}  // namespace sluice::config
