#include "control/tls_context.h"

#include <array>

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

namespace sluice::control {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

// ECDHE and AEAD only (RFC 9325 section 4.2); TLS 1.3 has nothing else.
constexpr const char* tls12_ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

net::Error broken(const std::string& path, const error_code& error) {
  return {fmt::format("cannot use {}: {}", path, error.message())};
}

// RFC 7301: http/1.1 if the client offers it; one that offers only other protocols is told so.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* offered,
                    unsigned int length, void*) {
  static constexpr std::array<unsigned char, 9> own{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_length, own.data(), own.size(), offered, length) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

std::string text_of(const X509_NAME_ENTRY* entry) {
  unsigned char* utf8 = nullptr;
  const int length = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
  if (length < 0) return "";
  std::string text(reinterpret_cast<const char*>(utf8), static_cast<size_t>(length));
  OPENSSL_free(utf8);
  return text;
}

}  // namespace

net::Result<TlsContext> make_tls_context(const TlsFiles& files) {
  // Its mode is looked at, and what stands in it is read only once.
  const auto key = read_secret_file(files.key);
  if (!key) return key.error();
  ERR_clear_error();
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const raw = context->native_handle();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(raw, tls12_ciphers);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  // Every connection shows its certificate: one that has run out is not good for longer by being remembered.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(raw, choose_protocol, nullptr);

  error_code error;
  context->use_certificate_chain_file(files.certificate, error);
  if (error) return broken(files.certificate, error);
  // A key with a passphrase would ask the terminal for it.
  context->set_password_callback([](size_t, ssl::context::password_purpose) { return std::string(); }, error);
  context->use_private_key(boost::asio::buffer(*key), ssl::context::pem, error);
  if (ERR_GET_REASON(static_cast<unsigned long>(error.value())) == X509_R_KEY_VALUES_MISMATCH) {
    return net::Error{fmt::format("the key in {} is not that of the certificate in {}", files.key, files.certificate)};
  }
  if (error) return broken(files.key, error);
  if (files.client_ca.empty()) return context;
  context->load_verify_file(files.client_ca, error);
  if (error) return broken(files.client_ca, error);
  // Tells clients which certificates are wanted.
  SSL_CTX_set_client_CA_list(raw, SSL_load_client_CA_file(files.client_ca.c_str()));
  // Without a certificate a client may still have a token.
  context->set_verify_mode(ssl::verify_peer, error);
  if (error) return broken(files.client_ca, error);
  return context;
}

std::optional<Subject> peer_subject(SSL* connection) {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(connection), X509_free);
  if (certificate == nullptr || SSL_get_verify_result(connection) != X509_V_OK) return std::nullopt;
  Subject subject;
  const X509_NAME* const name = X509_get_subject_name(certificate.get());
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    const X509_NAME_ENTRY* const entry = X509_NAME_get_entry(name, i);
    const int kind = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
    if (kind == NID_commonName) subject.common_name = text_of(entry);  // the last, the most specific one
    if (kind == NID_organizationName) subject.organizations.push_back(text_of(entry));
  }
  std::tm end{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &end) == 1) subject.valid_until = ::timegm(&end);
  return subject;
}

std::string valid_until(const TlsContext& context) {
  const X509* const certificate = SSL_CTX_get0_certificate(context->native_handle());
  const std::unique_ptr<BIO, decltype(&BIO_free)> text(BIO_new(BIO_s_mem()), BIO_free);
  if (certificate == nullptr || text == nullptr || ASN1_TIME_print(text.get(), X509_get0_notAfter(certificate)) != 1) {
    return "";
  }
  char* data = nullptr;
  const long length = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<size_t>(length)};
}

}  // namespace sluice::control
