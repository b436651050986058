/*
 * What the first start creates. Keys are written with mode 0600 before the certificates that go with them, so an interrupted start leaves at
 * worst a key without a certificate, and the next start completes it.
 */
#include "bootstrap.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/uuid.h"
#include "crypto/pki.h"

#define FILE_MAX_BYTES (1u << 20)
#define YEAR_US (INT64_C(365) * 86400 * NH_US_PER_S)
#define SECRET_BYTES 48

static const char *path_in(const struct settings *s, struct nh_arena *arena, const char *name)
{
	return nh_arena_printf(arena, "%s/%s", s->data_dir, name);
}

static nh_rc load_secret(const struct settings *s, struct nh_arena *arena, struct nh_buf *out, struct nh_err *err)
{
	if (*s->secret_key) {
		nh_buf_put_str(out, s->secret_key);
		return NH_OK;
	}
	const char *path = path_in(s, arena, "secret.key");
	if (access(path, F_OK) != 0) {
		uint8_t bytes[SECRET_BYTES];
		struct nh_buf text = NH_BUF_INIT;
		nh_rng_fill(&nh_rng_system, bytes, sizeof bytes);
		nh_hex_put(&text, nh_slice_of(bytes, sizeof bytes));
		nh_buf_put_u8(&text, '\n');
		nh_rc rc = nh_file_write_atomic(path, nh_buf_slice(&text), 0600, err);
		nh_buf_wipe(&text);
		explicit_bzero(bytes, sizeof bytes);
		NH_TRY(rc);
	}
	NH_TRY(nh_file_read(path, FILE_MAX_BYTES, out, err));
	nh_buf_truncate(out, nh_slice_trim(nh_buf_slice(out)).len);
	if (out->len < 32)
		return NH_FAIL(err, NH_EFORMAT, "%s holds %zu characters; expected at least 32 (delete it to have a new one made; issued URLs then end)", path, out->len);
	return NH_OK;
}

static nh_rc load_node(const struct settings *s, struct nh_arena *arena, struct nh_buf *out, struct nh_err *err)
{
	const char *path = path_in(s, arena, "node");
	if (access(path, F_OK) != 0) {
		struct nh_uuid id;
		char text[NH_UUID_TEXT_LEN + 2];
		nh_uuid_v7(&id, nh_now_us(), &nh_rng_system);
		nh_uuid_format(&id, text);
		text[NH_UUID_TEXT_LEN] = '\n';
		NH_TRY(nh_file_write_atomic(path, nh_slice_of(text, NH_UUID_TEXT_LEN + 1), 0644, err));
	}
	NH_TRY(nh_file_read(path, 256, out, err));
	nh_buf_truncate(out, nh_slice_trim(nh_buf_slice(out)).len);
	if (out->len == 0)
		return NH_FAIL(err, NH_EFORMAT, "%s is empty; delete it to have a new one made", path);
	return NH_OK;
}

/* A write that was cut off leaves NAME.XXXXXX beside NAME, maybe with half a secret in it. Only names of our own are touched. */
static void remove_leftovers(const char *folder)
{
	static const char *const names[] = {"secret.key.", "node.", "admin-password.", "ca.key.", "ca.crt.", "device.key.", "device.crt."};
	DIR *dir = opendir(folder);
	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		nh_slice name = nh_slice_str(entry->d_name);
		for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
			if (nh_slice_starts(name, nh_slice_str(names[i])) && name.len == strlen(names[i]) + 6)
				unlinkat(dirfd(dir), entry->d_name, 0);
		}
	}
	closedir(dir);
}

/* Reads the PEM key at path, making it first where there is none. */
static nh_rc key_at(const char *path, struct nh_key **out, struct nh_err *err)
{
	struct nh_buf pem = NH_BUF_INIT;
	nh_rc rc = NH_OK;
	if (access(path, F_OK) == 0) {
		rc = nh_file_read(path, FILE_MAX_BYTES, &pem, err);
		if (rc == NH_OK && (rc = nh_key_parse_pem(nh_buf_slice(&pem), out, err)) != NH_OK)
			rc = nh_err_prefix(err, rc, "%s", path);
	} else {
		rc = nh_key_generate_p256(out, err);
		if (rc == NH_OK)
			rc = nh_key_put_pem(&pem, *out, err);
		if (rc == NH_OK)
			rc = nh_file_write_atomic(path, nh_buf_slice(&pem), 0600, err);
	}
	nh_buf_wipe(&pem);
	return rc;
}

nh_rc certificate_at(const char *path, const struct nh_cert_profile *profile, const struct nh_key *key, const struct nh_cert *issuer, const struct nh_key *issuer_key,
		     struct nh_cert **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT, der = NH_BUF_INIT, spki = NH_BUF_INIT;
	if (access(path, F_OK) == 0) {
		NH_TRY(nh_file_read(path, FILE_MAX_BYTES, &pem, err));
		NH_TRY_CTX(nh_cert_parse_pem(nh_buf_slice(&pem), out, err), err, "%s", path);
		return NH_OK;
	}
	NH_TRY(nh_key_put_spki(&spki, key, err));
	NH_TRY(nh_cert_issue(&der, profile, nh_buf_slice(&spki), issuer, issuer_key, &nh_rng_system, err));
	NH_TRY(nh_cert_parse_der(nh_buf_slice(&der), out, err));
	nh_cert_put_pem(&pem, *out);
	return nh_file_write_atomic(path, nh_buf_slice(&pem), 0644, err);
}

/* The development certificate answers to the configured host, to localhost and to the loopback addresses. */
static size_t server_names(const struct settings *s, struct nh_san *sans, uint8_t address[16])
{
	static const uint8_t loopback4[] = {127, 0, 0, 1};
	size_t count = 0;
	sans[count++] = (struct nh_san){NH_SAN_DNS, NH_LIT("localhost")};
	sans[count++] = (struct nh_san){NH_SAN_IP, nh_slice_of(loopback4, sizeof loopback4)};
	if (inet_pton(AF_INET, s->device_host, address) == 1)
		sans[count++] = (struct nh_san){NH_SAN_IP, nh_slice_of(address, 4)};
	else if (inet_pton(AF_INET6, s->device_host, address) == 1)
		sans[count++] = (struct nh_san){NH_SAN_IP, nh_slice_of(address, 16)};
	else if (strcmp(s->device_host, "localhost") != 0)
		sans[count++] = (struct nh_san){NH_SAN_DNS, nh_slice_str(s->device_host)};
	return count;
}

static nh_rc development_certificate(const struct settings *s, struct nh_arena *arena, struct identity *out, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *ca_key = NULL, *key = NULL;
	NH_AUTO_CERT struct nh_cert *ca = NULL, *cert = NULL;
	int64_t now_us = nh_now_us();

	NH_TRY(nh_dir_make(path_in(s, arena, "pki"), 0700, err));
	NH_TRY(key_at(path_in(s, arena, "pki/ca.key"), &ca_key, err));
	struct nh_cert_profile ca_profile = nh_cert_profile_ca(now_us, 20 * YEAR_US);
	ca_profile.common_name = NH_LIT("NervesHub development CA");
	NH_TRY(certificate_at(path_in(s, arena, "pki/ca.crt"), &ca_profile, ca_key, NULL, ca_key, &ca, err));

	NH_TRY(key_at(path_in(s, arena, "pki/device.key"), &key, err));
	struct nh_san sans[3];
	uint8_t address[16];
	struct nh_cert_profile profile = nh_cert_profile_server(now_us, 10 * YEAR_US);
	profile.common_name = nh_slice_str(s->device_host);
	profile.sans = sans;
	profile.san_count = server_names(s, sans, address);
	NH_TRY(certificate_at(path_in(s, arena, "pki/device.crt"), &profile, key, ca, ca_key, &cert, err));
	if (!nh_key_fits_cert(key, cert))
		return NH_FAIL(err, NH_EFORMAT, "%s/pki/device.key does not belong to device.crt beside it; delete both to have new ones made", s->data_dir);

	nh_cert_put_pem(&out->device_cert, cert);
	nh_cert_put_pem(&out->device_cert, ca);
	out->development = true;
	return nh_key_put_pem(&out->device_key, key, err);
}

static nh_rc own_certificate(const struct settings *s, struct identity *out, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_TRY_CTX(nh_file_read(s->device_cert_file, FILE_MAX_BYTES, &out->device_cert, err), err, "DEVICE_SSL_CERTFILE");
	NH_TRY_CTX(nh_file_read(s->device_key_file, FILE_MAX_BYTES, &out->device_key, err), err, "DEVICE_SSL_KEYFILE");
	NH_TRY_CTX(nh_cert_parse_pem(nh_buf_slice(&out->device_cert), &cert, err), err, "%s", s->device_cert_file);
	NH_TRY_CTX(nh_key_parse_pem(nh_buf_slice(&out->device_key), &key, err), err, "%s", s->device_key_file);
	if (!nh_key_fits_cert(key, cert))
		return NH_FAIL(err, NH_EINVAL, "the key in %s does not belong to the certificate in %s", s->device_key_file, s->device_cert_file);
	return NH_OK;
}

nh_rc bootstrap(const struct settings *s, struct identity *out, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	*out = (struct identity){0};
	NH_TRY_CTX(nh_dir_make(s->data_dir, 0700, err), err, "data directory (choose another with --data-dir)");
	remove_leftovers(s->data_dir);
	remove_leftovers(path_in(s, &arena, "pki"));
	remove_leftovers(path_in(s, &arena, "authority"));
	NH_TRY(load_secret(s, &arena, &out->secret, err));
	NH_TRY(load_node(s, &arena, &out->node, err));
	return *s->device_cert_file ? own_certificate(s, out, err) : development_certificate(s, &arena, out, err);
}

void identity_fini(struct identity *id)
{
	nh_buf_wipe(&id->secret);
	nh_buf_fini(&id->node);
	nh_buf_fini(&id->device_cert);
	nh_buf_wipe(&id->device_key);
}
