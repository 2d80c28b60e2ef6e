#include "tools/trafgen/fault.h"

#include <array>
#include <utility>

namespace sluice::trafgen {

std::optional<Fault> parse_fault(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, Fault>, 9> names{{{"none", Fault::None},
                                                                            {"wrong-checksum", Fault::WrongChecksum},
                                                                            {"corrupt", Fault::Corrupt},
                                                                            {"drop-one", Fault::DropOne},
                                                                            {"duplicate", Fault::Duplicate},
                                                                            {"reorder", Fault::Reorder},
                                                                            {"swap-endpoint", Fault::SwapEndpoint},
                                                                            {"signature", Fault::Signature},
                                                                            {"length", Fault::Length}}};
  for (const auto& [name, fault] : names) {
    if (name == text) return fault;
  }
  return std::nullopt;
}

void spoil(const FrameView& view, Fault fault) {
  uint8_t* checksum = view.data + view.checksum_offset();
  switch (fault) {
    case Fault::WrongChecksum:
      checksum[0] ^= 0x40;
      break;
    case Fault::Corrupt:
      if (view.payload_length > 0) view.data[view.payload + view.payload_length - 1] ^= 0x01;
      break;
    case Fault::Signature:
      if (view.payload_length > 0) view.data[view.payload] ^= 0x01;
      break;
    case Fault::Length:
      // An IP packet that is longer than its frame.
      view.data[view.l3 + (view.v4 ? 2 : 4)] |= 0x40;
      break;
    case Fault::SwapEndpoint: {
      // Another source address, with all checksums right.
      uint8_t* last = view.data + view.l3 + (view.v4 ? 14 : 22);
      const auto old = net::load<uint16_t>(last);
      const auto other = static_cast<uint16_t>(old ^ 0x0100);
      net::ChecksumDelta delta;
      delta.replace16(old, other);
      net::store(last, other);
      if (view.v4) {
        uint8_t* ip_checksum = view.data + view.l3 + 10;
        net::store(ip_checksum, delta.apply(net::load<uint16_t>(ip_checksum)));
        if (view.protocol == net::protocol::icmp) break;
      }
      net::store(checksum, view.protocol == net::protocol::udp ? net::apply_udp(delta, net::load<uint16_t>(checksum))
                                                               : delta.apply(net::load<uint16_t>(checksum)));
      break;
    }
    default:
      break;
  }
}

}  // namespace sluice::trafgen
