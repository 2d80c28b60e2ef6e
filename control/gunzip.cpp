#include "control/gunzip.h"

#include <algorithm>
#include <limits>
#include <new>
#include <zlib.h>

namespace sluice::control {
namespace {

constexpr int gzip_window = 15 + 16;              // the largest window; only gzip's header
constexpr size_t output_step = size_t{64} << 10;  // bytes

}  // namespace

struct Gunzip::Stream {
  z_stream zlib{};
};

Gunzip::Gunzip() : stream_(std::make_unique<Stream>()) {
  if (::inflateInit2(&stream_->zlib, gzip_window) != Z_OK) throw std::bad_alloc();
}

Gunzip::~Gunzip() { ::inflateEnd(&stream_->zlib); }

Gunzip::Outcome Gunzip::expand(std::string_view& packed, std::string& out, uint64_t room) {
  z_stream& zlib = stream_->zlib;
  while ((!packed.empty() || more_) && room > 0) {
    // Members follow each other (RFC 1952 section 2.2).
    if (complete_) {
      if (::inflateReset(&zlib) != Z_OK) return Outcome::Broken;
      complete_ = false;
    }
    const size_t step = std::min<uint64_t>(room, output_step);
    const size_t before = out.size();
    const size_t take = std::min<size_t>(packed.size(), std::numeric_limits<uInt>::max());
    out.resize(before + step);
    zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));  // zlib only reads it
    zlib.avail_in = static_cast<uInt>(take);
    zlib.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    zlib.avail_out = static_cast<uInt>(step);
    const int result = ::inflate(&zlib, Z_NO_FLUSH);
    packed.remove_prefix(take - zlib.avail_in);
    const size_t made = step - zlib.avail_out;
    out.resize(before + made);
    room -= made;
    more_ = zlib.avail_out == 0;
    if (result == Z_STREAM_END) {
      complete_ = true;
      more_ = false;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      return Outcome::Broken;
    }
  }
  return packed.empty() && !more_ ? Outcome::Consumed : Outcome::Full;
}

}  // namespace sluice::control
