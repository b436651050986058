/*
 * Episodes of failure (episode.h). One lock for all: it is taken only while something is wrong.
 */
#include "base/episode.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"

#define QUIET_MS 1000
#define REMIND_MS 60000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t get(const uint64_t *field) { return __atomic_load_n(field, __ATOMIC_RELAXED); }
static void set(uint64_t *field, uint64_t value) { __atomic_store_n(field, value, __ATOMIC_RELAXED); }

void nh_episode_failed(struct nh_episode *e, nh_rc rc, const char *why)
{
	uint64_t now = nh_mono_ms();
	pthread_mutex_lock(&lock);
	bool first = get(&e->since_ms) == 0;
	if (first) {
		set(&e->failures, 0);
		set(&e->since_ms, now ? now : 1);
	}
	bool say = first || now - get(&e->reminded_ms) >= REMIND_MS;
	if (say)
		set(&e->reminded_ms, now);
	set(&e->latest_ms, now);
	set(&e->failures, get(&e->failures) + 1);
	set(&e->total, get(&e->total) + 1);
	__atomic_store_n(&e->going, true, __ATOMIC_RELAXED);
	uint64_t failures = get(&e->failures);
	pthread_mutex_unlock(&lock);
	if (say)
		NH_LOG(NH_LOG_ERROR, e->event, NH_STR("state", "failing"), NH_STR("code", nh_rc_name(rc)), NH_I("failures", failures), NH_STR("why", why));
}

void nh_episode_fine(struct nh_episode *e)
{
	if (get(&e->since_ms) == 0)
		return;
	uint64_t now = nh_mono_ms();
	pthread_mutex_lock(&lock);
	uint64_t since = get(&e->since_ms), failures = get(&e->failures);
	__atomic_store_n(&e->going, false, __ATOMIC_RELAXED);
	bool over = since != 0 && now - get(&e->latest_ms) >= QUIET_MS;
	if (over)
		set(&e->since_ms, 0);
	pthread_mutex_unlock(&lock);
	if (over)
		NH_LOG(NH_LOG_WARN, e->event, NH_STR("state", "recovered"), NH_I("failures", failures), NH_I("lasted_ms", now - since));
}

bool nh_episode_going(const struct nh_episode *e) { return __atomic_load_n(&e->going, __ATOMIC_RELAXED); }
uint64_t nh_episode_total(const struct nh_episode *e) { return get(&e->total); }
