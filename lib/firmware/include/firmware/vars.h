/*
 * Variables for `${NAME}` in configurations. The library never reads the process environment: a tool that wants it passes a lookup function,
 * a server passes nothing, so an uploaded meta.conf cannot see secrets.  thread: one at a time.  source: reference/fwup-format "2.4", "8.1"
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct nh_fw_vars;
/* lookup: asked for names that were not set here; returns a C string that stays valid, or NULL; may be NULL itself. */
struct nh_fw_vars *nh_fw_vars_new(const char *(*lookup)(void *ctx, const char *name), void *ctx);
void nh_fw_vars_free(struct nh_fw_vars *v);
void nh_fw_vars_set(struct nh_fw_vars *v, nh_slice name, nh_slice value); /* copies; replaces */
/* false where undefined. *value is borrowed until the next set of that name. A set but empty variable is defined. NULL v: nothing is defined. */
bool nh_fw_vars_get(const struct nh_fw_vars *v, nh_slice name, nh_slice *value);
/* nh_fw_eval - integer expression of define-eval; NH_EFORMAT with a message. source: reference/fwup-format "8.2" */
nh_rc nh_fw_eval(nh_slice expression, int64_t *out, struct nh_err *err);
/* nh_fw_parse_int - C notation, base 0 (0x…, 0…, decimal), sign allowed, whole text; u64 form: as strtoull, without sign. NH_EFORMAT */
nh_rc nh_fw_parse_int(nh_slice text, int64_t *out);
nh_rc nh_fw_parse_u64(nh_slice text, uint64_t *out);
