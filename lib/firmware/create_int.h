/*
 * The parts of creating an archive. Private to the firmware room.
 */
#pragma once

#include "base/arena.h"
#include "firmware/config.h"
#include "firmware/create.h"

/* Checks of one call (create_calls.c); may append an argument. source: reference/fwup-format "9", "10.2" */
nh_rc fw_create_check_call(const struct nh_fw_section *root, const struct nh_fw_option *row, const struct nh_fw_section *in, nh_slice *strings,
			   size_t *count, struct nh_err *err);

/* Checks and completes a finished section (create_checks.c). source: reference/fwup-format "8.4", "12" */
nh_rc fw_create_check_section(const struct nh_fw_section *root, const struct nh_fw_option *row, struct nh_fw_section *section,
			      struct nh_arena *arena, struct nh_err *err);

/* One contiguous piece of a resource: of a file, or of inline contents (fd -1). */
struct fw_piece {
	const char *path;
	uint64_t offset, length;
};

/* What a resource consists of (create_resource.c). Lives in the arena. */
struct fw_payload {
	nh_slice contents;      /* where `inline_contents` */
	bool inline_contents;
	const struct fw_piece *pieces; /* data runs in order */
	size_t piece_count;
	uint64_t stored_bytes;
};

/* Finds the data runs, sets `length` and `blake2b-256` in the section, checks the size assertions. */
nh_rc fw_payload_prepare(struct nh_fw_section *resource, struct nh_arena *arena, struct fw_payload *out, struct nh_err *err);
/* Passes the data runs to write. */
nh_rc fw_payload_read(const struct fw_payload *p, nh_rc (*write)(void *ctx, nh_slice bytes, struct nh_err *err), void *ctx, struct nh_err *err);
/* Absolute or relative to the folder of the file `from`. */
const char *fw_path_beside(const char *from, nh_slice path, struct nh_arena *arena);
