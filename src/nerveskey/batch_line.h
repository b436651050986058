/* One line of a production order: JSON, or CSV below a line of names. */
#pragma once

#include "base/arena.h"
#include "base/json.h"
#include "nerveskey/layout.h"

struct batch_line {
	nh_slice serial, board; /* empty: the default */
	nh_slice user_data;
	bool again;             /* this chip may be the one that was there last */
	json_t *label;          /* all other fields, as they are */
};

/* Names of CSV columns, from its first line. */
struct batch_columns {
	nh_slice names[32];
	size_t count;
};

/* NH_OK fills *out (label: a new reference), NH_ECLOSED: it was the line of names, NH_EINVAL: says what is wrong. Texts live in the arena; columns in theirs. */
nh_rc batch_line_parse(nh_slice text, struct nh_arena *arena, struct nh_arena *columns_arena, struct batch_columns *columns, struct batch_line *out, struct nh_err *err);
