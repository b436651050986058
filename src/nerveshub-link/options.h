/*
 * Options of nerveshub-link: one table of rows, each readable from a flag or from the configuration file (name = value, the flags' names), flags on
 * top. Files named here are read by settings_load.
 */
#pragma once

#include "base/arena.h"
#include "base/option.h"
#include "link/machine.h"
#include "options_extras.h"
#include "options_updates.h"

struct settings {
	const char *config_file;
	const char *server, *server_name, *proxy, *no_proxy, *transport, *state_dir;
	struct nh_option_list cas; /* files and directories */
	struct nh_option_list reconnect_delays; /* times */
	bool ca_system;
	uint64_t poll_interval_ms;
	const char *cert_file, *key_file;
	const char *identity, *certificate_pair;
	const char *secret_key, *secret_file, *identifier;
	struct nh_option_list public_keys; /* base64, or files that hold it */
	bool request_keys;
	const char *reboot_command;
	const char *interface, *log_level;
	uint64_t heartbeat_ms, connect_timeout_ms, download_idle_ms, download_retry_ms;
	const char *wire_format;
	uint64_t rejoin_ms;
	struct updates_settings updates;
	struct extras_settings extras;
	bool check, help, version;

	/* loaded */
	struct nh_buf cert_pem, key_pem, secret;
	struct nh_arena arena;
	const char *clock_file;
	uint32_t *delays_ms;
	const char **keys;
	size_t key_count;
	const char *reboot_argv[COMMAND_WORDS];
};

/* settings_parse - flags and file into *s. NH_EINVAL: one clear line; NH_ENOTFOUND, NH_EPERM: the file of --config. */
nh_rc settings_parse(struct settings *s, int argc, char **argv, struct nh_err *err);
/* settings_load - reads the files they name. NH_EINVAL, NH_ENOTFOUND, NH_EPERM, NH_EFORMAT. */
nh_rc settings_load(struct settings *s, struct nh_err *err);
void settings_help(struct nh_buf *out);
void settings_forget(struct settings *s); /* overwrites key and secret, of which an open link has copies */
void settings_fini(struct settings *s); /* secrets are overwritten */
/* What the rooms want to know; everything borrowed from *s. */
nh_rc settings_machine(const struct settings *s, struct nh_machine_config *out, struct nh_err *err);
void settings_link(const struct settings *s, struct nh_link_config *out);
