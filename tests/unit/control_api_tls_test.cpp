// TLS of the API: who is let in by certificate, what is shown to whom after a rotation, handshakes that do not end.
// OpenSSL is the client; tests/system/test_api_security.py has other people's.
#include <array>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "tests/unit/api_tcp.h"
#include "tests/unit/certificates.h"

namespace sluice::control {
namespace {

// One connection over TLS.
class TlsClient {
 public:
  struct Options {
    const Certificate* authority = nullptr;  // of the server
    const Certificate* own = nullptr;
    std::string protocols;  // ALPN, each with its length in front
    int most = 0;           // TLS version
  };
  TlsClient(uint16_t port, const Options& options)
      : context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free), socket_(port) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), options.authority->x509());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_max_proto_version(context_.get(), options.most);
    if (options.most == TLS1_1_VERSION) {  // what a client of those days would do
      SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
      SSL_CTX_set_security_level(context_.get(), 0);
    }
    if (options.own != nullptr) {
      SSL_CTX_use_certificate(context_.get(), options.own->x509());
      SSL_CTX_use_PrivateKey(context_.get(), options.own->key());
    }
    ssl_.reset(SSL_new(context_.get()));
    if (!options.protocols.empty()) {
      SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(options.protocols.data()),
                          static_cast<unsigned>(options.protocols.size()));
    }
    SSL_set_fd(ssl_.get(), socket_.fd());
    connected_ = SSL_connect(ssl_.get()) == 1;
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] std::string version() const { return SSL_get_version(ssl_.get()); }
  [[nodiscard]] std::string protocol() const {
    const unsigned char* text = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl_.get(), &text, &length);
    return {reinterpret_cast<const char*>(text), length};
  }
  [[nodiscard]] long serial() const {
    return ASN1_INTEGER_get(X509_get_serialNumber(SSL_get0_peer_certificate(ssl_.get())));
  }
  // The status of the answer, whose body must come with it; 0 when there is none.
  unsigned ask(std::string_view method, std::string_view target, std::string_view token = "",
               std::string_view headers = "") {
    std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: s\r\n{}", method, target, headers);
    if (!token.empty()) request += fmt::format("Authorization: Bearer {}\r\n", token);
    request += "\r\n";
    if (!connected_ || SSL_write(ssl_.get(), request.data(), static_cast<int>(request.size())) <= 0) return 0;
    answer.clear();
    size_t end = 0;
    while ((end = answer.find("\r\n\r\n")) == std::string::npos ||
           answer.size() < end + 4 + std::stoul(answer.substr(answer.find("Content-Length: ") + 16))) {
      if (!more()) return 0;
    }
    return static_cast<unsigned>(std::stoul(answer.substr(9, 3)));
  }
  // Whether the server said that it is the end (close_notify).
  bool ended_well() { return !more() && SSL_get_error(ssl_.get(), 0) == SSL_ERROR_ZERO_RETURN; }

  std::string answer;

 private:
  bool more() {
    std::array<char, 65536> buffer;
    const int got = SSL_read(ssl_.get(), buffer.data(), buffer.size());
    if (got > 0) answer.append(buffer.data(), static_cast<size_t>(got));
    return got > 0;
  }

  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  Client socket_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  bool connected_ = false;
};

class ApiTls : public ApiTcp {
 protected:
  ApiTls() {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to whom may be gone
    options.credentials.tls = {folder_ + "/tls.crt", folder_ + "/tls.key", folder_ + "/clients.crt"};
    server_certificate.write(folder_ + "/tls.crt", folder_ + "/tls.key");
    authority.write(folder_ + "/clients.crt", folder_ + "/clients.key");
    grant(fmt::format("read-only token {}\nread-only cn prometheus\nread-write o platform team\n", reader));
  }
  TlsClient connect(const Certificate* own = nullptr) { return TlsClient(port, {&authority, own, "", 0}); }

  Certificate authority{{"authority"}, nullptr};
  Certificate server_certificate{{"gateway"}, &authority};
};

TEST_F(ApiTls, CertificatesAndTokensHaveRoles) {
  start();
  const Certificate prometheus({"prometheus"}, &authority);
  const Certificate anna({"anna", "platform team"}, &authority);
  const Certificate bert({"bert", "sales"}, &authority);
  const std::string_view flows = "/v1/conntrack?all=true";
  EXPECT_EQ(connect().ask("GET", "/healthz"), 200U);
  EXPECT_EQ(connect().ask("GET", "/v1/status"), 401U);
  EXPECT_EQ(connect().ask("GET", "/v1/status", reader), 200U);
  EXPECT_EQ(connect(&prometheus).ask("GET", "/metrics"), 200U);
  EXPECT_EQ(connect(&prometheus).ask("DELETE", flows), 403U);
  EXPECT_EQ(connect(&anna).ask("DELETE", flows), 200U);
  TlsClient client = connect(&bert);
  EXPECT_EQ(client.ask("GET", "/v1/status"), 403U);
  EXPECT_NE(client.answer.find("CN=bert has none"), std::string::npos);
  EXPECT_EQ(client.ask("GET", "/v1/status", reader), 200U);
}

TEST_F(ApiTls, CertificatesThatAreNotGenuineEndTheHandshake) {
  start();
  const Certificate strangers({"authority"}, nullptr);
  const Certificate stranger({"prometheus"}, &strangers);
  const Certificate late({"prometheus"}, &authority, -60);
  EXPECT_EQ(connect(&stranger).ask("GET", "/healthz"), 0U);
  EXPECT_EQ(connect(&late).ask("GET", "/healthz"), 0U);
  EXPECT_FALSE(TlsClient(port, {&strangers, nullptr, "", 0}).connected());  // and the client does not trust this one
  EXPECT_EQ(connect().ask("GET", "/healthz"), 200U);
}

TEST_F(ApiTls, SpeaksTlsOfTodayAndHttp11) {
  start();
  EXPECT_EQ(connect().version(), "TLSv1.3");
  EXPECT_EQ(TlsClient(port, {&authority, nullptr, "", TLS1_2_VERSION}).version(), "TLSv1.2");
  EXPECT_FALSE(TlsClient(port, {&authority, nullptr, "", TLS1_1_VERSION}).connected());
  EXPECT_EQ(TlsClient(port, {&authority, nullptr, "\x02h2\x08http/1.1", 0}).protocol(), "http/1.1");
  EXPECT_FALSE(TlsClient(port, {&authority, nullptr, "\x02h2", 0}).connected());
  Client plain(port);
  plain.send("GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n");
  EXPECT_EQ(plain.receive(), 0U);
}

TEST_F(ApiTls, SaysWhenItEnds) {
  start();
  TlsClient client = connect();
  EXPECT_EQ(client.ask("GET", "/healthz", "", "Connection: close\r\n"), 200U);
  EXPECT_TRUE(client.ended_well());
}

TEST_F(ApiTls, LargeAnswersComeWhole) {
  std::string document = R"({"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g"},
     "spec": {"nodeName": "gw-1", "interfaces": [{"name": "a", "device": "d", "addresses": ["192.168.0.2/24"]}]}})";
  for (int i = 0; i < 3000; ++i) {
    document += fmt::format(R"(,{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "node-{}"}}}})", i);
  }
  start();
  ASSERT_EQ(Client(options.socket_path).ask("PUT", "/v1/config", "", document + "]}"), 200U);
  TlsClient client = connect();
  EXPECT_EQ(client.ask("GET", "/v1/config", reader), 200U);
  EXPECT_GT(client.answer.size(), 100'000U);
  EXPECT_EQ(client.ask("GET", "/healthz"), 200U);
}

TEST_F(ApiTls, RotatesWithoutLosingAConnection) {
  start();
  TlsClient before = connect();
  EXPECT_EQ(before.ask("GET", "/healthz"), 200U);
  const Certificate next({"gateway"}, &authority);
  next.write(folder_ + "/tls.crt", folder_ + "/tls.key");
  wait_until([&] { return said.find("its certificate is valid until ") != std::string::npos; });
  TlsClient after = connect();
  EXPECT_NE(after.serial(), before.serial());
  EXPECT_EQ(after.ask("GET", "/healthz"), 200U);
  EXPECT_EQ(before.ask("GET", "/v1/status", reader), 200U);
  // A key that belongs to another certificate is not taken.
  authority.write(folder_ + "/other.crt", folder_ + "/tls.key");
  wait_until([&] { return said.find("goes on with the credentials from before") != std::string::npos; });
  EXPECT_EQ(connect().serial(), after.serial());
}

// What verified it may be what was changed.
TEST_F(ApiTls, CertificatesAreShownAgainWhenCredentialsChange) {
  start();
  const Certificate prometheus({"prometheus"}, &authority);
  TlsClient waiting = connect(&prometheus);
  TlsClient token = connect();
  EXPECT_EQ(waiting.ask("GET", "/metrics"), 200U);
  EXPECT_EQ(token.ask("GET", "/metrics", reader), 200U);
  const Certificate others({"authority"}, nullptr);
  others.write(folder_ + "/clients.crt", folder_ + "/clients.key");
  wait_until([&] { return said.find("read the API's credentials again") != std::string::npos; });
  EXPECT_EQ(waiting.ask("GET", "/metrics"), 0U);
  EXPECT_EQ(connect(&prometheus).ask("GET", "/metrics"), 0U);
  EXPECT_EQ(token.ask("GET", "/metrics", reader), 200U);
}

TEST_F(ApiTls, CertificatesCountUntilTheyExpire) {
  start();
  const Certificate prometheus({"prometheus"}, &authority, 2);
  TlsClient client = connect(&prometheus);
  EXPECT_EQ(client.ask("GET", "/metrics"), 200U);
  std::this_thread::sleep_for(milliseconds(2'100));
  EXPECT_EQ(client.ask("GET", "/metrics"), 401U);
}

TEST_F(ApiTls, HandshakesHaveARate) {
  options.tcp_limits.handshakes = 4;
  start();
  size_t connected = 0;
  for (int i = 0; i < 20; ++i) connected += connect().connected() ? 1 : 0;
  EXPECT_GE(connected, 4U);
  EXPECT_LT(connected, 12U);  // a slow machine has some more for its seconds
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_TRUE(connect().connected());
}

TEST_F(ApiTls, HandshakesThatStopHalfWayTimeOut) {
  options.header_timeout = milliseconds(300);
  start();
  Client silent(port);
  Client begun(port);
  begun.send(std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(begun.closed());
  TlsClient idle = connect();  // after the handshake, too
  EXPECT_TRUE(idle.connected());
  wait_until([&] { return server->connections() == 0; });
}

TEST_F(ApiTls, HalfHandshakesMakeRoom) {
  options.tcp_limits.connections = options.tcp_limits.per_peer = 3;
  start();
  std::vector<std::unique_ptr<Client>> half;
  for (int i = 0; i < 50; ++i) {
    half.push_back(std::make_unique<Client>(port));
    half.back()->send(std::string_view("\x16\x03\x01", 3));
  }
  EXPECT_EQ(connect().ask("GET", "/v1/status", reader), 200U);
  EXPECT_TRUE(half.front()->closed());
}

TEST_F(ApiTls, FilesThatAreNoCredentialsAreRefused) {
  const TlsFiles good = options.credentials.tls;
  const auto fails = [&](std::string_view words) {
    const std::string why = why_not_started();
    EXPECT_NE(why.find(words), std::string::npos) << why;
  };
  options.credentials.tls.key = folder_ + "/clients.key";
  fails("is not that of the certificate in");
  options.credentials.tls = good;
  options.credentials.tls.certificate = options.credentials.access;
  fails("cannot use " + options.credentials.access);
  options.credentials.tls = good;
  options.credentials.tls.client_ca = folder_ + "/none";
  fails("cannot use " + folder_ + "/none");
  options.credentials.tls = good;
  std::filesystem::permissions(good.key, std::filesystem::perms{0644});
  fails("is open to other users");
  std::filesystem::permissions(good.key, std::filesystem::perms{0600});
  EXPECT_EQ(why_not_started(), "");
}

}  // namespace
}  // namespace sluice::control
