/*
 * Using the key: signatures, shared secrets, tokens.
 */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "command.h"

#define MESSAGE_MAX ((size_t)256 << 20)
#define DEFAULT_LIFETIME_MS (UINT64_C(4) * 3600 * 1000)

static const struct flag sign_flags[] = {
	{"digest", 0, NH_OPT_TEXT, AT(digest), "HEX", "sign this SHA-256 digest instead of a file's"},
	{"encoding", 0, NH_OPT_TEXT, AT(encoding), "ENCODING", "raw (r and s, 64 bytes) or der (raw)"},
	{"format", 'f', NH_OPT_TEXT, AT(format), "FORMAT", "hex, base64 or binary (hex)"},
	{"output", 'o', NH_OPT_TEXT, AT(output), "FILE", "write to a file"},
	{NULL},
};

/* The digest of --digest, the file, or standard input. */
static nh_rc digest_of(struct app *app, uint8_t digest[32], struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	if (app->o.digest && app->arg_count)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "either a file or --digest"));
	if (app->o.digest) {
		if (nh_hex_decode_fixed(nh_slice_str(app->o.digest), digest, 32) != NH_OK)
			return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "--digest: expected the 64 hexadecimal digits of a SHA-256 digest"));
		return NH_OK;
	}
	NH_TRY(input_file(app, app->arg_count ? app->args[0] : "-", MESSAGE_MAX, &message, err));
	nh_p256_sha256(nh_buf_slice(&message), digest);
	return NH_OK;
}

static nh_rc sign(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	uint8_t digest[32], signature[NH_P256_SIGNATURE_LEN];
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	bool der = app->o.encoding && strcmp(app->o.encoding, "der") == 0;
	if (app->o.encoding && !der && strcmp(app->o.encoding, "raw") != 0)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--encoding is raw or der, not '%.40s'", app->o.encoding));
	NH_TRY(digest_of(app, digest, err));
	NH_TRY(app_provisioned(app, &info, err));
	NH_TRY(nh_nerveskey_sign(app->key, digest, signature, err));
	if (der)
		nh_p256_signature_put_der(&out, signature);
	else
		nh_buf_put(&out, signature, sizeof signature);
	return output_formatted(app, nh_buf_slice(&out), "hex", err);
}

static const struct flag verify_flags[] = {
	{"signature", 0, NH_OPT_TEXT, AT(signature), "HEX|@FILE", "raw or DER; a file may also hold it in hexadecimal or Base64"},
	{"digest", 0, NH_OPT_TEXT, AT(digest), "HEX", "of this SHA-256 digest instead of a file's"},
	{"public-key", 0, NH_OPT_TEXT, AT(public_key), "FILE", "of this key or certificate instead of the chip's"},
	{"in-chip", 0, NH_OPT_FLAG, AT(in_chip), NULL, "let the chip verify"},
	{NULL},
};

static bool signature_take(nh_slice bytes, uint8_t out[NH_P256_SIGNATURE_LEN])
{
	if (bytes.len == NH_P256_SIGNATURE_LEN) {
		memcpy(out, bytes.ptr, NH_P256_SIGNATURE_LEN);
		return true;
	}
	return nh_p256_signature_parse_der(bytes, out) == NH_OK;
}

static nh_rc signature_read(struct app *app, uint8_t out[NH_P256_SIGNATURE_LEN], struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf given = NH_BUF_INIT, hex = NH_BUF_INIT, base64 = NH_BUF_INIT;
	const char *argument = app->o.signature;
	if (!argument)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--signature is needed"));
	if (argument[0] == '@')
		NH_TRY(input_file(app, argument + 1, 4096, &given, err));
	else
		nh_buf_put_str(&given, argument);
	nh_slice text = nh_slice_trim(nh_buf_slice(&given));
	if ((argument[0] == '@' && signature_take(nh_buf_slice(&given), out)) || (nh_hex_decode(text, &hex) == NH_OK && signature_take(nh_buf_slice(&hex), out)) ||
	    (nh_b64_decode(text, NH_B64_STD, &base64) == NH_OK && signature_take(nh_buf_slice(&base64), out)))
		return NH_OK;
	return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "the signature is neither 64 bytes r and s nor DER (in hexadecimal or Base64 where it is text)"));
}

static nh_rc verify(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	uint8_t digest[32], signature[NH_P256_SIGNATURE_LEN], key[NH_P256_PUBLIC_LEN];
	NH_TRY(signature_read(app, signature, err));
	NH_TRY(digest_of(app, digest, err));
	if (app->o.public_key) {
		NH_TRY(input_public_key(app, app->o.public_key, key, err));
	} else {
		NH_TRY(app_provisioned(app, &info, err));
		NH_TRY(nh_nerveskey_public_key(app->key, key, err));
	}
	if (app->o.in_chip)
		NH_TRY(app_open(app, err));
	nh_rc rc = app->o.in_chip ? nh_atecc_verify(nh_nerveskey_chip(app->key), key, digest, signature, err) : nh_p256_verify(key, nh_slice_of(digest, sizeof digest), signature);
	if (rc == NH_EAUTH || rc == NH_EINVAL)
		return app_fail(app, STATUS_UNTRUE, NH_FAIL(err, NH_EAUTH, "the signature is not this key's over these bytes"));
	NH_TRY(rc);
	if (app->o.json)
		print_json(json_pack("{s:b}", "ok", 1));
	else
		puts("good signature");
	return NH_OK;
}

static const struct flag format_flags[] = {{"format", 'f', NH_OPT_TEXT, AT(format), "FORMAT", "hex, base64 or binary (hex)"},
					   {"output", 'o', NH_OPT_TEXT, AT(output), "FILE", "write to a file"},
					   {NULL}};

static nh_rc ecdh(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	uint8_t peer[NH_P256_PUBLIC_LEN], shared[32];
	NH_TRY(input_public_key(app, app->args[0], peer, err));
	NH_TRY(app_provisioned(app, &info, err));
	NH_TRY(nh_nerveskey_ecdh(app->key, peer, shared, err));
	app->secret = true;
	nh_rc rc = output_formatted(app, nh_slice_of(shared, sizeof shared), "hex", err);
	explicit_bzero(shared, sizeof shared);
	return rc;
}

/* ---- tokens */

static const struct flag jwt_flags[] = {
	{"aud", 0, NH_OPT_TEXT, AT(audience), "TEXT", "the audience: for clouds, the project's name"},
	{"lifetime", 0, NH_OPT_DURATION, AT(lifetime_ms), "TIME", "how long it is good, from now: sets iat and exp (4h unless there is a payload)", 1000, UINT64_C(10) * 365 * 86400 * 1000},
	{"claim", 0, NH_OPT_LIST, AT(claims), "NAME=VALUE", "another claim; numbers, true, false and JSON are taken as such; may be given several times"},
	{"payload", 0, NH_OPT_TEXT, AT(payload), "JSON|@FILE", "the claims to begin with"},
	{NULL},
};

/* What looks like JSON is JSON, anything else text. */
static json_t *claim_value(nh_slice text)
{
	json_t *value = NULL;
	return nh_json_parse(text, 65536, &value, NULL) == NH_OK ? value : nh_json_new_text(text);
}

static nh_rc claims_read(struct app *app, json_t **out, struct nh_err *err)
{
	const struct options *o = &app->o;
	NH_AUTO_JSON json_t *claims = NULL;
	uint64_t lifetime_ms = o->lifetime_ms ? o->lifetime_ms : o->payload ? 0 : DEFAULT_LIFETIME_MS;
	int64_t now_s = nh_clock_now(&nh_clock_system) / NH_US_PER_S;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (o->payload && o->payload[0] == '@')
		NH_TRY(input_file(app, o->payload + 1, 65536, &text, err));
	else
		nh_buf_put_str(&text, o->payload ? o->payload : "{}");
	app->status = STATUS_REFUSED;
	NH_TRY_CTX(nh_json_parse(nh_buf_slice(&text), 65536, &claims, err), err, "--payload");
	if (!json_is_object(claims))
		return NH_FAIL(err, NH_EINVAL, "--payload is no JSON object");
	if (lifetime_ms) {
		NH_TRY(nh_nerveskey_clock_check(&nh_clock_system, err));
		json_object_set_new(claims, "iat", json_integer(now_s));
		json_object_set_new(claims, "exp", json_integer(now_s + (int64_t)(lifetime_ms / 1000)));
	}
	if (o->audience)
		json_object_set_new(claims, "aud", nh_json_new_text(nh_slice_str(o->audience)));
	for (size_t i = 0; i < o->claims.count; i++) {
		nh_slice name, value;
		if (!nh_slice_cut(nh_slice_str(o->claims.items[i]), '=', &name, &value) || name.len == 0 || !nh_utf8_valid(name))
			return NH_FAIL(err, NH_EINVAL, "--claim: expected NAME=VALUE, not '%.80s'", o->claims.items[i]);
		json_object_setn_new(claims, (const char *)name.ptr, name.len, claim_value(value));
	}
	app->status = STATUS_OK;
	*out = json_incref(claims);
	return NH_OK;
}

static nh_rc jwt(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	NH_AUTO_JSON json_t *claims = NULL;
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT, token = NH_BUF_INIT;
	NH_TRY(claims_read(app, &claims, err));
	nh_json_put(&payload, claims);
	NH_TRY(app_provisioned(app, &info, err));
	NH_TRY(nh_nerveskey_jwt(app->key, nh_buf_slice(&payload), &token, err));
	if (app->o.json)
		print_json(json_pack("{s:o,s:O}", "token", nh_json_new_text(nh_buf_slice(&token)), "claims", claims));
	else
		puts(nh_buf_cstr(&token));
	return NH_OK;
}

const struct command sign_commands[] = {
	{"sign", "[FILE]", 0, 1, sign_flags, sign, "sign a file, or standard input, with the chip's key (ECDSA over SHA-256)"},
	{"verify", "[FILE]", 0, 1, verify_flags, verify, "verify such a signature"},
	{"ecdh", "FILE", 1, 1, format_flags, ecdh, "the secret shared with the owner of a public key (PEM or DER)"},
	{"jwt", "", 0, 0, jwt_flags, jwt, "a token signed by the chip (ES256), as clouds take it for a password"},
	{NULL},
};
