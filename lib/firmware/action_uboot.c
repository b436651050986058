/*
 * Functions on U-Boot environments: each loads, changes and stores through the write cache.  source: reference/fwup-format "9", "12.3"
 */
#include "apply_int.h"
#include "uboot_env_int.h"

static nh_rc cache_read(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err)
{
	return nh_fw_cache_read(ctx, offset, out, len, err);
}

static nh_rc cache_write(void *ctx, uint64_t offset, nh_slice bytes, struct nh_err *err)
{
	return nh_fw_cache_write(ctx, offset, bytes, false, err);
}

static struct nh_fw_env_place place_of(const struct nh_fw_uboot_area *area)
{
	return (struct nh_fw_env_place){
		.offset_bytes = area->block_offset * NH_FW_BLOCK,
		.size_bytes = area->block_count * NH_FW_BLOCK,
		.redundant = area->redundant,
		.offset_redund_bytes = area->block_offset_redund * NH_FW_BLOCK,
	};
}

nh_rc nh_fw_run_env_load(struct nh_fw_run *run, const struct nh_fw_uboot_area *area, struct nh_fw_env *e, struct nh_err *err)
{
	struct nh_fw_env_medium medium = {run->cache, cache_read, cache_write};
	struct nh_fw_env_place place = place_of(area);
	return nh_fw_env_load_from(e, &medium, &place, err);
}

static nh_rc act_on(struct nh_fw_run *run, const struct nh_fw_uboot_area *area, struct nh_fw_env *e, const struct nh_fw_call *call, struct nh_err *err)
{
	struct nh_fw_env_medium medium = {run->cache, cache_read, cache_write};
	struct nh_fw_env_place place = place_of(area);
	bool clear = nh_slice_eq_str(call->name, "uboot_clearenv"), recover = nh_slice_eq_str(call->name, "uboot_recover");
	if (!clear) {
		nh_rc rc = nh_fw_run_env_load(run, area, e, err);
		if (rc == NH_OK && recover)
			return NH_OK;
		if (rc != NH_OK && !(recover && rc == NH_EFORMAT))
			return rc;
	}
	if (nh_slice_eq_str(call->name, "uboot_setenv"))
		NH_TRY(nh_fw_env_set(e, call->args[1], call->args[2], err));
	else if (nh_slice_eq_str(call->name, "uboot_unsetenv"))
		(void)nh_fw_env_unset(e, call->args[1]); /* unset already is fine */
	else
		nh_fw_env_clear(e);
	return nh_fw_env_store_to(e, &medium, &place, err);
}

nh_rc nh_fw_act_uboot(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	struct nh_fw_env *e = nh_fw_env_new();
	nh_rc rc = act_on(run, nh_fw_manifest_uboot_area(run->manifest, call->args[0]), e, call, err);
	nh_fw_env_free(e);
	return rc;
}
