/*
 * Making a NervesKey. Without --yes nothing is written: what would be burnt is shown. Also what finishes an interrupted one, and the second pair of certificates.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "command.h"

static const struct flag provision_flags[] = {
	{"signer-cert", 0, NH_OPT_TEXT, AT(signer_cert), "FILE", "the signer's certificate, PEM or DER"},
	{"signer-key", 0, NH_OPT_TEXT, AT(signer_key), "FILE", "its private key, PEM"},
	{"serial", 0, NH_OPT_TEXT, AT(serial), "TEXT", "manufacturer's serial number, 1 to 48 bytes (made of the chip's)"},
	{"board-name", 0, NH_OPT_TEXT, AT(board), "TEXT", "up to 10 bytes (NervesKey)"},
	{"user-data", 0, NH_OPT_TEXT, AT(user_data), "HEX|@FILE", "up to 32 bytes, for serial numbers of at most 16"},
	{"volatile", 0, NH_OPT_FLAG, AT(volatile_key), NULL, "a key that works after nerveskey unlock only; ATECC608"},
	{"activation-key", 0, NH_OPT_TEXT, AT(activation_key), "HEX|@FILE", "of a volatile layout, 16 bytes"},
	{"encryption-key", 0, NH_OPT_TEXT, AT(encryption_key), "HEX|@FILE", "of a volatile layout, 16 bytes"},
	{"receipt", 0, NH_OPT_TEXT, AT(receipt), "FILE", "write the receipt for the factory's database there; must not exist"},
	{"yes", 'y', NH_OPT_FLAG, AT(yes), NULL, "do it; nothing of it can be undone"},
	{NULL},
};
static const struct flag signer_flags[] = {{"signer-cert", 0, NH_OPT_TEXT, AT(signer_cert), "FILE", "the signer's certificate, PEM or DER"},
					   {"signer-key", 0, NH_OPT_TEXT, AT(signer_key), "FILE", "its private key, PEM"},
					   {NULL}};
static const struct flag yes_flags[] = {{"yes", 'y', NH_OPT_FLAG, AT(yes), NULL, "do it; it cannot be undone"}, {NULL}};

status provision_status(nh_rc rc, const struct nh_nerveskey_receipt *receipt)
{
	if (receipt->burnt)
		return STATUS_BURNT;
	switch (rc) {
	case NH_ECONFLICT: return STATUS_PROVISIONED;
	case NH_EPERM: return receipt->reached == NH_NERVESKEY_STEP_CHECK ? STATUS_FOREIGN : STATUS_INTERRUPTED;
	case NH_EINVAL:
	case NH_ETOOBIG:
	case NH_EUNSUPPORTED: return receipt->reached == NH_NERVESKEY_STEP_CHECK ? STATUS_REFUSED : STATUS_INTERRUPTED;
	case NH_ENOTFOUND: return receipt->reached == NH_NERVESKEY_STEP_CHECK ? STATUS_NO_CHIP : STATUS_INTERRUPTED;
	default: return STATUS_INTERRUPTED;
	}
}

static void on_step(void *ctx, nh_nerveskey_step step)
{
	note("%d/%d %s\n", (int)step + 1, (int)NH_NERVESKEY_STEPS, nh_nerveskey_step_name(step));
}

nh_rc provision_now(struct app *app, const struct nh_nerveskey_order *order, bool progress, struct nh_nerveskey_receipt *receipt, struct nh_err *err)
{
	/* A provisioning takes a second or two. One that was interrupted could be resumed, but somebody's Ctrl-C need not make it so. */
	sigset_t later, before;
	sigemptyset(&later);
	sigaddset(&later, SIGINT);
	sigaddset(&later, SIGTERM);
	sigaddset(&later, SIGHUP);
	sigprocmask(SIG_BLOCK, &later, &before);
	nh_rc rc = nh_nerveskey_provision(app->key, order, progress ? on_step : NULL, NULL, receipt, err);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* What --user-data and the keys' options hold while an order points there. */
struct held {
	struct nh_buf user_data, activation, encryption;
};

static void held_fini(struct held *h)
{
	nh_buf_fini(&h->user_data);
	nh_buf_wipe(&h->activation);
	nh_buf_wipe(&h->encryption);
}

static nh_rc read_keys(struct app *app, struct held *h, struct nh_nerveskey_order *order, struct nh_err *err)
{
	const struct options *o = &app->o;
	if (!o->volatile_key && (o->activation_key || o->encryption_key))
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--activation-key and --encryption-key belong to --volatile"));
	if (!o->volatile_key)
		return NH_OK;
	if (!o->activation_key || !o->encryption_key)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--volatile needs --activation-key and --encryption-key"));
	NH_TRY(input_hex(app, o->activation_key, "the activation key", 16, &h->activation, err));
	NH_TRY(input_hex(app, o->encryption_key, "the encryption key", 16, &h->encryption, err));
	if (h->activation.len != 16 || h->encryption.len != 16)
		return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "activation and encryption key have 16 bytes each, not %zu and %zu", h->activation.len, h->encryption.len));
	order->activation_key = h->activation.ptr;
	order->encryption_key = h->encryption.ptr;
	return NH_OK;
}

static nh_rc order_read(struct app *app, const struct signer *signer, struct held *h, struct nh_nerveskey_order *order, struct nh_err *err)
{
	*order = (struct nh_nerveskey_order){.manufacturer_serial = nh_slice_str(app->o.serial), .board_name = nh_slice_str(app->o.board), .signer_der = nh_buf_slice(&signer->der),
					     .signer_key = &signer->key};
	if (app->o.serial && !*app->o.serial)
		return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "--serial is empty"));
	if (app->o.user_data)
		NH_TRY(input_hex(app, app->o.user_data, "the user data", NH_NERVESKEY_USER_DATA_MAX, &h->user_data, err));
	order->user_data = nh_buf_slice(&h->user_data);
	return read_keys(app, h, order, err);
}

static nh_rc show_plan(struct app *app, const struct nh_nerveskey_order *order, struct nh_err *err)
{
	struct nh_nerveskey_plan plan;
	nh_rc rc = nh_nerveskey_plan(app->key, order, &plan, err);
	if (rc != NH_OK)
		return app_fail(app, rc == NH_EFORMAT || rc == NH_EIO || rc == NH_ETIMEOUT ? STATUS_IO : provision_status(rc, &(struct nh_nerveskey_receipt){0}), rc);
	if (app->o.json) {
		print_json(plan_json(&plan, order->signer_der));
		return NH_OK;
	}
	plan_print(&plan, order->signer_der);
	puts("\nDry run: nothing was written. The same command with --yes does it, for ever.");
	return NH_OK;
}

static nh_rc write_receipt(struct app *app, const struct nh_nerveskey_receipt *r, struct nh_err *err)
{
	NH_AUTO_JSON json_t *receipt = receipt_json(&r->info, nh_buf_slice(&r->device_der), nh_buf_slice(&r->signer_der));
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put_pretty(&text, receipt);
	if (app->o.json)
		print_json(json_incref(receipt));
	if (!app->o.receipt)
		return NH_OK;
	nh_rc rc = nh_file_write_atomic(app->o.receipt, nh_buf_slice(&text), 0644, err);
	if (rc == NH_OK)
		return rc;
	/* The chip is done; what could not be stored must not be lost. */
	if (!app->o.json)
		fwrite(text.ptr, 1, text.len, stdout);
	return app_fail(app, STATUS_IO, nh_err_prefix(err, rc, "the chip is provisioned, but its receipt (on standard output now) could not be stored"));
}

static nh_rc burn(struct app *app, const struct nh_nerveskey_order *order, struct nh_err *err)
{
	struct nh_nerveskey_receipt receipt = {0};
	/* Its place is taken before anything is burnt. */
	if (app->o.receipt)
		NH_TRY(file_create(app, app->o.receipt, NH_SLICE_EMPTY, 0644, err));
	nh_rc rc = provision_now(app, order, !app->o.json, &receipt, err);
	if (rc != NH_OK) {
		app->status = provision_status(rc, &receipt);
		if (app->o.receipt)
			unlink(app->o.receipt);
		if (app->status == STATUS_INTERRUPTED)
			note("nerveskey: stopped at %s; nothing irreversible was done, and the same command begins again\n", nh_nerveskey_step_name(receipt.reached));
		if (app->status == STATUS_BURNT)
			note("nerveskey: stopped at %s; something irreversible was done, or may have been; the same command goes on where it stopped\n", nh_nerveskey_step_name(receipt.reached));
	} else {
		rc = write_receipt(app, &receipt, err);
		if (rc == NH_OK && !app->o.json) {
			info_print(app, &receipt.info);
			certificate_print("device certificate", nh_buf_slice(&receipt.device_der));
		}
	}
	nh_nerveskey_receipt_fini(&receipt);
	return rc;
}

static nh_rc provision(struct app *app, struct nh_err *err)
{
	struct signer signer;
	struct held held = {0};
	struct nh_nerveskey_order order;
	NH_TRY(signer_load(app, &signer, err));
	nh_rc rc = order_read(app, &signer, &held, &order, err);
	if (rc == NH_OK)
		rc = app_open(app, err);
	if (rc == NH_OK)
		rc = app->o.yes ? burn(app, &order, err) : show_plan(app, &order, err);
	held_fini(&held);
	signer_fini(&signer);
	return rc;
}

static nh_rc repair(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_TRY(app_info(app, &i, err));
	status s = state_status(&i.state);
	if (i.state.stage != NH_NERVESKEY_STAGE_KEY_OPEN) {
		app->status = s == STATUS_OK ? STATUS_PROVISIONED : s;
		return NH_FAIL(err, NH_ECONFLICT, "nothing to repair here: the chip is %s", s == STATUS_OK ? "provisioned and its key locked" : stage_text(&i.state));
	}
	if (!app->o.yes) {
		unsigned slots = i.state.open_slots & nh_nerveskey_slots_to_lock(i.state.kind);
		printf("Would verify the certificates and then lock for ever slot%s", slots & (slots - 1) ? "s" : "");
		for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
			if (slots >> slot & 1)
				printf(" %u", slot);
		puts(".\nDry run: nothing was written; --yes does it.");
		return NH_OK;
	}
	NH_TRY(nh_nerveskey_repair(app->key, err));
	if (app->o.json)
		print_json(json_pack("{s:b}", "ok", 1));
	else
		puts("repaired: the key is locked");
	return NH_OK;
}

static nh_rc provision_aux(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	struct signer signer;
	NH_TRY(signer_load(app, &signer, err));
	const struct nh_nerveskey_order order = {.signer_der = nh_buf_slice(&signer.der), .signer_key = &signer.key};
	nh_rc rc = app_provisioned(app, &i, err);
	if (rc == NH_OK)
		rc = nh_nerveskey_provision_aux(app->key, &order, err);
	signer_fini(&signer);
	NH_TRY(rc);
	if (app->o.json)
		print_json(json_pack("{s:b}", "ok", 1));
	else
		puts("auxiliary certificates stored");
	return NH_OK;
}

static nh_rc clear_aux(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_TRY(app_provisioned(app, &i, err));
	NH_TRY(nh_nerveskey_clear_aux(app->key, err));
	if (app->o.json)
		print_json(json_pack("{s:b}", "ok", 1));
	else
		puts("auxiliary certificates cleared");
	return NH_OK;
}

const struct command provision_commands[] = {
	{"provision", "", 0, 0, provision_flags, provision, "make a NervesKey of a blank chip, or finish one; a dry run unless --yes"},
	{"repair", "", 0, 0, yes_flags, repair, "lock a key that an interrupted provisioning left open"},
	{"provision-aux", "", 0, 0, signer_flags, provision_aux, "store a second pair of certificates, of another signer"},
	{"clear-aux", "", 0, 0, NULL, clear_aux, "forget them"},
	{NULL},
};
