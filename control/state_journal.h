// What the router keeps of its configuration over a restart, so that a change costs what it holds: the document as it
// was once (config.json) and the changes since (config.journal.N), appended one after the other, each with a checksum.
//
// The document names the journal that goes on from it, N; it is followed by N + 1 and so on as far as there are any.
// When the journals have become longer than the document it is written anew, while changes go on:
//
//   rotate()         changes go to journal N + 1 from now on; N is on the disk before
//   begin(), write() config.json.new, which will name N + 1; the objects go into it piece by piece
//   end()            it is on the disk
//   install()        it takes the place of config.json, which becomes config.json.previous
//
// An object that changes meanwhile may be in the new document as it was or as it is: journal N + 1 has the change, and
// changes say what an object is now, not what differs, so replaying one that is already there does no harm. Whenever
// the process dies there is a document whose journals lead to the last state that was acknowledged, or to the one in
// flight: append() has handed the change to the kernel when it returns. The disk has it after sync(); a machine that
// loses power may lose what came later, at the end only.
//
// A document that turns out damaged is set aside and the previous one used, whose journals are kept and lead to the
// same state. After a failure to append (the disk is full) nothing is appended until the document has been written
// anew: changes after a gap would lead to a state that never was.
//
// Document and journals say in which form they are, `state_format`; those that say nothing are of a version before
// there was a number and are read like 1. What is of a later form is left alone. Document and changes say which
// generation they led to, so that it goes on from there: an entity tag of before a restart never means another state.
//
// write(), end() and sync() may run beside append() in another thread; all else is for one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/object_set.h"
#include "config/spread.h"
#include "dataplane/net/result.h"

namespace sluice::control {

// Of document and journals.
inline constexpr uint64_t state_format = 1;

class StateJournal {
 public:
  // `folder` is made if it is missing; empty: nothing is kept.
  explicit StateJournal(std::string folder) : folder_(std::move(folder)) {}
  ~StateJournal();
  StateJournal(const StateJournal&) = delete;
  StateJournal& operator=(const StateJournal&) = delete;

  [[nodiscard]] bool enabled() const { return !folder_.empty(); }
  [[nodiscard]] std::string path() const { return folder_ + "/config.json"; }

  struct Kept {
    std::optional<config::ObjectSet> objects;  // empty: nothing is kept
    std::string refused;                // a newer version wrote it: what that is and what to do; nothing is touched
    std::vector<std::string> messages;  // what was damaged, and what was done about it
  };
  // What is kept, journals included. What comes after it is appended to a journal of its own.
  [[nodiscard]] Kept load(const config::Spread& spread = config::one_after_the_other);

  // Instead of load(): what is kept has nothing to do with what comes.
  void ignore_kept();

  // The highest generation that any of what is kept may have had, when it was looked at; 0: nothing was kept.
  [[nodiscard]] uint64_t last_generation() const { return last_generation_; }

  // What is kept of a change, but for its generation. Points to texts of the objects, and does not outlive the next
  // change of them.
  struct Prepared {
    std::vector<std::string_view> objects;  // what is written of them, piece by piece
    std::string end;                        // behind them
    uint64_t length = 0;                    // of all of it
    uint32_t sum = 0;
  };
  // For the change that led to `objects`, what they say now. Any thread.
  [[nodiscard]] static Prepared prepare(const config::ObjectSet& objects, const config::Change& change);
  // `generation`: which one `objects` are. Error: it is not kept.
  [[nodiscard]] net::Status<> append(const Prepared& change, uint64_t generation);
  [[nodiscard]] net::Status<> append(const config::ObjectSet& objects, const config::Change& change,
                                     uint64_t generation);
  // Does its work when it is called: waits until the disk has all that has been appended by now.
  [[nodiscard]] std::function<net::Status<>()> sync() const;

  // What was appended may not be on the disk, whatever append() said: sync() failed.
  void lose() { broken_ = true; }
  // Nothing can be appended until the document has been written anew.
  [[nodiscard]] bool is_broken() const { return enabled() && broken_; }
  // It is worth while to write the document anew.
  [[nodiscard]] bool is_long() const { return enabled() && appended_ > worth_rewriting(document_bytes_); }
  [[nodiscard]] net::Status<> rotate();
  [[nodiscard]] net::Status<> begin(uint64_t generation);
  [[nodiscard]] net::Status<> write(std::string_view objects);  // texts with commas between
  [[nodiscard]] net::Status<> end();
  [[nodiscard]] net::Status<> install();
  // Instead of the rest of these: the document could not be written.
  void give_up();

 private:
  static uint64_t worth_rewriting(uint64_t bytes);
  [[nodiscard]] std::string journal(uint64_t number) const;
  [[nodiscard]] std::vector<uint64_t> journals() const;  // numbers of those that are there
  [[nodiscard]] net::Status<> open_journal();
  void close_files();
  // Those whose number is below `first` or above `last`.
  void remove_journals_outside(uint64_t first, uint64_t last) const;
  // What of it is of a later form and what to do about it; empty: nothing.
  [[nodiscard]] std::string newer() const;
  // Finds last_generation_ without reading what the changes say.
  void look_at_generations();
  void note_generation(std::string_view change);
  // Puts the changes of the journals from `number` on into `objects`.
  void replay(uint64_t number, config::ObjectSet& objects, Kept& kept);

  std::string folder_;
  int fd_ = -1;                // of the journal that is appended to
  int document_fd_ = -1;       // of config.json.new
  uint64_t number_ = 0;        // of the journal that is appended to
  uint64_t named_ = 0;         // the journal that config.json names
  uint64_t journal_size_ = 0;  // bytes, of the journal that is appended to
  uint64_t appended_ = 0;      // bytes, of all journals since the document
  uint64_t before_rotation_ = 0;
  uint64_t document_bytes_ = 0;
  uint64_t last_generation_ = 0;
  uint64_t writing_bytes_ = 0;
  uint32_t checksum_ = 0;  // of config.json.new so far
  bool broken_ = false;
  bool gap_ = false;  // the journal that is appended to goes on from the document that is being written, and only that
};

}  // namespace sluice::control
