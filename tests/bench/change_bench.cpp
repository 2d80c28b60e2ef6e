// What one change costs the control thread of a router in a large cluster, in CPU time of that thread: the whole
// Controller, without its API, on a data plane whose ports are null devices. scripts/bench control measures the same
// from outside.
//
//   change_bench [--nodes N] [--services N] [--pods N] [--mode Never|Always] [--repeats N]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <fmt/format.h>

#include "control/controller.h"
#include "dataplane/eal.h"

namespace sluice::bench {
namespace {

using control::ApplyReply;

constexpr unsigned blocks_per_node = 2;

struct Size {
  unsigned nodes = 5000;
  unsigned services = 10000;
  unsigned pods = 50;
  unsigned repeats = 20;
  std::string mode = "Always";  // VXLAN of the pool
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "change_bench: %s\n", what.c_str());
  std::exit(1);
}

double cpu_milliseconds() {
  timespec now{};
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

std::string ip(uint32_t first, uint32_t index) {
  const uint32_t value = first + index;
  return fmt::format("{}.{}.{}.{}", value >> 24, value >> 16 & 255, value >> 8 & 255, value & 255);
}

std::string node(unsigned index, unsigned beat, const std::string& label, uint32_t first = 0xac100100) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"node-{}","resourceVersion":"{}","labels":{{"a":"{}"}}}},)"
      R"("status":{{"addresses":[{{"type":"InternalIP","address":"{}"}}],"conditions":[{{"type":"Ready",)"
      R"("status":"True","lastHeartbeatTime":"{}"}}]}}}})",
      index, beat, label, ip(first, index), beat);
}

std::string block(unsigned index, unsigned of_node) {
  return fmt::format(R"({{"apiVersion":"projectcalico.org/v3","kind":"BlockAffinity","metadata":{{"name":"b-{}"}},)"
                     R"("spec":{{"node":"node-{}","cidr":"{}/26","state":"confirmed","deleted":false}}}})",
                     index, of_node, ip(0x0a800000, index * 64));
}

std::string pod(unsigned index) {
  return fmt::format(
      R"({{"apiVersion":"projectcalico.org/v3","kind":"WorkloadEndpoint","metadata":{{"namespace":"pods","name":"p-{0}"}},)"
      R"("spec":{{"node":"gw-1","pod":"p-{0}","interfaceName":"benchpod{0}","ipNetworks":["{1}/32"]}}}})",
      index, ip(0x0aff0000, index));
}

std::string service(unsigned index, uint32_t first = 0x0a600100) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"s","name":"svc-{0}"}},"spec":{{"type":"ClusterIP",)"
      R"("clusterIP":"{1}","clusterIPs":["{1}"],"ports":[{{"name":"http","protocol":"TCP","port":80}}]}}}})",
      index, ip(first, index));
}

// With an address and a node port for everybody.
std::string public_service(unsigned index, unsigned address) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"s","name":"public-{0}"}},"spec":{{)"
      R"("type":"NodePort","clusterIP":"{1}","externalIPs":["{2}"],"ports":[{{"name":"http","protocol":"TCP",)"
      R"("port":80,"nodePort":{3}}}]}}}})",
      index, ip(0x0a6f0100, index), ip(0xcb007101, address), 30000 + index);
}

std::string slice(unsigned index, uint32_t endpoint) {
  return fmt::format(
      R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"namespace":"s","name":"svc-{0}-0",)"
      R"("labels":{{"kubernetes.io/service-name":"svc-{0}"}}}},"addressType":"IPv4","ports":[{{"name":"http",)"
      R"("protocol":"TCP","port":8080}}],"endpoints":[{{"addresses":["{1}"],"conditions":{{"ready":true}}}}]}})",
      index, ip(0x0a800000, endpoint));
}

std::string document(const Size& size) {
  std::string out = fmt::format(
      R"({{"apiVersion":"v1","kind":"List","items":[{{"apiVersion":"sluice.dev/v1","kind":"GatewayConfiguration",)"
      R"("metadata":{{"name":"default"}},"spec":{{"nodeName":"gw-1","interfaces":[{{"name":"up",)"
      R"("device":"net_null0,no-rx=1","role":"uplink","addresses":["172.16.0.2/12"]}}],"cluster":{{)"
      R"("clusterCIDRs":["10.128.0.0/9"],"serviceCIDRs":["10.96.0.0/12"]}}}}}},{{"apiVersion":"projectcalico.org/v3",)"
      R"("kind":"IPPool","metadata":{{"name":"pods"}},"spec":{{"cidr":"10.128.0.0/9","blockSize":26,)"
      R"("vxlanMode":"{}","ipipMode":"Never","natOutgoing":true}}}})",
      size.mode);
  for (unsigned i = 0; i < size.nodes; ++i) {
    out += "," + node(i, 0, "x");
    for (unsigned k = 0; k < blocks_per_node; ++k) out += "," + block(i * blocks_per_node + k, i);
  }
  for (unsigned i = 0; i < size.pods; ++i) out += "," + pod(i);
  for (unsigned i = 0; i < size.services; ++i) out += "," + service(i) + "," + slice(i, i);
  return out + "]}";
}

std::string upsert(const std::string& object) { return R"({"kind":"Delta","upsert":[)" + object + "]}"; }
std::string removal(const char* kind, const std::string& ns, const std::string& name) {
  return fmt::format(R"({{"kind":"Delta","delete":[{{"kind":"{}","namespace":"{}","name":"{}"}}]}})", kind, ns, name);
}

class Bench {
 public:
  Bench(boost::asio::io_context& io, control::Controller& controller) : io_(io), controller_(controller) {}

  // CPU milliseconds of this thread.
  double run(const std::function<control::Awaitable<ApplyReply>()>& change) {
    bool done = false;
    const double begin = cpu_milliseconds();
    boost::asio::co_spawn(io_, change(), [&](const std::exception_ptr& error, const ApplyReply& reply) {
      done = true;
      if (error) fail("an exception");
      if (reply.code == ApplyReply::Code::Applied || reply.code == ApplyReply::Code::Unchanged) return;
      fail(reply.message + (reply.faults.empty() ? "" : reply.faults.front().text()));
    });
    while (!done) (void)io_.run_one();
    return cpu_milliseconds() - begin;
  }

  void measure(const char* name, unsigned repeats, const std::function<std::string(unsigned)>& text) {
    std::vector<double> times;
    for (unsigned i = 0; i < repeats; ++i) {
      const std::string change = text(i);
      times.push_back(run([&] { return controller_.patch_config(change, {}); }));
    }
    std::sort(times.begin(), times.end());
    std::printf("%-44s median %8.3f ms   max %8.3f ms\n", name, times[times.size() / 2], times.back());
    (void)std::fflush(stdout);
  }

 private:
  boost::asio::io_context& io_;
  control::Controller& controller_;
};

void measure_all(Bench& bench, const Size& size) {
  const unsigned n = size.repeats;
  const unsigned blocks = size.nodes * blocks_per_node;
  bench.measure("Node: heartbeat", n, [](unsigned i) { return upsert(node(i + 7, 1000 + i, "x")); });
  bench.measure("Node: another label", n, [](unsigned i) { return upsert(node(i + 7, 1, std::to_string(i))); });
  bench.measure("BlockAffinity: comes", n, [&](unsigned i) { return upsert(block(blocks + i, i)); });
  bench.measure("BlockAffinity: another node's", n, [&](unsigned i) { return upsert(block(blocks + i, i + 1)); });
  bench.measure("BlockAffinity: goes", n,
                [&](unsigned i) { return removal("BlockAffinity", "", fmt::format("b-{}", blocks + i)); });
  bench.measure("pod of this node: comes", n, [&](unsigned i) { return upsert(pod(size.pods + i)); });
  bench.measure("pod of this node: goes", n,
                [&](unsigned i) { return removal("WorkloadEndpoint", "pods", fmt::format("p-{}", size.pods + i)); });
  bench.measure("Node: another address", n,
                [](unsigned i) { return upsert(node(i + 7, 2, std::to_string(i), 0xac180100)); });
  bench.measure("Node: comes, without blocks", n, [&](unsigned i) { return upsert(node(size.nodes + i, 3, "x")); });
  bench.measure("Node: goes, without blocks", n,
                [&](unsigned i) { return removal("Node", "", fmt::format("node-{}", size.nodes + i)); });
  bench.measure("Node: goes, of two blocks", n,
                [](unsigned i) { return removal("Node", "", fmt::format("node-{}", i + 7)); });
  bench.measure("Node: comes, of two blocks", n, [](unsigned i) { return upsert(node(i + 7, 4, "x")); });
  bench.measure("EndpointSlice: another endpoint", n, [](unsigned i) { return upsert(slice(i, 70000 + i)); });
  bench.measure("Service: comes", n, [&](unsigned i) { return upsert(service(size.services + i)); });
  bench.measure("Service with an external IP: comes", n, [](unsigned i) { return upsert(public_service(i, i)); });
  bench.measure("Service with an external IP: gets another", n,
                [](unsigned i) { return upsert(public_service(i, i + 100)); });
}

int run(const Size& size) {
  dataplane::EalOptions eal_options;
  eal_options.worker_cpus = {0};
  eal_options.memory_mib = 256;
  eal_options.hugepages = dataplane::Hugepages::Never;
  auto eal = dataplane::Eal::init(eal_options);
  if (!eal) fail(eal.error().message);
  dataplane::DataplaneOptions plane_options;
  plane_options.mbufs = 4095;
  plane_options.connections = 65536;
  plane_options.idle_sleep_microseconds = 100;
  auto plane = dataplane::Dataplane::create(plane_options);
  if (!plane) fail(plane.error().message);
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("change_bench.{}", getpid());
  {
    boost::asio::io_context io(1);
    control::StateJournal journal(folder.string());
    control::ControllerOptions options;
    options.state_folder = folder.string();
    options.worker_cpus = {0};
    control::Controller controller(io, **plane, journal, options);
    if (auto started = (*plane)->start(); !started) fail(started.error().message);
    Bench bench(io, controller);
    const double whole = bench.run([&] { return controller.replace_config(document(size), {}); });
    std::printf("%u nodes of %u blocks, %u services, %u pods, VXLAN %s: document %.0f ms\n", size.nodes,
                blocks_per_node, size.services, size.pods, size.mode.c_str(), whole);
    measure_all(bench, size);
    (*plane)->stop();
  }
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  sluice::bench::Size size;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    const std::string value = argv[i + 1];
    if (option == "--mode") {
      size.mode = value;
      continue;
    }
    const auto number = static_cast<unsigned>(std::stoul(value));
    (option == "--nodes"      ? size.nodes
     : option == "--services" ? size.services
     : option == "--pods"     ? size.pods
                              : size.repeats) = number;
  }
  return sluice::bench::run(size);
}
