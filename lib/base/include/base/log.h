/*
 * Structured log lines: one line per event, `time level event key=value…`, to a sink the program chooses (default: stderr, level info).
 * Event names are stable ("device.join"). Values are quoted when needed; control characters are escaped, so no input can forge a line.
 * Never pass a secret. thread: any.
 *
 *   NH_LOG(NH_LOG_INFO, "device.join", NH_S("device", identifier), NH_I("org_id", id), NH_STR("why", cstr));
 */
#pragma once

#include "base/slice.h"

typedef enum nh_log_level { NH_LOG_DEBUG, NH_LOG_INFO, NH_LOG_WARN, NH_LOG_ERROR } nh_log_level;

struct nh_log_field {
	const char *key;
	nh_slice text;  /* used when kind is 's' */
	int64_t number; /* used when kind is 'i' */
	char kind;      /* 's', 'i'; 0 ends the list */
};

#define NH_S(k, slice) ((struct nh_log_field){.key = (k), .text = (slice), .kind = 's'})
#define NH_STR(k, cstr) ((struct nh_log_field){.key = (k), .text = nh_slice_str(cstr), .kind = 's'})
#define NH_I(k, n) ((struct nh_log_field){.key = (k), .number = (int64_t)(n), .kind = 'i'})
#define NH_LOG(level, event, ...)                                                                         \
	(nh_log_enabled(level) ? nh_log_write((level), (event), (const struct nh_log_field[]){__VA_ARGS__ __VA_OPT__(, ) {0}}) : (void)0)

/* Whether lines of that level are written. What NH_LOG calls: fields end with kind 0; everything is copied before it returns. The least level written. */
bool nh_log_enabled(nh_log_level level);
void nh_log_write(nh_log_level level, const char *event, const struct nh_log_field *fields);
void nh_log_set_level(nh_log_level level);
bool nh_log_level_parse(nh_slice text, nh_log_level *out); /* debug info warn(ing) error; false otherwise */
/* The sink gets a whole line with its LF; NULL restores stderr. Called under a lock. */
void nh_log_set_sink(void (*sink)(void *ctx, nh_log_level level, nh_slice line), void *ctx);
