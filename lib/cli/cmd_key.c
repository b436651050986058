/*
 * `nh key`: firmware signing keys. The private half stays here, encrypted; the server gets the public half.
 *
 * source: reference/user-api-and-cli "8" "18.3" "18.4" "18.7"
 */
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "cli_int.h"
#include "crypto/ed25519.h"
#include "crypto/secret.h"
#include "firmware/keys.h"

static const struct cli_shape key_shape[] = {{"name", SHAPE_TEXT}, {"key", SHAPE_TEXT}, {NULL}};

static char *key_file(struct nh_cli *c, const char *name, const char *suffix)
{
	return cli_path(c, "keys", nh_arena_printf(&c->arena, "%s.%s", name, suffix));
}

static const struct cli_cell key_list[] = {{"NAME", "name"}, {"PUBLIC KEY", "key"}, {NULL}};
static const struct cli_cell key_detail[] = {{"Name", "name"}, {"Public key", "key"}, {NULL}};
static const struct cli_view key_view = {key_shape, key_list, key_detail, "No signing keys found in :org."};

static const struct cli_action keys = {"GET", CLI_ORG "/keys", &key_view};
static const struct cli_action key = {"GET", CLI_ORG "/keys/:1", &key_view};
static const struct cli_action key_removal = {"DELETE", CLI_ORG "/keys/:1", NULL, "Deleted signing key :1", "Delete signing key :1 from :org?"};

/* From the flag, two prompts on a terminal, or none. */
static nh_rc new_password(struct nh_cli *c, struct nh_buf *out, struct nh_err *err)
{
	const char *given = cli_text(c, "password");
	if (given)
		nh_buf_put_str(out, given);
	if (given || !c->io->in_terminal || c->non_interactive)
		return NH_OK;
	struct nh_buf again = NH_BUF_INIT;
	nh_rc rc = cli_password(c, "Private key password (optional, press enter to skip): ", out, err);
	if (rc == NH_OK && out->len)
		rc = cli_password(c, "Confirm password: ", &again, err);
	if (rc == NH_OK && !nh_slice_eq_ct(nh_buf_slice(&again), nh_buf_slice(out)))
		rc = NH_FAIL(err, NH_EINVAL, "passwords do not match");
	nh_buf_wipe(&again);
	return rc;
}

/* Both files; the private one first, since it is the one that cannot be made again. */
static nh_rc write_files(struct nh_cli *c, const char *name, const uint8_t secret_key[64], nh_slice password, nh_slice public_text, struct nh_err *err)
{
	uint8_t random[CLI_SALT_LEN + 12];
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT, public_line = NH_BUF_INIT;
	const char *pub = key_file(c, name, "pub");
	if (access(pub, F_OK) == 0)
		return NH_FAIL(err, NH_ECONFLICT, "key file already exists: %s", pub);
	NH_TRY(cli_data_dir_make(c, err));
	nh_rng_fill(&nh_rng_system, random, sizeof random);
	NH_TRY(cli_envelope_seal(secret_key, password, random, random + CLI_SALT_LEN, &sealed, err));
	nh_buf_put_u8(&sealed, '\n');
	nh_buf_printf(&public_line, "%.*s\n", NH_ARG(public_text));
	NH_TRY(cli_file_create(key_file(c, name, "priv"), nh_buf_slice(&sealed), 0600, err));
	return cli_file_create(pub, nh_buf_slice(&public_line), 0644, err);
}

static nh_rc publish(struct nh_cli *c, const char *name, nh_slice public_text, const char *done, struct nh_err *err)
{
	NH_AUTO_JSON json_t *k = NULL;
	json_t *body = json_object();
	json_object_set_new(body, "name", nh_json_new_text(nh_slice_str(name)));
	json_object_set_new(body, "key", nh_json_new_text(public_text));
	NH_TRY_CTX(cli_call(c, "POST", cli_org_route(c, "keys", NULL), body, key_shape, false, &k, err), err,
		   "keypair saved to %s/keys/%s but uploading the public key failed", c->data_dir, c->org);
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &key_view, k);
	cli_out(c, "%s signing key %s in %s\nPrivate key: %s\nPublic key:  %s\n", done, name, c->org, key_file(c, name, "priv"), key_file(c, name, "pub"));
	return NH_OK;
}

static nh_rc store(struct nh_cli *c, const uint8_t secret_key[64], const char *done, struct nh_err *err)
{
	const char *name = c->args[0];
	struct nh_buf password = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf public_text = NH_BUF_INIT;
	nh_b64_put(&public_text, nh_slice_of(secret_key + 32, 32), NH_B64_STD);
	nh_rc rc = cli_check_name(name, "signing key name", err);
	if (rc == NH_OK)
		rc = new_password(c, &password, err);
	if (rc == NH_OK)
		rc = write_files(c, name, secret_key, nh_buf_slice(&password), nh_buf_slice(&public_text), err);
	nh_buf_wipe(&password);
	return rc == NH_OK ? publish(c, name, nh_buf_slice(&public_text), done, err) : rc;
}

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	uint8_t public_key[32], secret_key[64];
	nh_ed25519_generate(&nh_rng_system, public_key, secret_key);
	nh_rc rc = store(c, secret_key, "Created", err);
	nh_wipe(secret_key, sizeof secret_key);
	return rc;
}

static nh_rc import(struct nh_cli *c, struct nh_err *err)
{
	struct nh_fw_public_key pub;
	struct nh_fw_private_key priv;
	NH_TRY(nh_fw_public_key_read(c->args[1], &pub, err));
	NH_TRY(nh_fw_private_key_read(c->args[2], &priv, err));
	nh_rc rc = NH_OK;
	if (!nh_ed25519_secret_consistent(priv.bytes) || !nh_slice_eq(nh_slice_of(pub.bytes, 32), nh_slice_of(priv.bytes + 32, 32)))
		rc = NH_FAIL(err, NH_EINVAL, "%s and %s are not the two halves of one key", c->args[1], c->args[2]);
	else
		rc = store(c, priv.bytes, "Imported", err);
	nh_wipe(&priv, sizeof priv);
	return rc;
}

nh_rc cli_key_load(struct nh_cli *c, const char *name, const char *password, uint8_t secret_key[64], struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_buf asked = NH_BUF_INIT;
	NH_TRY(cli_check_name(name, "signing key name", err));
	const char *path = key_file(c, name, "priv");
	nh_rc rc = cli_file_load(path, &text, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ENOTFOUND, "no private key %s; create one with `nh key create %s` or pass --skip-signing", path, name);
	NH_TRY(rc);
	/* Most keys have no password: try that before asking. */
	rc = cli_envelope_open(nh_buf_slice(&text), nh_slice_str(password), secret_key, err);
	if (rc == NH_EAUTH && !password && !c->non_interactive) {
		rc = cli_password(c, "Signing key password: ", &asked, err);
		if (rc == NH_OK)
			rc = cli_envelope_open(nh_buf_slice(&text), nh_buf_slice(&asked), secret_key, err);
	}
	nh_buf_wipe(&asked);
	return rc == NH_OK ? NH_OK : nh_err_prefix(err, rc, "signing key %s", name);
}

static nh_rc export(struct nh_cli *c, struct nh_err *err)
{
	const char *dir = cli_text(c, "dir") ? cli_text(c, "dir") : ".";
	struct nh_fw_private_key priv;
	struct nh_fw_public_key pub;
	NH_TRY(cli_key_load(c, c->args[0], cli_text(c, "password"), priv.bytes, err));
	for (size_t i = 0; i < 32; i++)
		pub.bytes[i] = priv.bytes[32 + i];
	const char *prefix = nh_arena_printf(&c->arena, "%s/%s", dir, c->args[0]);
	nh_rc rc = nh_fw_key_files_write(prefix, &pub, &priv, err);
	nh_wipe(&priv, sizeof priv);
	if (rc == NH_OK)
		cli_out(c, "Exported signing key %s to %s.priv (not encrypted) and %s.pub\n", c->args[0], prefix, prefix);
	return rc;
}

static const struct cli_flag password_flags[] = {{"password", 0, CLI_TEXT, "PASSWORD", "of the private key"}, {NULL}};
static const struct cli_flag export_flags[] = {
	{"password", 0, CLI_TEXT, "PASSWORD", "of the private key"}, {"dir", 0, CLI_TEXT, "DIR", "where to write (default: here)"}, {NULL}};

const struct cli_command cli_key_commands[] = {
	{"key list", "", 0, 0, CLI_IN_ORG, NULL, cli_run_list, "list signing keys of the organization", &keys},
	{"key show", "<key>", 1, 1, CLI_IN_ORG, NULL, cli_run_show, "show a public key", &key},
	{"key create", "<name>", 1, 1, CLI_IN_ORG, password_flags, create, "make a key pair and register its public half"},
	{"key import", "<name> <file> <file>", 3, 3, CLI_IN_ORG, password_flags, import, "take over a key pair that fwup made: public and private file"},
	{"key export", "<local-key>", 1, 1, CLI_NEEDS_ORG, export_flags, export, "write a key pair as fwup takes it"},
	{"key delete", "<key>", 1, 1, CLI_IN_ORG, cli_yes_flags, cli_run_send, "remove a key from the server; local files stay", &key_removal},
	{NULL},
};
