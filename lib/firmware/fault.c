/*
 * Names of the kinds of refusal.
 */
#include "firmware/fault.h"

const char *nh_fw_fault_name(nh_fw_fault fault)
{
	static const char *const names[] = {
		[NH_FW_FAULT_NONE] = "none",
		[NH_FW_FAULT_NOT_ARCHIVE] = "not-archive",
		[NH_FW_FAULT_TRUNCATED] = "truncated",
		[NH_FW_FAULT_TAMPERED] = "tampered",
		[NH_FW_FAULT_UNSIGNED] = "unsigned",
		[NH_FW_FAULT_BAD_SIGNATURE] = "bad-signature",
		[NH_FW_FAULT_NO_KEY] = "no-key",
		[NH_FW_FAULT_MALFORMED] = "malformed",
		[NH_FW_FAULT_UNSUPPORTED] = "unsupported",
		[NH_FW_FAULT_CALLER] = "caller",
	};
	NH_ASSERT((size_t)fault < NH_ARRAY_LEN(names));
	return names[fault];
}
