/*
 * The chip of the running command: where it is, what it is, whether it is ready; and the signer that commands are given.
 */
#include "command.h"

#include "base/file.h"

#define SIGNER_FILE_MAX ((size_t)64 << 10)

const char *app_bus(const struct app *app) { return app->o.bus ? app->o.bus : "i2c-1"; }

/* Names with "://" take a query, "i2c-1" is spelled "i2c:1" for an address, all others end with @ADDRESS. An address that is there already is replaced. */
void spec_with_address(const char *spec, const char *address, struct nh_buf *out)
{
	nh_slice s = nh_slice_str(spec), head, rest;
	if (nh_slice_find(s, NH_LIT("://")) >= 0) {
		nh_slice_cut(s, '?', &head, &rest);
		nh_buf_printf(out, "%.*s?address=%s", NH_ARG(head), address);
		return;
	}
	size_t end = s.len;
	for (size_t i = s.len; i > 0; i--)
		if (s.ptr[i - 1] == '@') {
			end = i - 1;
			break;
		}
	s = nh_slice_sub(s, 0, end);
	if (nh_slice_starts(s, NH_LIT("i2c-")))
		nh_buf_printf(out, "i2c:%.*s@%s", NH_ARG(nh_slice_skip(s, 4)), address);
	else
		nh_buf_printf(out, "%.*s@%s", NH_ARG(s), address);
}

nh_rc app_open(struct app *app, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf spec = NH_BUF_INIT;
	if (app->key)
		return NH_OK;
	if (app->o.address)
		spec_with_address(app_bus(app), app->o.address, &spec);
	else
		nh_buf_put_str(&spec, app_bus(app));
	nh_rc rc = nh_nerveskey_open(nh_buf_cstr(&spec), &app->key, err);
	if (rc == NH_OK)
		return rc;
	return app_fail(app, rc == NH_EINVAL ? STATUS_USAGE : rc == NH_ENOTFOUND ? STATUS_NO_CHIP : STATUS_IO, rc);
}

nh_rc app_info(struct app *app, struct nh_nerveskey_info *out, struct nh_err *err)
{
	NH_TRY(app_open(app, err));
	nh_rc rc = nh_nerveskey_info_read(app->key, out, err);
	/* Refused or unknown reads of a configuration are no state of provisioning: the chip is broken, or none of ours. */
	return rc == NH_OK || rc == NH_ENOTFOUND ? rc : app_fail(app, STATUS_IO, rc);
}

status state_status(const struct nh_nerveskey_state *s)
{
	if (s->kind == NH_NERVESKEY_FOREIGN || s->stage == NH_NERVESKEY_STAGE_FOREIGN)
		return STATUS_FOREIGN;
	switch (s->stage) {
	case NH_NERVESKEY_STAGE_BLANK: return STATUS_NOT_PROVISIONED;
	case NH_NERVESKEY_STAGE_CONFIGURED:
	case NH_NERVESKEY_STAGE_KEY_OPEN: return STATUS_UNFINISHED;
	case NH_NERVESKEY_STAGE_DONE: return STATUS_OK;
	case NH_NERVESKEY_STAGE_FOREIGN: break;
	}
	return STATUS_FOREIGN;
}

nh_rc app_provisioned(struct app *app, struct nh_nerveskey_info *out, struct nh_err *err)
{
	NH_TRY(app_info(app, out, err));
	status s = state_status(&out->state);
	app->latched = out->latch_known && !out->latch;
	const char *where = nh_atecc_transport_of(nh_nerveskey_chip(app->key))->name;
	if (out->state.stage == NH_NERVESKEY_STAGE_KEY_OPEN) {
		note("nerveskey: %s: the key's slot is not locked, so the key could still be replaced: nerveskey repair --yes finishes provisioning\n", where);
		return NH_OK;
	}
	if (s == STATUS_OK)
		return NH_OK;
	app->status = s;
	if (s == STATUS_NOT_PROVISIONED)
		return NH_FAIL(err, NH_EPERM, "%s: the chip is blank (its configuration is open): nerveskey provision makes it a NervesKey", where);
	if (s == STATUS_UNFINISHED)
		return NH_FAIL(err, NH_EPERM, "%s: provisioning was interrupted (configuration locked, data open): nerveskey provision goes on where it stopped", where);
	return NH_FAIL(err, NH_EPERM, "%s: the chip's configuration is locked for ever to another layout; it is no NervesKey (nerveskey config show)", where);
}

nh_rc signer_load(struct app *app, struct signer *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT;
	struct nh_buf key = NH_BUF_INIT;
	*out = (struct signer){0};
	if (!app->o.signer_cert || !app->o.signer_key)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--signer-cert and --signer-key are needed; nerveskey signer create makes them"));
	nh_rc rc = nh_file_read(app->o.signer_cert, SIGNER_FILE_MAX, &cert, err);
	if (rc == NH_OK && (rc = nh_nerveskey_certificate_read(nh_buf_slice(&cert), &out->der, err)) != NH_OK)
		rc = nh_err_prefix(err, rc, "%s", app->o.signer_cert);
	if (rc == NH_OK)
		rc = nh_file_read(app->o.signer_key, SIGNER_FILE_MAX, &key, err);
	if (rc == NH_OK && (rc = nh_p256_key_parse_pem(nh_buf_slice(&key), &out->key, err)) != NH_OK)
		rc = nh_err_prefix(err, rc, "%s", app->o.signer_key);
	nh_buf_wipe(&key);
	if (rc == NH_OK)
		return rc;
	signer_fini(out);
	return app_fail(app, STATUS_REFUSED, rc);
}

void signer_fini(struct signer *s)
{
	nh_buf_fini(&s->der);
	nh_p256_key_wipe(&s->key);
}
