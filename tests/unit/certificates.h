// Certificates for tests, made on the spot.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace sluice::control {

class Certificate {
 public:
  struct Subject {
    std::string common_name;
    std::string organization = {};
  };
  // Signed by `issuer`, nullptr: by itself, an authority then. Valid from an hour ago until `seconds` from now.
  Certificate(const Subject& subject, const Certificate* issuer, long seconds = 3600)
      : key_(EVP_EC_gen("P-256"), EVP_PKEY_free), x509_(X509_new(), X509_free) {
    X509_set_version(x509_.get(), 2);
    static long serial = 0;
    ASN1_INTEGER_set(X509_get_serialNumber(x509_.get()), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x509_.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509_.get()), seconds);
    X509_set_pubkey(x509_.get(), key_.get());
    X509_NAME* const name = X509_get_subject_name(x509_.get());
    add(name, "O", subject.organization);
    add(name, "CN", subject.common_name);
    const Certificate& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(x509_.get(), X509_get_subject_name(signer.x509_.get()));
    if (issuer == nullptr) extend(NID_basic_constraints, "critical,CA:TRUE");
    if (issuer != nullptr) extend(NID_subject_alt_name, "IP:127.0.0.1");
    EXPECT_GT(X509_sign(x509_.get(), signer.key_.get(), EVP_sha256()), 0);
  }

  // Writes both as PEM, the key for its owner alone.
  void write(const std::string& certificate_file, const std::string& key_file) const {
    const std::unique_ptr<FILE, int (*)(FILE*)> certificate(std::fopen(certificate_file.c_str(), "w"), std::fclose);
    EXPECT_EQ(PEM_write_X509(certificate.get(), x509_.get()), 1);
    const std::unique_ptr<FILE, int (*)(FILE*)> key(std::fopen(key_file.c_str(), "w"), std::fclose);
    EXPECT_EQ(PEM_write_PrivateKey(key.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr), 1);
    std::filesystem::permissions(key_file, std::filesystem::perms{0600});
  }
  [[nodiscard]] X509* x509() const { return x509_.get(); }
  [[nodiscard]] EVP_PKEY* key() const { return key_.get(); }

 private:
  static void add(X509_NAME* name, const char* kind, const std::string& text) {
    if (text.empty()) return;
    X509_NAME_add_entry_by_txt(name, kind, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.c_str()), -1, -1,
                               0);
  }
  void extend(int kind, const char* value) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
    X509_add_ext(x509_.get(), extension, -1);
    X509_EXTENSION_free(extension);
  }

  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
  std::unique_ptr<X509, decltype(&X509_free)> x509_;
};

}  // namespace sluice::control
