/*
 * Conversations between a device and people: who hears what and in which order, newcomers and the scrollback, what slow ones lose, questions, and both
 * sides on loops of their own.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "bus/relay.h"
#include "loop/loop.h"
#include "test_base.h"

/* ---- one loop, run until nothing is left to hear ---------------------------------------------------------------------------- */

struct room {
	struct nh_relay *relay;
	struct nh_loop *loop;
};

static void room_open(struct room *r)
{
	r->relay = nh_relay_new();
	assert_int_equal(nh_loop_new(NULL, &r->loop, NULL), NH_OK);
}

static void stop(void *loop) { nh_loop_stop(loop); }

static void room_end(struct room *r)
{
	nh_loop_free(r->loop);
	nh_relay_free(r->relay);
}

static void again(void *arg)
{
	struct nh_loop *loop = arg;
	assert_int_equal(nh_loop_post(loop, stop, loop), NH_OK);
}

/* Runs what is under way, twice through the mailbox: what callbacks of the first time caused is heard in the second. A loop that was stopped does not run again: one turn a test. */
static void turn(struct room *r)
{
	assert_int_equal(nh_loop_post(r->loop, again, r->loop), NH_OK);
	nh_loop_run(r->loop);
}

struct ear {
	char heard[1024];
	uint64_t lost;
	unsigned count;
	size_t bytes;
	struct nh_relay_viewer *viewer;
	struct nh_relay_device *device;
	uint64_t question;
	bool leave; /* at the next call */
};

[[gnu::format(printf, 2, 3)]] static void note(struct ear *e, const char *format, ...)
{
	va_list ap;
	size_t used = strlen(e->heard);
	va_start(ap, format);
	vsnprintf(e->heard + used, sizeof e->heard - used, format, ap);
	va_end(ap);
}

static void see(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost)
{
	static const char *const names[] = {"", "opened ", "replay ", "closed"};
	struct ear *e = ctx;
	e->lost += lost;
	e->count++;
	e->bytes += payload.len;
	if (lost)
		note(e, "[%u lost]", (unsigned)lost);
	if (payload.len < 100)
		note(e, "%s%.*s%s%.*s;", names[news], NH_ARG(event), event.len && payload.len ? "=" : "", NH_ARG(payload));
	else
		note(e, "%s%.*s;", names[news], NH_ARG(event));
	if (e->leave) {
		nh_relay_viewer_leave(e->viewer);
		e->viewer = NULL;
	}
}

static void hear(void *ctx, nh_slice event, nh_slice payload, uint64_t question)
{
	struct ear *e = ctx;
	e->count++;
	if (payload.len < 100)
		note(e, "%.*s=%.*s;", NH_ARG(event), NH_ARG(payload));
	e->question = question;
	if (e->leave) {
		nh_relay_device_close(e->device);
		e->device = NULL;
	}
}

static void look_on(struct ear *e, struct room *r, int64_t device, nh_relay_channel channel) { e->viewer = nh_relay_viewer_join(r->relay, device, channel, r->loop, see, e); }

static void offer(struct ear *e, struct room *r, int64_t device, nh_relay_channel channel, const char *about)
{
	e->device = nh_relay_device_open(r->relay, device, channel, nh_slice_str(about), r->loop, hear, e);
}

static void up(struct ear *device, const char *text) { nh_relay_device_say(device->device, NH_LIT("up"), nh_slice_str(text), nh_slice_str(text)); }

/* ---- who hears what ----------------------------------------------------------------------------------------------------------- */

static void test_conversation(void **state)
{
	struct room r;
	struct ear device = {0}, first = {0}, second = {0}, shell = {0}, stranger = {0};
	room_open(&r);
	look_on(&first, &r, 1, NH_RELAY_CONSOLE);
	assert_int_equal(nh_relay_viewer_say(first.viewer, NH_LIT("dn"), NH_LIT("x")), NH_ECLOSED);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "{v}");
	look_on(&shell, &r, 1, NH_RELAY_SHELL);
	look_on(&stranger, &r, 2, NH_RELAY_CONSOLE);
	assert_true(nh_relay_watched(r.relay, 2, NH_RELAY_CONSOLE));
	assert_false(nh_relay_watched(r.relay, 2, NH_RELAY_SHELL));
	up(&device, "iex> ");
	look_on(&second, &r, 1, NH_RELAY_CONSOLE);
	assert_int_equal(nh_relay_viewer_say(second.viewer, NH_LIT("dn"), NH_LIT("1")), NH_OK);
	assert_int_equal(nh_relay_viewer_say(first.viewer, NH_LIT("dn"), NH_LIT("2")), NH_OK);
	nh_relay_viewer_chat(first.viewer, NH_LIT("message"), NH_LIT("hi"));
	up(&device, "12");
	assert_string_equal(first.heard, ""); /* never inside a call */
	turn(&r);
	assert_string_equal(device.heard, "dn=1;dn=2;");
	assert_string_equal(first.heard, "opened metadata={v};up=iex> ;message=hi;up=12;");
	assert_string_equal(second.heard, "opened metadata={v};replay iex> ;message=hi;up=12;");
	assert_string_equal(shell.heard, "");
	assert_string_equal(stranger.heard, "");
	nh_relay_viewer_leave(first.viewer);
	nh_relay_viewer_leave(second.viewer);
	nh_relay_viewer_leave(shell.viewer);
	nh_relay_viewer_leave(stranger.viewer);
	nh_relay_viewer_leave(NULL);
	nh_relay_device_close(device.device);
	nh_relay_device_close(NULL);
	room_end(&r);
	nh_relay_free(NULL);
}

/* The newest connection has the channel; the scrollback is that of one connection. */
static void test_reconnect(void **state)
{
	struct room r;
	struct ear old = {0}, device = {0}, viewer = {0}, late = {0};
	struct nh_relay_stats stats;
	room_open(&r);
	offer(&old, &r, 1, NH_RELAY_CONSOLE, "{1}");
	assert_false(nh_relay_watched(r.relay, 1, NH_RELAY_CONSOLE));
	look_on(&viewer, &r, 1, NH_RELAY_CONSOLE);
	up(&old, "before\n");
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), NH_LIT("to nobody")), NH_OK);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "{2}");
	up(&old, "ghost\n");
	nh_relay_device_clear(old.device);
	up(&device, "after\n");
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), NH_LIT("to the new one")), NH_OK);
	look_on(&late, &r, 1, NH_RELAY_CONSOLE);
	nh_relay_stats(r.relay, &stats);
	assert_int_equal(stats.devices, 1);
	assert_int_equal(stats.viewers, 2);
	assert_true(stats.scrollback_bytes >= 6);
	nh_relay_device_clear(device.device);
	nh_relay_stats(r.relay, &stats);
	assert_int_equal(stats.scrollback_bytes, 0);
	turn(&r);
	assert_string_equal(old.heard, ""); /* it is still open, and hears no more */
	nh_relay_device_close(old.device);
	assert_string_equal(device.heard, "dn=to the new one;");
	assert_string_equal(viewer.heard, "opened metadata={1};up=before\n;closed;opened metadata={2};up=after\n;");
	assert_string_equal(late.heard, "opened metadata={2};replay after\n;");
	nh_relay_device_close(device.device);
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), NH_LIT("x")), NH_ECLOSED);
	nh_relay_viewer_leave(late.viewer);
	nh_relay_viewer_leave(viewer.viewer);
	nh_relay_stats(r.relay, &stats);
	assert_int_equal(stats.devices + stats.viewers, 0);
	assert_true(stats.messages > 0);
	room_end(&r);
}

static void test_leave_inside(void **state)
{
	struct room r;
	struct ear device = {.leave = true}, viewer = {.leave = true}, deaf = {0};
	room_open(&r);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "");
	look_on(&viewer, &r, 1, NH_RELAY_CONSOLE);
	up(&device, "never heard");
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("a"), NH_LIT("1")), NH_OK);
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("b"), NH_LIT("2")), NH_OK);
	deaf.device = nh_relay_device_open(r.relay, 2, NH_RELAY_EVENTS, NH_SLICE_EMPTY, r.loop, NULL, NULL);
	look_on(&deaf, &r, 2, NH_RELAY_EVENTS);
	assert_int_equal(nh_relay_viewer_say(deaf.viewer, NH_LIT("a"), NH_LIT("1")), NH_ECLOSED);
	turn(&r);
	assert_string_equal(viewer.heard, "opened metadata;");
	assert_string_equal(device.heard, "a=1;");
	nh_relay_viewer_leave(deaf.viewer);
	nh_relay_device_close(deaf.device);
	room_end(&r);
}

static void chatter(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost)
{
	struct ear *e = ctx;
	e->count++;
	nh_relay_viewer_chat(e->viewer, NH_LIT("message"), NH_LIT("and another thing"));
}

/* Somebody who is never done leaves the loop to others, who stop it here. */
static void test_turns(void **state)
{
	struct room r;
	struct ear e = {0};
	room_open(&r);
	e.viewer = nh_relay_viewer_join(r.relay, 1, NH_RELAY_CONSOLE, r.loop, chatter, &e);
	nh_relay_viewer_chat(e.viewer, NH_LIT("message"), NH_LIT("one thing"));
	turn(&r);
	assert_in_range(e.count, 64, 256);
	nh_relay_viewer_leave(e.viewer);
	room_end(&r);
}

/* ---- what slow ones lose ------------------------------------------------------------------------------------------------------- */

static char block[100000];

static void print(struct ear *device, unsigned count)
{
	memset(block, 'x', sizeof block);
	for (unsigned i = 0; i < count; i++)
		nh_relay_device_say(device->device, NH_LIT("up"), nh_slice_of(block, sizeof block), NH_SLICE_EMPTY);
}

/* Messages that do not fit are lost whole and counted; the other viewer loses its own; what fits later comes with the count. */
static void test_lost(void **state)
{
	struct room r;
	struct ear device = {0}, fast = {0}, slow = {0};
	struct nh_relay_stats stats;
	room_open(&r);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "");
	look_on(&slow, &r, 1, NH_RELAY_CONSOLE);
	nh_relay_viewer_waiting(slow.viewer, NH_RELAY_PENDING_MAX - 1000); /* full but for a kilobyte */
	look_on(&fast, &r, 1, NH_RELAY_CONSOLE);
	print(&device, 12); /* ten fit */
	up(&device, "small");
	nh_relay_stats(r.relay, &stats);
	assert_int_equal(stats.lost, 2 + 12);
	turn(&r);
	assert_string_equal(slow.heard, "opened metadata;[12 lost]up=small;");
	assert_string_equal(fast.heard, "opened metadata;up;up;up;up;up;up;up;up;up;up;[2 lost]up=small;");
	nh_relay_viewer_leave(slow.viewer);
	nh_relay_viewer_leave(fast.viewer);
	nh_relay_device_close(device.device);
	room_end(&r);
}

/* A loss is told also where nothing follows it, as soon as there is room: after the callback, or when the socket is empty. */
static void test_lost_alone(void **state)
{
	struct room r;
	struct ear device = {0}, fast = {0}, slow = {0};
	struct nh_relay_stats before, after;
	room_open(&r);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "");
	look_on(&slow, &r, 1, NH_RELAY_CONSOLE);
	look_on(&fast, &r, 1, NH_RELAY_CONSOLE);
	nh_relay_viewer_waiting(slow.viewer, NH_RELAY_PENDING_MAX);
	print(&device, 11);
	nh_relay_stats(r.relay, &before);
	nh_relay_viewer_waiting(slow.viewer, NH_RELAY_PENDING_MAX / 2 + 1);
	nh_relay_stats(r.relay, &after);
	assert_int_equal(after.messages, before.messages);
	nh_relay_viewer_waiting(slow.viewer, 0);
	nh_relay_viewer_waiting(slow.viewer, 0);
	turn(&r);
	assert_string_equal(slow.heard, "opened metadata;[11 lost];");
	assert_string_equal(fast.heard, "opened metadata;up;up;up;up;up;up;up;up;up;up;[1 lost];");
	nh_relay_viewer_leave(slow.viewer);
	nh_relay_viewer_leave(fast.viewer);
	nh_relay_device_close(device.device);
	room_end(&r);
}

/* A viewer that missed the device's going and coming is told both afterwards, with what was said since. */
static void test_missed(void **state)
{
	struct room r;
	struct ear device = {0}, back = {0}, slow = {0}, gone = {0};
	room_open(&r);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "{1}");
	look_on(&slow, &r, 1, NH_RELAY_CONSOLE);
	look_on(&gone, &r, 1, NH_RELAY_CONSOLE);
	nh_relay_viewer_waiting(slow.viewer, NH_RELAY_PENDING_MAX);
	nh_relay_viewer_waiting(gone.viewer, NH_RELAY_PENDING_MAX);
	nh_relay_device_close(device.device);
	offer(&back, &r, 1, NH_RELAY_CONSOLE, "{2}");
	up(&back, "hello");
	nh_relay_viewer_waiting(slow.viewer, 0);
	nh_relay_device_close(back.device);
	nh_relay_viewer_waiting(gone.viewer, 0);
	turn(&r);
	assert_string_equal(slow.heard, "opened metadata={1};[1 lost];closed;opened metadata={2};replay hello;closed;");
	assert_string_equal(gone.heard, "opened metadata={1};[1 lost];closed;");
	nh_relay_viewer_leave(slow.viewer);
	nh_relay_viewer_leave(gone.viewer);
	room_end(&r);
}

/* Nothing overtakes news that did not fit, however small it is. */
static void test_nothing_overtakes(void **state)
{
	struct room r;
	struct ear device = {0}, back = {0}, slow = {0};
	char about[1001];
	memset(about, 'a', sizeof about - 1);
	about[sizeof about - 1] = 0;
	room_open(&r);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "");
	look_on(&slow, &r, 1, NH_RELAY_CONSOLE);
	nh_relay_viewer_waiting(slow.viewer, NH_RELAY_PENDING_MAX - 600);
	nh_relay_device_close(device.device);
	offer(&back, &r, 1, NH_RELAY_CONSOLE, about); /* too long, but one word would fit */
	up(&back, "x");
	turn(&r);
	assert_string_equal(slow.heard, "opened metadata;closed;");
	nh_relay_viewer_waiting(slow.viewer, 0);
	nh_relay_viewer_leave(slow.viewer);
	nh_relay_device_close(back.device);
	room_end(&r);
}

/* A device's end loses nothing: who says too much is told. */
static void test_too_much(void **state)
{
	struct room r;
	struct ear device = {0}, viewer = {0};
	unsigned sent = 0;
	room_open(&r);
	offer(&device, &r, 1, NH_RELAY_CONSOLE, "");
	look_on(&viewer, &r, 1, NH_RELAY_CONSOLE);
	while (nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), nh_slice_of(block, sizeof block)) == NH_OK)
		sent++;
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), nh_slice_of(block, sizeof block)), NH_EAGAIN);
	assert_int_equal(sent, NH_RELAY_PENDING_MAX / sizeof block);
	turn(&r);
	assert_int_equal(device.count, sent);
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), nh_slice_of(block, sizeof block)), NH_OK); /* room again */
	nh_relay_device_waiting(device.device, NH_RELAY_PENDING_MAX); /* its socket is full */
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), NH_LIT("{}")), NH_EAGAIN);
	nh_relay_device_waiting(device.device, 0);
	assert_int_equal(nh_relay_viewer_say(viewer.viewer, NH_LIT("dn"), NH_LIT("{}")), NH_OK);
	nh_relay_viewer_leave(viewer.viewer);
	nh_relay_device_close(device.device);
	room_end(&r);
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------ */

struct asked {
	nh_rc rc;
	unsigned count;
	char answer[64];
	struct nh_loop *stop;
};

static void answered(void *ctx, nh_rc rc, nh_slice payload)
{
	struct asked *a = ctx;
	a->rc = rc;
	a->count++;
	snprintf(a->answer, sizeof a->answer, "%.*s", NH_ARG(payload));
	if (a->stop)
		nh_loop_stop(a->stop);
}

static void ask(struct asked *a, struct room *r, int64_t device, uint64_t timeout_ms)
{
	nh_relay_ask(r->relay, device, NH_LIT("scripts/run"), NH_LIT("{}"), timeout_ms, r->loop, answered, a);
}

static void test_questions(void **state)
{
	struct room r;
	struct ear device = {0}, newer = {0};
	struct asked nobody = {0}, good = {0}, big = {0}, lost = {0}, over = {0}, closed[NH_RELAY_QUESTIONS_MAX] = {0};
	struct nh_relay_stats stats;
	room_open(&r);
	ask(&nobody, &r, 1, 60000);
	offer(&device, &r, 1, NH_RELAY_SCRIPTS, "");
	offer(&newer, &r, 2, NH_RELAY_SCRIPTS, "");
	ask(&good, &r, 1, 60000);
	ask(&big, &r, 1, 60000);
	ask(&lost, &r, 2, 60000);
	nh_relay_device_answer(newer.device, 2, NH_LIT("of another device"));
	nh_relay_device_answer(device.device, 99, NH_LIT("to nobody"));
	nh_relay_device_answer(device.device, 2, NH_LIT("{\"a\":1}"));
	nh_relay_device_answer(device.device, 2, NH_LIT("twice"));
	NH_AUTO_BUF struct nh_buf huge = NH_BUF_INIT;
	nh_buf_fill(&huge, 'x', NH_RELAY_PENDING_MAX + 1);
	nh_relay_device_answer(device.device, 3, nh_buf_slice(&huge));
	for (size_t i = 0; i < NH_ARRAY_LEN(closed); i++)
		ask(&closed[i], &r, 1, 60000);
	ask(&over, &r, 1, 60000);
	nh_relay_stats(r.relay, &stats);
	assert_int_equal(stats.questions, 5 + NH_RELAY_QUESTIONS_MAX);
	nh_relay_device_close(device.device);
	struct ear again_ = {0};
	offer(&again_, &r, 2, NH_RELAY_SCRIPTS, ""); /* newest wins: what the old one was asked ends */
	assert_int_equal(nobody.count + good.count, 0);
	turn(&r);
	assert_int_equal(nobody.rc, NH_ECLOSED);
	assert_int_equal(good.rc, NH_OK);
	assert_string_equal(good.answer, "{\"a\":1}");
	assert_int_equal(big.rc, NH_ETOOBIG);
	assert_int_equal(lost.rc, NH_ECLOSED);
	assert_int_equal(over.rc, NH_EAGAIN);
	for (size_t i = 0; i < NH_ARRAY_LEN(closed); i++)
		assert_true(closed[i].rc == NH_ECLOSED && closed[i].count == 1);
	assert_true(nobody.count == 1 && good.count == 1 && big.count == 1 && lost.count == 1 && over.count == 1);
	nh_relay_stats(r.relay, &stats);
	assert_int_equal(stats.questions, 0);
	nh_relay_device_close(newer.device);
	nh_relay_device_close(again_.device);
	room_end(&r);
}

static void test_question_late(void **state)
{
	struct room r;
	struct ear device = {0};
	struct asked a = {0};
	room_open(&r);
	a.stop = r.loop;
	offer(&device, &r, 1, NH_RELAY_SCRIPTS, "");
	ask(&a, &r, 1, 1);
	nh_loop_run(r.loop);
	assert_int_equal(a.rc, NH_ETIMEOUT);
	assert_int_equal(a.count, 1);
	assert_string_equal(device.heard, "scripts/run={};");
	nh_relay_device_answer(device.device, device.question, NH_LIT("too late"));
	nh_relay_device_close(device.device);
	room_end(&r);
	assert_int_equal(a.count, 1);
}

/* ---- both sides on loops of their own --------------------------------------------------------------------------------------------- */

#define ROUNDS 40u
#define LINES 200u

/* A device on its loop that opens, prints, echoes and closes, again and again; two viewers on another one that type, count and leave; a third thread that asks. */
struct crowd {
	struct nh_relay *relay;
	struct nh_loop *device_loop, *viewer_loop;
	struct nh_relay_device *device;
	struct nh_relay_viewer *viewers[2];
	uint64_t seen[2], lost[2];
	unsigned rounds, opened;
	sem_t asked, ended;
};

static void crowd_hear(void *ctx, nh_slice event, nh_slice payload, uint64_t question)
{
	struct crowd *c = ctx;
	if (question)
		nh_relay_device_answer(c->device, question, payload);
}

static void crowd_see(struct crowd *c, unsigned i, nh_relay_news news, uint64_t lost)
{
	c->lost[i] += lost;
	c->opened += news == NH_RELAY_OPENED;
	c->seen[i]++;
	nh_rc rc = nh_relay_viewer_say(c->viewers[i], NH_LIT("dn"), NH_LIT("key"));
	assert_true(rc == NH_OK || rc == NH_ECLOSED || rc == NH_EAGAIN);
	if (c->seen[i] % 50 == 0)
		nh_relay_viewer_waiting(c->viewers[i], c->seen[i] % 100 ? NH_RELAY_PENDING_MAX : 0);
}

static void crowd_see_0(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost) { crowd_see(ctx, 0, news, lost); }
static void crowd_see_1(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost) { crowd_see(ctx, 1, news, lost); }

static void crowd_round(void *arg)
{
	struct crowd *c = arg;
	struct nh_relay_device *before = c->device;
	c->device = nh_relay_device_open(c->relay, 1, c->rounds % 2 ? NH_RELAY_CONSOLE : NH_RELAY_SCRIPTS, NH_LIT("{}"), c->device_loop, crowd_hear, c);
	nh_relay_device_close(before);
	for (unsigned i = 0; i < LINES; i++)
		nh_relay_device_say(c->device, NH_LIT("up"), NH_LIT("line\n"), NH_LIT("line\n"));
	if (++c->rounds < ROUNDS) {
		assert_int_equal(nh_loop_post(c->device_loop, crowd_round, c), NH_OK);
		return;
	}
	nh_relay_device_close(c->device);
	nh_loop_stop(c->device_loop);
	sem_post(&c->ended);
}

static void crowd_join(void *arg)
{
	struct crowd *c = arg;
	c->viewers[0] = nh_relay_viewer_join(c->relay, 1, NH_RELAY_CONSOLE, c->viewer_loop, crowd_see_0, c);
	c->viewers[1] = nh_relay_viewer_join(c->relay, 1, NH_RELAY_CONSOLE, c->viewer_loop, crowd_see_1, c);
}

static void crowd_leave(void *arg)
{
	struct crowd *c = arg;
	nh_relay_viewer_leave(c->viewers[0]);
	nh_relay_viewer_leave(c->viewers[1]);
	nh_loop_stop(c->viewer_loop);
}

static void crowd_answered(void *ctx, nh_rc rc, nh_slice payload)
{
	struct crowd *c = ctx;
	assert_true(rc == NH_OK || rc == NH_ECLOSED || rc == NH_EAGAIN);
	sem_post(&c->asked);
}

static void test_threads(void **state)
{
	struct crowd c = {.relay = nh_relay_new()};
	struct nh_relay_stats stats;
	sem_init(&c.asked, 0, 0);
	sem_init(&c.ended, 0, 0);
	assert_int_equal(nh_loop_new(NULL, &c.device_loop, NULL), NH_OK);
	assert_int_equal(nh_loop_new(NULL, &c.viewer_loop, NULL), NH_OK);
	assert_int_equal(nh_loop_start(c.device_loop, NULL), NH_OK);
	assert_int_equal(nh_loop_start(c.viewer_loop, NULL), NH_OK);
	assert_int_equal(nh_loop_post(c.viewer_loop, crowd_join, &c), NH_OK);
	assert_int_equal(nh_loop_post(c.device_loop, crowd_round, &c), NH_OK);
	for (unsigned i = 0; i < 100; i++) {
		nh_relay_ask(c.relay, 1, NH_LIT("scripts/run"), NH_LIT("{}"), 60000, c.viewer_loop, crowd_answered, &c);
		nh_relay_stats(c.relay, &stats);
		assert_true(stats.devices <= 2 && stats.questions <= 100);
	}
	for (unsigned i = 0; i < 100; i++)
		sem_wait(&c.asked);
	sem_wait(&c.ended);
	assert_int_equal(nh_loop_post(c.viewer_loop, crowd_leave, &c), NH_OK);
	nh_loop_join(c.viewer_loop);
	nh_loop_join(c.device_loop);
	nh_loop_free(c.viewer_loop);
	nh_loop_free(c.device_loop);
	nh_relay_stats(c.relay, &stats);
	assert_int_equal(stats.devices + stats.viewers + stats.questions, 0);
	assert_int_equal(stats.scrollback_bytes, 0);
	nh_relay_free(c.relay);
	sem_destroy(&c.asked);
	sem_destroy(&c.ended);
}

/* ---- other servers: what the hooks are asked, whom a viewer hears --------------------------------------------------------------- */

struct wishes {
	char text[512];
	uint64_t viewer, question;
};

[[gnu::format(printf, 2, 3)]] static void ask_for(struct wishes *a, const char *format, ...)
{
	va_list ap;
	size_t used = strlen(a->text);
	va_start(ap, format);
	vsnprintf(a->text + used, sizeof a->text - used, format, ap);
	va_end(ap);
}

static void on_watch(void *ctx, uint64_t viewer, int64_t device_id, nh_relay_channel channel)
{
	((struct wishes *)ctx)->viewer = viewer;
	ask_for(ctx, "watch %d;", (int)device_id);
}

static void on_again(void *ctx, uint64_t viewer, unsigned peer) { ask_for(ctx, "again %u;", peer); }
static void on_unwatch(void *ctx, uint64_t viewer) { ask_for(ctx, "unwatch;"); }
static void on_say(void *ctx, uint64_t viewer, unsigned peer, nh_slice event, nh_slice payload) { ask_for(ctx, "say %u %.*s;", peer, NH_ARG(event)); }
static void on_chat(void *ctx, int64_t device_id, nh_relay_channel channel, nh_slice event, nh_slice payload) { ask_for(ctx, "chat %.*s;", NH_ARG(event)); }

static void on_ask(void *ctx, uint64_t question, int64_t device_id, nh_slice event, nh_slice payload, uint64_t timeout_ms)
{
	((struct wishes *)ctx)->question = question;
	ask_for(ctx, "ask %.*s;", NH_ARG(event));
}

static void on_answer(void *ctx, nh_rc rc, nh_slice payload) { note(ctx, "answer %d %.*s;", rc == NH_OK, NH_ARG(payload)); }

static void test_elsewhere(void **state)
{
	struct room r;
	struct wishes asked = {0};
	struct ear person = {0}, device = {0}, guest = {0}, curious = {0};
	const struct nh_relay_hooks hooks = {&asked, on_watch, on_again, on_unwatch, on_say, on_chat, on_ask};
	const nh_slice none = NH_SLICE_EMPTY;
	room_open(&r);
	nh_relay_set_hooks(r.relay, &hooks);
	look_on(&person, &r, 7, NH_RELAY_CONSOLE);
	guest.viewer = nh_relay_guest_join(r.relay, 7, NH_RELAY_CONSOLE, r.loop, see, &guest);
	assert_int_equal(nh_relay_viewer_say(person.viewer, NH_LIT("dn"), none), NH_ECLOSED);
	nh_relay_remote_news(r.relay, asked.viewer, 2, NH_RELAY_MESSAGE, NH_LIT("early"), none, 0); /* nobody has said that it has the device */
	nh_relay_remote_news(r.relay, asked.viewer, 2, NH_RELAY_OPENED, NH_LIT("metadata"), none, 0);
	nh_relay_remote_news(r.relay, asked.viewer, 2, NH_RELAY_MESSAGE, NH_LIT("two"), none, 3);
	assert_int_equal(nh_relay_viewer_say(person.viewer, NH_LIT("dn"), none), NH_OK);
	/* It moves: the newer one is heard, and what the older one still says is not. */
	nh_relay_remote_news(r.relay, asked.viewer, 3, NH_RELAY_OPENED, NH_LIT("metadata"), none, 0);
	nh_relay_remote_news(r.relay, asked.viewer, 2, NH_RELAY_MESSAGE, NH_LIT("late"), none, 0);
	assert_int_equal(nh_relay_viewer_say(person.viewer, NH_LIT("dn"), none), NH_OK);
	/* The newer one ends first: who else has it is asked to say so. */
	nh_relay_remote_news(r.relay, asked.viewer, 3, NH_RELAY_CLOSED, none, none, 0);
	nh_relay_remote_news(r.relay, asked.viewer, 2, NH_RELAY_OPENED, NH_LIT("metadata"), none, 0);
	/* And it comes here. */
	offer(&device, &r, 7, NH_RELAY_CONSOLE, "");
	nh_relay_remote_news(r.relay, asked.viewer, 2, NH_RELAY_CLOSED, none, none, 0);
	up(&device, "here");
	nh_relay_viewer_chat(person.viewer, NH_LIT("hi"), none);
	nh_relay_remote_chat(r.relay, 7, NH_RELAY_CONSOLE, NH_LIT("ho"), none);
	/* What waits elsewhere is bounded as here. */
	nh_relay_remote_news(r.relay, asked.viewer, 4, NH_RELAY_OPENED, none, none, 0);
	char *much = nh_xcalloc(1, NH_RELAY_PENDING_MAX);
	assert_int_equal(nh_relay_viewer_say(person.viewer, NH_LIT("x"), nh_slice_of(much, NH_RELAY_PENDING_MAX - 1)), NH_OK);
	assert_int_equal(nh_relay_viewer_say(person.viewer, NH_LIT("x"), none), NH_EAGAIN);
	nh_relay_remote_taken(r.relay, asked.viewer, 3, NH_RELAY_PENDING_MAX); /* not its to give back */
	assert_int_equal(nh_relay_viewer_say(person.viewer, NH_LIT("x"), none), NH_EAGAIN);
	nh_relay_remote_taken(r.relay, asked.viewer, 4, NH_RELAY_PENDING_MAX);
	assert_int_equal(nh_relay_viewer_say(person.viewer, NH_LIT("x"), none), NH_OK);
	free(much);
	/* A question: once answered, it is over. A guest's is not led on. */
	nh_relay_ask(r.relay, 7, NH_LIT("run"), none, 60000, r.loop, on_answer, &curious);
	nh_relay_remote_answer(r.relay, asked.question, NH_OK, NH_LIT("done"));
	nh_relay_remote_answer(r.relay, asked.question, NH_OK, NH_LIT("twice"));
	nh_relay_guest_ask(r.relay, 7, NH_LIT("guest"), none, 60000, r.loop, on_answer, &curious);
	turn(&r);
	assert_string_equal(person.heard, "opened metadata;[3 lost]two;closed;opened metadata;closed;opened metadata;closed;opened metadata;up=here;hi;ho;closed;opened ;");
	assert_string_equal(guest.heard, "opened metadata;up=here;");
	assert_string_equal(curious.heard, "answer 1 done;answer 0 ;");
	nh_relay_viewer_leave(person.viewer);
	nh_relay_viewer_leave(guest.viewer);
	nh_relay_device_close(device.device);
	assert_string_equal(asked.text, "watch 7;say 2 dn;say 3 dn;again 2;chat hi;say 4 x;say 4 x;ask run;unwatch;");
	nh_relay_remote_news(r.relay, asked.viewer, 2, NH_RELAY_OPENED, none, none, 0); /* of a viewer that has left */
	nh_relay_set_hooks(r.relay, NULL);
	room_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversation), cmocka_unit_test(test_reconnect), cmocka_unit_test(test_leave_inside), cmocka_unit_test(test_turns), cmocka_unit_test(test_lost),
		cmocka_unit_test(test_lost_alone),   cmocka_unit_test(test_missed),    cmocka_unit_test(test_nothing_overtakes), cmocka_unit_test(test_too_much),     cmocka_unit_test(test_questions),
		cmocka_unit_test(test_question_late), cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
