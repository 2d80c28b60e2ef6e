#include "tools/trafgen/flows.h"

#include <algorithm>
#include <bit>
#include <fstream>

#include <fmt/format.h>

namespace sluice::trafgen {
namespace {

// One line: source,destination,sourcePort,destinationPort.
std::optional<Tuple> read_tuple(std::string_view line, net::Family& family) {
  std::string_view field[4];
  for (size_t i = 0; i < 4; ++i) {
    const size_t comma = line.find(',');
    if ((comma == std::string_view::npos) != (i == 3)) return std::nullopt;
    field[i] = line.substr(0, comma);
    if (i < 3) line.remove_prefix(comma + 1);
  }
  const auto src = net::parse_ip(field[0]);
  const auto dst = net::parse_ip(field[1]);
  const auto src_port = parse_port_range(field[2]);
  const auto dst_port = parse_port_range(field[3]);
  if (!src || !dst || src->family() != dst->family() || !src_port || !dst_port || src_port->count != 1 ||
      dst_port->count != 1) {
    return std::nullopt;
  }
  family = src->family();
  return Tuple{WideAddr::of(*src), WideAddr::of(*dst), src_port->first, dst_port->first};
}

net::Result<FlowSpace> read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return net::Error{fmt::format("the file of tuples \"{}\" cannot be read; check the path", path)};
  std::vector<Tuple> tuples;
  net::Family family = net::Family::V4;
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    net::Family this_family = family;
    const auto tuple = read_tuple(line, this_family);
    if (!tuple || (!tuples.empty() && this_family != family)) {
      return net::Error{fmt::format(
          "{}:{}: not \"source,destination,sourcePort,destinationPort\" with two addresses of the family of the first "
          "line",
          path, number)};
    }
    family = this_family;
    if (tuples.size() == max_flows) {
      return net::Error{fmt::format("{}:{}: more than {} tuples; shorten the file", path, number, max_flows)};
    }
    tuples.push_back(*tuple);
  }
  if (tuples.empty()) return net::Error{fmt::format("the file of tuples \"{}\" holds none", path)};
  return FlowSpace::of(std::move(tuples), family);
}

}  // namespace

uint64_t tuples_in(const FlowSpec& spec) {
  Uint128 product = spec.src.count;
  product *= spec.dst.count;
  product = std::min<Uint128>(product, uint64_t{1} << 63);
  product *= uint64_t{spec.src_port.count} * spec.dst_port.count;
  return static_cast<uint64_t>(std::min<Uint128>(product, uint64_t{1} << 63));
}

net::Result<FlowSpace> FlowSpace::make(const FlowSpec& spec) {
  if (!spec.file.empty()) return read_file(spec.file);
  FlowSpace out;
  out.count_ = spec.count;
  out.family_ = spec.src.family;
  out.src_ = spec.src;
  out.dst_ = spec.dst;
  out.src_port_ = spec.src_port;
  out.dst_port_ = spec.dst_port;
  out.by_dst_ = Divider(spec.dst.count);
  out.by_dst_port_ = Divider(spec.dst_port.count);
  out.by_src_port_ = Divider(spec.src_port.count);
  return out;
}

FlowSpace FlowSpace::of(std::vector<Tuple> tuples, net::Family family) {
  FlowSpace out;
  out.count_ = static_cast<uint32_t>(tuples.size());
  out.family_ = family;
  out.tuples_ = std::move(tuples);
  return out;
}

FlowOrder::FlowOrder(uint32_t count, bool random) : count_(count), random_(random && count > 1) {
  const auto bits = static_cast<uint32_t>(std::bit_width(count - 1));
  mask_ = static_cast<uint32_t>((uint64_t{1} << bits) - 1);
  shift_ = std::max(1U, bits / 2);
  reseed();
}

void FlowOrder::reseed() {
  uint64_t x = (uint64_t{round_} + 1) * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x ^= x >> 27;
  seed_ = static_cast<uint32_t>(x);
  multiplier_ = static_cast<uint32_t>(x >> 32) | 1;
}

}  // namespace sluice::trafgen
