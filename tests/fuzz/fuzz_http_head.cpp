// Any bytes as heads of HTTP/1 requests and through a listener. What is decided stays decided: more bytes behind a head
// change nothing, less bytes never say something else than "more" or what all of them say.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/l7/http_head.h"
#include "dataplane/l7/http_listener.h"
#include "dataplane/l7/request_path.h"

namespace sluice::l7 {
namespace {

void check(bool invariant) {
  if (!invariant) __builtin_trap();
}

const HttpListener& listener() {
  static const HttpListener one = [] {
    const auto paths = [](std::vector<PathRule> rules) { return std::make_shared<const PathRules>(std::move(rules)); };
    return HttpListener(
        HostRules().changed(
            {{"a.com", paths({{"/", PathMatch::Prefix, {.target = 1}}, {"/x", PathMatch::Exact, {.target = 2}}})},
             {"*.a.com", paths({{"/y/z", PathMatch::Prefix, {.redirect = true}}})},
             {"", paths({{"/all", PathMatch::Prefix, {.target = 3}}})}}),
        {});
  }();
  return one;
}

// A path that is normal stays as it is, but for escapes that were escaped.
void check_path(std::string_view path) {
  std::vector<char> out(path.size());
  const auto normal = normalised_path(path, out);
  if (!normal) return;
  check(normal->starts_with('/') && normal->size() <= path.size());
  check(normal->find("//") == std::string_view::npos && normal->find("/./") == std::string_view::npos &&
        normal->find("/../") == std::string_view::npos && !normal->ends_with("/.."));
}

void run(const uint8_t* data, size_t size) {
  if (size > most_head_bytes + 64) return;
  // A copy of just that length: a byte read behind it is found.
  const std::vector<uint8_t> bytes(data, data + size);
  const HttpHead head = parse_http_head(bytes);
  if (head.state == HeadState::Whole) {
    check(head.size <= bytes.size() && head.size >= 4);
    check(bytes[head.size - 1] == '\n' && bytes[head.size - 2] == '\r');
    check(!head.method.empty());
    const std::vector<uint8_t> exact(data, data + head.size);
    check(parse_http_head(exact).size == head.size);
    check(parse_http_head(Bytes(exact).first(head.size - 1)).state == HeadState::More);
    check_path(head.path);
  } else if (head.state == HeadState::Bad) {
    check(head.status >= 400 && !head.reason.empty());
    std::vector<uint8_t> more = bytes;
    more.push_back('x');
    check(parse_http_head(more).state == HeadState::Bad);
  }
  const Decision decision = listener().decide(bytes);
  check((decision.outcome == Outcome::Forward) == (decision.target != no_target));
  check(decision.outcome != Outcome::Answer || (!decision.answer.empty() && !decision.reason.empty()));
  check(decision.head <= bytes.size());
}

}  // namespace
}  // namespace sluice::l7

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sluice::l7::run(data, size);
  return 0;
}
