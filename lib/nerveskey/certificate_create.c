/*
 * New certificates, signed on the host. Each is built from its 72 bytes in the first place, and then taken apart and built again: what leaves here can be stored on a chip.
 */
#include "certificate_int.h"

/* parts->subject_key is the new certificate's; signer signs. Appends DER, fills compressed. */
static nh_rc make(nh_nerveskey_template which, const struct nh_nerveskey_parts *parts, const uint8_t dates[3], const struct nh_p256_key *signer, const struct nh_rng *rng,
                  struct nh_buf *der, uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf tbs = NH_BUF_INIT, made = NH_BUF_INIT;
	uint8_t signature[NH_P256_SIGNATURE_LEN] = {0}, digest[32], again[NH_NERVESKEY_COMPRESSED_LEN];
	nh_nerveskey_compressed_fill(which, signature, dates, compressed);
	NH_TRY(nh_nerveskey_tbs_put(which, compressed, parts, &tbs, err));
	nh_p256_sha256(nh_buf_slice(&tbs), digest);
	nh_p256_sign(signer, nh_slice_of(digest, sizeof digest), rng, signature);
	nh_nerveskey_compressed_fill(which, signature, dates, compressed);
	NH_TRY(nh_nerveskey_certificate_rebuild(which, compressed, parts, &made, err));
	NH_TRY(nh_nerveskey_compress(which, nh_buf_slice(&made), parts, again, err));
	if (memcmp(again, compressed, sizeof again) != 0)
		return NH_FAIL(err, NH_EINTERNAL, "a certificate made here does not compress to its own bytes; nothing was written");
	NH_TRY(nh_nerveskey_certificate_check(nh_buf_slice(&made), signer->public_key, err));
	nh_buf_put_slice(der, nh_buf_slice(&made));
	return nh_buf_check(der, "the certificate", err);
}

static nh_rc dates_from_now(const struct nh_clock *clock, unsigned years, uint8_t dates[3], struct nh_err *err)
{
	int64_t from_s = nh_nerveskey_not_before(clock), to_s;
	if (nh_nerveskey_years_later(from_s, years, &to_s) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "this machine's clock shows a year that certificates cannot say; set it and try again");
	NH_TRY_CTX(nh_nerveskey_dates_encode(from_s, to_s, dates, err), err, "by this machine's clock");
	return NH_OK;
}

nh_rc nh_nerveskey_signer_create(const struct nh_p256_key *key, unsigned years, const struct nh_clock *clock, const struct nh_rng *rng, struct nh_buf *der, struct nh_err *err)
{
	uint8_t dates[3], compressed[NH_NERVESKEY_COMPRESSED_LEN];
	if (years > NH_NERVESKEY_YEARS_MAX)
		return NH_FAIL(err, NH_EINVAL, "a signer certificate can be valid for 1 to %u years, or 0 for ever; not %u", NH_NERVESKEY_YEARS_MAX, years);
	NH_TRY(dates_from_now(clock, years, dates, err));
	return make(NH_NERVESKEY_TEMPLATE_SIGNER, &(struct nh_nerveskey_parts){.subject_key = key->public_key}, dates, key, rng, der, compressed, err);
}

/* The rules of the chip's one-time-programmable zone hold for certificates without a chip too: names are the same kind of thing. */
static nh_rc check_serial(nh_slice serial, struct nh_err *err)
{
	if (serial.len < 1 || serial.len > NH_NERVESKEY_SERIAL_MAX)
		return NH_FAIL(err, NH_EINVAL, "a manufacturer's serial number has 1 to %u bytes, not %zu", NH_NERVESKEY_SERIAL_MAX, serial.len);
	bool clean = nh_utf8_valid(serial) && nh_slice_chr(serial, '/') < 0;
	for (size_t i = 0; i < serial.len; i++)
		clean &= serial.ptr[i] >= 0x20 && serial.ptr[i] != 0x7f;
	return clean ? NH_OK : NH_FAIL(err, NH_EINVAL, "a manufacturer's serial number is UTF-8 text without '/' and control characters");
}

nh_rc nh_nerveskey_device_create(const uint8_t device_key[NH_P256_PUBLIC_LEN], nh_slice manufacturer_serial, const uint8_t chip_serial[NH_ATECC_SERIAL_LEN],
                                 nh_slice signer_der, const struct nh_p256_key *signer_key, const struct nh_clock *clock, const struct nh_rng *rng,
                                 struct nh_buf *der, uint8_t *compressed, struct nh_err *err)
{
	struct nh_nerveskey_certificate signer;
	uint8_t dates[3], own[NH_NERVESKEY_COMPRESSED_LEN];
	NH_TRY(check_serial(manufacturer_serial, err));
	NH_TRY(nh_nerveskey_signer_compress(signer_der, own, err));
	NH_TRY(nh_nerveskey_certificate_parse(signer_der, &signer, err));
	if (memcmp(signer.public_key, signer_key->public_key, sizeof signer.public_key) != 0)
		return NH_FAIL(err, NH_EINVAL, "the signer's private key does not belong to the signer's certificate");
	if (nh_p256_public_check(device_key) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "the device's public key is not a point of P-256");
	NH_TRY(dates_from_now(clock, NH_NERVESKEY_YEARS_MAX, dates, err));
	const struct nh_nerveskey_parts parts = {.subject_key = device_key, .signer_key = signer.public_key, .chip_serial = chip_serial, .manufacturer_serial = manufacturer_serial};
	NH_TRY(make(NH_NERVESKEY_TEMPLATE_DEVICE, &parts, dates, signer_key, rng, der, own, err));
	if (compressed)
		memcpy(compressed, own, sizeof own);
	return NH_OK;
}
