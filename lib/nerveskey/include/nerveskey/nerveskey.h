/*
 * A NervesKey: an ATECC chip that carries a device's identity. Open one, ask who it is, sign with it, read and write its settings; provision a blank one.
 *
 * Errors of all functions are those of atecc/chip.h (bus, chip) plus what is said at each. Messages name bus, address, lock state, whether anything was burnt, and what to do next
 * (reference/nerveskey "17").
 * thread: one at a time per key; processes share a bus by its lock.  source: reference/nerveskey "6", "8.5", "10", "11", "12"
 */
#pragma once

#include "atecc/chip.h"
#include "nerveskey/certificate.h"

struct nh_nerveskey;

/* nh_nerveskey_open - spec: the forms of atecc/transport.h. Sends nothing. NH_EINVAL, NH_ENOTFOUND, NH_EPERM. *out: nh_nerveskey_close. */
nh_rc nh_nerveskey_open(const char *spec, struct nh_nerveskey **out, struct nh_err *err);
/* The same over a chip that is open already; takes it. */
void nh_nerveskey_new(struct nh_atecc *take_chip, struct nh_nerveskey **out);
void nh_nerveskey_close(struct nh_nerveskey *key); /* NULL legal */
struct nh_atecc *nh_nerveskey_chip(struct nh_nerveskey *key);

typedef enum nh_nerveskey_pair { NH_NERVESKEY_PRIMARY, NH_NERVESKEY_AUX } nh_nerveskey_pair;

struct nh_nerveskey_info {
	uint8_t config[NH_ATECC_CONFIG_LEN];
	uint8_t revision[4];
	nh_atecc_model model;
	uint8_t chip_serial[NH_ATECC_SERIAL_LEN];
	struct nh_nerveskey_state state;
	bool has_otp;                 /* data zone locked and the magic there */
	struct nh_nerveskey_otp otp;
	char manufacturer_serial[NH_NERVESKEY_SERIAL_MAX + 1]; /* OTP's; Trust&Go: hex of the chip's serial; empty where not provisioned */
	char mac[13];                 /* Trust&Go: EUI-48 in 12 hex digits; else empty */
	char default_serial[16];
	bool has_public_key;
	uint8_t public_key[NH_P256_PUBLIC_LEN];
	bool has_aux;
	bool latch_known, latch;      /* volatile */
};
nh_rc nh_nerveskey_info_read(struct nh_nerveskey *key, struct nh_nerveskey_info *out, struct nh_err *err);
/* NH_OK with *provisioned; the reference's question: is the data zone locked? Works on any ATECC chip. */
nh_rc nh_nerveskey_provisioned(struct nh_nerveskey *key, bool *provisioned, struct nh_err *err);

/*
 * The certificates, rebuilt and with verified signatures. Appends DER. Both kinds of layout; AUX of none: NH_ENOTFOUND. NH_EAUTH: a signature does not verify: the message says which input is
 * inconsistent. NH_EPERM: not provisioned, or no NervesKey, or its key waits for the latch. NH_EFORMAT: a slot holds something else. The certificate of a Trust&Go signer is not self-signed: it is
 * rebuilt, and verifying it with the root's key (nh_nerveskey_certificate_check) is the caller's business.
 */
nh_rc nh_nerveskey_device_certificate(struct nh_nerveskey *key, nh_nerveskey_pair pair, struct nh_buf *der, struct nh_err *err);
nh_rc nh_nerveskey_signer_certificate(struct nh_nerveskey *key, nh_nerveskey_pair pair, struct nh_buf *der, struct nh_err *err);
/* The device's key, by GenKey(public). */
nh_rc nh_nerveskey_public_key(struct nh_nerveskey *key, uint8_t public_key[NH_P256_PUBLIC_LEN], struct nh_err *err);

/* nh_nerveskey_sign - r‖s over a SHA-256 digest, by the chip. */
nh_rc nh_nerveskey_sign(struct nh_nerveskey *key, const uint8_t digest[32], uint8_t signature[NH_P256_SIGNATURE_LEN], struct nh_err *err);
nh_rc nh_nerveskey_ecdh(struct nh_nerveskey *key, const uint8_t peer[NH_P256_PUBLIC_LEN], uint8_t shared[32], struct nh_err *err);
nh_rc nh_nerveskey_random(struct nh_nerveskey *key, uint8_t *out, size_t len, struct nh_err *err);
/* nh_nerveskey_jwt - ES256: appends header.payload.signature. payload: the claims as JSON text, which is checked. NH_EINVAL: not a JSON object. source: "12" */
nh_rc nh_nerveskey_jwt(struct nh_nerveskey *key, nh_slice payload_json, struct nh_buf *out, struct nh_err *err);

/* ---- settings (nerveskey/settings.h has the terms). source: "10" */
#define NH_NERVESKEY_SETTINGS_MAX 524u
/* The raw bytes: all that the chip's kind has room for (524, Trust&Go 416). NH_EPERM: not provisioned, or no NervesKey. */
nh_rc nh_nerveskey_settings_read(struct nh_nerveskey *key, struct nh_buf *out, struct nh_err *err);
/* Padded with zeros to the room. NH_ETOOBIG before anything is written. Only what changes is written, and so that an interrupted write leaves the old settings, the new ones or undecodable bytes; then
 * read back (NH_EIO). NH_EPERM: not provisioned, or no NervesKey. */
nh_rc nh_nerveskey_settings_write(struct nh_nerveskey *key, nh_slice bytes, struct nh_err *err);

/* ---- provisioning. source: "6.3", "6.4", "6.6" */
struct nh_nerveskey_order {
	nh_slice manufacturer_serial; /* empty = the default serial */
	nh_slice board_name;          /* empty = "NervesKey" */
	nh_slice user_data;           /* up to 32 bytes, serials up to 16 bytes only */
	nh_slice signer_der;
	const struct nh_p256_key *signer_key;
	const uint8_t *activation_key, *encryption_key; /* 16 bytes each: volatile layout (608 only); both or none */
	const struct nh_clock *clock; /* NULL: the system's */
	const struct nh_rng *rng;     /* of the certificate's signature; NULL: the system's */
};
typedef enum nh_nerveskey_step {
	NH_NERVESKEY_STEP_CHECK,        /* chip state, input, both certificates rebuilt in memory with a throw-away key */
	NH_NERVESKEY_STEP_CONFIG_WRITE, /* and read back, all 128 bytes compared */
	NH_NERVESKEY_STEP_CONFIG_LOCK,  /* irreversible from here */
	NH_NERVESKEY_STEP_OTP_WRITE,
	NH_NERVESKEY_STEP_KEY,          /* GenKey */
	NH_NERVESKEY_STEP_SLOTS_WRITE,
	NH_NERVESKEY_STEP_DATA_LOCK,
	NH_NERVESKEY_STEP_SLOT_LOCK,
	NH_NERVESKEY_STEP_VERIFY,       /* everything read back, both certificates rebuilt, a random digest signed and verified */
	NH_NERVESKEY_STEPS,
} nh_nerveskey_step;
const char *nh_nerveskey_step_name(nh_nerveskey_step step); /* "config-lock" */

struct nh_nerveskey_plan {
	struct nh_nerveskey_info info;   /* the chip as it was found */
	nh_nerveskey_kind kind;          /* as ordered: REGULAR or VOLATILE */
	bool needed[NH_NERVESKEY_STEPS]; /* what provisioning would do; resuming skips what is done */
	uint8_t config[NH_ATECC_CONFIG_LEN]; /* as it will be locked */
	uint8_t otp[NH_ATECC_OTP_LEN];
	uint8_t signer_compressed[NH_NERVESKEY_COMPRESSED_LEN];
	char manufacturer_serial[NH_NERVESKEY_SERIAL_MAX + 1];
	char board_name[NH_NERVESKEY_BOARD_MAX + 1];
	bool repair_only;                /* only the slot lock is missing */
};
/*
 * nh_nerveskey_plan - everything that can fail is looked at, nothing is written: the dry run. NH_EINVAL: the order; NH_ECONFLICT: already provisioned (out->info says with what);
 * NH_EPERM: configuration locked to a foreign layout (out->info.state.differing_slots); NH_EUNSUPPORTED: volatile on a 508A, or an unknown chip.
 */
nh_rc nh_nerveskey_plan(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_nerveskey_plan *out, struct nh_err *err);
struct nh_nerveskey_receipt {
	struct nh_nerveskey_info info;       /* as it is afterwards */
	struct nh_buf device_der, signer_der; /* fini by the caller: nh_nerveskey_receipt_fini */
	nh_nerveskey_step reached;           /* on failure: the step that failed */
	bool burnt;                          /* anything irreversible was done in this call or is not known not to have been */
};
void nh_nerveskey_receipt_fini(struct nh_nerveskey_receipt *r);
/*
 * nh_nerveskey_provision - plan, then all that is needed, from wherever an earlier attempt stopped. on_step may be NULL; the bus is held meanwhile, so it must not use the key. On failure out->reached and out->burnt
 * say where it stands; calling it again goes on. Before the data lock a resumed attempt makes a new key and writes everything again; after it only slot locks are left. Errors of nh_nerveskey_plan;
 * with NH_ECONFLICT of a chip that is done, out has its facts and its certificates (those that verify), for a receipt that was lost. NH_EIO, NH_EAUTH: what was written does not come back.
 */
nh_rc nh_nerveskey_provision(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, void (*on_step)(void *ctx, nh_nerveskey_step step), void *ctx,
                             struct nh_nerveskey_receipt *out, struct nh_err *err);
/* nh_nerveskey_repair - all that needs no order: the missing slot locks of a chip whose data is locked, after checking that its certificates verify. NH_ECONFLICT: nothing to repair. */
nh_rc nh_nerveskey_repair(struct nh_nerveskey *key, struct nh_err *err);
/*
 * A second device certificate by another signer, for the same key; can be repeated. The order's serial, board name and user data are not used. It begins an hour or two earlier where a certificate on the
 * chip has the same dates, since their serial numbers would be the same too. NH_EINVAL: the order; NH_EPERM: not provisioned; NH_EUNSUPPORTED: Trust&Go.
 */
nh_rc nh_nerveskey_provision_aux(struct nh_nerveskey *key, const struct nh_nerveskey_order *order, struct nh_err *err);
/* The same slots filled with zeros. NH_EPERM, NH_EUNSUPPORTED. */
nh_rc nh_nerveskey_clear_aux(struct nh_nerveskey *key, struct nh_err *err);
