/*
 * Functions on FAT volumes, and the few volumes that a run keeps mounted so that files are laid out one behind the other.
 * source: reference/fwup-format "9", "12.5"
 */
#include "apply_int.h"
#include "firmware/vars.h"

nh_rc nh_fw_run_volume(struct nh_fw_run *run, uint64_t offset, struct nh_fw_fat **out, struct nh_err *err)
{
	unsigned slot = 0;
	for (unsigned i = 0; i < NH_FW_VOLUMES; i++) {
		if (run->volumes[i].open && run->volumes[i].volume.start == offset) {
			run->volumes[i].used_at = ++run->volume_clock;
			*out = &run->volumes[i].volume;
			return NH_OK;
		}
		if (run->volumes[slot].open && (!run->volumes[i].open || run->volumes[i].used_at < run->volumes[slot].used_at))
			slot = i;
	}
	if (run->volumes[slot].open)
		NH_TRY(nh_fw_fat_sync(&run->volumes[slot].volume, err));
	run->volumes[slot].open = false;
	NH_TRY(nh_fw_fat_mount(&run->volumes[slot].volume, run->cache, offset, err));
	run->volumes[slot].open = true;
	run->volumes[slot].used_at = ++run->volume_clock;
	*out = &run->volumes[slot].volume;
	return NH_OK;
}

nh_rc nh_fw_run_volumes_sync(struct nh_fw_run *run, struct nh_err *err)
{
	for (unsigned i = 0; i < NH_FW_VOLUMES; i++)
		if (run->volumes[i].open)
			NH_TRY(nh_fw_fat_sync(&run->volumes[i].volume, err));
	return NH_OK;
}

void nh_fw_run_volumes_forget(struct nh_fw_run *run)
{
	for (unsigned i = 0; i < NH_FW_VOLUMES; i++)
		run->volumes[i].open = false;
}

nh_rc nh_fw_act_fat_mkfs(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	uint64_t offset = nh_fw_call_number(call, 0);
	for (unsigned i = 0; i < NH_FW_VOLUMES; i++)
		if (run->volumes[i].volume.start == offset)
			run->volumes[i].open = false;
	return nh_fw_fat_format(run->cache, offset, nh_fw_call_number(call, 1), err);
}

nh_rc nh_fw_act_fat_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	struct nh_fw_fat *v;
	NH_TRY(nh_fw_run_volume(run, nh_fw_call_number(call, 0), &v, err));
	return nh_fw_fat_create(v, call->args[1], &run->fat, err);
}

nh_rc nh_fw_act_fat_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err)
{
	uint64_t hole = position - run->fat.size;
	NH_TRY(nh_fw_fat_append_zeros(&run->fat, hole, err));
	NH_TRY(nh_fw_fat_append(&run->fat, bytes, err));
	nh_fw_run_progress(run, hole + bytes.len);
	return NH_OK;
}

nh_rc nh_fw_act_fat_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err)
{
	if (size > run->fat.size)
		NH_TRY(nh_fw_act_fat_data(run, size, NH_SLICE_EMPTY, err));
	return nh_fw_fat_close(&run->fat, err);
}

static nh_rc do_mv(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	return nh_fw_fat_rename(v, call->args[1], call->args[2], err);
}

static nh_rc do_mv_over(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	struct nh_fw_fat_file source;
	/* Without something to move the old file is worth keeping. */
	NH_TRY(nh_fw_fat_open(v, call->args[1], &source, err));
	nh_rc rc = nh_fw_fat_remove(v, call->args[2], err);
	return rc == NH_OK || rc == NH_ENOTFOUND ? do_mv(run, v, call, err) : rc;
}

static nh_rc do_rm_strict(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	return nh_fw_fat_remove(v, call->args[1], err);
}

static nh_rc do_rm(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	nh_rc rc = do_rm_strict(run, v, call, err);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc do_cp(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	if (call->arg_count == 3)
		return nh_fw_fat_copy(v, call->args[1], v, call->args[2], err);
	uint64_t offset;
	struct nh_fw_fat *target;
	if (nh_fw_parse_u64(call->args[2], &offset) != NH_OK || offset > NH_FW_BLOCKS_MAX)
		return NH_FAIL(err, NH_EFORMAT, "fat_cp: '%.*s' isn't a block offset", NH_ARG(call->args[2]));
	NH_TRY(nh_fw_run_volume(run, offset, &target, err));
	return nh_fw_fat_copy(v, call->args[1], target, call->args[3], err);
}

static nh_rc do_mkdir(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	return nh_fw_fat_mkdir(v, call->args[1], err);
}

static nh_rc do_setlabel(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	return nh_fw_fat_set_label(v, call->args[1], err);
}

static nh_rc do_touch(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	return nh_fw_fat_touch(v, call->args[1], err);
}

static nh_rc do_attrib(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err)
{
	static const struct {
		char letter;
		uint8_t bit;
	} letters[] = {{'S', NH_FW_FAT_SYSTEM}, {'s', NH_FW_FAT_SYSTEM}, {'H', NH_FW_FAT_HIDDEN}, {'h', NH_FW_FAT_HIDDEN},
		       {'R', NH_FW_FAT_READ_ONLY}, {'r', NH_FW_FAT_READ_ONLY}};
	uint8_t bits = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(letters); i++)
		if (nh_slice_chr(call->args[2], (uint8_t)letters[i].letter) >= 0)
			bits |= letters[i].bit;
	return nh_fw_fat_attrib(v, call->args[1], bits, err);
}

nh_rc nh_fw_act_fat_other(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	static const struct {
		const char *name;
		nh_rc (*act)(struct nh_fw_run *run, struct nh_fw_fat *v, const struct nh_fw_call *call, struct nh_err *err);
	} rows[] = {{"fat_mv", do_mv}, {"fat_mv!", do_mv_over}, {"fat_rm", do_rm}, {"fat_rm!", do_rm_strict}, {"fat_cp", do_cp},
		    {"fat_mkdir", do_mkdir}, {"fat_setlabel", do_setlabel}, {"fat_touch", do_touch}, {"fat_attrib", do_attrib}};
	struct nh_fw_fat *v;
	NH_TRY(nh_fw_run_volume(run, nh_fw_call_number(call, 0), &v, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (nh_slice_eq_str(call->name, rows[i].name))
			return rows[i].act(run, v, call, err);
	return NH_FAIL(err, NH_EINTERNAL, "%.*s has no row", NH_ARG(call->name));
}
