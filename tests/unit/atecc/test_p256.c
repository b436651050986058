/*
 * P-256: keys, signatures and their encodings. The worth of a signature is judged by the numbers of the standards and by OpenSSL, not by our own verification alone.
 */
#include "test_base.h"

#include <stdlib.h>
#include <unistd.h>

#include "atecc/p256.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "base/pem.h"
#include "base/process.h"

static nh_slice hex(struct nh_buf *b, const char *text)
{
	nh_buf_clear(b);
	assert_int_equal(nh_hex_decode(nh_slice_str(text), b), NH_OK);
	return nh_buf_slice(b);
}

static void fixed(const char *text, uint8_t *out, size_t len) { assert_int_equal(nh_hex_decode_fixed(nh_slice_str(text), out, len), NH_OK); }

#define ORDER "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
#define ORDER_LESS_1 "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550"
#define ORDER_MORE_1 "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552"
#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"
#define ONE "0000000000000000000000000000000000000000000000000000000000000001"
#define ONES "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define PRIME "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"
#define GX "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
#define GY "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
#define GY_MINUS "b01cbd1c01e58065711814b583f061e9d431cca994cea1313449bf97c840ae0a"

/* RFC 6979 A.2.5 */
#define RFC_KEY "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
#define RFC_X "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
#define RFC_Y "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
#define RFC_R "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
#define RFC_S "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"

static void scalars(void **state)
{
	static const struct {
		const char *scalar, *x, *y; /* x NULL: refused */
	} rows[] = {
		{ZERO, NULL, NULL},
		{ORDER, NULL, NULL},
		{ORDER_MORE_1, NULL, NULL},
		{ONES, NULL, NULL},
		{ONE, GX, GY},
		{ORDER_LESS_1, GX, GY_MINUS},
		{RFC_KEY, RFC_X, RFC_Y},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t scalar[32], want[64];
		struct nh_p256_key key;
		fixed(rows[i].scalar, scalar, 32);
		assert_int_equal(nh_p256_from_scalar(scalar, &key), rows[i].x ? NH_OK : NH_EINVAL);
		if (!rows[i].x)
			continue;
		fixed(rows[i].x, want, 32);
		fixed(rows[i].y, want + 32, 32);
		assert_memory_equal(key.public_key, want, 64);
		assert_memory_equal(key.scalar, scalar, 32);
		assert_int_equal(nh_p256_public_check(key.public_key), NH_OK);
	}
}

static void points(void **state)
{
	static const struct {
		const char *x, *y;
		nh_rc rc;
	} rows[] = {
		{GX, GY, NH_OK},     {GX, GY_MINUS, NH_OK}, {GY, GX, NH_EINVAL},       {ZERO, ZERO, NH_EINVAL},
		{GX, ZERO, NH_EINVAL}, {ZERO, GY, NH_EINVAL}, {PRIME, GY, NH_EINVAL}, {GX, PRIME, NH_EINVAL}, {ONES, ONES, NH_EINVAL},
		/* x = 5 is on the curve; x = 5 + p says the same and must not be taken (SEC 1, 2.3.4) */
		{"0000000000000000000000000000000000000000000000000000000000000005", "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc", NH_OK},
		{"ffffffff00000001000000000000000000000001000000000000000000000004", "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc", NH_EINVAL},
	};
	struct nh_p256_key key;
	uint8_t scalar[32], shared[32];
	fixed(RFC_KEY, scalar, 32);
	assert_int_equal(nh_p256_from_scalar(scalar, &key), NH_OK);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t point[64];
		fixed(rows[i].x, point, 32);
		fixed(rows[i].y, point + 32, 32);
		assert_int_equal(nh_p256_public_check(point), rows[i].rc);
		assert_int_equal(nh_p256_ecdh(&key, point, shared), rows[i].rc);
		if (rows[i].rc != NH_OK) {
			uint8_t none[64] = {0};
			assert_int_equal(nh_p256_verify(point, NH_LIT("digest"), none), NH_EINVAL);
		}
	}
}

static void signatures_at_the_edges(void **state)
{
	/* over SHA-256("sample") with the key of RFC 6979 */
	static const struct {
		const char *r, *s;
		nh_rc rc;
	} rows[] = {
		{RFC_R, RFC_S, NH_OK},
		{RFC_R, "0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9" /* order - s: chips do not choose the lower one either */, NH_OK},
		{ZERO, RFC_S, NH_EAUTH}, {RFC_R, ZERO, NH_EAUTH}, {ZERO, ZERO, NH_EAUTH}, {ORDER, RFC_S, NH_EAUTH}, {RFC_R, ORDER, NH_EAUTH}, {ORDER, ORDER, NH_EAUTH},
		{ONE, ONE, NH_EAUTH}, {ONE, ZERO, NH_EAUTH}, {ZERO, ONE, NH_EAUTH}, {ORDER_LESS_1, ORDER_LESS_1, NH_EAUTH}, {ORDER_MORE_1, ONE, NH_EAUTH},
		{ONES, ONES, NH_EAUTH}, {PRIME, PRIME, NH_EAUTH}, {RFC_S, RFC_R, NH_EAUTH}, {RFC_R, ONES, NH_EAUTH}, {ONES, RFC_S, NH_EAUTH},
	};
	uint8_t scalar[32], digest[32], signature[64];
	struct nh_p256_key key;
	fixed(RFC_KEY, scalar, 32);
	assert_int_equal(nh_p256_from_scalar(scalar, &key), NH_OK);
	nh_p256_sha256(NH_LIT("sample"), digest);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		fixed(rows[i].r, signature, 32);
		fixed(rows[i].s, signature + 32, 32);
		nh_rc rc = nh_p256_verify(key.public_key, nh_slice_of(digest, 32), signature);
		if (rc != rows[i].rc)
			fail_msg("row %zu: %s", i, nh_rc_name(rc));
	}
	/* Each bit of signature and digest counts. */
	fixed(RFC_R, signature, 32);
	fixed(RFC_S, signature + 32, 32);
	for (size_t bit = 0; bit < 8 * 96; bit++) {
		uint8_t *where = bit < 512 ? &signature[bit / 8] : &digest[bit / 8 - 64];
		*where ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(digest, 32), signature), NH_EAUTH);
		*where ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(digest, 32), signature), NH_OK);
}

/* Where the arithmetic behind a verification is special; computed with another implementation. */
static void special_verifications(void **state)
{
	static const struct {
		const char *what, *x, *y, *digest, *r, *s;
		nh_rc rc;
	} rows[] = {
		{"the sum is the point at infinity", RFC_X, RFC_Y, "af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf",
		 "28815b9a52dcc43d91fe0e07a91bb000f5f475306723ba5e6392aee8be90ee9c", ONE, NH_EAUTH},
		{"digest zero", RFC_X, RFC_Y, ZERO, "471c3e758c4904285bba7e53118ed0f524adeb0757d25bd2f8e7b0d76dfa714c",
		 "7eec549ecb64d21ec59e76f8c3a92a9e30060e845c4c12967c4d30d29382af87", NH_OK},
		{"digest the order, which is zero again", RFC_X, RFC_Y, ORDER, "471c3e758c4904285bba7e53118ed0f524adeb0757d25bd2f8e7b0d76dfa714c",
		 "7eec549ecb64d21ec59e76f8c3a92a9e30060e845c4c12967c4d30d29382af87", NH_OK},
		{"digest over the order", RFC_X, RFC_Y, ONES, "471c3e758c4904285bba7e53118ed0f524adeb0757d25bd2f8e7b0d76dfa714c",
		 "97ac5dc2d435b3f42c69d1c33dfc818b0d251e267dd6dd49583c836bb105be39", NH_OK},
		/* Right by the standard, and refused by nettle: whoever sees such a signature can compute the private key from it, so no signer makes one. */
		{"both summands are the same point", RFC_X, RFC_Y, "ad873cd8b183ad65a278ebd2d7d65e876fe087d0957c83b9c3730d665b1437e8",
		 "471c3e758c4904285bba7e53118ed0f524adeb0757d25bd2f8e7b0d76dfa714c", "fdd8a93d96c9a43d8b3cedf18752553c600c1d08b898252cf89a61a527055f0e", NH_EAUTH},
		{"the coordinate is over the order", "fecd637b9bd32f3ee57cf2eb90b3ba32e369786d900d58c92b540d60ed2f95b0",
		 "5108030b2654994fdb8d47d88068327648d39d8166f6d34e244ff6e4c1a87ef4", "af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf",
		 "0000000000000000000000000000000000000000000000000000000000000003", "0000000000000000000000000000000000000000000000000000000000005555", NH_OK},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t key[64], digest[32], signature[64];
		fixed(rows[i].x, key, 32);
		fixed(rows[i].y, key + 32, 32);
		fixed(rows[i].digest, digest, 32);
		fixed(rows[i].r, signature, 32);
		fixed(rows[i].s, signature + 32, 32);
		nh_rc rc = nh_p256_verify(key, nh_slice_of(digest, 32), signature);
		if (rc != rows[i].rc)
			fail_msg("%s: %s", rows[i].what, nh_rc_name(rc));
	}
}

/* Leftmost 32 bytes of a long digest; a short one as if zeros stood in front. */
static void digest_lengths(void **state)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_p256_key key;
	uint8_t bytes[64] = {0}, signature[64];
	nh_p256_generate(&rng, &key);
	nh_rng_fill(&rng, bytes + 12, 52);
	nh_p256_sign(&key, nh_slice_of(bytes, 64), &rng, signature);
	assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(bytes, 32), signature), NH_OK);
	assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(bytes, 48), signature), NH_OK);
	assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(bytes + 12, 20), signature), NH_OK);
	assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(bytes + 12, 21), signature), NH_EAUTH);
	nh_p256_sign(&key, nh_slice_of(bytes + 12, 20), &rng, signature);
	assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(bytes, 32), signature), NH_OK);
	nh_p256_sign(&key, NH_SLICE_EMPTY, &rng, signature);
	uint8_t zeros[32] = {0};
	assert_int_equal(nh_p256_verify(key.public_key, nh_slice_of(zeros, 32), signature), NH_OK);
}

static json_t *vectors(void)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	json_t *root = NULL;
	nh_buf_printf(&path, "%s/nerveskey/vectors.json", getenv("NH_VECTORS"));
	assert_int_equal(nh_file_read(nh_buf_cstr(&path), 1 << 20, &text, &err), NH_OK);
	assert_int_equal(nh_json_parse(nh_buf_slice(&text), 1 << 20, &root, &err), NH_OK);
	return root;
}

static void der_signatures(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	json_t *row;
	size_t i;
	json_array_foreach(json_object_get(root, "signature"), i, row)
	{
		NH_AUTO_BUF struct nh_buf raw = NH_BUF_INIT, want = NH_BUF_INIT, got = NH_BUF_INIT;
		uint8_t back[64];
		assert_int_equal(nh_hex_decode(nh_json_text(row, "raw"), &raw), NH_OK);
		assert_int_equal(raw.len, 64);
		nh_p256_signature_put_der(&got, raw.ptr);
		nh_hex_put(&want, nh_buf_slice(&got));
		assert_true(nh_slice_eq(nh_buf_slice(&want), nh_json_text(row, "der")));
		assert_int_equal(nh_p256_signature_parse_der(nh_buf_slice(&got), back), NH_OK);
		assert_memory_equal(back, raw.ptr, 64);
		for (size_t cut = 0; cut < got.len; cut++)
			assert_int_equal(nh_p256_signature_parse_der(nh_slice_of(got.ptr, cut), back), NH_EFORMAT);
		nh_buf_put_u8(&got, 0);
		assert_int_equal(nh_p256_signature_parse_der(nh_buf_slice(&got), back), NH_EFORMAT);
	}
	assert_int_equal(i, 5);

	static const struct {
		const char *der, *why;
	} bad[] = {
		{"", "nothing"},
		{"3006020100", "cut"},
		{"3106020101020101", "a set"},
		{"3006030101020101", "not an integer"},
		{"300702020001020101", "a zero too many"},
		{"30070201010202007f", "a zero too many in s"},
		{"3006020181020101", "negative"},
		{"30050200020101", "empty integer"},
		{"308106020101020101", "length in the long form"},
		{"300702810101020101", "length of r in the long form"},
		{"3009020101020101020101", "three numbers"},
		{"300602010102010100", "followed by a byte"},
		{"3027022101" ZERO "020101", "over 256 bits"},
		{"30280222000100" ZERO "020101", "over 256 bits, zero in front"},
	};
	for (size_t k = 0; k < NH_ARRAY_LEN(bad); k++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		uint8_t out[64];
		if (nh_p256_signature_parse_der(hex(&b, bad[k].der), out) != NH_EFORMAT)
			fail_msg("taken: %s", bad[k].why);
	}
	uint8_t zero[64] = {0};
	NH_AUTO_BUF struct nh_buf smallest = NH_BUF_INIT;
	nh_p256_signature_put_der(&smallest, zero);
	assert_int_equal(smallest.len, 8);
	assert_int_equal(nh_p256_signature_parse_der(nh_buf_slice(&smallest), zero), NH_OK);
}

static void public_keys(void **state)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, other = NH_BUF_INIT;
	uint8_t point[64], back[64];
	fixed(GX GY, point, 64);
	nh_p256_spki_put(&der, point);
	assert_int_equal(der.len, NH_P256_SPKI_LEN);
	assert_int_equal(nh_p256_spki_parse(nh_buf_slice(&der), back), NH_OK);
	assert_memory_equal(back, point, 64);
	for (size_t cut = 0; cut < der.len; cut++)
		assert_int_equal(nh_p256_spki_parse(nh_slice_of(der.ptr, cut), back), NH_EFORMAT);
	nh_buf_put_u8(&der, 0);
	assert_int_equal(nh_p256_spki_parse(nh_buf_slice(&der), back), NH_EFORMAT);
	nh_buf_truncate(&der, 91);
	static const struct {
		size_t at;
		uint8_t value;
		nh_rc rc;
	} changed[] = {
		{90, 0xF4, NH_EINVAL},     /* another point */
		{22, 0x06, NH_EUNSUPPORTED}, /* another curve */
		{12, 0x02, NH_EUNSUPPORTED}, /* another kind of key */
		{26, 0x02, NH_EUNSUPPORTED}, /* compressed */
		{26, 0x05, NH_EFORMAT},
		{25, 0x01, NH_EFORMAT},    /* unused bits */
		{0, 0x31, NH_EFORMAT},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(changed); i++) {
		uint8_t kept = der.ptr[changed[i].at];
		der.ptr[changed[i].at] = changed[i].value;
		assert_int_equal(nh_p256_spki_parse(nh_buf_slice(&der), back), changed[i].rc);
		der.ptr[changed[i].at] = kept;
	}
	/* Ed25519 */
	assert_int_equal(nh_p256_spki_parse(hex(&other, "302a300506032b6570032100" ZERO), back), NH_EUNSUPPORTED);
}

/* ---- OpenSSL as judge, both ways */

struct scratch {
	char dir[32];
};

static const char *in_dir(struct scratch *s, const char *name, struct nh_buf *path)
{
	nh_buf_clear(path);
	nh_buf_printf(path, "%s/%s", s->dir, name);
	return nh_buf_cstr(path);
}

static int scratch_open(void **state)
{
	static struct scratch s;
	memcpy(s.dir, "/tmp/nh-p256-XXXXXX", sizeof "/tmp/nh-p256-XXXXXX");
	*state = &s;
	return mkdtemp(s.dir) ? 0 : -1;
}

static void shell(const char *dir, const char *script, struct nh_buf *out)
{
	struct nh_err err = NH_ERR_INIT;
	int status = -1;
	NH_AUTO_BUF struct nh_buf errout = NH_BUF_INIT;
	const char *argv[] = {"/bin/sh", "-ec", script, NULL};
	nh_rc rc = nh_process_run(&(struct nh_process){.argv = argv, .cwd = dir, .timeout_ms = 60000}, &status, out, &errout, &err);
	if (rc != NH_OK || status != 0)
		fail_msg("%s: %s, status %d, %.*s", script, err.msg, status, NH_ARG(nh_buf_slice(&errout)));
}

static int scratch_close(void **state)
{
	struct scratch *s = *state;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	const char *argv[] = {"rm", "-rf", s->dir, NULL};
	struct nh_err err;
	int status;
	return nh_process_run(&(struct nh_process){.argv = argv}, &status, &out, &out, &err) == NH_OK ? 0 : -1;
}

static void put_file(struct scratch *s, const char *name, nh_slice bytes)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	if (nh_file_write_atomic(in_dir(s, name, &path), bytes, 0600, &err) != NH_OK)
		fail_msg("%s", err.msg);
}

static void get_file(struct scratch *s, const char *name, struct nh_buf *out)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	nh_buf_clear(out);
	if (nh_file_read(in_dir(s, name, &path), 1 << 16, out, &err) != NH_OK)
		fail_msg("%s", err.msg);
}

static void openssl_judges(void **state)
{
	struct scratch *s = *state;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 77);
	struct nh_p256_key key, theirs;
	uint8_t digest[32], signature[64], shared[32];
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT, out = NH_BUF_INIT;
	for (unsigned round = 0; round < 4; round++) {
		nh_p256_generate(&rng, &key);
		nh_buf_clear(&b);
		nh_p256_key_put_pem(&b, &key);
		put_file(s, "ours.key", nh_buf_slice(&b));
		assert_int_equal(nh_p256_key_parse_pem(nh_buf_slice(&b), &theirs, NULL), NH_OK);
		assert_memory_equal(&theirs, &key, sizeof key);
		nh_buf_clear(&b);
		nh_p256_spki_put(&b, key.public_key);
		put_file(s, "ours.spki", nh_buf_slice(&b));
		nh_p256_sha256(NH_LIT("message"), digest);
		put_file(s, "digest", nh_slice_of(digest, 32));
		nh_p256_sign(&key, nh_slice_of(digest, 32), &rng, signature);
		nh_buf_clear(&b);
		nh_p256_signature_put_der(&b, signature);
		put_file(s, "ours.sig", nh_buf_slice(&b));
		/* The other side's key, in both forms, its signature, and the shared secret it computes. */
		shell(s->dir,
		      "openssl ec -in ours.key -check -noout; openssl pkey -in ours.key -pubout -outform DER | cmp - ours.spki;"
		      "openssl pkeyutl -verify -pubin -keyform DER -inkey ours.spki -in digest -sigfile ours.sig;"
		      "openssl ecparam -name prime256v1 -genkey -out theirs.sec1; openssl pkcs8 -topk8 -nocrypt -in theirs.sec1 -out theirs.pkcs8;"
		      "openssl pkey -in theirs.sec1 -pubout -outform DER -out theirs.spki;"
		      "openssl pkeyutl -sign -inkey theirs.pkcs8 -in digest -out theirs.sig;"
		      "openssl pkey -pubin -inform DER -in ours.spki -out ours.pub;"
		      "openssl pkeyutl -derive -inkey theirs.pkcs8 -peerkey ours.pub -out shared",
		      &out);
		uint8_t point[64];
		get_file(s, "theirs.spki", &b);
		assert_int_equal(nh_p256_spki_parse(nh_buf_slice(&b), point), NH_OK);
		get_file(s, "theirs.sig", &b);
		assert_int_equal(nh_p256_signature_parse_der(nh_buf_slice(&b), signature), NH_OK);
		assert_int_equal(nh_p256_verify(point, nh_slice_of(digest, 32), signature), NH_OK);
		get_file(s, "shared", &b);
		assert_int_equal(b.len, 32);
		assert_int_equal(nh_p256_ecdh(&key, point, shared), NH_OK);
		assert_memory_equal(shared, b.ptr, 32);
		static const char *const forms[] = {"theirs.sec1", "theirs.pkcs8"};
		for (size_t i = 0; i < NH_ARRAY_LEN(forms); i++) {
			struct nh_err err = NH_ERR_INIT;
			get_file(s, forms[i], &b);
			if (nh_p256_key_parse_pem(nh_buf_slice(&b), &theirs, &err) != NH_OK)
				fail_msg("%s: %s", forms[i], err.msg);
			assert_memory_equal(theirs.public_key, point, 64);
		}
		assert_int_equal(nh_p256_ecdh(&theirs, key.public_key, shared), NH_OK);
		get_file(s, "shared", &b);
		assert_memory_equal(shared, b.ptr, 32);
	}
}

static void foreign_key_files(void **state)
{
	struct scratch *s = *state;
	static const struct {
		const char *script;
		nh_rc rc;
	} rows[] = {
		{"openssl ecparam -name prime256v1 -genkey -noout -out key", NH_OK},
		{"openssl ecparam -name prime256v1 -genkey -noout | openssl ec -conv_form compressed -out key", NH_OK},
		{"openssl ecparam -name prime256v1 -genkey -noout | openssl ec -no_public -out key", NH_OK},
		{"openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -passout pass:x -out key", NH_EUNSUPPORTED},
		{"openssl ecparam -name prime256v1 -genkey -noout | openssl ec -aes128 -passout pass:x -out key", NH_EUNSUPPORTED},
		{"openssl ecparam -name secp384r1 -genkey -noout -out key", NH_EUNSUPPORTED},
		{"openssl ecparam -name secp256k1 -genkey -noout -out key", NH_EUNSUPPORTED},
		{"openssl ecparam -name secp384r1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out key", NH_EUNSUPPORTED},
		{"openssl ecparam -name prime256v1 -param_enc explicit -genkey -noout -out key", NH_EUNSUPPORTED},
		{"openssl genpkey -algorithm ed25519 -out key", NH_EUNSUPPORTED},
		{"openssl genrsa -traditional -out key 1024", NH_EUNSUPPORTED},
		{"openssl ecparam -name prime256v1 -genkey -noout | openssl pkey -pubout -out key", NH_EUNSUPPORTED},
		{"openssl ecparam -name prime256v1 -out key", NH_EFORMAT},
		{"echo nothing >key", NH_EFORMAT},
		{"openssl ecparam -name prime256v1 -genkey -noout | head -c 150 >key", NH_EFORMAT},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT, out = NH_BUF_INIT;
		struct nh_p256_key key;
		struct nh_err err = NH_ERR_INIT;
		shell(s->dir, rows[i].script, &out);
		get_file(s, "key", &b);
		nh_rc rc = nh_p256_key_parse_pem(nh_buf_slice(&b), &key, &err);
		if (rc != rows[i].rc)
			fail_msg("%s: %s %s", rows[i].script, nh_rc_name(rc), err.msg);
		assert_int_equal(rc == NH_OK, err.msg[0] == 0);
	}
}

/* A public key that is another key's; a scalar out of range. */
static void inconsistent_key_files(void **state)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 3);
	struct nh_p256_key key, other, got;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_p256_generate(&rng, &key);
	nh_p256_generate(&rng, &other);
	memcpy(key.public_key, other.public_key, 64);
	nh_p256_key_put_pem(&b, &key);
	assert_int_equal(nh_p256_key_parse_pem(nh_buf_slice(&b), &got, &err), NH_EINVAL);
	nh_buf_clear(&b);
	memset(key.scalar, 0, 32);
	nh_p256_key_put_pem(&b, &key);
	assert_int_equal(nh_p256_key_parse_pem(nh_buf_slice(&b), &got, &err), NH_EINVAL);
	static const uint8_t none[sizeof got];
	assert_memory_equal(&got, none, sizeof got);
}

#define SCALAR "0420" RFC_KEY
#define POINT "034200" "04" RFC_X RFC_Y
#define CURVE "06082a8648ce3d030107"
#define EC "06072a8648ce3d0201"

/* Each part of both forms garbled. */
static void garbled_key_files(void **state)
{
	static const struct {
		const char *label, *der;
		nh_rc rc;
	} rows[] = {
		{"EC PRIVATE KEY", "3077" "020101" SCALAR "a00a" CURVE "a144" POINT, NH_OK},
		{"EC PRIVATE KEY", "3031" "020101" SCALAR "a00a" CURVE, NH_OK}, /* without public key */
		{"EC PRIVATE KEY", "3030" "020101" "041f" "afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721" "a00a" CURVE, NH_OK}, /* a leading zero left out */
		{"EC PRIVATE KEY", "3032" "020101" "0421" "00" RFC_KEY "a00a" CURVE, NH_OK}, /* as GnuTLS writes it */
		{"EC PRIVATE KEY", "3032" "020101" "0421" "01" RFC_KEY "a00a" CURVE, NH_EINVAL},
		{"EC PRIVATE KEY", "3033" "020101" "0422" "0000" RFC_KEY "a00a" CURVE, NH_EUNSUPPORTED},
		{"EC PRIVATE KEY", "3077" "020102" SCALAR "a00a" CURVE "a144" POINT, NH_EFORMAT}, /* version */
		{"EC PRIVATE KEY", "3077" "020101" SCALAR "a00a" CURVE "a145" POINT, NH_EFORMAT},
		{"EC PRIVATE KEY", "3077" "020101" SCALAR "a00a" CURVE "a144" "044200" "04" RFC_X RFC_Y, NH_EFORMAT}, /* no BIT STRING */
		{"EC PRIVATE KEY", "3077" "020101" SCALAR "a00a" CURVE "a144" "034201" "04" RFC_X RFC_Y, NH_EFORMAT}, /* unused bits */
		{"EC PRIVATE KEY", "3077" "020101" SCALAR "a00a" CURVE "a144" "034200" "07" RFC_X RFC_Y, NH_EFORMAT},
		{"EC PRIVATE KEY", "3079" "020101" SCALAR "a00a" CURVE "a144" POINT "0500", NH_EFORMAT}, /* something behind */
		{"EC PRIVATE KEY", "3077" "020101" SCALAR "a00a" CURVE "a144" POINT "00", NH_EFORMAT},
		{"EC PRIVATE KEY", "3025" "020101" SCALAR, NH_EUNSUPPORTED}, /* which curve? */
		{"EC PRIVATE KEY", "3031" "020101" SCALAR "a00a" "06082a8648ce3d030106", NH_EUNSUPPORTED},
		{"EC PRIVATE KEY", "3025" "020101" "0420" ZERO, NH_EUNSUPPORTED},
		{"EC PRIVATE KEY", "3031" "020101" "0420" ORDER "a00a" CURVE, NH_EINVAL},
		{"EC PRIVATE KEY", "0500", NH_EFORMAT},
		{"PRIVATE KEY", "3041" "020100" "3013" EC CURVE "0427" "3025" "020101" SCALAR, NH_OK},
		{"PRIVATE KEY", "3041" "020102" "3013" EC CURVE "0427" "3025" "020101" SCALAR, NH_EFORMAT},
		{"PRIVATE KEY", "3041" "020100" "3013" EC CURVE "0527" "3025" "020101" SCALAR, NH_EFORMAT},
		{"PRIVATE KEY", "3041" "020100" "3013" EC "06082a8648ce3d030106" "0427" "3025" "020101" SCALAR, NH_EUNSUPPORTED},
		{"PRIVATE KEY", "3041" "020100" "3013" "06072a8648ce3d0202" CURVE "0427" "3025" "020101" SCALAR, NH_EUNSUPPORTED},
		{"PRIVATE KEY", "3041" "020100" "3013" "05072a8648ce3d0201" CURVE "0427" "3025" "020101" SCALAR, NH_EFORMAT},
	};
	struct nh_p256_key key;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, pem = NH_BUF_INIT;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		nh_buf_clear(&pem);
		nh_pem_put(&pem, rows[i].label, hex(&der, rows[i].der));
		nh_rc rc = nh_p256_key_parse_pem(nh_buf_slice(&pem), &key, &err);
		if (rc != rows[i].rc || (rc != NH_OK) != (err.msg[0] != 0))
			fail_msg("row %zu: %s \"%s\"", i, nh_rc_name(rc), err.msg);
	}
	nh_buf_fill(&pem, ' ', 100000);
	assert_int_equal(nh_p256_key_parse_pem(nh_buf_slice(&pem), &key, NULL), NH_EFORMAT);
}

static void digests(void **state)
{
	uint8_t sha256[32], sha1[20], want[32];
	nh_p256_sha256(NH_LIT("abc"), sha256);
	fixed("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", want, 32);
	assert_memory_equal(sha256, want, 32);
	nh_p256_sha1(NH_LIT("abc"), sha1);
	fixed("a9993e364706816aba3e25717850c26c9cd0d89d", want, 20);
	assert_memory_equal(sha1, want, 20);
	nh_p256_sha256(NH_SLICE_EMPTY, sha256);
	fixed("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", want, 32);
	assert_memory_equal(sha256, want, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scalars),
		cmocka_unit_test(points),
		cmocka_unit_test(signatures_at_the_edges),
		cmocka_unit_test(special_verifications),
		cmocka_unit_test(digest_lengths),
		cmocka_unit_test(der_signatures),
		cmocka_unit_test(public_keys),
		cmocka_unit_test_setup_teardown(openssl_judges, scratch_open, scratch_close),
		cmocka_unit_test_setup_teardown(foreign_key_files, scratch_open, scratch_close),
		cmocka_unit_test(inconsistent_key_files),
		cmocka_unit_test(garbled_key_files),
		cmocka_unit_test(digests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
