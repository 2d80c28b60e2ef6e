// The router behind a pipe: the real data plane, configured by the controller's own steps, with ports made of rings and
// a clock that only the other end moves. Given the same requests it gives the same answers, byte for byte.
//
// Requests on stdin and answers on stdout are a 32-bit length and that many bytes; all numbers are little-endian.
//
//   request                                                    answer
//   'R' u16 workers, u64 seed: a new router                    names of the drop reasons, one per line
//   'C' document, 'D' delta: JSON text                         nothing, or why it was refused
//   'E' every drained endpoint: a drain list's JSON text       nothing, or why it was refused
//   'T' u32 milliseconds: time passes                          what came out
//   'P' u16 count, then bursts: one after the other            what came out, for each burst
//
//   burst, frames  u16 count, then each: u8 port, u16 length, bytes; those of a burst are received together
//   what came out  frames, then u8 count, then each: u8 drop reason, u16 packets
//
// The program ends with its input. Exit code 1 and a sentence on stderr if it cannot go on.
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

#include "config/json.h"
#include "config/object_set.h"
#include "config/validate.h"
#include "control/deployment.h"
#include "control/drains.h"
#include "control/service_compiler.h"
#include "dataplane/dataplane.h"
#include "dataplane/eal.h"
#include "tests/model/ring_ports.h"
#include "tests/packet/deploy.h"

namespace sluice::model_test {
namespace {

constexpr unsigned quiet_turns = 3;
constexpr unsigned most_turns = 20000;
constexpr nat::Millis time_step = 250;   // a slot of the timer wheel
constexpr unsigned turns_per_step = 40;  // expiry has a budget per turn

template <class T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Reads a request's fields in order.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}
  template <class T>
  T take() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view take(size_t bytes) {
    if (bytes > rest_.size()) throw std::runtime_error("a request is cut short");
    const std::string_view part = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return part;
  }
  std::string_view take_rest() { return take(rest_.size()); }

 private:
  std::string_view rest_;
};

class Router {
 public:
  Router(RingPorts& ports, uint16_t workers, uint64_t seed) : ports_(ports) {
    if (workers == 0 || workers > RingPorts::queues) throw std::runtime_error("1 to 4 workers");
    dataplane::DataplaneOptions options;
    options.workers = workers;
    options.seed = seed;
    options.mbufs = 8191;
    options.connections = 1U << 16U;
    options.fib = {.max_routes_v4 = 4096, .max_routes_v6 = 1024, .groups_v4 = 1024, .groups_v6 = 2048};
    auto plane = dataplane::Dataplane::create(options);
    if (!plane) throw std::runtime_error(plane.error().message);
    plane_ = std::move(*plane);
    for (uint16_t i = 0; i < workers; ++i) {
      plane_->worker(i).stop_clock();
      plane_->publisher().online(i);
    }
    deployment_ = std::make_unique<control::Deployment>(*plane_);
  }
  ~Router() {
    for (uint16_t i = 0; i < plane_->worker_count(); ++i) plane_->publisher().offline(i);
  }
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  std::string replace(std::string_view text) {
    auto document = config::parse_document(text);
    if (!document) return sentence(document.error());
    auto objects = config::ObjectSet::from_document(std::move(*document), config::validate);
    if (!objects) return sentence(objects.error());
    std::string wrong = deploy(objects->config());
    if (wrong.empty()) objects_ = std::move(*objects);
    return wrong;
  }

  std::string change(std::string_view text) {
    auto delta = config::parse_delta(text);
    if (!delta) return sentence(delta.error());
    auto change = objects_.apply(std::move(*delta), config::validate);
    if (!change) return sentence(change.error());
    std::string wrong = packet_test::deploy_delta(
        objects_.config(), *change, *deployment_, services_, [this](uint64_t token) { return wait_for(token); },
        drains_);
    if (wrong == packet_test::no_delta) wrong = deploy(objects_.config());
    if (!wrong.empty()) objects_.revert(std::move(*change));
    return wrong;
  }

  std::string drain(std::string_view text) {
    auto drains = control::DrainList::from_text(text);
    if (!drains) return drains.error().message;
    drains_ = std::move(*drains);
    return deploy(objects_.config());
  }

  void receive(size_t port, std::string_view frame) {
    const std::span bytes(reinterpret_cast<const uint8_t*>(frame.data()), frame.size());
    if (!ports_.receive(port, bytes, plane_->pool(), plane_->worker_count())) {
      throw std::runtime_error("a frame does not fit its port");
    }
  }

  std::string run() {
    unsigned quiet = 0;
    for (unsigned turns = 0; quiet < quiet_turns; ++turns) {
      quiet = turn() ? 0 : quiet + 1;
      if (turns == most_turns) throw std::runtime_error("the workers find no end");
    }
    return answer();
  }

  std::string advance(nat::Millis milliseconds) {
    while (milliseconds != 0) {
      const nat::Millis now = std::min(time_step, milliseconds);
      milliseconds -= now;
      for (uint16_t i = 0; i < plane_->worker_count(); ++i) plane_->worker(i).advance_clock(now);
      for (unsigned i = 0; i < turns_per_step; ++i) (void)turn();
    }
    return run();
  }

 private:
  static std::string sentence(const config::ParseFailure& failure) {
    if (failure.syntax) return failure.syntax->text();
    std::string out;
    for (const config::Fault& fault : failure.faults) out += fault.text() + "\n";
    return out;
  }

  bool wait_for(uint64_t token) {
    for (int i = 0; i < 100; ++i) {
      (void)turn();
      if (plane_->publisher().passed(token)) return true;
    }
    return false;
  }

  std::string deploy(const config::Config& config) {
    return packet_test::deploy(
        config, *deployment_, services_, [this](uint64_t token) { return wait_for(token); }, {}, drains_);
  }

  bool turn() {
    bool busy = false;
    for (uint16_t i = 0; i < plane_->worker_count(); ++i) busy = plane_->worker(i).run_once() || busy;
    return busy;
  }

  std::string answer() {
    std::string frames;
    uint16_t count = 0;
    ports_.collect([&](size_t port, std::span<const uint8_t> frame) {
      append(frames, static_cast<uint8_t>(port));
      append(frames, static_cast<uint16_t>(frame.size()));
      frames.append(reinterpret_cast<const char*>(frame.data()), frame.size());
      ++count;
    });
    std::string drops;
    uint8_t reasons = 0;
    for (size_t reason = 0; reason < net::drop_reason_count; ++reason) {
      uint64_t sum = 0;
      for (uint16_t i = 0; i < plane_->worker_count(); ++i) sum += plane_->worker(i).counters().drops[reason];
      if (sum == seen_drops_[reason]) continue;
      append(drops, static_cast<uint8_t>(reason));
      append(drops, static_cast<uint16_t>(sum - seen_drops_[reason]));
      seen_drops_[reason] = sum;
      ++reasons;
    }
    std::string out;
    append(out, count);
    out += frames;
    append(out, reasons);
    return out + drops;
  }

  RingPorts& ports_;
  std::unique_ptr<dataplane::Dataplane> plane_;
  control::ServiceCompiler services_;
  std::unique_ptr<control::Deployment> deployment_;
  config::ObjectSet objects_;
  control::DrainList drains_;
  std::array<uint64_t, net::drop_reason_count> seen_drops_{};
};

bool read_all(char* to, size_t bytes) {
  while (bytes != 0) {
    const ssize_t got = ::read(STDIN_FILENO, to, bytes);
    if (got <= 0) return false;
    to += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

void write_all(const std::string& bytes) {
  const char* from = bytes.data();
  for (size_t left = bytes.size(); left != 0;) {
    const ssize_t put = ::write(STDOUT_FILENO, from, left);
    if (put <= 0) throw std::runtime_error("nobody reads the answers");
    from += put;
    left -= static_cast<size_t>(put);
  }
}

std::string drop_names() {
  std::string out;
  for (size_t reason = 0; reason < net::drop_reason_count; ++reason) {
    out += std::string(net::name(static_cast<net::DropReason>(reason))) + "\n";
  }
  return out;
}

std::string serve(RingPorts& ports, std::unique_ptr<Router>& router, std::string_view request) {
  Fields fields(request);
  const char what = fields.take<char>();
  if (what == 'R') {
    const auto workers = fields.take<uint16_t>();
    const auto seed = fields.take<uint64_t>();
    router.reset();  // names of DPDK's tables are global: one at a time
    router = std::make_unique<Router>(ports, workers, seed);
    return drop_names();
  }
  if (router == nullptr) throw std::runtime_error("there is no router yet");
  switch (what) {
    case 'C':
      return router->replace(fields.take_rest());
    case 'D':
      return router->change(fields.take_rest());
    case 'E':
      return router->drain(fields.take_rest());
    case 'T':
      return router->advance(fields.take<uint32_t>());
    case 'P': {
      std::string out;
      for (auto bursts = fields.take<uint16_t>(); bursts != 0; --bursts) {
        for (auto left = fields.take<uint16_t>(); left != 0; --left) {
          const auto port = fields.take<uint8_t>();
          const auto length = fields.take<uint16_t>();
          router->receive(port, fields.take(length));
        }
        out += router->run();
      }
      return out;
    }
    default:
      throw std::runtime_error("an unknown request");
  }
}

void serve_all() {
  dataplane::EalOptions options;
  options.worker_cpus = {0};
  options.memory_mib = 512;
  options.hugepages = dataplane::Hugepages::Never;
  auto eal = dataplane::Eal::init(options);
  if (!eal) throw std::runtime_error(eal.error().message);
  RingPorts ports({"a", "b", "c"});
  std::unique_ptr<Router> router;
  std::string request;
  for (uint32_t length = 0; read_all(reinterpret_cast<char*>(&length), sizeof length);) {
    request.resize(length);
    if (!read_all(request.data(), length)) break;
    const std::string answer = serve(ports, router, request);
    std::string out;
    append(out, static_cast<uint32_t>(answer.size()));
    write_all(out + answer);
  }
}

}  // namespace
}  // namespace sluice::model_test

int main() {
  try {
    sluice::model_test::serve_all();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "drive: %s\n", error.what());
    return 1;
  }
  return 0;
}
