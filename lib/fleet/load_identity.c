/*
 * Identities for load: thousands of P-256 keys and certificates in one file, made once. The file begins with the CA's certificate, then key and certificate
 * of each device in turn; a longer run appends to what is there.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/pem.h"
#include "crypto/pki.h"
#include "fleet/load.h"

#define FILE_MAX ((size_t)1 << 30)
#define PAIR_MAX ((size_t)8192)
#define VALID_US (INT64_C(10) * 365 * 86400 * NH_US_PER_S)

struct issuer {
	struct nh_cert *ca;
	struct nh_key *key;
	struct nh_buf pem; /* the CA as it stands in the file */
};

static void issuer_fini(struct issuer *i)
{
	nh_cert_free(i->ca);
	nh_key_free(i->key);
	nh_buf_fini(&i->pem);
}

static nh_rc issuer_open(struct issuer *i, nh_slice ca_pem, nh_slice ca_key_pem, struct nh_err *err)
{
	NH_TRY_CTX(nh_cert_parse_pem(ca_pem, &i->ca, err), err, "device CA");
	NH_TRY_CTX(nh_key_parse_pem(ca_key_pem, &i->key, err), err, "device CA key");
	if (!nh_key_fits_cert(i->key, i->ca))
		return NH_FAIL(err, NH_EFORMAT, "the device CA's key does not belong to its certificate");
	nh_cert_put_pem(&i->pem, i->ca);
	return NH_OK;
}

static nh_rc make(const struct issuer *issuer, const char *name, struct nh_buf *key_pem, struct nh_buf *cert_pem, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_cert_profile profile = nh_cert_profile_device(nh_now_us(), VALID_US);
	profile.organization = NH_LIT("virtual devices");
	profile.common_name = nh_slice_str(name);
	NH_TRY(nh_key_generate_p256(&key, err));
	NH_TRY(nh_key_put_spki(&spki, key, err));
	NH_TRY(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), issuer->ca, issuer->key, &nh_rng_system, err));
	NH_TRY(nh_key_put_pem(key_pem, key, err));
	nh_pem_put(cert_pem, "CERTIFICATE", nh_buf_slice(&der));
	return NH_OK;
}

/* The text of the next PEM block, checked only for its label: the server judges the rest. */
static bool take_block(nh_slice *text, const char *label, struct nh_buf *out)
{
	char end[64];
	snprintf(end, sizeof end, "-----END %s-----\n", label);
	ptrdiff_t at = nh_slice_find(nh_slice_sub(*text, 0, PAIR_MAX), nh_slice_str(end));
	if (at < 0 || !nh_slice_starts(*text, NH_LIT("-----BEGIN ")))
		return false;
	size_t len = (size_t)at + strlen(end);
	nh_buf_put_slice(out, nh_slice_sub(*text, 0, len));
	*text = nh_slice_skip(*text, len);
	return true;
}

/* How many of the wanted identities the file holds. */
static nh_rc read_file(const char *path, const struct issuer *issuer, struct nh_load_identities *out, size_t *have, struct nh_err *err)
{
	struct nh_buf bytes = NH_BUF_INIT;
	nh_rc rc = nh_file_read(path, FILE_MAX, &bytes, err);
	nh_slice text = nh_buf_slice(&bytes);
	*have = 0;
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	if (rc == NH_OK && !nh_slice_starts(text, nh_buf_slice(&issuer->pem)))
		rc = NH_FAIL(err, NH_EFORMAT, "%s does not begin with this device CA; delete it to have new identities made", path);
	if (rc == NH_OK)
		text = nh_slice_skip(text, issuer->pem.len);
	while (rc == NH_OK && text.len && *have < out->count) {
		if (!take_block(&text, "EC PRIVATE KEY", &out->keys[*have]) || !take_block(&text, "CERTIFICATE", &out->certs[*have]))
			rc = NH_FAIL(err, NH_EFORMAT, "%s: identity %zu is damaged; delete the file to have new ones made", path, *have + 1);
		else
			++*have;
	}
	nh_buf_wipe(&bytes);
	return rc;
}

static nh_rc write_file(const char *path, const struct issuer *issuer, const struct nh_load_identities *ids, struct nh_err *err)
{
	struct nh_buf all = NH_BUF_MAX(FILE_MAX);
	nh_buf_put_slice(&all, nh_buf_slice(&issuer->pem));
	for (size_t i = 0; i < ids->count; i++) {
		nh_buf_put_slice(&all, nh_buf_slice(&ids->keys[i]));
		nh_buf_put_slice(&all, nh_buf_slice(&ids->certs[i]));
	}
	nh_rc rc = nh_buf_check(&all, "identities", err);
	if (rc == NH_OK)
		rc = nh_file_write_atomic(path, nh_buf_slice(&all), 0600, err);
	nh_buf_wipe(&all);
	return rc;
}

static nh_rc fill(const char *dir, const char *prefix, size_t first, const struct issuer *issuer, struct nh_load_identities *out, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	size_t have = 0;
	nh_hex_put(&hex, nh_slice_of(issuer->ca->sha256, 8));
	const char *path = nh_arena_printf(&arena, "%s/%s-%zu-%s.pem", dir, prefix, first, nh_buf_cstr(&hex));
	NH_TRY(nh_dir_make(dir, 0700, err));
	NH_TRY(read_file(path, issuer, out, &have, err));
	if (have == out->count)
		return NH_OK;
	for (size_t i = have; i < out->count; i++) {
		char name[128];
		snprintf(name, sizeof name, "%s-%zu", prefix, first + i);
		NH_TRY(make(issuer, name, &out->keys[i], &out->certs[i], err));
	}
	return write_file(path, issuer, out, err);
}

nh_rc nh_load_identities_open(const char *dir, const char *prefix, size_t first, size_t count, nh_slice ca_pem, nh_slice ca_key_pem,
			      struct nh_load_identities *out, struct nh_err *err)
{
	struct issuer issuer = {0};
	*out = (struct nh_load_identities){0};
	if (count == 0)
		return NH_FAIL(err, NH_EINVAL, "no devices: a load has at least one");
	*out = (struct nh_load_identities){.keys = nh_xcalloc(count, sizeof *out->keys), .certs = nh_xcalloc(count, sizeof *out->certs), .count = count};
	nh_rc rc = issuer_open(&issuer, ca_pem, ca_key_pem, err);
	if (rc == NH_OK)
		rc = fill(dir, prefix, first, &issuer, out, err);
	issuer_fini(&issuer);
	return rc;
}

void nh_load_identities_fini(struct nh_load_identities *ids)
{
	for (size_t i = 0; i < ids->count; i++) {
		nh_buf_wipe(&ids->keys[i]);
		nh_buf_fini(&ids->certs[i]);
	}
	free(ids->keys);
	free(ids->certs);
	*ids = (struct nh_load_identities){0};
}
