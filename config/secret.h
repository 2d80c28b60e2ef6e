// v1 Secret. Kept are only values that can be the password of a BGP session: short ones of Secrets for any purpose.
// Keys of TLS, tokens and image pull secrets are not, and what is not kept cannot leak. What is kept is never shown.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "config/json.h"

namespace sluice::config {

// Takes out of a Secret what is not kept. False: there was nothing to take out.
bool strip_secret(boost::json::object& secret);
// What was hidden of an object when it was shown, as the names of its fields with commas between: "data".
inline constexpr std::string_view redacted_annotation = "sluice.dev/redacted";

// Takes out everything secret and says so in redacted_annotation.
void hide_secret(boost::json::object& secret);
// Of a MetalLB BGPPeer, which may have its password in itself.
void hide_password(boost::json::object& peer);

// The way back, of both kinds: what is hidden comes from `stored`, the canonical text of the object that has its name,
// or nullptr. What the object says itself counts. The annotation goes. A fault if there is nothing stored.
void restore_hidden(RawObject& raw, const std::string* stored, Findings& findings);

}  // namespace sluice::config
