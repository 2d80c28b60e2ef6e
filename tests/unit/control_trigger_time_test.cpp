// SCALE-2: the time in an endpoint slice, and the histogram that it goes into.
#include <gtest/gtest.h>

#include "control/histogram.h"
#include "control/trigger_time.h"

namespace sluice::control {
namespace {

using std::chrono::milliseconds, std::chrono::nanoseconds, std::chrono::seconds, std::chrono::system_clock;

system_clock::time_point at(seconds since_1970, nanoseconds more = {}) {
  return system_clock::time_point(since_1970 + more);
}

TEST(TriggerTime, SCALE2_TimesOfRfc3339) {
  EXPECT_EQ(parse_time("1970-01-01T00:00:00Z"), at(seconds(0)));
  EXPECT_EQ(parse_time("2026-01-01T00:00:00Z"), at(seconds(1'767'225'600)));
  EXPECT_EQ(parse_time("2026-01-01T00:00:00.25Z"), at(seconds(1'767'225'600), milliseconds(250)));
  EXPECT_EQ(parse_time("2026-01-01T00:00:00.123456789Z"), at(seconds(1'767'225'600), nanoseconds(123'456'789)));
  EXPECT_EQ(parse_time("2026-01-01T01:30:00+01:30"), at(seconds(1'767'225'600)));
  EXPECT_EQ(parse_time("2025-12-31T19:00:00-05:00"), at(seconds(1'767'225'600)));
  EXPECT_EQ(parse_time("2024-02-29t12:00:00z"), at(seconds(1'709'208'000)));  // the examples of section 5.8
  EXPECT_EQ(parse_time("1937-01-01T12:00:27.87+00:20"), at(seconds(-1'041'337'173), milliseconds(870)));
}

TEST(TriggerTime, SCALE2_WhatIsNoTime) {
  for (const char* text :
       {"", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:00:00Zulu", "2026-01-01T00:00:00+1:00", "2026-01-01 00:00:00Z",
        "-026-01-01T00:00:00Z", "2026-01-01T00:00:00.5", "2026-01-01T00:00:00+01:00Z"}) {
    EXPECT_EQ(parse_time(text), std::nullopt) << text;
  }
}

TEST(TriggerTime, SCALE2_TheAnnotationOfASlice) {
  EXPECT_EQ(trigger_annotation(R"({"addressType":"IPv4","kind":"EndpointSlice","metadata":{"annotations":{)"
                               R"("endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"}}})"),
            "2026-01-01T00:00:00Z");
  EXPECT_EQ(trigger_annotation(R"({"kind":"EndpointSlice","metadata":{}})"), "");
  // What kubectl apply leaves behind is a text about an annotation, and no annotation.
  EXPECT_EQ(trigger_annotation(R"({"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{)"
                               R"(\"endpoints.kubernetes.io/last-change-trigger-time\":\"2020-01-01T00:00:00Z\"}"}}})"),
            "");
}

TEST(TriggerTime, SCALE2_HistogramsCountByTheirBounds) {
  Histogram histogram;
  for (const double value : {0.0005, 0.001, 0.0011, 0.4, 300.0, 301.0}) histogram.observe(value);
  EXPECT_EQ(histogram.count(), 6U);
  EXPECT_DOUBLE_EQ(histogram.sum(), 601.4026);
  EXPECT_EQ(histogram.counts()[0], 2U) << "a bound belongs to its bucket";
  EXPECT_EQ(histogram.counts()[1], 1U);
  EXPECT_EQ(histogram.counts()[8], 1U) << "0.25 to 0.5";
  EXPECT_EQ(histogram.counts()[18], 1U);
  EXPECT_EQ(histogram.counts()[19], 1U) << "above all of them";
}

}  // namespace
}  // namespace sluice::control
