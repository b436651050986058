/*
 * Certificates of a NervesKey from both ends. First byte 'c': the rest as a certificate (DER or PEM), which is parsed, compressed and checked. Anything else: the next 72 bytes as
 * what a chip stores, the rest as manufacturer's serial number; what can be rebuilt must compress to the same 72 bytes.
 */
#include "fuzz.h"

#include "certificate_int.h"

/* The generator of P-256 as everybody's public key: it is on the curve. */
static const uint8_t point[NH_P256_PUBLIC_LEN] = {
	0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
	0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
};
static const uint8_t chip[NH_ATECC_SERIAL_LEN] = {0x01, 0x23, 1, 2, 3, 4, 5, 6, 0xEE};

static volatile uint64_t sum;

static void look(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		sum += s.ptr[i];
}

static void certificate(nh_slice in)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	struct nh_nerveskey_certificate c;
	struct nh_err err = NH_ERR_INIT;
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
	if (nh_nerveskey_certificate_read(in, &der, &err) != NH_OK)
		return;
	nh_slice all = nh_buf_slice(&der);
	if (nh_nerveskey_certificate_parse(all, &c, &err) == NH_OK) {
		look(c.tbs);
		look(c.serial);
		look(c.issuer);
		look(c.subject);
		look(c.common_name);
	}
	const struct nh_nerveskey_parts parts = {.signer_key = point, .chip_serial = chip, .manufacturer_serial = c.common_name};
	sum += nh_nerveskey_signer_compress(all, compressed, &err) == NH_OK;
	sum += nh_nerveskey_device_compress(all, &parts, compressed, &err) == NH_OK;
	sum += nh_nerveskey_certificate_check(all, point, &err) == NH_OK;
}

static void stored(nh_slice in)
{
	static const nh_nerveskey_template templates[] = {NH_NERVESKEY_TEMPLATE_SIGNER, NH_NERVESKEY_TEMPLATE_DEVICE, NH_NERVESKEY_TEMPLATE_TNG_SIGNER, NH_NERVESKEY_TEMPLATE_TNG_DEVICE};
	if (in.len < NH_NERVESKEY_COMPRESSED_LEN)
		return;
	nh_slice serial = nh_slice_skip(in, NH_NERVESKEY_COMPRESSED_LEN);
	const struct nh_nerveskey_parts parts = {.subject_key = point, .signer_key = point, .chip_serial = chip, .manufacturer_serial = serial, .mac = nh_slice_sub(serial, 0, 12)};
	for (size_t i = 0; i < NH_ARRAY_LEN(templates); i++) {
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
		struct nh_nerveskey_certificate c;
		struct nh_err err = NH_ERR_INIT;
		uint8_t again[NH_NERVESKEY_COMPRESSED_LEN];
		if (nh_nerveskey_certificate_rebuild(templates[i], in.ptr, &parts, &der, &err) != NH_OK)
			continue;
		FUZZ_CHECK(nh_nerveskey_certificate_parse(nh_buf_slice(&der), &c, &err) == NH_OK, "%s", err.msg);
		FUZZ_CHECK(memcmp(c.signature, in.ptr, sizeof c.signature) == 0, "template %zu", i);
		if (templates[i] != NH_NERVESKEY_TEMPLATE_SIGNER && templates[i] != NH_NERVESKEY_TEMPLATE_DEVICE)
			continue;
		FUZZ_CHECK(nh_nerveskey_compress(templates[i], nh_buf_slice(&der), &parts, again, &err) == NH_OK, "%s", err.msg);
		FUZZ_CHECK(memcmp(again, in.ptr, sizeof again) == 0, "template %zu", i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice in = nh_slice_of(data, size);
	if (fuzz_byte(&in) == 'c')
		certificate(in);
	else
		stored(in);
	return 0;
}
