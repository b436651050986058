/*
 * The query language of device lists: text to a tree.
 *
 *	query    := and_expr { "or" and_expr }
 *	and_expr := term { "and" term }
 *	term     := "not" term | "(" query ")" | column operator value
 *
 * Pure: what of it exists (groups, firmware) is asked elsewhere. Text that is no query and does not look like one is a search for it.
 *
 * thread: any. source: reference/server-behaviour "14.2"
 */
#pragma once

#include "base/arena.h"
#include "store/device_query.h"

#define NH_QUERY_MAX_BYTES 4096
#define NH_QUERY_TESTS_MAX 40  /* each binds one value, a search four, a metric two: the store refuses what is too much for it all the same */
#define NH_QUERY_DEPTH_MAX 32  /* of parentheses and "not" within each other */

struct nh_query_fault {
	size_t at;        /* bytes from 0 into the text */
	const char *text; /* what is wrong there and what was expected, in the arena */
};

/*
 * nh_device_query_parse - text to *out, in the arena; values borrow from text or lie in the arena. Blank text: *out NULL. now_us: what "3 days ago" counts from.
 * NH_EINVAL with *fault: no query. err may be NULL.
 */
nh_rc nh_device_query_parse(struct nh_arena *arena, nh_slice text, int64_t now_us, const struct nh_expression **out, struct nh_query_fault *fault, struct nh_err *err);
