/*
 * One chip: transactions (wake … sleep), single commands with retries, and the commands themselves.
 *
 * Each command is one call that fits any state: outside of begin/end it is a transaction of its own. Inside, the chip stays awake and the bus ours, so TempKey survives from one to
 * the next. A reply that is a status where data was expected is an error, never data (trap 8). What is retried: wake, transport errors and 0xFF/0x11/0xEE of commands that change
 * nothing or can be looked up afterwards; 0x05 of GenKey three times; never 0x03, 0x0F or 0x01 (reference/nerveskey "3.4", better rule).
 *
 * Errors of every function below: NH_EINVAL slot, length or key impossible, nothing was sent · NH_ENOTFOUND no chip answers wake · NH_EIO bus · NH_ETIMEOUT bus held by another process, or no answer within the command's time · NH_EPERM the chip refuses in its
 * present state or configuration (0x0F) · NH_EUNSUPPORTED the chip does not know the command or mode (0x03) · NH_EAUTH miscompare (0x01) · NH_EFORMAT garbled answers · NH_EINTERNAL chip fault (0x05, 0x07, 0x08).
 * Messages name bus, address, command, status in words. The status itself: nh_atecc_last_status.
 * Inside of begin/end: after a command that failed for other reasons than a status, TempKey is gone (the chip was woken anew), and what needs it answers NH_EPERM.
 * thread: one at a time per chip.  source: reference/nerveskey "2.5", "3", "5"
 */
#pragma once

#include "atecc/packet.h"
#include "atecc/transport.h"
#include "base/rng.h"

struct nh_atecc;

typedef enum nh_atecc_model { NH_ATECC_UNKNOWN, NH_ATECC_508A, NH_ATECC_608A, NH_ATECC_608B } nh_atecc_model;
const char *nh_atecc_model_name(nh_atecc_model model); /* "ATECC608B"; "unknown" */

/* nh_atecc_new - takes the transport, sends nothing. */
void nh_atecc_new(struct nh_atecc_transport take_transport, struct nh_atecc **out);
void nh_atecc_free(struct nh_atecc *chip); /* closes the transport; NULL legal */
const struct nh_atecc_transport *nh_atecc_transport_of(const struct nh_atecc *chip);
uint8_t nh_atecc_last_status(const struct nh_atecc *chip);

/* A transaction: lock the bus (up to 5 s), sleep, wake, check the wake answer; up to 5 attempts 10 ms apart. end: sleep, unlock; always call it after a begin that was NH_OK. Not nested. */
nh_rc nh_atecc_begin(struct nh_atecc *chip, struct nh_err *err);
void nh_atecc_end(struct nh_atecc *chip);
/* nh_atecc_restart - inside of begin/end: sleep and wake, with the bus held throughout. TempKey is gone; what a lock or a write changed for the next wake on is in force. */
nh_rc nh_atecc_restart(struct nh_atecc *chip, struct nh_err *err);
/* Does a chip answer the wake pulse? NH_OK, NH_ENOTFOUND, or the bus's error. */
nh_rc nh_atecc_detect(struct nh_atecc *chip, struct nh_err *err);

/* nh_atecc_raw - any command. reply: up to NH_ATECC_RESPONSE_MAX - 3 bytes, *reply_len of them; a one-byte reply other than 0 is an error as above. */
nh_rc nh_atecc_raw(struct nh_atecc *chip, uint8_t opcode, uint8_t param1, uint16_t param2, nh_slice data, uint8_t *reply, size_t *reply_len, struct nh_err *err);

/* ---- reading and writing. source: "5.1", "5.2", "4.2" */
nh_rc nh_atecc_read_config(struct nh_atecc *chip, uint8_t out[NH_ATECC_CONFIG_LEN], struct nh_err *err);
nh_rc nh_atecc_read_otp(struct nh_atecc *chip, uint8_t out[NH_ATECC_OTP_LEN], struct nh_err *err);
/* The first len bytes of a slot, 1 to its size; 32-byte blocks, then words. */
nh_rc nh_atecc_read_slot(struct nh_atecc *chip, unsigned slot, uint8_t *out, size_t len, struct nh_err *err);
/* Writable bytes of the configuration only: 16-83 and 92-127 (88-91 are left alone too). */
nh_rc nh_atecc_write_config(struct nh_atecc *chip, const uint8_t config[NH_ATECC_CONFIG_LEN], struct nh_err *err);
nh_rc nh_atecc_write_otp(struct nh_atecc *chip, const uint8_t otp[NH_ATECC_OTP_LEN], struct nh_err *err);
/* bytes from the slot's begin, padded with zeros to whole 32-byte blocks where the data zone is unlocked (data_locked false), else blocks then words of exactly bytes (a multiple of 4). */
nh_rc nh_atecc_write_slot(struct nh_atecc *chip, unsigned slot, nh_slice bytes, bool data_locked, struct nh_err *err);
/* One command's worth of a slot: 32 bytes or 4, at a multiple of that. */
nh_rc nh_atecc_write_part(struct nh_atecc *chip, unsigned slot, unsigned byte, nh_slice bytes, struct nh_err *err);

/* ---- locks: irreversible. Never retried blindly: after a transport error the configuration is read to see whether the lock took. source: "5.6" */
nh_rc nh_atecc_lock_config(struct nh_atecc *chip, uint16_t crc, struct nh_err *err);
nh_rc nh_atecc_lock_data(struct nh_atecc *chip, uint16_t crc, struct nh_err *err);
nh_rc nh_atecc_lock_slot(struct nh_atecc *chip, unsigned slot, struct nh_err *err);

/* ---- keys. source: "5.3", "5.4", "5.5", "5.10" */
nh_rc nh_atecc_genkey(struct nh_atecc *chip, unsigned slot, uint8_t public_key[64], struct nh_err *err);        /* a new private key: the old one is gone */
nh_rc nh_atecc_public_key(struct nh_atecc *chip, unsigned slot, uint8_t public_key[64], struct nh_err *err);
nh_rc nh_atecc_sign(struct nh_atecc *chip, unsigned slot, const uint8_t digest[32], uint8_t signature[64], struct nh_err *err); /* Nonce 0x03 + Sign 0x80 in one transaction: every chip (trap 2) */
nh_rc nh_atecc_ecdh(struct nh_atecc *chip, unsigned slot, const uint8_t peer[64], uint8_t shared[32], struct nh_err *err); /* NH_EINVAL: peer not on the curve */
nh_rc nh_atecc_verify(struct nh_atecc *chip, const uint8_t public_key[64], const uint8_t digest[32], const uint8_t signature[64], struct nh_err *err); /* in the chip; NH_EAUTH, NH_EINVAL: key not on the curve */

/* ---- the rest. source: "5.7", "5.8", "5.11", "5.12", "6.6" */
nh_rc nh_atecc_random(struct nh_atecc *chip, uint8_t out[32], struct nh_err *err); /* NH_EPERM where the configuration is not locked: the chip would answer a fixed pattern */
nh_rc nh_atecc_revision(struct nh_atecc *chip, uint8_t out[4], struct nh_err *err);
nh_atecc_model nh_atecc_model_of(const uint8_t revision[4]);
nh_rc nh_atecc_sha256(struct nh_atecc *chip, nh_slice bytes, uint8_t out[32], struct nh_err *err);
nh_rc nh_atecc_counter(struct nh_atecc *chip, unsigned counter, bool increment, uint32_t *value, struct nh_err *err);
nh_rc nh_atecc_latch_get(struct nh_atecc *chip, bool *set, struct nh_err *err);
/* key: 16 bytes (activation key). NH_EAUTH: wrong key. Nonce, CheckMac and latch in one transaction. */
nh_rc nh_atecc_latch_unlock(struct nh_atecc *chip, unsigned slot, const uint8_t key[16], const struct nh_rng *rng, struct nh_err *err);
nh_rc nh_atecc_mac(struct nh_atecc *chip, unsigned slot, const uint8_t input[32], uint8_t out[32], struct nh_err *err); /* mac_deterministic */

/* The 9 bytes of the chip's serial number in a configuration. */
void nh_atecc_serial_of(const uint8_t config[NH_ATECC_CONFIG_LEN], uint8_t out[NH_ATECC_SERIAL_LEN]);
