/* Loops: mailbox order and bound, timers, watched descriptors, signals, names, deferral, and what happens at the end. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "loop/loop.h"

static struct nh_loop *loop_new(size_t mailbox_max)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_loop *loop = NULL;
	assert_int_equal(nh_loop_new(&(struct nh_loop_config){.name = "test", .mailbox_max = mailbox_max}, &loop, &err), NH_OK);
	return loop;
}

static void stop(void *arg) { nh_loop_stop(arg); }

/* ---- mailbox ----------------------------------------------------------------------------------------------------------- */

struct sequence {
	struct nh_loop *loop;
	int next, wrong, last;
};

struct step {
	struct sequence *sequence;
	int number;
};

static void on_step(void *arg)
{
	struct step *step = arg;
	struct sequence *q = step->sequence;
	q->wrong += step->number != q->next++;
	q->wrong += !nh_loop_here(q->loop);
	if (step->number == q->last)
		nh_loop_stop(q->loop);
}

static void test_posts_run_in_order_on_the_loop(void **state)
{
	enum { COUNT = 5000 };
	struct nh_loop *loop = loop_new(64);
	struct nh_err err = NH_ERR_INIT;
	struct sequence q = {.loop = loop, .last = COUNT - 1};
	struct step *steps = nh_xcalloc(COUNT, sizeof *steps);
	assert_int_equal(nh_loop_start(loop, &err), NH_OK);
	for (int i = 0; i < COUNT; i++) {
		steps[i] = (struct step){&q, i};
		nh_rc rc;
		while ((rc = nh_loop_post(loop, on_step, &steps[i])) == NH_EAGAIN)
			sched_yield();
		assert_int_equal(rc, NH_OK);
	}
	nh_loop_join(loop);
	assert_int_equal(q.next, COUNT);
	assert_int_equal(q.wrong, 0);
	assert_int_equal(nh_loop_post(loop, on_step, &steps[0]), NH_ECLOSED);
	nh_loop_free(loop);
	free(steps);
}

static void count(void *arg) { ++*(int *)arg; }

static void test_a_full_mailbox_refuses(void **state)
{
	struct nh_loop *loop = loop_new(3);
	int ran = 0;
	for (int i = 0; i < 3; i++)
		assert_int_equal(nh_loop_post(loop, count, &ran), NH_OK);
	assert_int_equal(nh_loop_post(loop, count, &ran), NH_EAGAIN);
	/* A completion is never refused. */
	struct nh_message m = {.fn = stop, .arg = loop};
	nh_loop_send(loop, &m);
	nh_loop_run(loop);
	assert_int_equal(ran, 3);
	nh_loop_free(loop);
}

static void test_completions_after_the_stop_run_when_freed(void **state)
{
	struct nh_loop *loop = loop_new(0);
	int ran = 0;
	nh_loop_stop(loop);
	nh_loop_run(loop);
	struct nh_message m = {.fn = count, .arg = &ran};
	nh_loop_send(loop, &m);
	assert_int_equal(ran, 0);
	nh_loop_free(loop);
	assert_int_equal(ran, 1);
}

/* ---- deferral ---------------------------------------------------------------------------------------------------------- */

struct deferral {
	struct nh_loop *loop;
	char order[8];
};

static void note(struct deferral *d, char c) { d->order[strlen(d->order)] = c; }

static void deferred_b(void *arg)
{
	note(arg, 'b');
	nh_loop_stop(((struct deferral *)arg)->loop);
}

static void deferred_a(void *arg) { note(arg, 'a'); }

static void start_deferral(void *arg)
{
	struct deferral *d = arg;
	nh_loop_defer(d->loop, deferred_a, d);
	nh_loop_defer(d->loop, deferred_b, d);
	note(d, '1');
}

static void test_deferred_run_later_in_order(void **state)
{
	struct deferral d = {.loop = loop_new(0)};
	/* From a timer: the loop must not go to sleep before it ran them. */
	struct nh_timer *t = nh_timer_new(d.loop, start_deferral, &d);
	nh_timer_start(t, 1, 0);
	nh_loop_run(d.loop);
	assert_string_equal(d.order, "1ab");
	nh_timer_close(t);
	nh_loop_free(d.loop);
}

/* ---- timers ------------------------------------------------------------------------------------------------------------ */

struct ticking {
	struct nh_loop *loop;
	struct nh_timer *repeating, *once, *never;
	int ticks, once_ran;
};

static void on_once(void *arg) { ((struct ticking *)arg)->once_ran++; }
static void on_never(void *arg) { fail_msg("a stopped timer ran"); }

static void on_tick(void *arg)
{
	struct ticking *t = arg;
	if (++t->ticks < 3)
		return;
	/* Closing from inside its own callback. */
	nh_timer_close(t->repeating);
	nh_loop_stop(t->loop);
}

static void test_timers(void **state)
{
	struct ticking t = {.loop = loop_new(0)};
	t.never = nh_timer_new(t.loop, on_never, &t);
	t.once = nh_timer_new(t.loop, on_once, &t);
	t.repeating = nh_timer_new(t.loop, on_tick, &t);
	nh_timer_start(t.never, 1, 0);
	assert_true(nh_timer_active(t.never));
	nh_timer_stop(t.never);
	assert_false(nh_timer_active(t.never));
	nh_timer_start(t.once, 0, 0);
	nh_timer_start(t.repeating, 1, 1);
	nh_loop_run(t.loop);
	assert_int_equal(t.ticks, 3);
	assert_int_equal(t.once_ran, 1);
	nh_timer_close(t.never);
	nh_timer_close(t.once);
	nh_timer_close(NULL);
	nh_loop_free(t.loop);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------- */

struct watched {
	struct nh_loop *loop;
	struct nh_watch *watch;
	int fds[2];
	int writable, readable;
};

static void on_watch(void *arg, unsigned events)
{
	struct watched *w = arg;
	char c;
	if (events & NH_WRITABLE) {
		w->writable++;
		nh_watch_set(w->watch, NH_READABLE);
		assert_int_equal(write(w->fds[1], "x", 1), 1);
	} else if (events & NH_READABLE) {
		w->readable++;
		assert_int_equal(read(w->fds[0], &c, 1), 1);
		nh_watch_close(w->watch);
		close(w->fds[0]);
		nh_loop_stop(w->loop);
	}
}

static void test_watching(void **state)
{
	struct watched w = {.loop = loop_new(0)};
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w.fds), 0);
	assert_int_equal(nh_watch_open(w.loop, w.fds[0], on_watch, &w, &w.watch, &err), NH_OK);
	nh_watch_set(w.watch, NH_READABLE | NH_WRITABLE);
	nh_watch_set(w.watch, NH_READABLE | NH_WRITABLE);
	nh_loop_run(w.loop);
	assert_int_equal(w.writable, 1);
	assert_int_equal(w.readable, 1);
	close(w.fds[1]);
	/* A regular file cannot be watched: refused with a reason. */
	char path[] = "/tmp/nh-loop-test-XXXXXX";
	int fd = mkstemp(path);
	struct nh_watch *none = NULL;
	assert_int_equal(nh_watch_open(w.loop, fd, on_watch, &w, &none, &err), NH_EIO);
	assert_null(none);
	assert_true(strlen(err.msg) > 0);
	nh_watch_close(NULL);
	close(fd);
	unlink(path);
	nh_loop_free(w.loop);
}

/* A peer that sends and then resets: bytes that came before the reset are read, in pieces, and then the reset, though nobody asks for more events. */

struct reset_test {
	struct nh_loop *loop;
	struct nh_watch *watch;
	int fd;
	unsigned bytes;
	int error;
};

static void on_reset_watch(void *arg, unsigned events)
{
	struct reset_test *r = arg;
	char byte;
	nh_watch_set(r->watch, NH_READABLE);
	ssize_t n = recv(r->fd, &byte, 1, 0);
	if (n == 1) {
		r->bytes++;
		return;
	}
	r->error = n < 0 ? errno : 0;
	nh_watch_close(r->watch);
	nh_loop_stop(r->loop);
}

static void test_watching_a_reset(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	struct reset_test r = {0};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof address), 0);
	r.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(r.fd >= 0);
	assert_int_equal(send(peer, "abc", 3, 0), 3);
	assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger)), 0);
	close(peer);
	assert_int_equal(nh_loop_new(NULL, &r.loop, NULL), NH_OK);
	assert_int_equal(nh_watch_open(r.loop, r.fd, on_reset_watch, &r, &r.watch, NULL), NH_OK);
	nh_watch_set(r.watch, NH_READABLE);
	nh_loop_run(r.loop);
	assert_int_equal(r.bytes, 3);
	assert_int_equal(r.error, ECONNRESET);
	nh_loop_free(r.loop);
	close(r.fd);
	close(listener);
}

/* ---- signals ----------------------------------------------------------------------------------------------------------- */

static void test_signals(void **state)
{
	struct nh_loop *loop = loop_new(0);
	struct nh_err err = NH_ERR_INIT;
	struct nh_signal *s = NULL, *none = NULL;
	assert_int_equal(nh_signal_open(loop, SIGUSR1, stop, loop, &s, &err), NH_OK);
	assert_int_equal(nh_signal_open(loop, SIGKILL, stop, loop, &none, &err), NH_EIO);
	assert_null(none);
	kill(getpid(), SIGUSR1);
	nh_loop_run(loop);
	nh_signal_close(s);
	nh_signal_close(NULL);
	nh_loop_free(loop);
}

/* ---- names ------------------------------------------------------------------------------------------------------------- */

struct looked_up {
	struct nh_loop *loop;
	nh_rc rc;
	size_t count;
	int calls;
};

static void on_resolved(void *arg, nh_rc rc, const struct sockaddr *const *addresses, const unsigned *lengths, size_t found, const struct nh_err *err)
{
	struct looked_up *l = arg;
	l->rc = rc;
	l->count = found;
	l->calls++;
	if (rc != NH_OK)
		assert_non_null(strstr(err->msg, "not known"));
	else
		assert_int_equal(addresses[0]->sa_family, AF_INET);
	nh_loop_stop(l->loop);
}

static void on_never_resolved(void *arg, nh_rc rc, const struct sockaddr *const *addresses, const unsigned *lengths, size_t found, const struct nh_err *err)
{
	fail_msg("a closed look-up answered");
}

static void test_names(void **state)
{
	static const struct {
		const char *host;
		nh_rc rc;
	} rows[] = {{"127.0.0.1", NH_OK}, {"no such name", NH_EIO}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct looked_up l = {.loop = loop_new(0)};
		struct nh_err err = NH_ERR_INIT;
		struct nh_resolve *r = NULL, *closed = NULL;
		assert_int_equal(nh_resolve_open(l.loop, "127.0.0.1", 80, on_never_resolved, NULL, &closed, &err), NH_OK);
		nh_resolve_close(closed);
		assert_int_equal(nh_resolve_open(l.loop, rows[i].host, 80, on_resolved, &l, &r, &err), NH_OK);
		nh_loop_run(l.loop);
		assert_int_equal(l.calls, 1);
		assert_int_equal(l.rc, rows[i].rc);
		nh_resolve_close(r);
		nh_loop_free(l.loop);
	}
}

static void test_descriptor_limit(void **state) { assert_true(nh_fd_limit_raise() >= 256); }

/* ---- inside of another loop -------------------------------------------------------------------------------------------- */

/* What the caller's own loop does until *ran reaches `wanted`: waits on the descriptor and the time-out, and for nothing else. */
static void turn_until(struct nh_loop *loop, const int *ran, int wanted)
{
	while (*ran < wanted) {
		struct pollfd fd = {.fd = nh_loop_fd(loop), .events = POLLIN};
		int timeout = nh_loop_timeout_ms(loop);
		assert_int_not_equal(poll(&fd, 1, timeout < 0 ? 60000 : timeout) == 0 && timeout < 0, 1);
		nh_loop_turn(loop);
	}
}

/* Turns until there is nothing left that a descriptor will not tell. */
static void settle(struct nh_loop *loop)
{
	for (int i = 0; nh_loop_timeout_ms(loop) == 0; i++) {
		assert_true(i < 10);
		nh_loop_turn(loop);
	}
}

static void on_here(void *arg)
{
	struct sequence *q = arg;
	q->wrong += !nh_loop_here(q->loop);
	q->next++;
}

static void *post_from_elsewhere(void *arg)
{
	struct sequence *q = arg; /* the loop's: what went wrong here is told at the end */
	return nh_loop_post(q->loop, on_here, q) == NH_OK ? NULL : q;
}

static void on_pipe(void *arg, unsigned events)
{
	char c;
	struct watched *w = arg;
	assert_int_equal(read(w->fds[0], &c, 1), 1);
	w->readable++;
}

static void test_turned_by_another_loop(void **state)
{
	struct sequence q = {.loop = loop_new(0)};
	struct watched w = {.loop = q.loop};
	pthread_t elsewhere;
	struct nh_err err = NH_ERR_INIT;
	settle(q.loop);
	assert_int_equal(nh_loop_timeout_ms(q.loop), -1);
	assert_int_equal(pthread_create(&elsewhere, NULL, post_from_elsewhere, &q), 0);
	turn_until(q.loop, &q.next, 1);
	void *wrong;
	pthread_join(elsewhere, &wrong);
	assert_null(wrong);

	struct nh_timer *timer = nh_timer_new(q.loop, on_here, &q);
	nh_timer_start(timer, 60000, 0);
	assert_in_range(nh_loop_timeout_ms(q.loop), 1, 60000);
	nh_timer_start(timer, 1, 0);
	turn_until(q.loop, &q.next, 2);
	nh_timer_close(timer);
	nh_loop_defer(q.loop, on_here, &q);
	turn_until(q.loop, &q.next, 3);

	/* A descriptor that is ready before the kernel was told of it: the time-out says that a turn is needed. */
	assert_int_equal(pipe2(w.fds, O_NONBLOCK | O_CLOEXEC), 0);
	settle(q.loop);
	assert_int_equal(nh_watch_open(q.loop, w.fds[0], on_pipe, &w, &w.watch, &err), NH_OK);
	nh_watch_set(w.watch, NH_READABLE);
	assert_int_equal(nh_loop_timeout_ms(q.loop), 0);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(write(w.fds[1], "x", 1), 1);
		turn_until(q.loop, &w.readable, i);
	}
	nh_watch_close(w.watch);
	assert_int_equal(q.wrong, 0);
	nh_loop_free(q.loop);
	close(w.fds[0]);
	close(w.fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turned_by_another_loop),
		cmocka_unit_test(test_posts_run_in_order_on_the_loop),
		cmocka_unit_test(test_a_full_mailbox_refuses),
		cmocka_unit_test(test_completions_after_the_stop_run_when_freed),
		cmocka_unit_test(test_deferred_run_later_in_order),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_watching),
		cmocka_unit_test(test_watching_a_reset),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_descriptor_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
