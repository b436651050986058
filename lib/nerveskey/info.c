/*
 * Who is this chip, and how far did it get? Read-only; works on a chip in any state.
 *
 * source: reference/nerveskey "6.2", "6.5", "7", "11"
 */
#include "nerveskey_int.h"

#include "base/encode.h"

#define MAC_SLOT 5u
#define REVISION 4u

/* Trust&Go parts have no serial number of a manufacturer's: the chip's own in hex, and the EUI-48 that Microchip gave it. */
static nh_rc read_trust_and_go(struct nh_nerveskey *key, struct nh_nerveskey_info *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	nh_hex_put_upper(&hex, nh_slice_of(out->chip_serial, sizeof out->chip_serial));
	for (size_t i = 0; i < hex.len; i++)
		out->manufacturer_serial[i] = (char)hex.ptr[i];
	uint8_t mac[sizeof out->mac - 1], bytes[6];
	NH_TRY(nh_atecc_read_slot(key->chip, MAC_SLOT, mac, sizeof mac, err));
	if (nh_hex_decode_fixed(nh_slice_of(mac, sizeof mac), bytes, sizeof bytes) == NH_OK)
		for (size_t i = 0; i < sizeof mac; i++)
			out->mac[i] = (char)mac[i];
	return NH_OK;
}

nh_rc nh_nerveskey_identity_read(struct nh_nerveskey *key, struct nh_nerveskey_info *out, struct nh_err *err)
{
	uint8_t otp[NH_ATECC_OTP_LEN];
	*out = (struct nh_nerveskey_info){0};
	NH_TRY(nh_atecc_read_config(key->chip, out->config, err));
	for (size_t i = 0; i < sizeof out->revision; i++)
		out->revision[i] = out->config[REVISION + i];
	out->model = nh_atecc_model_of(out->revision);
	nh_atecc_serial_of(out->config, out->chip_serial);
	nh_nerveskey_default_serial(out->chip_serial, out->default_serial);
	nh_nerveskey_state_of(out->config, NULL, &out->state);
	if (!out->state.config_locked || !out->state.data_locked)
		return NH_OK; /* the chip shows nothing else before */
	/* Chips of other layouts may keep it to themselves. */
	nh_rc rc = nh_atecc_read_otp(key->chip, otp, err);
	if (rc != NH_OK)
		return rc == NH_EPERM ? NH_OK : rc;
	nh_nerveskey_state_of(out->config, otp, &out->state);
	if (out->state.kind == NH_NERVESKEY_TRUST_AND_GO)
		return read_trust_and_go(key, out, err);
	out->has_otp = nh_nerveskey_otp_decode(otp, &out->otp) == NH_OK;
	for (size_t i = 0; out->has_otp && i < sizeof out->otp.serial; i++)
		out->manufacturer_serial[i] = out->otp.serial[i];
	return NH_OK;
}

/* What the chip may refuse without anything being wrong: rc but NH_OK for a refusal, with *has false. */
static nh_rc optional(nh_rc rc, bool *has)
{
	*has = rc == NH_OK;
	return rc == NH_EPERM || rc == NH_EUNSUPPORTED ? NH_OK : rc;
}

static nh_rc read_info(struct nh_nerveskey *key, struct nh_nerveskey_info *out, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_identity_read(key, out, err));
	const struct nh_nerveskey_state *s = &out->state;
	bool ours = s->kind == NH_NERVESKEY_REGULAR || s->kind == NH_NERVESKEY_VOLATILE;
	if (s->kind == NH_NERVESKEY_VOLATILE)
		NH_TRY(optional(nh_atecc_latch_get(key->chip, &out->latch, err), &out->latch_known));
	if (ours || s->kind == NH_NERVESKEY_TRUST_AND_GO)
		NH_TRY(optional(nh_atecc_public_key(key->chip, NH_NERVESKEY_KEY_SLOT, out->public_key, err), &out->has_public_key));
	if (ours && s->data_locked) {
		uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
		NH_TRY(nh_atecc_read_slot(key->chip, NH_NERVESKEY_AUX_DEVICE_CERT_SLOT, compressed, sizeof compressed, err));
		out->has_aux = !nh_nerveskey_all_zero(compressed, sizeof compressed);
	}
	return NH_OK;
}

nh_rc nh_nerveskey_info_read(struct nh_nerveskey *key, struct nh_nerveskey_info *out, struct nh_err *err)
{
	*out = (struct nh_nerveskey_info){0};
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = read_info(key, out, err);
	nh_nerveskey_leave(key);
	return rc;
}

nh_rc nh_nerveskey_provisioned(struct nh_nerveskey *key, bool *provisioned, struct nh_err *err)
{
	uint8_t config[NH_ATECC_CONFIG_LEN];
	struct nh_nerveskey_state s;
	*provisioned = false;
	NH_TRY(nh_atecc_read_config(key->chip, config, err));
	nh_nerveskey_state_of(config, NULL, &s);
	*provisioned = s.data_locked;
	return NH_OK;
}

nh_rc nh_nerveskey_public_key(struct nh_nerveskey *key, uint8_t public_key[NH_P256_PUBLIC_LEN], struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = nh_nerveskey_explain(key, nh_atecc_public_key(key->chip, NH_NERVESKEY_KEY_SLOT, public_key, err), err);
	nh_nerveskey_leave(key);
	return rc;
}
