/*
 * Templates as applications give them to C_FindObjectsInit, C_GetAttributeValue, C_CreateObject and C_DeriveKey, against a token with every kind of object and no chip behind it. Each value is a block of its
 * own of exactly the length that is told, so that one byte too many is noticed.
 *
 * First byte: which call. Then attributes: a byte that chooses the type (255: four bytes that are it), a byte for the length (255: NULL with a large length, 254: NULL with 0), the value.
 */
#include <stdlib.h>

#include "module.h"

#include "base/cursor.h"

#define ATTRIBUTES_MAX 16u

static const CK_ATTRIBUTE_TYPE types[] = {
	CKA_CLASS, CKA_TOKEN, CKA_PRIVATE, CKA_LABEL, CKA_VALUE, CKA_CERTIFICATE_TYPE, CKA_ISSUER, CKA_SERIAL_NUMBER, CKA_TRUSTED, CKA_CERTIFICATE_CATEGORY, CKA_CHECK_VALUE, CKA_KEY_TYPE, CKA_SUBJECT,
	CKA_ID, CKA_SENSITIVE, CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP, CKA_SIGN, CKA_VERIFY, CKA_DERIVE, CKA_START_DATE, CKA_END_DATE, CKA_MODULUS, CKA_VALUE_LEN, CKA_EXTRACTABLE, CKA_LOCAL,
	CKA_PUBLIC_KEY_INFO, CKA_EC_PARAMS, CKA_EC_POINT, CKA_ALWAYS_AUTHENTICATE, CKA_ALLOWED_MECHANISMS, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE, CKA_URL,
};

static int64_t noon(void *ctx) { return INT64_C(1795262400) * NH_US_PER_S; }

/* A token that has been looked at, with its four certificates read and one derived secret. */
static void furnish(struct slot *slot, struct session *s, struct nh_buf *der, struct nh_nerveskey_certificate *parsed)
{
	static const struct nh_clock clock = {noon, NULL};
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_p256_key key;
	struct secret *secret = calloc(1, sizeof *secret);
	NH_ASSERT(secret);
	nh_p256_generate(&rng, &key);
	NH_ASSERT(nh_nerveskey_signer_create(&key, 1, &clock, &rng, der, NULL) == NH_OK);
	NH_ASSERT(nh_nerveskey_certificate_parse(nh_buf_slice(der), parsed, NULL) == NH_OK);
	*slot = (struct slot){.set = {.id = 1, .bus = -1, .spec = "sim:/nonexistent/socket", .label = "1"}, .known = true};
	memcpy(slot->info.public_key, key.public_key, NH_P256_PUBLIC_LEN);
	for (size_t i = 0; i < 4; i++)
		slot->certificates[i] = (struct certificate){.state = CERTIFICATE_THERE, .der = *der, .parsed = *parsed};
	*secret = (struct secret){.handle = 0x10000, .owner = 1, .type = CKK_GENERIC_SECRET, .flags = 4, .label = "secret", .label_len = 6, .len = 32};
	slot->secrets = secret;
	slot->secret_count = 1;
	*s = (struct session){.handle = 1, .slot = slot, .flags = CKF_SERIAL_SESSION};
	NH_ASSERT(lock_init(&slot->lock, &locking_system) == CKR_OK && lock_init(&s->lock, &locking_system) == CKR_OK);
}

static CK_ULONG read_attributes(struct nh_rd *r, CK_ATTRIBUTE *out)
{
	CK_ULONG n = 0;
	for (; n < ATTRIBUTES_MAX && nh_rd_left(r) >= 2; n++) {
		uint8_t which = nh_rd_u8(r);
		out[n] = (CK_ATTRIBUTE){.type = types[which % NH_ARRAY_LEN(types)]};
		if (which == 255)
			out[n].type = nh_rd_u32le(r);
		uint8_t len = nh_rd_u8(r);
		if (len >= 254) {
			out[n].ulValueLen = len == 255 ? (CK_ULONG)-2 : 0;
			continue;
		}
		nh_slice value = nh_rd_bytes(r, len < nh_rd_left(r) ? len : nh_rd_left(r));
		out[n].pValue = malloc(value.len ? value.len : 1);
		NH_ASSERT(out[n].pValue);
		if (value.len)
			memcpy(out[n].pValue, value.ptr, value.len);
		out[n].ulValueLen = value.len;
	}
	return n;
}

static void search(struct session *s, const CK_ATTRIBUTE *a, CK_ULONG n)
{
	CK_OBJECT_HANDLE found[FIND_MAX];
	CK_ULONG count = 0;
	NH_ASSERT(find_begin(s, a, n) == CKR_OK);
	NH_ASSERT(find_next(s, found, FIND_MAX, &count) == CKR_OK);
	NH_ASSERT(n != 0 || count == 7);
	NH_ASSERT(find_end(s) == CKR_OK);
}

static void get(struct session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *a, CK_ULONG n)
{
	CK_ULONG had[ATTRIBUTES_MAX];
	for (CK_ULONG i = 0; i < n; i++)
		had[i] = a[i].ulValueLen;
	if (object_attributes(s, handle, a, n) != CKR_OK)
		return;
	for (CK_ULONG i = 0; i < n; i++)
		NH_ASSERT(!a[i].pValue || a[i].ulValueLen <= had[i]);
}

/* The chip is not there: what passes all checks fails there, at the latest. The peer's point is the last attribute's value. */
static void derive(struct session *s, CK_ATTRIBUTE *a, CK_ULONG n)
{
	CK_ECDH1_DERIVE_PARAMS params = {CKD_NULL, 0, NULL, 0, NULL};
	CK_OBJECT_HANDLE out = 0;
	if (n > 0 && a[n - 1].pValue) {
		params.ulPublicDataLen = a[n - 1].ulValueLen;
		params.pPublicData = a[n - 1].pValue;
		n--;
	}
	CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &params, sizeof params};
	NH_ASSERT(derive_key(s, &mechanism, (1 << 4) | OBJECT_PRIVATE_KEY, a, n, &out) != CKR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct slot slot;
	static struct session session;
	static struct nh_buf der;
	static struct nh_nerveskey_certificate parsed;
	if (!der.len)
		furnish(&slot, &session, &der, &parsed);
	struct nh_rd r = nh_rd_of(nh_slice_of(data, size));
	CK_ATTRIBUTE a[ATTRIBUTES_MAX];
	CK_OBJECT_HANDLE out = 0;
	uint8_t call = nh_rd_left(&r) ? nh_rd_u8(&r) : 0;
	CK_ULONG n = read_attributes(&r, a);
	if (call % 16 == 0)
		search(&session, a, n);
	else if (call % 16 <= 7)
		get(&session, call % 16 == 7 ? 0x10000 : (1 << 4) | (call % 16), a, n);
	else if (call % 16 == 8)
		NH_ASSERT(object_create(&session, a, n, &out) != CKR_OK);
	else
		derive(&session, a, n);
	for (CK_ULONG i = 0; i < n; i++)
		free(a[i].pValue);
	return 0;
}
