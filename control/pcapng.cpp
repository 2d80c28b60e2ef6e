#include "control/pcapng.h"

#include <cmath>
#include <cstring>

namespace sluice::control {
namespace {

constexpr uint32_t section_header_block = 0x0a0d0d0a;
constexpr uint32_t interface_description_block = 1;
constexpr uint32_t enhanced_packet_block = 6;
constexpr uint16_t opt_comment = 1;
constexpr uint16_t shb_userappl = 4;
constexpr uint16_t if_name = 2;
constexpr uint16_t if_tsresol = 9;
constexpr uint16_t epb_flags = 2;
constexpr uint16_t epb_packetid = 5;
constexpr uint16_t link_type_ethernet = 1;
constexpr size_t most_option_bytes = 0xffff;

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

void pad(std::string& out) { out.append((4 - out.size() % 4) % 4, '\0'); }

void put_option(std::string& out, uint16_t code, std::string_view value) {
  value = value.substr(0, most_option_bytes);
  put(out, code);
  put(out, static_cast<uint16_t>(value.size()));
  out += value;
  pad(out);
}

template <class T>
void put_option(std::string& out, uint16_t code, T value) {
  std::string bytes;
  put(bytes, value);
  put_option(out, code, std::string_view(bytes));
}

// `body` with its options; its length is a multiple of 4.
std::string block(uint32_t type, std::string body) {
  put(body, uint32_t{0});  // opt_endofopt
  std::string out;
  const auto length = static_cast<uint32_t>(body.size() + 12);
  put(out, type);
  put(out, length);
  out += body;
  put(out, length);
  return out;
}

}  // namespace

std::string PcapngWriter::header(std::string_view application) {
  std::string body;
  put(body, uint32_t{0x1a2b3c4d});
  put(body, uint16_t{1});
  put(body, uint16_t{0});
  put(body, int64_t{-1});  // the section's length is not known
  put_option(body, shb_userappl, application);
  return block(section_header_block, std::move(body));
}

std::string PcapngWriter::packet(const Packet& packet) {
  std::string out;
  auto interface = interfaces_.find(packet.interface);
  if (interface == interfaces_.end()) {
    interface = interfaces_.emplace(std::string(packet.interface), static_cast<uint32_t>(interfaces_.size())).first;
    std::string body;
    put(body, link_type_ethernet);
    put(body, uint16_t{0});
    put(body, uint32_t{0});  // no limit
    put_option(body, if_name, packet.interface);
    put_option(body, if_tsresol, uint8_t{9});
    out += block(interface_description_block, std::move(body));
  }
  // In two parts: a double has not digits enough for nanoseconds since 1970.
  const double seconds = std::floor(packet.time_seconds);
  const auto nanoseconds = static_cast<uint64_t>(std::llround((packet.time_seconds - seconds) * 1e9));
  const uint64_t time = static_cast<uint64_t>(seconds) * 1'000'000'000 + nanoseconds;
  std::string body;
  put(body, interface->second);
  put(body, static_cast<uint32_t>(time >> 32));
  put(body, static_cast<uint32_t>(time));
  put(body, static_cast<uint32_t>(packet.bytes.size()));
  put(body, packet.length);
  body += packet.bytes;
  pad(body);
  if (!packet.comment.empty()) put_option(body, opt_comment, packet.comment);
  put_option(body, epb_flags, packet.out ? uint32_t{2} : uint32_t{1});
  put_option(body, epb_packetid, packet.id);
  out += block(enhanced_packet_block, std::move(body));
  return out;
}

}  // namespace sluice::control
