#include "tests/fuzz/http_mutator.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <zlib.h>

#include <boost/json.hpp>

#include "control/gunzip.h"
#include "tests/fuzz/http_grammar.h"

namespace sluice::fuzz {
namespace {

namespace json = boost::json;
using Random = std::minstd_rand;

constexpr size_t most_requests = 8;
constexpr size_t most_bytes = 8192;  // of one text within a request
constexpr std::string_view blank_line = "\r\n\r\n";

constexpr std::array<std::string_view, 9> methods{"GET",  "PUT",     "PATCH", "DELETE", "POST",
                                                  "HEAD", "OPTIONS", "TRACE", "GE"};

constexpr std::array<std::string_view, 14> fields{"Host: sluice",
                                                  "Host: other",
                                                  "Content-Type: application/json",
                                                  "Content-Type: application/x-ndjson",
                                                  "Content-Type: text/plain",
                                                  "Content-Encoding: br",
                                                  "If-Match: \"1\"",
                                                  "If-Match: *",
                                                  "If-Match: W/\"x\"",
                                                  "Connection: close",
                                                  "Expect: 100-continue",
                                                  "Expect: miracles",
                                                  "Authorization: Bearer 0123456789abcdef",
                                                  "Transfer-Encoding: gzip, chunked"};

constexpr std::array<std::string_view, 22> scalars{"null",        "true",
                                                   "false",       "0",
                                                   "-1",          "65536",
                                                   "1e308",       "18446744073709551615",
                                                   "\"\"",        "\"10.96.0.1\"",
                                                   "\"::1\"",     "\"0.0.0.0/0\"",
                                                   "\"24h\"",     "\"default\"",
                                                   "\"\\u0000\"", "\"TCP\"",
                                                   "\"a/b\"",     "[]",
                                                   "{}",          "[[]]",
                                                   "\"Never\"",   "30080"};

template <class List>
auto& any_of(List& list, Random& random) {
  return list[random() % list.size()];
}

json::value parsed(std::string_view text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  return error ? json::value() : value;
}

// ---- JSON --------------------------------------------------------------------------------------------

void collect(json::value& value, std::vector<json::value*>& all) {
  all.push_back(&value);
  if (json::object* object = value.if_object()) {
    for (auto& member : *object) collect(member.value(), all);
  } else if (json::array* array = value.if_array()) {
    for (json::value& item : *array) collect(item, all);
  }
}

json::value any_part(Random& random) {
  json::value document = parsed(any_of(documents, random));
  std::vector<json::value*> parts;
  collect(document, parts);
  return *any_of(parts, random);
}

void mutate_json(json::value& document, Random& random, MutateBytes mutate_bytes) {
  std::vector<json::value*> all;
  collect(document, all);
  json::value& place = *any_of(all, random);
  json::object* const object = place.if_object();
  json::array* const array = place.if_array();
  switch (random() % 6) {
    case 0:
      place = parsed(any_of(scalars, random));
      break;
    case 1:
      place = any_part(random);
      break;
    case 2:
      if (object != nullptr && !object->empty()) {
        object->erase(std::next(object->begin(), static_cast<long>(random() % object->size())));
      } else if (array != nullptr && !array->empty()) {
        array->erase(std::next(array->begin(), static_cast<long>(random() % array->size())));
      }
      break;
    case 3:
      if (array != nullptr && !array->empty()) {
        const json::value twin = any_of(*array, random);
        array->push_back(twin);
      } else if (object != nullptr && !object->empty()) {
        const auto member = std::next(object->begin(), static_cast<long>(random() % object->size()));
        const json::value value = member->value();
        object->emplace(mutate_bytes(std::string(member->key()), 40), value);
      }
      break;
    case 4:
      if (array != nullptr) array->push_back(any_part(random));
      if (object != nullptr) (*object)["metadata"] = any_part(random);
      break;
    default:
      if (json::string* text = place.if_string()) *text = mutate_bytes(std::string(*text), 200);
      if (int64_t* number = place.if_int64()) *number += static_cast<int64_t>(random() % 3) - 1;
  }
}

void mutate_body(HttpRequest& request, Random& random, MutateBytes mutate_bytes) {
  json::error_code error;
  json::value document = json::parse(request.body, error);
  const auto choice = random() % 8;
  if (choice == 0) {
    request.body = any_of(documents, random);
  } else if (choice == 1) {  // lines of objects
    request.body += request.body.empty() ? "" : "\n";
    request.body += any_of(documents, random);
  } else if (choice == 2 || error) {
    request.body = mutate_bytes(request.body, most_bytes);
  } else {
    mutate_json(document, random, mutate_bytes);
    request.body = json::serialize(document);
  }
}

// ---- bodies on the wire ------------------------------------------------------------------------------

std::string packed(const std::string& text) {
  z_stream zlib{};
  if (deflateInit2(&zlib, 1, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) return "";
  std::string out(deflateBound(&zlib, text.size()), '\0');
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  zlib.avail_in = static_cast<uInt>(text.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
  deflate(&zlib, Z_FINISH);
  out.resize(out.size() - zlib.avail_out);
  deflateEnd(&zlib);
  return out;
}

std::optional<std::string> unpacked(std::string_view text) {
  control::Gunzip gunzip;
  std::string out;
  if (gunzip.expand(text, out, most_bytes) != control::Gunzip::Outcome::Consumed || !gunzip.complete()) {
    return std::nullopt;
  }
  return out;
}

// The chunks in front of `text`, which loses them.
std::optional<std::string> take_chunks(std::string_view& text) {
  std::string out;
  while (true) {
    const size_t line_end = text.find("\r\n");
    unsigned size = 0;
    if (line_end == std::string_view::npos || line_end > 8 ||
        std::sscanf(std::string(text.substr(0, line_end)).c_str(), "%x", &size) != 1) {
      return std::nullopt;
    }
    text.remove_prefix(line_end + 2);
    if (text.size() < size_t{size} + 2 || text.substr(size, 2) != "\r\n") return std::nullopt;
    out += text.substr(0, size);
    text.remove_prefix(size + 2);
    if (size == 0) return out;
  }
}

}  // namespace

std::optional<std::vector<HttpRequest>> read_requests(std::string_view text) {
  std::vector<HttpRequest> requests;
  while (!text.empty() && requests.size() < most_requests) {
    const size_t end = text.find(blank_line);
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view head = text.substr(0, end + 2);
    text.remove_prefix(end + blank_line.size());
    HttpRequest request;
    size_t length = 0;
    for (bool first = true; !head.empty(); first = false) {
      const std::string_view line = head.substr(0, head.find("\r\n"));
      head.remove_prefix(line.size() + 2);
      if (first) {
        const size_t space = line.find(' ');
        const size_t second = line.rfind(' ');
        if (space == std::string_view::npos || second <= space) return std::nullopt;
        request.method = line.substr(0, space);
        request.target = line.substr(space + 1, second - space - 1);
      } else if (std::sscanf(std::string(line).c_str(), "Content-Length: %zu", &length) == 1) {
      } else if (line == "Transfer-Encoding: chunked") {
        request.chunked = true;
      } else if (line == "Content-Encoding: gzip") {
        request.gzip = true;
      } else {
        request.fields.emplace_back(line);
      }
    }
    if (request.chunked) {
      auto body = take_chunks(text);
      if (!body) return std::nullopt;
      request.body = *std::move(body);
    } else {
      if (length > text.size()) return std::nullopt;
      request.body = text.substr(0, length);
      text.remove_prefix(length);
    }
    if (request.gzip) {
      auto body = unpacked(request.body);
      if (!body) return std::nullopt;
      request.body = *std::move(body);
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

std::string to_text(const std::vector<HttpRequest>& requests) {
  std::string out;
  for (const HttpRequest& request : requests) {
    const std::string body = request.gzip ? packed(request.body) : request.body;
    out += request.method + ' ' + request.target + " HTTP/1.1\r\n";
    for (const std::string& field : request.fields) out += field + "\r\n";
    if (request.gzip) out += "Content-Encoding: gzip\r\n";
    if (request.chunked) {
      out += "Transfer-Encoding: chunked\r\n\r\n";
      std::array<char, 16> size;
      for (size_t at = 0; at < body.size(); at += 100) {
        const std::string chunk = body.substr(at, 100);
        std::snprintf(size.data(), size.size(), "%zx\r\n", chunk.size());
        out += size.data() + chunk + "\r\n";
      }
      out += "0\r\n\r\n";
    } else {
      if (!body.empty()) out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
      out += "\r\n" + body;
    }
  }
  return out;
}

void mutate(std::vector<HttpRequest>& requests, Random& random, MutateBytes mutate_bytes) {
  if (requests.empty()) requests.push_back({"GET", "/v1/config", {"Host: sluice"}, "", false, false});
  for (auto changes = random() % 3 + 1; changes > 0; --changes) {
    const size_t index = random() % requests.size();
    HttpRequest& request = requests[index];
    switch (random() % 13) {
      case 0:
        request.method = any_of(methods, random);
        break;
      case 1:
        request.target = any_of(targets, random);
        break;
      case 2:
        request.target = mutate_bytes(request.target, 200);
        break;
      case 3:
        request.fields.emplace_back(any_of(fields, random));
        break;
      case 4:
        if (request.fields.empty()) break;
        if (random() % 2 == 0) {
          std::string& field = any_of(request.fields, random);
          field = mutate_bytes(field, 200);
        } else {
          request.fields.erase(request.fields.begin() + static_cast<long>(random() % request.fields.size()));
        }
        break;
      case 5:
        if (random() % 2 == 0) {
          request.gzip = !request.gzip;
        } else {
          request.chunked = !request.chunked;
        }
        break;
      case 6:
        if (requests.size() < most_requests) requests.push_back(HttpRequest(request));
        break;
      case 7:
        if (requests.size() > 1) requests.erase(requests.begin() + static_cast<long>(index));
        break;
      case 8:
        // What fits together: a document and where it goes.
        request.method = "PUT";
        request.target = "/v1/config";
        request.body = documents[0];
        break;
      case 9:
        request.method = "PATCH";
        request.target = "/v1/config";
        request.body = json::serialize(
            json::object{{"kind", "Delta"}, {"upsert", json::array{parsed(any_of(documents, random))}}});
        break;
      default:
        mutate_body(request, random, mutate_bytes);
    }
  }
}

}  // namespace sluice::fuzz
