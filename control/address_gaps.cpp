#include "control/address_gaps.h"

#include <iterator>

namespace sluice::control {
namespace {

using net::IpAddr;

IpAddr from_bytes(const std::array<uint8_t, 16>& bytes, net::Family family) {
  if (family == net::Family::V6) return net::Ipv6Addr{bytes};
  return net::Ipv4Addr::from_host(static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
                                  static_cast<uint32_t>(bytes[2]) << 8 | bytes[3]);
}

}  // namespace

IpAddr next_address(const IpAddr& address) {
  std::array<uint8_t, 16> bytes = address.bytes();
  for (size_t i = address.bit_length() / 8U; i-- > 0;) {
    if (++bytes[i] != 0) break;
  }
  return from_bytes(bytes, address.family());
}

IpAddr previous_address(const IpAddr& address) {
  std::array<uint8_t, 16> bytes = address.bytes();
  for (size_t i = address.bit_length() / 8U; i-- > 0;) {
    if (bytes[i]-- != 0) break;
  }
  return from_bytes(bytes, address.family());
}

std::map<IpAddr, IpAddr>::iterator AddressGaps::gap_of(const IpAddr& address) {
  auto behind = gaps_.upper_bound(address);
  if (behind == gaps_.begin()) return gaps_.end();
  const auto gap = std::prev(behind);
  return gap->second < address ? gaps_.end() : gap;
}

void AddressGaps::take(const IpAddr& address) {
  const auto gap = gap_of(address);
  if (gap == gaps_.end()) return;
  const IpAddr first = gap->first;
  const IpAddr last = gap->second;
  gaps_.erase(gap);
  if (first < address) gaps_.emplace(first, previous_address(address));
  if (address < last) gaps_.emplace(next_address(address), last);
}

void AddressGaps::give_back(const IpAddr& address) {
  if (gap_of(address) != gaps_.end()) return;
  IpAddr first = address;
  IpAddr last = address;
  const IpAddr before = previous_address(address);
  const IpAddr after = next_address(address);
  if (before < address) {
    if (const auto gap = gap_of(before); gap != gaps_.end() && gap->first.family() == address.family()) {
      first = gap->first;
      gaps_.erase(gap);
    }
  }
  if (address < after) {
    if (const auto gap = gaps_.find(after); gap != gaps_.end()) {
      last = gap->second;
      gaps_.erase(gap);
    }
  }
  gaps_.emplace(first, last);
}

}  // namespace sluice::control
