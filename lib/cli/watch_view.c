/*
 * How a rollout that is watched is shown: a picture that is drawn anew on a terminal, lines for everybody else.
 */
#include <unistd.h>

#include "base/clock.h"
#include "terminal.h"
#include "watch.h"

#define BAR 24
#define ROWS_DEFAULT 24
#define ROWS_AROUND 5 /* heading, counts, "and more", and room below */
#define FAILURES_SHOWN 5
#define REASON_MAX 60

static const struct {
	const char *name;
	size_t offset;
} counts[] = {
	{"total", offsetof(struct cli_rollout, total)},
	{"waiting", offsetof(struct cli_rollout, waiting)},
	{"updating", offsetof(struct cli_rollout, updating)},
	{"downloading", offsetof(struct cli_rollout, downloading)},
	{"done", offsetof(struct cli_rollout, done)},
	{"failed", offsetof(struct cli_rollout, failed)},
	{"penalty_box", offsetof(struct cli_rollout, penalty_box)},
};

static int64_t count_of(const struct cli_rollout *r, size_t i) { return *(const int64_t *)((const char *)r + counts[i].offset); }

void cli_watch_view_init(struct cli_watch_view *v, struct nh_cli *c)
{
	*v = (struct cli_watch_view){.c = c, .terminal = c->format == CLI_TABLE && isatty(fileno(c->io->out)) == 1};
}

void cli_watch_view_fini(struct cli_watch_view *v) { nh_buf_fini(&v->last); }

/* ---- on a terminal ----------------------------------------------------------------------------------------------------------- */

static void put_bar(struct nh_buf *out, int64_t part, int64_t whole)
{
	int64_t filled = whole > 0 ? part * BAR / whole : 0;
	nh_buf_put_u8(out, '[');
	for (int i = 0; i < BAR; i++)
		nh_buf_put_u8(out, i < filled ? '#' : '.');
	nh_buf_put_u8(out, ']');
}

/* What devices and other people wrote, without anything that a terminal obeys. */
static void put_text(struct nh_buf *out, const char *text, size_t max)
{
	for (; *text && max > 0; text++, max -= ((uint8_t)*text & 0xC0) != 0x80)
		nh_buf_put_u8(out, (uint8_t)*text < 0x20 || *text == 0x7F ? '?' : (uint8_t)*text);
}

static void put_device(struct nh_buf *out, const char *identifier, const json_t *state)
{
	const char *stage = cli_get(state, "stage");
	int64_t percent = nh_json_int(state, "percent", -1);
	nh_buf_put_str(out, "  ");
	put_text(out, identifier, 40);
	nh_buf_printf(out, "  %-11s", *stage ? stage : "updating");
	if (percent >= 0) {
		nh_buf_printf(out, " %3d%% ", (int)percent);
		put_bar(out, percent, 100);
	}
	nh_buf_put_u8(out, '\n');
}

/* Returns the number of lines. */
static unsigned put_devices(struct nh_buf *out, const struct cli_rollout *r, unsigned room)
{
	const char *identifier;
	json_t *state, *reason;
	unsigned lines = 0, failures = 0;
	json_object_foreach(r->failures, identifier, reason)
	{
		if (failures++ >= FAILURES_SHOWN || lines >= room)
			break;
		nh_buf_put_str(out, "  ");
		put_text(out, identifier, 40);
		nh_buf_put_str(out, "  failed: ");
		put_text(out, json_string_value(reason), REASON_MAX);
		nh_buf_put_u8(out, '\n');
		lines++;
	}
	unsigned shown = 0;
	json_object_foreach(r->devices, identifier, state)
	{
		if (lines >= room)
			break;
		put_device(out, identifier, state);
		shown++;
		lines++;
	}
	if (r->updating > shown) {
		nh_buf_printf(out, "  and %lld more\n", (long long)(r->updating - shown));
		lines++;
	}
	return lines;
}

static void draw(struct cli_watch_view *v, const struct cli_rollout *r)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	int64_t rows = ROWS_DEFAULT, columns = 0;
	cli_terminal_size(fileno(v->c->io->out), &rows, &columns);
	/* Lines that are too long are cut by the terminal, since a wrapped one would be two. */
	nh_buf_put_str(&b, "\x1b[?7l");
	if (v->drawn)
		nh_buf_printf(&b, "\x1b[%uA\x1b[J", v->drawn);
	put_text(&b, r->name, 60);
	nh_buf_put_str(&b, ": firmware ");
	put_text(&b, cli_get(r->firmware, "version"), 40);
	nh_buf_put_str(&b, "  ");
	put_bar(&b, r->done, r->total);
	nh_buf_printf(&b, " %lld of %lld\n ", (long long)r->done, (long long)r->total);
	for (size_t i = 1; i < NH_ARRAY_LEN(counts); i++)
		nh_buf_printf(&b, " %s %lld ", i + 1 == NH_ARRAY_LEN(counts) ? "penalty box" : counts[i].name, (long long)count_of(r, i));
	nh_buf_put_u8(&b, '\n');
	v->drawn = 2 + put_devices(&b, r, rows > ROWS_AROUND ? (unsigned)rows - ROWS_AROUND : 1);
	nh_buf_put_str(&b, "\x1b[?7h");
	fwrite(b.ptr, 1, b.len, v->c->io->out);
}

/* ---- lines ----------------------------------------------------------------------------------------------------------------------- */

static void put_json(struct nh_buf *out, const struct cli_rollout *r)
{
	NH_AUTO_JSON json_t *line = json_pack("{s:s, s:O}", "name", r->name, "firmware", r->firmware);
	for (size_t i = 0; i < NH_ARRAY_LEN(counts); i++)
		json_object_set_new(line, counts[i].name, json_integer((json_int_t)count_of(r, i)));
	json_object_set(line, "devices", r->devices);
	json_object_set(line, "failures", r->failures);
	nh_json_put(out, line);
}

static void put_line(struct nh_buf *out, const struct cli_rollout *r, cli_format format)
{
	if (format == CLI_JSON) {
		put_json(out, r);
		return;
	}
	if (format == CLI_TABLE) {
		put_text(out, cli_get(r->firmware, "version"), 40);
		nh_buf_put_u8(out, ':');
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(counts); i++)
		nh_buf_printf(out, format == CLI_CSV ? ",%.0s%lld" : " %s %lld", counts[i].name, (long long)count_of(r, i));
}

void cli_watch_view_show(struct cli_watch_view *v, const struct cli_rollout *r)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT, at = NH_BUF_INIT;
	struct nh_cli *c = v->c;
	if (v->terminal) {
		draw(v, r);
		fflush(c->io->out);
		return;
	}
	put_line(&line, r, c->format);
	if (nh_slice_eq(nh_buf_slice(&line), nh_buf_slice(&v->last)))
		return;
	nh_time_put_iso(&at, nh_now_us());
	if (c->format == CLI_CSV && v->last.len == 0) {
		cli_out(c, "at");
		for (size_t i = 0; i < NH_ARRAY_LEN(counts); i++)
			cli_out(c, ",%s", counts[i].name);
		cli_out(c, "\r\n");
	}
	if (c->format == CLI_JSON)
		cli_out(c, "{\"at\":\"%s\",%s\n", nh_buf_cstr(&at), nh_buf_cstr(&line) + 1);
	else
		cli_out(c, "%s%s%s%s", nh_buf_cstr(&at), c->format == CLI_CSV ? "" : " ", nh_buf_cstr(&line), c->format == CLI_CSV ? "\r\n" : "\n");
	fflush(c->io->out);
	nh_buf_fini(&v->last);
	v->last = nh_steal_buf(&line);
}
