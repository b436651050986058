/*
 * A chip's certificates, rebuilt from its slots. What is handed out verifies: a chip whose slots do not fit together (another library's mistake, an interrupted write, a key that was
 * made anew) says so here, with the slot that is to blame as far as it can be told, and not on some server's log as "unknown CA".
 *
 * source: reference/nerveskey "6.4", "6.5", "8.5", "8.7"
 */
#include "nerveskey_int.h"

#include "base/cursor.h"

const struct nh_nerveskey_slots nh_nerveskey_pairs[2] = {
	[NH_NERVESKEY_PRIMARY] = {NH_NERVESKEY_DEVICE_CERT_SLOT, NH_NERVESKEY_SIGNER_KEY_SLOT, NH_NERVESKEY_SIGNER_CERT_SLOT},
	[NH_NERVESKEY_AUX] = {NH_NERVESKEY_AUX_DEVICE_CERT_SLOT, NH_NERVESKEY_AUX_SIGNER_KEY_SLOT, NH_NERVESKEY_AUX_SIGNER_CERT_SLOT},
};

/* One reading of what both certificates are made of. */
struct stored {
	struct nh_nerveskey_info info;
	const struct nh_nerveskey_slots *slots;
	bool tng;
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], signer_key[NH_P256_PUBLIC_LEN];
};

/* Configuration and one-time zone: is there anything to rebuild? */
static nh_rc read_begin(struct nh_nerveskey *key, nh_nerveskey_pair pair, struct stored *s, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_identity_read(key, &s->info, err));
	s->slots = &nh_nerveskey_pairs[pair];
	s->tng = s->info.state.kind == NH_NERVESKEY_TRUST_AND_GO;
	const char *name = nh_nerveskey_name(key);
	if (!s->info.state.data_locked)
		return NH_FAIL(err, NH_EPERM, "%s: not provisioned: the data zone is not locked, and the chip shows nothing before", name);
	if (!s->tng && !s->info.has_otp)
		return NH_FAIL(err, NH_EPERM, "%s: no NervesKey: its one-time zone begins with something else", name);
	if (s->tng && pair == NH_NERVESKEY_AUX)
		return NH_FAIL(err, NH_ENOTFOUND, "%s: Trust&Go parts have no auxiliary certificate", name);
	return NH_OK;
}

/* X‖Y as NervesKey stores it, or each with four bytes in front. */
static nh_rc read_signer_key(struct nh_nerveskey *key, struct stored *s, struct nh_err *err)
{
	uint8_t slot[72];
	NH_TRY(nh_atecc_read_slot(key->chip, s->slots->signer_key, slot, s->tng ? 72 : 64, err));
	struct nh_rd r = nh_rd_of(nh_slice_of(slot, s->tng ? 72 : 64));
	for (size_t i = 0; i < NH_P256_PUBLIC_LEN; i++) {
		if (s->tng && i % 32 == 0)
			nh_rd_skip(&r, 4);
		s->signer_key[i] = nh_rd_u8(&r);
	}
	return NH_OK;
}

static nh_rc read_compressed(struct nh_nerveskey *key, struct stored *s, unsigned slot, struct nh_err *err)
{
	NH_TRY(nh_atecc_read_slot(key->chip, slot, s->compressed, sizeof s->compressed, err));
	if (!nh_nerveskey_all_zero(s->compressed, sizeof s->compressed))
		return NH_OK;
	bool aux = s->slots == &nh_nerveskey_pairs[NH_NERVESKEY_AUX];
	return NH_FAIL(err, NH_ENOTFOUND, "%s: no %scertificate: slot %u is empty", nh_nerveskey_name(key), aux ? "auxiliary " : "", slot);
}

/* The signer's, appended; for NervesKeys it is self-signed and verified. A Trust&Go signer was signed by Microchip's root: whoever holds the root's key verifies it. */
static nh_rc rebuild_signer(struct nh_nerveskey *key, struct stored *s, struct nh_buf *der, struct nh_err *err)
{
	const struct nh_nerveskey_parts parts = {.subject_key = s->signer_key};
	const char *name = nh_nerveskey_name(key);
	NH_AUTO_BUF struct nh_buf made = NH_BUF_INIT;
	NH_TRY(read_compressed(key, s, s->slots->signer, err));
	NH_TRY_CTX(nh_nerveskey_certificate_rebuild(s->tng ? NH_NERVESKEY_TEMPLATE_TNG_SIGNER : NH_NERVESKEY_TEMPLATE_SIGNER, s->compressed, &parts, &made, err), err, "%s: slot %u", name,
	           s->slots->signer);
	if (!s->tng && nh_nerveskey_certificate_check(nh_buf_slice(&made), s->signer_key, NULL) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "%s: the signer's certificate does not verify: its public key (slot %u) and its certificate (slot %u) do not belong together%s", name, s->slots->signer_key,
		               s->slots->signer, s->slots == &nh_nerveskey_pairs[NH_NERVESKEY_AUX] ? "; provision the auxiliary certificates again" : "");
	nh_buf_put_slice(der, nh_buf_slice(&made));
	return nh_buf_check(der, "certificate", err);
}

static nh_rc read_signer(struct nh_nerveskey *key, nh_nerveskey_pair pair, struct nh_buf *der, struct nh_err *err)
{
	struct stored s;
	NH_TRY(read_begin(key, pair, &s, err));
	NH_TRY(read_signer_key(key, &s, err));
	return rebuild_signer(key, &s, der, err);
}

/* The device's certificate does not verify with the signer's key: whose fault? */
static nh_rc blame(struct nh_nerveskey *key, struct stored *s, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf signer = NH_BUF_INIT;
	NH_TRY(rebuild_signer(key, s, &signer, err));
	return NH_FAIL(err, NH_EAUTH,
	               "%s: the device's certificate (slot %u) does not verify. The signer's is whole, so that certificate was made by another signer, for another serial number than '%s', or for "
	               "another key than the one in slot 0%s",
	               nh_nerveskey_name(key), s->slots->device, s->info.manufacturer_serial,
	               s->slots == &nh_nerveskey_pairs[NH_NERVESKEY_AUX] ? "; provision the auxiliary certificates again" : "");
}

static nh_rc read_device(struct nh_nerveskey *key, nh_nerveskey_pair pair, struct nh_buf *der, struct nh_err *err)
{
	struct stored s;
	uint8_t device_key[NH_P256_PUBLIC_LEN];
	NH_AUTO_BUF struct nh_buf made = NH_BUF_INIT;
	NH_TRY(read_begin(key, pair, &s, err));
	NH_TRY(read_compressed(key, &s, s.slots->device, err));
	NH_TRY(read_signer_key(key, &s, err));
	NH_TRY(nh_nerveskey_explain(key, nh_atecc_public_key(key->chip, NH_NERVESKEY_KEY_SLOT, device_key, err), err));
	const struct nh_nerveskey_parts parts = {
		.subject_key = device_key,
		.signer_key = s.signer_key,
		.chip_serial = s.info.chip_serial,
		.manufacturer_serial = nh_slice_str(s.info.manufacturer_serial),
		.mac = nh_slice_str(s.info.mac),
	};
	NH_TRY_CTX(nh_nerveskey_certificate_rebuild(s.tng ? NH_NERVESKEY_TEMPLATE_TNG_DEVICE : NH_NERVESKEY_TEMPLATE_DEVICE, s.compressed, &parts, &made, err), err, "%s: slot %u",
	           nh_nerveskey_name(key), s.slots->device);
	if (nh_nerveskey_certificate_check(nh_buf_slice(&made), s.signer_key, NULL) != NH_OK)
		return blame(key, &s, err);
	nh_buf_put_slice(der, nh_buf_slice(&made));
	return nh_buf_check(der, "certificate", err);
}

nh_rc nh_nerveskey_device_certificate(struct nh_nerveskey *key, nh_nerveskey_pair pair, struct nh_buf *der, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = read_device(key, pair, der, err);
	nh_nerveskey_leave(key);
	return rc;
}

nh_rc nh_nerveskey_signer_certificate(struct nh_nerveskey *key, nh_nerveskey_pair pair, struct nh_buf *der, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = read_signer(key, pair, der, err);
	nh_nerveskey_leave(key);
	return rc;
}
