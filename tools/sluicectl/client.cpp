#include "tools/sluicectl/client.h"

#include <array>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <fmt/format.h>

namespace sluice::ctl {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
namespace ssl = boost::asio::ssl;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;
using Endpoint = Stream::endpoint_type;

struct HostPort {
  std::string host;
  std::string port;
};

bool is_tls(const Server& server) { return server.url.starts_with("https:"); }

net::Result<HostPort> parse_url(std::string_view url) {
  const net::Error wrong{fmt::format(
      "\"{}\" is no address of an API: expected one like https://gateway:9443 or http://127.0.0.1:9080", url)};
  const size_t scheme_end = url.find("://");
  const std::string_view scheme = url.substr(0, scheme_end);
  if (scheme_end == std::string_view::npos || (scheme != "http" && scheme != "https")) return wrong;
  url.remove_prefix(scheme_end + 3);
  if (url.ends_with('/')) url.remove_suffix(1);
  const size_t colon = url.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == url.size()) return wrong;
  std::string_view host = url.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty() || url.find_first_of("/?#@") != std::string_view::npos) return wrong;
  return HostPort{std::string(host), std::string(url.substr(colon + 1))};
}

// Where a call goes, and how it is sealed.
struct Route {
  std::vector<Endpoint> endpoints;  // to be tried in turn
  std::string host;                 // as the server calls itself
  std::optional<ssl::context> tls;
};

// Error: which file, what is wrong with it.
net::Result<Route> with_tls(Route route, const Server& server) {
  error_code error;
  auto& context = route.tls.emplace(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  context.set_verify_mode(ssl::verify_peer, error);
  context.set_verify_callback(ssl::host_name_verification(route.host), error);
  if (server.ca.empty()) {
    context.set_default_verify_paths(error);
  } else {
    context.load_verify_file(server.ca, error);
  }
  if (error) return net::Error{fmt::format("cannot use the authority in {}: {}", server.ca, error.message())};
  if (server.certificate.empty()) return route;
  context.use_certificate_chain_file(server.certificate, error);
  if (error) return net::Error{fmt::format("cannot use the certificate {}: {}", server.certificate, error.message())};
  context.use_private_key_file(server.key, ssl::context::pem, error);
  if (error) return net::Error{fmt::format("cannot use the key {}: {}", server.key, error.message())};
  return route;
}

net::Result<Route> route_to(const Server& server, asio::io_context& io) {
  if (server.url.empty()) {
    try {
      return Route{{asio::local::stream_protocol::endpoint(server.socket)}, "sluice", {}};
    } catch (const boost::system::system_error& error) {
      return net::Error{fmt::format("{} cannot be a socket: {}", server.socket, error.code().message())};
    }
  }
  const auto where = parse_url(server.url);
  if (!where) return where.error();
  error_code error;
  asio::ip::tcp::resolver resolver(io);
  const auto found = resolver.resolve(where->host, where->port, error);
  if (error || found.empty()) return net::Error{fmt::format("cannot resolve {}: {}", server.url, error.message())};
  Route route{{}, where->host, {}};
  for (const auto& one : found) route.endpoints.emplace_back(one.endpoint());
  return is_tls(server) ? with_tls(std::move(route), server) : net::Result<Route>(std::move(route));
}

std::string unreachable(const Server& server, const error_code& error) {
  const std::string& where = server.url.empty() ? server.socket : server.url;
  std::string advice = "is sluiced running? (systemctl status sluiced)";
  if (error == asio::error::access_denied) {
    advice = "run as root, or as a member of the group of the socket";
  } else if (error == boost::system::errc::no_such_file_or_directory) {
    advice = "is sluiced running? It may serve another socket: --socket PATH or SLUICE_SOCKET";
  } else if (error.category() == asio::error::get_ssl_category()) {
    advice = "the authority is --ca FILE, the name in the certificate that of --server; is it TLS at all?";
  } else if (error == beast::error::timeout) {
    advice = "sluiced does not answer in time; --timeout gives it longer";
  }
  return fmt::format("cannot reach sluiced at {}: {}; {}", where, error.message(), advice);
}

// What is known of a call until something goes wrong.
std::string broken(const Server& server, const error_code& cause) {
  return cause == beast::error::timeout
             ? unreachable(server, cause)
             : fmt::format("sluiced ended the connection without an answer: {}", cause.message());
}

// Connects and sends the request. What is wrong with sending it counts only if no answer comes: a server that refuses a
// body answers before it has all of it.
template <class AnyStream>
asio::awaitable<bool> ask(AnyStream& stream, const Server& server, const Call& call, const Route& route,
                          error_code& write_error, net::Result<Answer>& out) {
  Stream& socket = beast::get_lowest_layer(stream);
  socket.expires_after(server.timeout);
  error_code error;
  for (const Endpoint& endpoint : route.endpoints) {
    if (error) socket.close();
    co_await socket.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
    if (!error) break;
  }
  if constexpr (!std::is_same_v<AnyStream, Stream>) {
    // RFC 6066 section 3: names only, no addresses.
    asio::ip::make_address(route.host, write_error);
    if (write_error) SSL_set_tlsext_host_name(stream.native_handle(), route.host.c_str());
    write_error = {};
    if (!error) {
      co_await stream.async_handshake(ssl::stream_base::client, asio::redirect_error(asio::use_awaitable, error));
    }
  }
  if (error) {
    out = net::Error{unreachable(server, error)};
    co_return false;
  }
  http::request<http::string_body> request(http::string_to_verb(call.method), call.target, 11);
  request.set(http::field::host, route.host);
  request.set(http::field::user_agent, "sluicectl");
  request.set(http::field::connection, "close");
  if (!server.url.empty() && !server.token.empty()) request.set(http::field::authorization, "Bearer " + server.token);
  if (!call.if_match.empty()) request.set(http::field::if_match, call.if_match);
  if (!call.content_type.empty()) {
    request.set(http::field::content_type, call.content_type);
    request.body() = call.body;
  }
  request.prepare_payload();
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, write_error));
  co_return true;
}

template <class AnyStream>
asio::awaitable<void> exchange(AnyStream& stream, const Server& server, const Call& call, const Route& route,
                               net::Result<Answer>& out) {
  error_code write_error;
  const bool asked = co_await ask(stream, server, call, route, write_error, out);
  if (!asked) co_return;
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  error_code error;
  co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    out = net::Error{broken(server, write_error ? write_error : error)};
    co_return;
  }
  out = Answer{parser.get().result_int(), std::move(parser.get().body())};
}

template <class AnyStream>
asio::awaitable<void> listen(AnyStream& stream, const Server& server, const Call& call, const Route& route,
                             const std::function<void(std::string_view)>& piece, net::Result<Answer>& out) {
  error_code error;
  const bool asked = co_await ask(stream, server, call, route, error, out);
  if (!asked) co_return;
  beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  co_await http::async_read_header(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    out = net::Error{broken(server, error)};
    co_return;
  }
  const unsigned status = parser.get().result_int();
  if (status == 200) beast::get_lowest_layer(stream).expires_never();
  Answer answer{status, ""};
  std::array<char, 16384> data;
  while (!parser.is_done() && !error) {
    parser.get().body().data = data.data();
    parser.get().body().size = data.size();
    co_await http::async_read_some(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::need_buffer) error = {};
    const std::string_view got(data.data(), data.size() - parser.get().body().size);
    if (status == 200) {
      piece(got);
    } else {
      answer.body += got;
    }
  }
  if (error) {
    out = net::Error{fmt::format("the connection to sluiced ended: {}", error.message())};
    co_return;
  }
  out = std::move(answer);
}

// Runs `talk` over the stream that leads to the server.
template <class Talk>
net::Result<Answer> over_stream(const Server& server, const Talk& talk) {
  asio::io_context io(1);
  auto route = route_to(server, io);
  if (!route) return route.error();
  net::Result<Answer> out = net::Error{"there is no memory for an answer"};
  Stream socket(io);
  if (route->tls) {
    ssl::stream<Stream> stream(std::move(socket), *route->tls);
    asio::co_spawn(io, talk(stream, *route, out), asio::detached);
    io.run();
  } else {
    asio::co_spawn(io, talk(socket, *route, out), asio::detached);
    io.run();
  }
  return out;
}

}  // namespace

net::Result<Answer> send(const Server& server, const Call& call) {
  return over_stream(server, [&](auto& stream, const Route& route, net::Result<Answer>& out) {
    return exchange(stream, server, call, route, out);
  });
}

net::Result<Answer> follow(const Server& server, const Call& call, const std::function<void(std::string_view)>& piece) {
  return over_stream(server, [&](auto& stream, const Route& route, net::Result<Answer>& out) {
    return listen(stream, server, call, route, piece, out);
  });
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || c == ':';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace sluice::ctl
