/*
 * Recordings: what passed between driver and chip, as text that people can read, send in and replay without the chip.
 *
 *	nerveskey-recording 1
 *	chip 0x60 /dev/i2c-1 address 0x60
 *	K 0x00 00 ok                     the wake pulse
 *	R 0x60 04113343 ok               a read and what it brought
 *	W 0x60 030730000000035d ok       a write
 *	R 0x60 7 nak                     a read of 7 bytes that was not acknowledged; "error": it failed otherwise
 *	end 4
 *
 * Waits are not recorded, so replaying takes no time. A recording of ECDH, keys or settings holds what was read and written: the file is for its owner only. The recorder never changes what
 * happens; a disk that fills up costs the rest of the recording, which then has no last line.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "atecc/packet.h"
#include "base/encode.h"
#include "base/file.h"
#include "transport_int.h"

#define HEADER "nerveskey-recording 1"
#define RECORDING_MAX ((size_t)16 << 20)
#define TRANSFER_MAX 256u
#define HEAD_SHOWN 6u /* word address, count, opcode, parameters */

/* ---- the recorder */

struct recorder {
	struct nh_atecc_transport inner;
	int fd;
	uint64_t count;
	bool failed; /* the file, not the bus */
};

static void write_out(struct recorder *r, nh_slice text)
{
	while (text.len && !r->failed) {
		ssize_t n = write(r->fd, text.ptr, text.len);
		if (n < 0 && errno == EINTR)
			continue;
		r->failed = n <= 0;
		text = nh_slice_skip(text, n > 0 ? (size_t)n : 0);
	}
}

static nh_rc note(struct recorder *r, char op, uint8_t address, nh_slice bytes, nh_rc rc)
{
	struct nh_buf line = NH_BUF_INIT;
	nh_buf_printf(&line, "%c 0x%02x ", op, address);
	if (op == 'R' && rc != NH_OK)
		nh_buf_printf(&line, "%zu", bytes.len);
	else
		nh_hex_put(&line, bytes);
	nh_buf_printf(&line, " %s\n", rc == NH_OK ? "ok" : rc == NH_EAGAIN ? "nak" : "error");
	write_out(r, nh_buf_slice(&line));
	nh_buf_wipe(&line);
	r->count++;
	return rc;
}

static nh_rc record_wake(void *ctx, struct nh_err *err)
{
	struct recorder *r = ctx;
	return note(r, 'K', 0, NH_LIT("\0"), r->inner.ops->wake(r->inner.ctx, err));
}

static nh_rc record_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct recorder *r = ctx;
	return note(r, 'W', r->inner.address, bytes, r->inner.ops->write(r->inner.ctx, bytes, err));
}

static nh_rc record_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct recorder *r = ctx;
	nh_rc rc = r->inner.ops->read(r->inner.ctx, out, len, err);
	return note(r, 'R', r->inner.address, nh_slice_of(out, len), rc);
}

static void record_delay(void *ctx, uint32_t us)
{
	struct recorder *r = ctx;
	r->inner.ops->delay_us(r->inner.ctx, us);
}

static nh_rc record_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err)
{
	struct recorder *r = ctx;
	return r->inner.ops->lock(r->inner.ctx, timeout_ms, err);
}

static void record_unlock(void *ctx)
{
	struct recorder *r = ctx;
	r->inner.ops->unlock(r->inner.ctx);
}

static void record_close(void *ctx)
{
	struct recorder *r = ctx;
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	nh_buf_printf(&line, "end %llu\n", (unsigned long long)r->count);
	write_out(r, nh_buf_slice(&line));
	close(r->fd);
	nh_atecc_transport_close(&r->inner);
	free(r);
}

static void record_hint(void *ctx, struct nh_buf *out)
{
	struct recorder *r = ctx;
	if (r->inner.ops->hint)
		r->inner.ops->hint(r->inner.ctx, out);
}

static const struct nh_atecc_transport_ops record_ops = {
	.wake = record_wake,
	.write = record_write,
	.read = record_read,
	.delay_us = record_delay,
	.lock = record_lock,
	.unlock = record_unlock,
	.close = record_close,
	.hint = record_hint,
};

nh_rc nh_atecc_record_open(const char *path, struct nh_atecc_transport take_inner, struct nh_atecc_transport *out, struct nh_err *err)
{
	struct recorder *r = calloc(1, sizeof *r);
	int fd = r ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	if (fd < 0) {
		nh_rc rc = r ? NH_FAIL(err, nh_rc_from_errno(errno), "cannot record to %s: %s", path, strerrordesc_np(errno)) : NH_FAIL(err, NH_ENOMEM, "no memory");
		free(r);
		nh_atecc_transport_close(&take_inner);
		return rc;
	}
	NH_AUTO_BUF struct nh_buf head = NH_BUF_INIT;
	*out = take_inner;
	out->ops = &record_ops;
	out->ctx = r;
	r->inner = take_inner;
	r->fd = fd;
	nh_buf_printf(&head, HEADER "\nchip 0x%02x %s\n", take_inner.address, take_inner.name);
	write_out(r, nh_buf_slice(&head));
	return NH_OK;
}

/* ---- the player */

struct player {
	struct nh_buf text;
	nh_slice rest;     /* lines not played yet */
	unsigned line;     /* number of the last one taken */
	bool failed;       /* driver and recording have parted */
};

struct entry {
	char op;
	uint8_t address;
	size_t len;
	uint8_t bytes[TRANSFER_MAX];
	nh_rc rc;
};

static nh_rc result_parse(nh_slice text, nh_rc *rc)
{
	static const struct {
		const char *word;
		nh_rc rc;
	} words[] = {{"ok", NH_OK}, {"nak", NH_EAGAIN}, {"error", NH_EIO}};
	for (size_t i = 0; i < NH_ARRAY_LEN(words); i++)
		if (nh_slice_eq_str(text, words[i].word)) {
			*rc = words[i].rc;
			return NH_OK;
		}
	return NH_EFORMAT;
}

static nh_rc address_parse(nh_slice text, uint8_t *out)
{
	return nh_slice_starts(text, NH_LIT("0x")) ? nh_hex_decode_fixed(nh_slice_skip(text, 2), out, 1) : NH_EFORMAT;
}

static nh_rc entry_parse(nh_slice line, struct entry *out)
{
	nh_slice op, address, bytes, result;
	*out = (struct entry){0};
	nh_slice_cut(line, ' ', &op, &line);
	nh_slice_cut(line, ' ', &address, &line);
	nh_slice_cut(line, ' ', &bytes, &result);
	if (op.len != 1 || !memchr("KRW", op.ptr[0], 3) || address_parse(address, &out->address) != NH_OK || result_parse(result, &out->rc) != NH_OK)
		return NH_EFORMAT;
	out->op = (char)op.ptr[0];
	if (out->op == 'R' && out->rc != NH_OK) {
		uint64_t len;
		NH_TRY(nh_parse_u64(bytes, 1, TRANSFER_MAX, &len));
		out->len = (size_t)len;
		return NH_OK;
	}
	out->len = bytes.len / 2;
	if (out->len == 0 || out->len > TRANSFER_MAX)
		return NH_EFORMAT;
	return nh_hex_decode_fixed(bytes, out->bytes, out->len);
}

/* The next line; false: there is none. */
static bool line_next(struct player *p, nh_slice *line)
{
	if (p->rest.len == 0)
		return false;
	nh_slice_cut(p->rest, '\n', line, &p->rest);
	p->line++;
	return true;
}

/* Plays one line: the driver does op with these bytes (of a read: that many). */
static nh_rc play(struct player *p, char op, nh_slice bytes, struct entry *entry, struct nh_err *err)
{
	nh_slice line;
	if (p->failed)
		return NH_FAIL(err, NH_EFORMAT, "the driver left the recording at line %u", p->line);
	p->failed = true;
	if (!line_next(p, &line))
		return NH_FAIL(err, NH_EFORMAT, "the recording stops behind line %u, cut short, and the driver goes on", p->line);
	if (nh_slice_starts(line, NH_LIT("end ")))
		return NH_FAIL(err, NH_EFORMAT, "the recording ends at line %u and the driver goes on", p->line);
	if (entry_parse(line, entry) != NH_OK) /* checked when it was opened */
		return NH_FAIL(err, NH_EFORMAT, "line %u of the recording is garbled", p->line);
	bool same = entry->op == op && entry->len == bytes.len && (op == 'R' || nh_slice_eq(bytes, nh_slice_of(entry->bytes, entry->len)));
	if (!same) { /* no more than the head of a command: behind it may be a key */
		NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT, got = NH_BUF_INIT;
		nh_hex_put(&want, nh_slice_of(entry->bytes, entry->op != 'W' ? 0 : entry->len > HEAD_SHOWN ? HEAD_SHOWN : entry->len));
		nh_hex_put(&got, nh_slice_sub(bytes, 0, op == 'W' ? HEAD_SHOWN : 0));
		if (nh_slice_eq(nh_buf_slice(&want), nh_buf_slice(&got)) && entry->op == op && entry->len == bytes.len)
			return NH_FAIL(err, NH_EFORMAT, "the driver's command %s has other data than line %u of the recording", nh_buf_cstr(&got), p->line);
		return NH_FAIL(err, NH_EFORMAT, "line %u of the recording has %c of %zu bytes %s, the driver does %c of %zu bytes %s", p->line, entry->op, entry->len, nh_buf_cstr(&want), op,
			       bytes.len, nh_buf_cstr(&got));
	}
	p->failed = false;
	return entry->rc == NH_EIO ? NH_FAIL(err, NH_EIO, "an error of the bus, as recorded in line %u", p->line) : entry->rc;
}

static nh_rc replay_wake(void *ctx, struct nh_err *err)
{
	struct entry entry;
	nh_rc rc = play(ctx, 'K', NH_LIT("\0"), &entry, err);
	return rc == NH_EAGAIN ? NH_OK : rc;
}

static nh_rc replay_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct entry entry;
	return play(ctx, 'W', bytes, &entry, err);
}

static nh_rc replay_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct entry entry;
	NH_TRY(play(ctx, 'R', nh_slice_of(out, len), &entry, err));
	memmove(out, entry.bytes, len);
	return NH_OK;
}

static void replay_delay(void *ctx, uint32_t us) {}
static nh_rc replay_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err) { return NH_OK; }
static void replay_unlock(void *ctx) {}

static void replay_close(void *ctx)
{
	struct player *p = ctx;
	nh_buf_wipe(&p->text);
	free(p);
}

static const struct nh_atecc_transport_ops replay_ops = {
	.wake = replay_wake,
	.write = replay_write,
	.read = replay_read,
	.delay_us = replay_delay,
	.lock = replay_lock,
	.unlock = replay_unlock,
	.close = replay_close,
};

/* Header, every line, and the count of the last one. */
static nh_rc recording_check(struct player p, uint8_t *address, nh_slice *name, nh_slice *entries, struct nh_err *err)
{
	nh_slice line, word, text;
	uint64_t count = 0, said;
	struct entry entry;
	if (!line_next(&p, &line) || !nh_slice_eq(line, NH_LIT(HEADER)))
		return NH_FAIL(err, NH_EFORMAT, "not a recording: its first line is not \"" HEADER "\"");
	if (!line_next(&p, &line) || !nh_slice_cut(line, ' ', &word, &line) || !nh_slice_eq(word, NH_LIT("chip")) || !nh_slice_cut(line, ' ', &text, name) ||
	    address_parse(text, address) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "line 2 of the recording does not name the chip (\"chip 0x60 NAME\")");
	*entries = p.rest;
	for (; line_next(&p, &line); count++) {
		if (nh_slice_starts(line, NH_LIT("end "))) {
			bool whole = nh_parse_u64(nh_slice_skip(line, 4), 0, UINT64_MAX, &said) == NH_OK && said == count && p.rest.len == 0;
			return whole ? NH_OK : NH_FAIL(err, NH_EFORMAT, "line %u: the recording does not end here with %llu transfers", p.line, (unsigned long long)count);
		}
		if (entry_parse(line, &entry) != NH_OK)
			return NH_FAIL(err, NH_EFORMAT, "line %u of the recording is garbled", p.line);
		if (entry.op != 'K' && entry.address != *address)
			return NH_FAIL(err, NH_EFORMAT, "line %u of the recording is of another chip, 0x%02x", p.line, entry.address);
	}
	return NH_OK; /* cut short: what there is can be played */
}

nh_rc nh_atecc_replay_open_text(nh_slice text, struct nh_atecc_transport *out, struct nh_err *err)
{
	struct player *p = calloc(1, sizeof *p);
	nh_slice name, entries;
	if (!p)
		return NH_FAIL(err, NH_ENOMEM, "no memory");
	nh_buf_put_slice(&p->text, text);
	p->rest = nh_buf_slice(&p->text);
	nh_rc rc = nh_buf_check(&p->text, "recording", err);
	if (rc == NH_OK)
		rc = recording_check(*p, &out->address, &name, &entries, err);
	if (rc != NH_OK) {
		replay_close(p);
		return rc;
	}
	p->rest = entries;
	p->line = 2;
	struct nh_buf shown = NH_BUF_INIT;
	nh_buf_printf(&shown, "recording of %.*s", NH_ARG(name));
	nh_slice fits = nh_slice_sub(nh_buf_slice(&shown), 0, sizeof out->name - 1);
	memset(out->name, 0, sizeof out->name);
	memmove(out->name, fits.ptr, fits.len);
	nh_buf_fini(&shown);
	out->ops = &replay_ops;
	out->ctx = p;
	return NH_OK;
}

nh_rc nh_atecc_replay_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err)
{
	struct nh_buf text = NH_BUF_INIT;
	nh_rc rc = nh_file_read(path, RECORDING_MAX, &text, err);
	if (rc == NH_OK) {
		rc = nh_atecc_replay_open_text(nh_buf_slice(&text), out, err);
		if (rc != NH_OK)
			rc = nh_err_prefix(err, rc, "%s", path);
	}
	nh_buf_wipe(&text);
	return rc;
}
