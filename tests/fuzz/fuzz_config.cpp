// Configuration documents from anybody: parsing, converting and checking never fail otherwise than with a
// verdict, and what was accepted comes out as text that means the same.
//
// "L" in front of the text makes it lines of objects, "D" a delta on top of a small set; otherwise it is a document.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "config/object_set.h"
#include "config/validate.h"

namespace {

using namespace std::string_view_literals;
using sluice::config::ObjectSet;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz_config: %s\n", what);
  std::abort();
}

constexpr std::string_view small_document = R"({"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g"},
   "spec": {"nodeName": "gw-1", "interfaces": [{"name": "a", "device": "d", "addresses": ["192.168.0.2/24"]}]}},
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
   "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}}]})"sv;

ObjectSet load(std::string_view text) {
  auto document = sluice::config::parse_document(text);
  expect(document.ok(), "accepted text is refused the second time");
  auto objects = ObjectSet::from_document(std::move(*document));
  expect(objects.ok(), "accepted objects are refused the second time");
  return std::move(*objects);
}

// With what answers hide.
std::string whole_text(const ObjectSet& objects) {
  std::string out = R"({"apiVersion":"v1","kind":"List","items":[)";
  objects.each_after({}, [&](const sluice::config::ObjectKey&, const std::string& object) {
    if (!out.ends_with('[')) out += ',';
    out += object;
    return true;
  });
  return out + "]}";
}

void check_round_trip(const ObjectSet& objects) {
  const std::string text = objects.to_text({}, 1);
  const ObjectSet again = load(whole_text(objects));
  expect(again.config() == objects.config(), "the text of a set means something else");
  expect(again.to_text({}, 1) == text, "canonical text is not canonical");
  expect(sluice::config::validate(again).size() == sluice::config::validate(objects).size(),
         "the text of a set has other faults");
  (void)objects.warnings();
}

void check_document(std::string_view text, sluice::config::Format format) {
  sluice::config::Options options;
  options.format = format;
  auto document = sluice::config::parse_document(text, options);
  if (!document) return;
  const auto objects = ObjectSet::from_document(std::move(*document), sluice::config::validate);
  if (objects) {
    check_round_trip(*objects);
    expect(sluice::config::validate(*objects).empty(), "accepted with a fault");
  } else {
    expect(!objects.error().faults.empty(), "refused without a fault");
  }
}

void check_delta(std::string_view text) {
  auto delta = sluice::config::parse_delta(text);
  if (!delta) return;
  ObjectSet objects = load(small_document);
  const std::string before = objects.to_text({});
  auto change = objects.apply(std::move(*delta), sluice::config::validate);
  if (change) {
    check_round_trip(objects);
    objects.revert(std::move(*change));
  }
  expect(objects.to_text({}) == before, "a change that was undone has left something");
  expect(objects.config() == load(small_document).config(), "a change that was undone has left something");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  switch (data[0]) {
    case 'L':
      check_document(text.substr(1), sluice::config::Format::NdJson);
      break;
    case 'D':
      check_delta(text.substr(1));
      break;
    default:
      check_document(text, sluice::config::Format::Json);
  }
  return 0;
}
