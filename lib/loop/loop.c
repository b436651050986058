/*
 * The loop itself: run, stop, mailbox. The mailbox is a list under a mutex and one uv_async_t; a burst of posts costs one wake-up. Bounded posts
 * count against mailbox_max, completions (nh_loop_send) do not, as their number is bounded where they were submitted.
 */
#include "loop_int.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/arena.h"

struct posted {
	struct nh_message message;
	nh_loop_fn fn;
	void *arg;
};

static void run_posted(void *arg)
{
	struct posted *p = arg;
	nh_loop_fn fn = p->fn;
	void *fn_arg = p->arg;
	free(p);
	fn(fn_arg);
}

/* Runs what was posted; true where the loop is to stop. Takes the whole list at once, so that messages posted meanwhile wait for the next turn and sockets get theirs. */
static bool mailbox_drain(struct nh_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	struct nh_message *m = loop->head;
	loop->head = NULL;
	loop->tail = &loop->head;
	loop->posted = 0;
	bool stop = loop->stopping;
	pthread_mutex_unlock(&loop->lock);
	while (m) {
		struct nh_message *next = m->next;
		m->fn(m->arg);
		m = next;
	}
	return stop;
}

static void on_wake(uv_async_t *async)
{
	struct nh_loop *loop = async->data;
	if (mailbox_drain(loop))
		uv_stop(&loop->uv);
}

static void on_check(uv_check_t *check)
{
	struct nh_loop *loop = check->data;
	while (loop->deferred) {
		struct deferred *d = loop->deferred;
		loop->deferred = NULL;
		/* Newest first in the list; run in order of deferring. */
		struct deferred *ordered = NULL;
		while (d) {
			struct deferred *next = d->next;
			d->next = ordered;
			ordered = d;
			d = next;
		}
		while (ordered) {
			struct deferred *next = ordered->next;
			ordered->fn(ordered->arg);
			free(ordered);
			ordered = next;
		}
	}
}

nh_rc nh_loop_new(const struct nh_loop_config *config, struct nh_loop **out, struct nh_err *err)
{
	struct nh_loop *loop = nh_xcalloc(1, sizeof *loop);
	*out = NULL;
	loop->mailbox_max = config && config->mailbox_max ? config->mailbox_max : 4096;
	loop->name = nh_xstrdup(nh_slice_str(config && config->name ? config->name : "loop"));
	loop->tail = &loop->head;
	pthread_mutex_init(&loop->lock, NULL);
	int rc = uv_loop_init(&loop->uv);
	if (rc != 0) {
		free(loop->name);
		free(loop);
		return NH_FAIL(err, NH_EIO, "event loop: %s", uv_strerror(rc));
	}
	rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
	NH_ASSERT(rc == 0);
	loop->wake.data = loop;
	uv_check_init(&loop->uv, &loop->check);
	loop->check.data = loop;
	uv_check_start(&loop->check, on_check);
	uv_unref((uv_handle_t *)&loop->check);
	*out = loop;
	return NH_OK;
}

void nh_loop_run(struct nh_loop *loop)
{
	loop->runner = pthread_self();
	__atomic_store_n(&loop->running, true, __ATOMIC_RELEASE);
	if (!mailbox_drain(loop))
		uv_run(&loop->uv, UV_RUN_DEFAULT);
	__atomic_store_n(&loop->running, false, __ATOMIC_RELEASE);
}

int nh_loop_fd(const struct nh_loop *loop) { return uv_backend_fd(&loop->uv); }

/* Zero also where a watched descriptor still has to be told to the kernel, which only a turn does. */
int nh_loop_timeout_ms(struct nh_loop *loop)
{
	uv_update_time(&loop->uv);
	return uv_backend_timeout(&loop->uv);
}

void nh_loop_turn(struct nh_loop *loop)
{
	NH_ASSERT(!loop->own_thread && !loop->running);
	loop->runner = pthread_self();
	__atomic_store_n(&loop->running, true, __ATOMIC_RELEASE);
	uv_run(&loop->uv, UV_RUN_NOWAIT);
	__atomic_store_n(&loop->running, false, __ATOMIC_RELEASE);
}

static void *thread_main(void *arg)
{
	struct nh_loop *loop = arg;
	pthread_setname_np(pthread_self(), loop->name);
	nh_loop_run(loop);
	return NULL;
}

nh_rc nh_loop_start(struct nh_loop *loop, struct nh_err *err)
{
	NH_ASSERT(!loop->own_thread);
	if (pthread_create(&loop->thread, NULL, thread_main, loop) != 0)
		return NH_FAIL(err, NH_EIO, "cannot start a thread for loop %s", loop->name);
	loop->own_thread = true;
	return NH_OK;
}

void nh_loop_stop(struct nh_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->stopping = true;
	pthread_mutex_unlock(&loop->lock);
	uv_async_send(&loop->wake);
}

void nh_loop_join(struct nh_loop *loop)
{
	if (!loop->own_thread)
		return;
	pthread_join(loop->thread, NULL);
	loop->own_thread = false;
}

static void assert_closing(uv_handle_t *handle, void *arg) { NH_ASSERT(uv_is_closing(handle)); }

void nh_loop_free(struct nh_loop *loop)
{
	if (!loop)
		return;
	NH_ASSERT(!loop->running && !loop->own_thread);
	/* Completions that came after the stop: their owners let go of memory in them. */
	while (loop->head)
		(void)mailbox_drain(loop);
	on_check(&loop->check);
	uv_close((uv_handle_t *)&loop->wake, NULL);
	uv_close((uv_handle_t *)&loop->check, NULL);
	uv_walk(&loop->uv, assert_closing, NULL);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	NH_ASSERT(uv_loop_close(&loop->uv) == 0);
	pthread_mutex_destroy(&loop->lock);
	free(loop->name);
	free(loop);
}

bool nh_loop_here(const struct nh_loop *loop)
{
	return !__atomic_load_n(&loop->running, __ATOMIC_ACQUIRE) || pthread_equal(loop->runner, pthread_self());
}

uint64_t nh_loop_now_ms(const struct nh_loop *loop) { return uv_now(&loop->uv); }

static void append(struct nh_loop *loop, struct nh_message *m)
{
	m->next = NULL;
	*loop->tail = m;
	loop->tail = &m->next;
}

nh_rc nh_loop_post(struct nh_loop *loop, nh_loop_fn fn, void *arg)
{
	struct posted *p = nh_xcalloc(1, sizeof *p);
	*p = (struct posted){.message = {.fn = run_posted, .arg = p}, .fn = fn, .arg = arg};
	nh_rc rc = NH_OK;
	pthread_mutex_lock(&loop->lock);
	if (loop->stopping)
		rc = NH_ECLOSED;
	else if (loop->posted >= loop->mailbox_max)
		rc = NH_EAGAIN;
	else {
		loop->posted++;
		append(loop, &p->message);
	}
	pthread_mutex_unlock(&loop->lock);
	if (rc == NH_OK)
		uv_async_send(&loop->wake);
	else
		free(p);
	return rc;
}

void nh_loop_send(struct nh_loop *loop, struct nh_message *m)
{
	pthread_mutex_lock(&loop->lock);
	append(loop, m);
	/* Woken under the lock: after it is released the loop may run the message and be freed by its owner. */
	uv_async_send(&loop->wake);
	pthread_mutex_unlock(&loop->lock);
}

void nh_loop_defer(struct nh_loop *loop, nh_loop_fn fn, void *arg)
{
	NH_ASSERT(nh_loop_here(loop));
	struct deferred *d = nh_xcalloc(1, sizeof *d);
	*d = (struct deferred){.next = loop->deferred, .fn = fn, .arg = arg};
	loop->deferred = d;
	/* Deferred outside of a poll (from a timer or a message) it must not wait for the next event. */
	uv_async_send(&loop->wake);
}

uint64_t nh_fd_limit_raise(void)
{
	struct rlimit limit = {0};
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}
