#include "tools/trafgen/replay.h"

#include <memory>
#include <pcap/pcap.h>
#include <set>

#include <fmt/format.h>

#include "tools/trafgen/frame_view.h"
#include "tools/trafgen/pattern.h"

namespace sluice::trafgen {
namespace {

constexpr size_t most_bytes = size_t{1} << 30;

// Maps an address in the frame by the first rule whose `from` holds it.
void rewrite(uint8_t* at, net::Family family, const std::vector<PrefixRewrite>& rules) {
  const size_t length = family == net::Family::V4 ? 4 : 16;
  net::IpAddr addr =
      family == net::Family::V4 ? net::IpAddr(net::load<net::Ipv4Addr>(at)) : net::IpAddr(net::load<net::Ipv6Addr>(at));
  for (const PrefixRewrite& rule : rules) {
    if (rule.from.family() != family || !rule.from.contains(addr)) continue;
    for (size_t i = 0; i < length; ++i) {
      const int kept_bits = static_cast<int>(rule.to.length) - static_cast<int>(i * 8);
      const auto mask = static_cast<uint8_t>(kept_bits >= 8 ? 0xff : kept_bits <= 0 ? 0 : 0xff << (8 - kept_bits));
      at[i] = static_cast<uint8_t>((rule.to.addr.bytes()[i] & mask) | (at[i] & ~mask));
    }
    return;
  }
}

void rewrite_port(uint8_t* at, const std::vector<PortRewrite>& rules) {
  const uint16_t port = net::load_be16(at);
  for (const PortRewrite& rule : rules) {
    if (!rule.from.contains(port)) continue;
    net::store_be16(at, static_cast<uint16_t>(rule.to + (port - rule.from.first)));
    return;
  }
}

}  // namespace

net::Result<Replay> Replay::read(const ReplayProfile& profile) {
  char problem[PCAP_ERRBUF_SIZE] = {};
  const std::unique_ptr<pcap_t, decltype(&pcap_close)> file(pcap_open_offline(profile.file.c_str(), problem),
                                                            &pcap_close);
  if (file == nullptr) return net::Error{fmt::format("the capture cannot be read: {}", problem)};
  if (pcap_datalink(file.get()) != DLT_EN10MB) {
    return net::Error{
        fmt::format("the capture \"{}\" is not of Ethernet frames; capture on an Ethernet interface", profile.file)};
  }
  Replay out;
  pcap_pkthdr* header = nullptr;
  const u_char* data = nullptr;
  int got = 0;
  while ((got = pcap_next_ex(file.get(), &header, &data)) == 1) {
    const bool whole = header->caplen == header->len && header->len <= max_frame;
    if (!whole || !out.take(data, static_cast<uint16_t>(header->len), profile)) ++out.left_out_;
    if (out.frames_.size() == max_flows || out.bytes_.size() > most_bytes) {
      return net::Error{fmt::format("the capture \"{}\" is too large to be held: more than {} packets or 1 GiB",
                                    profile.file, max_flows)};
    }
  }
  if (got == PCAP_ERROR) {
    return net::Error{fmt::format("the capture \"{}\" is damaged: {}", profile.file, pcap_geterr(file.get()))};
  }
  if (out.frames_.empty()) {
    return net::Error{
        fmt::format("the capture \"{}\" has no UDP, TCP or echo packet with 16 bytes of payload and the "
                    "address family of its first one",
                    profile.file)};
  }
  return out;
}

bool Replay::take(const uint8_t* data, uint16_t length, const ReplayProfile& profile) {
  const size_t offset = bytes_.size();
  bytes_.insert(bytes_.end(), data, data + length);
  FrameView view = read_frame(bytes_.data() + offset, length);
  const net::Family family = view.v4 ? net::Family::V4 : net::Family::V6;
  if (view.kind != FrameKind::Packet || view.tunnel != TunnelKind::None || view.payload_length < signature_length ||
      (view.icmp() && !view.echo()) || (!frames_.empty() && family != family_)) {
    bytes_.resize(offset);
    return false;
  }
  family_ = family;
  uint8_t* ip = view.data + view.l3;
  rewrite(ip + (view.v4 ? 12 : 8), family, profile.src);
  rewrite(ip + (view.v4 ? 16 : 24), family, profile.dst);
  if (!view.icmp()) {
    rewrite_port(view.data + view.l4, profile.src_port);
    rewrite_port(view.data + view.l4 + 2, profile.dst_port);
  }
  if (view.v4) {
    net::store<uint16_t>(ip + 10, 0);
    net::store(ip + 10, net::checksum(ip, static_cast<size_t>(view.l4 - view.l3)));
  }
  uint8_t* payload = view.data + view.payload;
  std::memcpy(payload + signature_length, Pattern::get().tail(), view.payload_length - signature_length);
  std::memset(payload, 0, signature_length);
  net::store<uint16_t>(view.data + view.checksum_offset(), 0);
  const uint64_t sum = net::checksum_sum(view.data + view.l4, view.l4_length, view.pseudo_sum());
  frames_.push_back({offset, length, view.payload, view.checksum_offset(), view.payload_length,
                     view.protocol == net::protocol::udp, net::checksum_fold(sum)});
  tuples_.push_back({view.src(), view.dst(), view.src_port(), view.dst_port()});
  return true;
}

FlowSpace Replay::flows() const { return FlowSpace::of(tuples_, family_); }

std::vector<uint16_t> Replay::payload_lengths() const {
  std::set<uint16_t> lengths;
  for (const Frame& frame : frames_) lengths.insert(frame.payload_length);
  return {lengths.begin(), lengths.end()};
}

std::vector<uint16_t> Replay::frame_lengths() const {
  std::set<uint16_t> lengths;
  for (const Frame& frame : frames_) lengths.insert(frame.length);
  return {lengths.begin(), lengths.end()};
}

uint16_t Replay::fill(uint8_t* out, uint32_t index, const Signature& signature, const net::MacAddr& src,
                      const net::MacAddr& dst) const {
  const Frame& frame = frames_[index];
  std::memcpy(out, bytes_.data() + frame.offset, frame.length);
  net::store(out, dst);
  net::store(out + 6, src);
  signature.write(out + frame.payload);
  auto checksum = static_cast<uint16_t>(~net::checksum_fold(frame.sum + signature.sum()));
  if (checksum == 0 && frame.udp) checksum = 0xffff;
  net::store(out + frame.checksum, checksum);
  return frame.length;
}

}  // namespace sluice::trafgen
