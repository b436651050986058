/*
 * A production line: a line in, a chip, a receipt out. A chip that fails gives an error line and the line goes on. One line is one chip: after it, done or failed, the next line waits for another
 * one, so that nothing is touched twice because somebody was slow to change it.
 *
 * Resuming: a chip that was interrupted goes on where it stopped; one that was finished by this signer with the serial number of the line gives its receipt again; lines whose receipts are in
 * --receipts already are left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "batch_line.h"
#include "command.h"

#define LINE_MAX_BYTES 16384
#define POLL_MS 100
#define UNREADABLE_MAX 20 /* looks at a chip that answers and cannot be read: contacts close badly at first */
#define RECEIPTS_MAX ((size_t)1 << 30)

static const struct flag batch_flags[] = {
	{"signer-cert", 0, NH_OPT_TEXT, AT(signer_cert), "FILE", "the signer's certificate, PEM or DER"},
	{"signer-key", 0, NH_OPT_TEXT, AT(signer_key), "FILE", "its private key, PEM"},
	{"receipts", 0, NH_OPT_TEXT, AT(receipts), "FILE", "append the answers there too; serial numbers that are there as done are left out"},
	{"wait", 0, NH_OPT_DURATION, AT(wait_ms), "TIME", "how long to wait for each chip (for ever)", 1, UINT64_C(86400000)},
	{"yes", 'y', NH_OPT_FLAG, AT(yes), NULL, "burn; without it, batch refuses to begin"},
	{NULL},
};

struct batch {
	struct app *app;
	struct signer signer;
	json_t *done; /* serial numbers as keys */
	int receipts; /* -1: none */
	unsigned line, failed;
	bool has_last;
	uint8_t last[NH_ATECC_SERIAL_LEN]; /* the chip that was handled last */
	unsigned unread;  /* looks in a row at a chip that could not be read */
	bool given_up;    /* such a chip has had its answer; it must go first */
	struct nh_nerveskey_info info;
};

/* ---- answers */

static nh_rc append(struct batch *b, nh_slice text, struct nh_err *err)
{
	while (text.len) {
		ssize_t n = write(b->receipts, text.ptr, text.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NH_FAIL(err, nh_rc_from_errno(errno), "cannot write %s: %s", b->app->o.receipts, strerror(errno));
		text = nh_slice_skip(text, (size_t)n);
	}
	return fsync(b->receipts) == 0 ? NH_OK : NH_FAIL(err, nh_rc_from_errno(errno), "cannot write %s: %s", b->app->o.receipts, strerror(errno));
}

/* On disk before anybody sees it. A receipt that cannot be stored is printed all the same, and ends the batch. */
static nh_rc answer(struct batch *b, json_t *take_value, struct nh_err *err)
{
	NH_AUTO_JSON json_t *value = take_value;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_rc rc = NH_OK;
	json_object_set_new(value, "line", json_integer(b->line));
	nh_json_put(&text, value);
	nh_buf_put_u8(&text, '\n');
	if (b->receipts >= 0)
		rc = append(b, nh_buf_slice(&text), err);
	fwrite(text.ptr, 1, text.len, stdout);
	if (fflush(stdout) != 0 && rc == NH_OK)
		rc = NH_FAIL(err, NH_EIO, "cannot write to standard output");
	return rc == NH_OK ? rc : app_fail(b->app, STATUS_IO, rc);
}

static nh_rc answer_failure(struct batch *b, const struct batch_line *line, status s, const struct nh_err *why, struct nh_err *err)
{
	json_t *o = json_pack("{s:b,s:s,s:o,s:b}", "ok", 0, "code", status_name(s), "error", nh_json_new_text(nh_slice_str(why->msg)), "burnt", s == STATUS_BURNT);
	b->failed++;
	if (line && line->serial.len)
		json_object_set_new(o, "manufacturer_serial", nh_json_new_text(line->serial));
	if (b->info.model != NH_ATECC_UNKNOWN)
		json_object_set_new(o, "chip_serial", json_hex(b->info.chip_serial, sizeof b->info.chip_serial));
	if (line && line->label && json_object_size(line->label))
		json_object_set(o, "label", line->label);
	return answer(b, o, err);
}

static nh_rc answer_receipt(struct batch *b, const struct batch_line *line, nh_slice device_der, nh_slice signer_der, bool already, struct nh_err *err)
{
	json_t *o = receipt_json(&b->info, device_der, signer_der);
	json_object_set_new(o, "already", json_boolean(already));
	json_object_set(o, "label", line->label);
	json_object_set_new(b->done, b->info.manufacturer_serial, json_true());
	return answer(b, o, err);
}

/* ---- one chip */

/* A chip answers and cannot be read: for a while that may be its contacts, then it is the chip. */
static nh_rc unreadable(struct batch *b, nh_rc rc)
{
	if (b->given_up || ++b->unread < UNREADABLE_MAX)
		return NH_EAGAIN;
	b->given_up = true;
	b->unread = 0;
	return rc;
}

/* Is there a chip that may be touched? NH_EAGAIN: none, or the one that was handled already. */
static nh_rc look(struct batch *b, bool again, struct nh_err *err)
{
	struct app *app = b->app;
	nh_nerveskey_close(app->key); /* the bus itself may come and go with the fixture */
	app->key = NULL;
	nh_rc rc = app_open(app, err);
	if (rc == NH_EINVAL || rc == NH_EPERM)
		return rc;
	if (rc == NH_OK)
		rc = nh_nerveskey_info_read(app->key, &b->info, err);
	if (rc != NH_OK && app->key && rc != NH_ENOTFOUND)
		return unreadable(b, rc);
	b->unread = 0;
	b->given_up = false;
	if (rc != NH_OK || (!again && b->has_last && memcmp(b->last, b->info.chip_serial, sizeof b->last) == 0))
		return NH_EAGAIN;
	b->has_last = true;
	memcpy(b->last, b->info.chip_serial, sizeof b->last);
	return NH_OK;
}

static nh_rc wait_for_chip(struct batch *b, const struct batch_line *line, struct nh_err *err)
{
	uint64_t begin_ms = nh_mono_ms(), limit_ms = b->app->o.wait_ms;
	bool told = false;
	for (;;) {
		nh_rc rc = look(b, line->again, err);
		if (rc != NH_EAGAIN)
			return rc;
		if (!told)
			note("nerveskey: line %u: waiting for %s chip on %s\n", b->line, b->has_last ? "another" : "a", app_bus(b->app));
		told = true;
		b->info = (struct nh_nerveskey_info){0};
		if (limit_ms && nh_mono_ms() - begin_ms >= limit_ms)
			return NH_FAIL(err, NH_ENOTFOUND, "no %s chip came within %llu ms; nothing was touched", b->has_last ? "other" : "", (unsigned long long)limit_ms);
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
	}
}

/* Finished earlier, by this signer, for this line: its receipt got lost, no more. */
static nh_rc finished_before(struct batch *b, const struct batch_line *line, struct nh_buf *device, struct nh_buf *signer, struct nh_err *err)
{
	nh_slice want = line->serial.len ? line->serial : nh_slice_str(b->info.default_serial);
	if (b->info.state.stage != NH_NERVESKEY_STAGE_DONE || !nh_slice_eq_str(want, b->info.manufacturer_serial))
		return NH_ECONFLICT;
	NH_TRY(nh_nerveskey_device_certificate(b->app->key, NH_NERVESKEY_PRIMARY, device, err));
	NH_TRY(nh_nerveskey_signer_certificate(b->app->key, NH_NERVESKEY_PRIMARY, signer, err));
	return nh_slice_eq(nh_buf_slice(signer), nh_buf_slice(&b->signer.der)) ? NH_OK : NH_ECONFLICT;
}

static nh_rc one_chip(struct batch *b, const struct batch_line *line, struct nh_err *err)
{
	const struct nh_nerveskey_order order = {.manufacturer_serial = line->serial, .board_name = line->board, .user_data = line->user_data, .signer_der = nh_buf_slice(&b->signer.der),
						 .signer_key = &b->signer.key};
	NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT;
	struct nh_nerveskey_receipt receipt = {0};
	struct nh_err why = NH_ERR_INIT;
	nh_rc rc = wait_for_chip(b, line, &why);
	if (rc != NH_OK)
		return answer_failure(b, line, rc == NH_ENOTFOUND ? STATUS_NO_CHIP : STATUS_IO, &why, err);
	rc = provision_now(b->app, &order, false, &receipt, &why);
	if (rc == NH_OK) {
		b->info = receipt.info;
		memcpy(b->last, b->info.chip_serial, sizeof b->last); /* should somebody have changed it at the last moment */
		rc = answer_receipt(b, line, nh_buf_slice(&receipt.device_der), nh_buf_slice(&receipt.signer_der), false, err);
	} else if (rc == NH_ECONFLICT && finished_before(b, line, &device, &signer, NULL) == NH_OK) {
		rc = answer_receipt(b, line, nh_buf_slice(&device), nh_buf_slice(&signer), true, err);
	} else {
		rc = answer_failure(b, line, provision_status(rc, &receipt), &why, err);
	}
	nh_nerveskey_receipt_fini(&receipt);
	return rc;
}

/* ---- the order */

static nh_rc one_line(struct batch *b, nh_slice text, struct nh_arena *columns_arena, struct batch_columns *columns, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct batch_line line;
	struct nh_err why = NH_ERR_INIT;
	uint8_t otp[NH_ATECC_OTP_LEN];
	b->info = (struct nh_nerveskey_info){0};
	nh_rc rc = batch_line_parse(text, &arena, columns_arena, columns, &line, &why);
	if (rc == NH_ECLOSED)
		return NH_OK;
	/* What is wrong with the line itself need not wait for a chip. */
	if (rc == NH_OK && nh_nerveskey_otp_encode(line.serial.len ? line.serial : NH_LIT("x"), line.board.len ? line.board : NH_LIT("NervesKey"), line.user_data, otp, &why) != NH_OK)
		rc = NH_EINVAL;
	if (rc != NH_OK)
		rc = answer_failure(b, &line, STATUS_REFUSED, &why, err);
	else if (line.serial.len && json_object_getn(b->done, (const char *)line.serial.ptr, line.serial.len) && !line.again)
		note("nerveskey: line %u: %.*s is done already\n", b->line, NH_ARG(line.serial));
	else
		rc = one_chip(b, &line, err);
	json_decref(line.label);
	return rc;
}

static nh_rc too_long(struct batch *b, struct nh_err *err)
{
	struct nh_err why = NH_ERR_INIT;
	int c;
	while ((c = getchar()) != EOF && c != '\n')
		;
	NH_IGNORE(NH_FAIL(&why, NH_EINVAL, "the line is longer than %d bytes", LINE_MAX_BYTES)); /* told in the answer */
	b->info = (struct nh_nerveskey_info){0};
	return answer_failure(b, NULL, STATUS_REFUSED, &why, err);
}

static nh_rc run_lines(struct batch *b, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena columns_arena = NH_ARENA_INIT;
	struct batch_columns columns = {.count = 0};
	static char line[LINE_MAX_BYTES + 2];
	while (fgets(line, sizeof line, stdin)) {
		b->line++;
		nh_slice text = nh_slice_str(line);
		if (text.len > LINE_MAX_BYTES && line[text.len - 1] != '\n') {
			NH_TRY(too_long(b, err));
			continue;
		}
		text = nh_slice_trim(text);
		if (text.len && text.ptr[0] != '#')
			NH_TRY(one_line(b, text, &columns_arena, &columns, err));
	}
	return ferror(stdin) ? app_fail(b->app, STATUS_IO, NH_FAIL(err, NH_EIO, "cannot read standard input")) : NH_OK;
}

/* Remembers whose receipts are there. A line cut short by a crash is no receipt. */
static nh_rc receipts_open(struct batch *b, struct nh_err *err)
{
	const char *path = b->app->o.receipts;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (!path)
		return NH_OK;
	nh_rc rc = nh_file_read(path, RECEIPTS_MAX, &text, err);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return app_fail(b->app, STATUS_IO, rc);
	nh_slice rest = nh_buf_slice(&text), line;
	while (rest.len) {
		NH_AUTO_JSON json_t *receipt = NULL;
		nh_slice_cut(rest, '\n', &line, &rest);
		if (nh_json_parse(line, LINE_MAX_BYTES * 4, &receipt, NULL) == NH_OK && nh_json_bool(receipt, "ok", false) && json_is_string(json_object_get(receipt, "manufacturer_serial")))
			json_object_set_new(b->done, json_string_value(json_object_get(receipt, "manufacturer_serial")), json_true());
	}
	b->receipts = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (b->receipts < 0)
		return app_fail(b->app, STATUS_IO, NH_FAIL(err, nh_rc_from_errno(errno), "cannot write %s: %s", path, strerror(errno)));
	bool cut = text.len && text.ptr[text.len - 1] != '\n';
	return cut ? append(b, NH_LIT("\n"), err) : NH_OK;
}

static nh_rc batch(struct app *app, struct nh_err *err)
{
	struct batch b = {.app = app, .receipts = -1};
	uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN];
	struct nh_nerveskey_certificate cert;
	if (!app->o.yes)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "batch burns chips for ever, one for each line: it needs --yes (nerveskey provision without --yes shows what it would do)"));
	NH_TRY(nh_nerveskey_clock_check(&nh_clock_system, err));
	NH_TRY(signer_load(app, &b.signer, err));
	b.done = json_object();
	/* A signer that cannot be used fails every chip: say so once. */
	nh_rc rc = nh_nerveskey_signer_compress(nh_buf_slice(&b.signer.der), compressed, err);
	if (rc == NH_OK)
		rc = nh_nerveskey_certificate_parse(nh_buf_slice(&b.signer.der), &cert, err);
	if (rc == NH_OK && memcmp(cert.public_key, b.signer.key.public_key, sizeof cert.public_key) != 0)
		rc = NH_FAIL(err, NH_EINVAL, "the signer's private key does not belong to the signer's certificate");
	if (rc == NH_OK)
		rc = receipts_open(&b, err);
	if (rc == NH_OK)
		rc = run_lines(&b, err);
	if (b.receipts >= 0)
		close(b.receipts);
	json_decref(b.done);
	signer_fini(&b.signer);
	if (rc == NH_OK && b.failed) {
		app->o.json = false;
		rc = app_fail(app, STATUS_FAILED, NH_FAIL(err, NH_EINVAL, "%u of the lines failed; their answers say why", b.failed));
	} else if (rc == NH_OK) {
		app->status = STATUS_OK; /* whatever waiting left there */
	}
	return rc;
}

const struct command batch_commands[] = {
	{"batch", "", 0, 0, batch_flags, batch, "a production line: a line of JSON or CSV in, a chip, a receipt out"},
	{NULL},
};
