/*
 * JSON: jansson behind two doors. Reading is bounded (size, depth 64, strict UTF-8; of duplicate keys the last wins, as in Elixir) and writing
 * is compact UTF-8. `json_t` values are used directly by the rooms that build or read documents.
 * thread: any; a document belongs to one thread at a time.
 */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"

/* nh_json_parse - any JSON value (also scalars). *out is a new reference. NH_EFORMAT (message names line and column), NH_ETOOBIG beyond max_bytes. */
nh_rc nh_json_parse(nh_slice text, size_t max_bytes, json_t **out, struct nh_err *err);
void nh_json_put(struct nh_buf *out, const json_t *value);        /* compact, keys in insertion order */
void nh_json_put_pretty(struct nh_buf *out, const json_t *value); /* two-space indent, final LF */
/*
 * nh_json_put_canonical - as RFC 8785 has it: the same bytes for the same value, whoever wrote it. NH_EFORMAT: an integer beyond ±2^53, or nested deeper than 64. NH_ENOMEM.
 * What was appended until then stays. source: RFC 8785
 */
nh_rc nh_json_put_canonical(struct nh_buf *out, const json_t *value, struct nh_err *err);
void nh_json_put_string(struct nh_buf *out, nh_slice text);       /* quoted and escaped; invalid UTF-8 becomes U+FFFD */

/* Borrowed views; empty / default where the key is absent or of another type. */
nh_slice nh_json_text(const json_t *object, const char *key);
int64_t nh_json_int(const json_t *object, const char *key, int64_t fallback);
bool nh_json_bool(const json_t *object, const char *key, bool fallback);
/* New string value from a slice (NULL pointer → JSON null). Invalid UTF-8 is replaced, never refused. */
json_t *nh_json_new_text(nh_slice text);

/* For NH_AUTO_JSON: gives the reference back at the end of the scope; NULL is legal. */
static inline void nh_json_unref(json_t **v) { json_decref(*v); }
#define NH_AUTO_JSON __attribute__((cleanup(nh_json_unref)))
