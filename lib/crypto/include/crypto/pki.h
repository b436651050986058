/*
 * Keys, certificate requests and the issuing of certificates. Signatures are ECDSA with SHA-256 for P-256 keys, else what fits the key.
 * thread: any; one object by one thread at a time.  source: reference/user-api-and-cli "17"
 */
#pragma once

#include "base/clock.h"
#include "base/rng.h"
#include "crypto/x509.h"

struct nh_key; /* private key */

nh_rc nh_key_generate_p256(struct nh_key **out, struct nh_err *err); /* random from the library; NH_EINTERNAL */
/* nh_key_parse_pem - first block of type EC PRIVATE KEY, RSA PRIVATE KEY or PRIVATE KEY (unencrypted; EC, RSA, Ed25519). NH_EFORMAT. */
nh_rc nh_key_parse_pem(nh_slice pem, struct nh_key **out, struct nh_err *err);
nh_rc nh_key_parse_der(nh_slice der, struct nh_key **out, struct nh_err *err); /* SEC1, PKCS#1 or PKCS#8 */
/*
 * nh_key_open_url - a key that stays where it is, in a PKCS#11 token (RFC 7512 URI; a PIN as pin-value or pin-source). It signs, and cannot be written. NH_ENOTFOUND: no such
 * token or key, or no PIN. Loads the modules that p11-kit knows and talks to them, as each signature does: on a worker, or at start.
 */
nh_rc nh_key_open_url(const char *url, struct nh_key **out, struct nh_err *err);
/* nh_key_parse_pem_sealed - ENCRYPTED PRIVATE KEY (PKCS#8, any cipher the library reads). NH_EAUTH: another password; NH_EFORMAT. */
nh_rc nh_key_parse_pem_sealed(nh_slice pem, const char *password, struct nh_key **out, struct nh_err *err);
void nh_key_free(struct nh_key *k); /* wipes; NULL is legal */
static inline void nh_key_freep(struct nh_key **k) { nh_key_free(*k); }
#define NH_AUTO_KEY __attribute__((cleanup(nh_key_freep)))

/* Wipe these buffers (nh_buf_wipe) after use. NH_EUNSUPPORTED: a key in a token, but for its public half. */
nh_rc nh_key_put_pem(struct nh_buf *out, const struct nh_key *k, struct nh_err *err);       /* EC PRIVATE KEY (SEC1) for EC keys */
nh_rc nh_key_put_pem_pkcs8(struct nh_buf *out, const struct nh_key *k, struct nh_err *err); /* PRIVATE KEY */
nh_rc nh_key_put_pem_sealed(struct nh_buf *out, const struct nh_key *k, const char *password, struct nh_err *err); /* ENCRYPTED PRIVATE KEY: PBES2, AES-256 */
nh_rc nh_key_put_der(struct nh_buf *out, const struct nh_key *k, struct nh_err *err);       /* as nh_key_put_pem, binary */
nh_rc nh_key_put_spki(struct nh_buf *out, const struct nh_key *k, struct nh_err *err);      /* public half, SubjectPublicKeyInfo DER */
bool nh_key_fits_cert(const struct nh_key *k, const struct nh_cert *c); /* same public key */

/* What a certificate to be built shall say. Zero = leave out. */
struct nh_cert_profile {
	nh_slice organization, common_name; /* subject: O then CN */
	nh_slice serial;                    /* big-endian, unsigned; empty: 16 random bytes */
	int64_t not_before_us, not_after_us;
	bool basic_constraints, is_ca;      /* critical when present */
	int path_len;                       /* -1: none; used for a CA */
	unsigned key_usage, ext_key_usage;  /* NH_KU_* (critical), NH_EKU_* */
	const struct nh_san *sans;          /* not critical; DNS, URI, IP */
	size_t san_count;
	bool no_servers;                    /* name constraints, critical: below it no certificate names a host or an address */
	bool ski, aki;                      /* own key identifier (RFC 5280 method 1); issuer's */
};

/* Ready profiles; add subject, SANs, change what differs. valid_us is counted from now_us; not_before is now - 1 h. */
struct nh_cert_profile nh_cert_profile_ca(int64_t now_us, int64_t valid_us);           /* 17.1 */
struct nh_cert_profile nh_cert_profile_root(int64_t now_us, int64_t valid_us);         /* 17.6: root-ca */
struct nh_cert_profile nh_cert_profile_device_ca(int64_t now_us, int64_t valid_us);    /* 17.1 below a root: only clients, and no CA further down */
struct nh_cert_profile nh_cert_profile_device(int64_t now_us, int64_t valid_us);       /* 17.2 */
struct nh_cert_profile nh_cert_profile_server(int64_t now_us, int64_t valid_us);       /* 17.6: serverAuth, clientAuth; set sans */
struct nh_cert_profile nh_cert_profile_user(int64_t now_us, int64_t valid_us);         /* 17.5: users and devices by NervesHubCA */
struct nh_cert_profile nh_cert_profile_verification(int64_t now_us);                   /* 17.4: ±1 h; set the URI SAN */

/*
 * nh_cert_issue - appends the DER of a certificate for the public key (SPKI DER) to out.
 * issuer NULL: self-signed (issuer_key's public half must be spki; an AKI is then the own SKI).
 * NH_EINVAL: profile without subject, or dates reversed, or issuer_key does not fit issuer; NH_EFORMAT: spki; NH_EINTERNAL: library.
 */
nh_rc nh_cert_issue(struct nh_buf *out, const struct nh_cert_profile *profile, nh_slice spki_der, const struct nh_cert *issuer,
		    const struct nh_key *issuer_key, const struct nh_rng *rng, struct nh_err *err);

/* PKCS#10 requests. */
struct nh_csr {
	nh_slice common_name, organization; /* of the subject, empty if none */
	nh_slice spki_der;
	const char *key_kind; /* "EC/ECDSA", "RSA", … */
	unsigned key_bits;
	bool strong;          /* EC of 256 to 521 bits, RSA of 2048 to 8192, Ed25519: a key that a CA may certify */
};
/* nh_csr_build - appends PEM ("CERTIFICATE REQUEST") without requested extensions. NH_EINVAL empty subject, NH_EINTERNAL. */
nh_rc nh_csr_build(struct nh_buf *out_pem, nh_slice organization, nh_slice common_name, const struct nh_key *key, struct nh_err *err);
/* nh_csr_parse_pem - parses and checks the request's own signature. *out: nh_csr_free. NH_EFORMAT, NH_EAUTH (signature), NH_ETOOBIG. */
nh_rc nh_csr_parse_pem(nh_slice pem, struct nh_csr **out, struct nh_err *err);
void nh_csr_free(struct nh_csr *r);

/* ---- revocation lists (RFC 5280 5) ---------------------------------------------------------------------------------------- */

/* Why, as certificates are revoked (RFC 5280 5.3.1); other numbers are not used here. */
typedef enum nh_crl_reason {
	NH_CRL_UNSPECIFIED = 0,
	NH_CRL_KEY_COMPROMISE = 1,
	NH_CRL_AFFILIATION_CHANGED = 3,
	NH_CRL_SUPERSEDED = 4,
	NH_CRL_CESSATION = 5,
	NH_CRL_PRIVILEGE_WITHDRAWN = 9,
} nh_crl_reason;

struct nh_crl_entry {
	nh_slice serial; /* as nh_cert.serial: INTEGER content */
	int64_t revoked_at_us;
	nh_crl_reason reason;
};

/*
 * nh_crl_issue - appends the DER of a version 2 list, signed by issuer's key. Its number is this_update_us, so that each list has a higher one than those before. Entries as
 * given; a serial twice is the caller's mistake. NH_EINVAL: key does not fit issuer, issuer is no CA, or dates reversed; NH_EINTERNAL: the key did not sign.
 */
nh_rc nh_crl_issue(struct nh_buf *out, const struct nh_cert *issuer, const struct nh_key *issuer_key, int64_t this_update_us, int64_t next_update_us,
		   const struct nh_crl_entry *entries, size_t count, struct nh_err *err);
