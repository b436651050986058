/*
 * `nh device certificates`: make, register, list, remove the certificates a device may connect with.
 *
 * source: reference/user-api-and-cli "11.7" "17.2" "18.7"
 */
#include <unistd.h>

#include "pki_files.h"

static const struct cli_shape cert_shape[] = {{"serial", SHAPE_TEXT}, {"not_before", SHAPE_TIME}, {"not_after", SHAPE_TIME}, {NULL}};

static const struct cli_cell cert_list[] = {
	{"SERIAL", "serial", cli_as_serial}, {"NOT BEFORE", "not_before", cli_as_date}, {"NOT AFTER", "not_after", cli_as_date}, {NULL}};
static const struct cli_cell cert_detail[] = {
	{"Serial", "serial", cli_as_serial}, {"Not before", "not_before", cli_as_date}, {"Not after", "not_after", cli_as_date}, {NULL}};
static const struct cli_view cert_view = {cert_shape, cert_list, cert_detail, "No certificates found for device :1."};

static const struct cli_action certs = {"GET", CLI_DEVICE "/certificates", &cert_view};
static const struct cli_action cert = {"GET", CLI_DEVICE "/certificates/:s2", &cert_view};
static const struct cli_action cert_removal = {
	"DELETE", CLI_DEVICE "/certificates/:s2", NULL, "Deleted certificate :s2 from device :1", "Delete certificate :s2 from device :1?"};

static nh_rc register_certificate(struct nh_cli *c, const char *device, const struct nh_cert *issued, json_t **out, struct nh_err *err)
{
	json_t *body = json_object();
	json_object_set_new(body, "cert", cli_pem_base64(issued));
	return cli_call(c, "POST", cli_product_route(c, "devices", device, "certificates", NULL), body, cert_shape, false, out, err);
}

nh_rc cli_register_certificate(struct nh_cli *c, const char *device, const struct nh_cert *issued, struct nh_err *err)
{
	NH_AUTO_JSON json_t *k = NULL;
	return register_certificate(c, device, issued, &k, err);
}

static nh_rc upload(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *from_file = NULL;
	NH_AUTO_JSON json_t *k = NULL;
	NH_TRY(cli_cert_load(c->args[1], &from_file, err));
	NH_TRY(register_certificate(c, c->args[0], from_file, &k, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &cert_view, k);
	cli_out(c, "Uploaded certificate %s for device %s\n", cli_serial_hex(c, from_file->serial_decimal), c->args[0]);
	return NH_OK;
}

struct paths {
	const char *key, *csr, *cert;
};

static nh_rc make_paths(struct nh_cli *c, struct paths *p, struct nh_err *err)
{
	NH_TRY(cli_check_name(c->args[0], "device identifier", err));
	const char *stem = nh_arena_printf(&c->arena, "%s-%s", c->args[0], cli_stamp(c, "%Y%m%d%H%M"));
	p->key = cli_path(c, "certificates", nh_arena_printf(&c->arena, "%s-key.pem", stem));
	p->csr = cli_path(c, "certificates", nh_arena_printf(&c->arena, "%s-csr.pem", stem));
	p->cert = cli_path(c, "certificates", nh_arena_printf(&c->arena, "%s-cert.pem", stem));
	const char *const all[] = {p->key, p->csr, p->cert};
	for (size_t i = 0; i < NH_ARRAY_LEN(all); i++)
		if (access(all[i], F_OK) == 0)
			return NH_FAIL(err, NH_ECONFLICT, "key file already exists: %s", all[i]);
	return NH_OK;
}

static nh_rc generate_request(struct nh_cli *c, const struct paths *p, const struct nh_key *key, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_TRY(nh_csr_build(&pem, nh_slice_str(c->org), nh_slice_str(c->args[0]), key, err));
	NH_TRY(cli_key_save(p->key, key, err));
	NH_TRY(cli_file_create(p->csr, nh_buf_slice(&pem), 0644, err));
	cli_out(c, "Private key:          %s\nCertificate request:  %s\n\nNothing was uploaded. Have the request signed, then run "
		   "`nh device certificates upload %s <file>`.\n",
		p->key, p->csr, c->args[0]);
	return NH_OK;
}

nh_rc cli_issue_device(struct nh_cli *c, const char *device, const struct nh_key *key, const struct cli_authority *issuer, struct nh_cert **out, struct nh_err *err)
{
	int64_t valid_us = 0;
	NH_TRY(cli_validity(c, &valid_us, err));
	struct nh_cert_profile profile = nh_cert_profile_device(nh_now_us(), valid_us);
	profile.organization = nh_slice_str(c->org);
	profile.common_name = nh_slice_str(device);
	profile.ski = !issuer; /* only self-signed ones carry it */
	return cli_issue(&profile, key, issuer, out, err);
}

static nh_rc generate_certificate(struct nh_cli *c, const struct paths *p, const struct nh_key *key, const struct cli_authority *ca, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *issued = NULL;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_JSON json_t *registered = NULL;
	NH_TRY(cli_issue_device(c, c->args[0], key, ca->cert ? ca : NULL, &issued, err));
	nh_cert_put_pem(&pem, issued);
	NH_TRY(cli_key_save(p->key, key, err));
	NH_TRY(cli_file_create(p->cert, nh_buf_slice(&pem), 0644, err));
	cli_out(c, "Private key:  %s\nCertificate:  %s\n", p->key, p->cert);
	const char *hex = cli_serial_hex(c, issued->serial_decimal);
	if (!cli_on(c, "upload")) {
		cli_out(c, "\nNothing was uploaded. Register it with `nh device certificates upload %s %s`.\n", c->args[0], p->cert);
		return NH_OK;
	}
	NH_TRY(register_certificate(c, c->args[0], issued, &registered, err));
	cli_out(c, "Uploaded certificate %s for device %s\n", hex, c->args[0]);
	return NH_OK;
}

static nh_rc generate(struct nh_cli *c, struct nh_err *err)
{
	CLI_AUTO_AUTHORITY struct cli_authority ca = {0};
	NH_AUTO_KEY struct nh_key *key = NULL;
	struct paths p;
	const char *ca_name = cli_text(c, "ca"), *ca_cert = cli_text(c, "ca-cert"), *ca_key = cli_text(c, "ca-key");
	bool self = cli_on(c, "self-signed"), request = !ca_name && !self && !ca_cert;
	if (!ca_cert != !ca_key)
		return NH_FAIL(err, NH_EINVAL, "--ca-cert and --ca-key belong together");
	if ((ca_name != NULL) + (ca_cert != NULL) + self > 1)
		return NH_FAIL(err, NH_EINVAL, "--ca%s and --self-signed exclude each other", ca_cert ? ", --ca-cert" : "");
	if (request && (cli_text(c, "valid-for") || cli_on(c, "upload")))
		return NH_FAIL(err, NH_EINVAL, "--valid-for and --upload need --ca or --self-signed: without them only a request is made");
	if (cli_on(c, "upload"))
		NH_TRY(cli_require(c, CLI_IN_PRODUCT, err));
	NH_TRY(make_paths(c, &p, err));
	if (ca_name)
		NH_TRY(cli_authority_named(c, ca_name, &ca, err));
	if (ca_cert)
		NH_TRY(cli_authority_load(c, ca_cert, ca_key, &ca, err));
	NH_TRY(cli_data_dir_make(c, err));
	NH_TRY(nh_key_generate_p256(&key, err));
	return request ? generate_request(c, &p, key, err) : generate_certificate(c, &p, key, &ca, err);
}

static const struct cli_flag generate_flags[] = {{"ca", 0, CLI_TEXT, "CA", "sign with this local CA (a name that `nh ca generate` printed)"},
						 {"ca-cert", 0, CLI_TEXT, "FILE", "sign with another CA: its certificate"},
						 {"ca-key", 0, CLI_TEXT, "FILE", "and its key: a file, or a token's pkcs11: URI"},
						 {"self-signed", 0, CLI_FLAG, NULL, "sign with its own key"},
						 {"valid-for", 0, CLI_TEXT, "TIME", "31y, 90d, 12h (default 31y)"},
						 {"upload", 0, CLI_FLAG, NULL, "register it with the device"},
						 {NULL}};

const struct cli_command cli_certificate_commands[] = {
	{"device certificates list", "<device>", 1, 1, CLI_IN_PRODUCT, NULL, cli_run_list, "list a device's certificates", &certs},
	{"device certificates show", "<device> <serial>", 2, 2, CLI_IN_PRODUCT, NULL, cli_run_show, "show a certificate", &cert},
	{"device certificates generate", "<device>", 1, 1, CLI_NEEDS_ORG, generate_flags, generate, "make a key and a certificate or request"},
	{"device certificates upload", "<device> <file>", 2, 2, CLI_IN_PRODUCT, NULL, upload, "register a certificate"},
	{"device certificates delete", "<device> <serial>", 2, 2, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "remove a certificate", &cert_removal},
	{NULL},
};
