/*
 * Structured log lines: one line per event, `time level event key=value…` or a JSON object, to a sink the program chooses (default: stderr, level info).
 * Event names are stable ("device.join"). Values are quoted when needed; control characters are escaped, so no input can forge a line. What a thread is busy with for a while (a request, a
 * device) is a scope: its key stands in each line that is written meanwhile, unless the line has that key itself.
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
typedef enum nh_log_format { NH_LOG_FMT_LOGFMT, NH_LOG_FMT_JSON } nh_log_format;
void nh_log_set_format(nh_log_format format);
bool nh_log_format_parse(nh_slice text, nh_log_format *out); /* logfmt json; false otherwise */

/*
 * nh_log_enter, nh_log_leave - a scope of the calling thread; the innermost is left first. Both are two assignments: text is borrowed until the scope is left. An empty text is left out.
 *
 *	struct nh_log_scope scope = NH_LOG_SCOPE("request", id);
 *	nh_log_enter(&scope); … nh_log_leave(&scope);
 */
struct nh_log_scope {
	const struct nh_log_scope *outer;
	struct nh_log_field field;
};
#define NH_LOG_SCOPE(k, slice) {.field = {.key = (k), .text = (slice), .kind = 's'}}
#define NH_LOG_SCOPE_I(k, n) {.field = {.key = (k), .number = (int64_t)(n), .kind = 'i'}}
void nh_log_enter(struct nh_log_scope *scope);
void nh_log_leave(const struct nh_log_scope *scope);
/* nh_log_here, nh_log_adopt - for a thread that works for one that waits meanwhile: the scopes of the waiting one become its own until it adopts others (NULL: none). */
const struct nh_log_scope *nh_log_here(void);
void nh_log_adopt(const struct nh_log_scope *scopes);

/* The sink gets a whole line with its LF; NULL restores stderr. Called under a lock. */
void nh_log_set_sink(void (*sink)(void *ctx, nh_log_level level, nh_slice line), void *ctx);
