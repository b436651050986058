/*
 * Lexer of the configuration language: white space, comments, punctuation, bare and quoted strings with variables.
 *
 * Variables are expanded while a string is read, never twice, and only from the set that the caller gave. Each string and the sum of all strings
 * have caps, so that expansion cannot grow without limit.  source: reference/fwup-format "2.1"
 */
#include "lexer_int.h"

#include <string.h>

static struct fw_source *source(struct fw_lexer *x)
{
	return &x->stack[x->depth];
}

static nh_rc fail(struct fw_lexer *x, struct nh_err *err, const char *why)
{
	return NH_FAIL(err, NH_EFORMAT, "%s:%u: %s", source(x)->name, source(x)->line, why);
}

static void push(struct fw_lexer *x, unsigned at, nh_slice text, const char *name, const char *path)
{
	ptrdiff_t nul = nh_slice_chr(text, 0);
	x->stack[at] = (struct fw_source){.text = nul >= 0 ? nh_slice_sub(text, 0, (size_t)nul) : text, .line = 1, .name = name, .path = path};
	x->depth = at;
}

void fw_lexer_init(struct fw_lexer *x, nh_slice text, const char *name, const char *path, const struct nh_fw_vars *vars, struct nh_arena *arena)
{
	*x = (struct fw_lexer){.vars = vars, .arena = arena, .string = NH_BUF_MAX(NH_FW_STRING_MAX), .text_bytes = text.len};
	push(x, 0, text, name, path);
}

void fw_lexer_fini(struct fw_lexer *x)
{
	nh_buf_fini(&x->string);
}

nh_rc fw_lexer_include(struct fw_lexer *x, nh_slice text, const char *path, struct nh_err *err)
{
	if (x->depth == NH_FW_INCLUDE_MAX)
		return fail(x, err, "includes nested too deeply");
	x->text_bytes += text.len;
	if (x->text_bytes > NH_FW_TEXT_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "%s: configuration is longer than %u bytes", path, NH_FW_TEXT_MAX);
	push(x, x->depth + 1, text, path, path);
	return NH_OK;
}

/* Byte at an offset from the reading position, 0 behind the end. Texts hold no NUL, so 0 is unmistakable. */
static uint8_t at(const struct fw_source *s, size_t offset)
{
	return s->pos + offset < s->text.len ? s->text.ptr[s->pos + offset] : 0;
}

static void skip(struct fw_source *s, size_t n)
{
	for (; n > 0 && s->pos < s->text.len; n--)
		if (s->text.ptr[s->pos++] == '\n')
			s->line++;
}

static bool is_bare(uint8_t c)
{
	return c != 0 && !strchr(" #\"'\t\n\r={}()+,*", c);
}

/* Appends the value of "${NAME}" or "${NAME:-DEFAULT}" at the reading position and skips it. False: no variable here. */
static bool expand(struct fw_lexer *x)
{
	struct fw_source *s = source(x);
	if (at(s, 0) != '$' || at(s, 1) != '{')
		return false;
	nh_slice rest = nh_slice_skip(s->text, s->pos + 2);
	ptrdiff_t end = nh_slice_chr(rest, '}');
	if (end < 0)
		return false;
	nh_slice name = nh_slice_sub(rest, 0, (size_t)end), value, fallback = NH_SLICE_EMPTY;
	ptrdiff_t colon = nh_slice_find(name, NH_LIT(":-"));
	if (colon >= 0) {
		fallback = nh_slice_skip(name, (size_t)colon + 2);
		name = nh_slice_sub(name, 0, (size_t)colon);
	}
	nh_buf_put_slice(&x->string, nh_fw_vars_get(x->vars, name, &value) ? value : fallback);
	skip(s, (size_t)end + 3);
	return true;
}

static unsigned hex_value(uint8_t c)
{
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)((c | 0x20) - 'a' + 10) : 16;
}

static nh_rc octal_escape(struct fw_lexer *x, struct nh_err *err)
{
	struct fw_source *s = source(x);
	unsigned v = 0, n = 0;
	for (; at(s, n) >= '0' && at(s, n) <= '9'; n++) {
		if (at(s, n) > '7' || n == 3)
			return fail(x, err, "bad octal escape in a string");
		v = v * 8 + (unsigned)(at(s, n) - '0');
	}
	if (v > 255 || v == 0)
		return fail(x, err, v ? "octal escape in a string is over 255" : "a string can't hold a NUL byte");
	nh_buf_put_u8(&x->string, (uint8_t)v);
	skip(s, n);
	return NH_OK;
}

/* Behind a backslash in double quotes. */
static nh_rc escape(struct fw_lexer *x, struct nh_err *err)
{
	static const char from[] = "nrtbfave", to[] = "\n\r\t\b\f\a\v\x1b";
	struct fw_source *s = source(x);
	uint8_t c = at(s, 0);
	if (c >= '0' && c <= '9')
		return octal_escape(x, err);
	if (c == 'x' && hex_value(at(s, 1)) < 16) {
		unsigned v = hex_value(at(s, 1)), n = 2;
		if (hex_value(at(s, 2)) < 16) {
			v = v * 16 + hex_value(at(s, 2));
			n = 3;
		}
		if (v == 0)
			return fail(x, err, "a string can't hold a NUL byte");
		nh_buf_put_u8(&x->string, (uint8_t)v);
		skip(s, n);
		return NH_OK;
	}
	const char *known = c ? strchr(from, c) : NULL;
	if (known)
		nh_buf_put_u8(&x->string, (uint8_t)to[known - from]);
	else if (c != '\n' && c != 0)
		nh_buf_put_u8(&x->string, c);
	skip(s, 1);
	return NH_OK;
}

static nh_rc quoted(struct fw_lexer *x, uint8_t quote, struct nh_err *err)
{
	struct fw_source *s = source(x);
	skip(s, 1);
	while (at(s, 0) != quote) {
		uint8_t c = at(s, 0);
		if (c == 0)
			return fail(x, err, "a string isn't closed");
		if (quote == '"' && c == '\\') {
			skip(s, 1);
			NH_TRY(escape(x, err));
		} else if (quote == '\'' && c == '\\' && (at(s, 1) == '\'' || at(s, 1) == '\\')) {
			nh_buf_put_u8(&x->string, at(s, 1));
			skip(s, 2);
		} else if (quote == '\'' && c == '\\' && at(s, 1) == '\n') {
			skip(s, 2);
		} else if (quote != '"' || !expand(x)) {
			nh_buf_put_u8(&x->string, c);
			skip(s, 1);
		}
	}
	skip(s, 1);
	return NH_OK;
}

static bool comment_here(const struct fw_source *s, size_t offset)
{
	return at(s, offset) == '/' && (at(s, offset + 1) == '/' || at(s, offset + 1) == '*');
}

static nh_rc skip_blank(struct fw_lexer *x, struct nh_err *err)
{
	struct fw_source *s = source(x);
	for (;;) {
		uint8_t c = at(s, 0);
		if (c == '#' || (c == '/' && at(s, 1) == '/')) {
			while (at(s, 0) != '\n' && at(s, 0) != 0)
				skip(s, 1);
		} else if (c == '/' && at(s, 1) == '*') {
			skip(s, 2);
			while (!(at(s, 0) == '*' && at(s, 1) == '/')) {
				if (at(s, 0) == 0)
					return fail(x, err, "a comment isn't closed");
				skip(s, 1);
			}
			skip(s, 2);
		} else if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '*' || (c == '+' && at(s, 1) != '=')) {
			skip(s, 1);
		} else {
			return NH_OK;
		}
	}
}

static nh_rc string_token(struct fw_lexer *x, struct nh_err *err)
{
	struct fw_source *s = source(x);
	uint8_t c = at(s, 0);
	nh_buf_clear(&x->string);
	if (c == '"' || c == '\'') {
		NH_TRY(quoted(x, c, err));
	} else if (!expand(x)) {
		while (is_bare(at(s, 0)) && !comment_here(s, 0)) {
			nh_buf_put_u8(&x->string, at(s, 0));
			skip(s, 1);
		}
	}
	x->string_bytes += x->string.len;
	if (!nh_buf_ok(&x->string) || x->string_bytes > NH_FW_STRINGS_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "%s:%u: strings are too long", s->name, s->line);
	x->token = FW_STRING;
	x->text = nh_arena_copy(x->arena, nh_buf_slice(&x->string));
	return NH_OK;
}

nh_rc fw_lexer_next(struct fw_lexer *x, struct nh_err *err)
{
	NH_TRY(skip_blank(x, err));
	while (at(source(x), 0) == 0 && x->depth > 0) {
		x->depth--;
		NH_TRY(skip_blank(x, err));
	}
	struct fw_source *s = source(x);
	x->line = s->line;
	x->name = s->name;
	x->path = s->path;
	x->text = NH_SLICE_EMPTY;
	static const struct {
		uint8_t c;
		fw_token token;
	} marks[] = {{'{', FW_OPEN}, {'}', FW_CLOSE}, {'(', FW_PAREN_OPEN}, {')', FW_PAREN_CLOSE}, {'=', FW_EQUALS}, {'+', FW_APPEND}, {',', FW_COMMA}};
	uint8_t c = at(s, 0);
	if (c == 0) {
		x->token = FW_END;
		return NH_OK;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(marks); i++)
		if (c == marks[i].c) {
			x->token = marks[i].token;
			skip(s, c == '+' ? 2 : 1);
			return NH_OK;
		}
	return string_token(x, err);
}
