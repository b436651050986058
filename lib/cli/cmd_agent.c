/*
 * `nh device config`: a folder that turns a device with nerveshub-link into one of this server: its configuration, and the certificate, key or secret it names. What is
 * in it is meant to be copied to one place on the device (--install-dir), so paths in the configuration are those.
 *
 * source: docs/man/nerveshub-link.8
 */
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/secret.h"
#include "pki_files.h"

#define INSTALL_DIR "/etc/nerveshub"

struct agent {
	struct nh_cli *c;
	const char *device, *dir, *there; /* folder here, folder on the device */
	struct nh_buf text;               /* the configuration */
};

static void setting(struct agent *a, const char *name, const char *value) { nh_buf_printf(&a->text, "%s = %s\n", name, value); }

/* Adds a file to the folder and names it in the configuration. */
static nh_rc add_file(struct agent *a, const char *name, const char *file, nh_slice bytes, unsigned mode, struct nh_err *err)
{
	NH_TRY(nh_file_write_atomic(nh_arena_printf(&a->c->arena, "%s/%s", a->dir, file), bytes, mode, err));
	setting(a, name, nh_arena_printf(&a->c->arena, "%s/%s", a->there, file));
	return NH_OK;
}

/* Devices speak to the same host as we do, unless --server says otherwise; without TLS only where we have none either. */
static nh_rc put_server(struct agent *a, struct nh_err *err)
{
	struct nh_cli *c = a->c;
	const char *server = cli_text(c, "server"), *ca = cli_text(c, "server-ca");
	nh_slice scheme, rest, host, path, uri = nh_slice_str(c->uri);
	ptrdiff_t at = nh_slice_find(uri, NH_LIT("://"));
	if (!server && at < 0)
		return NH_FAIL(err, NH_EINVAL, "invalid uri \"%.100s\": say with --server where devices find the server", c->uri);
	scheme = nh_slice_sub(uri, 0, server ? 0 : (size_t)at);
	rest = nh_slice_skip(uri, server ? uri.len : (size_t)at + 3);
	nh_slice_cut(rest, '/', &host, &path);
	if (!server)
		server = nh_arena_printf(&c->arena, "%s%.*s", nh_slice_eq_str(scheme, "http") ? "ws://" : "", NH_ARG(host));
	setting(a, "server", server);
	if (!ca)
		return NH_OK;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_TRY(cli_cert_load(ca, &cert, err));
	NH_TRY(cli_file_load(ca, &pem, err));
	return add_file(a, "ca", "server-ca.pem", nh_buf_slice(&pem), 0644, err);
}

/* Every signing key of the organization: firmware of another one is refused by the device itself. */
static nh_rc put_public_keys(struct agent *a, struct nh_err *err)
{
	static const struct cli_shape shape[] = {{"name", SHAPE_TEXT}, {"key", SHAPE_TEXT}, {NULL}};
	NH_AUTO_JSON json_t *keys = NULL;
	size_t i;
	json_t *key;
	NH_TRY(cli_call(a->c, "GET", cli_org_route(a->c, "keys", NULL), NULL, shape, true, &keys, err));
	json_array_foreach(keys, i, key)
	{
		NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
		for (const char *p = cli_get(key, "name"); *p; p++)
			nh_buf_put_u8(&name, (unsigned char)*p < ' ' ? '?' : (uint8_t)*p);
		nh_buf_printf(&a->text, "# %s\n", nh_buf_cstr(&name));
		setting(a, "public-key", cli_get(key, "key"));
	}
	if (json_array_size(keys) == 0)
		return NH_FAIL(err, NH_EINVAL, "%s has no signing key that the device could trust: make one with `nh key create`", a->c->org);
	return NH_OK;
}

/* ---- identities ------------------------------------------------------------------------------------------------------------ */

static nh_rc put_certificate(struct agent *a, const struct cli_authority *ca, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_BUF struct nh_buf chain = NH_BUF_INIT;
	struct nh_buf pem = NH_BUF_INIT;
	NH_TRY(nh_key_generate_p256(&key, err));
	NH_TRY(cli_issue_device(a->c, a->device, key, ca, &cert, err));
	nh_cert_put_pem(&chain, cert);
	if (ca)
		nh_cert_put_pem(&chain, ca->cert); /* a server that knows the CA alone needs both at first contact */
	nh_rc rc = nh_key_put_pem(&pem, key, err);
	if (rc == NH_OK)
		rc = add_file(a, "cert", "device-cert.pem", nh_buf_slice(&chain), 0644, err);
	if (rc == NH_OK)
		rc = add_file(a, "key", "device-key.pem", nh_buf_slice(&pem), 0600, err);
	nh_buf_wipe(&pem);
	NH_TRY(rc);
	return ca ? NH_OK : cli_register_certificate(a->c, a->device, cert, err); /* nobody vouches for it but the server itself */
}

static nh_rc by_ca(struct agent *a, struct nh_err *err)
{
	CLI_AUTO_AUTHORITY struct cli_authority ca = {0};
	NH_TRY(cli_authority_named(a->c, cli_text(a->c, "ca"), &ca, err));
	return put_certificate(a, &ca, err);
}

static nh_rc by_itself(struct agent *a, struct nh_err *err) { return put_certificate(a, NULL, err); }

static nh_rc by_files(struct agent *a, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf chain = NH_BUF_INIT;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_KEY struct nh_key *key = NULL;
	struct nh_buf pem = NH_BUF_INIT;
	const char *cert_path = cli_text(a->c, "cert"), *key_path = cli_text(a->c, "key");
	if (!key_path)
		return NH_FAIL(err, NH_EINVAL, "--cert and --key belong together");
	NH_TRY(cli_cert_load(cert_path, &cert, err));
	NH_TRY(cli_file_load(cert_path, &chain, err));
	NH_TRY(cli_key_open(a->c, key_path, &key, err));
	if (!nh_key_fits_cert(key, cert))
		return NH_FAIL(err, NH_EINVAL, "%s is not the key of %s", key_path, cert_path);
	nh_rc rc = nh_key_put_pem(&pem, key, err);
	if (rc == NH_OK)
		rc = add_file(a, "cert", "device-cert.pem", nh_buf_slice(&chain), 0644, err);
	if (rc == NH_OK)
		rc = add_file(a, "key", "device-key.pem", nh_buf_slice(&pem), 0600, err);
	nh_buf_wipe(&pem);
	return rc;
}

/* The key never leaves its chip or token. */
static nh_rc by_element(struct agent *a, struct nh_err *err)
{
	setting(a, "identity", cli_text(a->c, "identity"));
	return NH_OK;
}

static nh_rc put_secret(struct agent *a, const char *key, nh_slice secret, struct nh_err *err)
{
	setting(a, "secret-key", key);
	NH_TRY(add_file(a, "secret-file", "secret", secret, 0600, err));
	setting(a, "identifier", a->device);
	return NH_OK;
}

static nh_rc by_known_secret(struct agent *a, struct nh_err *err)
{
	struct nh_buf secret = NH_BUF_INIT;
	if (!cli_text(a->c, "secret-file"))
		return NH_FAIL(err, NH_EINVAL, "--secret-key and --secret-file belong together");
	nh_rc rc = cli_file_load(cli_text(a->c, "secret-file"), &secret, err);
	if (rc == NH_OK)
		rc = put_secret(a, cli_text(a->c, "secret-key"), nh_slice_trim(nh_buf_slice(&secret)), err);
	nh_buf_wipe(&secret);
	return rc;
}

/* A new one of the product's; it is shown once, and that is into the file. */
static nh_rc by_new_secret(struct agent *a, struct nh_err *err)
{
	static const struct cli_shape shape[] = {{"key", SHAPE_TEXT}, {"secret", SHAPE_TEXT}, {NULL}};
	NH_AUTO_JSON json_t *made = NULL;
	NH_TRY(cli_call(a->c, "POST", cli_product_route(a->c, "shared_secrets", NULL), json_object(), shape, false, &made, err));
	return put_secret(a, cli_get(made, "key"), nh_json_text(made, "secret"), err);
}

static const struct identity {
	const char *flag;
	nh_rc (*put)(struct agent *a, struct nh_err *err);
} identities[] = {
	{"ca", by_ca},		 {"self-signed", by_itself},	 {"cert", by_files}, {"identity", by_element}, {"secret-key", by_known_secret},
	{"new-secret", by_new_secret},
};

static nh_rc choose(const struct nh_cli *c, const struct identity **out, struct nh_err *err)
{
	size_t chosen = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(identities); i++)
		if (cli_text(c, identities[i].flag) || cli_on(c, identities[i].flag)) {
			*out = &identities[i];
			chosen++;
		}
	return chosen == 1 ? NH_OK
			   : NH_FAIL(err, NH_EINVAL, "a device has one identity: give one of --ca, --self-signed, --cert with --key, --identity, --secret-key with "
						     "--secret-file, or --new-secret");
}

static nh_rc write_folder(struct agent *a, const struct identity *identity, struct nh_err *err)
{
	const char *disk = cli_text(a->c, "disk");
	nh_buf_printf(&a->text, "# nerveshub-link of %s in %s/%s, for %s; see nerveshub-link(8)\n", a->device, a->c->org, a->c->product, a->there);
	NH_TRY(put_server(a, err));
	NH_TRY(put_public_keys(a, err));
	setting(a, "device", disk ? disk : "/dev/mmcblk0");
	NH_TRY(identity->put(a, err)); /* last, since it may change something on the server */
	return nh_file_write_atomic(nh_arena_printf(&a->c->arena, "%s/nerveshub-link.conf", a->dir), nh_buf_slice(&a->text), 0644, err);
}

/* What write_folder left when it failed: only files of ours are in a folder that we just made. */
static void remove_folder(const struct agent *a)
{
	static const char *const files[] = {"server-ca.pem", "device-cert.pem", "device-key.pem", "secret", "nerveshub-link.conf"};
	for (size_t i = 0; i < NH_ARRAY_LEN(files); i++)
		unlink(nh_arena_printf(&a->c->arena, "%s/%s", a->dir, files[i]));
	rmdir(a->dir);
}

static nh_rc config(struct nh_cli *c, struct nh_err *err)
{
	const struct identity *identity = NULL;
	struct agent a = {.c = c, .device = c->args[0], .dir = cli_text(c, "dir") ? cli_text(c, "dir") : c->args[0],
			  .there = cli_text(c, "install-dir") ? cli_text(c, "install-dir") : INSTALL_DIR};
	NH_AUTO_JSON json_t *device = NULL;
	NH_TRY(cli_check_name(a.device, "device identifier", err));
	NH_TRY(choose(c, &identity, err));
	NH_TRY(cli_api(c, &(struct cli_request){"GET", cli_fill(c, CLI_DEVICE, true)}, &device, err));
	if (mkdir(a.dir, 0700) != 0)
		return NH_FAIL(err, NH_ECONFLICT, "cannot make the folder %s: %s; say with --dir where to write", a.dir, access(a.dir, F_OK) == 0 ? "it exists" : "is its parent there?");
	nh_rc rc = write_folder(&a, identity, err);
	nh_buf_fini(&a.text);
	if (rc != NH_OK)
		remove_folder(&a);
	NH_TRY(rc);
	cli_out(c, "Wrote the agent's configuration to %s\nCopy what is in it to %s on the device and start nerveshub-link --config %s/nerveshub-link.conf\n", a.dir, a.there,
		a.there);
	return NH_OK;
}

static const struct cli_flag config_flags[] = {
	{"ca", 0, CLI_TEXT, "CA", "identity: a certificate of this local CA"},
	{"self-signed", 0, CLI_FLAG, NULL, "identity: a certificate of its own, registered with the device"},
	{"cert", 0, CLI_TEXT, "FILE", "identity: this certificate, with --key"},
	{"key", 0, CLI_TEXT, "FILE", "its private key"},
	{"identity", 0, CLI_TEXT, "URI", "identity: a NervesKey (nerveskey://...) or a token (pkcs11:...)"},
	{"secret-key", 0, CLI_TEXT, "SECRET", "identity: a shared secret, with --secret-file"},
	{"secret-file", 0, CLI_TEXT, "FILE", "holds the secret"},
	{"new-secret", 0, CLI_FLAG, NULL, "identity: a new shared secret of the product"},
	{"valid-for", 0, CLI_TEXT, "TIME", "of a new certificate: 31y, 90d, 12h (default 31y)"},
	{"server", 0, CLI_TEXT, "HOST", "where devices find the server (default: the host of --uri)"},
	{"server-ca", 0, CLI_TEXT, "FILE", "certificates that vouch for the server (default: the device's own)"},
	{"disk", 0, CLI_TEXT, "PATH", "disk that firmware is applied to (default /dev/mmcblk0)"},
	{"dir", 0, CLI_TEXT, "DIR", "folder to make (default: named as the device)"},
	{"install-dir", 0, CLI_TEXT, "PATH", "where it will be on the device (default " INSTALL_DIR ")"},
	{NULL},
};

const struct cli_command cli_agent_commands[] = {
	{"device config", "<device>", 1, 1, CLI_IN_PRODUCT, config_flags, config, "write a configuration for nerveshub-link on this device"}, {NULL}};
