/*
 * The rows of everything beside updates, and what they mean to the link. Commands are the owner's shell commands; what a server sends reaches them as the content of a file or not at all.
 */
#include "options_extras.h"

#include <string.h>

size_t extras_rows(struct extras_settings *s, struct nh_option *rows)
{
	const struct nh_option all[] = {
		{.name = "health", .kind = NH_OPT_FLAG, .target = &s->health, .help = "report processor, memory, disk, temperature and networks when the server asks"},
		{.name = "health-interval", .kind = NH_OPT_DURATION, .target = &s->health_interval_ms, .value = "TIME", .help = "report them unasked, too, so often", .min = 100, .max = UINT64_C(7) * 86400000},
		{.name = "health-disk", .kind = NH_OPT_TEXT, .target = &s->health_disk, .value = "PATH", .help = "whose file system is meant by disk (/)"},
		{.name = "health-plugins", .kind = NH_OPT_TEXT, .target = &s->health_plugins, .value = "DIR", .help = "programs in it add metrics and alarms to each report"},
		{.name = "health-plugin-timeout", .kind = NH_OPT_DURATION, .target = &s->health_plugin_ms, .value = "TIME", .help = "how long each of them may take (10s)", .min = 100, .max = 600000},
		{.name = "health-metadata", .kind = NH_OPT_LIST, .target = &s->health_metadata, .value = "NAME=TEXT", .help = "goes into each report; several may be given"},
		{.name = "geo", .kind = NH_OPT_TEXT, .target = &s->geo, .value = "LATITUDE,LONGITUDE[,METRES]", .help = "where this device is, and how exact that is"},
		{.name = "geo-command", .kind = NH_OPT_TEXT, .target = &s->geo_command, .value = "COMMAND", .help = "prints where it is: {\"latitude\":52.1,\"longitude\":4.3}"},
		{.name = "logging", .kind = NH_OPT_FLAG, .target = &s->logging, .help = "send this program's log lines to the server, five a second at most"},
		{.name = "logging-level", .kind = NH_OPT_TEXT, .target = &s->logging_level, .value = "LEVEL", .help = "the least level to send (info)"},
		{.name = "logging-socket", .kind = NH_OPT_TEXT, .target = &s->logging_socket, .value = "PATH", .help = "make a socket that takes lines of other programs, as /dev/log does"},
		{.name = "network-identity-command", .kind = NH_OPT_TEXT, .target = &s->identity_command, .value = "COMMAND", .help = "prints the device's identities in overlay networks: {\"identities\":[...]}"},
		{.name = "network-identity-interval", .kind = NH_OPT_DURATION, .target = &s->identity_interval_ms, .value = "TIME", .help = "how often it is asked for changes (5m)", .min = 100, .max = UINT64_C(7) * 86400000},
		{.name = "console", .kind = NH_OPT_FLAG, .target = &s->console, .help = "let people use a shell on this device through the server's console"},
		{.name = "console-timeout", .kind = NH_OPT_DURATION, .target = &s->console_idle_ms, .value = "TIME", .help = "end it when nobody used it for so long (5m)", .min = 1000, .max = 86400000},
		{.name = "local-shell", .kind = NH_OPT_FLAG, .target = &s->local_shell, .help = "the same through the local shell extension"},
		{.name = "shell-command", .kind = NH_OPT_TEXT, .target = &s->shell_command, .value = "COMMAND", .help = "what they get instead of a login shell"},
		{.name = "shell-user", .kind = NH_OPT_TEXT, .target = &s->shell_user, .value = "NAME", .help = "as whom (whoever runs this program)"},
		{.name = "shell-linger", .kind = NH_OPT_DURATION, .target = &s->linger_ms, .value = "TIME", .help = "how long a shell outlives the connection (1m)", .min = 100, .max = 86400000},
		{.name = "files-directory", .kind = NH_OPT_TEXT, .target = &s->files_directory, .value = "DIR", .help = "where files go that are sent through the console; they are refused without it"},
		{.name = "files-quota", .kind = NH_OPT_SIZE, .target = &s->files_quota, .value = "BYTES", .help = "of all files there (100M)"},
		{.name = "scripts", .kind = NH_OPT_FLAG, .target = &s->scripts, .help = "run support scripts and connecting code that the server sends"},
		{.name = "script-interpreter", .kind = NH_OPT_TEXT, .target = &s->script_interpreter, .value = "COMMAND", .help = "what runs them; the script's path is added (/bin/sh)"},
		{.name = "archive-directory", .kind = NH_OPT_TEXT, .target = &s->archive_directory, .value = "DIR", .help = "keep the archive there that belongs to the device's release, signed by a --public-key"},
		{.name = "archive-command", .kind = NH_OPT_TEXT, .target = &s->archive_command, .value = "COMMAND", .help = "run when there is a new one; its path is added"},
	};
	_Static_assert(NH_ARRAY_LEN(all) <= EXTRAS_ROWS_MAX, "EXTRAS_ROWS_MAX is too small");
	for (size_t i = 0; i < NH_ARRAY_LEN(all); i++)
		rows[i] = all[i];
	return NH_ARRAY_LEN(all);
}

/* ---- commands */

static const char *const *words(struct nh_arena *arena, size_t count, const char *const *from)
{
	const char **argv = nh_arena_array(arena, count + 1, sizeof *argv);
	for (size_t i = 0; i < count; i++)
		argv[i] = from[i];
	return argv;
}

static const char *const *command(struct nh_arena *arena, const char *text)
{
	return text ? words(arena, 3, (const char *const[]){"/bin/sh", "-c", text}) : NULL;
}

/* As above; further arguments of the program become the command's last ones. */
static const char *const *command_with_path(struct nh_arena *arena, const char *text)
{
	return text ? words(arena, 4, (const char *const[]){"/bin/sh", "-c", nh_arena_printf(arena, "%s \"$@\"", text), "sh"}) : NULL;
}

static const char *const *shell(const struct extras_settings *s, struct nh_arena *arena)
{
	if (!s->shell_user)
		return command(arena, s->shell_command);
	if (!s->shell_command)
		return words(arena, 3, (const char *const[]){"su", "-", s->shell_user});
	return words(arena, 5, (const char *const[]){"su", "-", s->shell_user, "-c", s->shell_command});
}

/* ---- what they say */

static nh_rc load_geo(struct extras_settings *s, struct nh_arena *arena, struct nh_err *err)
{
	NH_AUTO_JSON json_t *numbers = NULL;
	double latitude = 0, longitude = 0, accuracy = 0;
	if (!s->geo)
		return NH_OK;
	/* JSON's numbers are what people write here; two or three of them. */
	const char *text = nh_arena_printf(arena, "[%s]", s->geo);
	bool ok = nh_json_parse(nh_slice_str(text), 200, &numbers, NULL) == NH_OK &&
		  json_unpack(numbers, json_array_size(numbers) == 3 ? "[F,F,F]" : "[F,F!]", &latitude, &longitude, &accuracy) == 0;
	if (!ok || latitude < -90 || latitude > 90 || longitude < -180 || longitude > 180 || accuracy < 0 || accuracy > 1e9)
		return NH_FAIL(err, NH_EINVAL, "--geo is LATITUDE,LONGITUDE or LATITUDE,LONGITUDE,METRES in degrees, as 52.1,4.3 not '%s'", s->geo);
	s->loaded.geo_fixed = true;
	s->loaded.latitude = latitude;
	s->loaded.longitude = longitude;
	s->loaded.accuracy_m = (uint32_t)accuracy;
	return NH_OK;
}

static nh_rc load_metadata(struct extras_settings *s, struct nh_arena *arena, struct nh_err *err)
{
	struct nh_link_pair *pairs = NH_NEW_ARRAY(arena, s->health_metadata.count, struct nh_link_pair);
	for (size_t i = 0; i < s->health_metadata.count; i++)
		if (!nh_slice_cut(nh_slice_str(s->health_metadata.items[i]), '=', &pairs[i].name, &pairs[i].value) || pairs[i].name.len == 0)
			return NH_FAIL(err, NH_EINVAL, "--health-metadata is NAME=TEXT, not '%s'", s->health_metadata.items[i]);
	s->loaded.metadata = pairs;
	s->loaded.metadata_count = s->health_metadata.count;
	return NH_OK;
}

/* An option that means nothing without another is a mistake somebody should hear of. */
static nh_rc check_needs(const struct extras_settings *s, struct nh_err *err)
{
	const struct {
		const char *option, *needs;
		bool given, there;
	} rows[] = {
		{"health-interval", "--health", s->health_interval_ms, s->health},
		{"health-plugins", "--health", s->health_plugins, s->health},
		{"health-metadata", "--health", s->health_metadata.count, s->health},
		{"logging-level", "--logging", s->logging_level, s->logging},
		{"logging-socket", "--logging", s->logging_socket, s->logging},
		{"files-directory", "--console", s->files_directory, s->console},
		{"shell-command", "--console or --local-shell", s->shell_command, s->console || s->local_shell},
		{"shell-user", "--console or --local-shell", s->shell_user, s->console || s->local_shell},
		{"shell-linger", "--console or --local-shell", s->linger_ms, s->console || s->local_shell},
		{"script-interpreter", "--scripts", s->script_interpreter, s->scripts},
		{"archive-command", "--archive-directory", s->archive_command, s->archive_directory},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (rows[i].given && !rows[i].there)
			return NH_FAIL(err, NH_EINVAL, "--%s needs %s", rows[i].option, rows[i].needs);
	if (s->geo && s->geo_command)
		return NH_FAIL(err, NH_EINVAL, "--geo or --geo-command, not both");
	return NH_OK;
}

nh_rc extras_load(struct extras_settings *s, struct nh_arena *arena, struct nh_err *err)
{
	nh_log_level level = NH_LOG_INFO;
	NH_TRY(check_needs(s, err));
	if (s->logging_level && !nh_log_level_parse(nh_slice_str(s->logging_level), &level))
		return NH_FAIL(err, NH_EINVAL, "--logging-level is debug, info, warn or error, not '%s'", s->logging_level);
	s->loaded = (struct nh_link_extensions){
		.health = s->health,
		.health_interval_ms = s->health_interval_ms,
		.health_disk = s->health_disk,
		.health_directory = s->health_plugins,
		.health_plugin_ms = s->health_plugin_ms,
		.geo_argv = command(arena, s->geo_command),
		.logging = s->logging,
		.log_level = level,
		.log_socket = s->logging_socket,
		.identity_argv = command(arena, s->identity_command),
		.identity_interval_ms = s->identity_interval_ms,
		.console = s->console,
		.local_shell = s->local_shell,
		.shell_argv = shell(s, arena),
		.console_idle_ms = s->console_idle_ms,
		.linger_ms = s->linger_ms,
		.files_directory = s->files_directory,
		.files_quota_bytes = s->files_quota,
		.scripts = s->scripts,
		.script_argv = command_with_path(arena, s->script_interpreter),
		.archive_directory = s->archive_directory,
		.archive_argv = command_with_path(arena, s->archive_command),
	};
	NH_TRY(load_metadata(s, arena, err));
	return load_geo(s, arena, err);
}

void extras_summary(const struct extras_settings *s, struct nh_buf *out)
{
	const struct {
		const char *name;
		bool on;
	} rows[] = {{"health", s->health},   {"geo", s->geo || s->geo_command}, {"logging", s->logging}, {"network identity", s->identity_command},
		    {"console", s->console}, {"files", s->files_directory},     {"local shell", s->local_shell}, {"scripts", s->scripts},
		    {"archives", s->archive_directory}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (rows[i].on)
			nh_buf_printf(out, "%s%s", out->len ? ", " : "", rows[i].name);
}
