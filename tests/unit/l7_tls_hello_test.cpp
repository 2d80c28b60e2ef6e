// ClientHellos: those that OpenSSL makes, cut in records and segments anywhere, and those that nobody makes. RFC 8446
// section 4.1.2, RFC 6066 section 3.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "dataplane/l7/tls_hello.h"
#include "dataplane/l7/tls_listener.h"

namespace sluice::l7 {
namespace {

using Data = std::vector<uint8_t>;

// The first flight of a client.
Data hello(const char* server_name, bool http2 = false, int version = TLS1_3_VERSION) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_max_proto_version(context.get(), version);
  const std::unique_ptr<SSL, decltype(&SSL_free)> client(SSL_new(context.get()), SSL_free);
  if (server_name != nullptr) SSL_set_tlsext_host_name(client.get(), server_name);
  static constexpr unsigned char protocols[] = "\x08http/1.1\x02h2";
  SSL_set_alpn_protos(client.get(), protocols, http2 ? 12 : 9);
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(client.get(), BIO_new(BIO_s_mem()), out);
  SSL_set_connect_state(client.get());
  EXPECT_LE(SSL_do_handshake(client.get()), 0);
  const char* bytes = nullptr;
  const long size = BIO_get_mem_data(out, &bytes);
  return Data(bytes, bytes + size);
}

// The same in records of at most so many bytes.
Data in_records(const Data& one, size_t most) {
  Data out;
  for (size_t at = 5; at < one.size(); at += most) {
    const size_t size = std::min(most, one.size() - at);
    out.insert(out.end(), {22, 3, 1, static_cast<uint8_t>(size >> 8), static_cast<uint8_t>(size)});
    out.insert(out.end(), one.begin() + static_cast<ptrdiff_t>(at), one.begin() + static_cast<ptrdiff_t>(at + size));
  }
  return out;
}

void put(Data& out, size_t value, size_t width) {
  for (size_t i = width; i-- > 0;) out.push_back(static_cast<uint8_t>(value >> 8 * i));
}

// A hello by hand: `extensions` with their types and lengths.
Data made(const Data& extensions, size_t session = 0) {
  Data body{3, 3};
  body.resize(body.size() + 32);
  put(body, session, 1);
  body.resize(body.size() + session);
  body.insert(body.end(), {0, 2, 0x13, 1, 1, 0});
  put(body, extensions.size(), 2);
  body.insert(body.end(), extensions.begin(), extensions.end());
  Data out{22, 3, 1};
  put(out, body.size() + 4, 2);
  out.push_back(1);
  put(out, body.size(), 3);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

Data server_names(const std::vector<std::pair<uint8_t, std::string>>& names) {
  Data list;
  for (const auto& [type, name] : names) {
    list.push_back(type);
    put(list, name.size(), 2);
    list.insert(list.end(), name.begin(), name.end());
  }
  Data out{0, 0};
  put(out, list.size() + 2, 2);
  put(out, list.size(), 2);
  out.insert(out.end(), list.begin(), list.end());
  return out;
}

TEST(L7TlsHello, ING14_TheServerNameOfRealClients) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const Data data = hello("Foo.example.com", true, version);
    const TlsHello read = parse_tls_hello(data);
    EXPECT_EQ(read.state, HelloState::Whole);
    EXPECT_EQ(read.server_name(), "Foo.example.com");
    EXPECT_EQ(read.protocols(), "http/1.1,h2");
    EXPECT_EQ(read.size, data.size());
  }
  const TlsHello bare = parse_tls_hello(hello(nullptr));
  EXPECT_EQ(bare.state, HelloState::Whole);
  EXPECT_EQ(bare.server_name(), "");
  EXPECT_EQ(bare.protocols(), "http/1.1");
}

TEST(L7TlsHello, ING14_CutAnywhere) {
  const Data whole = hello("foo.example.com", true);
  for (const size_t most : {size_t{1}, size_t{2}, size_t{7}, size_t{100}, whole.size()}) {
    const Data data = in_records(whole, most);
    for (size_t size = 0; size < data.size(); ++size) {
      ASSERT_EQ(parse_tls_hello(Bytes(data).first(size)).state, HelloState::More) << most << " " << size;
    }
    const TlsHello read = parse_tls_hello(data);
    EXPECT_EQ(read.state, HelloState::Whole) << most;
    EXPECT_EQ(read.server_name(), "foo.example.com") << most;
    EXPECT_EQ(read.size, data.size());
    Data more = data;
    more.insert(more.end(), {22, 3, 3, 0, 1, 0});
    EXPECT_EQ(parse_tls_hello(more).size, data.size());
  }
}

TEST(L7TlsHello, ING13_HellosThatAreNone) {
  const auto alert_of = [](const Data& data) {
    const TlsHello read = parse_tls_hello(data);
    EXPECT_EQ(read.state, HelloState::Bad);
    return read.alert;
  };
  EXPECT_EQ(parse_tls_hello(Data{'G'}).state, HelloState::NotTls);
  EXPECT_EQ(parse_tls_hello(Data{22, 2}).state, HelloState::NotTls);
  EXPECT_EQ(parse_tls_hello(Data{0x80, 0x2e, 1, 0, 2}).state, HelloState::NotTls) << "SSL 2";
  EXPECT_EQ(alert_of({22, 3, 1, 0, 0}), TlsAlert::DecodeError) << "an empty record";
  EXPECT_EQ(alert_of({22, 3, 1, 0x40, 1}), TlsAlert::DecodeError) << "a record of 16385 bytes";
  EXPECT_EQ(alert_of({22, 3, 1, 0, 4, 2, 0, 0, 0}), TlsAlert::UnexpectedMessage) << "a ServerHello";
  EXPECT_EQ(alert_of({22, 3, 1, 0, 4, 1, 1, 0, 0}), TlsAlert::DecodeError) << "64 KiB";
  EXPECT_EQ(alert_of({22, 3, 1, 0, 4, 1, 0, 0, 33}), TlsAlert::DecodeError) << "shorter than any";
  EXPECT_EQ(alert_of({22, 3, 1, 0, 2, 1, 0, 23}), TlsAlert::UnexpectedMessage) << "another record between";
  EXPECT_EQ(alert_of(made({}, 33)), TlsAlert::DecodeError) << "a session id of 33 bytes";
  Data behind = made({});
  behind[4] += 1;
  behind[8] += 1;
  behind.push_back(0);
  EXPECT_EQ(alert_of(behind), TlsAlert::DecodeError) << "a byte behind the extensions";
  EXPECT_EQ(alert_of(made({0, 1, 0, 5, 1})), TlsAlert::DecodeError) << "an extension longer than all";
  EXPECT_EQ(alert_of(made({0})), TlsAlert::DecodeError);
  EXPECT_EQ(alert_of(made({0, 0, 0, 2, 0, 0})), TlsAlert::DecodeError) << "no name";
  EXPECT_EQ(alert_of(made({0, 0, 0, 5, 0, 3, 0, 0, 0})), TlsAlert::DecodeError) << "an empty name";
  EXPECT_EQ(alert_of(made({0, 0, 0, 7, 0, 4, 0, 0, 1, 'a', 9})), TlsAlert::DecodeError) << "bytes behind the names";
  EXPECT_EQ(alert_of(made(server_names({{0, "a"}, {0, "b"}}))), TlsAlert::IllegalParameter);
  EXPECT_EQ(alert_of(made(server_names({{0, std::string(256, 'a')}}))), TlsAlert::UnrecognizedName);
  Data twice = server_names({{0, "a"}});
  twice.insert(twice.end(), twice.begin(), twice.begin() + 10);
  EXPECT_EQ(alert_of(made(twice)), TlsAlert::IllegalParameter);

  EXPECT_EQ(parse_tls_hello(made(server_names({{7, "x"}, {0, "a"}}))).server_name(), "a");
  EXPECT_EQ(parse_tls_hello(made({})).state, HelloState::Whole);
}

std::shared_ptr<const PathRules> to(TargetId target, bool proxy_protocol = false) {
  return std::make_shared<const PathRules>(std::vector<PathRule>{
      {"/", PathMatch::Prefix, {.target = target, .rule = target + 10, .proxy_protocol = proxy_protocol}}});
}

TEST(L7TlsListener, ING14_TheServerNameDecides) {
  const TlsListener listener(HostRules().changed({{"foo.com", to(1)}, {"*.foo.com", to(2, true)}}));
  const auto ask = [&](const Data& data) { return listener.decide(data); };
  const Decision exact = ask(hello("FOO.com"));
  EXPECT_EQ(exact.outcome, Outcome::Forward);
  EXPECT_EQ(exact.target, 1U);
  EXPECT_EQ(exact.rule, 11U);
  EXPECT_EQ(exact.body.framing, Framing::Endless);
  EXPECT_FALSE(exact.watched);
  EXPECT_TRUE(listener.failed(hello("FOO.com"), Failure::Refused).empty());
  EXPECT_EQ(ask(hello("a.foo.com")).target, 2U);
  EXPECT_TRUE(ask(hello("a.foo.com")).proxy_protocol);
  EXPECT_EQ(ask({22}).outcome, Outcome::More);
  const auto text = [](Bytes bytes) { return Data(bytes.begin(), bytes.end()); };
  const Data unrecognized{21, 3, 3, 0, 2, 2, 112};
  for (const char* name : {"bar.com", "b.a.foo.com"}) {
    const Decision none = ask(hello(name));
    EXPECT_EQ(none.outcome, Outcome::Answer);
    EXPECT_EQ(none.reason, "no_host_rule");
    EXPECT_EQ(text(none.answer), unrecognized);
  }
  EXPECT_EQ(ask(hello(nullptr)).reason, "no_server_name");
  EXPECT_EQ(ask({'G', 'E', 'T'}).outcome, Outcome::Reset);
  EXPECT_EQ(ask({'G', 'E', 'T'}).reason, "not_tls");
  EXPECT_EQ(text(ask({22, 3, 1, 0, 0}).answer), (Data{21, 3, 3, 0, 2, 2, 50}));
  // What a host is not told by goes where an Ingress without a host does.
  EXPECT_EQ(TlsListener(HostRules().changed({{"", to(3)}})).decide(hello(nullptr)).target, 3U);
}

}  // namespace
}  // namespace sluice::l7
