/*
 * A slot's chip. Each use opens the bus, does its work in one transaction, and closes it. What a chip is and has is read once and kept as long as the chip's configuration (with its serial number)
 * stays the same; whether it is still there is asked again when the last answer is some seconds old.
 */
#include "module.h"

#include "base/clock.h"

void token_forget(struct slot *slot)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(slot->certificates); i++) {
		nh_buf_fini(&slot->certificates[i].der);
		slot->certificates[i] = (struct certificate){0};
	}
	slot->known = slot->looked = false;
}

/* A chip the module can do something with: provisioned as a NervesKey or by Microchip, with a key whose public half can be computed. */
static CK_RV recognize(const struct slot *slot)
{
	const struct nh_nerveskey_state *state = &slot->info.state;
	bool kind = state->kind == NH_NERVESKEY_REGULAR || state->kind == NH_NERVESKEY_VOLATILE || state->kind == NH_NERVESKEY_TRUST_AND_GO;
	if (kind && state->data_locked && slot->info.has_public_key)
		return CKR_OK;
	debug_say("slot %lu: %s answers, but is no provisioned NervesKey (layout %s, data zone %s, public key %s)", slot->set.id, nh_atecc_model_name(slot->info.model),
	          kind ? "known" : "unknown", state->data_locked ? "locked" : "open", slot->info.has_public_key ? "readable" : "not readable");
	return CKR_TOKEN_NOT_RECOGNIZED;
}

static nh_rc read_facts(struct slot *slot, struct nh_err *err)
{
	struct nh_nerveskey *key = NULL;
	uint8_t config[NH_ATECC_CONFIG_LEN];
	nh_rc rc = nh_nerveskey_open(slot->set.spec, &key, err);
	if (rc == NH_OK)
		rc = nh_atecc_read_config(nh_nerveskey_chip(key), config, err);
	/* a key that could not be read may be readable now, without a change of the configuration */
	if (rc == NH_OK && !(slot->known && slot->info.has_public_key && memcmp(config, slot->info.config, sizeof config) == 0)) {
		token_forget(slot);
		rc = nh_nerveskey_info_read(key, &slot->info, err);
		slot->known = rc == NH_OK;
	}
	nh_nerveskey_close(key);
	return rc;
}

CK_RV token_look(struct slot *slot)
{
	struct nh_err err = NH_ERR_INIT;
	uint64_t now = nh_mono_ms();
	if (slot->looked && now - slot->looked_ms < slot->cache_ms)
		return slot->verdict;
	nh_rc rc = read_facts(slot, &err);
	if (rc != NH_OK)
		debug_say("slot %lu: %s", slot->set.id, err.msg);
	slot->verdict = rc == NH_OK ? recognize(slot) : error_looking(rc);
	slot->looked = true;
	slot->looked_ms = nh_mono_ms();
	return slot->verdict;
}

CK_RV token_same(const struct slot *slot, const uint8_t serial[NH_ATECC_SERIAL_LEN])
{
	return slot->known && memcmp(slot->info.chip_serial, serial, NH_ATECC_SERIAL_LEN) == 0 ? CKR_OK : CKR_DEVICE_REMOVED;
}

/* In a transaction: is it still the chip whose facts are known? */
static nh_rc check_serial(struct slot *slot, struct nh_atecc *chip, struct nh_err *err)
{
	uint8_t config[NH_ATECC_CONFIG_LEN] = {0}, serial[NH_ATECC_SERIAL_LEN], reply[NH_ATECC_RESPONSE_MAX];
	size_t len = 0;
	NH_TRY(nh_atecc_raw(chip, NH_ATECC_READ, NH_ATECC_ZONE_CONFIG | 0x80, nh_atecc_address(NH_ATECC_ZONE_CONFIG, 0, 0), NH_SLICE_EMPTY, reply, &len, err));
	if (len != NH_ATECC_BLOCK)
		return NH_FAIL(err, NH_EFORMAT, "%zu bytes instead of a block of the configuration", len);
	memcpy(config, reply, NH_ATECC_BLOCK);
	nh_atecc_serial_of(config, serial);
	if (memcmp(serial, slot->info.chip_serial, sizeof serial) != 0)
		return NH_FAIL(err, NH_ECONFLICT, "another chip has taken the place of the one this session was opened on");
	return NH_OK;
}

/* What a transaction does; one of the pointers is set. */
struct work {
	const uint8_t *digest;
	uint8_t *signature;
	const uint8_t *peer;
	uint8_t *shared;
	uint8_t *random;
};

static nh_rc do_work(struct slot *slot, struct nh_atecc *chip, const struct work *w, struct nh_err *err)
{
	NH_TRY(check_serial(slot, chip, err));
	if (w->digest)
		return nh_atecc_sign(chip, NH_NERVESKEY_KEY_SLOT, w->digest, w->signature, err);
	if (w->peer)
		return nh_atecc_ecdh(chip, NH_NERVESKEY_KEY_SLOT, w->peer, w->shared, err);
	return nh_atecc_random(chip, w->random, err);
}

static CK_RV transaction(struct slot *slot, const struct work *w)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey *key = NULL;
	nh_rc rc = nh_nerveskey_open(slot->set.spec, &key, &err);
	if (rc == NH_OK)
		rc = nh_atecc_begin(nh_nerveskey_chip(key), &err);
	if (rc == NH_OK) {
		rc = do_work(slot, nh_nerveskey_chip(key), w, &err);
		nh_atecc_end(nh_nerveskey_chip(key));
	}
	nh_nerveskey_close(key);
	if (rc != NH_OK) {
		debug_say("slot %lu: %s", slot->set.id, err.msg);
		slot->looked = false; /* who asks next shall learn how it is now */
	}
	return error_in_session(rc);
}

CK_RV token_sign(struct slot *slot, const uint8_t digest[32], uint8_t signature[NH_P256_SIGNATURE_LEN])
{
	CK_RV rv = transaction(slot, &(struct work){.digest = digest, .signature = signature});
	/* A signature that does not verify must not leave the house, whatever garbled it: it may even tell something about the key. */
	if (rv == CKR_OK && nh_p256_verify(slot->info.public_key, nh_slice_of(digest, 32), signature) != NH_OK) {
		debug_say("slot %lu: the chip's signature does not verify with its public key", slot->set.id);
		token_forget(slot);
		return CKR_DEVICE_ERROR;
	}
	return rv;
}

CK_RV token_ecdh(struct slot *slot, const uint8_t peer[NH_P256_PUBLIC_LEN], uint8_t shared[NH_P256_LEN])
{
	return transaction(slot, &(struct work){.peer = peer, .shared = shared});
}

/* A transaction for each 32 bytes, so that other processes get their turn. */
CK_RV token_random(struct slot *slot, uint8_t *out, size_t len)
{
	CK_RV rv = CKR_OK;
	uint8_t block[32];
	for (size_t at = 0; rv == CKR_OK && at < len; at += sizeof block) {
		rv = transaction(slot, &(struct work){.random = block});
		if (rv == CKR_OK)
			memcpy(out + at, block, len - at < sizeof block ? len - at : sizeof block);
	}
	explicit_bzero(block, sizeof block);
	return rv;
}

static nh_rc read_certificate(struct slot *slot, nh_nerveskey_pair pair, bool signer, struct certificate *c, struct nh_err *err)
{
	struct nh_nerveskey *key = NULL;
	nh_rc rc = nh_nerveskey_open(slot->set.spec, &key, err);
	if (rc == NH_OK)
		rc = signer ? nh_nerveskey_signer_certificate(key, pair, &c->der, err) : nh_nerveskey_device_certificate(key, pair, &c->der, err);
	/* no chip, or no certificate in it? */
	if (rc == NH_ENOTFOUND && key && nh_atecc_detect(nh_nerveskey_chip(key), NULL) == NH_OK)
		rc = NH_EPERM;
	nh_nerveskey_close(key);
	if (rc == NH_OK)
		rc = nh_nerveskey_certificate_parse(nh_buf_slice(&c->der), &c->parsed, err);
	/* that it is this chip's certificate shows by its key */
	if (rc == NH_OK && !signer && memcmp(c->parsed.public_key, slot->info.public_key, NH_P256_PUBLIC_LEN) != 0)
		rc = NH_FAIL(err, NH_ECONFLICT, "another chip has taken the place of the one this session was opened on");
	return rc;
}

CK_RV token_certificate(struct slot *slot, nh_nerveskey_pair pair, bool signer, const struct certificate **out)
{
	struct nh_err err = NH_ERR_INIT;
	struct certificate *c = &slot->certificates[(pair == NH_NERVESKEY_AUX ? 2 : 0) + (signer ? 1 : 0)];
	*out = NULL;
	if (c->state == CERTIFICATE_UNREAD && pair == NH_NERVESKEY_AUX && !slot->info.has_aux)
		c->state = CERTIFICATE_NONE;
	if (c->state == CERTIFICATE_UNREAD) {
		nh_rc rc = read_certificate(slot, pair, signer, c, &err);
		if (rc != NH_OK) {
			debug_say("slot %lu: %s certificate%s: %s", slot->set.id, signer ? "signer" : "device", pair == NH_NERVESKEY_AUX ? " (aux)" : "", err.msg);
			nh_buf_fini(&c->der);
		}
		/* bytes in the chip that make no certificate: there is none, as long as this chip is there */
		bool none = rc == NH_EAUTH || rc == NH_EFORMAT || rc == NH_EINVAL || rc == NH_EUNSUPPORTED || rc == NH_EPERM;
		if (rc != NH_OK && !none)
			return error_in_session(rc);
		c->state = none ? CERTIFICATE_NONE : CERTIFICATE_THERE;
	}
	*out = c->state == CERTIFICATE_THERE ? c : NULL;
	return CKR_OK;
}
