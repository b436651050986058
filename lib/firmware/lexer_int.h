/*
 * Tokens of the configuration language. Private to the firmware room.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "firmware/vars.h"

#define NH_FW_TEXT_MAX (1u << 20)       /* bytes of all sources together */
#define NH_FW_STRING_MAX (1u << 20)
#define NH_FW_STRINGS_MAX (16u << 20)   /* bytes of all strings together, after expansion */
#define NH_FW_INCLUDE_MAX 10

typedef enum fw_token {
	FW_END, FW_STRING, FW_OPEN, FW_CLOSE, FW_PAREN_OPEN, FW_PAREN_CLOSE, FW_EQUALS, FW_APPEND, FW_COMMA,
} fw_token;

struct fw_source {
	nh_slice text;
	size_t pos;
	unsigned line;
	const char *path;   /* for relative paths, "" at the top */
	const char *name;   /* for messages */
};

struct fw_lexer {
	struct fw_source stack[NH_FW_INCLUDE_MAX + 1];
	unsigned depth;         /* index of the source being read */
	const struct nh_fw_vars *vars;
	struct nh_arena *arena;
	struct nh_buf string;   /* being built */
	size_t text_bytes, string_bytes;

	fw_token token;
	nh_slice text;          /* of FW_STRING, in the arena, NUL behind it */
	unsigned line;          /* where the token began */
	const char *name, *path;
};

void fw_lexer_init(struct fw_lexer *x, nh_slice text, const char *name, const char *path, const struct nh_fw_vars *vars, struct nh_arena *arena);
void fw_lexer_fini(struct fw_lexer *x);
/* Reads `text` next, then goes on where it was. NH_EFORMAT: nested too deeply; NH_ETOOBIG. */
nh_rc fw_lexer_include(struct fw_lexer *x, nh_slice text, const char *path, struct nh_err *err);
/* Advances to the next token. NH_EFORMAT with "NAME:LINE: …", NH_ETOOBIG. */
nh_rc fw_lexer_next(struct fw_lexer *x, struct nh_err *err);
