// The config API from the first byte that a client sends: HTTP parser, gzip, JSON, rules, answers, over a pair of
// sockets in this process. Behind it are the real objects and rules without a data plane.
//
// Whatever comes: each answer has a status that docs/api.md knows, a length that is true, and JSON where it says so; a
// refused change leaves the configuration and its generation as they were; one that was accepted changes nothing the
// second time; what can be read can be written back. Inputs are requests as text; http_mutator.h changes them.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

#include "control/api.h"
#include "control/api_pool.h"
#include "tests/fuzz/http_mutator.h"
#include "tests/unit/config_router.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace sluice::control;
using Local = asio::local::stream_protocol;

void expect(bool condition, const char* what, std::string_view about = "") {
  if (condition) return;
  std::fprintf(stderr, "fuzz_api: %s: %.*s\n", what, static_cast<int>(std::min<size_t>(about.size(), 2000)),
               about.data());
  std::abort();
}

constexpr std::string_view small_document = R"({"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g"},
   "spec": {"nodeName": "gw-1", "interfaces": [{"name": "a", "device": "d", "addresses": ["192.168.0.2/24"]}]}},
  {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
   "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.11"}]}},
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
   "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}}]})";

// Holds every change to its word.
class CheckedRouter : public ConfigRouter {
 public:
  Awaitable<ApplyReply> replace_config(std::string text, ApplyOptions options) override {
    const auto attempt = [&](const ApplyOptions& how) { return ConfigRouter::replace_config(text, how); };
    co_return co_await checked(attempt, options);
  }
  Awaitable<ApplyReply> patch_config(std::string text, ApplyOptions options) override {
    const auto attempt = [&](const ApplyOptions& how) { return ConfigRouter::patch_config(text, how); };
    co_return co_await checked(attempt, options);
  }
  Awaitable<ApplyReply> put_object(std::string text, ApplyOptions options) override {
    const auto attempt = [&](const ApplyOptions& how) { return ConfigRouter::put_object(text, how); };
    co_return co_await checked(attempt, options);
  }
  Awaitable<ApplyReply> delete_object(sluice::config::ObjectKey key, ApplyOptions options) override {
    const auto attempt = [&](const ApplyOptions& how) { return ConfigRouter::delete_object(key, how); };
    co_return co_await checked(attempt, options);
  }

 private:
  template <class Attempt>
  Awaitable<ApplyReply> checked(const Attempt& attempt, ApplyOptions options) {
    const std::string before = objects.to_text({});
    const uint64_t generation_before = serving;
    ApplyReply reply = co_await attempt(options);
    expect(reply.generation == serving, "the reply names another generation than the one that serves");
    if (reply.code != ApplyReply::Code::Applied) {
      expect(serving == generation_before, "no change, but a new generation");
      expect(objects.to_text({}) == before, "no change was reported, but there is one", before);
      expect(reply.code != ApplyReply::Code::Invalid || !reply.faults.empty(), "refused without a fault");
      expect(reply.code != ApplyReply::Code::SyntaxError || !reply.message.empty(), "refused without a word");
      co_return reply;
    }
    expect(serving == generation_before + 1, "a change that is no new generation");
    expect(!options.dry_run, "a dry run was applied");
    // A delta may name the generation that it is based on, which serves no more.
    const std::string after = objects.to_text({});
    options.base_generation.reset();
    const ApplyReply second = co_await attempt(options);
    expect(second.code == ApplyReply::Code::Unchanged || second.code == ApplyReply::Code::StaleBase,
           "an accepted change is none the second time", after);
    expect(objects.to_text({}) == after, "the same change a second time changes something", after);
    co_return reply;
  }
};

// What a client gets that sends `input` and then its end.
std::string answers_to(Router& router, std::string_view input) {
  asio::io_context io(1);
  Local::socket client(io);
  Local::socket server(io);
  asio::local::connect_pair(client, server);
  ApiLimits limits;
  limits.body_limit = 1 << 20;
  PoolLimits pool_limits;
  pool_limits.memory = 2 << 20;
  pool_limits.streams = 0;  // an answer without end goes on until its client leaves; this one waits for the end
  const auto pool = std::make_shared<ConnectionPool>(router, nullptr, limits, pool_limits);
  pool->admit(Transport::Socket(std::move(server)), "");
  std::string answers;
  asio::async_write(client, asio::buffer(input), [&](const boost::system::error_code&, size_t) {
    boost::system::error_code ignored;
    client.shutdown(Local::socket::shutdown_send, ignored);
  });
  asio::async_read(client, asio::dynamic_buffer(answers), [](const boost::system::error_code&, size_t) {});
  io.run();
  expect(pool->empty(), "a connection is left");
  return answers;
}

void check_body(unsigned status, std::string_view head, std::string_view body) {
  if (head.find("\r\nContent-Type: application/json\r\n") == std::string_view::npos) {
    expect(status < 400 || status == 503, "an error that is no JSON", head);
    return;
  }
  json::error_code error;
  const json::value value = json::parse(body, error);
  expect(!error, "an answer that is no JSON", body);
  expect(body.ends_with('\n'), "an answer without a line feed", body);
  if (status < 400) return;
  const json::object& told = value.at("error").as_object();
  expect(told.at("code").to_number<unsigned>() == status, "an error with another code", body);
  expect(!told.at("message").as_string().empty(), "an error without a message", body);
  expect(status != 422 || value.as_object().contains("errors") || told.contains("message"), "422 without faults", body);
}

void check_answers(std::string_view answers) {
  // Without 500, which is a fault of ours.
  static constexpr std::array known{100U, 200U, 400U, 401U, 403U, 404U, 405U, 408U, 409U,
                                    412U, 413U, 415U, 417U, 422U, 431U, 501U, 503U, 505U};
  static constexpr std::string_view begin = "HTTP/1.1 ";
  static constexpr std::string_view length_field = "\r\nContent-Length: ";
  while (!answers.empty()) {
    expect(answers.starts_with(begin), "an answer does not begin where the last one ended", answers);
    const size_t end = answers.find("\r\n\r\n");
    expect(end != std::string_view::npos, "half an answer", answers);
    const std::string_view head = answers.substr(0, end + 2);
    answers.remove_prefix(end + 4);
    const auto status = static_cast<unsigned>(std::strtoul(head.data() + begin.size(), nullptr, 10));
    expect(std::find(known.begin(), known.end(), status) != known.end(), "a status that is not documented", head);
    if (status == 100) continue;
    const size_t at = head.find(length_field);
    expect(at != std::string_view::npos, "an answer without a length", head);
    const size_t length = std::strtoul(head.data() + at + length_field.size(), nullptr, 10);
    if (answers.empty() || answers.starts_with(begin)) continue;  // to HEAD; no body begins like that
    expect(length <= answers.size(), "an answer that is shorter than it says", answers);
    check_body(status, head, answers.substr(0, length));
    answers.remove_prefix(length);
  }
}

unsigned ask(Router& router, std::string_view method, std::string body, std::string* answer = nullptr) {
  asio::io_context io(1);
  Request request;
  request.method = method;
  request.path = "/v1/config";
  request.body = std::move(body);
  Response response;
  asio::co_spawn(io, handle(router, std::move(request)), [&](const std::exception_ptr& error, Response given) {
    expect(!error, "an exception");
    response = std::move(given);
  });
  io.run();
  if (answer != nullptr) *answer = std::move(response.body);
  return response.status;
}

std::string mutate_bytes(std::string text, size_t most) {
  const size_t size = std::min(text.size(), most);
  text.resize(most);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, most));
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  CheckedRouter router;
  expect(ask(router, "PUT", std::string(small_document)) == 200, "the first document is refused");
  check_answers(answers_to(router, {reinterpret_cast<const char*>(data), size}));
  // What can be read can be written back, and is the same.
  std::string config;
  const uint64_t generation = router.generation();
  expect(ask(router, "GET", "", &config) == 200, "the configuration cannot be read");
  std::string answer;
  expect(ask(router, "PUT", config, &answer) == 200, "the configuration cannot be written back", answer + config);
  expect(router.generation() == generation, "the configuration is another one when written back", config);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  auto requests = sluice::fuzz::read_requests({reinterpret_cast<const char*>(data), size});
  if (!requests || random() % 5 == 0) return LLVMFuzzerMutate(data, size, max_size);
  sluice::fuzz::mutate(*requests, random, mutate_bytes);
  const std::string text = sluice::fuzz::to_text(*requests);
  if (text.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(text.begin(), text.end(), data);
  return text.size();
}
