// v1 Secret. Kept are only values that can be the password of a BGP session: short ones of Secrets for any purpose.
// Keys of TLS, tokens and image pull secrets are not, and what is not kept cannot leak. What is kept is never shown.
#pragma once

#include <boost/json/object.hpp>

namespace sluice::config {

// Takes out of a Secret what is not kept. False: there was nothing to take out.
bool strip_secret(boost::json::object& secret);
// Takes out everything secret.
void hide_secret(boost::json::object& secret);
// Of a MetalLB BGPPeer, which may have its password in itself.
void hide_password(boost::json::object& peer);

}  // namespace sluice::config
