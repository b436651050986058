/*
 * From a blank part to a NervesKey, step by step. Three kinds of steps burn something for good: the locks of the configuration, of the data zone and of the key slots. Everything that can be judged is judged
 * before the first (provision_plan.c); everything that can be read back is read back before each; what cannot be read back before the data lock is covered by the sum that lock carries. A lock whose
 * answer is lost is looked up, never sent blindly.
 *
 * Wherever it stops, the chip's own bytes say where it stands, and running it again goes on from there.
 * source: reference/nerveskey "5.6", "6.3", "6.6"
 */
#include "provision_int.h"

#include <stdio.h>

#define FIRST_SLOT 1u /* slot 0 is the key's */

static const char *const step_names[NH_NERVESKEY_STEPS] = {
	[NH_NERVESKEY_STEP_CHECK] = "check",         [NH_NERVESKEY_STEP_CONFIG_WRITE] = "config-write", [NH_NERVESKEY_STEP_CONFIG_LOCK] = "config-lock",
	[NH_NERVESKEY_STEP_OTP_WRITE] = "otp-write", [NH_NERVESKEY_STEP_KEY] = "key",                   [NH_NERVESKEY_STEP_SLOTS_WRITE] = "slots-write",
	[NH_NERVESKEY_STEP_DATA_LOCK] = "data-lock", [NH_NERVESKEY_STEP_SLOT_LOCK] = "slot-lock",       [NH_NERVESKEY_STEP_VERIFY] = "verify",
};

const char *nh_nerveskey_step_name(nh_nerveskey_step step)
{
	return (unsigned)step < NH_NERVESKEY_STEPS ? step_names[step] : "?";
}

void nh_nerveskey_receipt_fini(struct nh_nerveskey_receipt *r)
{
	nh_buf_fini(&r->device_der);
	nh_buf_fini(&r->signer_der);
}

void nh_nerveskey_slot_image(const struct nh_nerveskey_job *job, unsigned slot, uint8_t out[NH_ATECC_SLOT_MAX])
{
	bool latched = job->plan.kind == NH_NERVESKEY_VOLATILE;
	const struct {
		unsigned slot;
		const uint8_t *bytes;
		size_t len;
	} filled[] = {
		{NH_NERVESKEY_DEVICE_CERT_SLOT, job->device_compressed, NH_NERVESKEY_COMPRESSED_LEN},
		{NH_NERVESKEY_SIGNER_KEY_SLOT, job->terms.signer.public_key, NH_P256_PUBLIC_LEN},
		{NH_NERVESKEY_SIGNER_CERT_SLOT, job->terms.signer_compressed, NH_NERVESKEY_COMPRESSED_LEN},
		{NH_NERVESKEY_ACTIVATION_SLOT, latched ? job->order->activation_key : NULL, NH_NERVESKEY_LATCH_KEY_LEN},
		{NH_NERVESKEY_ENCRYPTION_SLOT, latched ? job->order->encryption_key : NULL, NH_NERVESKEY_LATCH_KEY_LEN},
	};
	for (size_t i = 0; i < NH_ATECC_SLOT_MAX; i++)
		out[i] = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(filled); i++)
		for (size_t k = 0; filled[i].slot == slot && filled[i].bytes && k < filled[i].len; k++)
			out[k] = filled[i].bytes[k];
}

/* ---- locks */

/*
 * After a lock: rc is what the driver says, who has looked whether a lock without an answer took. byte and mask: where the configuration shows it. Burnt unless the chip shows otherwise.
 */
static nh_rc settle(struct nh_nerveskey_job *job, nh_rc rc, unsigned byte, uint8_t mask)
{
	uint8_t config[NH_ATECC_CONFIG_LEN];
	bool open = rc != NH_OK && nh_atecc_read_config(job->key->chip, config, NULL) == NH_OK && (config[byte] & mask) != 0;
	job->receipt->burnt = job->receipt->burnt || !open;
	return rc;
}

static nh_rc write_config(struct nh_nerveskey_job *job, struct nh_err *err)
{
	uint8_t back[NH_ATECC_CONFIG_LEN];
	if (memcmp(job->plan.info.config, job->plan.config, sizeof back) != 0)
		NH_TRY(nh_atecc_write_config(job->key->chip, job->plan.config, err));
	NH_TRY(nh_atecc_read_config(job->key->chip, back, err));
	for (unsigned i = 0; i < sizeof back; i++)
		if (back[i] != job->plan.config[i])
			return NH_FAIL(err, NH_EIO, "%s: byte %u of the configuration reads back as %02X, %02X was written", nh_nerveskey_name(job->key), i, back[i], job->plan.config[i]);
	return NH_OK;
}

static nh_rc lock_config(struct nh_nerveskey_job *job, struct nh_err *err)
{
	uint16_t crc = nh_atecc_crc16(nh_slice_of(job->plan.config, NH_ATECC_CONFIG_LEN));
	return settle(job, nh_atecc_lock_config(job->key->chip, crc, err), 87, 0xFF);
}

/* ---- between the locks: all of it can be done again */

static nh_rc write_otp(struct nh_nerveskey_job *job, struct nh_err *err) { return nh_atecc_write_otp(job->key->chip, job->plan.otp, err); }

/* A key that an earlier attempt made is not taken over: nothing says what became of it meanwhile. */
static nh_rc make_key(struct nh_nerveskey_job *job, struct nh_err *err)
{
	NH_TRY(nh_atecc_genkey(job->key->chip, NH_NERVESKEY_KEY_SLOT, job->public_key, err));
	nh_buf_clear(&job->receipt->device_der);
	return nh_nerveskey_terms_certify(job->order, &job->terms, &job->plan.info, job->public_key, &job->receipt->device_der, job->device_compressed, err);
}

static nh_rc write_slots(struct nh_nerveskey_job *job, struct nh_err *err)
{
	nh_rc rc = NH_OK;
	uint8_t image[NH_ATECC_SLOT_MAX];
	for (unsigned slot = FIRST_SLOT; rc == NH_OK && slot < NH_ATECC_SLOTS; slot++) {
		nh_nerveskey_slot_image(job, slot, image);
		rc = nh_atecc_write_slot(job->key->chip, slot, nh_slice_of(image, nh_atecc_slot_len(slot)), false, err);
	}
	explicit_bzero(image, sizeof image);
	return rc;
}

/* Over the slots that hold no private key, each at its full size, and the one-time zone. */
static uint16_t data_sum(const struct nh_nerveskey_job *job)
{
	uint16_t crc = 0;
	uint8_t image[NH_ATECC_SLOT_MAX];
	for (unsigned slot = FIRST_SLOT; slot < NH_ATECC_SLOTS; slot++) {
		nh_nerveskey_slot_image(job, slot, image);
		crc = nh_atecc_crc16_more(crc, nh_slice_of(image, nh_atecc_slot_len(slot)));
	}
	explicit_bzero(image, sizeof image);
	return nh_atecc_crc16_more(crc, nh_slice_of(job->plan.otp, NH_ATECC_OTP_LEN));
}

static nh_rc lock_data(struct nh_nerveskey_job *job, struct nh_err *err)
{
	uint8_t now[NH_P256_PUBLIC_LEN];
	/* The sum does not cover the key: it must still be the certificate's. A chip that does not show it before the lock is believed. */
	nh_rc rc = nh_atecc_public_key(job->key->chip, NH_NERVESKEY_KEY_SLOT, now, err);
	if (rc != NH_OK && rc != NH_EPERM)
		return rc;
	if (rc == NH_OK && memcmp(now, job->public_key, sizeof now) != 0)
		return NH_FAIL(err, NH_EIO, "%s: slot 0 holds another key than the one just made; is another program writing to this chip?", nh_nerveskey_name(job->key));
	rc = settle(job, nh_atecc_lock_data(job->key->chip, data_sum(job), err), 86, 0xFF);
	if (rc != NH_EPERM)
		return rc;
	return NH_FAIL(err, rc, "%s: the chip refuses to lock: it does not hold what was written to it", nh_nerveskey_name(job->key));
}

static nh_rc lock_key_slots(struct nh_nerveskey_job *job, struct nh_err *err)
{
	uint16_t todo = nh_nerveskey_slots_to_lock(job->plan.kind) & job->plan.info.state.open_slots;
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if (todo >> slot & 1)
			NH_TRY(settle(job, nh_atecc_lock_slot(job->key->chip, slot, err), 88 + slot / 8, (uint8_t)(1u << slot % 8)));
	return NH_OK;
}

/* A chip that was left with its last locks missing: what they would make final must be right first. */
static nh_rc finish_locks(struct nh_nerveskey_job *job, struct nh_err *err)
{
	if (job->plan.repair_only) {
		nh_buf_clear(&job->receipt->device_der);
		nh_buf_clear(&job->receipt->signer_der);
		NH_TRY(nh_nerveskey_pair_check(job->key, job->terms.rng, job->order->activation_key, &job->receipt->device_der, &job->receipt->signer_der, err));
	}
	return lock_key_slots(job, err);
}

/* ---- all of it */

static nh_rc check(struct nh_nerveskey_job *job, struct nh_err *err) { return nh_nerveskey_plan_make(job->key, job->order, &job->plan, &job->terms, err); }

static nh_rc (*const steps[NH_NERVESKEY_STEPS])(struct nh_nerveskey_job *job, struct nh_err *err) = {
	[NH_NERVESKEY_STEP_CHECK] = check,         [NH_NERVESKEY_STEP_CONFIG_WRITE] = write_config, [NH_NERVESKEY_STEP_CONFIG_LOCK] = lock_config,
	[NH_NERVESKEY_STEP_OTP_WRITE] = write_otp, [NH_NERVESKEY_STEP_KEY] = make_key,              [NH_NERVESKEY_STEP_SLOTS_WRITE] = write_slots,
	[NH_NERVESKEY_STEP_DATA_LOCK] = lock_data, [NH_NERVESKEY_STEP_SLOT_LOCK] = finish_locks,    [NH_NERVESKEY_STEP_VERIFY] = nh_nerveskey_result_check,
};

/* What a failure left behind, in words; the check says it itself. */
static const char *aftermath(nh_nerveskey_step step, bool burnt)
{
	if (step <= NH_NERVESKEY_STEP_CONFIG_LOCK)
		return burnt ? "Whether the configuration is locked is not known; run it again, it looks first." : "Nothing was burnt; run it again.";
	if (step < NH_NERVESKEY_STEP_DATA_LOCK)
		return "The configuration is locked for good, nothing else; run it again, it goes on from there.";
	if (step == NH_NERVESKEY_STEP_DATA_LOCK)
		return "The configuration is locked for good, the data zone perhaps; run it again, it looks first.";
	if (step == NH_NERVESKEY_STEP_SLOT_LOCK)
		return "Everything is written and locked but the key's slot; run it again or repair it: until then the key could be replaced.";
	return "Everything is written and locked; what does not verify stays so.";
}

static nh_rc run(struct nh_nerveskey_job *job, void (*on_step)(void *ctx, nh_nerveskey_step step), void *ctx, struct nh_err *err)
{
	struct nh_nerveskey_receipt *r = job->receipt;
	job->plan.needed[NH_NERVESKEY_STEP_CHECK] = true;
	for (unsigned step = 0; step < NH_NERVESKEY_STEPS; step++) {
		struct nh_err why = NH_ERR_INIT;
		if (!job->plan.needed[step])
			continue;
		r->reached = (nh_nerveskey_step)step;
		if (on_step)
			on_step(ctx, r->reached);
		/* Each step begins with a fresh wake: no chip promises that a lock is in force before. */
		nh_rc rc = nh_atecc_restart(job->key->chip, &why);
		if (rc == NH_OK)
			rc = steps[step](job, &why);
		r->info = step == NH_NERVESKEY_STEP_CHECK ? job->plan.info : r->info;
		if (rc == NH_OK)
			continue;
		if (step == NH_NERVESKEY_STEP_CHECK) {
			if (err)
				*err = why;
			return rc;
		}
		return NH_FAIL(err, rc, "%s: %s. %s", step_names[step], why.msg, aftermath(r->reached, r->burnt));
	}
	return NH_OK;
}

/* The receipt of an attempt that was interrupted when all was done may be lost: the chip's certificates are handed out with the refusal. */
static void fill_receipt(struct nh_nerveskey_job *job)
{
	struct nh_nerveskey_receipt *r = job->receipt;
	if (r->info.state.stage != NH_NERVESKEY_STAGE_DONE || !r->info.has_otp)
		return;
	NH_IGNORE(nh_nerveskey_device_certificate(job->key, NH_NERVESKEY_PRIMARY, &r->device_der, NULL));
	NH_IGNORE(nh_nerveskey_signer_certificate(job->key, NH_NERVESKEY_PRIMARY, &r->signer_der, NULL));
}

nh_rc nh_nerveskey_provision(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, void (*on_step)(void *ctx, nh_nerveskey_step step), void *ctx,
                             struct nh_nerveskey_receipt *out, struct nh_err *err)
{
	struct nh_nerveskey_job job = {.key = key, .order = order, .receipt = out};
	*out = (struct nh_nerveskey_receipt){0};
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = run(&job, on_step, ctx, err);
	if (rc == NH_ECONFLICT)
		fill_receipt(&job);
	nh_nerveskey_leave(key);
	return rc;
}

/* ---- repair */

static nh_rc repair(struct nh_nerveskey_job *job, struct nh_err *err)
{
	struct nh_nerveskey_info *info = &job->plan.info;
	const char *name = nh_nerveskey_name(job->key);
	NH_TRY(nh_nerveskey_info_read(job->key, info, err));
	if (info->state.stage != NH_NERVESKEY_STAGE_KEY_OPEN)
		return NH_FAIL(err, NH_ECONFLICT, "%s: nothing to repair: %s", name,
		               info->state.stage == NH_NERVESKEY_STAGE_DONE ? "all locks are set" : "the data zone is not locked, so provisioning can simply be run again");
	job->plan.kind = info->state.kind;
	NH_TRY_CTX(nh_nerveskey_pair_check(job->key, &nh_rng_system, NULL, &job->receipt->device_der, &job->receipt->signer_der, err), err, "not repaired, nothing was locked");
	NH_TRY(lock_key_slots(job, err));
	NH_TRY(nh_nerveskey_info_read(job->key, info, err));
	return info->state.stage == NH_NERVESKEY_STAGE_DONE ? NH_OK : NH_FAIL(err, NH_EIO, "%s: the locks were accepted, and the chip does not show them", name);
}

nh_rc nh_nerveskey_repair(struct nh_nerveskey *key, struct nh_err *err)
{
	struct nh_nerveskey_receipt receipt = {0};
	struct nh_nerveskey_job job = {.key = key, .receipt = &receipt};
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = repair(&job, err);
	nh_nerveskey_leave(key);
	nh_nerveskey_receipt_fini(&receipt);
	return rc;
}
