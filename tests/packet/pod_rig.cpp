#include "tests/packet/pod_rig.h"

#include <cstring>
#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/command.h"
#include "dataplane/pod_socket.h"
#include "tests/packet/documents.h"

namespace sluice::packet_test {

using dataplane::PodSocket;
using dataplane::VnetHeader;

namespace {

constexpr uint16_t l3 = 14;
constexpr uint32_t first_index = 101;  // of the pods' interfaces in the kernel

std::string pod_interface(int pod, const char* device) {
  const std::string number = std::to_string(pod);
  const std::string host = std::to_string(5 + pod);
  return R"({"name":"pod)" + number + R"(","device":")" + device +
         R"(","mac":"ee:ee:ee:ee:ee:ee","role":"workload","podMAC":"02:00:00:00:00:5)" + number +
         R"(","podAddresses":["10.244.0.)" + host + R"(","fd00:10:246:1::)" + host + R"("]})";
}

uint8_t byte_at(uint32_t seq) { return static_cast<uint8_t>(seq * 7 + seq / 251); }

}  // namespace

class PodWire {
 public:
  PodWire() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    const int bytes = 106496;  // the kernel doubles it
    EXPECT_EQ(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    void* const memory =
        mmap(nullptr, PodSocket::ring_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    ring_ = static_cast<uint8_t*>(memory);
    end_ = ends[1];
    socket_ = PodSocket::over(ends[0], memory);
  }
  ~PodWire() { close(end_); }
  PodWire(const PodWire&) = delete;
  PodWire& operator=(const PodWire&) = delete;

  [[nodiscard]] PodSocket* socket() { return socket_.get(); }
  // As packet(7) and linux/if_packet.h say.
  void put(uint32_t interface, const Bytes& frame, const VnetHeader& about) {
    constexpr uint32_t slots_per_block = (1 << 20) / PodSocket::slot_size;
    constexpr uint16_t mac_at = 82;
    uint8_t* const slot =
        ring_ + size_t{next_ / slots_per_block} * (1 << 20) + size_t{next_ % slots_per_block} * PodSocket::slot_size;
    auto* const header = reinterpret_cast<tpacket2_hdr*>(slot);
    ASSERT_EQ(header->tp_status, 0U) << "the slot has not come back";
    ASSERT_LE(mac_at + frame.size(), PodSocket::slot_size);
    header->tp_len = header->tp_snaplen = static_cast<uint32_t>(frame.size());
    header->tp_mac = mac_at;
    reinterpret_cast<sockaddr_ll*>(slot + TPACKET_ALIGN(sizeof(tpacket2_hdr)))->sll_ifindex =
        static_cast<int>(interface);
    std::memcpy(slot + mac_at - sizeof about, &about, sizeof about);
    std::memcpy(slot + mac_at, frame.data(), frame.size());
    header->tp_status = TP_STATUS_USER;
    next_ = (next_ + 1) % PodSocket::slots;
  }
  // What was sent; empty: nothing more.
  [[nodiscard]] Bytes take() {
    Bytes message(70'000);
    const ssize_t size = recv(end_, message.data(), message.size(), MSG_DONTWAIT);
    message.resize(size < 0 ? 0 : static_cast<size_t>(size));
    return message;
  }

 private:
  uint8_t* ring_ = nullptr;
  uint32_t next_ = 0;
  int end_ = -1;
  std::unique_ptr<PodSocket> socket_;
};

PodRig::PodRig(uint16_t workers) : workers_(workers) {
  for (uint16_t worker = 0; worker < workers; ++worker) wires_.push_back(std::make_unique<PodWire>());
  RigOptions options;
  options.workers = workers;
  rig_ = std::make_unique<Rig>(options);
  Gateway gateway;
  gateway.interfaces =
      std::string(interface_b) + "," + pod_interface(0, "net_ring_a") + "," + pod_interface(1, "net_ring_c");
  gateway.neighbors = R"({"interface":"un","address":"192.168.0.11","mac":"02:00:00:00:00:11"})";
  ServiceSpec web{.name = "web", .cluster_ips = {"10.96.0.10", "fd00:10:96::10"}, .ports = {"TCP 80 8080"}};
  web.endpoints = {"10.244.0.6 gw", "fd00:10:246:1::6 gw"};
  ServiceSpec self{.name = "self", .cluster_ips = {"10.96.0.11", "fd00:10:96::11"}, .ports = {"TCP 80 8080"}};
  self.endpoints = {"10.244.0.5 gw", "fd00:10:246:1::5 gw"};
  rig_->load(list({gateway.text(), cluster(), service(web), service(self)}));
  attach();
  for (uint16_t worker = 0; worker < workers; ++worker) rig_->plane().worker(worker).stop_clock();
}

PodRig::~PodRig() = default;

// The interfaces move from the ring devices, which the configuration can name, to the pods' sockets.
void PodRig::attach() {
  now_ = &rig_->snapshot();
  for (size_t pod = 0; pod < count; ++pod) {
    for (size_t index = 0; index < now_->interfaces.size(); ++index) {
      if (now_->interfaces[index].name == "pod" + std::to_string(pod)) interfaces_[pod] = static_cast<uint16_t>(index);
    }
  }
  const auto change = [this](dataplane::Snapshot& next) {
    next.ports.resize(dataplane::first_pod_port + count);
    for (size_t pod = 0; pod < count; ++pod) {
      const auto port = static_cast<uint16_t>(dataplane::first_pod_port + pod);
      dataplane::PortView& view = next.ports[port];
      view.present = true;
      view.tx_queues = workers_;
      view.kernel_index = first_index + static_cast<uint32_t>(pod);
      view.interfaces.untagged = interfaces_[pod];
      next.interfaces[interfaces_[pod]].port = port;
      next.pod_ports.push_back({view.kernel_index, port});
    }
    for (size_t worker = 0; worker < workers_; ++worker) next.workers[worker].pods = wires_[worker]->socket();
  };
  republish(change, 1);
}

void PodRig::trace_something() {
  for (uint16_t worker = 0; worker < workers_; ++worker) rig_->plane().worker(worker).tracer().order(&orders_);
}

void PodRig::put(int pod, const Bytes& frame, const VnetHeader& about) {
  wires_[static_cast<size_t>(pod % workers_)]->put(first_index + static_cast<uint32_t>(pod), frame, about);
}

std::vector<Got> PodRig::run() {
  (void)rig_->run();
  std::vector<Got> out;
  for (const auto& wire : wires_) {
    for (Bytes message = wire->take(); !message.empty(); message = wire->take()) {
      Got got;
      std::memcpy(&got.about, message.data(), sizeof got.about);
      got.frame.assign(message.begin() + sizeof got.about, message.end());
      out.push_back(got);
    }
  }
  return out;
}

std::vector<View> PodRig::packets(const Got& got) {
  std::vector<View> out;
  dataplane::Segmenter segmenter;
  EXPECT_EQ(segmenter.begin(got.frame.data(), static_cast<uint32_t>(got.frame.size()), got.about),
            net::DropReason::None);
  while (!segmenter.done()) {
    rte_mbuf* const mbuf = segmenter.next(rig_->plane().pool());
    if (mbuf == nullptr) break;
    Bytes frame(mbuf->pkt_len);
    const void* const data = rte_pktmbuf_read(mbuf, 0, mbuf->pkt_len, frame.data());
    if (data != frame.data()) std::memcpy(frame.data(), data, frame.size());
    out.push_back(view("pod", frame));
    rte_pktmbuf_free(mbuf);
  }
  return out;
}

View PodRig::only(const std::vector<Got>& got) {
  EXPECT_EQ(got.size(), 1U) << rig_->drops();
  if (got.size() != 1) return {};
  const std::vector<View> views = packets(got[0]);
  EXPECT_EQ(views.size(), 1U);
  return views.empty() ? View{} : views[0];
}

PodConnection PodRig::connect(const Endpoint& client, const Endpoint& frontend, int server) {
  PodConnection out;
  out.sides[0] = {0, client, frontend, 101};
  put(0, frame_of(0, tcp(client, frontend, "S").with_seq(100, 0)));
  const View arrived = only(run());
  out.sides[1] = {server, arrived.ip.dst, arrived.ip.src, 501};
  put(server, frame_of(server, tcp(out.sides[1].own, out.sides[1].other, "SA").with_seq(500, 101)));
  const View answered = only(run());
  EXPECT_EQ(answered.ip.src.text(), frontend.text());
  EXPECT_EQ(answered.ip.dst.text(), client.text());
  put(0, frame_of(0, tcp(client, frontend, "A").with_seq(101, 501)));
  (void)only(run());
  return out;
}

Ip PodRig::data(const PodConnection& connection, size_t from, size_t size) {
  const PodConnection::Side& side = connection.sides[from];
  Ip packet = tcp(side.own, side.other, "A").with_seq(side.seq, connection.sides[1 - from].seq);
  packet.df = true;
  packet.payload.resize(size);
  for (size_t i = 0; i < size; ++i) packet.payload[i] = byte_at(side.seq + static_cast<uint32_t>(i));
  return packet;
}

std::vector<dataplane::FlowRecord> PodRig::records() {
  std::vector<dataplane::FlowRecord> out;
  for (uint16_t worker = 0; worker < workers_; ++worker) {
    dataplane::Command command;
    command.records.reserve(100);
    EXPECT_TRUE(rig_->plane().worker(worker).submit(&command));
    for (int turns = 0; turns < 1000 && !command.done.load(); ++turns) (void)rig_->run();
    EXPECT_TRUE(command.done.load());
    out.insert(out.end(), command.records.begin(), command.records.end());
  }
  return out;
}

dataplane::InterfaceCounters PodRig::counters(int pod) {
  dataplane::InterfaceCounters sum;
  for (uint16_t worker = 0; worker < workers_; ++worker) {
    const dataplane::InterfaceCounters& one = rig_->plane().worker(worker).counters().interfaces[interface(pod)];
    sum.rx_packets += one.rx_packets;
    sum.rx_bytes += one.rx_bytes;
    sum.tx_packets += one.tx_packets;
    sum.tx_bytes += one.tx_bytes;
  }
  return sum;
}

VnetHeader leave_unfinished(Bytes& frame, uint16_t packet_limit) {
  const bool v4 = frame[12] == 0x08;
  VnetHeader about;
  about.flags = VnetHeader::needs_checksum;
  about.gso_type = v4 ? VnetHeader::gso_tcp_v4 : VnetHeader::gso_tcp_v6;
  about.gso_size = packet_limit;
  about.header_length = 200;  // the kernel's own, which may be anything
  about.checksum_start = static_cast<uint16_t>(l3 + (v4 ? 20 : 40));
  about.checksum_offset = 16;
  uint32_t sum = net::protocol::tcp + static_cast<uint32_t>(frame.size() - about.checksum_start);
  for (size_t at = v4 ? l3 + 12U : l3 + 8U; at < l3 + (v4 ? 20U : 40U); at += 2)
    sum += frame[at] * 256U + frame[at + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  net::store_be16(&frame[about.checksum_start + 16U], static_cast<uint16_t>(sum));
  return about;
}

}  // namespace sluice::packet_test
