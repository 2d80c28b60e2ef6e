#include "control/state_journal.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

#include "config/json.h"
#include "control/journal_record.h"
#include "control/state_file.h"

namespace sluice::control {
namespace {

namespace fs = std::filesystem;
constexpr size_t longest_head = 256;  // bytes of a document or change before its objects
using config::ObjectSet;

// The record of a whole cluster is never in memory as a whole.
bool write_pieces(int fd, const std::vector<std::string_view>& pieces) {
  static constexpr size_t block = size_t{256} << 10;
  std::string text;
  for (const std::string_view piece : pieces) {
    text += piece;
    if (text.size() < block) continue;
    if (!write_all(fd, text)) return false;
    text.clear();
  }
  return write_all(fd, text);
}

// A number in the head of a document or of a change, before its objects.
std::optional<uint64_t> number_in(std::string_view text, std::string_view field, std::string_view objects) {
  const std::string_view head = text.substr(0, text.substr(0, longest_head).find(objects));
  const std::string name = fmt::format("\"{}\":", field);
  const size_t at = head.substr(0, longest_head).find(name);
  if (at == std::string_view::npos) return std::nullopt;
  uint64_t number = 0;
  const auto read = std::from_chars(head.data() + at + name.size(), head.data() + head.size(), number);
  return read.ec == std::errc() ? std::optional(number) : std::nullopt;
}

std::optional<uint64_t> number_of_document(std::string_view text, std::string_view field) {
  return number_in(text, field, "\"items\"");
}

// The beginning of a file; empty if there is none.
std::string head_of(const std::string& path) {
  std::string head(longest_head, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return head;
}

uint64_t format_of_journal(const std::string& path) {
  const std::string head = head_of(path);
  std::string_view rest = head;
  Record record;
  return read_record(rest, record) == Read::Whole && record.word == format_word ? record.length : 0;
}

std::optional<ObjectSet> objects_of(std::string_view document, const config::Spread& spread) {
  ObjectSet objects;
  auto prepared = objects.prepare(document, {.ignore_unknown_kinds = true, .spread = spread});
  if (!prepared || !objects.apply(std::move(*prepared))) return std::nullopt;
  return objects;
}

// What the journal says that its document has to be. Empty: nothing, the document was finished just before the end.
std::optional<uint32_t> document_sum(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  Record record;
  std::optional<uint32_t> sum;
  while (read_record(rest, record) == Read::Whole) {
    if (record.word == document_word) sum = record.sum;
  }
  return sum;
}

}  // namespace

StateJournal::~StateJournal() {
  if (fd_ >= 0) ::fdatasync(fd_);
  close_files();
}

void StateJournal::close_files() {
  for (int* fd : {&fd_, &document_fd_}) {
    if (*fd >= 0) ::close(*fd);
    *fd = -1;
  }
}

uint64_t StateJournal::worth_rewriting(uint64_t bytes) { return std::max<uint64_t>(bytes, uint64_t{16} << 20); }

std::string StateJournal::journal(uint64_t number) const {
  return fmt::format("{}/config.journal.{}", folder_, number);
}

std::vector<uint64_t> StateJournal::journals() const {
  static constexpr std::string_view prefix = "config.journal.";
  std::vector<uint64_t> numbers;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
    const std::string name = entry.path().filename().string();
    uint64_t number = 0;
    if (!name.starts_with(prefix)) continue;
    const auto end = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
    if (end.ec == std::errc() && end.ptr == name.data() + name.size()) numbers.push_back(number);
  }
  return numbers;
}

void StateJournal::remove_journals_outside(uint64_t first, uint64_t last) const {
  std::error_code ignored;
  for (const uint64_t number : journals()) {
    if (number < first || number > last) fs::remove(journal(number), ignored);
  }
}

std::string StateJournal::newer() const {
  const auto words = [](const std::string& file, uint64_t format) {
    return fmt::format(
        "{} was written by a newer version of sluiced: its format is {}, this version reads up to {}; start that "
        "version again, or move the folder away, or start with --config FILE, which takes its place",
        file, format, state_format);
  };
  for (const std::string& file : {path(), path() + ".previous"}) {
    const uint64_t format = number_of_document(head_of(file), "format").value_or(0);
    if (format > state_format) return words(file, format);
  }
  for (const uint64_t number : journals()) {
    const uint64_t format = format_of_journal(journal(number));
    if (format > state_format) return words(journal(number), format);
  }
  return "";
}

void StateJournal::note_generation(std::string_view change) {
  const auto generation = number_in(change, "generation", "\"upsert\"");
  last_generation_ = generation ? std::max(last_generation_, *generation) : last_generation_ + 1;
}

void StateJournal::look_at_generations() {
  for (const std::string& file : {path(), path() + ".previous"}) {
    last_generation_ = std::max(last_generation_, number_of_document(head_of(file), "generation").value_or(0));
  }
  for (const uint64_t number : journals()) {
    const auto text = read_file(journal(number));
    if (!text) continue;
    std::string_view rest = *text;
    Record record;
    while (read_record(rest, record) == Read::Whole) {
      if (record.word == change_word) note_generation(record.payload);
    }
    last_generation_ += rest.size();  // damaged, see replay()
  }
}

void StateJournal::ignore_kept() {
  if (!enabled()) return;
  look_at_generations();
  const std::vector<uint64_t> numbers = journals();
  number_ = numbers.empty() ? 0 : *std::max_element(numbers.begin(), numbers.end()) + 1;
  broken_ = !numbers.empty() || fs::exists(path()) || fs::exists(path() + ".previous");
}

void StateJournal::replay(uint64_t number, ObjectSet& objects, Kept& kept) {
  uint64_t last = number;
  bool sound = true;
  for (; fs::exists(journal(last)); ++last) {
    const auto text = sound ? read_file(journal(last)) : net::Result<std::string>(std::string());
    std::string_view rest;
    if (text) rest = *text;
    if (!text) kept.messages.push_back(text.error().message);
    appended_ += rest.size();
    Record record;
    Read read = Read::End;
    while (sound && (read = read_record(rest, record)) == Read::Whole) {
      if (record.word != change_word) continue;
      auto delta = config::parse_delta(record.payload, {.ignore_unknown_kinds = true});
      if (!delta || !objects.apply(std::move(*delta))) {
        read = Read::Damaged;
        break;
      }
      note_generation(record.payload);
    }
    // Somebody may know a generation that is lost. There cannot have been more of them than bytes.
    std::error_code unreadable;
    const uint64_t size = fs::file_size(journal(last), unreadable);
    if ((!sound || read == Read::Damaged) && !unreadable) last_generation_ += size;
    if (read == Read::Torn) {
      kept.messages.push_back(
          fmt::format("the last change in {} is not whole and left out: the router ended before it was acknowledged",
                      journal(last)));
    }
    if (read != Read::Damaged) continue;
    sound = false;
    kept.messages.push_back(fmt::format("{} is damaged; the changes from byte {} on are lost, it is kept as {}.damaged",
                                        journal(last), fs::file_size(journal(last)) - rest.size(), journal(last)));
    std::error_code ignored;
    fs::copy_file(journal(last), journal(last) + ".damaged", fs::copy_options::overwrite_existing, ignored);
  }
  number_ = last;
  // Changes after those that were lost would lead to a state that never was.
  broken_ = !sound;
  remove_journals_outside(0, last);  // what lies behind a gap
}

StateJournal::Kept StateJournal::load(const config::Spread& spread) {
  Kept kept;
  std::error_code ignored;
  if (!enabled()) return kept;
  kept.refused = newer();
  if (!kept.refused.empty()) return kept;
  const std::string previous = path() + ".previous";
  for (const std::string& file : {path(), previous}) {
    if (!fs::exists(file)) continue;
    const auto text = read_file(file);
    const uint64_t number = text ? number_of_document(*text, "journal").value_or(0) : 0;
    if (text) {
      last_generation_ = std::max(last_generation_, number_of_document(*text, "generation").value_or(0));
    }
    const auto sum = document_sum(journal(number));
    auto objects = text && (!sum || *sum == checksum(*text)) ? objects_of(*text, spread) : std::nullopt;
    if (!objects) {
      kept.messages.push_back(fmt::format("{} is damaged and set aside as {}.damaged", file, file));
      fs::rename(file, file + ".damaged", ignored);
      continue;
    }
    if (file == previous) kept.messages.push_back(fmt::format("{} and the changes since are used", previous));
    document_bytes_ = text->size();
    named_ = number;
    appended_ = 0;
    replay(number, *objects, kept);
    kept.objects = std::move(objects);
    return kept;
  }
  // The first document may never have been written: then the first journal begins with it.
  if (fs::exists(journal(0)) && kept.messages.empty()) {
    ObjectSet objects;
    replay(0, objects, kept);
    if (objects.size() != 0) kept.objects = std::move(objects);
    return kept;
  }
  ignore_kept();  // journals without a document lead nowhere
  return kept;
}

net::Status<> StateJournal::open_journal() {
  if (fd_ >= 0) return net::Done{};
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return net::Error{fmt::format("cannot make the state folder {}: {}", folder_, error.message())};
  fd_ = ::open(journal(number_).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd_ < 0) return failure("cannot write", journal(number_));
  const std::string form = record_of(format_word, state_format, 0);
  journal_size_ = form.size();
  appended_ += form.size();
  if (write_all(fd_, form)) return net::Done{};
  const net::Error why = failure("cannot write", journal(number_));
  ::close(std::exchange(fd_, -1));
  ::unlink(journal(number_).c_str());  // each attempt has a number of its own
  return why;
}

StateJournal::Prepared StateJournal::prepare(const ObjectSet& objects, const config::Change& change) {
  Prepared out;
  std::string remove;
  const config::ObjectKey* last = nullptr;
  for (const config::Change::Touched& touched : change.touched) {
    if (last != nullptr && *last == touched.key) continue;  // several changes in one
    last = &touched.key;
    if (const std::string* text = objects.text_of(touched.key)) {
      if (!out.objects.empty()) out.objects.emplace_back(",");
      out.objects.emplace_back(*text);
    } else {
      if (!remove.empty()) remove += ',';
      // Names need no escape: they are DNS names.
      remove += fmt::format(R"({{"kind":"{}","namespace":"{}","name":"{}"}})", touched.key.kind, touched.key.ns,
                            touched.key.name);
    }
  }
  out.end = R"(],"delete":[)" + remove + "]}";
  const auto count = [&](std::string_view piece) {
    out.length += piece.size();
    out.sum = checksum(piece, out.sum);
  };
  for (const std::string_view piece : out.objects) count(piece);
  count(out.end);
  return out;
}

net::Status<> StateJournal::append(const ObjectSet& objects, const config::Change& change, uint64_t generation) {
  if (!enabled() || broken_) return append(Prepared{}, generation);
  return append(prepare(objects, change), generation);
}

net::Status<> StateJournal::append(const Prepared& change, uint64_t generation) {
  if (!enabled()) return net::Done{};
  if (broken_) return net::Error{"what came before could not be kept; the whole configuration is written again soon"};
  if (auto opened = open_journal(); !opened) {
    broken_ = true;
    return opened;
  }
  const std::string begin = fmt::format(R"({{"kind":"Delta","generation":{},"upsert":[)", generation);
  const uint64_t length = begin.size() + change.length;
  const std::string head = record_of(change_word, length, joined_checksum(checksum(begin), change.sum, change.length));
  std::vector<std::string_view> pieces{head, begin};
  pieces.insert(pieces.end(), change.objects.begin(), change.objects.end());
  pieces.emplace_back(change.end);
  pieces.emplace_back("\n");
  if (!write_pieces(fd_, pieces)) {
    const net::Error why = failure("cannot write", journal(number_));
    if (::ftruncate(fd_, static_cast<off_t>(journal_size_)) != 0) ::close(std::exchange(fd_, -1));
    broken_ = true;
    return why;
  }
  const uint64_t written = head.size() + length + 1;
  journal_size_ += written;
  appended_ += written;
  return net::Done{};
}

std::function<net::Status<>()> StateJournal::sync() const {
  return [fd = fd_ < 0 ? -1 : ::dup(fd_), file = journal(number_)]() -> net::Status<> {
    if (fd < 0) return net::Done{};
    const bool synced = ::fdatasync(fd) == 0;
    const net::Error why = failure("cannot write", file);
    ::close(fd);
    if (!synced) return why;
    return net::Done{};
  };
}

net::Status<> StateJournal::rotate() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  // A number left out ends what is read after the old document.
  gap_ = broken_;
  number_ += broken_ ? 2 : 1;
  before_rotation_ = appended_;
  auto opened = open_journal();
  if (opened) broken_ = false;
  return opened;
}

net::Status<> StateJournal::begin(uint64_t generation) {
  const std::string fresh = path() + ".new";
  document_fd_ = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (document_fd_ < 0) return failure("cannot write", fresh);
  checksum_ = 0;
  writing_bytes_ = 0;
  return write(fmt::format(
      R"({{"apiVersion":"v1","kind":"List","metadata":{{"format":{},"generation":{},"journal":{}}},"items":[)",
      state_format, generation, number_));
}

net::Status<> StateJournal::write(std::string_view objects) {
  if (!write_all(document_fd_, objects)) return failure("cannot write", path() + ".new");
  checksum_ = checksum(objects, checksum_);
  writing_bytes_ += objects.size();
  return net::Done{};
}

net::Status<> StateJournal::end() {
  if (auto ended = write("]}\n"); !ended) return ended;
  if (::fsync(document_fd_) != 0) return failure("cannot write", path() + ".new");
  return net::Done{};
}

net::Status<> StateJournal::install() {
  ::close(std::exchange(document_fd_, -1));
  if (broken_) return net::Error{"a change could not be kept while the configuration was written"};
  // The journal knows what the document has to be before the document is there.
  const std::string record = record_of(document_word, writing_bytes_, checksum_);
  if (!write_all(fd_, record)) return failure("cannot write", journal(number_));
  journal_size_ += record.size();
  const std::string previous = path() + ".previous";
  if (::rename(path().c_str(), previous.c_str()) != 0 && errno != ENOENT) return failure("cannot replace", previous);
  if (::rename((path() + ".new").c_str(), path().c_str()) != 0) return failure("cannot replace", path());
  // The previous document leads to the present through its own journals, unless a gap ends them.
  if (gap_) ::unlink(previous.c_str());
  remove_journals_outside(gap_ ? number_ : named_, number_);
  named_ = number_;
  document_bytes_ = writing_bytes_;
  appended_ -= std::min(appended_, before_rotation_);
  gap_ = false;
  return net::Done{};
}

void StateJournal::give_up() {
  if (document_fd_ >= 0) ::close(std::exchange(document_fd_, -1));
  ::unlink((path() + ".new").c_str());
  if (!gap_) return;
  // What is in this journal goes on from a document that will not be.
  broken_ = true;
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  ::unlink(journal(number_).c_str());
}

}  // namespace sluice::control
