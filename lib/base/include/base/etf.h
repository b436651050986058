/*
 * Erlang external term format: the subset that NervesHub's shared-secret tokens, NervesKey settings and key files use
 * (small/large integers to 64 bit, binaries, atoms, tuples, lists, nil, maps, floats skipped). Sans-IO reader over a slice, writer into a buffer.
 * thread: any.  source: reference/device-protocol "6.4", reference/nerveskey (settings), reference/user-api-and-cli "18.4"
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

typedef enum nh_etf_kind { NH_ETF_INT, NH_ETF_BINARY, NH_ETF_ATOM, NH_ETF_TUPLE, NH_ETF_LIST, NH_ETF_MAP, NH_ETF_FLOAT } nh_etf_kind;

struct nh_etf {
	nh_etf_kind kind;
	int64_t number;          /* INT */
	double real;             /* FLOAT */
	nh_slice bytes;          /* BINARY, ATOM: view into the input */
	struct nh_etf *items;    /* TUPLE, LIST: count elements; MAP: 2*count, key then value */
	size_t count;
};

/* nh_etf_parse - one whole term with its version byte 131. At most depth 16 and 10 000 terms. NH_EFORMAT, NH_EUNSUPPORTED, NH_ETOOBIG. */
nh_rc nh_etf_parse(struct nh_arena *arena, nh_slice bytes, struct nh_etf **out, struct nh_err *err);
const struct nh_etf *nh_etf_map_get(const struct nh_etf *map, const char *atom_key); /* NULL if absent */

/* Writing, in the order of the bytes: the version once, then one term. Atoms at most 255 bytes of ASCII. */
void nh_etf_put_version(struct nh_buf *b);
void nh_etf_put_int(struct nh_buf *b, int64_t v);
void nh_etf_put_binary(struct nh_buf *b, nh_slice bytes);
void nh_etf_put_atom(struct nh_buf *b, const char *name);
void nh_etf_put_tuple(struct nh_buf *b, uint8_t arity); /* followed by that many terms */
void nh_etf_put_map(struct nh_buf *b, uint32_t pairs);  /* followed by key, value … */
