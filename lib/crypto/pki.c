/*
 * Private keys, requests and issuing. Every certificate is built from a profile of plain values, so the profiles of the reference stand in one
 * place as data.
 *
 * source: reference/user-api-and-cli "17"
 */
#include "crypto/pki.h"

#include <stdlib.h>

#include "base/pem.h"
#include "crypto/digest.h"
#include "crypto/secret.h"
#include "x509_int.h"

struct nh_key {
	gnutls_x509_privkey_t x509; /* NULL: the key stays where it is, in a token */
	gnutls_privkey_t handle;    /* what signs */
	struct nh_buf spki;         /* of the public half */
};

#define HOUR_US (INT64_C(3600) * NH_US_PER_S)
#define SERIAL_LEN 16

static nh_rc library(struct nh_err *err, const char *what, int rc)
{
	return NH_FAIL(err, rc == GNUTLS_E_MEMORY_ERROR ? NH_ENOMEM : NH_EINTERNAL, "cannot %s: %s", what, gnutls_strerror(rc));
}

/* Takes the library's allocation into out and wipes it. */
static void take_datum(struct nh_buf *out, gnutls_datum_t *d)
{
	nh_buf_put(out, d->data, d->size);
	gnutls_memset(d->data, 0, d->size);
	gnutls_free(d->data);
}

static nh_rc fill_spki(struct nh_key *k, struct nh_err *err)
{
	gnutls_pubkey_t pub = NULL;
	gnutls_datum_t der = {0};
	int rc = 0;
	if (!k->handle) {
		rc = gnutls_privkey_init(&k->handle);
		rc = rc ? rc : gnutls_privkey_import_x509(k->handle, k->x509, 0);
	}
	rc = rc ? rc : gnutls_pubkey_init(&pub);
	rc = rc ? rc : gnutls_pubkey_import_privkey(pub, k->handle, 0, 0);
	rc = rc ? rc : gnutls_pubkey_export2(pub, GNUTLS_X509_FMT_DER, &der);
	if (rc == 0)
		take_datum(&k->spki, &der);
	if (pub)
		gnutls_pubkey_deinit(pub);
	return rc ? library(err, "read the public half of a key", rc) : NH_OK;
}

static nh_rc key_new(struct nh_key **out, struct nh_err *err)
{
	*out = nh_xcalloc(1, sizeof **out);
	int rc = gnutls_x509_privkey_init(&(*out)->x509);
	return rc ? library(err, "make a key", rc) : NH_OK;
}

static nh_rc key_finish(nh_rc rc, struct nh_key **key, struct nh_err *err)
{
	if (rc == NH_OK)
		rc = fill_spki(*key, err);
	if (rc != NH_OK) {
		nh_key_free(*key);
		*key = NULL;
	}
	return rc;
}

nh_rc nh_key_generate_p256(struct nh_key **out, struct nh_err *err)
{
	nh_rc rc = key_new(out, err);
	if (rc == NH_OK) {
		int n = gnutls_x509_privkey_generate((*out)->x509, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
		rc = n ? library(err, "generate a key", n) : NH_OK;
	}
	return key_finish(rc, out, err);
}

nh_rc nh_key_parse_der(nh_slice der, struct nh_key **out, struct nh_err *err)
{
	*out = NULL;
	if (der.len > NH_CERT_DER_MAX || der.len == 0)
		return NH_FAIL(err, NH_EFORMAT, "not a private key (%zu bytes)", der.len);
	nh_rc rc = key_new(out, err);
	gnutls_datum_t d = nh_datum(der);
	/* import2 without a password tries every plain format. */
	if (rc == NH_OK && gnutls_x509_privkey_import2((*out)->x509, &d, GNUTLS_X509_FMT_DER, NULL, GNUTLS_PKCS_PLAIN) != 0)
		rc = NH_FAIL(err, NH_EFORMAT, "not a private key of a known kind (EC, RSA or Ed25519, not encrypted)");
	return key_finish(rc, out, err);
}

nh_rc nh_key_open_url(const char *url, struct nh_key **out, struct nh_err *err)
{
	*out = nh_xcalloc(1, sizeof **out);
	int rc = gnutls_privkey_init(&(*out)->handle);
	rc = rc ? rc : gnutls_privkey_import_url((*out)->handle, url, 0);
	nh_rc code = rc ? NH_FAIL(err, rc == GNUTLS_E_MEMORY_ERROR ? NH_ENOMEM : NH_ENOTFOUND, "no private key there: %s", gnutls_strerror(rc)) : NH_OK;
	return key_finish(code, out, err);
}

nh_rc nh_key_parse_pem_sealed(nh_slice pem, const char *password, struct nh_key **out, struct nh_err *err)
{
	*out = NULL;
	if (pem.len > NH_CERT_DER_MAX)
		return NH_FAIL(err, NH_EFORMAT, "not a private key (%zu bytes)", pem.len);
	nh_rc rc = key_new(out, err);
	gnutls_datum_t d = nh_datum(pem);
	int n = rc == NH_OK ? gnutls_x509_privkey_import_pkcs8((*out)->x509, &d, GNUTLS_X509_FMT_PEM, password, 0) : 0;
	if (n == GNUTLS_E_DECRYPTION_FAILED)
		rc = NH_FAIL(err, NH_EAUTH, "the key does not open with this password");
	else if (n != 0)
		rc = NH_FAIL(err, NH_EFORMAT, "not an encrypted private key: %s", gnutls_strerror(n));
	return key_finish(rc, out, err);
}

nh_rc nh_key_parse_pem(nh_slice pem, struct nh_key **out, struct nh_err *err)
{
	struct nh_buf der = NH_BUF_INIT;
	nh_slice label, rest;
	*out = NULL;
	/* openssl writes a parameters block in front of EC keys. */
	nh_rc rc = nh_pem_find(pem, &label, &der, &rest);
	if (rc == NH_OK && nh_slice_eq_str(label, "EC PARAMETERS")) {
		nh_buf_clear(&der);
		rc = nh_pem_find(rest, &label, &der, &rest);
	}
	if (rc == NH_ENOTFOUND)
		rc = NH_FAIL(err, NH_EFORMAT, "no PEM data found");
	else if (rc != NH_OK)
		rc = NH_FAIL(err, NH_EFORMAT, "broken or encrypted PEM block where a private key is expected");
	else if (!nh_slice_eq_str(label, "EC PRIVATE KEY") && !nh_slice_eq_str(label, "RSA PRIVATE KEY") && !nh_slice_eq_str(label, "PRIVATE KEY"))
		rc = NH_FAIL(err, NH_EFORMAT, "expected a private key PEM block, found \"%.*s\"", NH_ARG(label));
	else
		rc = nh_key_parse_der(nh_buf_slice(&der), out, err);
	nh_buf_wipe(&der);
	return rc;
}

void nh_key_free(struct nh_key *k)
{
	if (!k)
		return;
	if (k->handle)
		gnutls_privkey_deinit(k->handle);
	if (k->x509)
		gnutls_x509_privkey_deinit(k->x509);
	nh_buf_fini(&k->spki);
	free(k);
}

gnutls_privkey_t nh_key_handle(const struct nh_key *k) { return k->handle; }

gnutls_digest_algorithm_t nh_key_digest(const struct nh_key *k)
{
	/* Ed25519 has its digest built in; SHA-512 is its name for it. */
	return gnutls_privkey_get_pk_algorithm(k->handle, NULL) == GNUTLS_PK_EDDSA_ED25519 ? GNUTLS_DIG_SHA512 : GNUTLS_DIG_SHA256;
}

/* The traditional form exists for EC and RSA; Ed25519 has only PKCS#8. */
static bool traditional(const struct nh_key *k)
{
	int pk = gnutls_x509_privkey_get_pk_algorithm(k->x509);
	return pk == GNUTLS_PK_ECDSA || pk == GNUTLS_PK_RSA;
}

static nh_rc export(struct nh_buf *out, const struct nh_key *k, bool pkcs8, gnutls_x509_crt_fmt_t format, struct nh_err *err)
{
	gnutls_datum_t d = {0};
	if (!k->x509)
		return NH_FAIL(err, NH_EUNSUPPORTED, "the key does not leave its token");
	int rc = pkcs8 ? gnutls_x509_privkey_export2_pkcs8(k->x509, format, NULL, GNUTLS_PKCS_PLAIN, &d)
		       : gnutls_x509_privkey_export2(k->x509, format, &d);
	if (rc)
		return library(err, "write a key", rc);
	take_datum(out, &d);
	return nh_buf_check(out, "private key", err);
}

nh_rc nh_key_put_pem(struct nh_buf *out, const struct nh_key *k, struct nh_err *err)
{
	return export(out, k, k->x509 && !traditional(k), GNUTLS_X509_FMT_PEM, err);
}

nh_rc nh_key_put_pem_pkcs8(struct nh_buf *out, const struct nh_key *k, struct nh_err *err)
{
	return export(out, k, true, GNUTLS_X509_FMT_PEM, err);
}

nh_rc nh_key_put_der(struct nh_buf *out, const struct nh_key *k, struct nh_err *err)
{
	return export(out, k, k->x509 && !traditional(k), GNUTLS_X509_FMT_DER, err);
}

nh_rc nh_key_put_pem_sealed(struct nh_buf *out, const struct nh_key *k, const char *password, struct nh_err *err)
{
	gnutls_datum_t d = {0};
	if (!k->x509)
		return NH_FAIL(err, NH_EUNSUPPORTED, "the key does not leave its token");
	int rc = gnutls_x509_privkey_export2_pkcs8(k->x509, GNUTLS_X509_FMT_PEM, password, GNUTLS_PKCS_PBES2_AES_256, &d);
	if (rc)
		return library(err, "write a key", rc);
	take_datum(out, &d);
	return nh_buf_check(out, "private key", err);
}

nh_rc nh_key_put_spki(struct nh_buf *out, const struct nh_key *k, struct nh_err *err)
{
	nh_buf_put_slice(out, nh_buf_slice(&k->spki));
	return nh_buf_check(out, "public key", err);
}

bool nh_key_fits_cert(const struct nh_key *k, const struct nh_cert *c)
{
	/* Compared by key identifier, not by SPKI bytes: encoders differ in the algorithm's parameters. */
	uint8_t a[20], b[20];
	return nh_spki_key_id(nh_buf_slice(&k->spki), a) && nh_spki_key_id(c->spki_der, b) && nh_slice_eq(nh_slice_of(a, 20), nh_slice_of(b, 20));
}

static struct nh_cert_profile dated(int64_t now_us, int64_t valid_us)
{
	return (struct nh_cert_profile){.not_before_us = now_us - HOUR_US, .not_after_us = now_us + valid_us, .path_len = -1, .aki = true};
}

struct nh_cert_profile nh_cert_profile_ca(int64_t now_us, int64_t valid_us)
{
	struct nh_cert_profile p = dated(now_us, valid_us);
	p.basic_constraints = p.is_ca = p.ski = true;
	p.path_len = 1;
	p.key_usage = NH_KU_DIGITAL_SIGNATURE | NH_KU_KEY_CERT_SIGN | NH_KU_CRL_SIGN;
	return p;
}

struct nh_cert_profile nh_cert_profile_root(int64_t now_us, int64_t valid_us)
{
	struct nh_cert_profile p = nh_cert_profile_ca(now_us, valid_us);
	p.path_len = -1;
	p.aki = false;
	p.key_usage = NH_KU_KEY_CERT_SIGN | NH_KU_CRL_SIGN;
	return p;
}

struct nh_cert_profile nh_cert_profile_device_ca(int64_t now_us, int64_t valid_us)
{
	struct nh_cert_profile p = nh_cert_profile_ca(now_us, valid_us);
	p.path_len = 0;
	p.ext_key_usage = NH_EKU_CLIENT_AUTH;
	p.no_servers = true;
	return p;
}

struct nh_cert_profile nh_cert_profile_device(int64_t now_us, int64_t valid_us)
{
	struct nh_cert_profile p = dated(now_us, valid_us);
	p.basic_constraints = true;
	p.key_usage = NH_KU_DIGITAL_SIGNATURE;
	p.ext_key_usage = NH_EKU_CLIENT_AUTH;
	return p;
}

struct nh_cert_profile nh_cert_profile_server(int64_t now_us, int64_t valid_us)
{
	struct nh_cert_profile p = dated(now_us, valid_us);
	p.basic_constraints = p.ski = true;
	p.key_usage = NH_KU_DIGITAL_SIGNATURE | NH_KU_KEY_ENCIPHERMENT;
	p.ext_key_usage = NH_EKU_SERVER_AUTH | NH_EKU_CLIENT_AUTH;
	return p;
}

struct nh_cert_profile nh_cert_profile_user(int64_t now_us, int64_t valid_us)
{
	struct nh_cert_profile p = nh_cert_profile_server(now_us, valid_us);
	p.ext_key_usage = NH_EKU_CLIENT_AUTH;
	return p;
}

struct nh_cert_profile nh_cert_profile_verification(int64_t now_us)
{
	struct nh_cert_profile p = dated(now_us, HOUR_US);
	p.common_name = NH_LIT("certificate-verification");
	return p;
}

struct build {
	const struct nh_cert_profile *profile;
	nh_slice spki;
	const struct nh_cert *issuer; /* NULL: self-signed */
	const struct nh_key *key;
	gnutls_x509_crt_t crt, issuer_crt;
	gnutls_pubkey_t pub;
};

static int set_subject_part(gnutls_x509_crt_t crt, const char *oid, nh_slice value)
{
	return value.len ? gnutls_x509_crt_set_dn_by_oid(crt, oid, 0, value.ptr, (unsigned)value.len) : 0;
}

static int set_serial(struct build *b, const struct nh_rng *rng)
{
	/* INTEGER content: a leading zero keeps it positive, and no superfluous ones. */
	uint8_t serial[1 + 32] = {0};
	nh_slice given = b->profile->serial;
	size_t len = given.len ? given.len : SERIAL_LEN;
	NH_ASSERT(len < sizeof serial);
	if (given.len) {
		for (size_t i = 0; i < len; i++)
			serial[1 + i] = given.ptr[i];
	} else {
		nh_rng_fill(rng, serial + 1, len);
	}
	uint8_t *at = serial, *end = serial + 1 + len;
	while (end - at > 1 && at[0] == 0 && !(at[1] & 0x80))
		at++;
	return gnutls_x509_crt_set_serial(b->crt, at, (size_t)(end - at));
}

/*
 * A CA of a customer's devices: nothing below it is a server to anybody. An excluded name of no labels is every name (RFC 5280 4.2.1.10), an address with an empty mask
 * every address.
 */
static int exclude_servers(gnutls_x509_crt_t crt)
{
	static unsigned char every[32];
	const struct {
		gnutls_x509_subject_alt_name_t kind;
		gnutls_datum_t name;
	} excluded[] = {{GNUTLS_SAN_DNSNAME, {every, 0}}, {GNUTLS_SAN_IPADDRESS, {every, 8}}, {GNUTLS_SAN_IPADDRESS, {every, 32}}};
	gnutls_x509_name_constraints_t constraints = NULL;
	int rc = gnutls_x509_name_constraints_init(&constraints);
	for (size_t i = 0; !rc && i < NH_ARRAY_LEN(excluded); i++)
		rc = gnutls_x509_name_constraints_add_excluded(constraints, excluded[i].kind, &excluded[i].name);
	rc = rc ? rc : gnutls_x509_crt_set_name_constraints(crt, constraints, 1);
	if (constraints)
		gnutls_x509_name_constraints_deinit(constraints);
	return rc;
}

static int set_extensions(struct build *b)
{
	const struct nh_cert_profile *p = b->profile;
	static const struct {
		unsigned bit, gnutls;
	} usages[] = {
		{NH_KU_DIGITAL_SIGNATURE, GNUTLS_KEY_DIGITAL_SIGNATURE}, {NH_KU_NON_REPUDIATION, GNUTLS_KEY_NON_REPUDIATION},
		{NH_KU_KEY_ENCIPHERMENT, GNUTLS_KEY_KEY_ENCIPHERMENT},	 {NH_KU_DATA_ENCIPHERMENT, GNUTLS_KEY_DATA_ENCIPHERMENT},
		{NH_KU_KEY_AGREEMENT, GNUTLS_KEY_KEY_AGREEMENT},	 {NH_KU_KEY_CERT_SIGN, GNUTLS_KEY_KEY_CERT_SIGN},
		{NH_KU_CRL_SIGN, GNUTLS_KEY_CRL_SIGN},
	};
	unsigned usage = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(usages); i++)
		usage |= p->key_usage & usages[i].bit ? usages[i].gnutls : 0;
	int rc = 0;
	if (p->basic_constraints)
		rc = gnutls_x509_crt_set_basic_constraints(b->crt, p->is_ca, p->is_ca ? p->path_len : -1);
	if (!rc && usage)
		rc = gnutls_x509_crt_set_key_usage(b->crt, usage);
	if (!rc && p->ext_key_usage & NH_EKU_SERVER_AUTH)
		rc = gnutls_x509_crt_set_key_purpose_oid(b->crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (!rc && p->ext_key_usage & NH_EKU_CLIENT_AUTH)
		rc = gnutls_x509_crt_set_key_purpose_oid(b->crt, GNUTLS_KP_TLS_WWW_CLIENT, 0);
	if (!rc && p->no_servers)
		rc = exclude_servers(b->crt);
	for (size_t i = 0; !rc && i < p->san_count; i++) {
		gnutls_x509_subject_alt_name_t kind = p->sans[i].kind == NH_SAN_DNS ? GNUTLS_SAN_DNSNAME
						      : p->sans[i].kind == NH_SAN_IP ? GNUTLS_SAN_IPADDRESS
										     : GNUTLS_SAN_URI;
		rc = gnutls_x509_crt_set_subject_alt_name(b->crt, kind, p->sans[i].value.ptr, (unsigned)p->sans[i].value.len, GNUTLS_FSAN_APPEND);
	}
	return rc;
}

static int set_key_ids(struct build *b)
{
	uint8_t own[20];
	int rc = 0;
	if (!nh_spki_key_id(b->spki, own))
		return GNUTLS_E_ASN1_DER_ERROR;
	if (b->profile->ski)
		rc = gnutls_x509_crt_set_subject_key_id(b->crt, own, sizeof own);
	nh_slice authority = b->issuer ? b->issuer->ski : nh_slice_of(own, sizeof own);
	if (!rc && b->profile->aki && authority.len)
		rc = gnutls_x509_crt_set_authority_key_id(b->crt, authority.ptr, authority.len);
	return rc;
}

/* Fills and signs; a library code. */
static int build_certificate(struct build *b, const struct nh_rng *rng)
{
	const struct nh_cert_profile *p = b->profile;
	gnutls_datum_t issuer_der = b->issuer ? nh_datum(b->issuer->der) : (gnutls_datum_t){0};
	int rc = gnutls_x509_crt_init(&b->crt);
	rc = rc ? rc : gnutls_x509_crt_set_version(b->crt, 3);
	rc = rc ? rc : set_serial(b, rng);
	rc = rc ? rc : set_subject_part(b->crt, GNUTLS_OID_X520_ORGANIZATION_NAME, p->organization);
	rc = rc ? rc : set_subject_part(b->crt, GNUTLS_OID_X520_COMMON_NAME, p->common_name);
	rc = rc ? rc : gnutls_x509_crt_set_activation_time(b->crt, p->not_before_us / NH_US_PER_S);
	rc = rc ? rc : gnutls_x509_crt_set_expiration_time(b->crt, p->not_after_us / NH_US_PER_S);
	rc = rc ? rc : gnutls_x509_crt_set_pubkey(b->crt, b->pub);
	rc = rc ? rc : set_extensions(b);
	rc = rc ? rc : set_key_ids(b);
	rc = rc ? rc : gnutls_x509_crt_init(&b->issuer_crt);
	if (!rc && b->issuer)
		rc = gnutls_x509_crt_import(b->issuer_crt, &issuer_der, GNUTLS_X509_FMT_DER);
	return rc ? rc : gnutls_x509_crt_privkey_sign(b->crt, b->issuer ? b->issuer_crt : b->crt, b->key->handle, nh_key_digest(b->key), 0);
}

static nh_rc check_profile(const struct build *b, struct nh_err *err)
{
	const struct nh_cert_profile *p = b->profile;
	if (p->common_name.len == 0 && p->organization.len == 0)
		return NH_FAIL(err, NH_EINVAL, "a certificate needs a common name or an organization");
	if (p->not_after_us <= p->not_before_us)
		return NH_FAIL(err, NH_EINVAL, "a certificate must end after it begins");
	if (p->serial.len > 32)
		return NH_FAIL(err, NH_EINVAL, "a serial number has at most 32 bytes");
	if (b->issuer && !b->issuer->is_ca)
		return NH_FAIL(err, NH_EINVAL, "the signing certificate is not a CA");
	if (b->issuer && !nh_key_fits_cert(b->key, b->issuer))
		return NH_FAIL(err, NH_EINVAL, "the CA private key does not match the CA certificate");
	if (!b->issuer && !nh_slice_eq(b->spki, nh_buf_slice(&b->key->spki)))
		return NH_FAIL(err, NH_EINVAL, "a self-signed certificate must be signed by its own key");
	return NH_OK;
}

nh_rc nh_cert_issue(struct nh_buf *out, const struct nh_cert_profile *profile, nh_slice spki_der, const struct nh_cert *issuer,
		    const struct nh_key *issuer_key, const struct nh_rng *rng, struct nh_err *err)
{
	struct build b = {.profile = profile, .spki = spki_der, .issuer = issuer, .key = issuer_key};
	NH_TRY(check_profile(&b, err));
	gnutls_datum_t spki = nh_datum(spki_der), der = {0};
	nh_rc rc = NH_OK;
	if (gnutls_pubkey_init(&b.pub) != 0)
		return NH_FAIL(err, NH_ENOMEM, "out of memory");
	if (gnutls_pubkey_import(b.pub, &spki, GNUTLS_X509_FMT_DER) != 0) {
		rc = NH_FAIL(err, NH_EFORMAT, "not a public key of a known kind");
	} else {
		int n = build_certificate(&b, rng);
		n = n ? n : gnutls_x509_crt_export2(b.crt, GNUTLS_X509_FMT_DER, &der);
		if (n)
			rc = library(err, "issue a certificate", n);
	}
	if (rc == NH_OK)
		take_datum(out, &der);
	gnutls_pubkey_deinit(b.pub);
	if (b.issuer_crt)
		gnutls_x509_crt_deinit(b.issuer_crt);
	if (b.crt)
		gnutls_x509_crt_deinit(b.crt);
	return rc == NH_OK ? nh_buf_check(out, "certificate", err) : rc;
}
