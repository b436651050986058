/*
 * What each process does for itself from time to time, and no job of the scheduler can do for it: what it looks after lies in its own memory. Credentials that the object store lent to it,
 * the figures of /metrics that must be counted in the database or in /proc, and what /status is asked for. One thread; a row a task.
 */
#include "upkeep.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "hubd.h"

static void tend_objects(struct hubd *h) { nh_objects_tend(h->objects); }

/* Counting 20 000 descriptors takes milliseconds: not on a loop that is asked for /metrics. */
static int64_t count_fds(void)
{
	int64_t count = -1; /* the one that counts */
	DIR *dir = opendir("/proc/self/fd");
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count > 2 ? count - 2 : 0; /* . and .. */
}

static void look_at_process(struct hubd *h)
{
	unsigned long long pages[2] = {0};
	FILE *file = fopen("/proc/self/statm", "re");
	if (file && fscanf(file, "%llu %llu", &pages[0], &pages[1]) != 2)
		pages[0] = pages[1] = 0;
	if (file)
		fclose(file);
	int64_t page = sysconf(_SC_PAGESIZE);
	__atomic_store_n(&h->figures.process.virtual_bytes, (int64_t)pages[0] * page, __ATOMIC_RELAXED);
	__atomic_store_n(&h->figures.process.resident_bytes, (int64_t)pages[1] * page, __ATOMIC_RELAXED);
	__atomic_store_n(&h->figures.process.open_fds, count_fds(), __ATOMIC_RELAXED);
}

static const struct task {
	uint64_t every_ms; /* the first time at the start */
	void (*run)(struct hubd *h);
} tasks[] = {
	{1000, beat_loops},
	{5000, look_at_process},
	{5000, probe_database},
	{15000, count_jobs},
	{30000, probe_objects},
	{60000, tend_objects},
	{3600000, count_expiring},
};

struct upkeep {
	struct hubd *h;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping; /* under the lock */
};

static void rest(struct upkeep *u, uint64_t until_ms)
{
	struct timespec at = {.tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000};
	pthread_mutex_lock(&u->lock);
	while (!u->stopping && pthread_cond_timedwait(&u->changed, &u->lock, &at) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&u->lock);
}

static bool stopping(struct upkeep *u)
{
	pthread_mutex_lock(&u->lock);
	bool yes = u->stopping;
	pthread_mutex_unlock(&u->lock);
	return yes;
}

static void *run(void *arg)
{
	struct upkeep *u = arg;
	uint64_t due_ms[NH_ARRAY_LEN(tasks)] = {0};
	nh_thread_background("upkeep");
	while (!stopping(u)) {
		uint64_t next_ms = UINT64_MAX;
		for (size_t i = 0; i < NH_ARRAY_LEN(tasks) && !stopping(u); i++) {
			if (nh_mono_ms() >= due_ms[i]) {
				tasks[i].run(u->h);
				due_ms[i] = nh_mono_ms() + tasks[i].every_ms;
			}
			next_ms = due_ms[i] < next_ms ? due_ms[i] : next_ms;
		}
		rest(u, next_ms);
	}
	return NULL;
}

nh_rc upkeep_start(struct hubd *h, struct nh_err *err)
{
	pthread_condattr_t monotonic;
	struct upkeep *u = nh_xcalloc(1, sizeof *u);
	u->h = h;
	pthread_mutex_init(&u->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&u->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	int failed = pthread_create(&u->thread, NULL, run, u);
	if (failed) {
		free(u);
		return NH_FAIL(err, nh_rc_from_errno(failed), "cannot start the thread of upkeep");
	}
	h->upkeep = u;
	return NH_OK;
}

void upkeep_stop(struct hubd *h)
{
	struct upkeep *u = h->upkeep;
	if (!u)
		return;
	pthread_mutex_lock(&u->lock);
	u->stopping = true;
	pthread_cond_signal(&u->changed);
	pthread_mutex_unlock(&u->lock);
	pthread_join(u->thread, NULL);
	pthread_cond_destroy(&u->changed);
	pthread_mutex_destroy(&u->lock);
	free(u);
	h->upkeep = NULL;
}
