/*
 * Delta archives on the side that makes them: which archives can be delta targets, whether two of them fit, and the archive itself, whose resources
 * are VCDIFF patches against an older archive. Applying is apply.h's.
 *
 * Nothing in a delta archive says that it is one: meta.conf and signature are the target's, so UUID and trust are too. A patch is known by its size in the
 * local header.  thread: any; building blocks and runs xdelta3.  source: reference/fwup-format "14"
 */
#pragma once

#include "firmware/metadata.h"

struct nh_process_limits; /* base/process.h */

struct nh_fw_features {
	bool raw_deltas, fat_deltas;    /* some resource can be patched where it is written raw, or in a FAT volume */
	bool encryption;                /* some resource is written encrypted */
	bool encrypted_deltas;          /* and patched */
	const char *complete_version;   /* of fwup that the archive needs when applied whole, "1.5.0" */
	const char *delta_version;      /* and as a delta */
};

/* nh_fw_features_scan - of all tasks together. Texts live in the arena. source: reference/fwup-format "14.5" */
void nh_fw_features_scan(const struct nh_fw_manifest *m, struct nh_arena *arena, struct nh_fw_features *out);

/*
 * nh_fw_delta_compatible - may devices that run `source` take a delta to `target`? NH_OK, or NH_EUNSUPPORTED with the first finding in the reference's words.
 * source: reference/fwup-format "14.6"
 */
nh_rc nh_fw_delta_compatible(const struct nh_fw_manifest *source, const struct nh_fw_manifest *target, struct nh_err *err);

typedef enum nh_fw_delta_outcome {
	NH_FW_DELTA_BUILT,
	NH_FW_DELTA_NO_SUPPORT,   /* no task of the target says where old data is */
	NH_FW_DELTA_INCOMPATIBLE, /* nh_fw_delta_compatible said no; the message holds why */
	NH_FW_DELTA_NO_CHANGES,   /* no resource got smaller as a patch */
	NH_FW_DELTA_LARGER,       /* the whole archive is not larger */
} nh_fw_delta_outcome;
/* The outcome's name as the API shows it ("no_delta_support_in_firmware"); a literal. */
const char *nh_fw_delta_outcome_name(nh_fw_delta_outcome outcome);

struct nh_fw_delta_build {
	const char *source, *target;    /* whole archives, verified by the caller */
	const char *output;             /* written beside and renamed: there whole or not at all */
	const char *scratch;            /* directory for unpacked resources: a new folder is made in it, and removed */
	uint64_t scratch_max_bytes;     /* of unpacked resources and patches; 0 = 8 GiB */
	uint64_t timeout_ms;            /* for one resource; 0 = none */
	const struct nh_process_limits *limits; /* of xdelta3; NULL = ours */
	struct nh_arena *arena;         /* where texts of the result live; NULL = its features are not wanted */
};

struct nh_fw_delta_result {
	nh_fw_delta_outcome outcome;
	uint64_t size_bytes, source_bytes, target_bytes; /* of the archives; size_bytes 0 unless BUILT */
	unsigned patches;
	struct nh_fw_features features; /* the target's */
	uint64_t block_cache_mb;        /* the target's block-cache-size-mb, 0: it has none */
};

/*
 * nh_fw_delta_build - NH_OK with an outcome; the output exists only for BUILT. NH_EFORMAT (an archive), NH_ENOTFOUND (an archive, or xdelta3 is not installed),
 * NH_ETIMEOUT, NH_ETOOBIG (scratch_max_bytes), NH_ENOSPC, NH_EPERM, NH_EIO.
 */
nh_rc nh_fw_delta_build(const struct nh_fw_delta_build *b, struct nh_fw_delta_result *out, struct nh_err *err);

struct nh_fw_delta_check {
	const char *source, *target, *delta; /* whole archives, and what was made of them */
	const char *scratch;            /* directory for unpacked resources, which have no name in it */
	uint64_t scratch_max_bytes;     /* of one of them; 0 = 8 GiB */
};

/*
 * nh_fw_delta_check - does the delta turn the source into the target? Every patch is applied to the source's resource, as far as the tasks let a device read it, and every result compared with the
 * hash in the metadata, which must be the target's byte for byte, as must be its signature; who signed it is not looked at. NH_OK only for a delta that may be handed out.
 * NH_EFORMAT: the first thing that is wrong. NH_ENOTFOUND (a file), NH_ETOOBIG (scratch_max_bytes), NH_ENOSPC, NH_EPERM, NH_EIO.
 */
nh_rc nh_fw_delta_check(const struct nh_fw_delta_check *check, struct nh_err *err);
