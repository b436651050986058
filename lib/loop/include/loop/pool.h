/*
 * Worker pool: threads that may block, each with a context of its own (a database handle), fed by one bounded queue. Results come back to the loop
 * that submitted. The only crossing between loops and workers.
 *
 * source: design/architecture "3. Threads"
 */
#pragma once

#include "loop/loop.h"

struct nh_pool;

struct nh_pool_config {
	unsigned threads;   /* 0 = 4 */
	size_t queue_max;   /* jobs waiting, not those running; 0 = 1024 */
	const char *name;   /* thread name, at most 12 characters; NULL = "work" */
	/* A thread's own context, passed to run as `worker`; both may be NULL. A failing init fails nh_pool_new. */
	nh_rc (*thread_init)(void *ctx, void **worker, struct nh_err *err);
	void (*thread_fini)(void *ctx, void *worker);
	void *ctx;
};

/* NH_EIO: no threads. What thread_init returned. */
nh_rc nh_pool_new(const struct nh_pool_config *config, struct nh_pool **out, struct nh_err *err);
/*
 * nh_pool_drain - returns at a moment when nothing is queued, running, waiting for a place or on its way back to a loop. The loops of all submitters must run.
 * Blocks; not from a worker or a loop. nh_server_drain does it for its pool.
 */
void nh_pool_drain(struct nh_pool *pool);
/* Runs what is queued, then ends and joins the threads. Nobody may submit or wait any more, and completions that have not run need the pool: nh_pool_drain first. NULL legal. Not from a worker. */
void nh_pool_free(struct nh_pool *pool);

/* One job. Owned by the caller, who embeds it; untouched by the caller from submit until done runs. */
struct nh_work {
	void (*run)(void *worker, struct nh_work *work); /* on a worker */
	void (*done)(struct nh_work *work);              /* on the submitting loop, after run; NULL = nobody waits, and run may free the work */
	/* the pool's */
	struct nh_pool *pool;
	struct nh_loop *loop;
	struct nh_work *next;
	struct nh_message message;
};

/* nh_work_submit - queues it. loop: where done runs; NULL only without done. Any thread. NH_EAGAIN: queue full, nothing was queued. */
nh_rc nh_work_submit(struct nh_pool *pool, struct nh_loop *loop, struct nh_work *work);

/*
 * nh_work_queue - as nh_work_submit, but never refuses: where the queue is full the job waits in front of it, in order of arrival, and moves in as places
 * become free; nobody who asks later overtakes it. For callers who bound their jobs themselves (one a connection) and stop producing until done runs.
 * nh_pool_drain and nh_pool_free see a waiting job as any other. Any thread.
 */
void nh_work_queue(struct nh_pool *pool, struct nh_loop *loop, struct nh_work *work);

struct nh_pool_stats {
	size_t queued, running, threads;
	size_t waiting;              /* jobs that nh_work_queue keeps until there is room */
	uint64_t submitted, refused; /* refused: found the queue full, whether they then waited or not */
};
void nh_pool_stats(struct nh_pool *pool, struct nh_pool_stats *out); /* any thread */
