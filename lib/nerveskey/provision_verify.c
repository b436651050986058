/*
 * Is the chip what it was meant to be? Everything is read back, both certificates are rebuilt and verified, and the key signs something nobody could have signed before.
 *
 * source: reference/nerveskey "6.3", "6.6", "8.5"
 */
#include "provision_int.h"

#define INFO_LATCH 4u
#define LATCH_CLEAR 2u

nh_rc nh_nerveskey_signature_check(struct nh_nerveskey *key, const struct nh_rng *rng, const uint8_t public_key[NH_P256_PUBLIC_LEN], struct nh_err *err)
{
	uint8_t digest[32], signature[NH_P256_SIGNATURE_LEN];
	nh_rng_fill(rng, digest, sizeof digest);
	NH_TRY(nh_nerveskey_sign(key, digest, signature, err));
	if (nh_p256_verify(public_key, nh_slice_of(digest, sizeof digest), signature) == NH_OK)
		return NH_OK;
	return NH_FAIL(err, NH_EAUTH, "%s: what the chip signs does not verify with its own public key", nh_nerveskey_name(key));
}

static nh_rc pair_check(struct nh_nerveskey *key, const struct nh_rng *rng, struct nh_buf *device_der, struct nh_buf *signer_der, struct nh_err *err)
{
	struct nh_nerveskey_certificate device;
	NH_TRY(nh_nerveskey_signer_certificate(key, NH_NERVESKEY_PRIMARY, signer_der, err));
	NH_TRY(nh_nerveskey_device_certificate(key, NH_NERVESKEY_PRIMARY, device_der, err));
	NH_TRY(nh_nerveskey_certificate_parse(nh_buf_slice(device_der), &device, err));
	return nh_nerveskey_signature_check(key, rng, device.public_key, err);
}

nh_rc nh_nerveskey_pair_check(struct nh_nerveskey *key, const struct nh_rng *rng, const uint8_t *activation_key, struct nh_buf *device_der, struct nh_buf *signer_der, struct nh_err *err)
{
	bool latch = true;
	if (activation_key)
		NH_TRY(nh_atecc_latch_get(key->chip, &latch, err));
	if (!latch)
		NH_TRY(nh_atecc_latch_unlock(key->chip, NH_NERVESKEY_ACTIVATION_SLOT, activation_key, rng, err));
	nh_rc rc = pair_check(key, rng, device_der, signer_der, err);
	uint8_t reply[NH_ATECC_RESPONSE_MAX];
	size_t len = 0;
	/* As it was found. Should it fail, the latch stays set until power goes, as it does for everybody who unlocks the chip. */
	if (!latch)
		NH_IGNORE(nh_atecc_raw(key->chip, NH_ATECC_INFO, INFO_LATCH, LATCH_CLEAR, NH_SLICE_EMPTY, reply, &len, NULL));
	return rc;
}

/* The slots that were written in this run and that the chip shows. */
static nh_rc slots_check(struct nh_nerveskey_job *job, struct nh_err *err)
{
	unsigned first = job->plan.kind == NH_NERVESKEY_VOLATILE ? NH_NERVESKEY_ENCRYPTION_SLOT + 1 : NH_NERVESKEY_ACTIVATION_SLOT;
	for (unsigned slot = first; slot < NH_ATECC_SLOTS; slot++) {
		uint8_t image[NH_ATECC_SLOT_MAX], back[NH_ATECC_SLOT_MAX];
		size_t len = nh_atecc_slot_len(slot);
		nh_nerveskey_slot_image(job, slot, image);
		NH_TRY(nh_atecc_read_slot(job->key->chip, slot, back, len, err));
		if (memcmp(image, back, len) != 0)
			return NH_FAIL(err, NH_EIO, "%s: slot %u does not read back as it was written", nh_nerveskey_name(job->key), slot);
	}
	return NH_OK;
}

nh_rc nh_nerveskey_result_check(struct nh_nerveskey_job *job, struct nh_err *err)
{
	struct nh_nerveskey_receipt *r = job->receipt;
	const char *name = nh_nerveskey_name(job->key);
	uint8_t otp[NH_ATECC_OTP_LEN];
	NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT;
	NH_TRY(nh_nerveskey_info_read(job->key, &r->info, err));
	if (r->info.state.stage != NH_NERVESKEY_STAGE_DONE || r->info.state.kind != job->plan.kind)
		return NH_FAIL(err, NH_EIO, "%s: all locks were accepted, and the chip does not show them", name);
	NH_TRY(nh_atecc_read_otp(job->key->chip, otp, err));
	if (memcmp(otp, job->plan.otp, sizeof otp) != 0)
		return NH_FAIL(err, NH_EIO, "%s: the one-time zone does not read back as it was written", name);
	if (!job->plan.repair_only)
		NH_TRY(slots_check(job, err));
	NH_TRY(nh_nerveskey_pair_check(job->key, job->terms.rng, job->order->activation_key, &device, &signer, err));
	if (!nh_slice_eq(nh_buf_slice(&signer), job->order->signer_der))
		return NH_FAIL(err, NH_EAUTH, "%s: the signer's certificate does not come back as it was given", name);
	if (!nh_slice_eq(nh_buf_slice(&device), nh_buf_slice(&r->device_der)))
		return NH_FAIL(err, NH_EAUTH, "%s: the device's certificate does not come back as it was made", name);
	nh_buf_clear(&r->signer_der);
	nh_buf_put_slice(&r->signer_der, nh_buf_slice(&signer));
	return nh_buf_check(&r->signer_der, "certificate", err);
}
