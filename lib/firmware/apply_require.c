/*
 * Which task to run: the first of that name whose requirements hold on the destination as it is. Anything that cannot be told counts as not met.
 * source: reference/fwup-format "10"
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "apply_int.h"
#include "base/file.h"
#include "base/log.h"
#include "firmware/uboot_env.h"
#include "firmware/vars.h"

#define PATTERN_MAX 4096u
#define SLAVES_DEPTH 3

static bool partition_offset(struct nh_fw_run *run, const struct nh_fw_call *c)
{
	uint64_t number, want;
	uint32_t is;
	return nh_fw_parse_u64(c->args[0], &number) == NH_OK && number <= 3 && nh_fw_parse_u64(c->args[1], &want) == NH_OK &&
	       nh_fw_mbr_partition_offset(run->cache, (unsigned)number, &is, NULL) == NH_OK && is == want;
}

static bool fat_file(struct nh_fw_run *run, const struct nh_fw_call *c, struct nh_fw_fat_file *f)
{
	uint64_t offset;
	struct nh_fw_fat *v;
	return nh_fw_parse_u64(c->args[0], &offset) == NH_OK && offset <= NH_FW_BLOCKS_MAX &&
	       nh_fw_run_volume(run, offset, &v, NULL) == NH_OK && nh_fw_fat_open(v, c->args[1], f, NULL) == NH_OK;
}

static bool fat_file_exists(struct nh_fw_run *run, const struct nh_fw_call *c)
{
	struct nh_fw_fat_file f;
	return fat_file(run, c, &f);
}

static bool fat_file_match(struct nh_fw_run *run, const struct nh_fw_call *c)
{
	struct nh_fw_fat_file f;
	nh_slice pattern = c->args[2], bytes;
	if (pattern.len >= PATTERN_MAX || !fat_file(run, c, &f))
		return false;
	if (pattern.len == 0)
		return true;
	NH_AUTO_BUF struct nh_buf window = NH_BUF_INIT; /* the end of what was read, long enough that no match is cut */
	while (nh_fw_fat_read(&f, &bytes, NULL) == NH_OK && bytes.len > 0) {
		nh_buf_put_slice(&window, bytes);
		if (nh_slice_find(nh_buf_slice(&window), pattern) >= 0)
			return true;
		if (window.len >= pattern.len)
			nh_buf_consume(&window, window.len - (pattern.len - 1));
	}
	return false;
}

static bool uboot_variable(struct nh_fw_run *run, const struct nh_fw_call *c)
{
	const struct nh_fw_uboot_area *area = nh_fw_manifest_uboot_area(run->manifest, c->args[0]);
	nh_slice value;
	if (!area)
		return false;
	struct nh_fw_env *e = nh_fw_env_new();
	bool met = nh_fw_run_env_load(run, area, e, NULL) == NH_OK && nh_fw_env_get(e, c->args[1], &value) && nh_slice_eq(value, c->args[2]);
	nh_fw_env_free(e);
	return met;
}

static bool is_on_device(dev_t holder, dev_t device, int depth)
{
	if (holder == device)
		return true;
	if (depth == 0)
		return false;
	char path[64];
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/slaves", major(holder), minor(holder));
	struct dirent **entries;
	/* scandir and not opendir: it is what libraries put in front of a program replace to show it other block devices */
	int count = scandir(path, &entries, NULL, NULL);
	bool found = false;
	for (int i = 0; i < count; i++) {
		char name[sizeof path + sizeof entries[i]->d_name + 8];
		unsigned maj, min;
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		snprintf(name, sizeof name, "%s/%s/dev", path, entries[i]->d_name);
		if (!found && entries[i]->d_name[0] != '.' && nh_file_read(name, 64, &text, NULL) == NH_OK &&
		    sscanf(nh_buf_cstr(&text), "%u:%u", &maj, &min) == 2)
			found = is_on_device(makedev(maj, min), device, depth - 1);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return found;
}

static bool path_on_device(struct nh_fw_run *run, const struct nh_fw_call *c)
{
	struct stat holder, device;
	/* slices of a manifest are followed by a NUL */
	return stat((const char *)c->args[0].ptr, &holder) == 0 && stat((const char *)c->args[1].ptr, &device) == 0 && S_ISBLK(device.st_mode) &&
	       is_on_device(holder.st_dev, device.st_rdev, SLAVES_DEPTH);
}

static bool path_at_offset(struct nh_fw_run *run, const struct nh_fw_call *c)
{
	struct stat st;
	uint64_t want, is;
	char path[64];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (nh_fw_parse_u64(c->args[1], &want) != NH_OK || stat((const char *)c->args[0].ptr, &st) != 0)
		return false;
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/start", major(st.st_dev), minor(st.st_dev));
	return nh_file_read(path, 64, &text, NULL) == NH_OK && nh_fw_parse_u64(nh_slice_trim(nh_buf_slice(&text)), &is) == NH_OK && is == want;
}

static bool command_succeeds(struct nh_fw_run *run, const struct nh_fw_call *c) { return nh_fw_host_command_succeeds(run, c->args[0]); }

static const struct {
	const char *name;
	unsigned args;
	bool (*met)(struct nh_fw_run *run, const struct nh_fw_call *call);
} requirements[] = {
	{"require-partition-offset", 2, partition_offset},
	{"require-fat-file-exists", 2, fat_file_exists},
	{"require-fat-file-match", 3, fat_file_match},
	{"require-uboot-variable", 3, uboot_variable},
	{"require-path-on-device", 2, path_on_device},
	{"require-path-at-offset", 2, path_at_offset},
	{"require-execute", 1, command_succeeds},
};

static bool call_met(struct nh_fw_run *run, const struct nh_fw_call *call)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(requirements); i++)
		if (nh_slice_eq_str(call->name, requirements[i].name))
			return call->arg_count == requirements[i].args && requirements[i].met(run, call);
	return false;
}

static bool task_met(struct nh_fw_run *run, const struct nh_fw_task *t)
{
	uint32_t offset;
	if (t->require_partition1_offset >= 0 && (nh_fw_mbr_partition_offset(run->cache, 1, &offset, NULL) != NH_OK ||
						  offset != (uint64_t)t->require_partition1_offset))
		return false;
	if (t->requirements.malformed)
		return false;
	for (size_t i = 0; i < t->requirements.count; i++)
		if (!call_met(run, &t->requirements.items[i]))
			return false;
	return true;
}

nh_rc nh_fw_task_choose(struct nh_fw_run *run, nh_slice prefix, const struct nh_fw_task **out, struct nh_err *err)
{
	*out = NULL;
	for (size_t i = 0; i < run->manifest->task_count && !*out; i++)
		if (nh_slice_starts(run->manifest->tasks[i].name, prefix) && task_met(run, &run->manifest->tasks[i]))
			*out = &run->manifest->tasks[i];
	/* What was mounted to look is mounted afresh to write. */
	nh_fw_run_volumes_forget(run);
	if (!*out)
		return NH_FAIL(err, NH_ENOTFOUND,
			       "Couldn't find applicable task '%.*s'. If task is available, the task's requirements may not be met.", NH_ARG(prefix));
	return NH_OK;
}
