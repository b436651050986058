/*
 * The table of functions that a task may call, and what all of them need: finding, checking arguments, progress.
 * source: reference/fwup-format "9", "11.4"
 */
#include "apply_int.h"
#include "base/file.h"
#include "firmware/vars.h"

#include <sys/stat.h>

static uint64_t units_none(const struct nh_fw_run *run, const struct nh_fw_call *call)
{
	return 0;
}

static uint64_t units_stored(const struct nh_fw_run *run, const struct nh_fw_call *call)
{
	return run->on && run->on->resource ? run->on->resource->stored_bytes : 0;
}

static uint64_t units_size(const struct nh_fw_run *run, const struct nh_fw_call *call)
{
	return run->on && run->on->resource ? run->on->resource->size_bytes : 0;
}

static uint64_t units_memset(const struct nh_fw_run *run, const struct nh_fw_call *call)
{
	return nh_fw_call_number(call, 1) * NH_FW_BLOCK;
}

static uint64_t units_trim(const struct nh_fw_run *run, const struct nh_fw_call *call)
{
	return nh_fw_call_number(call, 1) / 256;
}

static uint64_t units_gpt(const struct nh_fw_run *run, const struct nh_fw_call *call)
{
	return 66 * NH_FW_BLOCK; /* what both tables write, block 0 not counted */
}

static uint64_t units_uboot(const struct nh_fw_run *run, const struct nh_fw_call *call)
{
	const struct nh_fw_uboot_area *area = nh_fw_manifest_uboot_area(run->manifest, call->args[0]);
	return area->block_count * NH_FW_BLOCK * (area->redundant ? 2 : 1);
}

static nh_rc act_error(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	return NH_FAIL(err, NH_EPERM, "%.*s", NH_ARG(call->args[0]));
}

static nh_rc act_info(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	nh_fw_run_message(run, call->args[0]);
	return NH_OK;
}

static nh_rc act_reboot_param(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	struct stat st;
	const char *path = run->config->reboot_param_path;
	if (!path)
		path = stat("/run/systemd", &st) == 0 ? "/run/systemd/reboot-param" : "/run/reboot-param";
	return nh_file_write_atomic(path, call->args[0], 0644, err);
}

static const struct nh_fw_action actions[] = {
	{"raw_write", "o|k", units_stored, nh_fw_act_raw_write, nh_fw_act_raw_data, nh_fw_act_raw_end},
	{"raw_memset", "ocb", units_memset, nh_fw_act_raw_memset},
	{"trim", "oc", units_trim, nh_fw_act_trim},
	{"mbr_write", "m", NULL, nh_fw_act_mbr_write},
	{"gpt_write", "g", units_gpt, nh_fw_act_gpt_write},
	{"fat_mkfs", "oc", NULL, nh_fw_act_fat_mkfs},
	{"fat_write", "ot", units_size, nh_fw_act_fat_write, nh_fw_act_fat_data, nh_fw_act_fat_end},
	{"fat_mv", "ott", NULL, nh_fw_act_fat_other},
	{"fat_mv!", "ott", NULL, nh_fw_act_fat_other},
	{"fat_rm", "ot", NULL, nh_fw_act_fat_other},
	{"fat_rm!", "ot", NULL, nh_fw_act_fat_other},
	{"fat_cp", "ott|t", NULL, nh_fw_act_fat_other},
	{"fat_mkdir", "ot", NULL, nh_fw_act_fat_other},
	{"fat_setlabel", "ot", NULL, nh_fw_act_fat_other},
	{"fat_touch", "ot", NULL, nh_fw_act_fat_other},
	{"fat_attrib", "otx", NULL, nh_fw_act_fat_other},
	{"uboot_clearenv", "u", units_uboot, nh_fw_act_uboot},
	{"uboot_setenv", "utt", units_uboot, nh_fw_act_uboot},
	{"uboot_unsetenv", "ut", units_uboot, nh_fw_act_uboot},
	{"uboot_recover", "u", units_uboot, nh_fw_act_uboot},
	{"error", "t", units_none, act_error},
	{"info", "t", units_none, act_info},
	{"reboot_param", "t", NULL, act_reboot_param},
	{"execute", "t", NULL, nh_fw_act_execute, .host = true},
	{"path_write", "t", units_stored, nh_fw_act_path_write, nh_fw_act_path_data, nh_fw_act_path_end, .host = true},
	{"pipe_write", "t", units_size, nh_fw_act_pipe_write, nh_fw_act_pipe_data, nh_fw_act_pipe_end, .host = true},
	{"ubi_volume_write", "t", units_size, nh_fw_act_ubi_write, nh_fw_act_stream_data, nh_fw_act_ubi_end, .host = true},
};

uint64_t nh_fw_call_number(const struct nh_fw_call *call, unsigned i)
{
	uint64_t n = 0;
	NH_ASSERT(i < call->arg_count && nh_fw_parse_u64(call->args[i], &n) == NH_OK);
	return n;
}

static bool argument_ok(const struct nh_fw_run *run, char kind, nh_slice text)
{
	uint64_t n;
	switch (kind) {
	case 'o':
		return nh_fw_parse_u64(text, &n) == NH_OK && n <= NH_FW_BLOCKS_MAX;
	case 'c':
		return nh_fw_parse_u64(text, &n) == NH_OK && n >= 1 && n <= NH_FW_BLOCKS_MAX;
	case 'b':
		return nh_fw_parse_u64(text, &n) == NH_OK && n <= 255;
	case 'm':
		return nh_fw_manifest_mbr(run->manifest, text) != NULL;
	case 'g':
		return nh_fw_manifest_gpt(run->manifest, text) != NULL;
	case 'u':
		return nh_fw_manifest_uboot_area(run->manifest, text) != NULL;
	case 'x':
		for (size_t i = 0; i < text.len; i++)
			if (nh_slice_chr(NH_LIT("SHRshr"), text.ptr[i]) < 0)
				return false;
		return true;
	default:
		return true;
	}
}

static nh_rc options_check(const struct nh_fw_action *a, const nh_slice *options, unsigned count, struct nh_err *err)
{
	struct nh_disk_cipher *cipher;
	NH_TRY_CTX(nh_fw_disk_cipher_of(options, count, &cipher, err), err, "%s", a->name);
	nh_disk_cipher_free(cipher);
	return NH_OK;
}

static nh_rc arguments_check(const struct nh_fw_run *run, const struct nh_fw_action *a, const struct nh_fw_call *call, struct nh_err *err)
{
	bool optional = false;
	unsigned i = 0;
	for (const char *kind = a->args; *kind; kind++) {
		if (*kind == '|') {
			optional = true;
			continue;
		}
		if (i == call->arg_count) {
			if (!optional)
				return NH_FAIL(err, NH_EFORMAT, "%s: argument %u is missing", a->name, i + 1);
			return NH_OK;
		}
		if (*kind == 'k')
			return options_check(a, &call->args[i], call->arg_count - i, err);
		if (!argument_ok(run, *kind, call->args[i]))
			return NH_FAIL(err, NH_EFORMAT, "%s: '%.*s' isn't acceptable as argument %u", a->name, NH_ARG(call->args[i]), i + 1);
		i++;
	}
	return i == call->arg_count ? NH_OK : NH_FAIL(err, NH_EFORMAT, "%s: too many arguments", a->name);
}

nh_rc nh_fw_action_check(const struct nh_fw_run *run, const struct nh_fw_call *call, bool in_resource, const struct nh_fw_action **out,
			 struct nh_err *err)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(actions); i++) {
		const struct nh_fw_action *a = &actions[i];
		if (!nh_slice_eq_str(call->name, a->name))
			continue;
		NH_TRY(arguments_check(run, a, call, err));
		if (a->host && !run->config->unsafe)
			return NH_FAIL(err, NH_EPERM, "%s requires --unsafe", a->name);
		if (a->data && !in_resource)
			return NH_FAIL(err, NH_EFORMAT, "%s only works in an on-resource", a->name);
		*out = a;
		return NH_OK;
	}
	return NH_FAIL(err, NH_EUNSUPPORTED, "Unknown function '%.*s'", NH_ARG(call->name));
}

uint64_t nh_fw_action_units(const struct nh_fw_run *run, const struct nh_fw_action *action, const struct nh_fw_call *call)
{
	return action->units ? action->units(run, call) : 512;
}

void nh_fw_run_message(const struct nh_fw_run *run, nh_slice text)
{
	if (!run->config->handler.message)
		return;
	NH_AUTO_BUF struct nh_buf copy = NH_BUF_INIT;
	nh_buf_put_slice(&copy, text);
	run->config->handler.message(run->config->handler.ctx, nh_buf_cstr(&copy));
}

void nh_fw_run_progress(struct nh_fw_run *run, uint64_t units)
{
	const struct nh_fw_apply_config *c = run->config;
	uint64_t total = run->units_total;
	run->units_done = units > total - run->units_done ? total : run->units_done + units;
	uint64_t range = c->progress_high > c->progress_low ? c->progress_high - c->progress_low : 0;
	/* Large totals lose low bits rather than overflow. */
	uint64_t part = total == 0 ? 0 : total > UINT64_MAX / 128 ? run->units_done / (total / 128) * range / 128 : run->units_done * range / total;
	uint64_t most = range ? range - 1 : 0;
	int value = (int)(c->progress_low + (part < most ? part : most));
	if (value <= run->progress_last)
		return;
	run->progress_last = value;
	if (c->handler.progress)
		c->handler.progress(c->handler.ctx, (unsigned)value);
}
