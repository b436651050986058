/*
 * Counts events per key in windows of a minute, in a fixed table: an attacker with many keys can only push others' counts out, never use up memory.
 */
#include <stdlib.h>

#include "base/rng.h"
#include "api_int.h"
#include "crypto/hmac.h"

#define SLOTS 4096u
#define WINDOW_US (60 * NH_US_PER_S)

struct slot {
	uint64_t key;
	int64_t window;
	unsigned count;
};

struct limiter {
	pthread_mutex_t lock;
	unsigned per_minute;
	uint8_t secret[32];
	struct slot slots[SLOTS];
};

struct limiter *limiter_new(unsigned per_minute)
{
	struct limiter *l = nh_xcalloc(1, sizeof(*l));
	NH_ASSERT(pthread_mutex_init(&l->lock, NULL) == 0);
	l->per_minute = per_minute;
	nh_rng_fill(&nh_rng_system, l->secret, sizeof(l->secret));
	return l;
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* Keyed, so that nobody can choose whose slot to share. */
static uint64_t hash(const struct limiter *l, nh_slice key)
{
	uint8_t mac[NH_SHA256_LEN];
	uint64_t out = 0;
	nh_hmac(NH_SHA256, nh_slice_of(l->secret, sizeof(l->secret)), key, mac);
	for (int i = 0; i < 8; i++)
		out = out << 8 | mac[i];
	return out;
}

bool limiter_allow(struct limiter *l, nh_slice key, int64_t now_us)
{
	uint64_t h = hash(l, key);
	int64_t window = now_us / WINDOW_US;
	pthread_mutex_lock(&l->lock);
	struct slot *s = &l->slots[h % SLOTS];
	if (s->key != h || s->window != window)
		*s = (struct slot){.key = h, .window = window};
	bool allowed = s->count < l->per_minute;
	if (allowed)
		s->count++;
	pthread_mutex_unlock(&l->lock);
	return allowed;
}

void limiter_clear(struct limiter *l, nh_slice key)
{
	uint64_t h = hash(l, key);
	pthread_mutex_lock(&l->lock);
	struct slot *s = &l->slots[h % SLOTS];
	if (s->key == h)
		s->count = 0;
	pthread_mutex_unlock(&l->lock);
}
