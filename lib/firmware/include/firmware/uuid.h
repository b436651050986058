/*
 * Identity of a firmware: UUID and nickname from the bytes of meta.conf.  thread: any.  source: reference/fwup-format "5", "Appendix A"
 */
#pragma once

#include "base/uuid.h"

#define NH_FW_NICKNAME_MAX 15

struct nh_fw_identity {
	char uuid[NH_UUID_TEXT_LEN + 1];
	char nickname[NH_FW_NICKNAME_MAX + 1]; /* "capital-fan" */
};
void nh_fw_identity_of(nh_slice meta_conf, struct nh_fw_identity *out);
