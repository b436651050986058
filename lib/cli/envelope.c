/*
 * Private signing keys at rest: a map in Erlang's term format around AES-256-GCM, key from the password by PBKDF2. Same files as the official
 * clients write.
 *
 * source: reference/user-api-and-cli "18.4"
 */
#include "base/encode.h"
#include "base/etf.h"
#include "cli_int.h"
#include "crypto/aead.h"
#include "crypto/hmac.h"
#include "crypto/secret.h"

#define ALG "PBES2-HS512"
#define ENC "A256GCM"
#define ITERATIONS 4096
/* A foreign file may say what it likes; beyond this a typo would cost minutes. */
#define ITERATIONS_MAX 100000

static void put_member(struct nh_buf *b, const char *name, nh_slice bytes)
{
	nh_etf_put_atom(b, name);
	nh_etf_put_binary(b, bytes);
}

static nh_rc derive(nh_slice password, nh_slice salt, uint32_t iterations, uint8_t key[32])
{
	NH_AUTO_BUF struct nh_buf full = NH_BUF_INIT;
	nh_buf_put_str(&full, ALG);
	nh_buf_put_u8(&full, 0);
	nh_buf_put_slice(&full, salt);
	return nh_pbkdf2(NH_SHA512, password, nh_buf_slice(&full), iterations, key, 32);
}

nh_rc cli_envelope_seal(const uint8_t secret_key[64], nh_slice password, const uint8_t salt[CLI_SALT_LEN], const uint8_t nonce[12], struct nh_buf *out,
			struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf head = NH_BUF_INIT, cipher = NH_BUF_INIT, term = NH_BUF_INIT;
	struct nh_buf plain = NH_BUF_INIT;
	uint8_t key[32], tag[NH_AEAD_TAG_LEN];
	nh_etf_put_version(&head);
	nh_etf_put_map(&head, 4);
	put_member(&head, "alg", NH_LIT(ALG));
	put_member(&head, "enc", NH_LIT(ENC));
	nh_etf_put_atom(&head, "p2c");
	nh_etf_put_int(&head, ITERATIONS);
	put_member(&head, "p2s", nh_slice_of(salt, CLI_SALT_LEN));
	nh_rc rc = derive(password, nh_slice_of(salt, CLI_SALT_LEN), ITERATIONS, key);
	nh_b64_put(&plain, nh_slice_of(secret_key, 64), NH_B64_STD);
	if (rc == NH_OK)
		rc = nh_aead_seal(key, nonce, nh_buf_slice(&head), nh_buf_slice(&plain), &cipher, tag);
	nh_buf_wipe(&plain);
	nh_wipe(key, sizeof key);
	if (rc != NH_OK)
		return NH_FAIL(err, rc, "cannot encrypt the private key");
	nh_etf_put_version(&term);
	nh_etf_put_map(&term, 5);
	put_member(&term, "protected", nh_buf_slice(&head));
	put_member(&term, "iv", nh_slice_of(nonce, 12));
	put_member(&term, "encrypted_key", NH_SLICE_EMPTY);
	put_member(&term, "cipher_text", nh_buf_slice(&cipher));
	put_member(&term, "cipher_tag", nh_slice_of(tag, sizeof tag));
	nh_b64_put(out, nh_buf_slice(&term), NH_B64_URL_NOPAD);
	return NH_OK;
}

struct envelope {
	nh_slice protected_bytes, iv, cipher, tag, salt;
	int64_t iterations;
};

static nh_slice member(const struct nh_etf *map, const char *name)
{
	const struct nh_etf *v = nh_etf_map_get(map, name);
	return v && v->kind == NH_ETF_BINARY ? v->bytes : NH_SLICE_EMPTY;
}

static nh_rc parse(struct nh_arena *arena, nh_slice text, struct envelope *e, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_etf *outer = NULL, *head = NULL;
	text = nh_slice_trim(text);
	while (text.len && text.ptr[text.len - 1] == '=')
		text.len--;
	if (nh_b64_decode(text, NH_B64_URL_NOPAD, &bytes) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "not an encrypted private key (not base64url)");
	NH_TRY(nh_etf_parse(arena, nh_arena_copy(arena, nh_buf_slice(&bytes)), &outer, err));
	e->protected_bytes = member(outer, "protected");
	NH_TRY(nh_etf_parse(arena, e->protected_bytes, &head, err));
	nh_slice alg = member(head, "alg"), enc = member(head, "enc");
	if (!nh_slice_eq_str(alg, ALG) || !nh_slice_eq_str(enc, ENC))
		return NH_FAIL(err, NH_EUNSUPPORTED, "pki: unsupported key encryption (alg=\"%.*s\" enc=\"%.*s\")", NH_ARG(nh_slice_sub(alg, 0, 40)),
			       NH_ARG(nh_slice_sub(enc, 0, 40)));
	const struct nh_etf *count = nh_etf_map_get(head, "p2c");
	e->iterations = count && count->kind == NH_ETF_INT ? count->number : 0;
	e->salt = member(head, "p2s");
	e->iv = member(outer, "iv");
	e->cipher = member(outer, "cipher_text");
	e->tag = member(outer, "cipher_tag");
	if (e->iterations < 1 || e->iterations > ITERATIONS_MAX || e->iv.len != NH_AEAD_NONCE_LEN || e->tag.len != NH_AEAD_TAG_LEN)
		return NH_FAIL(err, NH_EFORMAT, "the encrypted private key is damaged");
	return NH_OK;
}

nh_rc cli_envelope_open(nh_slice text, nh_slice password, uint8_t secret_key[64], struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct envelope e = {0};
	NH_TRY(parse(&arena, text, &e, err));
	uint8_t key[32];
	struct nh_buf plain = NH_BUF_INIT, raw = NH_BUF_INIT;
	nh_rc rc = derive(password, e.salt, (uint32_t)e.iterations, key);
	if (rc == NH_OK)
		rc = nh_aead_open(key, e.iv.ptr, e.protected_bytes, e.cipher, e.tag.ptr, &plain);
	if (rc != NH_OK)
		rc = NH_FAIL(err, NH_EAUTH, "cannot decrypt the private key: wrong password");
	else if (nh_b64_decode(nh_slice_trim(nh_buf_slice(&plain)), NH_B64_STD, &raw) != NH_OK || raw.len != 64)
		rc = NH_FAIL(err, NH_EFORMAT, "the decrypted private key is not 64 bytes in base64");
	for (size_t i = 0; rc == NH_OK && i < 64; i++)
		secret_key[i] = raw.ptr[i];
	nh_wipe(key, sizeof key);
	nh_buf_wipe(&plain);
	nh_buf_wipe(&raw);
	return rc;
}
