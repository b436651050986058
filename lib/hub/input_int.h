/*
 * What the rules on people's input share: refusals in the shape the API shows, and reading of names and texts. Private to hub.
 */
#pragma once

#include "hub/hub.h"

/*
 * nh_refuse - notes a refusal and returns rc. field NULL: {"detail":text}, else {"field":[text]}. Adds to *errors where it holds some already; errors
 * may be NULL. err's message is "field text".
 */
[[gnu::format(printf, 5, 6)]] nh_rc nh_refuse(json_t **errors, struct nh_err *err, nh_rc rc, const char *field, const char *fmt, ...);

nh_slice nh_input_name(struct nh_arena *arena, nh_slice text);  /* runs of blanks become one, none at the ends */
bool nh_input_text_ok(nh_slice text, size_t max_bytes);         /* UTF-8, no NUL, not longer */
bool nh_input_name_ok(nh_slice text, size_t max_bytes);         /* and no control character, no '/' */
size_t nh_input_characters(nh_slice text);                      /* of valid UTF-8 */
nh_slice nh_input_lower(struct nh_arena *arena, nh_slice text); /* ASCII letters */
/* nh_text_cut - at most max_bytes of valid UTF-8, never in the middle of a character, a cut marked by "…". */
nh_slice nh_text_cut(struct nh_arena *arena, nh_slice text, size_t max_bytes);

/* nh_input_optional_text - field of an object that may be absent (false), null or a string. NH_EINVAL "is invalid" for another type or over max. */
nh_rc nh_input_optional_text(struct nh_arena *arena, const json_t *fields, const char *key, size_t max_bytes, bool *present, nh_slice *out,
                             json_t **errors, struct nh_err *err);

/*
 * nh_input_bool, nh_input_integer - a JSON value, or the text that a form or an older client sends in its place: "true", "1", "false", "0"; decimal digits. false: neither (and *out is as
 * it was). value may be NULL. source: reference/user-api-and-cli "1" (bodies), upstream casts both
 */
bool nh_input_bool(const json_t *value, bool *out);
bool nh_input_integer(const json_t *value, int64_t *out);

/* nh_input_pem - base64 of PEM text to a parsed certificate. NH_EFORMAT: not base64. NH_EINVAL: detail "Error decoding certificate". */
struct nh_cert;
nh_rc nh_input_certificate(nh_slice base64_pem, struct nh_cert **out, json_t **errors, struct nh_err *err);

/* nh_org_name_check - NH_EINVAL with *errors "name": blank, not [A-Za-z0-9_-]+, over NH_NAME_MAX_BYTES. orgs.c */
nh_rc nh_org_name_check(nh_slice name, json_t **errors, struct nh_err *err);

/* nh_query_id - a statement that returns an id in its first row. NH_ENOTFOUND where there is none. */
nh_rc nh_query_id(struct nh_tx *tx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, int64_t *out, struct nh_err *err);

#define NH_NAME_MAX_BYTES 255
#define NH_TEXT_MAX_BYTES 65536
