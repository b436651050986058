/*
 * settings.json, and where each value of a command comes from: flag, environment, saved settings (or the profile that is asked for), the Mix project in the working directory,
 * default.
 *
 * source: reference/user-api-and-cli "18.1" "18.3"
 */
#include <sys/mman.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/process.h"
#include "cli_int.h"

#define SETTINGS_MAX ((size_t)1 << 20)
#define MIX_TIMEOUT_MS 30000

static const char *const order[] = {"uri", "org", "product", "token", "profiles"};

nh_rc cli_settings_load(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	c->settings.path = nh_arena_printf(&c->arena, "%s/settings.json", c->data_dir);
	nh_rc rc = nh_file_read(c->settings.path, SETTINGS_MAX, &text, err);
	if (rc == NH_OK) {
		rc = nh_json_parse(nh_buf_slice(&text), SETTINGS_MAX, &c->settings.root, err);
		if (rc == NH_OK && !json_is_object(c->settings.root))
			rc = NH_FAIL(err, NH_EFORMAT, "not a JSON object");
		if (rc != NH_OK)
			return nh_err_prefix(err, rc, "config: parsing settings file %s", c->settings.path);
	} else if (rc == NH_ENOTFOUND) {
		c->settings.root = json_object();
		rc = NH_OK;
	}
	c->settings.scope = c->settings.root;
	return rc;
}

/* Written in the usual order, empty members left out, members we do not know kept. */
nh_rc cli_settings_save(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *out = json_object();
	const char *key;
	json_t *value;
	for (size_t i = 0; i < NH_ARRAY_LEN(order); i++) {
		value = json_object_get(c->settings.root, order[i]);
		if (value && !(json_is_string(value) && json_string_length(value) == 0) && !(json_is_object(value) && json_object_size(value) == 0))
			json_object_set(out, order[i], value);
	}
	json_object_foreach(c->settings.root, key, value)
	{
		bool known = false;
		for (size_t i = 0; i < NH_ARRAY_LEN(order); i++)
			known |= nh_slice_eq_str(nh_slice_str(key), order[i]);
		if (!known)
			json_object_set(out, key, value);
	}
	struct nh_buf text = NH_BUF_INIT;
	nh_json_put_pretty(&text, out);
	nh_rc rc = cli_data_dir_make(c, err);
	if (rc == NH_OK)
		rc = nh_file_write_atomic(c->settings.path, nh_buf_slice(&text), 0600, err);
	nh_buf_wipe(&text); /* holds the token */
	return rc;
}

void cli_settings_set(struct nh_cli *c, const char *key, const char *value)
{
	if (value && *value)
		json_object_set_new(c->settings.scope, key, nh_json_new_text(nh_slice_str(value)));
	else
		json_object_del(c->settings.scope, key);
}

const char *cli_settings_get(const struct nh_cli *c, const char *key)
{
	const char *text = json_string_value(json_object_get(c->settings.scope, key));
	return text && *text ? text : NULL;
}

const char *cli_env(const struct nh_cli *c, const char *suffix)
{
	static const char *const prefixes[] = {"NERVES_HUB_", "NERVES_CLOUD_"};
	for (size_t i = 0; i < NH_ARRAY_LEN(prefixes); i++) {
		char name[64];
		snprintf(name, sizeof name, "%s%s", prefixes[i], suffix);
		const char *value = c->io->env(name);
		if (value && *value)
			return value;
	}
	return NULL;
}

bool cli_truth(const char *text)
{
	static const char *const yes[] = {"1", "true", "yes", "y", "on"};
	nh_slice s = nh_slice_trim(nh_slice_str(text));
	for (size_t i = 0; i < NH_ARRAY_LEN(yes); i++)
		if (nh_slice_ieq(s, nh_slice_str(yes[i])))
			return true;
	return false;
}

/* Flag, environment; NULL where neither is given. */
static const char *given(const struct nh_cli *c, const char *flag, const char *suffix)
{
	const char *text = cli_text(c, flag);
	return text ? text : cli_env(c, suffix);
}

/* Asks the Mix project in the working directory; NULL without one, or when Mix cannot tell. */
static const char *from_mix(struct nh_cli *c, const char *const *keys, bool *broken)
{
	for (; *keys && !*broken && access("mix.exs", R_OK) == 0; keys++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		const char *code = nh_arena_printf(&c->arena, "IO.puts(Mix.Project.config()[:%s])", *keys);
		int status = 0;
		struct nh_process p = {.argv = (const char *const[]){"mix", "eval", code, NULL}, .timeout_ms = MIX_TIMEOUT_MS};
		nh_rc rc = nh_process_run(&p, &status, &out, NULL, NULL);
		*broken = rc != NH_OK;
		if (rc == NH_ETIMEOUT)
			cli_note(c, "mix did not answer within 30 s; organization and product are not taken from the project\n");
		if (rc != NH_OK || status != 0)
			continue;
		nh_slice last = NH_SLICE_EMPTY, line, rest = nh_buf_slice(&out);
		while (rest.len) {
			nh_slice_cut(rest, '\n', &line, &rest);
			if (nh_slice_trim(line).len)
				last = nh_slice_trim(line);
		}
		if (last.len)
			return nh_arena_str(&c->arena, last);
	}
	return NULL;
}

static const char *scope(struct nh_cli *c, const char *name, const char *suffix, const char *const *mix_keys, unsigned need, bool *mix_broken)
{
	const char *text = given(c, name, suffix);
	text = text ? text : cli_settings_get(c, name);
	/* Starting Mix takes a second: only for commands that need the answer. */
	return text || !(c->command->needs & need) ? text : from_mix(c, mix_keys, mix_broken);
}

static nh_rc resolve_output(struct nh_cli *c, struct nh_err *err)
{
	static const char *const names[] = {[CLI_TABLE] = "table", [CLI_JSON] = "json", [CLI_CSV] = "csv"};
	const char *text = given(c, "output", "OUTPUT");
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++)
		if (!text || nh_slice_ieq(nh_slice_str(text), nh_slice_str(names[i]))) {
			c->format = (cli_format)i;
			c->json = c->format == CLI_JSON;
			return NH_OK;
		}
	return NH_FAIL(err, NH_EINVAL, "invalid output format \"%.80s\": must be \"table\", \"json\" or \"csv\"", text);
}

nh_rc cli_profile_find(const struct nh_cli *c, const char *name, json_t **out, struct nh_err *err)
{
	json_t *profiles = json_object_get(c->settings.root, "profiles"), *value;
	NH_AUTO_BUF struct nh_buf names = NH_BUF_INIT;
	const char *other;
	*out = json_object_get(profiles, name);
	if (json_is_object(*out))
		return NH_OK;
	json_object_foreach(profiles, other, value) nh_buf_printf(&names, "%s%s", names.len ? ", " : "", other);
	return NH_FAIL(err, NH_ENOTFOUND, "no profile named \"%.80s\" (available: %s)", name, names.len ? nh_buf_cstr(&names) : "none");
}

/* A file, or what would be in it (PEM, or its base64): then a file that only this process sees. source: "19.3" */
static nh_rc file_of(struct nh_cli *c, const char *value, const char **path, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf decoded = NH_BUF_INIT;
	nh_slice pem = nh_slice_trim(nh_slice_str(value));
	*path = value;
	if (access(value, R_OK) == 0)
		return NH_OK;
	if (!nh_slice_starts(pem, NH_LIT("-----BEGIN")) && nh_b64_decode(pem, NH_B64_STD, &decoded) == NH_OK)
		pem = nh_buf_slice(&decoded);
	if (!nh_slice_starts(pem, NH_LIT("-----BEGIN")))
		return NH_FAIL(err, NH_EINVAL, "NERVES_HUB_CERT and NERVES_HUB_KEY must each be a file, PEM, or PEM in base64");
	int fd = memfd_create("nh", MFD_CLOEXEC);
	bool written = fd >= 0 && write(fd, pem.ptr, pem.len) == (ssize_t)pem.len;
	nh_buf_wipe(&decoded);
	if (!written)
		return NH_FAIL(err, NH_EIO, "cannot keep the client certificate in memory");
	*path = nh_arena_printf(&c->arena, "/proc/self/fd/%d", fd); /* open until the end */
	return NH_OK;
}

/* A certificate counts for more than a saved token, and for less than one that was given. */
static nh_rc resolve_sign_in(struct nh_cli *c, struct nh_err *err)
{
	const char *cert = cli_env(c, "CERT"), *key = cli_env(c, "KEY");
	c->token = given(c, "token", "TOKEN");
	if (c->token || !cert || !key) {
		c->token = c->token ? c->token : cli_settings_get(c, "token");
		return NH_OK;
	}
	NH_TRY(file_of(c, cert, &c->cert, err));
	return file_of(c, key, &c->key, err);
}

nh_rc cli_resolve(struct nh_cli *c, struct nh_err *err)
{
	const char *home = c->io->env("HOME"), *profile = given(c, "profile", "PROFILE");
	c->data_dir = given(c, "data-dir", "DATA_DIR");
	if (!c->data_dir || !*c->data_dir)
		c->data_dir = home && *home ? nh_arena_printf(&c->arena, "%s/.nh", home) : ".nh";
	NH_TRY(resolve_output(c, err));
	c->non_interactive = cli_on(c, "non-interactive") || cli_truth(cli_env(c, "NON_INTERACTIVE"));
	NH_TRY(cli_settings_load(c, err));
	if (profile && *profile)
		NH_TRY(cli_profile_find(c, profile, &c->settings.scope, err));
	c->uri = given(c, "uri", "URI");
	c->uri = c->uri ? c->uri : cli_settings_get(c, "uri");
	c->uri = c->uri && *c->uri ? c->uri : CLI_DEFAULT_URI;
	NH_TRY(resolve_sign_in(c, err));
	bool mix_broken = false;
	c->org = scope(c, "org", "ORG", (const char *const[]){"org", NULL}, CLI_NEEDS_ORG, &mix_broken);
	c->product = scope(c, "product", "PRODUCT", (const char *const[]){"name", "app", NULL}, CLI_NEEDS_PRODUCT, &mix_broken);
	return NH_OK;
}

nh_rc cli_require(const struct nh_cli *c, unsigned needs, struct nh_err *err)
{
	if (needs & CLI_NEEDS_ORG && (!c->org || !*c->org))
		return NH_FAIL(err, NH_EINVAL, "no organization set: pass --org, set NERVES_HUB_ORG, or run `nh config set org <name>`");
	if (needs & CLI_NEEDS_PRODUCT && (!c->product || !*c->product))
		return NH_FAIL(err, NH_EINVAL, "no product set: pass --product, set NERVES_HUB_PRODUCT, or run `nh config set product <name>`");
	if (needs & CLI_NEEDS_TOKEN && (!c->token || !*c->token) && !c->cert)
		return NH_FAIL(err, NH_EAUTH, "not authenticated: run `nh user auth` or set NERVES_HUB_TOKEN");
	return NH_OK;
}
