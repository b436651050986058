/*
 * Signing, verifying, digests, key agreement and random bytes: results judged by other code than the module's, and the rules of operations that are under way.
 */
#include "host.h"

#include "atecc/p256.h"

static CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0}, ecdsa_sha256 = {CKM_ECDSA_SHA256, NULL, 0}, sha256 = {CKM_SHA256, NULL, 0};

struct keys {
	CK_SESSION_HANDLE s;
	CK_OBJECT_HANDLE private_key, public_key;
};

static struct keys begin(struct host *h)
{
	OK(h->f->C_Initialize(NULL));
	struct keys k = {.s = host_session(h)};
	k.private_key = host_find(h, k.s, CKO_PRIVATE_KEY, NULL);
	k.public_key = host_find(h, k.s, CKO_PUBLIC_KEY, NULL);
	return k;
}

/* Digests of any length: the leftmost 32 bytes of a longer one, a shorter one with zeros in front. */
static void test_digest_lengths(void **state)
{
	struct host *h = *state;
	static const size_t lengths[] = {1, 20, 28, 31, 32, 33, 48, 64, 200};
	struct keys k = begin(h);
	for (size_t i = 0; i < NH_ARRAY_LEN(lengths); i++) {
		uint8_t digest[200], signature[64], wanted[32] = {0};
		CK_ULONG len = 0;
		size_t head = lengths[i] < 32 ? lengths[i] : 32;
		nh_rng_fill(&nh_rng_system, digest, sizeof digest);
		memcpy(wanted + 32 - head, digest, head);
		OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
		OK(h->f->C_Sign(k.s, digest, lengths[i], NULL, &len));
		assert_int_equal(len, 64);
		OK(h->f->C_Sign(k.s, digest, lengths[i], signature, &len));
		assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(wanted, 32), signature), NH_OK);
		OK(h->f->C_VerifyInit(k.s, &ecdsa, k.public_key));
		OK(h->f->C_Verify(k.s, digest, lengths[i], signature, 64));
		digest[0] ^= 1;
		OK(h->f->C_VerifyInit(k.s, &ecdsa, k.public_key));
		FAILS(CKR_SIGNATURE_INVALID, h->f->C_Verify(k.s, digest, lengths[i], signature, 64));
	}
	OK(h->f->C_Finalize(NULL));
}

/* A message hashed by the module: at once, and in parts of any size. */
static void test_messages(void **state)
{
	struct host *h = *state;
	static const size_t parts[] = {0, 1, 55, 63, 64, 65, 1000};
	uint8_t message[3000], digest[32], signature[64];
	CK_ULONG len = sizeof signature;
	struct keys k = begin(h);
	nh_rng_fill(&nh_rng_system, message, sizeof message);
	nh_p256_sha256(nh_slice_of(message, sizeof message), digest);
	OK(h->f->C_SignInit(k.s, &ecdsa_sha256, k.private_key));
	OK(h->f->C_Sign(k.s, message, sizeof message, signature, &len));
	assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	OK(h->f->C_SignInit(k.s, &ecdsa_sha256, k.private_key));
	OK(h->f->C_VerifyInit(k.s, &ecdsa_sha256, k.public_key)); /* both at the same time */
	size_t at = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(parts); at += parts[i++]) {
		OK(h->f->C_SignUpdate(k.s, message + at, parts[i]));
		OK(h->f->C_VerifyUpdate(k.s, message + at, parts[i]));
	}
	len = 63;
	FAILS(CKR_BUFFER_TOO_SMALL, h->f->C_SignFinal(k.s, signature, &len));
	OK(h->f->C_SignFinal(k.s, NULL, &len));
	assert_int_equal(len, 64);
	OK(h->f->C_SignFinal(k.s, signature, &len));
	OK(h->f->C_VerifyFinal(k.s, signature, len));
	nh_p256_sha256(nh_slice_of(message, at), digest);
	assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	/* an empty message is one too; an empty digest is none */
	OK(h->f->C_SignInit(k.s, &ecdsa_sha256, k.private_key));
	OK(h->f->C_Sign(k.s, NULL, 0, signature, &len));
	nh_p256_sha256(NH_SLICE_EMPTY, digest);
	assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	FAILS(CKR_DATA_LEN_RANGE, h->f->C_Sign(k.s, NULL, 0, signature, &len));
	/* a digest in parts */
	OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	OK(h->f->C_SignUpdate(k.s, digest, 10));
	OK(h->f->C_SignUpdate(k.s, digest + 10, 22));
	OK(h->f->C_SignFinal(k.s, signature, &len));
	assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	OK(h->f->C_Finalize(NULL));
}

static void test_operation_rules(void **state)
{
	struct host *h = *state;
	uint8_t digest[32] = {4}, signature[64], wrong[64] = {0};
	CK_ULONG len = sizeof signature;
	CK_MECHANISM rsa = {CKM_RSA_PKCS, NULL, 0}, with_parameter = {CKM_ECDSA, digest, 4};
	struct keys k = begin(h);
	CK_OBJECT_HANDLE certificate = host_find(h, k.s, CKO_CERTIFICATE, "1");
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Sign(k.s, digest, 32, signature, &len));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_SignUpdate(k.s, digest, 32));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_SignFinal(k.s, signature, &len));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Verify(k.s, digest, 32, signature, 64));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_VerifyUpdate(k.s, digest, 32));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_VerifyFinal(k.s, signature, 64));
	FAILS(CKR_MECHANISM_INVALID, h->f->C_SignInit(k.s, &rsa, k.private_key));
	FAILS(CKR_MECHANISM_INVALID, h->f->C_SignInit(k.s, &sha256, k.private_key));
	FAILS(CKR_MECHANISM_PARAM_INVALID, h->f->C_SignInit(k.s, &with_parameter, k.private_key));
	FAILS(CKR_KEY_HANDLE_INVALID, h->f->C_SignInit(k.s, &ecdsa, 0));
	FAILS(CKR_KEY_HANDLE_INVALID, h->f->C_SignInit(k.s, &ecdsa, certificate));
	FAILS(CKR_KEY_FUNCTION_NOT_PERMITTED, h->f->C_SignInit(k.s, &ecdsa, k.public_key));
	FAILS(CKR_KEY_FUNCTION_NOT_PERMITTED, h->f->C_VerifyInit(k.s, &ecdsa, k.private_key));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_SignInit(k.s, NULL, k.private_key));
	/* begun twice, given up, begun again */
	OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	FAILS(CKR_OPERATION_ACTIVE, h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	OK(h->f->C_SignInit(k.s, NULL, 0));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Sign(k.s, digest, 32, signature, &len));
	/* a buffer that is too small leaves it open, what is wrong ends it */
	OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	len = 63;
	FAILS(CKR_BUFFER_TOO_SMALL, h->f->C_Sign(k.s, digest, 32, signature, &len));
	assert_int_equal(len, 64);
	OK(h->f->C_Sign(k.s, digest, 32, signature, &len));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Sign(k.s, digest, 32, signature, &len));
	OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_Sign(k.s, NULL, 32, signature, &len));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Sign(k.s, digest, 32, signature, &len));
	OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	OK(h->f->C_SignUpdate(k.s, digest, 32));
	FAILS(CKR_OPERATION_ACTIVE, h->f->C_Sign(k.s, digest, 32, signature, &len)); /* parts end with C_SignFinal */
	/* verifying ends with every answer */
	OK(h->f->C_VerifyInit(k.s, &ecdsa, k.public_key));
	FAILS(CKR_SIGNATURE_LEN_RANGE, h->f->C_Verify(k.s, digest, 32, signature, 63));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Verify(k.s, digest, 32, signature, 64));
	OK(h->f->C_VerifyInit(k.s, &ecdsa, k.public_key));
	FAILS(CKR_SIGNATURE_INVALID, h->f->C_Verify(k.s, digest, 32, wrong, 64));
	OK(h->f->C_VerifyInit(k.s, &ecdsa, k.public_key));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_Verify(k.s, digest, 32, NULL, 64));
	/* another session has its own operations */
	CK_SESSION_HANDLE other = host_session(h);
	OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Sign(other, digest, 32, signature, &len));
	OK(h->f->C_Sign(k.s, digest, 32, signature, &len));
	OK(h->f->C_Finalize(NULL));
}

static void test_digests(void **state)
{
	struct host *h = *state;
	uint8_t wanted[32], got[32];
	CK_ULONG len = 31;
	struct keys k = begin(h);
	nh_p256_sha256(NH_LIT("abc"), wanted);
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Digest(k.s, got, 0, got, &len));
	FAILS(CKR_MECHANISM_INVALID, h->f->C_DigestInit(k.s, &ecdsa));
	OK(h->f->C_DigestInit(k.s, &sha256));
	FAILS(CKR_OPERATION_ACTIVE, h->f->C_DigestInit(k.s, &sha256));
	FAILS(CKR_BUFFER_TOO_SMALL, h->f->C_Digest(k.s, (CK_BYTE *)"abc", 3, got, &len));
	OK(h->f->C_Digest(k.s, (CK_BYTE *)"abc", 3, NULL, &len));
	assert_int_equal(len, 32);
	OK(h->f->C_Digest(k.s, (CK_BYTE *)"abc", 3, got, &len));
	assert_memory_equal(got, wanted, 32);
	OK(h->f->C_DigestInit(k.s, &sha256));
	OK(h->f->C_DigestUpdate(k.s, (CK_BYTE *)"a", 1));
	OK(h->f->C_DigestUpdate(k.s, (CK_BYTE *)"bc", 2));
	OK(h->f->C_DigestFinal(k.s, got, &len));
	assert_memory_equal(got, wanted, 32);
	OK(h->f->C_DigestInit(k.s, &sha256));
	FAILS(CKR_KEY_INDIGESTIBLE, h->f->C_DigestKey(k.s, k.private_key));
	FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_DigestFinal(k.s, got, &len));
	OK(h->f->C_Finalize(NULL));
}

/* The module's side of a key agreement equals the peer's, in every form the point and the template may have. */
static void test_derive(void **state)
{
	struct host *h = *state;
	struct nh_p256_key peer;
	uint8_t shared[32], point[67] = {0x04, 65, 0x04}, value[64], digest[32], wanted[32];
	struct keys k = begin(h);
	nh_p256_generate(&nh_rng_system, &peer);
	memcpy(point + 3, peer.public_key, 64);
	assert_int_equal(nh_p256_ecdh(&peer, h->public_key, shared), NH_OK);
	CK_KEY_TYPE generic = CKK_GENERIC_SECRET, aes = CKK_AES, ec = CKK_EC;
	CK_OBJECT_CLASS secret = CKO_SECRET_KEY, private = CKO_PRIVATE_KEY;
	CK_BBOOL yes = CK_TRUE;
	CK_ULONG sixteen = 16, forty = 40, twenty = 20;
	const struct {
		size_t point_from, point_len;
		CK_ATTRIBUTE template[2];
		CK_ULONG attributes;
		CK_RV rv;
		size_t value_from; /* of the shared secret; 99: not told */
	} rows[] = {
		{2, 65, {{0}}, 0, CKR_OK, 0},
		{0, 67, {{CKA_CLASS, &secret, sizeof secret}, {CKA_KEY_TYPE, &generic, sizeof generic}}, 2, CKR_OK, 0},
		{0, 67, {{CKA_VALUE_LEN, &sixteen, sizeof sixteen}}, 1, CKR_OK, 16}, /* truncated at the leading end */
		{0, 67, {{CKA_VALUE_LEN, &sixteen, sizeof sixteen}, {CKA_KEY_TYPE, &aes, sizeof aes}}, 2, CKR_OK, 16},
		{0, 67, {{CKA_SENSITIVE, &yes, 1}}, 1, CKR_OK, 99},
		{0, 67, {{CKA_VALUE_LEN, &twenty, sizeof twenty}, {CKA_KEY_TYPE, &aes, sizeof aes}}, 2, CKR_ATTRIBUTE_VALUE_INVALID, 0},
		{0, 67, {{CKA_VALUE_LEN, &forty, sizeof forty}}, 1, CKR_ATTRIBUTE_VALUE_INVALID, 0},
		{0, 67, {{CKA_KEY_TYPE, &ec, sizeof ec}}, 1, CKR_ATTRIBUTE_VALUE_INVALID, 0},
		{0, 67, {{CKA_CLASS, &private, sizeof private}}, 1, CKR_TEMPLATE_INCONSISTENT, 0},
		{0, 67, {{CKA_TOKEN, &yes, 1}}, 1, CKR_TOKEN_WRITE_PROTECTED, 0},
		{0, 67, {{CKA_MODULUS, &yes, 1}}, 1, CKR_ATTRIBUTE_TYPE_INVALID, 0},
		{0, 67, {{CKA_SIGN, &yes, 2}}, 1, CKR_ATTRIBUTE_VALUE_INVALID, 0},
		{3, 64, {{0}}, 0, CKR_MECHANISM_PARAM_INVALID, 0},
		{0, 66, {{0}}, 0, CKR_MECHANISM_PARAM_INVALID, 0},
		{0, 0, {{0}}, 0, CKR_MECHANISM_PARAM_INVALID, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		CK_ECDH1_DERIVE_PARAMS params = {CKD_NULL, 0, NULL, rows[i].point_len, point + rows[i].point_from};
		CK_MECHANISM ecdh = {CKM_ECDH1_DERIVE, &params, sizeof params};
		CK_OBJECT_HANDLE derived = 0;
		CK_ATTRIBUTE template[2], get = {CKA_VALUE, value, sizeof value};
		memcpy(template, rows[i].template, sizeof template);
		CK_RV rv = h->f->C_DeriveKey(k.s, &ecdh, k.private_key, template, rows[i].attributes, &derived);
		if (rv != rows[i].rv)
			fail_msg("row %zu: %#lx", i, rv);
		if (rv != CKR_OK)
			continue;
		if (rows[i].value_from == 99) {
			FAILS(CKR_ATTRIBUTE_SENSITIVE, h->f->C_GetAttributeValue(k.s, derived, &get, 1));
		} else {
			OK(h->f->C_GetAttributeValue(k.s, derived, &get, 1));
			assert_int_equal(get.ulValueLen, 32 - rows[i].value_from);
			assert_memory_equal(value, shared + rows[i].value_from, get.ulValueLen);
		}
		FAILS(CKR_KEY_TYPE_INCONSISTENT, h->f->C_SignInit(k.s, &ecdsa, derived));
		OK(h->f->C_DestroyObject(k.s, derived));
		FAILS(CKR_OBJECT_HANDLE_INVALID, h->f->C_GetAttributeValue(k.s, derived, &get, 1));
	}
	/* a session's secrets are seen by the others, and die with it; the digest of one can be had */
	CK_ECDH1_DERIVE_PARAMS params = {CKD_NULL, 0, NULL, sizeof point, point};
	CK_MECHANISM ecdh = {CKM_ECDH1_DERIVE, &params, sizeof params};
	CK_SESSION_HANDLE other = host_session(h);
	CK_OBJECT_HANDLE derived = 0;
	CK_ULONG len = sizeof digest;
	OK(h->f->C_DeriveKey(other, &ecdh, k.private_key, NULL, 0, &derived));
	assert_int_equal(host_find(h, k.s, CKO_SECRET_KEY, NULL), derived);
	OK(h->f->C_DigestInit(k.s, &sha256));
	OK(h->f->C_DigestKey(k.s, derived));
	OK(h->f->C_DigestFinal(k.s, digest, &len));
	nh_p256_sha256(nh_slice_of(shared, 32), wanted);
	assert_memory_equal(digest, wanted, 32);
	OK(h->f->C_CloseSession(other));
	FAILS(CKR_OBJECT_HANDLE_INVALID, h->f->C_GetAttributeValue(k.s, derived, &(CK_ATTRIBUTE){CKA_VALUE, NULL, 0}, 1));
	/* a point that is not on the curve, a function to derive with that we do not have, no parameters at all */
	point[66] ^= 1;
	FAILS(CKR_MECHANISM_PARAM_INVALID, h->f->C_DeriveKey(k.s, &ecdh, k.private_key, NULL, 0, &derived));
	point[66] ^= 1;
	params.kdf = CKD_SHA1_KDF;
	FAILS(CKR_MECHANISM_PARAM_INVALID, h->f->C_DeriveKey(k.s, &ecdh, k.private_key, NULL, 0, &derived));
	FAILS(CKR_MECHANISM_PARAM_INVALID, h->f->C_DeriveKey(k.s, &(CK_MECHANISM){CKM_ECDH1_DERIVE, NULL, 0}, k.private_key, NULL, 0, &derived));
	FAILS(CKR_MECHANISM_INVALID, h->f->C_DeriveKey(k.s, &ecdsa, k.private_key, NULL, 0, &derived));
	OK(h->f->C_Finalize(NULL));
	nh_p256_key_wipe(&peer);
}

static void test_random(void **state)
{
	struct host *h = *state;
	uint8_t a[100] = {0}, b[100] = {0};
	struct keys k = begin(h);
	OK(h->f->C_GenerateRandom(k.s, a, 99));
	OK(h->f->C_GenerateRandom(k.s, b, 99));
	assert_memory_not_equal(a, b, 99);
	assert_memory_not_equal(a, a + 32, 32);
	assert_int_equal(a[99], 0); /* not a byte too many */
	OK(h->f->C_GenerateRandom(k.s, NULL, 0));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_GenerateRandom(k.s, NULL, 1));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_GenerateRandom(k.s, a, 1 << 20));
	FAILS(CKR_RANDOM_SEED_NOT_SUPPORTED, h->f->C_SeedRandom(k.s, a, 4));
	OK(h->f->C_Finalize(NULL));
}

/* What goes wrong on the way to the chip is mended or has a result that says so; a signature that comes out is a right one, and afterwards all is well again. */
static void test_faults(void **state)
{
	struct host *h = *state;
	static const struct {
		const char *spec, *disarm;
		CK_RV rv;
	} rows[] = {
		{"crc:0:1", "crc:0:0", CKR_OK},
		{"crc:1:1", "crc:0:0", CKR_OK},
		{"crc:2:1", "crc:0:0", CKR_OK},
		{"command-crc:0:1", "command-crc:0:0", CKR_OK},
		{"command-crc:2:1", "command-crc:0:0", CKR_OK},
		{"ee:1:1", "ee:0:0", CKR_OK},
		{"watchdog:2:1", "watchdog:0:0", CKR_OK},
		{"lost-reply:2:1", "lost-reply:0:0", CKR_OK},
		{"nak:3:2", "nak:0:0", CKR_OK},
		{"status:0:1:15", "status:0:0", CKR_FUNCTION_REJECTED}, /* reading the serial number */
		{"status:1:1:15", "status:0:0", CKR_FUNCTION_REJECTED}, /* Nonce */
		{"status:2:1:15", "status:0:0", CKR_FUNCTION_REJECTED}, /* Sign */
		{"status:2:1:3", "status:0:0", CKR_FUNCTION_REJECTED},
		{"status:2:1:7", "status:0:0", CKR_DEVICE_ERROR},
		{"crc:0:100000", "crc:0:0", CKR_DEVICE_ERROR},
		{"nak:0:100000", "nak:0:0", CKR_DEVICE_REMOVED},
	};
	struct keys k = begin(h);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint8_t digest[32], signature[64] = {0};
		CK_ULONG len = sizeof signature;
		nh_rng_fill(&nh_rng_system, digest, sizeof digest);
		OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
		host_fault(h, rows[i].spec);
		CK_RV rv = h->f->C_Sign(k.s, digest, 32, signature, &len);
		host_fault(h, rows[i].disarm);
		if (rv != rows[i].rv)
			fail_msg("%s: %#lx", rows[i].spec, rv);
		if (rv == CKR_OK)
			assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
		else
			for (size_t n = 0; n < sizeof signature; n++)
				assert_int_equal(signature[n], 0); /* nothing half done is handed out */
		FAILS(CKR_OPERATION_NOT_INITIALIZED, h->f->C_Sign(k.s, digest, 32, signature, &len));
		OK(h->f->C_SignInit(k.s, &ecdsa, k.private_key));
		OK(h->f->C_Sign(k.s, digest, 32, signature, &len));
		assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	}
	OK(h->f->C_Finalize(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest_lengths), cmocka_unit_test(test_messages), cmocka_unit_test(test_operation_rules), cmocka_unit_test(test_digests), cmocka_unit_test(test_derive),
		cmocka_unit_test(test_random), cmocka_unit_test(test_faults),
	};
	return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
