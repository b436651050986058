/*
 * `nh device certificates`: make, register, list, remove the certificates a device may connect with.
 *
 * source: reference/user-api-and-cli "11.7" "17.2" "18.7"
 */
#include <unistd.h>

#include "pki_files.h"

static const struct cli_shape cert_shape[] = {{"serial", SHAPE_TEXT}, {"not_before", SHAPE_TIME}, {"not_after", SHAPE_TIME}, {NULL}};

static nh_rc list(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *all = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 3};
	size_t i;
	json_t *k;
	NH_TRY(cli_call(c, "GET", cli_product_route(c, "devices", c->args[0], "certificates", NULL), NULL, cert_shape, true, &all, err));
	cli_table_row(&t, "SERIAL", "NOT BEFORE", "NOT AFTER");
	json_array_foreach(all, i, k)
		cli_table_row(&t, cli_serial_hex(c, nh_json_text(k, "serial")), cli_time_cell(c, json_object_get(k, "not_before"), true),
			      cli_time_cell(c, json_object_get(k, "not_after"), true));
	return cli_print_list(c, all, &t, "No certificates found for device %s.", c->args[0]);
}

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *k = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	const char *route = cli_product_route(c, "devices", c->args[0], "certificates", cli_serial_decimal(c, c->args[1]), NULL);
	NH_TRY(cli_call(c, "GET", route, NULL, cert_shape, false, &k, err));
	cli_table_detail(&t, "Serial", cli_serial_hex(c, nh_json_text(k, "serial")));
	cli_table_detail(&t, "Not before", cli_time_cell(c, json_object_get(k, "not_before"), true));
	cli_table_detail(&t, "Not after", cli_time_cell(c, json_object_get(k, "not_after"), true));
	return cli_print_one(c, k, &t);
}

static nh_rc register_certificate(struct nh_cli *c, const char *device, const struct nh_cert *cert, json_t **out, struct nh_err *err)
{
	json_t *body = json_object();
	json_object_set_new(body, "cert", cli_pem_base64(cert));
	return cli_call(c, "POST", cli_product_route(c, "devices", device, "certificates", NULL), body, cert_shape, false, out, err);
}

static nh_rc upload(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_JSON json_t *k = NULL;
	NH_TRY(cli_cert_load(c->args[1], &cert, err));
	NH_TRY(register_certificate(c, c->args[0], cert, &k, err));
	if (c->json)
		cli_out_json(c, k);
	else
		cli_out(c, "Uploaded certificate %s for device %s\n", cli_serial_hex(c, cert->serial_decimal), c->args[0]);
	return NH_OK;
}

static nh_rc delete(struct nh_cli *c, struct nh_err *err)
{
	const char *serial = cli_serial_decimal(c, c->args[1]), *hex = cli_serial_hex(c, nh_slice_str(serial));
	NH_TRY(cli_confirm(c, "delete", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "Delete certificate %s from device %s?", hex, c->args[0])));
	NH_TRY(cli_act(c, "DELETE", cli_product_route(c, "devices", c->args[0], "certificates", serial, NULL), NULL, err));
	cli_out(c, "Deleted certificate %s from device %s\n", hex, c->args[0]);
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

static nh_rc generate_certificate(struct nh_cli *c, const struct paths *p, const struct nh_key *key, const struct cli_authority *ca, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_JSON json_t *registered = NULL;
	int64_t valid_us = 0;
	NH_TRY(cli_validity(c, &valid_us, err));
	struct nh_cert_profile profile = nh_cert_profile_device(nh_now_us(), valid_us);
	profile.organization = nh_slice_str(c->org);
	profile.common_name = nh_slice_str(c->args[0]);
	profile.ski = !ca->cert; /* only self-signed ones carry it */
	NH_TRY(cli_issue(&profile, key, ca->cert ? ca : NULL, &cert, err));
	nh_cert_put_pem(&pem, cert);
	NH_TRY(cli_key_save(p->key, key, err));
	NH_TRY(cli_file_create(p->cert, nh_buf_slice(&pem), 0644, err));
	cli_out(c, "Private key:  %s\nCertificate:  %s\n", p->key, p->cert);
	const char *hex = cli_serial_hex(c, cert->serial_decimal);
	if (!cli_on(c, "upload")) {
		cli_out(c, "\nNothing was uploaded. Register it with `nh device certificates upload %s %s`.\n", c->args[0], p->cert);
		return NH_OK;
	}
	NH_TRY(register_certificate(c, c->args[0], cert, &registered, err));
	cli_out(c, "Uploaded certificate %s for device %s\n", hex, c->args[0]);
	return NH_OK;
}

static nh_rc generate(struct nh_cli *c, struct nh_err *err)
{
	CLI_AUTO_AUTHORITY struct cli_authority ca = {0};
	NH_AUTO_KEY struct nh_key *key = NULL;
	struct paths p;
	const char *ca_name = cli_text(c, "ca");
	bool self = cli_on(c, "self-signed"), request = !ca_name && !self;
	if (ca_name && self)
		return NH_FAIL(err, NH_EINVAL, "--ca and --self-signed exclude each other");
	if (request && (cli_text(c, "valid-for") || cli_on(c, "upload")))
		return NH_FAIL(err, NH_EINVAL, "--valid-for and --upload need --ca or --self-signed: without them only a request is made");
	if (cli_on(c, "upload"))
		NH_TRY(cli_require(c, CLI_IN_PRODUCT, err));
	NH_TRY(make_paths(c, &p, err));
	if (ca_name)
		NH_TRY(cli_authority_named(c, ca_name, &ca, err));
	NH_TRY(cli_data_dir_make(c, err));
	NH_TRY(nh_key_generate_p256(&key, err));
	return request ? generate_request(c, &p, key, err) : generate_certificate(c, &p, key, &ca, err);
}

static const struct cli_flag generate_flags[] = {{"ca", 0, CLI_TEXT, "NAME", "sign with this local CA (a name that `nh ca generate` printed)"},
						 {"self-signed", 0, CLI_FLAG, NULL, "sign with its own key"},
						 {"valid-for", 0, CLI_TEXT, "TIME", "31y, 90d, 12h (default 31y)"},
						 {"upload", 0, CLI_FLAG, NULL, "register it with the device"},
						 {NULL}};

const struct cli_command cli_certificate_commands[] = {
	{"device certificates list", "<id>", 1, 1, CLI_IN_PRODUCT, NULL, list, "list a device's certificates"},
	{"device certificates show", "<id> <serial>", 2, 2, CLI_IN_PRODUCT, NULL, show, "show a certificate"},
	{"device certificates generate", "<id>", 1, 1, CLI_NEEDS_ORG, generate_flags, generate, "make a key and a certificate or request"},
	{"device certificates upload", "<id> <file>", 2, 2, CLI_IN_PRODUCT, NULL, upload, "register a certificate"},
	{"device certificates delete", "<id> <serial>", 2, 2, CLI_IN_PRODUCT, cli_yes_flags, delete, "remove a certificate"},
	{NULL},
};
