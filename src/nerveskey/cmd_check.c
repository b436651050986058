/*
 * Is this NervesKey any good? `test` does with it all that it is for and times each; `doctor` looks for what keeps devices from connecting, and says what to do.
 */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "nerveskey/settings.h"

/* What a self test goes through with; certificates are kept for those behind. */
struct trial {
	struct app *app;
	struct nh_nerveskey_info info;
	struct nh_buf device, signer;
	struct nh_nerveskey_certificate cert;
};

static nh_rc try_wake(struct trial *t, struct nh_err *err) { return nh_atecc_detect(nh_nerveskey_chip(t->app->key), err); }

static nh_rc try_state(struct trial *t, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_info_read(t->app->key, &t->info, err));
	if (t->info.state.stage != NH_NERVESKEY_STAGE_DONE)
		return NH_FAIL(err, NH_EAUTH, "%s", stage_text(&t->info.state));
	return NH_OK;
}

static nh_rc try_device(struct trial *t, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_device_certificate(t->app->key, NH_NERVESKEY_PRIMARY, &t->device, err));
	return nh_nerveskey_certificate_parse(nh_buf_slice(&t->device), &t->cert, err);
}

static nh_rc try_signer(struct trial *t, struct nh_err *err)
{
	struct nh_nerveskey_certificate signer;
	NH_TRY(nh_nerveskey_signer_certificate(t->app->key, NH_NERVESKEY_PRIMARY, &t->signer, err));
	NH_TRY(nh_nerveskey_certificate_parse(nh_buf_slice(&t->signer), &signer, err));
	return nh_nerveskey_certificate_check(nh_buf_slice(&t->device), signer.public_key, err);
}

static nh_rc try_key(struct trial *t, struct nh_err *err)
{
	uint8_t key[NH_P256_PUBLIC_LEN];
	NH_TRY(nh_nerveskey_public_key(t->app->key, key, err));
	return memcmp(key, t->cert.public_key, sizeof key) == 0 ? NH_OK : NH_FAIL(err, NH_EAUTH, "the chip's key is not the one of its certificate");
}

static nh_rc try_sign(struct trial *t, struct nh_err *err)
{
	uint8_t digest[32], signature[NH_P256_SIGNATURE_LEN];
	nh_rng_fill(&nh_rng_system, digest, sizeof digest);
	NH_TRY(nh_nerveskey_sign(t->app->key, digest, signature, err));
	if (nh_p256_verify(t->cert.public_key, nh_slice_of(digest, sizeof digest), signature) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "a signature of the chip does not verify with its certificate's key");
	return NH_OK;
}

static nh_rc try_random(struct trial *t, struct nh_err *err)
{
	uint8_t first[32], second[32];
	NH_TRY(nh_nerveskey_random(t->app->key, first, sizeof first, err));
	NH_TRY(nh_nerveskey_random(t->app->key, second, sizeof second, err));
	return memcmp(first, second, sizeof first) != 0 ? NH_OK : NH_FAIL(err, NH_EAUTH, "the chip gave the same random bytes twice");
}

static nh_rc try_ecdh(struct trial *t, struct nh_err *err)
{
	struct nh_p256_key peer;
	uint8_t chip[32], host[32];
	if (t->info.state.kind == NH_NERVESKEY_TRUST_AND_GO)
		return NH_EUNSUPPORTED; /* its slot may not allow it */
	nh_p256_generate(&nh_rng_system, &peer);
	nh_rc rc = nh_nerveskey_ecdh(t->app->key, peer.public_key, chip, err);
	if (rc == NH_OK && (nh_p256_ecdh(&peer, t->cert.public_key, host) != NH_OK || memcmp(chip, host, sizeof chip) != 0))
		rc = NH_FAIL(err, NH_EAUTH, "chip and host do not agree on a shared secret");
	nh_p256_key_wipe(&peer);
	return rc;
}

static nh_rc check_dates(const struct nh_nerveskey_certificate *c, const char *whose, struct nh_err *err)
{
	int64_t now_s = nh_clock_now(&nh_clock_system) / NH_US_PER_S;
	if (now_s < c->not_before_s)
		return NH_FAIL(err, NH_EAUTH, "by this machine's clock the %s certificate is not valid yet: the clock is wrong, or was when the chip was provisioned", whose);
	if (now_s > c->not_after_s)
		return NH_FAIL(err, NH_EAUTH, "by this machine's clock the %s certificate has expired", whose);
	return NH_OK;
}

static nh_rc try_clock(struct trial *t, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_clock_check(&nh_clock_system, err));
	return check_dates(&t->cert, "device's", err);
}

static nh_rc try_settings(struct trial *t, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf raw = NH_BUF_INIT, json = NH_BUF_INIT;
	NH_TRY(nh_nerveskey_settings_read(t->app->key, &raw, err));
	if (nh_nerveskey_settings_to_json(nh_buf_slice(&raw), false, &json, NULL) == NH_ENOTFOUND)
		return NH_EUNSUPPORTED; /* none stored */
	nh_buf_clear(&json);
	return nh_nerveskey_settings_to_json(nh_buf_slice(&raw), false, &json, err);
}

static const struct {
	const char *name;
	nh_rc (*run)(struct trial *t, struct nh_err *err);
	bool stops; /* what follows needs it */
} trials[] = {
	{"wake", try_wake, true}, {"state", try_state, true},	{"device certificate", try_device, true}, {"signer certificate", try_signer, false}, {"public key", try_key, false},
	{"sign", try_sign, false}, {"random", try_random, false}, {"key agreement", try_ecdh, false},	  {"clock", try_clock, false},		      {"settings", try_settings, false},
};

static nh_rc test(struct app *app, struct nh_err *err)
{
	struct trial t = {.app = app};
	NH_AUTO_JSON json_t *rows = json_array();
	struct nh_err first = NH_ERR_INIT;
	NH_TRY(app_open(app, err));
	bool stopped = false;
	for (size_t i = 0; i < NH_ARRAY_LEN(trials) && !stopped; i++) {
		struct nh_err failure = NH_ERR_INIT;
		uint64_t begin_us = nh_mono_us();
		nh_rc rc = trials[i].run(&t, &failure);
		double ms = (double)(nh_mono_us() - begin_us) / 1000;
		bool skipped = rc == NH_EUNSUPPORTED && !failure.msg[0];
		const char *result = rc == NH_OK ? "ok" : skipped ? "skipped" : "failed";
		json_array_append_new(rows, json_pack("{s:s,s:s,s:f,s:o}", "test", trials[i].name, "result", result, "ms", ms, "message",
						      rc == NH_OK || skipped ? json_null() : nh_json_new_text(nh_slice_str(failure.msg))));
		if (!app->o.json)
			print_row(trials[i].name, "%-8s %9.2f ms%s%s", result, ms, failure.msg[0] ? "  " : "", failure.msg);
		if (rc == NH_OK || skipped)
			continue;
		if (first.rc == NH_OK)
			first = failure.rc ? failure : (struct nh_err){.rc = rc};
		stopped = trials[i].stops;
	}
	nh_buf_fini(&t.device);
	nh_buf_fini(&t.signer);
	if (app->o.json)
		print_json(json_pack("{s:b,s:O}", "ok", first.rc == NH_OK, "tests", rows));
	if (first.rc == NH_OK)
		return NH_OK;
	status s = state_status(&t.info.state);
	app->status = first.rc == NH_ENOTFOUND && json_array_size(rows) == 1 ? STATUS_NO_CHIP : json_array_size(rows) == 2 ? s : STATUS_UNTRUE;
	if (app->status == STATUS_OK || first.rc == NH_EIO || first.rc == NH_ETIMEOUT)
		app->status = STATUS_IO;
	app->o.json = false; /* it has been said */
	return NH_FAIL(err, first.rc, "self test failed: %s", first.msg);
}

/* ---- doctor */

struct findings {
	json_t *list;
	bool json;
	unsigned problems;
};

[[gnu::format(printf, 3, 4)]] static void finding(struct findings *f, const char *level, const char *fmt, ...)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	va_list ap;
	va_start(ap, fmt);
	nh_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	json_array_append_new(f->list, json_pack("{s:s,s:o}", "level", level, "text", nh_json_new_text(nh_slice_str(nh_buf_cstr(&text)))));
	f->problems += strcmp(level, "problem") == 0;
	if (!f->json)
		printf("%-8s %s\n", level, nh_buf_cstr(&text));
}

static void find_state(struct findings *f, const struct nh_nerveskey_info *i)
{
	switch (state_status(&i->state)) {
	case STATUS_OK: finding(f, "good", "%s, provisioned, serial number %s", nh_atecc_model_name(i->model), i->manufacturer_serial); break;
	case STATUS_NOT_PROVISIONED: finding(f, "problem", "the chip is blank; nerveskey provision makes it a NervesKey"); break;
	case STATUS_UNFINISHED: finding(f, "problem", "%s", stage_text(&i->state)); break;
	default: finding(f, "problem", "the chip is locked for ever to another layout and cannot become a NervesKey; nerveskey config show tells which slots differ");
	}
	if (i->latch_known && !i->latch)
		finding(f, "problem", "the key is of a volatile layout and not unlocked since power came; nerveskey unlock");
}

static void find_dates(struct findings *f, const struct nh_nerveskey_certificate *c, const char *whose)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf from = NH_BUF_INIT, to = NH_BUF_INIT;
	nh_time_put_iso(&from, c->not_before_s * NH_US_PER_S);
	nh_time_put_iso(&to, c->not_after_s * NH_US_PER_S);
	if (check_dates(c, whose, &err) == NH_OK)
		finding(f, "good", "the %s certificate is valid now (%s to %s)", whose, nh_buf_cstr(&from), nh_buf_cstr(&to));
	else
		finding(f, strcmp(whose, "signer's") == 0 ? "warning" : "problem", "%s (%s to %s)", err.msg, nh_buf_cstr(&from), nh_buf_cstr(&to));
}

static void find_chain(struct findings *f, struct app *app)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey_certificate device, signer;
	NH_AUTO_BUF struct nh_buf device_der = NH_BUF_INIT, signer_der = NH_BUF_INIT, ski = NH_BUF_INIT, serial = NH_BUF_INIT;
	if (nh_nerveskey_device_certificate(app->key, NH_NERVESKEY_PRIMARY, &device_der, &err) != NH_OK ||
	    nh_nerveskey_signer_certificate(app->key, NH_NERVESKEY_PRIMARY, &signer_der, &err) != NH_OK ||
	    nh_nerveskey_certificate_parse(nh_buf_slice(&device_der), &device, &err) != NH_OK || nh_nerveskey_certificate_parse(nh_buf_slice(&signer_der), &signer, &err) != NH_OK) {
		finding(f, "problem", "the certificates do not come back as they were signed: %s", err.msg);
		return;
	}
	finding(f, "good", "both certificates are rebuilt and their signatures verify");
	for (size_t i = 0; i < sizeof signer.key_identifier; i++)
		nh_buf_printf(&ski, "%s%02X", i ? ":" : "", signer.key_identifier[i]);
	for (size_t i = 0; i < signer.serial.len; i++)
		nh_buf_printf(&serial, "%02X", signer.serial.ptr[i]);
	finding(f, "fact", "servers must know the signer with key identifier %s, serial number %s (nerveskey certificate signer)", nh_buf_cstr(&ski), nh_buf_cstr(&serial));
	finding(f, "fact", "a client sends the device's certificate and behind it the signer's (nerveskey certificate device --chain): a server that was never met needs both");
	find_dates(f, &device, "device's");
	find_dates(f, &signer, "signer's");
}

static nh_rc doctor(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_AUTO_JSON json_t *list = json_array();
	struct findings f = {list, app->o.json, 0};
	struct nh_err clock = NH_ERR_INIT;
	NH_TRY(app_info(app, &i, err));
	finding(&f, "good", "a chip answers on %s", nh_atecc_transport_of(nh_nerveskey_chip(app->key))->name);
	find_state(&f, &i);
	if (nh_nerveskey_clock_check(&nh_clock_system, &clock) != NH_OK)
		finding(&f, "problem", "%s", clock.msg);
	if (i.state.data_locked && i.state.kind != NH_NERVESKEY_FOREIGN)
		find_chain(&f, app);
	if (app->o.json)
		print_json(json_pack("{s:b,s:O}", "ok", f.problems == 0, "findings", list));
	if (f.problems) {
		status s = state_status(&i.state);
		app->status = s == STATUS_OK ? STATUS_UNTRUE : s;
		app->o.json = false;
		return NH_FAIL(err, NH_EAUTH, "%u problem%s", f.problems, f.problems > 1 ? "s" : "");
	}
	return NH_OK;
}

const struct command check_commands[] = {
	{"test", "", 0, 0, NULL, test, "self test: signs, verifies, rebuilds, agrees, and times each"},
	{"doctor", "", 0, 0, NULL, doctor, "what keeps a device from connecting, and what to do"},
	{NULL},
};
