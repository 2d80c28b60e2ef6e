// Boost.JSON's parser, but with exact numbers.
//
// Up to Boost 1.84 its own parser may miss the nearest double by a few units, so a number that was written and read
// again is another one, and an object that did not change would seem to have. Here fractions and powers of ten are
// read by std::from_chars, for which writing (the shortest text that means the number) and reading are inverse.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include <boost/json/error.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>

#include "config/json_memory.h"

namespace sluice::config {

class JsonReader {
 public:
  // Values are built in `storage`; `stack` is for those that are not finished yet.
  JsonReader(boost::json::storage_ptr storage, const boost::json::parse_options& options,
             boost::json::storage_ptr stack = {});
  ~JsonReader();
  JsonReader(const JsonReader&) = delete;
  JsonReader& operator=(const JsonReader&) = delete;

  // Reads one value from the beginning of `text` and returns how many bytes it took; with an error, how far it came.
  [[nodiscard]] size_t read(std::string_view text, boost::json::error_code& error);
  // What the last read() found; once, and only if it succeeded.
  [[nodiscard]] boost::json::value release();
  // How long the text would be without blanks and escapes; 0 if a number in it may be written in another way. Fields of
  // objects, of one name as often as they came. Both of the last read().
  [[nodiscard]] size_t plain_size() const;
  [[nodiscard]] size_t fields() const;

 private:
  struct Parser;
  boost::json::storage_ptr storage_;
  std::unique_ptr<Parser> parser_;
};

// One value and nothing behind it; empty: it is no JSON. Throws TooLarge if it takes more than `budget`.
[[nodiscard]] std::optional<boost::json::value> read_within(std::string_view text,
                                                            const std::shared_ptr<MemoryBudget>& budget);

// What this program wrote itself: nothing is wrong with it, and it may be nested to any depth.
[[nodiscard]] boost::json::value read_canonical(std::string_view text);

}  // namespace sluice::config
