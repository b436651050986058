/*
 * Certificate revocation lists, written by hand and signed by the library: the library's own writer knows no reasons and looks through the whole list for each entry it adds.
 *
 * source: RFC 5280 5; RFC 5758 (ECDSA), RFC 4055 (RSA), RFC 8410 (Ed25519)
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/der.h"
#include "x509_int.h"

#define YEAR_2050_US (INT64_C(2524608000) * NH_US_PER_S)

struct signature {
	int key;
	gnutls_sign_algorithm_t algorithm;
	nh_slice identifier; /* AlgorithmIdentifier */
};

#define BYTES(...) {(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})}

static const struct signature signatures[] = {
	{GNUTLS_PK_ECDSA, GNUTLS_SIGN_ECDSA_SHA256, BYTES(0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)},
	{GNUTLS_PK_RSA, GNUTLS_SIGN_RSA_SHA256, BYTES(0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00)},
	{GNUTLS_PK_EDDSA_ED25519, GNUTLS_SIGN_EDDSA_ED25519, BYTES(0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70)},
};

static const nh_slice oid_reason = BYTES(0x55, 0x1d, 0x15), oid_number = BYTES(0x55, 0x1d, 0x14), oid_aki = BYTES(0x55, 0x1d, 0x23);

static void put_time(struct nh_buf *out, int64_t at_us)
{
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT, text = NH_BUF_INIT;
	nh_time_put_iso(&iso, at_us);
	bool far = at_us >= YEAR_2050_US;
	for (size_t i = far ? 0 : 2; i < iso.len; i++) {
		uint8_t c = iso.ptr[i];
		if ((c >= '0' && c <= '9') || c == 'Z')
			nh_buf_put_u8(&text, c);
	}
	nh_der_put(out, far ? NH_DER_GENERALIZED_TIME : NH_DER_UTC_TIME, nh_buf_slice(&text));
}

/* None of a list's extensions is critical. */
static size_t begin_extension(struct nh_buf *out, nh_slice oid, size_t *value)
{
	size_t at = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_OID, oid);
	*value = nh_der_begin(out, NH_DER_OCTET_STRING);
	return at;
}

static void end_extension(struct nh_buf *out, size_t at, size_t value)
{
	nh_der_end(out, value);
	nh_der_end(out, at);
}

static void put_entry(struct nh_buf *out, const struct nh_crl_entry *e)
{
	size_t value, entry = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_INTEGER, e->serial);
	put_time(out, e->revoked_at_us);
	/* "unspecified" is said by saying nothing (RFC 5280 5.3.1). */
	if (e->reason != NH_CRL_UNSPECIFIED) {
		uint8_t reason = (uint8_t)e->reason;
		size_t all = nh_der_begin(out, NH_DER_SEQUENCE), one = begin_extension(out, oid_reason, &value);
		nh_der_put(out, 0x0a, nh_slice_of(&reason, 1)); /* ENUMERATED */
		end_extension(out, one, value);
		nh_der_end(out, all);
	}
	nh_der_end(out, entry);
}

static void put_extensions(struct nh_buf *out, const struct nh_cert *issuer, int64_t number)
{
	uint8_t bytes[8];
	size_t value;
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)((uint64_t)number >> (56 - 8 * i));
	size_t outer = nh_der_begin(out, NH_DER_CONTEXT_0), all = nh_der_begin(out, NH_DER_SEQUENCE);
	if (issuer->ski.len) {
		size_t aki = begin_extension(out, oid_aki, &value), inner = nh_der_begin(out, NH_DER_SEQUENCE);
		nh_der_put(out, 0x80, issuer->ski);
		nh_der_end(out, inner);
		end_extension(out, aki, value);
	}
	size_t one = begin_extension(out, oid_number, &value);
	nh_der_put_unsigned(out, nh_slice_of(bytes, sizeof bytes));
	end_extension(out, one, value);
	nh_der_end(out, all);
	nh_der_end(out, outer);
}

static const struct signature *signature_of(const struct nh_key *key)
{
	int kind = gnutls_privkey_get_pk_algorithm(nh_key_handle(key), NULL);
	for (size_t i = 0; i < NH_ARRAY_LEN(signatures); i++)
		if (signatures[i].key == kind)
			return &signatures[i];
	return NULL;
}

nh_rc nh_crl_issue(struct nh_buf *out, const struct nh_cert *issuer, const struct nh_key *issuer_key, int64_t this_update_us, int64_t next_update_us,
		   const struct nh_crl_entry *entries, size_t count, struct nh_err *err)
{
	const struct signature *how = signature_of(issuer_key);
	if (!how || !issuer->is_ca || !nh_key_fits_cert(issuer_key, issuer))
		return NH_FAIL(err, NH_EINVAL, "the key cannot sign a revocation list of this certificate");
	if (next_update_us <= this_update_us)
		return NH_FAIL(err, NH_EINVAL, "a revocation list must end after it begins");
	NH_AUTO_BUF struct nh_buf tbs = NH_BUF_INIT;
	size_t all = nh_der_begin(&tbs, NH_DER_SEQUENCE);
	nh_der_put_unsigned(&tbs, nh_slice_of("\1", 1)); /* version 2 */
	nh_buf_put_slice(&tbs, how->identifier);
	nh_buf_put_slice(&tbs, issuer->subject_der);
	put_time(&tbs, this_update_us);
	put_time(&tbs, next_update_us);
	/* An empty list is left out, not empty (RFC 5280 5.1.2.6). */
	if (count) {
		size_t list = nh_der_begin(&tbs, NH_DER_SEQUENCE);
		for (size_t i = 0; i < count; i++)
			put_entry(&tbs, &entries[i]);
		nh_der_end(&tbs, list);
	}
	put_extensions(&tbs, issuer, this_update_us);
	nh_der_end(&tbs, all);
	NH_TRY(nh_buf_check(&tbs, "revocation list", err));

	gnutls_datum_t data = nh_datum(nh_buf_slice(&tbs)), signature = {0};
	int rc = gnutls_privkey_sign_data2(nh_key_handle(issuer_key), how->algorithm, 0, &data, &signature);
	if (rc != 0)
		return NH_FAIL(err, NH_EINTERNAL, "cannot sign a revocation list: %s", gnutls_strerror(rc));
	size_t whole = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_buf_put_slice(out, nh_buf_slice(&tbs));
	nh_buf_put_slice(out, how->identifier);
	size_t bits = nh_der_begin(out, NH_DER_BIT_STRING);
	nh_buf_put_u8(out, 0);
	nh_buf_put(out, signature.data, signature.size);
	nh_der_end(out, bits);
	nh_der_end(out, whole);
	gnutls_free(signature.data);
	return nh_buf_check(out, "revocation list", err);
}
