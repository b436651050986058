/*
 * U-Boot environment: the variable store in which devices keep slots, versions and validation. A sorted set of variables, its block form (plain and
 * redundant) and its place in a disk image. Only the block form is sans-IO; load and store block.
 *
 * Names hold no NUL and no '=', values no NUL.  thread: one environment at a time.  source: reference/fwup-format "12.3"
 */
#pragma once

#include "base/buf.h"

struct nh_fw_env;
struct nh_fw_env *nh_fw_env_new(void); /* empty */
void nh_fw_env_free(struct nh_fw_env *e);
void nh_fw_env_clear(struct nh_fw_env *e); /* no variables; the next store writes both copies, as for a new environment */

/* nh_fw_env_get - false where not set. *value (may be NULL) is borrowed until the variable changes and followed by a NUL. */
bool nh_fw_env_get(const struct nh_fw_env *e, nh_slice name, nh_slice *value);
/* nh_fw_env_set - copies; replaces. NH_EINVAL: empty name, NUL, '=' in the name, name over 64 KiB or value over 16 MiB. */
nh_rc nh_fw_env_set(struct nh_fw_env *e, nh_slice name, nh_slice value, struct nh_err *err);
bool nh_fw_env_unset(struct nh_fw_env *e, nh_slice name); /* was it set? */
size_t nh_fw_env_count(const struct nh_fw_env *e);
/* nh_fw_env_at - variable i of nh_fw_env_count, sorted bytewise by name. Borrowed until the next change. */
void nh_fw_env_at(const struct nh_fw_env *e, size_t i, nh_slice *name, nh_slice *value);

/*
 * nh_fw_env_decode - replaces the variables by those of one block (one copy). redundant: 5-byte header; *flags (may be NULL) receives its flags byte.
 * block_number: only for the message. On failure e is empty. Of a name that appears twice the first counts.
 * NH_EFORMAT: "U-boot environment (block N) CRC32 mismatch (expected 0x..; got 0x..)", block too small, or an entry without '=' or without end.
 */
nh_rc nh_fw_env_decode(struct nh_fw_env *e, nh_slice block, bool redundant, uint64_t block_number, uint8_t *flags, struct nh_err *err);
/* nh_fw_env_encode - appends exactly size_bytes to out. NH_ENOSPC "Not enough room in U-boot environment". */
nh_rc nh_fw_env_encode(const struct nh_fw_env *e, size_t size_bytes, bool redundant, uint8_t flags, struct nh_buf *out, struct nh_err *err);

/* Where an environment lies in a file or device. */
struct nh_fw_env_place {
	uint64_t offset_bytes;
	uint64_t size_bytes;          /* of one copy: 512 .. 65534*512 */
	bool redundant;
	uint64_t offset_redund_bytes; /* where redundant */
};
/*
 * nh_fw_env_load - reads the environment (redundant: the newer copy, else the other). Bytes behind the end of the file read as zero.
 * Remembers which copy it was, for store. NH_EFORMAT as decode, for both copies; NH_EIO; NH_EINVAL: impossible place.
 */
nh_rc nh_fw_env_load(struct nh_fw_env *e, int fd, const struct nh_fw_env_place *place, struct nh_err *err);
/*
 * nh_fw_env_store - writes and fdatasyncs. Redundant: the copy that was not loaded, with the next flags, so that a power cut leaves the old or
 * the new environment; both copies where nothing was loaded. NH_ENOSPC (nothing written), NH_EIO, NH_EINVAL.
 */
nh_rc nh_fw_env_store(struct nh_fw_env *e, int fd, const struct nh_fw_env_place *place, struct nh_err *err);
