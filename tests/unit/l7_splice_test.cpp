// Streams put in order, and the arithmetic of spliced segments. Truth: the bytes that were sent, and the checksum
// computed anew.
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/l7/proxy_header.h"
#include "dataplane/l7/splice.h"
#include "dataplane/l7/stream.h"

namespace sluice::l7 {
namespace {

class Sender {
 public:
  Sender(uint32_t first, size_t size) : first_(first), bytes_(size) {
    for (size_t i = 0; i < size; ++i) bytes_[i] = static_cast<uint8_t>(i * 7 + (i >> 8));
  }
  bool put(Stream& stream, size_t from, size_t length) const {
    return stream.put(first_ + static_cast<uint32_t>(from), static_cast<uint32_t>(length),
                      [&](uint8_t* to, uint32_t at, uint32_t count) { std::copy_n(&bytes_[from + at], count, to); });
  }
  [[nodiscard]] bool holds(const Stream& stream, size_t from = 0) const {
    const auto found = stream.in_order();
    return std::equal(found.begin(), found.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(from));
  }

 private:
  uint32_t first_;
  std::vector<uint8_t> bytes_;
};

TEST(Stream, SPL2_SegmentsOfAnyOrderAndOverlap) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const uint32_t first = random();  // also around 2^32
    const Sender sender(first, 3000);
    std::vector<uint8_t> buffer(3000);
    Stream stream;
    stream.begin(buffer.data(), 3000, first);
    uint32_t before = 0;
    for (unsigned tries = 0; stream.in_order().size() < 3000; ++tries) {
      ASSERT_LT(tries, 20000u);
      const size_t from = random() % 3000;
      (void)sender.put(stream, from, std::min<size_t>(1 + random() % 400, 3000 - from));
      ASSERT_GE(stream.next() - first, before);
      before = stream.next() - first;
      ASSERT_TRUE(sender.holds(stream)) << "seed " << seed;
    }
    EXPECT_FALSE(stream.has_gap());
    EXPECT_EQ(stream.room(), 0u);
  }
}

TEST(Stream, SPL2_IsBounded) {
  const Sender sender(100, 5000);
  std::vector<uint8_t> buffer(1000);
  Stream stream;
  stream.begin(buffer.data(), 1000, 100);
  EXPECT_FALSE(sender.put(stream, 1000, 500));
  EXPECT_TRUE(sender.put(stream, 900, 500)) << "the part that has room";
  EXPECT_TRUE(sender.put(stream, 0, 900));
  EXPECT_EQ(stream.next(), 1100u);
  EXPECT_FALSE(sender.put(stream, 0, 1000)) << "nothing new";
}

TEST(Stream, SPL2_HolesAreBounded) {
  const Sender sender(0, 1000);
  std::vector<uint8_t> buffer(1000);
  Stream stream;
  stream.begin(buffer.data(), 1000, 0);
  for (unsigned i = 1; i <= Stream::most_ranges; ++i) EXPECT_TRUE(sender.put(stream, i * 20, 10));
  EXPECT_FALSE(sender.put(stream, 900, 10)) << "the client sends it again";
  EXPECT_TRUE(sender.put(stream, 0, 20)) << "what is in order always has a place";
  EXPECT_EQ(stream.next(), 30u);
}

TEST(Stream, SPL2_WhatIsInOrderNeverChanges) {
  std::vector<uint8_t> buffer(10);
  Stream stream;
  stream.begin(buffer.data(), 10, 0);
  const auto write = [&](uint32_t seq, uint32_t length, uint8_t value) {
    (void)stream.put(seq, length, [&](uint8_t* to, uint32_t, uint32_t count) { std::fill_n(to, count, value); });
  };
  write(0, 4, 'a');
  write(0, 6, 'b');
  EXPECT_EQ(std::string(buffer.begin(), buffer.begin() + 6), "aaaabb");
}

TEST(Stream, SPL7_TheFrontIsDropped) {
  const Sender sender(50, 300);
  std::vector<uint8_t> buffer(300);
  Stream stream;
  stream.begin(buffer.data(), 300, 50);
  ASSERT_TRUE(sender.put(stream, 0, 100));
  ASSERT_TRUE(sender.put(stream, 150, 50));
  stream.drop_front(80);
  EXPECT_EQ(stream.base(), 130u);
  EXPECT_EQ(stream.in_order().size(), 20u);
  ASSERT_TRUE(sender.put(stream, 100, 50));
  EXPECT_EQ(stream.next(), 250u);
  EXPECT_TRUE(sender.holds(stream, 80));
}

// A header with `options` behind it and a right checksum over itself.
std::vector<uint8_t> header(uint8_t flags, uint32_t seq, uint32_t ack, uint16_t window, std::vector<uint8_t> options) {
  std::vector<uint8_t> tcp(20);
  tcp.insert(tcp.end(), options.begin(), options.end());
  net::store_be32(&tcp[4], seq);
  net::store_be32(&tcp[8], ack);
  tcp[12] = static_cast<uint8_t>(tcp.size() / 4 << 4);
  tcp[13] = flags;
  net::store_be16(&tcp[14], window);
  net::store(&tcp[16], net::checksum(tcp.data(), tcp.size()));
  return tcp;
}
bool sums_up(const std::vector<uint8_t>& tcp) {
  return net::checksum_fold(net::checksum_sum(tcp.data(), tcp.size())) == 0xffff;
}

const std::vector<uint8_t> plain_timestamp{1, 1, 8, 10, 0, 0, 0, 50, 0, 0, 0, 60};
// A timestamp at an odd offset, then two SACK blocks.
const std::vector<uint8_t> odd_options{1, 8, 10, 0, 0, 0, 50, 0, 0, 0, 60, 5, 18, 0, 0,
                                       3, 0, 0,  0, 3, 1, 0,  0, 3, 2, 0,  0, 3,  3, 0};

std::vector<uint8_t> padded(std::vector<uint8_t> options) {
  while (options.size() % 4 != 0) options.push_back(0);
  return options;
}

TEST(Splice, SPL6_NumbersOfBothDirections) {
  std::mt19937 random(1);
  for (unsigned i = 0; i < 2000; ++i) {
    Splice splice;
    splice.seq = random();
    splice.timestamp = random();
    const uint32_t seq = random();
    const uint32_t ack = random();
    auto down = header(net::tcp_flag::ack, seq, ack, 500,
                       i % 2 == 0 ? plain_timestamp : padded({1, 8, 10, 0, 0, 0, 50, 0, 0, 0, 60}));
    to_client(splice, down.data(), static_cast<uint32_t>(down.size()));
    EXPECT_TRUE(sums_up(down));
    EXPECT_EQ(net::load_be32(&down[4]), seq + splice.seq);
    EXPECT_EQ(net::load_be32(&down[8]), ack);
    EXPECT_EQ(net::load_be16(&down[14]), 500);
    EXPECT_EQ(net::load_be32(&down[i % 2 == 0 ? 24 : 23]), 50 + splice.timestamp);
    EXPECT_EQ(net::load_be32(&down[i % 2 == 0 ? 28 : 27]), 60u);

    auto up = header(net::tcp_flag::ack, seq, ack, 500, padded(odd_options));
    to_endpoint(splice, up.data(), static_cast<uint32_t>(up.size()));
    EXPECT_TRUE(sums_up(up));
    EXPECT_EQ(net::load_be32(&up[4]), seq);
    EXPECT_EQ(net::load_be32(&up[8]), ack - splice.seq);
    EXPECT_EQ(net::load_be32(&up[23]), 50u);
    EXPECT_EQ(net::load_be32(&up[27]), 60 - splice.timestamp);
    EXPECT_EQ(net::load_be32(&up[33]), 0x300 - splice.seq);
    EXPECT_EQ(net::load_be32(&up[45]), 0x303 - splice.seq);

    auto simple = header(net::tcp_flag::ack, seq, ack, 500, plain_timestamp);
    to_endpoint(splice, simple.data(), static_cast<uint32_t>(simple.size()));
    EXPECT_TRUE(sums_up(simple));
    EXPECT_EQ(net::load_be32(&simple[28]), 60 - splice.timestamp);
  }
}

TEST(Splice, SPL6_AResetWithoutAnAcknowledgementStaysAsItIs) {
  Splice splice;
  splice.seq = 1000;
  auto reset = header(net::tcp_flag::rst, 77, 0, 0, {});
  const auto before = reset;
  to_endpoint(splice, reset.data(), static_cast<uint32_t>(reset.size()));
  EXPECT_EQ(reset, before);
}

TEST(Splice, SPL6_WindowsOfAnEndpointThatScalesOtherwise) {
  Splice splice;
  EXPECT_EQ(window_to_client(splice, 65535), 65535) << "neither scales";
  EXPECT_EQ(window_to_endpoint(splice, 65535), 65535);
  splice.client_scale = 9;
  splice.endpoint_scale = own_scale;
  EXPECT_EQ(window_to_client(splice, 500), 500);
  EXPECT_EQ(window_to_endpoint(splice, 500), 500);
  splice.endpoint_scale = 9;
  EXPECT_EQ(window_to_client(splice, 500), 2000);
  EXPECT_EQ(window_to_client(splice, 65535), 65535) << "no more can be said";
  splice.endpoint_scale = 3;
  EXPECT_EQ(window_to_client(splice, 1600), 100);
  splice.endpoint_scale = no_scale;
  EXPECT_EQ(window_to_client(splice, 64000), 500);
  EXPECT_EQ(window_to_endpoint(splice, 100), 51200);
  EXPECT_EQ(window_to_endpoint(splice, 200), 65535) << "no more can be said";

  splice.seq = 5;
  auto down = header(net::tcp_flag::ack, 1, 2, 64000, plain_timestamp);
  to_client(splice, down.data(), static_cast<uint32_t>(down.size()));
  EXPECT_TRUE(sums_up(down));
  EXPECT_EQ(net::load_be16(&down[14]), 500);
}

// Bytes of section 2.2 of the protocol's text.
TEST(ProxyHeader, SPL9_Version2) {
  const net::FlowKey<net::V4> key{net::Ipv4Addr::from_host(0xc000020a),
                                  net::Ipv4Addr::from_host(0xc6336450),
                                  net::be16::from_host(40000),
                                  net::be16::from_host(443),
                                  6,
                                  {}};
  const std::vector<uint8_t> expected{0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49,
                                      0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c, 192,  0,    2,    10,
                                      198,  51,   100,  80,   0x9c, 0x40, 0x01, 0xbb};
  std::vector<uint8_t> out(proxy_header_length<net::V4>);
  write_proxy_header(out.data(), key);
  EXPECT_EQ(out, expected);
  net::FlowKey<net::V6> six;
  six.src.bytes[15] = 1;
  six.dst.bytes[15] = 2;
  std::vector<uint8_t> long_out(proxy_header_length<net::V6>);
  write_proxy_header(long_out.data(), six);
  EXPECT_EQ(long_out.size(), 52u);
  EXPECT_EQ(long_out[13], 0x21);
  EXPECT_EQ(long_out[15], 36);
  EXPECT_EQ(long_out[31], 1);
  EXPECT_EQ(long_out[47], 2);
}

}  // namespace
}  // namespace sluice::l7
