/*
 * Keys and certificates of virtual devices: one P-256 key each, kept beside its disk, signed by the device CA that was given.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/pki.h"
#include "fleet_int.h"

#define VALID_US (INT64_C(10) * 365 * 86400 * NH_US_PER_S)
#define PEM_MAX ((size_t)65536)

static nh_rc make(struct nh_fleet *fleet, struct device *d, const char *key_path, const char *cert_path, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL, *ca_key = NULL;
	NH_AUTO_CERT struct nh_cert *ca = NULL, *cert = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	NH_TRY_CTX(nh_cert_parse_pem(fleet->config.device_ca_pem, &ca, err), err, "device CA");
	NH_TRY_CTX(nh_key_parse_pem(fleet->config.device_ca_key_pem, &ca_key, err), err, "device CA key");
	NH_TRY(nh_key_generate_p256(&key, err));
	NH_TRY(nh_key_put_spki(&spki, key, err));
	struct nh_cert_profile profile = nh_cert_profile_device(nh_now_us(), VALID_US);
	profile.organization = NH_LIT("virtual devices");
	profile.common_name = nh_slice_str(d->view.name);
	NH_TRY(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), ca, ca_key, &nh_rng_system, err));
	NH_TRY(nh_cert_parse_der(nh_buf_slice(&der), &cert, err));
	nh_cert_put_pem(&d->cert_pem, cert);
	nh_cert_put_pem(&d->cert_pem, ca);
	NH_TRY(nh_key_put_pem(&d->key_pem, key, err));
	NH_TRY(nh_file_write_atomic(key_path, nh_buf_slice(&d->key_pem), 0600, err));
	return nh_file_write_atomic(cert_path, nh_buf_slice(&d->cert_pem), 0644, err);
}

nh_rc identity_prepare(struct nh_fleet *fleet, struct device *d, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	const char *key_path = nh_arena_printf(&arena, "%s/%s.key", fleet->config.dir, d->view.name);
	const char *cert_path = nh_arena_printf(&arena, "%s/%s.crt", fleet->config.dir, d->view.name);
	if (access(key_path, R_OK) != 0 || access(cert_path, R_OK) != 0)
		return make(fleet, d, key_path, cert_path, err);
	NH_TRY(nh_file_read(key_path, PEM_MAX, &d->key_pem, err));
	return nh_file_read(cert_path, PEM_MAX, &d->cert_pem, err);
}
