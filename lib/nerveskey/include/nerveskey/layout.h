/*
 * What a NervesKey keeps where: the configuration image, what the configuration says about a chip's state, one-time-programmable fields, slots. Pure functions over bytes; nothing here talks to a chip.
 *
 * thread: any.  source: reference/nerveskey "4.3", "6.1", "6.2", "6.5", "6.6", "7"
 */
#pragma once

#include "atecc/packet.h"

#define NH_NERVESKEY_SERIAL_MAX 48u    /* bytes of the manufacturer's serial number: what the layout and the certificate can hold */
#define NH_NERVESKEY_SERIAL_SHORT 16u  /* up to here user data fits beside it */
#define NH_NERVESKEY_BOARD_MAX 10u
#define NH_NERVESKEY_USER_DATA_MAX 32u

/* Slots. */
#define NH_NERVESKEY_KEY_SLOT 0u
#define NH_NERVESKEY_ACTIVATION_SLOT 1u /* volatile layout */
#define NH_NERVESKEY_ENCRYPTION_SLOT 2u /* volatile layout */
#define NH_NERVESKEY_LATCH_KEY_LEN 16u  /* bytes of either key */
#define NH_NERVESKEY_AUX_DEVICE_CERT_SLOT 9u
#define NH_NERVESKEY_DEVICE_CERT_SLOT 10u
#define NH_NERVESKEY_SIGNER_KEY_SLOT 11u
#define NH_NERVESKEY_SIGNER_CERT_SLOT 12u
#define NH_NERVESKEY_AUX_SIGNER_KEY_SLOT 14u
#define NH_NERVESKEY_AUX_SIGNER_CERT_SLOT 15u

typedef enum nh_nerveskey_kind {
	NH_NERVESKEY_REGULAR,
	NH_NERVESKEY_VOLATILE,    /* the key works only after nh_atecc_latch_unlock; 608 only */
	NH_NERVESKEY_TRUST_AND_GO,
	NH_NERVESKEY_BLANK,       /* configuration open */
	NH_NERVESKEY_FOREIGN,     /* configuration locked to a layout that is none of these */
} nh_nerveskey_kind;

/* Where provisioning stands, by what the configuration's bytes can tell. */
typedef enum nh_nerveskey_stage {
	NH_NERVESKEY_STAGE_BLANK,       /* nothing irreversible yet */
	NH_NERVESKEY_STAGE_CONFIGURED,  /* configuration locked, data open: everything else can be written again */
	NH_NERVESKEY_STAGE_KEY_OPEN,    /* data locked, slot 0 (volatile: or 1, 2) not: GenKey could still replace the key (trap 7) */
	NH_NERVESKEY_STAGE_DONE,
	NH_NERVESKEY_STAGE_FOREIGN,
} nh_nerveskey_stage;

struct nh_nerveskey_state {
	nh_nerveskey_kind kind;   /* TRUST_AND_GO needs the OTP's code: otp may be NULL, then never */
	nh_nerveskey_stage stage;
	bool config_locked, data_locked;
	uint16_t open_slots;      /* bit n: slot n is not locked */
	uint16_t differing_slots; /* where config_locked: slots whose SlotConfig or KeyConfig is not the regular NervesKey's */
};
/* nh_nerveskey_state_of - otp: 64 bytes, or NULL where it cannot be read. */
void nh_nerveskey_state_of(const uint8_t config[NH_ATECC_CONFIG_LEN], const uint8_t *otp, struct nh_nerveskey_state *out);
/* The reference's tests, literally, volatile compared with what is written. source: "6.2" */
bool nh_nerveskey_config_compatible(const uint8_t config[NH_ATECC_CONFIG_LEN]);
bool nh_nerveskey_volatile_compatible(const uint8_t config[NH_ATECC_CONFIG_LEN]);
/* Slots whose SlotConfig or KeyConfig is not what a chip of this kind (REGULAR or VOLATILE) has there, bit n for slot n. */
uint16_t nh_nerveskey_slots_differing(const uint8_t config[NH_ATECC_CONFIG_LEN], nh_nerveskey_kind kind);
/* Slots that provisioning locks one by one, bit n for slot n: the keys'. 0 for kinds that are not provisioned here. */
uint16_t nh_nerveskey_slots_to_lock(nh_nerveskey_kind kind);
/* The image to be locked: config as read from the chip, with the NervesKey's bytes in place. kind: REGULAR or VOLATILE. */
void nh_nerveskey_config_apply(uint8_t config[NH_ATECC_CONFIG_LEN], nh_nerveskey_kind kind);
/* For people: one line a slot, SlotConfig and KeyConfig in words. */
void nh_nerveskey_slot_describe(const uint8_t config[NH_ATECC_CONFIG_LEN], unsigned slot, struct nh_buf *out);

struct nh_nerveskey_otp {
	char board_name[NH_NERVESKEY_BOARD_MAX + 1];
	char serial[NH_NERVESKEY_SERIAL_MAX + 1];
	uint8_t user_data[NH_NERVESKEY_USER_DATA_MAX]; /* zeros with a long serial */
	bool has_user_data;                            /* the short form; false where the serial takes the room */
};
/*
 * nh_nerveskey_otp_encode - NH_EINVAL with the rule that was broken: serial empty, over 48 bytes, not valid UTF-8, with '/' or control characters; board name over 10 bytes or with such;
 * user data with a serial over 16 bytes (says how long the serial may be).
 */
nh_rc nh_nerveskey_otp_encode(nh_slice serial, nh_slice board_name, nh_slice user_data, uint8_t out[NH_ATECC_OTP_LEN], struct nh_err *err);
/* NH_ENOTFOUND: no magic, not a NervesKey. Bytes of a text that are not printable UTF-8 end it. */
nh_rc nh_nerveskey_otp_decode(const uint8_t otp[NH_ATECC_OTP_LEN], struct nh_nerveskey_otp *out);
/* Base32 of the chip's serial number, 15 characters and a NUL: the manufacturer's serial where none was given. */
void nh_nerveskey_default_serial(const uint8_t chip_serial[NH_ATECC_SERIAL_LEN], char out[16]);
