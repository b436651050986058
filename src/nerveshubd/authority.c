/*
 * Where the certificate authority's key and certificate come from. A key of our own lies encrypted in the data directory: a copy of that directory without the signing secret
 * (which may come from the environment) certifies nobody. Made once, at the first start with --ca-key=auto; nothing existing is ever replaced.
 *
 * source: design/architecture "7. Endpoints"; reference/user-api-and-cli "17.6"
 */
#include <stdio.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/hmac.h"
#include "hubd.h"

#define FILE_MAX_BYTES (1u << 20)
#define ROOT_US (INT64_C(30) * 365 * 86400 * NH_US_PER_S)

/* The first line keeps this use of the secret apart from every other one. */
static void put_password(struct nh_buf *out, nh_slice secret)
{
	uint8_t mac[NH_SHA256_LEN];
	nh_hmac(NH_SHA256, secret, NH_LIT("nerveshub certificate authority key\n"), mac);
	nh_hex_put(out, nh_slice_of(mac, sizeof(mac)));
	explicit_bzero(mac, sizeof(mac));
}

static nh_rc own_key(const char *path, const char *password, struct nh_key **out, struct nh_err *err)
{
	struct nh_buf pem = NH_BUF_INIT;
	nh_rc rc;
	if (access(path, F_OK) == 0) {
		rc = nh_file_read(path, FILE_MAX_BYTES, &pem, err);
		if (rc == NH_OK && (rc = nh_key_parse_pem_sealed(nh_buf_slice(&pem), password, out, err)) != NH_OK)
			rc = nh_err_prefix(err, rc, "%s (encrypted with the signing secret: secret.key beside it, or SECRET_KEY_BASE, must be what they were)", path);
	} else {
		rc = nh_key_generate_p256(out, err);
		if (rc == NH_OK)
			rc = nh_key_put_pem_sealed(&pem, *out, password, err);
		if (rc == NH_OK)
			rc = nh_file_write_atomic(path, nh_buf_slice(&pem), 0600, err);
	}
	nh_buf_wipe(&pem);
	return rc;
}

static nh_rc key_in_file(const char *path, struct nh_key **out, struct nh_err *err)
{
	struct nh_buf pem = NH_BUF_INIT;
	nh_rc rc = nh_file_read(path, FILE_MAX_BYTES, &pem, err);
	if (rc == NH_OK && (rc = nh_key_parse_pem(nh_buf_slice(&pem), out, err)) != NH_OK)
		rc = nh_err_prefix(err, rc, "%s", path);
	nh_buf_wipe(&pem);
	return rc;
}

static nh_rc open_key(struct hubd *h, const char *folder, struct nh_arena *arena, struct nh_key **out, struct nh_err *err)
{
	const char *which = h->settings->ca_key;
	if (nh_slice_starts(nh_slice_str(which), NH_LIT("pkcs11:")))
		return nh_key_open_url(which, out, err); /* a PIN may be in the URI: it is in no message */
	if (strcmp(which, "auto") != 0)
		return key_in_file(which, out, err);
	struct nh_buf password = NH_BUF_INIT;
	put_password(&password, nh_buf_slice(&h->identity.secret));
	nh_rc rc = own_key(nh_arena_printf(arena, "%s/ca.key", folder), nh_buf_cstr(&password), out, err);
	nh_buf_wipe(&password);
	return rc;
}

static nh_rc open_certificate(struct hubd *h, const char *folder, struct nh_arena *arena, const struct nh_key *key, struct nh_cert **out, struct nh_err *err)
{
	const struct settings *s = h->settings;
	if (!*s->ca_cert_file) {
		struct nh_cert_profile root = nh_cert_profile_root(nh_now_us(), ROOT_US);
		root.organization = NH_LIT("NervesHub");
		root.common_name = nh_slice_str(nh_arena_printf(arena, "NervesHub Root CA (%.40s)", s->web_host));
		return certificate_at(nh_arena_printf(arena, "%s/ca.crt", folder), &root, key, NULL, key, out, err);
	}
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_TRY_CTX(nh_file_read(s->ca_cert_file, FILE_MAX_BYTES, &pem, err), err, "CA_CERTFILE");
	NH_TRY_CTX(nh_cert_parse_pem(nh_buf_slice(&pem), out, err), err, "%s", s->ca_cert_file);
	return NH_OK;
}

static nh_rc enter_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct hubd *h = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = {.tx = tx, .arena = &arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &h->hub};
	return nh_authority_enter(&ctx, h->authority, err);
}

nh_rc authority_open(struct hubd *h, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_key *key = NULL;
	struct nh_cert *cert = NULL;
	if (strcmp(h->settings->ca_key, "none") == 0)
		return NH_OK;
	const char *folder = nh_arena_printf(&arena, "%s/authority", h->settings->data_dir);
	NH_TRY(nh_dir_make(folder, 0700, err));
	nh_rc rc = open_key(h, folder, &arena, &key, err);
	if (rc == NH_OK)
		rc = open_certificate(h, folder, &arena, key, &cert, err);
	if (rc != NH_OK) {
		nh_key_free(key);
		nh_cert_free(cert);
		return nh_err_prefix(err, rc, "CA_KEY");
	}
	rc = nh_authority_new(key, cert, nh_now_us(), &h->authority, err);
	if (rc != NH_OK)
		return nh_err_prefix(err, rc, "certificate authority (CA_KEY, %s)", *h->settings->ca_cert_file ? "CA_CERTFILE" : "authority/ca.crt in the data directory");
	h->hub.authority = h->authority;
	return nh_db_write(h->db, enter_tx, h, err);
}
