/*
 * Option tables: every program describes its flags as rows; parsing, `--help` and the man-page list come from the same rows. thread: main.
 */
#pragma once

#include "base/buf.h"

typedef enum nh_option_kind {
	NH_OPT_FLAG,     /* bool *target = true */
	NH_OPT_TEXT,     /* const char **target */
	NH_OPT_U64,      /* uint64_t *target, within [min,max] */
	NH_OPT_SIZE,     /* uint64_t *target, bytes ("4k", "16M") */
	NH_OPT_DURATION, /* uint64_t *target, ms ("250ms", "30s") */
	NH_OPT_LIST,     /* struct nh_option_list *target: may be given several times */
} nh_option_kind;

struct nh_option_list {
	const char **items; /* grows by realloc; free() it */
	size_t count;
};

struct nh_option {
	const char *name;    /* long name without dashes; NULL ends the table */
	char letter;         /* short form or 0 */
	nh_option_kind kind;
	void *target;
	const char *value;   /* name of the value in the help text, NULL for flags */
	const char *help;
	uint64_t min, max;   /* U64, SIZE, DURATION; max 0 = no bound */
	const char *env;     /* environment variable read when the flag is absent, or NULL */
};

/*
 * nh_option_parse - reads flags (before, between and after arguments; "--" ends them; --name=value and --name value; -n value, -nvalue).
 * *rest receives the count of non-option arguments, moved to argv[1..]. NH_EINVAL with one clear line for people
 * ("unknown option '--prot'; did you mean '--port'?", "--port needs a number from 0 to 65535, not 'x'").
 */
nh_rc nh_option_parse(const struct nh_option *table, int argc, char **argv, int *rest, struct nh_err *err);
void nh_option_help(struct nh_buf *out, const struct nh_option *table); /* aligned two-column list */
