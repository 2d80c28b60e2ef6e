#include "tools/trafgen/testbed.h"

#include <chrono>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_mempool.h>

namespace sluice::trafgen {

void PortCounters::clear() {
  for (Counter* counter :
       {&received, &received_bytes, &foreign, &damaged, &reflected, &unreadable, &bursts, &full_bursts}) {
    counter->clear();
  }
}

net::Result<std::unique_ptr<Testbed>> Testbed::build(const Profile& profile, const TestbedOptions& options) {
  std::unique_ptr<Testbed> bed(new Testbed());
  bed->options_ = options;
  bed->key_ = std::random_device()();
  bed->pool_ = rte_pktmbuf_pool_create("trafgen", options.mbufs, 512, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  if (bed->pool_ == nullptr) {
    return net::Error{fmt::format("{} packet buffers do not fit ({}); lower --mbufs or raise --memory", options.mbufs,
                                  rte_strerror(rte_errno))};
  }
  for (const PortProfile& port : profile.ports) {
    if (auto opened = bed->open_port(port); !opened) return opened.error();
  }
  for (const StreamProfile& stream : profile.streams) {
    if (auto built = bed->build_stream(stream); !built) return built.error();
  }
  return bed;
}

Testbed::~Testbed() {
  streams.clear();
  ports.clear();
  rte_mempool_free(pool_);
}

net::Status<> Testbed::open_port(const PortProfile& profile) {
  auto port = std::make_unique<TestPort>();
  port->profile = &profile;
  port->number = static_cast<uint16_t>(ports.size());
  port->worker = port->number % options_.workers;
  std::string name = profile.device;
  if (is_null_device(name) && name.find("no-rx=") == std::string::npos) name += ",no-rx=1";
  const dataplane::PortSpec spec{
      .device = name, .mac = profile.mac, .promiscuous = true, .receive_queues = profile.receive_queues};
  auto device = dataplane::Port::open(spec, pool_);
  // A server that is not there yet, or is busy with the end of its last client.
  const bool client = name.starts_with("net_memif") && name.find("role=server") == std::string::npos;
  const auto begin = std::chrono::steady_clock::now();
  const auto may_come = [&] {
    return client && std::chrono::steady_clock::now() - begin < std::chrono::duration<double>(options_.wait_link) &&
           !(options_.stop != nullptr && options_.stop->load());
  };
  while (!device && may_come()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    device = dataplane::Port::open(spec, pool_);
  }
  if (!device) return device.error();
  port->device = std::move(device).value();
  port->responder = std::make_unique<Responder>(profile, port->device->mac());
  port->out = std::make_unique<TransmitBuffer>(port->device->id());
  port->faults = FaultPlan(options_.fault, options_.fault_every);
  ports.push_back(std::move(port));
  return net::Done{};
}

net::Status<> Testbed::build_stream(const StreamProfile& profile) {
  auto stream = std::make_unique<TestStream>();
  stream->profile = &profile;
  stream->number = static_cast<uint32_t>(streams.size());
  stream->send_worker = ports[profile.send]->worker;
  stream->receive_worker = stream->send_worker;
  for (size_t i = 0; i < profile.receive.size(); ++i) {
    const TestPort& port = *ports[profile.receive[i]];
    if (i == 0) stream->receive_worker = port.worker;
    if (port.worker != stream->receive_worker) {
      return net::Error{fmt::format(
          "stream \"{}\" is received on ports of two packet threads, which would both write its state; use one CPU in "
          "--lcores, or order the ports so that they fall to one thread",
          profile.name)};
    }
    stream->receive_ports |= uint64_t{1} << port.number;
  }
  if (profile.mode == Mode::Replay) {
    auto replay = Replay::read(profile.replay);
    if (!replay) return replay.error();
    stream->replay.emplace(std::move(replay).value());
    stream->flows = stream->replay->flows();
  } else {
    auto flows = FlowSpace::make(profile.flows);
    if (!flows) return flows.error();
    stream->flows = std::move(flows).value();
  }
  TestStream& made = *stream;
  if (profile.mode == Mode::Connections) {
    made.connections = std::make_unique<ConnectionClient>(made.number, made.flows.count());
  }
  // The sender knows the payload lengths, which the checkers need before the sender can have the checker.
  const Replay* replay = made.replay ? &*made.replay : nullptr;
  Sender::Setup setup{made.number,      key_,           pool_,   replay,
                      rte_get_tsc_hz(), options_.burst, nullptr, made.connections.get()};
  const std::vector<uint16_t> lengths = Sender(profile, made.flows, setup).payload_lengths();
  const uint32_t count = made.flows.count();
  made.forward = std::make_unique<Checker>(
      CheckSpec{count, Expectation(profile.expect, &made.flows, false), lengths, profile.latency});
  const bool answers = profile.answer || profile.mode == Mode::Connections;
  const ExpectProfile expect = profile.answer ? profile.answer->expect : ExpectProfile{};
  made.answers = std::make_unique<Checker>(
      CheckSpec{answers ? count : 1, Expectation(expect, &made.flows, true), lengths, profile.latency});
  setup.answers = made.answers.get();
  made.sender = std::make_unique<Sender>(profile, made.flows, setup);
  addresses_.add(profile);
  streams.push_back(std::move(stream));
  return net::Done{};
}

void Testbed::set_macs() {
  for (const auto& stream : streams) {
    const StreamProfile& profile = *stream->profile;
    const TestPort& from = *ports[profile.send];
    const TestPort& to = profile.receive.empty() ? from : *ports[profile.receive.front()];
    net::MacAddr dst = profile.dst_mac.value_or(to.device->mac());
    if (profile.resolve) {
      dst = from.responder->gateway_mac(profile.tunnel.kind != TunnelKind::None ? net::Family::V4
                                                                                : stream->flows.family());
    }
    stream->sender->set_macs(profile.src_mac.value_or(from.device->mac()), dst);
  }
}

}  // namespace sluice::trafgen
