/*
 * The logging extension: lines from this process and from a socket that takes datagrams as syslog(3) writes them, sent one each 200 ms, which is what servers let through. While no server
 * wants them they wait; what finds the queue full is dropped and counted, and the next line that goes out says how many. Reading the socket never stops: who writes to it must not hang
 * because a server is away. source: reference/device-protocol "12.5"; RFC 3164
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/encode.h"
#include "extras_int.h"

#define PACE_MS 200
#define TEXT_MAX 4096
#define DATAGRAMS_AT_ONCE 64 /* then others have their turn */

/* ---- in */

static void wake(void *arg);

void nh_link_log(struct nh_link *l, nh_log_level level, const char *source_name, nh_slice text)
{
	struct link_extras *x = l->extras;
	if (!x || !x->config.logging || level < x->config.log_level || text.len == 0)
		return;
	struct logging *g = &x->log;
	bool send_wake = false;
	pthread_mutex_lock(&g->lock);
	if (g->count == LOG_QUEUE_MAX) {
		g->lost++;
	} else {
		g->queue[(g->first + g->count++) % LOG_QUEUE_MAX] =
			(struct log_line){.level = level, .at_us = nh_clock_now(&l->clock), .source = source_name, .text = nh_xstrdup(nh_slice_sub(text, 0, TEXT_MAX))};
		send_wake = !g->waking && g->count == 1;
		g->waking |= send_wake;
	}
	pthread_mutex_unlock(&g->lock);
	if (send_wake)
		nh_loop_send(l->loop, &g->wake);
}

/* "<PRI>Nov 21 18:00:00 tag: text", of which all but the text may be missing. */
static nh_slice syslog_text(nh_slice text, nh_log_level *level)
{
	static const nh_log_level levels[8] = {NH_LOG_ERROR, NH_LOG_ERROR, NH_LOG_ERROR, NH_LOG_ERROR, NH_LOG_WARN, NH_LOG_INFO, NH_LOG_INFO, NH_LOG_DEBUG};
	nh_slice number, rest;
	uint64_t priority;
	*level = NH_LOG_INFO;
	if (text.len == 0 || text.ptr[0] != '<' || !nh_slice_cut(nh_slice_skip(text, 1), '>', &number, &rest) || nh_parse_u64(number, 0, 191, &priority) != NH_OK)
		return text;
	*level = levels[priority & 7];
	if (rest.len > 16 && rest.ptr[3] == ' ' && rest.ptr[6] == ' ' && rest.ptr[9] == ':' && rest.ptr[12] == ':' && rest.ptr[15] == ' ')
		rest = nh_slice_skip(rest, 16);
	return rest;
}

static void on_datagram(void *arg, unsigned events)
{
	struct nh_link *l = arg;
	uint8_t bytes[TEXT_MAX];
	for (int i = 0; i < DATAGRAMS_AT_ONCE; i++) {
		ssize_t n = recv(l->extras->log.socket, bytes, sizeof bytes, MSG_DONTWAIT);
		if (n < 0)
			return;
		nh_log_level level;
		nh_slice text = syslog_text(nh_slice_of(bytes, (size_t)n), &level);
		while (text.len > 0 && (text.ptr[text.len - 1] == 0 || text.ptr[text.len - 1] == '\n'))
			text.len--;
		nh_link_log(l, level, "syslog", text);
	}
}

/* ---- out */

static void send_line(struct nh_link *l, nh_log_level level, int64_t at_us, const char *source, const char *text)
{
	static const char *const names[] = {[NH_LOG_DEBUG] = "debug", [NH_LOG_INFO] = "info", [NH_LOG_WARN] = "warning", [NH_LOG_ERROR] = "error"};
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	char number[24];
	nh_time_put_iso_us(&iso, at_us);
	snprintf(number, sizeof number, "%lld", (long long)at_us);
	extensions_push(l, "logging:send",
			json_pack("{s:s, s:o, s:{s:s, s:s}, s:s}", "level", names[level], "message", nh_json_new_text(nh_slice_str(text)), "meta", "time", number, "source", source,
				  "timestamp", nh_buf_cstr(&iso)));
}

static void on_timer(void *arg)
{
	struct nh_link *l = arg;
	struct logging *g = &l->extras->log;
	struct log_line line = {0};
	pthread_mutex_lock(&g->lock);
	uint64_t lost = g->lost;
	g->lost = 0;
	if (lost == 0 && g->count > 0) {
		line = g->queue[g->first];
		g->first = (g->first + 1) % LOG_QUEUE_MAX;
		g->count--;
	}
	bool more = g->count > 0;
	pthread_mutex_unlock(&g->lock);
	if (lost > 0) {
		char text[80];
		snprintf(text, sizeof text, "%llu lines were lost: there were too many", (unsigned long long)lost);
		send_line(l, NH_LOG_WARN, nh_clock_now(&l->clock), "agent", text);
	} else if (line.text) {
		send_line(l, line.level, line.at_us, line.source, line.text);
	}
	free(line.text);
	if (!more)
		nh_timer_stop(g->timer);
}

/* Lines may be there: have them sent, unless nobody wants them. */
static void begin(struct nh_link *l)
{
	struct logging *g = &l->extras->log;
	if (extension_attached(l, LINK_EXT_LOGGING) && !nh_timer_active(g->timer))
		nh_timer_start(g->timer, PACE_MS, PACE_MS);
}

static void wake(void *arg)
{
	struct nh_link *l = arg;
	struct logging *g = &l->extras->log;
	pthread_mutex_lock(&g->lock);
	g->waking = false;
	pthread_mutex_unlock(&g->lock);
	if (l->closing)
		link_close_step(l);
	else
		begin(l);
}

/* ---- life */

static nh_rc open_socket(struct nh_link *l, const char *path, struct nh_err *err)
{
	struct logging *g = &l->extras->log;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	if (strlen(path) >= sizeof address.sun_path)
		return NH_FAIL(err, NH_EINVAL, "log socket '%s': the path is longer than %zu characters", path, sizeof address.sun_path - 1);
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path); /* of an earlier life */
	g->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->socket < 0 || bind(g->socket, (const struct sockaddr *)&address, sizeof address) != 0)
		return NH_FAIL(err, NH_EIO, "log socket '%s': %s", path, strerrordesc_np(errno));
	NH_TRY(nh_watch_open(l->loop, g->socket, on_datagram, l, &g->watch, err));
	nh_watch_set(g->watch, NH_READABLE);
	return NH_OK;
}

nh_rc logging_open(struct nh_link *l, struct nh_err *err)
{
	struct link_extras *x = l->extras;
	struct logging *g = &x->log;
	pthread_mutex_init(&g->lock, NULL);
	g->wake = (struct nh_message){.fn = wake, .arg = l};
	g->socket = -1;
	g->timer = nh_timer_new(l->loop, on_timer, l);
	return x->config.logging && x->config.log_socket ? open_socket(l, x->config.log_socket, err) : NH_OK;
}

void logging_attached(struct nh_link *l) { begin(l); }

void logging_detached(struct nh_link *l, bool lost)
{
	if (!l->closing)
		nh_timer_stop(l->extras->log.timer);
}

void logging_close(struct nh_link *l)
{
	struct logging *g = &l->extras->log;
	nh_timer_close(g->timer);
	nh_watch_close(g->watch);
	if (g->socket >= 0) {
		close(g->socket);
		unlink(l->extras->config.log_socket);
	}
	g->socket = -1;
}

void logging_free(struct link_extras *x)
{
	for (; x->log.count > 0; x->log.count--) {
		free(x->log.queue[x->log.first].text);
		x->log.first = (x->log.first + 1) % LOG_QUEUE_MAX;
	}
	pthread_mutex_destroy(&x->log.lock);
}
