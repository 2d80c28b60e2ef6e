#include "dataplane/l7/tls_hello.h"

#include <algorithm>

namespace sluice::l7 {

namespace {

constexpr uint8_t handshake_record = 22;
constexpr uint8_t client_hello = 1;
constexpr uint16_t server_name_extension = 0;
constexpr uint16_t alpn_extension = 16;
constexpr uint8_t host_name = 0;
constexpr size_t record_header = 5;
constexpr size_t most_record = 1 << 14;

// Reads the handshake's bytes, whatever records they are in. After the first failure nothing is read any more.
class Reader {
 public:
  explicit Reader(Bytes data) : data_(data) {}

  // A number of `width` bytes.
  uint32_t number(size_t width) {
    uint32_t out = 0;
    for (size_t i = 0; i < width; ++i) out = out << 8 | byte();
    return out;
  }
  uint8_t byte() {
    uint8_t out = 0;
    take(1, &out);
    return out;
  }
  void skip(size_t count) { take(count, nullptr); }
  void read(size_t count, char* out) { take(count, reinterpret_cast<uint8_t*>(out)); }

  // The length of a vector that is within what is left of `budget`; it is taken off, with its own bytes.
  size_t vector(size_t width, size_t& budget, size_t least, size_t most) {
    if (budget < width) return fail(TlsAlert::DecodeError);
    const size_t length = number(width);
    budget -= width;
    if (!ok()) return 0;
    if (length < least || length > most || length > budget) return fail(TlsAlert::DecodeError);
    budget -= length;
    return length;
  }

  size_t fail(TlsAlert alert) {
    if (state_ == HelloState::Whole) {
      state_ = HelloState::Bad;
      alert_ = alert;
    }
    return 0;
  }
  [[nodiscard]] bool ok() const { return state_ == HelloState::Whole; }
  [[nodiscard]] HelloState state() const { return state_; }
  [[nodiscard]] TlsAlert alert() const { return alert_; }
  [[nodiscard]] size_t end_of_record() const { return at_ + in_record_; }

 private:
  void take(size_t count, uint8_t* out) {
    while (count > 0 && ok()) {
      if (in_record_ == 0 && !next_record()) return;
      const size_t part = std::min({count, in_record_, data_.size() - at_});
      if (part == 0) {
        state_ = HelloState::More;
        return;
      }
      if (out != nullptr) out = std::copy_n(data_.data() + at_, part, out);
      at_ += part;
      in_record_ -= part;
      count -= part;
    }
  }

  // RFC 8446 section 5.1. The version is of no meaning but for its first byte, by which other protocols are told.
  bool next_record() {
    const size_t there = data_.size() - at_;
    if ((there > 0 && data_[at_] != handshake_record) || (there > 1 && data_[at_ + 1] != 3)) {
      if (at_ == 0) {
        state_ = HelloState::NotTls;
      } else {
        fail(TlsAlert::UnexpectedMessage);
      }
      return false;
    }
    if (there < record_header) {
      state_ = HelloState::More;
      return false;
    }
    in_record_ = static_cast<size_t>(data_[at_ + 3]) << 8 | data_[at_ + 4];
    at_ += record_header;
    if (in_record_ == 0 || in_record_ > most_record) {
      fail(TlsAlert::DecodeError);
      return false;
    }
    return true;
  }

  Bytes data_;
  size_t at_ = 0;
  size_t in_record_ = 0;
  HelloState state_ = HelloState::Whole;  // so far
  TlsAlert alert_ = TlsAlert::DecodeError;
};

// RFC 6066 section 3: one name of each type, of which there is one.
void read_server_name(Reader& in, size_t length, TlsHello& out) {
  size_t names = in.vector(2, length, 1, 0xffff);
  if (length != 0) in.fail(TlsAlert::DecodeError);
  while (names > 0 && in.ok()) {
    const uint8_t type = in.byte();
    --names;
    const size_t size = in.vector(2, names, 1, 0xffff);
    if (!in.ok()) return;
    if (type != host_name) {
      in.skip(size);
    } else if (out.name_size != 0) {
      in.fail(TlsAlert::IllegalParameter);
    } else if (size > out.name.size()) {
      in.fail(TlsAlert::UnrecognizedName);
    } else {
      in.read(size, out.name.data());
      out.name_size = static_cast<uint8_t>(size);
    }
  }
}

// RFC 7301 section 3.1.
void read_alpn(Reader& in, size_t length, TlsHello& out) {
  size_t names = in.vector(2, length, 2, 0xffff);
  if (length != 0) in.fail(TlsAlert::DecodeError);
  while (names > 0 && in.ok()) {
    const size_t size = in.vector(1, names, 1, 0xff);
    if (!in.ok()) return;
    const size_t at = out.alpn_size == 0 ? 0 : out.alpn_size + size_t{1};
    if (at + size > out.alpn.size()) {
      in.skip(size);
      continue;
    }
    if (at != 0) out.alpn[at - 1] = ',';
    in.read(size, out.alpn.data() + at);
    out.alpn_size = static_cast<uint8_t>(at + size);
  }
}

void read_extensions(Reader& in, size_t budget, TlsHello& out) {
  bool names = false;
  bool protocols = false;
  while (budget > 0 && in.ok()) {
    if (budget < 2) {
      in.fail(TlsAlert::DecodeError);
      return;
    }
    const uint32_t type = in.number(2);
    budget -= 2;
    const size_t length = in.vector(2, budget, 0, 0xffff);
    if (!in.ok()) return;
    if (type == server_name_extension || type == alpn_extension) {
      bool& seen = type == server_name_extension ? names : protocols;
      // RFC 8446 section 4.2: one of each type.
      if (seen) in.fail(TlsAlert::IllegalParameter);
      seen = true;
    }
    if (type == server_name_extension) {
      read_server_name(in, length, out);
    } else if (type == alpn_extension) {
      read_alpn(in, length, out);
    } else {
      in.skip(length);
    }
  }
}

void read_hello(Reader& in, TlsHello& out) {
  const uint8_t type = in.byte();
  if (in.ok() && type != client_hello) in.fail(TlsAlert::UnexpectedMessage);
  size_t budget = in.number(3);
  if (!in.ok()) return;
  if (budget > most_hello_bytes) in.fail(TlsAlert::DecodeError);
  constexpr size_t version_and_random = 34;
  if (budget < version_and_random) in.fail(TlsAlert::DecodeError);
  in.skip(version_and_random);
  budget -= version_and_random;
  in.skip(in.vector(1, budget, 0, 32));      // legacy_session_id
  in.skip(in.vector(2, budget, 2, 0xfffe));  // cipher_suites
  in.skip(in.vector(1, budget, 1, 0xff));    // legacy_compression_methods
  if (!in.ok() || budget == 0) return;       // RFC 5246 section 7.4.1.2: no extensions
  const size_t length = in.vector(2, budget, 0, 0xffff);
  if (in.ok() && budget != 0) in.fail(TlsAlert::DecodeError);
  if (in.ok()) read_extensions(in, length, out);
}

constexpr std::array<uint8_t, 7> alert_record(TlsAlert alert) {
  return {21, 3, 3, 0, 2, 2, static_cast<uint8_t>(alert)};  // fatal
}
constexpr std::array<uint8_t, 7> unexpected_message = alert_record(TlsAlert::UnexpectedMessage);
constexpr std::array<uint8_t, 7> illegal_parameter = alert_record(TlsAlert::IllegalParameter);
constexpr std::array<uint8_t, 7> decode_error = alert_record(TlsAlert::DecodeError);
constexpr std::array<uint8_t, 7> unrecognized_name = alert_record(TlsAlert::UnrecognizedName);

}  // namespace

TlsHello parse_tls_hello(Bytes start) {
  TlsHello out;
  Reader in(start);
  read_hello(in, out);
  out.state = in.state();
  out.alert = in.alert();
  if (out.state == HelloState::Whole) out.size = static_cast<uint32_t>(std::min(in.end_of_record(), start.size()));
  return out;
}

Bytes tls_alert(TlsAlert alert) {
  switch (alert) {
    case TlsAlert::UnexpectedMessage:
      return unexpected_message;
    case TlsAlert::IllegalParameter:
      return illegal_parameter;
    case TlsAlert::UnrecognizedName:
      return unrecognized_name;
    case TlsAlert::DecodeError:
      break;
  }
  return decode_error;
}

}  // namespace sluice::l7
