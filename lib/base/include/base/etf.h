/*
 * Erlang external term format: what shared-secret tokens, key files and a NervesKey's settings use. Sans-IO reader over a slice into a tree, writers into a buffer.
 *
 * Whoever reads checks kinds: terms that a peer's own software never writes come out as what they are, integers over 64 bits as NH_ETF_BIG for instance.
 * Not read: references, pids, ports, funs, and compressed terms (nothing that is read here is large, and base links no inflater).
 * thread: any.  source: reference/device-protocol "6.4", reference/nerveskey "10", reference/user-api-and-cli "18.4"
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

#define NH_ETF_DEPTH_MAX 16
#define NH_ETF_TERMS_MAX 10000
#define NH_ETF_ATOM_MAX 255 /* characters */

typedef enum nh_etf_kind {
	NH_ETF_INT,
	NH_ETF_BINARY,
	NH_ETF_ATOM,
	NH_ETF_TUPLE,
	NH_ETF_LIST,
	NH_ETF_MAP,
	NH_ETF_FLOAT,
	NH_ETF_BIG,  /* an integer that does not fit 64 bits */
	NH_ETF_BITS, /* a bit string that is no binary */
} nh_etf_kind;

struct nh_etf {
	nh_etf_kind kind;
	int64_t number;       /* INT; BIG: 1 where negative; BITS: bits of the last byte that count, 1 to 8, from the top */
	double real;          /* FLOAT: finite */
	nh_slice bytes;       /* BINARY, BITS, BIG (magnitude, least significant byte first, no zeros on top), ATOM (UTF-8): view into the input or memory of the arena */
	struct nh_etf *items; /* TUPLE, LIST: count elements; MAP: 2*count, key then value */
	size_t count;
	struct nh_etf *tail;  /* LIST: NULL where proper, else what stands in place of its end (never a list) */
};

/* nh_etf_parse - one whole term with its version byte 131. At most depth 16 and 10 000 terms. NH_EFORMAT, NH_EUNSUPPORTED, NH_ETOOBIG. */
nh_rc nh_etf_parse(struct nh_arena *arena, nh_slice bytes, struct nh_etf **out, struct nh_err *err);
/* nh_etf_parse_first - the same where anything may follow: *used bytes were the term. */
nh_rc nh_etf_parse_first(struct nh_arena *arena, nh_slice bytes, struct nh_etf **out, size_t *used, struct nh_err *err);
const struct nh_etf *nh_etf_map_get(const struct nh_etf *map, const char *atom_key); /* NULL if absent */

/*
 * nh_etf_put - appends version byte and term as Erlang/OTP 25 would: lists of bytes as strings, ASCII atoms with the old tag, which every release reads. A tree that did not come from nh_etf_parse keeps
 * its rules: finite floats, atoms of at most NH_ETF_ATOM_MAX characters of UTF-8, BIG magnitudes and tails as above.
 */
void nh_etf_put(struct nh_buf *b, const struct nh_etf *term);

/* Writing piece by piece, in the order of the bytes: the version once, then one term. Atoms at most 255 bytes of ASCII. */
void nh_etf_put_version(struct nh_buf *b);
void nh_etf_put_int(struct nh_buf *b, int64_t v);
void nh_etf_put_binary(struct nh_buf *b, nh_slice bytes);
void nh_etf_put_atom(struct nh_buf *b, const char *name);
void nh_etf_put_tuple(struct nh_buf *b, uint8_t arity); /* followed by that many terms */
void nh_etf_put_map(struct nh_buf *b, uint32_t pairs);  /* followed by key, value … */
