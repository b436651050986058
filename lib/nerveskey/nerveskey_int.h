/*
 * What the files of a NervesKey share. Private to nerveskey.
 */
#pragma once

#include "nerveskey/nerveskey.h"

struct nh_nerveskey {
	struct nh_atecc *chip;
	unsigned depth; /* of enter */
};

/*
 * The bus is ours between enter and leave, so that what is read in several commands belongs together and nobody writes between ours. Nested freely; leave after each enter that
 * was NH_OK.
 */
nh_rc nh_nerveskey_enter(struct nh_nerveskey *key, struct nh_err *err);
void nh_nerveskey_leave(struct nh_nerveskey *key);
/* rc of a command that uses the device's key, and for a refusal the reason instead of the chip's "not now". */
nh_rc nh_nerveskey_explain(struct nh_nerveskey *key, nh_rc rc, struct nh_err *err);
/* The name of the bus and the chip's address, for messages. */
const char *nh_nerveskey_name(const struct nh_nerveskey *key);

/* info.c: configuration, one-time zone, and what follows from them; nothing that takes the chip's key. In a transaction. */
nh_rc nh_nerveskey_identity_read(struct nh_nerveskey *key, struct nh_nerveskey_info *out, struct nh_err *err);
bool nh_nerveskey_all_zero(const uint8_t *bytes, size_t len);

/* certificates.c: what a pair's slots hold. */
struct nh_nerveskey_slots {
	unsigned device, signer_key, signer;
};
extern const struct nh_nerveskey_slots nh_nerveskey_pairs[2];

/* order.c: everything about an order that can be judged without writing; info has been read. Defaults filled in. */
struct nh_nerveskey_terms {
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	nh_slice manufacturer_serial;
	uint8_t signer_compressed[NH_NERVESKEY_COMPRESSED_LEN];
	struct nh_nerveskey_certificate signer; /* views into the order's DER */
};
/* The signer, its key, the clock, and a device certificate for a throw-away key rebuilt from its 72 bytes. NH_EINVAL. */
nh_rc nh_nerveskey_terms_check(const struct nh_nerveskey_order *order, const struct nh_nerveskey_info *info, nh_slice manufacturer_serial, struct nh_nerveskey_terms *out,
                               struct nh_err *err);
/* Appends the device's certificate for a key, compressed too. */
nh_rc nh_nerveskey_terms_certify(const struct nh_nerveskey_order *order, const struct nh_nerveskey_terms *terms, const struct nh_nerveskey_info *info,
                                 const uint8_t device_key[NH_P256_PUBLIC_LEN], struct nh_buf *der, uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err);

/* verify.c: a random digest, signed by the chip, verifies with its public key. NH_EAUTH. */
nh_rc nh_nerveskey_signature_check(struct nh_nerveskey *key, const struct nh_rng *rng, const uint8_t public_key[NH_P256_PUBLIC_LEN], struct nh_err *err);
