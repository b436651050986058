/*
 * What provisioning would do to a chip: its state, the order, and the image to be burnt, with nothing written. Every reason to refuse is found here, before the first lock; the
 * last sentence of each message says so.
 *
 * source: reference/nerveskey "6.2", "6.3", "17"
 */
#include "provision_int.h"

#include <stdio.h>

#include "base/clock.h"
#include "certificate_int.h"

static nh_nerveskey_kind wanted_kind(const struct nh_nerveskey_order *order) { return order->activation_key ? NH_NERVESKEY_VOLATILE : NH_NERVESKEY_REGULAR; }
static const char *kind_name(nh_nerveskey_kind kind) { return kind == NH_NERVESKEY_VOLATILE ? "volatile" : kind == NH_NERVESKEY_TRUST_AND_GO ? "Trust&Go" : "regular"; }

/* "1, 2, 9" */
static const char *slot_list(uint16_t bits, char out[64])
{
	size_t at = 0;
	out[0] = '\0';
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if (bits >> slot & 1)
			at += (size_t)snprintf(out + at, 64 - at, "%s%u", at ? ", " : "", slot);
	return out;
}

static nh_rc refuse_foreign(const char *name, uint16_t differing, struct nh_err *err)
{
	char list[64];
	return NH_FAIL(err, NH_EPERM, "%s: this chip's configuration is permanently locked to a different layout (slots %s); it cannot become a NervesKey", name, slot_list(differing, list));
}

/* " on 2026-11-21", from the device's certificate; nothing where that cannot be read. */
static void provisioned_on(struct nh_nerveskey *key, struct nh_buf *out)
{
	uint8_t device[NH_NERVESKEY_COMPRESSED_LEN];
	int64_t from_s, until_s;
	NH_AUTO_BUF struct nh_buf time = NH_BUF_INIT;
	if (nh_atecc_read_slot(key->chip, NH_NERVESKEY_DEVICE_CERT_SLOT, device, sizeof device, NULL) != NH_OK || nh_nerveskey_dates_decode(device + COMPRESSED_DATES, &from_s, &until_s) != NH_OK)
		return;
	nh_time_put_iso(&time, from_s * 1000000);
	nh_buf_printf(out, " on %.10s", nh_buf_cstr(&time));
}

static nh_rc refuse_done(struct nh_nerveskey *key, const struct nh_nerveskey_info *info, struct nh_err *err)
{
	const char *name = nh_nerveskey_name(key);
	NH_AUTO_BUF struct nh_buf date = NH_BUF_INIT;
	if (info->state.kind == NH_NERVESKEY_TRUST_AND_GO)
		return NH_FAIL(err, NH_ECONFLICT, "%s: a Trust&Go part (serial number %s), provisioned by Microchip; it can be used as it is", name, info->manufacturer_serial);
	if (!info->has_otp)
		return NH_FAIL(err, NH_ECONFLICT, "%s: the data zone is locked already, without a NervesKey's one-time zone; this chip cannot become one any more", name);
	provisioned_on(key, &date);
	return NH_FAIL(err, NH_ECONFLICT, "%s: already provisioned%s, with serial number '%s' and board name '%s'", name, nh_buf_cstr(&date), info->otp.serial, info->otp.board_name);
}

/* May this chip become, or go on becoming, what was ordered? */
static nh_rc check_chip(struct nh_nerveskey *key, nh_nerveskey_kind kind, const struct nh_nerveskey_info *info, struct nh_err *err)
{
	const struct nh_nerveskey_state *s = &info->state;
	const char *name = nh_nerveskey_name(key);
	char list[64];
	if (info->model == NH_ATECC_UNKNOWN)
		return NH_FAIL(err, NH_EUNSUPPORTED, "%s: a chip of revision %02x%02x%02x%02x, which is no ATECC508A or 608", name, info->revision[0], info->revision[1], info->revision[2],
		               info->revision[3]);
	if (kind == NH_NERVESKEY_VOLATILE && info->model == NH_ATECC_508A)
		return NH_FAIL(err, NH_EUNSUPPORTED, "%s: an ATECC508A has no latch, which the volatile layout needs", name);
	if (s->stage == NH_NERVESKEY_STAGE_FOREIGN)
		return refuse_foreign(name, s->differing_slots, err);
	if (s->stage == NH_NERVESKEY_STAGE_DONE || (s->stage == NH_NERVESKEY_STAGE_KEY_OPEN && !info->has_otp))
		return refuse_done(key, info, err);
	if (s->stage == NH_NERVESKEY_STAGE_BLANK && s->data_locked)
		return NH_FAIL(err, NH_EFORMAT, "%s: the data zone is locked and the configuration is not, which no chip can be: a faulty chip or bus", name);
	if (s->stage != NH_NERVESKEY_STAGE_BLANK && s->kind != kind)
		return NH_FAIL(err, NH_EPERM, "%s: the configuration is locked to the %s layout, the order is for a %s one", name, kind_name(s->kind), kind_name(kind));
	if (s->stage == NH_NERVESKEY_STAGE_CONFIGURED && nh_nerveskey_slots_differing(info->config, kind))
		return refuse_foreign(name, nh_nerveskey_slots_differing(info->config, kind), err);
	if (s->stage != NH_NERVESKEY_STAGE_KEY_OPEN && s->open_slots != 0xFFFF)
		return NH_FAIL(err, NH_EPERM, "%s: slots %s are locked already, by another tool; they cannot be written any more", name, slot_list((uint16_t)~s->open_slots, list));
	return NH_OK;
}

/* Serial number, board name, user data: the one-time zone, and the texts in the plan. */
static nh_rc plan_otp(const struct nh_nerveskey_order *order, struct nh_nerveskey_plan *plan, struct nh_err *err)
{
	struct nh_nerveskey_otp texts;
	nh_slice serial = order->manufacturer_serial.len ? order->manufacturer_serial : nh_slice_str(plan->info.default_serial);
	nh_slice board = order->board_name.len ? order->board_name : NH_LIT("NervesKey");
	NH_TRY(nh_nerveskey_otp_encode(serial, board, order->user_data, plan->otp, err));
	if (nh_nerveskey_otp_decode(plan->otp, &texts) != NH_OK || !nh_slice_eq_str(serial, texts.serial) || !nh_slice_eq_str(board, texts.board_name))
		return NH_FAIL(err, NH_EINVAL, "serial number or board name would not be read back as they are");
	snprintf(plan->manufacturer_serial, sizeof plan->manufacturer_serial, "%s", texts.serial);
	snprintf(plan->board_name, sizeof plan->board_name, "%s", texts.board_name);
	return NH_OK;
}

/* Data locked, keys not: only locks are left, and only where the order is the one that was begun. */
static nh_rc check_same_order(struct nh_nerveskey *key, struct nh_nerveskey_plan *plan, struct nh_err *err)
{
	uint8_t otp[NH_ATECC_OTP_LEN], signer[NH_NERVESKEY_COMPRESSED_LEN];
	NH_TRY(nh_atecc_read_otp(key->chip, otp, err));
	NH_TRY(nh_atecc_read_slot(key->chip, NH_NERVESKEY_SIGNER_CERT_SLOT, signer, sizeof signer, err));
	bool same_otp = memcmp(otp, plan->otp, sizeof otp) == 0, same_signer = memcmp(signer, plan->signer_compressed, sizeof signer) == 0;
	plan->repair_only = true;
	if (same_otp && same_signer)
		return NH_OK;
	return NH_FAIL(err, NH_ECONFLICT, "%s: already provisioned but for the last lock, with serial number '%s' and board name '%s'%s: another order than this one. Finish it with repair",
	               nh_nerveskey_name(key), plan->info.otp.serial, plan->info.otp.board_name, same_signer ? "" : " and another signer");
}

static nh_rc check_keys(const struct nh_nerveskey_order *order, struct nh_err *err)
{
	if (!order->activation_key == !order->encryption_key)
		return NH_OK;
	return NH_FAIL(err, NH_EINVAL, "the volatile layout needs an activation key and an encryption key, of 16 bytes each");
}

static nh_rc make(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_nerveskey_plan *plan, struct nh_nerveskey_terms *terms, struct nh_err *err)
{
	*plan = (struct nh_nerveskey_plan){.kind = wanted_kind(order)};
	NH_TRY(check_keys(order, err));
	NH_TRY(nh_nerveskey_info_read(key, &plan->info, err));
	NH_TRY(check_chip(key, plan->kind, &plan->info, err));
	NH_TRY(plan_otp(order, plan, err));
	NH_TRY(nh_nerveskey_terms_check(order, &plan->info, nh_slice_str(plan->manufacturer_serial), terms, err));
	for (size_t i = 0; i < NH_NERVESKEY_COMPRESSED_LEN; i++)
		plan->signer_compressed[i] = terms->signer_compressed[i];
	for (size_t i = 0; i < NH_ATECC_CONFIG_LEN; i++)
		plan->config[i] = plan->info.config[i];
	bool blank = plan->info.state.stage == NH_NERVESKEY_STAGE_BLANK;
	if (blank)
		nh_nerveskey_config_apply(plan->config, plan->kind);
	if (plan->info.state.stage == NH_NERVESKEY_STAGE_KEY_OPEN)
		NH_TRY(check_same_order(key, plan, err));
	for (unsigned step = 0; step < NH_NERVESKEY_STEPS; step++)
		plan->needed[step] = blank || (!plan->repair_only && step > NH_NERVESKEY_STEP_CONFIG_LOCK) || step >= NH_NERVESKEY_STEP_SLOT_LOCK || step == NH_NERVESKEY_STEP_CHECK;
	return NH_OK;
}

nh_rc nh_nerveskey_plan_make(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_nerveskey_plan *plan, struct nh_nerveskey_terms *terms, struct nh_err *err)
{
	struct nh_err why = NH_ERR_INIT;
	nh_rc rc = make(key, order, plan, terms, &why);
	return rc == NH_OK ? NH_OK : NH_FAIL(err, rc, "%s. Nothing was written.", why.msg);
}

nh_rc nh_nerveskey_plan(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_nerveskey_plan *out, struct nh_err *err)
{
	struct nh_nerveskey_terms terms;
	*out = (struct nh_nerveskey_plan){0};
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = nh_nerveskey_plan_make(key, order, out, &terms, err);
	nh_nerveskey_leave(key);
	return rc;
}
