/*
 * The option table, the configuration file, and the files both name. The file's lines become flags in front of the real ones, so that there is one parser and
 * one set of names; a flag given later wins, lists add up. packaging/nerveshub-link.conf is made of the table: after a change of a row run tools/agent-config.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/encode.h"
#include "base/file.h"
#include "options.h"

#define CONFIG_MAX ((size_t)64 << 10)
#define FILE_MAX ((size_t)256 << 10)
#define ROWS_MAX 128

#define POLL "poll"
#define DELAY_MAX_MS 3600000u
#define MSGPACK "msgpack"

static const struct nh_option *table(struct settings *s, struct nh_option rows[ROWS_MAX])
{
	const struct nh_option all[] = {
		{.name = "config", .letter = 'c', .kind = NH_OPT_TEXT, .target = &s->config_file, .value = "FILE", .help = "read options from FILE, one 'name = value' a line", .env = "NERVESHUB_LINK_CONFIG"},
		{.name = "server", .letter = 's', .kind = NH_OPT_TEXT, .target = &s->server, .value = "HOST[:PORT]", .help = "server, or a wss:// or ws:// URL (needed)"},
		{.name = "server-name", .kind = NH_OPT_TEXT, .target = &s->server_name, .value = "NAME", .help = "name the server's certificate must carry, if not HOST"},
		{.name = "ca", .kind = NH_OPT_LIST, .target = &s->cas, .value = "PATH", .help = "certificates that vouch for the server: a PEM file, or a directory of them; several may be given (the system's)"},
		{.name = "ca-system", .kind = NH_OPT_FLAG, .target = &s->ca_system, .help = "with a --ca: the system's certificates vouch for it, too"},
		{.name = "proxy", .kind = NH_OPT_TEXT, .target = &s->proxy, .value = "ADDRESS", .help = "reach servers through http://[USER:PASSWORD@]HOST:PORT, or 'environment': what https_proxy and no_proxy say"},
		{.name = "no-proxy", .kind = NH_OPT_TEXT, .target = &s->no_proxy, .value = "NAMES", .help = "servers to reach without it: a comma list of names and domains"},
		{.name = "transport", .kind = NH_OPT_TEXT, .target = &s->transport, .value = "WHICH", .help = "channel: a connection that stays open; poll: ask from time to time, with a certificate (channel)"},
		{.name = "poll-interval", .kind = NH_OPT_DURATION, .target = &s->poll_interval_ms, .value = "TIME", .help = "between two questions, half of it more or less (15m)", .min = 100, .max = UINT64_C(7) * 86400000},
		{.name = "state-dir", .kind = NH_OPT_TEXT, .target = &s->state_dir, .value = "DIR", .help = "where the agent remembers things between starts; nowhere without it", .env = "STATE_DIRECTORY"},
		{.name = "cert", .kind = NH_OPT_TEXT, .target = &s->cert_file, .value = "FILE", .help = "device certificate, then its signer (PEM)"},
		{.name = "key", .kind = NH_OPT_TEXT, .target = &s->key_file, .value = "FILE", .help = "private key of the device certificate (PEM)"},
		{.name = "identity", .kind = NH_OPT_TEXT, .target = &s->identity, .value = "URI", .help = "secure element with key and certificates (nerveskey://i2c-1, nerveskey+sim:///path), or token with the key (pkcs11:...)"},
		{.name = "certificate-pair", .kind = NH_OPT_TEXT, .target = &s->certificate_pair, .value = "WHICH", .help = "its certificates: primary or aux (primary)"},
		{.name = "secret-key", .kind = NH_OPT_TEXT, .target = &s->secret_key, .value = "KEY", .help = "key of a shared secret (nhp_... or nhd_...)"},
		{.name = "secret-file", .kind = NH_OPT_TEXT, .target = &s->secret_file, .value = "FILE", .help = "file that holds the shared secret"},
		{.name = "identifier", .letter = 'i', .kind = NH_OPT_TEXT, .target = &s->identifier, .value = "TEXT", .help = "this device's identifier, with a shared secret"},
		{.name = "public-key", .letter = 'p', .kind = NH_OPT_LIST, .target = &s->public_keys, .value = "KEY", .help = "key that firmware must be signed with, in base64 or as a file; several may be given"},
		{.name = "request-keys", .kind = NH_OPT_FLAG, .target = &s->request_keys, .help = "without a --public-key: take the keys the server sends"},
		{.name = "reboot-command", .kind = NH_OPT_TEXT, .target = &s->reboot_command, .value = "COMMAND", .help = "run to reboot (reboot)"},
		{.name = "interface", .kind = NH_OPT_TEXT, .target = &s->interface, .value = "NAME", .help = "network interface to report; auto: the one that leads to the server"},
		{.name = "wire-format", .kind = NH_OPT_TEXT, .target = &s->wire_format, .value = "WHICH", .help = "json, or msgpack for servers that speak it (json)"},
		{.name = "heartbeat", .kind = NH_OPT_DURATION, .target = &s->heartbeat_ms, .value = "TIME", .help = "between heartbeats (30s)", .min = 1000, .max = 170000},
		{.name = "reconnect-delay", .kind = NH_OPT_LIST, .target = &s->reconnect_delays, .value = "TIME", .help = "before a new attempt to connect, half of it more or less; several may be given: one after the other, the last one repeats (1s, 2s, 4s ... 60s)"},
		{.name = "rejoin", .kind = NH_OPT_DURATION, .target = &s->rejoin_ms, .value = "TIME", .help = "until a channel that the server broke is joined again (5s)", .min = 100, .max = 600000},
		{.name = "connect-timeout", .kind = NH_OPT_DURATION, .target = &s->connect_timeout_ms, .value = "TIME", .help = "until a connection must be open (15s)", .min = 1000, .max = 600000},
		{.name = "download-timeout", .kind = NH_OPT_DURATION, .target = &s->download_idle_ms, .value = "TIME", .help = "without a byte, until a download is asked for again (60s)", .min = 1000, .max = 3600000},
		{.name = "download-retry", .kind = NH_OPT_DURATION, .target = &s->download_retry_ms, .value = "TIME", .help = "between two attempts at a download (15s)", .min = 100, .max = 3600000},
		{.name = "log-level", .kind = NH_OPT_TEXT, .target = &s->log_level, .value = "LEVEL", .help = "debug, info, warn or error (info)"},
		{.name = "check", .kind = NH_OPT_FLAG, .target = &s->check, .help = "check options and files, then end"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &s->help, .help = "this text"},
		{.name = "version", .kind = NH_OPT_FLAG, .target = &s->version, .help = "print the version"},
		{0},
	};
	_Static_assert(NH_ARRAY_LEN(all) + UPDATES_ROWS_MAX + EXTRAS_ROWS_MAX <= ROWS_MAX, "ROWS_MAX is too small");
	/* In the order of the help: how to reach the server, what is done then, and last what is about the program itself, with the end of the table. */
	enum { LAST = 5 };
	size_t n = 0, i = 0;
	while (i < NH_ARRAY_LEN(all) - LAST)
		rows[n++] = all[i++];
	n += updates_rows(&s->updates, rows + n);
	n += extras_rows(&s->extras, rows + n);
	while (i < NH_ARRAY_LEN(all))
		rows[n++] = all[i++];
	return rows;
}

void settings_help(struct nh_buf *out)
{
	struct settings s = {0};
	struct nh_option rows[ROWS_MAX];
	nh_buf_put_str(out, "usage: nerveshub-link --server HOST --device PATH [options]\n\n"
			    "Keeps this device connected to NervesHub and installs the firmware it is sent.\n\n");
	nh_option_help(out, table(&s, rows));
}

/* ---- configuration file */

/* The word as a flag: "--name=value", or "--name" for a flag that is on, or nothing for one that is off. */
static nh_rc line_to_flag(struct settings *s, const struct nh_option *rows, nh_slice line, char **out, struct nh_err *err)
{
	nh_slice name, value;
	*out = NULL;
	if (!nh_slice_cut(line, '=', &name, &value))
		return NH_FAIL(err, NH_EINVAL, "missing '=' (a line is 'name = value')");
	name = nh_slice_trim(name);
	value = nh_slice_trim(value);
	for (const struct nh_option *o = rows; o->name; o++) {
		if (!nh_slice_eq_str(name, o->name) || strcmp(o->name, "config") == 0)
			continue;
		if (o->kind != NH_OPT_FLAG) {
			*out = nh_arena_printf(&s->arena, "--%s=%.*s", o->name, NH_ARG(value));
			return NH_OK;
		}
		bool on = nh_slice_eq_str(value, "true") || nh_slice_eq_str(value, "yes") || nh_slice_eq_str(value, "1");
		if (!on && !nh_slice_eq_str(value, "false") && !nh_slice_eq_str(value, "no") && !nh_slice_eq_str(value, "0"))
			return NH_FAIL(err, NH_EINVAL, "%s is true or false, not '%.*s'", o->name, NH_ARG(value));
		*out = on ? nh_arena_printf(&s->arena, "--%s", o->name) : NULL;
		return NH_OK;
	}
	return NH_FAIL(err, NH_EINVAL, "unknown name '%.*s'", NH_ARG(name));
}

/* Appends to flags, which has room for one a line. */
static nh_rc read_config(struct settings *s, const struct nh_option *rows, nh_slice rest, char **flags, size_t *count, struct nh_err *err)
{
	unsigned number = 0;
	while (rest.len > 0) {
		nh_slice line;
		char *flag;
		nh_slice_cut(rest, '\n', &line, &rest);
		number++;
		line = nh_slice_trim(line);
		if (line.len == 0 || line.ptr[0] == '#')
			continue;
		NH_TRY_CTX(line_to_flag(s, rows, line, &flag, err), err, "%s line %u", s->config_file, number);
		if (flag)
			flags[(*count)++] = flag;
	}
	return NH_OK;
}

static nh_rc parse_with_config(struct settings *s, int argc, char **argv, struct nh_err *err)
{
	struct nh_option rows[ROWS_MAX];
	int rest = 0;
	size_t count = 1, lines = 1;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_TRY(nh_file_read(s->config_file, CONFIG_MAX, &text, err));
	for (size_t i = 0; i < text.len; i++)
		lines += text.ptr[i] == '\n';
	char **all = nh_arena_array(&s->arena, (size_t)argc + lines + 1, sizeof *all);
	all[0] = argv[0];
	NH_TRY(read_config(s, table(s, rows), nh_buf_slice(&text), all, &count, err));
	for (int i = 1; i < argc; i++)
		all[count++] = argv[i];
	return nh_option_parse(rows, (int)count, all, &rest, err);
}

static void free_lists(struct settings *s)
{
	struct nh_option rows[ROWS_MAX];
	for (const struct nh_option *o = table(s, rows); o->name; o++)
		if (o->kind == NH_OPT_LIST)
			free(((struct nh_option_list *)o->target)->items);
}

nh_rc settings_parse(struct settings *s, int argc, char **argv, struct nh_err *err)
{
	struct nh_option rows[ROWS_MAX];
	int rest = 0;
	*s = (struct settings){0};
	/* Parsing moves arguments about; the second pass needs them as they were. */
	char **copy = nh_arena_array(&s->arena, (size_t)argc + 1, sizeof *copy);
	for (int i = 0; i < argc; i++)
		copy[i] = argv[i];
	NH_TRY(nh_option_parse(table(s, rows), argc, argv, &rest, err));
	if (rest > 0)
		return NH_FAIL(err, NH_EINVAL, "unexpected argument '%s'; see --help", argv[1]);
	if (!s->config_file)
		return NH_OK;
	free_lists(s);
	struct nh_arena arena = s->arena;
	const char *file = s->config_file;
	*s = (struct settings){.arena = arena, .config_file = file};
	return parse_with_config(s, argc, copy, err);
}

/* ---- files */

static nh_rc load_file(const char *what, const char *path, struct nh_buf *out, struct nh_err *err)
{
	if (path)
		NH_TRY_CTX(nh_file_read(path, FILE_MAX, out, err), err, "%s", what);
	return NH_OK;
}

/* A key is its base64, or names a file that holds it. */
static nh_rc load_key(struct settings *s, const char *text, struct nh_err *err)
{
	nh_slice key = nh_slice_str(text);
	NH_AUTO_BUF struct nh_buf file = NH_BUF_INIT;
	if (key.len < 43 || key.len > 44 || nh_slice_chr(key, '.') >= 0 || key.ptr[0] == '/') {
		NH_TRY_CTX(nh_file_read(text, 4096, &file, err), err, "--public-key is neither 32 bytes in base64 nor a file that holds them");
		key = nh_slice_trim(nh_buf_slice(&file));
	}
	s->keys[s->key_count++] = nh_arena_str(&s->arena, key);
	return NH_OK;
}

static bool is_token(const struct settings *s) { return s->identity && nh_slice_starts(nh_slice_str(s->identity), NH_LIT("pkcs11:")); }

static nh_rc check_identity(const struct settings *s, struct nh_err *err)
{
	nh_slice uri = nh_slice_str(s->identity ? s->identity : ""), pair = nh_slice_str(s->certificate_pair ? s->certificate_pair : "primary");
	bool element = nh_slice_starts(uri, NH_LIT("nerveskey://")) || nh_slice_starts(uri, NH_LIT("nerveskey+sim://"));
	if (s->identity && !element && !is_token(s))
		return NH_FAIL(err, NH_EINVAL, "--identity is nerveskey://i2c-N, nerveskey+sim:///path or a pkcs11: URI, not '%s'", s->identity);
	if (!nh_slice_eq_str(pair, "primary") && !nh_slice_eq_str(pair, "aux"))
		return NH_FAIL(err, NH_EINVAL, "--certificate-pair is primary or aux, not '%s'", s->certificate_pair);
	if (s->certificate_pair && !element)
		return NH_FAIL(err, NH_EINVAL, "--certificate-pair needs a NervesKey as --identity");
	return NH_OK;
}

static nh_rc load_delays(struct settings *s, struct nh_err *err)
{
	s->delays_ms = nh_arena_array(&s->arena, s->reconnect_delays.count + 1, sizeof *s->delays_ms);
	for (size_t i = 0; i < s->reconnect_delays.count; i++) {
		uint64_t ms = 0;
		if (nh_parse_duration_ms(nh_slice_str(s->reconnect_delays.items[i]), DELAY_MAX_MS, &ms) != NH_OK || ms == 0)
			return NH_FAIL(err, NH_EINVAL, "--reconnect-delay is a time up to an hour, such as 500ms or 30s, not '%s'", s->reconnect_delays.items[i]);
		s->delays_ms[i] = (uint32_t)ms;
	}
	return NH_OK;
}

static nh_rc check_transport(struct settings *s, struct nh_err *err)
{
	nh_slice which = nh_slice_str(s->transport ? s->transport : "channel");
	if (!nh_slice_eq_str(which, "channel") && !nh_slice_eq_str(which, POLL))
		return NH_FAIL(err, NH_EINVAL, "--transport is channel or poll, not '%s'", s->transport);
	if (s->no_proxy && !s->proxy)
		return NH_FAIL(err, NH_EINVAL, "--no-proxy needs a --proxy");
	if (!s->state_dir)
		return NH_OK;
	NH_TRY_CTX(nh_dir_make(s->state_dir, 0700, err), err, "--state-dir");
	s->clock_file = nh_arena_printf(&s->arena, "%s/clock", s->state_dir);
	return NH_OK;
}

nh_rc settings_load(struct settings *s, struct nh_err *err)
{
	NH_TRY(check_identity(s, err));
	NH_TRY(check_transport(s, err));
	NH_TRY(load_delays(s, err));
	if (s->wire_format && strcmp(s->wire_format, "json") != 0 && strcmp(s->wire_format, MSGPACK) != 0)
		return NH_FAIL(err, NH_EINVAL, "--wire-format is json or msgpack, not '%s'", s->wire_format);
	NH_TRY(updates_load(&s->updates, s->state_dir, &s->arena, err));
	NH_TRY(extras_load(&s->extras, &s->arena, err));
	NH_TRY(load_file("--cert", s->cert_file, &s->cert_pem, err));
	NH_TRY(load_file("--key", s->key_file, &s->key_pem, err));
	NH_TRY(load_file("--secret-file", s->secret_file, &s->secret, err));
	nh_buf_truncate(&s->secret, nh_slice_trim(nh_buf_slice(&s->secret)).len);
	s->keys = nh_arena_array(&s->arena, s->public_keys.count + 1, sizeof *s->keys);
	for (size_t i = 0; i < s->public_keys.count; i++)
		NH_TRY(load_key(s, s->public_keys.items[i], err));
	set_command(s->reboot_argv, s->reboot_command ? s->reboot_command : "reboot");
	return NH_OK;
}

void settings_forget(struct settings *s)
{
	nh_buf_wipe(&s->key_pem);
	nh_buf_wipe(&s->secret);
}

void settings_fini(struct settings *s)
{
	nh_buf_fini(&s->cert_pem);
	nh_buf_wipe(&s->key_pem);
	nh_buf_wipe(&s->secret);
	free_lists(s);
	nh_arena_fini(&s->arena);
}

nh_rc settings_machine(const struct settings *s, struct nh_machine_config *out, struct nh_err *err)
{
	*out = s->updates.machine;
	return s->updates.device ? NH_OK : NH_FAIL(err, NH_EINVAL, "--device says which disk firmware is applied to");
}

void settings_link(const struct settings *s, struct nh_link_config *out)
{
	NH_AUTO_BUF struct nh_buf extras = NH_BUF_INIT;
	extras_summary(&s->extras, &extras);
	*out = (struct nh_link_config){
		.host = s->server,
		.server_name = s->server_name,
		.ca_paths = s->cas.items,
		.ca_path_count = s->cas.count,
		.ca_system = s->ca_system,
		.proxy = s->proxy,
		.proxy_bypass = s->no_proxy,
		.transport = s->transport && strcmp(s->transport, POLL) == 0 ? NH_LINK_POLL : NH_LINK_CHANNEL,
		.poll_interval_ms = s->poll_interval_ms,
		.clock_file = s->clock_file,
		.cert_pem = nh_buf_slice(&s->cert_pem),
		.key_pem = nh_buf_slice(&s->key_pem),
		.nerveskey = is_token(s) ? NULL : s->identity,
		.pkcs11 = is_token(s) ? s->identity : NULL,
		.nerveskey_aux = s->certificate_pair && strcmp(s->certificate_pair, "aux") == 0,
		.secret_key = s->secret_key,
		.secret = s->secret_file ? nh_buf_cstr(&s->secret) : NULL,
		.identifier = s->identifier,
		.public_keys = s->keys,
		.public_key_count = s->key_count,
		.request_keys = s->request_keys,
		.network_interface = s->interface,
		.msgpack = s->wire_format && strcmp(s->wire_format, MSGPACK) == 0,
		.extensions = extras.len > 0 ? &s->extras.loaded : NULL,
		.heartbeat_ms = s->heartbeat_ms,
		.rejoin_ms = s->rejoin_ms,
		.backoff = {.delays_ms = s->reconnect_delays.count ? s->delays_ms : NULL, .count = s->reconnect_delays.count},
		.connect_timeout_ms = s->connect_timeout_ms,
		.download_idle_ms = s->download_idle_ms,
		.download_retry_ms = s->download_retry_ms,
	};
	updates_link(&s->updates, out);
}
