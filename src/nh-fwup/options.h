/*
 * The command line of nh-fwup: one table of rows for parsing, for the help text and for "easy mode". The same flags as fwup.
 * source: reference/fwup-format "15"
 */
#pragma once

#include "base/buf.h"
#include "firmware/keys.h"

#define KEYS_MAX 10

struct options {
	char command; /* a c g l m S V z D, 'h' help, 'v' version, 'C' sparse check; 0 none */
	const char *destination, *config, *input, *output, *task, *metadata_key, *reboot_param_path, *sparse_path;
	struct nh_fw_public_key keys[KEYS_MAX];
	size_t key_count;
	bool too_many_keys;
	struct nh_fw_private_key private_key;
	bool has_private_key;
	int level;
	uint64_t progress_low, progress_high, max_blocks, sparse_size;
	bool numeric, quiet, framing, exit_handshake, verbose;
	bool unmount, no_unmount, eject, enable_trim, minimize_writes, unsafe, accept_found;
	bool verify_writes, no_verify_writes;
	bool not_easy; /* an option was given that switches easy mode off */
};

/*
 * Fills *o. NH_OK; NH_EINVAL with a message, or with an empty one where getopt has already complained (then usage follows);
 * codes of the key readers. o->framing and o->exit_handshake are right even on failure, as far as the line was read.
 */
nh_rc options_parse(struct options *o, int argc, char **argv, struct nh_err *err);
void options_usage(struct nh_buf *out, const char *program);
