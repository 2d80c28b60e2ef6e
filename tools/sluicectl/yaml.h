// JSON as YAML, for people and for kubectl (YAML 1.2, block style).
#pragma once

#include <string>

#include <boost/json/value.hpp>

namespace sluice::ctl {

[[nodiscard]] std::string yaml_text(const boost::json::value& value);

}  // namespace sluice::ctl
