/*
 * Push reader of ZIP files, forward from their local headers.
 *
 * A small state machine: each state says how many bytes it needs, `gather` collects them across pieces, and the data states pass bytes through
 * without keeping them. Every length comes from input and is bounded before it is used; CRC-32, compressed and uncompressed lengths must
 * agree at the end of each member, wherever the archive states them (header or data descriptor). An error is sticky.
 * source: reference/fwup-format "1.3", "1.4"
 */
#include <stdlib.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/cursor.h"
#include "firmware/zip.h"

#define SIG_LOCAL 0x04034b50u
#define SIG_CENTRAL 0x02014b50u
#define SIG_END 0x06054b50u
#define SIG_END64 0x06064b50u
#define SIG_LOCATOR64 0x07064b50u
#define SIG_DESCRIPTOR 0x08074b50u

#define FLAG_ENCRYPTED 0x2041u /* encryption, strong encryption, masked headers */
#define FLAG_DESCRIPTOR 0x0008u
#define OUT_SIZE 65536u

typedef enum state {
	AT_SIGNATURE,
	AT_LOCAL,      /* fixed part behind the signature */
	AT_NAMES,      /* name and extra fields */
	AT_STORED,
	AT_STORED_SCAN,
	AT_DEFLATED,
	AT_DESCRIPTOR,
	AT_CENTRAL,
	AT_TAIL_SKIP,
	AT_END,
	AT_DONE,
	AT_ERROR,
} state;

struct nh_fw_zip_reader {
	struct nh_fw_zip_handler handler;
	bool whole;
	state state;
	nh_fw_fault fault;
	nh_rc rc;
	struct nh_err saved;
	struct nh_buf held;  /* bytes of an incomplete header */
	size_t need;

	uint32_t members;
	uint32_t central_entries;
	bool in_tail;        /* a record behind the members was seen: no further members */
	uint64_t skip;       /* AT_TAIL_SKIP */

	struct nh_buf name;
	struct nh_fw_member member;
	uint16_t flags;
	bool zip64;
	uint32_t head_crc;
	uint64_t head_compressed, head_size;
	uint64_t compressed, size; /* seen so far */
	uint32_t crc;
	bool inflating;
	z_stream z;
	uint8_t out[OUT_SIZE];
};

struct nh_fw_zip_reader *nh_fw_zip_reader_new(const struct nh_fw_zip_handler *handler, bool whole)
{
	struct nh_fw_zip_reader *z = nh_xcalloc(1, sizeof *z);
	z->handler = *handler;
	z->whole = whole;
	z->need = 4;
	z->held = NH_BUF_MAX(2 * 65536 + 1024);
	z->name = NH_BUF_MAX(NH_FW_NAME_MAX + 1);
	return z;
}

void nh_fw_zip_reader_free(struct nh_fw_zip_reader *z)
{
	if (!z)
		return;
	if (z->inflating)
		inflateEnd(&z->z);
	nh_buf_fini(&z->held);
	nh_buf_fini(&z->name);
	free(z);
}

nh_fw_fault nh_fw_zip_reader_fault(const struct nh_fw_zip_reader *z)
{
	return z->fault;
}

bool nh_fw_zip_reader_done(const struct nh_fw_zip_reader *z)
{
	return z->state == AT_DONE;
}

/* Fills err, keeps it for later calls, and stops the machine. */
#define REFUSE(z, err, fault_, rc_, ...) refuse((z), (err), (fault_), NH_FAIL(&(z)->saved, (rc_), __VA_ARGS__))

static nh_rc refuse(struct nh_fw_zip_reader *z, struct nh_err *err, nh_fw_fault fault, nh_rc rc)
{
	z->state = AT_ERROR;
	z->fault = fault;
	z->rc = rc;
	if (err)
		*err = z->saved;
	return rc;
}

/* The handler's own refusal: its message stays. */
static nh_rc handled(struct nh_fw_zip_reader *z, nh_rc rc, struct nh_err *err)
{
	if (rc == NH_OK)
		return NH_OK;
	if (err)
		z->saved = *err;
	z->state = AT_ERROR;
	z->fault = NH_FW_FAULT_CALLER;
	z->rc = rc;
	return rc;
}

static void go(struct nh_fw_zip_reader *z, state next, size_t need)
{
	z->state = next;
	z->need = need;
	nh_buf_clear(&z->held);
}

/* Moves bytes into `held` until it has `need` of them. True when complete. */
static bool gather(struct nh_fw_zip_reader *z, nh_slice *in)
{
	size_t missing = z->need - z->held.len;
	nh_slice part = nh_slice_sub(*in, 0, missing);
	nh_buf_put_slice(&z->held, part);
	*in = nh_slice_skip(*in, part.len);
	return z->held.len == z->need;
}

static nh_rc emit_data(struct nh_fw_zip_reader *z, nh_slice bytes, struct nh_err *err)
{
	if (bytes.len == 0)
		return NH_OK;
	z->crc = (uint32_t)crc32_z(z->crc, bytes.ptr, bytes.len);
	z->size += bytes.len;
	if (z->member.size_known && z->size > z->member.size)
		return REFUSE(z, err, NH_FW_FAULT_TAMPERED, NH_EFORMAT, "ZIP uncompressed data of '%.*s' is longer than its header says",
			      NH_ARG(z->member.name));
	return z->handler.data ? handled(z, z->handler.data(z->handler.ctx, bytes, err), err) : NH_OK;
}

static nh_rc emit_raw(struct nh_fw_zip_reader *z, nh_slice bytes, struct nh_err *err)
{
	z->compressed += bytes.len;
	return z->handler.raw && bytes.len ? handled(z, z->handler.raw(z->handler.ctx, bytes, err), err) : NH_OK;
}

static nh_rc member_end(struct nh_fw_zip_reader *z, uint32_t crc, uint64_t compressed, uint64_t size, struct nh_err *err)
{
	if (crc != z->crc)
		return REFUSE(z, err, NH_FW_FAULT_TAMPERED, NH_EFORMAT, "ZIP bad CRC: 0x%x should be 0x%x", z->crc, crc);
	if (compressed != z->compressed || size != z->size || (z->head_size && z->head_size != z->size) ||
	    (z->head_compressed && z->head_compressed != z->compressed))
		return REFUSE(z, err, NH_FW_FAULT_TAMPERED, NH_EFORMAT, "ZIP sizes of '%.*s' don't match its data", NH_ARG(z->member.name));
	if (z->handler.end)
		NH_TRY(handled(z, z->handler.end(z->handler.ctx, z->size, z->crc, err), err));
	z->members++;
	go(z, AT_SIGNATURE, 4);
	return NH_OK;
}

static nh_rc data_end(struct nh_fw_zip_reader *z, struct nh_err *err)
{
	if (!(z->flags & FLAG_DESCRIPTOR))
		return member_end(z, z->head_crc, z->head_compressed, z->head_size, err);
	/* The signature is optional: look at four bytes first. */
	go(z, AT_DESCRIPTOR, 4);
	return NH_OK;
}

static nh_rc at_descriptor(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	if (!gather(z, in))
		return NH_OK;
	struct nh_rd r = nh_rd_of(nh_buf_slice(&z->held));
	uint32_t first = nh_rd_u32le(&r);
	size_t sizes = z->zip64 ? 16 : 8;
	size_t total = (first == SIG_DESCRIPTOR ? 8 : 4) + sizes;
	if (z->need < total) {
		z->need = total;
		return NH_OK;
	}
	uint32_t crc = first == SIG_DESCRIPTOR ? nh_rd_u32le(&r) : first;
	uint64_t compressed = z->zip64 ? nh_rd_u64le(&r) : nh_rd_u32le(&r);
	uint64_t size = z->zip64 ? nh_rd_u64le(&r) : nh_rd_u32le(&r);
	return member_end(z, crc, compressed, size, err);
}

static nh_rc at_stored(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	uint64_t left = z->head_compressed - z->compressed;
	nh_slice part = nh_slice_sub(*in, 0, left > in->len ? in->len : (size_t)left);
	*in = nh_slice_skip(*in, part.len);
	NH_TRY(emit_raw(z, part, err));
	NH_TRY(emit_data(z, part, err));
	return z->compressed == z->head_compressed ? data_end(z, err) : NH_OK;
}

/* Does `held` begin with the descriptor of exactly the bytes seen so far? */
static bool descriptor_here(const struct nh_fw_zip_reader *z, nh_slice s)
{
	struct nh_rd r = nh_rd_of(s);
	if (nh_rd_u32le(&r) != SIG_DESCRIPTOR)
		return false;
	uint32_t crc = nh_rd_u32le(&r);
	uint64_t compressed = z->zip64 ? nh_rd_u64le(&r) : nh_rd_u32le(&r);
	uint64_t size = z->zip64 ? nh_rd_u64le(&r) : nh_rd_u32le(&r);
	return nh_rd_ok(&r) && crc == z->crc && compressed == z->compressed && size == z->size;
}

/* Stored, length not stated: the member ends where a fitting data descriptor stands. Keeps at most one descriptor's length of bytes. */
static nh_rc at_stored_scan(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	static const uint8_t mark[4] = {0x50, 0x4b, 0x07, 0x08};
	size_t length = z->zip64 ? 24 : 16;
	nh_slice part = nh_slice_sub(*in, 0, OUT_SIZE);
	nh_buf_put_slice(&z->held, part);
	*in = nh_slice_skip(*in, part.len);
	nh_slice held = nh_buf_slice(&z->held);
	for (;;) {
		ptrdiff_t at = nh_slice_find(held, nh_slice_of(mark, sizeof mark));
		/* Without a mark, the last three bytes may still be the beginning of one. */
		size_t data = at >= 0 ? (size_t)at : held.len > 3 ? held.len - 3 : 0;
		NH_TRY(emit_raw(z, nh_slice_sub(held, 0, data), err));
		NH_TRY(emit_data(z, nh_slice_sub(held, 0, data), err));
		held = nh_slice_skip(held, data);
		if (at < 0 || held.len < length)
			break;
		if (descriptor_here(z, nh_slice_sub(held, 0, length))) {
			/* What was read beyond the descriptor belongs to the next header. Bytes kept from earlier input are fewer than a
			 * descriptor, so all of it stands right before `in`. */
			size_t beyond = held.len - length;
			in->ptr -= beyond;
			in->len += beyond;
			return member_end(z, z->crc, z->compressed, z->size, err);
		}
		NH_TRY(emit_raw(z, nh_slice_sub(held, 0, 1), err));
		NH_TRY(emit_data(z, nh_slice_sub(held, 0, 1), err));
		held = nh_slice_skip(held, 1);
	}
	nh_buf_consume(&z->held, z->held.len - held.len);
	return NH_OK;
}

/* Inflates what there is. Output that did not fit is fetched before returning, since no further input may ever come. */
static nh_rc at_deflated(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	nh_slice part = nh_slice_sub(*in, 0, 1u << 30);
	if (z->head_compressed > 0 && part.len > z->head_compressed - z->compressed)
		part.len = (size_t)(z->head_compressed - z->compressed);
	if (part.len == 0)
		return REFUSE(z, err, NH_FW_FAULT_TAMPERED, NH_EFORMAT, "ZIP compressed data of '%.*s' is longer than its header says",
			      NH_ARG(z->member.name));
	int zrc;
	do {
		z->z.next_in = (Bytef *)(uintptr_t)part.ptr;
		z->z.avail_in = (uInt)part.len;
		z->z.next_out = z->out;
		z->z.avail_out = OUT_SIZE;
		zrc = inflate(&z->z, Z_NO_FLUSH);
		size_t used = part.len - z->z.avail_in;
		if (zrc != Z_OK && zrc != Z_STREAM_END && zrc != Z_BUF_ERROR)
			return REFUSE(z, err, NH_FW_FAULT_TAMPERED, NH_EFORMAT, "ZIP decompression failed (%d)", zrc);
		*in = nh_slice_skip(*in, used);
		NH_TRY(emit_raw(z, nh_slice_sub(part, 0, used), err));
		NH_TRY(emit_data(z, nh_slice_of(z->out, OUT_SIZE - z->z.avail_out), err));
		part = nh_slice_skip(part, used);
	} while (zrc == Z_OK && z->z.avail_out == 0);
	if (zrc == Z_STREAM_END) {
		inflateEnd(&z->z);
		z->inflating = false;
		return data_end(z, err);
	}
	return NH_OK;
}

/* Takes size, compressed size and time out of the extra fields. */
static nh_rc read_extra(struct nh_fw_zip_reader *z, nh_slice extra, struct nh_err *err)
{
	struct nh_rd r = nh_rd_of(extra);
	while (nh_rd_left(&r) >= 4) {
		uint16_t id = nh_rd_u16le(&r);
		struct nh_rd f = nh_rd_of(nh_rd_bytes(&r, nh_rd_u16le(&r)));
		if (nh_rd_ok(&r) && id == 0x0001) {
			z->zip64 = true;
			if (z->head_size == UINT32_MAX)
				z->head_size = nh_rd_u64le(&f);
			if (z->head_compressed == UINT32_MAX)
				z->head_compressed = nh_rd_u64le(&f);
			if (!nh_rd_ok(&f))
				return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Invalid ZIP64 extra field");
		} else if (nh_rd_ok(&r) && id == 0x5455 && (nh_rd_u8(&f) & 1)) {
			int32_t t = (int32_t)nh_rd_u32le(&f);
			if (nh_rd_ok(&f)) {
				z->member.has_mtime = true;
				z->member.mtime_s = t;
			}
		}
	}
	/* Fewer than four bytes at the end are padding some writers leave. */
	return nh_rd_ok(&r) ? NH_OK : REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Invalid extra fields in a ZIP local header");
}

static nh_rc start_data(struct nh_fw_zip_reader *z, struct nh_err *err)
{
	bool descriptor = z->flags & FLAG_DESCRIPTOR;
	z->member.size_known = !descriptor || z->head_size > 0;
	z->member.size = z->head_size;
	if (z->member.method == NH_FW_STORED && z->head_compressed != z->head_size)
		return REFUSE(z, err, NH_FW_FAULT_TAMPERED, NH_EFORMAT, "ZIP sizes of '%.*s' contradict each other", NH_ARG(z->member.name));
	if (z->handler.begin)
		NH_TRY(handled(z, z->handler.begin(z->handler.ctx, &z->member, err), err));
	if (z->member.method == NH_FW_DEFLATED) {
		z->z = (z_stream){0};
		if (inflateInit2(&z->z, -MAX_WBITS) != Z_OK)
			return REFUSE(z, err, NH_FW_FAULT_CALLER, NH_ENOMEM, "no memory to decompress");
		z->inflating = true;
		go(z, AT_DEFLATED, 0);
		return NH_OK;
	}
	if (descriptor && z->head_compressed == 0) {
		go(z, AT_STORED_SCAN, 0);
		return NH_OK;
	}
	go(z, AT_STORED, 0);
	return z->head_compressed == 0 ? data_end(z, err) : NH_OK;
}

static nh_rc at_names(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	if (!gather(z, in))
		return NH_OK;
	struct nh_rd r = nh_rd_of(nh_buf_slice(&z->held));
	nh_rd_skip(&r, 22);
	uint16_t name_len = nh_rd_u16le(&r), extra_len = nh_rd_u16le(&r);
	nh_slice name = nh_rd_bytes(&r, name_len);
	if (name.len == 0 || nh_slice_chr(name, 0) >= 0)
		return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Invalid member name in the ZIP file");
	nh_buf_clear(&z->name);
	nh_buf_put_slice(&z->name, name);
	z->member.name = nh_buf_slice(&z->name);
	NH_TRY(read_extra(z, nh_rd_bytes(&r, extra_len), err));
	return start_data(z, err);
}

static nh_rc at_local(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	if (!gather(z, in))
		return NH_OK;
	struct nh_rd r = nh_rd_of(nh_buf_slice(&z->held));
	nh_rd_skip(&r, 2);
	z->member = (struct nh_fw_member){0};
	z->flags = nh_rd_u16le(&r);
	uint16_t method = nh_rd_u16le(&r);
	z->member.dos_time = nh_rd_u16le(&r);
	z->member.dos_date = nh_rd_u16le(&r);
	z->head_crc = nh_rd_u32le(&r);
	z->head_compressed = nh_rd_u32le(&r);
	z->head_size = nh_rd_u32le(&r);
	size_t name_len = nh_rd_u16le(&r), extra_len = nh_rd_u16le(&r);
	z->compressed = z->size = 0;
	z->crc = 0;
	z->zip64 = false;
	if (z->flags & FLAG_ENCRYPTED)
		return REFUSE(z, err, NH_FW_FAULT_UNSUPPORTED, NH_EUNSUPPORTED, "Encrypted ZIP files aren't supported");
	if (method != NH_FW_STORED && method != NH_FW_DEFLATED)
		return REFUSE(z, err, NH_FW_FAULT_UNSUPPORTED, NH_EUNSUPPORTED, "Unsupported ZIP compression method (%u)", method);
	if (name_len > NH_FW_NAME_MAX)
		return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_ETOOBIG, "Name of a ZIP member has %zu bytes, the limit is %u", name_len,
			      NH_FW_NAME_MAX);
	z->member.method = (nh_fw_method)method;
	z->state = AT_NAMES; /* held stays: at_names reads the lengths again */
	z->need += name_len + extra_len;
	return NH_OK;
}

/* Behind the members. Only walked where the caller asked for a whole file. */
static nh_rc tail_signature(struct nh_fw_zip_reader *z, uint32_t sig, struct nh_err *err)
{
	if (!z->whole) {
		go(z, AT_DONE, 0);
		return NH_OK;
	}
	z->in_tail = true;
	switch (sig) {
	case SIG_CENTRAL: go(z, AT_CENTRAL, 42); return NH_OK;
	case SIG_END: go(z, AT_END, 18); return NH_OK;
	case SIG_END64: go(z, AT_TAIL_SKIP, 8); return NH_OK; /* its length follows */
	case SIG_LOCATOR64:
		go(z, AT_TAIL_SKIP, 0);
		z->skip = 16;
		return NH_OK;
	default: return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Unexpected bytes behind the members of the ZIP file");
	}
}

static nh_rc at_signature(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	if (!gather(z, in))
		return NH_OK;
	struct nh_rd r = nh_rd_of(nh_buf_slice(&z->held));
	uint32_t sig = nh_rd_u32le(&r);
	if (sig == SIG_LOCAL && !z->in_tail) {
		go(z, AT_LOCAL, 26);
		return NH_OK;
	}
	if (z->members == 0 && !z->in_tail && sig != SIG_END)
		return REFUSE(z, err, NH_FW_FAULT_NOT_ARCHIVE, NH_EFORMAT, "Unrecognized archive format");
	return tail_signature(z, sig, err);
}

static nh_rc at_central(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	if (!gather(z, in))
		return NH_OK;
	struct nh_rd r = nh_rd_of(nh_buf_slice(&z->held));
	nh_rd_skip(&r, 24);
	z->skip = (uint64_t)nh_rd_u16le(&r) + nh_rd_u16le(&r);
	z->skip += nh_rd_u16le(&r);
	z->central_entries++;
	go(z, AT_TAIL_SKIP, 0);
	return NH_OK;
}

static nh_rc at_tail_skip(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	if (z->need) { /* ZIP64 end record: 8 bytes of length first */
		if (!gather(z, in))
			return NH_OK;
		struct nh_rd r = nh_rd_of(nh_buf_slice(&z->held));
		z->skip = nh_rd_u64le(&r);
		if (z->skip > 65536)
			return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Invalid ZIP64 end record");
		go(z, AT_TAIL_SKIP, 0);
	}
	size_t n = z->skip > in->len ? in->len : (size_t)z->skip;
	*in = nh_slice_skip(*in, n);
	z->skip -= n;
	if (z->skip == 0)
		go(z, AT_SIGNATURE, 4);
	return NH_OK;
}

static nh_rc at_end(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err)
{
	if (!gather(z, in))
		return NH_OK;
	struct nh_rd r = nh_rd_of(nh_buf_slice(&z->held));
	nh_rd_skip(&r, 6);
	uint16_t entries = nh_rd_u16le(&r);
	nh_rd_skip(&r, 8);
	uint16_t comment = nh_rd_u16le(&r);
	if (z->central_entries != z->members || (entries != UINT16_MAX && entries != z->members))
		return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "The ZIP directory lists %u members, the file holds %u",
			      z->central_entries, z->members);
	if (comment)
		return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "ZIP comments aren't accepted in firmware archives");
	go(z, AT_DONE, 0);
	return NH_OK;
}

typedef nh_rc (*step)(struct nh_fw_zip_reader *z, nh_slice *in, struct nh_err *err);
static const step steps[] = {
	[AT_SIGNATURE] = at_signature, [AT_LOCAL] = at_local, [AT_NAMES] = at_names, [AT_STORED] = at_stored,
	[AT_STORED_SCAN] = at_stored_scan, [AT_DEFLATED] = at_deflated, [AT_DESCRIPTOR] = at_descriptor, [AT_CENTRAL] = at_central,
	[AT_TAIL_SKIP] = at_tail_skip, [AT_END] = at_end,
};

nh_rc nh_fw_zip_reader_feed(struct nh_fw_zip_reader *z, nh_slice bytes, struct nh_err *err)
{
	/* A step may finish without taking a byte only when its state can do so, which AT_STORED (length 0) and AT_TAIL_SKIP handle themselves. */
	while (bytes.len > 0 && z->state < AT_DONE)
		NH_TRY(steps[z->state](z, &bytes, err));
	if (z->state == AT_ERROR) {
		if (err)
			*err = z->saved;
		return z->rc;
	}
	if (z->whole && bytes.len > 0)
		return REFUSE(z, err, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "%zu bytes or more follow the end of the ZIP file", bytes.len);
	return NH_OK;
}

nh_rc nh_fw_zip_reader_finish(struct nh_fw_zip_reader *z, struct nh_err *err)
{
	if (z->state == AT_DONE)
		return NH_OK;
	if (z->state == AT_ERROR) {
		if (err)
			*err = z->saved;
		return z->rc;
	}
	if (z->state == AT_SIGNATURE && z->members == 0 && !z->in_tail)
		return REFUSE(z, err, z->held.len == 0 ? NH_FW_FAULT_NOT_ARCHIVE : NH_FW_FAULT_TRUNCATED, NH_EFORMAT, "Unrecognized archive format");
	if (z->state == AT_SIGNATURE || z->state >= AT_CENTRAL)
		return REFUSE(z, err, NH_FW_FAULT_TRUNCATED, NH_EFORMAT, "Truncated ZIP end-of-file record");
	if (z->state == AT_LOCAL || z->state == AT_NAMES)
		return REFUSE(z, err, NH_FW_FAULT_TRUNCATED, NH_EFORMAT, "Truncated ZIP file header");
	return REFUSE(z, err, NH_FW_FAULT_TRUNCATED, NH_EFORMAT, "Truncated ZIP file: it ends inside '%.*s'", NH_ARG(z->member.name));
}
