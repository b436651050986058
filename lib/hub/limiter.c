/*
 * The fixed table of counts.
 */
#include "hub/limiter.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/rng.h"
#include "crypto/hmac.h"

#define SLOTS 8192u
#define WINDOW_US (60 * NH_US_PER_S)

struct slot {
	uint64_t key;
	int64_t window;
	unsigned count;
};

struct nh_limiter {
	pthread_mutex_t lock;
	uint8_t secret[32];
	struct slot slots[SLOTS];
};

struct nh_limiter *nh_limiter_new(void)
{
	struct nh_limiter *l = nh_xcalloc(1, sizeof(*l));
	NH_ASSERT(pthread_mutex_init(&l->lock, NULL) == 0);
	nh_rng_fill(&nh_rng_system, l->secret, sizeof(l->secret));
	return l;
}

void nh_limiter_free(struct nh_limiter *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static uint64_t hash(const struct nh_limiter *l, nh_slice key)
{
	uint8_t mac[NH_SHA256_LEN];
	uint64_t out = 0;
	nh_hmac(NH_SHA256, nh_slice_of(l->secret, sizeof(l->secret)), key, mac);
	for (int i = 0; i < 8; i++)
		out = out << 8 | mac[i];
	return out;
}

bool nh_limiter_allow(struct nh_limiter *l, nh_slice key, unsigned per_minute, int64_t now_us)
{
	uint64_t h = hash(l, key);
	int64_t window = now_us / WINDOW_US;
	pthread_mutex_lock(&l->lock);
	struct slot *s = &l->slots[h % SLOTS];
	if (s->key != h || s->window != window)
		*s = (struct slot){.key = h, .window = window};
	bool allowed = s->count < per_minute;
	if (allowed)
		s->count++;
	pthread_mutex_unlock(&l->lock);
	return allowed;
}

void nh_limiter_clear(struct nh_limiter *l, nh_slice key)
{
	uint64_t h = hash(l, key);
	pthread_mutex_lock(&l->lock);
	struct slot *s = &l->slots[h % SLOTS];
	if (s->key == h)
		s->count = 0;
	pthread_mutex_unlock(&l->lock);
}
