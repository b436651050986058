/*
 * An order for provisioning, judged without touching the chip: the signer can be stored and comes back, its key is its own, the clock is right, and a device certificate for a key made
 * and thrown away survives its 72 bytes. What could fail after the first lock fails here.
 *
 * source: reference/nerveskey "1" (3, 4, 10), "6.3"
 */
#include "nerveskey_int.h"

static nh_rc check_dates(const struct nh_nerveskey_terms *t, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_clock_check(t->clock, err));
	/* A signer from the future is a clock from the past. An expired one still signs: servers know signers by their keys. */
	if (nh_clock_now(t->clock) / NH_US_PER_S < t->signer.not_before_s)
		return NH_FAIL(err, NH_EINVAL, "the signer's certificate is not valid yet by this machine's clock: set the clock");
	return NH_OK;
}

nh_rc nh_nerveskey_terms_certify(const struct nh_nerveskey_order *order, const struct nh_nerveskey_terms *terms, const struct nh_nerveskey_info *info,
                                 const uint8_t device_key[NH_P256_PUBLIC_LEN], struct nh_buf *der, uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err)
{
	return nh_nerveskey_device_create(device_key, terms->manufacturer_serial, info->chip_serial, order->signer_der, order->signer_key, terms->clock, terms->rng, der, compressed, err);
}

nh_rc nh_nerveskey_terms_check(const struct nh_nerveskey_order *order, const struct nh_nerveskey_info *info, nh_slice manufacturer_serial, struct nh_nerveskey_terms *out,
                               struct nh_err *err)
{
	*out = (struct nh_nerveskey_terms){
		.clock = order->clock ? order->clock : &nh_clock_system,
		.rng = order->rng ? order->rng : &nh_rng_system,
		.manufacturer_serial = manufacturer_serial,
	};
	if (!order->signer_der.len || !order->signer_key)
		return NH_FAIL(err, NH_EINVAL, "provisioning needs a signer's certificate and its private key");
	NH_TRY(nh_nerveskey_signer_compress(order->signer_der, out->signer_compressed, err));
	NH_TRY(nh_nerveskey_certificate_parse(order->signer_der, &out->signer, err));
	NH_TRY(check_dates(out, err));

	struct nh_p256_key throw_away;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
	nh_p256_generate(out->rng, &throw_away);
	nh_rc rc = nh_nerveskey_terms_certify(order, out, info, throw_away.public_key, &der, compressed, err);
	nh_p256_key_wipe(&throw_away);
	return rc;
}
