/*
 * `nh ca`: certificate authorities that sign device certificates, and the proof to the server that we hold their key.
 *
 * source: reference/user-api-and-cli "9" "17.1" "17.4" "18.7"
 */
#include "pki_files.h"

static const struct cli_shape jitp_shape[] = {{"product_name", SHAPE_TEXT}, {"description", SHAPE_TEXT}, {"tags", SHAPE_TEXTS}, {NULL}};
static const struct cli_shape ca_shape[] = {{"serial", SHAPE_TEXT}, {"description", SHAPE_TEXT}, {"not_before", SHAPE_TIME}, {"not_after", SHAPE_TIME},
					    {"jitp", SHAPE_OBJECT, true, jitp_shape}, {NULL}};

static const struct cli_cell ca_list[] = {{"SERIAL", "serial", cli_as_serial}, {"DESCRIPTION", "description"}, {"NOT BEFORE", "not_before", cli_as_date},
					  {"NOT AFTER", "not_after", cli_as_date}, {NULL}};
static const struct cli_cell ca_detail[] = {{"Serial", "serial", cli_as_serial}, {"Description", "description"}, {"Not before", "not_before", cli_as_date},
					    {"Not after", "not_after", cli_as_date}, {NULL}};
static const struct cli_view ca_view = {ca_shape, ca_list, ca_detail, "No CA certificates found for :org."};

static const struct cli_action cas = {"GET", CLI_ORG "/ca_certificates", &ca_view};
static const struct cli_action ca = {"GET", CLI_ORG "/ca_certificates/:s1", &ca_view};
static const struct cli_action removal = {
	"DELETE", CLI_ORG "/ca_certificates/:s1", NULL, "Deleted CA certificate :s1 from :org", "Delete CA certificate :s1 from :org?"};

/* A certificate over the server's token, signed by the CA, its own key thrown away: nobody without the CA's key can make it. */
static nh_rc prove(struct nh_cli *c, const struct cli_authority *own, struct nh_cert **out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_TRY(cli_api(c, &(struct cli_request){"GET", cli_org_route(c, "ca_certificates", "verification_token", NULL)}, &answer, err));
	const char *token = cli_get(json_object_get(answer, "data"), "verification_token");
	struct nh_san san = {NH_SAN_URI, nh_slice_str(nh_arena_printf(&c->arena, "urn:nerveshub:verify:%s", token))};
	struct nh_cert_profile profile = nh_cert_profile_verification(nh_now_us());
	profile.sans = &san;
	profile.san_count = 1;
	NH_TRY(nh_key_generate_p256(&key, err));
	return cli_issue(&profile, key, own, out, err);
}

/* Devices that this CA signed are created at their first connection. */
static nh_rc put_jitp(struct nh_cli *c, json_t *body, struct nh_err *err)
{
	const char *product = cli_text(c, "jitp-product"), *description = cli_text(c, "jitp-description");
	const struct nh_option_list *tags = cli_list(c, "jitp-tag");
	if (!product && (description || tags->count))
		return NH_FAIL(err, NH_EINVAL, "--jitp-tag and --jitp-description need --jitp-product");
	if (!product)
		return NH_OK;
	json_t *jitp = json_object(), *all = json_array();
	for (size_t i = 0; i < tags->count; i++)
		json_array_append_new(all, nh_json_new_text(nh_slice_str(tags->items[i])));
	json_object_set_new(jitp, "product_name", nh_json_new_text(nh_slice_str(product)));
	json_object_set_new(jitp, "description", nh_json_new_text(nh_slice_str(description ? description : "created at first connection")));
	json_object_set_new(jitp, "tags", all);
	json_object_set_new(body, "jitp", jitp);
	return NH_OK;
}

static nh_rc register_ca(struct nh_cli *c, const struct cli_authority *own, json_t **out, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *proof = NULL;
	NH_AUTO_JSON json_t *body = json_object();
	NH_TRY(put_jitp(c, body, err));
	NH_TRY(prove(c, own, &proof, err));
	json_object_set_new(body, "cert", cli_pem_base64(own->cert));
	json_object_set_new(body, "verification_cert", cli_pem_base64(proof));
	NH_TRY(cli_put_body_flags(c, body, err));
	return cli_call(c, "POST", cli_org_route(c, "ca_certificates", NULL), json_incref(body), ca_shape, false, out, err);
}

static nh_rc upload(struct nh_cli *c, struct nh_err *err)
{
	CLI_AUTO_AUTHORITY struct cli_authority own = {0};
	NH_AUTO_JSON json_t *registered = NULL;
	const char *cert = cli_text(c, "cert"), *key = cli_text(c, "key");
	if (!cert != !key || (cert != NULL) == (c->arg_count > 0))
		return NH_FAIL(err, NH_EINVAL, "pass the name of a generated CA, or both --cert and --key");
	if (cert)
		NH_TRY(cli_authority_load(c, cert, key, &own, err));
	else
		NH_TRY(cli_authority_named(c, c->args[0], &own, err));
	NH_TRY(register_ca(c, &own, &registered, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &ca_view, registered);
	cli_out(c, "Registered CA certificate %s with %s\n", cli_serial_hex(c, own.cert->serial_decimal), c->org);
	return NH_OK;
}

/* A new key in a file, or the token's: then the file holds its URI (without a PIN that was typed). */
static nh_rc make_key(struct nh_cli *c, const char *stamp, struct nh_key **out, const char **path, struct nh_err *err)
{
	const char *place = cli_text(c, "key");
	*path = cli_path(c, "ca", nh_arena_printf(&c->arena, place ? "%s-key.url" : "%s-key.pem", stamp));
	NH_TRY(cli_data_dir_make(c, err));
	if (!place) {
		NH_TRY(nh_key_generate_p256(out, err));
		return cli_key_save(*path, *out, err);
	}
	if (!nh_slice_starts(nh_slice_str(place), NH_LIT("pkcs11:")))
		return NH_FAIL(err, NH_EINVAL, "--key needs a pkcs11: URI, not '%.80s'; without it a key is made", place);
	NH_TRY(cli_key_open(c, place, out, err));
	return cli_file_create(*path, nh_slice_str(nh_arena_printf(&c->arena, "%s\n", place)), 0600, err);
}

static nh_rc generate(struct nh_cli *c, struct nh_err *err)
{
	CLI_AUTO_AUTHORITY struct cli_authority own = {0};
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_JSON json_t *registered = NULL;
	const char *name = cli_text(c, "name") ? cli_text(c, "name") : c->org, *key_path;
	int64_t valid_us = 0;
	if (cli_on(c, "upload"))
		NH_TRY(cli_require(c, CLI_IN_ORG, err));
	NH_TRY(cli_validity(c, &valid_us, err));
	const char *stamp = cli_fresh_stamp(c, cli_path(c, "ca", ""), "-cert.pem"), *cert_path = cli_path(c, "ca", nh_arena_printf(&c->arena, "%s-cert.pem", stamp));
	struct nh_cert_profile profile = nh_cert_profile_ca(nh_now_us(), valid_us);
	profile.organization = nh_slice_str(c->org);
	profile.common_name = nh_slice_str(name);
	NH_TRY(make_key(c, stamp, &own.key, &key_path, err));
	NH_TRY(cli_issue(&profile, own.key, NULL, &own.cert, err));
	nh_cert_put_pem(&pem, own.cert);
	NH_TRY(cli_file_create(cert_path, nh_buf_slice(&pem), 0644, err));
	cli_out(c, "Generated CA %s for %s\nName:         %s\nPrivate key:  %s\nCertificate:  %s\n", name, c->org, stamp, key_path, cert_path);
	if (!cli_on(c, "upload")) {
		cli_out(c, "\nNothing was uploaded. Register it with `nh ca upload %s`.\n", stamp);
		return NH_OK;
	}
	NH_TRY(register_ca(c, &own, &registered, err));
	cli_out(c, "Registered CA certificate %s with %s\n", cli_serial_hex(c, own.cert->serial_decimal), c->org);
	return NH_OK;
}

/* The settings of a registered CA; --no-jitp: devices it signed are no longer created. */
static nh_rc update(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_TRY(put_jitp(c, body, err));
	NH_TRY(cli_put_body_flags(c, body, err));
	if (cli_on(c, "no-jitp") && json_object_get(body, "jitp"))
		return NH_FAIL(err, NH_EINVAL, "--no-jitp and --jitp-product exclude each other");
	if (cli_on(c, "no-jitp"))
		json_object_set_new(body, "jitp", json_null());
	if (json_object_size(body) == 0)
		return NH_FAIL(err, NH_EINVAL, "nothing to update: provide --description, --check-expiration, --jitp-product, or --no-jitp");
	return cli_call_and_view(c, "PUT", cli_fill(c, ca.route, true), json_incref(body), &ca_view, err);
}

#define REGISTER_FLAGS                                                                                    \
	{"description", 0, CLI_TEXT, "TEXT", "shown in lists", "description"},                                           \
	{"jitp-product", 0, CLI_TEXT, "PRODUCT", "create unknown devices of this CA in this product"},       \
	{"jitp-tag", 0, CLI_LIST, "TAG", "and give them this tag; repeatable"},                           \
	{"jitp-description", 0, CLI_TEXT, "TEXT", "and this description"}

static const struct cli_flag generate_flags[] = {{"name", 0, CLI_TEXT, "CN", "common name (default: the organization)"},
						 {"valid-for", 0, CLI_TEXT, "TIME", "31y, 90d, 12h (default 31y)"},
						 {"key", 0, CLI_TEXT, "URI", "use the key of a token (pkcs11:...) instead of making one"},
						 {"upload", 0, CLI_FLAG, NULL, "register it with the organization"},
						 REGISTER_FLAGS,
						 {NULL}};
static const struct cli_flag upload_flags[] = {
	{"cert", 0, CLI_TEXT, "FILE", "CA certificate"}, {"key", 0, CLI_TEXT, "FILE", "its private key: a file, or a token's pkcs11: URI"}, REGISTER_FLAGS, {NULL}};

static const struct cli_flag update_flags[] = {
	REGISTER_FLAGS,
	{"no-jitp", 0, CLI_FLAG, NULL, "create no devices any more"},
	{"check-expiration", 0, CLI_BOOL, "BOOL", "refuse devices that it signed once it is over", "check_expiration"},
	{NULL}};

const struct cli_command cli_ca_commands[] = {
	{"ca generate", "", 0, 0, CLI_NEEDS_ORG, generate_flags, generate, "make a CA for device certificates"},
	{"ca upload", "[ca]", 0, 1, CLI_IN_ORG, upload_flags, upload, "register a CA, proving that you hold its key"},
	{"ca list", "", 0, 0, CLI_IN_ORG, NULL, cli_run_list, "list registered CAs", &cas},
	{"ca show", "<ca-serial>", 1, 1, CLI_IN_ORG, NULL, cli_run_show, "show a registered CA", &ca},
	{"ca update", "<ca-serial>", 1, 1, CLI_IN_ORG, update_flags, update, "change a registered CA's settings"},
	{"ca delete", "<ca-serial>", 1, 1, CLI_IN_ORG, cli_yes_flags, cli_run_send, "remove a registered CA", &removal},
	{NULL},
};
