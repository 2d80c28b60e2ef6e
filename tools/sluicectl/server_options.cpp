#include "tools/sluicectl/server_options.h"

#include <cstdlib>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

#include "dataplane/net/addr.h"

namespace sluice::ctl {
namespace {

constexpr const char* default_socket = "/run/sluice/sluiced.sock";

void from_environment(std::string& value, const char* name) {
  const char* const found = std::getenv(name);
  if (value.empty() && found != nullptr) value = found;
}

// Nobody can read on the way what is sent there.
bool keeps_secrets(std::string_view url) {
  constexpr std::string_view plain = "http://";
  if (!url.starts_with(plain)) return true;
  std::string_view host = url.substr(plain.size());
  host = host.substr(0, host.find('/'));
  host = host.starts_with('[') ? host.substr(1, host.find(']') - 1) : host.substr(0, host.find(':'));
  const auto address = net::parse_ip(host);
  return host == "localhost" || (address && address->is_loopback());
}

}  // namespace

ServerOptions::ServerOptions(CLI::App& app, Server& server) : server_(server) {
  const auto add = [&](const char* name, std::string& value, const char* what, const char* type) {
    app.add_option(name, value, what)->type_name(type);
  };
  add("--socket", server.socket, "UNIX socket of sluiced (SLUICE_SOCKET, else /run/sluice/sluiced.sock)", "PATH");
  add("--server", server.url, "API on TCP instead, like https://gateway:9443 (SLUICE_SERVER)", "URL");
  add("--token-file", token_file_, "bearer token for --server (SLUICE_TOKEN_FILE)", "FILE");
  add("--ca", server.ca, "authority of the server's certificate, PEM (SLUICE_CA)", "FILE");
  add("--cert", server.certificate, "client certificate for --server, PEM (SLUICE_CERT)", "FILE");
  add("--key", server.key, "key of the client certificate, PEM (SLUICE_KEY)", "FILE");
  app.add_option("--timeout", timeout_seconds_, "seconds to wait for an answer")->capture_default_str();
}

std::string ServerOptions::complete() {
  server_.timeout = std::chrono::seconds(timeout_seconds_);
  if (!server_.socket.empty() && !server_.url.empty()) return "either --socket or --server, not both";
  if (server_.socket.empty()) from_environment(server_.url, "SLUICE_SERVER");
  if (server_.url.empty()) {
    from_environment(server_.socket, "SLUICE_SOCKET");
    if (server_.socket.empty()) server_.socket = default_socket;
    return "";
  }
  from_environment(token_file_, "SLUICE_TOKEN_FILE");
  from_environment(server_.ca, "SLUICE_CA");
  from_environment(server_.certificate, "SLUICE_CERT");
  from_environment(server_.key, "SLUICE_KEY");
  if (server_.certificate.empty() != server_.key.empty()) return "a client certificate needs --cert and --key";
  if (token_file_.empty()) return "";
  std::ifstream in(token_file_);
  if (!(in >> server_.token)) return fmt::format("there is no token in {}", token_file_);
  if (!keeps_secrets(server_.url)) return "a token goes over https:// or to this machine only";
  return "";
}

}  // namespace sluice::ctl
