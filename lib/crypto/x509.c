/*
 * Reading certificates: GnuTLS judges the structure and reads the extensions; serial, names, dates and public key are taken from the raw bytes,
 * since their exact encoding matters (fingerprints, the reading of two-digit years). One arena holds the whole result.
 *
 * source: reference/device-protocol "5.2", RFC 5280
 */
#include "x509_int.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/der.h"
#include "base/encode.h"
#include "base/pem.h"
#include "crypto/digest.h"

#define SERIAL_MAX 64
#define SANS_MAX 256

struct parsed {
	struct nh_cert cert; /* first: the public pointer is this one */
	struct nh_arena arena;
};

struct walk {
	struct parsed *p;
	gnutls_x509_crt_t crt;
	struct nh_err *err;
};

/* Two digits at offset i, or -1. */
static int two(nh_slice s, size_t i)
{
	uint64_t v = 0;
	return nh_parse_u64(nh_slice_sub(s, i, 2), 0, 99, &v) == NH_OK && i + 2 <= s.len ? (int)v : -1;
}

/* "YYMMDDhhmmssZ" is 2000 + YY here, not the RFC's window: 31-year certificates of the field carry UTCTime beyond 2049. */
static bool read_time(struct nh_der d, int64_t *out_us)
{
	nh_slice s = d.content;
	int century = d.tag == NH_DER_UTC_TIME ? 20 : d.tag == NH_DER_GENERALIZED_TIME ? two(s, 0) : -1;
	if (d.tag == NH_DER_GENERALIZED_TIME)
		s = nh_slice_skip(s, 2);
	if (century < 0 || s.len != 13 || s.ptr[12] != 'Z')
		return false;
	for (size_t i = 0; i < 12; i += 2)
		if (two(s, i) < 0)
			return false;
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	nh_buf_printf(&iso, "%02d%02d-%02d-%02dT%02d:%02d:%02dZ", century, two(s, 0), two(s, 2), two(s, 4), two(s, 6), two(s, 8), two(s, 10));
	return nh_time_parse_iso(nh_buf_slice(&iso), out_us) == NH_OK;
}

/* Decimal text of a big-endian unsigned number by repeated division; magnitude is destroyed. */
static nh_slice decimal(struct nh_arena *a, uint8_t *magnitude, size_t len, bool negative)
{
	char digits[SERIAL_MAX * 3];
	size_t at = sizeof digits;
	bool more = true;
	while (more) {
		unsigned rest = 0;
		more = false;
		for (size_t i = 0; i < len; i++) {
			unsigned v = rest << 8 | magnitude[i];
			magnitude[i] = (uint8_t)(v / 10);
			rest = v % 10;
			more |= magnitude[i] != 0;
		}
		digits[--at] = (char)('0' + rest);
	}
	if (negative)
		digits[--at] = '-';
	return nh_arena_copy(a, nh_slice_of(digits + at, sizeof digits - at));
}

static bool read_serial(struct parsed *p, nh_slice content)
{
	if (content.len == 0 || content.len > SERIAL_MAX)
		return false;
	p->cert.serial = content;
	nh_slice shown = content;
	while (shown.len > 1 && shown.ptr[0] == 0)
		shown = nh_slice_skip(shown, 1);
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	nh_hex_put_upper(&hex, shown);
	p->cert.serial_hex = nh_arena_copy(&p->arena, nh_buf_slice(&hex));
	uint8_t magnitude[SERIAL_MAX];
	bool negative = content.ptr[0] & 0x80;
	unsigned carry = negative;
	for (size_t i = content.len; i > 0; i--) {
		unsigned v = (unsigned)(negative ? (uint8_t)~content.ptr[i - 1] : content.ptr[i - 1]) + carry;
		magnitude[i - 1] = (uint8_t)v;
		carry = v >> 8;
	}
	p->cert.serial_decimal = decimal(&p->arena, magnitude, content.len, negative);
	return true;
}

/* The parts of TBSCertificate in their order (RFC 5280 4.1). */
static nh_rc read_raw(struct walk *w)
{
	struct nh_cert *c = &w->p->cert;
	struct nh_rd whole = nh_rd_of(c->der);
	struct nh_rd cert = nh_rd_of(nh_der_expect(&whole, NH_DER_SEQUENCE).content);
	struct nh_rd tbs = nh_rd_of(nh_der_expect(&cert, NH_DER_SEQUENCE).content);
	struct nh_der first = nh_der_next(&tbs);
	struct nh_der serial = first.tag == NH_DER_CONTEXT_0 ? nh_der_expect(&tbs, NH_DER_INTEGER) : first;
	(void)nh_der_expect(&tbs, NH_DER_SEQUENCE); /* signature algorithm */
	c->issuer_der = nh_der_expect(&tbs, NH_DER_SEQUENCE).whole;
	struct nh_rd validity = nh_rd_of(nh_der_expect(&tbs, NH_DER_SEQUENCE).content);
	c->subject_der = nh_der_expect(&tbs, NH_DER_SEQUENCE).whole;
	c->spki_der = nh_der_expect(&tbs, NH_DER_SEQUENCE).whole;
	struct nh_der from = nh_der_next(&validity), to = nh_der_next(&validity);
	if (!nh_rd_ok(&whole) || !nh_rd_ok(&tbs) || !nh_rd_ok(&validity) || nh_rd_left(&whole))
		return NH_FAIL(w->err, NH_EFORMAT, "not a certificate: its parts are not in order");
	if (serial.tag != NH_DER_INTEGER || !read_serial(w->p, serial.content))
		return NH_FAIL(w->err, NH_EFORMAT, "certificate has a broken serial number");
	if (!read_time(from, &c->not_before_us) || !read_time(to, &c->not_after_us))
		return NH_FAIL(w->err, NH_EFORMAT, "certificate has a broken validity date");
	return NH_OK;
}

/* One character as UTF-8; false where there is no such character. */
static bool put_utf8(struct nh_buf *out, uint32_t c)
{
	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return false;
	if (c < 0x80) {
		nh_buf_put_u8(out, (uint8_t)c);
		return true;
	}
	unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
	nh_buf_put_u8(out, (uint8_t)(lead[more] | c >> (6 * more)));
	while (more-- > 0)
		nh_buf_put_u8(out, (uint8_t)(0x80 | (c >> (6 * more) & 0x3f)));
	return true;
}

/*
 * A name's text as UTF-8. BMPString and UniversalString are read as what they say: their bytes, taken as they lie there, can spell the name of
 * another device. Nothing where they hold no text.
 */
static nh_slice name_text(struct nh_arena *arena, nh_slice value, unsigned long tag)
{
	size_t width = tag == NH_DER_BMP_STRING ? 2 : tag == NH_DER_UNIVERSAL_STRING ? 4 : 0;
	if (width == 0)
		return nh_arena_copy(arena, value);
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	if (value.len % width != 0)
		return NH_SLICE_EMPTY;
	for (size_t i = 0; i < value.len; i += width) {
		uint32_t c = 0;
		for (size_t k = 0; k < width; k++)
			c = c << 8 | value.ptr[i + k];
		if (!put_utf8(&out, c))
			return NH_SLICE_EMPTY;
	}
	return nh_arena_copy(arena, nh_buf_slice(&out));
}

nh_slice nh_dn_first(struct nh_arena *arena, nh_slice name_der, const char *oid)
{
	gnutls_x509_dn_t dn = NULL;
	gnutls_datum_t raw = nh_datum(name_der);
	nh_slice out = NH_SLICE_EMPTY;
	if (gnutls_x509_dn_init(&dn) != 0)
		return out;
	gnutls_x509_ava_st ava;
	bool found = false;
	if (gnutls_x509_dn_import(dn, &raw) == 0)
		for (int rdn = 0; !found && gnutls_x509_dn_get_rdn_ava(dn, rdn, 0, &ava) == 0; rdn++)
			for (int i = 0; !found && gnutls_x509_dn_get_rdn_ava(dn, rdn, i, &ava) == 0; i++)
				if (nh_slice_eq(nh_slice_of(ava.oid.data, strnlen((const char *)ava.oid.data, ava.oid.size)), nh_slice_str(oid))) {
					out = name_text(arena, nh_slice_of(ava.value.data, ava.value.size), ava.value_tag);
					found = true;
				}
	gnutls_x509_dn_deinit(dn);
	return out;
}

bool nh_spki_key_id(nh_slice spki_der, uint8_t out[20])
{
	struct nh_rd whole = nh_rd_of(spki_der);
	struct nh_rd spki = nh_rd_of(nh_der_expect(&whole, NH_DER_SEQUENCE).content);
	(void)nh_der_expect(&spki, NH_DER_SEQUENCE);
	nh_slice bits = nh_der_expect(&spki, NH_DER_BIT_STRING).content;
	if (!nh_rd_ok(&spki) || bits.len < 2 || bits.ptr[0] != 0)
		return false;
	nh_digest(NH_SHA1, nh_slice_skip(bits, 1), out);
	return true;
}

static nh_slice take_datum(struct nh_arena *a, gnutls_datum_t *d)
{
	nh_slice out = nh_arena_copy(a, nh_slice_of(d->data, d->size));
	gnutls_free(d->data);
	return out;
}

static void read_names(struct walk *w)
{
	struct nh_cert *c = &w->p->cert;
	struct nh_arena *a = &w->p->arena;
	gnutls_datum_t text = {0};
	if (gnutls_x509_crt_get_dn3(w->crt, &text, 0) == 0)
		c->subject = take_datum(a, &text);
	if (gnutls_x509_crt_get_issuer_dn3(w->crt, &text, 0) == 0)
		c->issuer = take_datum(a, &text);
	c->common_name = nh_dn_first(a, c->subject_der, GNUTLS_OID_X520_COMMON_NAME);
	c->organization = nh_dn_first(a, c->subject_der, GNUTLS_OID_X520_ORGANIZATION_NAME);
}

/* What GnuTLS could not read: not there at all, or there and broken, which is never the same as not there. */
static nh_rc absent(struct walk *w, const char *oid, const char *what)
{
	size_t len = 0;
	unsigned critical;
	if (gnutls_x509_crt_get_extension_by_oid(w->crt, oid, 0, NULL, &len, &critical) == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return NH_OK;
	return NH_FAIL(w->err, NH_EFORMAT, "certificate has a broken extension: %s", what);
}

static nh_rc read_key_ids(struct walk *w)
{
	uint8_t id[256];
	size_t len = sizeof id;
	unsigned critical;
	if (gnutls_x509_crt_get_subject_key_id(w->crt, id, &len, &critical) == 0)
		w->p->cert.ski = nh_arena_copy(&w->p->arena, nh_slice_of(id, len));
	else
		NH_TRY(absent(w, "2.5.29.14", "subject key identifier"));
	len = sizeof id;
	int rc = gnutls_x509_crt_get_authority_key_id(w->crt, id, &len, &critical);
	if (rc == 0)
		w->p->cert.aki = nh_arena_copy(&w->p->arena, nh_slice_of(id, len));
	else if (rc != GNUTLS_E_X509_UNSUPPORTED_EXTENSION && rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) /* those name issuer and serial, or nothing */
		NH_TRY(absent(w, "2.5.29.35", "authority key identifier"));
	return NH_OK;
}

static unsigned key_usage_bits(unsigned gnutls)
{
	static const struct {
		unsigned from, to;
	} map[] = {
		{GNUTLS_KEY_DIGITAL_SIGNATURE, NH_KU_DIGITAL_SIGNATURE}, {GNUTLS_KEY_NON_REPUDIATION, NH_KU_NON_REPUDIATION},
		{GNUTLS_KEY_KEY_ENCIPHERMENT, NH_KU_KEY_ENCIPHERMENT},	 {GNUTLS_KEY_DATA_ENCIPHERMENT, NH_KU_DATA_ENCIPHERMENT},
		{GNUTLS_KEY_KEY_AGREEMENT, NH_KU_KEY_AGREEMENT},	 {GNUTLS_KEY_KEY_CERT_SIGN, NH_KU_KEY_CERT_SIGN},
		{GNUTLS_KEY_CRL_SIGN, NH_KU_CRL_SIGN},
	};
	unsigned out = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(map); i++)
		out |= gnutls & map[i].from ? map[i].to : 0;
	return out;
}

static nh_rc read_purposes(struct walk *w)
{
	struct nh_cert *c = &w->p->cert;
	for (unsigned i = 0; i < 64; i++) {
		char oid[128];
		size_t len = sizeof oid;
		unsigned critical;
		int rc = gnutls_x509_crt_get_key_purpose_oid(w->crt, i, oid, &len, &critical);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE && i > 0)
			break;
		if (rc < 0 && rc != GNUTLS_E_SHORT_MEMORY_BUFFER)
			return absent(w, "2.5.29.37", "extended key usage");
		nh_slice name = rc < 0 ? NH_LIT("too long to be known") : nh_slice_str(oid);
		c->has_ext_key_usage = true;
		c->ext_key_usage |= nh_slice_eq_str(name, GNUTLS_KP_TLS_WWW_SERVER) ? NH_EKU_SERVER_AUTH
				    : nh_slice_eq_str(name, GNUTLS_KP_TLS_WWW_CLIENT) ? NH_EKU_CLIENT_AUTH
				    : nh_slice_eq_str(name, GNUTLS_KP_ANY)	      ? NH_EKU_ANY
										      : NH_EKU_OTHER;
	}
	return NH_OK;
}

static nh_rc read_usage(struct walk *w)
{
	struct nh_cert *c = &w->p->cert;
	unsigned critical, ca = 0, usage = 0;
	int path_len = -1;
	c->path_len = -1;
	if (gnutls_x509_crt_get_basic_constraints(w->crt, &critical, &ca, &path_len) >= 0) {
		c->has_basic_constraints = true;
		c->is_ca = ca != 0;
		c->path_len = ca ? path_len : -1;
	} else {
		NH_TRY(absent(w, "2.5.29.19", "basic constraints"));
	}
	if (gnutls_x509_crt_get_key_usage(w->crt, &usage, &critical) >= 0) {
		c->has_key_usage = true;
		c->key_usage = key_usage_bits(usage);
	} else {
		NH_TRY(absent(w, "2.5.29.15", "key usage"));
	}
	return read_purposes(w);
}

static nh_rc read_sans(struct walk *w)
{
	struct nh_cert *c = &w->p->cert;
	struct nh_san found[SANS_MAX];
	for (unsigned i = 0;; i++) {
		uint8_t small[1024];
		size_t len = sizeof small;
		unsigned type = 0, critical = 0;
		int rc = gnutls_x509_crt_get_subject_alt_name2(w->crt, i, small, &len, &type, &critical);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		/* A name too long for the buffer, or of an unknown kind, still counts: "exactly one entry" is judged by the count. */
		if (rc < 0 && rc != GNUTLS_E_SHORT_MEMORY_BUFFER && rc != GNUTLS_E_X509_UNKNOWN_SAN)
			return NH_FAIL(w->err, NH_EFORMAT, "certificate has a broken subject alternative name");
		if (i >= SANS_MAX)
			return NH_FAIL(w->err, NH_ETOOBIG, "certificate has more than %d subject alternative names", SANS_MAX);
		struct nh_san s = {.kind = NH_SAN_OTHER};
		if (rc >= 0)
			s.kind = type == GNUTLS_SAN_DNSNAME ? NH_SAN_DNS
			       : type == GNUTLS_SAN_URI ? NH_SAN_URI
			       : type == GNUTLS_SAN_IPADDRESS ? NH_SAN_IP
			       : type == GNUTLS_SAN_RFC822NAME ? NH_SAN_EMAIL
							       : NH_SAN_OTHER;
		if (s.kind != NH_SAN_OTHER)
			s.value = nh_arena_copy(&w->p->arena, nh_slice_of(small, len));
		c->san_critical = critical != 0;
		found[c->san_count++] = s;
	}
	c->sans = NH_NEW_ARRAY(&w->p->arena, c->san_count, struct nh_san);
	for (size_t i = 0; i < c->san_count; i++)
		c->sans[i] = found[i];
	return NH_OK;
}

static void read_unknown(struct walk *w)
{
	/* basicConstraints, keyUsage, extKeyUsage, subjectAltName, subjectKeyIdentifier, authorityKeyIdentifier */
	static const char *const known[] = {"2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.14", "2.5.29.35"};
	for (unsigned i = 0;; i++) {
		char oid[128];
		size_t len = sizeof oid;
		unsigned critical = 0;
		int rc = gnutls_x509_crt_get_extension_info(w->crt, i, oid, &len, &critical);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return;
		bool is_known = false;
		for (size_t k = 0; rc == 0 && k < NH_ARRAY_LEN(known); k++)
			is_known |= nh_slice_eq_str(nh_slice_str(oid), known[k]);
		if (!is_known && (critical || rc != 0))
			w->p->cert.unknown_critical = true;
		if (rc != 0)
			return;
	}
}

static nh_rc read_all(struct walk *w)
{
	struct nh_cert *c = &w->p->cert;
	gnutls_datum_t der = nh_datum(c->der);
	int rc = gnutls_x509_crt_import(w->crt, &der, GNUTLS_X509_FMT_DER);
	if (rc != 0)
		return NH_FAIL(w->err, NH_EFORMAT, "not a certificate: %s", gnutls_strerror(rc));
	NH_TRY(read_raw(w));
	read_names(w);
	NH_TRY(read_key_ids(w));
	NH_TRY(read_usage(w));
	NH_TRY(read_sans(w));
	read_unknown(w);
	nh_sha256(c->der, c->sha256);
	nh_digest(NH_SHA1, c->der, c->sha1);
	nh_sha256(c->spki_der, c->spki_sha256);
	nh_digest(NH_SHA1, c->spki_der, c->spki_sha1);
	return NH_OK;
}

nh_rc nh_cert_parse_der(nh_slice der, struct nh_cert **out, struct nh_err *err)
{
	*out = NULL;
	if (der.len > NH_CERT_DER_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "certificate of %zu bytes is over the limit of %zu", der.len, NH_CERT_DER_MAX);
	if (der.len == 0)
		return NH_FAIL(err, NH_EFORMAT, "certificate is empty");
	struct walk w = {.p = nh_xcalloc(1, sizeof *w.p), .err = err};
	w.p->cert.der = nh_arena_copy(&w.p->arena, der);
	nh_rc rc = gnutls_x509_crt_init(&w.crt) == 0 ? NH_OK : NH_FAIL(err, NH_ENOMEM, "out of memory");
	if (rc == NH_OK)
		rc = read_all(&w);
	if (w.crt)
		gnutls_x509_crt_deinit(w.crt);
	if (rc != NH_OK)
		nh_cert_free(&w.p->cert);
	else
		*out = &w.p->cert;
	return rc;
}

void nh_cert_free(struct nh_cert *c)
{
	if (!c)
		return;
	struct parsed *p = (struct parsed *)c;
	nh_arena_fini(&p->arena);
	free(p);
}

static nh_rc pem_error(nh_rc rc, struct nh_err *err)
{
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_EFORMAT, "no PEM data found");
	if (rc == NH_ETOOBIG)
		return NH_FAIL(err, NH_ETOOBIG, "PEM block is larger than a certificate can be");
	return NH_FAIL(err, NH_EFORMAT, "broken PEM block");
}

nh_rc nh_cert_parse_pem(nh_slice pem, struct nh_cert **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	nh_slice label, rest;
	*out = NULL;
	nh_rc rc = nh_pem_find(pem, &label, &der, &rest);
	if (rc != NH_OK)
		return pem_error(rc, err);
	if (!nh_slice_eq_str(label, "CERTIFICATE"))
		return NH_FAIL(err, NH_EFORMAT, "expected a CERTIFICATE PEM block, found \"%.*s\"", NH_ARG(label));
	return nh_cert_parse_der(nh_buf_slice(&der), out, err);
}

nh_rc nh_cert_parse_pem_chain(nh_slice pem, struct nh_cert *out[NH_CERT_CHAIN_MAX], size_t *count, struct nh_err *err)
{
	*count = 0;
	nh_rc rc = NH_OK;
	while (rc == NH_OK) {
		struct nh_buf der = NH_BUF_INIT;
		nh_slice label;
		rc = nh_pem_find(pem, &label, &der, &pem);
		bool wanted = rc == NH_OK && nh_slice_eq_str(label, "CERTIFICATE");
		if (rc != NH_OK && rc != NH_ENOTFOUND)
			rc = pem_error(rc, err);
		else if (wanted && *count == NH_CERT_CHAIN_MAX)
			rc = NH_FAIL(err, NH_ETOOBIG, "more than %u certificates in one file", NH_CERT_CHAIN_MAX);
		else if (wanted)
			rc = nh_cert_parse_der(nh_buf_slice(&der), &out[*count], err);
		if (wanted && rc == NH_OK)
			++*count;
		nh_buf_wipe(&der);
	}
	if (rc == NH_ENOTFOUND && *count > 0)
		return NH_OK;
	if (rc == NH_ENOTFOUND)
		rc = NH_FAIL(err, NH_EFORMAT, "no certificate in the PEM text");
	for (; *count > 0; --*count)
		nh_cert_free(out[*count - 1]);
	return rc;
}

void nh_cert_put_pem(struct nh_buf *out, const struct nh_cert *c) { nh_pem_put(out, "CERTIFICATE", c->der); }

/* One signature of issuer's key over cert's TBS part. */
static nh_rc check_signature(gnutls_x509_crt_t crt, nh_slice der, gnutls_pubkey_t key, struct nh_err *err)
{
	struct nh_rd whole = nh_rd_of(der);
	struct nh_rd cert = nh_rd_of(nh_der_expect(&whole, NH_DER_SEQUENCE).content);
	gnutls_datum_t tbs = nh_datum(nh_der_expect(&cert, NH_DER_SEQUENCE).whole);
	(void)nh_der_expect(&cert, NH_DER_SEQUENCE);
	nh_slice bits = nh_der_expect(&cert, NH_DER_BIT_STRING).content;
	if (!nh_rd_ok(&cert) || bits.len < 2 || bits.ptr[0] != 0)
		return NH_FAIL(err, NH_EAUTH, "certificate has a broken signature");
	gnutls_datum_t signature = nh_datum(nh_slice_skip(bits, 1));
	int alg = gnutls_x509_crt_get_signature_algorithm(crt);
	if (alg <= 0 || !gnutls_sign_is_secure2((gnutls_sign_algorithm_t)alg, GNUTLS_SIGN_FLAG_SECURE_FOR_CERTS))
		return NH_FAIL(err, NH_EAUTH, "certificate is signed with an algorithm that is unknown or too weak");
	if (gnutls_pubkey_verify_data2(key, (gnutls_sign_algorithm_t)alg, 0, &tbs, &signature) < 0)
		return NH_FAIL(err, NH_EAUTH, "certificate was not signed by this CA's key");
	return NH_OK;
}

nh_rc nh_cert_signed_by(const struct nh_cert *cert, const struct nh_cert *issuer, struct nh_err *err)
{
	if (!nh_slice_eq(cert->issuer_der, issuer->subject_der))
		return NH_FAIL(err, NH_EAUTH, "certificate names another issuer");
	if (!issuer->is_ca || (issuer->has_key_usage && !(issuer->key_usage & NH_KU_KEY_CERT_SIGN)))
		return NH_FAIL(err, NH_EAUTH, "the signing certificate is not a CA");
	gnutls_x509_crt_t crt = NULL;
	gnutls_pubkey_t key = NULL;
	gnutls_datum_t der = nh_datum(cert->der), spki = nh_datum(issuer->spki_der);
	nh_rc rc = NH_OK;
	if (gnutls_x509_crt_init(&crt) != 0 || gnutls_pubkey_init(&key) != 0)
		rc = NH_FAIL(err, NH_ENOMEM, "out of memory");
	else if (gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER) != 0 || gnutls_pubkey_import(key, &spki, GNUTLS_X509_FMT_DER) != 0)
		rc = NH_FAIL(err, NH_EAUTH, "the CA's public key is of an unknown kind");
	else
		rc = check_signature(crt, cert->der, key, err);
	if (crt)
		gnutls_x509_crt_deinit(crt);
	if (key)
		gnutls_pubkey_deinit(key);
	return rc;
}
