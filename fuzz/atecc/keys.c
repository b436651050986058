/* Any bytes as key file, public key, DER signature. What is taken is written in one form, and that form reads back as the same; a key's halves belong together. */
#include "atecc/p256.h"

static void key_file(nh_slice all)
{
	struct nh_p256_key key, again, derived;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	if (nh_p256_key_parse_pem(all, &key, &err) != NH_OK) {
		NH_ASSERT(err.rc != NH_OK && err.msg[0]);
		return;
	}
	NH_ASSERT(nh_p256_from_scalar(key.scalar, &derived) == NH_OK);
	NH_ASSERT(memcmp(&derived, &key, sizeof key) == 0);
	nh_p256_key_put_pem(&pem, &key);
	NH_ASSERT(nh_p256_key_parse_pem(nh_buf_slice(&pem), &again, &err) == NH_OK);
	NH_ASSERT(memcmp(&again, &key, sizeof key) == 0);
}

static void public_key(nh_slice all)
{
	uint8_t point[NH_P256_PUBLIC_LEN], again[NH_P256_PUBLIC_LEN];
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	if (nh_p256_spki_parse(all, point) != NH_OK)
		return;
	NH_ASSERT(nh_p256_public_check(point) == NH_OK);
	nh_p256_spki_put(&der, point);
	NH_ASSERT(der.len == NH_P256_SPKI_LEN && nh_p256_spki_parse(nh_buf_slice(&der), again) == NH_OK);
	NH_ASSERT(memcmp(point, again, sizeof point) == 0);
}

static void signature(nh_slice all)
{
	uint8_t raw[NH_P256_SIGNATURE_LEN];
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	if (nh_p256_signature_parse_der(all, raw) != NH_OK)
		return;
	nh_p256_signature_put_der(&der, raw);
	NH_ASSERT(nh_slice_eq(nh_buf_slice(&der), all)); /* there is one form */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice all = nh_slice_of(data, size);
	key_file(all);
	public_key(all);
	signature(all);
	return 0;
}
