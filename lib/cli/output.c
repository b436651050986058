/*
 * What a command prints: text, aligned tables, JSON as Go's encoder writes it.
 *
 * source: reference/user-api-and-cli "18.6"
 */
#include <stdarg.h>

#include "cli_int.h"

[[gnu::format(printf, 2, 0)]] static void put(FILE *to, const char *fmt, va_list ap)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_buf_vprintf(&b, fmt, ap);
	fwrite(nh_buf_cstr(&b), 1, b.len, to);
}

void cli_out(const struct nh_cli *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	put(c->io->out, fmt, ap);
	va_end(ap);
}

void cli_note(const struct nh_cli *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	put(c->io->err, fmt, ap);
	va_end(ap);
	fflush(c->io->err);
}

void cli_out_json(const struct nh_cli *c, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf plain = NH_BUF_INIT, out = NH_BUF_INIT;
	nh_json_put_pretty(&plain, value);
	/* These bytes occur inside strings only, so they can be escaped afterwards. */
	for (size_t i = 0; i < plain.len; i++) {
		uint8_t b = plain.ptr[i];
		bool separator = b == 0xE2 && i + 2 < plain.len && plain.ptr[i + 1] == 0x80 && (plain.ptr[i + 2] | 1) == 0xA9;
		if (b == '<' || b == '>' || b == '&')
			nh_buf_printf(&out, "\\u%04x", b);
		else if (separator)
			nh_buf_printf(&out, "\\u20%02x", plain.ptr[i + 2] - 0x80);
		else
			nh_buf_put_u8(&out, b);
		i += separator ? 2 : 0;
	}
	fwrite(nh_buf_cstr(&out), 1, out.len, c->io->out);
}

const char *cli_dash(const char *text) { return text && *text ? text : "-"; }

static bool shown_as_is(unsigned char byte, bool lines) { return (byte >= ' ' && byte != 0x7F) || (lines && byte == '\n'); }

static const char *visible(struct nh_arena *arena, const char *text, bool lines)
{
	bool clean = true;
	for (const char *p = text; *p; p++)
		clean &= shown_as_is((unsigned char)*p, lines);
	if (clean)
		return text;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	for (const char *p = text; *p; p++)
		if (shown_as_is((unsigned char)*p, lines))
			nh_buf_put_u8(&b, (uint8_t)*p);
		else
			nh_buf_printf(&b, "\\x%02x", (unsigned char)*p);
	return nh_arena_str(arena, nh_buf_slice(&b));
}

const char *cli_visible(struct nh_cli *c, const char *text) { return visible(&c->arena, text, true); }

void cli_table_cell(struct cli_table *t, const char *text)
{
	if (t->used == t->capacity) {
		size_t capacity = t->capacity ? t->capacity * 2 : 64;
		const char **cells = NH_NEW_ARRAY(t->arena, capacity, const char *);
		for (size_t i = 0; i < t->used; i++)
			cells[i] = t->cells[i];
		t->cells = cells;
		t->capacity = capacity;
	}
	t->cells[t->used++] = visible(t->arena, text, false);
}

void cli_table_row(struct cli_table *t, ...)
{
	va_list ap;
	va_start(ap, t);
	for (size_t i = 0; i < t->columns; i++)
		cli_table_cell(t, va_arg(ap, const char *));
	va_end(ap);
}

void cli_table_detail(struct cli_table *t, const char *label, const char *value)
{
	if (value && *value)
		cli_table_row(t, nh_arena_printf(t->arena, "%s:", label), value);
}

static size_t code_points(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xC0) != 0x80;
	return n;
}

void cli_table_print(const struct nh_cli *c, const struct cli_table *t)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	size_t widths[16] = {0};
	NH_ASSERT(t->columns <= NH_ARRAY_LEN(widths));
	for (size_t i = 0; i < t->used; i++) {
		size_t n = code_points(t->cells[i]);
		widths[i % t->columns] = n > widths[i % t->columns] ? n : widths[i % t->columns];
	}
	for (size_t i = 0; i < t->used; i++) {
		bool last = i % t->columns + 1 == t->columns;
		nh_buf_put_str(&b, t->cells[i]);
		nh_buf_fill(&b, ' ', last ? 0 : widths[i % t->columns] - code_points(t->cells[i]) + 2);
		if (last)
			nh_buf_put_u8(&b, '\n');
	}
	fwrite(nh_buf_cstr(&b), 1, b.len, c->io->out);
}
