#include "dataplane/l7/tcp_offer.h"

#include <algorithm>

#include "dataplane/net/headers.h"

namespace sluice::l7 {

namespace option = net::tcp_option;

TcpOffer read_offer(const uint8_t* options, uint32_t length) {
  TcpOffer offer;
  net::for_each_tcp_option(options, length, [&](uint8_t kind, const uint8_t* value, uint8_t size) {
    if (kind == option::mss && size == 2) {
      offer.mss = net::load_be16(value);
    } else if (kind == option::window_scale && size == 1) {
      offer.scale = std::min(*value, most_scale);
    } else if (kind == option::sack_permitted && size == 0) {
      offer.sack = true;
    } else if (kind == option::timestamp && size == 8) {
      offer.timestamp = Timestamp{net::load_be32(value), net::load_be32(value + 4)};
    }
  });
  return offer;
}

std::optional<Timestamp> read_timestamp(const uint8_t* options, uint32_t length) {
  std::optional<Timestamp> found;
  net::for_each_tcp_option(options, length, [&](uint8_t kind, const uint8_t* value, uint8_t size) {
    if (kind == option::timestamp && size == 8) found = Timestamp{net::load_be32(value), net::load_be32(value + 4)};
  });
  return found;
}

uint8_t write_offer(uint8_t* out, const TcpOffer& offer) {
  uint8_t* at = out;
  *at++ = option::mss;
  *at++ = 4;
  net::store_be16(at, offer.mss);
  at += 2;
  if (offer.timestamp) {
    *at++ = offer.sack ? option::sack_permitted : option::nop;
    *at++ = offer.sack ? 2 : option::nop;
    *at++ = option::timestamp;
    *at++ = 10;
    net::store_be32(at, offer.timestamp->value);
    net::store_be32(at + 4, offer.timestamp->echo);
    at += 8;
  } else if (offer.sack) {
    *at++ = option::nop;
    *at++ = option::nop;
    *at++ = option::sack_permitted;
    *at++ = 2;
  }
  if (offer.scale != no_scale) {
    *at++ = option::nop;
    *at++ = option::window_scale;
    *at++ = 3;
    *at++ = offer.scale;
  }
  return static_cast<uint8_t>(at - out);
}

uint8_t write_timestamp(uint8_t* out, const std::optional<Timestamp>& timestamp) {
  if (!timestamp) return 0;
  out[0] = out[1] = option::nop;
  out[2] = option::timestamp;
  out[3] = 10;
  net::store_be32(out + 4, timestamp->value);
  net::store_be32(out + 8, timestamp->echo);
  return 12;
}

}  // namespace sluice::l7
