#include "config/json_reader.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value_stack.hpp>

#include "config/json_items.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

// Builds a value from what the parser reports.
struct Handler {
  explicit Handler(json::storage_ptr memory) : stack(std::move(memory)) {}

  static constexpr size_t max_object_size = json::object::max_size();
  static constexpr size_t max_array_size = json::array::max_size();
  static constexpr size_t max_key_size = json::string::max_size();
  static constexpr size_t max_string_size = json::string::max_size();

  using Text = json::string_view;
  using Error = json::error_code;

  static bool on_document_begin(Error&) { return true; }
  static bool on_document_end(Error&) { return true; }
  static bool on_object_begin(Error&) { return true; }
  static bool on_array_begin(Error&) { return true; }
  static bool on_comment_part(Text, Error&) { return true; }
  static bool on_comment(Text, Error&) { return true; }

  bool on_object_end(size_t count, Error&) {
    fields += count;
    plain_size += brackets_and_commas(count);
    return stack.push_object(count), true;
  }
  bool on_array_end(size_t count, Error&) {
    plain_size += brackets_and_commas(count);
    return stack.push_array(count), true;
  }
  bool on_key_part(Text text, size_t, Error&) { return stack.push_chars(text), true; }
  bool on_key(Text text, size_t size, Error&) {
    plain_size += size + 3;  // two quotes and a colon
    return stack.push_key(text), true;
  }
  bool on_string_part(Text text, size_t, Error&) { return stack.push_chars(text), true; }
  bool on_string(Text text, size_t size, Error&) {
    plain_size += size + 2;
    return stack.push_string(text), true;
  }
  bool on_bool(bool value, Error&) {
    plain_size += value ? 4 : 5;
    return stack.push_bool(value), true;
  }
  bool on_null(Error&) {
    plain_size += 4;
    return stack.push_null(), true;
  }

  bool on_number_part(Text text, Error&) { return number.append(text.data(), text.size()), true; }
  bool on_int64(int64_t value, Text text, Error&) {
    plain_size += number.size() + text.size();
    one_way = one_way && (value != 0 || text != "-0");
    return number.clear(), stack.push_int64(value), true;
  }
  bool on_uint64(uint64_t value, Text text, Error&) {
    plain_size += number.size() + text.size();
    return number.clear(), stack.push_uint64(value), true;
  }
  // What from_chars cannot represent stays as the parser understood it: zero or infinite.
  bool on_double(double value, Text text, Error& error) {
    one_way = false;
    on_number_part(text, error);
    std::from_chars(number.data(), number.data() + number.size(), value);
    number.clear();
    stack.push_double(value);
    return true;
  }

  static size_t brackets_and_commas(size_t count) { return count == 0 ? 2 : count + 1; }

  json::value_stack stack;
  std::string number;  // the parts of one
  size_t plain_size = 0;
  size_t fields = 0;
  bool one_way = true;  // there is only one way to write the numbers
};

}  // namespace

struct JsonReader::Parser : json::basic_parser<Handler> {
  using basic_parser::basic_parser;
};

JsonReader::JsonReader(json::storage_ptr storage, const json::parse_options& options, json::storage_ptr stack)
    : storage_(std::move(storage)), parser_(std::make_unique<Parser>(options, std::move(stack))) {}

JsonReader::~JsonReader() = default;

size_t JsonReader::read(std::string_view text, json::error_code& error) {
  parser_->reset();
  parser_->handler().stack.reset(storage_);
  parser_->handler().number.clear();
  parser_->handler().plain_size = parser_->handler().fields = 0;
  parser_->handler().one_way = true;
  return parser_->write_some(false, text.data(), text.size(), error);
}

json::value JsonReader::release() { return parser_->handler().stack.release(); }

size_t JsonReader::plain_size() const { return parser_->handler().one_way ? parser_->handler().plain_size : 0; }

size_t JsonReader::fields() const { return parser_->handler().fields; }

std::optional<json::value> read_within(std::string_view text, const std::shared_ptr<MemoryBudget>& budget) {
  static constexpr size_t least = 1024;
  JsonReader reader(json::make_shared_resource<Arena>(budget, std::max(text.size(), least)), {},
                    json::make_shared_resource<CountedMemory>(budget));
  json::error_code error;
  const std::string_view rest = text.substr(reader.read(text, error));
  if (error || !std::all_of(rest.begin(), rest.end(), is_blank)) return std::nullopt;
  return reader.release();
}

json::value read_canonical(std::string_view text) {
  json::parse_options options;
  options.max_depth = std::numeric_limits<size_t>::max();
  JsonReader reader({}, options);
  json::error_code error;
  (void)reader.read(text, error);
  return error ? json::value() : reader.release();
}

}  // namespace sluice::config
