/*
 * NH1: verification of the headers that a shared-secret device signs. Pure: headers, secret and time in; a reason and an identifier out.
 *
 * Everything here is the client's choice except the secret, so the parameters are bounded before anything dear is done, and the comparison of
 * signatures takes constant time. Looking keys up and creating devices is device_auth_secret.c's.
 * source: reference/device-protocol "6"
 */
#include "base/encode.h"
#include "base/etf.h"
#include "crypto/hmac.h"
#include "crypto/secret.h"
#include "hub/device_auth.h"

#define HEADER_MAX 1024 /* bytes; the longest legal value, a signature over a 255-byte identifier, has about 500 */
#define IDENTIFIER_MAX 255

struct nh1_alg {
	nh_digest_alg digest;
	uint64_t iterations, keylen;
};

/* "NH1-HMAC-<digest>-<iterations>-<keylen>", digest in any letter case (the ESP32 client writes it upper case). */
static bool parse_alg(nh_slice text, struct nh1_alg *out)
{
	nh_slice prefix = NH_LIT("NH1-HMAC-"), name, iterations, keylen;
	if (!nh_slice_starts(text, prefix))
		return false;
	nh_slice rest = nh_slice_skip(text, prefix.len);
	if (!nh_slice_cut(rest, '-', &name, &rest) || !nh_slice_cut(rest, '-', &iterations, &keylen))
		return false;
	return nh_digest_alg_parse(name, &out->digest) && nh_parse_u64(iterations, 1, NH_NH1_ITERATIONS_MAX, &out->iterations) == NH_OK &&
	       nh_parse_u64(keylen, NH_NH1_KEYLEN_MIN, NH_NH1_KEYLEN_MAX, &out->keylen) == NH_OK;
}

struct nh1_token {
	nh_digest_alg digest;
	nh_slice message; /* what is signed: "<protected>.<payload>" */
	nh_slice payload, signature; /* base64url text */
};

static bool parse_token(nh_slice text, struct nh1_token *out)
{
	static const struct {
		const char *text;
		nh_digest_alg digest;
	} kinds[] = {{"SFMyNTY", NH_SHA256}, {"SFMzODQ", NH_SHA384}, {"SFM1MTI", NH_SHA512}};
	nh_slice kind, rest;
	if (!nh_slice_cut(text, '.', &kind, &rest) || !nh_slice_cut(rest, '.', &out->payload, &out->signature))
		return false;
	out->message = nh_slice_sub(text, 0, kind.len + 1 + out->payload.len);
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		if (nh_slice_eq_str(kind, kinds[i].text)) {
			out->digest = kinds[i].digest;
			return true;
		}
	}
	return false;
}

/* {identifier, signed_at_ms}, {identifier, signed_at_ms, max_age} or %{data: identifier, signed: signed_at_ms} */
static bool read_payload(struct nh_arena *arena, nh_slice base64, nh_slice *identifier, int64_t *signed_at_ms)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(HEADER_MAX);
	struct nh_etf *term = NULL;
	if (nh_b64_decode(base64, NH_B64_URL_NOPAD, &bytes) != NH_OK ||
	    nh_etf_parse(arena, nh_arena_copy(arena, nh_buf_slice(&bytes)), &term, NULL) != NH_OK)
		return false;

	const struct nh_etf *data = NULL, *at = NULL;
	if (term->kind == NH_ETF_TUPLE && (term->count == 2 || term->count == 3)) {
		data = &term->items[0];
		at = &term->items[1];
	} else if (term->kind == NH_ETF_MAP) {
		data = nh_etf_map_get(term, "data");
		at = nh_etf_map_get(term, "signed");
	}
	if (!data || !at || data->kind != NH_ETF_BINARY || at->kind != NH_ETF_INT)
		return false;
	*identifier = data->bytes;
	*signed_at_ms = at->number;
	return data->bytes.len > 0 && data->bytes.len <= IDENTIFIER_MAX && nh_utf8_valid(data->bytes) && nh_slice_chr(data->bytes, 0) < 0;
}

static bool header_fits(nh_slice value)
{
	return value.ptr && value.len > 0 && value.len <= HEADER_MAX;
}

static bool parse_headers(const struct nh_nh1_headers *h, struct nh1_alg *alg, int64_t *time_s)
{
	return header_fits(h->alg) && header_fits(h->key) && header_fits(h->time) && header_fits(h->signature) && parse_alg(h->alg, alg) &&
	       nh_parse_i64(h->time, 0, INT64_MAX, time_s) == NH_OK;
}

nh_auth_reason nh_nh1_verify(struct nh_arena *arena, const struct nh_nh1_headers *h, nh_slice secret, int64_t now_us, nh_slice *identifier)
{
	*identifier = NH_SLICE_EMPTY;
	struct nh1_alg alg;
	struct nh1_token token;
	int64_t time_s;
	if (!parse_headers(h, &alg, &time_s))
		return NH_AUTH_BAD_HEADERS;
	if (!parse_token(h->signature, &token))
		return NH_AUTH_BAD_TOKEN;

	/* The alg line repeats the header byte for byte, the time line the parsed number. source: reference/device-protocol "6.3" */
	NH_AUTO_BUF struct nh_buf salt = NH_BUF_INIT;
	nh_buf_printf(&salt, "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=%.*s\nx-nh-key=%.*s\nx-nh-time=%lld\n", NH_ARG(h->alg), NH_ARG(h->key),
	              (long long)time_s);

	uint8_t key[NH_NH1_KEYLEN_MAX], expected[NH_DIGEST_MAX];
	if (nh_pbkdf2(alg.digest, secret, nh_buf_slice(&salt), (uint32_t)alg.iterations, key, alg.keylen) != NH_OK)
		return NH_AUTH_BAD_HEADERS;
	nh_hmac(token.digest, nh_slice_of(key, alg.keylen), token.message, expected);
	nh_wipe(key, sizeof(key));

	NH_AUTO_BUF struct nh_buf given = NH_BUF_MAX(HEADER_MAX);
	bool same = nh_b64_decode(token.signature, NH_B64_URL_NOPAD, &given) == NH_OK &&
	            nh_slice_eq_ct(nh_buf_slice(&given), nh_slice_of(expected, nh_digest_len(token.digest)));
	nh_wipe(expected, sizeof(expected));

	int64_t signed_at_ms = 0;
	if (!same || !read_payload(arena, token.payload, identifier, &signed_at_ms))
		return NH_AUTH_BAD_TOKEN;

	int64_t now_ms = now_us / NH_US_PER_MS;
	if (signed_at_ms < now_ms - NH_NH1_MAX_AGE_S * INT64_C(1000))
		return NH_AUTH_TOKEN_EXPIRED;
	if (signed_at_ms > now_ms + NH_NH1_MAX_AHEAD_S * INT64_C(1000))
		return NH_AUTH_TOKEN_FROM_FUTURE;
	return NH_AUTH_ACCEPTED_KNOWN;
}
