#include "notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/encode.h"

#define STATUS_MAX 300

static void say(const struct notifier *n, const char *lines)
{
	if (n->fd > 0 && sendto(n->fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&n->address, n->address_len) < 0)
		return; /* the manager is gone or its queue is full: nothing depends on it here */
}

static nh_rc parse_address(const char *text, struct notifier *n, struct nh_err *err)
{
	size_t len = strlen(text);
	if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof n->address.sun_path)
		return NH_FAIL(err, NH_EINVAL, "NOTIFY_SOCKET is a path or @name of at most %zu characters, not '%.200s'", sizeof n->address.sun_path - 1, text);
	n->address.sun_family = AF_UNIX;
	for (size_t i = 0; i < len; i++)
		n->address.sun_path[i] = text[i];
	if (text[0] == '@')
		n->address.sun_path[0] = 0; /* abstract: the length counts, not a final NUL */
	n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'));
	return NH_OK;
}

/* Half of what the manager asks for would be the last moment; it is also told so. */
static uint64_t watchdog_of(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t us = 0, whom = 0;
	if (!usec || nh_parse_u64(nh_slice_str(usec), 2000, UINT64_MAX, &us) != NH_OK)
		return 0;
	if (pid && (nh_parse_u64(nh_slice_str(pid), 1, INT32_MAX, &whom) != NH_OK || whom != (uint64_t)getpid()))
		return 0; /* meant for the process that started us */
	return us / 1000;
}

nh_rc notify_open(struct notifier *n, struct nh_err *err)
{
	static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
	const char *text = getenv(names[0]);
	*n = (struct notifier){0};
	if (!text || !*text)
		return NH_OK;
	NH_TRY(parse_address(text, n, err));
	n->watchdog_ms = watchdog_of();
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++)
		unsetenv(names[i]);
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0)
		return NH_FAIL(err, NH_EIO, "cannot open a socket for the service manager");
	return NH_OK;
}

static void on_watchdog(void *arg) { say(arg, "WATCHDOG=1"); }

void notify_ready(struct notifier *n, struct nh_loop *loop)
{
	say(n, "READY=1\nSTATUS=starting");
	if (n->watchdog_ms == 0 || n->fd <= 0)
		return;
	n->watchdog = nh_timer_new(loop, on_watchdog, n);
	nh_timer_start(n->watchdog, 0, n->watchdog_ms / 2);
}

/* ---- what the agent is at */

static void put_connecting(struct nh_buf *out, const struct nh_link_event *e) { nh_buf_printf(out, "connecting to %.*s", NH_ARG(e->text)); }
static void put_joined(struct nh_buf *out, const struct nh_link_event *e) { nh_buf_put_str(out, "connected"); }

static void put_disconnected(struct nh_buf *out, const struct nh_link_event *e)
{
	nh_buf_printf(out, "not connected: %.*s; next attempt in %llu s", NH_ARG(nh_slice_sub(e->text, 0, 200)), (unsigned long long)(e->delay_ms + 999) / 1000);
}

static void put_progress(struct nh_buf *out, const struct nh_link_event *e) { nh_buf_printf(out, "%.*s firmware: %u %%", NH_ARG(e->text), e->percent); }
static void put_installed(struct nh_buf *out, const struct nh_link_event *e) { nh_buf_printf(out, "restarting into firmware %.*s", NH_ARG(nh_slice_sub(e->version, 0, 100))); }
static void put_failed(struct nh_buf *out, const struct nh_link_event *e) { nh_buf_printf(out, "connected; the update failed: %.*s", NH_ARG(nh_slice_sub(e->text, 0, 200))); }

static void (*const statuses[NH_LINK_EVENT_KINDS])(struct nh_buf *out, const struct nh_link_event *e) = {
	[NH_LINK_CONNECTING] = put_connecting,       [NH_LINK_JOINED] = put_joined,
	[NH_LINK_DISCONNECTED] = put_disconnected,   [NH_LINK_UPDATE_PROGRESS] = put_progress,
	[NH_LINK_UPDATE_INSTALLED] = put_installed,  [NH_LINK_UPDATE_FAILED] = put_failed,
};

void notify_event(struct notifier *n, const struct nh_link_event *e)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	if (n->fd <= 0 || !statuses[e->kind])
		return;
	nh_buf_put_str(&line, "STATUS=");
	statuses[e->kind](&line, e);
	nh_buf_truncate(&line, STATUS_MAX);
	for (size_t i = 0; i < line.len; i++) /* a server's words must not become a line of their own */
		if (line.ptr[i] < 0x20 || line.ptr[i] == 0x7f)
			line.ptr[i] = ' ';
	say(n, nh_buf_cstr(&line));
}

void notify_stopping(struct notifier *n)
{
	say(n, "STOPPING=1\nSTATUS=stopping");
	nh_timer_close(n->watchdog);
	n->watchdog = NULL;
}

void notify_close(struct notifier *n)
{
	if (n->fd > 0)
		close(n->fd);
	n->fd = 0;
}
