/*
 * The options about updates: how they are fetched, when they are installed and with what, and what becomes of a firmware that does not prove itself. Rows for the
 * table of options.c, and what they mean to the link and to the machine.
 */
#pragma once

#include "base/arena.h"
#include "base/option.h"
#include "link/machine.h"

#define UPDATES_ROWS_MAX 24
#define COMMAND_WORDS 4 /* "/bin/sh", "-c", COMMAND, NULL */

struct updates_settings {
	const char *device, *task, *env_path;
	uint64_t env_offset, env_second_offset, env_size;
	struct nh_option_list installers;
	const char *fwup, *rauc, *swupdate;
	struct nh_option_list fwup_args, rauc_args, swupdate_args;
	const char *fetch, *cache_dir;
	const char *policy, *update_command;
	uint64_t update_timeout_ms;
	const char *validate_command, *revert_command;
	uint64_t validate_timeout_ms, validate_interval_ms, validate_deadline_ms;
	bool revert_offline;

	/* loaded */
	struct nh_machine_config machine;
	nh_link_fetch how;
	const char *folder; /* of the cache */
	const char *update_argv[COMMAND_WORDS], *validate_argv[COMMAND_WORDS], *revert_argv[COMMAND_WORDS];
};

/* Appends its rows, at most UPDATES_ROWS_MAX; how many they are. */
size_t updates_rows(struct updates_settings *u, struct nh_option *rows);
/* Checks and completes them; state_dir may be NULL. NH_EINVAL: one clear line. */
nh_rc updates_load(struct updates_settings *u, const char *state_dir, struct nh_arena *arena, struct nh_err *err);
void updates_link(const struct updates_settings *u, struct nh_link_config *out); /* adds what is theirs */
/* Operators write shell commands; nothing a server sends ends up in one. argv stays as it is without a command. */
void set_command(const char *argv[COMMAND_WORDS], const char *command);
