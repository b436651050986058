/* Environment load and store over any medium: the applier's write cache as well as a descriptor. */
#pragma once

#include "firmware/uboot_env.h"

#define NH_FW_ENV_SIZE_MAX (65534u * 512u)

/* Both transfer all bytes or fail; read gives zeros behind the end of the medium. */
struct nh_fw_env_medium {
	void *ctx;
	nh_rc (*read)(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err);
	nh_rc (*write)(void *ctx, uint64_t offset, nh_slice bytes, struct nh_err *err);
};

nh_rc nh_fw_env_load_from(struct nh_fw_env *e, const struct nh_fw_env_medium *medium, const struct nh_fw_env_place *place, struct nh_err *err);
nh_rc nh_fw_env_store_to(struct nh_fw_env *e, const struct nh_fw_env_medium *medium, const struct nh_fw_env_place *place, struct nh_err *err);
