// Drop reasons are named: once each, in the style of metrics.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "dataplane/net/verdict.h"

namespace sluice::net {
namespace {

TEST(DropReason, NamesAreUniqueSnakeCase) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < drop_reason_count; ++i) {
    const std::string_view text = name(static_cast<DropReason>(i));
    EXPECT_FALSE(text.empty()) << i;
    EXPECT_TRUE(seen.insert(text).second) << text;
    EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    })) << text;
  }
}

// Names are part of the metrics: a changed one breaks somebody's dashboard.
TEST(DropReason, NamesAreStable) {
  EXPECT_EQ(name(DropReason::None), "none");
  EXPECT_EQ(name(DropReason::IpBadChecksum), "ip_bad_checksum");
  EXPECT_EQ(name(DropReason::TunnelUnknownSource), "tunnel_unknown_source");
  EXPECT_EQ(name(DropReason::NoRoute), "no_route");
  EXPECT_EQ(name(DropReason::SnatExhausted), "snat_exhausted");
  EXPECT_EQ(name(DropReason::InterfaceGone), "interface_gone");
}

}  // namespace
}  // namespace sluice::net
