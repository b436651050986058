/*
 * `nh migrate`: takes over settings and signing keys of the older command line (nerves_hub_cli). Its files stay as they are, and nothing of ours is replaced
 * unless --force.
 *
 * source: reference/user-api-and-cli "18.7" "19.1"
 */
#include <dirent.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/etf.h"
#include "base/file.h"
#include "cli_int.h"

struct migration {
	struct nh_cli *c;
	const char *from;
	bool dry, force;
	json_t *settings, *keys, *warnings; /* what was decided */
};

static void decide(json_t *list, json_t *take_row, bool import, const char *reason)
{
	json_object_set_new(take_row, "action", json_string(import ? "import" : "skip"));
	if (!import)
		json_object_set_new(take_row, "reason", json_string(reason));
	json_array_append_new(list, take_row);
}

/* ---- settings -------------------------------------------------------------------------------------------------------------- */

static nh_rc migrate_settings(struct migration *m, struct nh_err *err)
{
	static const char *const names[] = {"uri", "org", "product", "token"};
	struct nh_cli *c = m->c;
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_etf *map = NULL;
	bool changed = false;
	const char *path = nh_arena_printf(&c->arena, "%s/nerves-hub.config", m->from);
	nh_rc rc = cli_file_load(path, &bytes, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	NH_TRY_CTX(nh_etf_parse(&c->arena, nh_buf_slice(&bytes), &map, err), err, "%s", path);
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		const struct nh_etf *value = nh_etf_map_get(map, names[i]);
		if (!value || value->kind != NH_ETF_BINARY || value->bytes.len == 0)
			continue;
		bool import = m->force || !cli_settings_get(c, names[i]);
		decide(m->settings, json_pack("{s:s}", "name", names[i]), import, "already set");
		changed |= import;
		if (import)
			cli_settings_set(c, names[i], nh_arena_str(&c->arena, value->bytes));
	}
	return changed && !m->dry ? cli_settings_save(c, err) : NH_OK;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------ */

/* An envelope in any base64, as base64url; NH_EFORMAT: no Erlang term in it. */
static nh_rc envelope_text(nh_slice text, struct nh_buf *out)
{
	static const nh_b64 forms[] = {NH_B64_URL_NOPAD, NH_B64_STD};
	text = nh_slice_trim(text);
	for (size_t i = 0; i < NH_ARRAY_LEN(forms); i++) {
		NH_AUTO_BUF struct nh_buf raw = NH_BUF_INIT;
		nh_slice tried = text;
		while (i == 0 && tried.len && tried.ptr[tried.len - 1] == '=')
			tried.len--;
		if (nh_b64_decode(tried, forms[i], &raw) != NH_OK || raw.len == 0 || raw.ptr[0] != 131)
			continue;
		nh_b64_put(out, nh_buf_slice(&raw), NH_B64_URL_NOPAD);
		nh_buf_put_u8(out, '\n');
		return NH_OK;
	}
	return NH_EFORMAT;
}

static nh_rc put_file(const struct migration *m, const char *path, nh_slice bytes, unsigned mode, struct nh_err *err)
{
	if (m->dry)
		return NH_OK;
	if (m->force && access(path, F_OK) == 0)
		return nh_file_write_atomic(path, bytes, mode, err);
	return cli_file_create(path, bytes, mode, err);
}

static nh_rc migrate_key(struct migration *m, const char *org, const char *name, struct nh_err *err)
{
	struct nh_cli *c = m->c;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, sealed = NH_BUF_INIT, public_text = NH_BUF_INIT;
	const char *stem = nh_arena_printf(&c->arena, "%s/keys/%s/%s", m->from, org, name), *to = nh_arena_printf(&c->arena, "%s/keys/%s/%s", c->data_dir, org, name);
	const char *priv = nh_arena_printf(&c->arena, "%s.priv", to), *pub = nh_arena_printf(&c->arena, "%s.pub", to);
	json_t *row = json_pack("{s:s, s:s}", "org", org, "name", name);
	nh_rc rc = cli_file_load(nh_arena_printf(&c->arena, "%s.priv", stem), &text, err);
	if (rc != NH_OK || envelope_text(nh_buf_slice(&text), &sealed) != NH_OK) {
		decide(m->keys, row, false, "not an encrypted private key");
		return NH_OK;
	}
	if (!m->force && (access(priv, F_OK) == 0 || access(pub, F_OK) == 0)) {
		decide(m->keys, row, false, "already exists");
		return NH_OK;
	}
	decide(m->keys, row, true, "");
	NH_TRY(put_file(m, priv, nh_buf_slice(&sealed), 0600, err));
	if (cli_file_load(nh_arena_printf(&c->arena, "%s.pub", stem), &public_text, NULL) != NH_OK) {
		json_array_append_new(m->warnings, json_sprintf("%s.pub cannot be read", stem));
		return NH_OK;
	}
	nh_slice line = nh_slice_trim(nh_buf_slice(&public_text));
	return put_file(m, pub, nh_slice_str(nh_arena_printf(&c->arena, "%.*s\n", NH_ARG(line))), 0644, err);
}

static nh_rc migrate_keys_of(struct migration *m, const char *org, struct nh_err *err)
{
	DIR *dir = opendir(nh_arena_printf(&m->c->arena, "%s/keys/%s", m->from, org));
	nh_rc rc = NH_OK;
	for (const struct dirent *e; dir && rc == NH_OK && (e = readdir(dir));) {
		nh_slice file = nh_slice_str(e->d_name);
		if (e->d_name[0] != '.' && nh_slice_ends(file, NH_LIT(".priv")))
			rc = migrate_key(m, org, nh_arena_str(&m->c->arena, nh_slice_sub(file, 0, file.len - 5)), err);
	}
	if (dir)
		closedir(dir);
	return rc;
}

static nh_rc migrate_keys(struct migration *m, struct nh_err *err)
{
	DIR *dir = opendir(nh_arena_printf(&m->c->arena, "%s/keys", m->from));
	nh_rc rc = NH_OK;
	for (const struct dirent *e; dir && rc == NH_OK && (e = readdir(dir));)
		if (e->d_name[0] != '.')
			rc = migrate_keys_of(m, nh_arena_str(&m->c->arena, nh_slice_str(e->d_name)), err);
	if (dir)
		closedir(dir);
	return rc;
}

/* ---- the command ----------------------------------------------------------------------------------------------------------- */

static void tell(const struct migration *m)
{
	size_t i;
	json_t *row;
	const char *would = m->dry ? "would be " : "";
	json_array_foreach(m->settings, i, row)
		cli_out(m->c, "setting %s: %s%s%s\n", cli_get(row, "name"), would, *cli_get(row, "reason") ? "skipped, " : "imported", cli_get(row, "reason"));
	json_array_foreach(m->keys, i, row)
		cli_out(m->c, "key %s/%s: %s%s%s\n", cli_get(row, "org"), cli_get(row, "name"), would, *cli_get(row, "reason") ? "skipped, " : "imported",
			cli_get(row, "reason"));
	json_array_foreach(m->warnings, i, row) cli_note(m->c, "Warning: %s\n", json_string_value(row));
	if (json_array_size(m->settings) + json_array_size(m->keys) == 0)
		cli_out(m->c, "Nothing to import from %s\n", m->from);
}

static nh_rc migrate(struct nh_cli *c, struct nh_err *err)
{
	const char *home = c->io->env("HOME"), *old = c->io->env("NERVES_HUB_HOME");
	struct migration m = {.c = c, .from = cli_text(c, "from"), .dry = cli_on(c, "dry-run"), .force = cli_on(c, "force")};
	m.from = m.from ? m.from : old && *old ? old : nh_arena_printf(&c->arena, "%s/.nerves-hub", home ? home : ".");
	if (access(m.from, R_OK) != 0)
		return NH_FAIL(err, NH_ENOTFOUND, "there is nothing to migrate at %s; say where with --from", m.from);
	NH_AUTO_JSON json_t *out = json_pack("{s:s, s:b, s:[], s:[]}", "from", m.from, "dry_run", m.dry, "settings", "keys");
	NH_AUTO_JSON json_t *warnings = json_array();
	m.settings = json_object_get(out, "settings");
	m.keys = json_object_get(out, "keys");
	m.warnings = warnings;
	if (!m.dry)
		NH_TRY(cli_data_dir_make(c, err));
	NH_TRY(migrate_settings(&m, err));
	NH_TRY(migrate_keys(&m, err));
	if (json_array_size(warnings))
		json_object_set(out, "warnings", warnings);
	if (c->json)
		cli_out_json(c, out);
	else
		tell(&m);
	return NH_OK;
}

static const struct cli_flag migrate_flags[] = {{"from", 0, CLI_TEXT, "DIR", "its folder (default: NERVES_HUB_HOME, else ~/.nerves-hub)"},
						{"dry-run", 0, CLI_FLAG, NULL, "only say what would be done"},
						{"force", 0, CLI_FLAG, NULL, "replace what is set and what exists"},
						{NULL}};

const struct cli_command cli_migrate_commands[] = {
	{"migrate", "", 0, 0, 0, migrate_flags, migrate, "take over settings and keys of the older command line"}, {NULL}};
