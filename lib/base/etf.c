/*
 * Erlang external terms: reading into an arena tree with caps on depth and count, writing piece by piece or a whole tree. Strings in lists of bytes
 * (STRING_EXT) become lists of integers, as they are. No compressed terms, references, pids or funs: nothing here is ever asked to make an atom.
 *
 * source: reference/device-protocol "6.4", reference/nerveskey "10"
 */
#include "base/etf.h"

#include <math.h>
#include <stdlib.h>

#include "base/cursor.h"

#define DEPTH_MAX NH_ETF_DEPTH_MAX
#define TERMS_MAX NH_ETF_TERMS_MAX

enum tag {
	TAG_VERSION = 131,
	TAG_NEW_FLOAT = 70,
	TAG_BIT_BINARY = 77,
	TAG_COMPRESSED = 80,
	TAG_SMALL_INTEGER = 97,
	TAG_INTEGER = 98,
	TAG_FLOAT = 99,
	TAG_ATOM = 100,
	TAG_SMALL_TUPLE = 104,
	TAG_LARGE_TUPLE = 105,
	TAG_NIL = 106,
	TAG_STRING = 107,
	TAG_LIST = 108,
	TAG_BINARY = 109,
	TAG_SMALL_BIG = 110,
	TAG_LARGE_BIG = 111,
	TAG_SMALL_ATOM = 115,
	TAG_MAP = 116,
	TAG_ATOM_UTF8 = 118,
	TAG_SMALL_ATOM_UTF8 = 119,
};

struct reader {
	struct nh_rd rd;
	struct nh_arena *arena;
	struct nh_err *err;
	size_t terms;
};

static nh_rc read_term(struct reader *r, struct nh_etf *out, unsigned depth);

static nh_rc read_items(struct reader *r, struct nh_etf *out, nh_etf_kind kind, uint64_t count, unsigned depth)
{
	out->kind = kind;
	/* Every term takes a byte at least: a count beyond what is left is a lie, and must not become an allocation. */
	if (count > nh_rd_left(&r->rd))
		return NH_FAIL(r->err, NH_EFORMAT, "Erlang term is cut short");
	if (count > TERMS_MAX - r->terms)
		return NH_FAIL(r->err, NH_ETOOBIG, "Erlang term has more than %d parts", TERMS_MAX);
	out->items = NH_NEW_ARRAY(r->arena, (size_t)count, struct nh_etf);
	out->count = (size_t)count;
	for (size_t i = 0; i < out->count; i++)
		NH_TRY(read_term(r, &out->items[i], depth + 1));
	return NH_OK;
}

static nh_rc read_list(struct reader *r, struct nh_etf *out, unsigned depth)
{
	uint32_t count = nh_rd_u32be(&r->rd);
	NH_TRY(read_items(r, out, NH_ETF_LIST, count, depth));
	if (nh_rd_left(&r->rd) && nh_rd_peek(&r->rd) == TAG_NIL) {
		nh_rd_skip(&r->rd, 1);
		return NH_OK;
	}
	struct nh_etf *tail = NH_NEW(r->arena, struct nh_etf);
	NH_TRY(read_term(r, tail, depth + 1));
	/* A tail that is a list is more of the same list; nobody writes it so, and nobody here needs it. */
	if (tail->kind == NH_ETF_LIST || out->count == 0)
		return NH_FAIL(r->err, NH_EUNSUPPORTED, "Erlang term holds a list in two pieces");
	out->tail = tail;
	return NH_OK;
}

static nh_rc read_string(struct reader *r, struct nh_etf *out)
{
	nh_slice bytes = nh_rd_bytes(&r->rd, nh_rd_u16be(&r->rd));
	if (bytes.len > TERMS_MAX - r->terms)
		return NH_FAIL(r->err, NH_ETOOBIG, "Erlang term has more than %d parts", TERMS_MAX);
	r->terms += bytes.len;
	*out = (struct nh_etf){.kind = NH_ETF_LIST, .items = NH_NEW_ARRAY(r->arena, bytes.len, struct nh_etf), .count = bytes.len};
	for (size_t i = 0; i < bytes.len; i++)
		out->items[i] = (struct nh_etf){.kind = NH_ETF_INT, .number = bytes.ptr[i]};
	return NH_OK;
}

static nh_rc read_big(struct reader *r, struct nh_etf *out, size_t len)
{
	uint8_t sign = nh_rd_u8(&r->rd);
	nh_slice bytes = nh_rd_bytes(&r->rd, len);
	if (sign > 1)
		return NH_FAIL(r->err, NH_EFORMAT, "Erlang term holds a broken integer");
	while (bytes.len && bytes.ptr[bytes.len - 1] == 0)
		bytes.len--;
	uint64_t v = 0;
	for (size_t i = bytes.len < 8 ? bytes.len : 8; i > 0; i--)
		v = v << 8 | bytes.ptr[i - 1];
	if (bytes.len > 8 || v > (uint64_t)INT64_MAX + sign)
		*out = (struct nh_etf){.kind = NH_ETF_BIG, .bytes = bytes, .number = sign};
	else
		*out = (struct nh_etf){.kind = NH_ETF_INT, .number = sign ? (int64_t)(0 - v) : (int64_t)v};
	return NH_OK;
}

static void read_bytes(struct reader *r, struct nh_etf *out, nh_etf_kind kind, size_t len)
{
	*out = (struct nh_etf){.kind = kind, .bytes = nh_rd_bytes(&r->rd, len)};
}

/* Erlang's own limit, in characters: what is longer was written by no Erlang and is read by none. */
static nh_rc check_atom(struct reader *r, const struct nh_etf *atom)
{
	size_t characters = 0;
	for (size_t i = 0; i < atom->bytes.len; i++)
		characters += (atom->bytes.ptr[i] & 0xC0) != 0x80;
	if (!nh_utf8_valid(atom->bytes))
		return NH_FAIL(r->err, NH_EFORMAT, "Erlang term holds an atom that is not UTF-8");
	return characters <= NH_ETF_ATOM_MAX ? NH_OK : NH_FAIL(r->err, NH_EFORMAT, "Erlang term holds an atom of over %d characters", NH_ETF_ATOM_MAX);
}

/* Latin-1 atoms come out as UTF-8 like the others; most are ASCII and stay where they are. */
static nh_rc read_latin1(struct reader *r, struct nh_etf *out, size_t len)
{
	read_bytes(r, out, NH_ETF_ATOM, len);
	size_t high = 0;
	for (size_t i = 0; i < out->bytes.len; i++)
		high += out->bytes.ptr[i] >> 7;
	if (!high)
		return check_atom(r, out);
	uint8_t *text = NH_NEW_ARRAY(r->arena, out->bytes.len + high, uint8_t);
	size_t at = 0;
	for (size_t i = 0; i < out->bytes.len; i++) {
		uint8_t c = out->bytes.ptr[i];
		if (c >> 7)
			text[at++] = (uint8_t)(0xC0 | c >> 6);
		text[at++] = c >> 7 ? (uint8_t)(0x80 | (c & 0x3F)) : c;
	}
	out->bytes = nh_slice_of(text, at);
	return check_atom(r, out);
}

static nh_rc read_utf8(struct reader *r, struct nh_etf *out, size_t len)
{
	read_bytes(r, out, NH_ETF_ATOM, len);
	return check_atom(r, out);
}

static nh_rc read_bits(struct reader *r, struct nh_etf *out)
{
	size_t len = nh_rd_u32be(&r->rd);
	uint8_t last = nh_rd_u8(&r->rd);
	read_bytes(r, out, NH_ETF_BITS, len);
	out->number = last;
	return last >= 1 && last <= 8 && len > 0 ? NH_OK : NH_FAIL(r->err, NH_EFORMAT, "Erlang term holds a broken bit string");
}

static nh_rc check_real(struct reader *r, const struct nh_etf *f)
{
	return isfinite(f->real) ? NH_OK : NH_FAIL(r->err, NH_EFORMAT, "Erlang term holds a float that is no number");
}

static nh_rc read_float(struct reader *r, struct nh_etf *out)
{
	union {
		uint64_t bits;
		double real;
	} v = {.bits = nh_rd_u64be(&r->rd)};
	*out = (struct nh_etf){.kind = NH_ETF_FLOAT, .real = v.real};
	return check_real(r, out);
}

static nh_rc read_old_float(struct reader *r, struct nh_etf *out)
{
	nh_slice text = nh_rd_bytes(&r->rd, 31); /* "%.20e", filled with NULs */
	char *digits = nh_arena_str(r->arena, text), *end = digits;
	*out = (struct nh_etf){.kind = NH_ETF_FLOAT};
	out->real = strtod(digits, &end);
	if (nh_rd_ok(&r->rd) && (end == digits || *end))
		return NH_FAIL(r->err, NH_EFORMAT, "Erlang term holds a float that is no number");
	return check_real(r, out);
}

static nh_rc read_term(struct reader *r, struct nh_etf *out, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return NH_FAIL(r->err, NH_ETOOBIG, "Erlang term is nested deeper than %d levels", DEPTH_MAX);
	if (++r->terms > TERMS_MAX)
		return NH_FAIL(r->err, NH_ETOOBIG, "Erlang term has more than %d parts", TERMS_MAX);
	nh_rc rc = NH_OK;
	uint8_t tag = nh_rd_u8(&r->rd);
	if (!nh_rd_ok(&r->rd))
		return NH_FAIL(r->err, NH_EFORMAT, "Erlang term is cut short");
	switch ((enum tag)tag) {
	case TAG_SMALL_INTEGER: *out = (struct nh_etf){.kind = NH_ETF_INT, .number = nh_rd_u8(&r->rd)}; break;
	case TAG_INTEGER: *out = (struct nh_etf){.kind = NH_ETF_INT, .number = (int32_t)nh_rd_u32be(&r->rd)}; break;
	case TAG_SMALL_BIG: rc = read_big(r, out, nh_rd_u8(&r->rd)); break;
	case TAG_LARGE_BIG: rc = read_big(r, out, nh_rd_u32be(&r->rd)); break;
	case TAG_NEW_FLOAT: rc = read_float(r, out); break;
	case TAG_FLOAT: rc = read_old_float(r, out); break;
	case TAG_BIT_BINARY: rc = read_bits(r, out); break;
	case TAG_BINARY: read_bytes(r, out, NH_ETF_BINARY, nh_rd_u32be(&r->rd)); break;
	case TAG_ATOM: rc = read_latin1(r, out, nh_rd_u16be(&r->rd)); break;
	case TAG_ATOM_UTF8: rc = read_utf8(r, out, nh_rd_u16be(&r->rd)); break;
	case TAG_SMALL_ATOM: rc = read_latin1(r, out, nh_rd_u8(&r->rd)); break;
	case TAG_SMALL_ATOM_UTF8: rc = read_utf8(r, out, nh_rd_u8(&r->rd)); break;
	case TAG_SMALL_TUPLE: rc = read_items(r, out, NH_ETF_TUPLE, nh_rd_u8(&r->rd), depth); break;
	case TAG_LARGE_TUPLE: rc = read_items(r, out, NH_ETF_TUPLE, nh_rd_u32be(&r->rd), depth); break;
	case TAG_NIL: *out = (struct nh_etf){.kind = NH_ETF_LIST}; break;
	case TAG_STRING: rc = read_string(r, out); break;
	case TAG_LIST: rc = read_list(r, out, depth); break;
	case TAG_MAP:
		rc = read_items(r, out, NH_ETF_MAP, (uint64_t)nh_rd_u32be(&r->rd) * 2, depth);
		out->count /= 2;
		break;
	case TAG_COMPRESSED: return NH_FAIL(r->err, NH_EUNSUPPORTED, "Erlang term is compressed; write it without compression");
	default: return NH_FAIL(r->err, NH_EUNSUPPORTED, "Erlang term of type %u is not supported", tag);
	}
	if (rc == NH_OK && !nh_rd_ok(&r->rd))
		rc = NH_FAIL(r->err, NH_EFORMAT, "Erlang term is cut short");
	return rc;
}

nh_rc nh_etf_parse_first(struct nh_arena *arena, nh_slice bytes, struct nh_etf **out, size_t *used, struct nh_err *err)
{
	struct reader r = {.rd = nh_rd_of(bytes), .arena = arena, .err = err};
	*out = NULL;
	*used = 0;
	if (nh_rd_u8(&r.rd) != TAG_VERSION)
		return NH_FAIL(err, NH_EFORMAT, "not an Erlang external term (first byte is not 131)");
	struct nh_etf *term = NH_NEW(arena, struct nh_etf);
	NH_TRY(read_term(&r, term, 0));
	*out = term;
	*used = r.rd.pos;
	return NH_OK;
}

nh_rc nh_etf_parse(struct nh_arena *arena, nh_slice bytes, struct nh_etf **out, struct nh_err *err)
{
	size_t used = 0;
	NH_TRY(nh_etf_parse_first(arena, bytes, out, &used, err));
	if (used == bytes.len)
		return NH_OK;
	*out = NULL;
	return NH_FAIL(err, NH_EFORMAT, "%zu bytes behind the Erlang term", bytes.len - used);
}

const struct nh_etf *nh_etf_map_get(const struct nh_etf *map, const char *atom_key)
{
	if (!map || map->kind != NH_ETF_MAP)
		return NULL;
	for (size_t i = 0; i < map->count; i++)
		if (map->items[2 * i].kind == NH_ETF_ATOM && nh_slice_eq_str(map->items[2 * i].bytes, atom_key))
			return &map->items[2 * i + 1];
	return NULL;
}

void nh_etf_put_version(struct nh_buf *b) { nh_buf_put_u8(b, TAG_VERSION); }

void nh_etf_put_int(struct nh_buf *b, int64_t v)
{
	if (v >= 0 && v <= 255) {
		nh_buf_put_u8(b, TAG_SMALL_INTEGER);
		nh_buf_put_u8(b, (uint8_t)v);
		return;
	}
	if (v >= INT32_MIN && v <= INT32_MAX) {
		nh_buf_put_u8(b, TAG_INTEGER);
		nh_wr_u32be(b, (uint32_t)v);
		return;
	}
	uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	uint8_t len = 0;
	while (len < 8 && magnitude >> (8 * len))
		len++;
	nh_buf_put_u8(b, TAG_SMALL_BIG);
	nh_buf_put_u8(b, len);
	nh_buf_put_u8(b, v < 0);
	for (unsigned i = 0; i < len; i++)
		nh_buf_put_u8(b, (uint8_t)(magnitude >> (8 * i)));
}

void nh_etf_put_binary(struct nh_buf *b, nh_slice bytes)
{
	nh_buf_put_u8(b, TAG_BINARY);
	nh_wr_u32be(b, (uint32_t)bytes.len);
	nh_buf_put_slice(b, bytes);
}

void nh_etf_put_atom(struct nh_buf *b, const char *name)
{
	size_t len = strlen(name);
	NH_ASSERT(len <= 255);
	nh_buf_put_u8(b, TAG_SMALL_ATOM_UTF8);
	nh_buf_put_u8(b, (uint8_t)len);
	nh_buf_put(b, name, len);
}

void nh_etf_put_tuple(struct nh_buf *b, uint8_t arity)
{
	nh_buf_put_u8(b, TAG_SMALL_TUPLE);
	nh_buf_put_u8(b, arity);
}

void nh_etf_put_map(struct nh_buf *b, uint32_t pairs)
{
	nh_buf_put_u8(b, TAG_MAP);
	nh_wr_u32be(b, pairs);
}

/* ---- a whole tree */

static void put_term(struct nh_buf *b, const struct nh_etf *t);

static void put_items(struct nh_buf *b, const struct nh_etf *t, size_t count)
{
	for (size_t i = 0; i < count; i++)
		put_term(b, &t->items[i]);
}

static void put_float(struct nh_buf *b, double real)
{
	union {
		double real;
		uint64_t bits;
	} v = {.real = real};
	nh_buf_put_u8(b, TAG_NEW_FLOAT);
	nh_wr_u64be(b, v.bits);
}

static void put_big(struct nh_buf *b, const struct nh_etf *t)
{
	if (t->bytes.len <= 255) {
		nh_buf_put_u8(b, TAG_SMALL_BIG);
		nh_buf_put_u8(b, (uint8_t)t->bytes.len);
	} else {
		nh_buf_put_u8(b, TAG_LARGE_BIG);
		nh_wr_u32be(b, (uint32_t)t->bytes.len);
	}
	nh_buf_put_u8(b, t->number != 0);
	nh_buf_put_slice(b, t->bytes);
}

/* The old tag where the text is ASCII, since every Erlang reads it: releases before 26 write it themselves. */
static void put_atom_text(struct nh_buf *b, nh_slice text)
{
	bool ascii = true;
	for (size_t i = 0; i < text.len; i++)
		ascii = ascii && text.ptr[i] < 0x80;
	NH_ASSERT(text.len <= UINT16_MAX);
	if (!ascii && text.len <= 255) {
		nh_buf_put_u8(b, TAG_SMALL_ATOM_UTF8);
		nh_buf_put_u8(b, (uint8_t)text.len);
	} else {
		nh_buf_put_u8(b, ascii ? TAG_ATOM : TAG_ATOM_UTF8);
		nh_wr_u16be(b, (uint16_t)text.len);
	}
	nh_buf_put_slice(b, text);
}

static bool all_bytes(const struct nh_etf *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].kind != NH_ETF_INT || list->items[i].number < 0 || list->items[i].number > 255)
			return false;
	return list->count > 0 && list->count <= UINT16_MAX && !list->tail;
}

static void put_list(struct nh_buf *b, const struct nh_etf *t)
{
	if (all_bytes(t)) {
		nh_buf_put_u8(b, TAG_STRING);
		nh_wr_u16be(b, (uint16_t)t->count);
		for (size_t i = 0; i < t->count; i++)
			nh_buf_put_u8(b, (uint8_t)t->items[i].number);
		return;
	}
	if (t->count) {
		nh_buf_put_u8(b, TAG_LIST);
		nh_wr_u32be(b, (uint32_t)t->count);
		put_items(b, t, t->count);
	}
	if (t->tail)
		put_term(b, t->tail);
	else
		nh_buf_put_u8(b, TAG_NIL);
}

static void put_bits(struct nh_buf *b, const struct nh_etf *t)
{
	nh_buf_put_u8(b, TAG_BIT_BINARY);
	nh_wr_u32be(b, (uint32_t)t->bytes.len);
	nh_buf_put_u8(b, (uint8_t)t->number);
	nh_buf_put_slice(b, t->bytes);
}

static void put_tuple(struct nh_buf *b, const struct nh_etf *t)
{
	if (t->count <= 255) {
		nh_etf_put_tuple(b, (uint8_t)t->count);
	} else {
		nh_buf_put_u8(b, TAG_LARGE_TUPLE);
		nh_wr_u32be(b, (uint32_t)t->count);
	}
	put_items(b, t, t->count);
}

static void put_term(struct nh_buf *b, const struct nh_etf *t)
{
	switch (t->kind) {
	case NH_ETF_INT: nh_etf_put_int(b, t->number); break;
	case NH_ETF_BIG: put_big(b, t); break;
	case NH_ETF_FLOAT: put_float(b, t->real); break;
	case NH_ETF_BINARY: nh_etf_put_binary(b, t->bytes); break;
	case NH_ETF_BITS: put_bits(b, t); break;
	case NH_ETF_ATOM: put_atom_text(b, t->bytes); break;
	case NH_ETF_TUPLE: put_tuple(b, t); break;
	case NH_ETF_LIST: put_list(b, t); break;
	case NH_ETF_MAP:
		nh_etf_put_map(b, (uint32_t)t->count);
		put_items(b, t, 2 * t->count);
		break;
	}
}

void nh_etf_put(struct nh_buf *b, const struct nh_etf *term)
{
	nh_etf_put_version(b);
	put_term(b, term);
}
