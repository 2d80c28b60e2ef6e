// Boost.Asio and Boost.Beast, compiled once instead of into every source (meson.build defines their
// *_SEPARATE_COMPILATION for all who use them).
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
