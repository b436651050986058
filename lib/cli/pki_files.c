/*
 * Keys and certificates on disk: loading with checks, saving without ever overwriting.
 *
 * source: reference/user-api-and-cli "17" "18.3"
 */
#include "pki_files.h"

#include <time.h>
#include <unistd.h>

#include "base/encode.h"

void cli_authority_fini(struct cli_authority *a)
{
	nh_cert_free(a->cert);
	nh_key_free(a->key);
	*a = (struct cli_authority){0};
}

nh_rc cli_cert_load(const char *path, struct nh_cert **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_TRY(cli_file_load(path, &pem, err));
	NH_TRY_CTX(nh_cert_parse_pem(nh_buf_slice(&pem), out, err), err, "%s: pki", path);
	return NH_OK;
}

/* ---- private keys ---------------------------------------------------------------------------------------------------------- */

static bool in_token(const char *where) { return nh_slice_starts(nh_slice_str(where), NH_LIT("pkcs11:")); }

/* The URI's own PIN, that of the environment, or one that is asked for. */
static nh_rc open_token(struct nh_cli *c, const char *url, struct nh_key **out, struct nh_err *err)
{
	nh_slice s = nh_slice_str(url);
	const char *from_env = cli_env(c, "PIN");
	bool has_pin = nh_slice_find(s, NH_LIT("pin-value=")) >= 0 || nh_slice_find(s, NH_LIT("pin-source=")) >= 0;
	struct nh_buf pin = NH_BUF_INIT, full = NH_BUF_INIT;
	nh_rc rc = NH_OK;
	if (!has_pin && from_env)
		nh_buf_put_str(&pin, from_env);
	else if (!has_pin && !c->non_interactive)
		rc = cli_password(c, "PIN of the token: ", &pin, err);
	nh_buf_put_slice(&full, s);
	if (pin.len) {
		nh_buf_printf(&full, "%cpin-value=", nh_slice_chr(s, '?') >= 0 ? '&' : '?');
		nh_uri_put(&full, nh_buf_slice(&pin));
	}
	if (rc == NH_OK)
		rc = nh_key_open_url(nh_buf_cstr(&full), out, err);
	nh_buf_wipe(&pin);
	nh_buf_wipe(&full);
	return rc;
}

static nh_rc open_sealed(struct nh_cli *c, const char *path, nh_slice pem, struct nh_key **out, struct nh_err *err)
{
	struct nh_buf password = NH_BUF_INIT;
	nh_rc rc = cli_password(c, nh_arena_printf(&c->arena, "Password of %s: ", path), &password, err);
	if (rc == NH_OK)
		rc = nh_key_parse_pem_sealed(pem, nh_buf_cstr(&password), out, err);
	nh_buf_wipe(&password);
	return rc;
}

nh_rc cli_key_open(struct nh_cli *c, const char *where, struct nh_key **out, struct nh_err *err)
{
	struct nh_buf pem = NH_BUF_INIT;
	if (in_token(where))
		return open_token(c, where, out, err);
	NH_TRY(cli_file_load(where, &pem, err));
	nh_slice text = nh_slice_trim(nh_buf_slice(&pem));
	nh_rc rc = NH_OK;
	if (in_token(nh_buf_cstr(&pem)))
		rc = open_token(c, nh_arena_str(&c->arena, text), out, err); /* what `nh ca generate --key URI` wrote */
	else if (nh_slice_find(text, NH_LIT("BEGIN ENCRYPTED PRIVATE KEY")) >= 0)
		rc = open_sealed(c, where, text, out, err);
	else
		rc = nh_key_parse_pem(text, out, err);
	nh_buf_wipe(&pem);
	return rc == NH_OK ? NH_OK : nh_err_prefix(err, rc, "%s: pki", where);
}

/* ---- authorities ----------------------------------------------------------------------------------------------------------- */

nh_rc cli_authority_load(struct nh_cli *c, const char *cert_path, const char *key_place, struct cli_authority *out, struct nh_err *err)
{
	NH_TRY(cli_cert_load(cert_path, &out->cert, err));
	if (!out->cert->is_ca)
		return NH_FAIL(err, NH_EINVAL, "pki: the signing certificate is not a CA");
	NH_TRY(cli_key_open(c, key_place, &out->key, err));
	if (!nh_key_fits_cert(out->key, out->cert))
		return NH_FAIL(err, NH_EINVAL, "pki: the CA private key does not match the CA certificate");
	return NH_OK;
}

nh_rc cli_authority_named(struct nh_cli *c, const char *name, struct cli_authority *out, struct nh_err *err)
{
	NH_TRY(cli_check_name(name, "CA name", err));
	const char *cert = cli_path(c, "ca", nh_arena_printf(&c->arena, "%s-cert.pem", name));
	const char *pem = cli_path(c, "ca", nh_arena_printf(&c->arena, "%s-key.pem", name)), *url = cli_path(c, "ca", nh_arena_printf(&c->arena, "%s-key.url", name));
	nh_rc rc = cli_authority_load(c, cert, access(url, F_OK) == 0 ? url : pem, out, err);
	if (rc == NH_ENOTFOUND && access(cert, F_OK) != 0)
		return NH_FAIL(err, rc, "no CA named %s (looked for %s); `nh ca generate` prints the names it gives", name, cert);
	return rc;
}

nh_rc cli_key_save(const char *path, const struct nh_key *key, struct nh_err *err)
{
	struct nh_buf pem = NH_BUF_INIT;
	nh_rc rc = nh_key_put_pem(&pem, key, err);
	if (rc == NH_OK)
		rc = cli_file_create(path, nh_buf_slice(&pem), 0600, err);
	nh_buf_wipe(&pem);
	return rc;
}

nh_rc cli_issue(const struct nh_cert_profile *profile, const struct nh_key *key, const struct cli_authority *issuer, struct nh_cert **out,
		struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	NH_TRY(nh_key_put_spki(&spki, key, err));
	NH_TRY(nh_cert_issue(&der, profile, nh_buf_slice(&spki), issuer ? issuer->cert : NULL, issuer ? issuer->key : key, &nh_rng_system, err));
	return nh_cert_parse_der(nh_buf_slice(&der), out, err);
}

json_t *cli_pem_base64(const struct nh_cert *cert)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT, text = NH_BUF_INIT;
	nh_cert_put_pem(&pem, cert);
	nh_b64_put(&text, nh_buf_slice(&pem), NH_B64_STD);
	return json_string(nh_buf_cstr(&text));
}

nh_rc cli_validity(const struct nh_cli *c, int64_t *out_us, struct nh_err *err)
{
	const char *text = cli_text(c, "valid-for");
	return cli_parse_validity(text ? text : "31y", out_us, err);
}

char *cli_stamp(struct nh_cli *c, const char *format)
{
	time_t now = (time_t)(nh_now_us() / NH_US_PER_S);
	struct tm tm;
	char text[32] = "";
	gmtime_r(&now, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are literals of this room */
	strftime(text, sizeof text, format, &tm);
#pragma GCC diagnostic pop
	return nh_arena_str(&c->arena, nh_slice_str(text));
}

char *cli_fresh_stamp(struct nh_cli *c, const char *folder, const char *suffix)
{
	for (;;) {
		char *stamp = cli_stamp(c, "%Y-%m-%d-%H-%M-%S");
		if (access(nh_arena_printf(&c->arena, "%s/%s%s", folder, stamp, suffix), F_OK) != 0)
			return stamp;
		nanosleep(&(struct timespec){.tv_nsec = 100 * 1000000}, NULL);
	}
}
