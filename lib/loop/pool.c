/*
 * The worker pool: one queue under one mutex. Jobs are milliseconds, so a lock-free queue would buy nothing. Each freed place goes to the first job that
 * waits for one.
 */
#include "loop/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/thread.h"

struct thread {
	pthread_t id;
	struct nh_pool *pool;
	void *worker;
	unsigned number;
};

struct nh_pool {
	struct nh_pool_config config;
	struct thread *threads;
	unsigned started;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake; /* a job, or the end */
	pthread_cond_t idle; /* nothing is outstanding any more */
	struct nh_work *head, **tail;
	struct nh_work *waiting_head, **waiting_tail; /* jobs in front of a full queue; empty unless it is full */
	size_t queued, running, waiting;
	size_t outstanding; /* jobs until their done ran */
	uint64_t submitted, refused;
	bool stopping;
};

/* With the lock held. */
static void settle(struct nh_pool *pool)
{
	if (--pool->outstanding == 0)
		pthread_cond_broadcast(&pool->idle);
}

static void settle_from_loop(struct nh_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	settle(pool);
	pthread_mutex_unlock(&pool->lock);
}

static void work_done(void *arg)
{
	struct nh_work *work = arg;
	struct nh_pool *pool = work->pool; /* done may free the work, or submit it again */
	work->done(work);
	settle_from_loop(pool);
}

/* With the lock held. */
static void append(struct nh_pool *pool, struct nh_work *work)
{
	work->next = NULL;
	*pool->tail = work;
	pool->tail = &work->next;
	pool->queued++;
}

/* With the lock held: the job that has waited longest gets the free place. */
static void move_in(struct nh_pool *pool)
{
	struct nh_work *work = pool->waiting_head;
	if (!work)
		return;
	pool->waiting_head = work->next;
	if (!pool->waiting_head)
		pool->waiting_tail = &pool->waiting_head;
	pool->waiting--;
	append(pool, work);
}

/* With the lock held: takes the next job, and gives its place away. */
static struct nh_work *take(struct nh_pool *pool)
{
	struct nh_work *work = pool->head;
	pool->head = work->next;
	if (!pool->head)
		pool->tail = &pool->head;
	pool->queued--;
	pool->running++;
	move_in(pool);
	return work;
}

static void *thread_main(void *arg)
{
	struct thread *self = arg;
	struct nh_pool *pool = self->pool;
	char name[16];
	snprintf(name, sizeof name, "%.11s-%u", pool->config.name, self->number % 1000);
	nh_thread_background(name);
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!pool->head && !pool->stopping)
			pthread_cond_wait(&pool->wake, &pool->lock);
		if (!pool->head)
			break;
		struct nh_work *work = take(pool);
		/* Read before run: without done, run may free the work. */
		bool answer = work->done != NULL;
		struct nh_loop *loop = work->loop;
		pthread_mutex_unlock(&pool->lock);
		work->run(self->worker, work);
		if (answer) {
			work->message = (struct nh_message){.fn = work_done, .arg = work};
			nh_loop_send(loop, &work->message);
		}
		pthread_mutex_lock(&pool->lock);
		pool->running--;
		if (!answer)
			settle(pool);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static nh_rc start_threads(struct nh_pool *pool, struct nh_err *err)
{
	for (; pool->started < pool->config.threads; pool->started++) {
		struct thread *t = &pool->threads[pool->started];
		*t = (struct thread){.pool = pool, .number = pool->started};
		if (pool->config.thread_init)
			NH_TRY(pool->config.thread_init(pool->config.ctx, &t->worker, err));
		if (pthread_create(&t->id, NULL, thread_main, t) != 0) {
			if (pool->config.thread_fini)
				pool->config.thread_fini(pool->config.ctx, t->worker);
			return NH_FAIL(err, NH_EIO, "cannot start worker thread %u", pool->started);
		}
	}
	return NH_OK;
}

nh_rc nh_pool_new(const struct nh_pool_config *config, struct nh_pool **out, struct nh_err *err)
{
	struct nh_pool *pool = nh_xcalloc(1, sizeof *pool);
	pool->config = *config;
	if (pool->config.threads == 0)
		pool->config.threads = 4;
	if (pool->config.queue_max == 0)
		pool->config.queue_max = 1024;
	if (!pool->config.name)
		pool->config.name = "work";
	pool->threads = nh_xcalloc(pool->config.threads, sizeof *pool->threads);
	pool->tail = &pool->head;
	pool->waiting_tail = &pool->waiting_head;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pthread_cond_init(&pool->idle, NULL);
	*out = pool;
	nh_rc rc = start_threads(pool, err);
	if (rc != NH_OK) {
		nh_pool_free(pool);
		*out = NULL;
	}
	return rc;
}

void nh_pool_drain(struct nh_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->outstanding)
		pthread_cond_wait(&pool->idle, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

void nh_pool_free(struct nh_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->started; i++) {
		pthread_join(pool->threads[i].id, NULL);
		if (pool->config.thread_fini)
			pool->config.thread_fini(pool->config.ctx, pool->threads[i].worker);
	}
	pthread_cond_destroy(&pool->wake);
	pthread_cond_destroy(&pool->idle);
	pthread_mutex_destroy(&pool->lock);
	free(pool->threads);
	free(pool);
}

/* With the lock held: what submitting and queueing have in common. */
static void prepare(struct nh_pool *pool, struct nh_loop *loop, struct nh_work *work)
{
	work->pool = pool;
	work->loop = loop;
	pool->outstanding++;
	pool->submitted++;
}

nh_rc nh_work_submit(struct nh_pool *pool, struct nh_loop *loop, struct nh_work *work)
{
	NH_ASSERT(loop || !work->done);
	nh_rc rc = NH_OK;
	pthread_mutex_lock(&pool->lock);
	if (pool->queued >= pool->config.queue_max) {
		pool->refused++;
		rc = NH_EAGAIN;
	} else {
		prepare(pool, loop, work);
		append(pool, work);
		pthread_cond_signal(&pool->wake);
	}
	pthread_mutex_unlock(&pool->lock);
	return rc;
}

void nh_work_queue(struct nh_pool *pool, struct nh_loop *loop, struct nh_work *work)
{
	NH_ASSERT(loop || !work->done);
	pthread_mutex_lock(&pool->lock);
	prepare(pool, loop, work);
	if (pool->queued < pool->config.queue_max) {
		append(pool, work);
		pthread_cond_signal(&pool->wake);
	} else {
		pool->refused++;
		work->next = NULL;
		*pool->waiting_tail = work;
		pool->waiting_tail = &work->next;
		pool->waiting++;
	}
	pthread_mutex_unlock(&pool->lock);
}

void nh_pool_stats(struct nh_pool *pool, struct nh_pool_stats *out)
{
	pthread_mutex_lock(&pool->lock);
	*out = (struct nh_pool_stats){.queued = pool->queued, .running = pool->running, .waiting = pool->waiting, .threads = pool->config.threads,
				      .submitted = pool->submitted, .refused = pool->refused};
	pthread_mutex_unlock(&pool->lock);
}
