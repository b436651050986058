/*
 * NH1 from the headers to the verdict, on a database with a product secret and a device secret. Five lines: x-nh-alg, x-nh-key, x-nh-time,
 * x-nh-signature, and the signed term, raw to the end. Where the fourth line names nothing but a kind ("SFMyNTY", …), the term is signed here with the
 * right secret, so that it gets past the signature; else the headers are taken as they are and must not pass for another secret.
 *
 * Headers are never an error of ours; who is accepted once is the same device the next time.
 */
#include "fuzz.h"

#include "fuzz_db.h"

#define ITERATIONS_MAX 2000 /* the dear numbers cost time and show nothing new; nh_nh1_verify's own bound is a unit test's */

static struct world world;

static nh_rc furnish(struct world *w, struct nh_err *err)
{
	int64_t device, id;
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	NH_TRY(insert_id(w, &nh_q_product_secret_insert, NH_PARAMS(nh_p_int(w->widget.id), nh_p_str(PRODUCT_KEY), nh_p_str(SECRET), nh_p_int(w->now_us)), &id,
	                 err));
	return insert_id(w, &nh_q_device_secret_insert, NH_PARAMS(nh_p_int(device), nh_p_str(DEVICE_KEY), nh_p_str(SECRET), nh_p_int(w->now_us)), &id, err);
}

struct input {
	struct nh_db *db;
	struct nh_nh1_headers headers;
	nh_slice term;
};

/* What a device would send; false where the algorithm is none that can be signed with. */
static bool sign_term(const struct input *in, struct nh_buf *token)
{
	static const struct {
		const char *kind;
		nh_digest_alg digest;
	} kinds[] = {{"SFMyNTY", NH_SHA256}, {"SFMzODQ", NH_SHA384}, {"SFM1MTI", NH_SHA512}};
	NH_AUTO_BUF struct nh_buf salt = NH_BUF_INIT;
	nh_slice name, number, length, rest = nh_slice_skip(in->headers.alg, 9); /* "NH1-HMAC-" */
	nh_digest_alg derivation, digest = NH_SHA256;
	uint64_t iterations, len;
	int64_t at;
	uint8_t key[64], mac[64];
	nh_slice_cut(rest, '-', &name, &rest);
	nh_slice_cut(rest, '-', &number, &length);
	if (!nh_digest_alg_parse(name, &derivation) || nh_parse_u64(number, 1, ITERATIONS_MAX, &iterations) != NH_OK ||
	    nh_parse_u64(length, 1, sizeof(key), &len) != NH_OK || nh_parse_i64(in->headers.time, 0, INT64_MAX, &at) != NH_OK)
		return false;
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		if (nh_slice_eq_str(in->headers.signature, kinds[i].kind))
			digest = kinds[i].digest;
	}
	nh_buf_printf(&salt, "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=%.*s\nx-nh-key=%.*s\nx-nh-time=%lld\n", NH_ARG(in->headers.alg),
	              NH_ARG(in->headers.key), (long long)at);
	if (nh_pbkdf2(derivation, NH_LIT(SECRET), nh_buf_slice(&salt), (uint32_t)iterations, key, len) != NH_OK)
		return false;
	nh_buf_printf(token, "%.*s.", NH_ARG(in->headers.signature));
	nh_b64_put(token, in->term, NH_B64_URL_NOPAD);
	nh_hmac(digest, nh_slice_of(key, len), nh_buf_slice(token), mac);
	nh_buf_put_u8(token, '.');
	nh_b64_put(token, nh_slice_of(mac, nh_digest_len(digest)), NH_B64_URL_NOPAD);
	return true;
}

static void decide(const struct input *in, struct nh_arena *arena, struct nh_auth_verdict *out)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_effects effects = {0};
	const struct nh_auth_env env = {in->db, arena, &world.clock, &world.rng, &world.config, &effects};
	nh_rc rc = nh_device_auth_secret(&env, &in->headers, out, &err);
	FUZZ_CHECK(rc == NH_OK, "%s %s", nh_rc_name(rc), err.msg);
}

static void play(void *arg)
{
	const struct input *in = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_auth_verdict first, second;
	nh_slice identifier;
	decide(in, &arena, &first);
	if (first.accepted) {
		FUZZ_CHECK(first.device_id > 0 && first.org_id == world.acme.id && first.product_id == world.widget.id, "place");
		FUZZ_CHECK(first.identifier.len > 0 && first.identifier.len <= 255 && nh_utf8_valid(first.identifier), "identifier");
		FUZZ_CHECK(nh_nh1_verify(&arena, &in->headers, NH_LIT("another secret"), world.now_us, &identifier) == NH_AUTH_BAD_TOKEN, "any secret does");
	}
	decide(in, &arena, &second);
	FUZZ_CHECK(first.accepted == second.accepted && first.device_id == second.device_id, "%s, then %s", nh_auth_reason_name(first.reason),
	           nh_auth_reason_name(second.reason));
}

/* Too many rounds for the number of inputs. */
static bool dear(nh_slice alg)
{
	uint64_t n = 0;
	nh_slice part, rest = nh_slice_skip(alg, 9);
	nh_slice_cut(rest, '-', &part, &rest);
	nh_slice_cut(rest, '-', &part, &rest);
	return nh_parse_u64(part, 0, UINT64_MAX, &n) == NH_OK && n > ITERATIONS_MAX && n <= NH_NH1_ITERATIONS_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_db *db;
	nh_slice rest = nh_slice_of(data, size);
	struct input in = {0};
	NH_AUTO_BUF struct nh_buf token = NH_BUF_INIT;
	if (!db)
		db = fuzz_db_open(&world, furnish);
	in.db = db;
	in.headers.alg = fuzz_until(&rest, '\n');
	in.headers.key = fuzz_until(&rest, '\n');
	in.headers.time = fuzz_until(&rest, '\n');
	in.headers.signature = fuzz_until(&rest, '\n');
	in.term = rest;
	if (dear(in.headers.alg))
		return 0;
	if (nh_slice_chr(in.headers.signature, '.') < 0 && sign_term(&in, &token))
		in.headers.signature = nh_buf_slice(&token);
	fuzz_db_play(db, play, &in);
	return 0;
}
