/*
 * Event loops: one thread each, over one libuv loop. What libuv lacks is added here: a bounded mailbox that any thread may post to, and a check that
 * functions run on the thread they belong to. No sockets, no TLS; descriptors are only watched.
 *
 * Rules: callbacks run on the loop's thread, never inside the function that registered them. A callback may close its own object. After a close
 * no callback of that object runs; its memory goes when the loop has let go of it.
 *
 * source: design/architecture "3. Threads", design/connection-layer "The choice"
 */
#pragma once

#include "base/err.h"

struct nh_loop;

struct nh_loop_config {
	const char *name;   /* thread name, at most 15 characters; NULL = "loop" */
	size_t mailbox_max; /* messages posted and not yet run; 0 = 4096 */
};

/* NH_EIO: the kernel refused (descriptors). config NULL = defaults. */
nh_rc nh_loop_new(const struct nh_loop_config *config, struct nh_loop **out, struct nh_err *err);
nh_rc nh_loop_start(struct nh_loop *loop, struct nh_err *err); /* runs it on a thread of its own. NH_EIO */
void nh_loop_run(struct nh_loop *loop);   /* runs it on the calling thread until nh_loop_stop */
void nh_loop_stop(struct nh_loop *loop);  /* any thread: ends the run after the current callbacks; legal before it runs */
void nh_loop_join(struct nh_loop *loop);  /* waits for the thread of nh_loop_start; not from that thread */
/* Lets every closed object go, then frees. Not while it runs. Objects still open are a bug of their owner (asserted). NULL legal. */
void nh_loop_free(struct nh_loop *loop);

/*
 * A loop inside of a program that waits with a loop of its own, instead of start, run, stop and join: watch the descriptor for reading, wait for at most the
 * time-out, then turn. Both may change with every turn and with every call that registers something. One thread at a time.
 */
int nh_loop_fd(const struct nh_loop *loop);
int nh_loop_timeout_ms(struct nh_loop *loop); /* until a turn has something to do although the descriptor is silent; 0 = now, -1 = never */
void nh_loop_turn(struct nh_loop *loop);      /* runs what is due, without waiting */

bool nh_loop_here(const struct nh_loop *loop);            /* does the calling thread run this loop? True for all before it runs. */
uint64_t nh_loop_now_ms(const struct nh_loop *loop);      /* monotonic, read once an iteration: cheap. [loop] */

typedef void (*nh_loop_fn)(void *arg);

/* nh_loop_post - runs fn(arg) on the loop, in order of posting. Any thread. NH_EAGAIN: mailbox full, nothing was posted. NH_ECLOSED: stopped. */
nh_rc nh_loop_post(struct nh_loop *loop, nh_loop_fn fn, void *arg);

/*
 * Intrusive form that cannot fail and does not allocate: for completions, whose number is bounded by what was submitted. The message belongs to the loop
 * until fn runs. After the loop stopped it is run when the loop is freed, so that its owner can let go.
 */
struct nh_message {
	struct nh_message *next;
	nh_loop_fn fn;
	void *arg;
};
void nh_loop_send(struct nh_loop *loop, struct nh_message *m);

/* nh_loop_defer - runs fn(arg) on this loop at the end of the current iteration, after all events of the batch: where memory is released. [loop] */
void nh_loop_defer(struct nh_loop *loop, nh_loop_fn fn, void *arg);

/* ---- timers. [loop] ---------------------------------------------------------------------------------------------------- */

struct nh_timer;
/* A timer that does not run yet; fn(arg) runs each time it is due. Never NULL; close it before the loop is freed. */
struct nh_timer *nh_timer_new(struct nh_loop *loop, nh_loop_fn fn, void *arg);
void nh_timer_start(struct nh_timer *t, uint64_t after_ms, uint64_t repeat_ms); /* repeat 0 = once; a running timer starts anew */
void nh_timer_stop(struct nh_timer *t);
bool nh_timer_active(const struct nh_timer *t);
void nh_timer_close(struct nh_timer *t); /* NULL legal */

/* ---- descriptors. [loop] ----------------------------------------------------------------------------------------------- */

#define NH_READABLE 1u
#define NH_WRITABLE 2u

struct nh_watch;
typedef void (*nh_watch_fn)(void *arg, unsigned events); /* NH_READABLE | NH_WRITABLE; both on an error of the descriptor */

/* nh_watch_open - watches nothing yet. The descriptor is borrowed and must be non-blocking. NH_EIO: not watchable. */
nh_rc nh_watch_open(struct nh_loop *loop, int fd, nh_watch_fn fn, void *arg, struct nh_watch **out, struct nh_err *err);
void nh_watch_set(struct nh_watch *w, unsigned events); /* what to be told of; 0 = nothing; the same again costs nothing */
void nh_watch_hand_over(struct nh_watch *w, nh_watch_fn fn, void *arg); /* from now on fn(arg) is told; what is watched for stays */
void nh_watch_close(struct nh_watch *w);                /* the descriptor may be closed right after. NULL legal */

/* ---- signals. [loop] --------------------------------------------------------------------------------------------------- */

struct nh_signal;
/* nh_signal_open - fn(arg) runs on the loop for each arrival of the signal, in place of its default action. NH_EIO: not a signal that can be caught. */
nh_rc nh_signal_open(struct nh_loop *loop, int number, nh_loop_fn fn, void *arg, struct nh_signal **out, struct nh_err *err);
void nh_signal_close(struct nh_signal *s); /* NULL legal */

/* ---- names ------------------------------------------------------------------------------------------------------------- */

struct nh_resolve;
struct sockaddr;
/* addresses: borrowed during the call, count of them, in the order to be tried; rc NH_EIO with a message where the name is not known. */
typedef void (*nh_resolve_fn)(void *arg, nh_rc rc, const struct sockaddr *const *addresses, const unsigned *lengths, size_t count, const struct nh_err *err);
/* nh_resolve_open - looks host up (TCP, IPv4 and IPv6; literals too) off the loop's thread; fn runs once. [loop] */
nh_rc nh_resolve_open(struct nh_loop *loop, const char *host, uint16_t port, nh_resolve_fn fn, void *arg, struct nh_resolve **out, struct nh_err *err);
void nh_resolve_close(struct nh_resolve *r); /* no callback after it; also after fn ran. NULL legal */

/* nh_fd_limit_raise - soft descriptor limit up to the hard one; returns the limit now in force. Any thread. */
uint64_t nh_fd_limit_raise(void);
