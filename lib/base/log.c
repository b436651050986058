/*
 * Log lines. A line is built whole and handed to the sink under one lock, so lines never mix. Values from outside are escaped here, in one place:
 * whatever a device or user sends, it stays inside its quotes on its line.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 8192
#define VALUE_MAX_BYTES 2048

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int least = NH_LOG_INFO;
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

void nh_log_write(nh_log_level level, const char *event, const struct nh_log_field *fields)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_MAX(LINE_MAX_BYTES * 4);
	nh_time_put_iso_us(&line, nh_now_us());
	nh_buf_printf(&line, " %-5s %s", level_names[level], event);
	for (const struct nh_log_field *f = fields; f->kind && line.len < LINE_MAX_BYTES; f++) {
		nh_buf_printf(&line, " %s=", f->key);
		if (f->kind == 'i')
			nh_buf_printf(&line, "%lld", (long long)f->number);
		else
			put_value(&line, f->text);
	}
	nh_buf_put_u8(&line, '\n');
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
