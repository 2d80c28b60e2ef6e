#include "tests/packet/rig.h"

#include <algorithm>

#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "dataplane/eal.h"
#include "tests/packet/deploy.h"

namespace sluice::packet_test {
namespace {

constexpr uint16_t queues = 4;
constexpr unsigned ring_slots = 4096;
constexpr unsigned quiet_turns = 4;
constexpr unsigned most_turns = 20000;
constexpr nat::Millis step = 500;

struct RingPort {
  rte_ring* receive[queues];
  rte_ring* transmit[queues];
};

// DPDK's environment and the ports, once per process.
class Environment : public testing::Environment {
 public:
  static Environment* instance;

  void SetUp() override {
    dataplane::EalOptions options;
    options.worker_cpus = {0};
    options.memory_mib = 512;
    options.hugepages = dataplane::Hugepages::Never;
    auto eal = dataplane::Eal::init(options);
    ASSERT_TRUE(eal) << eal.error().message;
    eal_ = std::move(*eal);
    for (const std::string name : {"a", "b", "c"}) make_port(name);
  }
  void TearDown() override { eal_.reset(); }
  [[nodiscard]] RingPort& port(const std::string& name) { return ports_.at(name); }
  [[nodiscard]] std::map<std::string, RingPort>& ports() { return ports_; }

 private:
  void make_port(const std::string& name) {
    RingPort port{};
    for (uint16_t queue = 0; queue < queues; ++queue) {
      const std::string suffix = name + std::to_string(queue);
      port.receive[queue] = rte_ring_create(("test_rx_" + suffix).c_str(), ring_slots, SOCKET_ID_ANY, 0);
      port.transmit[queue] = rte_ring_create(("test_tx_" + suffix).c_str(), ring_slots, SOCKET_ID_ANY, 0);
      ASSERT_NE(port.receive[queue], nullptr);
      ASSERT_NE(port.transmit[queue], nullptr);
    }
    ASSERT_GE(rte_eth_from_rings(name.c_str(), port.receive, queues, port.transmit, queues, 0), 0);
    ports_.emplace(name, port);
  }

  std::unique_ptr<dataplane::Eal> eal_;
  std::map<std::string, RingPort> ports_;
};

Environment* Environment::instance =
    static_cast<Environment*>(testing::AddGlobalTestEnvironment(new Environment));  // GoogleTest owns it

// Like RSS: by addresses and, where there are any, ports; the two directions of a flow differ.
uint32_t receive_hash(const Bytes& frame) {
  size_t at = 14;
  if (frame.size() > 18 && net::load_be16(&frame[12]) == net::ether_type_vlan) at = 18;
  uint32_t hash = 2166136261U;
  const auto mix = [&](size_t from, size_t count) {
    for (size_t i = from; i < from + count && i < frame.size(); ++i) hash = (hash ^ frame[i]) * 16777619U;
  };
  if (frame.size() < at + 20) return 0;
  if (frame[at] >> 4 == 6) {
    mix(at + 8, 36);
  } else if (frame[at] == 0x45) {
    const bool fragment = (net::load_be16(&frame[at + 6]) & 0x3fff) != 0;
    const bool ports = frame[at + 9] == net::protocol::tcp || frame[at + 9] == net::protocol::udp;
    mix(at + 12, fragment || !ports ? 8 : 12);
  }
  return hash ^ hash >> 15;
}

std::string join(const std::vector<View>& views) {
  std::vector<std::string> texts;
  for (const View& view : views) texts.push_back(view.text);
  std::sort(texts.begin(), texts.end());
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : "\n") + text;
  return out;
}

}  // namespace

void start_environment() { Environment::instance->SetUp(); }

Rig::Rig(const RigOptions& options)
    : options_(options), content_("", options.workers), services_(config::one_after_the_other, &content_) {
  dataplane::DataplaneOptions plane_options;
  plane_options.workers = options.workers;
  plane_options.mbufs = 4095;
  plane_options.connections = options.connections;
  plane_options.late_buffers = options.late_buffers;
  plane_options.fib = {.max_routes_v4 = 4096, .max_routes_v6 = 1024, .groups_v4 = 1024, .groups_v6 = 2048};
  auto plane = dataplane::Dataplane::create(plane_options);
  if (!plane) throw std::runtime_error(plane.error().message);
  plane_ = std::move(*plane);
  for (uint16_t worker = 0; worker < options.workers; ++worker) plane_->publisher().online(worker);
  deployment_ = std::make_unique<control::Deployment>(*plane_);
}

Rig::~Rig() {
  // Packets that wait for a neighbour go when it does not answer.
  if (deployment_->snapshot() != nullptr) {
    for (int i = 0; i < 10 && plane_->mbufs_in_use() != 0; ++i) (void)advance(1000);
  }
  EXPECT_EQ(plane_->mbufs_in_use(), 0u) << "packet buffers were lost";
  for (uint16_t worker = 0; worker < options_.workers; ++worker) plane_->publisher().offline(worker);
  deployment_.reset();
  plane_.reset();
}

void Rig::publish(std::vector<dataplane::Announcement> announcements) {
  const auto token = deployment_->publish_announcements(std::move(announcements));
  if (!token) return;
  EXPECT_TRUE(wait_for(*token));
  deployment_->finish();
}

std::string Rig::announce(std::vector<dataplane::Announcement> announcements) {
  dataplane::Command command;
  command.kind = dataplane::Command::Kind::Announce;
  command.announcements = std::move(announcements);
  EXPECT_TRUE(plane_->worker(0).submit(&command));
  const std::string out = run();
  EXPECT_TRUE(command.done);
  return out;
}

bool Rig::turn() {
  bool busy = false;
  for (uint16_t worker = 0; worker < options_.workers; ++worker) {
    if (plane_->worker(worker).run_once()) busy = true;
  }
  return busy;
}

void Rig::collect() {
  for (auto& [name, port] : Environment::instance->ports()) {
    for (rte_ring* ring : port.transmit) {
      void* item = nullptr;
      while (rte_ring_dequeue(ring, &item) == 0) {
        auto* mbuf = static_cast<rte_mbuf*>(item);
        Bytes frame(mbuf->pkt_len);
        const void* data = rte_pktmbuf_read(mbuf, 0, mbuf->pkt_len, frame.data());
        if (data != frame.data()) std::memcpy(frame.data(), data, frame.size());
        rte_pktmbuf_free(mbuf);
        out_.push_back(view(name, frame));
      }
    }
  }
}

std::string Rig::run() {
  out_.clear();
  unsigned quiet = 0;
  for (unsigned turns = 0; quiet < quiet_turns; ++turns) {
    quiet = turn() ? 0 : quiet + 1;
    collect();
    if (turns == most_turns) {
      ADD_FAILURE() << "the workers find no end";
      break;
    }
  }
  return join(out_);
}

std::string Rig::advance(nat::Millis milliseconds) {
  std::vector<View> all;
  while (milliseconds != 0) {
    const nat::Millis now = std::min(step, milliseconds);
    milliseconds -= now;
    for (uint16_t worker = 0; worker < options_.workers; ++worker) plane_->worker(worker).advance_clock(now);
    (void)run();
    all.insert(all.end(), out_.begin(), out_.end());
  }
  out_ = std::move(all);
  return join(out_);
}

rte_mbuf* Rig::make_frame(const Bytes& frame, const std::vector<size_t>& cuts) {
  rte_mbuf* first = nullptr;
  size_t at = 0;
  for (size_t i = 0; i <= cuts.size(); ++i) {
    const size_t end = i == cuts.size() ? frame.size() : std::min(cuts[i], frame.size());
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(plane_->pool());
    void* const to = mbuf == nullptr ? nullptr : rte_pktmbuf_append(mbuf, static_cast<uint16_t>(end - at));
    if (to == nullptr || (first != nullptr && rte_pktmbuf_chain(first, mbuf) != 0)) {
      ADD_FAILURE() << "a frame of " << frame.size() << " bytes does not fit its packet buffers";
      rte_pktmbuf_free(mbuf);
      break;
    }
    std::memcpy(to, frame.data() + at, end - at);
    if (first == nullptr) first = mbuf;
    at = end;
  }
  if (first != nullptr) first->ol_flags |= receive_flags_;
  return first;
}

void Rig::inject(const std::string& port, const Bytes& frame, const std::vector<size_t>& cuts) {
  rte_mbuf* const mbuf = make_frame(frame, cuts);
  ASSERT_NE(mbuf, nullptr);
  const uint16_t queue = static_cast<uint16_t>(receive_hash(frame) % options_.workers);
  ASSERT_EQ(rte_ring_enqueue(Environment::instance->port(port).receive[queue], mbuf), 0);
}

std::string Rig::send_cut(const std::string& port, const Bytes& l3, const std::vector<size_t>& cuts) {
  inject(port, ethernet(mac(static_cast<uint8_t>(port[0] - 'a' + 0xa)), mac(0xee), l3), cuts);
  return run();
}

std::string Rig::send(const std::string& port, const Bytes& l3, uint16_t vlan) {
  return send_frame(port, ethernet(mac(static_cast<uint8_t>(port[0] - 'a' + 0xa)), mac(0xee), l3, vlan));
}

void Rig::place(const std::string& port, const Bytes& l3) {
  inject(port, ethernet(mac(static_cast<uint8_t>(port[0] - 'a' + 0xa)), mac(0xee), l3));
}

std::string Rig::send_burst(const std::string& port, const std::vector<Bytes>& packets) {
  for (const Bytes& l3 : packets) place(port, l3);
  return run();
}

std::string Rig::send_frame(const std::string& port, const Bytes& frame) { return send_frames(port, {frame}); }

std::string Rig::send_frames(const std::string& port, const std::vector<Bytes>& frames) {
  for (const Bytes& frame : frames) inject(port, frame);
  return run();
}

const View& Rig::only() const {
  static const View none;
  if (out_.size() == 1) return out_.front();
  ADD_FAILURE() << "expected one frame, found " << out_.size() << ":\n" << join(out_);
  return out_.empty() ? none : out_.front();
}

bool Rig::wait_for(uint64_t token) {
  for (int i = 0; i < 100; ++i) {
    (void)turn();
    if (plane_->publisher().passed(token)) return true;
  }
  return false;
}

std::string Rig::try_load(const std::string& document) {
  std::string wrong = deploy(
      document, *deployment_, services_, [this](uint64_t token) { return wait_for(token); }, between_, drains_,
      &content_);
  if (wrong.empty()) document_ = document;
  return wrong;
}

std::string Rig::try_change(const std::string& document) {
  std::string wrong =
      deploy_delta(document_, document, *deployment_, services_, [this](uint64_t token) { return wait_for(token); });
  if (wrong.empty()) document_ = document;
  return wrong;
}

std::string Rig::change_host_routes(const std::vector<control::HostRouteChange>& changes) {
  EXPECT_TRUE(wait_for(deployment_->change_host_routes(changes)));
  deployment_->finish();
  return deployment_->host_routes_problem();
}

void Rig::load(const std::string& document) {
  ASSERT_EQ(try_load(document), "");
  announcements_ = advance(50);
}

std::string Rig::drops() {
  std::string out;
  for (size_t reason = 0; reason < net::drop_reason_count; ++reason) {
    uint64_t sum = 0;
    for (uint16_t worker = 0; worker < options_.workers; ++worker)
      sum += plane_->worker(worker).counters().drops[reason];
    if (sum != seen_drops_[reason]) {
      out += (out.empty() ? "" : ", ") + std::string(net::name(static_cast<net::DropReason>(reason))) + " " +
             std::to_string(sum - seen_drops_[reason]);
    }
    seen_drops_[reason] = sum;
  }
  return out;
}

uint64_t Rig::count(dataplane::Event event) const {
  uint64_t sum = 0;
  for (uint16_t worker = 0; worker < options_.workers; ++worker) {
    sum += plane_->worker(worker).counters().events[static_cast<size_t>(event)];
  }
  return sum;
}

uint64_t Rig::flows() const {
  uint64_t sum = 0;
  for (uint16_t worker = 0; worker < options_.workers; ++worker) {
    const dataplane::WorkerCounters& counters = plane_->worker(worker).counters();
    sum += counters.live_flows_v4 + counters.live_flows_v6;
  }
  return sum;
}

net::MacAddr mac(uint8_t last) { return {{0x02, 0, 0, 0, 0, last}}; }

testing::AssertionResult like(const std::string& text, const std::string& pattern) {
  size_t at = 0;
  size_t begin = 0;
  bool matches = true;
  bool anchored = true;
  for (;;) {
    const size_t star = pattern.find('*', begin);
    const std::string part = pattern.substr(begin, star == std::string::npos ? std::string::npos : star - begin);
    if (star == std::string::npos) {
      matches =
          matches && text.size() >= at + part.size() && (anchored ? text.substr(at) == part : text.ends_with(part));
      break;
    }
    const size_t found =
        anchored ? (text.compare(at, part.size(), part) == 0 ? at : std::string::npos) : text.find(part, at);
    if (found == std::string::npos) {
      matches = false;
      break;
    }
    at = found + part.size();
    begin = star + 1;
    anchored = false;
  }
  if (matches) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "found    " << text << "\nexpected " << pattern;
}

}  // namespace sluice::packet_test
