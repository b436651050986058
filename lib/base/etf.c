/*
 * Erlang external terms: reading into an arena tree with caps on depth and count, writing piece by piece. Strings in lists of bytes (STRING_EXT)
 * become lists of integers, as they are. No compressed terms, references, pids or funs: nothing here is ever asked to make an atom.
 *
 * source: reference/device-protocol "6.4"
 */
#include "base/etf.h"

#include <stdlib.h>

#include "base/cursor.h"

#define DEPTH_MAX 16
#define TERMS_MAX 10000

enum tag {
	TAG_VERSION = 131,
	TAG_NEW_FLOAT = 70,
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
	if (nh_rd_u8(&r->rd) != TAG_NIL)
		return NH_FAIL(r->err, NH_EUNSUPPORTED, "Erlang term holds an improper list");
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

static nh_rc read_big(struct reader *r, struct nh_etf *out)
{
	size_t len = nh_rd_u8(&r->rd);
	uint8_t sign = nh_rd_u8(&r->rd);
	nh_slice bytes = nh_rd_bytes(&r->rd, len);
	uint64_t v = 0;
	for (size_t i = bytes.len; i > 0; i--) {
		if (v >> 56)
			return NH_FAIL(r->err, NH_EUNSUPPORTED, "Erlang term holds an integer over 64 bits");
		v = v << 8 | bytes.ptr[i - 1];
	}
	if (sign > 1)
		return NH_FAIL(r->err, NH_EFORMAT, "Erlang term holds a broken integer");
	if (v > (uint64_t)INT64_MAX + sign)
		return NH_FAIL(r->err, NH_EUNSUPPORTED, "Erlang term holds an integer over 64 bits");
	*out = (struct nh_etf){.kind = NH_ETF_INT, .number = sign ? (int64_t)(0 - v) : (int64_t)v};
	return NH_OK;
}

static void read_bytes(struct reader *r, struct nh_etf *out, nh_etf_kind kind, size_t len)
{
	*out = (struct nh_etf){.kind = kind, .bytes = nh_rd_bytes(&r->rd, len)};
}

static void read_float(struct reader *r, struct nh_etf *out)
{
	union {
		uint64_t bits;
		double real;
	} v = {.bits = nh_rd_u64be(&r->rd)};
	*out = (struct nh_etf){.kind = NH_ETF_FLOAT, .real = v.real};
}

static void read_old_float(struct reader *r, struct nh_etf *out)
{
	nh_slice text = nh_rd_bytes(&r->rd, 31); /* "%.20e", filled with NULs */
	*out = (struct nh_etf){.kind = NH_ETF_FLOAT};
	out->real = strtod(nh_arena_str(r->arena, text), NULL);
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
	case TAG_SMALL_BIG: rc = read_big(r, out); break;
	case TAG_NEW_FLOAT: read_float(r, out); break;
	case TAG_FLOAT: read_old_float(r, out); break;
	case TAG_BINARY: read_bytes(r, out, NH_ETF_BINARY, nh_rd_u32be(&r->rd)); break;
	case TAG_ATOM:
	case TAG_ATOM_UTF8: read_bytes(r, out, NH_ETF_ATOM, nh_rd_u16be(&r->rd)); break;
	case TAG_SMALL_ATOM:
	case TAG_SMALL_ATOM_UTF8: read_bytes(r, out, NH_ETF_ATOM, nh_rd_u8(&r->rd)); break;
	case TAG_SMALL_TUPLE: rc = read_items(r, out, NH_ETF_TUPLE, nh_rd_u8(&r->rd), depth); break;
	case TAG_LARGE_TUPLE: rc = read_items(r, out, NH_ETF_TUPLE, nh_rd_u32be(&r->rd), depth); break;
	case TAG_NIL: *out = (struct nh_etf){.kind = NH_ETF_LIST}; break;
	case TAG_STRING: rc = read_string(r, out); break;
	case TAG_LIST: rc = read_list(r, out, depth); break;
	case TAG_MAP:
		rc = read_items(r, out, NH_ETF_MAP, (uint64_t)nh_rd_u32be(&r->rd) * 2, depth);
		out->count /= 2;
		break;
	default: return NH_FAIL(r->err, NH_EUNSUPPORTED, "Erlang term of type %u is not supported", tag);
	}
	if (rc == NH_OK && !nh_rd_ok(&r->rd))
		rc = NH_FAIL(r->err, NH_EFORMAT, "Erlang term is cut short");
	return rc;
}

nh_rc nh_etf_parse(struct nh_arena *arena, nh_slice bytes, struct nh_etf **out, struct nh_err *err)
{
	struct reader r = {.rd = nh_rd_of(bytes), .arena = arena, .err = err};
	*out = NULL;
	if (nh_rd_u8(&r.rd) != TAG_VERSION)
		return NH_FAIL(err, NH_EFORMAT, "not an Erlang external term (first byte is not 131)");
	struct nh_etf *term = NH_NEW(arena, struct nh_etf);
	NH_TRY(read_term(&r, term, 0));
	if (nh_rd_left(&r.rd))
		return NH_FAIL(err, NH_EFORMAT, "%zu bytes behind the Erlang term", nh_rd_left(&r.rd));
	*out = term;
	return NH_OK;
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
