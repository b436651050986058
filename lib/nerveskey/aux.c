/*
 * A second certificate for the same key, by another signer: for moving a device to another owner, or to other servers, without opening it. Its slots stay writable for ever, so it can be made, replaced and
 * removed at any time; what was interrupted in between is recognised when it is read, since it does not verify.
 *
 * source: reference/nerveskey "6.4"
 */
#include "base/clock.h"
#include "certificate_int.h"
#include "nerveskey_int.h"

#define HOUR_US (3600 * NH_US_PER_S)

/* Data locked and a layout of ours. */
static nh_rc check_chip(struct nh_nerveskey *key, struct nh_nerveskey_info *info, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_identity_read(key, info, err));
	const char *name = nh_nerveskey_name(key);
	if (info->state.kind == NH_NERVESKEY_TRUST_AND_GO)
		return NH_FAIL(err, NH_EUNSUPPORTED, "%s: the slots of a Trust&Go part are not laid out for auxiliary certificates. Nothing was written.", name);
	if (!info->state.data_locked || !info->has_otp)
		return NH_FAIL(err, NH_EPERM, "%s: no provisioned NervesKey: an auxiliary certificate needs the key and serial number of one. Nothing was written.", name);
	return NH_OK;
}

static nh_rc put_slot(struct nh_nerveskey *key, unsigned slot, const uint8_t *bytes, size_t len, struct nh_err *err)
{
	return nh_atecc_write_slot(key->chip, slot, nh_slice_of(bytes, len), true, err);
}

static nh_rc empty_slot(struct nh_nerveskey *key, unsigned slot, struct nh_err *err)
{
	static const uint8_t zeros[72];
	return put_slot(key, slot, zeros, nh_atecc_slot_len(slot), err);
}

/* A clock that is some hours behind another. */
struct behind {
	const struct nh_clock *clock;
	int64_t hours;
};

static int64_t behind_now(void *ctx)
{
	const struct behind *b = ctx;
	return nh_clock_now(b->clock) - b->hours * HOUR_US;
}

/*
 * The certificate for this key, with dates that neither certificate on the chip has: serial numbers are made of dates and the chip's number alone, and all signers are called "Signer", so what is made within
 * the same hour could not be told apart. Servers and TLS libraries refuse a second certificate of the same number and issuer. It begins an hour earlier then, or two.
 * source: reference/nerveskey "8.3"
 */
static nh_rc certify(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_nerveskey_terms *terms, const struct nh_nerveskey_info *info, struct nh_buf *der,
                     uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err)
{
	uint8_t device_key[NH_P256_PUBLIC_LEN], stored[2][NH_NERVESKEY_COMPRESSED_LEN];
	struct behind behind = {.clock = terms->clock};
	const struct nh_clock clock = {.now_us = behind_now, .ctx = &behind};
	nh_rc rc = NH_OK;
	bool taken = true;
	NH_TRY(nh_nerveskey_public_key(key, device_key, err));
	NH_TRY(nh_atecc_read_slot(key->chip, NH_NERVESKEY_DEVICE_CERT_SLOT, stored[0], sizeof stored[0], err));
	NH_TRY(nh_atecc_read_slot(key->chip, NH_NERVESKEY_AUX_DEVICE_CERT_SLOT, stored[1], sizeof stored[1], err));
	for (terms->clock = &clock; rc == NH_OK && taken; behind.hours++) {
		nh_buf_clear(der);
		rc = nh_nerveskey_terms_certify(order, terms, info, device_key, der, compressed, err);
		taken = false;
		for (unsigned i = 0; i < 2; i++)
			taken |= memcmp(stored[i] + COMPRESSED_DATES, compressed + COMPRESSED_DATES, 3) == 0;
	}
	terms->clock = behind.clock;
	return rc;
}

static nh_rc provision_aux(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	struct nh_nerveskey_terms terms;
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, back = NH_BUF_INIT;
	NH_TRY(check_chip(key, &info, err));
	NH_TRY(nh_nerveskey_terms_check(order, &info, nh_slice_str(info.manufacturer_serial), &terms, err));
	NH_TRY(certify(key, order, &terms, &info, &der, compressed, err));
	/* The device's certificate goes first and comes last: while it is not there, there is no pair. */
	NH_TRY(empty_slot(key, NH_NERVESKEY_AUX_DEVICE_CERT_SLOT, err));
	NH_TRY(put_slot(key, NH_NERVESKEY_AUX_SIGNER_KEY_SLOT, terms.signer.public_key, NH_P256_PUBLIC_LEN, err));
	NH_TRY(put_slot(key, NH_NERVESKEY_AUX_SIGNER_CERT_SLOT, terms.signer_compressed, sizeof terms.signer_compressed, err));
	NH_TRY(put_slot(key, NH_NERVESKEY_AUX_DEVICE_CERT_SLOT, compressed, sizeof compressed, err));
	NH_TRY(nh_nerveskey_signer_certificate(key, NH_NERVESKEY_AUX, &back, err));
	bool same = nh_slice_eq(nh_buf_slice(&back), order->signer_der);
	nh_buf_clear(&back);
	NH_TRY(nh_nerveskey_device_certificate(key, NH_NERVESKEY_AUX, &back, err));
	if (!same || !nh_slice_eq(nh_buf_slice(&back), nh_buf_slice(&der)))
		return NH_FAIL(err, NH_EIO, "%s: the auxiliary certificates do not come back as they were written; do it again", nh_nerveskey_name(key));
	return NH_OK;
}

nh_rc nh_nerveskey_provision_aux(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = provision_aux(key, order, err);
	nh_nerveskey_leave(key);
	return rc;
}

static nh_rc clear_aux(struct nh_nerveskey *key, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	NH_TRY(check_chip(key, &info, err));
	NH_TRY(empty_slot(key, NH_NERVESKEY_AUX_DEVICE_CERT_SLOT, err));
	NH_TRY(empty_slot(key, NH_NERVESKEY_AUX_SIGNER_KEY_SLOT, err));
	return empty_slot(key, NH_NERVESKEY_AUX_SIGNER_CERT_SLOT, err);
}

nh_rc nh_nerveskey_clear_aux(struct nh_nerveskey *key, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = clear_aux(key, err);
	nh_nerveskey_leave(key);
	return rc;
}
