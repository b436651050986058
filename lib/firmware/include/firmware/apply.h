/*
 * Applying an archive to a disk image or device: push-fed, one pass, no temporary storage. The signature of meta.conf is checked, a task chosen and
 * its requirements met before the first byte is written; each resource is hashed while it is written; what switches slots (on-finish)
 * runs only after every resource verified, and reaches the medium last. Functions that act on the host
 * (execute, path_write, pipe_write, ubi_volume_write) are refused before the first write unless the caller allows them. Deltas take their old data from the destination.
 *
 * Blocks on disk I/O: call it on a worker or in a command-line program. Error messages are the reference tool's, without "fwup: ".
 * thread: one at a time.  source: reference/fwup-format "9", "10", "11", "15.3"
 *
 *	struct nh_fw_apply *a;
 *	NH_TRY(nh_fw_apply_new(&(struct nh_fw_apply_config){.path = "disk.img", .fd = -1, .task = "upgrade", .keys = keys, .key_count = n}, &a, err));
 *	while (!nh_fw_apply_done(a) && more()) rc = nh_fw_apply_feed(a, bytes, err) …
 *	rc = nh_fw_apply_finish(a, err);    // also after an end of input that came too early
 *	nh_fw_apply_free(a);
 */
#pragma once

#include "firmware/reader.h"

typedef enum nh_fw_switch { NH_FW_DEFAULT, NH_FW_ON, NH_FW_OFF } nh_fw_switch;

struct nh_fw_apply_handler {
	void *ctx;
	void (*progress)(void *ctx, unsigned percent);    /* 0, strictly rising, 100 only after success. May be NULL */
	void (*message)(void *ctx, const char *text);     /* text of info() and warnings. May be NULL */
};

struct nh_fw_apply_config {
	/* Destination: a path (regular file, created 0644 where missing, never truncated; /dev/null; a device), or, where path is NULL,
	 * a borrowed descriptor open for reading and writing. */
	const char *path;
	int fd;
	const char *task;              /* prefix of the task's name, "upgrade"; NULL is refused: "specify a task (-t)" */

	const struct nh_fw_public_key *keys; /* borrowed while the applier lives */
	size_t key_count;
	bool allow_unverified;         /* with key_count 0: apply whatever comes. Otherwise no key means NH_EAUTH */
	struct nh_fw_vars *vars;       /* for ${…} in meta.conf; NULL = FWUP_META_* only */
	bool whole, local_time;        /* as in nh_fw_reader_config */
	const char *archive_path;      /* for messages; NULL = "archive" */

	unsigned progress_low, progress_high; /* both 0 = 0 and 100 */
	uint64_t max_blocks;           /* limit of the destination in blocks of 512 bytes; 0 = none */
	bool minimize_writes;          /* read first, skip what is equal */
	nh_fw_switch verify_writes;    /* read back and compare; default: devices yes, files no */
	bool enable_trim;              /* tell a device which blocks trim and fat_mkfs freed; a message where the destination is none */
	bool no_unmount;               /* devices: leave their file systems mounted */
	bool no_sync;                  /* no fdatasync: simulations that need not survive a power cut */
	bool unsafe;                   /* may the archive act on this host: execute, path_write, pipe_write, ubi_volume_write, require-execute? */
	bool quiet_stdout;             /* what commands print on standard output goes to standard error */
	const char *reboot_param_path; /* for reboot_param; NULL = /run/systemd/reboot-param, else /run/reboot-param */
	struct nh_fw_apply_handler handler;
};

struct nh_fw_apply;
/*
 * nh_fw_apply_new - reports progress 0 and opens the destination. *out NULL on failure.
 * NH_EINVAL (no task), NH_EPERM, NH_ENOTFOUND, NH_EIO: "Cannot open 'P' for output." and a hint, "Cannot create 'P'." and a hint.
 */
nh_rc nh_fw_apply_new(const struct nh_fw_apply_config *config, struct nh_fw_apply **out, struct nh_err *err);
/* Frees. An apply that was not finished is given up: unwritten data is discarded, on-error does not run. NULL is legal. */
void nh_fw_apply_free(struct nh_fw_apply *a);
/*
 * nh_fw_apply_feed - takes all of bytes. A failure is final (later calls repeat it); unwritten data was discarded and on-error has run when it
 * returns. NH_EAUTH (signature, no key), NH_EFORMAT (archive), NH_ENOTFOUND (no applicable task), NH_EPERM (an error() of the task, a function that needs `unsafe`),
 * NH_EUNSUPPORTED (a patch where the task has no old data for it, unknown functions and ciphers), NH_EIO, NH_ENOSPC (destination), NH_ETOOBIG.
 */
nh_rc nh_fw_apply_feed(struct nh_fw_apply *a, nh_slice bytes, struct nh_err *err);
bool nh_fw_apply_done(const struct nh_fw_apply *a); /* no further bytes are needed: call finish */
/* nh_fw_apply_finish - end of input: on-finish, flush, progress 100. NH_EFORMAT where input ended early; else as feed. */
nh_rc nh_fw_apply_finish(struct nh_fw_apply *a, struct nh_err *err);
/*
 * nh_fw_apply_give_up - the input failed: as after a failure of the archive itself, unwritten data is discarded and on-error runs. *err says why,
 * and is what later calls repeat. Nothing happens after a failure, or after finish.
 */
void nh_fw_apply_give_up(struct nh_fw_apply *a, struct nh_err *err);

/* What is known so far, for callers that report more than success. */
uint64_t nh_fw_apply_units(const struct nh_fw_apply *a);         /* work done, about the bytes put out; what progress is a part of.  source: "11.4" */
nh_slice nh_fw_apply_task(const struct nh_fw_apply *a);          /* name of the chosen task; empty before */
nh_fw_signature nh_fw_apply_signature(const struct nh_fw_apply *a);
nh_fw_fault nh_fw_apply_fault(const struct nh_fw_apply *a);      /* what was wrong with the archive, NH_FW_FAULT_CALLER for task and destination */
