/*
 * The decoder. Bytes gather until a whole window is there; then its instructions run over the target window, and that goes out in one piece.
 *
 * Every length is checked against what is left before it is used: of the window, of a section, of the source segment.
 * source: reference/fwup-format "14.3"; RFC 3284 "4", "5"
 */
#include "vcdiff_int.h"

#include <stdlib.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/cursor.h"

#define MAGIC 0xd6c3c400u
#define HAS_APPLICATION 4u
#define APPLICATION_MAX 65536u
#define HAS_SOURCE 1u
#define HAS_ADLER 4u
#define NEAR 4u
#define SAME 3u
#define WINDOW_HEAD_MAX 128u /* indicators, nine numbers of at most ten bytes, checksum */

#define BAD(err, ...) NH_FAIL(err, NH_EFORMAT, "xdelta3 error: " __VA_ARGS__)

struct nh_fw_vcdiff {
	struct nh_fw_vcdiff_config config;
	struct nh_buf in; /* what waits for the rest of its header or window */
	struct nh_buf out; /* the target window */
	bool headed;
	nh_rc failed;
};

struct nh_fw_vcdiff *nh_fw_vcdiff_new(const struct nh_fw_vcdiff_config *config)
{
	struct nh_fw_vcdiff *d = nh_xcalloc(1, sizeof *d);
	d->config = *config;
	return d;
}

void nh_fw_vcdiff_free(struct nh_fw_vcdiff *d)
{
	if (!d)
		return;
	nh_buf_fini(&d->in);
	nh_buf_fini(&d->out);
	free(d);
}

/* ---- numbers and headers ------------------------------------------------------------------------------------------------------- */

/* Base 128, most significant first. A first byte of 0x80 would be a longer way to say the same: refused, as the format's users do. */
static uint64_t varint(struct nh_rd *r)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < 10; i++) {
		uint8_t byte = nh_rd_u8(r);
		if (i == 0 && byte == 0x80)
			break;
		if (value >> 57)
			break;
		value = value << 7 | (byte & 0x7f);
		if (!(byte & 0x80))
			return value;
	}
	r->failed = true;
	return 0;
}

/* NH_EAGAIN: more bytes are needed. */
static nh_rc header_read(struct nh_rd *r, struct nh_err *err)
{
	uint32_t magic = nh_rd_u32be(r);
	if (nh_rd_ok(r) && magic != MAGIC)
		return BAD(err, "not a VCDIFF patch");
	uint8_t indicator = nh_rd_u8(r);
	if (nh_rd_ok(r) && indicator & ~HAS_APPLICATION)
		return BAD(err, "the patch uses secondary compression or a code table of its own");
	uint64_t application = indicator & HAS_APPLICATION ? varint(r) : 0;
	if (nh_rd_ok(r) && application > APPLICATION_MAX)
		return BAD(err, "an application header of %llu bytes", (unsigned long long)application);
	nh_rd_skip(r, (size_t)application);
	return nh_rd_ok(r) ? NH_OK : NH_EAGAIN;
}

struct window {
	bool has_source, has_adler;
	uint64_t source_len, source_at;
	uint64_t len;          /* of everything behind this number */
	uint64_t target_len;
	uint64_t data_len, code_len, address_len;
	uint32_t adler;
};

/* Numbers of a window up to its sections. NH_EAGAIN: more bytes are needed. */
static nh_rc window_read(struct nh_rd *r, struct window *w, size_t *sections_at, struct nh_err *err)
{
	*w = (struct window){0};
	uint8_t indicator = nh_rd_u8(r);
	if (nh_rd_ok(r) && indicator & ~(HAS_SOURCE | HAS_ADLER))
		return BAD(err, "a window of kind %u", indicator);
	w->has_source = indicator & HAS_SOURCE;
	w->has_adler = indicator & HAS_ADLER;
	if (w->has_source) {
		w->source_len = varint(r);
		w->source_at = varint(r);
	}
	w->len = varint(r);
	size_t behind = r->pos;
	w->target_len = varint(r);
	uint8_t compressed = nh_rd_u8(r);
	w->data_len = varint(r);
	w->code_len = varint(r);
	w->address_len = varint(r);
	if (w->has_adler)
		w->adler = nh_rd_u32be(r);
	*sections_at = r->pos;
	if (!nh_rd_ok(r))
		return r->len >= WINDOW_HEAD_MAX ? BAD(err, "a number in a window is broken") : NH_EAGAIN;
	if (w->target_len > NH_FW_VCDIFF_WINDOW_MAX || w->len > NH_FW_VCDIFF_WINDOW_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "xdelta3 error: a window of %llu bytes; at most %u are supported",
			       (unsigned long long)(w->target_len > w->len ? w->target_len : w->len), NH_FW_VCDIFF_WINDOW_MAX);
	if (compressed)
		return BAD(err, "the patch uses secondary compression");
	if (w->source_len > INT64_MAX || w->source_at > INT64_MAX - w->source_len)
		return BAD(err, "the source segment is out of range");
	/* Each is at most len, so their sum cannot overflow. */
	if (w->data_len > w->len || w->code_len > w->len || w->address_len > w->len ||
	    *sections_at - behind + w->data_len + w->code_len + w->address_len != w->len)
		return BAD(err, "the lengths of a window contradict each other");
	return NH_OK;
}

bool nh_fw_vcdiff_begins_well(nh_slice head)
{
	struct nh_rd r = nh_rd_of(head);
	struct window w;
	size_t at;
	return header_read(&r, NULL) == NH_OK && window_read(&r, &w, &at, NULL) == NH_OK;
}

/* ---- instructions --------------------------------------------------------------------------------------------------------------- */

typedef enum op { NOOP, ADD, RUN, COPY } op;

struct half {
	uint8_t op, size, mode; /* size 0: follows as a number */
};

/* The default code table, computed from its description. source: RFC 3284 "5.6" */
static void code_of(uint8_t code, struct half out[2])
{
	unsigned c = code;
	out[0] = out[1] = (struct half){NOOP, 0, 0};
	if (c == 0) {
		out[0].op = RUN;
	} else if (c <= 18) {
		out[0] = (struct half){ADD, (uint8_t)(c - 1), 0};
	} else if (c <= 162) {
		unsigned size = (c - 19) % 16;
		out[0] = (struct half){COPY, (uint8_t)(size ? size + 3 : 0), (uint8_t)((c - 19) / 16)};
	} else if (c <= 234) {
		unsigned i = c - 163;
		out[0] = (struct half){ADD, (uint8_t)(i / 3 % 4 + 1), 0};
		out[1] = (struct half){COPY, (uint8_t)(i % 3 + 4), (uint8_t)(i / 12)};
	} else if (c <= 246) {
		unsigned i = c - 235;
		out[0] = (struct half){ADD, (uint8_t)(i % 4 + 1), 0};
		out[1] = (struct half){COPY, 4, (uint8_t)(i / 4 + 6)};
	} else {
		out[0] = (struct half){COPY, 4, (uint8_t)(c - 247)};
		out[1] = (struct half){ADD, 1, 0};
	}
}

struct run {
	struct nh_fw_vcdiff *d;
	const struct window *w;
	struct nh_rd data, codes, addresses;
	uint64_t near[NEAR], same[SAME * 256];
	unsigned next_near;
};

/* An address of old and new data taken as one row, below `here`. */
static nh_rc address_read(struct run *run, unsigned mode, uint64_t here, uint64_t *out, struct nh_err *err)
{
	uint64_t address;
	if (mode == 0)
		address = varint(&run->addresses);
	else if (mode == 1)
		address = here - varint(&run->addresses);
	else if (mode < 2 + NEAR)
		address = run->near[mode - 2] + varint(&run->addresses);
	else
		address = run->same[(mode - 2 - NEAR) * 256 + nh_rd_u8(&run->addresses)];
	if (!nh_rd_ok(&run->addresses) || address >= here)
		return BAD(err, "an address leaves the data");
	run->near[run->next_near] = address;
	run->next_near = (run->next_near + 1) % NEAR;
	run->same[address % (SAME * 256)] = address;
	*out = address;
	return NH_OK;
}

/* May begin in the old data and go on in the new, and may read what it writes. */
static nh_rc copy(struct run *run, unsigned mode, uint64_t size, struct nh_err *err)
{
	struct nh_buf *out = &run->d->out;
	uint64_t address = 0;
	NH_TRY(address_read(run, mode, run->w->source_len + out->len, &address, err));
	if (address < run->w->source_len) {
		uint64_t n = run->w->source_len - address < size ? run->w->source_len - address : size;
		size_t at = out->len;
		nh_buf_fill(out, 0, (size_t)n);
		NH_TRY(run->d->config.source(run->d->config.ctx, run->w->source_at + address, out->ptr + at, (size_t)n, err));
		address += n;
		size -= n;
	}
	for (size_t from = (size_t)(address - run->w->source_len); size > 0;) {
		size_t at = out->len, n = at - from < size ? at - from : (size_t)size;
		nh_buf_fill(out, 0, n);
		memcpy(out->ptr + at, out->ptr + from, n);
		size -= n;
	}
	return NH_OK;
}

static nh_rc half_run(struct run *run, const struct half *h, struct nh_err *err)
{
	struct nh_buf *out = &run->d->out;
	if (h->op == NOOP)
		return NH_OK;
	uint64_t size = h->size ? h->size : varint(&run->codes);
	if (!nh_rd_ok(&run->codes) || size > run->w->target_len - out->len)
		return BAD(err, "an instruction goes beyond its window");
	if (h->op == COPY)
		return copy(run, h->mode, size, err);
	if (h->op == ADD)
		nh_buf_put_slice(out, nh_rd_bytes(&run->data, (size_t)size));
	else
		nh_buf_fill(out, nh_rd_u8(&run->data), (size_t)size);
	return nh_rd_ok(&run->data) ? NH_OK : BAD(err, "the data of a window ended early");
}

static nh_rc window_run(struct nh_fw_vcdiff *d, const struct window *w, nh_slice sections, struct nh_err *err)
{
	struct run *run = nh_xcalloc(1, sizeof *run); /* the address caches are too large for a stack */
	run->d = d;
	run->w = w;
	run->data = nh_rd_of(nh_slice_sub(sections, 0, (size_t)w->data_len));
	run->codes = nh_rd_of(nh_slice_sub(sections, (size_t)w->data_len, (size_t)w->code_len));
	run->addresses = nh_rd_of(nh_slice_sub(sections, (size_t)(w->data_len + w->code_len), (size_t)w->address_len));
	nh_buf_truncate(&d->out, 0);
	nh_buf_reserve(&d->out, (size_t)w->target_len);
	nh_rc rc = nh_buf_check(&d->out, "window of a delta", err);
	while (rc == NH_OK && nh_rd_left(&run->codes) > 0) {
		struct half halves[2];
		code_of(nh_rd_u8(&run->codes), halves);
		rc = half_run(run, &halves[0], err);
		if (rc == NH_OK)
			rc = half_run(run, &halves[1], err);
	}
	if (rc == NH_OK && (d->out.len != w->target_len || nh_rd_left(&run->data) > 0 || nh_rd_left(&run->addresses) > 0))
		rc = BAD(err, "a window of %zu bytes; expected %llu", d->out.len, (unsigned long long)w->target_len);
	free(run);
	NH_TRY(rc);
	if (w->has_adler && adler32(adler32(0, NULL, 0), d->out.ptr, (uInt)d->out.len) != w->adler)
		return BAD(err, "target window checksum mismatch: is the old firmware what the delta was made for?");
	return d->out.len ? d->config.target(d->config.ctx, nh_buf_slice(&d->out), err) : NH_OK;
}

/* ---- feeding -------------------------------------------------------------------------------------------------------------------- */

/* The next header or window, if all of it is there. */
static nh_rc step(struct nh_fw_vcdiff *d, struct nh_err *err)
{
	struct nh_rd r = nh_rd_of(nh_buf_slice(&d->in));
	if (!d->headed) {
		NH_TRY(header_read(&r, err));
		d->headed = true;
		nh_buf_consume(&d->in, r.pos);
		return NH_OK;
	}
	struct window w;
	size_t at;
	if (d->in.len == 0)
		return NH_EAGAIN;
	NH_TRY(window_read(&r, &w, &at, err));
	size_t sections = (size_t)(w.data_len + w.code_len + w.address_len);
	if (d->in.len - at < sections)
		return NH_EAGAIN;
	NH_TRY(window_run(d, &w, nh_slice_sub(nh_buf_slice(&d->in), at, sections), err));
	nh_buf_consume(&d->in, at + sections);
	return NH_OK;
}

nh_rc nh_fw_vcdiff_feed(struct nh_fw_vcdiff *d, nh_slice bytes, struct nh_err *err)
{
	if (d->failed != NH_OK)
		return NH_FAIL(err, d->failed, "xdelta3 error: the patch failed already");
	nh_buf_put_slice(&d->in, bytes);
	nh_rc rc;
	while ((rc = step(d, err)) == NH_OK)
		continue;
	if (rc == NH_EAGAIN)
		return NH_OK;
	d->failed = rc;
	return rc;
}

nh_rc nh_fw_vcdiff_finish(struct nh_fw_vcdiff *d, struct nh_err *err)
{
	if (d->failed != NH_OK)
		return NH_FAIL(err, d->failed, "xdelta3 error: the patch failed already");
	return d->headed && d->in.len == 0 ? NH_OK : BAD(err, "the patch ended early");
}
