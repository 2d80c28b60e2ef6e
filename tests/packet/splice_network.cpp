#include "tests/packet/splice_network.h"

#include <algorithm>
#include <charconv>

#include "tests/packet/documents.h"

namespace sluice::packet_test {

using dataplane::Snapshot;
using net::V4;
using net::V6;
namespace tcp_flag = net::tcp_flag;

namespace {

constexpr l7::TargetId outside_target = 10;

l7::Bytes text(std::string_view words) { return {reinterpret_cast<const uint8_t*>(words.data()), words.size()}; }

TcpSegment refusal(const TcpSegment& syn) {
  TcpSegment answer;
  answer.src = syn.dst;
  answer.dst = syn.src;
  answer.flags = tcp_flag::rst | tcp_flag::ack;
  answer.ack = syn.seq + 1;
  return answer;
}

}  // namespace

template <class F>
void put_listener(dataplane::FamilyTables<F>& tables, const std::vector<std::string>& fronts,
                  const std::vector<std::string>& targets) {
  std::vector<nat::Frontend<F>> added, removed;
  const auto find = [&](const std::string& address) {
    const auto* const found =
        tables.services->find(F::addr_of(*net::parse_ip(address)), net::be16::from_host(80), net::protocol::tcp);
    EXPECT_NE(found, nullptr) << address;
    return *found;
  };
  for (const std::string& front : fronts) {
    removed.push_back(find(front));
    added.push_back(removed.back());
    auto service = std::make_shared<nat::ServicePort<F>>(*added.back().service);
    service->listener = std::make_shared<LineListener>();
    service->cluster = service->local = {};
    service->serving.clear();
    added.back().service = service;
  }
  for (l7::TargetId target = 1; target <= targets.size(); ++target) {
    nat::Frontend<F> hidden = find(targets[target - 1]);
    hidden.addr = l7::target_address<typename F::Addr>(target);
    hidden.port = {};
    added.push_back(hidden);
    // The same as one outside of the cluster.
    hidden.addr = l7::target_address<typename F::Addr>(target + outside_target);
    hidden.kind = nat::FrontendKind::ExternalIp;
    added.push_back(hidden);
  }
  tables.services = std::make_shared<nat::ServiceTable<F>>(tables.services->changed(added, removed));
}
template void put_listener(dataplane::FamilyTables<V4>&, const std::vector<std::string>&,
                           const std::vector<std::string>&);
template void put_listener(dataplane::FamilyTables<V6>&, const std::vector<std::string>&,
                           const std::vector<std::string>&);

l7::Decision LineListener::decide(l7::Bytes start) const {
  l7::Decision out;
  if (start.size() >= 2 && start[0] == '?') {
    out = decide(start.subspan(2));
    out.head += 2;
    return out;
  }
  const auto end = std::find(start.begin(), start.end(), '\n');
  if (end == start.end()) return out;
  const std::string_view line(reinterpret_cast<const char*>(start.data()), static_cast<size_t>(end - start.begin()));
  out.head = static_cast<uint32_t>(line.size() + 1);
  if (line == "answer" || line.empty() || line[0] < '0' || line[0] > '9') {
    out.outcome = line == "answer" ? l7::Outcome::Answer : l7::Outcome::Reset;
    out.answer = text("no such thing\n");
    return out;
  }
  out.outcome = l7::Outcome::Forward;
  out.target = static_cast<l7::TargetId>(line[0] - '0') +
               (line.find('x') != std::string_view::npos ? outside_target : l7::TargetId{0});
  out.preserve_client = line.find('k') != std::string_view::npos;
  out.watched = line.find('w') != std::string_view::npos;
  out.proxy_protocol = line.find('p') != std::string_view::npos;
  const bool upgrade = line.find('u') != std::string_view::npos;
  if (upgrade || line.find('h') != std::string_view::npos) out.answers = l7::AnswerKind::Http;
  if (line.find('d') != std::string_view::npos) out.answers = l7::AnswerKind::Head;
  out.upgrade = upgrade;
  const std::string_view size = line.substr(std::min(line.find(' '), line.size() - 1) + 1);
  std::from_chars(size.data(), size.data() + size.size(), out.body.remaining);
  out.body.framing = out.body.remaining != 0 ? l7::Framing::Length : l7::Framing::None;
  if (line.find('c') != std::string_view::npos) out.body = {.framing = l7::Framing::Chunked};
  return out;
}
l7::Bytes LineListener::greeting(l7::Bytes start) const {
  return start.size() == 2 && start[0] == '?' ? text("go on\n") : l7::Bytes{};
}
l7::Decision LineListener::decide_greeted(l7::Bytes start) const {
  constexpr uint32_t question = 2;
  constexpr uint32_t thanks = 3;  // "ok\n"
  if (start.size() < question + thanks) return {};
  l7::Decision out = decide(start.subspan(question + thanks));
  out.head += question + thanks;
  out.cut_at = question;
  out.cut = thanks;
  return out;
}
l7::Bytes LineListener::timed_out(l7::Bytes /*start*/) const { return text("too slow\n"); }
l7::Bytes LineListener::too_long(l7::Bytes /*start*/) const { return text("too long\n"); }

l7::Bytes LineListener::failed(l7::Bytes /*start*/, l7::Failure failure) const {
  return text(failure == l7::Failure::Refused      ? "refused\n"
              : failure == l7::Failure::Unanswered ? "unanswered\n"
                                                   : "unavailable\n");
}
l7::Bytes LineListener::bad_body() const { return text("bad body\n"); }

std::string pattern(size_t size, unsigned seed) {
  std::string out(size, ' ');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + (i * 7 + i / 251 + seed) % 26);
  return out;
}

void load_splices(Rig& rig, const std::string& more, const std::vector<std::string>& of_both, uint16_t mtu) {
  ServiceSpec front{.name = "front",
                    .cluster_ips = {"10.96.0.10", "fd00:10:96::10"},
                    .ports = {"TCP 80 8080"},
                    .load_balancer_ip = "198.51.100.80"};
  front.endpoints = {"10.246.1.9 node3", "fd00:10:246::9 node3"};
  ServiceSpec one{.name = "one", .cluster_ips = {"10.96.0.11", "fd00:10:96::11"}, .ports = {"TCP 80 8080"}};
  one.endpoints = {"10.246.1.20 node3", "fd00:10:246::20 node3"};
  ServiceSpec two{.name = "two", .cluster_ips = {"10.96.0.12", "fd00:10:96::12"}, .ports = {"TCP 80 8080"}};
  two.endpoints = {"10.246.1.21 node3", "fd00:10:246::21 node3"};
  ServiceSpec none{.name = "none", .cluster_ips = {"10.96.0.13", "fd00:10:96::13"}, .ports = {"TCP 80 8080"}};
  ServiceSpec both{.name = "both", .cluster_ips = {"10.96.0.14", "fd00:10:96::14"}, .ports = {"TCP 80 8080"}};
  both.endpoints = {"10.246.1.20 node3", "10.246.1.21 node3", "fd00:10:246::20 node3", "fd00:10:246::21 node3"};
  if (!of_both.empty()) both.endpoints = of_both;
  std::vector<std::string> objects = {gateway(),    cluster(),     service(front), service(one),
                                      service(two), service(none), service(both)};
  if (!more.empty()) objects.push_back(more);
  rig.load(list(objects));
  auto next = std::make_unique<Snapshot>(rig.snapshot());
  ++next->generation;
  for (auto& interface : next->interfaces) interface.mtu = mtu;
  put_listener(next->v4, {"10.96.0.10", "198.51.100.80"}, {"10.96.0.11", "10.96.0.12", "10.96.0.13", "10.96.0.14"});
  put_listener(next->v6, {"fd00:10:96::10"}, {"fd00:10:96::11", "fd00:10:96::12", "fd00:10:96::13", "fd00:10:96::14"});
  (void)rig.plane().publisher().publish(std::move(next));
  (void)rig.run();
}

Network::Network(Rig& rig, Side side, unsigned seed, unsigned bad)
    : rig_(rig),
      side_(std::move(side)),
      random_(seed),
      bad_(bad),
      client(side_.client, side_.front, 0xfffffff0 + seed, {.mss = mss()}) {
  server_options.mss = mss();
}

void Network::turn(bool again) {
  now_ += again ? 700 : 1;
  std::vector<std::pair<std::string, Bytes>> packets;
  for (const TcpSegment& segment : client.send(again, now_)) packets.emplace_back(side_.port, segment.bytes());
  for (auto& [name, server] : servers) {
    for (const TcpSegment& segment : server.send(again, now_)) packets.emplace_back("b", segment.bytes());
  }
  if (bad_ != 0) {
    std::vector<std::pair<std::string, Bytes>> kept;
    for (auto& packet : packets) {
      if (hit()) continue;
      if (hit()) kept.push_back(packet);
      kept.push_back(std::move(packet));
    }
    packets = std::move(kept);
    for (size_t i = 1; i < packets.size(); ++i) {
      if (hit()) std::swap(packets[i - 1], packets[i]);
    }
  }
  for (const auto& [port, bytes] : packets) {
    (void)rig_.send(port, bytes);
    take();
  }
  (void)rig_.advance(again ? 700 : 1);
  take();
}

bool Network::converse(const std::string& request, const std::string& answer, unsigned turns,
                       const std::function<void()>& meanwhile) {
  client.connect();
  client.say(request);
  client.finish();
  const std::string& name = side_.server;
  return run_until(
      [&] {
        if (meanwhile) meanwhile();
        if (has_server(name) && server().heard() == request && says[name].empty()) {
          says[name] = answer;
          server().say(answer);
          server().finish();
        }
        return client.ended() || client.was_reset();
      },
      turns);
}

void Network::take() {
  const std::vector<View> out = rig_.out();
  for (const View& view : out) {
    if (view.ip.protocol != net::protocol::tcp || hit()) continue;
    const TcpSegment segment = segment_of(view);
    if (view.ip.dst.text() == side_.client) {
      if (view.ip.src.text() != side_.front) {
        // An endpoint that was left behind and has not heard of it; the client knows no such connection.
        TcpSegment reset;
        reset.src = segment.dst;
        reset.dst = segment.src;
        reset.flags = tcp_flag::rst;
        reset.seq = segment.ack;
        refused_.push_back(reset);
        continue;
      }
      client.receive(segment);
      if (hit()) client.receive(segment);
      continue;
    }
    if (view.ip.src.text() == side_.front) continue;  // of another client
    const std::string to = view.ip.dst.text();
    if (to != side_.server && to != side_.second) {
      ADD_FAILURE() << "to whom is this? " << view.text;
      continue;
    }
    if (refuses.count(to) != 0) {
      if (refuses[to] && segment.has(tcp_flag::syn)) refused_.push_back(refusal(segment));
      continue;
    }
    if (segment.has(tcp_flag::syn) &&
        (!has_server(to) || servers.at(to).was_reset() ||
         (servers.at(to).other_syn() && servers.at(to).other_syn()->seq != segment.seq))) {
      servers.erase(to);
      servers.emplace(to, TcpPeer(view.ip.dst, view.ip.src, static_cast<uint32_t>(random_()), server_options));
      says[to] = std::string();
      if (on_server) on_server(to);
    }
    const auto at = static_cast<int32_t>(segment.seq - client.isn() - 1);
    if (compares && at >= 0 && !segment.data.empty()) {
      const std::string& said = arrives.empty() ? client.said() : arrives;
      EXPECT_EQ(said.compare(static_cast<size_t>(at), segment.data.size(), segment.data), 0)
          << "nobody said what is at " << at;
    }
    if (has_server(to) && !deaf) servers.at(to).receive(segment);
  }
  std::vector<TcpSegment> refused;
  refused.swap(refused_);
  for (const TcpSegment& answer : refused) {
    (void)rig_.send("b", answer.bytes());
    take();
  }
}

}  // namespace sluice::packet_test
