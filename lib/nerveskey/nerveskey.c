/*
 * Opening a NervesKey, and what it does for its owner every day: signing, agreeing on secrets, random bytes.
 *
 * source: reference/nerveskey "11"
 */
#include "nerveskey_int.h"

#include <stdlib.h>

#include "base/arena.h"

nh_rc nh_nerveskey_open(const char *spec, struct nh_nerveskey **out, struct nh_err *err)
{
	struct nh_atecc_transport transport = {0};
	struct nh_atecc *chip = NULL;
	*out = NULL;
	NH_TRY(nh_atecc_transport_open(spec, &transport, err));
	nh_atecc_new(transport, &chip);
	nh_nerveskey_new(chip, out);
	return NH_OK;
}

void nh_nerveskey_new(struct nh_atecc *take_chip, struct nh_nerveskey **out)
{
	struct nh_nerveskey *key = nh_xcalloc(1, sizeof *key);
	key->chip = take_chip;
	*out = key;
}

void nh_nerveskey_close(struct nh_nerveskey *key)
{
	if (!key)
		return;
	nh_atecc_free(key->chip);
	free(key);
}

struct nh_atecc *nh_nerveskey_chip(struct nh_nerveskey *key) { return key->chip; }
const char *nh_nerveskey_name(const struct nh_nerveskey *key) { return nh_atecc_transport_of(key->chip)->name; }

nh_rc nh_nerveskey_enter(struct nh_nerveskey *key, struct nh_err *err)
{
	if (key->depth == 0)
		NH_TRY(nh_atecc_begin(key->chip, err));
	key->depth++;
	return NH_OK;
}

void nh_nerveskey_leave(struct nh_nerveskey *key)
{
	NH_ASSERT(key->depth > 0);
	if (--key->depth == 0)
		nh_atecc_end(key->chip);
}

bool nh_nerveskey_all_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;
	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

/* The chip only says "not now"; its configuration says why. */
nh_rc nh_nerveskey_explain(struct nh_nerveskey *key, nh_rc rc, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	bool latch = true;
	if (rc != NH_EPERM || nh_nerveskey_identity_read(key, &info, NULL) != NH_OK)
		return rc;
	const char *name = nh_nerveskey_name(key);
	if (!info.state.config_locked || (!info.state.data_locked && info.state.kind != NH_NERVESKEY_FOREIGN))
		return NH_FAIL(err, rc, "%s: the chip is not provisioned and may have no key yet; see nerveskey provision", name);
	if (info.state.kind == NH_NERVESKEY_VOLATILE && nh_atecc_latch_get(key->chip, &latch, NULL) == NH_OK && !latch)
		return NH_FAIL(err, rc, "%s: the key is asleep since power-up: present the activation key first (nerveskey unlock)", name);
	if (info.state.kind == NH_NERVESKEY_FOREIGN)
		return NH_FAIL(err, rc, "%s: the chip's configuration is locked to a layout that is no NervesKey's; its slot 0 does not do this", name);
	return rc;
}

nh_rc nh_nerveskey_sign(struct nh_nerveskey *key, const uint8_t digest[32], uint8_t signature[NH_P256_SIGNATURE_LEN], struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = nh_nerveskey_explain(key, nh_atecc_sign(key->chip, NH_NERVESKEY_KEY_SLOT, digest, signature, err), err);
	nh_nerveskey_leave(key);
	return rc;
}

nh_rc nh_nerveskey_ecdh(struct nh_nerveskey *key, const uint8_t peer[NH_P256_PUBLIC_LEN], uint8_t shared[32], struct nh_err *err)
{
	/* Chips differ in what they say of such a point, and some would compute with it. */
	if (nh_p256_public_check(peer) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "the peer's public key is not a point of P-256");
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = nh_nerveskey_explain(key, nh_atecc_ecdh(key->chip, NH_NERVESKEY_KEY_SLOT, peer, shared, err), err);
	nh_nerveskey_leave(key);
	return rc;
}

static nh_rc fill_random(struct nh_nerveskey *key, uint8_t *out, size_t len, struct nh_err *err)
{
	for (size_t at = 0; at < len;) {
		uint8_t block[32];
		NH_TRY(nh_atecc_random(key->chip, block, err));
		for (size_t i = 0; i < sizeof block && at < len; i++)
			out[at++] = block[i];
		explicit_bzero(block, sizeof block);
	}
	return NH_OK;
}

nh_rc nh_nerveskey_random(struct nh_nerveskey *key, uint8_t *out, size_t len, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = fill_random(key, out, len, err);
	nh_nerveskey_leave(key);
	return rc;
}
