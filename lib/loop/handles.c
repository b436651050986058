/*
 * Timers, watched descriptors, signals and name look-ups: thin owners around libuv's handles, whose memory goes in libuv's close callback.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "loop_int.h"

static void free_handle(uv_handle_t *handle) { free(handle->data); }

/* ---- timers ------------------------------------------------------------------------------------------------------------ */

struct nh_timer {
	uv_timer_t uv;
	struct nh_loop *loop;
	nh_loop_fn fn;
	void *arg;
};

static void on_timer(uv_timer_t *uv)
{
	struct nh_timer *t = uv->data;
	t->fn(t->arg);
}

struct nh_timer *nh_timer_new(struct nh_loop *loop, nh_loop_fn fn, void *arg)
{
	NH_ASSERT(nh_loop_here(loop));
	struct nh_timer *t = nh_xcalloc(1, sizeof *t);
	uv_timer_init(&loop->uv, &t->uv);
	t->uv.data = t;
	t->loop = loop;
	t->fn = fn;
	t->arg = arg;
	return t;
}

void nh_timer_start(struct nh_timer *t, uint64_t after_ms, uint64_t repeat_ms)
{
	NH_ASSERT(nh_loop_here(t->loop));
	/* libuv counts from the iteration's time, which may lie behind when the loop has not run yet. */
	uv_update_time(&t->loop->uv);
	uv_timer_start(&t->uv, on_timer, after_ms, repeat_ms);
}

void nh_timer_stop(struct nh_timer *t) { uv_timer_stop(&t->uv); }
bool nh_timer_active(const struct nh_timer *t) { return uv_is_active((const uv_handle_t *)&t->uv) != 0; }

void nh_timer_close(struct nh_timer *t)
{
	if (t)
		uv_close((uv_handle_t *)&t->uv, free_handle);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------- */

struct nh_watch {
	uv_poll_t uv;
	struct nh_loop *loop;
	unsigned events;
	nh_watch_fn fn;
	void *arg;
};

static int watched(unsigned events) { return (events & NH_READABLE ? UV_READABLE : 0) | (events & NH_WRITABLE ? UV_WRITABLE : 0); }

static void on_poll(uv_poll_t *uv, int status, int events)
{
	struct nh_watch *w = uv->data;
	if (status < 0) {
		/* libuv stops watching after an error, but a reset connection may still have bytes to be read before the reset itself is. */
		uv_poll_start(&w->uv, watched(w->events), on_poll);
		w->fn(w->arg, NH_READABLE | NH_WRITABLE);
	} else {
		w->fn(w->arg, (events & UV_READABLE ? NH_READABLE : 0) | (events & UV_WRITABLE ? NH_WRITABLE : 0));
	}
}

nh_rc nh_watch_open(struct nh_loop *loop, int fd, nh_watch_fn fn, void *arg, struct nh_watch **out, struct nh_err *err)
{
	NH_ASSERT(nh_loop_here(loop));
	struct nh_watch *w = nh_xcalloc(1, sizeof *w);
	*out = NULL;
	int rc = uv_poll_init(&loop->uv, &w->uv, fd);
	if (rc != 0) {
		free(w);
		return NH_FAIL(err, NH_EIO, "cannot watch descriptor %d: %s", fd, uv_strerror(rc));
	}
	w->uv.data = w;
	w->loop = loop;
	w->fn = fn;
	w->arg = arg;
	*out = w;
	return NH_OK;
}

void nh_watch_set(struct nh_watch *w, unsigned events)
{
	NH_ASSERT(nh_loop_here(w->loop));
	if (events == w->events)
		return;
	w->events = events;
	if (events == 0)
		uv_poll_stop(&w->uv);
	else
		uv_poll_start(&w->uv, watched(events), on_poll);
}

void nh_watch_hand_over(struct nh_watch *w, nh_watch_fn fn, void *arg)
{
	NH_ASSERT(nh_loop_here(w->loop));
	w->fn = fn;
	w->arg = arg;
}

void nh_watch_close(struct nh_watch *w)
{
	if (w)
		uv_close((uv_handle_t *)&w->uv, free_handle);
}

/* ---- signals ----------------------------------------------------------------------------------------------------------- */

struct nh_signal {
	uv_signal_t uv;
	nh_loop_fn fn;
	void *arg;
};

static void on_signal(uv_signal_t *uv, int number)
{
	struct nh_signal *s = uv->data;
	s->fn(s->arg);
}

nh_rc nh_signal_open(struct nh_loop *loop, int number, nh_loop_fn fn, void *arg, struct nh_signal **out, struct nh_err *err)
{
	NH_ASSERT(nh_loop_here(loop));
	struct nh_signal *s = nh_xcalloc(1, sizeof *s);
	uv_signal_init(&loop->uv, &s->uv);
	s->uv.data = s;
	s->fn = fn;
	s->arg = arg;
	int rc = uv_signal_start(&s->uv, on_signal, number);
	*out = rc == 0 ? s : NULL;
	if (rc == 0)
		return NH_OK;
	nh_signal_close(s);
	return NH_FAIL(err, NH_EIO, "signal %d: %s", number, uv_strerror(rc));
}

void nh_signal_close(struct nh_signal *s)
{
	if (s)
		uv_close((uv_handle_t *)&s->uv, free_handle);
}

/* ---- names ------------------------------------------------------------------------------------------------------------- */

#define ADDRESSES_MAX 8

/* libuv keeps the request until its callback ran, also when it is cancelled; `closed` then lets the callback free it. */
struct nh_resolve {
	uv_getaddrinfo_t uv;
	nh_resolve_fn fn;
	void *arg;
	char *host;
	bool closed, done;
};

static void resolve_free(struct nh_resolve *r)
{
	free(r->host);
	free(r);
}

static void on_resolved(uv_getaddrinfo_t *uv, int status, struct addrinfo *list)
{
	struct nh_resolve *r = uv->data;
	const struct sockaddr *addresses[ADDRESSES_MAX];
	unsigned lengths[ADDRESSES_MAX];
	size_t count = 0;
	for (struct addrinfo *a = list; a && count < ADDRESSES_MAX; a = a->ai_next) {
		addresses[count] = a->ai_addr;
		lengths[count++] = a->ai_addrlen;
	}
	r->done = true;
	if (r->closed) {
		uv_freeaddrinfo(list);
		resolve_free(r);
		return;
	}
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = NH_OK;
	if (status != 0 || count == 0)
		rc = NH_FAIL(&err, NH_EIO, "host name '%s' is not known: %s", r->host, uv_strerror(status));
	r->fn(r->arg, rc, addresses, lengths, count, &err);
	uv_freeaddrinfo(list);
}

nh_rc nh_resolve_open(struct nh_loop *loop, const char *host, uint16_t port, nh_resolve_fn fn, void *arg, struct nh_resolve **out, struct nh_err *err)
{
	NH_ASSERT(nh_loop_here(loop));
	struct nh_resolve *r = nh_xcalloc(1, sizeof *r);
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	char service[8];
	snprintf(service, sizeof service, "%u", port);
	*r = (struct nh_resolve){.fn = fn, .arg = arg, .host = nh_xstrdup(nh_slice_str(host))};
	r->uv.data = r;
	*out = NULL;
	int rc = uv_getaddrinfo(&loop->uv, &r->uv, on_resolved, host, service, &hints);
	if (rc != 0) {
		resolve_free(r);
		return NH_FAIL(err, NH_EIO, "cannot look up '%s': %s", host, uv_strerror(rc));
	}
	*out = r;
	return NH_OK;
}

void nh_resolve_close(struct nh_resolve *r)
{
	if (!r)
		return;
	if (r->done) {
		resolve_free(r);
		return;
	}
	r->closed = true;
	uv_cancel((uv_req_t *)&r->uv);
}
