#include "dataplane/l7/splice.h"

namespace sluice::l7 {
namespace {

// RFC 7323 appendix A: NOP, NOP, timestamp, alone.
constexpr uint32_t nop_nop_timestamp = 0x0101080a;
constexpr uint32_t header_with_timestamp = net::tcp_header_length + 12;

class Edit {
 public:
  explicit Edit(uint8_t* tcp) : tcp_(tcp) {}
  ~Edit() { net::store(tcp_ + 16, delta_.apply(net::load<uint16_t>(tcp_ + 16))); }
  Edit(const Edit&) = delete;
  Edit& operator=(const Edit&) = delete;

  void add(uint8_t* field, uint32_t amount) {
    const auto before = net::load<uint32_t>(field);
    net::store_be32(field, net::load_be32(field) + amount);
    replace(field, before, net::load<uint32_t>(field));
  }
  void set_window(uint16_t value) {
    const auto before = net::load<uint16_t>(tcp_ + 14);
    net::store_be16(tcp_ + 14, value);
    delta_.replace16(before, net::load<uint16_t>(tcp_ + 14));
  }

 private:
  // At an odd offset each word begins with the low byte of another (RFC 1071 section 2 B).
  void replace(const uint8_t* field, uint32_t before, uint32_t after) {
    if (((field - tcp_) & 1) != 0) [[unlikely]] {
      net::ChecksumDelta odd;
      odd.replace32(before, after);
      delta_.replace16(0, __builtin_bswap16(odd.wire()));
      return;
    }
    delta_.replace32(before, after);
  }

  uint8_t* tcp_;
  net::ChecksumDelta delta_;
};

}  // namespace

void to_client(const Splice& splice, uint8_t* tcp, uint32_t length) {
  Edit edit(tcp);
  edit.add(tcp + 4, splice.seq);
  const uint16_t window = net::load_be16(tcp + 14);
  if (const uint16_t told = window_to_client(splice, window); told != window) [[unlikely]]
    edit.set_window(told);
  if (length == net::tcp_header_length) return;
  uint8_t* const options = tcp + net::tcp_header_length;
  if (length == header_with_timestamp && net::load_be32(options) == nop_nop_timestamp) [[likely]] {
    return edit.add(options + 4, splice.timestamp);
  }
  net::for_each_tcp_option(options, length - net::tcp_header_length, [&](uint8_t kind, uint8_t* value, uint8_t size) {
    if (kind == net::tcp_option::timestamp && size == 8) edit.add(value, splice.timestamp);
  });
}

void to_endpoint(const Splice& splice, uint8_t* tcp, uint32_t length) {
  if ((tcp[13] & net::tcp_flag::ack) == 0) return;  // neither number means anything
  Edit edit(tcp);
  edit.add(tcp + 8, -splice.seq);
  const uint16_t window = net::load_be16(tcp + 14);
  if (const uint16_t told = window_to_endpoint(splice, window); told != window) [[unlikely]]
    edit.set_window(told);
  if (length == net::tcp_header_length) return;
  uint8_t* const options = tcp + net::tcp_header_length;
  if (length == header_with_timestamp && net::load_be32(options) == nop_nop_timestamp) [[likely]] {
    return edit.add(options + 8, -splice.timestamp);
  }
  net::for_each_tcp_option(options, length - net::tcp_header_length, [&](uint8_t kind, uint8_t* value, uint8_t size) {
    if (kind == net::tcp_option::timestamp && size == 8) {
      edit.add(value + 4, -splice.timestamp);
    } else if (kind == net::tcp_option::sack) {
      for (unsigned at = 0; at + 4U <= size; at += 4) edit.add(value + at, -splice.seq);
    }
  });
}

}  // namespace sluice::l7
