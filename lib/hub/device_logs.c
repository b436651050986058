/*
 * Log lines of devices: what a line may be, one insert for each, and reading them back newest first. A device's date is believed, as only it knows when something happened; how long
 * a line is kept counts from when it was heard.
 *
 * source: reference/device-protocol "12.5"; reference/server-behaviour "7.5", "10"
 */
#include "base/encode.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "telemetry_int.h"

#define LEVEL_MAX 32
#define META_MAX 4096 /* as JSON; members beyond are left out */
#define LATEST_US INT64_C(253402300799999999) /* the end of the year 9999 */
#define NESTING_MAX 32
#define LOOKED_AT_MAX 20000
#define PAGE 500

/* ---- what a line says --------------------------------------------------------------------------------------------------- */

static nh_slice text_of(const json_t *value) { return nh_slice_of(json_string_value(value), json_string_length(value)); }

static bool read_time(const json_t *line, int64_t *at_us)
{
	nh_slice micros = nh_json_text(json_object_get(line, "meta"), "time");
	if (nh_time_parse_iso(nh_json_text(line, "timestamp"), at_us) == NH_OK && *at_us >= 0 && *at_us <= LATEST_US)
		return true;
	return nh_parse_i64(micros, 0, LATEST_US, at_us) == NH_OK;
}

static void put_code_point(struct nh_buf *out, uint32_t c)
{
	if (c < 0x80) {
		nh_buf_put_u8(out, (uint8_t)c);
		return;
	}
	unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
	nh_buf_put_u8(out, (uint8_t)(lead[more] | c >> (6 * more)));
	while (more-- > 0)
		nh_buf_put_u8(out, (uint8_t)(0x80 | ((c >> (6 * more)) & 0x3f)));
}

/* Erlang's nested lists of texts and numbers, up to a little more than a message may have. Numbers are bytes, or else code points; *wide: one of them can be no byte. */
static void flatten(struct nh_buf *out, const json_t *list, bool bytes, bool *wide, unsigned depth)
{
	for (size_t i = 0; i < json_array_size(list) && out->len <= NH_LOG_MESSAGE_MAX; i++) {
		const json_t *item = json_array_get(list, i);
		json_int_t number = json_integer_value(item);
		if (json_is_string(item)) {
			nh_buf_put_slice(out, text_of(item));
		} else if (json_is_array(item) && depth < NESTING_MAX) {
			flatten(out, item, bytes, wide, depth + 1);
		} else if (json_is_integer(item) && number >= 0 && number <= 0x10ffff) {
			*wide = *wide || number > 0xff;
			if (bytes)
				nh_buf_put_u8(out, (uint8_t)number);
			else
				put_code_point(out, (uint32_t)number);
		}
	}
}

/* The buffer may end in the middle of a character, since flattening stops where there is enough. */
static bool is_utf8_so_far(nh_slice text)
{
	for (size_t cut = 0; cut <= 3 && cut <= text.len; cut++) {
		if (nh_utf8_valid(nh_slice_sub(text, 0, text.len - cut)))
			return cut == 0 || text.len > NH_LOG_MESSAGE_MAX;
	}
	return false;
}

/* Text as it is; a list joined; everything else as it looks. Fit to be stored: valid UTF-8 without NUL. */
static nh_slice read_message(struct nh_arena *arena, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf flat = NH_BUF_INIT, clean = NH_BUF_INIT;
	nh_slice text = text_of(value), part;
	if (json_is_array(value)) {
		bool wide = false;
		flatten(&flat, value, true, &wide, 0);
		if (wide || !is_utf8_so_far(nh_buf_slice(&flat))) {
			nh_buf_clear(&flat);
			flatten(&flat, value, false, &wide, 0);
		}
		text = nh_buf_slice(&flat);
	} else if (value && !json_is_string(value)) {
		text = nh_json_arena(arena, value);
	}
	NH_AUTO_JSON json_t *repaired = nh_json_new_text(text);
	text = text_of(repaired);
	while (text.len > 0 && clean.len <= NH_LOG_MESSAGE_MAX) {
		bool nul = nh_slice_cut(text, 0, &part, &text);
		nh_buf_put_slice(&clean, part);
		nh_buf_put_str(&clean, nul ? "\xEF\xBF\xBD" : "");
	}
	return nh_arena_copy(arena, nh_text_cut(arena, nh_buf_slice(&clean), NH_LOG_MESSAGE_MAX));
}

/* The texts among the members, as many as fit. */
static nh_slice read_meta(struct nh_arena *arena, const json_t *meta)
{
	NH_AUTO_JSON json_t *kept = json_object();
	json_t *value;
	const char *key;
	size_t size = 2;
	json_object_foreach((json_t *)(uintptr_t)meta, key, value) {
		NH_AUTO_BUF struct nh_buf member = NH_BUF_INIT;
		if (!json_is_string(value))
			continue;
		nh_json_put_string(&member, nh_slice_str(key));
		nh_json_put_string(&member, text_of(value));
		if (size + member.len + 2 > META_MAX)
			continue;
		size += member.len + 2;
		json_object_set(kept, key, value);
	}
	return nh_json_arena(arena, kept);
}

nh_rc nh_log_send(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err)
{
	const json_t *line = told->payload;
	nh_slice level = nh_json_text(line, "level");
	int64_t at_us;
	if (!read_time(line, &at_us)) {
		told->ignored++;
		return NH_OK;
	}
	if (level.len == 0 || !nh_input_name_ok(level, LEVEL_MAX))
		level = NH_LIT("info");
	nh_telemetry_topic(ctx, told->session->device_id, NH_LIT("logs"));
	return nh_sql_exec(ctx->tx, &nh_q_log_add,
	                   NH_PARAMS(nh_p_int(told->session->device_id), nh_p_int(at_us), nh_p_int(nh_ctx_now(ctx)), nh_p_text(level),
	                             nh_p_text(read_message(ctx->arena, json_object_get(line, "message"))), nh_p_text(read_meta(ctx->arena, json_object_get(line, "meta")))),
	                   NULL, err);
}

/* ---- reading back -------------------------------------------------------------------------------------------------------- */

struct search {
	const struct nh_log_filter *filter;
	nh_slice needle; /* in lower case */
	size_t limit, looked_at;
	struct nh_list found;
	struct nh_log_line last; /* id and time of the last line looked at */
};

/* One row; kept where the filter says so. The page's memory goes with the page. */
static void look_at(struct search *s, const struct nh_rows *rows, struct nh_arena *page)
{
	struct nh_log_line line = {.id = nh_col_int(rows, 0), .at_us = nh_col_int(rows, 1), .level = nh_col_text(rows, 2, page)};
	s->looked_at++;
	s->last = (struct nh_log_line){.id = line.id, .at_us = line.at_us};
	if (s->filter->level.len > 0 && !nh_slice_eq(s->filter->level, line.level))
		return;
	line.message = nh_col_text(rows, 3, page);
	if (s->needle.len > 0 && nh_slice_find(nh_input_lower(page, line.message), s->needle) < 0)
		return;
	line.level = nh_arena_copy(s->found.arena, line.level);
	line.message = nh_arena_copy(s->found.arena, line.message);
	line.meta = nh_col_text(rows, 4, s->found.arena);
	*(struct nh_log_line *)nh_list_add(&s->found) = line;
}

/* *ended: there are no older lines. */
static nh_rc read_page(struct nh_ctx *ctx, int64_t device_id, struct search *s, bool *ended, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena page = NH_ARENA_INIT;
	struct nh_rows *rows = NULL;
	size_t seen = 0, size = s->filter->level.len + s->filter->contains.len > 0 ? PAGE : s->limit + 1;
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_log_page,
	                    NH_PARAMS(nh_p_int(device_id), nh_p_int(s->filter->from_us), nh_p_int(s->last.at_us), nh_p_int(s->last.id), nh_p_int((int64_t)size)), &rows, err));
	nh_rc rc = NH_OK;
	while (s->found.count < s->limit && s->looked_at < LOOKED_AT_MAX && (rc = nh_sql_next(rows, err)) == NH_OK) {
		look_at(s, rows, &page);
		seen++;
	}
	*ended = rc == NH_ENOTFOUND && seen < size;
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_log_list(struct nh_ctx *ctx, int64_t device_id, const struct nh_log_filter *filter, size_t limit, struct nh_log_line **out, size_t *count, bool *more,
                  struct nh_log_line *next, struct nh_err *err)
{
	NH_ASSERT(limit >= 1 && limit <= NH_LOG_LIST_MAX);
	struct search s = {.filter = filter, .needle = nh_input_lower(ctx->arena, filter->contains), .limit = limit, .found = NH_LIST_OF(ctx->arena, struct nh_log_line)};
	s.last = (struct nh_log_line){.at_us = filter->to_us ? filter->to_us : INT64_MAX, .id = INT64_MAX};
	if (filter->before_us && filter->before_us <= s.last.at_us)
		s.last = (struct nh_log_line){.at_us = filter->before_us, .id = filter->before_id};
	bool ended = false;
	while (!ended && s.found.count < limit && s.looked_at < LOOKED_AT_MAX)
		NH_TRY(read_page(ctx, device_id, &s, &ended, err));
	*out = s.found.items;
	*count = s.found.count;
	*more = !ended;
	*next = s.last;
	return NH_OK;
}
