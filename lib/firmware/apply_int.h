/*
 * What the parts of the applier share: the run of one task and the table of its functions.
 */
#pragma once

#include "crypto/digest.h"
#include "crypto/disk_cipher.h"
#include "fat_int.h"
#include "firmware/apply.h"

#define NH_FW_VOLUMES 4
/* Offsets stay far enough below 2^63 bytes that adding two of them cannot overflow. */
#define NH_FW_BLOCKS_MAX (UINT64_C(1) << 52)

struct nh_fw_action;
struct nh_fw_delta;

struct nh_fw_run {
	const struct nh_fw_apply_config *config;
	const struct nh_fw_manifest *manifest;
	const struct nh_fw_task *task;
	struct nh_fw_cache *cache;

	uint64_t units_total, units_done;
	int progress_last; /* -1: nothing reported yet */

	struct { /* FAT volumes in use; the oldest makes room */
		bool open;
		uint64_t used_at;
		struct nh_fw_fat volume;
	} volumes[NH_FW_VOLUMES];
	uint64_t volume_clock;

	/* The resource that is coming in, where the task wants it (on != NULL). */
	const struct nh_fw_on_resource *on;
	size_t call;                        /* next call of on->calls */
	const struct nh_fw_action *consumer; /* takes the data; NULL: nobody does */
	struct nh_fw_delta *delta;          /* the member is a patch; NULL: the data itself */
	struct nh_digest_stream *hash;
	size_t run_index;
	uint64_t run_left, position, stored; /* position in the file, holes included; stored: data bytes so far */
	struct {
		uint64_t start;                 /* destination byte */
		uint64_t block_at;              /* file position of block, where filled */
		bool filled;
		uint8_t block[NH_FW_BLOCK];
		struct nh_disk_cipher *cipher;  /* NULL: written as it is */
	} raw;
	struct nh_fw_fat_file fat;
	struct { /* where path_write, pipe_write and ubi_volume_write put it */
		int fd;           /* -1: nothing open */
		int pid;          /* of pipe_write's command; 0: none */
		uint64_t written; /* position in the file */
		nh_slice target;  /* for messages */
	} host;
};

/* One function. args: a letter for each argument, behind '|' optional: o block offset, c block count (at least 1), b byte, t text, m mbr, g gpt, u environment,
 * x attribute letters, k raw_write option (all that follow are). */
struct nh_fw_action {
	const char *name;
	const char *args;
	uint64_t (*units)(const struct nh_fw_run *run, const struct nh_fw_call *call); /* NULL: 512 */
	nh_rc (*act)(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
	/* Functions that consume a resource: act begins, then data at rising positions (gaps are holes), then end with the file's size. */
	nh_rc (*data)(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err);
	nh_rc (*end)(struct nh_fw_run *run, uint64_t size, struct nh_err *err);
	bool host; /* acts on the host: only where the caller allows it */
};

/* action.c */
/* Finds and checks a call. in_resource: functions that consume are legal. NH_EUNSUPPORTED, NH_EFORMAT. */
nh_rc nh_fw_action_check(const struct nh_fw_run *run, const struct nh_fw_call *call, bool in_resource, const struct nh_fw_action **out,
			 struct nh_err *err);
uint64_t nh_fw_action_units(const struct nh_fw_run *run, const struct nh_fw_action *action, const struct nh_fw_call *call);
uint64_t nh_fw_call_number(const struct nh_fw_call *call, unsigned i); /* of a checked call */
void nh_fw_run_message(const struct nh_fw_run *run, nh_slice text);
void nh_fw_run_progress(struct nh_fw_run *run, uint64_t units);
/* action_disk.c, action_fat.c, action_uboot.c: act, data and end of the table's rows */
nh_rc nh_fw_act_raw_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_raw_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_act_raw_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err);
nh_rc nh_fw_act_raw_memset(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_trim(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_mbr_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_gpt_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_fat_mkfs(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_fat_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_fat_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_act_fat_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err);
nh_rc nh_fw_act_fat_other(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_uboot(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
/* action_host.c */
nh_rc nh_fw_act_execute(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_path_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_path_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_act_path_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err);
nh_rc nh_fw_act_pipe_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_pipe_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_act_pipe_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err);
nh_rc nh_fw_act_ubi_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err);
nh_rc nh_fw_act_stream_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_act_ubi_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err);
bool nh_fw_host_command_succeeds(const struct nh_fw_run *run, nh_slice command); /* require-execute; false unless unsafe */
void nh_fw_run_host_forget(struct nh_fw_run *run);                              /* gives up an output that is open */
/* The mounted volume at a block. Borrowed until the next call. */
nh_rc nh_fw_run_volume(struct nh_fw_run *run, uint64_t offset, struct nh_fw_fat **out, struct nh_err *err);
nh_rc nh_fw_run_volumes_sync(struct nh_fw_run *run, struct nh_err *err);
void nh_fw_run_volumes_forget(struct nh_fw_run *run);
struct nh_fw_env;
nh_rc nh_fw_run_env_load(struct nh_fw_run *run, const struct nh_fw_uboot_area *area, struct nh_fw_env *e, struct nh_err *err);

/* apply_mbr.c */
nh_rc nh_fw_mbr_write(struct nh_fw_cache *cache, const struct nh_fw_mbr *mbr, struct nh_err *err);
/* Start of primary partition 0..3 as block 0 has it. NH_EFORMAT: no MBR. */
nh_rc nh_fw_mbr_partition_offset(struct nh_fw_cache *cache, unsigned partition, uint32_t *offset, struct nh_err *err);

/* disk_options.c: options in one or several texts. *out NULL where they ask for no cipher. NH_EFORMAT, NH_EUNSUPPORTED, NH_EINVAL; messages hold no secret. */
nh_rc nh_fw_disk_cipher_of(const nh_slice *options, size_t count, struct nh_disk_cipher **out, struct nh_err *err);

/* apply_gpt.c: protective MBR and both tables. NH_EFORMAT: no partitions, or one that cannot be said in a table. */
nh_rc nh_fw_gpt_write(struct nh_fw_cache *cache, const struct nh_fw_gpt *gpt, struct nh_err *err);

/* apply_require.c: the first task whose name starts with the prefix and whose requirements hold. NH_ENOTFOUND. source: reference/fwup-format "10" */
nh_rc nh_fw_task_choose(struct nh_fw_run *run, nh_slice prefix, const struct nh_fw_task **out, struct nh_err *err);

/* apply_resource.c: one member's data on its way to the task's functions */
nh_rc nh_fw_resource_begin(struct nh_fw_run *run, const struct nh_fw_on_resource *on, const struct nh_fw_member *member, struct nh_err *err);
nh_rc nh_fw_resource_data(struct nh_fw_run *run, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_resource_put(struct nh_fw_run *run, nh_slice bytes, struct nh_err *err); /* the resource's own bytes, after any patch */
nh_rc nh_fw_resource_end(struct nh_fw_run *run, struct nh_err *err);

/* apply_delta.c: patches whose old data is on the destination. Errors as nh_fw_vcdiff_feed, nh_fw_disk_cipher_of, FAT. */
nh_rc nh_fw_delta_new(struct nh_fw_run *run, const struct nh_fw_on_resource *on, struct nh_fw_delta **out, struct nh_err *err);
nh_rc nh_fw_delta_feed(struct nh_fw_delta *d, nh_slice bytes, struct nh_err *err);
nh_rc nh_fw_delta_finish(struct nh_fw_delta *d, struct nh_err *err);
void nh_fw_delta_free(struct nh_fw_delta *d); /* NULL legal */

/* apply_dest.c. source: reference/fwup-format "15.3" */
struct nh_fw_destination {
	int fd;
	bool owned, is_device;
	bool forgets; /* /dev/null: nothing can be read back */
	uint64_t hard_end, soft_end; /* bytes, 0 = none */
};
nh_rc nh_fw_destination_open(const struct nh_fw_apply_config *config, struct nh_fw_destination *out, struct nh_err *err);
nh_rc nh_fw_destination_close(struct nh_fw_destination *d, struct nh_err *err); /* NH_EIO: a write was lost */
