#include "tools/sluicectl/client.h"

#include <array>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
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
using Stream = beast::basic_stream<asio::generic::stream_protocol>;
using Endpoint = Stream::endpoint_type;

struct HostPort {
  std::string host;
  std::string port;
};

net::Result<HostPort> parse_url(std::string_view url) {
  const net::Error wrong{fmt::format("\"{}\" is no address of an API: expected one like http://127.0.0.1:9080", url)};
  if (url.starts_with("https:")) {
    return net::Error{"sluiced speaks plain HTTP on loopback: use http://, through an SSH tunnel if it is far away"};
  }
  if (url.starts_with("http://")) url.remove_prefix(7);
  if (url.ends_with('/')) url.remove_suffix(1);
  const size_t colon = url.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == url.size()) return wrong;
  std::string_view host = url.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty() || url.find_first_of("/?#@") != std::string_view::npos) return wrong;
  return HostPort{std::string(host), std::string(url.substr(colon + 1))};
}

net::Result<Endpoint> endpoint_of(const Server& server, asio::io_context& io) {
  if (server.url.empty()) {
    try {
      return Endpoint(asio::local::stream_protocol::endpoint(server.socket));
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
  return Endpoint(found.begin()->endpoint());
}

std::string unreachable(const Server& server, const error_code& error) {
  const std::string& where = server.url.empty() ? server.socket : server.url;
  std::string advice = "is sluiced running? (systemctl status sluiced)";
  if (error == asio::error::access_denied) {
    advice = "run as root, or as a member of the group of the socket";
  } else if (error == boost::system::errc::no_such_file_or_directory) {
    advice = "is sluiced running? It may serve another socket: --socket PATH or SLUICE_SOCKET";
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
asio::awaitable<bool> ask(Stream& stream, const Server& server, const Call& call, const Endpoint& endpoint,
                          error_code& write_error, net::Result<Answer>& out) {
  stream.expires_after(server.timeout);
  error_code error;
  co_await stream.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    out = net::Error{unreachable(server, error)};
    co_return false;
  }
  http::request<http::string_body> request(http::string_to_verb(call.method), call.target, 11);
  request.set(http::field::host, "sluice");
  request.set(http::field::user_agent, "sluicectl");
  request.set(http::field::connection, "close");
  if (!server.url.empty()) request.set(http::field::authorization, "Bearer " + server.token);
  if (!call.content_type.empty()) {
    request.set(http::field::content_type, call.content_type);
    request.body() = call.body;
  }
  request.prepare_payload();
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, write_error));
  co_return true;
}

asio::awaitable<void> exchange(const Server& server, const Call& call, const Endpoint& endpoint,
                               net::Result<Answer>& out) {
  Stream stream(co_await asio::this_coro::executor);
  error_code write_error;
  const bool asked = co_await ask(stream, server, call, endpoint, write_error, out);
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

asio::awaitable<void> listen(const Server& server, const Call& call, const Endpoint& endpoint,
                             const std::function<void(std::string_view)>& piece, net::Result<Answer>& out) {
  Stream stream(co_await asio::this_coro::executor);
  error_code error;
  const bool asked = co_await ask(stream, server, call, endpoint, error, out);
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
  if (status == 200) stream.expires_never();
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
  out = std::move(answer);
}

}  // namespace

net::Result<Answer> send(const Server& server, const Call& call) {
  asio::io_context io(1);
  const auto endpoint = endpoint_of(server, io);
  if (!endpoint) return endpoint.error();
  net::Result<Answer> out = net::Error{"there is no memory for an answer"};
  asio::co_spawn(io, exchange(server, call, *endpoint, out), asio::detached);
  io.run();
  return out;
}

net::Result<Answer> follow(const Server& server, const Call& call, const std::function<void(std::string_view)>& piece) {
  asio::io_context io(1);
  const auto endpoint = endpoint_of(server, io);
  if (!endpoint) return endpoint.error();
  net::Result<Answer> out = net::Error{"there is no memory for an answer"};
  asio::co_spawn(io, listen(server, call, *endpoint, piece, out), asio::detached);
  io.run();
  return out;
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
