#include "control/packet_filter.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <pcap/pcap.h>
#include <string>

#include <fmt/format.h>

namespace sluice::control {
namespace {

// Sorted. Words of pcap-filter(7) that stand for themselves; what begins with tcp-, icmp- or icmp6- is a constant.
constexpr std::array<std::string_view, 62> keywords{
    "aarp",   "and",     "arp",       "atalk",  "broadcast", "decnet",   "dst",        "ether", "gateway",
    "geneve", "greater", "host",      "icmp",   "icmp6",     "icmpcode", "icmptype",   "igmp",  "inbound",
    "ip",     "ip6",     "ipx",       "iso",    "len",       "less",     "link",       "llc",   "mask",
    "moprc",  "mpls",    "multicast", "net",    "netbeui",   "not",      "on",         "or",    "outbound",
    "pim",    "port",    "portrange", "pppoed", "pppoes",    "proto",    "protochain", "radio", "rarp",
    "sca",    "sctp",    "src",       "stp",    "tcp",       "tcpflags", "type",       "udp",   "vlan",
    "vrrp",   "wlan",    "ah",        "esp",    "lat",       "mopdl",    "slip",       "ppp"};

bool is_keyword(std::string_view word) {
  return std::find(keywords.begin(), keywords.end(), word) != keywords.end() || word.starts_with("tcp-") ||
         word.starts_with("icmp-") || word.starts_with("icmp6-");
}

// Words that are neither known nor numbers nor addresses would be looked up in the DNS.
net::Status<> refuse_names(std::string_view text) {
  std::string previous;
  for (size_t at = 0; at < text.size();) {
    const auto in_word = [&](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == ':' || c == '-' || c == '_';
    };
    if (!in_word(text[at])) {
      ++at;
      continue;
    }
    size_t end = at;
    while (end < text.size() && in_word(text[end])) ++end;
    const std::string word(text.substr(at, end - at));
    at = end;
    const bool number = std::isdigit(static_cast<unsigned char>(word[0])) != 0 || word.find(':') != std::string::npos;
    const bool local_name =
        previous == "port" || previous == "portrange" || previous == "proto" || previous == "protochain";
    if (!number && !local_name && !is_keyword(word)) {
      return net::Error{
          fmt::format("\"{}\" is no word of a filter (pcap-filter(7)) and no address: names of hosts are "
                      "not looked up",
                      word)};
    }
    previous = word;
  }
  return net::Done{};
}

}  // namespace

net::Result<PacketFilter> PacketFilter::compile(std::string_view text) {
  if (text.size() > most_characters) {
    return net::Error{fmt::format("the filter is longer than {} characters", most_characters)};
  }
  if (auto known = refuse_names(text); !known) return known.error();
  constexpr int most_captured = 65535;
  const std::unique_ptr<pcap_t, decltype(&pcap_close)> handle(pcap_open_dead(DLT_EN10MB, most_captured), pcap_close);
  if (handle == nullptr) return net::Error{"there is no memory for a filter"};
  std::unique_ptr<bpf_program, Free> program(new bpf_program{});
  if (pcap_compile(handle.get(), program.get(), std::string(text).c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0) {
    return net::Error{fmt::format("the filter \"{}\" is wrong: {}", text, pcap_geterr(handle.get()))};
  }
  return PacketFilter(std::move(program));
}

dataplane::TraceFilter PacketFilter::filter() const {
  const auto matches = [](const void* program, const uint8_t* frame, uint32_t length, uint32_t contiguous) {
    return bpf_filter(static_cast<const bpf_program*>(program)->bf_insns, frame, length, contiguous) != 0;
  };
  return {matches, program_.get()};
}

void PacketFilter::Free::operator()(bpf_program* program) const {
  pcap_freecode(program);
  delete program;
}

}  // namespace sluice::control
