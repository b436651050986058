/*
 * The configuration language of fwup.conf (creation) and meta.conf (reading): one re-entrant parser, one table of sections and options, one
 * writer. Text in, tree in an arena out; no file, no environment, no global state. What the options mean is metadata.h's and create.h's matter.
 *
 * Reading meta.conf executes nothing: `define…` and `include` in it are refused, unknown names are skipped. Caps: 1 MiB text (the sum of
 * includes), 1 MiB a string, 16 MiB all strings, 100 000 list elements, 4096 sections of a kind, nesting 16, includes 10 deep.  thread: any, one tree at a time.  source: reference/fwup-format "2", "3", "8"
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "firmware/vars.h"

#define NH_FW_CALL_ARGS_MAX 10 /* name included */

typedef enum nh_fw_option_kind { NH_FW_STRING, NH_FW_INTEGER, NH_FW_BOOLEAN, NH_FW_STRINGS, NH_FW_INTEGERS, NH_FW_SECTION } nh_fw_option_kind;

/* One row of the language: an option or a section. Rows stand in output order. */
struct nh_fw_option {
	const char *name;        /* NULL ends the table */
	nh_fw_option_kind kind;
	bool titled;             /* sections: name "title" { … } */
	bool unwritten;          /* never in meta.conf */
	int64_t number;          /* default of integers and booleans */
	const char *text;        /* default of strings, or NULL */
	const struct nh_fw_option *rows; /* sections: what they hold */
	const char *calls;       /* sections: list option that collects calls (funlist, reqlist), or NULL */
};
extern const struct nh_fw_option nh_fw_language[]; /* the top level */

struct nh_fw_value {
	nh_slice text;  /* strings; NUL-terminated behind the end */
	int64_t number; /* integers, booleans */
};

struct nh_fw_section {
	nh_slice title; /* NUL-terminated behind the end */
	const struct nh_fw_option *rows;
	struct nh_fw_setting *settings; /* one for each row, in row order */
	unsigned line;
	const char *path; /* file it stands in; "" for text */
};

struct nh_fw_setting {
	bool is_set;
	size_t count;
	union {
		struct nh_fw_value *values;       /* options: 1 for scalars, 0..n for lists */
		struct nh_fw_section **sections;
	};
	size_t capacity;
};

/* What creation adds to parsing. NULL hooks: reading. */
struct nh_fw_config_hooks {
	void *ctx;
	const char *from; /* path of the top text, for relative includes; NULL = "" */
	/* Checks and completes one call in section `in` of kind `row` (strings[0] is the name, room for NH_FW_CALL_ARGS_MAX); it is then appended
	 * to the section's list. */
	nh_rc (*call)(void *ctx, const struct nh_fw_section *root, const struct nh_fw_option *row, const struct nh_fw_section *in,
		      nh_slice *strings, size_t *count, struct nh_err *err);
	nh_rc (*section_end)(void *ctx, const struct nh_fw_section *root, const struct nh_fw_option *row, struct nh_fw_section *section,
			     struct nh_err *err);
	/* Reads `path` as seen from file `from` ("" = top text). *resolved lives in the arena. */
	nh_rc (*include)(void *ctx, const char *from, nh_slice path, struct nh_arena *arena, nh_slice *text, const char **resolved,
			 struct nh_err *err);
};

/*
 * nh_fw_config_parse - parses text (a NUL byte ends it) into *out. name: for messages ("[buf]", a path).
 * vars: for ${…}; NULL = all undefined; written to by define (creation). The tree borrows nothing from text.
 * NH_EFORMAT "NAME:LINE: what is wrong"; NH_ETOOBIG over a cap; a hook's code.
 */
nh_rc nh_fw_config_parse(nh_slice text, const char *name, struct nh_fw_vars *vars, const struct nh_fw_config_hooks *hooks, struct nh_arena *arena,
			 struct nh_fw_section **out, struct nh_err *err);

/* Access. An unknown option name is a programmer error. */
const struct nh_fw_setting *nh_fw_section_get(const struct nh_fw_section *s, const char *option);
nh_slice nh_fw_section_text(const struct nh_fw_section *s, const char *option);     /* default or empty where unset */
int64_t nh_fw_section_number(const struct nh_fw_section *s, const char *option);    /* default where unset */
const struct nh_fw_section *nh_fw_section_find(const struct nh_fw_section *s, const char *option, nh_slice title); /* NULL: none */
void nh_fw_section_set_text(struct nh_fw_section *s, struct nh_arena *arena, const char *option, nh_slice text);   /* replaces */
void nh_fw_section_set_number(struct nh_fw_section *s, struct nh_arena *arena, const char *option, int64_t number);
void nh_fw_section_add_number(struct nh_fw_section *s, struct nh_arena *arena, const char *option, int64_t number); /* appends to a list */

/* nh_fw_config_write - meta.conf, byte for byte as the reference tool. source: reference/fwup-format "3" */
void nh_fw_config_write(const struct nh_fw_section *root, struct nh_buf *out);
/* nh_fw_config_put_string - one value with the quoting rule of 3.1: bare, or quoted and escaped. */
void nh_fw_config_put_string(struct nh_buf *out, nh_slice text);
