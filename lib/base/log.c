/*
 * Log lines. A line is built whole and handed to the sink under one lock, so lines never mix. Values from outside are escaped here, in one place:
 * whatever a device or user sends, it stays inside its quotes on its line.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 8192
#define VALUE_MAX_BYTES 2048

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int least = NH_LOG_INFO;
static _Atomic int form = NH_LOG_FMT_LOGFMT;
static _Thread_local const struct nh_log_scope *innermost;
static void (*sink)(void *ctx, nh_log_level level, nh_slice line);
static void *sink_ctx;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

bool nh_log_enabled(nh_log_level level) { return (int)level >= atomic_load_explicit(&least, memory_order_relaxed); }
void nh_log_set_level(nh_log_level level) { atomic_store(&least, (int)level); }

bool nh_log_level_parse(nh_slice text, nh_log_level *out)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(level_names); i++)
		if (nh_slice_ieq(text, nh_slice_str(level_names[i]))) {
			*out = (nh_log_level)i;
			return true;
		}
	if (!nh_slice_ieq(text, NH_LIT("warning")))
		return false;
	*out = NH_LOG_WARN;
	return true;
}

void nh_log_set_format(nh_log_format format) { atomic_store(&form, (int)format); }

bool nh_log_format_parse(nh_slice text, nh_log_format *out)
{
	bool json = nh_slice_ieq(text, NH_LIT("json"));
	*out = json ? NH_LOG_FMT_JSON : NH_LOG_FMT_LOGFMT;
	return json || nh_slice_ieq(text, NH_LIT("logfmt"));
}

void nh_log_enter(struct nh_log_scope *scope)
{
	scope->outer = innermost;
	innermost = scope;
}

void nh_log_leave(const struct nh_log_scope *scope) { innermost = scope->outer; }
const struct nh_log_scope *nh_log_here(void) { return innermost; }
void nh_log_adopt(const struct nh_log_scope *scopes) { innermost = scopes; }

/* ---- logfmt ---------------------------------------------------------------------------------------------------------------- */

static bool plain(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7F || s.ptr[i] == '"' || s.ptr[i] == '=' || s.ptr[i] == '\\')
			return false;
	return s.len > 0;
}

static void put_value(struct nh_buf *out, nh_slice s)
{
	bool cut = s.len > VALUE_MAX_BYTES;
	s = nh_slice_sub(s, 0, VALUE_MAX_BYTES);
	if (plain(s) && !cut) {
		nh_buf_put_slice(out, s);
		return;
	}
	/* Well-formed UTF-8 stays readable, except C1 controls, which terminals obey. */
	bool utf8 = nh_utf8_valid(s);
	nh_buf_put_u8(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c == '"' || c == '\\')
			nh_buf_printf(out, "\\%c", c);
		else if (c == '\n')
			nh_buf_put_str(out, "\\n");
		else if (utf8 && c == 0xC2 && s.ptr[i + 1] < 0xA0)
			nh_buf_printf(out, "\\u%04x", s.ptr[++i]);
		else if (c < ' ' || c == 0x7F || (c > 0x7F && !utf8))
			nh_buf_printf(out, "\\x%02x", c);
		else
			nh_buf_put_u8(out, c);
	}
	nh_buf_put_str(out, cut ? "…\"" : "\"");
}

static void to_stderr(nh_slice line)
{
	while (line.len) {
		ssize_t n = write(STDERR_FILENO, line.ptr, line.len);
		if (n <= 0)
			return;
		line = nh_slice_skip(line, (size_t)n);
	}
}

static void put_logfmt(struct nh_buf *line, const struct nh_log_field *f)
{
	nh_buf_printf(line, " %s=", f->key);
	if (f->kind == 'i')
		nh_buf_printf(line, "%lld", (long long)f->number);
	else
		put_value(line, f->text);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------ */

/* What is not UTF-8 becomes U+FFFD, byte by byte. */
static void put_json_text(struct nh_buf *out, nh_slice s)
{
	bool cut = s.len > VALUE_MAX_BYTES;
	s = nh_slice_sub(s, 0, VALUE_MAX_BYTES);
	while (cut && s.len && (s.ptr[s.len - 1] & 0xC0) == 0x80)
		s.len--;
	s.len -= cut && s.len && s.ptr[s.len - 1] >= 0xC0;
	bool utf8 = nh_utf8_valid(s);
	nh_buf_put_u8(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c == '"' || c == '\\')
			nh_buf_printf(out, "\\%c", c);
		else if (c < ' ' || c == 0x7F)
			nh_buf_printf(out, "\\u%04x", c);
		else if (c >= 0x80 && !utf8)
			nh_buf_put_str(out, "\\ufffd");
		else
			nh_buf_put_u8(out, c);
	}
	nh_buf_put_str(out, cut ? "…\"" : "\"");
}

static void put_json(struct nh_buf *line, const struct nh_log_field *f)
{
	nh_buf_printf(line, ",\"%s\":", f->key);
	if (f->kind == 'i')
		nh_buf_printf(line, "%lld", (long long)f->number);
	else
		put_json_text(line, f->text);
}

/* ---- lines ----------------------------------------------------------------------------------------------------------------- */

static bool has_key(const struct nh_log_field *fields, const char *key)
{
	while (fields->kind && strcmp(fields->key, key) != 0)
		fields++;
	return fields->kind != 0;
}

void nh_log_write(nh_log_level level, const char *event, const struct nh_log_field *fields)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_MAX(LINE_MAX_BYTES * 4);
	bool json = atomic_load_explicit(&form, memory_order_relaxed) == NH_LOG_FMT_JSON;
	void (*put)(struct nh_buf *line, const struct nh_log_field *f) = json ? put_json : put_logfmt;
	nh_buf_put_str(&line, json ? "{\"time\":\"" : "");
	nh_time_put_iso_us(&line, nh_now_us());
	nh_buf_printf(&line, json ? "\",\"level\":\"%s\",\"event\":\"%s\"" : " %-5s %s", level_names[level], event);
	for (const struct nh_log_field *f = fields; f->kind && line.len < LINE_MAX_BYTES; f++)
		put(&line, f);
	for (const struct nh_log_scope *s = innermost; s && line.len < LINE_MAX_BYTES; s = s->outer) {
		if ((s->field.kind == 'i' || s->field.text.len > 0) && !has_key(fields, s->field.key))
			put(&line, &s->field);
	}
	nh_buf_put_str(&line, json ? "}\n" : "\n");
	pthread_mutex_lock(&lock);
	if (sink)
		sink(sink_ctx, level, nh_buf_slice(&line));
	else
		to_stderr(nh_buf_slice(&line));
	pthread_mutex_unlock(&lock);
}

void nh_log_set_sink(void (*new_sink)(void *ctx, nh_log_level level, nh_slice line), void *ctx)
{
	pthread_mutex_lock(&lock);
	sink = new_sink;
	sink_ctx = ctx;
	pthread_mutex_unlock(&lock);
}
