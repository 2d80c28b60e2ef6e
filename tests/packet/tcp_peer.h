// One end of a TCP connection, simple but right: it sends a text, takes what comes in order, and sends again what is
// not acknowledged. For tests in which the router is a party to the connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/packet/frames.h"

namespace sluice::packet_test {

// A TCP segment with its options. Host byte order.
struct TcpSegment {
  Endpoint src, dst;
  uint8_t flags = 0;
  uint32_t seq = 0;
  uint32_t ack = 0;
  uint16_t window = 0;
  std::optional<uint16_t> mss;
  std::optional<uint8_t> scale;
  bool sack_permitted = false;
  std::optional<std::pair<uint32_t, uint32_t>> timestamp;
  std::string data;

  [[nodiscard]] bool has(uint8_t flag) const { return (flags & flag) != 0; }
  [[nodiscard]] Bytes bytes() const;
};
[[nodiscard]] TcpSegment segment_of(const View& view);

struct PeerOptions {
  uint16_t mss = 1460;
  std::optional<uint8_t> scale = 7;
  bool sack = true;
  bool timestamps = true;
  uint32_t buffer = 60000;  // bytes it takes before they are read
};

class TcpPeer {
 public:
  // A client: begins with connect(). A server: with the first SYN.
  TcpPeer(Endpoint own, Endpoint other, uint32_t isn, PeerOptions options)
      : own_(std::move(own)), other_(std::move(other)), isn_(isn), next_(isn), acked_(isn), options_(options) {}

  void connect();
  // Appends to what it has to send.
  void say(const std::string& text) { text_ += text; }
  // A FIN behind all of it.
  void finish() { finishing_ = true; }
  void receive(const TcpSegment& segment);
  // What it sends now; with `again` what is not acknowledged.
  [[nodiscard]] std::vector<TcpSegment> send(bool again, uint32_t now);

  // From now on in segments of at most this size.
  void cut(uint16_t size) { segment_ = size; }

  [[nodiscard]] const std::string& said() const { return text_; }
  [[nodiscard]] const std::string& heard() const { return heard_; }
  [[nodiscard]] bool established() const { return established_; }
  [[nodiscard]] bool all_acknowledged() const {
    return established_ && acked_ == isn_ + 1 + static_cast<uint32_t>(text_.size()) + (fin_sent_ ? 1 : 0);
  }
  [[nodiscard]] bool ended() const { return ended_; }  // a FIN came
  [[nodiscard]] bool was_reset() const { return reset_; }
  [[nodiscard]] const std::string& fault() const { return fault_; }
  [[nodiscard]] const std::optional<TcpSegment>& other_syn() const { return syn_; }  // of the other end
  [[nodiscard]] uint32_t isn() const { return isn_; }
  [[nodiscard]] uint32_t next() const { return next_; }
  [[nodiscard]] uint32_t clock(uint32_t now) const { return now + isn_; }
  [[nodiscard]] uint32_t expects() const { return expected_; }

 private:
  [[nodiscard]] TcpSegment make(uint8_t flags, uint32_t seq, uint32_t now) const;

  Endpoint own_, other_;
  uint32_t isn_, next_, acked_;
  PeerOptions options_;
  std::string text_, heard_, fault_;
  uint32_t expected_ = 0;
  std::optional<uint32_t> resets_;  // a RST with this number is due
  uint32_t allowed_ = 0;            // by the other's window
  uint32_t echo_ = 0;
  bool client_ = false, established_ = false, finishing_ = false, fin_sent_ = false, ended_ = false, reset_ = false;
  bool owes_ack_ = false;
  bool scales_ = false, stamps_ = false;
  uint8_t other_scale_ = 0;
  uint16_t segment_ = 536;
  std::optional<TcpSegment> syn_;
};

}  // namespace sluice::packet_test
