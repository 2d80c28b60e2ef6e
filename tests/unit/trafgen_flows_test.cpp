// Flow numbers, their tuples and their order; ranges as text.
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trafgen_frames.h"

namespace sluice::trafgen {
namespace {

using testing::HasSubstr;

TEST(TrafgenRange, ReadsEveryFormOfAnAddressRange) {
  const auto count = [](const char* text) { return parse_addr_range(text)->count; };
  EXPECT_EQ(count("10.0.0.1"), 1);
  EXPECT_EQ(count("10.0.0.1-10.0.0.9"), 9);
  EXPECT_EQ(count("10.0.0.0/24"), 256);
  EXPECT_EQ(count("10.0.0.1+100/256"), 100);
  EXPECT_EQ(count("2001:db8::/112"), 65536);
  EXPECT_EQ(net::to_string(parse_addr_range("10.0.0.1+100/256")->address(99)), "10.0.99.1");
  EXPECT_EQ(net::to_string(parse_addr_range("2001:db8::ff+2")->address(1)), "2001:db8::100");
}

TEST(TrafgenRange, RefusesWhatIsNone) {
  for (const char* text : {"", "10.0.0", "10.0.0.9-10.0.0.1", "10.0.0.1-2001:db8::1", "255.255.255.255+2", "10.0.0.1+0",
                           "10.0.0.1+2/0", "2001:db8::/32", "10.0.0.1+"}) {
    EXPECT_FALSE(parse_addr_range(text)) << text;
  }
  for (const char* text : {"", "65536", "9-8", "80-", "-80", "http"}) EXPECT_FALSE(parse_port_range(text)) << text;
  for (const char* text : {"", "0", "-1", "M", "1T", "1.5.2"}) EXPECT_FALSE(parse_rate(text)) << text;
}

TEST(TrafgenRange, ReadsRatesWithUnits) {
  EXPECT_DOUBLE_EQ(*parse_rate("250000"), 250e3);
  EXPECT_DOUBLE_EQ(*parse_rate("500k"), 500e3);
  EXPECT_DOUBLE_EQ(*parse_rate("1.5M"), 1.5e6);
}

TEST(TrafgenRange, KnowsWhichAddressItIs) {
  const AddrRange range = *parse_addr_range("10.0.0.1+100/256");
  EXPECT_EQ(range.index_of(WideAddr::of(*net::parse_ip("10.0.5.1"))), 5);
  EXPECT_FALSE(range.contains(WideAddr::of(*net::parse_ip("10.0.5.2"))));
  EXPECT_FALSE(range.contains(WideAddr::of(*net::parse_ip("10.0.100.1"))));
  EXPECT_FALSE(range.contains(WideAddr::of(*net::parse_ip("10.0.0.0"))));
}

TEST(TrafgenFlows, DividesExactly) {
  for (const uint32_t divisor : {1U, 2U, 3U, 7U, 100U, 1000U, 65535U, 65536U, 999983U, 16777215U, 16777216U}) {
    const Divider divider(divisor);
    for (const uint32_t base : {0U, divisor - 1, divisor, 2 * divisor - 1, max_flows - 1, max_flows / 2, 12345U}) {
      const uint32_t n = base % max_flows;
      EXPECT_EQ(divider.quotient(n), n / divisor) << n << "/" << divisor;
    }
  }
}

TEST(TrafgenFlows, EveryNumberIsAnotherTuple) {
  const FlowSpace flows = FlowSpace::make(flow_spec("10.0.0.0/29", "10.96.0.1+5", "1000-1002", "80-81", 240)).value();
  std::set<std::array<uint64_t, 4>> seen;
  for (uint32_t i = 0; i < flows.count(); ++i) {
    const Tuple t = flows.at(i);
    EXPECT_TRUE(seen.insert({t.src.low, t.dst.low, t.src_port, t.dst_port}).second) << i;
    EXPECT_EQ(flows.destination_index(i), i % 5);
  }
  EXPECT_EQ(seen.size(), 240);
}

TEST(TrafgenFlows, DestinationVariesFastestSourceSlowest) {
  const FlowSpace flows = FlowSpace::make(flow_spec("10.0.0.0/29", "10.96.0.1+5", "1000-1002", "80-81", 240)).value();
  EXPECT_EQ(net::to_string(flows.at(1).dst.to_ip(net::Family::V4)), "10.96.0.2");
  EXPECT_EQ(flows.at(5).dst_port, 81);
  EXPECT_EQ(flows.at(10).src_port, 1001);
  EXPECT_EQ(net::to_string(flows.at(30).src.to_ip(net::Family::V4)), "10.0.0.1");
}

class TrafgenOrder : public testing::TestWithParam<std::tuple<uint32_t, bool>> {};

TEST_P(TrafgenOrder, VisitsEveryFlowOncePerRound) {
  const auto [count, random] = GetParam();
  FlowOrder order(count, random);
  for (uint32_t round = 0; round < 3; ++round) {
    std::vector<bool> seen(count);
    for (uint32_t i = 0; i < count; ++i) {
      const auto next = order.next();
      ASSERT_LT(next.flow, count);
      EXPECT_EQ(next.sequence, round);
      EXPECT_FALSE(seen[next.flow]);
      seen[next.flow] = true;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Counts, TrafgenOrder,
                         testing::Combine(testing::Values(1, 2, 3, 16, 1000, 65536, 100003), testing::Bool()));

TEST(TrafgenOrderRandom, RoundsAndNeighborsDiffer) {
  FlowOrder order(1000, true);
  std::vector<uint32_t> first;
  std::vector<uint32_t> second;
  for (int i = 0; i < 1000; ++i) first.push_back(order.next().flow);
  for (int i = 0; i < 1000; ++i) second.push_back(order.next().flow);
  int same = 0;
  int adjacent = 0;
  for (size_t i = 0; i < 1000; ++i) same += first[i] == second[i];
  for (size_t i = 1; i < 1000; ++i) adjacent += first[i] == first[i - 1] + 1;
  EXPECT_LT(same, 20);
  EXPECT_LT(adjacent, 20);
}

TEST(TrafgenFlowFile, ReadsTuplesAndNamesTheWrongLine) {
  const std::string path = testing::TempDir() + "trafgen-tuples.csv";
  std::ofstream(path) << "# clients\n10.0.0.1,10.96.0.1,1000,80\n\n10.0.0.2,10.96.0.1,1001,443\r\n";
  FlowSpec spec;
  spec.file = path;
  const FlowSpace flows = FlowSpace::make(spec).value();
  ASSERT_EQ(flows.count(), 2);
  EXPECT_EQ(flows.at(1).dst_port, 443);
  std::ofstream(path) << "10.0.0.1,10.96.0.1,1000,80\n10.0.0.1;10.96.0.1\n";
  const auto wrong = FlowSpace::make(spec);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr(path + ":2: not \"source,destination"));
  std::ofstream(path) << "10.0.0.1,10.96.0.1,1000,80\n2001:db8::1,2001:db8::2,1,2\n";
  EXPECT_FALSE(FlowSpace::make(spec));
  spec.file = "/nowhere/at/all";
  EXPECT_THAT(FlowSpace::make(spec).error().message, HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace sluice::trafgen
