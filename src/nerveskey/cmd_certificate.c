/*
 * Certificates: those of the chip, and new ones for signers and for devices without a chip.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/pem.h"
#include "command.h"

static const struct flag certificate_flags[] = {
	{"der", 0, NH_OPT_FLAG, AT(der), NULL, "as DER"},
	{"pem", 0, NH_OPT_FLAG, AT(pem), NULL, "as PEM, which is what comes without these options too"},
	{"chain", 0, NH_OPT_FLAG, AT(chain), NULL, "the signer's certificate behind the device's, as servers want it"},
	{"output", 'o', NH_OPT_TEXT, AT(output), "FILE", "write to a file"},
	{NULL},
};

static const struct {
	const char *name;
	nh_nerveskey_pair pair;
	bool signer;
} kinds[] = {{"device", NH_NERVESKEY_PRIMARY, false}, {"signer", NH_NERVESKEY_PRIMARY, true}, {"aux", NH_NERVESKEY_AUX, false}, {"aux-signer", NH_NERVESKEY_AUX, true}};

static nh_rc certificate_get(struct app *app, nh_nerveskey_pair pair, bool signer, struct nh_buf *der, struct nh_err *err)
{
	nh_rc rc = signer ? nh_nerveskey_signer_certificate(app->key, pair, der, err) : nh_nerveskey_device_certificate(app->key, pair, der, err);
	if (rc == NH_ENOTFOUND || (rc == NH_EPERM && !app->latched))
		app->status = STATUS_NOT_PROVISIONED;
	return rc;
}

static nh_rc certificate(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT, signer = NH_BUF_INIT, text = NH_BUF_INIT;
	size_t k = 0;
	while (k < NH_ARRAY_LEN(kinds) && strcmp(kinds[k].name, app->args[0]) != 0)
		k++;
	if (k == NH_ARRAY_LEN(kinds))
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "which certificate: device, signer, aux or aux-signer; not '%.40s'", app->args[0]));
	if (app->o.der && (app->o.pem || app->o.chain))
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--der goes neither with --pem nor with --chain"));
	NH_TRY(app_provisioned(app, &info, err));
	NH_TRY(certificate_get(app, kinds[k].pair, kinds[k].signer, &der, err));
	if (app->o.chain && !kinds[k].signer)
		NH_TRY(certificate_get(app, kinds[k].pair, true, &signer, err));
	if (app->o.json) {
		print_json(certificate_json(nh_buf_slice(&der)));
		return NH_OK;
	}
	if (app->o.der)
		return output_bytes(app, nh_buf_slice(&der), err);
	nh_pem_put(&text, "CERTIFICATE", nh_buf_slice(&der));
	if (signer.len)
		nh_pem_put(&text, "CERTIFICATE", nh_buf_slice(&signer));
	return output_bytes(app, nh_buf_slice(&text), err);
}

/* NAME.key for its owner alone, then NAME.cert; both or none. */
static nh_rc write_pair(struct app *app, const char *name, const struct nh_p256_key *key, nh_slice der, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf cert_path = NH_BUF_INIT, key_path = NH_BUF_INIT, cert = NH_BUF_INIT;
	struct nh_buf pem = NH_BUF_INIT;
	nh_buf_printf(&cert_path, "%s.cert", name);
	nh_buf_printf(&key_path, "%s.key", name);
	nh_pem_put(&cert, "CERTIFICATE", der);
	nh_p256_key_put_pem(&pem, key);
	nh_rc rc = file_create(app, nh_buf_cstr(&cert_path), nh_buf_slice(&cert), 0644, err);
	if (rc == NH_OK) {
		rc = file_create(app, nh_buf_cstr(&key_path), nh_buf_slice(&pem), 0600, err);
		if (rc != NH_OK)
			unlink(nh_buf_cstr(&cert_path));
	}
	nh_buf_wipe(&pem);
	return rc;
}

static const struct flag create_flags[] = {{"years-valid", 0, NH_OPT_U64, AT(years), "YEARS", "how long it is valid: 1 to 31 (1)", 1, NH_NERVESKEY_YEARS_MAX}, {NULL}};

static nh_rc signer_create(struct app *app, struct nh_err *err)
{
	const char *name = app->args[0];
	struct nh_p256_key key;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	NH_TRY(nh_nerveskey_clock_check(&nh_clock_system, err));
	nh_p256_generate(&nh_rng_system, &key);
	nh_rc rc = nh_nerveskey_signer_create(&key, app->o.years ? (unsigned)app->o.years : 1, &nh_clock_system, &nh_rng_system, &der, err);
	if (rc == NH_OK)
		rc = write_pair(app, name, &key, nh_buf_slice(&der), err);
	nh_p256_key_wipe(&key);
	NH_TRY(rc);
	if (app->o.json)
		print_json(certificate_json(nh_buf_slice(&der)));
	else
		printf("Created signer cert, %s.cert and private key, %s.key.\n\nPlease store %s.key in a safe place.\n\n"
		       "%s.cert can be uploaded now to the servers that are to\nknow devices by it.\n",
		       name, name, name, name);
	return NH_OK;
}

static const struct flag device_flags[] = {{"signer-cert", 0, NH_OPT_TEXT, AT(signer_cert), "FILE", "the signer's certificate, PEM or DER"},
					   {"signer-key", 0, NH_OPT_TEXT, AT(signer_key), "FILE", "its private key, PEM"},
					   {NULL}};

static nh_rc device_create(struct app *app, struct nh_err *err)
{
	const char *name = app->args[0];
	uint8_t chip_serial[NH_ATECC_SERIAL_LEN];
	struct nh_p256_key key;
	struct signer signer;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	NH_TRY(nh_nerveskey_clock_check(&nh_clock_system, err));
	NH_TRY(signer_load(app, &signer, err));
	nh_rng_fill(&nh_rng_system, chip_serial, sizeof chip_serial); /* of no chip */
	nh_p256_generate(&nh_rng_system, &key);
	nh_rc rc = nh_nerveskey_device_create(key.public_key, nh_slice_str(name), chip_serial, nh_buf_slice(&signer.der), &signer.key, &nh_clock_system, &nh_rng_system, &der, NULL, err);
	if (rc == NH_OK)
		rc = write_pair(app, name, &key, nh_buf_slice(&der), err);
	nh_p256_key_wipe(&key);
	signer_fini(&signer);
	NH_TRY(rc);
	if (app->o.json)
		print_json(certificate_json(nh_buf_slice(&der)));
	else
		printf("Created device cert, %s.cert and private key, %s.key.\n\nPlease store %s.key in a safe place.\n\n"
		       "A key in a file is for debugging only: it can be copied.\n",
		       name, name, name);
	return NH_OK;
}

const struct command certificate_commands[] = {
	{"certificate", "WHICH", 1, 1, certificate_flags, certificate, "a certificate of the chip: device, signer, aux or aux-signer"},
	{"signer create", "NAME", 1, 1, create_flags, signer_create, "a new signer: NAME.cert and NAME.key"},
	{"device create", "NAME", 1, 1, device_flags, device_create, "a device without a chip, to try things: NAME.cert and NAME.key"},
	{NULL},
};
