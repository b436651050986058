/* Digests, HMAC, PBKDF2, Ed25519, AES-GCM, password hashes, secrets: published vectors, and every refusal. */
#include "test_base.h"

#include <stdlib.h>

#include "base/encode.h"
#include "crypto/aead.h"
#include "crypto/disk_cipher.h"
#include "crypto/ed25519.h"
#include "crypto/hmac.h"
#include "crypto/password.h"
#include "crypto/secret.h"

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_hex_put(&b, nh_slice_of(bytes, len));
	assert_slice(nh_buf_slice(&b), hex);
}

static nh_slice unhex(struct nh_buf *b, const char *hex)
{
	assert_int_equal(nh_hex_decode(nh_slice_str(hex), b), NH_OK);
	return nh_buf_slice(b);
}

static void digests(void **state)
{
	/* FIPS 180-4 and RFC 7693 examples: "abc" */
	static const struct {
		nh_digest_alg alg;
		const char *hex;
	} rows[] = {
		{NH_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{NH_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{NH_SHA384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"},
		{NH_SHA512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
			    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
		{NH_BLAKE2B_256, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"},
		{NH_BLAKE2B_512, "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
				 "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t out[NH_DIGEST_MAX];
		size_t len = nh_digest_len(rows[i].alg);
		nh_digest(rows[i].alg, NH_LIT("abc"), out);
		assert_hex(out, len, rows[i].hex);
		struct nh_digest_stream *s = nh_digest_stream_new(rows[i].alg);
		for (int k = 0; k < 3; k++)
			nh_digest_stream_update(s, nh_slice_of(&"abc"[k], 1));
		nh_digest_stream_update(s, NH_SLICE_EMPTY);
		nh_digest_stream_final(s, out);
		nh_digest_stream_free(s);
		assert_hex(out, len, rows[i].hex);
		nh_digest_stream_free(nh_digest_stream_new(rows[i].alg));
	}
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_digest_put_hex(&b, NH_SHA256, NH_SLICE_EMPTY);
	assert_slice(nh_buf_slice(&b), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	nh_digest_stream_free(NULL);
}

static void hmacs(void **state)
{
	/* RFC 4231 cases 1 and 2 */
	static const struct {
		nh_digest_alg alg;
		const char *key_hex, *message, *hex;
	} rows[] = {
		{NH_SHA256, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{NH_SHA384, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There",
		 "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6"},
		{NH_SHA512, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There",
		 "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
		{NH_SHA256, "4a656665", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
		uint8_t out[NH_DIGEST_MAX];
		nh_hmac(rows[i].alg, unhex(&key, rows[i].key_hex), nh_slice_str(rows[i].message), out);
		assert_hex(out, nh_digest_len(rows[i].alg), rows[i].hex);
	}
	uint8_t out[NH_DIGEST_MAX];
	nh_hmac(NH_SHA256, NH_SLICE_EMPTY, NH_SLICE_EMPTY, out);
	assert_hex(out, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
	nh_digest_alg alg;
	assert_true(nh_digest_alg_parse(NH_LIT("SHA512"), &alg) && alg == NH_SHA512);
	assert_true(nh_digest_alg_parse(NH_LIT("sha384"), &alg) && alg == NH_SHA384);
	assert_false(nh_digest_alg_parse(NH_LIT("sha1"), &alg));
	assert_false(nh_digest_alg_parse(NH_LIT("sha256 "), &alg));
}

static void pbkdf2(void **state)
{
	/* RFC 7914 section 11, and the shared-secret examples of reference/device-protocol 6.7 */
	static const char salt_a[] = "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=NH1-HMAC-sha256-1000-32\n"
				     "x-nh-key=nhp_8IBbqBKMlyrKYv1UzoZvy7dDYMWSRF9C1qTbcjsW1yk\nx-nh-time=1700000000\n";
	static const char salt_b[] = "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=NH1-HMAC-sha512-2000-64\n"
				     "x-nh-key=nhd_8IBbqBKMlyrKYv1UzoZvy7dDYMWSRF9C1qTbcjsW1yk\nx-nh-time=1700000000\n";
	static const char salt_c[] = "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=NH1-HMAC-SHA256-1000-32\nx-nh-key=nhp_abc123\n"
				     "x-nh-time=1787120842\n";
	static const char secret[] = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZmdoaWo";
	static const struct {
		nh_digest_alg alg;
		const char *password, *salt;
		uint32_t iterations;
		size_t len;
		const char *hex;
	} rows[] = {
		{NH_SHA256, "passwd", "salt", 1, 64,
		 "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"},
		{NH_SHA256, secret, salt_a, 1000, 32, "c0c628dd8e2e0cb62be6744862a650ba6e586b3d7d0f504b28a3334d56757cf2"},
		{NH_SHA512, secret, salt_b, 2000, 64,
		 "c0d21fe8c56fc45c277c377bdbcf19d2804a45125ad6d7e51bfe5cd03ceac4e9f1df6103a5722af861b418bbdd33c0550b2a74056cfae8d8fa659163c118b385"},
		{NH_SHA256, "s3cret-value", salt_c, 1000, 32, "7b3df9c32780d83f23b38b04128a43370094f282733587d1605c68fa8c6aea2e"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t out[64];
		assert_int_equal(nh_pbkdf2(rows[i].alg, nh_slice_str(rows[i].password), nh_slice_str(rows[i].salt), rows[i].iterations, out, rows[i].len),
				 NH_OK);
		assert_hex(out, rows[i].len, rows[i].hex);
	}
	uint8_t key[32], mac[32];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	assert_int_equal(nh_pbkdf2(NH_SHA256, nh_slice_str(secret), nh_slice_str(salt_a), 1000, key, 32), NH_OK);
	nh_hmac(NH_SHA256, nh_slice_of(key, 32), NH_LIT("SFMyNTY.g2gDbQAAAAtkZXZpY2UtMTIzNG4GAABo5c-LAWIAAVGA"), mac);
	nh_b64_put(&text, nh_slice_of(mac, 32), NH_B64_URL_NOPAD);
	assert_slice(nh_buf_slice(&text), "oB9d5VM3JzxKf3RVrat4sqWq8EtFbb7qSkuaRU1U0B8");
	assert_int_equal(nh_pbkdf2(NH_SHA256, NH_LIT("p"), NH_LIT("s"), 0, key, 32), NH_EINVAL);
	assert_int_equal(nh_pbkdf2(NH_SHA256, NH_LIT("p"), NH_LIT("s"), NH_PBKDF2_MAX_ITERATIONS + 1, key, 32), NH_EINVAL);
	assert_int_equal(nh_pbkdf2(NH_SHA256, NH_LIT("p"), NH_LIT("s"), 1, key, 0), NH_EINVAL);
	assert_int_equal(nh_pbkdf2(NH_SHA256, NH_LIT("p"), NH_LIT("s"), 1, key, NH_PBKDF2_MAX_LEN + 1), NH_EINVAL);
	assert_int_equal(nh_pbkdf2(NH_SHA1, NH_LIT("p"), NH_LIT("s"), 1, key, 32), NH_EINVAL);
	assert_int_equal(nh_pbkdf2(NH_SHA256, NH_SLICE_EMPTY, NH_SLICE_EMPTY, 1, key, 32), NH_OK);
}

static void ed25519(void **state)
{
	/* RFC 8032 7.1, tests 1 and 2 */
	static const struct {
		const char *seed, *public_key, *message, *signature;
	} rows[] = {
		{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
		 "", "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
		{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
		 "72", "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf seed = NH_BUF_INIT, message = NH_BUF_INIT;
		uint8_t public_key[32], secret_key[64], signature[64];
		nh_ed25519_from_seed(unhex(&seed, rows[i].seed).ptr, public_key, secret_key);
		assert_hex(public_key, 32, rows[i].public_key);
		assert_memory_equal(secret_key, seed.ptr, 32);
		assert_memory_equal(secret_key + 32, public_key, 32);
		assert_true(nh_ed25519_secret_consistent(secret_key));
		nh_slice m = unhex(&message, rows[i].message);
		nh_ed25519_sign(secret_key, m, signature);
		assert_hex(signature, 64, rows[i].signature);
		assert_true(nh_ed25519_verify(public_key, m, signature));
		assert_false(nh_ed25519_verify(public_key, NH_LIT("other"), signature));
		signature[5] ^= 1;
		assert_false(nh_ed25519_verify(public_key, m, signature));
		secret_key[40] ^= 1;
		assert_false(nh_ed25519_secret_consistent(secret_key));
	}
	uint8_t p1[32], s1[64], p2[32], s2[64], zero[32] = {0}, signature[64] = {0};
	nh_ed25519_generate(&nh_rng_system, p1, s1);
	nh_ed25519_generate(&nh_rng_system, p2, s2);
	assert_memory_not_equal(p1, p2, 32);
	/* the all-zero key has small order: no signature may verify under it */
	assert_false(nh_ed25519_verify(zero, NH_LIT("x"), signature));
}

static void aead(void **state)
{
	/* The GCM specification's cases 14 and 16 */
	static const struct {
		const char *key, *nonce, *plain, *associated, *cipher, *tag;
	} rows[] = {
		{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "00000000000000000000000000000000", "",
		 "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
		{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
		 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		 "feedfacedeadbeeffeedfacedeadbeefabaddad2",
		 "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
		 "76fc6ece0f4e1768cddf8853bb2d551b"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT, nonce = NH_BUF_INIT, plain = NH_BUF_INIT, aad = NH_BUF_INIT, out = NH_BUF_INIT, back = NH_BUF_INIT;
		uint8_t tag[NH_AEAD_TAG_LEN];
		unhex(&key, rows[i].key);
		unhex(&nonce, rows[i].nonce);
		unhex(&plain, rows[i].plain);
		unhex(&aad, rows[i].associated);
		assert_int_equal(nh_aead_seal(key.ptr, nonce.ptr, nh_buf_slice(&aad), nh_buf_slice(&plain), &out, tag), NH_OK);
		assert_hex(out.ptr, out.len, rows[i].cipher);
		assert_hex(tag, sizeof tag, rows[i].tag);
		assert_int_equal(nh_aead_open(key.ptr, nonce.ptr, nh_buf_slice(&aad), nh_buf_slice(&out), tag, &back), NH_OK);
		assert_true(nh_slice_eq(nh_buf_slice(&back), nh_buf_slice(&plain)));
		nh_buf_clear(&back);
		assert_int_equal(nh_aead_open(key.ptr, nonce.ptr, NH_LIT("other"), nh_buf_slice(&out), tag, &back), NH_EAUTH);
		tag[15] ^= 1;
		assert_int_equal(nh_aead_open(key.ptr, nonce.ptr, nh_buf_slice(&aad), nh_buf_slice(&out), tag, &back), NH_EAUTH);
		tag[15] ^= 1;
		key.ptr[0] ^= 1;
		assert_int_equal(nh_aead_open(key.ptr, nonce.ptr, nh_buf_slice(&aad), nh_buf_slice(&out), tag, &back), NH_EAUTH);
		assert_int_equal(back.len, 0);
	}
	/* empty message */
	uint8_t key[32] = {1}, nonce[12] = {2}, tag[16];
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	assert_int_equal(nh_aead_seal(key, nonce, NH_SLICE_EMPTY, NH_SLICE_EMPTY, &out, tag), NH_OK);
	assert_int_equal(nh_aead_open(key, nonce, NH_SLICE_EMPTY, NH_SLICE_EMPTY, tag, &out), NH_OK);
	nh_slice huge = {key, (size_t)17 << 20}; /* length is looked at first */
	assert_int_equal(nh_aead_seal(key, nonce, NH_SLICE_EMPTY, huge, &out, tag), NH_ETOOBIG);
	assert_int_equal(nh_aead_open(key, nonce, NH_SLICE_EMPTY, huge, tag, &out), NH_ETOOBIG);
}

static void passwords(void **state)
{
	char hash[NH_PASSWORD_HASH_MAX], other[NH_PASSWORD_HASH_MAX];
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(nh_password_hash(NH_LIT("correct horse"), &nh_password_cost_test, hash, &e), NH_OK);
	assert_int_equal(nh_password_hash(NH_LIT("correct horse"), &nh_password_cost_test, other, &e), NH_OK);
	assert_string_not_equal(hash, other);
	assert_true(nh_slice_starts(nh_slice_str(hash), NH_LIT("$argon2id$v=19$m=8,t=1,p=1$")));
	assert_int_equal(nh_password_verify(hash, NH_LIT("correct horse")), NH_OK);
	assert_int_equal(nh_password_verify(hash, NH_LIT("correct horsf")), NH_EAUTH);
	assert_int_equal(nh_password_verify(hash, NH_SLICE_EMPTY), NH_EAUTH);
	assert_true(nh_password_needs_rehash(hash, &nh_password_cost_default));
	assert_false(nh_password_needs_rehash(hash, &nh_password_cost_test));
	static const char *const bad[] = {"", "x", "$argon2id$", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAA", "$argon2id$v=19$m=8,t=1,p=1$$"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_password_verify(bad[i], NH_LIT("x")), NH_EFORMAT);
	NH_AUTO_BUF struct nh_buf longer = NH_BUF_INIT;
	nh_buf_fill(&longer, 'p', 1025);
	assert_int_equal(nh_password_hash(nh_buf_slice(&longer), &nh_password_cost_test, hash, &e), NH_ETOOBIG);
	assert_int_equal(nh_password_verify(other, nh_buf_slice(&longer)), NH_EAUTH);
}

static void secrets(void **state)
{
	NH_AUTO_SECRET struct nh_secret s = NH_SECRET_INIT;
	struct nh_buf b = NH_BUF_INIT;
	nh_buf_put_str(&b, "hidden");
	nh_secret_take(&s, &b);
	assert_null(b.ptr);
	assert_slice(nh_secret_slice(&s), "hidden");
	uint8_t bytes[4] = {1, 2, 3, 4};
	nh_wipe(bytes, sizeof bytes);
	assert_int_equal(bytes[0] | bytes[1] | bytes[2] | bytes[3], 0);
	nh_wipe(NULL, 0);
}

/* IEEE 1619-2007 vector 10 (XTS, data unit 0xff); CBC: NIST SP 800-38A F.2.5's key on a block of zeros, made by OpenSSL. */
static void disk_ciphers(void **state)
{
	static const struct {
		nh_disk_cipher_kind kind;
		const char *key;
		uint64_t number;
		bool counting; /* plain text 00 01 … ff 00 …, else zeros */
		const char *begins;
	} rows[] = {
		{NH_DISK_AES_XTS_PLAIN64,
		 "27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592", 0xff, true,
		 "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"},
		{NH_DISK_AES_CBC_PLAIN, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 0x0100000002, false, "0a6fec9d16ec416bd55691702d02fbdd700a90542c48c9610ca2d9ee8633dea4"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT;
		struct nh_disk_cipher *c;
		struct nh_err err = NH_ERR_INIT;
		uint8_t plain[2 * NH_DISK_BLOCK], bytes[2 * NH_DISK_BLOCK];
		for (size_t k = 0; k < sizeof plain; k++)
			plain[k] = rows[i].counting ? (uint8_t)k : 0;
		memcpy(bytes, plain, sizeof bytes);
		unhex(&key, rows[i].key);
		assert_int_equal(nh_disk_cipher_new(rows[i].kind, nh_buf_slice(&key), &c, &err), NH_OK);
		nh_disk_encrypt(c, rows[i].number, bytes, sizeof bytes);
		assert_hex(bytes, strlen(rows[i].begins) / 2, rows[i].begins);
		assert_memory_not_equal(bytes, bytes + NH_DISK_BLOCK, NH_DISK_BLOCK); /* equal blocks with other numbers */
		nh_disk_decrypt(c, rows[i].number + 1, bytes + NH_DISK_BLOCK, NH_DISK_BLOCK);
		nh_disk_decrypt(c, rows[i].number, bytes, NH_DISK_BLOCK);
		assert_memory_equal(bytes, plain, sizeof bytes);
		nh_disk_cipher_free(c);
		assert_int_equal(nh_disk_cipher_new(rows[i].kind, nh_slice_sub(nh_buf_slice(&key), 1, SIZE_MAX), &c, &err), NH_EINVAL);
		assert_null(c);
	}
	nh_disk_cipher_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests), cmocka_unit_test(hmacs),	cmocka_unit_test(pbkdf2), cmocka_unit_test(ed25519),
		cmocka_unit_test(aead), cmocka_unit_test(disk_ciphers),	   cmocka_unit_test(passwords), cmocka_unit_test(secrets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
