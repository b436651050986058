/*
 * What can be found on a token, and what each object says of itself.
 */
#include "host.h"

#include "atecc/p256.h"

#define NONE CK_UNAVAILABLE_INFORMATION

static CK_OBJECT_HANDLE find_by_label(struct host *h, CK_SESSION_HANDLE s, CK_OBJECT_CLASS class, const char *label)
{
	CK_OBJECT_HANDLE found[2] = {0};
	CK_ULONG count = 0;
	CK_ATTRIBUTE template[] = {{CKA_LABEL, (void *)(uintptr_t)label, strlen(label)}, {CKA_CLASS, &class, sizeof class}};
	OK(h->f->C_FindObjectsInit(s, template, 2));
	OK(h->f->C_FindObjects(s, found, 2, &count));
	OK(h->f->C_FindObjectsFinal(s));
	return count == 1 ? found[0] : 0;
}

static CK_ULONG count_all(struct host *h, CK_SESSION_HANDLE s)
{
	CK_OBJECT_HANDLE found[16];
	CK_ULONG count = 0;
	OK(h->f->C_FindObjectsInit(s, NULL, 0));
	OK(h->f->C_FindObjects(s, found, 16, &count));
	OK(h->f->C_FindObjectsFinal(s));
	return count;
}

static void test_booleans(void **state)
{
	struct host *h = *state;
	static const struct {
		CK_OBJECT_CLASS class;
		CK_ATTRIBUTE_TYPE type;
		int value; /* -1: does not exist, -2: exists and is not told */
	} rows[] = {
		{CKO_PRIVATE_KEY, CKA_TOKEN, 1},        {CKO_PRIVATE_KEY, CKA_PRIVATE, 0},           {CKO_PRIVATE_KEY, CKA_SENSITIVE, 1},     {CKO_PRIVATE_KEY, CKA_ALWAYS_SENSITIVE, 1},
		{CKO_PRIVATE_KEY, CKA_EXTRACTABLE, 0},  {CKO_PRIVATE_KEY, CKA_NEVER_EXTRACTABLE, 1}, {CKO_PRIVATE_KEY, CKA_LOCAL, 1},         {CKO_PRIVATE_KEY, CKA_SIGN, 1},
		{CKO_PRIVATE_KEY, CKA_DERIVE, 1},       {CKO_PRIVATE_KEY, CKA_DECRYPT, 0},           {CKO_PRIVATE_KEY, CKA_UNWRAP, 0},        {CKO_PRIVATE_KEY, CKA_SIGN_RECOVER, 0},
		{CKO_PRIVATE_KEY, CKA_ALWAYS_AUTHENTICATE, 0}, {CKO_PRIVATE_KEY, CKA_MODIFIABLE, 0}, {CKO_PRIVATE_KEY, CKA_VALUE, -2},        {CKO_PRIVATE_KEY, CKA_VERIFY, -1},
		{CKO_PRIVATE_KEY, CKA_MODULUS, -1},     {CKO_PUBLIC_KEY, CKA_TOKEN, 1},              {CKO_PUBLIC_KEY, CKA_PRIVATE, 0},        {CKO_PUBLIC_KEY, CKA_VERIFY, 1},
		{CKO_PUBLIC_KEY, CKA_ENCRYPT, 0},       {CKO_PUBLIC_KEY, CKA_WRAP, 0},               {CKO_PUBLIC_KEY, CKA_LOCAL, 1},          {CKO_PUBLIC_KEY, CKA_SENSITIVE, -1},
		{CKO_PUBLIC_KEY, CKA_VALUE, -1},        {CKO_CERTIFICATE, CKA_TOKEN, 1},             {CKO_CERTIFICATE, CKA_PRIVATE, 0},       {CKO_CERTIFICATE, CKA_TRUSTED, 0},
		{CKO_CERTIFICATE, CKA_MODIFIABLE, 0},   {CKO_CERTIFICATE, CKA_SIGN, -1},             {CKO_CERTIFICATE, CKA_KEY_TYPE, -1},
	};
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		CK_OBJECT_HANDLE o = host_find(h, s, rows[i].class, "1");
		CK_BBOOL value = 7;
		CK_ATTRIBUTE a = {rows[i].type, &value, sizeof value};
		CK_RV rv = h->f->C_GetAttributeValue(s, o, &a, 1);
		CK_RV want = rows[i].value == -1 ? CKR_ATTRIBUTE_TYPE_INVALID : rows[i].value == -2 ? CKR_ATTRIBUTE_SENSITIVE : CKR_OK;
		if (rv != want)
			fail_msg("class %lu, attribute %#lx: %#lx instead of %#lx", rows[i].class, rows[i].type, rv, want);
		if (want != CKR_OK) {
			assert_int_equal(a.ulValueLen, NONE);
			continue;
		}
		assert_int_equal(a.ulValueLen, 1);
		if (value != rows[i].value)
			fail_msg("class %lu, attribute %#lx is %u", rows[i].class, rows[i].type, value);
	}
	OK(h->f->C_Finalize(NULL));
}

static void test_keys(void **state)
{
	struct host *h = *state;
	static const uint8_t curve[] = {0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
	static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
	struct nh_buf spki = NH_BUF_INIT;
	uint8_t value[128];
	CK_ULONG number = 0;
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	nh_p256_spki_put(&spki, h->public_key);
	for (size_t i = 0; i < 2; i++) {
		CK_OBJECT_HANDLE o = host_find(h, s, classes[i], NULL);
		assert_int_equal(o & 15, i + 1);
		assert_int_equal(host_get(h, s, o, CKA_KEY_TYPE, &number, sizeof number), sizeof number);
		assert_int_equal(number, CKK_EC);
		assert_int_equal(host_get(h, s, o, CKA_EC_PARAMS, value, sizeof value), sizeof curve);
		assert_memory_equal(value, curve, sizeof curve);
		assert_int_equal(host_get(h, s, o, CKA_EC_POINT, value, sizeof value), 67);
		assert_memory_equal(value, "\x04\x41\x04", 3);
		assert_memory_equal(value + 3, h->public_key, 64);
		assert_int_equal(host_get(h, s, o, CKA_LABEL, value, sizeof value), 1);
		assert_int_equal(value[0], '1');
		assert_int_equal(host_get(h, s, o, CKA_ID, value, sizeof value), 1);
		assert_int_equal(value[0], '0' + 1);
		assert_int_equal(host_get(h, s, o, CKA_PUBLIC_KEY_INFO, value, sizeof value), spki.len);
		assert_memory_equal(value, spki.ptr, spki.len);
		CK_MECHANISM_TYPE allowed[4];
		CK_ULONG len = host_get(h, s, o, CKA_ALLOWED_MECHANISMS, allowed, sizeof allowed);
		assert_int_equal(len, (i == 0 ? 3 : 2) * sizeof *allowed);
		assert_int_equal(allowed[0], CKM_ECDSA);
	}
	OK(h->f->C_Finalize(NULL));
	nh_buf_fini(&spki);
}

static void check_certificate(struct host *h, CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, nh_slice der)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey_certificate parsed;
	uint8_t value[1024];
	host_rc(nh_nerveskey_certificate_parse(der, &parsed, &err), &err);
	CK_ULONG len = host_get(h, s, o, CKA_VALUE, value, sizeof value);
	assert_true(nh_slice_eq(nh_slice_of(value, len), der));
	len = host_get(h, s, o, CKA_SUBJECT, value, sizeof value);
	assert_true(nh_slice_eq(nh_slice_of(value, len), parsed.subject));
	len = host_get(h, s, o, CKA_ISSUER, value, sizeof value);
	assert_true(nh_slice_eq(nh_slice_of(value, len), parsed.issuer));
	len = host_get(h, s, o, CKA_SERIAL_NUMBER, value, sizeof value);
	assert_int_equal(len, parsed.serial.len + 2);
	assert_int_equal(value[0], 0x02);
	assert_memory_equal(value + 2, parsed.serial.ptr, parsed.serial.len);
	assert_int_equal(host_get(h, s, o, CKA_START_DATE, value, sizeof value), 8);
	assert_memory_equal(value, "20", 2);
	assert_int_equal(host_get(h, s, o, CKA_CHECK_VALUE, value, sizeof value), 3);
}

static void test_certificates(void **state)
{
	struct host *h = *state;
	CK_ULONG category = 0;
	uint8_t aux[1024];
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	assert_int_equal(count_all(h, s), 6);
	CK_OBJECT_HANDLE device = host_find(h, s, CKO_CERTIFICATE, "1"), signer = host_find(h, s, CKO_CERTIFICATE, "1s");
	assert_int_equal(find_by_label(h, s, CKO_CERTIFICATE, "1"), device);
	assert_int_equal(find_by_label(h, s, CKO_CERTIFICATE, "1 signer"), signer);
	check_certificate(h, s, device, nh_buf_slice(&h->device_der));
	check_certificate(h, s, signer, nh_buf_slice(&h->signer_der));
	host_get(h, s, device, CKA_CERTIFICATE_CATEGORY, &category, sizeof category);
	assert_int_equal(category, 1);
	host_get(h, s, signer, CKA_CERTIFICATE_CATEGORY, &category, sizeof category);
	assert_int_equal(category, 2);
	/* a certificate is found by what is in it too */
	CK_ATTRIBUTE by_value = {CKA_VALUE, h->signer_der.ptr, h->signer_der.len};
	CK_OBJECT_HANDLE found = 0;
	CK_ULONG count = 0;
	OK(h->f->C_FindObjectsInit(s, &by_value, 1));
	OK(h->f->C_FindObjects(s, &found, 1, &count));
	OK(h->f->C_FindObjectsFinal(s));
	assert_int_equal(count, 1);
	assert_int_equal(found, signer);
	/* the other pair: for the same key */
	CK_OBJECT_HANDLE other = host_find(h, s, CKO_CERTIFICATE, "1a");
	assert_int_equal(find_by_label(h, s, CKO_CERTIFICATE, "1 aux"), other);
	assert_int_not_equal(find_by_label(h, s, CKO_CERTIFICATE, "1 aux signer"), 0);
	CK_ULONG len = host_get(h, s, other, CKA_VALUE, aux, sizeof aux);
	struct nh_nerveskey_certificate parsed;
	assert_int_equal(nh_nerveskey_certificate_parse(nh_slice_of(aux, len), &parsed, NULL), NH_OK);
	assert_memory_equal(parsed.public_key, h->public_key, 64);
	OK(h->f->C_Finalize(NULL));

	/* one pair only: it has the key's names, whichever it is */
	host_configure(h, "pair=aux");
	OK(h->f->C_Initialize(NULL));
	s = host_session(h);
	assert_int_equal(count_all(h, s), 4);
	uint8_t again[1024];
	assert_int_equal(host_get(h, s, host_find(h, s, CKO_CERTIFICATE, "1"), CKA_VALUE, again, sizeof again), len);
	assert_memory_equal(again, aux, len);
	FAILS(CKR_OBJECT_HANDLE_INVALID, h->f->C_GetAttributeValue(s, device, &(CK_ATTRIBUTE){CKA_VALUE, NULL, 0}, 1));
	OK(h->f->C_Finalize(NULL));
	host_configure(h, "pair=primary label=front%20door");
	OK(h->f->C_Initialize(NULL));
	s = host_session(h);
	assert_int_equal(count_all(h, s), 4);
	check_certificate(h, s, find_by_label(h, s, CKO_CERTIFICATE, "front door"), nh_buf_slice(&h->device_der));
	assert_int_not_equal(find_by_label(h, s, CKO_PRIVATE_KEY, "front door"), 0);
	OK(h->f->C_Finalize(NULL));
	host_configure(h, "");
}

/* Every attribute of a template counts; one that an object does not have, or does not tell, matches nothing. */
static void test_find(void **state)
{
	struct host *h = *state;
	CK_OBJECT_CLASS private = CKO_PRIVATE_KEY, public = CKO_PUBLIC_KEY, data = CKO_DATA;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_KEY_TYPE ec = CKK_EC, rsa = CKK_RSA;
	uint8_t right_id[] = {'1'}, wrong_id[] = {'0', '1'};
	const struct {
		CK_ATTRIBUTE template[3];
		CK_ULONG attributes, found;
	} rows[] = {
		{{{0}}, 0, 6},
		{{{CKA_CLASS, &private, sizeof private}}, 1, 1},
		{{{CKA_CLASS, &data, sizeof data}}, 1, 0},
		{{{CKA_KEY_TYPE, &ec, sizeof ec}}, 1, 2},
		{{{CKA_KEY_TYPE, &rsa, sizeof rsa}}, 1, 0},
		{{{CKA_TOKEN, &yes, 1}}, 1, 6},
		{{{CKA_TOKEN, &no, 1}}, 1, 0},
		{{{CKA_PRIVATE, &yes, 1}}, 1, 0},
		{{{CKA_ID, right_id, 1}}, 1, 3}, /* key, public key, device certificate belong together */
		{{{CKA_ID, wrong_id, sizeof wrong_id}}, 1, 0},
		{{{CKA_ID, NULL, 0}}, 1, 0},
		{{{CKA_SIGN, &yes, 1}, {CKA_TOKEN, &yes, 1}, {CKA_CLASS, &private, sizeof private}}, 3, 1},
		{{{CKA_SIGN, &yes, 1}, {CKA_CLASS, &public, sizeof public}}, 2, 0},
		{{{CKA_VALUE, wrong_id, 0}, {CKA_CLASS, &private, sizeof private}}, 2, 0},
		{{{CKA_CLASS, &private, 1}}, 1, 0},
		{{{CKA_CLASS, NULL, sizeof private}}, 1, 0},
		{{{CKA_CLASS, &private, sizeof private}, {CKA_CLASS, &public, sizeof public}}, 2, 0},
	};
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		CK_OBJECT_HANDLE o[16];
		CK_ULONG count = 99, found = 0;
		CK_ATTRIBUTE template[3];
		memcpy(template, rows[i].template, sizeof template);
		OK(h->f->C_FindObjectsInit(s, rows[i].attributes ? template : NULL, rows[i].attributes));
		FAILS(CKR_OPERATION_ACTIVE, h->f->C_FindObjectsInit(s, NULL, 0));
		/* one at a time, as libp11 does */
		while (h->f->C_FindObjects(s, o, 1, &count) == CKR_OK && count == 1)
			found++;
		assert_int_equal(count, 0);
		OK(h->f->C_FindObjectsFinal(s));
		if (found != rows[i].found)
			fail_msg("row %zu finds %lu", i, found);
	}
	OK(h->f->C_Finalize(NULL));
}

/* A template with everything at once: each attribute is answered, lengths first, then values; buffers that are too small; one that does not exist in the middle. */
static void test_get(void **state)
{
	struct host *h = *state;
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	CK_OBJECT_HANDLE key = host_find(h, s, CKO_PRIVATE_KEY, NULL);
	uint8_t point[67], small[10];
	CK_ULONG type = 0;
	CK_ATTRIBUTE a[] = {{CKA_EC_POINT, NULL, 0}, {CKA_MODULUS, NULL, 0}, {CKA_VALUE, NULL, 0}, {CKA_KEY_TYPE, &type, sizeof type}};
	CK_RV rv = h->f->C_GetAttributeValue(s, key, a, 4);
	assert_true(rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE);
	assert_int_equal(a[0].ulValueLen, 67);
	assert_int_equal(a[1].ulValueLen, NONE);
	assert_int_equal(a[2].ulValueLen, NONE);
	assert_int_equal(a[3].ulValueLen, sizeof type);
	assert_int_equal(type, CKK_EC);
	CK_ATTRIBUTE b[] = {{CKA_EC_POINT, small, sizeof small}, {CKA_EC_POINT, point, sizeof point}};
	FAILS(CKR_BUFFER_TOO_SMALL, h->f->C_GetAttributeValue(s, key, b, 2));
	assert_int_equal(b[0].ulValueLen, NONE);
	assert_int_equal(b[1].ulValueLen, 67);
	assert_memory_equal(point + 3, h->public_key, 64);
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_GetAttributeValue(s, key, NULL, 1));
	OK(h->f->C_GetAttributeValue(s, key, NULL, 0));
	FAILS(CKR_OBJECT_HANDLE_INVALID, h->f->C_GetAttributeValue(s, 0, b, 1));
	FAILS(CKR_OBJECT_HANDLE_INVALID, h->f->C_GetAttributeValue(s, key + 16, b, 1));
	OK(h->f->C_Finalize(NULL));
}

/* The token is as provisioning made it: nothing is created, copied, changed or destroyed. */
static void test_write_protection(void **state)
{
	struct host *h = *state;
	CK_SESSION_HANDLE s = 0;
	CK_OBJECT_HANDLE made = 0;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG size = 0;
	CK_ATTRIBUTE on_token = {CKA_TOKEN, &yes, 1}, in_session = {CKA_TOKEN, &no, 1};
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE reading = host_session(h);
	OK(h->f->C_OpenSession(1, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s));
	CK_OBJECT_HANDLE key = host_find(h, s, CKO_PRIVATE_KEY, NULL);
	FAILS(CKR_TOKEN_WRITE_PROTECTED, h->f->C_CreateObject(s, &on_token, 1, &made));
	FAILS(CKR_SESSION_READ_ONLY, h->f->C_CreateObject(reading, &on_token, 1, &made));
	FAILS(CKR_FUNCTION_NOT_SUPPORTED, h->f->C_CreateObject(s, &in_session, 1, &made));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_CreateObject(s, NULL, 1, &made));
	FAILS(CKR_ACTION_PROHIBITED, h->f->C_CopyObject(s, key, NULL, 0, &made));
	FAILS(CKR_OBJECT_HANDLE_INVALID, h->f->C_CopyObject(s, 12345, NULL, 0, &made));
	FAILS(CKR_ACTION_PROHIBITED, h->f->C_SetAttributeValue(s, key, &on_token, 1));
	FAILS(CKR_ACTION_PROHIBITED, h->f->C_DestroyObject(s, key));
	FAILS(CKR_OBJECT_HANDLE_INVALID, h->f->C_DestroyObject(s, 12345));
	OK(h->f->C_GetObjectSize(s, key, &size));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_GetObjectSize(s, key, NULL));
	assert_int_equal(count_all(h, s), 6);
	OK(h->f->C_Finalize(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_booleans), cmocka_unit_test(test_keys), cmocka_unit_test(test_certificates), cmocka_unit_test(test_find), cmocka_unit_test(test_get),
		cmocka_unit_test(test_write_protection),
	};
	return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
