/*
 * X.509 certificates: what they say (facts, no policy), whether one directly signed another. Building them and keys: crypto/pki.h.
 *
 * A parsed certificate is immutable, one heap object; every slice in it lives until nh_cert_free. thread: any (immutable after parse).
 * source: reference/device-protocol "5.2", reference/user-api-and-cli "9" "17", RFC 5280
 */
#pragma once

#include "base/buf.h"

#define NH_CERT_DER_MAX ((size_t)64 << 10) /* bytes of one certificate or request */
#define NH_CERT_CHAIN_MAX 16u

/* Key usage bits (RFC 5280 4.2.1.3). */
#define NH_KU_DIGITAL_SIGNATURE 0x001u
#define NH_KU_NON_REPUDIATION 0x002u
#define NH_KU_KEY_ENCIPHERMENT 0x004u
#define NH_KU_DATA_ENCIPHERMENT 0x008u
#define NH_KU_KEY_AGREEMENT 0x010u
#define NH_KU_KEY_CERT_SIGN 0x020u
#define NH_KU_CRL_SIGN 0x040u

/* Extended key usages; others set NH_EKU_OTHER. */
#define NH_EKU_SERVER_AUTH 0x1u
#define NH_EKU_CLIENT_AUTH 0x2u
#define NH_EKU_ANY 0x4u
#define NH_EKU_OTHER 0x8u

typedef enum nh_san_kind { NH_SAN_DNS, NH_SAN_URI, NH_SAN_IP, NH_SAN_EMAIL, NH_SAN_OTHER } nh_san_kind;

struct nh_san {
	nh_san_kind kind;
	nh_slice value; /* text; IP: 4 or 16 bytes in network order; OTHER: empty */
};

struct nh_cert {
	nh_slice der;
	nh_slice serial;         /* DER INTEGER content, big-endian, as stored */
	nh_slice serial_decimal; /* as Erlang prints it: "1311768467463790320", '-' in front when negative */
	nh_slice serial_hex;     /* upper case, no separators, leading zero bytes dropped */
	nh_slice subject_der, issuer_der; /* the two Names: equal bytes = self-issued */
	nh_slice subject, issuer;         /* RFC 4514 text for people and logs */
	nh_slice common_name;    /* first CN of the subject, empty if none */
	nh_slice organization;   /* first O of the subject, empty if none */
	int64_t not_before_us, not_after_us; /* UTCTime years read as 2000 + YY, as NervesHub always did */
	nh_slice spki_der;       /* SubjectPublicKeyInfo */
	uint8_t sha256[32], sha1[20];           /* of der */
	uint8_t spki_sha256[32], spki_sha1[20]; /* of spki_der */
	nh_slice ski;            /* subject key identifier, empty if absent */
	nh_slice aki;            /* keyIdentifier of the authority key identifier, empty if absent */
	bool has_basic_constraints, is_ca;
	int path_len;            /* -1 where there is none */
	bool has_key_usage;
	unsigned key_usage;      /* NH_KU_*; 0 where absent */
	bool has_ext_key_usage;
	unsigned ext_key_usage;  /* NH_EKU_*; 0 where absent */
	struct nh_san *sans;
	size_t san_count;
	bool san_critical;
	bool unknown_critical;   /* a critical extension other than those above: a path validator must refuse */
};

/* nh_cert_parse_der - exactly one certificate, no bytes behind. NH_EFORMAT, NH_ETOOBIG over NH_CERT_DER_MAX. *out: nh_cert_free. */
nh_rc nh_cert_parse_der(nh_slice der, struct nh_cert **out, struct nh_err *err);
/* nh_cert_parse_pem - the first PEM block, which must be a CERTIFICATE; text before and after is skipped. Codes as above. */
nh_rc nh_cert_parse_pem(nh_slice pem, struct nh_cert **out, struct nh_err *err);
/* nh_cert_parse_pem_chain - all CERTIFICATE blocks in order (other blocks are skipped); at least one, at most NH_CERT_CHAIN_MAX.
 * Writes up to NH_CERT_CHAIN_MAX pointers; on failure none is left. NH_EFORMAT, NH_ETOOBIG. */
nh_rc nh_cert_parse_pem_chain(nh_slice pem, struct nh_cert *out[NH_CERT_CHAIN_MAX], size_t *count, struct nh_err *err);
void nh_cert_free(struct nh_cert *c); /* NULL is legal */
/* NH_AUTO_CERT frees at the end of the scope. */
static inline void nh_cert_freep(struct nh_cert **c) { nh_cert_free(*c); }
#define NH_AUTO_CERT __attribute__((cleanup(nh_cert_freep)))

void nh_cert_put_pem(struct nh_buf *out, const struct nh_cert *c); /* appends a CERTIFICATE block */

/*
 * nh_cert_signed_by - did issuer directly sign cert? Checks: cert's issuer name equals issuer's subject, issuer is a CA (basicConstraints) and may sign
 * certificates (keyUsage, where present), the signature (at least SHA-256 / 112 bit). Not dates, not key identifiers, not extensions of cert:
 * those are facts above, and policy is the caller's. NH_OK, or NH_EAUTH with the reason. About 0.1 ms of CPU for P-256.
 */
nh_rc nh_cert_signed_by(const struct nh_cert *cert, const struct nh_cert *issuer, struct nh_err *err);
