/*
 * What planning, doing and checking a provisioning share. Private to nerveskey.
 */
#pragma once

#include "nerveskey_int.h"

/* provision_plan.c, in a transaction. */
nh_rc nh_nerveskey_plan_make(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_nerveskey_plan *plan, struct nh_nerveskey_terms *terms, struct nh_err *err);

/* One provisioning under way. */
struct nh_nerveskey_job {
	struct nh_nerveskey *key;
	const struct nh_nerveskey_order *order;
	struct nh_nerveskey_plan plan;
	struct nh_nerveskey_terms terms;
	struct nh_nerveskey_receipt *receipt;
	uint8_t public_key[NH_P256_PUBLIC_LEN];
	uint8_t device_compressed[NH_NERVESKEY_COMPRESSED_LEN];
};
/* What a slot is to hold, with zeros behind: its whole size. out may hold a secret afterwards. */
void nh_nerveskey_slot_image(const struct nh_nerveskey_job *job, unsigned slot, uint8_t out[NH_ATECC_SLOT_MAX]);

/* provision_verify.c, all in a transaction. Both certificates rebuild and verify, and the key signs. For the volatile layout the latch is set for it where the activation key is given. NH_EAUTH. */
nh_rc nh_nerveskey_pair_check(struct nh_nerveskey *key, const struct nh_rng *rng, const uint8_t *activation_key, struct nh_buf *device_der, struct nh_buf *signer_der, struct nh_err *err);
/* The whole chip against what was meant; fills the receipt. NH_EIO, NH_EAUTH. */
nh_rc nh_nerveskey_result_check(struct nh_nerveskey_job *job, struct nh_err *err);
