/*
 * What a meta.conf says, in types: metadata fields, resources with their hashes, partition tables, environments, tasks with the calls to run.
 * The applier runs this, servers and tools show it. Built from the configuration tree; immutable afterwards. All slices live in the arena and are
 * followed by a NUL.  thread: any reader.  source: reference/fwup-format "3.2", "3.3", "5", "6", "7"
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "firmware/config.h"

/* Empty slice: not set. */
struct nh_fw_metadata {
	nh_slice product, description, version, author, platform, architecture;
	nh_slice creation_date; /* "2023-11-14T22:13:20Z" */
	nh_slice fwup_version, misc, vcs_identifier;
	nh_slice uuid, nickname; /* computed from the bytes of meta.conf */
};

/* One call of a funlist or reqlist: args[0..arg_count) without the name. */
struct nh_fw_call {
	nh_slice name;
	nh_slice args[NH_FW_CALL_ARGS_MAX - 1];
	unsigned arg_count;
};

struct nh_fw_calls {
	const struct nh_fw_call *items;
	size_t count;
	bool malformed; /* the list ended early or a count was not 1..10: items holds what came before; an error when the task runs */
};

struct nh_fw_resource {
	nh_slice name;
	size_t index;            /* position in nh_fw_manifest.resources */
	const uint64_t *runs;    /* bytes: data, hole, data, …; run_count >= 1 ({0} where length is missing) */
	size_t run_count;
	uint64_t size_bytes;     /* all runs */
	uint64_t stored_bytes;   /* data runs: what the member holds unless it is a delta */
	bool hash_ok;            /* blake2b-256 present and 64 hex digits */
	uint8_t blake2b[32];     /* over the data runs, where hash_ok */
};

struct nh_fw_partition {
	unsigned number;
	uint64_t block_offset;
	uint64_t block_count;
	int64_t type;            /* MBR: 0..255 */
	nh_slice type_text, guid, name, flags; /* GPT, as written */
	bool boot, expand;
};

struct nh_fw_osii {
	unsigned number;
	uint16_t os_major, os_minor;
	uint32_t start_block, load_address, entry_point, size_blocks;
	uint8_t attribute;
};

struct nh_fw_mbr {
	nh_slice name;
	uint32_t signature;
	bool has_bootstrap;
	uint8_t bootstrap[440];
	const struct nh_fw_partition *partitions; /* in file order; numbers 0..11, unique */
	size_t partition_count;
	bool include_osip;
	uint8_t osip_major, osip_minor, osip_pointers;
	const struct nh_fw_osii *osii;
	size_t osii_count;
};

struct nh_fw_gpt {
	nh_slice name, guid;
	const struct nh_fw_partition *partitions; /* numbers 0..15, unique */
	size_t partition_count;
};

struct nh_fw_uboot_area {
	nh_slice name;
	uint64_t block_offset;
	uint64_t block_count;           /* 1..65534 */
	bool redundant;
	uint64_t block_offset_redund;   /* where redundant */
};

struct nh_fw_on_resource {
	nh_slice name;                  /* of the resource */
	const struct nh_fw_resource *resource; /* NULL: metadata is missing (an error when the task runs) */
	struct nh_fw_calls calls;
	bool has_raw_source, has_fat_source;   /* delta sources, reference "14.1", "14.2" */
	uint64_t raw_offset, raw_count, fat_offset;
	nh_slice raw_options, fat_path;
};

struct nh_fw_task {
	nh_slice name;
	int64_t require_partition1_offset;     /* -1: none */
	struct nh_fw_calls requirements;
	struct nh_fw_calls on_init, on_finish, on_error;
	const struct nh_fw_on_resource *on_resources; /* in file order */
	size_t on_resource_count;
};

struct nh_fw_manifest {
	nh_slice text;                  /* meta.conf, all its bytes: what is signed and hashed into the UUID */
	const struct nh_fw_section *tree;
	struct nh_fw_metadata meta;
	nh_slice require_fwup_version;
	uint32_t block_cache_size_mb;   /* default 8; 1..1024 */
	const struct nh_fw_resource *resources;
	size_t resource_count;
	const struct nh_fw_mbr *mbrs;
	size_t mbr_count;
	const struct nh_fw_gpt *gpts;
	size_t gpt_count;
	const struct nh_fw_uboot_area *uboot_areas;
	size_t uboot_area_count;
	const struct nh_fw_task *tasks; /* in file order */
	size_t task_count;
};

/*
 * nh_fw_manifest_parse - text of meta.conf to types. vars: what ${…} may see beside FWUP_META_UUID and FWUP_META_NICKNAME, NULL = nothing; set
 * FWUP_META_* in it as a side effect. creation_date: of the ZIP member, or empty. Everything lives in the arena.
 * NH_EFORMAT "Unexpected meta.conf size: N", "[buf]:LINE: …" and others; NH_EUNSUPPORTED "fwup version 'X' required. …".
 */
nh_rc nh_fw_manifest_parse(nh_slice text, struct nh_fw_vars *vars, nh_slice creation_date, struct nh_arena *arena, struct nh_fw_manifest **out,
			   struct nh_err *err);

#define NH_FW_RESOURCE_NAME_MAX 511
#define NH_FW_META_MIN 10
#define NH_FW_META_MAX 49999
/* The version of the fwup language this room implements: what require-fwup-version is compared with and `nh-fwup --version` prints first. */
#define NH_FW_COMPAT_VERSION "1.16.0"
/* nh_fw_version_check - "required <= NH_FW_COMPAT_VERSION", missing parts count as 0. NH_EUNSUPPORTED with the reference's text. */
nh_rc nh_fw_version_check(nh_slice required, struct nh_err *err);

/* Lookups by name; NULL: none. */
const struct nh_fw_resource *nh_fw_manifest_resource(const struct nh_fw_manifest *m, nh_slice name);
const struct nh_fw_mbr *nh_fw_manifest_mbr(const struct nh_fw_manifest *m, nh_slice name);
const struct nh_fw_gpt *nh_fw_manifest_gpt(const struct nh_fw_manifest *m, nh_slice name);
const struct nh_fw_uboot_area *nh_fw_manifest_uboot_area(const struct nh_fw_manifest *m, nh_slice name);
const struct nh_fw_on_resource *nh_fw_task_on_resource(const struct nh_fw_task *t, nh_slice resource);

/* Does any task carry a usable delta source for a resource it writes? source: reference/fwup-format "14.5" */
bool nh_fw_manifest_delta_updatable(const struct nh_fw_manifest *m);

/* "meta-product=…" lines, reference "6". */
void nh_fw_metadata_put(struct nh_buf *out, const struct nh_fw_metadata *meta);
/* Task names sorted bytewise, one a line. */
void nh_fw_tasks_put(struct nh_buf *out, const struct nh_fw_manifest *m);

/* nh_fw_member_resource - resource name of a member: "data/x" → "x", "y" → "/y" (written to buf). NH_ETOOBIG. source: reference/fwup-format "1.2" */
nh_rc nh_fw_member_resource(nh_slice member, struct nh_buf *name, struct nh_err *err);
