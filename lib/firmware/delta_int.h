/* What the files about making deltas share: the scan of a manifest. Private to firmware. */
#pragma once

#include "firmware/delta.h"

/* Over all tasks of an archive. source: reference/fwup-format "14.5" */
struct nh_fw_delta_flags {
	nh_slice resource;
	bool raw_write, write_cipher, write_secret;   /* how it is written */
	bool fat_write;
	bool raw_source, source_cipher, source_secret; /* where old data is */
	bool fat_source;
	bool in_upgrade; /* used by a task whose name begins with "upgrade" */
};

struct nh_fw_delta_scan {
	struct nh_fw_delta_flags *items; /* one a resource that some task uses */
	size_t count;
};

void nh_fw_delta_scan_init(struct nh_fw_delta_scan *s, const struct nh_fw_manifest *m); /* borrows names of m */
void nh_fw_delta_scan_fini(struct nh_fw_delta_scan *s);
const struct nh_fw_delta_flags *nh_fw_delta_scan_find(const struct nh_fw_delta_scan *s, nh_slice resource); /* NULL: no task uses it */
