/*
 * Password hashes by libsodium's Argon2id, in its text form.
 */
#include "crypto/password.h"

#include <sodium.h>

#include "sodium_int.h"

_Static_assert(crypto_pwhash_argon2id_STRBYTES <= NH_PASSWORD_HASH_MAX, "room for the text");

/* 3 passes over 32 MiB: above OWASP's 2 passes over 19 MiB, and small enough for a worker on a machine of 1 GiB. */
const struct nh_password_cost nh_password_cost_default = {.passes = 3, .memory_bytes = (size_t)32 << 20};
const struct nh_password_cost nh_password_cost_test = {.passes = crypto_pwhash_argon2id_OPSLIMIT_MIN,
						       .memory_bytes = crypto_pwhash_argon2id_MEMLIMIT_MIN};

#define PASSWORD_MAX 1024

nh_rc nh_password_hash(nh_slice password, const struct nh_password_cost *cost, char out[NH_PASSWORD_HASH_MAX], struct nh_err *err)
{
	nh_sodium_ready();
	if (password.len > PASSWORD_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "password is longer than %d bytes", PASSWORD_MAX);
	const char *text = password.ptr ? (const char *)password.ptr : "";
	memset(out, 0, NH_PASSWORD_HASH_MAX);
	if (crypto_pwhash_argon2id_str(out, text, password.len, cost->passes, cost->memory_bytes) != 0)
		return NH_FAIL(err, NH_ENOMEM, "no memory to hash a password (%zu bytes)", cost->memory_bytes);
	return NH_OK;
}

/* libsodium reads a buffer of STRBYTES; a caller's shorter string must not be read beyond its end. */
static bool load(const char *hash, char out[crypto_pwhash_argon2id_STRBYTES])
{
	nh_slice text = nh_slice_str(hash);
	memset(out, 0, crypto_pwhash_argon2id_STRBYTES);
	if (text.len >= crypto_pwhash_argon2id_STRBYTES || !nh_slice_starts(text, NH_LIT(crypto_pwhash_argon2id_STRPREFIX)))
		return false;
	for (size_t i = 0; i < text.len; i++)
		out[i] = hash[i];
	return true;
}

nh_rc nh_password_verify(const char *hash, nh_slice password)
{
	char text[crypto_pwhash_argon2id_STRBYTES];
	nh_sodium_ready();
	if (!load(hash, text) || crypto_pwhash_argon2id_str_needs_rehash(text, 3, (size_t)32 << 20) < 0)
		return NH_EFORMAT;
	if (password.len > PASSWORD_MAX)
		return NH_EAUTH;
	const char *given = password.ptr ? (const char *)password.ptr : "";
	return crypto_pwhash_argon2id_str_verify(text, given, password.len) == 0 ? NH_OK : NH_EAUTH;
}

bool nh_password_needs_rehash(const char *hash, const struct nh_password_cost *cost)
{
	char text[crypto_pwhash_argon2id_STRBYTES];
	nh_sodium_ready();
	return !load(hash, text) || crypto_pwhash_argon2id_str_needs_rehash(text, cost->passes, cost->memory_bytes) != 0;
}
