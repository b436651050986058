/*
 * The server's own certificate authority: `nh ca authority`, `crl`, `sign`, `issued`, `expiring`, `nh user certificates` and `nh device certificates sign`.
 *
 * source: reference/user-api-and-cli "17.6" "19.2" "19.3"
 */
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "pki_files.h"

#define REQUEST_MAX ((size_t)16 << 10)

static const struct cli_shape authority_shape[] = {
	{"serial", SHAPE_TEXT}, {"subject", SHAPE_TEXT}, {"not_before", SHAPE_TIME}, {"not_after", SHAPE_TIME}, {"cert", SHAPE_TEXT}, {NULL}};
static const struct cli_cell authority_detail[] = {{"Serial", "serial", cli_as_serial}, {"Subject", "subject"}, {"Not before", "not_before", cli_as_date},
						   {"Not after", "not_after", cli_as_date}, {NULL}};
static const struct cli_view authority_view = {authority_shape, NULL, authority_detail, NULL};

static const struct cli_shape issued_shape[] = {
	{"kind", SHAPE_TEXT}, {"serial", SHAPE_TEXT}, {"subject", SHAPE_TEXT}, {"description", SHAPE_TEXT}, {"not_before", SHAPE_TIME}, {"not_after", SHAPE_TIME},
	{"last_used", SHAPE_TIME, true}, {"revoked_at", SHAPE_TIME, true}, {"reason", SHAPE_TEXT, true}, {"cert", SHAPE_TEXT, true}, {NULL}};
static const struct cli_cell issued_list[] = {{"KIND", "kind"}, {"SERIAL", "serial", cli_as_serial}, {"SUBJECT", "subject"}, {"NOT AFTER", "not_after", cli_as_date},
					      {"REVOKED", "revoked_at", cli_as_date}, {NULL}};
static const struct cli_cell issued_detail[] = {{"Kind", "kind"}, {"Serial", "serial", cli_as_serial}, {"Subject", "subject"}, {"Description", "description"},
						{"Not before", "not_before", cli_as_date}, {"Not after", "not_after", cli_as_date}, {"Last used", "last_used", cli_as_time},
						{"Revoked", "revoked_at", cli_as_time}, {"Reason", "reason"}, {"Certificate", "cert"}, {NULL}};
static const struct cli_view issued_view = {issued_shape, issued_list, issued_detail, "Nothing was issued."};

static const struct cli_shape expiring_shape[] = {
	{"kind", SHAPE_TEXT}, {"serial", SHAPE_TEXT}, {"subject", SHAPE_TEXT}, {"not_after", SHAPE_TIME}, {"expired", SHAPE_BOOL}, {"device", SHAPE_TEXT, true},
	{"product", SHAPE_TEXT, true}, {NULL}};
static const struct cli_cell expiring_list[] = {{"KIND", "kind"}, {"SERIAL", "serial", cli_as_serial}, {"SUBJECT", "subject"}, {"NOT AFTER", "not_after", cli_as_date},
						{"EXPIRED", "expired"}, {"DEVICE", "device"}, {"PRODUCT", "product"}, {NULL}};
static const struct cli_view expiring_view = {expiring_shape, expiring_list, NULL, "No certificate of :org ends soon."};

/* Where issued certificates are: the organization's, one's own, and everybody's. */
#define DOOR(name, below)                                                                                                                      \
	static const struct cli_action name##_all = {"GET", below "/certificates", &issued_view};                                              \
	static const struct cli_action name##_one = {"GET", below "/certificates/:s1", &issued_view};                                          \
	static const struct cli_action name##_end = {                                                                                          \
		"DELETE", below "/certificates/:s1", NULL, "Revoked certificate :s1", "Revoke certificate :s1?", .refuses = "revoke a certificate"}
DOOR(of_org, CLI_ORG "/authority");
DOOR(own, "users/me");
DOOR(of_server, "authority");

static const struct cli_action authority = {"GET", "authority", &authority_view};
static const struct cli_action expiring = {"GET", CLI_ORG "/certificates/expiring", &expiring_view};

/* Commands on issued certificates of the organization take --everywhere, for administrators of the server; without it they need an organization. */
static nh_rc door(const struct nh_cli *c, const struct cli_action *of_one_org, const struct cli_action *everywhere, const struct cli_action **out, struct nh_err *err)
{
	bool all = cli_on(c, "everywhere");
	*out = all ? everywhere : of_one_org;
	return cli_require(c, all ? CLI_NEEDS_TOKEN : CLI_IN_ORG, err);
}

static nh_rc issued(struct nh_cli *c, struct nh_err *err)
{
	const struct cli_action *a;
	NH_TRY(door(c, &of_org_all, &of_server_all, &a, err));
	return cli_list_with(c, a, "", err);
}

static nh_rc show_issued(struct nh_cli *c, struct nh_err *err)
{
	const struct cli_action *a;
	NH_TRY(door(c, &of_org_one, &of_server_one, &a, err));
	return cli_show_with(c, a, err);
}

static nh_rc revoke_issued(struct nh_cli *c, struct nh_err *err)
{
	const struct cli_action *a;
	NH_TRY(door(c, &of_org_end, &of_server_end, &a, err));
	return cli_send_with(c, a, err);
}

/* ---- files ----------------------------------------------------------------------------------------------------------------- */

/* To --file, or standard output. */
static nh_rc put_pem(struct nh_cli *c, const char *pem, struct nh_err *err)
{
	const char *path = cli_text(c, "file");
	if (!path || nh_slice_eq_str(NH_LIT("-"), path)) {
		cli_out(c, "%s", pem);
		return NH_OK;
	}
	NH_TRY(nh_file_write_atomic(path, nh_slice_str(pem), 0644, err));
	cli_note(c, "Wrote %s\n", path);
	return NH_OK;
}

static nh_rc show_authority(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *a = NULL;
	if (!cli_text(c, "file"))
		return cli_run_show(c, err);
	NH_TRY(cli_call(c, "GET", authority.route, NULL, authority_shape, false, &a, err));
	return put_pem(c, cli_get(a, "cert"), err);
}

static nh_rc crl(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	const char *path = cli_text(c, "file");
	NH_TRY(cli_api_text(c, "GET", "authority/crl", NULL, &der, err));
	if (!path || nh_slice_eq_str(NH_LIT("-"), path)) {
		fwrite(nh_buf_cstr(&der), 1, der.len, c->io->out);
		return NH_OK;
	}
	NH_TRY(nh_file_write_atomic(path, nh_buf_slice(&der), 0644, err));
	cli_note(c, "Wrote %s\n", path);
	return NH_OK;
}

/* "csr" of a body: base64 of PEM. */
static nh_rc put_request(json_t *body, nh_slice pem, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (pem.len > REQUEST_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "the certificate request is longer than 16 KiB");
	nh_b64_put(&text, pem, NH_B64_STD);
	json_object_set_new(body, "csr", json_string(nh_buf_cstr(&text)));
	return NH_OK;
}

static nh_rc sign(struct nh_cli *c, const char *pattern, const char *request, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_JSON json_t *body = json_object();
	NH_AUTO_JSON json_t *issued_one = NULL;
	NH_TRY(cli_file_load(request, &pem, err));
	NH_TRY(cli_put_body_flags(c, body, err));
	NH_TRY(put_request(body, nh_buf_slice(&pem), err));
	NH_TRY(cli_call(c, "POST", cli_fill(c, pattern, true), json_incref(body), issued_shape, false, &issued_one, err));
	return c->format != CLI_TABLE ? cli_view_one(c, &issued_view, issued_one) : put_pem(c, cli_get(issued_one, "cert"), err);
}

static nh_rc sign_for_org(struct nh_cli *c, struct nh_err *err) { return sign(c, CLI_ORG "/authority/certificates", c->args[0], err); }
static nh_rc sign_for_device(struct nh_cli *c, struct nh_err *err) { return sign(c, CLI_DEVICE "/certificates/sign", c->args[1], err); }

/* A client certificate for the API: the key is made here and stays here. */
static nh_rc make_own(struct nh_cli *c, const char *route, json_t *body, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_JSON json_t *me = NULL;
	NH_AUTO_JSON json_t *made = NULL;
	const char *folder = nh_arena_printf(&c->arena, "%s/user", c->data_dir), *stamp = cli_fresh_stamp(c, folder, "-key.pem");
	const char *key_path = nh_arena_printf(&c->arena, "%s/%s-key.pem", folder, stamp), *cert_path = nh_arena_printf(&c->arena, "%s/%s-cert.pem", folder, stamp);
	NH_TRY(cli_api(c, &(struct cli_request){"GET", "users/me"}, &me, err));
	NH_TRY(cli_data_dir_make(c, err));
	NH_TRY(nh_key_generate_p256(&key, err));
	NH_TRY(nh_csr_build(&pem, nh_json_text(json_object_get(me, "data"), "email"), NH_SLICE_EMPTY, key, err));
	NH_TRY(put_request(body, nh_buf_slice(&pem), err));
	NH_TRY(cli_key_save(key_path, key, err));
	NH_TRY(cli_call(c, "POST", route, json_incref(body), issued_shape, false, &made, err));
	NH_TRY(cli_file_create(cert_path, nh_json_text(made, "cert"), 0644, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &issued_view, made);
	cli_out(c, "Private key:  %s\nCertificate:  %s\n", key_path, cert_path);
	return NH_OK;
}

static nh_rc generate_own(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_TRY(cli_put_body_flags(c, body, err));
	NH_TRY(cli_put_own_password(c, body, err));
	return make_own(c, own_all.route, body, err);
}

/* Only the certificate itself can ask for its successor. */
static nh_rc renew_own(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	if (!c->cert)
		return NH_FAIL(err, NH_EINVAL, "a certificate asks for its own successor: set NERVES_HUB_CERT and NERVES_HUB_KEY to its files, and --uri to the server's API port");
	return make_own(c, "users/me/certificates/renewal", body, err);
}

#define EVERYWHERE {"everywhere", 0, CLI_FLAG, NULL, "of the whole server; for its administrators"}
#define LIST_FLAGS {"limit", 0, CLI_NUMBER, "N", "rows at most (default 25)", "limit"}, {"before", 0, CLI_TEXT, "N", "older ones, as the list before ended", "before"}
#define REVOKE_FLAGS                                                                                                                    \
	{"reason", 0, CLI_TEXT, "unspecified|keyCompromise|affiliationChanged|superseded|cessationOfOperation|privilegeWithdrawn", "why", "reason"}, {"yes", 'y', CLI_FLAG, NULL, "do not ask"}

static const struct cli_flag list_flags[] = {LIST_FLAGS, {NULL}}, door_list_flags[] = {LIST_FLAGS, EVERYWHERE, {NULL}}, door_flags[] = {EVERYWHERE, {NULL}};
static const struct cli_flag revoke_flags[] = {REVOKE_FLAGS, {NULL}}, door_revoke_flags[] = {REVOKE_FLAGS, EVERYWHERE, {NULL}};
static const struct cli_flag file_flags[] = {{"file", 'f', CLI_TEXT, "FILE", "where to write it; - is standard output"}, {NULL}};
static const struct cli_flag own_flags[] = {{"description", 0, CLI_TEXT, "TEXT", "shown in lists", "description"}, {NULL}};
static const struct cli_flag expiring_flags[] = {
	{"days", 0, CLI_NUMBER, "N", "within so many days, or since (default 30)", "days"}, {"limit", 0, CLI_NUMBER, "N", "rows at most (default 25)", "limit"}, {NULL}};
static const struct cli_flag sign_flags[] = {{"kind", 0, CLI_TEXT, "device_ca|server", "what it is for", "kind"},
					     {"common-name", 0, CLI_TEXT, "NAME", "instead of the request's", "common_name"},
					     {"name", 0, CLI_LIST, "HOST", "a host or an address of a server; repeatable", "names"},
					     {"description", 0, CLI_TEXT, "TEXT", "shown in lists", "description"},
					     {"valid-days", 0, CLI_NUMBER, "N", "how long", "valid_days"},
					     {"file", 'f', CLI_TEXT, "FILE", "where to write the certificate; - is standard output"},
					     {NULL}};

const struct cli_command cli_authority_commands[] = {
	{"ca expiring", "", 0, 0, CLI_IN_ORG, expiring_flags, cli_run_list, "list certificates that end soon", &expiring},
	{"ca authority", "", 0, 0, 0, file_flags, show_authority, "show the server's own certificate authority", &authority},
	{"ca crl", "", 0, 0, 0, file_flags, crl, "fetch the list of what it revoked (DER)"},
	{"ca sign", "<file>", 1, 1, CLI_IN_ORG, sign_flags, sign_for_org, "have it certify a device CA or a server: a request (PEM)"},
	{"ca issued list", "", 0, 0, 0, door_list_flags, issued, "list what it issued to the organization"},
	{"ca issued show", "<issued-serial>", 1, 1, 0, door_flags, show_issued, "show an issued certificate"},
	{"ca issued revoke", "<issued-serial>", 1, 1, 0, door_revoke_flags, revoke_issued, "revoke an issued certificate"},
	{"device certificates sign", "<device> <file>", 2, 2, CLI_IN_PRODUCT, file_flags, sign_for_device, "have the server's authority sign a device's request"},
	{"user certificates list", "", 0, 0, CLI_NEEDS_TOKEN, list_flags, cli_run_list, "list your client certificates", &own_all},
	{"user certificates show", "<own-serial>", 1, 1, CLI_NEEDS_TOKEN, NULL, cli_run_show, "show one of them", &own_one},
	{"user certificates generate", "", 0, 0, CLI_NEEDS_TOKEN, own_flags, generate_own, "make a key and have a client certificate issued"},
	{"user certificates renew", "", 0, 0, CLI_NEEDS_TOKEN, NULL, renew_own, "have a successor issued of the certificate that signs in"},
	{"user certificates revoke", "<own-serial>", 1, 1, CLI_NEEDS_TOKEN, revoke_flags, cli_run_send, "revoke one of them", &own_end},
	{NULL},
};
