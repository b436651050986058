/*
 * fwup key material: raw or base64, on the command line, in files, in a server's database.  thread: any; file functions block.
 * source: reference/fwup-format "4"
 */
#pragma once

#include "base/buf.h"
#include "base/rng.h"

struct nh_fw_public_key {
	uint8_t bytes[32];
};
struct nh_fw_private_key {
	uint8_t bytes[64]; /* seed, public key; wipe with nh_wipe */
};

/*
 * Exactly 32/64 bytes: raw. Else base64 of at least 43/86 characters, decoding ends at the first foreign character, so padding and newlines do
 * not matter. NH_EFORMAT "Error decoding public key" / "Error decoding private key".
 */
nh_rc nh_fw_public_key_decode(nh_slice text, struct nh_fw_public_key *out, struct nh_err *err);
nh_rc nh_fw_private_key_decode(nh_slice text, struct nh_fw_private_key *out, struct nh_err *err);
/* Only the first 44/88 bytes of the file count. NH_ENOTFOUND/NH_EPERM/NH_EIO "Error opening …", NH_EFORMAT "Error reading or decoding …". */
nh_rc nh_fw_public_key_read(const char *path, struct nh_fw_public_key *out, struct nh_err *err);
nh_rc nh_fw_private_key_read(const char *path, struct nh_fw_private_key *out, struct nh_err *err);
void nh_fw_public_key_put(struct nh_buf *out, const struct nh_fw_public_key *key);   /* 44 characters, padded base64 */
void nh_fw_private_key_put(struct nh_buf *out, const struct nh_fw_private_key *key); /* 88 characters; use a buffer that is wiped */

/* A new pair. rng must be a cryptographic one (nh_rng_system) outside tests. */
void nh_fw_key_generate(const struct nh_rng *rng, struct nh_fw_public_key *pub, struct nh_fw_private_key *priv);
/* Writes PREFIX.pub then PREFIX.priv (0600), never over an existing file: NH_ECONFLICT "Couldn't create 'P': File exists". NH_EIO, NH_EPERM. */
nh_rc nh_fw_key_files_write(const char *prefix, const struct nh_fw_public_key *pub, const struct nh_fw_private_key *priv, struct nh_err *err);
