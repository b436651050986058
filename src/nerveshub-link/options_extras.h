/*
 * Options of nerveshub-link for everything beside updates: health, place, logs, networks, console, shell, files, scripts, archives. Rows of the same table as all others (options.h).
 */
#pragma once

#include "base/arena.h"
#include "base/json.h"
#include "base/option.h"
#include "link/extensions.h"

struct extras_settings {
	bool health, logging, console, local_shell, scripts;
	uint64_t health_interval_ms, health_plugin_ms, identity_interval_ms, console_idle_ms, linger_ms, files_quota;
	const char *health_disk, *health_plugins;
	struct nh_option_list health_metadata;
	const char *geo, *geo_command;
	const char *logging_level, *logging_socket;
	const char *identity_command;
	const char *shell_command, *shell_user;
	const char *files_directory;
	const char *script_interpreter;
	const char *archive_directory, *archive_command;

	struct nh_link_extensions loaded; /* texts in the settings' arena */
};

/* extras_rows - appends the rows, at most EXTRAS_ROWS_MAX, without an end; how many. */
#define EXTRAS_ROWS_MAX 32
size_t extras_rows(struct extras_settings *s, struct nh_option *rows);
/* extras_load - what they say, into s->loaded. NH_EINVAL: one clear line. */
nh_rc extras_load(struct extras_settings *s, struct nh_arena *arena, struct nh_err *err);
/* extras_summary - what is switched on, for people: "health, console"; empty where nothing is. */
void extras_summary(const struct extras_settings *s, struct nh_buf *out);
