/*
 * Why an archive was refused, finer than nh_rc: what a server tells the person who uploaded it and what a device reports. The error record's
 * message beside it has the reference tool's wording.  thread: any.  source: reference/fwup-format "Appendix B"
 */
#pragma once

#include "base/err.h"

typedef enum nh_fw_fault {
	NH_FW_FAULT_NONE = 0,
	NH_FW_FAULT_NOT_ARCHIVE,   /* does not begin like a ZIP file */
	NH_FW_FAULT_TRUNCATED,     /* ends too early */
	NH_FW_FAULT_TAMPERED,      /* damaged or changed: CRC, deflate stream, size or BLAKE2b hash do not match */
	NH_FW_FAULT_UNSIGNED,      /* keys given, but the archive carries no signature */
	NH_FW_FAULT_BAD_SIGNATURE, /* signed by none of the keys, or meta.conf changed after signing */
	NH_FW_FAULT_NO_KEY,        /* no key given and unverified archives not explicitly allowed */
	NH_FW_FAULT_MALFORMED,     /* a ZIP file, but not a firmware archive: members, meta.conf syntax or contents */
	NH_FW_FAULT_UNSUPPORTED,   /* needs something this version does not do (compression method, newer tool version) */
	NH_FW_FAULT_CALLER,        /* a handler of the caller refused */
} nh_fw_fault;

/* nh_fw_fault_name - "truncated", "bad-signature" …: stable, for logs and JSON. A literal, never NULL. */
const char *nh_fw_fault_name(nh_fw_fault fault);
