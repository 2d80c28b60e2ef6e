// Precompiled: what nearly every test needs and none of them changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/pch/asio.h"
